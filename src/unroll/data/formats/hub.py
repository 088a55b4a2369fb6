"""Data sets of the library `datasets`: in memory, in a folder, or on the Hugging Face Hub as ``hf:owner/name``.

``hf:owner/name/config`` names one of several configurations; ``hf:./folder`` is a folder that `datasets.load_dataset`
reads or `save_to_disk` has written. The splits are called train, test and validation. Of classes (`ClassLabel`) the
names are read; the class -1, by which the labels of a test split are hidden, is none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...config import DataConfig
from ...errors import DataError, how_to_install
from ...formatting import listed, shown
from .frames import Frame, of_frame
from .image_file import resized
from .parts import VALIDATION
from .roles import LABELS

PREFIX = "hf:"
COPIES = ".huggingface"  # where copies are in a folder: hidden, as the folder itself may be what is read
STATES = ("dataset_dict.json", "state.json")  # of what save_to_disk has written


class Images(NamedTuple):
    """Images of one size, (N, height, width, 3) or (N, height, width, 1) uint8, and the (N,) names of their classes."""

    x: np.ndarray
    y: np.ndarray


def load(name: str, folder: Path | None = None) -> Mapping[str, Any]:
    """Return the splits of a data set.

    Args:
        name: of it, as written above.
        folder: for the copy of what is downloaded or converted (default None: that of `datasets`).

    Raises:
        DataError: the library is missing, or cannot load it.
    """
    where, local = _place(name)
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{name} needs the library datasets: {how_to_install('hub')}") from error
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        if local is not None and any((local / state).is_file() for state in STATES):
            data = datasets.load_from_disk(str(local))
        else:
            owner, *rest = [str(local)] if local is not None else where.rsplit("/", where.count("/") - 1)
            data = datasets.load_dataset(owner, *rest, cache_dir=None if folder is None else str(folder / COPIES))
    except Exception as error:  # of the network, the hub, or any of the formats that it reads
        raise DataError(f"{name} cannot be loaded: {shown(error)}") from error
    return data if isinstance(data, dict) else {"train": data}


def resolve(name: str) -> str:
    """Return ``name`` as it can be loaded from any working folder.

    Raises:
        DataError: it names neither a data set nor a folder.
    """
    where, local = _place(name)
    return f"{PREFIX}{where if local is None else local.resolve()}"


def set_name(name: str) -> str:
    """Return what the data set ``name`` is called, without its owner."""
    where, local = _place(name)
    return where.split("/")[1] if local is None else local.resolve().name


def _place(name: str) -> tuple[str, Path | None]:
    """Return the data set that ``name`` means, and the folder that it is in; None if it is on the hub."""
    where = name.removeprefix(PREFIX)
    if where.startswith((".", "~", os.sep)):
        local = Path(where).expanduser()
        if not local.is_dir():
            raise DataError(f"{name} does not exist: expected a folder, or {PREFIX}owner/name on the Hugging Face Hub")
        return where, local
    if where.count("/") not in (1, 2) or not all(where.split("/")):
        raise DataError(
            f"{name} is not the name of a data set: expected {PREFIX}owner/name, {PREFIX}owner/name/config, or a "
            f"folder {PREFIX}./name"
        )
    if Path(where).exists():  # which the library would load in its place
        raise DataError(f"{name} is a folder here, too: say {PREFIX}./{where} for that, or run in another folder")
    return where, None


def part_of(split: str) -> str | None:
    """Return which part of a set a split is, "train", "test" or "val"; None if it is none of them."""
    return "val" if split in VALIDATION else split if split in ("train", "test") else None


def read(dataset: Any, path: Path, config: DataConfig) -> Frame | Images:
    """Return a `datasets.Dataset` as a frame, or as images where that is what it holds.

    Args:
        dataset: with all rows at hand.
        path: what messages call it.
        config: may name the column of the classes, and the size of images.

    Raises:
        DataError: it is read as it comes, or images differ in size.
    """
    if not hasattr(dataset, "__len__"):
        raise DataError(
            f"{path} is a stream: expected all of it, as datasets.load_dataset(…) gives it without streaming=True"
        )
    kinds = {name: type(feature).__name__ for name, feature in dataset.features.items()}
    images = [name for name, kind in kinds.items() if kind == "Image"]
    if images:
        return _images(dataset, images, kinds, path, config)
    table = dataset.with_format("arrow")[:]
    for name, kind in kinds.items():
        if kind == "ClassLabel":
            table = _with_names(table, name, dataset.features[name].names)
    return of_frame(table, path)


def _with_names(table: Any, name: str, classes: list[str]) -> Any:
    """Return a table with the names of classes in place of their numbers; without the column if all are hidden."""
    import pyarrow as pa

    place = table.column_names.index(name)
    codes = table[name].combine_chunks().cast(pa.int32()).fill_null(-1).to_numpy()
    if (codes < 0).all():
        return table.remove_column(place)
    numbers = pa.array(codes, mask=codes < 0)
    return table.set_column(place, name, pa.DictionaryArray.from_arrays(numbers, pa.array(classes)))


def _images(dataset: Any, names: list[str], kinds: dict[str, str], path: Path, config: DataConfig) -> Images:
    if len(names) > 1:
        raise DataError(f"{path} has {len(names)} columns of images, {listed(names)}: keep one, with remove_columns")
    label = config.label_column or next((name for name, kind in kinds.items() if kind == "ClassLabel"), None)
    label = label or next((name for name in kinds if name.lower() in LABELS), None)
    if label not in kinds:
        raise DataError(f"{path} has no column {label or ' or '.join(LABELS)}: expected classes, got {listed(kinds)}")
    images = list(dataset[names[0]])
    sizes = {image.size for image in images}
    if config.size is None and len(sizes) > 1:
        low, high = (f"{width}×{height}" for width, height in (min(sizes), max(sizes)))
        raise DataError(
            f"{path} has images from {low} to {high}: make them one size with --resize (in Python resize=28)"
        )
    if config.size is not None and len(sizes) > 1:
        images = [resized(image, config.size) for image in images]
    is_grey = all(image.mode == "L" for image in images)
    pixels = [np.asarray(image if is_grey else image.convert("RGB"), np.uint8) for image in images]
    x = np.stack(pixels) if pixels else np.empty((0, 1, 1), np.uint8)
    values = list(dataset[label])
    if kinds[label] == "ClassLabel":
        values = [dataset.features[label].names[value] if value is not None and value >= 0 else "" for value in values]
    return Images(x[..., None] if is_grey else x, np.array(list(map(str, values))))
