"""Time series from files: ``X_TRAIN.ts`` and ``X_TEST.ts`` beside it, ``X_train.csv`` and ``X_test.csv``, or one alone.

Also a folder that holds such a pair, as ``GunPoint/`` of the archive does; of the same pair in several of the archive's
formats the first of .ts, .arff, .tsv and .txt is read. ``X_VAL.ts`` beside them is the validation part. A part without
classes is not used, and said so. Features are what others call channels or dimensions. See
`unroll.data.formats.ts_series`, `unroll.data.formats.arff_series`, `unroll.data.formats.plain_series` and
`unroll.data.formats.csv_series` for what stands in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ...config import DataConfig
from ...errors import DataError
from ...formatting import listed
from ..preparation import ImageFormat
from ..sequences import Parts, SequenceData
from . import arff_series, csv_series, npz, plain_series, recordings, ts_series
from .parts import TRAIN, beside, entries_of, unpacked
from .series_file import Series, to_sequences, unlabelled


def _parse_tsv(path: Path, labelled: bool) -> Series:
    return plain_series.parse(path, labelled) if plain_series.holds_numbers(path) else csv_series.parse(path, labelled)


PARSERS: dict[str, Callable[[Path, bool], Series]] = {
    ".ts": ts_series.parse,
    ".csv": csv_series.parse,
    ".tsv": _parse_tsv,
    ".arff": arff_series.parse,
    ".txt": plain_series.parse,
}
ARCHIVE = (".ts", ".arff", ".tsv", ".txt")  # the archive's formats, the first of which says most


def read(path: Path, config: DataConfig, form: ImageFormat | None = None) -> Parts:
    """Read series of any length and number of features, which may lack values; not yet scaled or filled in.

    Args:
        path: a file of series, or a folder with one pair of train and test.
        config: must not ask for what is only for images.
        form: not used.

    Raises:
        DataError: something in a file will not do; says in which line.
        ConfigError: ``config`` asks for what is only for images.
    """
    config.check_unused(str(path), "it holds no images", "read", "resize")
    notes: tuple[str, ...] = ()
    if path.is_dir():
        path, notes = _pair_in(path)
    train, *others = beside(path)
    series = {"train": PARSERS[train.suffix.lower()](train, True)}
    for name, file in zip(("test", "val"), others, strict=True):
        if file is None:
            continue
        part = PARSERS[file.suffix.lower()](file, False)
        if part.labels is None:
            notes += (f"{file.name} has no classes: it is not used",)
        else:
            series[name] = part
    data = [replace(part, notes=part.notes + notes) for part in to_sequences(list(series.values()))]
    return Parts.of(dict(zip(series, data, strict=True)), understood=series["train"].understood)


def read_unlabelled(
    path: Path, classes: tuple[str, ...], features: tuple[str, ...] = (), count: int = 0
) -> tuple[SequenceData, list[str], str]:
    """Read series to classify from a file of series or an .npz file; classes that it has are left alone.

    Args:
        path: the file.
        classes: of the model; until it has spoken each series is said to be of the first.
        features: names of what the model reads: a CSV file that has these columns and no id is one series.
        count: how many features the model reads: so is a CSV file of so many numbers a line and no names.

    Returns:
        the series, not yet scaled or filled in; the name of each; and what that is: "id", "line" or, counted from 0,
        "series".

    Raises:
        DataError: the file is of no known format, or something in it will not do.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz" and not path.is_dir():
        data = npz.read_unlabelled(path, classes)
        return data, [str(number) for number in range(len(data))], "series"
    if suffix not in PARSERS or path.is_dir():
        raise DataError(f"{path} is no file of series: expected {', '.join(PARSERS)} or .npz")
    series = recordings.read_alone(path, features, count) if suffix in recordings.SUFFIXES else None
    if series is None and suffix in (".tsv", ".txt") and (suffix == ".txt" or plain_series.holds_numbers(path)):
        series = plain_series.parse_unlabelled(path, classes)
    series = series or PARSERS[suffix](path, False)
    return unlabelled(series, classes), series.names, series.named_by


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
    return [file for file in entries_of(folder) if file.suffix.lower() in PARSERS and file.is_file()]


def _pair_in(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Return the training part of the one set in a folder, and what is to be said of its other formats."""
    pairs = pairs_in(folder)
    if len({file.stem for file in pairs}) == 1 and all(file.suffix.lower() in ARCHIVE for file in pairs):
        best, *others = sorted(pairs, key=lambda file: ARCHIVE.index(file.suffix.lower()))
        unused = listed(file.name for file in others)
        return best, (f"{best.name} is read; not used, the same set in other formats: {unused}",) if others else ()
    if len(pairs) != 1:
        names = listed(file.name for file in (pairs or _files_in(folder))[:3])
        raise DataError(
            f"{folder} holds {len(pairs) or 'no'} pair{'s' if pairs else ''} like X_TRAIN.ts and X_TEST.ts ({names}): "
            "name the file to train on"
        )
    return pairs[0], ()
