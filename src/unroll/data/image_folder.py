"""A folder of images, one sub-folder per class: ``cat/1.png``, ``dog/2.jpg``; or such folders in train/ and test/.

Colours become brightness. What was read is kept in the cache folder, and read anew when a file has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from ..config import DataConfig
from ..errors import DataError
from .download import cache_folder
from .images import read_grey
from .preparation import ImageFormat, Preparation, Scaling
from .sequences import SequenceData, Splits

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
CACHE_FORMAT = 1


@dataclass(frozen=True)
class Listing:
    """Image files with their classes, in a fixed order.

    Attributes:
        root: the folder of class folders
        classes: their names; numbers in them are ordered as numbers
        files: all images, class by class
        y: (N,) int64 class of each file
        digest: changes when a file does: its name, its size or the time of its last change
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    y: np.ndarray
    digest: str


def read(name: str, data_dir: Path | None, config: DataConfig) -> Splits:
    """Read a folder of images of one size, or make them so.

    Args:
        name: path of the folder. If ``train/`` and ``test/`` in it hold class folders, these are the parts; otherwise
            a stratified test part is drawn.
        data_dir: not used.
        config: order of the pixels, size, and how the test part is drawn.

    Raises:
        DataError: there is nothing to learn from, or an image cannot be read or has another size; says which.
        ConfigError: ``config`` asks for a test part where there is one.
    """
    root = Path(name)
    listings = [_list(folder) for folder in _parts(root, config)]
    pixels = [_pixels(listing, config.size) for listing in listings]
    height, width = pixels[0].shape[1:]
    form = ImageFormat(height, width, config.read)
    preparation = Preparation(listings[0].classes, Scaling(0.0, 1.0), form)
    data = []
    for listing, images in zip(listings, pixels, strict=True):
        if images.shape[1:] != (height, width):
            _complain_of_sizes({(width, height): listings[0].root, (images.shape[2], images.shape[1]): listing.root})
        index = np.array([_index(preparation.classes, label, listing.root) for label in listing.classes])
        sequences = form.sequences(torch.from_numpy(images))
        data.append(SequenceData(sequences, torch.from_numpy(index[listing.y]), preparation))
    if len(data) == 1:
        return Splits.draw(data[0], root.resolve().name, str(root), config)
    return Splits(data[0], data[1], root.resolve().name, str(root)).scaled("standard")


def _parts(root: Path, config: DataConfig) -> list[Path]:
    """Return the folders that hold class folders: the whole, or train and test."""
    parts = [root / "train", root / "test"]
    there = [part.is_dir() and any(entry.is_dir() for entry in _visible(part)) for part in parts]
    if all(there):
        config.check_unused(str(root), "it has a test/ of its own", "test_fraction", "split_seed")
        return parts
    if any(there):
        found, lacks = (part.name for part in (parts if there[0] else reversed(parts)))
        raise DataError(
            f"{root} has {found}/ but no {lacks}/ with class folders: expected both, or class folders alone, "
            "of which some images are drawn to test on"
        )
    return [root]


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Return what is in a folder, but for what systems leave behind, numbers in names ordered as numbers."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if not entry.name.startswith((".", "__"))]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return sorted(found, key=_by_number)


def _by_number(entry: os.DirEntry[str]) -> list[int | str]:
    """Order image9 before image10."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"(\d+)", entry.name))]


def _list(root: Path) -> Listing:
    entries = _visible(root)
    folders = [Path(entry.path) for entry in entries if entry.is_dir()]
    if not folders:
        loose = any(entry.name.lower().endswith(SUFFIXES) for entry in entries)
        what = (
            "holds images, but no class folders" if loose else "is empty" if not entries else "holds no class folders"
        )
        raise DataError(f"{root} {what}: expected a folder per class with its images, like {root / 'cat' / '1.png'}")
    if len(folders) == 1:
        raise DataError(f"{root} holds one class only, {folders[0].name}: expected a folder for each of 2 or more")
    files: list[Path] = []
    y: list[int] = []
    digest = hashlib.sha256(str(root.resolve()).encode())
    for label, folder in enumerate(folders):
        before = len(files)
        for entry in _visible(folder):
            if entry.is_dir():
                raise DataError(f"{entry.path} is a folder: expected images only; move its images up or remove it")
            if entry.name.lower().endswith(SUFFIXES):
                stat = entry.stat()
                digest.update(f"{label}/{entry.name}/{stat.st_size}/{stat.st_mtime_ns}\n".encode("utf-8", "replace"))
                files.append(Path(entry.path))
                y.append(label)
        if len(files) == before:
            raise DataError(f"{folder} holds no image ({', '.join(SUFFIXES)}): add some, or remove the folder")
    classes = tuple(folder.name for folder in folders)
    return Listing(root, classes, tuple(files), np.array(y, np.int64), digest.hexdigest())


def _index(classes: tuple[str, ...], label: str, root: Path) -> int:
    if label not in classes:
        raise DataError(f"{root} has the class {label}, but the training part only {', '.join(classes)}")
    return classes.index(label)


def _pixels(listing: Listing, size: tuple[int, int] | None) -> np.ndarray:
    """Return all images as (N, height, width) uint8, from the cache if nothing has changed since."""
    # One file per folder and size, so that a folder that changes often does not fill the disk.
    key = zlib.crc32(f"{listing.root.resolve()} {size}".encode())
    cache = cache_folder() / "folders" / f"{listing.root.resolve().name}-{key:08x}.npz"
    version = f"{CACHE_FORMAT} {listing.digest}"
    try:
        with cache.open("rb") as file, np.load(file) as content:
            if str(content["version"]) == version:
                return np.asarray(content["pixels"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # none there, or a broken one: the images are
    pixels = _read_files(listing, size)
    with contextlib.suppress(OSError):  # a full disk costs time, not the work
        cache.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache.parent, prefix=".partial-") as partial:
            np.savez(Path(partial) / cache.name, version=version, pixels=pixels)
            (Path(partial) / cache.name).replace(cache)
    return pixels


def _read_files(listing: Listing, size: tuple[int, int] | None) -> np.ndarray:
    images, errors = [], []
    console = Console(stderr=True)
    files = track(
        listing.files, f"reading {listing.root}", console=console, disable=not console.is_terminal, transient=True
    )
    for file in files:
        try:
            images.append(read_grey(file, size)[0])
        except DataError as error:
            errors.append(str(error))
    if errors:
        more = f"; so are {len(errors) - 1} more files in {listing.root}" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{more}; mend or remove what is broken")
    shapes = Counter(image.shape for image in images)
    if len(shapes) > 1:
        examples = {
            (w, h): listing.files[[i.shape for i in images].index((h, w))] for (h, w), _ in shapes.most_common()
        }
        _complain_of_sizes(examples)
    return np.stack(images)


def _complain_of_sizes(examples: dict[tuple[int, int], Path]) -> None:
    (size, path), (other, another) = list(examples.items())[:2]
    more = f" (and {len(examples) - 2} more sizes)" if len(examples) > 2 else ""
    raise DataError(
        f"images must have one size: {path} is {size[0]}×{size[1]}, {another} {other[0]}×{other[1]}{more}; "
        "make them so, to 28×28 say, with --resize 28 (in Python resize=28)"
    )
