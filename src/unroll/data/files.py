"""A file's bytes, if it is a file: what has no end, as a device or a pipe, is refused instead of read."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError
from ..formatting import shown

KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def check_regular(path: Path) -> None:
    """Raise `DataError` unless ``path`` is a file, or the link to one.

    Raises:
        OSError: it is not there, or cannot be looked at.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise DataError(f"{path} is {KINDS.get(stat.S_IFMT(mode), 'no file')}: expected a file; copy it into one")


def opened(path: Path) -> BinaryIO:
    """Open a file to read its bytes.

    Raises:
        DataError: it is something else.
        OSError: it cannot be opened.
    """
    check_regular(path)  # before opening: that of a pipe waits until somebody writes
    return path.open("rb")


def content_of(path: Path) -> bytes:
    """Return a file's bytes.

    Raises:
        DataError: it cannot be read, or is not a file.
    """
    try:
        with opened(path) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or shown(error)}") from error
