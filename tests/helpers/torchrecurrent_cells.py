"""The cells of torchrecurrent 0.2.5: how each is made, and what its ``forward(x, state)`` takes and returns.

All take x (batch, input) and return one tensor, the new state and output at once; a tuple of two, the
output first; or the output apart from the state, as (output, state). Two of them keep the input of the step before.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor, nn

MISSING = pytest.mark.skipif(find_spec("torchrecurrent") is None, reason="torchrecurrent is not installed")


@dataclass(frozen=True)
class Signature:
    """What a class needs and gives.

    Attributes:
        widths: of the parts of the state, each "hidden" or "input"
        apart: the output is no part of the state: ``forward`` returns (output, state)
        square: the input must be as wide as the state
        delayed: ``forward`` has a third argument, the state of some steps ago, which is 0 by default
    """

    widths: tuple[str, ...] = ("hidden",)
    apart: bool = False
    square: bool = False
    delayed: bool = False


ONE, TWO = Signature(), Signature(("hidden", "hidden"))

CELLS: dict[str, Signature] = {
    "ATRCell": ONE,
    "AntisymmetricRNNCell": ONE,
    "BRCell": ONE,
    "CFNCell": ONE,
    "DSGUCell": ONE,
    "FastGRNNCell": ONE,
    "FastRNNCell": ONE,
    "GatedAntisymmetricRNNCell": ONE,
    "IndRNNCell": ONE,
    "IntersectionRNNCell": Signature(apart=True, square=True),
    "JANETCell": TWO,
    "LEMCell": TWO,
    "LiGRUCell": ONE,
    "LightRUCell": ONE,
    "MCLSTMCell": Signature(("hidden", "hidden"), apart=True),
    "MGUCell": ONE,
    "MUT1Cell": ONE,
    "MUT2Cell": ONE,
    "MUT3Cell": ONE,
    "MiRU1Cell": ONE,
    "MiRU2Cell": ONE,
    "MinimalRNNCell": ONE,
    "MultiplicativeLSTMCell": TWO,
    "NASCell": TWO,
    "NBRCell": ONE,
    "OriginalLSTMCell": TWO,
    "PeepholeLSTMCell": TWO,
    "RANCell": TWO,
    "ResLSTMCell": TWO,
    "SCRNCell": TWO,
    "SGRNCell": ONE,
    "SGUCell": ONE,
    "STARCell": ONE,
    "TGRUCell": Signature(("hidden", "input")),
    "TLSTMCell": Signature(("hidden", "input"), apart=True),
    "TRNNCell": ONE,
    "UGRNNCell": ONE,
    "UnICORNNCell": TWO,
    "WMCLSTMCell": TWO,
    "coRNNCell": TWO,
    "tauGRUCell": Signature(delayed=True),
}


def make(name: str, inputs: int, hidden: int, dtype: torch.dtype = torch.float64, **options: Any) -> nn.Module:
    """Return a cell; ``inputs`` is ignored where it must be ``hidden``. Biases are random, not 0 as they are made."""
    import torchrecurrent

    cell: nn.Module = getattr(torchrecurrent, name)(hidden if CELLS[name].square else inputs, hidden, **options)
    with torch.no_grad():
        for parameter in cell.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return cell.to(dtype)  # not by the argument dtype, which two classes do not pass on to a scalar


def start(name: str, cell: nn.Module, batch: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    """Return the parts of the zero state."""
    return tuple(torch.zeros(batch, getattr(cell, f"{width}_size"), dtype=dtype) for width in CELLS[name].widths)


def step(name: str, cell: nn.Module, x: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the output and the parts of the new state."""
    signature = CELLS[name]
    new = cell(x, parts[0] if len(parts) == 1 else parts)
    output, state = new if signature.apart else (new, new)
    parts = (state,) if isinstance(state, Tensor) else tuple(state)
    return (output if signature.apart else parts[0]), parts
