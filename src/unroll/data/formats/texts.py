"""Texts from files, each with its class.

What a file holds is told by its name, and of a table by the names of its columns:

- ``X.csv``, ``X.tsv`` with a first line that names the columns; of a .tsv no cell is quoted.
- ``X.json``, ``X.jsonl``, ``X.ndjson``: an object a line, or one array of objects.
- ``X.txt``, ``X.train``: in each line a class, blanks, and a text.
- a folder with a sub-folder for each class, ``pos/1.txt``; or with such folders in ``train/`` and ``test/``.
- a folder with one of the files above.

A folder whose sub-folders hold images is one of images, whatever else lies there.

The column, or field, of the text is called text, sentence, headline, review, title, message, comment, tweet or
content; that of the class label, class, category, sentiment, target, or something that begins with ``is_``. Others are
left alone. Where a training part has a test part beside it (``X.train`` and ``X.test``, ``train.csv`` and
``test.csv``) that is used. Any of the files may be packed with gzip, ``X.jsonl.gz``. All is UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ...config import DataConfig
from ...errors import DataError
from ...formatting import is_printable, listed, shown
from ..preparation import Preparation, Scaling
from ..sequences import SequenceData
from .image_folder import SUFFIXES as IMAGES
from .parsing import in_order, read_rows, read_text
from .series import PARTS, test_part, unpacked
from .text_file import JSON, PARSERS, TABLES, TEXTS, ParsedTexts, column_of, parse_lines, text_lines

UNUSED = ("read", "resize", "missing")


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
    if path.is_dir():  # a table may well lie beside folders of images, and a note among them
        return not _has_images(path) and (bool(_class_folders(path)) or any(map(is_text, _files(path))))
    suffix = _suffix(path)
    if suffix in TABLES:
        return column_of([name.strip() for name in read_rows(path, 1)[0]], TEXTS) is not None
    return suffix in PARSERS


def read_texts(path: Path, classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the texts of a file to classify, and where each stands; classes are left alone.

    Args:
        path: a table or JSON with a column for texts; any other file has a text in each line, blank ones left out.
            Where each line begins with a class, that is no part of the text.
        classes: that the model knows.

    Raises:
        DataError: it cannot be read, holds no text, or something in it will not do.
    """
    suffix = _suffix(path)
    if suffix in (*TABLES, *JSON):
        parsed = PARSERS[suffix](path, False)
        texts, places = parsed.texts, parsed.places
    else:
        texts, numbers = text_lines(read_text(path))
        places = [f"line {number}" for number in numbers]
        if all(line.split()[0] in classes for line in texts):
            texts = parse_lines(path, True).texts
    if not texts:
        raise DataError(f"{path} holds no texts")
    return texts, places


def _suffix(path: Path) -> str:
    return unpacked(path).suffix.lower()


def _parts(path: Path) -> list[Path]:
    """Return the training and the test part of what ``path`` names, or what there is."""
    if not path.is_dir():
        test_file = _beside(path, ".test") if _suffix(path) == ".train" else test_part(path)
        return [path] if test_file is None or not test_file.is_file() else [path, test_file]
    if _class_folders(path):
        for train, test in PARTS.items():
            if _class_folders(path / train) and (path / test).is_dir():
                return [path / train, path / test]
        return [path]
    files = [file for file in _files(path) if is_text(file)]
    pairs = [parts for parts in map(_parts, files) if len(parts) == 2]
    whole = pairs or [[file] for file in files]
    if len(whole) != 1:
        names = listed(parts[0].name for parts in whole)
        raise DataError(f"{path} holds {len(whole)} files of texts to train on ({names}): name one of them")
    return whole[0]


def _beside(path: Path, suffix: str) -> Path:
    """Return the path of another part of a set, ``X.test`` or ``X.test.gz`` beside ``X.train`` or ``X.train.gz``."""
    plain = unpacked(path)
    return path.with_name(plain.stem + suffix + path.name.removeprefix(plain.name))


def _sub_folders(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_dir()]


def _files(folder: Path) -> list[Path]:
    return [entry for entry in _entries(folder) if entry.is_file() and not entry.name.startswith("README")]


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error


def _class_folders(folder: Path) -> list[Path]:
    """Return the sub-folders that hold .txt files, or parts of a set whose sub-folders do."""
    if not folder.is_dir():
        return []
    inner = _sub_folders(folder)
    classes = [sub for sub in inner if next(sub.glob("*.txt"), None)]
    return classes or [sub for sub in inner if sub.name in PARTS and _class_folders(sub)]


def _has_images(folder: Path) -> bool:
    """Tell whether sub-folders hold images, or are parts of a set whose sub-folders do."""
    return any(
        any(entry.name.lower().endswith(IMAGES) for entry in sub.iterdir())
        or (sub.name.lower() in ("train", "test") and _has_images(sub))
        for sub in _sub_folders(folder)
    )


def _left_alone(files: Sequence[Path]) -> tuple[str, ...]:
    """Say so where a part for validation stands beside: it is cut out of the training part, as it always is."""
    dev = _beside(files[0], ".dev")
    if _suffix(files[0]) != ".train" or not dev.is_file():
        return ()
    return (f"{dev.name} is left alone: what watches the training is cut out of {files[0].name}",)


def _parse(path: Path) -> ParsedTexts:
    return _folder(path) if path.is_dir() else PARSERS.get(_suffix(path), parse_lines)(path, True)


def _folder(path: Path) -> ParsedTexts:
    parsed = ParsedTexts(path, [], [], [])
    for folder in _class_folders(path):
        if not is_printable(folder.name):  # bytes that are not UTF-8 included
            raise DataError(f"{str(folder)!r} cannot be the name of a class: rename it in plain letters")
        for file in sorted(folder.glob("*.txt")):
            parsed.texts.append(read_text(file).strip())
            parsed.labels.append(folder.name)
            parsed.places.append(f"{folder.name}/{file.name}")
    return parsed


def to_sequences(parts: Sequence[ParsedTexts], notes: tuple[str, ...] = ()) -> list[SequenceData]:
    """Return the parts of a data set with one table of classes, that of the first.

    Raises:
        DataError: a part has no texts, or a class that the first part lacks.
    """
    first = parts[0]
    classes = in_order(first.labels)
    index = {label: number for number, label in enumerate(classes)}
    data = []
    for part in parts:
        if not part.texts:
            raise DataError(f"{part.path} holds no texts")
        for place, label in zip(part.places, part.labels, strict=True):
            if label not in index:
                raise DataError(
                    f"{part.path}, {place}: the class {shown(label)} is not in {first.path}, the training part"
                )
        y = torch.tensor([index[label] for label in part.labels])
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
