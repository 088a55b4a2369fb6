"""Series in a CSV file: in long form, a row for each time step, or in wide form, a row for each series.

The first line names the columns, in capitals or not; which they are decides the form, and nothing else does:

- with ``id`` and ``time`` it is long: the rows of one ``id`` are a series, ordered by ``time``; every other column but
  the label is a feature. ``time`` holds numbers or dates (ISO 8601); only their order counts.
- without ``time`` it is wide: every column but ``id`` and the label is a time step of the one feature, from left to
  right; empty cells at the end of a row mean that the series is shorter.

The label's column is called ``label`` or ``class``. A value that is missing is an empty cell, ``NaN``, ``NA``, ``null``
or ``?``. Cells are divided by commas, semicolons or tabs, whichever the first line has most of.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...formatting import is_printable, listed, quoted, shown
from .parsing import check_name, number, read_rows
from .series_file import Series

LABELS = ("label", "class")


@dataclass(frozen=True)
class SeriesTable:
    """A CSV file's rows and what its columns are.

    Attributes:
        path: of the file
        rows: line number and cells of each row, blank lines left out
        header: names of the columns
        id, time, label: their places; None where there is no such column
        others: places of all other columns
    """

    path: Path
    rows: list[tuple[int, list[str]]]
    header: list[str]
    id: int | None
    time: int | None
    label: int | None
    others: list[int]

    def value(self, line: int, cells: list[str], column: int) -> float:
        """Return the number in a cell, NaN where it is missing."""
        try:
            return number(cells[column])
        except ValueError as error:
            raise DataError(f"{self.path}, line {line}, column {shown(self.header[column])}: {error}") from error


def parse(path: Path, labelled: bool) -> Series:
    """Read a CSV file of either form.

    Args:
        path: the file.
        labelled: whether labels are needed; if not, those that are there are left alone.

    Raises:
        DataError: it cannot be read, or something in it will not do; says in which line.
    """
    table = _table(path)
    if labelled and table.label is None:
        raise DataError(
            f"{path} has no column {' or '.join(LABELS)}: expected names of columns in its first line, got "
            f"{listed(table.header)}"
        )
    return _wide(table) if table.time is None else _long(table)


def _table(path: Path) -> SeriesTable:
    header, rows = read_rows(path)
    if not rows:
        raise DataError(f"{path} holds no series but a first line: expected a row for each time step or each series")
    return _columns(path, header, rows)


def _columns(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> SeriesTable:
    names = [name.lower() for name in header]
    places = {key: names.index(key) for key in ("id", "time", *LABELS) if key in names}
    if all(key in places for key in LABELS):
        raise DataError(f"{path} has a column label and a column class: rename the one that is not the label")
    if "time" in places and "id" not in places:
        raise DataError(
            f"{path} has a column time but no column id: expected both, or neither and a row for each series"
        )
    label = next((places[key] for key in LABELS if key in places), None)
    special = (places.get("id"), places.get("time"), label)
    others = [place for place in range(len(header)) if place not in special]
    if not others:
        raise DataError(f"{path} has no column of values: expected more than {listed(header)}")
    return SeriesTable(path, rows, header, *special, others)


def _wide(table: SeriesTable) -> Series:
    values, names, labels = [], [], []
    lines: dict[str, int] = {}
    for line, cells in table.rows:
        name = str(line) if table.id is None else _id(table, line, cells[table.id])
        if name in lines:
            raise DataError(f"{table.path}, line {line}: the id {shown(name)} is in line {lines[name]} already")
        lines[name] = line
        filled = [place for place in table.others if cells[place].strip()]
        if not filled:
            raise DataError(f"{table.path}, line {line}: the series is empty; remove the row")
        steps = [place for place in table.others if place <= filled[-1]]
        values.append(np.array([[table.value(line, cells, place)] for place in steps]))
        names.append(name)
        if table.label is not None:
            labels.append(check_name(f"{table.path}, line {line}", cells[table.label]))
    by = "line" if table.id is None else "id"
    return Series(table.path, values, names, by, None if table.label is None else labels)


def _long(table: SeriesTable) -> Series:
    assert table.id is not None
    steps: dict[str, dict[float, tuple[int, list[float]]]] = {}
    labels: dict[str, tuple[int, str]] = {}
    for (line, cells), time in zip(table.rows, _times(table), strict=True):
        name = _id(table, line, cells[table.id])
        series = steps.setdefault(name, {})
        if time in series:
            row = f"id {shown(name)} and time {shown(cells[table.time or 0].strip())}"
            raise DataError(f"{table.path}, line {line}: {row} are in line {series[time][0]} already")
        series[time] = line, [table.value(line, cells, place) for place in table.others]
        if table.label is not None:
            label = check_name(f"{table.path}, line {line}", cells[table.label])
            before = labels.setdefault(name, (line, label))
            if before[1] != label:
                raise DataError(
                    f"{table.path}, line {line}: id {shown(name)} is of class {shown(label)}, but of "
                    f"{shown(before[1])} in line {before[0]}"
                )
    values = [np.array([row for _, (_, row) in sorted(series.items())]) for series in steps.values()]
    named = None if table.label is None else [label for _, label in labels.values()]
    features = tuple(table.header[place] for place in table.others)
    return Series(table.path, values, list(steps), "id", named, (), features)


def _id(table: SeriesTable, line: int, cell: str) -> str:
    if not cell.strip():
        raise DataError(f"{table.path}, line {line}: the id is empty: expected which series the row belongs to")
    if not is_printable(cell.strip()):
        raise DataError(f"{table.path}, line {line}: expected an id in plain letters, got {quoted(cell.strip())}")
    return cell.strip()


def _times(table: SeriesTable) -> Iterator[float]:
    """Yield the time of each row, in the unit of the first: a number, or the seconds of a date."""
    assert table.time is not None
    dates: bool | None = None
    for line, cells in table.rows:
        cell = cells[table.time].strip()
        value, is_date = _time(cell)
        if math.isnan(value) or math.isinf(value) or is_date is not (is_date if dates is None else dates):
            expected = "a number or a date" if dates is None else "a date" if dates else "a number"
            raise DataError(f"{table.path}, line {line}, column time: expected {expected}, got {quoted(cell)}")
        dates = is_date
        yield value


def _time(cell: str) -> tuple[float, bool]:
    try:
        return float(cell), False
    except ValueError:
        pass
    try:
        date = datetime.fromisoformat(cell)
    except ValueError:
        return math.nan, False
    # As if everywhere were UTC where no zone is given: a clock that is put back would give two dates one number.
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp(), True
