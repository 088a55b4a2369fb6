"""Stored predictions on labelled sequences, for comparisons and reports without the data."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from ..data.sequences import SequenceData
from .calibration import Calibration, probabilities
from .metrics import Evaluation, logits_of


@dataclass(frozen=True)
class Predictions:
    """A model's predictions on labelled sequences.

    Attributes:
        logits: (N, classes) float32
        y: (N,) int64 true classes
        classes: names
        fingerprint: of the sequences, so that models are compared only on the same ones
    """

    logits: Tensor
    y: Tensor
    classes: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(cls, model: nn.Module, data: SequenceData) -> Predictions:
        """Return the predictions of ``model`` on ``data``; raises what `unroll.evaluate` does."""
        return cls(logits_of(model, data), data.y.cpu(), data.preparation.classes, data.fingerprint())

    @property
    def labels(self) -> Tensor:
        """(N,) int64 most probable classes."""
        return self.logits.argmax(dim=1)

    def probabilities(self, calibration: Calibration | None = None) -> Tensor:
        """Return (N, classes) float32, calibrated if a calibration is given."""
        return probabilities(self.logits, calibration)

    @property
    def right(self) -> Tensor:
        """(N,) bool, whether the prediction is correct."""
        return self.labels == self.y

    @property
    def evaluation(self) -> Evaluation:
        """The metrics of these predictions."""
        return Evaluation.of(self.logits, self.y, self.classes)
