"""Files that look right and were misunderstood without a word: each is read right, or what is odd is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import unroll
from unroll.data.describe import notes_of

STEPS = 12
VALUES = np.random.default_rng(0).normal(size=(20, STEPS)).round(2)


def wide(path: Path, labels: list[str], names: list[str]) -> unroll.Splits:
    """Load a wide table with the values of the time steps under ``names``, in that order."""
    columns = [VALUES[:, int(name[1:])] for name in names]
    rows = [",".join(map(str, row)) for row in np.stack(columns, axis=1)]
    path.write_text(
        "\n".join([",".join(["label", *names]), *(f"{c},{row}" for c, row in zip(labels, rows, strict=True))])
    )
    return unroll.load(path)


@pytest.mark.parametrize(
    ("labels", "classes", "pairs"),
    [
        (["01", "1", "02", "2"], ("01", "1", "02", "2"), "01 and 1, 02 and 2"),
        (["1.50", "1.5"], ("1.5", "1.50"), "1.5 and 1.50"),
        (["1", "2", "2.0"], ("1", "2", "2.0"), "2 and 2.0"),
        (["True", "true", "False"], ("False", "True", "true"), "True and true"),
        (["Walk", "walk", "run"], ("Walk", "run", "walk"), "Walk and walk"),
    ],
)
def test_classes_are_read_to_the_letter(
    labels: list[str], classes: tuple[str, ...], pairs: str, tmp_path: Path
) -> None:
    many = [labels[row % len(labels)] for row in range(len(VALUES))]
    splits = wide(tmp_path / "d.csv", many, [f"t{step}" for step in range(STEPS)])
    assert splits.classes == classes
    expected = f"classes that differ only in how they are written, {pairs}: write them alike if they are one"
    assert expected in notes_of(splits)


def test_ids_with_zeros_in_front_are_other_ids(tmp_path: Path) -> None:
    ids = [f"{row:03d}" for row in range(10)] + [str(row) for row in range(10)]
    lines = [f"{i},{time},{VALUES[row, time]},{'ab'[row % 2]}" for row, i in enumerate(ids) for time in range(3)]
    (tmp_path / "d.csv").write_text("\n".join(["id,time,x,label", *lines]))
    splits = unroll.load(tmp_path / "d.csv")
    assert len(splits.train) + len(splits.test) == 20


def test_time_steps_that_are_sorted_like_words_are_pointed_out(tmp_path: Path) -> None:
    names, labels = [f"t{step}" for step in range(STEPS)], ["a", "b"] * 10
    note = (
        "the time steps t0, t1, t10, t11, … are read from left to right, not in the order of their numbers: sort the "
        "columns, or name them in order with --feature-columns"
    )
    assert note in notes_of(wide(tmp_path / "words.csv", labels, sorted(names)))
    in_order = unroll.load(tmp_path / "words.csv", feature_columns=names)
    plain = wide(tmp_path / "plain.csv", labels, names)
    assert torch.equal(in_order.train.x, plain.train.x)
    assert notes_of(in_order) == notes_of(plain) == []


def test_arrays_with_their_features_first_are_pointed_out(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 3, 100))
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(20) % 2)
    (note,) = notes_of(unroll.load(tmp_path / "d.npz"))
    assert note.endswith(
        "x holds 3 time steps of 100 features: if these are 3 features of 100 time steps, save x.transpose(0, 2, 1)"
    )
    np.savez(tmp_path / "d.npz", x=x.transpose(0, 2, 1), y=np.arange(20) % 2)
    assert notes_of(unroll.load(tmp_path / "d.npz")) == []


@pytest.mark.parametrize(("rates", "notes"), [((0.01, 0.02), 1), ((0.01, 0.0101), 0)])
def test_recordings_of_different_rates_are_pointed_out(rates: tuple[float, float], notes: int, tmp_path: Path) -> None:
    for name, rate in zip(("walk", "run"), rates, strict=True):
        (tmp_path / name).mkdir()
        for row in range(6):
            lines = [f"{step * rate:.4f},{value}" for step, value in enumerate(VALUES[row])]
            (tmp_path / name / f"{row}.csv").write_text("\n".join(["time,x", *lines]))
    expected = (
        "the time between two steps is 0.01 in some recordings and 0.02 in others, and is not read: --resample puts "
        "them on one grid"
    )
    assert notes_of(unroll.load(tmp_path)) == [expected] * notes
