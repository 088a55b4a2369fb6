"""Measure the layers: gradients, activations, units that do not change, weights."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from ..cells import GRU, LRU, LSTM, Cell, IndRNN, has_recurrent_matrix
from ..compiler import compile_step
from ..compiler.gates import gate_values
from ..data.preparation import valid_steps
from ..data.sequences import SequenceData
from ..errors import NotCompiledError
from ..models.classifier import SequenceClassifier
from ..models.trace import Traced, trace_states
from .examination import LayerHealth
from .preflight import BOUNDED, dead_share, saturated_share

TRACED_STEPS = 32_768  # of all sequences and cells together, so that autograd's memory stays within about 300 MB
FEWEST_TRACED, MOST_TRACED = 4, 128  # sequences that are traced
SHUT = 0.01  # this close to 0 or 1, a sigmoid has a slope of at most 4 % of its steepest

GATE_LETTERS = {GRU: "rzn", LSTM: "ifgo"}  # the letters of the rows of weight_hh


class Vitals(NamedTuple):
    """Measurements of one direction of one layer.

    Attributes:
        gradient: (time,) by steps before the end
        activation: (time,) by steps before the end
        saturated: fraction of the outputs; None if they are unbounded
        dead: fraction of the units
        gates: fraction of each gate's values that are open or shut
    """

    gradient: Tensor
    activation: Tensor
    saturated: float | None
    dead: float
    gates: dict[str, float] | None


def examine_layers(model: SequenceClassifier, data: SequenceData | None) -> tuple[LayerHealth, ...]:
    """Measure each layer and direction.

    Args:
        model: in eval mode; with data, gradients must be switched on.
        data: sequences on the model's device, of which as many are traced as memory allows; None measures only the
            weights.
    """
    measured = iter(_traced(model, data) if data is not None and len(data) else ())
    healths = []
    for number, layer in enumerate(model.layers, start=1):
        for cell, direction in zip(layer, ("forward", "backward"), strict=False):  # type: ignore[call-overload]
            vitals = next(measured, None)
            values = {} if vitals is None else vitals._asdict()
            for name in ("gradient", "activation"):
                values[name] = () if vitals is None else tuple(values[name].tolist())
            healths.append(LayerHealth(number, direction, **values, radius=radii(cell)))
    return tuple(healths)


def _traced(model: SequenceClassifier, data: SequenceData) -> list[Vitals]:
    steps = max(1, data.time) * sum(isinstance(module, Cell) for module in model.modules())
    batch = next(data.batches(min(MOST_TRACED, max(FEWEST_TRACED, TRACED_STEPS // steps))))
    if not batch.x.shape[1]:
        return []
    trace = trace_states(model, batch.x, batch.lengths)
    norms = trace.gradient_norms(batch.y)
    with torch.no_grad():
        return [
            _vitals(model, cell, norm, hidden, trace.lengths)
            for cells, *values in zip(trace.cells, norms, trace.hidden(), strict=True)
            for cell, norm, hidden in zip(cells, *values, strict=True)
        ]


def _vitals(model: SequenceClassifier, cell: Traced, norm: Tensor, hidden: Tensor, lengths: Tensor | None) -> Vitals:
    relu = model.config.nonlinearity == "relu"
    squares = hidden.double().square().mean(dim=2)
    valid = valid_steps(hidden, lengths)
    bounded = model.config.cell in BOUNDED and not relu
    return Vitals(
        gradient=before_the_end(norm.double(), lengths, cell.backwards),
        activation=before_the_end(squares, lengths, cell.backwards).sqrt(),
        saturated=saturated_share(valid) if bounded and valid.numel() else None,
        dead=dead_share(valid, relu) if len(valid) else 0.0,
        gates=_gates(cell, lengths),
    )


def before_the_end(values: Tensor, lengths: Tensor | None, backwards: bool) -> Tensor:
    """Return means over sequences by steps before the end of reading, (time,); NaN if no sequence is that long.

    Args:
        values: (batch, time) at time steps.
        lengths: (batch,) int64, or None where all are full.
        backwards: whether time step 0 is read last.
    """
    time = torch.arange(values.shape[1], device=values.device)
    if lengths is None:
        return (values if backwards else values.flip(1)).mean(dim=0)
    valid_mask = time < lengths.unsqueeze(1)
    if not backwards:
        values = values.gather(1, (lengths.unsqueeze(1) - 1 - time).clamp(min=0))
    return torch.where(valid_mask, values, 0).sum(dim=0) / valid_mask.sum(dim=0)


def _gates(traced: Traced, lengths: Tensor | None) -> dict[str, float] | None:
    """Return the fraction of each gate's values that are open or shut, recomputed from the states."""
    cell = traced.cell
    try:
        plan = compile_step(copy.deepcopy(cell).to("cpu", torch.float32))
    except NotCompiledError:
        return None
    first = cell.initial_state(len(traced.inputs[0]), dtype=traced.inputs[0].dtype, device=traced.inputs[0].device)
    before = [(first,) if isinstance(first, Tensor) else tuple(first), *traced.states[:-1]]
    x = valid_steps(traced.over_time(traced.inputs), lengths)
    state = [valid_steps(traced.over_time(list(part)), lengths) for part in zip(*before, strict=True)]
    values = gate_values(plan, cell, x, state)
    shares = {
        name: float(((value < SHUT) | (value > 1 - SHUT)).float().mean())
        for name, value in values.items()
        if len(value)
    }
    return shares or None


def radii(cell: Cell) -> dict[str, float] | None:
    """Return the spectral radius of each square block of ``weight_hh``; None if a weight is not finite."""
    with torch.no_grad():
        if isinstance(cell, LRU):
            return {"λ": float(torch.exp(-torch.exp(cell.nu_log)).max())}
        if isinstance(cell, IndRNN):
            return {"u": float(cell.weight_hh.abs().max())}
        if not has_recurrent_matrix(cell):
            return None
        weight: Tensor = cell.get_parameter("weight_hh").detach().cpu().double()
        if weight.shape[0] % cell.hidden_size or not bool(weight.isfinite().all()):
            return None
        blocks = weight.split(cell.hidden_size)
        letters = GATE_LETTERS.get(type(cell), "h" if len(blocks) == 1 else [str(n) for n in range(1, len(blocks) + 1)])
        return {
            letter: float(torch.linalg.eigvals(block).abs().max())
            for letter, block in zip(letters, blocks, strict=True)
        }
