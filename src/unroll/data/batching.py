"""The order in which a training reads its sequences: shuffled, and those of like length in one batch.

A batch is as long as its longest sequence; the rest is padding, which costs time and teaches nothing. So each stretch
of some shuffled batches is sorted by length, cut into batches again, and the batches are shuffled. Which sequences meet
in a batch still changes from epoch to epoch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

MOST_STEPS = 250_000  # time steps, padding included, of one batch: bounds its memory where one sequence is very long
STRETCH = 16  # batches that are sorted together: with more, those of an epoch would become more alike


def training_order(
    lengths: Tensor | None, sequences: int, batch_size: int, random: np.random.Generator
) -> tuple[Tensor, Sequence[int | None]]:
    """Return the order of an epoch, and how long each of its batches is.

    Args:
        lengths: (N,) int64 time steps, or None where all are full.
        sequences: N.
        batch_size: sequences per batch.
        random: says how they are shuffled.

    Returns:
        (N,) int64 indices on the CPU, of which each ``batch_size`` make a batch, the last one maybe a smaller one; and
        the time steps of each batch. Where all sequences are full, a plain permutation, and None for each batch.
    """
    order = random.permutation(sequences)
    if lengths is None:
        return torch.from_numpy(order), [None] * math.ceil(sequences / batch_size)
    order = _bucketed(order, lengths.cpu().numpy(), batch_size, random)
    return torch.from_numpy(order), longest_of_each(lengths.cpu().numpy()[order], batch_size)


def _bucketed(order: np.ndarray, lengths: np.ndarray, batch_size: int, random: np.random.Generator) -> np.ndarray:
    """Return ``order`` with sequences of like length next to each other, batch by batch."""
    whole, smaller = [], order[:0]
    for at in range(0, len(order), STRETCH * batch_size):
        stretch = order[at : at + STRETCH * batch_size]
        stretch = stretch[np.argsort(lengths[stretch], kind="stable")]
        batches, rest = divmod(len(stretch), batch_size)
        if rest:  # in the last stretch alone; not always the longest make the smaller batch
            start = int(random.integers(batches + 1)) * batch_size
            smaller = stretch[start : start + rest]
            stretch = np.delete(stretch, slice(start, start + rest))
        whole.append(stretch.reshape(batches, batch_size))
    return np.concatenate([random.permutation(np.concatenate(whole)).reshape(-1), smaller])


def longest_of_each(lengths: np.ndarray, batch_size: int) -> list[int]:
    """Return the time steps of each batch: those of its longest sequence, at least 1.

    Args:
        lengths: (N,) time steps, in the order of the batches.
        batch_size: sequences per batch.
    """
    if not len(lengths):
        return []
    longest = np.maximum.reduceat(lengths, np.arange(0, len(lengths), batch_size))
    return [max(1, int(steps)) for steps in longest]


def bounded(lengths: Tensor, batch_size: int) -> list[Tensor]:
    """Return batches of sequences of like length, of at most `MOST_STEPS` unless one alone has more.

    Args:
        lengths: (N,) int64 time steps, on the CPU.
        batch_size: sequences per batch, at most.

    Returns:
        (batch,) int64 indices for each batch; together each sequence once.
    """
    order = lengths.argsort(stable=True)
    ascending = lengths[order].clamp(min=1)
    batches = []
    at = 0
    while at < len(order):
        steps = ascending[at : at + batch_size] * torch.arange(1, min(batch_size, len(order) - at) + 1)
        count = max(1, int((steps <= MOST_STEPS).sum()))
        batches.append(order[at : at + count])
        at += count
    return batches


def padded_share(lengths: np.ndarray, batch_size: int) -> float:
    """Return which fraction of all time steps in the batches is padding.

    Args:
        lengths: (N,) time steps, in the order of the batches.
        batch_size: sequences per batch.
    """
    sizes = np.diff(np.r_[0 : len(lengths) : batch_size, len(lengths)])
    steps = int(np.dot(sizes, longest_of_each(lengths, batch_size)))
    return 1 - int(lengths.sum()) / steps
