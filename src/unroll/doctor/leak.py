"""Classes that a single input gives away."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..data.sequences import SequenceData

FEWEST = 10  # sequences of the class and of the others: fewer may be told apart by chance
MOST_SEQUENCES = 2_000
COMPARISONS = 20_000_000  # numbers times classes that are looked at, some tenths of a second
# The gap between a class and the others, as a share of all values' range there. Two bell curves that far apart would
# hardly ever be measured, and neighbouring values of a smooth feature never are.
GAP = 0.25
# A leak is a mark at few steps, or in some features. Where a class differs nearly everywhere it is simply easy.
FEW_STEPS, FEW_FEATURES = 0.25, 0.5


class Leak(NamedTuple):
    """An input by which alone a class is told from all others, without a single mistake.

    Attributes:
        label: index of the class
        where: which input, in words
        own: least and greatest value in the class
        others: least and greatest value in the other classes
        n: sequences of the class and of the others that were looked at
        inputs: how many such inputs there are
    """

    label: int
    where: str
    own: tuple[float, float]
    others: tuple[float, float]
    n: tuple[int, int]
    inputs: int


def find_leaks(data: SequenceData, order: Tensor) -> list[Leak]:
    """Look for a time step and feature, a token, or a length that alone tells a class from the others.

    One threshold, or the two ends of an interval, must do without a mistake (an area under the ROC curve of 1), and the
    class or the others must be the same there, or lie apart by a wide gap. Where a class differs at many
    steps and in most features it is not given away, but easy. Steps are those that every sequence looked at has.

    Args:
        data: sequences on the CPU.
        order: (N,) int64, a random order of them.
    """
    classes = len(data.preparation.classes)
    lengths = data.lengths
    shortest = data.x.shape[1] if lengths is None else int(lengths.min()) if len(lengths) else 0
    numbers = 1 if data.texts is not None else max(1, shortest * data.input_size)
    some = data.subset(order[: min(MOST_SEQUENCES, max(4 * FEWEST, COMPARISONS // (numbers * classes)))])
    x = some.x[:, :shortest].float()
    found = []
    for label, count in enumerate(some.counts.values()):
        if min(count, len(some) - count) < FEWEST:
            continue
        own, others = some.y == label, some.y != label
        leak = None
        if data.texts is not None:
            leak = _token(some, own, label)
        elif shortest:
            leak = _value(x[own], x[others], some, label)
        if leak is None and some.lengths is not None:
            leak = _length(some.lengths[own].float(), some.lengths[others].float(), label)
        found += [] if leak is None else [leak]
    return found


def _value(own: Tensor, others: Tensor, data: SequenceData, label: int) -> Leak | None:
    told, still = _told(own, others)
    if not bool(told.any()):
        return None
    steps, features = told.any(dim=1).float().mean(), told.any(dim=0).float().mean()
    mark = still & told
    if steps > FEW_STEPS and (told.shape[1] == 1 or features > FEW_FEATURES or not bool(mark.any())):
        return None
    t, f = (int(index) for index in (mark if bool(mark.any()) else told).nonzero()[0])
    names = data.preparation.features
    where = f"time step {t + 1}, feature {names[f] if f < len(names) else f}"
    return _leak(label, where, own[:, t, f], others[:, t, f], int(told.sum()))


def _length(own: Tensor, others: Tensor, label: int) -> Leak | None:
    told, _ = _told(own[:, None, None], others[:, None, None])
    return _leak(label, "length", own, others, 1) if bool(told) else None


def _token(data: SequenceData, own: Tensor, label: int) -> Leak | None:
    """Return a token that each text of the class has, and none of the others."""
    size = data.vocabulary_size
    if not size or not data.x.shape[1]:
        return None
    there = torch.zeros(2, size, dtype=torch.int64)
    for row, text, length in zip(own.tolist(), data.x.long(), _lengths(data), strict=True):
        there[int(row), text[:length].unique()] += 1
    n = int(own.sum())
    told = ((there[1] == n) & (there[0] == 0)).nonzero()[:, 0]
    if not len(told):
        return None
    words = data.preparation.tokens.words if data.preparation.tokens else []
    return Leak(label, f"token {words[int(told[0])]!r}", (1.0, 1.0), (0.0, 0.0), (n, len(own) - n), len(told))


def _lengths(data: SequenceData) -> list[int]:
    return [data.x.shape[1]] * len(data) if data.lengths is None else data.lengths.tolist()


def _told(own: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return (time, features) bool: which inputs tell the class from the others; and where either does not vary.

    Args:
        own: (n, time, features) values of the class.
        others: (m, time, features) values of all other classes.
    """
    low, high = own.amin(dim=0), own.amax(dim=0)
    lowest, highest = others.amin(dim=0), others.amax(dim=0)
    gap = torch.where(others < low, low - others, (others - high).clamp(min=0)).amin(dim=0)  # 0 if any lies inside
    width = torch.minimum(high - low, highest - lowest)
    extent = torch.maximum(high, highest) - torch.minimum(low, lowest)
    still = width == 0
    return (gap > 0) & (still | ((gap >= width) & (gap >= GAP * extent))), still


def _leak(label: int, where: str, own: Tensor, others: Tensor, inputs: int) -> Leak:
    ranges = tuple((float(values.min()), float(values.max())) for values in (own, others))
    return Leak(label, where, ranges[0], ranges[1], (len(own), len(others)), inputs)
