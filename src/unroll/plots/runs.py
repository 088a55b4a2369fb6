"""Draw several trainings side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from ..config.axes import Range, is_number
from ..formatting import in_words
from ..runs.compare import Comparison
from ..runs.sweep import Sweep
from ..training.results import EpochResult
from .style import COLOURS, STYLE, label

DASHES = ("-", "--", ":", "-.")
MOST_MARKED = 15  # epochs up to which each is marked by a point
MOST_NAMED = 24  # runs or settings shown with their names
PANELS_PER_ROW = 3  # of numeric settings
LOG_RATIO = 4  # largest over smallest value of a numeric setting from which its axis is logarithmic


class Curve(NamedTuple):
    """A finished training.

    Attributes:
        name: of the run
        history: its epochs
        accuracy: on the test split, a fraction; None without one
        interval: the accuracy's confidence interval; None without a test split
        group: a number shared by runs with the same settings, which are drawn in one colour
    """

    name: str
    history: Sequence[EpochResult]
    accuracy: float | None
    interval: tuple[float, float] | None
    group: int


def comparison_figure(comparison: Comparison) -> Figure:
    """Draw the learning curves and test accuracies of compared runs, each group in one colour."""
    return side_by_side(
        [
            Curve(str(run.path), run.history, run.accuracy, run.interval, number)
            for number, group in enumerate(comparison.groups)
            for run in group.runs
        ]
    )


def sweep_figure(sweep: Sweep) -> Figure:
    """Draw the validation accuracy of each completed setting of a finished sweep."""
    scores = [
        Score(in_words(trial.setting), trial.setting, trial.val_accuracies) for trial in sweep.ranked if trial.finished
    ]
    numbers = {
        name: not isinstance(values, Range)
        for name, values in sweep.axes.items()
        if is_number(name) and (isinstance(values, Range) or None not in values)
    }
    words = [name for name in sweep.axes if name not in numbers]
    return swept(scores, numbers, words[0] if words else None)


def side_by_side(curves: Sequence[Curve]) -> Figure:
    """Draw learning curves in one plot, and below them the test accuracies with their 95 % intervals.

    Args:
        curves: the best first. Without a validation split, the training curve is drawn and labelled as such.
    """
    shown = curves[:MOST_NAMED]
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
        figure = Figure(figsize=(8.4, 4.0 + 0.24 * len(shown)), layout=layout)
        parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[3.4, 1.0 + 0.24 * len(shown)])
        top, bottom = parts[:, 0]
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
    marker = "." if len(epochs) <= MOST_MARKED else None
    accuracies = [
        result.train_accuracy if result.val_accuracy is None else result.val_accuracy for result in curve.history
    ]
    losses = [result.train_loss if result.val_loss is None else result.val_loss for result in curve.history]
    for ax, values in ((left, [100 * accuracy for accuracy in accuracies]), (right, losses)):
        ax.plot(epochs, values, linewidth=1.3, marker=marker, alpha=pale, color=colour, linestyle=dashes)


def _intervals(ax: Axes, curves: Sequence[Curve], left_out: int) -> None:
    for place, curve in enumerate(curves):
        colour, _ = _look(curve)
        if curve.accuracy is None or curve.interval is None:
            continue
        low, high = (100 * end for end in curve.interval)
        ax.plot([low, high], [place, place], color=colour, linewidth=2.2, alpha=0.55, solid_capstyle="round")
        ax.plot(100 * curve.accuracy, place, "o", color=colour, markersize=5)
        ax.annotate(
            f"{100 * curve.accuracy:.2f}", (high, place), (5, 0), textcoords="offset points", va="center", fontsize=8
        )
    ax.set_yticks(range(len(curves)), [label(curve.name) for curve in curves])
    ax.set_ylim(len(curves) - 0.4, -0.6)
    ax.margins(x=0.08)
    ax.set_xlabel("test accuracy (%), with its 95 % interval")
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    if left_out:
        ax.set_title(f"({left_out} more runs are not shown)")


class Score(NamedTuple):
    """The results of one setting of a sweep.

    Attributes:
        name: the setting in words
        setting: its values
        accuracies: on the validation split, one for each seed, as fractions
    """

    name: str
    setting: Mapping[str, Any]
    accuracies: Sequence[float]


def swept(scores: Sequence[Score], numbers: Mapping[str, bool], group: str | None) -> Figure:
    """Draw the validation accuracy of each setting, each seed a dot; below, against each numeric setting.

    Args:
        scores: the best first, at least one.
        numbers: names of the numeric settings, and whether each has a few values instead of a range: then a line joins
            the means over all other settings.
        group: name of the setting shown by colour; None for one colour.
    """
    shown = scores[:MOST_NAMED]
    kinds = list(dict.fromkeys(str(score.setting[group]) if group else "" for score in scores))
    colours = {kind: COLOURS[index % len(COLOURS)] for index, kind in enumerate(sorted(kinds))}
    rows = math.ceil(len(numbers) / PANELS_PER_ROW)
    height = 1.1 + 0.26 * len(shown)
    with mpl.rc_context(STYLE):
        layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
        figure = Figure(figsize=(8.4, height + 2.9 * rows), layout=layout)
        parts = figure.subfigures(1 + rows, 1, squeeze=False, height_ratios=[height, *[2.9] * rows])
        _settings(parts[0, 0].add_subplot(), shown, colours, group, len(scores) - len(shown))
        for row in range(rows):
            names = list(numbers)[row * PANELS_PER_ROW : (row + 1) * PANELS_PER_ROW]
            axes = parts[1 + row, 0].subplots(1, len(names), squeeze=False, sharey=True)[0]
            axes[0].set_ylabel("validation accuracy (%)")
            for ax, name in zip(axes, names, strict=True):
                _against(ax, name, scores, colours, group, numbers[name])
        if group:
            handles = [Line2D([], [], marker="o", linestyle="", color=colour) for colour in colours.values()]
            figure.legend(handles, list(map(label, colours)), title=group, loc="outside right upper", frameon=False)
        return figure


def _colour(score: Score, colours: Mapping[str, str], group: str | None) -> str:
    return colours[str(score.setting[group]) if group else ""]


def _settings(ax: Axes, scores: Sequence[Score], colours: Mapping[str, str], group: str | None, left_out: int) -> None:
    for place, score in enumerate(scores):
        colour, values = _colour(score, colours, group), [100 * accuracy for accuracy in score.accuracies]
        ax.plot(values, [place] * len(values), "o", color=colour, markersize=5, alpha=0.55, markeredgewidth=0)
        if len(values) > 1:
            ax.plot(fmean(values), place, "|", color="black", markersize=11, markeredgewidth=1.6)
    ax.set_yticks(range(len(scores)), [label(score.name) for score in scores])
    ax.get_yticklabels()[0].set_fontweight("bold")
    ax.set_ylim(len(scores) - 0.4, -0.6)
    ax.margins(x=0.05)
    seeds = len(scores[0].accuracies)
    ax.set_xlabel(
        "validation accuracy (%)" + (f", each of {seeds} seeds a dot, their mean a line" if seeds > 1 else "")
    )
    ax.grid(axis="x", alpha=0.25, linewidth=0.6)
    if left_out:
        ax.set_title(f"the best {len(scores)} settings ({left_out} more are not shown)")


def _against(
    ax: Axes, name: str, scores: Sequence[Score], colours: Mapping[str, str], group: str | None, few: bool
) -> None:
    every = sorted({score.setting[name] for score in scores})
    for kind, colour in colours.items():
        own = [score for score in scores if not group or str(score.setting[group]) == kind]
        for score in own:
            at = [score.setting[name]] * len(score.accuracies)
            ax.plot(at, [100 * a for a in score.accuracies], "o", color=colour, markersize=4.5, alpha=0.55, mew=0)
        if few:
            means = {
                value: [a for score in own if score.setting[name] == value for a in score.accuracies] for value in every
            }
            joined = {value: 100 * fmean(accuracies) for value, accuracies in means.items() if accuracies}
            ax.plot(list(joined), list(joined.values()), color=colour, linewidth=1.3)
    if every[0] > 0 and every[-1] / every[0] >= LOG_RATIO:
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if every[-1] / every[0] < 100 else (1,)))
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if few:
        ax.set_xticks(every, [f"{value:g}" for value in every])
    ax.set_xlabel(name)
    ax.grid(alpha=0.25, linewidth=0.6)
