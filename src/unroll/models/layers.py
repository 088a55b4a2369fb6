"""Recurrent layers: a cell for each direction, over the same sequences."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..cells import Cell, State
from ..errors import InputError

Cells = list[list[Cell]]  # of each layer, one for each direction
States = tuple[tuple[State, ...], ...]  # alike


class Stage(NamedTuple):
    """An intermediate tensor of a model.

    Attributes:
        name: the part that made it
        axes: names of its axes
        values: the tensor
    """

    name: str
    axes: tuple[str, ...]
    values: Tensor


def check_features(x: Tensor, input_size: int, dtype: torch.dtype) -> None:
    """Raise `InputError` unless ``x`` is (batch, time, input_size) of the parameters' ``dtype``, or under autocast."""
    if not isinstance(x, Tensor):
        raise InputError(f"x must be a tensor (batch, time, {input_size}), got {type(x).__name__}")
    if x.dim() != 3 or x.shape[2] != input_size:
        raise InputError(f"x must have shape (batch, time, {input_size}), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise InputError(f"x must be floating point and scaled as in training, got {x.dtype}")
    if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
        raise InputError(f"x must have the parameters' dtype {dtype}, got {x.dtype}")


def initial_states(cells: Cells, x: Tensor) -> States:
    """Return the initial states for the batch ``x``, of its dtype and on its device."""
    batch, dtype, device = x.shape[0], x.dtype, x.device
    return tuple([tuple([cell.initial_state(batch, dtype=dtype, device=device) for cell in layer]) for layer in cells])


def detached(states: States) -> States:
    """Return the states as constants: no gradient passes back through them."""

    def detach(state: State) -> State:
        return state.detach() if isinstance(state, Tensor) else tuple(part.detach() for part in state)

    return tuple(tuple(map(detach, layer)) for layer in states)


def scan_layer(
    layer: list[Cell], x: Tensor, states: tuple[State, ...], lengths: Tensor | None, last_only: bool
) -> tuple[Tensor, Tensor, tuple[State, ...]]:
    """Apply a layer over time.

    Args:
        layer: its cells; the second reads backwards.
        x: (batch, time, features).
        states: of the cells before ``x``.
        lengths: (batch,) int64, or None where all sequences are full.
        last_only: the outputs are not needed and may have 0 time steps.

    Returns:
        outputs (batch, time, directions·hidden), zero past each length; the final hidden states
        (batch, directions·hidden); the cells' final states.
    """
    outputs, finals = [], []
    for direction, (cell, state) in enumerate(zip(layer, states, strict=True)):
        output, final = cell.scan(x, state, lengths, reverse=direction == 1, last_only=last_only)
        outputs.append(output)
        finals.append(final)
    ends = [final if isinstance(final, Tensor) else final[0] for final in finals]
    if len(layer) == 1:
        return outputs[0], ends[0], tuple(finals)
    return torch.cat(outputs, dim=2), torch.cat(ends, dim=1), tuple(finals)
