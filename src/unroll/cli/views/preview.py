"""Draw sequences with characters, as a preview in the terminal."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from rich.text import Text
from torch import Tensor

from ...data.sequences import SequenceData

BLOCKS = " ▁▂▃▄▅▆▇█"
WIDEST, TALLEST = 40, 20  # characters and lines of one image, at most
LEAST = 12  # characters of one drawing with its name
CURVE = 24  # characters of one curve
CURVES = 4  # features of a series that are drawn
GAP = "  "


def preview(data: SequenceData, width: int, colours: bool = False) -> list[Text]:
    """Draw the first sequence of some classes next to each other, each above the name of its class.

    Args:
        data: images become pictures, texts one line each, series a small curve per feature, at most four.
        width: characters of a line, which limits the number of classes.
        colours: whether to show greys and colours; otherwise pixels are black or white.
    """
    if data.texts is not None:
        return _texts(data, data.texts, width)
    width = max(width, LEAST)
    firsts = [index for index in (_first(data, label) for label in range(len(data.preparation.classes))) if index >= 0]
    drawings: list[list[Text]] = []
    for index in firsts:
        drawing = _image(data, index, colours, min(WIDEST, width)) if data.kind == "images" else _curves(data, index)
        wide = max(drawing[0].cell_len, LEAST)
        if drawings and (len(drawings) + 1) * (wide + len(GAP)) > width:
            break
        drawing.append(Text(data.preparation.classes[int(data.y[index])], style="bold"))
        for line in drawing:
            line.truncate(wide, overflow="ellipsis", pad=True)
        drawings.append(drawing)
    return [Text(GAP).join(lines) for lines in zip(*drawings, strict=True)]


def _texts(data: SequenceData, texts: tuple[str, ...], width: int) -> list[Text]:
    """Show two texts of each class, each cut to one line."""
    lines = []
    for label, name in enumerate(data.preparation.classes):
        for index in (data.y == label).nonzero()[:2, 0].tolist():
            line = Text.assemble((name, "bold"), GAP, " ".join(texts[index].split()))
            line.truncate(max(width, LEAST), overflow="ellipsis")
            lines.append(line)
    return lines


def _first(data: SequenceData, label: int) -> int:
    indices = (data.y == label).nonzero()
    return int(indices[0, 0]) if len(indices) else -1


def _image(data: SequenceData, index: int, colours: bool, widest: int) -> list[Text]:
    """Draw in greys or colours, two pixels per character; else in black and white, as braille of 2×4 dots."""
    image = Image.fromarray(data.subset(torch.tensor([index])).images()[0].numpy())
    dots = (widest, 2 * TALLEST) if colours else (2 * widest, 4 * TALLEST)
    if image.width > dots[0] or image.height > dots[1]:
        image.thumbnail(dots, Image.Resampling.BOX)
    pixels = np.asarray(image if colours else image.convert("L"))
    if not colours:
        return _braille(pixels > (float(pixels.min()) + float(pixels.max())) / 2)
    pixels = np.broadcast_to(pixels.reshape(*pixels.shape[:2], -1), (*pixels.shape[:2], 3))
    pixels = np.pad(pixels, ((0, len(pixels) % 2), (0, 0), (0, 0)), mode="edge")
    return [
        Text.assemble(*(("▀", _colours(*pair)) for pair in zip(upper, lower, strict=True)))
        for upper, lower in zip(pixels[::2], pixels[1::2], strict=True)
    ]


def _braille(dots: np.ndarray) -> list[Text]:
    """Return (height, width) booleans as lines of braille, whose eight dots are bits from U+2800 on."""
    dots = np.pad(dots, ((0, -dots.shape[0] % 4), (0, -dots.shape[1] % 2)))
    blocks = dots.reshape(dots.shape[0] // 4, 4, dots.shape[1] // 2, 2).swapaxes(1, 2)
    codes = (blocks * np.array([[1, 8], [2, 16], [4, 32], [64, 128]])).sum(axis=(2, 3))
    return [Text("".join(chr(0x2800 + code) for code in row)) for row in codes]


def _colours(upper: np.ndarray, lower: np.ndarray) -> str:
    return " on ".join(f"rgb({red},{green},{blue})" for red, green, blue in (upper, lower))


def _curves(data: SequenceData, index: int) -> list[Text]:
    """Draw the first features over time, each scaled to its own range and resampled to the width."""
    series: Tensor = data.sequence(index, data.values).double()
    curves = []
    for feature in series.T[:CURVES].numpy():
        line = ""
        if len(feature):
            at = np.linspace(0, len(feature) - 1, min(CURVE, len(feature))).round().astype(int)
            low, high = feature.min(), feature.max()
            steps = (feature[at] - low) / ((high - low) or 1.0) * (len(BLOCKS) - 1)
            line = "".join(BLOCKS[step] for step in steps.round().astype(int))
        curves.append(Text(line.ljust(CURVE)))
    return curves
