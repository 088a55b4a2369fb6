"""Which time steps of a series a model reads, where a recording has too many or irregular ones.

First values are interpolated at regular times, then some neighbours become their mean, then the rest is cut off.
What is missing stays missing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..config import DataConfig
from ..errors import DataError
from ..formatting import quoted
from ..validation import is_number

MANY = 100  # times as many time steps as before: their times are in other units than the grid
NEAR = 1e-3  # of the time between two steps: so close, a time is taken for another, as decimals are rounded


class Steps(NamedTuple):
    """Values of series, one behind the other.

    Attributes:
        x: (steps, features), 0 where a value is missing
        missing: (steps, features) bool, or None where nothing is missing
        lengths: (N,) int64, steps of each series
        classes: (steps,) int64, the class of each step, -1 where several became one; None where it is that of the
            series
    """

    x: np.ndarray
    missing: np.ndarray | None
    lengths: np.ndarray
    classes: np.ndarray | None = None

    @property
    def starts(self) -> np.ndarray:
        """(N,) int64, which step each series begins with."""
        starts: np.ndarray = self.lengths.cumsum() - self.lengths
        return starts


@dataclass(frozen=True)
class TimeSteps:
    """Which time steps are read of a series, or which tokens of a text.

    Attributes:
        time_step: time between two steps, at which values are interpolated from the first time of each series on, in
            seconds or in units of its times; None leaves them at their own times
        every: neighbouring time steps whose mean is read as one; the last of a series may be fewer
        max_length: first time steps, or tokens, that are read; None for all
        window: time steps of the windows that each series is cut into; None leaves it whole
        stride: time steps from the beginning of a window to that of the next; None where there are no windows
    """

    time_step: float | None = None
    every: int = 1
    max_length: int | None = None
    window: int | None = None
    stride: int | None = None

    @classmethod
    def of(cls, config: DataConfig) -> TimeSteps | None:
        """Return what settings ask for; None where that is nothing."""
        window, stride = config.window, config.stride
        if window is not None and stride is None:
            stride = max(1, window // 2)
        rule = cls(config.time_step, config.every, config.max_length, window, stride)
        return None if rule == cls() else rule

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> TimeSteps:
        """Rebuild from what `dataclasses.asdict` gave, as JSON has it.

        Raises:
            DataError: a value is not what the documentation says.
        """
        made = cls(**saved)
        for name in ("every", "max_length", "window", "stride"):
            value = getattr(made, name)
            is_none = value is None and name != "every"
            if not is_none and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise DataError(f"{name} must be a whole number of at least 1, got {quoted(value)}")
        if made.time_step is not None and not (is_number(made.time_step, 0) and made.time_step > 0):
            raise DataError(f"time_step must be a number above 0, got {quoted(made.time_step)}")
        if (made.window is None) != (made.stride is None):
            raise DataError(f"window and stride come together, got {quoted(made.window)} and {quoted(made.stride)}")
        return made

    def __str__(self) -> str:
        """Say in words what is read."""
        facts = [f"values interpolated at a time step of {self.time_step:g}"] if self.time_step is not None else []
        facts += [f"the mean of each {self.every} time steps"] if self.every > 1 else []
        facts += [f"at most {self.max_length:,} steps"] if self.max_length is not None else []
        facts += [f"windows of {self.window:,} steps, one every {self.stride:,}"] if self.window is not None else []
        return ", ".join(facts)

    @property
    def longest(self) -> int | None:
        """Time steps, or tokens, of the longest sequence that a model reads; None where there is no maximum."""
        return min((most for most in (self.max_length, self.window) if most is not None), default=None)

    def apply(self, steps: Steps, times: np.ndarray | None) -> tuple[Steps, int]:
        """Return the time steps that are read, still of whole series, and how many of these were cut off.

        Args:
            steps: raw; of another dtype than float32 unless only ``max_length`` applies, it becomes that.
            times: (steps,) float64, ascending, 0 at the beginning of each series; needed for ``time_step``.

        Raises:
            DataError: times do not fit ``time_step``: there would be far more steps than before.
        """
        if self.time_step is not None:
            assert times is not None
            steps = resampled(steps, times, self.time_step)
        if self.every > 1:
            steps = averaged(steps, self.every)
        if self.max_length is None or not len(steps.lengths):
            return steps, 0
        return shortened(steps, self.max_length), int((steps.lengths > self.max_length).sum())


def resampled(steps: Steps, times: np.ndarray, time_step: float) -> Steps:
    """Return values at regular times, on the line between the two neighbours; missing where one of them is.

    Of several values at one time the last counts.
    """
    counts = grid_sizes(times, steps.lengths, time_step)
    if counts.sum() > MANY * max(1, len(times)):
        longest = int(counts.argmax())
        raise DataError(
            f"a time step of {time_step:g} makes {counts.sum():,.0f} time steps of {len(times):,}, as series {longest} "
            f"lasts {times[(steps.starts + steps.lengths)[longest] - 1]:g}: is a time wrong, or in another unit? "
            "--resample 20 is a time step in the units of the times"
        )
    lengths = counts.astype(np.int64)
    x = np.empty((int(lengths.sum()), steps.x.shape[1]), np.float32)
    missing = None if steps.missing is None else np.empty(x.shape, bool)
    made = Steps(x, missing, lengths, None if steps.classes is None else np.empty(len(x), np.int64))
    for start, length, first, count in zip(steps.starts, steps.lengths, made.starts, lengths, strict=True):
        own, new = slice(start, start + length), slice(first, first + count)
        left, right, weight = _neighbours(times[own], np.arange(count) * time_step)
        values = steps.x[own]
        if made.classes is not None and steps.classes is not None:
            made.classes[new] = steps.classes[own][left]
        if missing is None or steps.missing is None:
            x[new] = values[left] * (1 - weight) + values[right] * weight
            continue
        gaps = steps.missing[own]
        missing[new] = (gaps[left] & (weight < 1 - NEAR)) | (gaps[right] & (weight > NEAR))
        weight = np.where(gaps[left], 1, np.where(gaps[right], 0, weight))
        x[new] = np.where(missing[new], 0, values[left] * (1 - weight) + values[right] * weight)
    return made


def grid_sizes(times: np.ndarray, lengths: np.ndarray, time_step: float) -> np.ndarray:
    """Return how many steps of a grid each series has, (N,) float64; arguments as for `TimeSteps.apply`."""
    ends, has_some = lengths.cumsum(), lengths > 0
    counts = np.zeros(len(lengths))
    counts[has_some] = np.floor(times[ends[has_some] - 1] / time_step + NEAR) + 1
    return counts


def _neighbours(times: np.ndarray, grid: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the steps before and behind each time of a grid, and the weight of the latter, (count, 1)."""
    left = np.maximum(np.searchsorted(times, grid, "right") - 1, 0)
    right = np.minimum(left + 1, len(times) - 1)
    between = times[right] - times[left]
    weight = np.divide(grid - times[left], between, out=np.zeros(len(grid)), where=between > 0)
    return left, right, weight[:, None]


def averaged(steps: Steps, every: int) -> Steps:
    """Return the mean of each ``every`` time steps, over the values that are there; missing where there is none."""
    lengths = -(-steps.lengths // every)
    starts = lengths.cumsum() - lengths
    firsts = np.repeat(steps.starts, lengths) + every * (np.arange(int(lengths.sum())) - np.repeat(starts, lengths))
    if not len(firsts):
        return Steps(steps.x.astype(np.float32), steps.missing, lengths, steps.classes)
    classes = None
    if steps.classes is not None:
        least, most = (reduce.reduceat(steps.classes, firsts) for reduce in (np.minimum, np.maximum))
        classes = np.where(least == most, least, -1)
    sizes = np.diff(firsts, append=len(steps.x))[:, None]
    if steps.missing is None:
        means = np.add.reduceat(steps.x, firsts, axis=0, dtype=np.float64) / sizes
        return Steps(means.astype(np.float32), None, lengths, classes)
    known = np.where(steps.missing, 0, steps.x)
    counts = sizes - np.add.reduceat(steps.missing, firsts, axis=0, dtype=np.int64)
    means = np.add.reduceat(known, firsts, axis=0, dtype=np.float64) / np.maximum(counts, 1)
    return Steps(means.astype(np.float32), counts == 0, lengths, classes)


def shortened(steps: Steps, most: int) -> Steps:
    """Return the first time steps of each series, at most ``most``."""
    number = np.arange(len(steps.x)) - np.repeat(steps.starts, steps.lengths)
    is_read = number < most
    missing = None if steps.missing is None else steps.missing[is_read]
    classes = None if steps.classes is None else steps.classes[is_read]
    return Steps(steps.x[is_read], missing, np.minimum(steps.lengths, most), classes)
