"""Files of the UCR and UEA archive of time series, ``X_TRAIN.ts``: a header, then one series a line.

The format is described with the archive, https://www.timeseriesclassification.com. Each line holds the features one
after the other, divided by colons, the values of each divided by commas, and the class at the end. With time stamps a
value is ``(time,value)``; all features of a series have the same times, numbers or dates.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...errors import DataError
from ...formatting import listed, quoted, shown
from ..files import content_of
from .dates import date_ns
from .parsing import check_name, number, numbers_in
from .series_file import Series

FEW = 1 << 23  # characters of a file that is parsed in less time than it takes to load pandas
BLOCK = 1 << 20  # characters that pandas parses at once
STAMPED = re.compile(r"\(([^()]*),([^(),]*)\)")  # a value with its time
BEHIND = re.compile(r"(?<=\))\s*:")  # the colon behind a feature of such values, whose dates have colons too


class Row(NamedTuple):
    """A line of the data.

    Attributes:
        place: number of the line
        features: the values of each, divided by commas
        label: its class; empty where the file has none
        times: (steps,) float64 of its steps; None where values have none
    """

    place: int
    features: list[str]
    label: str
    times: np.ndarray | None


@dataclass(frozen=True)
class Header:
    """What a file says before ``@data``.

    Attributes:
        labelled: whether a class ends each line
        classes: their names
        lines: number of lines of the header
        equal: whether it says that all series have one length
        stamped: whether each value has its time
    """

    labelled: bool
    classes: tuple[str, ...]
    lines: int
    equal: bool
    stamped: bool


def parse(path: Path, labelled: bool) -> Series:
    """Read a .ts file.

    Args:
        path: the file.
        labelled: whether classes are needed; if not, classes in the file are ignored.

    Raises:
        DataError: the file cannot be read or is invalid; the message names the line.
    """
    lines = lines_of(path)
    header = _header(path, lines, labelled)
    values, labels, names, times = [], [], [], list[np.ndarray]()
    for block in _blocks(_rows(path, lines, header), sum(map(len, lines)) < FEW):
        for row, series in zip(block, _values(path, block), strict=True):
            labels.append(row.label)
            values.append(series)
            names.append(str(row.place))
            if row.times is not None:
                times.append(row.times)
            if series.shape[1] != values[0].shape[1]:
                raise DataError(
                    f"{path}, line {row.place}: expected {values[0].shape[1]} features as in line {names[0]}, divided "
                    f"by colons{' and followed by the class' if header.labelled else ''}, got {series.shape[1]}"
                )
    least, most = (bound(map(len, values), default=0) for bound in (min, max))
    odd = [f"the header says @equalLength true, but the series have {least} to {most} steps"]
    notes = tuple(odd if header.equal and least < most else [])
    given = labels if header.labelled else None
    since = np.concatenate(times) if times else None
    return Series(path, values, names, "line", given, header.classes, notes=notes, times=since)


def _rows(path: Path, lines: list[str], header: Header) -> Iterator[Row]:
    classes = frozenset(header.classes)
    for place, line in enumerate(lines[header.lines :], start=header.lines + 1):
        if not line:
            continue
        features, label, times = _features(line, header), "", None
        if header.labelled:
            label = check_name(f"{path}, line {place}", features.pop())
            if label not in classes:
                known = listed(header.classes)
                raise DataError(f"{path}, line {place}: the class {shown(label)} is not in @classLabel ({known})")
        if header.stamped:
            features, times = _without_times(path, place, features)
        yield Row(place, features, label, times)


def _blocks(rows: Iterable[Row], alone: bool) -> Iterator[list[Row]]:
    """Yield rows together whose numbers are parsed at once, or each ``alone``."""
    block, size = list[Row](), 0
    for row in rows:
        block.append(row)
        size += sum(map(len, row.features))
        if alone or size > BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block


def _values(path: Path, block: list[Row]) -> list[np.ndarray]:
    """Return the series (time, features) of a block; one by one where there is one, or something is wrong."""
    steps = [{feature.count(",") + 1 for feature in row.features} for row in block]
    cells = ",".join(feature for row in block for feature in row.features)
    is_even = len(block) > 1 and all(len(counts) == 1 for counts in steps)
    if is_even and all(feature.strip() for row in block for feature in row.features):
        numbers = numbers_in(cells.replace(",", "\n"))
        if numbers is not None and len(numbers) == cells.count(",") + 1:
            shapes = [(len(row.features), *counts) for row, counts in zip(block, steps, strict=True)]
            parts = np.split(numbers, np.cumsum([features * time for features, time in shapes])[:-1])
            return [part.reshape(shape).T for part, shape in zip(parts, shapes, strict=True)]
    return [values_of(path, row.place, row.features) for row in block]


def lines_of(path: Path) -> list[str]:
    """Return the lines without the blanks around them; comments, which are often older than UTF-8, are empty."""
    content = content_of(path)
    mark = b"\xef\xbb\xbf"  # with which some editors begin a file
    lines, at = [], len(mark) if content.startswith(mark) else 0
    for line in content[at:].splitlines(keepends=True):
        try:
            lines.append("" if line.lstrip()[:1] in (b"#", b"%") else line.decode().strip())
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8: byte 0x{line[error.start]:02x} at position {at + error.start:,}, in line "
                f"{len(lines) + 1}; save it as UTF-8"
            ) from error
        at += len(line)
    return lines


def _header(path: Path, lines: list[str], labelled: bool) -> Header:
    has_classes = is_equal = is_stamped = False
    classes: tuple[str, ...] = ()
    for place, line in enumerate(lines, start=1):
        key, *words = line.split() or [""]
        key = key.lower()
        if not key:
            continue
        if key == "@data":
            if labelled and not has_classes:
                raise DataError(f"{path} has no classes: expected '@classLabel true' and their names in its header")
            return Header(has_classes, classes, place, is_equal, is_stamped)
        if not key.startswith("@"):
            raise DataError(f"{path}, line {place}: expected a header of lines that begin with @, the last one @data")
        true = bool(words) and words[0].lower() == "true"
        is_equal |= key == "@equallength" and true
        if key == "@timestamps":
            is_stamped = true
        if key == "@targetlabel" and true:
            raise DataError(f"{path} gives numbers to predict (@targetLabel), not classes")
        if key == "@classlabel":
            names = [check_name(f"{path}, line {place}", word) for word in words[1:]]
            has_classes, classes = true, tuple(dict.fromkeys(names))
            if true and not classes:
                raise DataError(f"{path}, line {place}: expected the names of the classes after '@classLabel true'")
    raise DataError(f"{path} has no line @data: it is empty, cut off, or no .ts file of the UCR and UEA archive")


def _features(line: str, header: Header) -> list[str]:
    """Return the features of a line, and behind them its class, if it has one."""
    if not header.stamped:
        return line.split(":")
    before, _, label = line.rpartition(":")
    return [*BEHIND.split(before), label] if header.labelled else BEHIND.split(line)


def _without_times(path: Path, place: int, features: list[str]) -> tuple[list[str], np.ndarray]:
    """Return the features of a line without the times of their values, and these, from 0 on, of dates in seconds.

    Raises:
        DataError: a value has no time, the times go back, or those of two features differ; names the line.
    """
    values, cells = list[str](), list[str]()
    for index, feature in enumerate(features):
        pairs = STAMPED.findall(feature)
        rest = STAMPED.sub("", feature).replace(",", "").strip()
        if not pairs or rest:
            raise DataError(
                f"{path}, line {place}, feature {index}: expected (time,value),(time,value), got {shown(feature)}"
            )
        own = [time.strip() for time, _ in pairs]
        if values and own != cells:
            raise DataError(f"{path}, line {place}: feature {index} has other times than feature 0: save it as CSV")
        cells = own
        values.append(",".join(value for _, value in pairs))
    read = [_time(path, place, cell) for cell in cells]
    if len(set(map(type, read))) > 1:
        raise DataError(f"{path}, line {place}: expected times that are all numbers, or all dates")
    times = np.array(read)
    since = (times - times[:1]) / (1 if times.dtype == np.float64 else 1e9)
    if (np.diff(since) < 0).any():
        raise DataError(f"{path}, line {place}: the time goes back")
    return values, since


def _time(path: Path, place: int, cell: str) -> float | int:
    """Return a number, or the nanoseconds of a date."""
    try:
        time: float | int | None = number(cell)
    except ValueError:
        time = date_ns(cell)
    if time is None or time != time:
        raise DataError(f"{path}, line {place}: expected a time, a number or a date, got {quoted(cell)}")
    return time


def values_of(path: Path, place: int, features: list[str]) -> np.ndarray:
    """Return a series (time, features) from the values of each feature, divided by commas.

    Raises:
        DataError: there are no values, a value is not a number, or features have different lengths; names the place.
    """
    columns = []
    for index, feature in enumerate(features):
        try:
            columns.append(_numbers(feature.split(",")))
        except ValueError as error:
            raise DataError(f"{path}, line {place}, feature {index}: {error}") from error
        if not feature.strip():
            raise DataError(f"{path}, line {place}: feature {index} is empty: expected at least 1 value")
        if len(columns[index]) != len(columns[0]):
            raise DataError(
                f"{path}, line {place}: feature {index} has {len(columns[index])} values, feature 0 {len(columns[0])}: "
                "expected as many"
            )
    if not columns:
        raise DataError(f"{path}, line {place}: expected a series and its class, divided by a colon")
    return np.array(columns).T


def _numbers(cells: list[str]) -> np.ndarray:
    """Return the numbers in cells; what is none is looked at cell by cell."""
    if not any("_" in cell for cell in cells):  # Python takes 1_2 for 12
        try:
            numbers = np.fromiter(map(float, cells), np.float64, len(cells))
            if not np.isinf(numbers).any():
                return numbers
        except ValueError:
            pass
    return np.array([number(cell) for cell in cells])
