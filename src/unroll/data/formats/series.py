"""Time series from files: ``X_TRAIN.ts`` and ``X_TEST.ts`` beside it, ``X_train.csv`` and ``X_test.csv``, or one alone.

Also a folder that holds such a pair, as ``GunPoint/`` of the archive does. Features are what others call channels or
dimensions. See `unroll.data.formats.ts_series` and `unroll.data.formats.csv_series` for what stands in a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ...config import DataConfig
from ...config.data import TABLE
from ...errors import DataError
from ...formatting import listed
from ..columns import Columns
from ..preparation import Preparation
from ..sequences import SequenceData
from . import csv_series, npz, ts_series
from .series_file import Series, to_sequences, unlabelled

PARSERS: dict[str, Callable[[Path, bool, DataConfig, Columns | None], Series]] = {
    ".ts": lambda path, labelled, _config, _known: ts_series.parse(path, labelled),
    ".csv": csv_series.parse,
    ".tsv": csv_series.parse,
}
TABLES = (".csv", ".tsv")  # may be packed with gzip
PARTS = {"train": "test", "Train": "Test", "TRAIN": "TEST"}
TRAIN = re.compile(rf"(?P<before>(?:.*[_\-. ])?)(?P<part>{'|'.join(PARTS)})")


def read(path: Path, config: DataConfig, model: Preparation | None = None) -> list[SequenceData]:
    """Read series of any length and number of features, which may lack values.

    Args:
        path: a .ts, .csv or .tsv file, or a folder with one pair of train and test.
        config: may say what the columns of a table are; must not ask for what is only for images.
        model: the preparation of a trained model that is to read them (default None: nothing is known yet).

    Returns:
        training and test part, or the whole where there is no file to test on; not yet scaled or filled in.

    Raises:
        DataError: something in a file will not do; says in which line.
        ConfigError: ``config`` asks for what is only for images.
    """
    config.check_unused(str(path), "it holds no images", "read", "resize")
    if path.is_dir():
        path = _pair_in(path)
    test, parse = test_part(path), PARSERS[suffix(path)]
    known, offset = (None, None) if model is None else (model.columns, model.offset)
    if suffix(path) not in TABLES:
        config.check_unused(str(path), "it is no table", *TABLE)
    parts = [parse(path, True, config, known)]
    if test is not None:
        parts.append(parse(test, True, config, known or parts[0].columns))
    return to_sequences(parts, offset)


def read_unlabelled(
    path: Path, classes: tuple[str, ...], model: Preparation | None = None, config: DataConfig | None = None
) -> tuple[SequenceData, list[str], str]:
    """Read series to classify from a .ts, .csv, .tsv or .npz file; classes that it has are left alone.

    Args:
        path: the file.
        classes: of the model; until it has spoken each series is said to be of the first.
        model: its preparation (default None: nothing is known).
        config: may say what the columns of a table are, if other than in the training data.

    Returns:
        the series, not yet scaled or filled in; the name of each; and what that is: "id", "line" or, counted from 0,
        "series".

    Raises:
        DataError: the file is of no known format, or something in it will not do.
    """
    kind = suffix(path)
    known, offset = (None, None) if model is None else (model.columns, model.offset)
    if kind == ".npz" and not path.is_dir():
        data = npz.read_unlabelled(path, classes, offset)
        return data, [str(number) for number in range(len(data))], "series"
    if kind not in PARSERS or path.is_dir():
        raise DataError(f"{path} is no file of series: expected {', '.join(PARSERS)} or .npz")
    series = PARSERS[kind](path, False, config or DataConfig(), known)
    return unlabelled(series, classes, offset), series.names, series.named_by


def suffix(path: Path) -> str:
    """Return the suffix that says a file's format: of a packed table that of the table."""
    inner = unpacked(path).suffix.lower()
    return inner if inner in TABLES else path.suffix.lower()


def unpacked(path: Path) -> Path:
    """Return ``path`` without the ``.gz`` of a packed file."""
    return path.with_suffix("") if path.suffix.lower() == ".gz" else path


def test_part(path: Path) -> Path | None:
    """Return the file with the test part that belongs to ``path``, if ``path`` is a training part and has one."""
    stem = unpacked(path).stem
    match = TRAIN.fullmatch(stem)
    if match is None:
        return None
    test = path.with_name(f"{match['before']}{PARTS[match['part']]}{path.name.removeprefix(stem)}")
    return test if test.is_file() else None


def set_name(path: Path) -> str:
    """Return what a set is called whose file is ``path``: without ``_TRAIN``."""
    plain = unpacked(path)
    match = TRAIN.fullmatch(plain.stem) if plain.suffix.lower() != ".npz" else None  # whose parts are in one file
    return (match["before"].rstrip("_-. ") if match else "") or plain.stem


def is_of_series(folder: Path) -> bool:
    """Tell a folder of series from one of images, where a table may well lie beside the class folders.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    files = _files_in(folder)
    return any(map(test_part, files)) or (bool(files) and not any(entry.is_dir() for entry in entries))


def _files_in(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if suffix(file) in PARSERS and file.is_file())


def _pair_in(folder: Path) -> Path:
    files = _files_in(folder)
    pairs = [file for file in files if test_part(file)]
    if len(pairs) != 1:
        names = listed(file.name for file in (pairs or files)[:3])
        raise DataError(
            f"{folder} holds {len(pairs) or 'no'} pair{'s' if pairs else ''} like X_TRAIN.ts and X_TEST.ts ({names}): "
            "name the file to train on"
        )
    return pairs[0]
