"""The scan's training step, as unroll and as torch.nn take it, with the arithmetic that it needs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..cells.functional import gru_scan, lstm_scan, rnn_scan
from ..config import Backend
from .clock import Results, torch_threads

CellName = Literal["rnn", "gru", "lstm"]
WEIGHT_ROWS: dict[CellName, int] = {"rnn": 1, "gru": 3, "lstm": 4}
MODULES: dict[CellName, Any] = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
CHECKED = 8_000_000  # hidden states up to which all sequences are checked: the reference holds a dozen such, in float64


@dataclass(frozen=True)
class Shape:
    """What a scan reads.

    Attributes:
        cell: "rnn" (tanh), "gru" or "lstm"
        time: steps
        inputs: features per step
        hidden: units
        batch: sequences
    """

    cell: CellName
    time: int = 28
    inputs: int = 28
    hidden: int = 150
    batch: int = 64

    @property
    def flops(self) -> float:
        """Arithmetic of a training step: no gradient of x, and no product with an initial state of zeros."""
        columns = 2.0 * self.batch * WEIGHT_ROWS[self.cell] * self.hidden
        return columns * (2 * self.time * self.inputs + 3 * (self.time - 1) * self.hidden)


class Step:
    """Forward and backward over random numbers, with the gradients of all weights but of the last state's loss alone.

    Args:
        shape: of the scan.
        backend: of `unroll.scan`; None takes the module of torch.nn.
        dtype: of everything (default float32); the numbers are the same.
        seed: of the numbers (default 0).
    """

    def __init__(
        self, shape: Shape, backend: Backend | None, dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        self.shape, self.backend = shape, backend
        self.module = MODULES[shape.cell](shape.inputs, shape.hidden, batch_first=True)
        self.weights: list[Tensor] = list(self.module.parameters())
        with torch.no_grad():
            for weight in self.weights:  # torch.nn's own initial weights, but seeded
                weight.uniform_(-(shape.hidden**-0.5), shape.hidden**-0.5, generator=random)
        self.x = torch.rand(shape.batch, shape.time, shape.inputs, generator=random).to(dtype)
        self.h0 = torch.zeros(shape.batch, shape.hidden, dtype=dtype)
        self.dh = (torch.randn(shape.batch, shape.hidden, generator=random) / shape.batch).to(dtype)
        self.module.to(dtype)

    def __call__(self) -> None:
        """Take the step."""
        self.module.zero_grad()
        _, h_n = self._scan(self.x, self.h0, last_only=True)
        torch.autograd.backward(h_n, self.dh)

    def _scan(self, x: Tensor, h0: Tensor, last_only: bool) -> tuple[Tensor, Tensor]:
        """Return outputs and final hidden state."""
        lstm = self.shape.cell == "lstm"
        if self.backend is None:
            if last_only:  # as one writes it
                y, final = self.module(x)
            else:
                start = h0.unsqueeze(0)
                y, final = self.module(x, (start, start) if lstm else start)
            return y, (final[0] if lstm else final)[0]
        w_ih, w_hh, b_ih, b_hh = self.weights
        if lstm:
            y, (h_n, _) = lstm_scan(x, (h0, h0), w_ih, w_hh, b_ih, b_hh, backend=self.backend, last_only=last_only)
        else:
            function = gru_scan if self.shape.cell == "gru" else rnn_scan
            y, h_n = function(x, h0, w_ih, w_hh, b_ih, b_hh, backend=self.backend, last_only=last_only)
        return y, h_n

    def results(self) -> Results:
        """Return outputs, final state and all gradients: of a loss of all outputs, and of the step that is timed."""
        self()
        found = {f"gradient of {name} in the step": w.grad for name, w in self._named()}
        x, h0 = self.x.clone().requires_grad_(), (self.h0 + 0.1).requires_grad_()
        self.module.zero_grad()
        y, h_n = self._scan(x, h0, last_only=False)
        random = torch.Generator().manual_seed(1)
        dy = torch.randn(y.shape, generator=random).to(y.dtype)
        torch.autograd.backward((y, h_n), (dy, self.dh))
        found |= {"the outputs": y, "the final state": h_n, "gradient of x": x.grad, "gradient of h0": h0.grad}
        found |= {f"gradient of {name}": w.grad for name, w in self._named()}
        with torch.inference_mode():
            found["the final state without gradients"] = self._scan(self.x, self.h0, last_only=True)[1]
        self.module.zero_grad()
        return {name: value.detach() for name, value in found.items() if value is not None}

    def _named(self) -> list[tuple[str, Tensor]]:
        return list(zip(("w_ih", "w_hh", "b_ih", "b_hh"), self.weights, strict=True))


def checked(shape: Shape) -> Shape:
    """Return the shape to check ``shape`` by: itself, but for fewer sequences where float64 would take gigabytes."""
    most = max(1, CHECKED // (shape.time * shape.hidden))
    return replace(shape, batch=min(shape.batch, most))


def right_results(shape: Shape) -> Results:
    """Return what `Step.results` must be for the shape that checks ``shape``, by the plain loop in float64."""
    with torch_threads(1):
        return Step(checked(shape), "reference", torch.float64).results()
