"""The idx format of the MNIST family: a big-endian header, then unsigned bytes; plain or gzipped.

Source: http://yann.lecun.com/exdb/mnist/ (section "File formats").
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...formatting import shown
from ..files import content_of

UINT8 = 8


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an idx file of unsigned bytes.

    Args:
        path: the file; gzipped if it starts like one, whatever its name.
        ndim: expected number of dimensions: 3 for images, 1 for labels.

    Returns:
        uint8 array of the shape in the header, read-only.

    Raises:
        DataError: unreadable, truncated, not idx, or its length contradicts its header; the message names the file.
    """
    return parse_idx(read_bytes(path), ndim, str(path))


def read_bytes(path: Path) -> bytes:
    """Return a file's content, unpacked if it is gzipped.

    Raises:
        DataError: unreadable, or a broken gzip file.
    """
    try:
        raw = content_of(path)
        return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path} is a broken gzip file ({shown(error)}); delete it and fetch it again") from error


def parse_idx(content: bytes, ndim: int, name: str) -> np.ndarray:
    """Return the array in ``content``; ``name`` is for error messages. See `read_idx`."""
    magic = bytes([0, 0, UINT8, ndim])
    if content[:4] != magic:
        raise DataError(
            f"{name} is not an idx file of {ndim}-dimensional bytes: "
            f"expected it to start with {magic.hex()}, got {content[:4].hex() or 'nothing'}"
        )
    header = 4 + 4 * ndim
    if len(content) < header:
        raise DataError(f"{name} ends within its header: expected {header} bytes, got {len(content)}")
    shape = struct.unpack(f">{ndim}I", content[4:header])
    expected = header + math.prod(shape)
    if len(content) != expected:
        sizes = "×".join(map(str, shape))
        raise DataError(f"{name} announces {sizes}: expected {expected} bytes, got {len(content)}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
