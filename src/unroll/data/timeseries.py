"""Time series from files: ``X_TRAIN.ts`` and ``X_TEST.ts`` beside it, ``X_train.csv`` and ``X_test.csv``, or one alone.

Also a folder that holds such a pair, as ``GunPoint/`` of the archive does. Features are what others call channels or
dimensions. See `unroll.data.ts_file` and `unroll.data.csv_file` for what stands in a file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from ..config import DataConfig
from ..errors import DataError
from . import arrays, csv_file, ts_file
from .preparation import ImageFormat
from .sequences import SequenceData
from .series import Series, to_sequences, unlabelled

PARSERS: dict[str, Callable[[Path, bool], Series]] = {
    ".ts": ts_file.parse,
    ".csv": csv_file.parse,
    ".tsv": csv_file.parse,
}
PARTS = {"train": "test", "Train": "Test", "TRAIN": "TEST"}
TRAIN = re.compile(rf"(?P<before>(?:.*[_\-. ])?)(?P<part>{'|'.join(PARTS)})")


def read(path: Path, config: DataConfig, form: ImageFormat | None = None) -> list[SequenceData]:
    """Read series of any length and number of features, which may lack values.

    Args:
        path: a .ts, .csv or .tsv file, or a folder with one pair of train and test.
        config: must not ask for what is only for images.
        form: not used.

    Returns:
        training and test part, or the whole where there is no file to test on; not yet scaled or filled in.

    Raises:
        DataError: something in a file will not do; says in which line.
        ConfigError: ``config`` asks for what is only for images.
    """
    config.check_unused(str(path), "it holds no images", "read", "resize")
    if path.is_dir():
        path = _pair_in(path)
    test = test_part(path)
    files = [path] if test is None else [path, test]
    return to_sequences([PARSERS[file.suffix.lower()](file, True) for file in files])


def read_unlabelled(path: Path, classes: tuple[str, ...]) -> tuple[SequenceData, list[str]]:
    """Read series to classify from a .ts, .csv, .tsv or .npz file; classes that it has are left alone.

    Args:
        path: the file.
        classes: of the model; until it has spoken each series is said to be of the first.

    Returns:
        the series, not yet scaled or filled in, and what to call each.

    Raises:
        DataError: the file is of no known format, or something in it will not do.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz" and not path.is_dir():
        data = arrays.read_unlabelled(path, classes)
        return data, [f"series {number}" for number in range(len(data))]
    if suffix not in PARSERS or path.is_dir():
        raise DataError(f"{path} is no file of series: expected {', '.join(PARSERS)} or .npz")
    series = PARSERS[suffix](path, False)
    return unlabelled(series, classes), series.names


def test_part(path: Path) -> Path | None:
    """Return the file with the test part that belongs to ``path``, if ``path`` is a training part and has one."""
    found = TRAIN.fullmatch(path.stem)
    if found is None:
        return None
    other = path.with_name(f"{found['before']}{PARTS[found['part']]}{path.suffix}")
    return other if other.is_file() else None


def set_name(path: Path) -> str:
    """Return what a set is called whose file is ``path``: without ``_TRAIN``."""
    found = TRAIN.fullmatch(path.stem) if path.suffix.lower() in PARSERS else None
    return (found["before"].rstrip("_-. ") if found else "") or path.stem


def pairs_in(folder: Path) -> list[Path]:
    """Return the training parts in a folder that have a test part beside them."""
    try:
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in PARSERS)
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return [file for file in files if test_part(file)]


def _pair_in(folder: Path) -> Path:
    pairs = pairs_in(folder)
    if len(pairs) != 1:
        raise DataError(f"{folder} holds {len(pairs)} training parts ({', '.join(p.name for p in pairs)}): name one")
    return pairs[0]
