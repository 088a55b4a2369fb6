"""Scans of cells of one's own: what goes in, the loop in float64, results and all gradients by name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from own_cells import EIGHT, TWINS
from recurrences import Tensors, some_lengths
from unroll import Cell
from unroll.scan import reference
from unusual_cells import EVEN, LEAST, SQUARE, UNDERSTOOD

# All cells that must compile, by name.
COMPILED: dict[str, type[Cell]] = {**EIGHT, **{cell.__name__: cell for cell in TWINS}, **UNDERSTOOD}


def make(kind: type[Cell], inputs: int = 3, hidden: int = 6) -> Cell:
    """Return a cell of about these sizes, as it allows."""
    hidden = max(hidden, LEAST.get(kind, 1))
    hidden += hidden % 2 if kind in EVEN else 0
    return kind(hidden if kind in SQUARE else inputs, hidden)


@dataclass(frozen=True)
class Task:
    """What a scan starts from, in float32, and which results its loss takes in.

    Attributes:
        x: (batch, time, input), NaN past each length.
        state: the parts of the initial state.
        lengths: None where all sequences are full.
        options: further arguments of `Cell.scan`.
        outputs: whether the loss depends on the outputs.
        ends: whether it depends on the final state.
    """

    x: Tensor
    state: tuple[Tensor, ...]
    lengths: Tensor | None
    options: dict[str, bool]
    outputs: bool = True
    ends: bool = True


def task(
    cell: Cell, batch: int, time: int, ragged: bool = False, outputs: bool = True, ends: bool = True, **options: bool
) -> Task:
    generator = torch.Generator().manual_seed(batch * 1000 + time)
    start = cell.initial_state(batch, dtype=torch.float32, device=torch.device("cpu"))
    parts = (start,) if isinstance(start, Tensor) else start
    x = torch.randn(batch, time, cell.input_size, generator=generator)
    lengths = some_lengths(batch, time).clamp(max=time) if ragged else None
    if lengths is not None:
        x[torch.arange(time) >= lengths[:, None]] = torch.nan
    state = tuple(torch.randn(part.shape, generator=generator) * 0.5 for part in parts)
    return Task(x, state, lengths, options, outputs, ends)


def loop(
    cell: Cell, x: Tensor, state: Any, lengths: Tensor | None, reverse: bool = False, last_only: bool = False
) -> tuple[Tensor, Any]:
    """Return what `Cell.scan` must."""
    y, final = reference.loop(cell.step, x, state, lengths, reverse)
    return y[:, :0] if last_only else y, final


def everything(cell: Cell, given: Task, scan: Callable[..., tuple[Tensor, Any]] = Cell.scan) -> Tensors:
    """Return results, and the gradients by x, the initial state and all that is trained; in the cell's dtype."""
    trained = {name: parameter for name, parameter in cell.named_parameters() if parameter.requires_grad}
    dtype = next((parameter.dtype for parameter in cell.parameters()), torch.float32)
    x = given.x.to(dtype, copy=True).requires_grad_()
    parts = [part.to(dtype, copy=True).requires_grad_() for part in given.state]
    y, final = scan(cell, x, parts[0] if len(parts) == 1 else tuple(parts), given.lengths, **given.options)
    ends = [final] if isinstance(final, Tensor) else [*final]
    assert len(ends) == len(parts)
    counted = [y] * given.outputs + ends * given.ends
    loss = sum((part * torch.linspace(-1, 1, part.numel(), dtype=part.dtype).view_as(part)).sum() for part in counted)
    assert isinstance(loss, Tensor)
    leaves = {"x": x, **{f"state {i}": part for i, part in enumerate(parts)}, **trained}
    loss = loss + 0 * x.flatten()[:0].sum()  # so that there are gradients, though all of them may be zero
    gradients = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True, materialize_grads=True)
    return {
        "y": y.detach(),
        **{f"end {i}": end.detach() for i, end in enumerate(ends)},
        **{f"d {name}": gradient for name, gradient in zip(leaves, gradients, strict=True)},
    }


def exact(cell: Cell, given: Task) -> Tensors:
    """Return what a loop in float64 gives, of a copy of the cell."""
    return everything(copy.deepcopy(cell).double(), given, loop)
