"""Time series from files: ``X_TRAIN.ts`` and ``X_TEST.ts`` beside it, ``X_train.csv`` and ``X_test.csv``, or one alone.

Also a folder that holds such a pair, as ``GunPoint/`` of the archive does; of the same pair in several of the archive's
formats the first of .ts, .arff, .tsv and .txt is read. ``X_VAL.ts`` beside them is the validation part. A part without
classes is not used, and said so. Features are what others call channels or dimensions. See
`unroll.data.formats.ts_series`, `unroll.data.formats.arff_series`, `unroll.data.formats.plain_series` and
`unroll.data.formats.csv_series` for the content of a file; of Parquet and Arrow files `unroll.data.formats.frames`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ...config import DataConfig
from ...config.data import COLUMNS, OF_IMAGES
from ...errors import DataError
from ...formatting import listed
from ..columns import Columns
from ..preparation import Preparation
from ..records import Records
from ..sequences import Parts, SequenceData
from . import arff_series, csv_series, frames, nested_series, npz, plain_series, recordings, ts_series
from .hints import conversion
from .parts import TRAIN, beside, entries_of, unpacked
from .series_file import Series, to_sequences, unlabelled
from .table import Marks, marks_of_numbers

Source = TypeVar("Source")


def _parse_tsv(path: Path, labelled: bool, config: DataConfig, known: Columns | None) -> Series:
    if _is_table(path):
        return csv_series.parse(path, labelled, config, known)
    return plain_series.parse(path, labelled)


PARSERS: dict[str, Callable[[Path, bool, DataConfig, Columns | None], Series]] = {
    ".ts": lambda path, labelled, _config, _known: ts_series.parse(path, labelled),
    ".csv": csv_series.parse,
    ".tsv": _parse_tsv,
    ".arff": lambda path, labelled, _config, _known: arff_series.parse(path, labelled),
    ".txt": lambda path, labelled, _config, _known: plain_series.parse(path, labelled),
    **dict.fromkeys(frames.SUFFIXES, nested_series.parse),
}
TABLES = (".csv", ".tsv")  # may be packed with gzip
ARCHIVE = (".ts", ".arff", ".tsv", ".txt")  # the archive's formats, the first of which says most


def read(path: Path, config: DataConfig, model: Preparation | None = None) -> Parts:
    """Read series of any length and number of features, which may lack values.

    Args:
        path: a file of series, or a folder with one pair of train and test.
        config: may say what the columns of a table are; must not ask for what is only for images.
        model: the preparation of a trained model that is to read them (default None: nothing is known yet).

    Raises:
        DataError: a file is invalid; the message names the line.
        ConfigError: ``config`` asks for what is only for images.
    """
    config.check_unused(str(path), "it holds no images", *OF_IMAGES)
    notes: tuple[str, ...] = ()
    if path.is_dir():
        path, notes = _pair_in(path)
    files = {name: file for name, file in zip(Parts._fields, beside(path), strict=False) if file is not None}
    return of_parts(files, lambda file, labelled, known: _parsed(file, labelled, config, known), model, notes)


def of_parts(
    sources: Mapping[str, Source],
    parse: Callable[[Source, bool, Columns | None], Series],
    model: Preparation | None = None,
    notes: tuple[str, ...] = (),
) -> Parts:
    """Return the parts of a set of series.

    Args:
        sources: what to read as "train", and as "test" and "val" if there are any.
        parse: reads one, given whether labels are needed, and what its columns are.
        model: as for `read`.
        notes: what one should know of all parts.
    """
    known, offset = (None, None) if model is None else (model.columns, model.offset)
    first = parse(sources["train"], True, known)
    series = {"train": first}
    for name in ("test", "val"):
        if name not in sources:
            continue
        part = parse(sources[name], False, known or first.columns)
        if part.labels is None:
            notes += (f"{part.path.name} has no classes: it is not used",)
        else:
            series[name] = part
    data = [replace(part, notes=part.notes + notes) for part in to_sequences(list(series.values()), offset)]
    understood = str(first.columns) if first.columns else first.understood
    return Parts.of(dict(zip(series, data, strict=True)), understood=understood)


def _parsed(path: Path, labelled: bool, config: DataConfig, known: Columns | None) -> Series:
    """Return the content of a file of series.

    Raises:
        DataError: the file is invalid; the message names the line.
        ConfigError: ``config`` says what its columns are, and it is not a table.
    """
    if _is_table(path):
        return PARSERS[suffix(path)](path, labelled, config, known)
    marks = _marks_of_no_table(path, config, known)
    series = PARSERS[suffix(path)](path, labelled, config, known)
    return replace(series, values=list(map(marks.masked, series.values)))


def _marks_of_no_table(path: Path, config: DataConfig, known: Columns | None) -> Marks:
    config.check_unused(str(path), "it is not a table", *COLUMNS)
    return marks_of_numbers(path, config, known)


def read_unlabelled(
    path: Path, classes: tuple[str, ...], model: Preparation | None = None, config: DataConfig | None = None
) -> tuple[SequenceData, Records]:
    """Read series to classify from a file of series or an .npz file; its classes are ignored.

    A table with a column for each feature that the model reads, and without an id, is one series.

    Args:
        path: the file.
        classes: of the model; until it has spoken each series is said to be of the first.
        model: its preparation (default None: nothing is known).
        config: may say what the columns of a table are, if other than in the training data.

    Returns:
        the series, not yet scaled or filled in, and their places in the file.

    Raises:
        DataError: the file has no known format, or is invalid.
        ConfigError: ``config`` says of columns, texts or lines what the file has no use for.
    """
    kind, config = suffix(path), config or DataConfig()
    config.check_unused(str(path), "it holds no texts", "text_column", "lines")
    offset = None if model is None else model.offset
    if kind == ".npz" and not path.is_dir():
        config.check_unused(str(path), "it is not a table", *COLUMNS)
        data = npz.read_unlabelled(path, classes, config, model)
        return data, Records(range(len(data)))
    if kind not in PARSERS or path.is_dir():
        raise DataError(f"{path} is not a file of series: expected {', '.join(PARSERS)} or .npz{conversion(path)}")
    series = _parsed_alone(path, classes, model, config)
    return unlabelled(series, classes, offset), series.records


def _parsed_alone(path: Path, classes: tuple[str, ...], model: Preparation | None, config: DataConfig) -> Series:
    """Return the series of a file to classify: of one alone if it is a recording."""
    kind, known = suffix(path), None if model is None else model.columns
    if model is not None and kind in recordings.SUFFIXES:
        series = recordings.read_alone(path, model, config)
        if series is not None:
            return series
    if kind in (".tsv", ".txt") and not _is_table(path):
        marks, series = _marks_of_no_table(path, config, known), plain_series.parse_unlabelled(path, classes)
        return replace(series, values=list(map(marks.masked, series.values)))
    return _parsed(path, False, config, known)


def marked_as_before(own: DataConfig, reading: DataConfig, model: Preparation) -> DataConfig:
    """Return how to read other series for a model: what marks a missing value as ``reading`` says, else as before.

    Args:
        own: how the model's own data was read.
        reading: how the other data is read.
        model: its preparation, which keeps the marks of a table.
    """
    if model.columns is not None or reading.missing_values is not None:
        return reading
    return replace(reading, missing_values=own.missing_values)


def marks_before(own: DataConfig | None, model: Preparation) -> Marks:
    """Return what marked a missing value in a model's own data; arguments as of `marked_as_before`."""
    if model.columns is not None:
        return Marks(model.columns.decimal, model.columns.missing_values)
    return Marks(missing=() if own is None else own.names("missing_values"))


def _is_table(path: Path) -> bool:
    """Tell whether a file of series is a table, whose columns have names."""
    kind = suffix(path)
    return kind in frames.SUFFIXES or (kind in TABLES and (kind != ".tsv" or not plain_series.holds_numbers(path)))


def suffix(path: Path) -> str:
    """Return the suffix that says a file's format: of a packed table that of the table."""
    inner = unpacked(path).suffix.lower()
    return inner if inner in TABLES else path.suffix.lower()


def set_name(path: Path) -> str:
    """Return what a set is called whose file is ``path``: without ``_TRAIN``."""
    plain = unpacked(path)
    match = TRAIN.fullmatch(plain.stem) if plain.suffix.lower() != ".npz" else None  # whose parts are in one file
    return (match["before"].rstrip("_-. ") if match else "") or plain.stem


def pairs_in(folder: Path) -> list[Path]:
    """Return the training parts of series in a folder that have another part beside them.

    Raises:
        DataError: the folder cannot be read, or a part is there twice.
    """
    return [file for file in _files_in(folder) if any(beside(file)[1:])]


def is_of_series(folder: Path) -> bool:
    """Tell whether a folder holds files of series and no folders.

    Raises:
        DataError: the folder cannot be read.
    """
    return bool(_files_in(folder)) and not any(entry.is_dir() for entry in entries_of(folder))


def _files_in(folder: Path) -> list[Path]:
    return [file for file in entries_of(folder) if suffix(file) in PARSERS and file.is_file()]


def _pair_in(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the training part of the one set in a folder, and what is to be said of its other formats."""
    pairs = pairs_in(folder)
    if len({file.stem for file in pairs}) == 1 and all(file.suffix.lower() in ARCHIVE for file in pairs):
        best, *rest = sorted(pairs, key=lambda file: ARCHIVE.index(file.suffix.lower()))
        unused = listed(file.name for file in rest)
        return best, (f"{best.name} is read; not used, the same set in other formats: {unused}",) if rest else ()
    if len(pairs) != 1:
        names = listed(file.name for file in (pairs or _files_in(folder))[:3])
        raise DataError(
            f"{folder} holds {len(pairs) or 'no'} pair{'s' if pairs else ''} like X_TRAIN.ts and X_TEST.ts ({names}): "
            "name the file to train on"
        )
    return pairs[0], ()
