"""Run one step of a cell before a training, to name what is wrong with it, and where."""

from __future__ import annotations

import traceback
from pathlib import Path

import torch
from torch import Tensor

from ..compiler.kind import copied, neutral
from ..errors import ConfigError
from ..formatting import brief
from .base import Cell

BATCH = 2
LONGEST = 300  # characters of an error's message
OURS, TORCH = str(Path(__file__).parents[1]), str(Path(torch.__file__).parent)


def try_step(cell: Cell) -> None:
    """Raise `ConfigError` unless a cell can read a time step of two sequences, all zeros; it is run on a copy.

    Args:
        cell: with its parameters on the CPU.
    """
    trial, method = copied(cell), "initial_state"
    assert isinstance(trial, Cell)
    try:
        with torch.no_grad(), neutral():
            state = trial.initial_state(BATCH, dtype=torch.float32, device=torch.device("cpu"))
            method = "step"
            new = trial.step(torch.zeros(BATCH, cell.input_size), state)
    except Exception as error:  # whatever its code does
        reason = brief(f"{type(error).__name__}: {error}", LONGEST)
        raise ConfigError(f"the cell {type(cell).__name__}: {method} raises {reason}{_place(error)}") from error
    output = new[0] if isinstance(new, tuple | list) and new else new
    if not isinstance(output, Tensor) or output.shape != (BATCH, cell.hidden_size):
        shape = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise ConfigError(
            f"the cell {type(cell).__name__}: step must return the output, (batch, {cell.hidden_size}), or a tuple "
            f"that begins with it, got {shape} for {BATCH} sequences"
        )


def _place(error: Exception) -> str:
    """Return the line of the user's source that raised an error, as words."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith((OURS, TORCH)):
            return f" ({Path(frame.filename).name}:{frame.lineno}: {brief(frame.line or '', LONGEST)})"
    return ""
