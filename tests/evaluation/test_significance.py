"""Tests of two classifiers, against SciPy and published numbers."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from statistics import fmean, variance

import pytest
from scipy import stats

from unroll.evaluation.significance import (
    dependence,
    difference,
    holm,
    mcnemar,
    resampled_t,
    two_proportions,
    welch,
    wilson,
)

FOLDS = [  # the differences in each, and sequences tested on relative to those trained on
    ([0.02, 0.05, 0.03, 0.04, 0.01], 1 / 4),
    ([-0.02, 0.01, -0.06], 1 / 2),
    ([0.3, 0.1], 1.0),
    ([0.01 * math.sin(n) for n in range(30)], 1 / 9),
]


@pytest.mark.parametrize("counts", [(0, 0), (0, 1), (5, 5), (1, 9), (61, 49), (0, 40), (700, 820), (3000, 2000)])
def test_mcnemar_is_the_exact_binomial_test(counts: tuple[int, int]) -> None:
    n, least = sum(counts), min(counts)
    tail = Fraction(sum(math.comb(n, k) for k in range(least + 1)), 2**n)
    assert mcnemar(*counts) == pytest.approx(float(min(Fraction(1), 2 * tail)), rel=1e-9)
    assert mcnemar(*counts) == mcnemar(*counts[::-1])


def test_mcnemar_of_many() -> None:
    assert mcnemar(100_000, 100_500) == pytest.approx(2 * stats.norm.sf(499 / math.sqrt(200_500)), rel=1e-5)
    assert mcnemar(40, 100_000) == 0.0


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    # R. G. Newcombe, Statistics in Medicine 17 (1998), Table II, method 10: contrasts (a) to (d), (g) and (h)
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_interval_of_a_difference_is_the_published_one(
    first: tuple[int, int], second: tuple[int, int], low: float, high: float
) -> None:
    assert difference(first, second) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 1), (0, 40), (56, 70), (9568, 10_000), (10**6, 10**6)])
def test_the_interval_of_an_accuracy_is_wilson_s(correct: int, n: int) -> None:
    for level, z in ((0.95, None), (0.99, float(stats.norm.isf(0.005)))):
        expected = stats.binomtest(correct, n).proportion_ci(level, method="wilson")
        found = wilson(correct, n) if z is None else wilson(correct, n, z)
        assert found == pytest.approx((expected.low, expected.high), abs=1e-12)
        assert 0 <= found[0] <= correct / n <= found[1] <= 1


def test_the_p_value_of_two_proportions_is_where_the_interval_reaches_zero() -> None:
    for first, second in (((56, 70), (48, 80)), ((951, 1000), (940, 1000)), ((3, 10), (9, 10))):
        p = two_proportions(first, second)
        ends = difference(first, second, float(stats.norm.isf(p / 2)))
        assert min(map(abs, ends)) < 1e-9
        assert p == pytest.approx(two_proportions(second, first))
    # On large samples all tests of two proportions agree.
    table = [[9100, 900], [9000, 1000]]
    assert two_proportions((9100, 10000), (9000, 10000)) == pytest.approx(
        stats.chi2_contingency(table, correction=False).pvalue, rel=0.02
    )
    assert two_proportions((5, 10), (5, 10)) == 1.0
    assert two_proportions((1000, 1000), (0, 1000)) < 1e-100


def test_welch_is_the_t_test_of_unequal_variances() -> None:
    """His statistic and degrees of freedom, by hand."""
    first, second = [0.951, 0.948, 0.955], [0.940, 0.962, 0.921, 0.933]
    parts = [variance(values) / len(values) for values in (first, second)]
    degrees = sum(parts) ** 2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 3)
    t = (fmean(first) - fmean(second)) / math.sqrt(sum(parts))
    assert welch(first, second) == pytest.approx(2 * stats.t.sf(t, degrees))


def test_samples_that_do_not_vary_have_no_p_value() -> None:
    assert welch([0.5, 0.5], [0.6, 0.6]) is None
    assert welch([0.5, 0.5], [0.6, 0.7]) is not None


@pytest.mark.parametrize(("gains", "ratio"), FOLDS)
def test_the_p_value_of_folds_is_student_s_of_a_corrected_variance(gains: list[float], ratio: float) -> None:
    n = len(gains)
    plain = stats.ttest_1samp(gains, 0)  # its variance is 1 / n of that of the gains, the corrected one 1 / n + ratio
    found = resampled_t(gains, ratio)
    assert found is not None
    assert found[0] == pytest.approx(2 * stats.t.sf(abs(plain.statistic) / math.sqrt(1 + n * ratio), n - 1))


@pytest.mark.parametrize(("gains", "ratio"), FOLDS)
def test_the_interval_of_folds_is_student_s_made_wider_by_what_their_trainings_share(
    gains: list[float], ratio: float
) -> None:
    plain = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    half = (plain.high - plain.low) / 2 * math.sqrt(1 + len(gains) * ratio)
    found = resampled_t(gains, ratio)
    assert found is not None
    assert found[1] == pytest.approx((fmean(gains) - half, fmean(gains) + half))


@pytest.mark.parametrize("wins", [0, 1, 3])
def test_equal_differences_have_no_p_value_however_they_are_rounded(wins: int) -> None:
    gains = [(right + wins) / 10 - right / 10 for right in range(3, 8)]
    assert resampled_t(gains, 1 / 4) is None


@pytest.mark.parametrize(
    ("values", "corrected"),
    [
        ([], []),
        ([0.02], [0.02]),
        ([0.01, 0.04, 0.03], [0.03, 0.06, 0.06]),  # 3 × 0.01, 2 × 0.03, and 0.04, which must not be below
        ([0.9, 0.2, 0.6], [1.0, 0.6, 1.0]),
    ],
)
def test_corrected_p_values_are_those_worked_out_by_hand(values: list[float], corrected: list[float]) -> None:
    assert holm(values) == pytest.approx(corrected)


def test_holm_is_the_procedure_step_by_step() -> None:
    generator = random.Random(0)
    for _ in range(20):
        values = [generator.random() ** 3 for _ in range(5)]
        corrected = holm(values)
        rejected = set[int]()
        for place, index in enumerate(sorted(range(5), key=values.__getitem__)):
            if values[index] > 0.05 / (5 - place):
                break
            rejected.add(index)
        assert {index for index, p in enumerate(corrected) if p <= 0.05} == rejected


def test_holm_of_some_of_the_tests_is_as_if_the_others_had_shown_nothing() -> None:
    generator = random.Random(0)
    for _ in range(20):
        values = [generator.random() ** 3 for _ in range(4)]
        assert holm(values, 10) == pytest.approx(holm([*values, *[1.0] * 6])[:4])
    assert holm([0.01, 0.02], 1) == holm([0.01, 0.02]) == [0.02, 0.02]
    assert holm([], 3) == []


@pytest.mark.parametrize(
    ("readings", "counted"),
    [
        ([{}, {"window": None, "group": None}], None),
        ([{"window": 5}], "windows of one recording"),
        ([{"group": "who"}, {"group_pattern": "p[0-9]+"}], "sequences of one group"),
        ([{}, {"window": 5, "group": "who"}], "windows of one recording and sequences of one group"),
    ],
)
def test_what_belongs_together_makes_p_too_small(readings: list[dict[str, object]], counted: str | None) -> None:
    assert dependence(readings) == (f"{counted} are counted as independent, so p is too small" if counted else "")
