"""Recurrent cells, their equation visible in code. A new cell is one class here and one line in `CELLS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, final

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from . import scan
from .config import Backend, check_choice, check_whole
from .errors import ConfigError, did_you_mean
from .scan import reference

State = Any  # a tensor (batch, …), or a tuple of such with the hidden state first


class Cell(nn.Module, ABC):
    """Abstract: one step of a recurrence. Cells keep no state; it goes in and comes out.

    Subclasses write `initial_state` and `step`; `scan` is inherited, and overridden where a fused scan exists.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.
    """

    # Settings beyond the two sizes that the constructor takes, by the name they have in ModelConfig.
    options: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_whole("input_size", input_size, 1)
        check_whole("hidden_size", hidden_size, 1)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.backend: Backend = "auto"

    @abstractmethod
    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> State:
        """Return the state before the first step: a tensor (batch, …), or a tuple of such with the output first."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> State:
        """Return the state after reading ``x`` (batch, input_size)."""

    def is_fused(self, x: Tensor) -> bool:
        """Tell whether fused kernels on the CPU do the work of `scan` for ``x`` (batch, time, input)."""
        return False

    def init_orthogonal(self) -> None:
        """Set the weights for init="orthogonal"; a cell that does not override this keeps those it was made with."""

    def scan(self, x: Tensor, state: State, lengths: Tensor | None = None) -> tuple[Tensor, State]:
        """Apply the cell over time.

        Args:
            x: (batch, time, input_size).
            state: as from `initial_state`.
            lengths: (batch,) int64, or None where all sequences are full (default None).

        Returns:
            outputs (batch, time, hidden), zero past each length; the state at each length.
        """
        scan.check_lengths(lengths, x.shape[0], x.shape[1])
        return reference.loop(self.step, x, state, lengths)


@final
class RNN(Cell):
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

    options = frozenset({"nonlinearity"})

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: Literal["tanh", "relu"] = "tanh") -> None:
        super().__init__(input_size, hidden_size)
        check_choice("nonlinearity", nonlinearity, tuple(reference.ACTIVATIONS))
        self.nonlinearity = nonlinearity
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(hidden_size))
        bound = hidden_size**-0.5
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def init_orthogonal(self) -> None:
        """Make weight_hh orthogonal, weight_ih Xavier uniform and the biases zero.

        Orthogonal recurrent weights keep the norm of what they carry, so gradients neither fade nor explode at the
        start (Saxe, McClelland and Ganguli, arXiv:1312.6120; for RNNs Henaff, Szlam and LeCun, arXiv:1602.06662).
        """
        nn.init.xavier_uniform_(self.weight_ih)
        nn.init.orthogonal_(self.weight_hh)
        nn.init.zeros_(self.bias_ih)
        nn.init.zeros_(self.bias_hh)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return zeros (batch, hidden)."""
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def is_fused(self, x: Tensor) -> bool:
        """Tell whether the "cpu" backend would be chosen for ``x``; see `Cell.is_fused`."""
        return scan.choose_backend(self.backend, x, training=True).backend == "cpu"

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return h' (batch, hidden) from x (batch, input) and h (batch, hidden)."""
        h, activation = state, reference.ACTIVATIONS[self.nonlinearity]
        return activation(linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh))

    def scan(self, x: Tensor, state: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Apply the cell over time by `unroll.scan.rnn_scan`; see `Cell.scan`."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return scan.rnn_scan(x, state, *weights, lengths, self.nonlinearity, self.backend)

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"{self.input_size}, {self.hidden_size}, nonlinearity={self.nonlinearity!r}"


CELLS: dict[str, type[Cell]] = {"rnn": RNN}


def find_cell(cell: str | type[Cell]) -> type[Cell]:
    """Return the class of a cell given by name or itself.

    Raises:
        ConfigError: no cell has that name.
    """
    if isinstance(cell, type) and issubclass(cell, Cell):
        return cell
    if cell not in CELLS:
        hint = did_you_mean(str(cell), CELLS)
        raise ConfigError(f"cell must be one of {', '.join(CELLS)} or a subclass of Cell, got {cell!r}{hint}")
    return CELLS[str(cell)]
