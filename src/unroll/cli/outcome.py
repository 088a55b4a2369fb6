"""The outcome of a command: one line of text, or one JSON object."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import UnrollWarning, is_out_of_memory
from ..formatting import printable


def is_expected(error: BaseException) -> bool:
    """Return whether an error is to be reported in one line; others are bugs and keep their traceback."""
    return not isinstance(error, RuntimeError) or is_out_of_memory(error)


def in_words(error: BaseException) -> str:
    """Return the error and its remedy."""
    if is_out_of_memory(error):
        return (
            "out of memory; try smaller images (--resize), a larger --stride, a smaller --batch-size or --hidden-size"
        )
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def say(line: str) -> None:
    """Print a line on stderr, with control characters escaped."""
    print(f"unroll: {printable(line)}", file=sys.stderr)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Within the block, print unroll's warnings as one line on stderr, without their place in the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("always", UnrollWarning)
        show = warnings.showwarning

        def show_line(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, UnrollWarning):
                say(str(message))
            else:
                show(message, category, *place, **more)

        warnings.showwarning = show_line
        yield


def print_json(content: dict[str, Any]) -> None:
    """Print one JSON object on stdout."""
    print(json.dumps(content, allow_nan=False))
