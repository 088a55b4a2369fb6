"""Judge a training by its history alone, without model or data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..config import ModelConfig, TrainConfig
from ..training.results import EpochResult
from .examination import Finding
from .remedies import against_overfitting, lower_rate

FEWEST_EPOCHS = 3  # with fewer, a training may still be about to learn
# Lift over chance below which a model has learned next to nothing. The mean of the last epochs is compared, as a single
# one can be lucky on few sequences.
NO_LIFT = 0.1
SOME_LIFT = 0.3  # training lift from which validation at chance is a finding
# Training accuracy minus validation accuracy: 15 points may be all that the data allows (sentences in docs/results.md);
# models that memorise have 30 or more.
ACCURACY_GAP = 0.2
LOSS_JUMP = 1.2  # times the lowest loss so far: the mean over hundreds of batches does not rise this much by chance
HARMLESS_JUMP = 0.1  # nats for each sequence of weight 1; a loss this small may double without harm
HIGH_LOSS = 1.5  # times the loss of equal probabilities, which even fresh models seldom have
MANY_JUMPS = 0.2  # fraction of the epochs


def lift(accuracy: float, chance: float) -> float:
    """Return the lift of an accuracy over chance: 0 for chance, 1 for all correct."""
    return (accuracy - chance) / (1 - chance) if chance < 1 else 1.0


def judge_history(
    history: Sequence[EpochResult],
    chance: float,
    classes: int,
    test_accuracy: float | None = None,
    model: ModelConfig | None = None,
    image: bool = False,
    weight: float = 1.0,
) -> Iterator[Finding]:
    """Yield findings about the history of a training.

    Args:
        history: its epochs.
        chance: accuracy of always predicting the most frequent class.
        classes: how many there are.
        test_accuracy: of the finished model; used if no validation split was held out (default None).
        model: settings, to suggest only remedies that they allow (default ``ModelConfig()``).
        image: whether it reads images, which allow more remedies (default False).
        weight: mean weight of its sequences in the training loss (default 1).
    """
    if len(history) < 2:
        return
    yield from _rate(history, classes, weight)
    if len(history) < FEWEST_EPOCHS:
        return
    last = history[-1]
    known = [epoch.val_accuracy for epoch in history[-FEWEST_EPOCHS:] if epoch.val_accuracy is not None]
    held_out = sum(known) / len(known) if known else test_accuracy
    part = "validation" if known else "test"
    trained = lift(last.train_accuracy, chance)
    if trained < NO_LIFT:
        yield _nothing(history, chance, classes, weight)
    elif held_out is None:
        return
    elif trained >= SOME_LIFT and lift(held_out, chance) < NO_LIFT:
        yield Finding(
            "shuffled labels",
            "error",
            f"after {last.epoch} epochs the training accuracy is {last.train_accuracy:.1%}, but the {part} accuracy "
            f"is {held_out:.1%}, where always predicting the most frequent class gets {chance:.1%}: the model has only "
            "memorised the training data",
            "look for labels that were shuffled, or shifted by a row against the sequences ('unroll explore' shows "
            "examples of each class), or for inputs unrelated to the class; no flag of unroll train fixes that",
        )
    elif last.train_accuracy - held_out > ACCURACY_GAP:
        yield Finding(
            "overfitting",
            "warning",
            f"after {last.epoch} epochs the training accuracy is {last.train_accuracy:.1%}, and the {part} accuracy "
            f"{held_out:.1%}",
            against_overfitting(history, model or ModelConfig(), image),
        )


def _rate(history: Sequence[EpochResult], classes: int, weight: float) -> Iterator[Finding]:
    """Judge whether the loss jumps, or stays above that of equal probabilities."""
    lowest, jumps, worst = math.inf, 0, (0.0, 0, 0.0, 0.0)
    for epoch in history:
        if epoch.train_loss > max(LOSS_JUMP * lowest, lowest + HARMLESS_JUMP * weight):
            jumps += 1
            worst = max(worst, (epoch.train_loss - lowest, epoch.epoch, epoch.train_loss, lowest))
        lowest = min(lowest, epoch.train_loss)
    _, number, loss, before = worst
    if jumps >= max(1, MANY_JUMPS * len(history)):
        what = (
            f"the training loss jumps up in {jumps} of {len(history)} epochs, in epoch {number} to {loss:.3g}, "
            f"after {before:.3g} at its lowest before"
        )
    elif (last := history[-1]).train_loss > HIGH_LOSS * weight * math.log(classes):
        what = (
            f"after {last.epoch} epochs the training loss is {last.train_loss:.3g}; equal probabilities would give "
            f"{_equal(classes, weight)}"
        )
    else:
        return
    rate = max(epoch.lr for epoch in history)
    yield Finding(
        "learning rate too high",
        "warning",
        f"{what}; the highest learning rate was {rate:.2g}",
        f"--lr {lower_rate(rate):.1g} --clip-norm {TrainConfig.clip_norm:g}",
    )


def _equal(classes: int, weight: float) -> str:
    """Return the loss of equal probabilities, in words."""
    times = "" if math.isclose(weight, 1) else f"mean class weight {weight:.3g} × "
    return f"{times}ln({classes}) = {weight * math.log(classes):.3f}"


def _nothing(history: Sequence[EpochResult], chance: float, classes: int, weight: float) -> Finding:
    losses, rate, last = [epoch.train_loss for epoch in history], max(epoch.lr for epoch in history), history[-1]
    ways = [f"--lr {lower_rate(rate):.1g}" if rate > 5 * TrainConfig.lr else f"--lr {10 * rate:.1g}"]
    if losses[-1] == min(losses):
        ways.insert(0, f"--epochs {4 * last.epoch}, as the loss still falls")
    return Finding(
        "nothing learned",
        "error",
        f"after {last.epoch} epochs the training accuracy is {last.train_accuracy:.1%}, where always "
        f"predicting the most frequent class gets {chance:.1%}; the lowest training loss was {min(losses):.3f}, where "
        f"equal probabilities give {_equal(classes, weight)}",
        f"{' or '.join(ways)}; if that does not help, look for labels that were shuffled ('unroll explore')",
    )
