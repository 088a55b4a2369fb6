"""Whether one number of a sequence tells all classes apart: then it may give the class away.

Looked at are the length, mean, least, greatest, first and last value of each feature, its deviation, and each value of
each time step; of images each pixel. A number tells the classes apart where thresholds divide it into one range for
each class. Thresholds and the number are chosen on one half of the training part and judged on the other, and the other
way round, so that nothing follows from noise, however many numbers there are to choose from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from ..formatting import percent, shown
from .formats.roles import flag
from .sequences import SequenceData

SEQUENCES = 1_000  # that are looked at, at most
LEAST = 20  # below which nothing is concluded
OF_EACH = 4  # sequences that a class must have in the sample
NUMBERS = 2_000_000  # values that are looked at, at most
MOST_CLASSES = 50
ERRORS = 0.05  # fraction of the sequences up to which classes are told apart, and
OF_MAJORITY = 0.1  # of what always answering the largest class gets wrong
SUMMARIES = ("mean", "least value", "greatest value", "first value", "last value", "deviation")


class Number(NamedTuple):
    """What a number of a sequence is.

    Attributes:
        name: in words
        column: what may be left out of a table, or be removed, for the number to be gone; None where nothing may
        feature: its name; None if it is not of a single one
        is_step: whether it is the value of one time step
    """

    name: str
    column: str | None = None
    feature: int | None = None
    is_step: bool = False


@dataclass(frozen=True)
class Thresholds:
    """What divides each of M numbers into a range for each of K classes.

    Attributes:
        bounds: (K - 1, M), from the lowest to the highest
        classes: (K, M) class of each range
    """

    bounds: np.ndarray
    classes: np.ndarray

    def right(self, values: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return (M,) how many of the ``values`` (N, M) lie in the range of their class ``y`` (N,)."""
        ranges = np.zeros(values.shape, np.int64)
        for bound in self.bounds:
            ranges += values > bound
        answers = np.take_along_axis(self.classes, ranges, axis=0)
        right: np.ndarray = (answers == y[:, None]).sum(axis=0)
        return right

    def at(self, number: int) -> Thresholds:
        """Return those of one number."""
        return Thresholds(self.bounds[:, [number]], self.classes[:, [number]])


def separating(data: SequenceData) -> list[str]:
    """Name a number that alone tells the classes apart, and say what to do; an empty list where there is none."""
    index = _sample(data)
    if not len(index):
        return []
    sample = data.subset(torch.from_numpy(index))
    y = np.unique(sample.y.numpy(), return_inverse=True)[1]
    values, numbers = _numbers(sample)
    if not numbers:
        return []
    is_first = np.zeros(len(y), bool)
    is_first[np.argsort(y, kind="stable")[::2]] = True
    halves = [(values[half], y[half]) for half in (is_first, ~is_first)]
    fitted = [_thresholds(*half) for half in halves]
    shares = [thresholds.right(*half) / len(half[1]) for thresholds, half in zip(fitted, halves, strict=True)]

    def errors(numbers: list[int]) -> float:
        """Return the fraction that thresholds get wrong of the half that they were not chosen on, for each half."""
        right = 0
        for thresholds, (x, labels), number in zip(fitted, reversed(halves), numbers, strict=True):
            right += int(thresholds.at(number).right(x[:, [number]], labels)[0])
        return 1 - right / len(y)

    most = min(ERRORS, OF_MAJORITY * (1 - np.bincount(y).max() / len(y)))
    named = _simplest(shares[0] + shares[1], numbers)
    if errors([int(share.argmax()) for share in shares]) > most or errors([named, named]) > most:
        return []
    return [_finding(numbers[named], 1 - errors([named, named]), data)]


def _simplest(shares: np.ndarray, numbers: list[Number]) -> int:
    """Return which of the best numbers to name: the first, unless a few time steps of the same feature are as good."""
    best = int(shares.argmax())
    feature = numbers[best].feature
    steps = [at for at, number in enumerate(numbers) if number.is_step and number.feature == feature]
    as_good = [at for at in steps if shares[at] >= shares[best]]
    return as_good[0] if as_good and 2 * len(as_good) <= len(steps) else best


def _finding(number: Number, accuracy: float, data: SequenceData) -> str:
    fact = f"{number.name} alone tells the classes apart, {percent(accuracy)} of held-out training sequences"
    if number.column is None:
        return f"{fact}: worth a look, it may give the class away"
    columns = data.preparation.columns
    has_rows = columns is not None and (columns.time is None or columns.nested or columns.id is not None)
    how = f"leave it out with --drop-columns {flag([number.column])}" if has_rows else "remove it from the data"
    return f"{fact}: worth a look; if it gives the class away, {how}"


def _sample(data: SequenceData) -> np.ndarray:
    """Return which sequences to look at: none twice, and of classes with enough of them; none if that is too few."""
    drawn = np.random.default_rng(0).permutation(len(data))[:SEQUENCES]
    checksums = data.subset(torch.from_numpy(drawn)).checksums()
    first = dict(zip(reversed(checksums), drawn[::-1].tolist(), strict=True))
    index = np.sort(np.array(list(first.values()), np.int64))
    y = data.y.numpy()[index]
    counts = np.bincount(y, minlength=1)
    enough: np.ndarray = index[counts[y] >= OF_EACH]
    classes = int((counts >= OF_EACH).sum())
    return enough if len(enough) >= LEAST and 2 <= classes <= MOST_CLASSES else enough[:0]


def _numbers(data: SequenceData) -> tuple[np.ndarray, list[Number]]:
    """Return (N, M) numbers of N sequences, and what each is: the simplest first."""
    lengths = data.steps_of_each.numpy()
    values, numbers = [], list[Number]()
    if lengths.min() < lengths.max():
        values.append(lengths[:, None].astype(np.float32))
        numbers.append(Number("the length of a sequence"))
    if data.kind == "images":
        more, names = _pixels(data.images().numpy())
        values, numbers = [*values, more], [*numbers, *names]
    elif data.kind == "series" and lengths.min() > 0:
        more, names = _of_series(data, lengths)
        values, numbers = [*values, more], [*numbers, *names]
    return np.concatenate(values, axis=1) if values else np.empty((len(data), 0)), numbers


def _pixels(images: np.ndarray) -> tuple[np.ndarray, list[Number]]:
    shown_ = images.reshape(len(images), images.shape[1], images.shape[2], -1)
    _, _, width, channels = shown_.shape
    flat = shown_.reshape(len(images), -1)
    places = _thinned(flat.shape[1], len(images))
    pixels = [divmod(place // channels, width) for place in places.tolist()]
    return flat[:, places], [Number(f"the pixel in row {row}, column {column}, from 0,") for row, column in pixels]


def _of_series(data: SequenceData, lengths: np.ndarray) -> tuple[np.ndarray, list[Number]]:
    """Return the numbers of series of ``lengths`` (N,)."""
    features = data.values.shape[-1]
    values = data.model_input(data.flat(data.x))[:, :features].numpy()
    names = data.preparation.features or tuple(f"{feature}" for feature in range(features))
    columns, steps = data.preparation.columns, _thinned(int(lengths.min()) * features, len(lengths))
    of = [" of a sequence" if features == 1 else f" of feature {shown(name)}" for name in names]
    spare = [None if features == 1 else name for name in names]
    numbers = [
        Number(f"the {summary}{of[feature]}", spare[feature], feature)
        for summary in SUMMARIES
        for feature in range(features)
    ]
    for place in steps.tolist():
        step, feature = divmod(place, features)
        if columns is not None and columns.is_wide:
            numbers.append(Number(f"time step {shown(columns.features[step])}", columns.features[step], 0, True))
        else:
            where = f"the value{of[feature]} at time step {step}, counted from 0,"
            numbers.append(Number(where, spare[feature], feature, True))
    rows = [
        [x.mean(axis=0), x.min(axis=0), x.max(axis=0), x[0], x[-1], x.std(axis=0), x.reshape(-1)[steps]]
        for x in np.split(values, lengths.cumsum()[:-1])
    ]
    return np.array([np.concatenate(row) for row in rows]), numbers


def _thinned(count: int, sequences: int) -> np.ndarray:
    """Return places of numbers to look at, all of them if these are not too many."""
    most = max(1, NUMBERS // sequences)
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _thresholds(values: np.ndarray, y: np.ndarray) -> Thresholds:
    """Return what divides each number (N, M) best: in order of the classes' means, each bound for its neighbours."""
    classes = int(y.max()) + 1
    means = np.stack([values[y == label].mean(axis=0) for label in range(classes)])
    in_order = np.argsort(means, axis=0, kind="stable")
    ranks = np.argsort(in_order, axis=0, kind="stable").astype(np.int16)  # of each class in that order
    order = np.argsort(values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    rank_of_each = np.take_along_axis(ranks, y[order], axis=0)
    is_between = np.ones(values.shape, bool)
    is_between[:-1] = ordered[1:] > ordered[:-1]
    bounds = []
    for rank in range(classes - 1):
        balance = np.cumsum((rank_of_each == rank).astype(np.int32) - (rank_of_each == rank + 1), axis=0)
        best = np.where(is_between, balance, -len(y)).argmax(axis=0)[None]
        above = np.minimum(best + 1, len(y) - 1)
        ends = (np.take_along_axis(ordered, place, axis=0)[0].astype(np.float64) for place in (best, above))
        bounds.append(sum(ends) / 2)
    return Thresholds(np.maximum.accumulate(np.stack(bounds), axis=0), in_order)
