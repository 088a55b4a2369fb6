"""Sequences of unequal length for kernels that only know full ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def clear_padding(x: Tensor, lengths: Tensor) -> Tensor:
    """Return ``x`` (batch, time, features) with zeros past each length, so that whatever stood there has no effect.

    Masking the results alone is not enough: in the backward pass 0 · NaN of a skipped step is NaN.
    """
    alive = torch.arange(x.shape[1], device=x.device) < lengths.unsqueeze(1)
    return torch.where(alive.unsqueeze(2), x, 0)


def scan_padded(
    scan: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, h0: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Run a scan that takes all sequences as full, and mend its results.

    What runs past a length does no harm forwards in time; then the outputs there are cleared and the state at the
    length is picked. torch's packed sequences are up to 114 times slower (pytorch#149194).

    Args:
        scan: ``x -> (outputs (batch, time, hidden), final state (batch, hidden))``.
        x: (batch, time, features).
        h0: (batch, hidden), the final state of an empty sequence.
        lengths: (batch,) int64, or None where all are full.
    """
    if lengths is None:
        return scan(x)
    y, _ = scan(clear_padding(x, lengths))
    y = clear_padding(y, lengths)
    last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, y.shape[2])
    return y, torch.where((lengths > 0).unsqueeze(1), y.gather(1, last).squeeze(1), h0)
