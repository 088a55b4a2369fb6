"""The reference scans, as plain loops: any dtype, any device, any derivative. All tests compare with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from .padding import clear_padding

State = TypeVar("State", Tensor, tuple[Tensor, ...])


def loop(
    step: Callable[[Tensor, State], State], x: Tensor, state: State, lengths: Tensor | None, reverse: bool = False
) -> tuple[Tensor, State]:
    """Apply ``step`` over time, each sequence up to its length.

    Args:
        step: ``(x_t, state) -> state`` with x_t (batch, features).
        x: (batch, time, features).
        state: (batch, …), or a tuple of such with the output first.
        lengths: (batch,) int64, or None where all are full.
        reverse: from each sequence's last step to its first (default False).

    Returns:
        outputs (batch, time, hidden), zero past each length; the state after the last step.
    """
    if lengths is not None:
        x = clear_padding(x, lengths)
    outputs: dict[int, Tensor] = {}
    steps = range(x.shape[1])
    inputs = x.unbind(1)  # not x[:, t], whose gradient would be as large as x at each step
    for t in reversed(steps) if reverse else steps:
        new = step(inputs[t], state)
        output = new if isinstance(new, Tensor) else new[0]
        if lengths is None:
            state = new
        else:
            valid_mask = t < lengths
            output = _where(valid_mask, output, torch.zeros_like(output))
            if isinstance(new, Tensor):
                state = _where(valid_mask, new, state)
            else:
                state = tuple(_where(valid_mask, n, s) for n, s in zip(new, state, strict=True))
        outputs[t] = output
    if not outputs:
        first = state if isinstance(state, Tensor) else state[0]
        return first.new_zeros(first.shape[0], 0, first.shape[1]), state
    return torch.stack([outputs[t] for t in steps], dim=1), state


def _where(valid_mask: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Take ``new`` (batch, …) where ``valid_mask`` (batch,), else ``old``."""
    return torch.where(valid_mask.view(-1, *[1] * (new.dim() - 1)), new, old)


def linear_scan(a: Tensor, b: Tensor, h0: Tensor, lengths: Tensor | None, reverse: bool) -> tuple[Tensor, Tensor]:
    """h_t = a_t h_{t-1} + b_t; see `unroll.scan.linear_scan`."""

    def step(both: Tensor, h: Tensor) -> Tensor:
        a_t, b_t = both.chunk(2, dim=1)
        return a_t * h + b_t

    return loop(step, torch.cat([a, b], dim=2), h0, lengths, reverse)
