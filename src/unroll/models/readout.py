"""Readouts: reduce a sequence of hidden states to one vector.

Each is a fold: it adds chunks of time steps to an accumulator, so that whole sequences, truncated backpropagation and
endless streams share the same code.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from ..scan.padding import valid_mask

Held = tuple[Tensor, ...]  # a readout's accumulator, whose size does not depend on the number of steps


class Readout(nn.Module, ABC):
    """Abstract: reduce hidden states (batch, time, width) to a vector (batch, width)."""

    @abstractmethod
    def add(self, held: Held | None, outputs: Tensor, ends: Tensor, lengths: Tensor | None) -> Held:
        """Return the accumulator after a chunk.

        Args:
            held: the result of `add` for the previous chunk; None before the first.
            outputs: (batch, time, width), zero past each length.
            ends: (batch, width), each direction's state after its last step.
            lengths: (batch,) int64 steps of the chunk that belong to each sequence, or None where all do.
        """

    @abstractmethod
    def result(self, held: Held) -> Tensor:
        """Return the vector (batch, width)."""


@final
class Last(Readout):
    """The hidden state after the last step; of an empty sequence the initial one."""

    def add(self, held: Held | None, outputs: Tensor, ends: Tensor, lengths: Tensor | None) -> Held:
        """Hold the state; see `Readout.add`. ``outputs`` may have 0 time steps."""
        if held is None or lengths is None:
            return (ends,)
        # Sequences that ended before this chunk keep their old state: in detached chunks the new one has no gradient.
        return (torch.where((lengths > 0).unsqueeze(1), ends, held[0]),)

    def result(self, held: Held) -> Tensor:
        """Return the state (batch, width)."""
        return held[0]


@final
class Mean(Readout):
    """The mean over the sequence's steps; of an empty sequence zeros."""

    def add(self, held: Held | None, outputs: Tensor, ends: Tensor, lengths: Tensor | None) -> Held:
        """Hold sum and count; see `Readout.add`."""
        batch, time, _ = outputs.shape
        total = outputs.sum(dim=1)
        count = torch.full((batch,), time, device=outputs.device) if lengths is None else lengths
        return (total, count) if held is None else (held[0] + total, held[1] + count)

    def result(self, held: Held) -> Tensor:
        """Return the mean (batch, width)."""
        total, count = held
        return total / count.clamp(min=1).unsqueeze(1)


@final
class Max(Readout):
    """Each unit's highest value over the sequence's steps; of an empty sequence zeros."""

    def add(self, held: Held | None, outputs: Tensor, ends: Tensor, lengths: Tensor | None) -> Held:
        """Hold the highest values, -∞ before the first step; see `Readout.add`."""
        batch, time, width = outputs.shape
        if lengths is not None:
            outputs = outputs.masked_fill(~valid_mask(time, lengths).unsqueeze(2), -math.inf)
        highest = outputs.amax(dim=1) if time else outputs.new_full((batch, width), -math.inf)
        return (highest if held is None else torch.maximum(held[0], highest),)

    def result(self, held: Held) -> Tensor:
        """Return the highest values (batch, width)."""
        return held[0].masked_fill(held[0] == -math.inf, 0)


@final
class Attention(Readout):
    """A mean weighted by a learned query: Σ α_t h_t with α = softmax(q·u), u_t = tanh(W h_t + b); if empty zeros.

    Parameters: ``projection`` with W (width, width) and b (width,), and ``query`` q (width,), uniform within
    ±1/√width for every ``init`` of the model.

    Args:
        width: units of all directions.

    Source: additive attention with a learned query, Z. Yang et al., Hierarchical Attention Networks for Document
    Classification, NAACL 2016, equations 5 to 7; chunk by chunk as in M. Milakov and N. Gimelshein, arXiv:1805.02867.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection: nn.Linear = nn.Linear(width, width)
        self.query: nn.Parameter = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))

    def add(self, held: Held | None, outputs: Tensor, ends: Tensor, lengths: Tensor | None) -> Held:
        """Hold the highest score, and the sums of weights and weighted states relative to it; see `Readout.add`."""
        batch, time, _ = outputs.shape
        scores = torch.tanh(self.projection(outputs)) @ self.query
        if lengths is not None:
            scores = scores.masked_fill(~valid_mask(time, lengths), -math.inf)
        # The result does not depend on this number, so it needs no gradient; it must be finite, as -∞ - -∞ is NaN.
        lowest = torch.finfo(scores.dtype).min
        peak = scores.detach().amax(dim=1).clamp(min=lowest) if time else scores.new_full((batch,), lowest)
        if held is not None:
            peak = torch.maximum(held[0], peak)
        weights = torch.exp(scores - peak.unsqueeze(1))
        weight, total = weights.sum(dim=1), (weights.unsqueeze(1) @ outputs).squeeze(1)
        if held is None:
            return peak, weight, total
        fade = torch.exp(held[0] - peak)
        return peak, fade * held[1] + weight, fade.unsqueeze(1) * held[2] + total

    def result(self, held: Held) -> Tensor:
        """Return the weighted mean (batch, width)."""
        _, weight, total = held
        return total / weight.clamp(min=1).unsqueeze(1)  # the step with the highest score has the weight 1


def make_readout(name: str, width: int) -> Readout:
    """Return the readout with a name from `unroll.ModelConfig`, over ``width`` units."""
    readouts: dict[str, Callable[[], Readout]] = {"last": Last, "mean": Mean, "max": Max}
    return Attention(width) if name == "attention" else readouts[name]()
