"""Sequences in a NumPy file: ``numpy.savez("gestures.npz", x=x, y=y)``, padded, with ``lengths`` where they differ."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from ..config import DataConfig
from ..errors import DataError
from .preparation import Preparation, Scaling
from .sequences import SequenceData, Splits

EXACT = 2**24  # float32 holds every whole number up to here


def read(name: str, data_dir: Path | None, config: DataConfig) -> Splits:
    """Read an .npz file with ``x`` (N, time, features) and ``y`` (N,), and ``lengths`` (N,) if sequences differ.

    ``x`` is kept as uint8, or becomes float32; ``y`` holds whole numbers or names; optional ``classes`` names the
    numbers 0, 1, 2, …. A test part is drawn, unless the file says ``x_train``, ``y_train``, ``x_test``, ``y_test`` (and
    ``lengths_train``, ``lengths_test``).

    Args:
        name: path of the file.
        data_dir: not used.
        config: how the test part is drawn.

    Raises:
        DataError: the file or an array in it will not do; says which.
        ConfigError: ``config`` asks for what is only for images, or for a test part where there is one.
    """
    path = Path(name)
    config.check_unused(name, "it holds no images", "read", "resize")
    arrays = _arrays(path)
    has_parts = "x_train" in arrays or "x_test" in arrays
    suffixes = ("_train", "_test") if has_parts else ("",)
    wanted = [f"{key}{suffix}" for suffix in suffixes for key in ("x", "y")]
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise DataError(
            f"{path} has no {', '.join(missing)}: expected the arrays x and y, got {', '.join(arrays) or 'none'}"
        )
    classes, labels = _labels(path, arrays, [f"y{suffix}" for suffix in suffixes])
    preparation = Preparation(classes, Scaling(0.0, 1.0))
    data = [_part(path, arrays, suffix, y, preparation) for suffix, y in zip(suffixes, labels, strict=True)]
    if not has_parts:
        return Splits.draw(data[0], path.stem, str(path), config)
    config.check_unused(name, "it has a test part of its own", "test_fraction", "split_seed")
    train, test = data
    if train.input_size != test.input_size or train.x.dtype != test.x.dtype:
        raise DataError(f"{path}: x_train and x_test must have the same features and dtype, got {train} and {test}")
    return Splits(train, test, path.stem, str(path)).scaled("standard")


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as opened:
            if opened.read(2) != b"PK":  # every zip file's first bytes
                raise DataError(f"{path} is no .npz file: save one with numpy.savez(…, x=x, y=y)")
            opened.seek(0)
            file = np.load(opened, allow_pickle=False)
            return {key: file[key] for key in file.files}
    except DataError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        if "allow_pickle" in str(error):
            raise DataError(
                f"{path} holds an array of Python objects, ragged perhaps: expected numbers; "
                "pad all sequences to one length and say in lengths how long they are"
            ) from error
        raise DataError(f"{path} is not a readable .npz file ({error}); write it anew with numpy.savez") from error


def _labels(path: Path, arrays: dict[str, np.ndarray], keys: list[str]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Return the names of the classes, and each y as indices into them."""
    for key in keys:
        y = arrays[key]
        if y.ndim != 1:
            raise DataError(f"{path}: {key} must have shape (N,), one label per sequence, got {y.shape}")
        if y.dtype.kind not in "iuU":
            raise DataError(f"{path}: {key} must hold whole numbers or names, got {y.dtype}")
    values = np.unique(np.concatenate([arrays[key] for key in keys]))
    if len(values) < 2:
        what = f"one class only, {values[0]}" if len(values) else "no label"
        raise DataError(f"{path}: {keys[0]} holds {what}: expected 2 classes or more")
    if "classes" in arrays and values.dtype.kind != "U":
        names = tuple(str(name) for name in arrays["classes"])
        if len(set(names)) != len(names):
            raise DataError(f"{path}: classes must all differ, got {', '.join(names)}")
        if not 0 <= values[0] <= values[-1] < len(names):
            raise DataError(f"{path}: classes names 0 to {len(names) - 1}, but y holds {values[0]} to {values[-1]}")
        return names, [arrays[key].astype(np.int64) for key in keys]
    return tuple(str(value) for value in values), [np.searchsorted(values, arrays[key]) for key in keys]


def _part(
    path: Path, arrays: dict[str, np.ndarray], suffix: str, y: np.ndarray, preparation: Preparation
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
    if lengths is not None:
        _check_lengths(f"{path}: lengths{suffix}", lengths, x)
    x = _numbers(name, x)
    _check_finite(name, x, lengths)
    full = lengths is None or bool((lengths == x.shape[1]).all())
    return SequenceData(
        torch.from_numpy(x),
        torch.from_numpy(y.astype(np.int64)),
        preparation,
        None if full or lengths is None else torch.from_numpy(lengths.astype(np.int64)),
    )


def _check_lengths(name: str, lengths: np.ndarray, x: np.ndarray) -> None:
    if lengths.shape != x.shape[:1] or lengths.dtype.kind not in "iu":
        raise DataError(f"{name} must be {len(x)} whole numbers, got {lengths.dtype} of shape {lengths.shape}")
    if not lengths.max():
        raise DataError(f"{name} are all 0: expected time steps to read")
    if not 0 <= lengths.min() <= lengths.max() <= x.shape[1]:
        raise DataError(f"{name} must be from 0 to {x.shape[1]}, got {lengths.min()} to {lengths.max()}")


def _numbers(name: str, x: np.ndarray) -> np.ndarray:
    """Return ``x`` as uint8 or float32, as long as nothing is lost that a model could see."""
    if x.dtype.kind == "b":
        return x.astype(np.uint8)
    if x.dtype.kind not in "iuf":
        raise DataError(f"{name} must hold real numbers, got {x.dtype}; convert it to uint8 or float32")
    if x.dtype.kind in "iu" and x.dtype != np.uint8 and max(-int(x.min()), int(x.max())) > EXACT:
        raise DataError(f"{name} must fit into float32 without loss, got {x.dtype} up to {x.max()}; scale it")
    with np.errstate(over="ignore"):  # becomes infinite, and is then reported as such
        return np.ascontiguousarray(x if x.dtype == np.uint8 else x.astype(np.float32))


def _check_finite(name: str, x: np.ndarray, lengths: np.ndarray | None) -> None:
    bad = ~np.isfinite(x)
    if lengths is not None:  # what stands in the padding has no effect
        bad &= (np.arange(x.shape[1]) < lengths[:, None])[:, :, None]
    if bad.any():
        sequence, step, feature = np.argwhere(bad)[0]
        raise DataError(
            f"{name} holds {bad.sum():,} values that are not finite numbers, the first in sequence {sequence} at step "
            f"{step}, feature {feature}; fill them in, or remove these sequences"
        )
