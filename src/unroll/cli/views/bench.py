"""Measurements as rich tables; the repository's benchmarks/ use them too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from ...bench import Report
from ...bench.clock import Spread, TimedComparison, Timing, spread
from ...bench.growth import Point
from ...runs.folder import write

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
NOTHING = "–"


class Bar:
    """A progress bar for measurements; it is drawn only on a terminal."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed} of {task.total}"))
        hidden = not console.is_terminal
        self._bar = Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=hidden)
        self._task = self._bar.add_task("", total=None)

    def __enter__(self) -> Bar:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove the bar."""
        self._bar.stop()

    def show(self, title: str, number: int, parts: int) -> None:
        """Show that ``number`` of ``parts`` are done and that ``title`` has begun."""
        self._bar.update(self._task, description=title, completed=number, total=parts)


def comparison_table(comparison: TimedComparison) -> Table:
    """Return a row for each implementation: seconds, ratio to the base, rate, fraction of the limit, threads."""
    table = Table(title=comparison.title, title_justify="left", caption=_refusals(comparison), caption_justify="left")
    table.add_column("")
    for heading in (f"per {comparison.unit}", "from … to", f"× {comparison.base}", "from … to", "GFLOP/s"):
        table.add_column(heading, justify="right", no_wrap=True)
    if comparison.limit:
        table.add_column("of limit", justify="right", no_wrap=True)
    table.add_column("threads", justify="right", no_wrap=True)
    for timing in comparison.timings:
        cells = _row(comparison, timing)
        table.add_row(Text(timing.name, style="bold" if timing.name == comparison.base else ""), *cells)
    return table


def _row(comparison: TimedComparison, timing: Timing) -> list[str]:
    optional = 1 if comparison.limit else 0
    if timing.refused:
        return ["not timed", *[NOTHING] * (5 + optional)]
    seconds = spread(timing.seconds)
    ratio = comparison.ratio(timing.name)
    cells = [duration(seconds.median), _range(duration(seconds.low), duration(seconds.high))]
    cells += [f"{ratio.median:.2f}", times(ratio)] if ratio else [NOTHING, NOTHING]
    cells += [f"{timing.flops / seconds.median / 1e9:.1f}" if timing.flops else NOTHING]
    if comparison.limit:
        share = comparison.of_limit(timing.name)
        cells.append(f"{100 * share.median:.0f} %" if share else NOTHING)
    return [*cells, NOTHING if timing.threads is None else f"{timing.threads}"]


def _refusals(comparison: TimedComparison) -> Text | None:
    lines = [f"{timing.name}: {timing.refused}" for timing in comparison.timings if timing.refused]
    return Text("\n".join(lines), style="bold red") if lines else None


def growth_table(points: Sequence[Point]) -> Table:
    """Return a row for each size: seconds and peak memory of both backends; sizes where "auto" is slower are red."""
    title = "growth: backends auto and torch, training step, denormals flushed for both"
    table = Table(title=title, title_justify="left", caption=_findings(points), caption_justify="left")
    for heading in (
        "",
        "steps",
        "hidden",
        "batch",
        "auto",
        "torch",
        "torch / auto",
        "from … to",
        "peak MiB",
        "torch's",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for point in points:
        shape, ratio = point.shape, point.comparison.ratio("torch")
        timings = [point.comparison.timing(name) for name in ("auto", "torch")]
        cells = [shape.cell, *(f"{size:,}" for size in (shape.time, shape.hidden, shape.batch))]
        cells += [duration(spread(timing.seconds).median) if timing.seconds else "not timed" for timing in timings]
        cells += [f"{ratio.median:.2f}", times(ratio)] if ratio else [NOTHING, NOTHING]
        cells += [_mebibytes(point.peak[name]) for name in ("auto", "torch")]
        table.add_row(*cells, style="bold red" if point.is_slower else "")
    return table


def _findings(points: Sequence[Point]) -> Text:
    refused = [
        f"{p.comparison.title}, {t.name}: {t.refused}" for p in points for t in p.comparison.timings if t.refused
    ]
    slower = [f"auto is slower than torch in every round: {p.comparison.title}" for p in points if p.is_slower]
    if refused or slower:
        return Text("\n".join([*refused, *slower]), style="bold red")
    return Text("no size where auto is slower than torch in every round", style="green")


def duration(seconds: float) -> str:
    """Return seconds as "1.23 s", "4.56 ms" or "789 µs", three digits."""
    scale, unit = next(((scale, unit) for scale, unit in UNITS if seconds >= scale), UNITS[-1])
    value = seconds / scale
    return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"


def times(ratio: Spread) -> str:
    """Return the range of a ratio as "1.23 … 4.56"."""
    return _range(f"{ratio.low:.2f}", f"{ratio.high:.2f}")


def _range(low: str, high: str) -> str:
    return f"{low} … {high}"


def _mebibytes(size: int | None) -> str:
    return NOTHING if size is None else f"{size / 2**20:,.1f}"


def write_report(report: Report, out: Path) -> list[Path]:
    """Write bench.json and bench.png into a folder that is new or empty, and return their paths.

    Raises:
        RunError: the folder is not empty, or cannot be made.
    """
    from ...plots import png  # imported here because matplotlib takes a second to load
    from ...plots.bench import figure

    picture = png(figure(report.comparisons, report.growth, report.on))
    folder = report.write(out)
    write(folder / "bench.png", picture)
    return [folder / "bench.json", folder / "bench.png"]
