"""Recurrent cells, their equation visible in code. A new cell is one class and one line in `CELLS`."""

from __future__ import annotations

import importlib
import sys
from inspect import isabstract

from ..config.model import check_cell
from ..errors import ConfigError
from ..formatting import shown
from .base import Cell, State, has_recurrent_matrix
from .elman import RNN, IndRNN
from .gated import GRU, LSTM
from .lru import LRU
from .minimal import MinGRU, MinLSTM
from .module import from_module, held_as

__all__ = [
    "CELLS",
    "GRU",
    "LRU",
    "LSTM",
    "RNN",
    "Cell",
    "IndRNN",
    "MinGRU",
    "MinLSTM",
    "State",
    "find_cell",
    "from_module",
    "has_recurrent_matrix",
    "import_cell",
    "name_of",
]

CELLS: dict[str, type[Cell]] = {
    "rnn": RNN,
    "gru": GRU,
    "lstm": LSTM,
    "indrnn": IndRNN,
    "mingru": MinGRU,
    "minlstm": MinLSTM,
    "lru": LRU,
}


def name_of(cell: str | type[Cell]) -> str:
    """Return the name of a cell, given as a name or a class, with which `find_cell` finds it."""
    if isinstance(cell, str):
        return cell
    known = (name for name, kind in CELLS.items() if kind is cell)
    return next(known, f"{cell.__module__}:{held_as(cell)}")


def find_cell(cell: str | type[Cell]) -> type[Cell]:
    """Return the class of a cell, given as a name or a class.

    Your own cell is named "module:Class". Its module is not imported here, as the name may come from an untrusted run:
    see `import_cell`.

    Raises:
        ConfigError: no cell has that name, or its module has not been imported.
    """
    if isinstance(cell, type) and issubclass(cell, Cell):
        return _concrete(cell)
    module, colon, name = str(cell).partition(":")
    if colon:
        if module not in sys.modules:
            raise ConfigError(
                f"the cell {shown(cell)} is not part of unroll; if you trust it, import {shown(module)} first, or pass "
                f"--cell {shown(cell)}"
            )
        return _named(module, name)
    own = str(cell).lower()
    check_cell(own)
    return CELLS[own]


def import_cell(cell: str) -> None:
    """Import the module of a cell named "module:Class", which runs its code; other names need no import.

    Raises:
        ConfigError: there is no such module, it fails, or it has no such cell.
    """
    module, colon, name = cell.partition(":")
    if not colon:
        return
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0] and error.name != module:
            raise ConfigError(f"{module} needs {error.name}, which is not installed") from error
        raise ConfigError(
            f"there is no module {module}, neither in the current folder nor installed; check the name"
        ) from error
    except Exception as error:  # whatever the module does
        raise ConfigError(f"{module} cannot be imported: {type(error).__name__}: {error}") from error
    _named(module, name)


def _named(module: str, name: str) -> type[Cell]:
    kind = getattr(sys.modules[module], name, None)
    if not isinstance(kind, type) or not issubclass(kind, Cell):
        cells = [key for key, value in vars(sys.modules[module]).items() if _is_own(value, module)]
        hint = f"it has {', '.join(cells)}" if cells else "it has none"
        raise ConfigError(f"{module} has no subclass {name} of unroll.Cell; {hint}")
    return _concrete(kind)


def _is_own(value: object, module: str) -> bool:
    return isinstance(value, type) and issubclass(value, Cell) and value.__module__ == module


def _concrete(cell: type[Cell]) -> type[Cell]:
    if isabstract(cell):
        missing = ", ".join(sorted(cell.__abstractmethods__))
        raise ConfigError(f"the cell {cell.__name__} must define {missing}")
    return cell
