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
        recordings: (N,) int64, number of the recording that each is a window of; None if they are not windows
    """

    logits: Tensor
    y: Tensor
    classes: tuple[str, ...]
    fingerprint: str
    recordings: Tensor | None = None

    @classmethod
    def of(cls, model: nn.Module, data: SequenceData) -> Predictions:
        """Return the predictions of ``model`` on ``data``; raises what `unroll.evaluate` does."""
        logits, y = logits_of(model, data), data.y.cpu()
        return cls(logits, y, data.preparation.classes, data.fingerprint(), data.recordings)

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
        return self.evaluated()

    def evaluated(self, calibration: Calibration | None = None) -> Evaluation:
        """Return the metrics of these predictions, for which recordings are classified as with ``calibration``."""
        return Evaluation.of(self.logits, self.y, self.classes).with_recordings(self.recordings, calibration)
