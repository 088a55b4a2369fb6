"""What is wrong with a file that cannot be read, where its first lines or its suffix show it, and what to do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from ...errors import DataError
from ...formatting import listed, quoted
from .parsing import DIVIDERS, MISSING, divider_of, number, read_text

COMMENT = re.compile(r"(#|%|//)[^,;\t]")  # begins a line that is a comment
BLANKS = r"r'\s+'"
LINES = 20  # that are looked at
BY_PANDAS = {
    ".xlsx": "read_excel",
    ".xls": "read_excel",
    ".ods": "read_excel",
    ".pkl": "read_pickle",
    ".pickle": "read_pickle",
    ".h5": "read_hdf",
    ".hdf5": "read_hdf",
    ".sav": "read_spss",
    ".dta": "read_stata",
    ".orc": "read_orc",
}  # which read what a table may be stored as
OF_ARRAYS = {
    ".mat": "d = scipy.io.loadmat({name!r}); numpy.savez({npz!r}, x=d['x'], y=d['y'].ravel())",
    ".npy": "numpy.savez({npz!r}, x=numpy.load({name!r}), y=classes)",
}


def conversion(path: Path) -> str:
    """Return how to convert a file of a format that is not read, to go behind a message; empty if that is unknown."""
    kind, name = path.suffix.lower(), str(path)
    if kind in OF_ARRAYS:
        how = OF_ARRAYS[kind].format(name=name, npz=str(path.with_suffix(".npz")))
        return f"; convert it in Python, x (series, time steps, features) and a class y of each: {how}"
    if kind in BY_PANDAS:
        how = f"pandas.{BY_PANDAS[kind]}({name!r}).to_csv({str(path.with_suffix('.csv'))!r}, index=False)"
        return f"; convert it in Python: {how}"
    return ""


def of_time(cell: str, column: str) -> str:
    """Return how to convert times that are neither numbers nor ISO 8601; empty if the cell holds none."""
    times = f"table[{column!r}]"
    if re.fullmatch(r"[+-]?\d+,\d+", cell):
        return "; if its comma is a decimal separator, say --decimal ,"
    if re.fullmatch(r"\d+:\d+:\d+([.,]\d+)?", cell):
        return f"; convert them to seconds, in pandas: {times} = pandas.to_timedelta({times}).dt.total_seconds()"
    if re.fullmatch(r"\d+:\d+", cell):
        how = f"{times} = pandas.to_timedelta({times} + ':00').dt.total_seconds()"
        return f"; if they are hours and minutes, convert them to seconds, in pandas: {how}"
    if re.match(r"\d+[/.-]\d+[/.-]\d+|[A-Za-z]+ \d+", cell):
        how = "with dayfirst=True where the day comes before the month"
        return f"; convert them, in pandas: {times} = pandas.to_datetime({times}), {how}"
    return ""


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Within the block, name the cause of a `DataError` where the first lines of the table ``path`` show it."""
    try:
        yield
    except DataError as error:
        reason = None
        with suppress(DataError):  # it cannot be read at all, as the first error says
            lines = enumerate(read_text(path).split("\n"), start=1)
            reason = _reason(path, [*islice(((at, line.strip()) for at, line in lines if line.strip()), LINES)])
        if reason is None:
            raise
        raise DataError(reason) from error


def _reason(path: Path, lines: list[tuple[int, str]]) -> str | None:
    if len(lines) < 2:
        return None
    (at, first), (_, last) = lines[0], lines[-1]
    expected, divider = f"{path}, line {at}: expected names of columns", divider_of(first)
    if any(line.count(divider) != first.count(divider) for _, line in lines):  # else it divides the others too
        divider = divider_of(last)
    cells = [(at, [cell.strip() for cell in line.split(divider)]) for at, line in lines]
    if COMMENT.match(first):
        reason = _comment(cells, first)
    elif "|" in first and first.count("|") == last.count("|") and not any(mark in first for mark in DIVIDERS):
        return f"{expected} divided by commas, semicolons or tabs, got |{_converted(path, repr('|'))}"
    elif divider not in last:
        if not (len(first.split()) == len(last.split()) > 1 and _has_number(last.split())):
            return None
        return f"{expected} divided by commas, semicolons or tabs, got blanks{_converted(path, BLANKS)}"
    else:
        reason = _above(cells, first)
    return f"{expected}{reason}" if reason else _units(path, cells)


def _converted(path: Path, sep: str) -> str:
    copy = str(path.with_name(f"{path.name.split('.')[0]}-commas.csv"))
    return f": convert it in Python: pandas.read_csv({str(path)!r}, sep={sep}).to_csv({copy!r}, index=False)"


def _comment(cells: list[tuple[int, list[str]]], first: str) -> str | None:
    mark = first[: 2 if first.startswith("//") else 1]
    row = next((own for _, own in cells if not COMMENT.match(own[0])), [])
    if not _has_number(row):
        return f", got a comment, {quoted(first, 60)}: remove the lines that begin with {mark}"
    if len(row) == len(cells[0][1]):
        return None  # the names begin with a mark, which is said where they are asked for
    return f", got {quoted(first, 60)}: remove the {mark} before the names, and the lines above them"


def _above(cells: list[tuple[int, list[str]]], first: str) -> str | None:
    """Say so where the first line has fewer cells than those below."""
    (_, names), (_, last) = cells[0], cells[-1]
    at = next(at for at, own in cells if len(own) == len(last))
    table = [own for place, own in cells if place >= at]
    are_wider = len(table) > 1 and all(len(names) < len(own) == len(last) for own in table)
    if not (are_wider and last[-1] and _has_number(last)) or any('"' in cell for _, own in cells for cell in own):
        return None
    if len(names) == len(last) - 1 and at == cells[1][0]:
        return f", {len(last)} as there are cells below, got {len(names)}: name each column, also one of row numbers"
    return f", {len(last)} as there are cells in line {at}, got {quoted(first, 60)}: remove what is above the names"


def _units(path: Path, cells: list[tuple[int, list[str]]]) -> str | None:
    """Name a second line that has no number, but a word where the next one has a number."""
    if len(cells) < 3:
        return None
    (at, units), (_, values) = cells[1:3]
    pairs = zip(units, values, strict=False)
    if _has_number(units) or not any(unit.lower() not in MISSING and _has_number([value]) for unit, value in pairs):
        return None
    got = listed(unit for unit in units if unit)
    return f"{path}, line {at}: expected values, got {got}: if these are units, remove the line"


def _has_number(cells: list[str]) -> bool:
    for cell in cells:
        with suppress(ValueError):
            if not math.isnan(number(cell.replace(",", "."))):
                return True
    return False
