"""Finished runs side by side on the screen."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...formatting import percent
from ...runs.compare import Comparison
from ...runs.record import Record, value_in_words
from .terminal import print_table


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Show the runs with what differs in them, the means over seeds, and what is more than noise."""
    runs = [(run, group.settings) for group in comparison.groups for run in group.runs]
    data = len({(run.data, run.fingerprint) for run, _ in runs}) > 1
    seeds = len({run.seed for run, _ in runs}) > 1
    table = Table(title="runs, best settings first", title_justify="left")
    for heading in ("run", *(["data"] if data else []), *comparison.differing):
        table.add_column(heading)
    for heading in (*(["seed"] if seeds else []), "parameters", "epochs", "test acc", "95 % interval", "loss", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run, settings in runs:
        cells = [
            str(run.path),
            *([_data(run)] if data else []),
            *(value_in_words(value) for value in settings.values()),
        ]
        cells += [*([str(run.seed)] if seeds else []), f"{run.parameters:,}", f"{len(run.history)}"]
        low, high = run.interval
        cells += [percent(run.accuracy), f"{100 * low:.2f} … {100 * high:.2f}", f"{run.loss:.4f}", f"{run.seconds:.1f}"]
        table.add_row(*map(Text, cells))
    print_table(console, table)
    if not comparison.differing:
        console.print("the settings are the same: what the runs differ by is what seeds do", soft_wrap=True)
    if not comparison.same_data:
        console.print(Text("the data differ, or how they are read: see the table", style="bold yellow"), soft_wrap=True)
    for group in comparison.groups:
        if group.deviation is not None:
            names = ", ".join(str(run.path) for run in group.runs)
            told = f"mean {percent(group.accuracy)} ± {100 * group.deviation:.2f} (standard deviation over seeds)"
            console.print(Text(f"{names}: {told}"), soft_wrap=True)
    for verdict in comparison.verdicts:
        console.print(Text(str(verdict), style="green" if verdict.significant else ""), soft_wrap=True)
    if comparison.tests and comparison.pairs > 1:
        pairs = f"the best was picked among all, so p is corrected for {comparison.pairs} pairs by Holm's method"
        console.print(Text(f"({pairs}; beyond noise is corrected p < 0.05)", style="dim"), soft_wrap=True)


def _data(run: Record) -> str:
    return f"{Path(run.data).name} {run.fingerprint}"
