"""Run a model step by step and keep every state, for gradients through the whole recurrence.

A fused scan is one operation, so the gradients of its outputs leave out the path through later steps. Here each step is
its own operation, so that ``∂loss/∂h_t`` is the total derivative over all paths from h_t to the loss. It is as slow as
a Python loop, and keeps every step in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..cells import Cell, State
from ..config import Backend
from ..errors import InputError
from .classifier import SequenceClassifier


@final
class Traced(Cell):
    """A cell that computes another cell step by step, and keeps the input and the state of each step.

    Args:
        cell: the cell to trace; its weights are shared.
        backwards: whether it reads from the last time step to the first.

    Attributes:
        inputs: of each step, in the order of reading, (batch, input_size)
        states: after each step, in the order of reading: all parts of the state, each (batch, …), the hidden one first
    """

    def __init__(self, cell: Cell, backwards: bool) -> None:
        super().__init__(cell.input_size, cell.hidden_size)
        self.cell = cell
        self.backend: Backend = "reference"  # each step must be run
        self.backwards = backwards
        self.inputs: list[Tensor] = []
        self.states: list[tuple[Tensor, ...]] = []

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> State:
        """Return the initial state of the traced cell."""
        return self.cell.initial_state(batch_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: State) -> State:
        """Return the state after reading ``x``, and keep both; the inherited `Cell.scan` calls this for each step."""
        new = self.cell.step(x, state)
        # Views, so that each part has its own gradient: in an LSTM, c also contributes to h.
        parts = tuple(part.view_as(part) for part in ((new,) if isinstance(new, Tensor) else new))
        for part in parts:
            if torch.is_grad_enabled() and part.is_floating_point() and not part.requires_grad:
                part.requires_grad_()  # the state does not depend on any trained parameter
        self.inputs.append(x)
        self.states.append(parts)
        return parts[0] if isinstance(new, Tensor) else parts

    def over_time(self, kept: list[Tensor]) -> Tensor:
        """Stack values of each step (batch, …) into one tensor (batch, time, …), ordered by time step."""
        stacked = torch.stack(kept, dim=1)
        return stacked.flip(1) if self.backwards else stacked


@dataclass(frozen=True)
class Trace:
    """A forward pass with every intermediate state.

    Attributes:
        logits: (batch, classes), with gradients unless they are switched off
        cells: for each layer, one per direction; the second reads backwards
        lengths: (batch,) int64 steps that they read of each sequence, or None where all are full; with frames
            or a stem, a step is one of theirs here
    """

    logits: Tensor
    cells: tuple[tuple[Traced, ...], ...]
    lengths: Tensor | None = None

    def hidden(self) -> list[list[Tensor]]:
        """Return each layer's and direction's hidden states without gradients.

        Returns:
            (batch, time, hidden) each, of the model's dtype: ``[:, t]`` after reading time step t. Values past a
            sequence's length are undefined.
        """
        return [
            [cell.over_time([state[0].detach() for state in cell.states]) for cell in layer] for layer in self.cells
        ]

    def gradient_norms(self, y: Tensor) -> list[list[Tensor]]:
        """Return how strongly each sequence's loss depends on each of its states: ``‖∂loss/∂state_t‖``.

        The derivative is total, over all paths from a state to the loss. The norm is over all parts of a state: an LSTM
        keeps its memory in c, so by ``∂loss/∂h`` alone it would seem to forget. Each part is treated as if it could
        change without the others. Past a sequence's length the norm is 0.

        Args:
            y: (batch,) int64 true classes.

        Returns:
            for each layer and direction, (batch, time) of the model's dtype, ``[:, t]`` for the state after step t; in
            nats of the sequence's own cross entropy per unit of the state.

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
            # The sum, not the mean, so that a sequence's gradient does not depend on the batch size. A copy of y, as
            # autograd cannot save tensors made in inference mode.
            loss = cross_entropy(self.logits, y.clone(), reduction="sum")
            gradients = torch.autograd.grad(loss, parts, retain_graph=True, materialize_grads=True)
        squares = iter([gradient.square().flatten(1).sum(dim=1) for gradient in gradients])

        def norms(cell: Traced) -> Tensor:
            steps = [sum(next(squares) for part in state if part.is_floating_point()) for state in cell.states]
            return cell.over_time([torch.as_tensor(step) for step in steps]).sqrt()

        return [[norms(cell) for cell in layer] for layer in self.cells]


def trace_states(model: SequenceClassifier, x: Tensor, lengths: Tensor | None = None) -> Trace:
    """Read sequences step by step and keep every state.

    Args:
        model: with cells of any kind; its mode is kept, so in training mode dropout acts.
        x: as in `SequenceClassifier.forward`, with at least 1 time step.
        lengths: as in `SequenceClassifier.forward` (default None: all are full).

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
    steps = lengths if lengths is None else model.layer_steps(lengths)
    return Trace(logits, tuple(map(tuple, cells)), steps)
