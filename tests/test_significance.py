"""Tests of two classifiers, against SciPy and published numbers."""

from __future__ import annotations

import random

import pytest
from scipy import stats

from unroll.significance import difference, holm, mcnemar, student, two_proportions, welch, wilson

LARGE = [
    (100_000, 100_500),
    (250_000, 250_000),
    (250_000, 250_001),
    (301_000, 300_000),
    (90_000, 93_000),
    (40, 100_000),
]


@pytest.mark.parametrize(
    "counts", [(0, 0), (0, 1), (5, 5), (1, 9), (61, 49), (0, 40), (700, 820), (3000, 2000), *LARGE]
)
def test_mcnemar_is_the_exact_binomial_test(counts: tuple[int, int]) -> None:
    expected = stats.binomtest(counts[0], sum(counts)).pvalue if sum(counts) else 1.0
    assert mcnemar(*counts) == pytest.approx(expected, rel=1e-9)
    assert mcnemar(*counts) == mcnemar(*counts[::-1])


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


def test_welch_is_scipy_s() -> None:
    generator = random.Random(0)
    for _ in range(50):
        first = [generator.gauss(0, 1) for _ in range(generator.randint(2, 6))]
        second = [generator.gauss(1, 3) for _ in range(generator.randint(2, 6))]
        assert welch(first, second) == pytest.approx(stats.ttest_ind(first, second, equal_var=False).pvalue, rel=1e-3)
    assert welch([0.5, 0.5], [0.6, 0.6]) is None
    assert student(0.0, 3) == pytest.approx(1.0)


def test_holm_is_the_procedure_step_by_step() -> None:
    assert holm([]) == []
    assert holm([0.02]) == [0.02]
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
