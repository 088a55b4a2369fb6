"""Cells with the weights of torch.nn, which torch's own kernels know too."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from .. import scan
from ..config import Backend
from ..errors import InputError
from ..scan import check_device, check_lengths, check_shape, compiled, reference
from ..scan.torch_backend import Weights
from .base import Cell

NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Stacked(Cell):
    """Abstract: weights are stacked by gates as in torch.nn, so they move to and from torch.nn unchanged.

    weight_ih (gates·hidden, input), weight_hh (gates·hidden, hidden), bias_ih and bias_hh (gates·hidden,), all uniform
    within ±1/√hidden.
    """

    gates: ClassVar[int]

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        rows, bound = self.gates * hidden_size, hidden_size**-0.5
        self.weight_ih: nn.Parameter = nn.Parameter(torch.empty(rows, input_size).uniform_(-bound, bound))
        self.weight_hh: nn.Parameter = nn.Parameter(torch.empty(rows, hidden_size).uniform_(-bound, bound))
        self.bias_ih: nn.Parameter = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))
        self.bias_hh: nn.Parameter = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))

    @classmethod
    def of_weights(cls, weights: Weights, backend: Backend, **attributes: Any) -> Self:
        """Return a cell that has given tensors for weights, of any dtype; biases may be None."""
        cell = cls.__new__(cls)
        nn.Module.__init__(cell)
        sizes = {"input_size": weights[0].shape[-1], "hidden_size": weights[1].shape[0] // cls.gates}
        cell.__dict__ |= {**dict(zip(NAMES, weights, strict=True)), **sizes, **attributes}
        cell.backend, cell.recurrent_dropout = backend, 0.0
        return cell

    def init_orthogonal(self) -> None:
        """Make each gate's weight_hh orthogonal and weight_ih Xavier uniform, and the biases zero."""
        for weight_ih, weight_hh in zip(
            self.weight_ih.split(self.hidden_size), self.weight_hh.split(self.hidden_size), strict=True
        ):
            nn.init.xavier_uniform_(weight_ih)
            nn.init.orthogonal_(weight_hh)
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)

    @torch.no_grad()
    def _set_bias(self, gate: int, value: float) -> None:
        """Make the sum of a gate's two biases ``value``; gates count from 0."""
        rows = slice(gate * self.hidden_size, (gate + 1) * self.hidden_size)
        self.bias_ih[rows] = value
        self.bias_hh[rows] = 0

    def program_kind(self) -> Hashable:
        """Return what this cell has in common with all cells whose step is the same program, quickly."""
        weights = [self._parameters.get(name) for name in NAMES]
        plain = "step" not in self.__dict__ and not self._modules and not self._buffers and len(self._parameters) == 4
        if not plain or not all(type(weight) is nn.Parameter for weight in weights):
            return super().program_kind()
        kinds = [(weight.shape, weight.dtype, weight.device) for weight in weights]  # type: ignore[union-attr]
        return type(self), self.recurrence, self.__dict__.get("nonlinearity"), *kinds

    def scan(
        self,
        x: Tensor,
        state: Any,
        lengths: Tensor | None = None,
        *,
        reverse: bool = False,
        last_only: bool = False,
    ) -> tuple[Tensor, Any]:
        """Apply the cell over time by the kernels of unroll or of torch, or by the loop; see `Cell.scan`."""
        single = isinstance(state, Tensor)
        parts: tuple[Tensor, ...] = (state,) if single else tuple(state)
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        self._check(x, parts, weights, lengths)
        tensors = (x, *parts, *weights)
        training = torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
        backend = self.choose_backend(x, training).backend
        if backend == "cpu":
            return compiled.scan(self, x, state, lengths, reverse, last_only)
        # torch's kernels accept neither 0 units nor, packed, 0 sequences.
        if backend == "reference" or 0 in (len(x), self.hidden_size):
            y, final = reference.loop(self.step, x, state, lengths, reverse)
        else:
            y, ends = scan.SCANS[backend](self.recurrence, x, parts, weights, lengths, reverse, last_only)
            final = ends[0] if single else ends
        return y[:, :0] if last_only and y.shape[1] else y, final

    def _check(self, x: Tensor, parts: tuple[Tensor, ...], weights: Weights, lengths: Tensor | None) -> None:
        if x.dim() != 3:
            raise InputError(f"x must have shape (batch, time, input), got {tuple(x.shape)}")
        batch, time, features = x.shape
        rows, hidden = self.gates * self.hidden_size, self.hidden_size
        names = ("h0", "c0")[: len(parts)]
        for name, part in zip(names, parts, strict=True):
            check_shape(name, part, (batch, hidden))
        w_ih, w_hh, b_ih, b_hh = weights
        check_shape("w_ih", w_ih, (rows, features))
        check_shape("w_hh", w_hh, (rows, hidden))
        if (b_ih is None) != (b_hh is None):
            raise InputError("b_ih and b_hh must both be given, or neither")
        if b_ih is not None and b_hh is not None:
            check_shape("b_ih", b_ih, (rows,))
            check_shape("b_hh", b_hh, (rows,))
        check_lengths(lengths, batch, time)
        check_device("lengths", lengths, x.device)
        scan.check_alike(f"x, {', '.join(names)}, weights and biases", (x, *parts, *weights))
