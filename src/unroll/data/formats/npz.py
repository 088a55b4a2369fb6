"""Sequences in a NumPy file: ``numpy.savez("gestures.npz", x=x, y=y)``, padded, with ``lengths`` where they differ.

Or images, where ``x`` is (N, height, width, 3) uint8.
"""

from __future__ import annotations

import math
import sys
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.lib.format as npy
import torch
from torch import Tensor

from ...config import DataConfig
from ...config.data import COLUMNS, OF_IMAGES
from ...errors import DataError
from ...formatting import is_printable, listed, quoted, shown
from ..files import opened
from ..origins import Origins
from ..preparation import ImageFormat, Preparation, Scaling
from ..sequences import Parts, SequenceData
from .image_array import read_arrays
from .image_file import in_words
from .stored import to_data
from .table import marks_of_numbers

KEYS = ("x", "y", "lengths")
MAGIC = b"\x93NUMPY"
EARLIEST, LATEST = np.datetime64("1678"), np.datetime64("2261")  # whole years of which int64 can count nanoseconds
MANY_FEATURES = 5  # times as many features as time steps, from which the axes may be another way round
CHUNK = 1 << 20  # bytes that are unpacked at once
MOST_PACKED = 1_100  # times as large as packed can a member of a zip file be: deflate reaches 1,032


def read(path: Path, config: DataConfig, model: Preparation | None = None) -> Parts:
    """Read an .npz file with ``x`` (N, time, features) and ``y`` (N,), and ``lengths`` (N,) if sequences differ.

    ``x`` (N, height, width, 3) uint8 is read as images, see `image_array.read_arrays`.

    ``x`` is kept as uint8, or becomes float32, where NaN is a missing value; ``y`` holds whole numbers or names;
    optional ``classes`` names the numbers 0, 1, 2, …. A file that says ``x_train``, ``y_train``, ``x_test``, ``y_test``
    (and ``lengths_train``, ``lengths_test``) brings its own test part. Other arrays are ignored.

    Args:
        path: the file.
        config: of series must not ask for what is only for images.
        model: the preparation of a trained model that is to read them (default None: nothing is known yet).

    Returns:
        the whole, or training and test part; the scaling is not learned yet.

    Raises:
        DataError: the file or an array is invalid; the message names it.
        ConfigError: ``config`` asks for what is only for images.
    """
    columns = tuple(name for name in (config.group, config.split_by_time) if name is not None)
    return of_arrays(path, _arrays(path, columns), config, model)


def of_arrays(path: Path, arrays: dict[str, np.ndarray], config: DataConfig, model: Preparation | None = None) -> Parts:
    """Return arrays as those of an .npz file.

    Args:
        path: of the file, or what messages call the arrays.
        arrays: by the names that `read` knows, and ``x_val``, ``y_val``.
        config: as for `read`, as are further arguments and errors.
        model: as for `read`.
    """
    config.check_unused(str(path), "it is not a table", *COLUMNS)
    if model is not None:  # whose own data had these arrays
        cuts = [column if column in arrays else None for column in (config.group, config.split_by_time)]
        config = replace(config, group=cuts[0], split_by_time=cuts[1])
    suffixes = ("_train", "_test") if "x_train" in arrays or "x_test" in arrays else ("",)
    if "x_val" in arrays:
        suffixes = ("_train", *(("_test",) if "x_test" in arrays else ()), "_val")
    parts = [suffix.removeprefix("_") or "train" for suffix in suffixes]
    wanted = [f"{key}{suffix}" for suffix in suffixes for key in ("x", "y")]
    missing = [key for key in wanted if key not in arrays]
    if missing:
        names = listed(sorted(arrays)) or "none of them"
        raise DataError(f"{path} has no {', '.join(missing)}: expected the arrays x and y, got {names}")
    classes, labels = _labels(path, arrays, [f"y{suffix}" for suffix in suffixes])
    if any(arrays[f"x{suffix}"].ndim == 4 for suffix in suffixes):
        if any(key.startswith("lengths") for key in arrays):
            raise DataError(f"{path} holds images, which have no lengths: leave that array out")
        config.check_unused(str(path), "it holds images", "missing_values")
        images = {f"{path}: x{suffix}": arrays[f"x{suffix}"] for suffix in suffixes}
        form = model.image if model else None
        made = _images(parts, images, labels, Preparation(classes, Scaling(0.0, 1.0)), config, form)
        return _with_origins(path, made, arrays, dict(zip(parts, suffixes, strict=True)), config)
    config.check_unused(str(path), "it holds no images", *OF_IMAGES)
    marks = marks_of_numbers(path, config, None if model is None else model.columns)
    preparation = Preparation(classes, Scaling(0.0, 1.0))
    data: list[SequenceData] = []
    for suffix, y in zip(suffixes, labels, strict=True):
        like = data[0].preparation if data else model
        offset = None if like is None else like.offset
        arrays[f"x{suffix}"] = marks.masked(arrays[f"x{suffix}"])
        data.append(_part(path, arrays, suffix, y, preparation, offset))
    for suffix, part in zip(suffixes, data, strict=True):
        if part.input_size != data[0].input_size or part.x.dtype != data[0].x.dtype:
            raise DataError(
                f"{path}: x_train and x{suffix} must have the same features and dtype, got {data[0]} and {part}"
            )
    made = Parts.of(dict(zip(parts, data, strict=True)))
    return _with_origins(path, made, arrays, dict(zip(parts, suffixes, strict=True)), config)


def _with_origins(
    path: Path, parts: Parts, arrays: dict[str, np.ndarray], suffixes: Mapping[str, str], config: DataConfig
) -> Parts:
    """Return the parts with the number of each sequence, its group and its time, as the arrays that are asked for say.

    Raises:
        DataError: such an array is missing, or not (N,) of the right kind.
    """
    made = dict[str, SequenceData]()
    for name, suffix in suffixes.items():
        part: SequenceData = getattr(parts, name)
        groups = when = None
        if config.group is not None and (name == "train" or f"{config.group}{suffix}" in arrays):
            values = _each(path, arrays, f"{config.group}{suffix}", len(part), "iuU", "whole numbers or names")
            groups = [str(value) for value in values.tolist()]
        if config.split_by_time is not None and (name == "train" or f"{config.split_by_time}{suffix}" in arrays):
            values = _each(path, arrays, f"{config.split_by_time}{suffix}", len(part), "iufM", "numbers or dates")
            values = values.astype("datetime64[ns]").astype(np.int64) if values.dtype.kind == "M" else values
            when = np.repeat(values[:, None], 2, axis=1)
        names = list(map(str, range(len(part))))
        made[name] = replace(part, origins=Origins.of(str(path), names, "sequence", groups, when))
    return Parts.of(made, parts.reading, parts.understood)


def _each(path: Path, arrays: dict[str, np.ndarray], key: str, n: int, kinds: str, what: str) -> np.ndarray:
    if key not in arrays:
        raise DataError(f"{path} has no array {quoted(key)}: expected one of {what}, one of each sequence")
    values = arrays[key]
    is_finite = values.dtype.kind != "f" or bool(np.isfinite(values).all())
    if values.shape != (n,) or values.dtype.kind not in kinds or not is_finite:
        raise DataError(f"{path}: {key} must hold {n} {what}, got {values.dtype} of shape {values.shape}")
    if values.dtype.kind == "M":  # in others nanoseconds wrap round; NaT is in no year
        years = values.astype("datetime64[Y]")
        bad = np.flatnonzero(~((years >= EARLIEST) & (years <= LATEST)))
        if len(bad):
            raise DataError(f"{path}: {key} must hold dates from {EARLIEST} to {LATEST}, got {values[bad[0]]}")
    return values


def _images(
    names: list[str],
    arrays: dict[str, np.ndarray],
    labels: list[np.ndarray],
    preparation: Preparation,
    config: DataConfig,
    form: ImageFormat | None,
) -> Parts:
    """Return the parts ``names``, each from its array of images, as data."""
    for (name, x), y in zip(arrays.items(), labels, strict=True):
        if len(x) != len(y):
            raise DataError(f"{name} holds {len(x)} images for {len(y)} labels: expected one of each")
    sequences, form, colours = read_arrays(arrays, config, form)
    preparation = replace(preparation, image=form)
    notes = colours.notes(sum(map(len, sequences)), form.channels)
    data = [
        SequenceData(x, torch.from_numpy(y), preparation, notes=notes) for x, y in zip(sequences, labels, strict=True)
    ]
    chosen = replace(config, colour="keep" if form.channels == 3 else "grey")
    return Parts.of(dict(zip(names, data, strict=True)), chosen, colours.understood(config.colour))


def read_images(path: Path, form: ImageFormat) -> tuple[Tensor, list[tuple[str, ...]]]:
    """Return the images ``x`` of an .npz file as a model reads them, and what was done to each, in words.

    Args:
        path: the file; ``y`` is ignored.
        form: of the model.

    Returns:
        sequences (N, time, features) uint8, and of each its preparation.

    Raises:
        DataError: the file or ``x`` is invalid.
    """
    x = _x_of(path, _arrays(path))
    sequences, own, _ = read_arrays({f"{path}: x": x}, DataConfig(), form)
    if own.shape != form.shape:
        raise DataError(f"{path}: x must hold images of {form.width}×{form.height}, got {own.width}×{own.height}")
    resized = x.shape[1:3] != (form.height, form.width)
    are_grey = (x == x[..., :1]).all(axis=(1, 2, 3)).tolist()
    return sequences[0], [in_words(form, resized, is_grey) for is_grey in are_grey]


def _x_of(path: Path, arrays: dict[str, np.ndarray]) -> np.ndarray:
    if "x" not in arrays:
        raise DataError(f"{path} has no x: expected the sequences to classify in an array x")
    return arrays["x"]


def read_unlabelled(
    path: Path, classes: tuple[str, ...], config: DataConfig, model: Preparation | None = None
) -> SequenceData:
    """Read ``x`` of an .npz file, and ``lengths`` if there are any; ``y`` is ignored.

    Args:
        path: the file.
        classes: of the model that is to classify it; until then each sequence is said to be of the first.
        config: may say what marks a missing value.
        model: preparation of that model (default None: nothing is known).

    Raises:
        DataError: the file, ``x`` or ``lengths`` is invalid.
    """
    arrays = _arrays(path)
    known, offset = (None, None) if model is None else (model.columns, model.offset)
    x = arrays["x"] = marks_of_numbers(path, config, known).masked(_x_of(path, arrays))
    y = np.zeros(len(x) if x.ndim else 0, np.int64)
    return _part(path, arrays, "", y, Preparation(classes, Scaling(0.0, 1.0)), offset)


def _arrays(path: Path, more: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """Return the arrays that have a meaning, and ``more``."""
    known = {"classes", *(f"{key}{suffix}" for key in (*KEYS, *more) for suffix in ("", "_train", "_test"))}
    try:
        with opened(path) as file:
            if file.read(2) != b"PK":  # every zip file's first bytes
                raise DataError(f"{path} is not an .npz file: save one with numpy.savez(…, x=x, y=y)")
            with zipfile.ZipFile(file) as zipped:
                members = {member.filename.removesuffix(".npy"): member for member in zipped.infolist()}
                members = {name.lower(): member for name, member in members.items()} | members  # X_train, as many write
                return {key: _array(path, key, zipped, members[key]) for key in sorted(known & set(members))}
    except (DataError, MemoryError):
        raise
    except Exception as error:  # zipfile and its codecs raise about anything of a damaged file
        raise DataError(
            f"{path} is not a readable .npz file ({shown(error)}); write it again with numpy.savez"
        ) from error


def _array(path: Path, key: str, zipped: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    """Return a member of an .npz file; its header is not believed, in case it asks for more than there is."""
    if member.file_size > MOST_PACKED * member.compress_size:
        raise DataError(
            f"{path}: {key} says that its {member.compress_size:,} bytes unpack to {member.file_size:,}, which they "
            "cannot; write the file again with numpy.savez"
        )
    with zipped.open(member) as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise DataError(f"{path}: {key} is not a NumPy array; write the file again with numpy.savez")
        shape, by_column, dtype = _header(path, key, file)
        if dtype.hasobject:
            raise DataError(f"{path}: {key} is an array of Python objects; {_of_objects(key)}")
        values, size = math.prod(shape), member.file_size - file.tell()
        if not dtype.itemsize or dtype.subdtype or min(shape, default=1) < 0 or values * dtype.itemsize != size:
            raise DataError(
                f"{path}: {key} says it has shape {shown(shape)} and dtype {shown(str(dtype))}, but holds "
                f"{size:,} bytes; write the file again with numpy.savez"
            )
        array = np.empty(values, dtype)
        into, at = array.view(np.uint8), 0
        while at < size and (count := file.readinto(into[at : at + CHUNK].data)):  # type: ignore[attr-defined]
            at += count
        if at < size:
            raise DataError(f"{path}: {key} ends {size - at:,} bytes before its end; copy the file again")
        file.read(1)  # past the end: only then the sum of the whole is compared
    if (
        dtype.kind == "U"
        and size
        and array.view(np.dtype(np.uint32).newbyteorder(dtype.byteorder)).max() > sys.maxunicode
    ):
        raise DataError(f"{path}: {key} holds an invalid Unicode character; write the file again with numpy.savez")
    return array.reshape(shape, order="F" if by_column else "C")


def _header(path: Path, key: str, file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether the first axis runs fastest, and dtype, as the header says them."""
    version = file.read(2)
    read = {b"\1\0": npy.read_array_header_1_0, b"\2\0": npy.read_array_header_2_0}.get(version)
    if read is None:
        raise DataError(f"{path}: {key} has NumPy format {'.'.join(map(str, version))}, expected 1.0 or 2.0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is looked at as if Python had written it
            shape, by_column, dtype = read(file)  # type: ignore[no-untyped-call]
            return tuple(map(int, shape)), by_column, dtype
    except Exception as error:  # it evaluates the header as Python, which may raise anything
        raise DataError(
            f"{path}: {key} has a damaged NumPy header ({shown(error)}); write the file again with numpy.savez"
        ) from error


def _of_objects(key: str) -> str:
    if not key.startswith("x"):
        return f"make it one of names or whole numbers, with {key}.astype(str) say"
    return "pad ragged sequences to one length, and say in lengths how long they are"


def _labels(path: Path, arrays: dict[str, np.ndarray], keys: list[str]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Return the names of the classes, and the labels of each y as indices into them."""
    parts = [_label_list(path, key, arrays[key]) for key in keys]
    if len({type(label) for labels in parts for label in labels}) > 1:
        raise DataError(f"{path}: {' and '.join(keys)} must both hold whole numbers, or both names")
    distinct: list[Any] = sorted({label for labels in parts for label in labels})
    if not distinct:
        raise DataError(f"{path}: {keys[0]} holds no label: expected one per sequence")
    if "classes" in arrays and isinstance(distinct[0], int):
        names = _names(path, arrays["classes"], distinct)
        index = {number: number for number in range(len(names))}
    else:
        names = tuple(map(str, distinct))
        index = {label: number for number, label in enumerate(distinct)}
    for name in names:
        if not name or not is_printable(name):
            raise DataError(f"{path}: {quoted(name)} cannot be the name of a class: name it in plain letters")
    trained = set(parts[0])
    untrained = [label for label in distinct if label not in trained]
    if untrained and len(trained) > 1 and "classes" not in arrays:  # which may well name more than there are
        raise DataError(f"{path}: the class {shown(untrained[0])} of {keys[-1]} is not in {keys[0]}, the training part")
    return names, [np.array([index[label] for label in labels], np.int64) for labels in parts]


def _label_list(path: Path, key: str, y: np.ndarray) -> list[Any]:
    if y.ndim != 1:
        raise DataError(f"{path}: {key} must have shape (N,), one label per sequence, got {y.shape}")
    if y.dtype.kind not in "iuU":
        raise DataError(f"{path}: {key} must hold whole numbers or names (int64, str), got {y.dtype}")
    labels: list[Any] = y.tolist()
    return labels


def _names(path: Path, classes: np.ndarray, values: list[int]) -> tuple[str, ...]:
    if classes.ndim != 1 or classes.dtype.kind not in "iuU":
        got = f"{classes.dtype} of shape {classes.shape}"
        raise DataError(f"{path}: classes must be names in one row, got {got}")
    names = tuple(str(name) for name in classes)
    if len(set(names)) != len(names):
        raise DataError(f"{path}: classes must all differ, got {listed(names)}")
    if not 0 <= values[0] <= values[-1] < len(names):
        raise DataError(f"{path}: classes names 0 to {len(names) - 1}, but y holds {values[0]} to {values[-1]}")
    return names


def _part(
    path: Path,
    arrays: dict[str, np.ndarray],
    suffix: str,
    y: np.ndarray,
    preparation: Preparation,
    offset: tuple[float, ...] | None,
) -> SequenceData:
    x, lengths = arrays[f"x{suffix}"], arrays.get(f"lengths{suffix}")
    name = f"{path}: x{suffix}"
    if x.ndim != 3:
        hint = f"; give it a last axis: x[:, :, None] is {(*x.shape, 1)}" if x.ndim == 2 else ""
        raise DataError(f"{name} must have shape (N, time, features), got {x.shape}{hint}")
    if len(x) != len(y):
        raise DataError(f"{name} holds {len(x)} sequences, but y{suffix} {len(y)} labels")
    if 0 in x.shape:
        raise DataError(f"{name} must hold at least 1 sequence of 1 time step of 1 feature, got {x.shape}")
    notes: tuple[str, ...] = ()
    if x.shape[2] >= MANY_FEATURES * x.shape[1]:
        steps, features = x.shape[1:]
        turned = f"if these are {steps} features of {features} time steps, save x.transpose(0, 2, 1)"
        notes = (f"{name} holds {steps} time steps of {features} features: {turned}",)
    if lengths is not None:
        _check_lengths(f"{path}: lengths{suffix}", lengths, x)
    elif (ends := _ends(x)) is not None:
        _check_ends(name, ends)
        x, lengths = x[:, : ends.max()], ends
        shorter = int((ends < x.shape[1]).sum())
        notes += (
            f"{name}: {shorter:,} of {len(x):,} sequences end in NaN, which is read as padding: they are shorter",
        )
    lengths = np.full(len(x), x.shape[1]) if lengths is None else lengths
    steps = x[np.arange(x.shape[1]) < lengths[:, None]]
    return to_data(name, steps, lengths, y, preparation, offset, notes)


def _ends(x: np.ndarray) -> np.ndarray | None:
    """Return the number of steps (N,) before the NaN at the end of each sequence; None where no sequence ends so."""
    if x.dtype.kind != "f" or not np.isnan(x[:, -1]).all(axis=1).any():
        return None
    is_given = ~np.isnan(x).all(axis=2)
    last = x.shape[1] - is_given[:, ::-1].argmax(axis=1)
    return np.where(is_given.any(axis=1), last, 0)


def _check_ends(name: str, ends: np.ndarray) -> None:
    empty = np.flatnonzero(ends == 0)
    if len(empty):
        which = f"{len(empty):,} of {len(ends):,} sequences, the first is sequence {empty[0]}"
        raise DataError(f"{name} holds nothing but NaN in {which}: leave such sequences out")


def _check_lengths(name: str, lengths: np.ndarray, x: np.ndarray) -> None:
    if lengths.shape != x.shape[:1] or lengths.dtype.kind not in "iu":
        raise DataError(f"{name} must be {len(x)} whole numbers, got {lengths.dtype} of shape {lengths.shape}")
    if not lengths.max():
        raise DataError(f"{name} are all 0: expected time steps to read")
    if not 0 <= lengths.min() <= lengths.max() <= x.shape[1]:
        raise DataError(f"{name} must be from 0 to {x.shape[1]}, got {lengths.min()} to {lengths.max()}")
