"""How a command ends: one line of words, or one JSON object."""

from __future__ import annotations

import json
import sys
from typing import Any


def is_expected(error: BaseException) -> bool:
    """Tell what can happen to anybody from what is a bug and deserves its traceback."""
    return not isinstance(error, RuntimeError) or _is_out_of_memory(error)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError on a GPU; on the CPU a bare RuntimeError of its allocator
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def in_words(error: BaseException) -> str:
    """Return what happened, and what helps."""
    if _is_out_of_memory(error):
        return "out of memory; try smaller images (--resize), a smaller --batch-size or --hidden-size"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def say(line: str) -> None:
    """Print a line on stderr."""
    print(f"unroll: {line}", file=sys.stderr)


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(content, allow_nan=False))
