"""The training step of a scan, by unroll and by torch.nn, with its number of operations."""

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
CHECKED = 8_000_000  # hidden states up to which all sequences are checked, as the reference keeps a dozen times as many


@dataclass(frozen=True)
class Shape:
    """The sizes of a scan.

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
        """Operations of a training step, without the gradient of x and the product with a zero initial state."""
        columns = 2.0 * self.batch * WEIGHT_ROWS[self.cell] * self.hidden
        return columns * (2 * self.time * self.inputs + 3 * (self.time - 1) * self.hidden)


class Step:
    """Forward and backward over random numbers: the gradients of all weights for a loss of the last state.

    Args:
        shape: of the scan.
        backend: of `unroll.scan`; None uses the module of torch.nn.
        dtype: of all tensors (default float32), whose values do not depend on it.
        seed: of the random numbers (default 0).
    """

    def __init__(
        self, shape: Shape, backend: Backend | None, dtype: torch.dtype = torch.float32, seed: int = 0
    ) -> None:
        random = torch.Generator().manual_seed(seed)
        self.shape: Shape = shape
        self.backend: Backend | None = backend
        self.module: Any = MODULES[shape.cell](shape.inputs, shape.hidden, batch_first=True)
        self.weights: list[Tensor] = list(self.module.parameters())
        with torch.no_grad():
            for weight in self.weights:  # torch.nn's own initial weights, but seeded
                weight.uniform_(-(shape.hidden**-0.5), shape.hidden**-0.5, generator=random)
        self.x: Tensor = torch.rand(shape.batch, shape.time, shape.inputs, generator=random).to(dtype)
        self.h0: Tensor = torch.zeros(shape.batch, shape.hidden, dtype=dtype)
        self.dh: Tensor = (torch.randn(shape.batch, shape.hidden, generator=random) / shape.batch).to(dtype)
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
            if last_only:  # as users write it
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
        """Return outputs, final state and all gradients, for a loss of all outputs and for the timed step."""
        self()
        results = {f"gradient of {name} in the step": w.grad for name, w in self._named()}
        x, h0 = self.x.clone().requires_grad_(), (self.h0 + 0.1).requires_grad_()
        self.module.zero_grad()
        y, h_n = self._scan(x, h0, last_only=False)
        random = torch.Generator().manual_seed(1)
        dy = torch.randn(y.shape, generator=random).to(y.dtype)
        torch.autograd.backward((y, h_n), (dy, self.dh))
        results |= {"the outputs": y, "the final state": h_n, "gradient of x": x.grad, "gradient of h0": h0.grad}
        results |= {f"gradient of {name}": w.grad for name, w in self._named()}
        with torch.inference_mode():
            results["the final state without gradients"] = self._scan(self.x, self.h0, last_only=True)[1]
        self.module.zero_grad()
        return {name: value.detach() for name, value in results.items() if value is not None}

    def _named(self) -> list[tuple[str, Tensor]]:
        return list(zip(("w_ih", "w_hh", "b_ih", "b_hh"), self.weights, strict=True))


def checked(shape: Shape) -> Shape:
    """Return the shape for checking ``shape``: the same, with fewer sequences if float64 would take gigabytes."""
    most = max(1, CHECKED // (shape.time * shape.hidden))
    return replace(shape, batch=min(shape.batch, most))


def right_results(shape: Shape) -> Results:
    """Return the expected `Step.results` for checking ``shape``, by the reference scan in float64."""
    with torch_threads(1):
        return Step(checked(shape), "reference", torch.float64).results()
