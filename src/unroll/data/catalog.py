"""The table of readers: what `load` can load."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..config import DataConfig
from ..config.data import CUTS, TABLE
from ..config.signature import takes, with_defaults
from ..errors import ConfigError, DataError, did_you_mean
from . import memory
from .files import check_regular
from .formats import hub, image_folder, mnist, npz, recordings, series, texts, ucr_archive
from .formats.hints import conversion
from .formats.series import marked_as_before
from .memory import Layout
from .preparation import DataScaling, Preparation
from .sequences import Parts
from .splits import Splits

Reader = Callable[[str, Path | None, DataConfig], Splits]
Format = Callable[[Path, DataConfig, Any], Parts]  # the last: of a model that is to read it

# Sets by name.
READERS: dict[str, Reader] = {
    "mnist-sample": mnist.read_sample,
    "mnist": mnist.read,
    "fashion-mnist": mnist.read,
    "kmnist": mnist.read,
}

NO_TABLE = "it is not a table of series"
# What a path can be: a folder, or a file by its suffix.
FOLDER = "FOLDER/"
FORMATS: dict[str, Format] = {
    FOLDER: image_folder.read,
    "FILE.npz": npz.read,
    **{f"FILE{suffix}": series.read for suffix in series.PARSERS},
    **{f"FILE{suffix}": texts.read for suffix in texts.PARSERS if suffix not in series.PARSERS},
}


@with_defaults
@dataclass(frozen=True, kw_only=True)
class Arguments(DataConfig):
    """What `load` loads: a data set, and how it is read.

    Attributes:
        data: a set: "mnist-sample" (5,000 real digits, always there), "mnist", "fashion-mnist", "kmnist",
            "ucr:GunPoint" or another of the UCR and UEA archive, or "hf:owner/name" of the Hugging Face Hub; or a
            folder of images; or time series in a .ts, .csv, .tsv, .npz, .parquet, .arrow or .feather file, or a folder
            with such files for training and test; or texts. `unroll.data.formats` has a file for each. Or what Python
            holds: a data frame of pandas or polars, a pyarrow table, a `datasets.Dataset`, a torch dataset of pairs; or
            with ``y`` an array (N, time, features) or (N, time), a list of arrays (time, features), or a list of texts;
            or a dict of any of these, with the parts "train", "test" and "validation", of arrays as pairs
        y: (N,) names of classes, or whole numbers, of the arrays or the frame ``data``, where that does not hold them
            (default None)
        test: data to test on, as ``data``; where that has a ``y``, a pair (default: part of the training data, see
            test_fraction)
        groups: what each sequence of arrays belongs to, the person that it is of say, (N,) names or numbers: a cut
            divides no group (default None; of a frame, ``group`` names the column)
        layout: what aeon and sktime call a container of series, where its axes are not unroll's: numpy3D (N, channels,
            time), np-list [(channels, time), …], or pd-multiindex (default: time comes before the features)
        data_dir: folder to look in first (default: ``$UNROLL_DATA/<name>``, the cache folder, a download); of
            "hf:owner/name" the folder of the copy
        scaling: what `SequenceData.batches` applies on the fly, "training" or "unit"
    """

    data: Any = field(default="mnist-sample", kw_only=False)
    y: Any = field(default=None, kw_only=False)
    test: Any = None
    groups: Any = None
    layout: Layout | None = None
    data_dir: str | Path | None = None
    scaling: DataScaling = "training"
    resize: int | str | None = None  # type: ignore[assignment]  # wider, as all below: the settings have a text
    feature_columns: Sequence[str] | str | None = None  # type: ignore[assignment]
    drop_columns: Sequence[str] | str | None = None  # type: ignore[assignment]
    missing_values: Sequence[str | float] | str | float | None = None  # type: ignore[assignment]
    resample: str | float | None = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        """Check nothing yet: `config` does."""

    def config(self) -> DataConfig:
        """Return how the data is read, checked."""
        return DataConfig(**{field.name: getattr(self, field.name) for field in fields(DataConfig)})


@takes(Arguments)
def load(arguments: Arguments) -> Splits:
    """Load a data set by name or from a path, or make one of what Python holds.

    ``read`` makes of 28×28 pixels (time, features): "rows" and "columns" (28, 28), "pixels" (784, 1), "permuted"
    (784, 1) in one fixed random order.

    {arguments}

    Returns:
        Training and test part; ``x`` is (N, time, features) uint8 or float32, unscaled; of texts (N, time) int32.

    Raises:
        DataError: there is no such data, or it is broken.
        ConfigError: a setting is out of range, or the data has no use for it.
    """
    config = arguments.config()
    folder = _folder(arguments.data_dir)
    splits = _load(arguments, config, folder) if is_name(arguments.data) else _of_memory(arguments, config)
    return splits if arguments.scaling == "training" else splits.scaled(arguments.scaling)


def is_name(data: object) -> bool:
    """Tell whether data is named, or held by Python."""
    return isinstance(data, str | os.PathLike)


def _of_memory(arguments: Arguments, config: DataConfig) -> Splits:
    if arguments.data_dir is not None:
        raise ConfigError("data_dir cannot be used with data that Python holds: leave it out")
    data = arguments.data
    reason = "data that Python holds brings its own, as {'train': …, 'validation': …}"
    config.check_unused(memory.source_of(data), reason, "val_data")
    parts = memory.read(data, arguments.y, arguments.test, arguments.groups, arguments.layout, config)
    return Splits.of(parts, memory.name_of(data), memory.source_of(data), config)


def _load(arguments: Arguments, config: DataConfig, folder: Path | None) -> Splits:
    name = str(arguments.data)
    for setting in ("y", "test", "groups", "layout"):
        if getattr(arguments, setting) is not None:
            raise ConfigError(f"{setting} cannot be used with {name}: it is for data that Python holds")
    if name in READERS:
        config.check_unused(name, NO_TABLE, *TABLE, *CUTS)
        config.check_unused(name, "it is read by name: name a path of its own instead", "val_data")
        splits = READERS[name](name, folder, replace(config, fold=None, split_seed=None) if config.fold else config)
        return splits.with_fold(config) if config.fold else splits
    if name.startswith(hub.PREFIX):
        config.check_unused(name, "it has a validation part of its own, if any", "val_data")
        return Splits.of(memory.read_hub(name, folder, config), hub.set_name(name), name, config)
    path = _find(name, folder)
    parts = _with_validation(_format(path, config)(path, config, None), path, folder, config)
    return Splits.of(parts, _name(path), str(path), config)


def _with_validation(parts: Parts, path: Path, folder: Path | None, config: DataConfig) -> Parts:
    """Return the parts with the validation part that ``config`` names, if it does.

    Raises:
        ConfigError: the set has a validation part of its own.
        DataError: the other data is missing, broken, or is not of the same kind, features and classes.
    """
    if config.val_data is None:
        return parts
    if parts.val is not None:
        config.check_unused(str(path), "it has a validation part of its own", "val_data")
    place = _find(config.val_data, folder)
    if place.resolve() == path.resolve():
        raise DataError(f"val_data {place} is what is trained on: name other data")
    reading = replace(parts.reading or config, val_data=None)
    read = _format(place, reading)
    preparation = parts.train.preparation
    if read is image_folder.read:
        val = image_folder.read(place, reading, is_validation=True).train
    else:
        val = read(place, reading, preparation).train
    try:
        return parts._replace(val=val.beside(parts.train))
    except DataError as error:
        raise DataError(f"{place}: {error}") from error


def load_as(
    data: Any,
    preparation: Preparation,
    data_dir: str | Path | None = None,
    reading: DataConfig | None = None,
    own: DataConfig | None = None,
) -> Parts:
    """Load data for a trained model: put through its preparation, not through one of its own.

    Args:
        data: as for `load`, of arrays the pair (X, y); images of a folder may have any size, as for a prediction.
        preparation: of the model.
        data_dir: folder to look in first.
        reading: says what the columns of a table are, where they are not called as in the training data.
        own: how the model's own data was read: texts are read in the same way, as far as that can be (default None).

    Raises:
        DataError: there is no such data, it is broken, or it does not fit the preparation.
    """
    image = preparation.image
    config, folder = DataConfig(read=image.read if image else "rows"), _folder(data_dir)
    reading, name = reading or DataConfig(), str(data)
    if preparation.kind == "series" and own is not None:
        reading = replace(reading, group=own.group, split_by_time=own.split_by_time)  # if the columns are there
    if preparation.time_steps is not None and preparation.time_steps.window is not None:
        reading = replace(reading, window=preparation.time_steps.window)  # so that classes may change
    if not is_name(data):
        data, y = data if isinstance(data, tuple) and len(data) == 2 else (data, None)
        parts = memory.read(data, y, None, None, None, config if image else reading, preparation, own)
    elif name in READERS:
        reading.check_unused(name, NO_TABLE, *TABLE)
        splits = READERS[name](name, folder, config)
        parts = Parts(splits.train, splits.test)
    elif name.startswith(hub.PREFIX):
        parts = memory.read_hub(name, folder, reading, preparation, own)
    else:
        path = _find(name, folder)
        if preparation.kind == "texts":
            reading = texts.as_before(path, own or DataConfig(), reading)
        read = _format(path, reading)
        if preparation.kind == "series" and own is not None:
            reading = marked_as_before(own, reading, preparation)
        is_image = read is image_folder.read
        parts = read(path, config if is_image else reading, image if is_image else preparation)
    test = None if parts.test is None else parts.test.prepared_as(preparation)
    return Parts(parts.train.prepared_as(preparation), test)


def _folder(data_dir: str | Path | None) -> Path | None:
    if data_dir is None:
        return None
    folder = _expanded(str(data_dir))
    if not folder.is_dir():
        raise DataError(f"data_dir must be a folder, got {folder}")
    return folder


def resolve(name: str, data_dir: str | Path | None = None) -> str:
    """Return ``name`` as it can be loaded from any working folder: of a path the absolute one.

    Raises:
        DataError: there is no such data, or it has no name.
    """
    if not is_name(name):
        raise DataError(
            f"data that is to be loaded again needs a name or a path, got {memory.source_of(name)}: train on it with "
            "unroll.fit and keep the model with unroll.save, or write it to a Parquet or CSV file first"
        )
    name = str(name)
    if name.startswith(hub.PREFIX):
        return hub.resolve(name)
    if name in READERS or name.startswith(ucr_archive.PREFIX):
        return name
    return str(_find(name, _folder(data_dir)).resolve())


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError as error:
        raise DataError(f"{name} cannot be found: {error}") from error


def _find(name: str, data_dir: Path | None) -> Path:
    """Return the path that ``name`` means; a path that has moved into ``data_dir``, or become it, is found there."""
    if not name:
        raise DataError(f"data must be one of {_known()}; got an empty name")
    if name.startswith(ucr_archive.PREFIX):
        return ucr_archive.find(name, data_dir)
    path = _expanded(name)
    places = [path]
    if data_dir is not None:
        moved = [data_dir / path.name, *([data_dir] if data_dir.name == path.name else [])]
        places = [*moved, path] if path.is_absolute() else [data_dir / path, path, *moved]
    if os.environ.get("UNROLL_DATA") and not path.is_absolute():
        places.append(Path(os.environ["UNROLL_DATA"]) / path)
    for place in places:
        try:
            if place.exists():
                if not place.is_dir():
                    check_regular(place)
                str(place.resolve()).encode()
                return place
        except UnicodeEncodeError as error:
            raise DataError(f"{str(place)!r} is not written in UTF-8: rename it") from error
        except OSError as error:
            raise DataError(f"{name} cannot be read: {error.strerror}") from error
    if path.suffix or path.name != name:
        raise DataError(f"{name} does not exist; data must be one of {_known()}")
    raise DataError(f"data must be one of {_known()}; got {name!r}{did_you_mean(name, READERS)}")


def _name(path: Path) -> str:
    return path.resolve().name if path.is_dir() else series.set_name(path)


def _format(path: Path, config: DataConfig) -> Format:
    """Return what reads a path.

    Raises:
        ConfigError: ``config`` says what columns are that the data does not have.
    """
    read = _format_of(path, config)
    used: dict[Format, tuple[str, ...]] = {
        texts.read: ("label_column",),
        recordings.read: ("missing_values", "decimal", "drop_columns"),
    }
    if read is image_folder.read or read in used:
        config.check_unused(str(path), NO_TABLE, *(name for name in TABLE if name not in used.get(read, ())))
    return read


def _format_of(path: Path, config: DataConfig) -> Format:
    if path.is_dir() and any(not texts.is_text(file, config) for file in series.pairs_in(path)):
        return series.read
    if path.is_dir() and texts.has_images(path):
        return FORMATS[FOLDER]
    if texts.is_text(path, config):
        return texts.read
    if path.is_dir():
        if recordings.is_of_recordings(path):
            return recordings.read
        return series.read if series.is_of_series(path) else FORMATS[FOLDER]
    kind = f"FILE{series.suffix(path)}"
    if kind not in FORMATS:
        how = conversion(path)
        raise DataError(f"{path} is of no known format{how or f'; data must be one of {_known()}'}")
    return FORMATS[kind]


def _known() -> str:
    *files, last = FORMATS
    sets = ", ".join((*READERS, f"{ucr_archive.PREFIX}NAME", f"{hub.PREFIX}OWNER/NAME"))
    return f"{sets}, or the path of a {', '.join(files)} or {last}"
