"""Read one sequence step by step: the hidden state and the prediction after each step."""

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
    """A sequence, with a model's states and predictions after each step.

    Attributes:
        data: the sequence, without padding
        hidden: (time, units) float32, outputs of the last layer, in a bidirectional model the forward units first; with
            frames, after the first frame that a step is in; with a stem, those that belong to its block
        probabilities: (time, classes) float32, the prediction after each step, as if the sequence ended there
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
        """The true class."""
        return int(self.data.y[0])

    @property
    def decided(self) -> int:
        """The time step, from 1, since which the predicted class has been the final one."""
        undecided = (self.probabilities.argmax(dim=1) != self.predicted).nonzero()
        return int(undecided.max()) + 2 if len(undecided) else 1

    def name(self, label: int) -> str:
        """Return the name of a class."""
        return self.data.preparation.classes[label]


def watch(
    model: SequenceClassifier, data: SequenceData, number: int = 0, calibration: Calibration | None = None
) -> Watched:
    """Return the states and predictions of ``model`` after each step of one sequence.

    Args:
        model: trained; it does not change.
        data: prepared as its training data was.
        number: index of the sequence (default 0).
        calibration: from `unroll.calibrate` (default None: uncalibrated).

    Raises:
        InputError: there is no such sequence, or it is empty.
    """
    if not 0 <= number < len(data):
        raise InputError(f"number must be from 0 to {len(data) - 1}, got {number}")
    item = data.subset(torch.tensor([number], device=data.y.device)).unpadded()
    time = item.time
    if item.lengths is not None or not time:
        raise InputError(f"sequence {number} is empty: choose one with at least 1 time step")
    fractions = [step / time for step in range(1, time + 1)]
    logits = logits_after(model, item, fractions)[:, 0]
    if calibration is not None:
        logits = logits / calibration.at(fractions).unsqueeze(1)
    with inference(model):
        device = next(model.parameters()).device
        stages = model.stages(item.batch(slice(None)).x.to(device))
    (*_, hidden) = [stage.values for stage in stages if stage.name.startswith("layer")]
    after = model.layer_steps(torch.arange(1, time + 1)) - 1
    return Watched(item, hidden[0].float().cpu()[after], logits.softmax(dim=1))
