"""Series that Python holds, beside the same numbers written out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from unroll import DataError
from unroll.data.containers import series_block

FIRST, SECOND = [[1.0, 5.0], [2.0, 6.0], [3.0, 7.0]], [[8.0, 9.0]]
ROWS = np.array([*FIRST, *SECOND])
KEYS = pd.MultiIndex.from_tuples([("b", 0), ("b", 10), ("b", 25), ("a", 3)])
FRAME = pd.DataFrame(ROWS, KEYS, ["x", "y"])


@pytest.mark.parametrize(
    "raw",
    [
        [FIRST, SECOND],
        (np.array(FIRST), torch.tensor(SECOND)),
        np.array([np.array(FIRST), np.array(SECOND)], dtype=object),
        [pd.DataFrame(FIRST, columns=["x", "y"]), pd.DataFrame(SECOND, columns=["x", "y"])],
        FRAME,
        FRAME.astype("Float64"),
    ],
    ids=["lists", "arrays and tensors", "objects", "frames", "one frame", "nullable"],
)
def test_series_of_any_length_become_one_block(raw: Any) -> None:
    block = series_block(raw)
    np.testing.assert_array_equal(block.values, ROWS)
    assert block.lengths.tolist() == [3, 1]
    assert [len(series) for series in block.each] == [3, 1]


def test_an_array_keeps_its_dtype_and_one_feature_needs_no_axis() -> None:
    x = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    block = series_block(x)
    assert block.values.dtype == np.uint8
    np.testing.assert_array_equal(block.values, x.reshape(6, 2))
    for flat in (np.arange(6).reshape(2, 3), torch.arange(6).view(2, 3), [[0, 1, 2], [3, 4, 5]]):
        assert series_block(flat).values.tolist() == [[0], [1], [2], [3], [4], [5]]
    assert series_block([[0, None], [2]]).values.tolist()[0] == [0]
    assert np.isnan(series_block([[0, None], [2]]).values[1, 0])
    assert series_block(torch.ones(2, 3, 1, dtype=torch.bfloat16)).values.dtype == np.float32


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32, np.float64])
@pytest.mark.parametrize("hand_over", [lambda x: x, list], ids=["array", "list"])
def test_what_is_masked_is_missing(hand_over: Any, dtype: Any) -> None:
    x = np.ma.masked_array(np.array([[1, 2, 3], [4, 5, 6]], dtype), [[False, True, False], [False, False, True]])
    np.testing.assert_array_equal(series_block(hand_over(x)).values[:, 0], [1, np.nan, 3, 4, 5, np.nan])


def test_an_array_whose_mask_hides_nothing_keeps_its_dtype() -> None:
    assert series_block(np.ma.masked_array(np.zeros((2, 3), np.uint8), False)).values.dtype == np.uint8


def test_a_frame_names_its_series_and_features_and_says_when() -> None:
    block = series_block(FRAME)
    assert (block.names, block.features) == (("b", "a"), ("x", "y"))
    assert block.times is not None
    assert block.times.tolist() == [0, 10, 25, 0]
    for zone in (None, "Europe/Vienna"):
        dates = pd.DatetimeIndex([f"2026-03-29 {clock}" for clock in ("00:00", "00:30", "04:00", "00:00")], tz=zone)
        frame = FRAME.set_index(pd.MultiIndex.from_arrays([list("bbba"), dates]))
        times = series_block(frame).times
        assert times is not None
        assert times.tolist() == [0, 1800, 14400 if zone is None else 10800, 0]  # clocks were put forward at 2


@pytest.mark.parametrize(
    ("times", "since"),
    [
        (np.array([1.5, 2.25, 4.0, 9.0]), [0, 0.75, 2.5, 0]),
        (np.array([1.5, 2.25, 4.0, 9.0], np.float32), [0, 0.75, 2.5, 0]),
        (np.array([-100, 0, 100, 1], np.int8), [0, 100, 200, 0]),  # which differ by more than int8 holds
        (np.array([0, 200, 255, 1], np.uint8), [0, 200, 255, 0]),
        (pd.to_timedelta([500, 1500, 4000, 1], unit="ms"), [0, 1, 3.5, 0]),
    ],
)
def test_times_begin_with_each_series(times: Any, since: list[float]) -> None:
    block = series_block(FRAME.set_index(pd.MultiIndex.from_arrays([list("bbba"), times])))
    assert block.times is not None
    assert block.times.tolist() == since


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ("series.csv", "X must be series, an array (N, time, features), a list"),
        ({"x": FIRST}, "X must be series"),
        (np.zeros(3), "X must have shape (N, time, features) or (N, time), got (3,)"),
        (np.zeros((1, 2, 3, 4)), "X must have shape (N, time, features) or (N, time), got (1, 2, 3, 4)"),
        ([1.0, 2.0], "series 0 must have shape (time, features) or (time,), got ()"),
        ([FIRST, [[1.0]]], "series 1 must have as many features as series 0, 2, got shape (1, 1)"),
        ([np.zeros((2, 5)), np.zeros((2, 6))], "got shape (2, 6): if time is its last axis, hand over x.T"),
        ([["a", "b"]], "series 0 must hold numbers, each of the same shape (got <U1)"),
        (np.array([[["a", 1.0]]], object), "X must hold numbers"),
        (np.zeros((1, 2, 2), complex), "X must hold numbers, each of the same shape (got complex128)"),
        ([[[1.0, 2.0], [3.0]]], "series 0 must hold numbers, each of the same shape"),
        (FRAME.reset_index(drop=True), "rows have 1 key: expected a pandas frame with the MultiIndex (series, time)"),
        (FRAME.iloc[[0, 3, 1]], "rows of a series must stand together: sort them with sort_index()"),
        (FRAME.iloc[[1, 0]], "the times of series b must ascend, each once, got 0 in row 1"),
        (FRAME.iloc[[0, 3, 3]], "the times of series a must ascend, each once, got 3 in row 2"),
        (FRAME.set_axis(["x", "x"], axis=1), "X: each column needs a name of its own, got x, x"),
        (FRAME.set_index(pd.MultiIndex.from_tuples([(0, t) for t in "abcd"])), "must be its time, a number or a date"),
        (FRAME.set_index(pd.MultiIndex.from_tuples([(None, t) for t in range(4)])), "has no name (NaN) in the index"),
        (FRAME.assign(y=list("abcd")), "X must hold numbers, each of the same shape"),
        ([FRAME[["x", "y"]], FRAME[["y", "x"]]], "series 1 must have the features of series 0, x, y; got y, x"),
    ],
)
def test_what_holds_no_series_is_refused(raw: Any, message: str) -> None:
    with pytest.raises(DataError) as refused:
        series_block(raw)
    assert message in str(refused.value)


def test_a_model_says_how_many_features_there_are() -> None:
    assert series_block([], features=3).values.shape == (0, 3)
    with pytest.raises(DataError, match=r"raw must have shape \(N, time, 3\), got \(2, 4\)"):
        series_block(np.zeros((2, 4)), "raw", 3)
    with pytest.raises(DataError, match="raw must have 3 features, got 2"):
        series_block(FRAME, "raw", 3)
