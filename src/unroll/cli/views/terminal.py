"""Show tables and facts: with colours on a terminal, as plain lines elsewhere."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.measure import Measurement
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ...formatting import printable_lines, shown
from ..outcome import in_words, is_expected, say

PATIENCE = 2.0  # seconds of reading before a line says so


class Screen(Console):
    """A rich console that escapes control characters, and raises an error if a pipe closes (`| head`)."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Escape control characters in any text, in case a caller did not."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control is not None else Segment(printable_lines(text), style)

    def on_broken_pipe(self) -> None:
        """Stop writing, also at exit, and raise `BrokenPipeError`."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise BrokenPipeError(errno.EPIPE, "the reader of the output has stopped")


@contextmanager
def show_reading(data: object, console: Console | None = None, patience: float = PATIENCE) -> Iterator[None]:
    """Show on a terminal, if the block takes longer than ``patience`` seconds, that ``data`` is being read.

    Args:
        data: what is read, as the line calls it.
        console: where (default: stderr).
        patience: seconds.
    """
    console = console or Screen(stderr=True)
    columns = (TextColumn("reading {task.description}"), TimeElapsedColumn())
    line = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    line.add_task(escape(shown(data)), total=None)
    timer = Timer(patience, line.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # it may be starting the line at this moment
        line.stop()


def command_line(*words: object) -> str:
    """Return the command line of ``unroll WORDS``; if unroll is not on the path, with the program as it was called."""
    called = ["python", "-m", "unroll"] if Path(sys.argv[0]).name == "__main__.py" else [sys.argv[0]]
    program = ["unroll"] if shutil.which("unroll") else called
    return " ".join(shlex.quote(str(word)) for word in (*program, *words))


def own_cell(name: str | None) -> list[str]:
    """Return the flag for a cell of one's own, which a run does not import by itself; for unroll's cells none."""
    return ["--cell", name] if name is not None and ":" in name else []


def to_continue(command: str, path: Path | None, cell: str | None) -> str | None:
    """Return the command line that continues what was interrupted; None where nothing was written yet.

    Args:
        command: of unroll, which has --resume.
        path: the folder to resume, if there is one.
        cell: its name, or names with commas; None where it is one of unroll's.
    """
    return None if path is None else command_line(command, "--resume", path, *own_cell(cell))


def stopped(error: BaseException, command: str | None) -> int:
    """Say how to continue what an error has stopped, and return the exit status: 130 after Ctrl-C, else 1.

    Args:
        error: what stopped it.
        command: the line that continues it; None where nothing was written yet: then the error is raised again, as is
            one that is a bug.
    """
    if command is None or not is_expected(error):
        raise error
    is_interrupt = isinstance(error, KeyboardInterrupt)
    reason = "interrupted" if is_interrupt else f"cannot continue: {in_words(error)}"
    say(f"{reason}; continue with: {command}")
    return 130 if is_interrupt else 1


def print_table(console: Console, table: Table) -> None:
    """Print a table at its full width: a narrow terminal wraps the lines, but no value is cut."""
    width = console.width
    console.width = max(width, Measurement.get(console, console.options.update(max_width=10_000), table).maximum)
    console.print(table, crop=False)
    console.width = width


def print_facts(console: Console, facts: dict[str, Any], indent: int = 0) -> None:
    """Print names and values in two columns; a value that is a mapping follows below, indented."""
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        label = " " * indent + f"{name:{width}}"
        if isinstance(value, dict):
            console.print(Text(label.rstrip(), style="bold"))
            print_facts(console, value, indent + 2)
        else:
            console.print(Text.assemble((label, "bold"), str(value)), soft_wrap=True)


def print_findings(console: Console, findings: Iterable[str]) -> None:
    """Show the findings, one line each, or that nothing looks wrong."""
    lines = list(findings)
    for finding in lines:
        console.print(Text.assemble(("look at  ", "bold yellow"), finding), soft_wrap=True)
    if not lines:
        console.print(Text("nothing looks wrong", style="green"))
