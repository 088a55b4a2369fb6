"""How the command line shows tables and facts: with colours on a terminal, elsewhere as plain lines."""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ...formatting import printable_lines


class Screen(Console):
    """A rich console that shows what is foreign as `printable` does, and lets a closed pipe (`| head`) be seen."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Escape what a terminal would obey in any text, so that a place which forgot it is safe too."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control is not None else Segment(printable_lines(text), style)

    def on_broken_pipe(self) -> None:
        """Stop writing, also at exit, and tell the caller."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())
        raise BrokenPipeError(errno.EPIPE, "nobody reads the output any more")


def command_line(*words: object) -> str:
    """Return what to type for ``unroll WORDS``, with the program as it was called if it is not on the path."""
    program = "unroll" if shutil.which("unroll") else sys.argv[0]
    return " ".join(shlex.quote(str(word)) for word in (program, *words))


def print_table(console: Console, table: Table) -> None:
    """Print a table as wide as it needs to be: a terminal that is too narrow wraps lines, but loses no figure."""
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
    """Show what looks wrong, a line each, or that nothing does."""
    lines = list(findings)
    for finding in lines:
        console.print(Text.assemble(("look at  ", "bold yellow"), finding), soft_wrap=True)
    if not lines:
        console.print(Text("nothing looks wrong", style="green"))
