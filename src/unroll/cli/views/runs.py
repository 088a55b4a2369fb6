"""Show the runs in a folder, and what the cache holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...formatting import listed, percent, shown, size
from ...runs.listing import Entry
from .terminal import command_line, print_table

if TYPE_CHECKING:
    from ...data.cache import Cached

COLUMNS = ("run", "data", "model", "test acc", "val acc", "epochs", "date", "size", "state")
NUMBERS = ("test acc", "val acc", "epochs", "size")
FEW = 3  # commands that are written out
STYLES = {"finished": "", "running": "green", "interrupted": "yellow", "failed": "red", "damaged": "red"}


def print_runs(console: Console, folder: Path, entries: Sequence[Entry]) -> None:
    """Show a row for each of what `list_runs` lists, and how to go on with those that are interrupted."""
    if not entries:
        console.print(Text(f"no runs in {shown(str(folder))}"), soft_wrap=True)
        return
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="right" if column in NUMBERS else "left")
    for entry in entries:
        table.add_row(*map(_text, _cells(entry)), Text(entry.state, style=STYLES[entry.state]))
    print_table(console, table)
    total = size(sum(entry.size for entry in entries))
    console.print(Text(f"{len(entries):,} in {shown(str(folder))}, {total}"), soft_wrap=True)
    for entry in entries:
        if entry.reason:
            console.print(
                Text.assemble(("damaged  ", "bold red"), f"{entry.name}: {shown(entry.reason)}"), soft_wrap=True
            )
    for entry in [entry for entry in entries if entry.state == "interrupted"][:FEW]:
        command = entry.kind if entry.kind in ("sweep", "crossval") else "train"
        line = command_line(command, "--resume", entry.path)
        console.print(Text.assemble(("continue  ", "bold yellow"), line), soft_wrap=True)


def _text(value: str) -> Text:
    return Text(shown(value))


def _cells(entry: Entry) -> tuple[str, ...]:
    kind = "" if entry.kind == "run" else f" ({entry.kind})"
    return (
        f"{entry.name}{kind}",
        Path(entry.data).name or "–",
        entry.model or "–",
        percent(entry.accuracy),
        percent(entry.val_accuracy),
        _trained(entry),
        f"{entry.date:%Y-%m-%d %H:%M}",
        size(entry.size),
    )


def _trained(entry: Entry) -> str:
    """Return the epochs of a run, of several runs how many have ended."""
    if entry.trainings is None:
        return "–" if entry.epochs is None else f"{entry.epochs:,}"
    what = "fold" if entry.kind == "crossval" else "trial"
    return f"{entry.trainings:,} {what}{'' if entry.trainings == 1 else 's'}"


def print_cache(console: Console, folder: Path, entries: Sequence[Cached]) -> None:
    """Show a row for each thing in the cache."""
    if not entries:
        console.print(Text(f"nothing in the cache folder {shown(str(folder))}"), soft_wrap=True)
        return
    table = Table()
    for column in ("name", "what", "last used", "size"):
        table.add_column(column, justify="right" if column == "size" else "left")
    for entry in entries:
        table.add_row(*map(_text, (entry.name, entry.what, f"{entry.used:%Y-%m-%d %H:%M}", size(entry.size))))
    print_table(console, table)
    total = size(sum(entry.size for entry in entries))
    console.print(Text(f"{len(entries):,} in {shown(str(folder))}, {total}"), soft_wrap=True)


def print_left(console: Console, entries: Sequence[Entry | Cached], left: Mapping[str, Sequence[Path]]) -> None:
    """Say what was removed, and which files were not."""
    names = listed(entry.name for entry in entries) or "nothing"
    freed = "" if left else f", {size(sum(entry.size for entry in entries))}"
    console.print(Text(f"removed {names}{freed}"), soft_wrap=True)
    for name, files in left.items():
        line = f"{name} holds other files, which stay: {listed(file.name for file in files)}"
        console.print(Text.assemble(("look at  ", "bold yellow"), line), soft_wrap=True)
