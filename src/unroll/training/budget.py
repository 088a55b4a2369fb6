"""Turn a time to train in into a number of training steps: the only place where training reads the clock."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import replace

from torch import nn

from ..config import TrainConfig
from ..data.splits import Splits
from ..evaluation.metrics import evaluate
from .loop import Training

MEASURED = 0.05  # fraction of the budget for measuring, and seconds of it at most
LONGEST = 3.0
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
    most = min(LONGEST, MEASURED * config.budget_seconds)
    ticks = list[tuple[float, int]]()
    for _ in training.events():
        ticks.append((clock(), training.taken))
        if len(ticks) > 2 and ticks[-1][0] - ticks[0][0] > most:  # the first steps allocate memory
            break
    (first, before), (last, after) = ticks[0], ticks[-1]
    seconds = (last - first) / (after - before)
    if training.val and not training.history:
        evaluate(model, training.val)
        seconds += (clock() - last) / (training.steps * training.every)
    return seconds
