"""Significance: tests of two classifiers, confidence intervals, and the correction for several tests."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

LEVEL = 0.05  # a p-value below it is called a difference
ROUNDING = 1e-12  # of a difference of accuracies, and more; what one sequence more changes is far above
Z = 1.959963984540054  # deviations of the normal distribution between which 95 % of it lie


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value of the exact McNemar test: both classifiers read the same test set.

    Sequences that both classify correctly, or both wrongly, say nothing about which is better. If the classifiers are
    equally good, each is right in half of the rest, so the count of one is binomial.

    Args:
        only_first: number of sequences that only the first classifies correctly.
        only_second: number of sequences that only the second classifies correctly.

    Source: Q. McNemar, Psychometrika 12 (1947), p. 153; as a test of classifiers T. G. Dietterich, Neural Computation
    10 (1998), p. 1895, who recommends it where a training can be run only once.

    Example:
        >>> round(mcnemar(1, 9), 9)
        0.021484375
    """
    from scipy.stats import binomtest

    n = only_first + only_second
    return float(binomtest(only_first, n).pvalue) if n else 1.0


def difference(first: tuple[int, int], second: tuple[int, int], z: float = Z) -> tuple[float, float]:
    """Return the confidence interval of the difference of two accuracies on independent test sets.

    Args:
        first: number of correct predictions, and number of sequences.
        second: the same.
        z: deviations of the normal distribution (default: for 95 %).

    Source: R. G. Newcombe, Statistics in Medicine 17 (1998), p. 873, method 10, from two Wilson intervals.

    Example:
        >>> [round(end, 4) for end in difference((56, 70), (48, 80))]
        [0.0524, 0.3339]
    """
    p, q = first[0] / first[1], second[0] / second[1]
    (p_low, p_high), (q_low, q_high) = wilson(*first, z), wilson(*second, z)
    return p - q - math.hypot(p - p_low, q_high - q), p - q + math.hypot(p_high - p, q - q_low)


def wilson(correct: int, n: int, z: float = Z) -> tuple[float, float]:
    """Return the confidence interval of an accuracy.

    Args:
        correct: number of correct predictions.
        n: number of sequences, at least 1.
        z: deviations of the normal distribution (default: for 95 %).

    Source: E. B. Wilson, Journal of the American Statistical Association 22 (1927), p. 209.

    Example:
        >>> [round(end, 4) for end in wilson(56, 70)]
        [0.6918, 0.877]
    """
    p = correct / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return centre - half if correct else 0.0, centre + half if correct < n else 1.0


def two_proportions(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return the p-value at which the interval of `difference` just reaches 0.

    Args:
        first: number of correct predictions, and number of sequences.
        second: the same.
    """
    narrow, wide = 0.0, 40.0  # beyond, the p-value is below the smallest double
    for _ in range(60):
        z = (narrow + wide) / 2
        low, high = difference(first, second, z)
        narrow, wide = (narrow, z) if low <= 0 <= high else (z, wide)
    return math.erfc(narrow / math.sqrt(2))


def welch(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return the two-sided p-value of Welch's t-test of two means; None if neither sample varies.

    Args:
        first: at least 2 values, such as accuracies over seeds.
        second: the same; its variance may differ.

    Source: B. L. Welch, Biometrika 34 (1947), p. 28.

    Example:
        >>> round(welch([1, 2, 3, 4], [2, 4, 6, 8, 10]), 6)
        0.069134
    """
    from scipy.stats import ttest_ind_from_stats

    if not any(map(stdev, (first, second))):
        return None
    summary = [number for values in (first, second) for number in (fmean(values), stdev(values), len(values))]
    return float(ttest_ind_from_stats(*summary, equal_var=False).pvalue)


def resampled_t(differences: Sequence[float], ratio: float) -> tuple[float, tuple[float, float]] | None:
    """Return the two-sided p-value of the corrected resampled t-test, and the 95 % interval of the mean difference.

    The trainings of a cross-validation share most of their data, so a plain paired t-test over the folds is too sure.
    None if the difference is the same in all folds, up to rounding.

    Args:
        differences: of the accuracies of two classifiers in each fold, at least 2.
        ratio: sequences tested on, relative to those trained on, in a fold: 1/4 with 5 folds.

    Source: C. Nadeau, Y. Bengio, Inference for the Generalization Error, Machine Learning 52 (2003), p. 239.

    Example:
        >>> p, (low, high) = resampled_t([0.02, 0.05, 0.03, 0.04, 0.01], 0.25)
        >>> round(p, 6), round(low, 6), round(high, 6)
        (0.047421, 0.000551, 0.059449)
    """
    from scipy.stats import t

    mean, deviation, folds = fmean(differences), stdev(differences), len(differences)
    if deviation < ROUNDING:
        return None
    error = deviation * math.sqrt(1 / folds + ratio)
    half = float(t.ppf(1 - LEVEL / 2, folds - 1)) * error
    return float(2 * t.sf(abs(mean) / error, folds - 1)), (mean - half, mean + half)


def holm(values: Sequence[float], tests: int | None = None) -> list[float]:
    """Return p-values corrected for multiple tests, in the order given.

    Args:
        values: p-values of all tests, or of those that are reported.
        tests: how many could have been reported (default: the number of values). Whoever compares only the best of k
            with each of the others has chosen among all k (k - 1) / 2 pairs.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979), p. 65.

    Example:
        >>> [round(p, 6) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    corrected, largest, count = [0.0] * len(values), 0.0, max(tests or 0, len(values))
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (count - place) * values[index]))
        corrected[index] = largest
    return corrected


def dependence(readings: Iterable[Mapping[str, Any]]) -> str:
    """Say which sequences a test takes for independent though they are not; empty if there are none.

    Args:
        readings: how the data of each run was read, fields of `DataConfig`.
    """
    kinds = {"window": "windows of one recording", "group": "sequences of one group"}
    kinds["group_pattern"] = kinds["group"]
    named = dict.fromkeys(words for reading in readings for key, words in kinds.items() if reading.get(key))
    return f"{' and '.join(named)} are counted as independent, so p is too small" if named else ""
