"""A cross-validation as its folder holds it: what each fold gave, their mean, and what was answered out of fold."""

from __future__ import annotations

import csv
import shlex
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...data.folds import Cut
from ...errors import RunError
from ...evaluation.metrics import Interval
from ...evaluation.predictions import Predictions
from ...evaluation.significance import wilson
from ...validation import CROSSVAL, FOLDS, REFIT, check_run
from ..artifacts import read_calibration, read_predictions
from ..config_file import read_config
from ..ensemble import is_complete
from ..folder import (
    OUT_OF_FOLD,
    first_line,
    read_json,
    write_json,
)
from ..storage import Run, load_run

FORMAT = 1
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "loss")


@dataclass(frozen=True)
class Fold:
    """A fold of a cross-validation; the results are None until its run is finished.

    Attributes:
        number: of the run, from 1; the folds of a second repeat follow those of the first
        fold: that was held out, from 1
        repeat: of the whole, from 1
        trained_on: sequences that the run could train and validate on
        n: sequences held out
        groups: whole groups, or of windows recordings, held out; None where the data has none
        accuracy: on the fold, a fraction
        balanced_accuracy: mean recall of the classes in the fold
        macro_f1: their mean F1
        roc_auc: their mean area under the ROC curve; None too if the fold holds one class only
        loss: mean cross entropy on the fold, in nats
        correct: number of correct predictions
        seconds: of training
    """

    number: int
    fold: int
    repeat: int
    trained_on: int
    n: int
    groups: int | None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    roc_auc: float | None = None
    loss: float | None = None
    correct: int | None = None
    seconds: float | None = None

    @property
    def run(self) -> str:
        """The run's folder, inside that of the cross-validation."""
        return f"{FOLDS}/{self.number}"

    @property
    def finished(self) -> bool:
        """Whether the results are known."""
        return self.accuracy is not None


class OutOfFold(NamedTuple):
    """What was answered for sequences by runs that were not trained on them, fold by fold.

    Attributes:
        logits: (N, classes) float32, calibrated where the run is
        y: (N,) int64 true classes
        classes: names
        rows: of each sequence its cells in ``oof.csv``, by the names of the columns
    """

    logits: Tensor
    y: Tensor
    classes: tuple[str, ...]
    rows: list[dict[str, str]]


@dataclass
class CrossValidation:
    """A cross-validation, finished or not.

    Attributes:
        path: its folder
        data: name or absolute path for `unroll.load`
        data_dir: the folder to search first for it
        fingerprint: of what the first run is trained and tested on
        recipe: the base of the settings
        settings: of all runs
        folds: that the data is divided into
        repeats: of the whole, each with another division and another seed
        cut: how the data is divided: "stratified", "group" for whole groups, "recording" for all windows of one, "time"
            where each fold is later than all that is trained on
        apart: sequences of the set's own test part, which is not used
        val_apart: whether the set has a validation part of its own, so that no run can be trained on all
        refits: whether a run is trained on all, see ``refit``
        results: fold by fold
    """

    path: Path
    data: str
    data_dir: str | None
    fingerprint: str
    recipe: str
    settings: dict[str, Any]
    folds: int
    repeats: int
    cut: Cut
    apart: int
    val_apart: bool = False
    refits: bool = False
    results: list[Fold] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether all folds are."""
        return all(result.finished for result in self.results)

    @property
    def n(self) -> int:
        """Sequences that are held out in one of the folds."""
        return sum(result.n for result in self.results if result.repeat == 1)

    def values(self, metric: str) -> list[float]:
        """Return a metric of `METRICS` on each finished fold that has it."""
        values = (getattr(result, metric) for result in self.results)
        return [value for value in values if value is not None]

    def mean(self, metric: str = "accuracy") -> float | None:
        """Return the mean over the folds; None if no fold has the metric."""
        return fmean(values) if (values := self.values(metric)) else None

    def deviation(self, metric: str = "accuracy") -> float | None:
        """Return the standard deviation over the folds (n - 1 in its denominator); None of a single fold."""
        return stdev(values) if len(values := self.values(metric)) > 1 else None

    @property
    def accuracy(self) -> float | None:
        """Fraction of the out-of-fold predictions that are correct; None until all folds are finished."""
        correct = [result.correct for result in self.results if result.correct is not None]
        return sum(correct) / (self.n * self.repeats) if self.finished else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of ``accuracy`` (Wilson); repeats do not make it narrower."""
        return None if (accuracy := self.accuracy) is None else Interval(*wilson(round(accuracy * self.n), self.n))

    @property
    def refit(self) -> Run | None:
        """The run with the same settings on all, loaded; None if not asked for."""
        path = self.path / REFIT
        return load_run(path) if self.refits and is_complete(path) else None

    def out_of_fold(self) -> OutOfFold:
        """Return the answers of the runs of a finished cross-validation.

        Raises:
            RunError: it is not finished, or a file is missing or broken.
        """
        if not self.finished or not (self.path / OUT_OF_FOLD).is_file():
            raise RunError(f"{self.path} is not finished: run 'unroll crossval --resume {shlex.quote(str(self.path))}'")
        answers = [answers_of(self.path / result.run) for result in self.results]
        with (self.path / OUT_OF_FOLD).open(encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: (int(row.get("repeat", 1)), int(row["fold"])))
        logits, y = (torch.cat(each) for each in zip(*((a.logits, a.y) for a in answers), strict=True))
        if len(rows) != len(y):
            raise RunError(f"{self.path / OUT_OF_FOLD} has {len(rows)} rows, expected {len(y)}: copy it again")
        return OutOfFold(logits, y, answers[0].classes, rows)

    def change(self, result: Fold) -> None:
        """Put a fold's results in place, and save the whole."""
        self.results[result.number - 1] = result
        self.save()

    def save(self) -> None:
        """Write crossval.json."""
        write_json(self.path / CROSSVAL, self._state() | {"summary": self._summary()})

    def _state(self) -> dict[str, Any]:
        names = ["data", "data_dir", "fingerprint", "recipe", "settings", "folds", "repeats", "cut", "apart"]
        names += ["val_apart", "refits"]
        return {"format": FORMAT, **{name: getattr(self, name) for name in names}} | {
            "results": [asdict(result) for result in self.results]
        }

    def _summary(self) -> dict[str, Any] | None:
        if not self.finished:
            return None
        interval = self.interval
        metrics = {name: {"mean": self.mean(name), "deviation": self.deviation(name)} for name in METRICS}
        pooled = {"n": self.n, "accuracy": self.accuracy, "interval": interval and list(interval)}
        return {**metrics, "out_of_fold": pooled}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types: settings, folds, mean and deviation, and where the files are."""
        refitted = self.path / REFIT
        return {
            "crossval": str(self.path),
            **self._state(),
            "summary": self._summary(),
            "predictions": str(self.path / OUT_OF_FOLD) if self.finished else None,
            "refit": str(refitted) if self.refits and is_complete(refitted) else None,
        }


def read_cross_validation(path: str | Path) -> CrossValidation:
    """Return a cross-validation, finished or not.

    Args:
        path: its folder.

    Raises:
        RunError: the folder is not a cross-validation, or is broken.
    """
    path = Path(path)
    check_run(path, kind="cross-validation", file=CROSSVAL)
    file = path / CROSSVAL
    try:
        state = read_json(file)
        if (version := state.pop("format")) != FORMAT:
            raise ValueError(f"it has format {version}, expected {FORMAT}")
        del state["summary"]
        state["results"] = [Fold(**result) for result in state["results"]]
        return CrossValidation(path, **state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); start a new cross-validation") from error


def answers_of(path: Path) -> Predictions:
    """Return the predictions of a fold's run, its logits calibrated where it has a calibration."""
    predictions = read_predictions(path, read_config(path).preparation.classes)
    if predictions is None:
        raise RunError(f"{path} has no predictions of its fold: start again with --overwrite")
    calibration = read_calibration(path)
    temperature = 1.0 if calibration is None else calibration.temperature
    return replace(predictions, logits=predictions.logits / temperature)
