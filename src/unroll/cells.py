"""Recurrent cells, their equation visible in code. A new cell is one class here and one line in `CELLS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal, Self, final

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

from . import scan
from .config import Backend, check_choice, check_whole
from .errors import ConfigError, InputError, did_you_mean
from .scan import reference

State = Any  # a tensor (batch, …), or a tuple of such with the hidden state first


class Cell(nn.Module, ABC):
    """Abstract: one step of a recurrence. Cells keep no state; it goes in and comes out.

    Subclasses write `initial_state` and `step`; `scan` is inherited, and overridden where a fused scan exists. Where
    the matrix that the hidden state is multiplied by is called ``weight_hh`` (…, hidden), `recurrent_dropout` works.

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.
    """

    # Settings beyond the two sizes that the constructor takes, by the name they have in ModelConfig.
    options: ClassVar[frozenset[str]] = frozenset()
    # What `unroll.scan` calls its recurrence, if that has a scan there.
    recurrence: str = ""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_whole("input_size", input_size, 1)
        check_whole("hidden_size", hidden_size, 1)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.backend: Backend = "auto"
        self.recurrent_dropout = 0.0

    @abstractmethod
    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> State:
        """Return the state before the first step: a tensor (batch, …), or a tuple of such with the output first."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> State:
        """Return the state after reading ``x`` (batch, input_size)."""

    def choose_backend(self, x: Tensor, training: bool) -> scan.Choice:
        """Return what would compute `scan` for ``x`` (batch, time, input), and why."""
        return scan.Choice("reference", f"{type(self).__name__} is a loop over its step()")

    def init_orthogonal(self) -> None:
        """Set the weights for init="orthogonal"; a cell that does not override this keeps those it was made with."""

    def dropped(self) -> Self:
        """Return this cell as one batch is to see it: in training mode with variational recurrent dropout.

        With the probability ``recurrent_dropout`` a unit's state is hidden from the recurrent products, from the first
        time step to the last; what is left is scaled up. To hide it is to clear its column of ``weight_hh``
        (…, hidden), which any backend computes as fast as ever. The mask is drawn anew at each call, for a batch; the
        paper draws one for each sequence. All else is shared with this cell, and gradients reach its parameters.

        Raises:
            InputError: ``weight_hh`` is parametrized.

        Source: Y. Gal and Z. Ghahramani, arXiv:1512.05287, section 4, one mask for all gates.
        """
        if not (self.training and self.recurrent_dropout):
            return self
        if not has_recurrent_matrix(self):
            raise InputError("recurrent_dropout needs weight_hh to be a plain parameter, got a parametrized one")
        others = dict(self._parameters)
        weight = others.pop("weight_hh")
        assert weight is not None
        masked = weight * dropout(weight.new_ones(self.hidden_size), self.recurrent_dropout)
        cell = type(self).__new__(type(self))
        cell.__dict__ = {**self.__dict__, "_parameters": others, "weight_hh": masked}
        return cell

    def scan(
        self,
        x: Tensor,
        state: State,
        lengths: Tensor | None = None,
        *,
        reverse: bool = False,
        last_only: bool = False,
    ) -> tuple[Tensor, State]:
        """Apply the cell over time.

        Args:
            x: (batch, time, input_size).
            state: as from `initial_state`.
            lengths: (batch,) int64, or None where all sequences are full (default None).
            reverse: read each sequence from its last step to its first (default False).
            last_only: the outputs are not wanted, and may have 0 time steps (default False).

        Returns:
            outputs (batch, time, hidden), each at the step it was made from, zero past each length; the final state.
        """
        scan.check_lengths(lengths, x.shape[0], x.shape[1])
        return reference.loop(self.step, x, state, lengths, reverse)


def has_recurrent_matrix(cell: Cell) -> bool:
    """Tell whether a parameter weight_hh (…, hidden) of ``cell`` maps its units' states back to them."""
    weight = cell._parameters.get("weight_hh")
    return weight is not None and weight.dim() == 2 and weight.shape[1] == cell.hidden_size


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
        self.nonlinearity = self.recurrence = nonlinearity
        self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = _uniform_weights(1, input_size, hidden_size)

    def init_orthogonal(self) -> None:
        """Make weight_hh orthogonal, weight_ih Xavier uniform and the biases zero.

        Orthogonal recurrent weights keep the norm of what they carry, so gradients neither fade nor explode at the
        start (Saxe, McClelland and Ganguli, arXiv:1312.6120; for RNNs Henaff, Szlam and LeCun, arXiv:1602.06662).
        """
        _init_orthogonal(self)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return zeros (batch, hidden)."""
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def choose_backend(self, x: Tensor, training: bool) -> scan.Choice:
        """Return what would compute `scan`, and why; see `Cell.choose_backend`."""
        return scan.choose_backend(self.backend, x, training, self.recurrence)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return h' (batch, hidden) from x (batch, input) and h (batch, hidden)."""
        h, activation = state, reference.ACTIVATIONS[self.nonlinearity]
        return activation(linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh))

    def scan(
        self, x: Tensor, state: Tensor, lengths: Tensor | None = None, *, reverse: bool = False, last_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Apply the cell over time by `unroll.scan.rnn_scan`; see `Cell.scan`."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return scan.rnn_scan(
            x, state, *weights, lengths, self.nonlinearity, self.backend, reverse=reverse, last_only=last_only
        )

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"{self.input_size}, {self.hidden_size}, nonlinearity={self.nonlinearity!r}"


@final
class GRU(Cell):
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

    recurrence = "gru"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = _uniform_weights(3, input_size, hidden_size)

    def init_orthogonal(self) -> None:
        """Make each gate's weight_hh orthogonal and weight_ih Xavier uniform, and the biases zero."""
        _init_orthogonal(self)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return zeros (batch, hidden)."""
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def choose_backend(self, x: Tensor, training: bool) -> scan.Choice:
        """Return what would compute `scan`, and why; see `Cell.choose_backend`."""
        return scan.choose_backend(self.backend, x, training, self.recurrence)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        """Return h' (batch, hidden) from x (batch, input) and h (batch, hidden)."""
        h = state
        x_r, x_z, x_n = linear(x, self.weight_ih, self.bias_ih).chunk(3, dim=1)
        h_r, h_z, h_n = linear(h, self.weight_hh, self.bias_hh).chunk(3, dim=1)
        r, z = torch.sigmoid(x_r + h_r), torch.sigmoid(x_z + h_z)
        n = torch.tanh(x_n + r * h_n)
        return (1 - z) * n + z * h

    def scan(
        self, x: Tensor, state: Tensor, lengths: Tensor | None = None, *, reverse: bool = False, last_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Apply the cell over time by `unroll.scan.gru_scan`; see `Cell.scan`."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return scan.gru_scan(x, state, *weights, lengths, self.backend, reverse=reverse, last_only=last_only)

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"{self.input_size}, {self.hidden_size}"


@final
class LSTM(Cell):
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

    recurrence = "lstm"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh = _uniform_weights(4, input_size, hidden_size)

    def init_orthogonal(self) -> None:
        """Make each gate's weight_hh orthogonal and weight_ih Xavier uniform; biases zero, but 1 for the forget gate.

        An open forget gate carries c, and gradients, over many steps from the start (R. Jozefowicz, W. Zaremba and
        I. Sutskever, An empirical exploration of recurrent network architectures, ICML 2015, section 2.2).
        """
        _init_orthogonal(self)
        with torch.no_grad():
            self.bias_ih[self.hidden_size : 2 * self.hidden_size] = 1

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return zeros (batch, hidden) for h and for c."""
        h = torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)
        return h, torch.zeros_like(h)

    def choose_backend(self, x: Tensor, training: bool) -> scan.Choice:
        """Return what would compute `scan`, and why; see `Cell.choose_backend`."""
        return scan.choose_backend(self.backend, x, training, self.recurrence)

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return h' and c' (batch, hidden) from x (batch, input) and h and c (batch, hidden)."""
        h, c = state
        i, f, g, o = (linear(x, self.weight_ih, self.bias_ih) + linear(h, self.weight_hh, self.bias_hh)).chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def scan(
        self,
        x: Tensor,
        state: tuple[Tensor, Tensor],
        lengths: Tensor | None = None,
        *,
        reverse: bool = False,
        last_only: bool = False,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Apply the cell over time by `unroll.scan.lstm_scan`; see `Cell.scan`."""
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return scan.lstm_scan(x, state, *weights, lengths, self.backend, reverse=reverse, last_only=last_only)

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"{self.input_size}, {self.hidden_size}"


def _uniform_weights(gates: int, inputs: int, hidden: int) -> tuple[nn.Parameter, ...]:
    """Return weight_ih, weight_hh, bias_ih and bias_hh, stacked by gates, as torch.nn makes them."""
    rows, bound = gates * hidden, hidden**-0.5
    shapes = ((rows, inputs), (rows, hidden), (rows,), (rows,))
    return tuple(nn.Parameter(torch.empty(shape).uniform_(-bound, bound)) for shape in shapes)


def _init_orthogonal(cell: RNN | GRU | LSTM) -> None:
    for weight_ih, weight_hh in zip(
        cell.weight_ih.split(cell.hidden_size), cell.weight_hh.split(cell.hidden_size), strict=True
    ):
        nn.init.xavier_uniform_(weight_ih)
        nn.init.orthogonal_(weight_hh)
    nn.init.zeros_(cell.bias_ih)
    nn.init.zeros_(cell.bias_hh)


CELLS: dict[str, type[Cell]] = {"rnn": RNN, "gru": GRU, "lstm": LSTM}


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
