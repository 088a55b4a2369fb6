"""Cells without gates: the state goes through one nonlinearity at each step."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..validation import check_choice
from .base import Cell, zeros
from .stacked import Stacked

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "relu": torch.relu}
IRNN_STD = 0.001


@final
class RNN(Stacked):
    """Elman's cell: h' = tanh(W_ih x + b_ih + W_hh h + b_hh).

    Parameters and layout are those of `torch.nn.RNNCell`, so weights move to and from torch.nn unchanged: weight_ih
    (hidden, input), weight_hh (hidden, hidden), bias_ih and bias_hh (hidden,), all uniform within ±1/√hidden.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.
        nonlinearity: "tanh" or "relu" (default "tanh").

    Raises:
        ConfigError: a size below 1 or an unknown nonlinearity.

    Source: J. L. Elman, Finding structure in time, Cognitive Science 14 (1990), p. 179.
    """

    gates = 1
    options: ClassVar[frozenset[str]] = frozenset({"nonlinearity"})

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        super().__init__(input_size, hidden_size)
        check_choice("nonlinearity", nonlinearity, tuple(ACTIVATIONS))
        self.nonlinearity = self.recurrence = nonlinearity

    def init_orthogonal(self) -> None:
        """Make weight_hh orthogonal, weight_ih Xavier uniform and the biases zero.

        Orthogonal recurrent weights keep the norm of what they carry, so gradients neither fade nor explode at the
        start (Saxe, McClelland and Ganguli, arXiv:1312.6120; for RNNs Henaff, Szlam and LeCun, arXiv:1602.06662).
        """
        super().init_orthogonal()

    @torch.no_grad()
    def init_identity(self) -> None:
        """Make weight_hh the identity, weight_ih normal with deviation 0.001 and the biases zero.

        With nonlinearity "relu" this is the IRNN of Q. V. Le, N. Jaitly and G. E. Hinton, arXiv:1504.00941, section 2.
        """
        nn.init.eye_(self.weight_hh)
        nn.init.normal_(self.weight_ih, std=IRNN_STD)
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return zeros (batch, hidden)."""
        return zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return h' (batch, hidden) from x (batch, input) and h (batch, hidden)."""
        h, activation = state, ACTIVATIONS[self.nonlinearity]
        return activation(linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh))

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"{self.input_size}, {self.hidden_size}, nonlinearity={self.nonlinearity!r}"


@final
class IndRNN(Cell):
    """Independently recurrent: h' = tanh(W_ih x + u ⊙ h + b); units are only connected across layers.

    Parameters: weight_ih (hidden, input) and bias (hidden,), uniform within ±1/√input; u, weight_hh (hidden,), uniform
    from 0 to 1, so that the units remember over different times.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.
        nonlinearity: "tanh", or the paper's "relu", which needs clipped gradients (default "tanh").

    Raises:
        ConfigError: a size below 1 or an unknown nonlinearity.

    Source: S. Li et al., arXiv:1803.04831, equation 2.
    """

    options: ClassVar[frozenset[str]] = frozenset({"nonlinearity"})

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        super().__init__(input_size, hidden_size)
        check_choice("nonlinearity", nonlinearity, tuple(ACTIVATIONS))
        self.nonlinearity = nonlinearity
        bound = input_size**-0.5
        self.weight_ih: nn.Parameter = nn.Parameter(torch.empty(hidden_size, input_size).uniform_(-bound, bound))
        self.weight_hh: nn.Parameter = nn.Parameter(torch.rand(hidden_size))
        self.bias: nn.Parameter = nn.Parameter(torch.empty(hidden_size).uniform_(-bound, bound))

    def init_orthogonal(self) -> None:
        """Make weight_ih Xavier uniform and the bias zero; u keeps its uniform values, as it is not a matrix."""
        nn.init.xavier_uniform_(self.weight_ih)
        nn.init.zeros_(self.bias)

    def init_identity(self) -> None:
        """Set u to 1, the rest as `init_orthogonal` does."""
        self.init_orthogonal()
        nn.init.ones_(self.weight_hh)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return zeros (batch, hidden)."""
        return zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return h' (batch, hidden) from x (batch, input) and h (batch, hidden)."""
        h, activation = state, ACTIVATIONS[self.nonlinearity]
        return activation(linear(x, self.weight_ih, self.bias) + self.weight_hh * h)

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"{self.input_size}, {self.hidden_size}, nonlinearity={self.nonlinearity!r}"
