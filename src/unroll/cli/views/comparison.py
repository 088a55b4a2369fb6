"""Show comparisons of runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...evaluation.significance import dependence
from ...formatting import percent, value_in_words
from ...runs.artifacts import BestBaseline
from ...runs.compare import Comparison, Group
from ...runs.record import Record
from .terminal import print_table


def print_comparison(console: Console, comparison: Comparison) -> None:
    """Show the runs with the settings that differ, the means over seeds, and the verdicts."""
    for groups in comparison.by_data:
        print_table(console, _table(comparison, groups))
    for remark in _remarks(comparison):
        console.print(remark, soft_wrap=True)


def _table(comparison: Comparison, groups: Sequence[Group]) -> Table:
    """Return a row for each run that was tested on the same data; data and seed have columns if they differ."""
    runs = [(run, group.settings) for group in groups for run in group.runs]
    several_data = len({(run.data, run.fingerprint) for run, _ in runs}) > 1
    title = "runs, best settings first"
    if len(comparison.by_data) > 1:
        title = f"runs tested on {Path(runs[0][0].data).name} {runs[0][0].fingerprint}, best settings first"
        title = title if runs[0][0].n else "runs without a test set"
    several_seeds = len({run.seed for run, _ in runs}) > 1
    words = ["run", *(["data"] if several_data else []), *comparison.differing]
    numbers = [*(["seed"] if several_seeds else []), "parameters", "epochs", "test acc", "95 % interval", "loss", "s"]
    table = Table(*words, title=title, title_justify="left")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    for run, settings in runs:
        low, high = run.interval or (None, None)
        cells = [
            str(run.path),
            *([_data(run)] if several_data else []),
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
    for mean in comparison.means:
        if mean.data == groups[0].data:
            low, high = mean.evaluation.interval
            of = "all" if len(mean.runs) == len(runs) else f"{len(mean.runs)} of {len(runs)}"
            before = [f"mean of {of}", *([""] if several_data else []), *([""] * len(comparison.differing))]
            gaps = ["–"] * (len(numbers) - 4)
            figures = [percent(mean.evaluation.accuracy), f"{100 * low:.2f} … {100 * high:.2f}"]
            loss = f"{mean.evaluation.loss:.4f}"
            table.add_row(*(Text(cell, style="dim") for cell in (*before, *gaps, *figures, loss, "–")))
    for data, base in _baselines([run for run, _ in runs]).items():
        before = [f"baseline: {base.name}", *([data] if several_data else [])]
        low, high = base.interval
        figures = [percent(base.accuracy), f"{100 * low:.2f} … {100 * high:.2f}", "–", "–"]
        gaps = ["–"] * (len(table.columns) - len(before) - len(figures))
        table.add_row(*(Text(cell, style="dim") for cell in (*before, *gaps, *figures)))
    return table


def _baselines(runs: Sequence[Record]) -> dict[str, BestBaseline]:
    """Return the best baseline of each data set, from the runs that have baselines."""
    best = dict[str, BestBaseline]()
    for run in runs:
        data = _data(run)
        if run.baseline and (data not in best or run.baseline.accuracy > best[data].accuracy):
            best[data] = run.baseline
    return best


def _data(run: Record) -> str:
    return f"{Path(run.data).name} {run.fingerprint}"


def _remarks(comparison: Comparison) -> Iterator[Text]:
    if not comparison.differing:
        yield Text("the runs differ only in their seed")
    if len(comparison.by_data) > 1:
        yield Text(
            f"the runs were tested on {len(comparison.by_data)} different data sets: accuracies in different tables "
            "cannot be compared",
            style="bold yellow",
        )
    elif not comparison.same_data:
        yield Text(
            "the runs were trained on different data, or read it differently: see the table", style="bold yellow"
        )
    for group in comparison.groups:
        if len(group.accuracies) > 1:
            names, spread = ", ".join(str(run.path) for run in group.runs), f"without a deviation: {group.shared}"
            if group.deviation is not None:
                spread = f"± {100 * group.deviation:.2f} (standard deviation over seeds)"
            yield Text(f"{names}: mean {percent(group.accuracy)} {spread}")
    for verdict in comparison.verdicts:
        yield Text(str(verdict), style="green" if verdict.significant else "")
    for mean in comparison.means:
        yield Text(str(mean))
    if comparison.tests and comparison.pairs > 1:
        pairs = f"the best was chosen among all, so p is corrected for {comparison.pairs} pairs by Holm's method"
        yield Text(f"({pairs}; more than noise means corrected p < 0.05)", style="dim")
    dependent = dependence(run.reading for group in comparison.groups for run in group.runs)
    if comparison.tests and dependent:
        yield Text(dependent, style="bold yellow")
