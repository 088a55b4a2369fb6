"""What a model said of labelled sequences, kept: for comparing models, and for looking at them without their data."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..data.sequences import SequenceData
from ..errors import RunError
from ..folder import EVALUATION, PREDICTIONS, first_line, read_json, write
from ..formatting import quoted, shown
from ..validation import LARGEST, check_whole, is_number
from .calibration import Calibration
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
        _check(logits, y, len(classes))
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); remove it, or train again") from error
    return Predictions(logits, y, classes, fingerprint)


def _check(logits: Tensor, y: Tensor, classes: int) -> None:
    if logits.dtype != torch.float32 or y.dtype != torch.int64:
        raise ValueError(f"logits and y must be float32 and int64, got {logits.dtype} and {y.dtype}")
    if y.dim() != 1 or logits.shape != (len(y), classes) or not len(y):
        shapes = f"{shown(tuple(logits.shape))} and y of {shown(tuple(y.shape))}"
        raise ValueError(f"logits of shape {shapes} do not fit {classes} classes")
    if not logits.isfinite().all():
        raise ValueError("logits are NaN or infinite")
    if not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(f"y must be from 0 to {classes - 1}, got {int(y.min())} to {int(y.max())}")


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """Return what `Evaluation.to_dict` said of the test part; None where a run's folder keeps nothing.

    Args:
        path: the folder.

    Raises:
        RunError: the file is broken.
    """
    file = path / EVALUATION
    if not file.exists():
        return None
    try:
        found = read_json(file)
        accuracy, n, (low, high) = found["accuracy"], found["n"], found["interval"]
        check_whole("n", n, 1)
        check_whole("correct", found["correct"], 0)
        _check_number("correct", found["correct"], n)
        for name, value in (("accuracy", accuracy), ("interval", low), ("interval", high)):
            _check_number(name, value, 1)
        _check_number("loss", found["loss"], LARGEST)
        if not isinstance(found.get("weights", ""), str):
            raise ValueError(f"weights must be a text, got {quoted(found['weights'])}")
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); copy it again, or train again") from error
    return found


def _check_number(name: str, value: object, most: float) -> None:
    if not is_number(value, 0, most):
        raise ValueError(f"{name} must be a number from 0 to {most:g}, got {quoted(value)}")
