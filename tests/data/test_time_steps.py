"""Recordings that are too fine: put on a grid of times, averaged, cut off; as NumPy's interp and slices say."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

import unroll
from unroll.config import DataConfig
from unroll.data.describe import notes_of
from unroll.data.sequences import SequenceData
from unroll.data.time_steps import Steps, TimeSteps, averaged, resampled, shortened
from unroll.errors import ConfigError, DataError

Walk = tuple[np.ndarray, np.ndarray]  # (time,) and (time, 2)


def walks(lengths: list[int], seed: int = 0) -> list[Walk]:
    """Return series at irregular times, the first value of feature 0 never missing."""
    random = np.random.default_rng(seed)
    return [
        (10 + random.uniform(0.005, 0.02, length).cumsum().round(6), random.normal(size=(length, 2)).round(4))
        for length in lengths
    ]


def write(path: Path, series: list[Walk]) -> Path:
    rows = ["id,time,a,b,label"]
    for number, (times, values) in enumerate(series):
        for time, (a, b) in zip(times, values, strict=True):
            cells = ("" if np.isnan(v) else f"{v:.4f}" for v in (a, b))
            rows.append(f"{number},{time:.6f},{','.join(cells)},{'xy'[number % 2]}")
    path.write_text("\n".join(rows))
    return path


def on_grid(walk: Walk, time_step: float) -> np.ndarray:
    times, values = walk
    grid = times[0] + np.arange(int((times[-1] - times[0]) / time_step + 1e-6) + 1) * time_step
    return np.stack([np.interp(grid, times, column) for column in values.T], axis=1)


def means(x: np.ndarray, every: int) -> np.ndarray:
    return np.array([x[at : at + every].mean(axis=0) for at in range(0, len(x), every)])


def each_of(data: SequenceData) -> list[np.ndarray]:
    return [data.sequence(number, data.values).numpy() for number in range(len(data))]


LENGTHS = [50, 51, 1, 37, 64, 2, 90, 45]


@pytest.mark.parametrize("resample", ["100Hz", "10ms", 0.01, "0.1 khz"])
def test_series_are_interpolated_from_their_first_time_on(resample: str | float, tmp_path: Path) -> None:
    series = walks(LENGTHS)
    splits = unroll.load(write(tmp_path / "w.csv", series), resample=resample, test_fraction=0)
    expected = [on_grid(walk, 0.01) for walk in series]
    assert [len(x) for x in expected] == splits.train.steps_of_each.tolist()
    for x, y in zip(each_of(splits.train), expected, strict=True):
        np.testing.assert_allclose(x, y, atol=1e-5)
    assert splits.understood.endswith("values interpolated at a time step of 0.01")
    assert splits.train.preparation.columns is not None
    assert splits.train.preparation.columns.time_step == (0.01, 0.01)
    assert splits.train.times is None


def test_steps_are_resampled_then_averaged_then_cut(tmp_path: Path) -> None:
    series = walks(LENGTHS)
    path = write(tmp_path / "w.csv", series)
    splits = unroll.load(path, resample="5ms", every=3, max_length=20, test_fraction=0)
    whole = [means(on_grid(walk, 0.005), 3) for walk in series]
    for x, y in zip(each_of(splits.train), whole, strict=True):
        np.testing.assert_allclose(x, y[:20], atol=1e-5)
    cut = sum(len(x) > 20 for x in whole)
    assert notes_of(splits) == [f"{cut} of 8 series are cut to the first 20 time steps"]
    assert splits.train.lengths is not None
    drawn = unroll.load(path, resample="5ms", every=3, max_length=20)
    assert notes_of(drawn) == notes_of(splits)  # counted before a test part is drawn


def test_each_n_steps_are_their_mean_and_the_rest_at_the_end_is_one_too(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, lengths = random.normal(size=(9, 11, 3)), np.array([11, 10, 9, 8, 4, 3, 1, 5, 0])
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(9) % 2, lengths=lengths)
    splits = unroll.load(tmp_path / "d.npz", every=4, test_fraction=0)
    assert splits.train.steps_of_each.tolist() == [3, 3, 3, 2, 1, 1, 1, 2, 0]
    for own, series, length in zip(each_of(splits.train), x, lengths, strict=True):
        np.testing.assert_allclose(own, means(series[:length], 4).reshape(-1, 3), atol=1e-6)


def test_bytes_are_averaged_as_numbers_and_cut_as_bytes(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (6, 7, 2), dtype=np.uint8)
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(6) % 2)
    data = unroll.load(tmp_path / "d.npz", every=2, test_fraction=0).train
    assert data.x.dtype == torch.float32
    np.testing.assert_allclose(data.values[:, 3].numpy(), x[:, 6])
    np.testing.assert_allclose(data.values[:, 0].numpy(), x[:, :2].mean(axis=1))
    data = unroll.load(tmp_path / "d.npz", max_length=5, test_fraction=0).train
    assert data.x.dtype == torch.uint8
    assert (data.x.numpy() == x[:, :5]).all()
    assert data.notes == ("6 of 6 series are cut to the first 5 time steps",)


def test_a_gap_stays_a_gap(tmp_path: Path) -> None:
    series = walks(LENGTHS)
    for number, (_, values) in enumerate(series):
        values[np.random.default_rng(number).random(values.shape) < 0.2] = np.nan
        values[-1] = 1
    path = write(tmp_path / "w.csv", series)
    data = unroll.load(path, resample="7ms", missing="mask", test_fraction=0).train
    assert data.missing is not None
    for number, walk in enumerate(series):
        expected, gaps = on_grid(walk, 0.007), data.sequence(number, data.missing).numpy()
        assert (np.isnan(expected) == gaps).all()
        np.testing.assert_allclose(data.sequence(number, data.values).numpy()[~gaps], expected[~gaps], atol=1e-5)
        assert (data.sequence(number).numpy()[:, 2:] == gaps).all()
    data = unroll.load(path, every=2, test_fraction=0).train
    assert data.missing is not None
    for number, (_, values) in enumerate(series):
        groups = [values[at : at + 2] for at in range(0, len(values), 2)]
        gaps = np.array([np.isnan(group).all(axis=0) for group in groups])
        assert (data.sequence(number, data.missing).numpy() == gaps).all()
        expected = np.array([np.nansum(group, axis=0) / (~np.isnan(group)).sum(axis=0).clip(1) for group in groups])
        np.testing.assert_allclose(data.sequence(number).numpy()[~gaps], expected[~gaps], atol=1e-5)


def test_a_value_just_beside_a_gap_is_read_though_decimals_are_rounded() -> None:
    times = np.array([0.0, 0.1 + 1e-9, 0.2, 0.3 - 1e-9])
    steps = Steps(np.array([[1.0], [2.0], [0.0], [4.0]]), np.array([[False], [False], [True], [False]]), np.array([4]))
    made = resampled(steps, times, 0.1)
    assert made.missing is not None
    assert made.missing[:, 0].tolist() == [False, False, True, False]
    np.testing.assert_allclose(made.x[:, 0], [1, 2, 0, 4], atol=1e-6)


@pytest.mark.parametrize(
    ("times", "missing", "read"),
    [
        ([0, 0.1, 0.2 + 1e-9], [1], [1, None, 3]),  # 0.2 lies before its value, behind the gap
        ([0, 0.1 - 1e-9, 0.2], [2], [1, 2, None]),
        ([0, 0.1, 0.2], [1], [1, None, 3]),
        ([0, 0.15, 0.2], [1], [1, None, 3]),
        ([0, 0.05, 0.2], [1], [1, None, 3]),
        ([0, 0.1, 0.2], [0], [None, 2, 3]),
        ([0, 0.1, 0.2], [0, 1, 2], [None, None, None]),
    ],
)
def test_a_gap_reaches_to_the_values_beside_it_and_no_farther(
    times: list[float], missing: list[int], read: list[float | None]
) -> None:
    x, gaps = np.array([[1.0], [2.0], [3.0]]), np.isin(np.arange(3), missing)[:, None]
    made = resampled(Steps(np.where(gaps, 0, x), gaps, np.array([3])), np.array(times), 0.1)
    assert made.missing is not None
    assert [
        None if gap else round(float(value), 6) for (value,), (gap,) in zip(made.x, made.missing, strict=True)
    ] == read


def test_of_several_values_at_one_time_the_last_counts() -> None:
    times = np.array([0.0, 1.0, 1.0, 2.0, 0.0])
    made = resampled(Steps(np.array([[0.0], [5.0], [1.0], [3.0], [7.0]]), None, np.array([0, 4, 0, 1])), times, 0.5)
    assert made.lengths.tolist() == [0, 5, 0, 1]
    np.testing.assert_allclose(made.x[:, 0], [0, 2.5, 1, 2, 3, 7])


def test_nothing_of_nothing_is_nothing() -> None:
    empty = Steps(np.empty((0, 2)), None, np.array([0, 0]))
    for made in (resampled(empty, np.empty(0), 1.0), averaged(empty, 2), shortened(empty, 3)):
        assert made.x.shape == (0, 2)
        assert made.lengths.tolist() == [0, 0]


@pytest.mark.parametrize("kind", ["numbers", "dates"])
def test_recordings_are_resampled_by_their_times(kind: str, tmp_path: Path) -> None:
    series = walks([40, 41, 33, 57])
    for number, (times, values) in enumerate(series):
        folder = tmp_path / "moves" / "xy"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        rows = [f"{time:.6f}" if kind == "numbers" else f"2026-03-14T10:00:{time:09.6f}" for time in times]
        lines = [f"{time},{a},{b}" for time, (a, b) in zip(rows, values.tolist(), strict=True)]
        (folder / f"{number}.csv").write_text("\n".join(["timestamp,a,b", *lines]))
    data = unroll.load(tmp_path / "moves", resample="50Hz", test_fraction=0).train
    for x, number in zip(each_of(data), (0, 2, 1, 3), strict=True):
        np.testing.assert_allclose(x, on_grid(series[number], 0.02), atol=1e-4)
    (tmp_path / "moves" / "x" / "0.csv").write_text("timestamp,a,b\n2026-03-14T10:00:01,1,2\n2026-03-14T10:00:00,1,2")
    if kind == "dates":
        with pytest.raises(DataError, match="0.csv, column timestamp: the time goes back, to 2026-03-14T10:00:00"):
            unroll.load(tmp_path / "moves")


def test_a_grid_that_leaves_steps_out_is_said_with_what_averages_them(tmp_path: Path) -> None:
    series = [(np.arange(100) * 0.01, values) for _, values in walks([100] * 4)]
    path = write(tmp_path / "w.csv", series)
    (note,) = unroll.load(path, resample="10Hz").train.notes
    assert (
        note
        == "resample 10Hz skips what lies between, as the time step is 0.01: --resample 0.01 --every 10 averages it"
    )
    assert unroll.load(path, resample="0.01", every=10).train.notes == ()


def test_rates_that_differ_are_not_remarked_upon_once_they_are_resampled(tmp_path: Path) -> None:
    series = [
        (np.arange(40) * (0.01 if number % 2 else 0.02), values) for number, (_, values) in enumerate(walks([40] * 6))
    ]
    path = write(tmp_path / "w.csv", series)
    assert "--resample puts them on one grid" in unroll.load(path).train.notes[0]
    assert unroll.load(path, resample="100Hz").train.notes == ()


def test_times_in_another_unit_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w.csv", [(times * 1000, values) for times, values in walks(LENGTHS)])
    with pytest.raises(DataError, match="a time step of 0.02 makes .* is a time wrong, or in another unit") as refused:
        unroll.load(path, resample="50Hz")
    assert "\n" not in str(refused.value)
    assert unroll.load(path, resample=20, test_fraction=0).train.time < 90
    with pytest.raises(ConfigError, match="resample 50s leaves one time step of each series: a rate is written 50Hz"):
        unroll.load(write(tmp_path / "w.csv", walks(LENGTHS)), resample="50s")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"resample": "50"}, "its series have no times; --every 4 reads the mean of each 4 time steps"),
        ({"resample": "fast"}, "resample must be a rate such as 50Hz, or a time above 0"),
        ({"resample": "0Hz"}, "resample must be a rate such as 50Hz, or a time above 0"),
        ({"resample": "5m"}, "resample must be a rate such as 50Hz, or a time above 0"),
        ({"resample": "1..2s"}, "resample must be a rate such as 50Hz, or a time above 0"),
        ({"resample": -1.0}, "resample must be a rate such as 50Hz, or a time above 0"),
        ({"every": 0}, "every must be at least 1, got 0"),
        ({"every": 2.5}, "every must be of type int, got 2.5"),
        ({"max_length": 0}, "max_length must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_read_so_is_refused(setting: dict[str, object], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.random.default_rng(0).normal(size=(9, 11, 3)), y=np.arange(9) % 2)
    with pytest.raises(ConfigError, match=message):
        unroll.load(tmp_path / "d.npz", **setting)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ({"every": None}, "every must be a whole number of at least 1, got None"),
        ({"every": 0}, "every must be a whole number of at least 1, got 0"),
        ({"every": True}, "every must be a whole number of at least 1, got True"),
        ({"max_length": 2.0}, "max_length must be a whole number of at least 1, got 2.0"),
        ({"window": 0, "stride": 1}, "window must be a whole number of at least 1, got 0"),
        ({"window": 1, "stride": 0}, "stride must be a whole number of at least 1, got 0"),
        ({"window": 4}, "window and stride come together, got 4 and None"),
        ({"stride": 4}, "window and stride come together, got None and 4"),
        ({"time_step": 0}, "time_step must be a number above 0, got 0"),
        ({"time_step": "1"}, "time_step must be a number above 0, got '1'"),
    ],
)
def test_a_run_s_time_steps_are_checked(saved: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        TimeSteps.from_dict(saved)


@pytest.mark.parametrize(
    "rule", [TimeSteps(), TimeSteps(1e-9, 1, 1), TimeSteps(every=2, window=1, stride=1), TimeSteps(max_length=9)]
)
def test_a_run_s_time_steps_come_back_as_they_were(rule: TimeSteps) -> None:
    assert TimeSteps.from_dict(asdict(rule)) == rule


@pytest.mark.parametrize(
    ("resample", "expected"),
    [
        ("50Hz", 0.02),
        ("20ms", 0.02),
        ("0.5 hz", 2.0),
        ("2min", 120.0),
        ("1h", 3600.0),
        (1e-5, 1e-5),
        ("2kHz", 5e-4),
        (20, 20),
    ],
)
def test_rates_and_times_are_understood(resample: str | float, expected: float) -> None:
    assert DataConfig(resample=resample).time_step == pytest.approx(expected, rel=1e-12)  # type: ignore[arg-type]


def test_of_texts_tokens_are_cut_and_nothing_else(tmp_path: Path) -> None:
    texts = [" ".join(["word"] * (number % 7 + 1)) for number in range(28)]
    lines = [f"{text}\t{'ab'[number % 2]}" for number, text in enumerate(texts)]
    (tmp_path / "t.tsv").write_text("\n".join(["text\tlabel", *lines]))
    splits = unroll.load(tmp_path / "t.tsv", max_length=5, test_fraction=0)
    assert splits.train.steps_of_each.tolist() == [min(5, number % 7 + 1) for number in range(28)]
    assert splits.train.notes == ("8 of 28 texts are cut to the first 5 tokens",)
    again = unroll.load(tmp_path / "t.tsv", test_fraction=0).train.prepared_as(splits.train.preparation)
    assert torch.equal(again.x, splits.train.x)
    for setting in ({"every": 2}, {"resample": "50Hz"}):
        with pytest.raises(ConfigError, match="cannot be used with .*: it holds texts"):
            unroll.load(tmp_path / "t.tsv", **setting)  # type: ignore[arg-type]


def test_data_that_was_read_so_before_is_not_read_so_again(tmp_path: Path) -> None:
    path = write(tmp_path / "w.csv", walks(LENGTHS))
    splits, plain = unroll.load(path, every=2, test_fraction=0), unroll.load(path, test_fraction=0)
    preparation = splits.train.preparation
    assert torch.equal(splits.train.prepared_as(preparation).x, plain.train.prepared_as(preparation).x)
    with pytest.raises(
        DataError, match="the run reads all time steps; the data was loaded with the mean of each 2 time"
    ):
        splits.train.prepared_as(plain.train.preparation)


@pytest.mark.parametrize("kind", ["numbers", "dates"])
def test_time_stamps_of_the_archive_are_a_grid_s_times(kind: str, tmp_path: Path) -> None:
    series, lines = walks([30, 21, 1, 44]), ["@timeStamps true", "@classLabel true x y", "@data"]
    for number, (times, values) in enumerate(series):
        stamps = [f"{time:.6f}" if kind == "numbers" else f"2026-03-14 10:00:{time:09.6f}" for time in times]
        features = [",".join(f"({t},{v})" for t, v in zip(stamps, column, strict=True)) for column in values.T.tolist()]
        lines.append(":".join([*features, "xy"[number % 2]]))
    (tmp_path / "w.ts").write_text("\n".join(lines))
    data = unroll.load(tmp_path / "w.ts", test_fraction=0).train
    for x, (_, values) in zip(each_of(data), series, strict=True):
        np.testing.assert_allclose(x, values, atol=1e-6)
    splits = unroll.load(tmp_path / "w.ts", resample="40Hz", test_fraction=0)
    for x, walk in zip(each_of(splits.train), series, strict=True):
        np.testing.assert_allclose(x, on_grid(walk, 0.025), atol=1e-5)
    assert "resample 40Hz skips what lies between" in splits.train.notes[0]
