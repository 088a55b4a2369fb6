"""What `explore` and `check` say of numbers that alone tell the classes apart, and of copies across a cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import unroll
from unroll.data.describe import copies_across, describe_data
from unroll.data.preparation import Preparation, Scaling
from unroll.data.separation import separating
from unroll.data.sequences import SequenceData
from unroll.doctor.preflight import inspect_model
from unroll.models.classifier import SequenceClassifier

RANDOM = np.random.default_rng(0)


def long_table(path: Path, leak: Callable[[int, int], float], n: int = 60, steps: int = 12) -> Path:
    """Write series of noise, of which one feature is ``leak`` of class and time step."""
    rows = [
        f"{series},{time},{'no' if series % 2 else 'yes'},{RANDOM.normal():.3f},{leak(series % 2, time):.3f}"
        for series in range(n)
        for time in range(steps)
    ]
    path.write_text("\n".join(["id,time,label,a,leak", *rows]))
    return path


def wide_table(path: Path, label: Callable[[int], str], cells: Callable[[int], list[str]], n: int = 80) -> Path:
    header = ",".join(["label", *(f"t{step}" for step in range(len(cells(0))))])
    path.write_text("\n".join([header, *(",".join([label(row), *cells(row)]) for row in range(n))]))
    return path


def noise(steps: int = 30) -> list[str]:
    return [f"{value:.3f}" for value in RANDOM.normal(size=steps)]


def test_a_feature_that_alone_tells_the_classes_apart_is_named_until_it_is_left_out(tmp_path: Path) -> None:
    path = long_table(tmp_path / "d.csv", lambda label, _: label + 0.1 * RANDOM.normal())
    expected = (
        "the mean of feature leak alone tells the classes apart, 100.00 % of held-out training sequences: worth a "
        "look; if it gives the class away, leave it out with --drop-columns leak"
    )
    splits = unroll.load(path)
    assert describe_data(splits).findings[0] == expected
    assert expected in inspect_model(SequenceClassifier(2, 2, hidden_size=4), splits).findings
    assert separating(unroll.load(path, drop_columns="leak").train) == []


@pytest.mark.parametrize(("longer", "named"), [(30, ["the length of a sequence"]), (0, [])])
def test_of_data_with_an_empty_sequence_the_lengths_alone_are_looked_at(longer: int, named: list[str]) -> None:
    y = torch.arange(40) % 2
    lengths = torch.arange(40) % 7 + 1 + longer * y
    lengths[0] = 0
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(40, 40, 1))).float()
    data = SequenceData(x, y, Preparation(("a", "b"), Scaling((0.0,), (1.0,))), lengths)
    assert [line.partition(" alone")[0] for line in separating(data)] == named


def test_a_feature_at_one_time_step_is_named(tmp_path: Path) -> None:
    path = long_table(tmp_path / "d.csv", lambda label, time: RANDOM.normal() + (100 * label if time == 5 else 0))
    assert separating(unroll.load(path).train)[0].startswith(
        "the value of feature leak at time step 5, counted from 0,"
    )


def test_a_time_step_of_a_wide_table_is_named(tmp_path: Path) -> None:
    path = wide_table(tmp_path / "d.csv", lambda row: "ab"[row % 2], lambda row: [*noise(7), f"{50 * (row % 2)}"])
    (finding,) = separating(unroll.load(path).train)
    assert finding.startswith("time step t7 alone")
    assert finding.endswith("--drop-columns t7")


def test_lengths_that_tell_four_classes_apart_are_named(tmp_path: Path) -> None:
    path = wide_table(
        tmp_path / "d.csv",
        lambda row: "abcd"[row % 4],
        lambda row: [cell if step < 5 + 6 * (row % 4) else "" for step, cell in enumerate(noise())],
    )
    assert separating(unroll.load(path).train) == [
        "the length of a sequence alone tells the classes apart, 100.00 % of held-out training sequences: worth a "
        "look, it may give the class away"
    ]


def test_a_pixel_that_marks_the_class_is_named(small: unroll.Splits) -> None:
    x = small.train.x.clone()
    x[:, 3, 4] = (25 * small.train.y).to(torch.uint8)
    (finding,) = separating(replace(small.train, x=x))
    assert finding.startswith("the pixel in row 3, column 4, from 0, alone tells the classes apart, 100.00 %")


@pytest.mark.parametrize("n", [20, 24, 40, 100])
@pytest.mark.parametrize("rare", [2, 5])
def test_noise_of_many_numbers_tells_nothing(n: int, rare: int, tmp_path: Path) -> None:
    """Of ten thousand numbers many tell half of twenty sequences apart by chance."""
    for seed in range(2):
        x = np.random.default_rng(seed).normal(size=(n, 500, 20)).astype(np.float32)
        np.savez(tmp_path / "d.npz", x=x, y=(np.arange(n) % rare == 0).astype(int))
        assert separating(unroll.load(tmp_path / "d.npz").train) == []


def test_copies_of_noise_tell_nothing(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(12, 500, 2)).astype(np.float32)
    np.savez(tmp_path / "d.npz", x=np.repeat(x, 20, axis=0), y=np.repeat(np.arange(12) % 2, 20))
    assert separating(unroll.load(tmp_path / "d.npz").train) == []


def test_digits_are_told_apart_by_no_pixel(sample: unroll.Splits) -> None:
    assert separating(sample.train) == []


def test_copies_between_parts_are_counted(tmp_path: Path) -> None:
    for name, rows in (("train", range(40)), ("test", range(30, 50)), ("val", range(38, 45))):
        lines = [f"{'ab'[row % 2]},{row * 37 % 101}.5,{row * row % 7},{row % 3}" for row in rows]
        (tmp_path / f"d_{name}.csv").write_text("\n".join(["label,t0,t1,t2", *lines]))
    splits = unroll.load(tmp_path / "d_train.csv")
    expected = [
        "10 test sequences also in the training part: the test accuracy will be too high; remove the copies",
        "2 validation sequences also in the training part: the validation accuracy will be too high; remove the copies",
    ]
    assert copies_across(splits) == expected
    assert list(describe_data(splits).findings[:2]) == expected
    model = SequenceClassifier(1, 2, hidden_size=4)
    assert [line for line in inspect_model(model, splits).findings if "also in" in line] == expected
