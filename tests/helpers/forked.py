"""Processes of their own that need not load PyTorch, which takes seconds: they are forked from one that has loaded it.

That one has loaded nothing else of note, and has one thread. What depends on how Python starts needs `subprocess`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import DupFd
from typing import Any, NamedTuple, TextIO

from waiting import PATIENCE

COMMAND = "import sys; from unroll.__main__ import main; sys.exit(main())"


class _Program(NamedTuple):
    code: str
    words: list[str]
    environment: dict[str, str]
    streams: list[int]

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _Program, (*self[:3], [DupFd(stream) for stream in self.streams])

    def __call__(self) -> None:
        for descriptor, stream in enumerate(self.streams, 1):
            os.dup2(stream.detach(), descriptor)  # type: ignore[attr-defined]
        os.environ.clear()
        os.environ.update(self.environment)
        sys.argv[:] = self.words
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - until the end of the process
        sys.stderr = open(2, "w", 1, closefd=False)  # noqa: SIM115
        exec(compile(self.code, "<program>", "exec"), {"__name__": "__main__"})


class Forked:
    """A running program and what it writes.

    Attributes:
        process: its number, and how to end it.
        stdout, stderr: what it writes, to be read.
    """

    def __init__(self, process: BaseProcess, stdout: TextIO, stderr: TextIO) -> None:
        self.process, self.stdout, self.stderr = process, stdout, stderr

    def send_signal(self, signum: int) -> None:
        """Send it a signal."""
        assert self.process.pid is not None
        os.kill(self.process.pid, signum)

    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.exitcode is None

    def wait(self) -> int:
        """Return its exit status when it has ended, as `subprocess.Popen.returncode`."""
        self.process.join(PATIENCE)
        assert self.process.exitcode is not None, "it did not end"
        return self.process.exitcode

    def rest(self) -> tuple[int, str, str]:
        """Return its exit status, and what it wrote that was not read: little to stdout while it writes to stderr."""
        err = self.stderr.read()
        return self.wait(), self.stdout.read(), err


@contextlib.contextmanager
def forked(*words: object, code: str = COMMAND, stdout: int | None = None, **environment: str) -> Iterator[Forked]:
    """Run ``unroll`` in the current folder, or some code; kill it at the end.

    Args:
        words: of the command line.
        code: the program.
        stdout: a descriptor of where to write instead of a pipe.
        environment: variables that differ.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch"])
    with contextlib.ExitStack() as stack:
        read, write = zip(os.pipe(), os.pipe(), strict=True)
        out, err = (stack.enter_context(open(end)) for end in read)
        streams = [write[0] if stdout is None else stdout, write[1]]
        program = _Program(code, ["unroll", *map(str, words)], {**os.environ, **environment}, streams)
        process = context.Process(target=program)
        process.start()
        for end in write:
            os.close(end)
        stack.callback(process.join)
        stack.callback(process.kill)
        yield Forked(process, out, err)
