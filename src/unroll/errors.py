"""The exceptions that unroll raises on purpose.

UnrollError
├── InputError (also a ValueError)   the caller can fix it         exit status 2
│   ├── ConfigError                  a setting is out of range
│   ├── DataError                    a data set or file is missing, broken or does not fit
│   │   └── DownloadError            no mirror delivered a data set
│   ├── RunError                     a run folder is missing, taken, unfinished or broken
│   └── NotCompiledError             a cell's step cannot become a program for the kernels
└── TrainingError                    the work itself failed        exit status 1

UnrollWarning (a UserWarning)        the work continues, but not quite as asked

Each message is one line: what was expected, what was given, what to do. It is printable, whatever it quotes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .formatting import printable

__all__ = [
    "ConfigError",
    "DataError",
    "DownloadError",
    "InputError",
    "NotCompiledError",
    "RunError",
    "TrainingError",
    "UnrollError",
    "UnrollWarning",
]

PUBLISHED = False  # whether a package index has unroll-rnn; until then its extras are installed from a checkout


class UnrollError(Exception):
    """Base of all errors of this package."""

    def __init__(self, *arguments: object) -> None:
        # Also done where a value is quoted: no place that forgets it may reach a terminal or a log.
        super().__init__(*(printable(part) if isinstance(part, str) else part for part in arguments))


class InputError(UnrollError, ValueError):
    """The input is wrong, and the caller can fix it."""


class ConfigError(InputError):
    """A setting is out of range or contradicts another."""


class DataError(InputError):
    """A data set or a file of one is missing, broken or does not fit."""


class DownloadError(DataError):
    """No mirror delivered a data set."""


class RunError(InputError):
    """A run folder is missing, taken, unfinished or broken."""


class NotCompiledError(InputError):
    """A cell's step cannot become a program for the kernels; the message says what it does, and where."""


class TrainingError(UnrollError):
    """Training could not continue."""


class UnrollWarning(UserWarning):
    """The work continues, but the caller should know something; the command line prints it as one line."""


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out, on any device."""
    # torch.OutOfMemoryError on a GPU; on the CPU a bare RuntimeError of its allocator
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'mnist'?`` when one of ``known`` is close to ``word``, else an empty string."""
    known = list(known)
    if word.lower() == "gpu" and "cuda" in known:  # by its letters it is nearer to "cpu"
        return "; did you mean 'cuda'?"
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def how_to_install(extra: str) -> str:
    """Return the command that installs one of unroll's extras."""
    return f"pip install 'unroll-rnn[{extra}]'" if PUBLISHED else f"pip install '.[{extra}]' in the folder of unroll"
