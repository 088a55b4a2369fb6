"""Windows of long recordings: where each begins, and which class it is of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Windows(NamedTuple):
    """Windows of some recordings, in their order.

    Attributes:
        recordings: (M,) int64, number of the recording of each
        starts: (M,) int64, the time step of the recording that it begins with
        lengths: (M,) int64 time steps
    """

    recordings: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray


def cut(lengths: np.ndarray, window: int, stride: int) -> Windows:
    """Cut recordings into windows: one every ``stride`` time steps, and a last one that ends with the recording.

    A recording that is no longer than a window is one window.

    Args:
        lengths: (N,) int64, time steps of each recording.
        window: time steps of a window, at least 1.
        stride: time steps from the beginning of a window to that of the next, from 1 to ``window``.
    """
    last = np.maximum(lengths - window, 0)  # where the last window begins
    counts = 1 + -(-last // stride)
    recordings = np.arange(len(lengths)).repeat(counts)
    number = np.arange(len(recordings)) - (counts.cumsum() - counts).repeat(counts)
    starts = np.minimum(number * stride, last[recordings])
    return Windows(recordings, starts, np.minimum(lengths, window)[recordings])


def classes_of(steps: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return the class that all time steps of a window are of, (M,) int64; -1 where they are of several or of none.

    Args:
        steps: (steps,) int64, class of each time step; -1 of none.
        starts: (M,) int64, the time step that each window begins with.
        lengths: (M,) int64, at least 1.
    """
    changes = np.concatenate([[0], (steps[1:] != steps[:-1]).cumsum()])
    first = steps[starts]
    result: np.ndarray = np.where(changes[starts] == changes[starts + lengths - 1], first, -1)
    return result
