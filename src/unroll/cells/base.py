"""The base class of all recurrent cells."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout

from .. import scan
from ..compiler.kind import kind_of
from ..config import Backend
from ..errors import ConfigError, InputError
from ..scan import compiled, reference
from ..validation import check_whole

State = Any  # a tensor (batch, …), or a tuple of such with the hidden state first


class Cell(nn.Module, ABC):
    """Abstract: one step of a recurrence. Cells store no state: `step` takes it and returns the new one.

    Subclasses define `initial_state` and `step`; they inherit `scan`, which runs in the kernels where the compiler
    understands `step` (see `unroll.compiler`), and otherwise loops over it. Recurrent dropout needs the recurrent
    matrix to be called ``weight_hh`` (…, hidden).

    Args:
        input_size: features per time step, at least 1.
        hidden_size: units, at least 1.
    """

    # Constructor arguments besides the two sizes, by their names in ModelConfig.
    options: ClassVar[frozenset[str]] = frozenset()
    # What `unroll.scan` knows it by: a recurrence of torch.nn, or its own step.
    recurrence: str = "own"

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_whole("input_size", input_size, 1)
        check_whole("hidden_size", hidden_size, 1)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.backend: Backend = "auto"
        self.recurrent_dropout: float = 0.0

    @abstractmethod
    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> State:
        """Return the state before the first step: a tensor (batch, …), or a tuple of such with the output first."""

    @abstractmethod
    def step(self, x: Tensor, state: State) -> State:
        """Return the state after reading ``x`` (batch, input_size)."""

    def choose_backend(self, x: Tensor, training: bool) -> scan.Choice:
        """Return the backend that computes `scan` for ``x`` (batch, time, input), and the reason."""
        return scan.choose_backend(self.backend, x, training, self.recurrence, self)

    def program_kind(self) -> Hashable:
        """Return what this cell has in common with all cells whose step is the same program."""
        return kind_of(self)

    def init_orthogonal(self) -> None:
        """Set the weights for init="orthogonal"; a cell that does not override this keeps its weights."""

    def init_identity(self) -> None:
        """Set the weights for init="identity", so that a state is kept without input; by default an error.

        Raises:
            ConfigError: the cell has no such weights.
        """
        raise ConfigError(f"init identity needs a cell with a plain recurrence, such as rnn, got {self._name}")

    def set_forget_bias(self, value: float) -> None:
        """Set the bias of the forget gate: a higher bias keeps the state longer at the start; by default an error.

        Raises:
            ConfigError: the cell has no such gate.
        """
        raise ConfigError(f"forget_bias needs a cell with a forget gate, such as lstm, got {self._name}")

    @property
    def _name(self) -> str:
        return type(self).__name__

    def dropped(self) -> Self:
        """Return this cell with variational recurrent dropout for one batch; in eval mode the cell itself.

        With probability ``recurrent_dropout``, a unit's state is dropped from the recurrent products at all time steps,
        and the others are scaled up. This clears the unit's column of ``weight_hh`` (…, hidden), so that every backend
        is as fast as without. Each call draws one mask for the whole batch; the paper draws one per sequence. All else
        is shared with this cell, and gradients reach its parameters.

        Raises:
            InputError: ``weight_hh`` is parametrized.

        Source: Y. Gal and Z. Ghahramani, arXiv:1512.05287, section 4, one mask for all gates.
        """
        if not (self.training and self.recurrent_dropout):
            return self
        if not has_recurrent_matrix(self):
            raise InputError(
                "recurrent_dropout needs weight_hh to be a plain parameter, got a parametrized one; remove it"
            )
        parameters = dict(self._parameters)
        weight = parameters.pop("weight_hh")
        assert weight is not None
        masked = weight * dropout(weight.new_ones(self.hidden_size), self.recurrent_dropout)
        cell = type(self).__new__(type(self))
        cell.__dict__ = {**self.__dict__, "_parameters": parameters, "weight_hh": masked}
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
            last_only: the outputs are not needed and may have 0 time steps (default False).

        Returns:
            outputs (batch, time, hidden), each at the step it was made from, zero past each length; the final state.
        """
        scan.check_lengths(lengths, x.shape[0], x.shape[1])
        if self.choose_backend(x, torch.is_grad_enabled()).backend == "cpu":
            return compiled.scan(self, x, state, lengths, reverse, last_only)
        return self._scan_by_torch(x, state, lengths, reverse, last_only)

    def _scan_by_torch(
        self, x: Tensor, state: State, lengths: Tensor | None, reverse: bool, last_only: bool
    ) -> tuple[Tensor, State]:
        """Apply the cell over time without the kernels: a loop over `step`, unless a cell knows better."""
        return reference.loop(self.step, x, state, lengths, reverse)

    def extra_repr(self) -> str:
        """Show the sizes in ``print(model)``."""
        return f"{self.input_size}, {self.hidden_size}"


def has_recurrent_matrix(cell: Cell) -> bool:
    """Tell whether ``cell`` has a recurrent matrix, a parameter weight_hh (…, hidden)."""
    weight = cell._parameters.get("weight_hh")
    return weight is not None and weight.dim() == 2 and weight.shape[1] == cell.hidden_size


def zeros(batch_size: int, hidden_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the initial state (batch, hidden) of most cells."""
    return torch.zeros(batch_size, hidden_size, dtype=dtype, device=device)
