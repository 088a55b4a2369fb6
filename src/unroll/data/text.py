"""Texts from files, each with its class.

What a file holds is told by its name, and of a table by the names of its columns:

- ``X.csv``, ``X.tsv`` with a first line that names the columns; of a .tsv no cell is quoted.
- ``X.json``, ``X.jsonl``, ``X.ndjson``: an object a line, or one array of objects.
- ``X.txt``, ``X.train``: in each line a class, blanks, and a text.
- a folder with a sub-folder for each class, ``pos/1.txt``; or with such folders in ``train/`` and ``test/``.
- a folder with one of the files above.

The column, or field, of the text is called text, sentence, headline, review, title, message, comment, tweet or
content; that of the class label, class, category, sentiment, target, or something that begins with ``is_``. Others are
left alone. Where a training part has a test part beside it (``X.train`` and ``X.test``, ``train.csv`` and
``test.csv``) that is used. Any file may be packed with gzip, ``X.jsonl.gz``. All is UTF-8.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..config import DataConfig
from ..errors import DataError
from .csv_file import read_rows
from .preparation import Preparation, Scaling
from .sequences import SequenceData
from .series import check_name, in_order, read_text
from .timeseries import PARTS, test_part

TEXTS = ("text", "sentence", "headline", "review", "title", "message", "comment", "tweet", "content")
LABELS = ("label", "class", "category", "sentiment", "target")
TABLES = (".csv", ".tsv")
UNUSED = ("read", "resize", "missing")


@dataclass(frozen=True)
class Texts:
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


def read(path: Path, config: DataConfig, form: object = None) -> list[SequenceData]:
    """Read labelled texts; they are not turned into numbers yet.

    Args:
        path: a file or a folder.
        config: must not ask for what is only for images or series.
        form: not used.

    Returns:
        training and test part, or the whole where there is nothing to test on.

    Raises:
        DataError: something in a file will not do; says in which line, or at which byte.
        ConfigError: ``config`` asks for what is only for images or series.
    """
    config.check_unused(str(path), "it holds texts", *UNUSED)
    files = _parts(path)
    return to_sequences([_parse(file) for file in files], _left_alone(files))


def is_text(path: Path) -> bool:
    """Tell whether a file or a folder holds texts, by names alone; of a table by those of its columns."""
    if path.is_dir():
        return bool(_class_folders(path)) or any(map(is_text, _files(path)))
    suffix = _suffix(path)
    if suffix in TABLES:
        return _column([name.strip() for name in read_rows(path, 1)[0]], TEXTS) is not None
    return suffix in PARSERS


def read_texts(path: Path, classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the texts of a file to classify, and where each stands; classes are left alone.

    Args:
        path: a table or JSON with a column for texts; any other file has a text in each line, blank ones left out.
            Where each line begins with a class, that is no part of the text.
        classes: that the model knows.

    Raises:
        DataError: it cannot be read, or something in it will not do.
    """
    suffix = _suffix(path)
    if suffix in TABLES or suffix in (".json", ".jsonl", ".ndjson"):
        found = PARSERS[suffix](path, False)
        return found.texts, found.places
    lines = [(number, line.strip()) for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]
    places = [f"line {number}" for number, _ in lines]
    if all(line.split()[0] in classes for _, line in lines):
        return _lines(path, True).texts, places
    return [line for _, line in lines], places


def _suffix(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


def _parts(path: Path) -> list[Path]:
    """Return the training and the test part of what ``path`` names, or what there is."""
    if not path.is_dir():
        other = path.with_suffix(".test") if path.suffix == ".train" else test_part(path)
        return [path] if other is None or not other.is_file() else [path, other]
    if _class_folders(path):
        for train, test in PARTS.items():
            if _class_folders(path / train) and (path / test).is_dir():
                return [path / train, path / test]
        return [path]
    files = [file for file in _files(path) if is_text(file)]
    pairs = [parts for parts in map(_parts, files) if len(parts) == 2]
    whole = pairs or [[file] for file in files]
    if len(whole) != 1:
        names = ", ".join(parts[0].name for parts in whole)
        raise DataError(f"{path} holds {len(whole)} files of texts to train on ({names}): name one of them")
    return whole[0]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(file for file in folder.iterdir() if file.is_file() and not file.name.startswith((".", "README")))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error


def _class_folders(folder: Path) -> list[Path]:
    """Return the sub-folders that hold .txt files, or parts of a set whose sub-folders do."""
    if not folder.is_dir():
        return []
    inner = sorted(sub for sub in folder.iterdir() if sub.is_dir() and not sub.name.startswith("."))
    found = [sub for sub in inner if next(sub.glob("*.txt"), None)]
    return found or [sub for sub in inner if sub.name in PARTS and _class_folders(sub)]


def _left_alone(files: Sequence[Path]) -> tuple[str, ...]:
    """Say so where a part for validation stands beside: it is cut out of the training part, as it always is."""
    dev = files[0].with_suffix(".dev")
    if files[0].suffix != ".train" or not dev.is_file():
        return ()
    return (f"{dev.name} is left alone: what watches the training is cut out of {files[0].name}",)


def _parse(path: Path) -> Texts:
    return _folder(path) if path.is_dir() else PARSERS.get(_suffix(path), _lines)(path, True)


def _folder(path: Path) -> Texts:
    found = Texts(path, [], [], [])
    for folder in _class_folders(path):
        for file in sorted(folder.glob("*.txt")):
            found.texts.append(read_text(file).strip())
            found.labels.append(folder.name)
            found.places.append(f"{folder.name}/{file.name}")
    return found


def _lines(path: Path, labelled: bool) -> Texts:
    found = Texts(path, [], [], [])
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            label, *text = line.split(maxsplit=1)
            found.texts.append(text[0].strip() if text else "")
            found.labels.append(check_name(path, number, label))
            found.places.append(f"line {number}")
    return found


def _table(path: Path, labelled: bool) -> Texts:
    header, rows = read_rows(path)
    return _columns(path, (dict(zip(header, cells, strict=True)) for _, cells in rows), [n for n, _ in rows], labelled)


def _json(path: Path, labelled: bool) -> Texts:
    content = read_text(path)
    if content.lstrip().startswith("["):
        try:
            objects = json.loads(content)
        except ValueError as error:
            raise DataError(f"{path} is broken JSON: {error}") from error
        return _columns(path, objects, list(range(1, len(objects) + 1)), labelled, "object")
    lines = [(number, line) for number, line in enumerate(content.split("\n"), start=1) if line.strip()]

    def parsed() -> Iterable[Any]:
        for number, line in lines:
            try:
                yield json.loads(line)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: broken JSON: {error}") from error

    return _columns(path, parsed(), [number for number, _ in lines], labelled)


def _columns(path: Path, rows: Iterable[Any], numbers: Sequence[int], labelled: bool, what: str = "line") -> Texts:
    found = Texts(path, [], [], [])
    text = label = None
    for number, row in zip(numbers, rows, strict=True):
        if not isinstance(row, dict):
            raise DataError(f"{path}, {what} {number}: expected an object with fields, got {str(row)[:30]!r}")
        if text is None:
            text, label = _column(list(row), TEXTS), _column(list(row), LABELS, "is_")
            for name, names, needed in ((text, TEXTS, True), (label, (*LABELS, "is_…"), labelled)):
                if name is None and needed:
                    raise DataError(f"{path} has no {', '.join(names)}: expected one of them, got {', '.join(row)}")
        for name in [text, label] if labelled else [text]:
            if row.get(name) is None:
                raise DataError(f"{path}, {what} {number}: {name} is missing")
        if not isinstance(row[text], str):
            raise DataError(f"{path}, {what} {number}: expected a text in {text}, got {row[text]!r}")
        found.texts.append(row[text].strip())
        found.places.append(f"{what} {number}")
        if labelled:
            found.labels.append(check_name(path, number, _label(row[label])))
    return found


def _label(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _column(names: Sequence[str], known: Sequence[str], prefix: str | None = None) -> str | None:
    """Return the column that is called as one of ``known``, the first of them first; or that begins with ``prefix``."""
    lower = {str(name).lower(): name for name in names}
    exact = next((lower[name] for name in known if name in lower), None)
    if exact is not None or prefix is None:
        return exact
    return next((name for key, name in lower.items() if key.startswith(prefix)), None)


PARSERS: dict[str, Callable[[Path, bool], Texts]] = {
    **dict.fromkeys(TABLES, _table),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), _json),
    **dict.fromkeys((".txt", ".train"), _lines),
}


def to_sequences(parts: Sequence[Texts], notes: tuple[str, ...] = ()) -> list[SequenceData]:
    """Return the parts of a data set with one table of classes, that of the first.

    Raises:
        DataError: a part has no texts, or a class that the first part lacks.
    """
    first = parts[0]
    classes = in_order(first.labels)
    data = []
    for part in parts:
        if not part.texts:
            raise DataError(f"{part.path} holds no texts")
        for place, label in zip(part.places, part.labels, strict=True):
            if label not in classes:
                raise DataError(f"{part.path}, {place}: the class {label} is not in {first.path}, the training part")
        y = torch.tensor([classes.index(label) for label in part.labels])
        data.append(unread(part.texts, y, classes, notes))
    return data


def unread(
    texts: Sequence[str], y: torch.Tensor, classes: tuple[str, ...], notes: tuple[str, ...] = ()
) -> SequenceData:
    """Return texts that have not been turned into numbers yet.

    Args:
        texts: N of them.
        y: (N,) int64.
        classes: their names.
        notes: what one should know of how they were read.
    """
    empty = np.zeros((len(texts), 0), np.int32)
    return SequenceData(
        torch.from_numpy(empty), y, Preparation(classes, Scaling(0.0, 1.0)), None, notes, texts=tuple(texts)
    )
