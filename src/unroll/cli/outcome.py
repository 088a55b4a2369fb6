"""How a command ends: one line of words, or one JSON object."""

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
    """Tell what can happen to anybody from what is a bug and deserves its traceback."""
    return not isinstance(error, RuntimeError) or is_out_of_memory(error)


def in_words(error: BaseException) -> str:
    """Return what happened, and what helps."""
    if is_out_of_memory(error):
        return "out of memory; try smaller images (--resize), a smaller --batch-size or --hidden-size"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return str(error)


def say(line: str) -> None:
    """Print a line on stderr, one that no terminal obeys."""
    print(f"unroll: {printable(line)}", file=sys.stderr)


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Within the block a warning of unroll's is a line on stderr, without the place in the code that it comes from."""
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
