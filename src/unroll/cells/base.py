"""What every recurrent cell is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from .. import scan
from ..config import Backend
from ..errors import ConfigError, InputError
from ..scan import reference
from ..validation import check_whole

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
        if self.recurrence:
            return scan.choose_backend(self.backend, x, training, self.recurrence)
        return scan.Choice("reference", f"{type(self).__name__} is a loop over its step()")

    def init_orthogonal(self) -> None:
        """Set the weights for init="orthogonal"; a cell that does not override this keeps those it was made with."""

    def init_identity(self) -> None:
        """Set the weights for init="identity", so that a state is kept as it is without input; here it is refused.

        Raises:
            ConfigError: the cell has no such weights.
        """
        raise ConfigError(f"init identity is for cells with a plain recurrence, such as rnn; {self._name} has none")

    def set_forget_bias(self, value: float) -> None:
        """Set the bias of the gate that keeps the state; the higher, the longer at the start. Here it is refused.

        Raises:
            ConfigError: the cell has no such gate.
        """
        raise ConfigError(f"forget_bias is for cells with a gate that keeps their state; {self._name} has none")

    @property
    def _name(self) -> str:
        return type(self).__name__

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

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"{self.input_size}, {self.hidden_size}"


def has_recurrent_matrix(cell: Cell) -> bool:
    """Tell whether a parameter weight_hh (…, hidden) of ``cell`` maps its units' states back to them."""
    weight = cell._parameters.get("weight_hh")
    return weight is not None and weight.dim() == 2 and weight.shape[1] == cell.hidden_size


def zeros(batch_size: int, hidden_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the initial state (batch, hidden) of most cells."""
    return torch.zeros(batch_size, hidden_size, dtype=dtype, device=device)
