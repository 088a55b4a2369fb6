"""Values as they are kept: uint8 where they are bytes, else float32, unless that would change them."""

from __future__ import annotations

import numpy as np

from ...errors import DataError

LOSS = 1e-3  # of the deviation: so much may rounding to float32 change a value


def as_stored(name: str, x: np.ndarray, valid_mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return ``x`` as uint8 or float32, in one piece, and which of its values are missing, that is NaN.

    Args:
        name: of the array, for messages.
        x: (N, time, features) of any dtype.
        valid_mask: (N, time, 1) bool, False in the padding; None where there is none.

    Returns:
        ``x`` with 0 in place of what is missing, and (N, time, features) bool, or None if nothing is.

    Raises:
        DataError: an infinite value, or a conversion that would change what a model can see.
    """
    if x.dtype.kind == "b" or x.dtype == np.uint8:
        return np.ascontiguousarray(x, np.uint8), None
    if x.dtype.kind not in "iuf":
        raise DataError(f"{name} must hold real numbers, got {x.dtype}; convert it to uint8 or float32")
    with np.errstate(over="ignore"):  # becomes infinite, and is then reported as such
        stored = np.ascontiguousarray(x, np.float32)
    missing = np.isnan(stored) if valid_mask is None else np.isnan(stored) & valid_mask
    bad = np.isinf(stored) if valid_mask is None else np.isinf(stored) & valid_mask
    if bad.any():
        sequence, step, feature = np.argwhere(bad)[0]
        raise DataError(
            f"{name} holds {_counted(int(bad.sum()))} too large for float32, the first in sequence {sequence} at step "
            f"{step}, feature {feature}; scale it, or write NaN where a value is missing"
        )
    present = ~missing if valid_mask is None else ~missing & valid_mask
    if x.dtype.itemsize > 2 and x.dtype != np.float32 and present.any():
        _check_loss(name, x[present])
    if not missing.any():
        return stored, None
    return np.where(missing, np.float32(0), stored), missing


def _counted(values: int) -> str:
    return "1 value" if values == 1 else f"{values:,} values"


def _check_loss(name: str, seen: np.ndarray) -> None:
    exact = seen.astype(np.float64)
    error, std = float(np.abs(exact - exact.astype(np.float32)).max()), float(exact.std())
    if error > LOSS * std and error:
        raise DataError(
            f"{name} loses too much as float32: {seen.dtype} values from {seen.min():g} to {seen.max():g} move by up "
            f"to {error:.3g}; subtract an offset or scale them"
        )
