"""Long recordings are cut into windows, which keep to one class and to one side of each cut."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unroll
from unroll.data.sequences import SequenceData
from unroll.data.windows import cut
from unroll.errors import InputError

STEPS = 23


def recordings(
    at: Path, count: int = 12, *, changes: bool = False, steps: int = STEPS, name: str = "long.csv", first: int = 0
) -> Path:
    """Write recordings whose value says which and when: 1,000 times its number plus the time step.

    Args:
        at: folder.
        count: of them; they are of two classes in turn.
        changes: whether the class of each is the other one from step 10 on.
        steps: of each.
        name: of the file.
        first: number of the first recording.
    """
    rows = ["id,time,x,day,label"]
    for number in range(first, first + count):
        for step in range(steps):
            label = "ab"[(number + (changes and step >= 10)) % 2]
            rows.append(f"p{number // 2}_{number},{step},{1000 * number + step},{number + step / steps},{label}")
    path = at / name
    path.write_text("\n".join(rows) + "\n")
    return path


def load(path: Path | str, **settings: Any) -> unroll.Splits:
    return unroll.load(path, **{"feature_columns": "x"} | settings)  # which would be left out, as it counts


def steps_of(data: SequenceData) -> list[list[int]]:
    """Return the raw values of each window."""
    values = data.raw
    return [data.sequence(number, values)[:, 0].round().int().tolist() for number in range(len(data))]


def ids(data: SequenceData) -> set[str]:
    assert data.origins is not None
    return set(data.origins.names)


@pytest.mark.parametrize(("window", "stride"), [(5, 2), (5, 5), (4, 1), (7, 3), (1, 1), (30, 9)])
def test_windows_begin_at_each_stride_and_the_last_one_ends_with_its_recording(window: int, stride: int) -> None:
    lengths = [0, 1, 4, 5, 6, 7, 12, 13, 23]
    expected = []
    for number, length in enumerate(lengths):
        starts = [0]
        while starts[-1] + window < length:
            starts.append(min(starts[-1] + stride, length - window))
        expected += [(number, start, min(window, length)) for start in starts]
    made = cut(np.array(lengths), window, stride)
    assert [*zip(*(each.tolist() for each in made), strict=True)] == expected


def test_windows_hold_the_steps_of_their_recording_and_know_where_they_begin(tmp_path: Path) -> None:
    data = load(recordings(tmp_path), window=8, test_fraction=0).train
    assert (data.shape, data.lengths) == ((12 * 5, 8, 1), None)
    assert data.origins is not None
    assert data.origins.windows is not None
    for steps, name, (number, start) in zip(
        steps_of(data), data.origins.names, data.origins.windows.tolist(), strict=True
    ):
        assert name == f"p{number // 2}_{number}"
        assert steps == [*range(1000 * number + start, 1000 * number + start + 8)]
    assert data.origins.windows[:5, 1].tolist() == [0, 4, 8, 12, 15]
    assert data.counts == {"a": 30, "b": 30}


def test_short_recordings_are_one_window_each_and_counted(tmp_path: Path) -> None:
    path = recordings(tmp_path, 11)
    more = recordings(tmp_path, 1, steps=3, name="more.csv", first=11).read_text().partition("\n")[2]
    path.write_text(path.read_text() + more)
    data = load(path, window=8, stride=8, test_fraction=0).train
    assert data.lengths is not None
    assert data.lengths.tolist() == [8] * 33 + [3]
    assert "1 of 12 recordings is shorter than a window of 8 time steps: each is one sequence, as long as it is" in (
        data.notes
    )


@pytest.mark.parametrize(
    ("settings", "apart"),
    [({}, "_.*"), ({"group_pattern": "p[0-9]+"}, "_.*"), ({"split_by_time": "day"}, "")],
)
def test_no_cut_divides_a_recording_or_a_group(tmp_path: Path, settings: dict[str, Any], apart: str) -> None:
    splits = load(recordings(tmp_path), window=6, **settings)
    rest, part = splits.train.cut(0.2, 1)
    sides = [ids(splits.test), ids(part), ids(rest)]
    if "group_pattern" in settings:
        sides = [{re.sub(apart, "", name) for name in side} for side in sides]
    assert all(sides)
    assert not sides[0] & sides[1] | sides[0] & sides[2] | sides[1] & sides[2]
    if "split_by_time" in settings:
        assert sides[0] == {"p5_10", "p5_11"}
    said = " ".join(splits.train.notes)
    assert ("recordings to train on" in said) == ("group_pattern" not in settings)


@pytest.mark.parametrize(
    ("more", "of"),
    [({}, 60), ({"every": 2}, 60), ({"every": 3}, 84), ({"resample": "1"}, 60), ({"max_length": 20}, 48)],
)
def test_a_window_is_of_the_class_of_all_its_steps_or_left_out(tmp_path: Path, more: dict[str, Any], of: int) -> None:
    path = recordings(tmp_path, changes=True)
    data = load(path, window=8 // more.get("every", 1), test_fraction=0, **more).train
    for steps, label in zip(steps_of(data), data.y.tolist(), strict=True):
        classes = {(step // 1000 + (step % 1000 >= 10)) % 2 for step in steps}
        assert classes == {label}
    assert f"24 of {of} windows are left out: their time steps are of more than one class" in data.notes
    assert len(data) == of - 24


def test_the_error_of_a_class_that_changes_names_the_window(tmp_path: Path) -> None:
    expected = "line 12: id p0_0 is of class b, but of a in line 2; --window 128 cuts recordings whose class changes"
    with pytest.raises(InputError, match=re.escape(expected)):
        load(recordings(tmp_path, changes=True))


def test_windows_of_one_recording_are_of_one_set_in_files_of_their_own(tmp_path: Path) -> None:
    recordings(tmp_path, 4, changes=True, name="x_train.csv")
    recordings(tmp_path, 4, name="x_test.csv", first=2)
    splits = load(tmp_path / "x_train.csv", window=5)
    assert len(ids(splits.test)) == 4
    assert (
        "2 of the 4 recordings in the test part have the id of one in the training part: are they pieces of the same?"
        in (splits.train.notes)
    )


def test_the_fingerprint_notices_another_value_and_another_stride(tmp_path: Path) -> None:
    path = recordings(tmp_path)
    prints = [load(path, window=8, stride=n).train.fingerprint() for n in (4, 4, 3)]
    path.write_text(path.read_text().replace("007,", "007.5,"))
    prints.append(load(path, window=8, stride=4).train.fingerprint())
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"stride": 4}, "stride 4 is that of windows: give their length too, such as --window 128"),
        ({"window": 8, "stride": 0}, "stride must be at least 1, got 0"),
        (
            {"window": 8, "stride": 9},
            "stride must be at most window, 8, got 9: time steps between windows would be skipped",
        ),
        (
            {"window": 8, "name": "mnist-sample", "feature_columns": None},
            "window 8 cannot be used with mnist-sample: it holds images",
        ),
    ],
)
def test_windows_that_make_no_sense_are_refused(tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    name = settings.pop("name", recordings(tmp_path))
    with pytest.raises(InputError, match=re.escape(message)):
        load(name, **settings)


def test_one_recording_cannot_be_tested_on_and_windows_of_several_classes_are_none(tmp_path: Path) -> None:
    path = recordings(tmp_path, 1, changes=True)
    with pytest.raises(InputError, match="no whole recording can be held out, as each has a class that no other has"):
        load(path, window=5)
    with pytest.raises(InputError, match="each window of 23 time steps has some of several classes"):
        load(path, window=23)
