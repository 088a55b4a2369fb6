"""Hold out a part of some sequences: stratified and seeded, equal ones and groups on one side, or the latest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ORDERS = 16  # of groups that are tried


def stratified_cut(
    y: np.ndarray, fraction: float, seed: int, contents: Sequence[str | bytes] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split indices into ``(rest, part)``, both ascending, ``part`` with about ``fraction`` of each class.

    Args:
        y: (N,) class indices.
        fraction: share of ``part``, below 1; each class gives the nearest whole number, but unless ``fraction`` is 0 at
            least one of two or more, and never all.
        seed: of ``numpy.random.RandomState``, whose stream is frozen, so a cut stays the same for ever.
        contents: N of them; those that are equal go where the first of them goes (default None: no two are).
    """
    random = np.random.RandomState(seed)
    first: dict[object, int] = {}
    firsts = np.array([first.setdefault(content, n) for n, content in enumerate(contents or range(len(y)))], np.int64)
    order = np.argsort(y, kind="stable")
    classes = [random.permutation(own) for own in np.split(order, np.flatnonzero(np.diff(y[order])) + 1) if len(own)]
    drawn = np.zeros(len(y), bool)
    for members in classes:
        drawn[members[: round(fraction * len(members))]] = True
    drawn, copies = drawn[firsts], np.bincount(firsts, minlength=len(y))[firsts]
    for members in classes if fraction else ():
        if not drawn[members].any() and len(set(firsts[members].tolist())) > 1:
            drawn[firsts == firsts[members[copies[members].argmin()]]] = True
    for members in classes:
        if drawn[members].all():
            drawn[firsts == firsts[members[-1]]] = False
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def grouped_cut(y: np.ndarray, groups: Sequence[str], fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split indices into ``(rest, part)``, both ascending: whole groups, together about ``fraction`` of each class.

    Groups are drawn in random order; each is taken if that brings the classes nearer to their share. Of a few such
    orders that counts which comes nearest. No class is taken from the rest altogether, and unless ``fraction`` is 0, at
    least one group is taken if one can be.

    Args:
        y: (N,) class indices.
        groups: N names, equal within a group.
        fraction: share of ``part``, below 1.
        seed: of ``numpy.random.RandomState``, as for `stratified_cut`.
    """
    known, numbers = np.unique(np.array(groups), return_inverse=True)
    counts = np.zeros((len(known), int(y.max(initial=-1)) + 1))
    np.add.at(counts, (numbers, y), 1)
    random = np.random.RandomState(seed)
    tried = [_drawn(counts, fraction, random.permutation(len(known))) for _ in range(ORDERS if fraction else 0)]
    _, taken = min(tried, key=lambda each: each[0], default=(0.0, np.zeros(len(known), bool)))
    drawn = taken[numbers]
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def _drawn(counts: np.ndarray, fraction: float, order: np.ndarray) -> tuple[float, np.ndarray]:
    """Return how far the groups that are taken in one order are from their share of the classes, and which they are.

    Args:
        counts: (groups, classes) sequences of each.
        fraction: share of what is to be taken.
        order: (groups,) in which they are looked at.
    """
    whole, taken = counts.sum(axis=0), np.zeros(len(counts), bool)
    weights, lacking, kept = 1 / np.maximum(whole, 1), fraction * whole, whole.copy()
    spare = [group for group in order.tolist() if (whole - counts[group])[counts[group] > 0].min() > 0]
    for group in spare:
        own = counts[group]
        is_nearer = (weights * (lacking - own) ** 2).sum() < (weights * lacking**2).sum()
        if is_nearer and (kept - own)[own > 0].min() > 0:
            taken[group], lacking, kept = True, lacking - own, kept - own
    if spare and not taken.any():
        least = min(spare, key=lambda group: float(counts[group].sum()))
        taken[least], lacking = True, lacking - counts[least]
    return float((weights * lacking**2).sum()), taken


def latest_cut(when: np.ndarray, fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Split indices into ``(rest, part)``, both ascending: ``part`` is what begins latest, about ``fraction``.

    What begins at one moment is on one side; where all does, ``part`` is empty.

    Args:
        when: (N, 2), the first and the last moment of each.
        fraction: share of ``part``, below 1.
    """
    starts = np.sort(when[:, 0])
    edges = np.flatnonzero(np.diff(starts)) + 1  # how many begin before a later moment
    if not fraction or not len(edges):
        return np.arange(len(when)), np.empty(0, np.int64)
    wanted = (1 - fraction) * len(when)
    is_late = when[:, 0] >= starts[edges[np.abs(edges - wanted).argmin()]]
    return np.flatnonzero(~is_late), np.flatnonzero(is_late)
