"""Unequal lengths and backward reading, for kernels that support neither."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def clear_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Return ``x`` (batch, time, features) with zeros past each length, so that padding has no effect.

    Masking only the results is not enough: in the backward pass, 0 · NaN of a skipped step is NaN.
    """
    return torch.where(valid_mask(x.shape[1], lengths).unsqueeze(2), x, 0)


def valid_mask(time: int, lengths: Tensor) -> Tensor:
    """Return the boolean mask of valid time steps, (batch, time)."""
    return torch.arange(time, device=lengths.device) < lengths.unsqueeze(1)


def reverse_within_lengths(x: Tensor, lengths: Tensor | None) -> Tensor:
    """Return ``x`` (batch, time, features) with each sequence reversed within its length."""
    if lengths is None:
        return x.flip(1)
    time = torch.arange(x.shape[1], device=x.device)
    last = lengths.unsqueeze(1) - 1
    index = torch.where(time <= last, last - time, time)
    return x.gather(1, index.unsqueeze(2).expand_as(x))


def scan_padded(
    scan: Callable[[Tensor], tuple[Tensor, tuple[Tensor, ...]]],
    x: Tensor,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Add lengths and backward reading to a scan that supports neither.

    Steps past a length do not affect earlier ones, so the outputs there are cleared and the state at the length is
    taken. torch's packed sequences are up to 114 times slower (pytorch#149194).

    Args:
        scan: ``x -> (outputs (batch, time, hidden), final state)``.
        x: (batch, time, features).
        state: (h0,) with h0 (batch, hidden), the final state of an empty sequence. Only the output is known at each
            step, so with ``lengths`` the state must have a single part.
        lengths: (batch,) int64, or None where all are full.
        reverse: read each sequence from its last step to its first.
    """
    if lengths is None:
        y, final = scan(reverse_within_lengths(x, None) if reverse else x)
        return reverse_within_lengths(y, None) if reverse else y, final
    (h0,) = state
    x = clear_padding(x, lengths)
    y, _ = scan(reverse_within_lengths(x, lengths) if reverse else x)
    y = clear_padding(y, lengths)
    last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, y.shape[2])
    final = (torch.where((lengths > 0).unsqueeze(1), y.gather(1, last).squeeze(1), h0),)
    return reverse_within_lengths(y, lengths) if reverse else y, final
