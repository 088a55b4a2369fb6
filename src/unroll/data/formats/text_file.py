"""Texts in one file: a table, or JSON. See `unroll.data.formats.texts`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ...config import DataConfig
from ...errors import DataError, did_you_mean
from ...formatting import is_printable, listed, quoted, shown
from ..records import NamedBy, Records
from .candidates import length_of_prose, look_like_classes
from .dates import moment
from .parsing import check_name, decoded, number, read_records, read_rows, read_text
from .parts import unpacked

PLAIN = ("text", "sentence")  # names that leave no doubt
TEXTS = (*PLAIN, "headline", "review", "title", "message", "comment", "tweet", "content")
LABELS = ("label", "class", "category", "sentiment", "target")
TABLES = (".csv", ".tsv")
JSON = (".json", ".jsonl", ".ndjson")
Labels = Literal["needed", "optional", "unwanted"]


@dataclass(frozen=True)
class ParsedTexts:
    """The content of a file or folder.

    Attributes:
        path: of it
        texts: as written in the file
        labels: class of each text; None where the file has no classes
        places: where each stands, in words
        understood: what was taken for what, in words
        reading: how the file was read, with what was not said but found out: further parts are read so too
        groups: what each text belongs to; None where no column says so
        when: (N, 2) int64 or float64, the moment of each text, twice; None where no column says so
        records: the same places, for answers to be joined with the file
        left_out: names of files that were not read
    """

    path: Path
    texts: list[str]
    labels: list[str] | None
    places: list[str]
    understood: str = ""
    reading: DataConfig = field(default_factory=DataConfig)
    groups: list[str] | None = None
    when: np.ndarray | None = None
    records: Records = field(default_factory=Records)
    left_out: tuple[str, ...] = ()


def text_lines(content: str | bytes, name: str = "") -> tuple[list[str], list[int]]:
    """Return each line as a text, blank ones left out, and its number.

    Args:
        content: the lines; bytes are UTF-8.
        name: of their source, for messages.

    Raises:
        DataError: bytes are not UTF-8; says at which one.
    """
    lines = (decoded(content, name) if isinstance(content, bytes) else content).split("\n")
    filled = [(at, line.strip()) for at, line in enumerate(lines, start=1) if line.strip()]
    return [line for _, line in filled], [at for at, _ in filled]


def check_text(where: str, text: str) -> str:
    """Return a text without the blanks around it.

    Raises:
        DataError: it holds half of a character, as JSON and command lines can have it: no tokenizer reads that.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: expected a text in Unicode, got {quoted(text[error.start])}, which is half a character"
        ) from error
    return text.strip()


@dataclass(frozen=True)
class _Table:
    """The rows of a table, or the objects of a JSON file.

    Attributes:
        path: of the file
        row: what one is called, "line", "object" or "row"
        names: of the columns; of objects the fields of the first
        numbers: of these
        places: of the rows, from 0, as pandas counts them
        rows: what each holds by the names of the columns, or fields
        empty_is_missing: whether an empty cell lacks its text, as in a file that has no other sign for that
    """

    path: Path
    row: str
    names: list[str]
    numbers: list[int]
    places: Sequence[int]
    rows: Sequence[Mapping[str, Any]]
    empty_is_missing: bool = False

    def values(self, name: str) -> list[Any]:
        return [row.get(name) for row in self.rows]

    def where(self, place: int) -> str:
        return f"{self.path}, {self.row} {self.numbers[place]}"


def parse_table(path: Path, config: DataConfig, labels: Labels) -> ParsedTexts:
    """Read a table with a column of texts.

    Args:
        path: the file.
        config: may name the columns.
        labels: whether classes are needed, taken where there are some, or not looked for.

    Raises:
        DataError: the file cannot be read, a column is missing or ambiguous, or a row is invalid; it names the place.
    """
    header, records = read_records(path)
    cells = [dict(zip(header, cells, strict=True)) for *_, cells in records]
    lines, rows = [record.line for record in records], [record.row for record in records]
    return _texts(_Table(path, "line", header, lines, rows, cells, empty_is_missing=True), config, labels)


def parse_rows(
    path: Path,
    unit: str,
    names: list[str],
    numbers: list[int],
    rows: Sequence[Mapping[str, Any]],
    config: DataConfig,
    labels: Labels,
) -> ParsedTexts:
    """Return the texts of a table that has been read.

    Args:
        path: of it.
        unit: what a row is called.
        names: of the columns.
        numbers: of the rows.
        rows: what each holds by the names of the columns, None where it is missing.
        config: as for `parse_table`, as are further arguments and errors.
        labels: as for `parse_table`.
    """
    return _texts(_Table(path, unit, names, numbers, numbers, rows), config, labels)


def parse_json(path: Path, config: DataConfig, labels: Labels) -> ParsedTexts:
    """Read JSON, an object a line or one array of objects, with a field for texts; as `parse_table`."""
    return _texts(_objects(path), config, labels)


def names_in(path: Path) -> list[str]:
    """Return the names of a table's columns, or of the fields of a JSON file's first object.

    Raises:
        DataError: the file cannot be read.
    """
    return _objects(path).names if unpacked(path).suffix.lower() in JSON else read_rows(path, 1)[0]


def _objects(path: Path) -> _Table:
    content = read_text(path)
    if content.lstrip().startswith("["):
        row, objects = "object", _decoded(content, f"{path} is")
        numbers = list(range(1, len(objects) + 1))
    else:
        row, lines = "line", [(at, line) for at, line in enumerate(content.split("\n"), start=1) if line.strip()]
        objects, numbers = [_decoded(line, f"{path}, line {at}:") for at, line in lines], [at for at, _ in lines]
    for at, value in zip(numbers, objects, strict=True):
        if not isinstance(value, dict):
            raise DataError(f"{path}, {row} {at}: expected an object with fields, got {shown(value)}")
    return _Table(path, row, list(objects[0]) if objects else [], numbers, range(len(objects)), objects)


def _decoded(content: str, where: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} broken JSON: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return "its brackets are nested too deep" if isinstance(error, RecursionError) else shown(error)


def _texts(table: _Table, config: DataConfig, labels: Labels) -> ParsedTexts:
    if not table.rows:
        return ParsedTexts(table.path, [], [], [])
    text = _text_column(table, config)
    label = None if labels == "unwanted" else _label_column(table, config, text, labels == "needed")
    texts, refuses_empty = [], table.empty_is_missing and labels != "unwanted"  # which a user may well ask about
    for place, value in enumerate(table.values(text)):
        if value is None or (refuses_empty and not value.strip()):
            raise DataError(f"{table.where(place)}: {shown(text)} is missing: write a text, or remove the {table.row}")
        if not isinstance(value, str):
            raise DataError(f"{table.where(place)}: expected a text in {shown(text)}, got {shown(value)}")
        texts.append(check_text(table.where(place), value))
    classes = None if label is None else [_label(table, place, label) for place in range(len(table.rows))]
    ids = _ids(table, config, text)
    lines = table.numbers if table.row == "line" else ()
    by: NamedBy = "id" if ids else "line" if lines else "row" if table.row == "row" else "text"
    records = Records(table.places, lines, ids, by)
    columns = [
        None if name is None or (labels != "needed" and name not in table.names) else _chosen(table, name)
        for name in (config.group, config.split_by_time)
    ]
    groups, when = (None if name is None else _values(table, name) for name in columns)
    left_out = [name for name in table.names if name not in (text, label, *columns)]
    facts = [f"texts from column {shown(text)}", *([] if label is None else [f"class: {shown(label)}"])]
    facts += [f"left out: {listed(left_out)}"] if left_out else []
    reading = replace(config, text_column=text, label_column=label)
    places = [f"{table.row} {at}" for at in table.numbers]
    moments = None if when is None else _moments(table, config.split_by_time or "", when)
    return ParsedTexts(table.path, texts, classes, places, "; ".join(facts), reading, groups, moments, records)


def _values(table: _Table, name: str) -> list[str]:
    return ["" if value is None else str(value).strip() for value in table.values(name)]


def _moments(table: _Table, name: str, cells: list[str]) -> np.ndarray:
    """Return the moment of each row, twice: its first and its last.

    Raises:
        DataError: a cell is neither a number nor a date, or only one of both is.
    """
    moments = [moment(cell) for cell in cells]
    for place, (value, is_date) in enumerate(moments):
        if value is None or is_date != moments[0][1]:
            expected = "a number or a date" if not place else "a date" if moments[0][1] else "a number"
            raise DataError(f"{table.where(place)}: expected {expected} in {shown(name)}, got {quoted(cells[place])}")
    return np.repeat(np.array([value for value, _ in moments])[:, None], 2, axis=1)


def _ids(table: _Table, config: DataConfig, text: str) -> list[str]:
    """Return what each text is called: by the column for that, or by ``id`` if every row has one; else nothing.

    Raises:
        DataError: the column that ``config`` names is missing, or a row has nothing there that is an id.
    """
    name = config.id_column and _chosen(table, config.id_column)
    if name is None:
        name = next(iter(_called([column for column in table.names if column != text], ("id",))), None)
    if name is None:
        return []
    ids = list[str]()
    for place, value in enumerate(table.values(name)):
        if not isinstance(value, str | int) or not is_printable(str(value)) or not str(value).strip():
            if config.id_column is None:
                return []
            where = table.where(place)
            raise DataError(f"{where}: expected an id in {shown(name)}, a text or a whole number, got {shown(value)}")
        ids.append(str(value).strip())
    return ids


def _label(table: _Table, place: int, name: str) -> str:
    value, where = table.rows[place].get(name), table.where(place)
    if value is None:
        raise DataError(f"{where}: {shown(name)} is missing")
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise DataError(f"{where}: expected the name or the number of a class, got {shown(value)}")
    return check_name(where, str(value).lower() if isinstance(value, bool) else str(value))


def _text_column(table: _Table, config: DataConfig) -> str:
    if config.text_column is not None:
        return _chosen(table, config.text_column)
    known = [name for name in _called(table.names, TEXTS) if not are_numbers(table.values(name))]
    plain = [name for name in known if name.lower() in PLAIN]
    if plain:
        known = plain
    else:
        shortest = min((length_of_prose(table.values(name)) for name in known), default=0)
        rest = [name for name in table.names if name not in known and name != config.label_column]
        longer = [name for name in rest if length_of_prose(table.values(name)) > shortest] if known else []
        known += longer
    called = _called(table.names, TEXTS)
    if not known and called:
        value = next((value for value in table.values(called[0]) if value not in (None, "")), None)
        if value is None:
            return called[0]  # of which each row is refused, or is an empty text
        raise DataError(
            f"{table.path}: expected texts in {listed(called)}, got numbers, {shown(value)} for instance; say which "
            "column holds the texts with --text-column (in Python text_column=…)"
        )
    if not known:
        raise DataError(
            f"{table.path} has no {', '.join(TEXTS)}: expected one of them, got {listed(table.names)}; say which holds "
            "the texts with --text-column (in Python text_column=…)"
        )
    if len(known) > 1:
        raise DataError(
            f"{table.path} has {len(known)} columns that could be the texts, {listed(known)}: say which with "
            "--text-column (in Python text_column=…)"
        )
    return known[0]


def _label_column(table: _Table, config: DataConfig, text: str, needed: bool) -> str | None:
    """Return the column of the classes; None where there is none, unless it is ``needed``."""
    if config.label_column is not None:
        return _chosen(table, config.label_column) if needed or config.label_column in table.names else None
    rest = [name for name in table.names if name != text]
    candidates = _called(rest, LABELS)
    if not candidates:
        candidates = [name for name in rest if name.lower().startswith("is_")]
        if candidates:  # so called may be much: what else looks like classes is as likely
            likely = [name for name in rest if look_like_classes(table.values(name))]
            candidates += [name for name in likely if name not in candidates]
    if len(candidates) > 1:
        raise DataError(
            f"{table.path} has {len(candidates)} columns that could be the class, {listed(candidates)}: say which with "
            "--label-column (in Python label_column=…)"
        )
    if not candidates and needed:
        raise DataError(
            f"{table.path} has no {', '.join((*LABELS, 'is_…'))}: expected one of them, got {listed(table.names)}; say "
            "which holds the class with --label-column (in Python label_column=…)"
        )
    return candidates[0] if candidates else None


def _chosen(table: _Table, name: str) -> str:
    if name not in table.names:
        known = listed(table.names)
        raise DataError(f"{table.path} has no column {quoted(name)}{did_you_mean(name, table.names)}: it has {known}")
    return name


def _called(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return those of ``names`` that are called as one of ``known``, in the order of the latter."""
    lower = {str(name).lower(): name for name in names}
    return [lower[name] for name in known if name in lower]


def are_numbers(values: Sequence[Any]) -> bool:
    """Tell whether all values are numbers, or missing."""
    try:
        for value in values:
            number("" if value is None else str(value))
    except ValueError:
        return False
    return True


def column_of_texts(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str | None:
    """Return the first column that is called as texts are, and does not hold numbers; None where there is none."""
    for name in _called(names, TEXTS):
        place = list(names).index(name)
        if not rows or not are_numbers([cells[place] for cells in rows]):
            return name
    return None


PARSERS: dict[str, Callable[[Path, DataConfig, Labels], ParsedTexts]] = {
    **dict.fromkeys(TABLES, parse_table),
    **dict.fromkeys(JSON, parse_json),
}
