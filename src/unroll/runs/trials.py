"""The trainings of a sweep and the order of their settings. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from ..config.axes import Setting

Status = Literal["waiting", "running", "finished", "failed"]


@dataclass(frozen=True)
class Trial:
    """One training: a setting with a seed.

    Attributes:
        number: of the setting, from 1
        setting: values of the settings to choose
        seed: of the training
        run: name of the run's folder, inside the sweep's
        status: waiting, running (or interrupted), finished, or failed, for example because it diverged
        reason: why it failed
        val_accuracy: validation accuracy of the saved weights, a fraction; None unless finished
        val_loss: their validation loss, in nats
        score: settings are ranked by it, higher is better: the accuracy, or ``metric``; a loss is negated
        parameters: number of the model's parameters
        seconds: of training
    """

    number: int
    setting: Setting
    seed: int
    run: str
    status: Status = "waiting"
    reason: str = ""
    val_accuracy: float | None = None
    val_loss: float | None = None
    score: float | None = None
    parameters: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class Tried:
    """A setting and its trainings.

    Attributes:
        number: of the setting, from 1
        setting: values of the settings to choose
        trials: one for each seed
    """

    number: int
    setting: Setting
    trials: tuple[Trial, ...]

    @property
    def val_accuracies(self) -> list[float]:
        """Validation accuracies of its finished trainings, fractions."""
        return [trial.val_accuracy for trial in self.trials if trial.val_accuracy is not None]

    @property
    def finished(self) -> bool:
        """Whether all its trainings are finished."""
        return all(trial.status == "finished" for trial in self.trials)

    @property
    def mean(self) -> float | None:
        """Mean validation accuracy over the seeds, a fraction; None unless all are finished."""
        return fmean(self.val_accuracies) if self.finished else None

    @property
    def score(self) -> float | None:
        """Mean score over the seeds; None unless all are finished."""
        return fmean(trial.score for trial in self.trials if trial.score is not None) if self.finished else None

    @property
    def deviation(self) -> float | None:
        """Its standard deviation over the seeds (n - 1 in its denominator); None for a single seed."""
        return stdev(self.val_accuracies) if self.finished and len(self.trials) > 1 else None

    @property
    def val_loss(self) -> float:
        """Mean validation loss over its finished trainings, in nats."""
        return fmean(trial.val_loss for trial in self.trials if trial.val_loss is not None)


def ranked(trials: Sequence[Trial]) -> list[Tried]:
    """Return the settings, best mean score over the seeds first; then those that failed or are not finished."""
    numbers = dict.fromkeys(trial.number for trial in trials)
    settings = [
        Tried(own[0].number, own[0].setting, tuple(own))
        for own in ([trial for trial in trials if trial.number == number] for number in numbers)
    ]
    finished = [tried for tried in settings if tried.finished]
    finished.sort(key=lambda tried: (-(tried.score or 0.0), tried.val_loss))
    return finished + [tried for tried in settings if not tried.finished]
