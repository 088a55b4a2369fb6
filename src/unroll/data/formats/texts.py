"""Texts from files, each with its class.

What a file holds is told by its name, and of a table by the names of its columns:

- ``X.csv``, ``X.tsv`` with a first line that names the columns; of a .tsv no cell is quoted.
- ``X.json``, ``X.jsonl``, ``X.ndjson``: an object a line, or one array of objects.
- ``X.parquet``, ``X.arrow``, ``X.feather``: a table, see `unroll.data.formats.frames`.
- ``X.txt``, ``X.train``: lines with a class each, see `unroll.data.formats.labelled_lines`. Numbers alone are series.
- a folder with a sub-folder for each class, ``pos/1.txt``; or with such folders in ``train/``, ``test/``, ``val/``.
- a folder with one of the files above.

A folder whose sub-folders hold images is one of images, whatever else lies there.

The column, or field, of the text is called text, sentence, headline, review, title, message, comment, tweet or
content, and does not hold numbers; that of the class label, class, category, sentiment, target, or something that
begins with ``is_``. What was taken is said, and where several could be meant, the reader asks. Where a training part
has a test or a validation part beside it (``X.train``, ``X.test``, ``X.dev``; ``train.csv``, ``test.csv``,
``val.csv``) that is used. Any of the files may be packed with gzip, ``X.jsonl.gz``. All is UTF-8.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from ...config import DataConfig, LinesName
from ...config.data import CUTS, OF_IMAGES
from ...errors import DataError
from ...formatting import is_printable, listed, shown
from ..origins import Origins
from ..preparation import Preparation, Scaling
from ..records import Records
from ..sequences import Parts, SequenceData
from . import frames, labelled_lines, text_file
from .image_folder import SUFFIXES as IMAGES
from .parsing import in_order, read_rows, read_text
from .parts import Files, beside, entries_of, inside, not_read, unpacked
from .plain_series import holds_numbers
from .recordings import is_of_recordings
from .text_file import JSON, TABLES, Labels, ParsedTexts, column_of_texts, names_in, text_lines

LINES = (".txt", ".train")
PARSERS: dict[str, Callable[[Path, DataConfig, Labels], ParsedTexts]] = {
    **text_file.PARSERS,
    **dict.fromkeys(frames.SUFFIXES, frames.parse_texts),
    **dict.fromkeys(LINES, labelled_lines.parse),
}
Source = TypeVar("Source")
UNUSED = (*OF_IMAGES, "missing")
ROWS = 100  # of a table, to tell whether a column holds texts


def read(path: Path, config: DataConfig, form: object = None) -> Parts:
    """Read labelled texts; they are not turned into numbers yet.

    Args:
        path: a file or a folder.
        config: must not ask for what is only for images, series or texts in files of another kind.
        form: not used.

    Raises:
        DataError: a file is invalid; the message names the line or byte.
        ConfigError: ``config`` asks for what is only for other data.
    """
    config.check_unused(str(path), "it holds texts", *UNUSED)
    files = _parts(path, config)
    if files.train.is_dir() or _suffix(files.train) not in LINES:
        config.check_unused(str(path), "it does not hold texts in lines", "lines")
    if files.train.is_dir() or _suffix(files.train) in LINES:
        config.check_unused(str(path), "it has no columns", "text_column", "label_column", *CUTS)
    parts = of_parts({"train": files.train, **dict(_others(files))}, _parse, config)
    named = (inside(path) or ())[1:] if files.train.is_dir() else ()
    unused = [part.name for part in named if part is not None and not _class_folders(part)]
    notes = (*parts.train.notes, *not_read((), unused, "text"))
    return parts._replace(train=replace(parts.train, notes=notes))


def of_parts(
    sources: Mapping[str, Source], parse: Callable[[Source, DataConfig, Labels], ParsedTexts], config: DataConfig
) -> Parts:
    """Return the parts of a set of texts.

    Args:
        sources: what to read as "train", and as "test" and "val" if there are any.
        parse: reads one.
        config: as for `read`.
    """
    train = parse(sources["train"], config, "needed")
    parsed = {name: parse(source, train.reading, "optional") for name, source in sources.items() if name != "train"}
    notes = not_read([name for part in (train, *parsed.values()) for name in part.left_out], (), "text")
    for name, part in list(parsed.items()):
        if part.labels is None:
            notes += (f"{part.path.name} has no classes: it is not used",)
            del parsed[name]
    data = to_sequences([train, *parsed.values()], notes)
    return Parts.of(dict(zip(["train", *parsed], data, strict=True)), train.reading, train.understood)


def _others(files: Files) -> list[tuple[str, Path]]:
    return [(name, file) for name, file in (("test", files.test), ("val", files.val)) if file is not None]


def is_text(path: Path, config: DataConfig) -> bool:
    """Return whether a file or a folder holds texts, by its name; tables and lines are judged by their content."""
    if path.is_dir():  # a table may well lie beside folders of images or recordings, and a note among them
        if has_images(path):
            return False
        if is_of_recordings(path):
            return False
        return bool(_class_folders(path)) or any(is_text(file, config) for file in _files(path))
    suffix = _suffix(path)
    if suffix in (".txt", ".tsv") and holds_numbers(path):
        return False
    if suffix in frames.SUFFIXES:
        return frames.is_text(path, config)
    if suffix in TABLES:
        if config.text_column is not None or column_of_texts(read_rows(path, 1)[0], []) is None:
            return config.text_column is not None
        header, rows = read_rows(path, 1 + ROWS)
        return column_of_texts(header, [cells for _, cells in rows]) is not None
    return suffix in PARSERS


def as_before(path: Path, own: DataConfig, reading: DataConfig) -> DataConfig:
    """Return how to read other data for a model: as ``reading`` says, else as ``own``, its own data, was read."""
    train = _parts(path, reading).train
    if train.is_dir():
        return reading
    if _suffix(train) in LINES:
        return replace(reading, lines=reading.lines or own.lines)
    return columns_as_before(_names_in(train), own, reading)


def columns_as_before(names: Sequence[str], own: DataConfig, reading: DataConfig) -> DataConfig:
    """Return how to read a table with columns of such ``names``, as `as_before` does."""
    before = {name: getattr(own, name) for name in ("text_column", "label_column", "group", "split_by_time")}
    present = {name: column for name, column in before.items() if column in names}
    return replace(reading, **{name: getattr(reading, name) or column for name, column in present.items()})


def read_texts(
    path: Path,
    lines: LinesName | None = None,
    text_column: str | None = None,
    usual_column: str | None = None,
    id_column: str | None = None,
) -> tuple[list[str], Records]:
    """Return the texts of a file to classify, and their places in it; classes are ignored.

    Args:
        path: a table or JSON with a column for texts; any other file has a text in each line, blank ones left out.
        lines: where the class of a line is, to be ignored (default None: lines have none).
        text_column: which column holds the texts (default None: it is called as `read` expects).
        usual_column: which one does where ``text_column`` is not given, if the file has it (default None).
        id_column: which column says what a text is called (default None: ``id``, if there is one).

    Raises:
        DataError: the file cannot be read, holds no text, or is invalid.
    """
    suffix, given = _suffix(path), DataConfig(lines=lines, text_column=text_column, id_column=id_column)
    is_lines = suffix not in (*TABLES, *JSON, *frames.SUFFIXES)
    if is_lines:
        given.check_unused(str(path), "it has no columns", "text_column", "id_column")
    else:
        given.check_unused(str(path), "it does not hold texts in lines", "lines")
    if not is_lines:
        if text_column is None and usual_column is not None and usual_column in _names_in(path):
            text_column = usual_column
        parsed = PARSERS[suffix](path, DataConfig(text_column=text_column, id_column=id_column), "unwanted")
        texts, records = parsed.texts, parsed.records
    elif lines is not None:
        parsed = labelled_lines.parse(path, DataConfig(lines=lines))
        texts, records = parsed.texts, parsed.records
    else:
        texts, numbers = text_lines(read_text(path))
        records = Records(range(len(texts)), numbers, named_by="line")
    if not texts and suffix in TABLES:
        names = f"its first line was taken for the names of columns, {listed(_names_in(path))}"
        raise DataError(f"{path} holds no texts: {names}; write such a line above the texts")
    if not texts:
        raise DataError(f"{path} holds no texts")
    return texts, records


def _names_in(path: Path) -> list[str]:
    return frames.names_in(path) if _suffix(path) in frames.SUFFIXES else names_in(path)


def _suffix(path: Path) -> str:
    return unpacked(path).suffix.lower()


def _parts(path: Path, config: DataConfig) -> Files:
    """Return the parts of what ``path`` names, or what there is."""
    if not path.is_dir():
        return beside(path)
    if _class_folders(path):
        parts = inside(path)
        if parts is None or not _class_folders(parts.train):
            return Files(path)
        return Files(parts.train, *(part if part and _class_folders(part) else None for part in parts[1:]))
    files = [file for file in _files(path) if is_text(file, config)]
    parts_of_each = [beside(file) for file in files]
    whole = [parts for parts in parts_of_each if any(parts[1:])] or parts_of_each
    if len(whole) != 1:
        names = listed(parts.train.name for parts in whole)
        raise DataError(f"{path} holds {len(whole)} files of texts to train on ({names}): name one of them")
    return whole[0]


def _sub_folders(folder: Path) -> list[Path]:
    return [entry for entry in entries_of(folder) if entry.is_dir()]


def _files(folder: Path) -> list[Path]:
    return [entry for entry in entries_of(folder) if entry.is_file() and not entry.name.startswith("README")]


def _class_folders(folder: Path) -> list[Path]:
    """Return the sub-folders that hold .txt files, or parts of a set whose sub-folders do."""
    if not folder.is_dir():
        return []
    inner = _sub_folders(folder)
    classes = [sub for sub in inner if any(map(_is_text_file, sub.iterdir()))]
    return classes or [sub for sub in inner if sub.name.lower() == "train" and _class_folders(sub)]


def _is_text_file(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and not path.name.startswith(".")  # as ._1.txt, which macOS makes beside 1.txt


def has_images(folder: Path) -> bool:
    """Tell whether sub-folders hold images, or are parts of a set whose sub-folders do."""
    return any(
        any(entry.name.lower().endswith(IMAGES) for entry in sub.iterdir())
        or (sub.name.lower() in ("train", "test") and has_images(sub))
        for sub in _sub_folders(folder)
        if not sub.name.startswith("__")  # which the reader of images does not look into
    )


def _parse(path: Path, config: DataConfig, labels: Labels) -> ParsedTexts:
    if path.is_dir():
        return replace(_folder(path), reading=config)
    return PARSERS.get(_suffix(path), labelled_lines.parse)(path, config, labels)


def _folder(path: Path) -> ParsedTexts:
    texts, labels, places = list[str](), list[str](), list[str]()
    classes, left_out = _class_folders(path), [entry.name for entry in entries_of(path) if not entry.is_dir()]
    for folder in _sub_folders(path):
        if not is_printable(folder.name):  # bytes that are not UTF-8 included
            raise DataError(f"{str(folder)!r} cannot be the name of a class: rename it in plain letters")
        if folder not in classes:
            raise DataError(f"{folder} holds no text (.txt): add some, or remove the folder")
        for entry in entries_of(folder):
            if entry.is_dir():
                raise DataError(f"{entry} is a folder: expected texts only; move its texts up or remove it")
            if not _is_text_file(entry):
                left_out.append(f"{folder.name}/{entry.name}")
                continue
            texts.append(read_text(entry).strip())
            labels.append(folder.name)
            places.append(f"{folder.name}/{entry.name}")
    records = Records(ids=places, named_by="file")
    understood = "texts from files; class: the folder of each"
    return ParsedTexts(path, texts, labels, places, understood, records=records, left_out=tuple(left_out))


def to_sequences(parts: Sequence[ParsedTexts], notes: tuple[str, ...] = ()) -> list[SequenceData]:
    """Return the parts of a data set with one table of classes, that of the first.

    Raises:
        DataError: a part has no texts, or a class that the first part lacks.
    """
    first = parts[0]
    classes = in_order(first.labels or [])
    index = {label: number for number, label in enumerate(classes)}
    data = []
    for part in parts:
        if not part.texts:
            raise DataError(f"{part.path} holds no texts")
        labels = part.labels or []
        for place, label in zip(part.places, labels, strict=True):
            if label not in index:
                raise DataError(
                    f"{part.path}, {place}: the class {shown(label)} is not in {first.path}, the training part"
                )
        y = torch.tensor([index[label] for label in labels])
        origins = Origins.of(str(part.path), part.records.names, part.records.named_by, part.groups, part.when)
        data.append(replace(unread(part.texts, y, classes, notes), origins=origins))
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
        torch.from_numpy(empty), y, Preparation(classes, Scaling(0.0, 1.0)), notes=notes, texts=tuple(texts)
    )
