"""Data as a notebook shows it: shape, counts and, of images, the first of each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..notebook import block, facts, picture, table

PICTURES = 10


class Part(NamedTuple):
    """What is told of a part of a data set.

    Attributes:
        shape: of its values
        dtype: of these
        lengths: time steps of the shortest and of the longest sequence; None where all are full
        missing: how many values are missing; None where none can be
        counts: sequences of each class
    """

    shape: tuple[int, ...]
    dtype: str
    lengths: tuple[int, int] | None
    missing: int | None
    counts: Mapping[str, int]


class Firsts(NamedTuple):
    """The first image of each of some classes.

    Attributes:
        images: (N, height, width) or (N, height, width, 3) uint8
        names: of their classes
    """

    images: np.ndarray
    names: Sequence[str]


def data_html(title: str, parts: Mapping[str, Part], each: str, firsts: Firsts | None) -> str:
    """Return HTML of the parts of a data set, by name.

    Args:
        title: of all.
        parts: at least one; they have the same classes.
        each: what a sequence is, in words.
        firsts: what is drawn; None where there is nothing to draw.
    """
    described = {name: _shape(part) for name, part in parts.items()} | {"each": each}
    counts = [part.counts for part in parts.values()]
    rows = [(name, *(f"{count[name]:,}" for count in counts)) for name in counts[0]]
    total = ("total", *(f"{sum(count.values()):,}" for count in counts))
    return block(title, facts(described), _picture(firsts), table(("class", *parts), rows, total))


def _shape(part: Part) -> str:
    words = f"{' × '.join(f'{size:,}' for size in part.shape)} {part.dtype}"
    if part.lengths is not None:
        words += f", lengths {part.lengths[0]:,} to {part.lengths[1]:,}"
    if part.missing is not None:
        words += f", {part.missing:,} values missing"
    return words


def _picture(firsts: Firsts | None) -> str:
    if firsts is None:
        return ""
    names = ", ".join(firsts.names)
    return f"<div>{picture(firsts.images, f'the first image of each class: {names}')}</div>"
