"""Series as Python holds them, arrays, tensors, lists or a data frame, as one block of time steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, bfloat16

from ..errors import DataError
from ..formatting import listed, shown


@dataclass(frozen=True)
class SeriesBlock:
    """Series of any lengths, one behind the other.

    Attributes:
        values: (steps of all series, features) real numbers of the container's dtype, float64 where that is none of
            NumPy's; NaN where a value is missing
        lengths: (N,) int64 time steps of each series
        names: of the series, N of them; empty where the container names none
        features: names of the features; empty where the container names none
        times: (steps of all series,) float64, ascending from 0 in each series, of dates in seconds; None where the
            container has none
    """

    values: np.ndarray
    lengths: np.ndarray
    names: tuple[Any, ...] = ()
    features: tuple[str, ...] = ()
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def each(self) -> list[np.ndarray]:
        """(time, features) of each series: views of ``values``."""
        return np.split(self.values, self.lengths.cumsum()[:-1]) if len(self) else []


def series_block(raw: Any, name: str = "X", features: int | None = None) -> SeriesBlock:
    """Return series that Python holds as one block.

    Args:
        raw: (N, time, features) array or tensor, or (N, time) of one feature; a list of (time, features) or (time,)
            arrays, tensors, nested lists or data frames, of any lengths; or a pandas frame with the MultiIndex
            (series, time), whose columns are the features. NaN, None or masked where a value is missing.
        name: of ``raw``, for messages.
        features: numbers in a time step (default None: as many as there are; of an empty list 1).

    Raises:
        DataError: it is something else, series have different features, or the times of a series do not ascend.
    """
    if is_frame(raw):
        block = _of_frame(raw, name)
    elif isinstance(raw, str | bytes | dict) or not hasattr(raw, "__len__"):
        raise DataError(
            f"{name} must be series, an array (N, time, features), a list of arrays (time, features) or a pandas frame "
            f"with the MultiIndex (series, time); got {type(raw).__name__}"
        )
    elif isinstance(raw, Tensor) or (isinstance(raw, np.ndarray) and not _holds_arrays(raw)):
        block = _of_array(raw, name, features)
    else:
        block = _of_list(raw, features)
    if features is not None and block.values.shape[1] != features:
        raise DataError(f"{name} must have {features} features, got {block.values.shape[1]}")
    return block


def is_frame(raw: Any) -> bool:
    """Tell whether ``raw`` is a data frame, without importing what makes them."""
    return hasattr(raw, "columns") and hasattr(raw, "shape")


def numbers(name: str, values: Any, dtype: Any = None) -> np.ndarray:
    """Return an array or tensor, or nested lists, as an array of real numbers.

    Args:
        name: of the values, for messages.
        values: numbers; None, pandas' NA, or masked by NumPy, where one is missing.
        dtype: of the result (default None: that of the values where it is one of NumPy's real numbers, else float64).

    Raises:
        DataError: a value is not a number, or sublists have different lengths.
    """
    try:
        with np.errstate(over="ignore"):
            if isinstance(values, Tensor):
                values = (values.float() if values.dtype == bfloat16 else values).detach().cpu().numpy()
            elif is_frame(values) and hasattr(values, "to_numpy"):
                values = values.to_numpy(na_value=np.nan) if hasattr(values, "index") else values.to_numpy()
            elif isinstance(values, np.ma.MaskedArray) and values.mask.any():
                values = np.where(values.mask, np.nan, values.data)
            array = np.asarray(values, dtype)
            if array.dtype.kind not in "buifO":
                raise TypeError(f"got {array.dtype}")
            return array if array.dtype.kind != "O" else array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{name} must hold numbers, each of the same shape ({shown(error)})") from error


def _holds_arrays(raw: np.ndarray) -> bool:
    """Tell whether an array is one of Python objects, each of which is a series."""
    return raw.dtype == object and raw.ndim == 1


def _of_array(raw: Any, name: str, features: int | None) -> SeriesBlock:
    x = _with_features(name, numbers(name, raw), ("N", "time"), features)
    lengths = np.full(len(x), x.shape[1], np.int64)
    return SeriesBlock(x.reshape(-1, x.shape[2]), lengths)


def _of_list(raw: Sequence[Any], features: int | None) -> SeriesBlock:
    each, names = list[np.ndarray](), tuple[str, ...]()
    for number, series in enumerate(raw):
        name = f"series {number}"
        x = _with_features(name, numbers(name, series), ("time",), features)
        own = _names(name, series) if is_frame(series) else ()
        if number == 0:
            names = own
        elif own != names:
            expected, got = (listed(each) or "features without names" for each in (names, own))
            raise DataError(f"{name} must have the features of series 0, {expected}; got {got}")
        if each and x.shape[1] != each[0].shape[1]:
            turned = ": if time is its last axis, hand over x.T" if x.shape[0] == each[0].shape[0] else ""
            raise DataError(
                f"{name} must have as many features as series 0, {each[0].shape[1]}, got shape {x.shape}{turned}"
            )
        each.append(x)
    values = np.concatenate(each) if each else np.empty((0, features or 1))
    return SeriesBlock(values, np.array([len(x) for x in each], np.int64), (), names)


def _with_features(name: str, x: np.ndarray, axes: tuple[str, ...], features: int | None) -> np.ndarray:
    """Return values with an axis of features, which may be left out where there is one feature."""
    if x.ndim == len(axes) and features in (None, 1):
        return x[..., None]
    if x.ndim != len(axes) + 1 or features not in (None, x.shape[-1]):
        last = "features" if features is None else features
        also = f" or ({', '.join(axes)}{',' * (len(axes) == 1)})" if features in (None, 1) else ""
        raise DataError(f"{name} must have shape ({', '.join(axes)}, {last}){also}, got {x.shape}")
    return x


def _names(name: str, frame: Any) -> tuple[str, ...]:
    names = tuple(map(str, frame.columns))
    if len(set(names)) < len(names):
        raise DataError(f"{name}: each column needs a name of its own, got {listed(names)}")
    return names


def _of_frame(frame: Any, name: str) -> SeriesBlock:
    index = getattr(frame, "index", None)
    levels = getattr(index, "nlevels", 1)
    if index is None or levels != 2:
        raise DataError(
            f"{name} is a frame whose rows have {levels} {'key' if levels == 1 else 'keys'}: expected a pandas frame "
            f"with the MultiIndex (series, time), as from set_index(['series', 'time'])"
        )
    values = numbers(name, frame)
    (codes, _), (labels, _) = index.codes, index.levels
    codes = np.asarray(codes)
    if len(codes) and codes.min() < 0:
        raise DataError(f"{name}: the series of a row has no name (NaN) in the index: fill it, or drop the row")
    begins = np.flatnonzero(np.diff(codes, prepend=-1))
    order = codes[begins]
    if len(set(order.tolist())) < len(order):
        raise DataError(f"{name}: rows of a series must stand together: sort them with sort_index()")
    lengths = np.diff(np.append(begins, len(codes))).astype(np.int64)
    names = tuple(labels[code] for code in order.tolist())
    times = _times(name, index.get_level_values(1), begins, lengths, names)
    return SeriesBlock(values, lengths, names, _names(name, frame), times)


def _times(name: str, level: Any, begins: np.ndarray, lengths: np.ndarray, names: tuple[Any, ...]) -> np.ndarray:
    """Return how long after its series' beginning each row is, of dates in seconds."""
    if getattr(level, "tz", None) is not None:
        level = level.tz_convert("UTC").tz_localize(None)
    values = np.asarray(level)
    if values.dtype.kind not in "Mmuif":
        raise DataError(f"{name}: the second key of a row must be its time, a number or a date, got {values.dtype}")
    first = begins.repeat(lengths)
    is_missing = np.isnat(values) if values.dtype.kind in "Mm" else ~np.isfinite(values)
    ascends = np.ones(len(values), bool)
    ascends[1:] = (values[1:] > values[:-1]) | (first[1:] != first[:-1])
    bad = np.flatnonzero(is_missing | ~ascends)
    if len(bad):
        series = names[int(np.searchsorted(begins, bad[0], "right")) - 1]
        raise DataError(
            f"{name}: the times of series {shown(series)} must ascend, each once, got {shown(str(level[bad[0]]))} in "
            f"row {bad[0]}: sort the rows with sort_index(), and drop those that occur twice"
        )
    if values.dtype.kind in "Mm":
        return np.asarray((values - values[first]) / np.timedelta64(1, "s"))
    values = values if values.dtype.kind == "f" else values.astype(np.int64)
    return np.asarray(values - values[first], np.float64)
