"""Measure how far back a model remembers: replace one step's input, and see how the logits change."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..data.sequences import SequenceData
from ..models.classifier import SequenceClassifier
from ..models.modes import inference
from .examination import Memory

POSITIONS = 40  # most steps to try
FEWEST_TRIED, MOST_TRIED = 4, 64  # sequences to try
WORK = 1e9  # multiplications for each position; with a GRU on 784 steps, all 40 then take a few seconds
STEPS_AT_ONCE = 131_072  # bounds the memory of a batch
# Fraction of the largest effect from which a step counts. A smaller effect changes an answer only if two classes are
# almost equal, and is still far above float32's rounding, at most 1e-6.
HEARD = 0.01
NOISE = 1e-5  # of the largest logit: ten times float32's rounding, which differs between batches


def measure_memory(model: SequenceClassifier, data: SequenceData) -> Memory | None:
    """Replace the input at one step by another sequence's at the same distance from its end; see `Memory`.

    Args:
        model: its own fused scans compute the logits.
        data: sequences in random order, on the model's device; if fewer than two have a step, the result is None.
    """
    time = data.time
    if data.lengths is not None:
        data = data.subset((data.lengths > 0).nonzero()[:, 0])
    if len(data) < 2 or not time:
        return None
    x, _, lengths = data.batch(slice(model.affordable(time, WORK, FEWEST_TRIED, MOST_TRIED)))
    count = torch.full((len(x),), time, device=x.device) if lengths is None else lengths
    time = int(count.max())
    offsets = positions(time)
    with inference(model):
        plain = model(x, lengths)
        effects = []
        size = max(1, STEPS_AT_ONCE // (len(x) * x.shape[1]))
        for at in range(0, len(offsets), size):
            some = offsets[at : at + size]
            changed = torch.cat([_exchanged(x, count, offset) for offset in some])
            logits = model(changed, None if lengths is None else lengths.repeat(len(some)))
            change = (logits.view(len(some), *plain.shape) - plain).double().norm(dim=2)
            for offset, moved in zip(some, change, strict=True):
                effects.append(float(moved[count > offset].mean()))
    steps, heard = _heard(offsets, effects, time, NOISE * float(plain.abs().max()))
    return Memory(tuple(offsets), tuple(effects), steps, heard, time)


def positions(time: int) -> list[int]:
    """Return at most `POSITIONS` steps before the end: half evenly spaced, half closer together towards the end."""
    if time <= POSITIONS:
        return list(range(time))
    half = POSITIONS // 2
    offsets = np.concatenate([np.linspace(0, time - 1, half), np.geomspace(1, time, half) - 1])
    return [int(offset) for offset in np.unique(offsets.round())]


def _exchanged(x: Tensor, count: Tensor, offset: int) -> Tensor:
    """Return ``x`` with the input at ``offset`` steps before the end taken from the next sequence."""
    rows = torch.arange(len(x), device=x.device)
    own, following = (count - 1 - offset).clamp(min=0), (count.roll(-1) - 1 - offset).clamp(min=0)
    changed = x.clone()
    changed[rows, own] = x.roll(-1, dims=0)[rows, following]
    return changed


def used_share(memory: Memory) -> float:
    """Return which fraction of all effects on the logits comes from the first half of the time steps."""
    ends = [*memory.offsets[1:], memory.time]
    # Each tried step represents the steps up to the next tried one.
    whole = early = 0.0
    for offset, end, effect in zip(memory.offsets, ends, memory.effects, strict=True):
        whole += effect * (end - offset)
        early += effect * max(0, end - max(offset, memory.time // 2))
    return early / whole if whole > 0 else 0.0


def _heard(offsets: list[int], effects: list[float], time: int, noise: float) -> tuple[int, float]:
    """Return how many last steps contain all steps with an effect, and the fraction of steps that have one.

    Effects of at most ``noise`` do not count.
    """
    largest = max(effects)
    if not all(map(math.isfinite, effects)) or largest <= noise:
        return 0, 0.0
    heard = [effect > max(HEARD * largest, noise) for effect in effects]
    # Each tried step represents the steps up to the next tried one.
    ends = [*offsets[1:], time]
    spans = [(offset, end) for offset, end, is_heard in zip(offsets, ends, heard, strict=True) if is_heard]
    return 1 + max(offset for offset, _ in spans), sum(end - offset for offset, end in spans) / time
