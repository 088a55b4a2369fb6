"""Hold out a part of some sequences: stratified, seeded, equal ones on one side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
