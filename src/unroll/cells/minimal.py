"""Cells whose gates depend only on the input: h' = a h + b, with a and b computed for all steps before the scan."""

from __future__ import annotations

from abc import abstractmethod
from typing import final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from .. import scan
from ..scan.padding import clear_padding
from .base import Cell, zeros


class Minimal(Cell):
    """Abstract: rows of weight_ih (rows·hidden, input) and bias (rows·hidden,), uniform within ±1/√input."""

    rows: int

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        bound, rows = input_size**-0.5, self.rows * hidden_size
        self.weight_ih: nn.Parameter = nn.Parameter(torch.empty(rows, input_size).uniform_(-bound, bound))
        self.bias: nn.Parameter = nn.Parameter(torch.empty(rows).uniform_(-bound, bound))

    @abstractmethod
    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b (…, hidden) for x (…, input)."""

    def init_orthogonal(self) -> None:
        """Make each gate's rows Xavier uniform and the biases zero; there is no recurrent matrix."""
        for rows in self.weight_ih.split(self.hidden_size):
            nn.init.xavier_uniform_(rows)
        nn.init.zeros_(self.bias)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return zeros (batch, hidden)."""
        return zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return h' (batch, hidden) from x (batch, input) and h (batch, hidden)."""
        a, b = self.coefficients(x)
        return a * state + b

    def _scan_by_torch(
        self, x: Tensor, state: Tensor, lengths: Tensor | None, reverse: bool, last_only: bool
    ) -> tuple[Tensor, Tensor]:
        """Compute a and b for all steps first."""
        a, b = self.coefficients(x if lengths is None else clear_padding(x, lengths))
        return scan.linear_scan(a, b, state, lengths, "reference", reverse=reverse)


@final
class MinGRU(Minimal):
    """Minimal GRU: h' = (1 - z) h + z h̃ with z = σ(W_z x + b_z) and h̃ = W_h x + b_h.

    This is the paper's plain form. Its log-space form keeps a parallel scan stable; `unroll.scan.linear_scan` goes step
    by step and does not need it. As the gate does not see the state, a single layer forgets by the input alone: use two
    or more.

    Parameters: weight_ih (2·hidden, input) and bias (2·hidden,), in the order z, h̃.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.

    Raises:
        ConfigError: a size below 1.

    Source: L. Feng et al., Were RNNs All We Needed?, arXiv:2410.01201, section 3.1.
    """

    rows = 2

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a = 1 - z and b = z h̃."""
        z, candidate = linear(x, self.weight_ih, self.bias).chunk(2, dim=-1)
        return torch.sigmoid(-z), torch.sigmoid(z) * candidate

    @torch.no_grad()
    def set_forget_bias(self, value: float) -> None:
        """Set the bias of 1 - z, the fraction of the state that is kept."""
        self.bias[: self.hidden_size] = -value


@final
class MinLSTM(Minimal):
    """Minimal LSTM: h' = f' h + i' h̃ with f' = f / (f + i) and i' = i / (f + i).

    f = σ(W_f x + b_f), i = σ(W_i x + b_i), h̃ = W_h x + b_h. The paper's plain form, see `MinGRU`.

    Parameters: weight_ih (3·hidden, input) and bias (3·hidden,), in the order f, i, h̃.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.

    Raises:
        ConfigError: a size below 1.

    Source: L. Feng et al., Were RNNs All We Needed?, arXiv:2410.01201, section 3.2.
    """

    rows = 3

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a = f' and b = i' h̃."""
        f, i, candidate = linear(x, self.weight_ih, self.bias).chunk(3, dim=-1)
        # f / (f + i) as a sigmoid of log f - log i, which avoids dividing by a sum that may be 0
        ratio = logsigmoid(f) - logsigmoid(i)
        return torch.sigmoid(ratio), torch.sigmoid(-ratio) * candidate

    @torch.no_grad()
    def set_forget_bias(self, value: float) -> None:
        """Set the bias of the forget gate f."""
        self.bias[: self.hidden_size] = value
