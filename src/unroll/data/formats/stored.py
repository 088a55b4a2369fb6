"""Values as they are kept: uint8 where they are bytes, else float32, less an offset where that would change them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ...errors import DataError
from ..preparation import Preparation
from ..sequences import SequenceData

LOSS = 1e-3  # of a feature's deviation: so much may rounding to float32 change a value
SMALLEST = 1e-35  # deviation that float32 can tell from none
SPARSE = 64  # one step in this many is looked at first
ROUNDING = 2.0**-24  # of a value: so much does rounding to float32 change it at most


def to_data(
    name: str,
    x: np.ndarray,
    lengths: np.ndarray,
    y: np.ndarray,
    preparation: Preparation,
    offset: tuple[float, ...] | None = None,
    notes: tuple[str, ...] = (),
    times: np.ndarray | None = None,
) -> SequenceData:
    """Return sequences as data: side by side if all are of one length, with the offset that `as_stored` took away.

    Args:
        name: of the array, for messages.
        x: (steps, features) of any dtype, one sequence behind the other, NaN where a value is missing.
        lengths: (N,) whole numbers, as many steps in all.
        y: (N,) int64.
        preparation: of the data, without an offset.
        offset: as for `as_stored`.
        notes: what one should know of how it was read.
        times: (steps,) float64, ascending from 0 in each sequence (default: it has none).

    Raises:
        DataError: an infinite value.
    """
    stored, missing, offset = as_stored(name, x, lengths, offset)
    steps = torch.from_numpy(lengths.astype(np.int64))
    data = SequenceData(
        torch.from_numpy(stored),
        torch.from_numpy(y),
        replace(preparation, offset=offset),
        steps,
        notes,
        missing=None if missing is None else torch.from_numpy(missing),
        starts=steps.cumsum(0) - steps,
        times=None if times is None else torch.from_numpy(times),
    )
    return data.unpadded()


def as_stored(
    name: str, x: np.ndarray, lengths: np.ndarray, offset: tuple[float, ...] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[float, ...]]:
    """Return ``x`` as uint8 or float32, in one piece, which of its values are missing, that is NaN, and its offset.

    Args:
        name: of the array, for messages.
        x: (steps, features) of any dtype, one sequence behind the other.
        lengths: (N,) whole numbers, for messages.
        offset: of each feature, taken away before the conversion; empty for nothing (default: the mean of each feature
            that float32 would lose too much of).

    Returns:
        ``x`` with 0 in place of what is missing; (steps, features) bool, or None if nothing is; and the offset.

    Raises:
        DataError: an infinite value.
    """
    if x.dtype.kind == "b" or x.dtype == np.uint8:
        return np.ascontiguousarray(x, np.uint8), None, ()
    if x.dtype.kind not in "iuf":
        raise DataError(f"{name} must hold real numbers, got {x.dtype}; convert it to uint8 or float32")
    if offset is None:
        is_exact = x.dtype.itemsize <= 2 or x.dtype == np.float32
        offset = () if is_exact else _needed_offset(name, x)
    with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite, and is then reported as such
        moved = x - np.array(offset) if len(offset) == x.shape[1] else x  # other features are refused later
        stored = np.ascontiguousarray(moved, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        is_finite = bool(np.isfinite(stored.sum(dtype=np.float64)))  # far cheaper than to ask each
    if is_finite:
        return stored, None, offset
    bad = np.isinf(stored)
    if bad.any():
        at, feature = np.argwhere(bad)[0]
        ends = lengths.cumsum()
        sequence = int(np.searchsorted(ends, at, "right"))
        step = at - (ends - lengths)[sequence]
        raise DataError(
            f"{name} holds {_counted(int(bad.sum()))} too large for float32, the first in sequence {sequence} at step "
            f"{step}, feature {feature}; scale it, or write NaN where a value is missing"
        )
    missing = np.isnan(stored)
    stored[missing] = 0
    return stored, missing, offset


def _counted(values: int) -> str:
    return "1 value" if values == 1 else f"{values:,} values"


def _needed_offset(name: str, x: np.ndarray) -> tuple[float, ...]:
    """Return the mean of each feature that float32 would lose too much of, 0 for the others; nothing if for all.

    Raises:
        DataError: values of a feature are too small for float32.
    """
    if _is_precise(x):
        return ()
    offset = [0.0] * x.shape[1]
    for feature in range(x.shape[1]):
        seen = np.ascontiguousarray(x[:, feature], np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            is_finite = bool(np.isfinite(seen.sum()))  # far cheaper than to ask each
        if not is_finite:
            seen = seen[np.isfinite(seen)]
        with np.errstate(over="ignore"):  # such values are refused later
            std = seen.std() if len(seen) else 0.0
        if 0 < std < SMALLEST:
            raise DataError(
                f"{name} loses too much as float32: {x.dtype} values from {seen.min():g} to {seen.max():g}; scale them"
            )
        if std > 0 and ROUNDING * np.abs(seen).max() > LOSS * std and _loss(seen) > LOSS * std:
            offset[feature] = float(seen.mean())
    return tuple(offset) if any(offset) else ()


def _is_precise(x: np.ndarray) -> bool:
    """Tell by a few steps that float32 loses little of any feature; False where all steps must be looked at."""
    if not x.size:
        return False
    some = x[::SPARSE]
    with np.errstate(over="ignore", invalid="ignore"):
        least = some.std(axis=0).min() * (len(some) / len(x)) ** 0.5  # of all steps the deviation is at least this
        largest = max(float(x.max()), -float(x.min()))
        return bool(least > SMALLEST and ROUNDING * largest <= LOSS * least)


def _loss(seen: np.ndarray) -> float:
    with np.errstate(over="ignore"):
        return float(np.abs(seen - seen.astype(np.float32)).max())
