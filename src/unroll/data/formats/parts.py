"""Training, test and validation part of a set, by the names of their files or folders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...errors import DataError
from ...formatting import listed, shown

# Folders that systems make beside a user's own, in small letters: macOS in each zip, Python, Synology, Windows twice.
SYSTEM = ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "system volume information")
EXAMPLES = 3  # of what was left out, in a message
VALIDATION = ("val", "valid", "validation", "dev")
TRAIN = re.compile(r"(?P<before>(?:.*[_\-. ])?)(?P<part>train|Train|TRAIN)")


class Files(NamedTuple):
    """Files or folders of a set.

    Attributes:
        train: to train on, or the whole
        test: to test on; None where there is none
        val: to watch the training with; None where there is none
    """

    train: Path
    test: Path | None = None
    val: Path | None = None


def entries_of(folder: Path) -> list[Path]:
    """Return the entries of a folder except hidden ones and folders of the system, ordered by name.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and not _is_system(entry))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error


def _is_system(entry: Path) -> bool:
    return entry.name.lower() in SYSTEM and entry.is_dir()


def examples(names: Sequence[str]) -> str:
    """Return the first of some names, for a message."""
    return ", ".join(map(shown, names[:EXAMPLES])) + (", …" if len(names) > EXAMPLES else "")


def not_read(left_out: Sequence[str], unused: Sequence[str], what: str) -> tuple[str, ...]:
    """Say what of a folder with class folders was not read.

    Args:
        left_out: names of what is neither ``what`` nor a class folder.
        unused: names of parts without class folders.
        what: the folders hold, "image" or "text".
    """
    notes = tuple(f"{name}/ has no class folders: it is not used" for name in unused)
    if not left_out:
        return notes
    return (*notes, f"left out, as neither {what} nor class folder: {examples(left_out)} ({len(left_out):,} in all)")


def unpacked(path: Path) -> Path:
    """Return ``path`` without the ``.gz`` of a packed file."""
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def beside(path: Path) -> Files:
    """Return a file, and what belongs to it if its name says that it is a training part.

    ``X_test.csv`` and ``X_val.csv`` belong to ``X_train.csv``, ``X.test`` and ``X.dev`` to ``X.train``.

    Raises:
        DataError: several files could be the validation part.
    """
    plain = unpacked(path)
    packed = path.name.removeprefix(plain.name)
    if plain.suffix.lower() == ".train":
        before, part, behind = f"{plain.stem}.", plain.suffix[1:], packed
    else:
        match = TRAIN.fullmatch(plain.stem)
        if match is None:
            return Files(path)
        before, part, behind = match["before"], match["part"], plain.suffix + packed

    def named(name: str) -> Path:
        return path.with_name(f"{before}{_in_letters_of(part, name)}{behind}")

    test = named("test")
    validation = [named(name) for name in VALIDATION if named(name).is_file()]
    return Files(path, test if test.is_file() else None, single(path, validation))


def inside(folder: Path) -> Files | None:
    """Return the parts that are sub-folders, ``train/``, ``test/`` and ``val/``; None where there is no ``train/``.

    Raises:
        DataError: the folder cannot be read, or several folders could be the validation part.
    """
    folders = {entry.name.lower(): entry for entry in entries_of(folder) if entry.is_dir()}
    if "train" not in folders:
        return None
    validation = [folders[name] for name in VALIDATION if name in folders]
    return Files(folders["train"], folders.get("test"), single(folder, validation))


def single(path: Path, validation: list[Path]) -> Path | None:
    """Return the one of ``others`` that is the validation part of ``path``, None if there is none.

    Raises:
        DataError: there are several.
    """
    if len(validation) > 1:
        names = listed(entry.name for entry in validation)
        raise DataError(f"{path} has {len(validation)} validation parts ({names}): rename all but one")
    return validation[0] if validation else None


def _in_letters_of(example: str, name: str) -> str:
    """Return ``name`` in small letters or capitals, as ``example`` is written."""
    return name.upper() if example.isupper() else name.capitalize() if example[0].isupper() else name
