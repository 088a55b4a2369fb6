"""How fast a training is, and how many of its steps fit into a time to train in."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import fmean
from typing import NamedTuple

import numpy as np
from torch import nn

from ..config import TrainConfig
from ..data.splits import Splits
from ..evaluation.metrics import evaluate
from .loop import Training
from .results import Progress

MEASURED = 0.05  # fraction of a training, or of a budget, for measuring, and seconds of it at most
LONGEST = 3.0
LEAST = 0.2  # seconds of measuring, however short the training
MANY = 10**9  # training steps: more than are measured
RESERVE = 0.05  # fraction of the budget for what comes after the last step


def within_budget(
    model: nn.Module, splits: Splits, config: TrainConfig, clock: Callable[[], float] = time.perf_counter
) -> TrainConfig:
    """Return ``config`` with as many ``training_steps`` as fit into its budget; unchanged if it has them, or no budget.

    The speed is that of a copy of ``model``, which is then thrown away: so a training with the number that results is
    the same to the bit, whether it was measured or given.

    Args:
        model: as for `Training`; it is not changed.
        splits: as for `Training`.
        config: settings; the members of an ensemble take equally many steps, so that all fit.
        clock: returns seconds.
    """
    if config.budget is None or config.training_steps is not None:
        return config
    began, member = clock(), config.member(1)
    seconds = seconds_per_step(copy.deepcopy(model), splits, replace(member, training_steps=MANY), clock)
    left = (1 - RESERVE) * member.budget_seconds - (clock() - began) / config.ensemble
    return replace(config, training_steps=max(1, int(left / seconds)))


def seconds_per_step(model: nn.Module, splits: Splits, config: TrainConfig, clock: Callable[[], float]) -> float:
    """Return how long a training step takes, its part of the validation included.

    Args:
        model: trained for some steps.
        splits: as for `Training`.
        config: settings.
        clock: returns seconds.
    """
    training = Training(model, splits, config)
    pace = measure_pace(training, min(LONGEST, MEASURED * config.budget_seconds), clock)
    seconds = pace.result
    if training.val and not training.history:
        began = clock()
        evaluate(model, training.val)
        seconds = clock() - began
    return pace.step + seconds / (training.steps * training.every)


class Pace(NamedTuple):
    """How fast a training is.

    Attributes:
        step: seconds of a training step, as a mean over the batches of an epoch
        result: seconds of the validation after an epoch; 0 if none was measured
    """

    step: float
    result: float


def measure_pace(training: Training, most: float, clock: Callable[[], float]) -> Pace:
    """Begin a training, and return its pace.

    The batches of an epoch differ in length, so what a few take is scaled by their time steps.

    Args:
        training: not begun; it is trained for some steps, at least two if it has them.
        most: seconds to measure for; longer if two steps take longer, shorter if the whole training is short.
        clock: returns seconds.
    """
    lengths, ticks = dict[int, np.ndarray](), list[tuple[float, int]]()
    validations, last, before = list[float](), clock(), (1, 0)
    least, until = last + LEAST, last + most
    for event in training.events(pause=lambda: clock() > until):
        now = clock()
        if isinstance(event, Progress):
            if event.epoch not in lengths:
                lengths = {event.epoch: training.batch_steps(event.epoch)}
            start = before[1] if before[0] == event.epoch else 0
            steps = lengths[event.epoch][start : event.step]
            ticks.append((now - last, int(steps.sum())))
            before = event.epoch, event.step
        else:
            validations.append(now - last)
        is_enough = now > until or (now > least and training.taken > MEASURED * training.total)
        if is_enough and len(ticks) > 1:
            break
        last = clock()
    seconds, read = (sum(values) for values in zip(*(ticks[1:] or ticks), strict=True))  # the first allocates memory
    return Pace(seconds / read * float(training.batch_steps(1).mean()), fmean(validations) if validations else 0.0)
