"""Draw a model reading: its hidden state and its answer step by step, and its most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ..data.sequences import SequenceData
from ..evaluation.stepwise import Watched
from .data import mosaic, sequence, tiles
from .evaluation import shortened
from .style import STYLE, WIDTH

MOST_WORDS = 24  # up to this number, the words of a text are written below the plot
MOST_CLASSES = 12  # the most probable ones
MARK = "#D55E00"  # colour of the step since which the answer has not changed


def reading(watched: Watched) -> Figure:
    """Draw a sequence, the hidden state after each of its steps, and the probability of each class by then.

    For an image read row by row, time goes from top to bottom; for anything else from left to right. Time steps are
    counted from 1. The line marks the step since which the answer has not changed.
    """
    with mpl.rc_context(STYLE):
        return _downwards(watched) if watched.data.preparation.unit == "row" else _rightwards(watched)


def mistakes(data: SequenceData, numbers: Sequence[int], labels: Tensor, confidence: Tensor) -> Figure:
    """Draw misclassified images or series, each with "true → predicted, confidence".

    Args:
        data: images or series.
        numbers: indices of the sequences.
        labels: (len(numbers),) int64 predicted classes.
        confidence: (len(numbers),) as fractions.
    """
    some, classes = data.subset(torch.tensor(numbers)), data.preparation.classes
    names = [
        f"{shortened(classes[true])}\n→ {shortened(classes[label])} {sure:.1%}"
        for true, label, sure in zip(some.y.tolist(), labels.tolist(), confidence.tolist(), strict=True)
    ]
    columns = min(5, len(numbers))
    with mpl.rc_context(STYLE):
        if some.kind == "images":
            pictures = tiles(some.images().numpy())
            rows = [pictures[at : at + columns] for at in range(0, len(pictures), columns)]
            return mosaic(rows, columns, None, titles=names, inches=WIDTH, letters=6)
        columns = min(3, len(numbers))
        figure = Figure(figsize=(WIDTH, 1.2 * -(-len(numbers) // columns) + 0.4), layout="constrained")
        axes = figure.subplots(-(-len(numbers) // columns), columns, squeeze=False, sharey=True)
        for ax in axes.flat[len(numbers) :]:
            ax.set_axis_off()
        for ax, number, name in zip(axes.flat, range(len(numbers)), names, strict=False):
            sequence(ax, some.sequence(number, some.values).float(), some, first=1)
            ax.set_title(name, fontsize=7)
            ax.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        figure.supxlabel("time step")
        figure.supylabel("standardised value")
        return figure


def _downwards(watched: Watched) -> Figure:
    """Draw time from top to bottom, next to an image's rows."""
    figure = Figure(figsize=(WIDTH, 2.5), layout="constrained")
    picture, state, answer = figure.subplots(1, 3, width_ratios=(1, 1.5, 0.9))
    bottom, time = watched.data.x.shape[1] + 0.5, watched.data.x.shape[1]
    height = {"aspect": "auto", "interpolation": "nearest"}
    sides = (0.5, watched.data.x.shape[2] + 0.5, bottom, 0.5)
    picture.imshow(watched.data.images()[0].numpy(), extent=sides, vmin=0, vmax=255, **height)
    picture.set_title("the image", fontsize=8)
    picture.set_ylabel("row")
    picture.set_xticks([])
    # Sorts the units from mostly negative to mostly positive.
    hidden = watched.hidden[:, watched.hidden.mean(dim=0).argsort()].numpy()
    limit = float(np.abs(hidden).max(initial=1e-6))
    state.imshow(
        hidden, extent=(0.5, hidden.shape[1] + 0.5, bottom, 0.5), cmap="PuOr", vmin=-limit, vmax=limit, **height
    )
    state.set_title("hidden state after each row", fontsize=8)
    state.set_xlabel(f"unit (purple +, orange −, to ±{limit:.1f})", fontsize=7)
    state.set_xticks([])
    shown, names = _classes(watched)
    sides = (-0.5, len(names) - 0.5, bottom, 0.5)
    answer.imshow(watched.probabilities[:, shown].numpy(), extent=sides, cmap="cividis", vmin=0, vmax=1, **height)
    answer.set_title("probability", fontsize=8)
    answer.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0, fontsize=6)
    answer.set_xlabel("class", fontsize=7)
    for ax in (picture, state, answer):
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0, labelsize=7)
        ax.axhline(watched.decided - 0.5, color=MARK, linewidth=1.5)
        if ax is not picture:
            ax.set_yticks([])
    ends = {end for end in (1, time) if abs(end - watched.decided) > time // 20}  # their numbers need space
    picture.set_yticks(sorted({watched.decided, *ends}))
    return figure


def _rightwards(watched: Watched) -> Figure:
    """Draw time from left to right: what was read, the hidden state, the probabilities."""
    texts, tokenizer = watched.data.texts, watched.data.preparation.tokenizer
    parts = 2 if texts else 3
    figure = Figure(figsize=(WIDTH, 1.1 * parts + 0.9), layout="constrained")
    axes = list(figure.subplots(parts, 1, sharex=True))
    time = watched.data.x.shape[1]
    if not texts:
        _input(axes[0], watched.data)
    state, answer = axes[-2:]
    # Sorts the units by the step at which they are most active.
    hidden = watched.hidden[:, watched.hidden.abs().argmax(dim=0).argsort(stable=True)].numpy()
    limit = float(np.abs(hidden).max(initial=1e-6))
    sides, steps = (0.5, time + 0.5, hidden.shape[1], 0), range(1, time + 1)
    state.imshow(hidden.T, extent=sides, aspect="auto", interpolation="nearest", cmap="PuOr", vmin=-limit, vmax=limit)
    state.set_ylabel("unit")
    state.set_yticks([])
    state.set_title(f"hidden state (purple +, orange −, to ±{limit:.1f})", fontsize=8)
    shown, names = _classes(watched, most=5)  # the sixth colour is used for the mark
    curves = watched.probabilities[:, shown].numpy()
    lines = answer.plot(steps, curves, marker="." if time < 30 else None)
    answer.set_ylabel("probability")
    answer.set_ylim(-0.02, 1.02)
    answer.legend(lines, names, frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    for ax in axes:
        ax.axvline(watched.decided, color=MARK, linewidth=1.5)
    if texts and tokenizer and time <= MOST_WORDS:
        answer.set_xticks(steps, list(map(shortened, tokenizer.tokens(texts[0]))), rotation=90, fontsize=7)
    else:
        answer.set_xlabel("token" if texts else "time step")
        answer.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _input(ax: Axes, data: SequenceData) -> None:
    if data.preparation.unit == "column":
        sides = (0.5, data.x.shape[1] + 0.5, data.x.shape[2], 0)
        ax.imshow(data.images()[0].numpy(), extent=sides, aspect="auto", interpolation="nearest", vmin=0, vmax=255)
        ax.set_yticks([])
        ax.set_ylabel("image")
        return
    sequence(ax, data.values[0].float(), data, first=1)
    ax.set_ylabel("input, scaled")


def _classes(watched: Watched, most: int = MOST_CLASSES) -> tuple[list[int], list[str]]:
    """Return the predicted and the true class, and all that were ever the most probable, with their names."""
    ever = watched.probabilities.max(dim=0).values.argsort(descending=True, stable=True).tolist()
    shown = sorted(list(dict.fromkeys([watched.predicted, watched.true, *ever]))[:most])
    return shown, [shortened(watched.name(label)) for label in shown]
