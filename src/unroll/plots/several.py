"""Pictures of several trainings side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..train import EpochResult
from .style import COLOURS, STYLE

DASHES = ("-", "--", ":", "-.")
MARKED = 15  # epochs up to which each is marked by a point
MOST = 24  # runs whose names are told


class Curve(NamedTuple):
    """A finished training.

    Attributes:
        name: of the run
        history: its epochs
        accuracy: on the test part, a fraction
        interval: the accuracy's confidence interval
        group: a number that runs with the same settings share; they are drawn in one colour
    """

    name: str
    history: Sequence[EpochResult]
    accuracy: float
    interval: tuple[float, float]
    group: int


def side_by_side(curves: Sequence[Curve]) -> Figure:
    """Draw learning curves over each other, and below them the test accuracies with their 95 % intervals.

    Args:
        curves: the best first. Of runs without a validation part the training curve is drawn, and said so.
    """
    shown = curves[:MOST]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 4.0 + 0.24 * len(shown)), layout="constrained")
        figure.get_layout_engine().set(w_pad=0.1, h_pad=0.08)
        top, bottom = figure.subfigures(2, 1, height_ratios=[3.4, 1.0 + 0.24 * len(shown)])
        left, right = top.subplots(1, 2)
        held_out = [curve.history[-1].val_accuracy is not None for curve in curves]
        for curve in curves:
            _learning(left, right, curve, mixed=any(held_out))
        part = "validation" if all(held_out) else "training" if not any(held_out) else "validation (pale: training)"
        for ax, what in ((left, f"{part} accuracy (%)"), (right, f"{part} loss (nats)")):
            ax.set_xlabel("epoch")
            ax.set_ylabel(what)
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.grid(alpha=0.25, linewidth=0.6)
        _intervals(bottom.add_subplot(), shown, len(curves) - len(shown))
        return figure


def _look(curve: Curve) -> tuple[str, str]:
    """Return colour and dashes."""
    turn, colour = divmod(curve.group, len(COLOURS))
    return COLOURS[colour], DASHES[turn % len(DASHES)]


def _learning(left: Axes, right: Axes, curve: Curve, mixed: bool) -> None:
    colour, dashes = _look(curve)
    pale = 0.4 if mixed and curve.history[-1].val_accuracy is None else 1.0
    epochs = [result.epoch for result in curve.history]
    marker = "." if len(epochs) <= MARKED else None
    accuracies = [
        result.train_accuracy if result.val_accuracy is None else result.val_accuracy for result in curve.history
    ]
    losses = [result.train_loss if result.val_loss is None else result.val_loss for result in curve.history]
    for ax, values in ((left, [100 * accuracy for accuracy in accuracies]), (right, losses)):
        ax.plot(epochs, values, linewidth=1.3, marker=marker, alpha=pale, color=colour, linestyle=dashes)


def _intervals(ax: Axes, curves: Sequence[Curve], left_out: int) -> None:
    for place, curve in enumerate(curves):
        colour, _ = _look(curve)
        low, high = (100 * end for end in curve.interval)
        ax.plot([low, high], [place, place], color=colour, linewidth=2.2, alpha=0.55, solid_capstyle="round")
        ax.plot(100 * curve.accuracy, place, "o", color=colour, markersize=5)
        ax.annotate(
            f"{100 * curve.accuracy:.2f}", (high, place), (5, 0), textcoords="offset points", va="center", fontsize=8
        )
    ax.set_yticks(range(len(curves)), [curve.name for curve in curves])
    ax.set_ylim(len(curves) - 0.4, -0.6)
    ax.margins(x=0.08)
    ax.set_xlabel("test accuracy (%), with its 95 % interval")
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    if left_out:
        ax.set_title(f"({left_out} more runs are not shown)")
