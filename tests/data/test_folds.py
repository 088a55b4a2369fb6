"""The folds of a cross-validation: stratified, of whole groups, or by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import unroll
from unroll.data.folds import group_folds, stratified_folds, time_folds


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("folds", [2, 5, 10])
def test_each_fold_has_its_share_of_each_class_and_equal_ones_are_together(seed: int, folds: int) -> None:
    random = np.random.default_rng(seed)
    y = random.choice(3, 200, p=[0.6, 0.3, 0.1])
    contents = [str(number) for number in range(200)]
    contents[7] = contents[3]
    which = stratified_folds(y, contents, folds, seed)
    assert which[7] == which[3]
    assert set(which) == set(range(1, folds + 1))
    for label in range(3):
        of_class = np.bincount(which[y == label], minlength=folds + 1)[1:]
        assert of_class.max() - of_class.min() <= 2
    sizes = np.bincount(which)[1:]
    assert sizes.max() - sizes.min() <= 2


@pytest.mark.parametrize("seed", range(3))
def test_whole_groups_are_in_a_fold_and_classes_are_divided_evenly(seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = np.sort(random.integers(0, 40, 400))
    y = (random.random(400) < 0.3 + 0.4 * (groups % 2)).astype(np.int64)
    which = group_folds(y, list(map(str, groups)), 5, seed, "groups")
    for group in set(groups):
        assert len(set(which[groups == group])) == 1
    for label in (0, 1):
        shares = np.bincount(which[y == label], minlength=6)[1:] / (y == label).sum()
        assert abs(shares - 0.2).max() < 0.04


def test_folds_by_time_follow_each_other_and_one_moment_is_in_one_fold() -> None:
    starts = np.array([5, 1, 3, 3, 2, 4, 3, 0, 6, 7])
    which = time_folds(np.stack([starts, starts + 1], axis=1), 3)
    by_time = which[np.argsort(starts, kind="stable")].tolist()
    assert by_time == sorted(by_time)
    assert set(by_time) == {0, 1, 2, 3}
    assert len(set(which[starts == 3])) == 1


def test_the_largest_group_is_dealt_out_first() -> None:
    groups = [*"abcd", *"eeee"]
    which = group_folds(np.zeros(8, np.int64), groups, 2, 0, "groups")
    assert [len({which[at] for at in range(4)}), *np.bincount(which)] == [1, 0, 4, 4]


def test_a_rare_class_weighs_as_much_as_a_frequent_one() -> None:
    frequent, both, last = [0] * 12, [0] * 10 + [1] * 2, [0, 1]
    groups = [*"a" * 12, *"b" * 12, *"cc"]
    which = group_folds(np.array(frequent + both + last), groups, 2, 0, "groups")
    assert which[-1] == which[0] != which[12]  # the rare class is divided, not the few of the frequent one more


def test_of_several_orders_of_groups_the_most_even_counts() -> None:
    random = np.random.default_rng(0)
    groups = [str(number // 8) for number in range(80)]
    y = random.choice(2, 80, p=[0.7, 0.3])

    def uneven(which: np.ndarray) -> float:
        each = [np.bincount(which[y == label], minlength=4)[1:] / (y == label).sum() for label in (0, 1)]
        return sum((y == label).sum() * np.square(each[label] - 1 / 3).sum() for label in (0, 1))

    pairs = [
        (uneven(group_folds(y, groups, 3, seed, "groups")), uneven(stratified_folds(y, groups, 3, seed)))
        for seed in range(8)
    ]
    assert all(best <= first + 1e-9 for best, first in pairs)
    assert any(best < first - 1e-9 for best, first in pairs)


@pytest.mark.parametrize(
    ("starts", "folds", "expected"),
    [
        ([3, 1, 0, 2], 3, [3, 1, 0, 2]),
        ([0, 0, 0, 0, 0, 0, 1, 2], 2, [0, 0, 0, 0, 0, 0, 1, 2]),
        ([0, 1, 2, 2, 2, 2, 2, 2], 2, [0, 1, 2, 2, 2, 2, 2, 2]),
        ([0, 1, 2, 3, 3, 3, 4, 5, 6, 7], 3, [0, 0, 1, 1, 1, 1, 2, 3, 3, 3]),
        ([0, 1, 2, 3, 4, 5, 6, 7, 8], 2, [0, 0, 0, 1, 1, 1, 2, 2, 2]),
    ],
)
def test_folds_by_time_are_as_even_as_equal_moments_allow(starts: list[int], folds: int, expected: list[int]) -> None:
    assert time_folds(np.array([[start, 9] for start in starts]), folds).tolist() == expected


def test_the_folds_of_a_seed_stay_the_same_for_ever() -> None:
    y = np.arange(12) % 2
    assert stratified_folds(y, range(12), 3, 0).tolist() == [2, 1, 1, 1, 3, 3, 1, 3, 3, 2, 2, 2]
    assert stratified_folds(y, range(12), 3, 1).tolist() == [1, 1, 1, 2, 3, 3, 3, 3, 2, 1, 2, 2]


def table(at: Path) -> str:
    """Write 30 wide series of 5 people, the later the larger."""
    lines = ["person,day,label,x1,x2,x3"]
    lines += [f"p{n % 5},{n},{'ab'[n // 5 % 2]},{n + n * n % 13},{n + n * n % 17},{n + n**3 % 19}" for n in range(30)]
    path = at / "t.csv"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_scaling_is_learned_without_the_fold(tmp_path: Path) -> None:
    path, sizes = table(tmp_path), []
    for number in (1, 2, 3):
        splits = unroll.load(path, fold=f"{number}/3", split_by_time="day", drop_columns="person")
        x = splits.train.x.double()
        assert splits.train.preparation.scaling.mean == pytest.approx((float(x.mean()),), abs=1e-4)
        assert float(x.mean()) < float(splits.test.x.mean()) - 5  # the future is larger, and not in the mean
        sizes.append((len(splits.train), len(splits.test)))
    assert sizes == [(7, 8), (15, 7), (22, 8)]


def test_the_test_part_of_a_set_is_in_no_fold(sample: unroll.Splits) -> None:
    splits = unroll.load("mnist-sample", fold="2/4")
    assert (len(splits.train), len(splits.test)) == (3000, 1000)
    assert splits.folds is not None
    assert splits.folds.apart == len(sample.test)
    own = set(sample.train.checksums())
    assert set(splits.test.checksums()) <= own
    assert not set(splits.test.checksums()) & set(splits.train.checksums())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fold": "6/5"}, "fold must be written NUMBER/FOLDS, such as 2/5, 2 folds at least, got '6/5'"),
        ({"fold": "1/1"}, "fold must be written NUMBER/FOLDS"),
        ({"fold": "1/5", "test_fraction": 0.3}, "fold 1/5 is what is held out to test on: leave out test_fraction 0.3"),
        ({"fold": "1/6", "group": "person"}, "6 folds need at least 6 groups, got 5: take fewer folds"),
        ({"fold": "1/40"}, "40 folds need at least 40 different sequences, got 30: take fewer folds"),
        ({"fold": "1/30", "split_by_time": "day"}, "30 folds by time need sequences that begin at 31 times at least"),
    ],
)
def test_folds_that_cannot_be_made_are_refused(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(unroll.InputError, match=message):
        unroll.load(table(tmp_path), **{"drop_columns": "day" if "group" in settings else "person", **settings})
