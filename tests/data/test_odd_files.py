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


@pytest.mark.parametrize("interleaved", [False, True])
def test_steps_named_as_those_of_several_features_are_pointed_out(interleaved: bool, tmp_path: Path) -> None:
    names = [f"{feature}{step}" for step in range(6) for feature in "xy"]
    names = names if interleaved else sorted(names)
    lines = [",".join([*map(str, row), "ab"[number % 2]]) for number, row in enumerate(VALUES)]
    (tmp_path / "d.csv").write_text("\n".join([",".join([*names, "label"]), *lines]))
    (note,) = notes_of(unroll.load(tmp_path / "d.csv"))
    assert note == (
        "x0 to x5, y0 to y5 are read as 12 time steps of one feature: if they are 2 features, save a row for each time "
        "step, with columns id, time and one for each feature"
    )
    assert notes_of(unroll.load(tmp_path / "d.csv", feature_columns=names)) == []


@pytest.mark.parametrize("in_front", [False, True])
def test_zeros_that_may_be_padding_are_pointed_out(in_front: bool, tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).normal(size=(20, STEPS, 2)), np.arange(20) % 2
    for number, series in enumerate(x[:10]):
        series[STEPS - 2 - number % 3 :] = 0
    x = x[:, ::-1] if in_front else x
    np.savez(tmp_path / "d.npz", x=x, y=y)
    splits = unroll.load(tmp_path / "d.npz", test_fraction=0)
    (note,) = notes_of(splits)
    what = "begin" if in_front else "end"
    assert note.startswith(f"10 of 20 series {what} in zeros, in up to 4 steps: if these are padding, ")


@pytest.mark.parametrize("kind", ["sparse", "same", "none"])
def test_zeros_that_are_values_are_not(kind: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(20, STEPS, 1))
    if kind == "sparse":
        x *= random.random(x.shape) < 0.3
    elif kind == "same":
        x[:, 8:] = 0
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(20) % 2)
    assert notes_of(unroll.load(tmp_path / "d.npz")) == []


def test_a_header_that_contradicts_its_series_is_pointed_out(tmp_path: Path) -> None:
    for header, notes in (("true", 1), ("false", 0)):
        lines = ["1,2,3:a", "1,2:b"] * 5
        content = "\n".join([f"@equalLength {header}", "@classLabel true a b", "@data", *lines])
        (tmp_path / "d.ts").write_text(content)
        note = "the header says @equalLength true, but the series have 2 to 3 steps"
        assert notes_of(unroll.load(tmp_path / "d.ts")).count(note) == notes


def test_arrays_are_read_in_capitals_too(tmp_path: Path) -> None:
    x, y = VALUES[:, :, None], np.arange(20) % 2
    np.savez(tmp_path / "d.npz", X_train=x, y_train=y, X_test=x[:6], y_test=y[:6])
    splits = unroll.load(tmp_path / "d.npz")
    assert (len(splits.train), len(splits.test)) == (20, 6)


@pytest.mark.parametrize(
    ("cell", "hint"),
    [
        ("12:00", "write times as numbers, such as seconds"),
        ("1:02:03.5", "write times as numbers, such as seconds"),
        ("True", "write 1 for true and 0 for false"),
        ("5 %", "write numbers without %"),
        ("\u22121.5", "write - for \u2212"),
        ("1.234.567", ""),
        (
            '"1,257"',
            "write 1000 without , if that divides thousands; for decimals 1.5, with a point",
        ),
    ],
)
def test_cells_that_look_like_numbers_say_what_to_write(cell: str, hint: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(f"id,time,x,label\na,0,{cell},p\na,1,2,p\nb,0,1,q\n", "utf-8")
    with pytest.raises(unroll.DataError) as error:
        unroll.load(tmp_path / "d.csv")
    assert (hint in str(error.value)) if hint else "(write" not in str(error.value)
