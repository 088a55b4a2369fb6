"""What a model said of labelled sequences, kept: for comparing models, and for looking at them without their data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from .calibration import Calibration
from .data.sequences import SequenceData
from .errors import RunError
from .evaluation import Evaluation, logits_of
from .folder import PREDICTIONS, first_line, write


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
        return (self.logits / (1.0 if calibration is None else calibration.temperature)).softmax(dim=1)

    @property
    def right(self) -> Tensor:
        """(N,) bool, where that is the true class."""
        return self.labels == self.y

    @property
    def evaluation(self) -> Evaluation:
        """The counts."""
        return Evaluation.of(self.logits, self.y, self.classes)

    def write(self, path: Path) -> None:
        """Keep them in a run's folder."""
        tensors = {"logits": self.logits.contiguous(), "y": self.y.contiguous()}
        write(path / PREDICTIONS, safetensors.torch.save(tensors, {"fingerprint": self.fingerprint}))


def read_predictions(path: Path, classes: tuple[str, ...]) -> Predictions | None:
    """Return what a run's folder keeps; None where it keeps nothing, as runs saved by hand and older ones.

    Args:
        path: the folder.
        classes: names of the run's.

    Raises:
        RunError: the file is broken.
    """
    file = path / PREDICTIONS
    if not file.exists():
        return None
    try:
        with safetensors.safe_open(file, "pt") as content:
            logits, y = content.get_tensor("logits"), content.get_tensor("y")
            fingerprint = content.metadata()["fingerprint"]
        if logits.shape != (len(y), len(classes)) or not logits.dtype == torch.float32 or not len(y):
            raise ValueError(f"logits of shape {tuple(logits.shape)} do not fit {len(classes)} classes")
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); remove it, or train again") from error
    return Predictions(logits, y, classes, fingerprint)
