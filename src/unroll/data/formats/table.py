"""A CSV file's columns: numbers as numbers, by pandas' parser; and each cell exactly where something is wrong.

pandas reads fast and forgives much: a short row, a quote within a cell. So the lines are counted first, and a file of
which not every line simply has as many cells as the first is left to `unroll.data.formats.parsing.read_rows`, which
forgives nothing and says in which line an error is.
"""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from ...config import DataConfig
from ...errors import ConfigError, DataError
from ...formatting import shown
from ..columns import Columns
from .parsing import (
    PANDAS_MISSING,
    checked_header,
    decoded,
    divider_of,
    number,
    read_records,
    read_rows,
    unpacked_content,
)

CHUNK = 1 << 21  # bytes whose lines are counted at once
MARK = b"\xef\xbb\xbf"  # with which some editors begin a file


class Texts(NamedTuple):
    """A column of texts: ``values`` that differ, without the blanks around them, and which of them each row has."""

    codes: np.ndarray
    values: Sequence[str]


@dataclass(frozen=True)
class Marks:
    """How a table writes its numbers.

    Attributes:
        decimal: what stands before the decimals
        missing: what marks a missing value, beside an empty cell and its like
    """

    decimal: str = "."
    missing: tuple[str, ...] = ()

    @property
    def numbers(self) -> list[float]:
        """Those of ``missing`` that are numbers."""
        values = []
        for mark in self.missing:
            try:
                values.append(number(mark, self.decimal))
            except ValueError:
                continue
        return [value for value in values if not math.isnan(value)]

    def masked(self, values: np.ndarray) -> np.ndarray:
        """Return ``values`` with NaN in place of those that mark what is missing, as near as their dtype comes."""
        marks = np.array(self.numbers, values.dtype if values.dtype.kind == "f" else np.float64)
        return np.where(np.isin(values, marks), math.nan, values) if len(marks) else values

    def value(self, cell: str) -> float:
        """Return the number in a cell, NaN where it is missing.

        Raises:
            ValueError: it is not a finite number.
        """
        return math.nan if cell.strip() in self.missing else number(cell, self.decimal)


NO_MARKS = Marks()


def marks_of_numbers(path: Path, config: DataConfig, known: Columns | None = None) -> Marks:
    """Return the marks of missing values for a file that is not a table and holds only numbers.

    Args:
        path: the file.
        config: says what they are;
        known: of the table that a model was trained on says so if ``config`` does not (default None: there was none).

    Raises:
        ConfigError: a mark of ``config`` is not a number.
    """
    if known is not None and not config.names("missing_values"):
        return Marks(known.decimal, known.missing_values)
    marks = Marks(missing=config.names("missing_values"))
    for mark in marks.missing:
        try:
            number(mark)
        except ValueError as error:
            raise ConfigError(
                f"missing_values {mark} cannot be used with {path}: its values are numbers, and so must be the marks"
            ) from error
    return marks


@dataclass(frozen=True)
class Table:
    """The content of a CSV file, or of a frame.

    Attributes:
        path: of the file; of a frame what messages call it
        header: names of the columns
        lines: (rows,) int64, the line that each row ends in; of a frame the number of the row, from 0
        columns: of each its numbers (rows,), NaN where one is missing, or its texts
        marks: how numbers are written
        rows: (rows,) int64, their numbers from 0 as pandas counts them: rows of empty cells count, though not here
        unit: what ``lines`` count
    """

    path: Path
    header: list[str]
    lines: np.ndarray
    columns: list[np.ndarray | Texts]
    marks: Marks
    rows: np.ndarray
    unit: Literal["line", "row"] = "line"

    def __len__(self) -> int:
        return len(self.lines)

    def line(self, row: int) -> int:
        """Return the line of a row."""
        return int(self.lines[row])

    def at(self, row: int) -> str:
        """Return where in the table a row is, for messages."""
        return f"{self.unit} {self.line(row)}"

    def where(self, row: int) -> str:
        """Return where a row is, for the beginning of a message."""
        return f"{self.path}, {self.at(row)}"

    def cell(self, row: int, place: int) -> str:
        """Return the exact text of a cell, for messages; a file is read again."""
        column = self.columns[place]
        if isinstance(column, Texts):
            return str(column.values[column.codes[row]])
        if self.unit == "row":
            return str(column[row])
        rows = dict(read_rows(self.path)[1])
        return rows[self.line(row)][place].strip()

    def texts(self, place: int) -> Texts:
        """Return a column that was read as texts."""
        column = self.columns[place]
        assert isinstance(column, Texts)
        return column

    def numbers(self, place: int) -> np.ndarray:
        """Return a column (rows,) float64, NaN where a value is missing.

        Raises:
            DataError: a cell holds no finite number; says in which line or row.
        """
        column = self.columns[place]
        if isinstance(column, Texts):
            return self._parsed(column, place)
        infinite = np.isinf(column)
        if infinite.any():
            row = int(infinite.argmax())
            raise self._error(row, place, self._reason(self.cell(row, place)))
        return self.marks.masked(column).astype(np.float64, copy=False)

    def _parsed(self, column: Texts, place: int) -> np.ndarray:
        values, wrong = np.empty(len(column.values)), np.zeros(len(column.values), bool)
        for index, text in enumerate(column.values):
            try:
                values[index] = self.marks.value(text)
            except ValueError:
                wrong[index] = True
        bad = wrong[column.codes]
        if bad.any():
            row = int(bad.argmax())
            raise self._error(row, place, self._reason(column.values[column.codes[row]]))
        numbers: np.ndarray = values[column.codes]
        return numbers

    def _reason(self, cell: str) -> str:
        try:
            self.marks.value(cell)
        except ValueError as error:
            return str(error)
        return "expected a finite number"

    def _error(self, row: int, place: int, reason: str) -> DataError:
        return DataError(f"{self.where(row)}, column {shown(self.header[place])}: {reason}")


def read_table(path: Path, texts: Callable[[list[str]], Collection[int]], marks: Marks) -> Table:
    """Read a CSV file, which may be packed with gzip.

    Args:
        path: the file; cells of a .tsv file are not quoted.
        texts: given the names of the columns, says which to read as texts, whatever they hold.
        marks: how numbers are written.

    Raises:
        DataError: it cannot be read, has no row, or a row has more or fewer cells than the first line.
    """
    content = unpacked_content(path)
    if not content.isascii():
        decoded(content, str(path))
    table = _parsed_table(path, content, texts, marks)
    if table is None:
        header, records = read_records(path)
        rows, lines = (np.array([record[at] for record in records], np.int64) for at in (0, 1))
        exact, columns = texts(header), list[np.ndarray | Texts]()
        for place in range(len(header)):
            column = factorised([cells[place] for *_, cells in records])
            columns.append(column if place in exact else numbers_or_texts(column, marks))
        table = Table(path, header, lines, columns, marks, rows)
    if not len(table):
        raise DataError(f"{path} holds no series but a first line: expected a row for each time step or each series")
    return table


def factorised(cells: Sequence[str]) -> Texts:
    """Return cells as a column, without the blanks around them."""
    numbers: dict[str, int] = {}
    codes = [numbers.setdefault(cell.strip(), len(numbers)) for cell in cells]
    return Texts(np.array(codes, np.int64), list(numbers))


def numbers_or_texts(column: Texts, marks: Marks) -> np.ndarray | Texts:
    """Return the numbers that all texts of a column are, NaN where one is missing; the texts where one is none."""
    numbers = []
    if not isinstance(column.values, list):
        return column
    for text in column.values:
        try:
            numbers.append(marks.value(text))
        except ValueError:
            return column
    if not numbers:
        return column
    are_whole = all(text.lstrip("+-").isdecimal() for text in column.values) and not any(map(math.isnan, numbers))
    values = np.array(list(map(int, column.values)) if are_whole else numbers)
    return values[column.codes] if values.dtype.kind in "iuf" else column  # an object: too large for 64 bits


def _parsed_table(
    path: Path, content: bytes, texts: Callable[[list[str]], Collection[int]], marks: Marks
) -> Table | None:
    """Return a table as pandas reads it; None where that may not be what the file says."""
    first, newline, _ = content[:CHUNK].removeprefix(MARK).partition(b"\n")
    text = first.decode("utf-8", errors="replace").removesuffix("\r")
    if not newline or not text.strip() or b"\0" in content:
        return None
    if b"\r" in content and content.count(b"\r") != content.count(b"\r\n"):
        return None
    divider = divider_of(text)
    if divider == "\t" and b'""' in content:
        return None
    quoting: Literal[0, 3] = csv.QUOTE_NONE if divider == "\t" else csv.QUOTE_MINIMAL
    try:
        (cells,) = csv.reader([text], delimiter=divider, strict=True, quoting=quoting)
    except csv.Error:
        return None
    form = divider.encode(), len(cells), quoting != csv.QUOTE_NONE
    rows = _even_rows(content, *form)
    lines = _lines(content, *form) if rows is None else np.arange(2, rows + 2)
    if lines is None or not len(lines):
        return None
    header = checked_header(path, cells)
    columns = _columns(content, len(header), {"sep": divider, "quoting": quoting}, texts(header), marks)
    if columns is None:
        return None
    if rows is not None and not (rows == len(_codes(columns[0])) and _is_full(columns[-1])):
        lines = _lines(content, *form)
    if lines is None or len(_codes(columns[0])) != len(lines) or _has_empty_row(columns):
        return None
    return Table(path, header, lines, columns, marks, np.arange(len(lines)))


def _codes(column: np.ndarray | Texts) -> np.ndarray:
    return column.codes if isinstance(column, Texts) else column


def _even_rows(content: bytes, divider: bytes, columns: int, has_quotes: bool) -> int | None:
    """Return the number of lines behind the first if all lines together have as many cells as they should have.

    Each of them has, too, if pandas reads as many rows, none of which lacks its last cell. None where the lines must be
    looked at one by one.
    """
    if columns == 1 or (has_quotes and b'"' in content):
        return None
    lines, dividers = int(not content.endswith(b"\n")), 0
    for at in range(0, len(content), CHUNK):
        part = np.frombuffer(content, np.uint8, min(CHUNK, len(content) - at), at)
        lines += int(np.count_nonzero(part == ord("\n")))
        dividers += int(np.count_nonzero(part == divider[0]))
    return lines - 1 if dividers == lines * (columns - 1) else None


def _is_full(column: np.ndarray | Texts) -> bool:
    """Tell whether no cell of a column is empty, or lacking."""
    if isinstance(column, Texts):
        return "" not in column.values
    return column.dtype.kind != "f" or not np.isnan(column).any()


def _lines(content: bytes, divider: bytes, columns: int, has_quotes: bool) -> np.ndarray | None:
    """Return the numbers of the lines behind the first that are not blank.

    None where one has more or fewer cells than ``columns``, or a quote that does not enclose a whole cell of one line.
    """
    at, line, parts = content.index(b"\n") + 1, 2, []
    while at < len(content):
        end = content.find(b"\n", min(at + CHUNK, len(content) - 1)) + 1 or len(content)
        part = np.frombuffer(content, np.uint8, end - at, at)
        is_divider, ends = part == divider[0], np.flatnonzero(part == ord("\n"))
        if content[end - 1] != ord("\n"):
            ends = np.append(ends, end - at)
        if has_quotes and b'"' in content[at:end]:
            inside = _inside_quotes(part, divider[0])
            if inside is None or inside[ends[ends < len(part)]].any():
                return None
            is_divider &= ~inside
        starts = np.concatenate([[0], ends[:-1] + 1])
        cells = np.add.reduceat(is_divider, starts, dtype=np.int32) + 1
        odd = np.flatnonzero((cells != columns) | (ends - starts <= 1))
        blank = np.array([not content[at + starts[row] : at + ends[row]].strip(b" \t\r") for row in odd.tolist()], bool)
        if (~blank & (cells[odd] != columns)).any() or (columns == 1 and blank.any()):
            return None
        parts.append(np.delete(np.arange(line, line + len(ends)), odd[blank] if len(odd) else odd))
        at, line = end, line + len(ends)
    return np.concatenate(parts) if parts else np.empty(0, np.int64)


def _inside_quotes(part: np.ndarray, divider: int) -> np.ndarray | None:
    """Return which bytes are between quotes; None if a quote is not at the end of a cell."""
    is_quote = part == ord('"')
    places = np.flatnonzero(is_quote)
    if len(places) % 2:
        return None
    borders = (divider, ord("\n"), ord("\r"), ord('"'))
    padded = np.concatenate([[ord("\n")], part, [ord("\n")]])
    before, behind = padded[places[::2]], padded[places[1::2] + 2]
    if not (np.isin(before, borders).all() and np.isin(behind, borders).all()):
        return None
    return np.bitwise_xor.accumulate(is_quote)


def _columns(
    content: bytes, count: int, form: dict[str, Any], texts: Collection[int], marks: Marks
) -> list[np.ndarray | Texts] | None:
    import pandas as pd  # takes half a second

    options = {
        **form, "header": None, "skiprows": 1, "index_col": False, "keep_default_na": False, "decimal": marks.decimal,
        "low_memory": False,
    }  # fmt: skip
    missing = [*PANDAS_MISSING, *marks.missing]
    plain = [place for place in range(count) if place not in texts]
    columns: dict[int, np.ndarray | Texts] = {}
    with suppress(ValueError, OverflowError, pd.errors.ParserWarning), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # of a line with too many cells
        frame = pd.read_csv(
            io.BytesIO(content),
            names=list(range(count)),
            dtype=dict.fromkeys(texts, object),  # "category" would take 007 and 7 for one number
            na_values=dict.fromkeys(plain, missing),
            **options,
        )
        kinds = [dtype.kind for dtype in frame.dtypes]
        columns.update((place, frame[place].to_numpy()) for place in plain if kinds[place] in "iuf")
        again = [place for place in plain if place not in columns]
        if again:  # columns that are not numbers are read again, as exact text
            exact = pd.read_csv(
                io.BytesIO(content),
                names=list(range(count)),
                usecols=again,
                dtype=object,
                na_filter=False,
                **options,
            )
        for place in (*texts, *again):
            codes, values = pd.factorize((exact if place in again else frame)[place])
            if (codes < 0).any():  # a cell that is lacking at the end of a line
                return None
            columns[place] = stripped(codes.astype(np.int64), list(map(str, values)))
        return [columns[place] for place in range(count)]
    return None


def stripped(codes: np.ndarray, values: list[str]) -> Texts:
    """Return a column whose ``values`` may have blanks around them."""
    plain = factorised(values)
    return Texts(plain.codes[codes], plain.values) if len(plain.values) else Texts(codes, values)


def _has_empty_row(columns: list[np.ndarray | Texts]) -> bool:
    """Return whether a whole row is empty: `read_rows` skips such rows."""
    rows = np.arange(len(_codes(columns[0])))
    for column in sorted(columns, key=lambda column: isinstance(column, np.ndarray)):
        if isinstance(column, Texts):
            rows = rows[~np.array(list(map(bool, column.values)), bool)[column.codes[rows]]]
        else:
            rows = rows[np.isnan(column[rows])] if column.dtype.kind == "f" else rows[:0]
        if not len(rows):
            return False
    return True
