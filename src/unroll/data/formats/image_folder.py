"""A folder of images, one sub-folder per class: ``cat/1.png``, ``dog/2.jpg``; or such folders in train/ and test/.

Colours are kept where there are any. What was read is kept in the cache folder, and read again when a file changed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import tempfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from ...config import DataConfig
from ...errors import DataError
from ...formatting import is_printable, listed, printable, shown
from ..origins import Origins
from ..preparation import ImageFormat, Preparation, Scaling
from ..sequences import Parts, SequenceData
from .colour import COLOURFUL, Colours
from .download import PARTIAL, cache_folder, writing
from .hints import conversion
from .image_file import DIM, prepare_image, read_image
from .parts import VALIDATION, Files, examples, not_read, single

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
CACHE_FORMAT = 5
FEW = 16  # values, as of a mask of 0 and 1, which would be black in 8 bits too


@dataclass(frozen=True)
class Listing:
    """Image files with their classes, in a fixed order.

    Attributes:
        root: the folder of class folders
        classes: their names; numbers in them are ordered as numbers
        files: all images, class by class
        y: (N,) int64 class of each file
        digest: changes when a file does: its class, its name, its size or the time of its last change
        left_out: names of what is neither image nor class folder
    """

    root: Path
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    y: np.ndarray
    digest: str
    left_out: tuple[str, ...]


class _Images(NamedTuple):
    """What the image files of a listing hold.

    Attributes:
        pixels: (N, height, width) or in colour (N, height, width, 3) uint8
        colours: of the files
        wide: number of the first file of 16 bits a pixel; -1 where there is none
        brightest: the largest value in all such files, of 65,535
    """

    pixels: np.ndarray
    colours: Colours
    wide: int = -1
    brightest: int = 0

    @property
    def channels(self) -> int:
        return 3 if self.pixels.ndim == 4 else 1


def read(path: Path, config: DataConfig, form: ImageFormat | None = None, *, is_validation: bool = False) -> Parts:
    """Read a folder of images of one size, or make them so.

    Args:
        path: the folder. If ``train/`` and ``test/`` in it hold class folders, these are its parts; ``val/`` too. A
            test part without class folders is not used, and said so.
        config: order of the pixels, size, and whether colours are kept.
        form: of a run whose data this is to become: then each file is prepared as for its predictions, and of
            ``config`` nothing is used (default None).
        is_validation: whether other images are trained on; as their test part, these may be dim (default False).

    Raises:
        DataError: there is nothing to learn from, or an image cannot be read or has another size; says which.
    """
    parts = _parts(path)
    folders = [part for part in parts if part is not None]
    listings = [_list(folder) for folder in folders]
    wanted = form.channels if form else config.channels
    files = [_read(listing, config.size, form, wanted) for listing in listings]
    is_trained_on = form is None and not is_validation  # other parts are as bright as they are
    if is_trained_on and files[0].wide >= 0 and files[0].brightest < DIM:
        raise _too_dim(listings[0].files[files[0].wide], files[0].brightest)
    colours = functools.reduce(Colours.joined, (part.colours for part in files))
    channels = wanted or colours.channels
    pixels = [
        part.pixels if part.channels == channels else _read(listing, config.size, form, channels).pixels
        for listing, part in zip(listings, files, strict=True)
    ]
    height, width = pixels[0].shape[1:3]
    form = form or ImageFormat(height, width, config.read, channels=channels)
    notes = (*_notes(path, folders, listings), *colours.notes(sum(map(len, pixels)), channels))
    data = []
    for listing, images in zip(listings, pixels, strict=True):
        if images.shape[1:3] != (height, width):
            _complain_of_sizes({(width, height): listings[0].root, (images.shape[2], images.shape[1]): listing.root})
        preparation = Preparation(listings[0].classes, Scaling(0.0, 1.0), form)
        y = torch.from_numpy(_index(preparation.classes, listing)[listing.y])
        x, files_ = form.sequences(torch.from_numpy(images)), listing.files
        origins = Origins(tuple(f"{file.parent.name}/{file.name}" for file in files_), "file")
        data.append(SequenceData(x, y, preparation, notes=notes, origins=origins))
    names = [name for name, part in zip(Parts._fields, parts, strict=False) if part is not None]
    chosen = replace(config, colour="keep" if channels == 3 else "grey")
    return Parts.of(dict(zip(names, data, strict=True)), chosen, colours.understood(config.colour))


def _parts(root: Path) -> Files:
    """Return the folders that hold class folders: the whole, or its parts."""
    entries = {entry.name.lower(): Path(entry.path) for entry in _visible(root) if entry.is_dir()}
    names = ("train", "test", *VALIDATION)
    parts = {name: entries[name] for name in names if name in entries and _has_folders(entries[name])}
    if not {"train", "test"} & set(parts):
        return Files(root)
    if "train" not in parts or (len(parts) == 1 and "test" not in entries):
        known, lacking = ("train", "test") if "train" in parts else ("test", "train")
        hint = "; rename testing/ to test/, if that is what it is" if "testing" in entries and lacking == "test" else ""
        raise DataError(
            f"{root} has {known}/ but no {lacking}/ with class folders: expected both, or class folders alone, "
            f"of which some images are drawn to test on{hint}"
        )
    validation = [parts[name] for name in VALIDATION if name in parts]
    return Files(parts["train"], parts.get("test"), single(root, validation))


def _has_folders(folder: Path) -> bool:
    return any(entry.is_dir() for entry in _visible(folder))


def _visible(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder without system files, with numbers in names ordered as numbers."""
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith((".", "__"))]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    return sorted(visible, key=_by_number)


def _by_number(entry: os.DirEntry[str]) -> tuple[list[int | str], str]:
    """Order image9 before image10; the name itself decides between 1 and 01."""
    parts = enumerate(re.split(r"(\d+)", entry.name))
    return [int(part) if place % 2 else part for place, part in parts], entry.name


def _list(root: Path) -> Listing:
    entries = _visible(root)
    folders = [Path(entry.path) for entry in entries if entry.is_dir()]
    if not folders:
        raise _no_folders(root, entries)
    files: list[Path] = []
    y: list[int] = []
    left_out = [entry.name for entry in entries if not entry.is_dir()]
    digest = hashlib.sha256()
    for label, folder in enumerate(folders):
        if not is_printable(folder.name):  # bytes that are not UTF-8 included
            raise DataError(f"{str(folder)!r} cannot be the name of a class: rename it in plain letters")
        before = len(files)
        for entry in _visible(folder):
            if entry.is_dir():
                raise DataError(f"{entry.path} is a folder: expected images only; move its images up or remove it")
            if not _is_image(entry):
                left_out.append(entry.name)
                continue
            digest.update(os.fsencode(f"{folder.name}/{entry.name}/{_stamp(entry)}\n"))
            files.append(Path(entry.path))
            y.append(label)
        if len(files) == before:
            raise DataError(f"{folder} holds no image ({', '.join(SUFFIXES)}): add some, or remove the folder")
    classes = tuple(folder.name for folder in folders)
    return Listing(root, classes, tuple(files), np.array(y, np.int64), digest.hexdigest(), tuple(left_out))


def _no_folders(root: Path, entries: list[os.DirEntry[str]]) -> DataError:
    """Return what to say of a folder without class folders: of what it holds, and how that is converted."""
    what, expected = "is empty", f"expected a folder per class with its images, like {root / 'cat' / '1.png'}"
    if any(map(_is_image, entries)):
        what = "holds images, but no class folders"
    elif entries:
        names = [entry.name for entry in entries]
        what = f"holds neither class folders nor files that are read, but {examples(names)}"
        ways = map(conversion, (Path(entry.path) for entry in entries))
        expected += next(filter(None, ways), "; save tables as CSV")
    return DataError(f"{root} {what}: {expected}")


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(SUFFIXES)


def _stamp(entry: os.DirEntry[str]) -> str:
    try:
        stat = entry.stat()
    except OSError as error:  # a link to nowhere
        raise DataError(f"cannot read {entry.path}: {error.strerror}; mend or remove it") from error
    if not S_ISREG(stat.st_mode):
        raise DataError(f"{entry.path} is not a file: expected images only; move or remove it")
    return f"{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}"


def _notes(root: Path, folders: list[Path], listings: list[Listing]) -> tuple[str, ...]:
    """Say what was left out, in words."""
    beside = [entry for entry in _visible(root) if folders != [root] and Path(entry.path) not in folders]
    unlabelled = [entry.name for entry in beside if entry.is_dir() and entry.name.lower() == "test"]
    ignored = [entry.name for entry in beside if entry.name not in unlabelled]
    return not_read([name for listing in listings for name in listing.left_out] + ignored, unlabelled, "image")


def _index(classes: tuple[str, ...], listing: Listing) -> np.ndarray:
    index = {label: number for number, label in enumerate(classes)}
    for label in listing.classes:
        if label not in index:
            root = listing.root
            raise DataError(f"{root} has the class {shown(label)}, but the training part only {listed(classes)}")
    return np.array([index[label] for label in listing.classes])


def _read(listing: Listing, size: tuple[int, int] | None, form: ImageFormat | None, channels: int | None) -> _Images:
    """Return all images, from the cache if nothing has changed since; without ``channels`` they are in colour or grey.

    Grey is enough until the first image with a colour; then all are read in colour.
    """
    if form is not None and form.framing is None:
        size, form = (form.width, form.height), None
    # One file per folder and size, so that a folder that changes often does not fill the disk.
    key = zlib.crc32(os.fsencode(f"{listing.root.resolve()} {size} {form and replace(form, read='rows')}"))
    cache = cache_folder() / "folders" / f"{key:08x}.npz"
    version = f"{CACHE_FORMAT} {listing.digest}"
    try:
        with cache.open("rb") as file, np.load(file) as content:
            if str(content["version"]) == version:
                difference, example, grey = (content[name].item() for name in Colours._fields)
                colours = Colours(int(difference), str(example), int(grey))
                wide, brightest = int(content["wide"]), int(content["brightest"])
                images = _Images(np.asarray(content["pixels"]), colours, wide, brightest)
                sound = images.pixels.dtype == np.uint8 and images.pixels.ndim in (3, 4)
                wanted = channels or images.colours.channels
                if sound and len(images.pixels) == len(listing.files) and images.channels == wanted:
                    return images
    except Exception:  # none there, or a damaged one, of which NumPy and zipfile raise about anything: the images are
        pass
    images = _read_files(listing, size, form, channels)
    with contextlib.suppress(OSError):  # a full disk costs time, not the work
        cache.parent.mkdir(parents=True, exist_ok=True)
        with writing(cache.parent), tempfile.TemporaryDirectory(dir=cache.parent, prefix=PARTIAL) as partial:
            about = {"version": version, "root": str(listing.root.resolve()), **images.colours._asdict()}
            np.savez(
                Path(partial) / cache.name, pixels=images.pixels, wide=images.wide, brightest=images.brightest, **about
            )
            (Path(partial) / cache.name).replace(cache)
    return images


def _read_files(
    listing: Listing, size: tuple[int, int] | None, form: ImageFormat | None, channels: int | None
) -> _Images:
    images, errors, colours, brightest = [], [], Colours(), dict[int, int]()
    console = Console(stderr=True)
    label = f"reading {escape(printable(str(listing.root)))}"
    for number, file in enumerate(
        track(listing.files, label, console=console, disable=not console.is_terminal, transient=True)
    ):
        try:
            if form is not None:
                images.append(prepare_image(file, form).pixels.numpy())
                continue
            image = read_image(file, channels or 1, size)
        except DataError as error:
            errors.append(str(error))
            continue
        example = shown(f"{file.parent.name}/{file.name}") if image.difference > COLOURFUL else ""
        if example and channels is None:
            return _read_files(listing, size, form, 3)
        images.append(image.pixels)
        if image.brightest is not None:
            brightest[number] = image.brightest
        colours = colours.joined(Colours(image.difference, example, int(image.difference == 0)))
    if errors:
        more = f" (and {len(errors) - 1:,} more in {listing.root} cannot be read)" if len(errors) > 1 else ""
        raise DataError(f"{errors[0]}{more}; mend or remove what is broken")
    sizes: dict[tuple[int, int], Path] = {}
    for pixels, file in zip(images, listing.files, strict=True):
        sizes.setdefault((pixels.shape[1], pixels.shape[0]), file)
    if len(sizes) > 1:
        _complain_of_sizes(sizes)
    return _Images(np.stack(images), colours, min(brightest, default=-1), max(brightest.values(), default=0))


def _too_dim(example: Path, most: int) -> DataError:
    """Return what to say of images of 16 bits, of which hardly 8 are used, and how to save them.

    Args:
        example: one of them.
        most: the largest value in them.
    """
    top = 2 ** max(8, most.bit_length()) - 1  # 4,095 of a camera of 12 bits
    if most < FEW:
        top = max(most, 1)
    each = "the values as they are" if top == 255 else f"each value * 255 // {top}"
    return DataError(
        f"{example} has more than 8 bits a pixel, but no image of its kind has a value above {most:,} of 65,535: they "
        f"would be read as nearly black; save them with 8 bits a pixel, {each}"
    )


def _complain_of_sizes(examples: dict[tuple[int, int], Path]) -> None:
    (size, path), (size_2, path_2) = list(examples.items())[:2]
    more = f" (there are {len(examples)} sizes)" if len(examples) > 2 else ""
    raise DataError(
        f"images must have one size: {path} is {size[0]}×{size[1]}, {path_2} {size_2[0]}×{size_2[1]}{more}; "
        "make them so, to 28×28 say, with --resize 28 (in Python resize=28)"
    )
