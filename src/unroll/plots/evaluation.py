"""Draw learning curves, confusion matrices, calibration and anytime accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from ..evaluation.anytime import Anytime
from ..evaluation.calibration import Reliability
from ..evaluation.metrics import Evaluation, PrecisionRecall
from .style import COLOURS, STYLE, WIDTH, label

MOST_COUNTED_CLASSES = 15  # classes up to which a confusion matrix shows its counts
LOG_RATIO = 10  # highest over lowest loss from which the axis is logarithmic
MOST_NAMED_CLASSES = 40  # classes up to which a confusion matrix names them all
FEWEST_PREDICTIONS = 10  # predictions in a bin, so that its accuracy says something
NAME_LENGTH = 12  # characters of a class name on an axis
DARK, LIGHT = "#000001", "#ffffff"  # of text on a coloured background, independent of the page's own colour


def learning_curves(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw loss and accuracy of each epoch, on the training split and, if there is one, the validation split.

    Args:
        history: the fields of `unroll.EpochResult`, one mapping per epoch; accuracies are fractions.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
        losses, accuracies = figure.subplots(2, 1, sharex=True)
        epochs = [row["epoch"] for row in history]
        for part, name in (("train", "training, while the weights moved"), ("val", "validation, after the epoch")):
            if history and history[0][f"{part}_loss"] is not None:
                marker = "." if len(epochs) < 30 else None
                losses.plot(epochs, [row[f"{part}_loss"] for row in history], label=name, marker=marker)
                accuracies.plot(epochs, [row[f"{part}_accuracy"] for row in history], marker=marker)
        losses.set_ylabel("cross entropy (nats)")
        low, high = losses.dataLim.intervaly
        if low > 0 and high > LOG_RATIO * low:
            losses.set_yscale("log")
        losses.legend(frameon=False)
        accuracies.set_ylabel("accuracy")
        accuracies.yaxis.set_major_formatter(PercentFormatter(1))
        accuracies.set_xlabel("epoch")
        accuracies.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure


def confusion(evaluation: Evaluation) -> Figure:
    """Draw the confusion matrix: rows are true classes, columns predicted ones; colours show fractions of each row."""
    counts = evaluation.confusion.numpy()
    shares = counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    names = [shortened(name) for name in evaluation.classes]
    with mpl.rc_context(STYLE):
        side = WIDTH if len(names) <= MOST_COUNTED_CLASSES else 1.3 * WIDTH
        figure = Figure(figsize=(side, 0.92 * side), layout="constrained")
        ax = figure.add_subplot()
        # The square root makes rare confusions visible, which are what a reader looks for.
        drawn = ax.imshow(np.cbrt(shares), cmap="cividis", vmin=0, vmax=1)
        ticks = range(0, len(names), 1 if len(names) <= MOST_NAMED_CLASSES else len(names) // 20)
        small = 9 if len(names) <= MOST_COUNTED_CLASSES else 5
        ax.set_xticks(
            ticks, [names[tick] for tick in ticks], rotation=90 if max(map(len, names)) > 2 else 0, size=small
        )
        ax.set_yticks(ticks, [names[tick] for tick in ticks], size=small)
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.set_xlabel("predicted class")
        ax.set_ylabel("true class")
        if len(names) <= MOST_COUNTED_CLASSES:
            for (row, column), count in np.ndenumerate(counts):
                if count:
                    colour = DARK if shares[row, column] > 0.2 else LIGHT
                    ax.text(column, row, f"{count:,}", ha="center", va="center", size=7, color=colour)
        bar = figure.colorbar(drawn, ax=ax, shrink=0.7, ticks=np.cbrt([0, 0.01, 0.1, 0.5, 1]).tolist())
        bar.ax.set_yticklabels(["0 %", "1 %", "10 %", "50 %", "100 %"])
        bar.set_label("fraction of the true class")
        bar.outline.set_visible(False)
        return figure


def precision_recall(curve: PrecisionRecall, at: tuple[float, float, str] | None = None) -> Figure:
    """Draw precision against recall of one of two classes, beside the share of the class.

    Args:
        curve: to draw.
        at: recall and precision of a point to mark, and its name (default None: no point).
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        ax = figure.add_subplot()
        ax.plot(curve.recall, curve.precision, drawstyle="steps-post", label=f"average precision {curve.average:.2%}")
        ax.axhline(curve.share, color="#888888", linewidth=1, linestyle="--", label="by chance")
        if at is not None:
            ax.scatter(*at[:2], marker="D", s=30, color=COLOURS[2], zorder=3, label=at[2])
        ax.set_xlabel(f"recall of {shortened(curve.name)}")
        ax.set_ylabel("precision")
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1.02)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        ax.legend(frameon=False)
        return figure


def shortened(name: str) -> str:
    """Return a name cut to fit an axis, safe as text of a figure."""
    return label(name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…")


def reliability_diagram(parts: Mapping[str, Reliability]) -> Figure:
    """Draw accuracy against confidence, and below it the number of predictions of each confidence.

    Args:
        parts: by name, such as "uncalibrated"; at most a few.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
        curve, histogram = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        curve.plot([0, 1], [0, 1], color="#888888", linewidth=1, linestyle="--", label="perfectly calibrated")
        for number, (name, measured) in enumerate(parts.items()):
            enough = min(FEWEST_PREDICTIONS, max(measured.counts))
            bins = zip(measured.counts, measured.confidence, measured.accuracy, strict=True)
            points = [(confidence, accuracy) for n, confidence, accuracy in bins if n >= enough]
            curve.plot(*zip(*points, strict=True), marker="o", markersize=4, label=f"{name}: ECE {measured.ece:.2%}")
            width = 1 / len(measured.counts) / len(parts)
            left = np.array(measured.edges[:-1]) + number * width
            histogram.bar(left, measured.counts, width, align="edge", color=COLOURS[number])
        curve.set_ylabel("fraction correct")
        histogram.set_xlabel("confidence (probability of the predicted class)")
        histogram.set_ylabel("predictions")
        histogram.set_yscale("symlog", linthresh=1)
        histogram.set_yticks(
            [t for t in (1, 10, 100, 1_000, 10_000, 100_000) if t <= 2 * max(max(f.counts) for f in parts.values())]
        )
        for axis in (curve.xaxis, curve.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        curve.legend(frameon=False)
        return figure


def anytime_curve(anytime: Anytime, unit: str = "time step") -> Figure:
    """Draw accuracy and confidence against the fraction of each sequence that was read.

    Args:
        anytime: the result to draw.
        unit: what a time step is, such as "row" (default "time step").
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.2), layout="constrained")
        ax = figure.add_subplot()
        name = "confidence, calibrated" if anytime.calibrated else "confidence"
        ax.plot(anytime.fractions, anytime.accuracy, marker=".", label="accuracy")
        ax.plot(anytime.fractions, anytime.confidence, linestyle="--", label=f"{name} (mean)")
        ax.set_xlabel(f"fraction of each sequence that was read ({unit}s)")
        ax.set_ylim(0, 1.02)
        ax.set_xlim(0, 1)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_formatter(PercentFormatter(1))
        _stops(ax, anytime)
        ax.legend(frameon=False)
        return figure


def _stops(ax: Axes, anytime: Anytime) -> None:
    """Mark the results of early stopping: mean steps, as a fraction of the mean length, and accuracy."""
    shares = [stop.steps / max(anytime.steps[-1], 1e-9) for stop in anytime.stops]
    ax.scatter(
        shares,
        [stop.accuracy for stop in anytime.stops],
        marker="D",
        s=22,
        color=COLOURS[2],
        zorder=3,
        label="stopped at confidence: " + ", ".join(f"{stop.confidence:.0%}" for stop in anytime.stops),
    )
