"""Answers for whole recordings, from those for their windows."""

from __future__ import annotations

import torch
from torch import Tensor


def pooled(probabilities: Tensor, recordings: Tensor) -> Tensor:
    """Return the mean probabilities of the windows of each recording, (R, classes), in the order of their numbers.

    A mean of probabilities, and not of their logarithms, lets no single window that is sure of itself rule a class out.

    Args:
        probabilities: (N, classes) of any floating dtype, of each window.
        recordings: (N,) int64, number of the recording of each.

    Source: J. Kittler, M. Hatef, R. P. W. Duin and J. Matas, On Combining Classifiers, IEEE TPAMI 20(3), 1998: the sum
    rule, which they find the most robust to errors of the single estimates.
    """
    known, number, counts = recordings.unique(return_inverse=True, return_counts=True)
    sums = probabilities.new_zeros(len(known), probabilities.shape[1]).index_add(0, number, probabilities)
    means: Tensor = sums / counts.unsqueeze(1)
    return means


def classes_of_recordings(y: Tensor, recordings: Tensor) -> Tensor:
    """Return the class of each recording, (R,) int64 in the order of their numbers; -1 where its windows have several.

    Args:
        y: (N,) int64 class of each window.
        recordings: (N,) int64, number of the recording of each.
    """
    known, number = recordings.unique(return_inverse=True)
    none = y.new_zeros(len(known))
    low, high = (none.scatter_reduce(0, number, y, how, include_self=False) for how in ("amin", "amax"))
    return torch.where(low == high, low, -1)
