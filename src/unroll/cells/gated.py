"""Cells with gates: what to keep, what to take in, what to show."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor
from torch.nn.functional import linear

from .base import zeros
from .stacked import Stacked


@final
class GRU(Stacked):
    """Gated recurrent unit: h' = (1 - z) n + z h, with gates r and z.

    r = σ(W_ir x + b_ir + W_hr h + b_hr), z = σ(W_iz x + b_iz + W_hz h + b_hz),
    n = tanh(W_in x + b_in + r (W_hn h + b_hn)).

    Parameters and layout are those of `torch.nn.GRUCell`, so weights move to and from torch.nn unchanged: weight_ih
    (3·hidden, input), weight_hh (3·hidden, hidden), bias_ih and bias_hh (3·hidden,), in the order r, z, n, all uniform
    within ±1/√hidden.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.

    Raises:
        ConfigError: a size below 1.

    Source: K. Cho et al., arXiv:1406.1078, section 2.3; with r outside of W_hn's product, as in torch.nn.
    """

    recurrence: str = "gru"
    gates: ClassVar[int] = 3

    def set_forget_bias(self, value: float) -> None:
        """Set the bias of the update gate z, which keeps the state where it is open."""
        self._set_bias(1, value)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return zeros (batch, hidden)."""
        return zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return h' (batch, hidden) from x (batch, input) and h (batch, hidden)."""
        h = state
        x_r, x_z, x_n = linear(x, self.weight_ih, self.bias_ih).chunk(3, dim=1)
        h_r, h_z, h_n = linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return (1 - z) * n + z * h


@final
class LSTM(Stacked):
    """Long short-term memory: c' = f c + i g, h' = o tanh(c'), with gates i, f, o; its state is (h, c).

    i, f, o = σ(W_i· x + b_i· + W_h· h + b_h·), g = tanh(W_ig x + b_ig + W_hg h + b_hg).

    Parameters and layout are those of `torch.nn.LSTMCell`, so weights move to and from torch.nn unchanged: weight_ih
    (4·hidden, input), weight_hh (4·hidden, hidden), bias_ih and bias_hh (4·hidden,), in the order i, f, g, o, all
    uniform within ±1/√hidden.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.

    Raises:
        ConfigError: a size below 1.

    Source: S. Hochreiter and J. Schmidhuber, Neural Computation 9 (1997); the forget gate F. Gers, J. Schmidhuber and
    F. Cummins, Neural Computation 12 (2000).
    """

    recurrence: str = "lstm"
    gates: ClassVar[int] = 4

    def init_orthogonal(self) -> None:
        """Make each gate's weight_hh orthogonal and weight_ih Xavier uniform; biases zero, but 1 for the forget gate.

        An open forget gate carries c, and gradients, over many steps from the start (R. Jozefowicz, W. Zaremba and
        I. Sutskever, An empirical exploration of recurrent network architectures, ICML 2015, section 2.2).
        """
        super().init_orthogonal()
        self.set_forget_bias(1.0)

    def set_forget_bias(self, value: float) -> None:
        """Set the bias of the forget gate f."""
        self._set_bias(1, value)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return zeros (batch, hidden) for h and for c."""
        h = zeros(batch_size, self.hidden_size, dtype=dtype, device=device)
        return h, torch.zeros_like(h)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return h' and c' (batch, hidden) from x (batch, input) and h and c (batch, hidden)."""
        h, c = state
        i, f, g, o = (linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
