"""Sequences in chunks of time steps, between which no gradient passes: truncated backpropagation through time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor


class Chunk(NamedTuple):
    """Time steps that are read with gradients among themselves alone.

    Attributes:
        start: its first step
        stop: the step after its last
        lengths: (batch,) int64 steps of it that belong to each sequence; None where all do
        is_read_out: whether the readout takes up anything of it that later chunks do not replace
    """

    start: int
    stop: int
    lengths: Tensor | None
    is_read_out: bool


def chunks(time: int, lengths: Tensor | None, steps: int, last: bool) -> Iterator[Chunk]:
    """Cut ``time`` steps; the first chunk is the short one, so that a full sequence's last gradients go back ``steps``.

    Args:
        time: steps of the batch.
        lengths: (batch,) int64 of each sequence, or None where all are full.
        steps: of a chunk.
        last: whether only each sequence's last hidden state is read out.
    """
    start = 0
    for stop in range(time % steps or min(steps, time), time + 1, steps):
        inside = None if lengths is None else (lengths - start).clamp(0, stop - start)
        yield Chunk(start, stop, inside, not last or stop == time or _ends_inside(lengths, start, stop))
        start = stop


def _ends_inside(lengths: Tensor | None, start: int, stop: int) -> bool:
    if lengths is None:
        return False
    return bool(((lengths <= stop) & (lengths > (start or -1))).any())  # the empty end before the first step
