"""What a model said of labelled sequences, kept: for comparing models, and for looking at them without their data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..data.sequences import SequenceData
from .calibration import Calibration, probabilities
from .metrics import Evaluation, logits_of


@dataclass(frozen=True)
class Predictions:
    """What a model said of labelled sequences.

    Attributes:
        logits: (N, classes) float32
        y: (N,) int64 true classes
        classes: names
        fingerprint: of the sequences, so that two models are compared only where both saw the same
    """

    logits: Tensor
    y: Tensor
    classes: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(cls, model: nn.Module, data: SequenceData) -> Predictions:
        """Let ``model`` read ``data``; raises what `unroll.evaluate` does."""
        return cls(logits_of(model, data), data.y.cpu(), data.preparation.classes, data.fingerprint())

    @property
    def labels(self) -> Tensor:
        """(N,) int64 most probable classes."""
        return self.logits.argmax(dim=1)

    def probabilities(self, calibration: Calibration | None = None) -> Tensor:
        """Return (N, classes) float32, calibrated where there is a calibration."""
        return probabilities(self.logits, calibration)

    @property
    def right(self) -> Tensor:
        """(N,) bool, where that is the true class."""
        return self.labels == self.y

    @property
    def evaluation(self) -> Evaluation:
        """The counts."""
        return Evaluation.of(self.logits, self.y, self.classes)
