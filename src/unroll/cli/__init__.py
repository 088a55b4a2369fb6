"""The command line. Nothing here imports torch before a command runs.

Exit status: 0 done, 1 the work failed, 2 bad input or usage, 130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError, UnusedCliTokensError

from ..errors import InputError, UnrollError
from .app import app
from .commands import (
    baseline,
    bench,
    check,
    compare,
    crossval,
    doctor,
    evaluate,
    explore,
    export,
    info,
    predict,
    report,
    runs,
    serve,
    sweep,
    train,
)
from .outcome import in_words, is_expected, say, warnings_as_lines

__all__ = ["app", "main"]
# Importing a command registers it.
COMMANDS = (
    *(baseline, bench, check, compare, crossval, doctor, evaluate, explore),
    *(export, info, predict, report, runs, serve, sweep, train),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status.

    Args:
        arguments: words after the program's name (default ``sys.argv[1:]``).
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # an encoding without × or – must not end a training
            stream.reconfigure(errors="replace")
    try:
        with warnings_as_lines():
            status = app(words, exit_on_error=False, print_error=False, result_action="return_value")
    except UnusedCliTokensError as error:
        hint = "; data is given with --data" if words[:1] == ["train"] else ""
        say(f"unexpected argument: {' '.join(error.unused_tokens or [])}{hint}")
        return 2
    except CycloptsError as error:
        say(_with_device(" ".join(str(error).split())))
        return 2
    except InputError as error:
        say(str(error))
        return 2
    except BrokenPipeError:  # the reader, such as `head`, has stopped
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (UnrollError, OSError, MemoryError, RuntimeError) as error:
        if not is_expected(error):
            raise
        say(in_words(error))
        return 1
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    return int(status or 0)


def _with_device(message: str) -> str:
    """Return the message about a flag; for "gpu", suggest CUDA instead of a similar spelling."""
    problem, _, _ = message.partition(" Did you mean")
    for word, meant in (("--gpu", "--device cuda"), ('"gpu"', '"cuda"')):
        if word in problem.replace(".", " ").split():
            return f"{problem} Did you mean {meant}?"
    return message
