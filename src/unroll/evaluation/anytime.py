"""Accuracy after parts of a sequence, and early stopping by confidence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data.sequences import SequenceData
from ..errors import ConfigError, DataError
from ..models.modes import inference
from .calibration import Calibration, fit_temperatures
from .metrics import EVALUATION_BATCH, in_order, is_as_made, logits_of

MARKS = 28  # parts of a sequence to predict after; for an image read row by row, each of its 28 rows
SURE = (0.8, 0.9, 0.95, 0.99)  # thresholds of confidence to stop at


class Stop(NamedTuple):
    """The result of reading each sequence only until the confidence reaches a threshold.

    Attributes:
        confidence: the threshold, a fraction
        accuracy: of the predictions made then, a fraction
        steps: mean time steps read
        share: fraction of the sequences that reached the threshold; the others were read to the end
    """

    confidence: float
    accuracy: float
    steps: float
    share: float


@dataclass(frozen=True)
class Anytime:
    """Accuracy and confidence of a model after parts of each sequence.

    Attributes:
        fractions: the parts of each sequence that were read, rounded up to whole time steps; ascending to 1
        steps: mean number of time steps in each part
        accuracy: after each part, a fraction
        confidence: mean calibrated probability of the predicted class after each part
        stops: results of stopping early
        calibrated: whether the confidences were calibrated
    """

    fractions: tuple[float, ...]
    steps: tuple[float, ...]
    accuracy: tuple[float, ...]
    confidence: tuple[float, ...]
    stops: tuple[Stop, ...]
    calibrated: bool

    @property
    def area(self) -> float:
        """Mean accuracy over the fraction read: the area under the curve.

        A fraction between two marks counts as the later one, as fractions are rounded up to whole time steps.
        """
        widths = [b - a for a, b in pairwise((0.0, *self.fractions))]
        return sum(width * accuracy for width, accuracy in zip(widths, self.accuracy, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "area": self.area,
            "calibrated": self.calibrated,
            "fractions": list(self.fractions),
            "steps": list(self.steps),
            "accuracy": list(self.accuracy),
            "confidence": list(self.confidence),
            "stops": [stop._asdict() for stop in self.stops],
        }


def marks(data: SequenceData) -> tuple[float, ...]:
    """Return the fractions of a sequence to predict after: each step, or 28 equal parts if there are more steps."""
    number = min(MARKS, max(1, data.time))
    return tuple(mark / number for mark in range(1, number + 1))


def steps_read(data: SequenceData, fractions: Sequence[float]) -> Tensor:
    """Return (marks, N) int64: the number of time steps in each fraction of each sequence, rounded up."""
    exact = torch.tensor(fractions, dtype=torch.float64).unsqueeze(1) * data.steps_of_each.cpu()
    return (exact - 1e-9).ceil().long().clamp(min=0)  # 3/28 of 28 is 3, not 4, though floats make it 3.0000000000000004


def logits_after(model: nn.Module, data: SequenceData, fractions: Sequence[float]) -> Tensor:
    """Return (marks, N, classes) float32 on the CPU: the logits after each fraction of each sequence.

    Later steps are not read; only the length of each sequence must be known. A unidirectional model continues from mark
    to mark, as a stream does; any other model, or one with a stem or that scales each series by itself, reads each part
    from its beginning.

    Args:
        model: a `SequenceClassifier`, or any model of x and lengths that returns logits.
        data: N sequences.
        fractions: parts of each sequence, ascending, above 0.

    Raises:
        DataError: ``data`` is empty.
    """
    if not len(data):
        raise DataError("predicting after parts of sequences needs at least 1 sequence, got 0")
    steps = steps_read(data, fractions)
    if not is_as_made(model) or not model.is_causal:
        return torch.stack([logits_of(model, replace(data, lengths=row.to(data.y.device))) for row in steps])
    device = next(model.parameters()).device
    parts, read = data.parts(EVALUATION_BATCH), []
    with inference(model):
        for part in parts:
            x = data.batch(part).x.to(device)
            stream = model.stream(len(x))
            chunks = _chunks(x, steps.to(data.y.device)[:, part].to(device))
            read.append(torch.stack([stream.feed(*chunk).float().cpu() for chunk in chunks]))
    return in_order(parts, read, dim=1)


def _chunks(x: Tensor, steps: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
    """Yield the steps of the sequences ``x`` from each mark to the next, and their number in each sequence.

    Args:
        x: (batch, time, …).
        steps: (marks, batch) int64, ascending.
    """
    start = torch.zeros_like(steps[0])
    for stop in steps:
        counts = stop - start
        longest = int(counts.max())
        index = start.unsqueeze(1) + torch.arange(longest, device=x.device)
        index = index.clamp(max=max(0, x.shape[1] - 1))
        chunk = x[torch.arange(len(x), device=x.device).unsqueeze(1), index]
        yield chunk, None if bool((counts == longest).all()) else counts
        start = stop


def calibrate(model: nn.Module, data: SequenceData) -> Calibration:
    """Fit temperatures for predictions at the end of sequences and after parts of them.

    Args:
        model: trained.
        data: labelled sequences used neither for training nor for testing: a validation split.

    Raises:
        DataError: ``data`` is empty.
    """
    fractions = marks(data)
    temperatures = fit_temperatures(logits_after(model, data, fractions), data.y.cpu())
    return Calibration(fractions, tuple(temperatures.tolist()), len(data))


class PartialAnswers(NamedTuple):
    """A model's predictions after each part of some sequences, calibrated.

    Attributes:
        fractions: the parts of each sequence that were read
        steps: (marks, N) int64 number of time steps in each part
        probabilities: (marks, N, classes) float32
    """

    fractions: tuple[float, ...]
    steps: Tensor
    probabilities: Tensor

    def stopped(self, confidence: float) -> tuple[Tensor, Tensor]:
        """Return the mark at which each sequence stops, (N,) int64, and whether it reached the threshold, (N,) bool.

        Marks are fractions of a sequence's own length, so the length must be known in advance, but not the later steps.

        Raises:
            ConfigError: ``confidence`` is not above 0 and at most 1.
        """
        check_confidence(confidence)
        sure = self.probabilities.max(dim=2).values >= confidence
        reached = sure.any(dim=0)
        return torch.where(reached, sure.int().argmax(dim=0), len(sure) - 1), reached


def check_confidence(confidence: float) -> None:
    """Raise `ConfigError` unless ``confidence`` is above 0 and at most 1."""
    if not 0 < confidence <= 1:
        raise ConfigError(f"the confidence to stop at must be above 0 and at most 1, got {confidence}")


def read_along(model: nn.Module, data: SequenceData, calibration: Calibration | None = None) -> PartialAnswers:
    """Return the predictions of ``model`` after each part of ``data``.

    Args:
        model: as for `logits_after`.
        data: N sequences.
        calibration: from `calibrate` (default None: uncalibrated).

    Raises:
        DataError: ``data`` is empty.
    """
    fractions = marks(data) if calibration is None else calibration.fractions
    logits = logits_after(model, data, fractions)
    if calibration is not None:
        logits = logits / torch.tensor(calibration.temperatures, dtype=logits.dtype)[:, None, None]
    return PartialAnswers(fractions, steps_read(data, fractions), logits.softmax(dim=2))


def evaluate_anytime(
    model: nn.Module, data: SequenceData, calibration: Calibration | None = None, sure: Sequence[float] = SURE
) -> Anytime:
    """Evaluate ``model`` after parts of each sequence, and with early stopping by confidence.

    Args:
        model: as for `unroll.evaluate`.
        data: labelled sequences.
        calibration: from `calibrate` (default None: uncalibrated).
        sure: thresholds of confidence to stop at (default 0.8, 0.9, 0.95 and 0.99).

    Raises:
        DataError: ``data`` is empty.
        ConfigError: a confidence is not above 0 and at most 1.
    """
    answers = read_along(model, data, calibration)
    y, each = data.y.cpu(), torch.arange(len(data))
    confidence, labels = answers.probabilities.max(dim=2)
    right = (labels == y).double()
    stops = []
    for threshold in sure:
        at, reached = answers.stopped(threshold)
        means = (right[at, each], answers.steps[at, each].double(), reached.double())
        stops.append(Stop(threshold, *(float(values.mean()) for values in means)))
    steps, accuracy, sureness = (tuple(v.double().mean(dim=1).tolist()) for v in (answers.steps, right, confidence))
    return Anytime(answers.fractions, steps, accuracy, sureness, tuple(stops), calibration is not None)
