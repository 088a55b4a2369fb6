"""What comes through a pipe, for a prediction: ``unroll predict RUN <(zcat x.csv.gz)``, or ``/dev/stdin``."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import BinaryIO

from ..errors import DataError
from .formats.parsing import DIVIDERS
from .formats.series import PARSERS as SERIES_PARSERS
from .formats.text_file import column_of_texts
from .formats.texts import PARSERS as TEXTS_PARSERS
from .preparation import Kind

OPEN = ("/dev/stdin", "/dev/fd/")  # names of what is open already, a file perhaps, but without its suffix
MOST_BYTES = 1_000_000_000  # bytes that are read of what has no known end
CHUNK = 1 << 20


def is_stream(path: Path) -> bool:
    """Tell whether ``path`` is a pipe, or the name of a file that is open already."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or (stat.S_ISREG(mode) and str(path).startswith(OPEN))


def receive(path: Path, kind: Kind, copy: Path) -> Path:
    """Copy all that a stream brings into a file and return that, with the suffix that says its format.

    Args:
        path: the stream.
        kind: what it holds.
        copy: where to put it, without a suffix.

    Raises:
        DataError: it cannot be read, or brings more than 1 GB.
    """
    try:
        with path.open("rb") as file:
            return receive_from(file, str(path), kind, copy)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def receive_from(stream: BinaryIO, name: str, kind: Kind, copy: Path) -> Path:
    """Copy all that an open stream brings into a file and return that; else as `receive`.

    Args:
        stream: it.
        name: of it; a known suffix says its format.
        kind: as for `receive`.
        copy: as for `receive`.
    """
    content, suffix = read_stream(stream, name), Path(name).suffix
    received = copy.with_suffix(
        suffix if suffix in (*SERIES_PARSERS, *TEXTS_PARSERS, ".npz") else _suffix(content, kind)
    )
    received.write_bytes(content)
    return received


def read_stream(file: BinaryIO, name: str) -> bytes:
    """Return all that a stream brings.

    Raises:
        DataError: it brings more than 1 GB.
    """
    content = bytearray()
    while chunk := file.read(CHUNK):
        content += chunk
        if len(content) > MOST_BYTES:
            raise DataError(f"{name} brings more than {MOST_BYTES:,} bytes: expected fewer; write it into a file first")
    return bytes(content)


def _suffix(content: bytes, kind: Kind) -> str:
    """Return the suffix of the format that the first line shows; what it does not show is lines, or a table."""
    first = content.lstrip()[:100_000].split(b"\n", 1)[0].decode("utf-8-sig", errors="replace").strip()
    if kind == "images":
        return ""
    if kind == "series":
        return ".npz" if content.startswith(b"PK") else ".ts" if first.startswith(("@", "#")) else ".csv"
    if first.startswith("[") and content.lstrip()[1:].lstrip().startswith(b"{"):
        return ".json"
    if first.startswith("{") and _is_object(first):
        return ".jsonl"
    names = [name.strip(" \"'\r") for name in first.split(max(DIVIDERS, key=first.count))]
    return ".csv" if len(names) > 1 and column_of_texts(names, []) else ".txt"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
