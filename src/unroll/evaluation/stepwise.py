"""One sequence read step by step: what the hidden state is after each, and what the model would answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.sequences import SequenceData
from ..errors import InputError
from ..models.classifier import SequenceClassifier
from ..models.modes import inference
from .anytime import logits_after
from .calibration import Calibration


@dataclass(frozen=True)
class Watched:
    """A sequence on its way through a model.

    Attributes:
        data: it alone, without padding
        hidden: (time, units) float32, outputs of the last layer; of both directions, those that read forwards come
            first
        probabilities: (time, classes) float32, what the model would answer after each step if no other followed
    """

    data: SequenceData
    hidden: Tensor
    probabilities: Tensor

    @property
    def predicted(self) -> int:
        """The most probable class after the last step."""
        return int(self.probabilities[-1].argmax())

    @property
    def true(self) -> int:
        """The class that it is."""
        return int(self.data.y[0])

    @property
    def decided(self) -> int:
        """The time step, from 1, since which the most probable class has been the one it ends with."""
        undecided = (self.probabilities.argmax(dim=1) != self.predicted).nonzero()
        return int(undecided.max()) + 2 if len(undecided) else 1

    def name(self, label: int) -> str:
        """Return what a class is called."""
        return self.data.preparation.classes[label]


def watch(
    model: SequenceClassifier, data: SequenceData, number: int = 0, calibration: Calibration | None = None
) -> Watched:
    """Let ``model`` read one sequence and look at it after each step.

    Args:
        model: trained; left as it is.
        data: prepared as its training data was.
        number: which sequence (default 0).
        calibration: of the probabilities, see `unroll.calibrate` (default None: as they come).

    Raises:
        InputError: there is no such sequence, or it is empty.
    """
    if not 0 <= number < len(data):
        raise InputError(f"number must be from 0 to {len(data) - 1}, got {number}")
    item = data.subset(torch.tensor([number], device=data.y.device)).unpadded()
    time = item.time
    if item.lengths is not None or not time:
        raise InputError(f"sequence {number} is empty: there is nothing to watch")
    fractions = [step / time for step in range(1, time + 1)]
    logits = logits_after(model, item, fractions)[:, 0]
    if calibration is not None:
        logits = logits / calibration.at(fractions).unsqueeze(1)
    with inference(model):
        device = next(model.parameters()).device
        stages = model.stages(item.batch(slice(None)).x.to(device))
    (*_, hidden) = [stage.values for stage in stages if stage.name.startswith("layer")]
    return Watched(item, hidden[0].float().cpu(), logits.softmax(dim=1))
