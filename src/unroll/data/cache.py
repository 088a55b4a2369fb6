"""What the cache folder holds: data sets that were fetched, and folders of images as arrays. List it, remove some."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import Timeout

from ..errors import DataError, did_you_mean
from ..formatting import shown
from .formats.download import PARTIAL, cache_folder, lock_of
from .formats.mnist import FILES, SOURCES
from .formats.ucr_archive import PARTS, PREFIX

ALL = "all"  # stands for all names


@dataclass(frozen=True, kw_only=True)
class Cached:
    """Something in the cache folder.

    Attributes:
        name: to remove it by, such as "mnist", "ucr:GunPoint" or "folders/0a1b2c3d.npz"
        what: it is, in words
        files: of which it consists
        place: the folder whose lock is held while they are written
        size: bytes
        used: when it was last read or written; many systems note reading once a day at most, or not at all
    """

    name: str
    what: str
    files: tuple[Path, ...]
    place: Path
    size: int
    used: datetime

    @classmethod
    def of(cls, name: str, what: str, files: Sequence[Path], place: Path) -> Cached:
        """Return what some files are."""
        states = [file.lstat() for file in files]
        used = max((max(state.st_atime, state.st_mtime) for state in states), default=0.0)
        size = sum(state.st_size for state in states)
        date = datetime.fromtimestamp(used).astimezone()
        return cls(name=name, what=what, files=tuple(files), place=place, size=size, used=date)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; the date in UTC by ISO 8601."""
        used = self.used.astimezone(UTC).isoformat(timespec="seconds")
        return {"name": self.name, "what": self.what, "size": self.size, "used": used}


def list_cache() -> list[Cached]:
    """Return what unroll has put into the cache folder, by name; other files in it are not looked at."""
    cache = cache_folder()
    return sorted((*_sets(cache), *_archive(cache / "ucr"), *_folders(cache / "folders")), key=lambda each: each.name)


def _sets(cache: Path) -> Iterator[Cached]:
    for name in SOURCES:
        files = [
            path for file in FILES for path in (cache / name / file, cache / name / f"{file}.gz") if path.is_file()
        ]
        if files:
            yield Cached.of(name, "data set by name", files, cache / name)
        yield from _partials(cache / name)


def _archive(place: Path) -> Iterator[Cached]:
    for folder in _children(place):
        files = [path for part in PARTS if (path := folder / f"{folder.name}_{part}.ts").is_file()]
        if files:
            yield Cached.of(f"{PREFIX}{folder.name}", "set of the UCR and UEA archive", files, place)
    yield from _partials(place)


def _folders(place: Path) -> Iterator[Cached]:
    for file in _children(place):
        if re.fullmatch(r"[0-9a-f]{8}\.npz", file.name):
            yield Cached.of(f"{place.name}/{file.name}", f"images of {_root(file)}", [file], place)
    yield from _partials(place)


def _root(file: Path) -> str:
    try:
        with np.load(file) as content:
            return shown(str(content["root"]))
    except Exception:  # a damaged file, of which NumPy and zipfile raise about anything
        return "an unknown folder"


def _partials(place: Path) -> Iterator[Cached]:
    for folder in _children(place):
        if folder.name.startswith(PARTIAL) and folder.is_dir():
            files = [file for file in folder.rglob("*") if file.is_file()]
            yield Cached.of(f"{place.name}/{folder.name}", "not whole: being written, or left over", files, place)


def _children(place: Path) -> list[Path]:
    return sorted(place.iterdir()) if place.is_dir() else []


def pick(entries: Sequence[Cached], names: Sequence[str]) -> list[Cached]:
    """Return the entries of these names, each once; "all" is the name of all.

    Raises:
        DataError: a name is none of theirs.
    """
    if ALL in names:
        return list(entries)
    known = {entry.name: entry for entry in entries}
    for name in names:
        if name not in known:
            raise DataError(f"the cache holds nothing called {shown(name)}{did_you_mean(name, known)}")
    return [known[name] for name in dict.fromkeys(names)]


def remove_cached(entries: Sequence[Cached]) -> None:
    """Remove something from the cache, all of it or nothing.

    Args:
        entries: as from `list_cache`.

    Raises:
        DataError: another process is writing there, a download say.
    """
    with ExitStack() as locks:
        for place in sorted({entry.place for entry in entries}):
            try:
                locks.enter_context(lock_of(place).acquire(blocking=False))
            except Timeout:
                raise DataError(f"another process is writing to {place}: wait until it ends") from None
            except (OSError, NotImplementedError):  # a file system without locks
                continue
        for entry in entries:
            for file in entry.files:
                file.unlink(missing_ok=True)
            for folder in {file.parent for file in entry.files}:
                with suppress(OSError):  # other files are in it
                    os.rmdir(folder)
