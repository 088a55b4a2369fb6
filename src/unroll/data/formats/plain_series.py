"""Series in files of numbers alone, as the UCR archive has them: ``X_TRAIN.txt``, ``X_TRAIN.tsv`` without a head.

Each line is a series of one feature: the number of its class, then its values, divided by commas, tabs or blanks. NaN,
or what else says that a value is missing, behind the last value of a line is padding.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...formatting import quoted, shown
from ..files import opened
from .parsing import number, read_text
from .series_file import Series

LOOKED_AT = 20  # lines, to tell whether a file holds numbers alone
CHUNK = 1 << 20  # bytes that these are looked for in


def holds_numbers(path: Path) -> bool:
    """Tell whether the first lines of a file are numbers alone, two or more in each.

    Raises:
        DataError: it is not a file, or cannot be read.
    """
    try:
        with opened(path) as file:
            content = file.read(CHUNK)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or shown(error)}") from error
    if path.suffix.lower() == ".gz":
        try:
            content = zlib.decompressobj(wbits=31).decompress(content, CHUNK)  # 31: with the head of gzip
        except zlib.error:
            return False  # who reads it says why
    lines = [line for line in content.decode("utf-8-sig", "replace").split("\n") if line.strip()]
    if len(content) == CHUNK and lines:  # the last line is cut, and so is its last cell
        lines[-1:] = [] if len(lines) > 1 else [" ".join(_cells(lines[0])[:-1])]
    return bool(lines) and all(map(_are_numbers, lines[:LOOKED_AT]))


def parse(path: Path, labelled: bool) -> Series:
    """Read a file whose lines begin with the number of a class.

    Args:
        path: the file.
        labelled: makes no difference: the class is there in any case.

    Raises:
        DataError: the file cannot be read or is invalid; the message names the line.
    """
    names, values, labels = [], [], []
    for place, cells in _rows(path):
        label = _class(cells[0])
        if label is None:
            raise DataError(f"{path}, line {place}: expected the number of a class first, got {quoted(cells[0])}")
        labels.append(label)
        values.append(_values(path, place, cells[1:]))
        names.append(str(place))
    if len(labels) > 2 and len(set(labels)) == len(labels):
        raise DataError(
            f"{path} begins each of its {len(labels)} lines with another number: expected that of a class, which "
            "several lines share"
        )
    understood = "series from lines of numbers; class: the first of each"
    return Series(path, values, names, "line", labels, understood=understood)


def parse_unlabelled(path: Path, classes: tuple[str, ...]) -> Series:
    """Read a file to classify, whose lines may begin with the number of a class, all or none of them.

    Args:
        path: the file.
        classes: of the model: only these are taken for such numbers.

    Raises:
        DataError: as by `parse`, or it cannot be told whether the first numbers are classes.
    """
    rows = _rows(path)
    firsts = [_class(cells[0]) for _, cells in rows]
    labelled = bool(firsts) and all(first in classes for first in firsts)
    if not labelled and None not in firsts:
        raise DataError(
            f"{path} begins its lines with whole numbers of which only some are classes of the run: save it as CSV, "
            "whose first line names the columns"
        )
    names = [str(place) for place, _ in rows]
    values = [_values(path, place, cells[1:] if labelled else cells) for place, cells in rows]
    note = "the first number taken for the class" if labelled else "all numbers taken for values"
    return Series(path, values, names, "line", None, notes=(note,))


def number_rows(path: Path) -> np.ndarray:
    """Return a file of numbers alone as (lines, numbers in each) float64.

    Raises:
        DataError: it cannot be read, or lines differ in how many they have; says in which.
    """
    rows = []
    for place, cells in _rows(path):
        try:
            rows.append([number(cell) for cell in cells])
        except ValueError as error:
            raise DataError(f"{path}, line {place}: {error}") from error
        if len(cells) != len(rows[0]):
            raise DataError(f"{path}, line {place}: expected {len(rows[0])} numbers as before, got {len(cells)}")
    return np.array(rows)


def without_padding(values: np.ndarray) -> np.ndarray:
    """Return a series (time, features) without the last steps if all their values are missing."""
    present = np.flatnonzero(~np.isnan(values).all(axis=1))
    return values[: present[-1] + 1] if len(present) else values[:0]


def _rows(path: Path) -> list[tuple[int, list[str]]]:
    lines = enumerate(read_text(path).split("\n"), start=1)
    return [(place, _cells(line)) for place, line in lines if line.strip()]


def _cells(line: str) -> list[str]:
    divider = next((mark for mark in ",\t" if mark in line.strip()), None)
    return line.strip().split(divider)


def _are_numbers(line: str) -> bool:
    cells = _cells(line)
    try:
        float(cells[0])
        for cell in cells:
            number(cell)
    except ValueError:
        return False
    return len(cells) > 1


def _class(cell: str) -> str | None:
    """Return the name of a class that is a whole number, which the archive also writes 1.0000000e+00."""
    try:
        value = number(cell)
    except ValueError:
        return None
    return str(int(value)) if value.is_integer() else None


def _values(path: Path, place: int, cells: list[str]) -> np.ndarray:
    try:
        values = without_padding(np.array([[number(cell)] for cell in cells], np.float64).reshape(-1, 1))
    except ValueError as error:
        raise DataError(f"{path}, line {place}: {error}") from error
    if not len(values):
        raise DataError(f"{path}, line {place}: the series is empty; remove the line")
    return values
