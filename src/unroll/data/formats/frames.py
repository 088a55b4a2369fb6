"""Data frames, and files of such: a table as a CSV file is, of series or of texts; or a list of numbers in each cell.

Of pandas, of polars, a pyarrow table or a `datasets.Dataset`; or a Parquet file (.parquet), or one of Arrow (.arrow,
.feather). Columns mean what they mean in a CSV file, see `unroll.data.formats.csv_series` and
`unroll.data.formats.text_file`. Rows are counted from 0. A third form has a row for each series, and in each cell of a
feature the list of its values, see `unroll.data.formats.nested_series`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...config import DataConfig
from ...errors import DataError, how_to_install
from ...formatting import quoted, shown
from .frame_columns import ArrowColumn, Column, PandasColumn
from .parsing import checked_header
from .table import Marks, Table, Texts, numbers_or_texts
from .text_file import Labels, ParsedTexts, column_of_texts, parse_rows

SUFFIXES = (".parquet", ".arrow", ".feather")
ROWS = 100  # to tell whether a column holds texts
UNNAMED = "__index_level_"  # begins what pandas calls the column of an index without a name, in a file


@dataclass(frozen=True)
class Frame:
    """A data frame.

    Attributes:
        path: of its file, or what messages call it
        header: names of the columns
        columns: of the frame
        rows: their number
        notes: what one should know of how it was read, in words
    """

    path: Path
    header: list[str]
    columns: list[Column]
    rows: int
    notes: tuple[str, ...] = ()

    def with_column(self, name: str, values: Any) -> Frame:
        """Return the frame with one more column.

        Args:
            name: of it.
            values: (rows,), a pandas series, array or list.
        """
        import pandas as pd  # takes a fifth of a second

        column = PandasColumn(pd.Series(values))
        return replace(self, header=[*self.header, name], columns=[*self.columns, column])

    def table(self, texts: Collection[int], marks: Marks, places: Sequence[int] | None = None) -> Table:
        """Return columns as those of a table.

        Args:
            texts: places of what to read as texts, whatever it holds.
            marks: how numbers are written in columns of texts, and which mark a missing value.
            places: of the columns (default None: all).
        """
        places = range(len(self.header)) if places is None else places
        columns = [self.columns[place].texts() if place in texts else self._values(place, marks) for place in places]
        header = [self.header[place] for place in places]
        return Table(self.path, header, np.arange(self.rows), columns, marks, np.arange(self.rows), "row")

    def _values(self, place: int, marks: Marks) -> np.ndarray | Texts:
        column = self.columns[place].values()
        return column if isinstance(column, np.ndarray) else numbers_or_texts(column, marks)

    def holds_texts(self, config: DataConfig) -> bool:
        """Tell whether the frame is one of texts: by the names of its columns, and its first rows."""
        if config.text_column is not None:
            return True
        if column_of_texts(self.header, []) is None:
            return False
        cells = [column.cells(ROWS) for column in self.columns]
        return column_of_texts(self.header, list(zip(*cells, strict=True))) is not None


def of_frame(data: Any, path: Path) -> Frame:
    """Return a frame of pandas, polars, pyarrow or `datasets`.

    Args:
        data: the frame.
        path: what messages call it.

    Raises:
        DataError: two columns have one name, or its rows have keys without names.
    """
    if library_of(data) == "pandas":
        return _of_pandas(data, path)
    if library_of(data) == "polars":
        _pyarrow(path)
        try:
            table = data.to_arrow()
        except Exception as error:  # of a type that pyarrow does not know, as Int128
            raise DataError(f"{path} has a column that pyarrow cannot read ({shown(error)}): cast it") from error
        return _of_arrow(table, path)
    return _of_arrow(data, path)


def library_of(data: Any) -> str:
    """Return the name of the package that has made the class of ``data``, or a class that it is made from."""
    known = [kind.__module__.partition(".")[0] for kind in type(data).__mro__]
    return next((name for name in known if name in ("pandas", "polars", "pyarrow", "datasets", "torch")), known[0])


def read_frame(path: Path) -> Frame:
    """Return the frame in a file.

    Raises:
        DataError: the file cannot be read, or pyarrow is missing.
    """
    pa = _pyarrow(path)
    with _explained(path):
        if path.suffix.lower() == ".parquet":
            import pyarrow.parquet

            return _of_arrow(pyarrow.parquet.ParquetFile(path).read(), path)
        with path.open("rb") as file:
            start = file.read(4)
        with pa.memory_map(str(path)) as mapped:
            opened = pa.ipc.open_file if start == b"ARRO" else pa.ipc.open_stream
            return _of_arrow(opened(mapped).read_all(), path)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError, NotImplementedError) as error:  # pyarrow's own errors are among them
        kind = "Parquet" if path.suffix.lower() == ".parquet" else "Arrow"
        raise DataError(f"{path} is not a readable {kind} file ({shown(error)}); write it again") from error


def names_in(path: Path) -> list[str]:
    """Return the names of the columns in a file, without reading more; errors as for `read_frame`."""
    if path.suffix.lower() != ".parquet":
        return read_frame(path).header  # which is mapped, not read
    _pyarrow(path)
    import pyarrow.parquet

    with _explained(path):
        return checked_header(path, _without_index(pyarrow.parquet.read_schema(path).names), "")


def is_text(path: Path, config: DataConfig) -> bool:
    """Tell whether a file holds texts, as `Frame.holds_texts` does."""
    if config.text_column is None and column_of_texts(names_in(path), []) is None:
        return False
    return read_frame(path).holds_texts(config)


def parse_texts(path: Path, config: DataConfig, labels: Labels) -> ParsedTexts:
    """Read a file of texts, as `unroll.data.formats.text_file.parse_table` does."""
    return texts_of(read_frame(path), config, labels)


def texts_of(frame: Frame, config: DataConfig, labels: Labels) -> ParsedTexts:
    """Return the texts of a frame; arguments and errors as for `unroll.data.formats.text_file.parse_table`."""
    cells = []
    for column in frame.columns:
        values = column.cells()
        is_plain = all(value is None or isinstance(value, str) for value in values)
        texts = None if is_plain else column.texts()
        cells.append(values if texts is None else [texts.values[code] or None for code in texts.codes.tolist()])
    rows = [dict(zip(frame.header, row, strict=True)) for row in zip(*cells, strict=True)]
    return parse_rows(frame.path, "row", frame.header, list(range(frame.rows)), rows, config, labels)


def _pyarrow(path: Path) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise DataError(f"{path} needs the library pyarrow: {how_to_install('tables')}") from error
    return pa


def _of_arrow(table: Any, path: Path) -> Frame:
    columns: list[Column] = [ArrowColumn(column) for column in table.columns]
    return _frame(path, _without_index(table.column_names), columns, table.num_rows)


def _without_index(names: Sequence[str]) -> list[str]:
    return ["" if name.startswith(UNNAMED) else name for name in names]


def _of_pandas(data: Any, path: Path) -> Frame:
    import pandas as pd

    notes: tuple[str, ...] = ()
    if data.columns.nlevels > 1:
        raise DataError(f"{path} has columns of {data.columns.nlevels} names each: expected one name for each column")
    keys = data.index.names
    named = [name for name in keys if name is not None]
    if len(keys) > 1 and len(named) < len(keys):
        raise DataError(
            f"{path} has rows of {len(keys)} keys without names: say which is which with "
            "frame.rename_axis(['id', 'time'])"
        )
    if named:
        taken = [name for name in named if name in data.columns]
        if taken:
            raise DataError(
                f"{path} has an index and a column {quoted(str(taken[0]))}: leave one out, for instance with "
                "frame.reset_index(drop=True)"
            )
        data = data.reset_index()
    elif data.index.dtype.kind not in "iu":
        notes = ("the index has no name and is not read: frame.rename_axis('time').reset_index() makes it a column",)
    columns = list[Column]()
    for place in range(data.shape[1]):
        series = data.iloc[:, place]
        is_arrow = isinstance(series.dtype, pd.ArrowDtype)
        columns.append(ArrowColumn(series.array.__arrow_array__()) if is_arrow else PandasColumn(series))
    return _frame(path, list(map(str, data.columns)), columns, len(data), notes)


def _frame(path: Path, names: list[str], columns: list[Column], rows: int, notes: tuple[str, ...] = ()) -> Frame:
    if not names or not rows:
        what = "rows" if names else "columns"
        raise DataError(f"{path} holds no {what}: expected a row for each time step or each series")
    header = checked_header(path, names, "")
    return Frame(path, header, columns, rows, notes)
