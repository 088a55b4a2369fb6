"""Draw benchmark results: bars of ratios with their spread, and curves of growth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from ..bench.clock import TimedComparison, spread
from ..bench.growth import AXES, Point
from ..bench.steps import CellName, Shape
from . import COLOURS, STYLE

AXIS_LABELS = {"time": "time steps", "hidden": "hidden size", "batch": "batch size"}
WIDTH = 9.0  # inches
BAR = 0.3  # inches, with its margins
CURVES = 5.6  # inches, all of them


def figure(comparisons: Sequence[TimedComparison], points: Sequence[Point], machine: str) -> Figure:
    """Draw each contender's time relative to the base, and below it how seconds and memory grow.

    Args:
        comparisons: those without any ratio are left out.
        points: of growth; none draws no curves. At least one ratio or point is needed.
        machine: for the title.
    """
    panels = [comparison for comparison in comparisons if _bars(comparison)]
    heights = [BAR * len(_bars(comparison)) + 0.6 for comparison in panels]
    curves = CURVES if points else 0.0
    with mpl.rc_context(STYLE):
        whole = Figure(figsize=(WIDTH, sum(heights) + curves + 0.7), layout="constrained")
        whole.suptitle(f"{machine}\nmedian, minimum and maximum of the rounds", fontsize=9)
        parts = [height for height in (sum(heights), curves) if height]
        places = list(whole.subfigures(len(parts), 1, squeeze=False, height_ratios=parts)[:, 0])
        if panels:
            axes = places.pop(0).subplots(len(panels), 1, squeeze=False, height_ratios=heights)
            for ax, comparison in zip(axes.flat, panels, strict=True):
                _ratios(ax, comparison)
            axes.flat[-1].set_xlabel(f"time, as a multiple of {panels[-1].base}'s")
        if points:
            _growth(places.pop(0), points)
        return whole


def _bars(comparison: TimedComparison) -> list[str]:
    """Return the contenders that have a ratio to show."""
    return [timing.name for timing in comparison.timings if comparison.ratio(timing.name)]


def _ratios(ax: Axes, comparison: TimedComparison) -> None:
    names = _bars(comparison)
    for row, name in enumerate(names):
        ratio = comparison.ratio(name)
        assert ratio is not None
        low, high = ratio.median - ratio.low, ratio.high - ratio.median
        colour = COLOURS[0] if name == comparison.base else COLOURS[1]
        ax.barh(row, ratio.median, 0.65, color=colour, xerr=[[low], [high]], error_kw={"lw": 1, "capsize": 2})
        ax.annotate(f"{ratio.median:.2f}", (ratio.high, row), (4, 0), textcoords="offset points", va="center")
    ax.axvline(1, color=COLOURS[0], lw=0.8, ls=":")
    ax.set_yticks(np.arange(len(names)), names)
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlim(left=0)
    ax.set_title(comparison.title.split(" (")[0] + _details(comparison.title), loc="left", fontsize=8)


def _details(title: str) -> str:
    """Return the text in brackets up to the first semicolon: a small panel needs a short title."""
    _, bracket, inside = title.partition(" (")
    return f" ({inside.rstrip(')').split(';')[0]})" if bracket else ""


def _growth(place: SubFigure, points: Sequence[Point]) -> None:
    """Draw seconds above and memory below, an axis of growth per column, both axes logarithmic."""
    axes = place.subplots(2, len(AXES), squeeze=False, sharey="row", sharex="col")
    cells = [cell for cell in get_args(CellName) if any(point.shape.cell == cell for point in points)]
    for column, axis in enumerate(AXES):
        for colour, cell in zip(COLOURS, cells, strict=False):
            chosen = [p for p in points if p.shape.cell == cell and (p.axis == axis or p.shape == Shape(cell))]
            by_size = {getattr(point.shape, axis): point for point in chosen}
            for backend, style in (("auto", "-"), ("torch", "--")):
                for row, values in enumerate(_grown(by_size, backend)):
                    label = f"{cell}, {backend}"
                    sizes, heights = zip(*values, strict=True) if values else ((), ())
                    axes[row, column].loglog(sizes, heights, marker=".", color=colour, ls=style, label=label)
        axes[1, column].set_xlabel(AXIS_LABELS[axis])
    axes[0, 0].set_ylabel("seconds per training step")
    axes[1, 0].set_ylabel("peak memory (MiB)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    place.legend(handles, labels, loc="outside lower center", ncols=max(2, len(labels) // 2), frameon=False)


def _grown(by_size: dict[int, Point], backend: str) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """Return (size, seconds) and (size, MiB), both in ascending order of size."""
    points = sorted(by_size.items())
    seconds = [(size, point.comparison.timing(backend).seconds) for size, point in points]
    medians = [(size, spread(times).median) for size, times in seconds if times]
    memory = [(size, peak / 2**20) for size, point in points if (peak := point.peak[backend])]
    return medians, memory
