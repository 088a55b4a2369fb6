"""What to classify: files, all files of a folder, pipes, standard input."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import DataError, InputError
from ..formatting import listed
from .formats.image_folder import SUFFIXES as IMAGES
from .formats.parts import unpacked
from .formats.plain_series import holds_numbers
from .formats.series import PARSERS as SERIES_PARSERS
from .formats.texts import PARSERS as TEXTS_PARSERS
from .preparation import Kind
from .streams import is_stream, receive, receive_from

STANDARD_INPUT = Path("-")
EXAMPLES = 3  # of what was left out, in a note
SUFFIXES = {"images": IMAGES, "series": (*SERIES_PARSERS, ".npz"), "texts": (*TEXTS_PARSERS,)}


@dataclass(frozen=True)
class Source:
    """A file to classify.

    Attributes:
        name: as it was given; of a file in a folder that was given, with that folder
        path: of its content: of a pipe that of a copy
        id: what a sequence that fills the file is called: its path below the folder that was given, else its name
        is_one: whether it is a single text, and not one in each line
        error: why it cannot be read; empty if it can
        frame: what Python holds in place of the file's content; None if the file is to be read
    """

    name: str
    path: Path
    id: str
    is_one: bool = False
    error: str = ""
    frame: Any = field(default=None, compare=False)


@contextmanager
def sources(
    files: Sequence[str | Path], kind: Kind, stdin: BinaryIO | None = None
) -> Iterator[tuple[list[Source], list[str]]]:
    """Yield the files to classify, in order, and what to say of how folders were read; pipes are copied until the end.

    Args:
        files: names of files, folders and pipes. Of a folder all files at any depth that the run may read, by name;
            its sub-folders may be classes, which are ignored.
        kind: what the run reads.
        stdin: what ``-`` names (default None: a file of that name).

    Raises:
        InputError: ``-`` is given twice.
    """
    paths, notes, each = [Path(file) for file in files], list[str](), list[Source]()
    is_stdin = [stdin is not None and path == STANDARD_INPUT for path in paths]
    if sum(is_stdin) > 1:
        raise InputError("- is given twice: standard input can be read once")
    piped = [stdin_ or is_stream(path) for path, stdin_ in zip(paths, is_stdin, strict=True)]
    with tempfile.TemporaryDirectory(prefix="unroll-") if any(piped) else nullcontext("") as at:
        for number, path in enumerate(paths):
            try:
                if is_stdin[number] and stdin is not None:
                    copy = receive_from(stdin, "standard input", kind, Path(at, str(number)))
                    each.append(Source(str(path), copy, str(path)))
                elif piped[number]:
                    each.append(Source(str(path), receive(path, kind, Path(at, str(number))), str(path)))
                elif path.is_dir():
                    inside, note = _in_folder(path, kind)
                    each += inside
                    notes += [note] if note else []
                else:
                    each.append(Source(str(path), path, str(path)))
            except DataError as error:
                each.append(Source(str(path), path, str(path), error=str(error)))
        yield each, notes


def may_be_read(path: Path, kind: Kind) -> bool:
    """Tell whether a file in a folder is one that a run on ``kind`` reads: by its name, of series also by its content.

    Raises:
        DataError: it cannot be read.
    """
    suffix = unpacked(path).suffix.lower() if kind != "images" else path.suffix.lower()
    if kind == "series" and suffix == ".txt":
        return holds_numbers(path)
    return suffix in SUFFIXES[kind]


def _in_folder(folder: Path, kind: Kind) -> tuple[list[Source], str]:
    """Return the files in a folder that a run on ``kind`` may read, by their paths, and what to say of the others.

    Raises:
        DataError: the folder cannot be read, or holds none.
    """
    used, unused = list[Source](), list[str]()
    for file in _files(folder):
        place = file.relative_to(folder).as_posix()
        if may_be_read(file, kind):  # in sub-folders texts have a file each, as where a run was trained on such
            is_one = kind == "texts" and "/" in place and unpacked(file).suffix.lower() == ".txt"
            used.append(Source(str(file), file, place, is_one))
        else:
            unused.append(place)
    if not used:
        raise DataError(f"{folder} holds no {kind}: expected files that end in {', '.join(SUFFIXES[kind])}")
    note = ""
    if kind == "texts" and (lines := sum(unpacked(each.path).suffix.lower() == ".txt" for each in used)):
        files = sum(each.is_one for each in used)
        whole = f"{files:,} .txt in sub-folders are a text each" if files else ""
        by_line = f"{lines - files:,} .txt have a text in each line" if lines > files else ""
        note = f"{folder}: " + "; ".join(filter(None, (whole, by_line)))
    if unused:
        more = f" and {len(unused) - EXAMPLES:,} more" if len(unused) > EXAMPLES else ""
        note = f"{note or f'{folder}: {len(used):,} files are read'}; not read: {listed(unused[:EXAMPLES])}{more}"
    return used, note


def _files(folder: Path) -> list[Path]:
    """Return all files in a folder at any depth, by their paths; hidden ones are left out.

    Raises:
        DataError: a folder in it cannot be read.
    """
    files, entered = list[Path](), set[tuple[int, int]]()

    def refuse(error: OSError) -> None:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    for at, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(at)
        if (status.st_dev, status.st_ino) in entered:  # links to folders may lead back
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        files += [Path(at, name) for name in names if not name.startswith((".", "__"))]
    return sorted(files, key=lambda file: file.parts)
