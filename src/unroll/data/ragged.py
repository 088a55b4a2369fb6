"""Sequences of different lengths, one behind the other in one tensor: a long one does not make the others longer."""

from __future__ import annotations

import torch
from torch import Tensor


def places(starts: Tensor, lengths: Tensor) -> Tensor:
    """Return where the time steps of some sequences stand, (steps of all,) int64, one sequence behind the other.

    Args:
        starts: (N,) int64, where each begins.
        lengths: (N,) int64.
    """
    before = lengths.cumsum(0) - lengths
    return (starts - before).repeat_interleave(lengths) + torch.arange(int(lengths.sum()), device=lengths.device)


def owners(lengths: Tensor) -> Tensor:
    """Return the number of the sequence that each time step belongs to, (steps of all,) int64, for (N,) lengths."""
    return torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)


def padded(x: Tensor, starts: Tensor, lengths: Tensor, time: int) -> Tensor:
    """Return some sequences side by side, (N, time, …), with zeros behind the last step of each.

    Args:
        x: (steps, …), what stands one sequence behind the other.
        starts: (N,) int64, where in ``x`` each begins.
        lengths: (N,) int64.
        time: steps of each, no fewer than the longest has.
    """
    if not len(x):
        return x.new_zeros(len(starts), time, *x.shape[1:])
    steps = torch.arange(time, device=x.device)
    at = (starts.unsqueeze(1) + steps).clamp_(max=len(x) - 1)
    is_padding = (steps >= lengths.unsqueeze(1)).view(*at.shape, *[1] * (x.dim() - 1))
    return x.index_select(0, at.flatten()).view(*at.shape, *x.shape[1:]).masked_fill_(is_padding, 0)
