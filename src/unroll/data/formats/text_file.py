"""Texts in one file: a table, JSON, or lines that begin with a class. See `unroll.data.formats.texts`."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import DataError
from ...formatting import listed, quoted, shown
from .parsing import check_name, decoded, read_rows, read_text

TEXTS = ("text", "sentence", "headline", "review", "title", "message", "comment", "tweet", "content")
LABELS = ("label", "class", "category", "sentiment", "target")
TABLES = (".csv", ".tsv")
JSON = (".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class ParsedTexts:
    """What stands in one file or folder.

    Attributes:
        path: of it
        texts: as they stand there
        labels: class of each text
        places: where each stands, in words
    """

    path: Path
    texts: list[str]
    labels: list[str]
    places: list[str]


def text_lines(content: str | bytes, name: str = "") -> tuple[list[str], list[str]]:
    """Return each line as a text, blank ones left out, and its number.

    Args:
        content: the lines; bytes are UTF-8.
        name: what bytes stand in, for messages.

    Raises:
        DataError: bytes are not UTF-8; says at which one.
    """
    lines = (decoded(content, name) if isinstance(content, bytes) else content).split("\n")
    filled = [(str(number), line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    return [line for _, line in filled], [number for number, _ in filled]


def check_text(where: str, text: str) -> str:
    """Return a text without the blanks around it.

    Raises:
        DataError: it holds half of a character, as JSON and command lines can have it: no tokenizer reads that.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{where}: expected a text in Unicode, got {quoted(text[error.start])}, which is no whole character"
        ) from error
    return text.strip()


def parse_lines(path: Path, labelled: bool) -> ParsedTexts:
    """Read lines that begin with a class, as all of them must.

    Raises:
        DataError: the file cannot be read, or a class has no name that can be shown; says in which line.
    """
    parsed = ParsedTexts(path, [], [], [])
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            label, *text = line.split(maxsplit=1)
            parsed.texts.append(text[0].strip() if text else "")
            parsed.labels.append(check_name(f"{path}, line {number}", label))
            parsed.places.append(f"line {number}")
    return parsed


def _table(path: Path, labelled: bool) -> ParsedTexts:
    header, rows = read_rows(path)
    return _columns(path, (dict(zip(header, cells, strict=True)) for _, cells in rows), [n for n, _ in rows], labelled)


def _json(path: Path, labelled: bool) -> ParsedTexts:
    content = read_text(path)
    if content.lstrip().startswith("["):
        try:
            objects = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} is broken JSON: {_reason(error)}") from error
        return _columns(path, objects, list(range(1, len(objects) + 1)), labelled, "object")
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]

    def each_line() -> Iterable[Any]:
        for number, line in lines:
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(f"{path}, line {number}: broken JSON: {_reason(error)}") from error

    return _columns(path, each_line(), [number for number, _ in lines], labelled)


def _reason(error: Exception) -> str:
    return "its brackets are nested too deep" if isinstance(error, RecursionError) else shown(error)


def _columns(
    path: Path, rows: Iterable[Any], numbers: Sequence[int], labelled: bool, what: str = "line"
) -> ParsedTexts:
    parsed = ParsedTexts(path, [], [], [])
    text = label = None
    for number, row in zip(numbers, rows, strict=True):
        where = f"{path}, {what} {number}"
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object with fields, got {shown(row)}")
        if text is None:
            text, label = column_of(list(row), TEXTS), column_of(list(row), LABELS, "is_")
            for name, names, needed in ((text, TEXTS, True), (label, (*LABELS, "is_…"), labelled)):
                if name is None and needed:
                    known = listed(row)
                    raise DataError(f"{path} has no {', '.join(names)}: expected one of them, got {known}")
        for name in [text, label] if labelled else [text]:
            if row.get(name) is None:
                raise DataError(f"{where}: {shown(name)} is missing")
        if not isinstance(row[text], str):
            raise DataError(f"{where}: expected a text in {shown(text)}, got {shown(row[text])}")
        parsed.texts.append(check_text(where, row[text]))
        parsed.places.append(f"{what} {number}")
        if labelled:
            parsed.labels.append(check_name(where, _label(where, row[label])))
    return parsed


def _label(where: str, value: object) -> str:
    if not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
        raise DataError(f"{where}: expected the name or the number of a class, got {shown(value)}")
    return str(value).lower() if isinstance(value, bool) else str(value)


def column_of(names: Sequence[str], known: Sequence[str], prefix: str | None = None) -> str | None:
    """Return the column that is called as one of ``known``, the first of them first; or that begins with ``prefix``."""
    lower = {str(name).lower(): name for name in names}
    exact = next((lower[name] for name in known if name in lower), None)
    if exact is not None or prefix is None:
        return exact
    return next((name for key, name in lower.items() if key.startswith(prefix)), None)


PARSERS: dict[str, Callable[[Path, bool], ParsedTexts]] = {
    **dict.fromkeys(TABLES, _table),
    **dict.fromkeys(JSON, _json),
    **dict.fromkeys((".txt", ".train"), parse_lines),
}
