"""Few cases for many factors: of all combinations, so many that every two values of different factors meet."""

from __future__ import annotations

from itertools import combinations, product
from typing import Any

import pytest


def covering(factors: dict[str, tuple[Any, ...]]) -> list[dict[str, Any]]:
    """Return few cases in which every pair of values of two factors occurs: each next case has the most new pairs."""
    every = [tuple(zip(factors, values, strict=True)) for values in product(*factors.values())]
    pairs = {case: set(combinations(case, 2)) for case in every}
    missing, chosen = set().union(*pairs.values()), []
    while missing:
        best = max(every, key=lambda case: len(pairs[case] & missing))
        missing -= pairs[best]
        chosen.append(dict(best))
    return chosen


def every_pair(**factors: tuple[Any, ...]) -> pytest.MarkDecorator:
    """Parametrise a test by `covering`: ``@every_pair(cell=("rnn", "gru"), reverse=(False, True))``."""
    return pytest.mark.parametrize(tuple(factors), [tuple(case.values()) for case in covering(factors)])
