"""A cell made of any module that takes an input and a state."""

from __future__ import annotations

import copyreg
import sys
from abc import ABCMeta
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .base import Cell

Width = Literal["hidden", "input"] | int


def held_as(kind: type) -> str:
    """Return the variable of its module that holds a class: its name, or another if that names something else."""
    module = sys.modules.get(kind.__module__)
    own = dict[str, object]() if module is None else vars(module)
    if own.get(kind.__qualname__) is kind:
        return kind.__qualname__
    return next((name for name, value in own.items() if value is kind), kind.__qualname__)


class Held(ABCMeta):
    """The type of classes that are pickled by the variable that holds them."""


copyreg.pickle(Held, held_as)


class ModuleCell(Cell, metaclass=Held):
    """Abstract: a cell whose step calls a module; see `from_module`."""

    module_class: type[nn.Module]
    module_options: dict[str, Any]
    widths: tuple[Width, ...] | None
    output_apart: bool | None
    apart: bool

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.module: nn.Module = self.module_class(input_size, hidden_size, **self.module_options)
        if self.widths is None:
            units, self.apart = self._probe()
        else:
            sizes = {"hidden": hidden_size, "input": input_size}
            units = tuple(width if isinstance(width, int) else sizes[width] for width in self.widths)
            self.apart = bool(self.output_apart)
        # Of each part of the state, the output first.
        self.units: tuple[int, ...] = (hidden_size, *units) if self.apart else units

    @torch.no_grad()
    def _probe(self) -> tuple[tuple[int, ...], bool]:
        """Run the module on zeros, without a state and then with what it returned."""
        name, x = type(self).__name__, torch.zeros(2, self.input_size)
        try:
            new = self.module(x)
            for apart in (False, True) if self.output_apart is None else (self.output_apart,):
                state = new[1] if apart and isinstance(new, (tuple, list)) and len(new) == 2 else new
                parts = (state,) if isinstance(state, Tensor) else tuple(state)
                rows = all(isinstance(part, Tensor) and part.dim() == 2 and len(part) == len(x) for part in parts)
                if rows and self._takes(x, state, new):
                    return tuple(part.shape[1] for part in parts), apart
        except Exception as error:
            raise ConfigError(
                f"{name} cannot be run without a state to see which it has: {error}; say so: from_module(…, widths=…)"
            ) from error
        raise ConfigError(f"{name} does not take the state that it returns; say which it has: from_module(…, widths=…)")

    def _takes(self, x: Tensor, state: Any, new: Any) -> bool:
        """Tell whether the module takes a state, and returns the same kind of result as without."""
        try:
            return bool(_shapes(self.module(x, state)) == _shapes(new))
        except Exception:
            return False

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        """Return zeros (batch, units) for each part of the state."""
        parts = tuple(torch.zeros(batch_size, units, dtype=dtype, device=device) for units in self.units)
        return parts if len(parts) > 1 else parts[0]

    def step(self, x: Tensor, state: Any) -> Any:
        """Return the module's new state; where its output is apart, that output first."""
        if not self.apart:
            return self.module(x, state)
        before = state[1:]
        output, after = self.module(x, before[0] if len(before) == 1 else before)
        return (output, after) if isinstance(after, Tensor) else (output, *after)


def from_module(
    module_class: type[nn.Module],
    widths: Sequence[Width] | None = None,
    *,
    output_apart: bool | None = None,
    **options: Any,
) -> type[ModuleCell]:
    """Return a cell class that is made of a module, such as `torch.nn.GRUCell` or any cell of torchrecurrent.

    Assign the class to a variable of your module, by which a saved run finds it again:
    ``MGUCell = from_module(torchrecurrent.MGUCell)``.

    Args:
        module_class: called with the two sizes and ``options``; its ``forward(x, state)`` takes x (batch, input) and
            returns the new state, a tensor (batch, units) or a tuple of such with the output first.
        widths: units of each part of the state that ``forward`` takes: "hidden", "input" or a number; None: run the
            module once without a state to see (default None).
        output_apart: whether ``forward`` returns the output apart, as (output, state); None: run it to see, and without
            that, no (default None).
        options: further arguments of the module class.

    Raises:
        ConfigError: when the cell is made, if the module cannot be run as described.
    """
    attributes = {
        "__doc__": f"A cell that is made of {module_class.__name__}; see `unroll.cells.from_module`.",
        "__module__": sys._getframe(1).f_globals.get("__name__", __name__),
        "module_class": module_class,
        "module_options": options,
        "widths": None if widths is None else tuple(widths),
        "output_apart": output_apart,
    }
    return type(module_class.__name__, (ModuleCell,), attributes)


def _shapes(value: Any) -> Any:
    return value.shape if isinstance(value, Tensor) else tuple(map(_shapes, value))
