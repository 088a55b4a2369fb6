"""Notice by the training loss alone that a training does no better than guessing: no clock, no validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import NamedTuple

WINDOW = 25  # training steps whose mean loss is one point of the curve
STAYS = 8  # points over which the loss must be that of guessing: two batches of bad luck are not enough
LEARNED = 0.85  # share of the loss of guessing that a training must have been below to have learned something
SURE = 4  # deviations of chance in the classes of some batches
ABOVE = 1.05  # times the loss of guessing at which one that has learned nothing is worse than stuck


class Guessing(NamedTuple):
    """The loss of the best answer that is always the same.

    Attributes:
        loss: mean cross entropy, in nats; ln(classes) where classes are even
        deviation: of the cross entropy from sequence to sequence; 0 where classes are even
    """

    loss: float
    deviation: float

    @classmethod
    def of(cls, counts: Sequence[int], weights: Sequence[float] | None = None, smoothing: float = 0.0) -> Guessing:
        """Return it for training sequences of each class.

        Args:
            counts: of each class.
            weights: of each class in the loss (default None: all 1).
            smoothing: fraction of each target that is spread over all classes (default 0).
        """
        weighted = [count * weight for count, weight in zip(counts, weights or [1.0] * len(counts), strict=True)]
        spread, n = smoothing / len(counts), sum(counts)
        logs = [math.log(p) if (p := (1 - smoothing) * w / sum(weighted) + spread) else 0.0 for w in weighted]
        rest = spread * sum(logs)
        losses = [
            -(weighted[k] / counts[k]) * ((1 - smoothing) * logs[k] + rest) for k in range(len(counts)) if counts[k]
        ]
        shares = [count / n for count in counts if count]
        mean = sum(share * loss for share, loss in zip(shares, losses, strict=True))
        square = sum(share * (loss - mean) ** 2 for share, loss in zip(shares, losses, strict=True))
        return cls(mean, math.sqrt(square))


@dataclass
class Losses:
    """The course of a training loss.

    Attributes:
        curve: mean loss of each `WINDOW` training steps
        window: losses of the steps since then
    """

    curve: list[float] = field(default_factory=list)
    window: list[float] = field(default_factory=list)

    def add(self, loss: float) -> None:
        """Add the loss of one step."""
        self.window.append(loss)
        if len(self.window) == WINDOW:
            self.curve.append(fmean(self.window))
            self.window = []

    @property
    def steps(self) -> int:
        """Training steps that the curve is of."""
        return WINDOW * len(self.curve)

    def have_risen(self, guessing: Guessing, batch_size: int) -> bool:
        """Tell whether the loss had fallen and is back at guessing for long, or rose well above it at once.

        A loss that stays there without ever falling does not restart a training: labels may be noise, or the training
        slow to start.

        Args:
            guessing: on the training data.
            batch_size: sequences in a step, by which a point of the curve depends on the classes that it met with.
        """
        if not (before := self.curve[:-STAYS]):
            return False
        last, noise = fmean(self.curve[-STAYS:]), guessing.deviation / math.sqrt(WINDOW * batch_size)
        if min(before) <= LEARNED * guessing.loss - SURE * noise:
            return last >= guessing.loss
        return last >= max(ABOVE * guessing.loss + SURE * noise, before[0])  # initial weights may be far off
