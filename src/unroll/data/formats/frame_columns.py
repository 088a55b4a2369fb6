"""Columns of data frames, of pandas or in Arrow's memory, as those of a table: numbers, texts, or a list in each cell.

A column gives what a CSV file with the same content would: whole numbers as such, dates as dates, categories by their
names. What has a type needs no guess: booleans are 0 and 1, durations are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...errors import DataError
from ...formatting import shown
from .dates import Dates
from .table import Texts, factorised, stripped

NS = {"D": 86_400 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}  # nanoseconds of a unit
MISSING = np.iinfo(np.int64).min  # among dates


class Lists(NamedTuple):
    """A column of lists.

    Attributes:
        values: (all items, width) numbers, one list behind the other, NaN where one is missing; of dates int64
        lengths: (rows,) int64, of each list
        ticks: how many of the values are a second, of dates; else 1
    """

    values: np.ndarray
    lengths: np.ndarray
    ticks: float = 1.0


class Column(Protocol):
    """A column of a frame."""

    @property
    def is_list(self) -> bool:
        """Whether its cells are lists."""

    def texts(self) -> Texts:
        """Return its cells as texts, whatever they hold; empty where one is missing."""

    def values(self) -> np.ndarray | Texts:
        """Return its numbers (rows,), NaN where one is missing; or texts, dates among them, where it holds none."""

    def lists(self, name: str) -> Lists:
        """Return its lists; empty where one is missing. ``name`` is for messages.

        Raises:
            DataError: they do not hold numbers, or items of different lengths.
        """

    def cells(self, most: int | None = None) -> list[Any]:
        """Return its first cells as Python has them, None where one is missing."""


def text_of(value: Any) -> str:
    """Return a cell as a text, as Python writes it; empty where it is missing."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    if isinstance(value, str):
        return value
    text = str(value)
    return "" if text in ("NaT", "<NA>", "NaN") else text


def dates(values: np.ndarray, unit: str) -> Texts:
    """Return whole numbers of a unit since 1970 as dates; where one is beyond what nanoseconds reach, as its text."""
    import pandas as pd  # takes a fifth of a second

    codes, different = pd.factorize(values)
    factor, is_missing = NS[unit], different == MISSING
    given = different[~is_missing]
    if len(given) and max(int(given.max()), -int(given.min())) > (2**63 - 1) // factor:
        text = ["" if np.isnat(date) else str(date) for date in different.astype(f"M8[{unit}]")]
        return stripped(codes.astype(np.int64), text)
    return Texts(codes.astype(np.int64), Dates(np.where(is_missing, MISSING, different * factor)))


class PandasColumn:
    """A column of a pandas frame."""

    def __init__(self, series: Any) -> None:
        self.series = series
        self.kind: str = getattr(series.dtype, "kind", "O")  # of NumPy's type, or of what stands for it

    @property
    def is_list(self) -> bool:
        """See `Column`."""
        if self.series.dtype != object:
            return False
        first = next((cell for cell in self.series if _is_given(cell)), None)
        return hasattr(first, "__len__") and not isinstance(first, str | bytes | dict)

    def texts(self) -> Texts:
        """See `Column`."""
        import pandas as pd

        if self.is_list:
            return factorised(list(map(text_of, self.series)))
        if self.series.dtype == object and pd.api.types.infer_dtype(self.series, skipna=True) != "string":
            return factorised(list(map(text_of, self.series)))  # 1, True and 1.0 would be equal
        codes, values = pd.factorize(self.series)
        names = list(map(text_of, values.to_numpy() if self.kind == "f" else values))  # float32 has few digits
        if (codes < 0).any():
            codes, names = np.where(codes < 0, len(names), codes), [*names, ""]
        return stripped(codes.astype(np.int64), names)

    def values(self) -> np.ndarray | Texts:
        """See `Column`."""
        import pandas as pd

        if isinstance(self.series.dtype, pd.SparseDtype):
            return PandasColumn(self.series.sparse.to_dense()).values()
        if isinstance(self.series.dtype, pd.CategoricalDtype):
            return self.texts()
        if isinstance(self.series.dtype, pd.DatetimeTZDtype):
            return PandasColumn(self.series.dt.tz_convert("UTC").dt.tz_localize(None)).values()
        if self.kind == "M":
            array = self.series.to_numpy(f"M8[{self._unit}]")
            return dates(array.view(np.int64), self._unit)
        if self.kind == "m":
            return _seconds(self.series.to_numpy(f"m8[{self._unit}]").view(np.int64), self._unit)
        if self.kind in "buif":
            if isinstance(self.series.dtype, np.dtype) or not self.series.hasnans:
                numbers = self.series.to_numpy()
                numbers = numbers if numbers.dtype.kind in "buif" else numbers.astype(f"{self.kind}8")
            else:
                numbers = self.series.to_numpy(np.float64, na_value=math.nan)
            return _wide(numbers)
        if self.series.dtype == object and pd.api.types.infer_dtype(self.series, skipna=True) == "boolean":
            return PandasColumn(self.series.astype("boolean")).values()
        return self.texts()

    @property
    def _unit(self) -> str:
        import pandas as pd

        dtype = self.series.dtype
        return str(dtype.pyarrow_dtype.unit if isinstance(dtype, pd.ArrowDtype) else np.datetime_data(dtype)[0])

    def lists(self, name: str) -> Lists:
        """See `Column`."""
        each = list[np.ndarray]()
        for row, cell in enumerate(self.series):
            each.append(_numbers(f"row {row}, column {name}", cell) if _is_given(cell) else np.empty((0, 1)))
        widths = {array.shape[1] for array in each if len(array)}
        if len(widths) > 1 or 0 in widths:
            raise _uneven(name, widths)
        width = max(widths, default=1)
        filled = [array if len(array) else np.empty((0, width)) for array in each]
        lengths = np.array([len(array) for array in each], np.int64)
        kinds = {array.dtype.kind == "M" for array in each if len(array)}
        if len(kinds) > 1:
            raise DataError(f"column {shown(name)}: expected lists of numbers, or of dates, got both")
        if True in kinds:
            filled = [array.astype("M8[ns]").view(np.int64) if len(array) else array for array in filled]
            return Lists(np.concatenate([array for array in filled if len(array)]), lengths, NS["s"])
        return Lists(_wide(np.concatenate(filled)), lengths)

    def cells(self, most: int | None = None) -> list[Any]:
        """See `Column`."""
        head = self.series if most is None else self.series.iloc[:most]
        return [_plain(cell) if _is_given(cell) else None for cell in head]


class ArrowColumn:
    """A column in Arrow's memory: of Parquet, of Arrow files, of polars, of `datasets`."""

    def __init__(self, array: Any) -> None:
        import pyarrow as pa

        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        if isinstance(array, pa.ChunkedArray):  # of several, where texts are more than 2 GB
            raise DataError("a column of texts holds more than 2 GB: save it as large_string")
        while isinstance(array.type, pa.BaseExtensionType):
            array = array.storage
        if pa.types.is_dictionary(array.type) and not pa.types.is_string(array.type.value_type):
            array = array.dictionary_decode()
        if pa.types.is_string_view(array.type):
            array = array.cast(pa.large_string())
        self.array, self.type = array, array.type

    @property
    def is_list(self) -> bool:
        """See `Column`."""
        import pyarrow.types as types

        return bool(types.is_list(self.type) or types.is_large_list(self.type) or types.is_fixed_size_list(self.type))

    def texts(self) -> Texts:
        """See `Column`."""
        import pandas as pd
        import pyarrow as pa

        if pa.types.is_nested(self.type) or pa.types.is_null(self.type) or pa.types.is_date(self.type):
            return factorised([text_of(cell) for cell in self.array.to_pylist()])
        if pa.types.is_timestamp(self.type):
            column = self.values()
            assert isinstance(column, Texts)
            return stripped(column.codes, list(column.values))
        array = self.array if pa.types.is_dictionary(self.type) else self.array.dictionary_encode()
        values = array.dictionary.to_pylist()
        if pa.types.is_float32(self.type) or pa.types.is_float16(self.type):
            values = list(array.dictionary.to_numpy(zero_copy_only=False))  # which write no more digits than they have
        names = [*map(text_of, values), ""]
        codes, used = pd.factorize(array.indices.cast(pa.int64()).fill_null(len(values)).to_numpy())
        return stripped(codes.astype(np.int64), [names[code] for code in used.tolist()])

    def values(self) -> np.ndarray | Texts:
        """See `Column`."""
        import pyarrow as pa
        import pyarrow.types as types

        array, kind = self.array, self.type
        if types.is_null(kind):
            return np.full(len(array), math.nan)
        if types.is_boolean(kind):
            array = array.cast(pa.int8())
        if types.is_decimal(kind):
            array = array.cast(pa.float64())
        if types.is_integer(array.type) or types.is_floating(array.type):
            return _wide(array.to_numpy(zero_copy_only=False))
        if types.is_date(kind):
            array = array.cast(pa.timestamp("s"))
        if types.is_timestamp(array.type):
            return dates(array.cast(pa.int64()).fill_null(MISSING).to_numpy(), array.type.unit)
        if types.is_duration(kind):
            return _seconds(array.cast(pa.int64()).fill_null(MISSING).to_numpy(), kind.unit)
        return self.texts()

    def lists(self, name: str) -> Lists:
        """See `Column`."""
        import pyarrow.compute as pc

        lengths = pc.list_value_length(self.array).fill_null(0).to_numpy().astype(np.int64)
        items = ArrowColumn(pc.list_flatten(self.array))
        if items.is_list:
            inner = items.lists(name)
            widths = set(np.unique(inner.lengths).tolist())
            if len(widths) > 1 or 0 in widths or inner.values.shape[1] > 1:
                raise _uneven(name, widths)
            return Lists(inner.values.reshape(-1, max(widths, default=1)), lengths)
        values = items.values()
        if isinstance(values, Texts) and isinstance(values.values, Dates):
            return Lists(values.values.ns[values.codes][:, None], lengths, NS["s"])
        if isinstance(values, Texts):
            raise DataError(f"column {shown(name)}: expected lists of numbers, got lists of {items.type}")
        return Lists(values[:, None], lengths)

    def cells(self, most: int | None = None) -> list[Any]:
        """See `Column`."""
        cells: list[Any] = self.array.slice(0, most).to_pylist()
        return cells


def _is_given(cell: Any) -> bool:
    return hasattr(cell, "__len__") or text_of(cell) != ""


def _plain(cell: Any) -> Any:
    """Return a cell without NumPy's types."""
    return cell.item() if isinstance(cell, np.generic) else cell


def _numbers(where: str, cell: Sequence[Any]) -> np.ndarray:
    """Return the list in a cell, (items, width)."""
    try:
        array = np.asarray(cell)
        if array.dtype.kind == "O" and any(isinstance(item, date) for item in array.flat):  # dates with a zone too
            import pandas as pd

            array = pd.to_datetime(array, utc=True).tz_localize(None).to_numpy()
        elif array.dtype.kind == "O":
            array = np.asarray(cell, np.float64)
        if array.dtype.kind not in "buifM" or array.ndim not in (1, 2):
            raise ValueError
    except (TypeError, ValueError) as error:
        raise DataError(
            f"{where}: expected a list of numbers, (time,) or (time, features), got {shown(cell)}"
        ) from error
    return array[:, None] if array.ndim == 1 else array


def _uneven(name: str, widths: set[int]) -> DataError:
    low, high = min(widths), max(widths)
    return DataError(
        f"column {shown(name)}: expected lists (time,) or (time, features) with as many features in each, got {low} to "
        f"{high} features"
    )


def _wide(numbers: np.ndarray) -> np.ndarray:
    """Return whole numbers as int64 if it holds them, so that differences do not wrap round; booleans are 0 and 1."""
    is_beyond = numbers.dtype == np.uint64 and numbers.max(initial=0) > np.iinfo(np.int64).max
    return numbers.astype(np.int64, copy=False) if numbers.dtype.kind in "bui" and not is_beyond else numbers


def _seconds(values: np.ndarray, unit: str) -> np.ndarray:
    return np.where(values == MISSING, math.nan, values * (NS[unit] / NS["s"]))
