"""What a training reports: its progress within an epoch, and the result of each epoch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from ..config import Metric


class Progress(NamedTuple):
    """The progress of a training within an epoch.

    Attributes:
        epoch: from 1
        epochs: of the whole training
        step: training steps done in this epoch
        steps: training steps in this epoch
        loss: mean cross entropy since the last result, in nats
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float


@dataclass(frozen=True)
class EpochResult:
    """One pass over the training data, or several of a long training whose passes are a handful of steps.

    Attributes:
        epoch: the last one it covers, from 1
        train_loss: mean cross entropy over these epochs, in nats, while the weights changed
        train_accuracy: training accuracy over these epochs, while the weights changed; the final weights do better.
            With dropout, ``shift``, ``rotation`` or ``early`` of sequences so changed: of ``early`` of those cut off
            too
        val_loss: mean cross entropy on the validation split after the epoch; None without one
        val_accuracy: accuracy on the validation split after the epoch; None without one
        lr: learning rate of the last step
        seconds: time of training, without validation
        samples_per_second: training sequences per second
        val_balanced_accuracy: mean recall of the classes on the validation split; None without one
        val_macro_f1: their mean F1; None without one
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    seconds: float
    samples_per_second: float
    val_balanced_accuracy: float | None = None
    val_macro_f1: float | None = None

    def score(self, metric: Metric) -> float | None:
        """Return how good the epoch was on the validation part, the higher the better; None without such a part."""
        if metric == "loss":
            return None if self.val_loss is None else -self.val_loss
        scores = {"accuracy": self.val_accuracy, "balanced-accuracy": self.val_balanced_accuracy}
        return self.val_macro_f1 if metric == "macro-f1" else scores[metric]

    def __str__(self) -> str:
        """One line for ``print(epoch)``."""
        line = f"epoch {self.epoch}: train loss {self.train_loss:.4f}, accuracy {self.train_accuracy:.2%}"
        if self.val_loss is not None and self.val_accuracy is not None:
            line += f" | validation loss {self.val_loss:.4f}, accuracy {self.val_accuracy:.2%}"
        return f"{line} | {self.seconds:.1f} s, {self.samples_per_second:,.0f} sequences/s"
