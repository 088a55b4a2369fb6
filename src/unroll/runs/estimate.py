"""How long a training will take, and how much memory it needs, by a few of its steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..data.sequences import SequenceData
from ..data.splits import Splits
from ..data.unusual import measure
from ..evaluation.anytime import calibrate, marks
from ..evaluation.metrics import EVALUATION_BATCH, evaluate, is_as_made
from ..training.budget import RESERVE, measure_pace
from ..training.loop import Training
from ..training.resident import peak_resident
from .checkpoint import SECONDS, packed
from .plan import Plan

STEPS_FOR = 1.5  # seconds of training steps
CALIBRATION_FOR = 0.5  # seconds, about, of predictions after parts of sequences
FEWEST = 16  # sequences of a validation part that these are measured on


@dataclass(frozen=True)
class Estimate:
    """What a training needs, from the data in memory to the finished run, by a few of its steps on this machine.

    Attributes:
        seconds: in all; of a training with early stopping the most
        memory: the most bytes of the process that are resident at a time, those of Python, the libraries and the data
            included, but none of a GPU; None if the system does not report it
        steps: training steps in all
        step: seconds of each, as a mean over the batches
        validation: seconds of the validations in all
        after: seconds after the last step: evaluation, calibration and checkpoints
        is_limit: whether the training may stop earlier
    """

    seconds: float
    memory: int | None
    steps: int
    step: float
    validation: float
    after: float
    is_limit: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {"seconds": self.seconds, "memory_bytes": self.memory, "training_steps": self.steps}


def estimate(plan: Plan, splits: Splits, clock: Callable[[], float] = time.perf_counter) -> Estimate:
    """Begin a training as `train_run` would, and return what the whole of it will take; nothing of it is kept.

    It takes about three seconds; longer where two training steps, or the predictions for a thousand sequences, do.

    Args:
        plan: with the settings chosen.
        splits: its data.
        clock: returns seconds.

    Raises:
        InputError: what `train_run` raises.
        TrainingError: the loss of the first steps is not finite.
    """
    began, config = clock(), plan.recipe.train
    splits.train.fingerprint()
    measure(splits.train)
    first = config.member(1)
    training = Training(plan.build(splits), splits, first)
    before = clock() - began
    pace = measure_pace(training, STEPS_FOR, clock)
    training.take_longest()
    parts = [data for data in (training.val, splits.test) if data is not None and len(data)]
    speed = _evaluation_speed(training, parts, clock) if parts else 0.0
    tests = speed * sum(map(_read, parts[-1:])) if len(splits.test) else 0.0
    result = pace.result or (speed * _read(training.val) if training.val else 0.0)
    calibration = _calibration(training, training.val, speed, clock) if training.val else 0.0
    began = clock()
    packed(training, "")
    checkpoint = clock() - began

    total, results = training.total, math.ceil(training.epochs / training.every)
    if first.budget and first.training_steps is None:
        each = pace.step + result / (training.steps * training.every)
        total = max(1, int((1 - RESERVE) * first.budget_seconds / each))
        results = total // (training.steps * training.every)
    running = total * pace.step + results * result
    after = tests + calibration + checkpoint * (2 + running / SECONDS)
    members = config.ensemble
    if members > 1:  # all are evaluated again, together
        before += members * (tests + (speed * _read(training.val) if training.val else 0.0))
    return Estimate(
        before + members * (running + after),
        peak_resident(),
        members * total,
        pace.step,
        members * results * result,
        before + members * after,
        bool(config.patience),
    )


def _read(data: SequenceData) -> int:
    """Return how many time steps an evaluation reads, padding included."""
    return sum(steps for _, steps in _parts(data))


def _parts(data: SequenceData) -> list[tuple[slice | torch.Tensor, int]]:
    """Return the batches of an evaluation, and the time steps of each, padding included."""
    lengths = data.steps_of_each.cpu()
    return [
        (part, max(1, len(own) * int(own.max())))
        for part in data.parts(EVALUATION_BATCH)
        if len(own := lengths[part if isinstance(part, slice) else part.cpu()])
    ]


def _evaluation_speed(training: Training, parts: list[SequenceData], clock: Callable[[], float]) -> float:
    """Return how many seconds a time step takes that an evaluation reads, in the batch that needs the most memory."""
    data, (part, steps) = max(
        ((data, largest) for data in parts for largest in (max(_parts(data), key=lambda each: each[1]),)),
        key=lambda each: each[1][1],
    )
    index = torch.arange(len(data), device=data.y.device)[part]
    began = clock()
    evaluate(training.model, data.subset(index))
    return (clock() - began) / steps


def _calibration(training: Training, val: SequenceData, speed: float, clock: Callable[[], float]) -> float:
    """Return the seconds of the calibration, measured on some of the validation part."""
    fractions = marks(val)
    causal = is_as_made(training.model) and training.model.is_causal
    reads = 1.0 if causal else sum(fractions)  # of each sequence
    whole = reads * speed * _read(val)
    count = len(val) if whole < CALIBRATION_FOR else max(FEWEST, int(len(val) * CALIBRATION_FOR / whole))
    some = val.subset(torch.from_numpy(np.linspace(0, len(val) - 1, min(count, len(val))).astype(np.int64)))
    began = clock()
    calibrate(training.model, some)
    return (clock() - began) * _read(val) / _read(some)
