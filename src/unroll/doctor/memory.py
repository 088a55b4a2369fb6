"""How far back a model remembers: one step's input is exchanged, and the logits are watched."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..data.sequences import SequenceData
from ..models.classifier import SequenceClassifier
from ..models.modes import inference
from .examination import Memory

POSITIONS = 40  # steps that are tried, of longer sequences
FEWEST_TRIED, MOST_TRIED = 4, 64  # sequences that are tried
WORK = 1e9  # multiplications for each position; of a GRU on 784 steps of a pixel all 40 then take some seconds
AT_ONCE = 131_072  # time steps that are read at once, for memory's sake
# Share of the largest effect from which a step is heard. What is below cannot turn an answer but where two classes are
# all but even, and it is still far above the rounding of float32, 1e-6 and less.
HEARD = 0.01
NOISE = 1e-5  # of the largest logit: in float32 the rounding, other in each batch, is a tenth of that


def measure_memory(model: SequenceClassifier, data: SequenceData) -> Memory | None:
    """Exchange the input at one step for another sequence's, at so many steps before that one's end; see `Memory`.

    Args:
        model: it is read by its own fused scans.
        data: sequences in random order, on the model's device; None is returned if fewer than two have a step.
    """
    time = data.x.shape[1]
    if data.lengths is not None:
        data = data.subset((data.lengths > 0).nonzero()[:, 0])
    if len(data) < 2 or not time:
        return None
    x, _, lengths = data.batch(slice(affordable(model, time, WORK, FEWEST_TRIED, MOST_TRIED)))
    count = torch.full((len(x),), time, device=x.device) if lengths is None else lengths
    time = int(count.max())
    offsets = positions(time)
    with inference(model):
        plain = model(x, lengths)
        effects = []
        size = max(1, AT_ONCE // (len(x) * x.shape[1]))
        for at in range(0, len(offsets), size):
            some = offsets[at : at + size]
            changed = torch.cat([_exchanged(x, count, offset) for offset in some])
            logits = model(changed, None if lengths is None else lengths.repeat(len(some)))
            change = (logits.view(len(some), *plain.shape) - plain).double().norm(dim=2)
            for offset, moved in zip(some, change, strict=True):
                effects.append(float(moved[count > offset].mean()))
    steps, heard = _heard(offsets, effects, time, NOISE * float(plain.abs().max()))
    return Memory(tuple(offsets), tuple(effects), steps, heard, time)


def affordable(model: SequenceClassifier, time: int, work: float, fewest: int, most: int) -> int:
    """Return how many sequences of so many steps ``model`` reads with about ``work`` multiplications."""
    weights = sum(parameter.numel() for parameter in model.layers.parameters())
    return min(most, max(fewest, int(work / (1 + weights * time))))


def positions(time: int) -> list[int]:
    """Return at most `POSITIONS` steps before the end: half of them evenly, half closer together towards the end."""
    if time <= POSITIONS:
        return list(range(time))
    half = POSITIONS // 2
    offsets = np.concatenate([np.linspace(0, time - 1, half), np.geomspace(1, time, half) - 1])
    return [int(offset) for offset in np.unique(offsets.round())]


def _exchanged(x: Tensor, count: Tensor, offset: int) -> Tensor:
    """Return ``x`` with the input at so many steps before the end as the next sequence has it there."""
    rows = torch.arange(len(x), device=x.device)
    own, others = (count - 1 - offset).clamp(min=0), (count.roll(-1) - 1 - offset).clamp(min=0)
    changed = x.clone()
    changed[rows, own] = x.roll(-1, dims=0)[rows, others]
    return changed


def _heard(offsets: list[int], effects: list[float], time: int, noise: float) -> tuple[int, float]:
    """Return within how many last steps all that is heard lies, and the share of steps that are heard.

    What is not above ``noise`` is not.
    """
    largest = max(effects)
    if not all(map(math.isfinite, effects)) or largest <= noise:
        return 0, 0.0
    heard = [effect > max(HEARD * largest, noise) for effect in effects]
    # A step that was tried stands for those from it up to the next one that was.
    ends = [*offsets[1:], time]
    spans = [(offset, end) for offset, end, is_heard in zip(offsets, ends, heard, strict=True) if is_heard]
    return 1 + max(offset for offset, _ in spans), sum(end - offset for offset, end in spans) / time
