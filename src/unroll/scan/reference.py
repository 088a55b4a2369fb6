"""Scans as plain loops that nobody can misread: any dtype, any device, any derivative. The oracle of all tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from .padding import clear_padding

State = TypeVar("State", Tensor, tuple[Tensor, ...])

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}


def loop(
    step: Callable[[Tensor, State], State], x: Tensor, state: State, lengths: Tensor | None
) -> tuple[Tensor, State]:
    """Apply ``step`` over time, each sequence up to its length.

    Args:
        step: ``(x_t, state) -> state`` with x_t (batch, features).
        x: (batch, time, features).
        state: (batch, …), or a tuple of such with the output first.
        lengths: (batch,) int64, or None where all are full.

    Returns:
        outputs (batch, time, hidden), zero past each length; the state at each length.
    """
    if lengths is not None:
        x = clear_padding(x, lengths)
    outputs = []
    for t in range(x.shape[1]):
        new = step(x[:, t], state)
        output = new if isinstance(new, Tensor) else new[0]
        if lengths is None:
            state = new
        else:
            alive = t < lengths
            output = _where(alive, output, torch.zeros_like(output))
            if isinstance(new, Tensor):
                state = _where(alive, new, state)
            else:
                state = tuple(_where(alive, n, s) for n, s in zip(new, state, strict=True))
        outputs.append(output)
    if not outputs:
        first = state if isinstance(state, Tensor) else state[0]
        return first.new_zeros(first.shape[0], 0, first.shape[1]), state
    return torch.stack(outputs, dim=1), state


def _where(alive: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Take ``new`` (batch, …) where ``alive`` (batch,), else ``old``."""
    return torch.where(alive.view(-1, *[1] * (new.dim() - 1)), new, old)


def rnn_scan(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
) -> tuple[Tensor, Tensor]:
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh); see `unroll.scan.rnn_scan`."""
    activation = ACTIVATIONS[nonlinearity]

    def step(x_t: Tensor, h: Tensor) -> Tensor:
        return activation(torch.nn.functional.linear(x_t, w_ih, b_ih) + torch.nn.functional.linear(h, w_hh, b_hh))

    return loop(step, x, h0, lengths)
