"""A plain twin of a model's forward pass that keeps every state, for gradients through the whole recurrence.

A fused scan is one operation: what autograd tells of its outputs leaves out the way through the steps after them. Here
each step is its own operation, so that ``∂loss/∂h_t`` is the total derivative, over all ways that lead from h_t to the
loss. It is as slow as a Python loop, and keeps every step in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..cells import Cell, State
from ..errors import InputError
from .classifier import SequenceClassifier


@final
class Traced(Cell):
    """A cell that computes step by step what another one does, and keeps what goes into each step and comes out.

    Args:
        cell: whose `Cell.step` is called; its weights are shared.
        backwards: whether it is the one of its layer that reads from the last time step to the first.

    Attributes:
        inputs: of each step, in the order of reading, (batch, input_size)
        states: after each step, in the order of reading: all parts of the state, each (batch, …), the hidden one first
    """

    def __init__(self, cell: Cell, backwards: bool) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        self.cell = cell
        self.backwards = backwards
        self.inputs: list[Tensor] = []
        self.states: list[tuple[Tensor, ...]] = []

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> State:
        """Return the other cell's."""
        return self.cell.initial_state(batch_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: State) -> State:
        """Return the state after reading ``x``, and keep both; `Cell.scan`, inherited, calls this for each step."""
        new = self.cell.step(x, state)
        # Views, so that each part has a gradient of its own: c of an LSTM is part of h too, by another way.
        parts = tuple(part.view_as(part) for part in ((new,) if isinstance(new, Tensor) else new))
        for part in parts:
            if torch.is_grad_enabled() and part.is_floating_point() and not part.requires_grad:
                part.requires_grad_()  # nothing that led to it is trained
        self.inputs.append(x)
        self.states.append(parts)
        return parts[0] if isinstance(new, Tensor) else parts

    def over_time(self, kept: list[Tensor]) -> Tensor:
        """Return what is kept of each step (batch, …) as one tensor (batch, time, …), at the time step read."""
        stacked = torch.stack(kept, dim=1)
        return stacked.flip(1) if self.backwards else stacked


@dataclass(frozen=True)
class Trace:
    """A forward pass with every state on its way.

    Attributes:
        logits: (batch, classes), with gradients unless these are switched off
        cells: of each layer one for each direction; the second reads backwards
    """

    logits: Tensor
    cells: tuple[tuple[Traced, ...], ...]

    def hidden(self) -> list[list[Tensor]]:
        """Return each layer's and direction's hidden states without gradients.

        Returns:
            (batch, time, hidden) each, of the model's dtype: ``[:, t]`` after reading time step t. What stands past a
            sequence's length has no meaning.
        """
        return [
            [cell.over_time([state[0].detach() for state in cell.states]) for cell in layer] for layer in self.cells
        ]

    def gradient_norms(self, y: Tensor) -> list[list[Tensor]]:
        """Return how strongly each sequence's loss depends on each of its states: ``‖∂loss/∂state_t‖``.

        The derivative is total, over all ways from a state to the loss. The norm is over all parts of a state, as
        memory passes through all of them: what an LSTM keeps for long goes through c, and by ``∂loss/∂h`` alone it
        would seem to forget. Each part counts by itself, as if it could be changed without the others. Past a
        sequence's length it is 0.

        Args:
            y: (batch,) int64 true classes.

        Returns:
            of each layer and direction (batch, time) of the model's dtype; ``[:, t]`` for the state after reading time
            step t; nats of the sequence's own cross entropy per unit of the state.

        Raises:
            InputError: gradients were switched off when the sequences were read.

        Source: R. Pascanu, T. Mikolov and Y. Bengio, arXiv:1211.5063, section 2.
        """
        if not self.logits.requires_grad:
            raise InputError(
                "gradient_norms needs a trace with gradients: call trace_states outside of torch.no_grad() and "
                "torch.inference_mode()"
            )
        cells = [cell for layer in self.cells for cell in layer]
        parts = [part for cell in cells for state in cell.states for part in state if part.is_floating_point()]
        with torch.inference_mode(False), torch.enable_grad():
            # The sum, not the mean: what one sequence gets then does not depend on how many stand beside it. A copy,
            # as autograd keeps no tensor that was made in inference mode.
            loss = cross_entropy(self.logits, y.clone(), reduction="sum")
            gradients = torch.autograd.grad(loss, parts, retain_graph=True, materialize_grads=True)
        squares = iter([gradient.square().flatten(1).sum(dim=1) for gradient in gradients])

        def norms(cell: Traced) -> Tensor:
            steps = [sum(next(squares) for part in state if part.is_floating_point()) for state in cell.states]
            return cell.over_time([torch.as_tensor(step) for step in steps]).sqrt()

        return [[norms(cell) for cell in layer] for layer in self.cells]


def trace_states(model: SequenceClassifier, x: Tensor, lengths: Tensor | None = None) -> Trace:
    """Read sequences step by step, keeping every state.

    Args:
        model: with cells of any kind; in the mode that it is in, so that in training mode dropout acts.
        x: as in `SequenceClassifier.forward`, with at least 1 time step.
        lengths: as there (default None: all are full).

    Raises:
        InputError: ``x`` or ``lengths`` do not fit.

    Example:
        >>> model = SequenceClassifier(input_size=3, num_classes=2, cell="lstm", hidden_size=8)
        >>> trace = trace_states(model, torch.randn(4, 20, 3))
        >>> trace.gradient_norms(torch.tensor([0, 1, 1, 0]))[0][0].shape
        torch.Size([4, 20])
    """
    layers: list[list[Cell]] = [list(layer) for layer in model.layers]  # type: ignore[call-overload]
    cells = [[Traced(cell.dropped(), number == 1) for number, cell in enumerate(layer)] for layer in layers]
    logits = model.read_by([[*layer] for layer in cells], x, lengths)
    return Trace(logits, tuple(map(tuple, cells)))
