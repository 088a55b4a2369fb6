"""The table of readers: what `load` can load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import get_args

from ..config import Read, ScalingName, check_choice
from ..errors import DataError, did_you_mean
from . import mnist
from .sequences import Splits

Reader = Callable[[str, Path | None, Read], Splits]

READERS: dict[str, Reader] = {
    "mnist-sample": mnist.read_sample,
    "mnist": mnist.read,
    "fashion-mnist": mnist.read,
    "kmnist": mnist.read,
}


def load(
    name: str = "mnist-sample",
    read: Read = "rows",
    data_dir: str | Path | None = None,
    scaling: ScalingName = "standard",
) -> Splits:
    """Load a data set by name.

    Args:
        name: a key of `READERS` (default "mnist-sample": 5,000 real digits, always there).
        read: how the pixels of an image become time steps, with (time, features) for 28×28 pixels: "rows" (28, 28),
            "columns" (28, 28), "pixels" (784, 1) or "permuted" (784, 1) in one fixed random order (default "rows").
        data_dir: folder to look in first (default: ``$UNROLL_DATA/<name>``, the cache folder, a download).
        scaling: what `SequenceData.batches` applies on the fly: "standard" or "unit" (default "standard").

    Returns:
        Training and test part; ``x`` is (N, time, features) uint8, unscaled.

    Raises:
        DataError: the name is unknown, or the files are missing or broken.
        ConfigError: ``read`` or ``scaling`` is unknown.
    """
    if name not in READERS:
        raise DataError(f"data must be one of {', '.join(READERS)}, got {name!r}{did_you_mean(name, READERS)}")
    check_choice("read", read, get_args(Read))
    folder = None if data_dir is None else Path(data_dir).expanduser()
    if folder is not None and not folder.is_dir():
        raise DataError(f"data_dir must be a folder, got {folder}")
    splits = READERS[name](name, folder, read)
    return splits if scaling == "standard" else splits.scaled(scaling)
