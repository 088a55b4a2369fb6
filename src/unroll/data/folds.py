"""Divide sequences into the folds of a cross-validation: stratified and seeded, whole groups, or by time."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import DataError
from .cuts import ORDERS
from .origins import Origins

Cut = Literal["stratified", "group", "recording", "time"]
UNDIVIDED = ("group", "recording")  # cuts that are called as what they leave whole
PRECISION = 9  # decimals of a cost, so that rounding on another machine decides nothing


@dataclass(frozen=True)
class Folds:
    """Which fold each sequence of a set is in, and which fold is held out.

    Attributes:
        number: of the fold that is held out, from 1
        total: how many folds there are
        which: (N,) int64 fold of each sequence, from 1; 0 of those that are in none: the earliest ones, of folds by
            time
        y: (N,) int64 class indices
        origins: where the sequences come from; None if that is not known
        apart: sequences of the set's own test part, which is not divided
    """

    number: int
    total: int
    which: np.ndarray
    y: np.ndarray
    origins: Origins | None
    apart: int = 0

    @property
    def cut_by(self) -> Cut:
        """How the set is divided."""
        origins = self.origins
        if origins is None or (origins.when is None and origins.undivided is None):
            return "stratified"
        return "time" if origins.when is not None else origins.whole

    def cut(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the indices to train on and those of fold ``number``, (M,) int64 each, ascending."""
        rest = self.which < number if self.cut_by == "time" else self.which != number
        return np.flatnonzero(rest), np.flatnonzero(self.which == number)

    def groups(self, number: int) -> int | None:
        """Return how many groups, or of windows recordings, a fold holds; None if there are none."""
        groups = self.origins.undivided if self.origins and self.cut_by in UNDIVIDED else None
        return len({groups[place] for place in self.cut(number)[1].tolist()}) if groups else None


def stratified_folds(y: np.ndarray, units: Sequence[Hashable], folds: int, seed: int, orders: int = 1) -> np.ndarray:
    """Return the fold of each sequence, (N,) int64 from 1: each has about the same share of each class.

    The units are gone through in random order, the largest first, and each is put where there is least of its classes
    so far; among equals into the smallest fold. Of several orders that counts which divides the classes most evenly.

    Args:
        y: (N,) class indices.
        units: N of them; what is equal goes into one fold.
        folds: how many.
        seed: of ``numpy.random.RandomState``, whose stream is frozen, so folds stay the same for ever.
        orders: how many are tried.

    Raises:
        DataError: there are fewer units than folds.
    """
    first: dict[Hashable, int] = {}
    numbers = np.array([first.setdefault(unit, len(first)) for unit in units], np.int64)
    if len(first) < folds:
        raise DataError(f"{folds} folds need at least {folds} different sequences, got {len(first)}: take fewer folds")
    counts = np.zeros((len(first), int(y.max(initial=-1)) + 1))
    np.add.at(counts, (numbers, y), 1)
    random = np.random.RandomState(seed)
    tried = [_dealt(counts, folds, random.permutation(len(first))) for _ in range(orders)]
    return min(tried, key=lambda each: each[0])[1][numbers] + 1


def _dealt(counts: np.ndarray, folds: int, order: np.ndarray) -> tuple[float, np.ndarray]:
    """Return how unevenly an order divides the classes, and the fold of each unit from 0.

    Args:
        counts: (units, classes) sequences of each.
        folds: how many.
        order: (units,) in which units of one size are dealt out.
    """
    sizes, weights = counts.sum(axis=1), 1 / np.maximum(counts.sum(axis=0), 1)
    held, totals, which = np.zeros((folds, counts.shape[1])), np.zeros(folds), np.empty(len(counts), np.int64)
    for unit in order[np.argsort(-sizes[order], kind="stable")].tolist():
        own = counts[unit]
        classes = np.flatnonzero(own)
        costs = np.round((held[:, classes] * (own * weights)[classes]).sum(axis=1), PRECISION)
        fold = int(np.lexsort((totals, costs))[0])
        which[unit] = fold
        held[fold] += own
        totals[fold] += sizes[unit]
    uneven = (weights * (held - counts.sum(axis=0) / folds) ** 2).sum()
    return round(float(uneven), PRECISION), which


def group_folds(y: np.ndarray, groups: Sequence[str], folds: int, seed: int, what: str) -> np.ndarray:
    """Return the fold of each sequence, (N,) int64 from 1, whole groups in each.

    Args:
        y: as for `stratified_folds`, as are ``folds`` and ``seed``.
        groups: N names, equal within a group.
        folds: how many.
        seed: of the orders.
        what: groups are called, for messages.

    Raises:
        DataError: there are fewer groups than folds.
    """
    if len(set(groups)) < folds:
        raise DataError(f"{folds} folds need at least {folds} {what}, got {len(set(groups))}: take fewer folds")
    return stratified_folds(y, groups, folds, seed, ORDERS)


def time_folds(when: np.ndarray, folds: int) -> np.ndarray:
    """Return the fold of each sequence, (N,) int64: 0 of the earliest, which are only trained on, then 1, 2, ….

    All in order of their first moment, in ``folds`` + 1 blocks of about one size; those that begin at one moment are in
    one block.

    Args:
        when: (N, 2), the first and the last moment of each.
        folds: how many.

    Raises:
        DataError: there are fewer different moments than blocks.

    Source: the idea of scikit-learn's TimeSeriesSplit.
    """
    starts = np.sort(when[:, 0])
    edges = np.flatnonzero(np.diff(starts)) + 1  # how many begin before a later moment
    if len(edges) < folds:
        raise DataError(
            f"{folds} folds by time need sequences that begin at {folds + 1} times at least, got {len(edges) + 1}: "
            "take fewer folds"
        )
    which, last = np.zeros(len(when), np.int64), -1
    for fold in range(1, folds + 1):
        places = np.arange(last + 1, len(edges) - (folds - fold))  # leaves an edge for each later fold
        wanted = fold * len(when) / (folds + 1)
        last = int(places[np.abs(edges[places] - wanted).argmin()])
        which[when[:, 0] >= starts[edges[last]]] = fold
    return which
