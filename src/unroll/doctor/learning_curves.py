"""What the course of a training tells, judged without model or data."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..config import ModelConfig, TrainConfig
from ..training.results import EpochResult
from .examination import Finding
from .remedies import against_overfitting, lower_rate

ENOUGH = 3  # epochs, before which a training may still be about to begin to learn
# Of the way from chance to all right. Below that a model knows next to nothing; the last epochs' mean is taken, as of
# few sequences a single one may be lucky.
NOTHING = 0.1
SOMETHING = 0.3  # as far as training must have come for it to count that validation is left behind at chance
# Points between training and validation: a training that generalises as well as its data allows may show 15 (sentences
# in docs/results.md), one that learns by heart 30 and more.
GAP = 0.2
JUMP = 1.2  # times the lowest loss so far: an epoch's mean over hundreds of batches does not rise so by chance
FLOOR = 0.1  # nats; below that a loss may well double without any harm
ABOVE = 1.5  # times the loss of a model without preference, which even a fresh one seldom has
OFTEN = 0.2  # share of the epochs that jump, from which it is no accident


def lift(accuracy: float, chance: float) -> float:
    """Return how far from chance to all right an accuracy has come: 0 for chance, 1 for all right."""
    return (accuracy - chance) / (1 - chance) if chance < 1 else 1.0


def judge_history(
    history: Sequence[EpochResult],
    chance: float,
    classes: int,
    test_accuracy: float | None = None,
    model: ModelConfig | None = None,
    image: bool = False,
) -> Iterator[Finding]:
    """Yield what is wrong with the course of a training.

    Args:
        history: its epochs.
        chance: accuracy of always the most frequent class.
        classes: how many there are.
        test_accuracy: of the finished model; stands in where no validation part was held out (default None).
        model: settings, for remedies that they allow (default ``ModelConfig()``).
        image: whether it reads images, for remedies too (default False).
    """
    if len(history) < 2:
        return
    yield from _rate(history, classes)
    if len(history) < ENOUGH:
        return
    last = history[-1]
    known = [epoch.val_accuracy for epoch in history[-ENOUGH:] if epoch.val_accuracy is not None]
    held_out = sum(known) / len(known) if known else test_accuracy
    part = "validation" if known else "test"
    trained = lift(last.train_accuracy, chance)
    if trained < NOTHING:
        yield _nothing(history, chance, classes)
    elif held_out is None:
        return
    elif trained >= SOMETHING and lift(held_out, chance) < NOTHING:
        yield Finding(
            "shuffled labels",
            "error",
            f"after {len(history)} epochs {last.train_accuracy:.1%} of the training sequences are right, but "
            f"{held_out:.1%} of the {part} sequences, and always the most frequent class would get {chance:.1%}: what "
            "was learned was learned by heart",
            "to look for labels that were shuffled, or shifted by a row against the sequences ('unroll explore' shows "
            "some of each class), or for inputs that say nothing of the class; no flag of unroll train mends that",
        )
    elif last.train_accuracy - held_out > GAP:
        yield Finding(
            "overfitting",
            "warning",
            f"after {len(history)} epochs {last.train_accuracy:.1%} of the training sequences are right, of the {part} "
            f"sequences {held_out:.1%}",
            against_overfitting(history, model or ModelConfig(), image),
        )


def _rate(history: Sequence[EpochResult], classes: int) -> Iterator[Finding]:
    """Judge whether the loss jumps, or stays above that of a model without preference."""
    lowest, jumps, worst = math.inf, 0, (0.0, 0, 0.0, 0.0)
    for epoch in history:
        if epoch.train_loss > max(JUMP * lowest, lowest + FLOOR):
            jumps += 1
            worst = max(worst, (epoch.train_loss - lowest, epoch.epoch, epoch.train_loss, lowest))
        lowest = min(lowest, epoch.train_loss)
    _, number, loss, before = worst
    chance = math.log(classes)
    if jumps >= max(1, OFTEN * len(history)):
        what = (
            f"the training loss jumps up in {jumps} of {len(history)} epochs, in epoch {number} to {loss:.3g}, "
            f"where the lowest before was {before:.3g}"
        )
    elif history[-1].train_loss > ABOVE * chance:
        what = (
            f"after {len(history)} epochs the training loss is {history[-1].train_loss:.3g}, and ln({classes}) = "
            f"{chance:.3g} is that of a model without preference"
        )
    else:
        return
    rate = max(epoch.lr for epoch in history)
    yield Finding(
        "learning rate too high",
        "warning",
        f"{what}; the learning rate went up to {rate:.2g}",
        f"--lr {lower_rate(rate):.1g}, and --clip-norm {TrainConfig.clip_norm:g} if it was switched off",
    )


def _nothing(history: Sequence[EpochResult], chance: float, classes: int) -> Finding:
    losses, rate = [epoch.train_loss for epoch in history], max(epoch.lr for epoch in history)
    ways = [f"--lr {lower_rate(rate):.1g}" if rate > 5 * TrainConfig.lr else f"--lr {10 * rate:.1g}"]
    if losses[-1] == min(losses):
        ways.insert(0, f"--epochs {4 * len(history)}, as the loss still falls")
    return Finding(
        "nothing learned",
        "error",
        f"after {len(history)} epochs {history[-1].train_accuracy:.1%} of the training sequences are right, where "
        f"always the most frequent class would get {chance:.1%}; the training loss never was below {min(losses):.3f}, "
        f"and ln({classes}) = {math.log(classes):.3f} is that of a model without preference",
        f"{' or '.join(ways)}; if that does not help, look for labels that were shuffled ('unroll explore')",
    )
