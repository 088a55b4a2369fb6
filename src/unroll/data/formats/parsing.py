"""Text files read strictly: encodings, numbers, names, rows with their dividers."""

from __future__ import annotations

import csv
import gzip
import io
import math
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import DataError
from ...formatting import is_printable, quoted, shown
from ..files import content_of, opened

DIVIDERS = ",;\t"
LONGEST_CELL = 2**31 - 1  # characters; csv's own limit is 131,072
LONGEST_HEADER = 1 << 24  # bytes of a first line that is read by itself
QUOTED = re.compile(r'(?<![^\t\n])"([^"]*(?:""[^"]*)*)"(?![^\t\n])')  # a whole cell, in text that tabs divide
MISSING = ("", "?", "na", "nan", "null")  # in any case: how files write that a value is missing
PANDAS_MISSING = ("", "?", "na", "NA", "nan", "NaN", "NAN", "null", "NULL", "Null")  # any other is found by `number`


def read_text(path: Path) -> str:
    """Return a text file's content; of a .gz file that of the file in it.

    Raises:
        DataError: it cannot be read, or is not UTF-8; says at which byte.
    """
    return decoded(unpacked_content(path), str(path))


def unpacked_content(path: Path) -> bytes:
    """Return a file's bytes; of a .gz file those of the file in it.

    Raises:
        DataError: it cannot be read.
    """
    try:
        content = content_of(path)
        return gzip.decompress(content) if path.suffix.lower() == ".gz" else content
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path} is not a complete gzip file ({shown(error)}); copy it again") from error


def decoded(content: bytes, name: str) -> str:
    """Return bytes as text, its lines ended as they are here.

    Args:
        content: the bytes.
        name: of their source, for messages.

    Raises:
        DataError: they are not UTF-8; says at which byte.
    """
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8: byte 0x{error.object[error.start]:02x} at position {error.start:,}; save it as UTF-8"
        ) from error


def number(cell: str, decimal: str = ".") -> float:
    """Return the number in a cell, NaN where it is missing.

    Args:
        cell: the text.
        decimal: what stands before the decimals; where that is a comma, a point may be in no number.

    Raises:
        ValueError: it is not a finite number.
    """
    try:
        if "_" in cell or (decimal == "," and "." in cell):  # Python takes 1_2 for 12
            raise ValueError
        value = float(cell.replace(decimal, "."))
    except ValueError:
        if cell.strip().lower() in MISSING:
            return math.nan
        raise ValueError(f"expected a number, got {_number_shown(cell, decimal)}") from None
    if math.isinf(value):
        raise ValueError(f"expected a finite number, got {quoted(cell)}; leave the cell empty where a value is missing")
    return value


def numbers_in(lines: str) -> np.ndarray | None:
    """Return the numbers in lines of text, float64, NaN where one is missing; None where a line may not be a number.

    Args:
        lines: a number in each, as `number` reads it.
    """
    import pandas as pd  # takes a fifth of a second

    try:
        frame = pd.read_csv(
            io.StringIO(lines),
            header=None,
            names=["number"],
            dtype=np.float64,
            quoting=csv.QUOTE_NONE,
            skip_blank_lines=False,
            keep_default_na=False,
            na_values=[*PANDAS_MISSING],
            index_col=False,
            low_memory=False,
        )
    except (ValueError, OverflowError):
        return None
    numbers: np.ndarray = frame["number"].to_numpy()
    return None if np.isinf(numbers).any() else numbers


def _number_shown(cell: str, decimal: str) -> str:
    hint = _hint(cell.strip(), decimal)
    return quoted(cell, 30) + (f" ({hint})" if hint else "")


def _hint(cell: str, decimal: str) -> str:
    """Return what to write in place of a cell that is not a number; empty if that is unknown."""
    wrong = "," if decimal == "." else "."
    write = "1.5, with a point, or say --decimal ," if decimal == "." else "1,5, with a comma, or leave out --decimal"
    if re.fullmatch(rf"[+-]?\d{{1,3}}(\{wrong}\d{{3}})+", cell):
        write = f"1000 without {wrong} if that divides thousands; for decimals {write}"
    elif cell.count(wrong) != 1 or not cell.replace(wrong, "").strip("+- ").isdigit():
        hints = {
            r"\d+:\d+(:\d+)?([.,]\d+)?": "times as numbers, such as seconds",
            r"(?i)true|false": "1 for true and 0 for false",
            r"[^%]*\d\s*%": "numbers without %",
            r"\u2212.*\d": "- for \u2212",
        }
        write = next((hint for pattern, hint in hints.items() if re.fullmatch(pattern, cell)), "")
    return write and f"write {write}"


def check_name(where: str, label: str) -> str:
    """Return the name of a class without the blanks around it.

    Args:
        where: its file and line, for messages.
        label: the name.

    Raises:
        DataError: it has no letters, or some that cannot be shown.
    """
    name = label.strip()
    if not name or not is_printable(name):
        raise DataError(f"{where}: expected the name of a class, got {quoted(label)}")
    return name


def in_order(labels: Sequence[str]) -> tuple[str, ...]:
    """Return the classes that there are, in order: as numbers where all are whole numbers."""
    classes = set(labels)
    try:
        return tuple(sorted(classes, key=lambda label: (int(label), label)))
    except ValueError:
        return tuple(sorted(classes))


class Record(NamedTuple):
    """A row of a table.

    Attributes:
        row: its number from 0, as ``pandas.read_csv`` counts: rows of empty cells count, blank lines do not
        line: in which it ends, from 1
        cells: their texts
    """

    row: int
    line: int
    cells: list[str]


def read_rows(path: Path, most: int | None = None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the names of a table's columns, and line number and cells of each row; else as `read_records`."""
    header, records = read_records(path, most)
    return header, [(line, cells) for _, line, cells in records]


def read_records(path: Path, most: int | None = None) -> tuple[list[str], list[Record]]:
    """Return the names of a table's columns, and its rows; blank lines and rows of empty cells are left out.

    Args:
        path: the file; cells of a .tsv file are not quoted.
        most: lines to read (default None: all).

    Raises:
        DataError: it cannot be read, is empty, two columns have one name, a row has more or fewer cells than that, or
            cells between tabs are quoted.
    """
    text = _first_line(path) if most == 1 else None
    if text is None:
        text = read_text(path)
    divider = divider_of(text.split("\n", 1)[0])
    lines = io.StringIO(text, newline="")
    csv.field_size_limit(LONGEST_CELL)
    if divider != "\t":
        reader = csv.reader(lines, delimiter=divider, strict=True)
    elif most is None and _is_quoted(text):  # as pandas writes it, beside files of the set that have no such cell
        raise DataError(
            f"{path} has quotes around its cells, which are part of a text between tabs: save it with commas"
        )
    else:
        reader = csv.reader(lines, delimiter=divider, strict=True, quoting=csv.QUOTE_NONE)
    rows, row = list[Record](), -1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append(Record(row, reader.line_num, cells))
                row += 1
            elif rows and len(cells) > 1:
                row += 1
            if len(rows) == most:
                break
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: {shown(error)}; write it again as CSV") from error
    if not rows:
        raise DataError(f"{path} is empty: expected names of columns in its first line")
    header = checked_header(path, rows.pop(0).cells)
    for _, line, cells in rows:
        if len(cells) != len(header):
            raise DataError(f"{path}, line {line}: expected {len(header)} cells as in the first line, got {len(cells)}")
    return header, rows


def _first_line(path: Path) -> str | None:
    """Return a table's first line if it holds all names of columns, and nothing about it is unusual."""
    if path.suffix.lower() == ".gz":
        return None
    try:
        with opened(path) as file:
            line = file.readline(LONGEST_HEADER)
        text = line.decode("utf-8-sig").rstrip("\r\n")
    except (OSError, UnicodeDecodeError):
        return None
    return None if not text.strip() or text.count('"') % 2 or "\r" in text or len(line) == LONGEST_HEADER else text


def divider_of(first: str) -> str:
    """Return what divides the cells of a table with such a first line."""
    return max(DIVIDERS, key=first.count)


def _is_quoted(text: str) -> bool:
    """Tell whether a table that tabs divide has quotes around whole cells alone, and doubled within one of them."""
    return '""' in text and any('""' in inside for inside in QUOTED.findall(text)) and '"' not in QUOTED.sub("", text)


def checked_header(path: Path, cells: list[str], where: str = ", line 1") -> list[str]:
    """Return the names of a table's columns without the blanks around them.

    Args:
        path: of the table.
        cells: the names.
        where: they are, for messages.

    Raises:
        DataError: two are the same, or one cannot be shown.
    """
    header = [name.strip() for name in cells]
    seen: set[str] = set()
    for name in header:
        if not is_printable(name):
            raise DataError(f"{path}{where}: expected the name of a column, got {quoted(name)}")
        if name in seen:
            raise DataError(f"{path} has two columns {quoted(name)}: expected names that differ")
        seen.add(name)
    return header
