"""The table of readers: what `load` can load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..config import DataConfig, Read, ScalingName
from ..errors import DataError, did_you_mean
from . import arrays, image_folder, mnist
from .sequences import Splits

Reader = Callable[[str, Path | None, DataConfig], Splits]

# Sets by name.
READERS: dict[str, Reader] = {
    "mnist-sample": mnist.read_sample,
    "mnist": mnist.read,
    "fashion-mnist": mnist.read,
    "kmnist": mnist.read,
}

# What a path can be: a folder, or a file by its suffix.
FOLDER = "FOLDER/"
FORMATS: dict[str, Reader] = {FOLDER: image_folder.read, "FILE.npz": arrays.read}


def load(
    name: str = "mnist-sample",
    read: Read = "rows",
    data_dir: str | Path | None = None,
    scaling: ScalingName = "standard",
    *,
    resize: int | str | None = None,
    test_fraction: float | None = None,
    split_seed: int | None = None,
) -> Splits:
    """Load a data set by name or from a path.

    Args:
        name: a set: "mnist-sample" (the default: 5,000 real digits, always there), "mnist", "fashion-mnist", "kmnist";
            or a folder of images, or an .npz file, see `unroll.data.image_folder` and `unroll.data.arrays`.
        read: how the pixels of an image become time steps, with (time, features) for 28×28 pixels: "rows" (28, 28),
            "columns" (28, 28), "pixels" (784, 1) or "permuted" (784, 1) in one fixed random order (default "rows").
        data_dir: folder to look in first (default: ``$UNROLL_DATA/<name>``, the cache folder, a download).
        scaling: what `SequenceData.batches` applies on the fly: "standard" or "unit" (default "standard").
        resize: makes all images of a folder so large, in pixels: 28 both ways, "40x28" wide and high (default None).
        test_fraction: share of each class to test on, where a set has no test part of its own (default 0.2).
        split_seed: seed of that split (default 0).

    Returns:
        Training and test part; ``x`` is (N, time, features) uint8 or float32, unscaled.

    Raises:
        DataError: there is no such data, or it is broken.
        ConfigError: a setting is out of range, or the data has no use for it.
    """
    size = None if resize is None else str(resize)
    config = DataConfig(read, size, test_fraction, split_seed)
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(f"data_dir must be a folder, got {folder}")
    if name in READERS:
        splits = READERS[name](name, folder, config)
    else:
        path = _find(name, folder)
        splits = FORMATS[_kind(path)](str(path), None, config)
    return splits if scaling == "standard" else splits.scaled(scaling)


def resolve(name: str, data_dir: str | Path | None = None) -> str:
    """Return ``name`` as it can be loaded from any working folder: of a path the absolute one."""
    if name in READERS:
        return name
    return str(_find(name, None if data_dir is None else Path(data_dir).expanduser()).resolve())


def is_folder(name: str, data_dir: str | Path | None = None) -> bool:
    """Tell whether ``name`` means a folder, whose images `load` can resize."""
    return name not in READERS and _find(name, None if data_dir is None else Path(data_dir).expanduser()).is_dir()


def _find(name: str, data_dir: Path | None) -> Path:
    """Return the path that ``name`` means; a path that has moved into ``data_dir`` is found there."""
    path = Path(name).expanduser()
    places = [path] if data_dir is None else [data_dir / path, data_dir / path.name, path]
    for place in places:
        if place.exists():
            return place
    if path.suffix or path.name != name:
        raise DataError(f"{name} does not exist; data must be one of {_known()}")
    raise DataError(f"data must be one of {_known()}; got {name!r}{did_you_mean(name, READERS)}")


def _kind(path: Path) -> str:
    if path.is_dir():
        return FOLDER
    kind = f"FILE{path.suffix.lower()}"
    if kind not in FORMATS:
        raise DataError(f"{path} is of no known format; data must be one of {_known()}")
    return kind


def _known() -> str:
    return f"{', '.join(READERS)}, or the path of a {' or '.join(FORMATS)}"
