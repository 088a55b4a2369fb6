"""Draw attributions: what in the input speaks for a class, and what against it."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ..data.preparation import ImageFormat, in_channels
from ..data.sequences import SequenceData
from ..errors import DataError
from ..formatting import printable_lines
from .style import COLOURS, STYLE, label

AGAINST, FOR = (
    COLOURS[0],
    COLOURS[5],
)  # blue and vermilion of Okabe and Ito's palette, distinct for colour-blind readers too
MOST_IMAGES = 20
MOST_CURVES = 6  # features of a series, those with the largest values
COLUMNS = 5
CLIPPED = 0.995  # quantile at which the scale ends: a few large values would leave all others pale
LIGHT, DARK = 1.0, 0.62  # brightness of the image under its values: pale, so that their colours are seen
LABEL = "added to the logit"


def _diverging() -> ListedColormap:
    """Return a scale from blue to vermilion, transparent near 0."""
    strength = np.linspace(-1, 1, 511)
    rgb = np.where(strength[:, None] < 0, to_rgb(AGAINST), to_rgb(FOR)) * (1 - 0.35 * np.abs(strength[:, None]) ** 3)
    return ListedColormap(np.column_stack([rgb, np.abs(strength) ** 0.8]), "saliency")


SCALE = _diverging()


def saliency_map(data: SequenceData, values: Tensor, titles: Sequence[str] | None = None) -> Figure:
    """Draw images with their attributions from `unroll.attribute`, all on one scale.

    An image in colour is drawn twice, as it is and under its values in grey, as their colours would mix with its own.

    Args:
        data: images; the first 20 are drawn.
        values: (N, time, features) float32, what each pixel adds to the logit; of a pixel in colour the sum is drawn.
        titles: a line or two above each image (default: the name of its class).

    Raises:
        DataError: the data has no images, or ``values`` has the wrong shape.
    """
    form = data.preparation.image
    if form is None:
        raise DataError(
            "saliency_map expects images, got other data: use saliency_curve for series, saliency_spans for texts"
        )
    _check(data, values)
    data, values = data.subset(_first(data)), values[:MOST_IMAGES].cpu()
    titles = [data.preparation.classes[number] for number in data.y.tolist()] if titles is None else titles
    across = form.width if form.channels == 3 else 0  # pixels to the left of the values
    columns = min(COLUMNS if not across else COLUMNS // 2, len(data))
    rows = math.ceil(len(data) / columns)
    side = 1.5 if max(form.height, form.width) < 100 else 2.2
    with mpl.rc_context(STYLE):
        figure = Figure(
            figsize=(side * columns * (2 if across else 1) + 1.1, (side * form.height / form.width + 0.3) * rows),
            layout="constrained",
        )
        axes = figure.subplots(rows, columns, squeeze=False)
        maps = form.images(values).numpy()
        maps = maps.sum(axis=3) if across else maps
        norm = _norm(maps)
        for ax in axes.flat:
            ax.set_axis_off()
        sides = (across - 0.5, across + form.width - 0.5, form.height - 0.5, -0.5)
        images = form.images(data.x.cpu())
        drawn = zip(axes.flat, images.numpy(), _pale(form, in_channels(images, 1)), maps, titles, strict=False)
        for ax, image, pale, overlay, title in drawn:
            if across:
                ax.imshow(image, interpolation="nearest")
            ax.imshow(pale, cmap="gray", vmin=0, vmax=1, extent=sides)
            ax.imshow(overlay, cmap=SCALE, norm=norm, interpolation="nearest", extent=sides)
            ax.set_xlim(-0.5, sides[1])
            ax.set_title("\n".join(map(label, title.split("\n"))), fontsize=9)
        _explain(figure, axes, norm, f"{LABEL}, over the image in grey")
        return figure


def saliency_curve(data: SequenceData, values: Tensor, index: int = 0) -> Figure:
    """Draw a series as curves over time, and behind them its attributions from `unroll.attribute`.

    Args:
        data: series.
        values: (N, time, features) float32, what each value adds to the logit.
        index: which series to draw (default 0). The six features with the largest values are drawn.

    Raises:
        DataError: the data is not a series, or ``values`` has the wrong shape.
    """
    if data.kind == "texts":
        raise DataError("saliency_curve expects series, got texts: use saliency_spans")
    _check(data, values)
    length = int(data.steps_of_each[index])
    series = data.preparation.scaling.apply(data.sequence(index).cpu()).numpy()
    own = values[index, :length].cpu().numpy()
    shown = np.sort(np.argsort(-np.abs(own).sum(axis=0), kind="stable")[:MOST_CURVES])
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 0.9 + 1.3 * len(shown)), layout="constrained")
        axes = figure.subplots(len(shown), 1, squeeze=False, sharex=True)
        norm = _norm(own)
        for ax, feature in zip(axes.flat, shown.tolist(), strict=True):
            _curve(ax, series[:, feature], own[:, feature], norm)
            if series.shape[1] > 1:
                ax.set_title(label(_feature(data, feature)), loc="left", fontsize=9)
        axes[-1, 0].set_xlabel("time step")
        axes[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.supylabel("standardised value", fontsize=9)
        if series.shape[1] > len(shown):
            figure.suptitle(f"the {len(shown)} of {series.shape[1]} features that matter most", fontsize=9)
        _explain(figure, axes, norm)
        return figure


def saliency_spans(data: SequenceData, values: Tensor, index: int = 0) -> list[tuple[str, float]]:
    """Return the pieces of a text with their attributions from `unroll.attribute`, for a page to colour.

    Args:
        data: texts.
        values: (N, time) float32, what each token adds to the logit.
        index: which text (default 0).

    Returns:
        the whole text, in order: each token as written, with its value, and what lies between tokens with 0; escaped
        for HTML.

    Raises:
        DataError: the data has no texts, or ``values`` has the wrong shape.
    """
    tokenizer = data.preparation.tokenizer
    if data.texts is None or tokenizer is None:
        raise DataError(
            "saliency_spans expects texts, got other data: use saliency_map for images, saliency_curve for series"
        )
    _check(data, values)
    text, at = data.texts[index], 0
    spans: list[tuple[str, float]] = []
    for (start, stop), value in zip(tokenizer.offsets(text), values[index].tolist(), strict=False):
        spans += [(text[at:start], 0.0), (text[start:stop], value)]
        at = stop
    return [(html.escape(printable_lines(piece)), value) for piece, value in [*spans, (text[at:], 0.0)] if piece]


def _check(data: SequenceData, values: Tensor) -> None:
    if values.shape != data.shape:
        raise DataError(f"values must be of the data's shape {data.shape}, got {tuple(values.shape)}")
    if not len(data):
        raise DataError("there must be at least 1 sequence to draw, got 0")


def _first(data: SequenceData) -> Tensor:
    return data.y.new_tensor(range(min(MOST_IMAGES, len(data))))


def _pale(form: ImageFormat, images: Tensor) -> np.ndarray:
    """Return images (N, height, width) from `DARK` to `LIGHT`; white drawings on black are inverted to ink on paper."""
    brightness = images.numpy() / 255
    if form.framing is not None and form.framing.border < 128:
        brightness = 1 - brightness
    pale: np.ndarray = DARK + (LIGHT - DARK) * brightness
    return pale


def _norm(values: np.ndarray) -> Normalize:
    limit = float(np.quantile(np.abs(values), CLIPPED)) if values.size else 0.0
    limit = limit or float(np.abs(values).max(initial=0)) or 1.0
    return Normalize(-limit, limit)


def _curve(ax: Axes, series: np.ndarray, values: np.ndarray, norm: Normalize) -> None:
    if not len(series):
        return
    ends = (0.5, len(series) + 0.5)
    low, high = float(series.min()), float(series.max())
    margin = 0.08 * (high - low) or 0.5
    ax.imshow(
        values[None], cmap=SCALE, norm=norm, aspect="auto", interpolation="nearest",
        extent=(*ends, low - margin, high + margin),
    )  # fmt: skip
    halo = [Stroke(linewidth=2.8, foreground="white", alpha=0.8), Normal()]
    ax.plot(
        range(1, len(series) + 1),
        series,
        color="#222222",
        linewidth=1.2,
        marker="." if len(series) < 3 else None,
        path_effects=halo,
    )
    ax.set_xlim(*ends)


def _feature(data: SequenceData, number: int) -> str:
    names, plain = data.preparation.features, data.values.shape[-1]
    name = names[number % plain] if names else f"feature {number % plain}"
    return f"{name} is missing" if number >= plain else name


def _explain(figure: Figure, axes: np.ndarray, norm: Normalize, text: str = LABEL) -> None:
    bar = figure.colorbar(ScalarMappable(norm, SCALE), ax=axes, label=text, shrink=0.8, aspect=25, extend="both")
    bar.ax.yaxis.label.set_wrap(True)  # beside a single row of images
    bar.outline.set_linewidth(0.5)
    bar.ax.set_title("for", color=FOR, fontsize=8)
    bar.ax.set_xlabel("against", color=AGAINST, fontsize=8, labelpad=16)
