"""Finished runs side by side on the screen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...formatting import percent
from ...runs.compare import Comparison
from ...runs.record import value_in_words
from .terminal import print_table


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Show the runs with what differs in them, the means over seeds, and what is more than noise."""
    print_table(console, _table(comparison))
    for remark in _remarks(comparison):
        console.print(remark, soft_wrap=True)


def _table(comparison: Comparison) -> Table:
    """Return a row for each run; data and seed have columns where they differ."""
    runs = [(run, group.settings) for group in comparison.groups for run in group.runs]
    several_data = len({(run.data, run.fingerprint) for run, _ in runs}) > 1
    several_seeds = len({run.seed for run, _ in runs}) > 1
    words = ["run", *(["data"] if several_data else []), *comparison.differing]
    numbers = [*(["seed"] if several_seeds else []), "parameters", "epochs", "test acc", "95 % interval", "loss", "s"]
    table = Table(*words, title="runs, best settings first", title_justify="left")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    for run, settings in runs:
        low, high = run.interval or (None, None)
        cells = [
            str(run.path),
            *([f"{Path(run.data).name} {run.fingerprint}"] if several_data else []),
            *map(value_in_words, settings.values()),
            *([str(run.seed)] if several_seeds else []),
            f"{run.parameters:,}",
            str(run.epochs),
            percent(run.accuracy),
            "–" if low is None or high is None else f"{100 * low:.2f} … {100 * high:.2f}",
            "–" if run.loss is None else f"{run.loss:.4f}",
            f"{run.seconds:.1f}",
        ]
        table.add_row(*map(Text, cells))
    return table


def _remarks(comparison: Comparison) -> Iterator[Text]:
    if not comparison.differing:
        yield Text("the settings are the same: what the runs differ by is what seeds do")
    if not comparison.same_data:
        yield Text("the data differ, or how they are read: see the table", style="bold yellow")
    for group in comparison.groups:
        if group.deviation is not None:
            names = ", ".join(str(run.path) for run in group.runs)
            spread = f"{percent(group.accuracy)} ± {100 * group.deviation:.2f} (standard deviation over seeds)"
            yield Text(f"{names}: mean {spread}")
    for verdict in comparison.verdicts:
        yield Text(str(verdict), style="green" if verdict.significant else "")
    if comparison.tests and comparison.pairs > 1:
        pairs = f"the best was picked among all, so p is corrected for {comparison.pairs} pairs by Holm's method"
        yield Text(f"({pairs}; beyond noise is corrected p < 0.05)", style="dim")
