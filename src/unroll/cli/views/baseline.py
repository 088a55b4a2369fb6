"""Baselines on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...data.splits import Splits
from ...evaluation.baseline import Baseline
from ...formatting import percent
from .terminal import print_table


def print_baselines(console: Console, tried: Sequence[Baseline], splits: Splits, comparison: str) -> None:
    """Show the metrics of each baseline, and the run's ``comparison`` if it is not empty."""
    sizes = f"{len(splits.train):,} training and {len(splits.test):,} test sequences"
    table = Table(title=f"baselines on {splits.name}, {sizes}", title_justify="left")
    table.add_column("classifier")
    for heading in ("test acc", "95 % interval", "balanced acc", "macro F1", "s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for base in tried:
        counts = base.evaluation
        if counts is None:
            table.add_row(Text(base.name), *["–"] * 5)
            continue
        low, high = counts.interval
        figures = map(percent, (counts.balanced_accuracy, counts.macro_f1))
        interval = f"{100 * low:.2f} … {100 * high:.2f}"
        table.add_row(Text(base.name), percent(counts.accuracy), interval, *figures, f"{base.seconds:.1f}")
    print_table(console, table)
    for base in tried:
        note = f"; {base.note}" if base.note else ""
        console.print(Text(f"{base.name}: {base.description}{note}", style="dim"), soft_wrap=True)
    if comparison:
        console.print(Text(comparison, style="bold"), soft_wrap=True)
