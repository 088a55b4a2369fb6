"""Draw data sets."""

from __future__ import annotations

import math
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from torch import Tensor

from ..data.sequences import SequenceData
from ..data.splits import Splits
from ..data.vocabulary import WordDescription, describe_words
from .style import COLOURS, STYLE, label

TILE = 96  # pixels of the longer side of one image in a picture of many
MOST_CLASSES = 30  # the title says how many classes are left out
SHORTEST = 3  # time steps; the points of a shorter curve are marked
CURVES = 24  # features up to which a sequence is drawn as curves; beyond, as a heat map


def figures(splits: Splits) -> dict[str, Figure]:
    """Return the figures of a data set by name: samples, means, classes and, if they differ, lengths.

    Of texts: words, classes and lengths.
    """
    words = describe_words(splits)
    drawn = (
        {"samples": samples(splits.train), "means": class_means(splits.train)}
        if words is None
        else {"words": typical(words)}
    )
    drawn["classes"] = class_balance(splits)
    if splits.train.lengths is not None or splits.test.lengths is not None:
        drawn["lengths"] = lengths(splits)
    return drawn


def samples(data: SequenceData, per_class: int = 10, seed: int = 0) -> Figure:
    """Draw some sequences of each class, a class per row.

    Args:
        data: images are drawn as such, other sequences as curves over time, or as heat maps if they have many features.
        per_class: columns (default 10; at most 4 unless they are images).
        seed: seed of the choice.
    """
    random = np.random.default_rng(seed)
    labels = _drawn(data)
    chosen = [random.permutation(np.flatnonzero(data.y.numpy() == number))[:per_class] for number in labels]
    names = [label(data.preparation.classes[number]) for number in labels]
    title = f"some of {len(data):,} sequences, class by class{_left_out(len(names), len(data.preparation.classes))}"
    with mpl.rc_context(STYLE):
        if data.kind != "images":
            return _sample_curves(data, [row[:4] for row in chosen], names, title)
        rows = [tiles(data.subset(torch.from_numpy(row)).images().numpy()) for row in chosen]
        return mosaic(rows, per_class, title, row_names=names)


def class_means(data: SequenceData) -> Figure:
    """Draw the mean of each class: an image, or for other sequences a curve per feature or a heat map."""
    form = data.preparation.image
    labels = _drawn(data)
    names = [label(data.preparation.classes[number]) for number in labels]
    title = f"mean of each class{_left_out(len(labels), len(data.preparation.classes))}"
    means = [_mean(data.subset((data.y == number).nonzero()[:, 0])) for number in labels]
    with mpl.rc_context(STYLE):
        if form is not None:
            pictures = tiles(form.images(torch.stack(means)).numpy())
            columns = min(10, len(pictures))
            rows = [pictures[at : at + columns] for at in range(0, len(pictures), columns)]
            return mosaic(rows, columns, title, titles=names)
        columns = min(5, len(means))
        figure, axes = _grid(math.ceil(len(means) / columns), columns, 2.4, 1.7, title)
        for ax, mean, name in zip(axes.flat, means, names, strict=False):
            sequence(ax, mean, data)
            ax.set_title(name)
        for ax in axes.flat[len(means) :]:
            ax.set_axis_off()
        _explain_features(figure, data)
        return figure


def class_balance(splits: Splits) -> Figure:
    """Draw the number of sequences of each class, in the training and test split."""
    parts = {"train": splits.train.counts, "test": splits.test.counts}
    names = [name for name in splits.classes if any(counts[name] for counts in parts.values())][:MOST_CLASSES]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 1.2 + 0.3 * len(names)), layout="constrained")
        ax = figure.add_subplot()
        for offset, (part, counts) in zip((-0.2, 0.2), parts.items(), strict=True):
            widths = [counts[name] for name in names]
            bars = ax.barh(np.arange(len(names)) + offset, widths, 0.4, label=f"{part}: {sum(counts.values()):,}")
            ax.bar_label(bars, [f"{width:,}" for width in widths], padding=2, fontsize=7)
        ax.set_yticks(np.arange(len(names)), list(map(label, names)))
        ax.invert_yaxis()
        ax.margins(x=0.12)
        ax.set_xlabel("sequences")
        ax.set_title(f"{label(splits.name)}: sequences per class{_left_out(len(names), len(splits.classes))}")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return figure


def lengths(splits: Splits) -> Figure:
    """Draw the lengths of the sequences, in the training and test split."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        ax = figure.add_subplot()
        parts = [(name, data.steps_of_each.numpy()) for name, data in (("train", splits.train), ("test", splits.test))]
        longest = max(int(steps.max(initial=0)) for _, steps in parts)
        edges = np.linspace(-0.5, longest + 0.5, min(longest + 2, 50))
        ax.hist(
            [steps for _, steps in parts],
            bins=edges.tolist(),
            label=[f"{part}: {len(steps):,}" for part, steps in parts],
        )
        ax.set_xlabel("length (time steps)")
        ax.set_ylabel("sequences")
        ax.set_title(f"{label(splits.name)}: lengths")
        ax.legend(frameon=False)
        return figure


def typical(words: WordDescription) -> Figure:
    """Draw which tokens distinguish each class from the others, and how well."""
    classes = list(words.typical)[:MOST_CLASSES]
    columns = min(3, len(classes))
    rows = math.ceil(len(classes) / columns)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(2.4 * columns, 2.2 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
        figure.suptitle(f"tokens that distinguish a class from the others{_left_out(len(classes), len(words.typical))}")
        for ax, name in zip(axes.flat, classes, strict=False):
            tokens = words.typical[name]
            ax.barh(np.arange(len(tokens)), [score for _, score in tokens])
            ax.set_yticks(np.arange(len(tokens)), [label(token) for token, _ in tokens])
            ax.invert_yaxis()
            ax.set_title(label(name))
            ax.set_xlabel("z-score")
        for ax in list(axes.flat)[len(classes) :]:
            ax.set_axis_off()
        return figure


def _drawn(data: SequenceData) -> list[int]:
    """Return the classes that have sequences, as many as fit into the figure."""
    return [label for label, count in enumerate(data.counts.values()) if count][:MOST_CLASSES]


def _left_out(drawn: int, classes: int) -> str:
    return f"\n({classes - drawn} of {classes} classes are not shown)" if drawn < classes else ""


def tiles(images: np.ndarray) -> np.ndarray:
    """Return images as float32, the longer side at most `TILE` pixels: a sheet of photographs is huge.

    Args:
        images: (n, height, width) or (n, height, width, 3), 0 to 255.
    """
    height, width = images.shape[1:3]
    scale = TILE / max(height, width)
    if scale >= 1:
        return images.astype(np.float32)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if images.ndim == 4:
        return np.stack([tiles(channel) for channel in np.moveaxis(images, 3, 0)], axis=3)
    return np.stack(
        [np.asarray(Image.fromarray(image.astype(np.float32)).resize(size, Image.Resampling.BOX)) for image in images]
    )


def mosaic(
    rows: list[np.ndarray],
    columns: int,
    title: str | None,
    row_names: list[str] | None = None,
    titles: list[str] | None = None,
    inches: float | None = None,
    letters: float = 9,
) -> Figure:
    """Draw images row by row into one axis, which is a hundred times as fast as a hundred axes.

    Args:
        rows: images of one size, (n, height, width) or (n, height, width, 3), 0 to 255.
        columns: most images in a row.
        title: of the figure.
        row_names: of each row, at its left.
        titles: of each image, above it, of one line or more.
        inches: width of the figure (default: chosen by the longer side).
        letters: font size of ``titles``, in points (default 9).
    """
    height, width, *channels = rows[0].shape[1:]
    gap = max(1, height // 14)
    head = gap + (height // 3 if titles else 0)  # space for a name above each
    if inches is not None:
        scale = inches / (columns * (width + gap) + gap)  # inches a pixel
        lines = max((name.count("\n") + 1 for name in titles or []), default=0)
        head = gap + math.ceil(1.4 * letters * lines / 72 / scale)
    size = (len(rows) * (height + head) + gap, columns * (width + gap) + gap)
    sheet = np.full((*size, *channels), np.nan, np.float32)
    for r, images in enumerate(rows):
        for c, image in enumerate(images):
            top, left = r * (height + head) + head, c * (width + gap) + gap
            sheet[top : top + height, left : left + width] = image
    if inches is None:
        scale = 7.0 / max(sheet.shape[:2])
    margins = (1.2, 0.5) if inches is None else (0, 0.1)
    figsize = (sheet.shape[1] * scale + margins[0], sheet.shape[0] * scale + margins[1])
    figure = Figure(figsize=figsize, layout="constrained")
    ax = figure.add_subplot()
    ax.imshow(_with_opacity(sheet) if channels else sheet, vmin=0, vmax=255)
    ax.spines[:].set_visible(False)
    ax.set_xticks([])
    ax.set_yticks([])
    if row_names is not None:
        ax.set_yticks([r * (height + head) + head + height / 2 for r in range(len(rows))], row_names)
        ax.tick_params(length=0)
    for number, name in enumerate(titles or []):
        r, c = divmod(number, columns)
        x, y = c * (width + gap) + gap + width / 2, r * (height + head) + head - 1.5
        ax.text(x, y, name, ha="center", va="bottom", size=letters)
    if title is not None:
        ax.set_title(title)
    return figure


def _with_opacity(colours: np.ndarray) -> np.ndarray:
    """Return (height, width, 3) from 0 to 255, NaN where nothing is drawn, as RGBA from 0 to 1."""
    drawn = ~np.isnan(colours[..., :1])
    rgba: np.ndarray = np.concatenate([np.nan_to_num(colours) / 255, drawn], axis=2).clip(0, 1)
    return rgba


def _sample_curves(data: SequenceData, chosen: list[np.ndarray], names: list[str], title: str) -> Figure:
    columns = max(len(row) for row in chosen)
    figure, axes = _grid(len(chosen), columns, 2.2, 1.3, title)
    for row, members in enumerate(chosen):
        axes[row, 0].set_ylabel(names[row])
        for ax, index in zip(axes[row], members, strict=False):
            sequence(ax, _with_gaps(data.subset(torch.tensor([index]))), data)
        for ax in axes[row, len(members) :]:
            ax.set_axis_off()
    _explain_features(figure, data)
    return figure


def _grid(rows: int, columns: int, width: float, height: float, title: str) -> tuple[Figure, np.ndarray]:
    size = (max(4.8, columns * width), rows * height + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    figure.suptitle(title)
    figure.supxlabel("time step")
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")


def sequence(ax: Axes, values: Tensor, data: SequenceData, first: int = 0) -> None:
    """Draw values (time, features), each feature standardised, as curves, or as a heat map if there are many.

    Args:
        ax: the axis to draw on.
        values: raw.
        data: the data set that they come from.
        first: number of the first time step (default 0).
    """
    scaled = data.preparation.scaling.of_first(values.shape[1]).apply(values).numpy()
    if values.shape[1] > CURVES:
        sides = (first - 0.5, first + len(scaled) - 0.5, values.shape[1] - 0.5, -0.5)
        ax.imshow(scaled.T, extent=sides, aspect="auto", interpolation="nearest", vmin=-3, vmax=3)
        return
    steps = range(first, first + len(scaled))
    for feature, colour in zip(scaled.T, _colours(values.shape[1]), strict=True):
        # A curve whose points all have missing neighbours would show nothing without markers.
        lone = len(feature) < SHORTEST or np.isnan(feature[1:] - feature[:-1]).all()
        ax.plot(steps, feature, linewidth=1, color=colour, marker="." if lone else None)


def _colours(features: int) -> list[Any]:
    """Return a colour for each feature: distinct ones, or a gradient if there are too many features."""
    if features <= len(COLOURS):
        return list(COLOURS[:features])
    return list(mpl.colormaps["viridis"](np.linspace(0, 0.95, features)))


def _explain_features(figure: Figure, data: SequenceData) -> None:
    features = data.values.shape[-1]
    if features > CURVES:
        figure.supylabel("feature")
        figure.colorbar(figure.axes[0].images[0], ax=figure.axes, label="standardised value", shrink=0.6)
        return
    figure.supylabel("standardised value")
    if features > 1:
        names = data.preparation.features or [f"feature {number}" for number in range(features)]
        handles = [Line2D([], [], color=colour) for colour in _colours(features)]
        # Passed separately: matplotlib leaves out a line's label that begins with _.
        figure.legend(handles, list(map(label, names)), loc="outside right upper", frameon=False)


def _with_gaps(data: SequenceData) -> Tensor:
    """Return (steps of all, features) float32 or float64, with NaN for missing values."""
    values = data.flat(data.raw if data.preparation.offset else data.values.float())
    return values if data.missing is None else values.masked_fill(data.flat(data.missing), torch.nan)


def _mean(data: SequenceData) -> Tensor:
    """Return (time, features) float32: at each time step the mean over the values that are not missing."""
    values, lengths = _with_gaps(data), data.steps_of_each
    if data.lengths is None:
        return values.view(len(data), data.time, -1).nanmean(dim=0)
    step = torch.arange(len(values)) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
    sums, counts = (
        torch.zeros(data.time, values.shape[1], dtype=torch.float64).index_add_(0, step, some.double())
        for some in (values.nan_to_num(), ~values.isnan())
    )
    mean: Tensor = sums / counts
    return mean
