"""What texts are made of, counted: how much a vocabulary knows, and which words tell a class from the others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .sequences import SequenceData
from .splits import Splits

FREQUENT = 20  # frequent tokens that are named
TYPICAL = 8  # tokens that are named for each class
PRIOR = 0.5  # occurrences in each class that every token has before any is counted


@dataclass(frozen=True)
class WordDescription:
    """The tokens of a data set of texts.

    Attributes:
        vocabulary: how many are known
        unknown_train: share of the training part's tokens that are not
        unknown_test: share of the test part's
        frequent: the most frequent ones of the training part that are words, each with its count
        typical: for each class the tokens that tell it best from the others, each with its z-score
    """

    vocabulary: int
    unknown_train: float
    unknown_test: float
    frequent: tuple[tuple[str, int], ...]
    typical: dict[str, tuple[tuple[str, float], ...]]


def describe_words(splits: Splits) -> WordDescription | None:
    """Count tokens; None if ``splits`` hold no texts.

    The z-score is that of the logarithm of the ratio of odds, in the class against outside of it.

    Source: B. L. Monroe, M. P. Colaresi, K. M. Quinn, Fightin' Words, Political Analysis 16 (2008), equations 15 to 22.
    """
    tokenizer = splits.train.preparation.tokenizer
    if tokenizer is None:
        return None
    words = tokenizer.vocabulary
    counts = np.stack(
        [
            _counts(splits.train.subset((splits.train.y == label).nonzero()[:, 0]), len(words))
            for label in range(len(splits.classes))
        ]
    )
    total = counts.sum(axis=0)
    named = [n for n in np.argsort(-total, kind="stable") if n and total[n] and any(map(str.isalnum, words[n]))]
    typical = {}
    for label, own in zip(splits.classes, counts, strict=True):
        score = _z_scores(own, total - own)
        best = [n for n in np.argsort(-score, kind="stable") if n and score[n] > 0][:TYPICAL]
        typical[label] = tuple((words[n], round(float(score[n]), 2)) for n in best)
    test = _counts(splits.test, len(words))
    return WordDescription(
        len(words),
        float(total[0] / max(1, total.sum())),
        float(test[0] / max(1, test.sum())),
        tuple((words[n], int(total[n])) for n in named[:FREQUENT]),
        typical,
    )


def _counts(data: SequenceData, size: int) -> np.ndarray:
    return np.bincount(data.flat(data.tokens).numpy(), minlength=size)


def _z_scores(own: np.ndarray, rest: np.ndarray) -> np.ndarray:
    if len(own) < 2:  # the unknown one alone has no odds
        return np.zeros(len(own))
    a, b = own + PRIOR, rest + PRIOR
    ratio = np.log(a / (a.sum() - a)) - np.log(b / (b.sum() - b))
    score: np.ndarray = ratio / np.sqrt(1 / a + 1 / b)
    return score
