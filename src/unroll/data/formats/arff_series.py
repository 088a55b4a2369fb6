r"""Files of the UCR and UEA archive in WEKA's format, ``X_TRAIN.arff``: attributes, then one series a line.

Of one feature, an attribute is a time step; of several, one attribute is relational, and in its cell the features
stand one after the other, divided by a written ``\n``, the values of each divided by commas. The class is the
attribute with names in braces. Time steps at the end that lack all values are padding.

Source:
    https://waikato.github.io/weka-wiki/formats_and_processing/arff_stable
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ...errors import DataError
from ...formatting import listed, shown
from .parsing import check_name
from .plain_series import without_padding
from .series_file import Series
from .ts_series import lines_of, values_of

ATTRIBUTE = re.compile(r"""@attribute\s+('[^']*'|"[^"]*"|\S+)\s+(.+)""", re.IGNORECASE)
RELATION = re.compile(r"""(?P<before>.*?)(?P<mark>['"])(?P<cell>.*?)(?P=mark)(?P<behind>.*)""")
NUMBERS = ("numeric", "real", "integer")


@dataclass(frozen=True)
class Header:
    """What a file says before ``@data``.

    Attributes:
        cells: of each line of data
        label: which of them is the class; None where none is
        classes: their names
        relational: whether one cell holds all features
        lines: of the header
    """

    cells: int
    label: int | None
    classes: tuple[str, ...]
    relational: bool
    lines: int


def parse(path: Path, labelled: bool) -> Series:
    """Read an .arff file.

    Args:
        path: the file.
        labelled: whether classes are needed; if not, classes in the file are ignored.

    Raises:
        DataError: the file cannot be read or is invalid; the message names the line.
    """
    lines = lines_of(path)
    header = _header(path, lines)
    if labelled and header.label is None:
        raise DataError(f"{path} has no classes: expected an attribute with their names in braces, {{a,b}}")
    values, labels, names, known_classes = [], [], [], frozenset(header.classes)
    for place, line in enumerate(lines[header.lines :], start=header.lines + 1):
        if not line:
            continue
        cells, features = _cells(path, place, line, header)
        if header.label is not None:
            label = check_name(f"{path}, line {place}", _unquoted(cells.pop(header.label)))
            if label not in known_classes:
                known = listed(header.classes)
                raise DataError(f"{path}, line {place}: the class {shown(label)} is not in the header ({known})")
            labels.append(label)
        series = without_padding(values_of(path, place, features or [",".join(cells)]))
        if not len(series):
            raise DataError(f"{path}, line {place}: the series is empty; remove the line")
        values.append(series)
        names.append(str(place))
        if series.shape[1] != values[0].shape[1]:
            raise DataError(
                f"{path}, line {place}: expected {values[0].shape[1]} features as in line {names[0]}, got "
                f"{series.shape[1]}"
            )
    return Series(path, values, names, "line", labels if header.label is not None else None, header.classes)


def _cells(path: Path, place: int, line: str, header: Header) -> tuple[list[str], list[str]]:
    """Return the cells of a line, and the features in the relational one, if there is one."""
    features: list[str] = []
    if header.relational:
        match = RELATION.fullmatch(line)
        if match is None:
            raise DataError(f"{path}, line {place}: expected the features in quotes, got {shown(line)}")
        features = match["cell"].split("\\n")
        line = f"{match['before']}?{match['behind']}"
    cells = line.split(",")
    if len(cells) != header.cells:
        raise DataError(f"{path}, line {place}: expected {header.cells} cells, one an attribute, got {len(cells)}")
    return cells, features


def _header(path: Path, lines: list[str]) -> Header:
    kinds: list[str] = []
    inside = False  # of a relational attribute, whose own attributes are time steps
    for place, line in enumerate(lines, start=1):
        key = line.split(maxsplit=1)[0].lower() if line else ""
        if key == "@data":
            return _checked(path, kinds, place)
        if key == "@end":
            inside = False
        elif key == "@attribute" and not inside:
            match = ATTRIBUTE.fullmatch(line)
            if match is None:
                raise DataError(f"{path}, line {place}: expected @attribute, a name and a type, got {shown(line)}")
            kinds.append(match[2].strip())
            inside = kinds[-1].lower() == "relational"
        elif key and not key.startswith("@"):
            raise DataError(f"{path}, line {place}: expected a header of lines that begin with @, the last one @data")
    raise DataError(f"{path} has no line @data: it is empty, cut off, or no .arff file")


def _checked(path: Path, kinds: list[str], lines: int) -> Header:
    named = [number for number, kind in enumerate(kinds) if kind.startswith("{") and kind.endswith("}")]
    relational = [number for number, kind in enumerate(kinds) if kind.lower() == "relational"]
    nominal = [kind for kind in kinds if kind.lower() not in NUMBERS and kind.lower() != "relational"]
    if len(named) > 1 or len(nominal) > len(named) or len(relational) > 1 or (relational and len(kinds) > 2):
        raise DataError(
            f"{path} is not an .arff file of series: expected numbers, or one relational attribute, and one attribute "
            f"with the classes in braces; got {listed(kinds)}"
        )
    label = named[0] if named else None
    names = kinds[label].strip("{}").split(",") if label is not None else []
    classes = tuple(dict.fromkeys(check_name(f"{path}, header", _unquoted(name)) for name in names))
    return Header(len(kinds), label, classes, bool(relational), lines)


def _unquoted(cell: str) -> str:
    cell = cell.strip()
    return cell[1:-1] if len(cell) > 1 and cell[0] == cell[-1] and cell[0] in "'\"" else cell
