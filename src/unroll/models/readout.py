"""Readouts: what becomes of a sequence of hidden states when it is to be one vector.

Each is a fold: it adds one chunk of time steps after the other to what it holds, so that a whole sequence, its chunks
under truncated backpropagation, and a stream without end are read by the same lines.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import torch
from torch import Tensor, nn

from ..scan.padding import valid_mask

Held = tuple[Tensor, ...]  # what a readout keeps of the steps so far; its size does not depend on their number


class Readout(nn.Module, ABC):
    """Abstract: hidden states (batch, time, width) to a vector (batch, width)."""

    @abstractmethod
    def add(self, held: Held | None, outputs: Tensor, ends: Tensor, lengths: Tensor | None) -> Held:
        """Return what is held after a chunk.

        Args:
            held: what `add` returned for the chunk before; None before the first.
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
        # Not ends throughout: that of a sequence over before this chunk has lost its gradient, if chunks are detached.
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
        """Hold the highest values, -∞ where there was no step yet; see `Readout.add`."""
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

    Parameters: ``projection`` with W (width, width) and b (width,), and ``query`` q (width,), whatever the model's
    ``init`` uniform within ±1/√width.

    Args:
        width: units of all directions.

    Source: additive attention with a query of its own, Z. Yang et al., Hierarchical Attention Networks for Document
    Classification, NAACL 2016, equations 5 to 7; chunk by chunk as in M. Milakov and N. Gimelshein, arXiv:1805.02867.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(width, width)
        self.query = nn.Parameter(torch.empty(width).uniform_(-(width**-0.5), width**-0.5))

    def add(self, held: Held | None, outputs: Tensor, ends: Tensor, lengths: Tensor | None) -> Held:
        """Hold the highest score, and relative to it the sums of weights and of weighted states; see `Readout.add`."""
        batch, time, _ = outputs.shape
        scores = torch.tanh(self.projection(outputs)) @ self.query
        if lengths is not None:
            scores = scores.masked_fill(~valid_mask(time, lengths), -math.inf)
        # Any number will do for the highest in what is differentiated; a finite one, as -∞ - -∞ is none.
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
        return total / weight.clamp(min=1).unsqueeze(1)  # the step of the highest score alone weighs 1


def make_readout(name: str, width: int) -> Readout:
    """Return the readout of a name as in `unroll.ModelConfig`, over ``width`` units."""
    readouts: dict[str, Callable[[], Readout]] = {"last": Last, "mean": Mean, "max": Max}
    return Attention(width) if name == "attention" else readouts[name]()
