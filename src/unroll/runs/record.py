"""The record of a run: settings, epochs and metrics, read without building the model."""

from __future__ import annotations

import math
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors

from ..data.columns import Columns
from ..errors import RunError
from ..evaluation.calibration import Calibration
from ..evaluation.metrics import Interval
from ..evaluation.predictions import Predictions
from ..training.results import EpochResult
from .artifacts import BestBaseline, read_baselines, read_calibration, read_evaluation, read_predictions
from .config_file import read_config
from .ensemble import history_of, is_finished, members
from .folder import EVALUATION, METRICS, WEIGHTS, checkpoints, first_line


@dataclass(frozen=True)
class Record:
    """The record of a finished run.

    Attributes:
        path: its folder
        settings: fields of `ModelConfig` and `TrainConfig` except the seed
        seed: of the training
        data: name or path of the training data
        reading: fields of `DataConfig`
        fingerprint: of the training data
        history: its epochs; of an ensemble means over its members, but the seconds of all
        kept_epoch: the epoch whose weights were saved
        parameters: number of the model's parameters; of an ensemble of all its members
        predictions: on the test set; None if they were not stored, or there is no test set
        accuracy: on the test set, a fraction; None without one
        interval: the accuracy's 95 % confidence interval (Wilson); None without a test set
        loss: mean cross entropy on the test set, in nats; None without one
        n: number of sequences in the test set
        correct: number of correct predictions
        baseline: the best result of ``unroll baseline``; None if that was not run
        calibration: of its confidence; None if no validation split was held out
        member_losses: of an ensemble the loss of each member on the test set; empty without one
        columns: what those of the data were taken for; None if it is not a table
    """

    path: Path
    settings: dict[str, Any]
    seed: int
    data: str
    reading: dict[str, Any]
    fingerprint: str
    history: tuple[EpochResult, ...]
    kept_epoch: int
    parameters: int
    predictions: Predictions | None
    accuracy: float | None
    interval: Interval | None
    loss: float | None
    n: int
    correct: int
    baseline: BestBaseline | None = None
    calibration: Calibration | None = None
    member_losses: tuple[float, ...] = ()
    columns: Columns | None = None

    @property
    def seconds(self) -> float:
        """Seconds of training, without validation."""
        return sum(epoch.seconds for epoch in self.history)

    @property
    def chosen_epoch(self) -> EpochResult:
        """The epoch whose weights were saved."""
        return next((result for result in self.history if result.epoch == self.kept_epoch), self.history[-1])

    @property
    def epochs(self) -> int:
        """The number of epochs trained."""
        return self.history[-1].epoch


def read_record(path: str | Path) -> Record:
    """Return the record of a finished run.

    Args:
        path: its folder.

    Raises:
        RunError: the run does not exist, is unfinished, was saved by hand, or is broken; the message names the file.
    """
    path = Path(path)
    config = read_config(path)
    if not is_finished(path, config):
        if config.ensemble > 1 or checkpoints(path):
            raise RunError(f"{path} is not finished: run 'unroll train --resume {shlex.quote(str(path))}' first")
        raise RunError(f"{path} has no {WEIGHTS} and cannot be resumed: its training failed")
    if (plan := config.plan) is None:
        raise RunError(f"{path} was saved by hand: it records neither its training nor an accuracy on a test set")
    history = tuple(history_of(path, config))
    if not history:
        raise RunError(f"{path / METRICS} is broken (it holds no epoch); train again")
    recipe = plan.recipe
    settings = {**asdict(recipe.model), **asdict(recipe.train)}
    file, parameters = path / EVALUATION, 0
    try:
        test = read_evaluation(path)
        if test is None:
            raise FileNotFoundError("it is missing")
        metrics = {key: test[key] for key in ("accuracy", "loss", "n", "correct")}
        metrics["interval"] = Interval(*test["interval"]) if test["n"] else None
        metrics["member_losses"] = tuple(member["loss"] for member in test.get("members", ()) if test["n"])
        for file in (member / WEIGHTS for member in members(path, config)):
            parameters += _count(file)
    except RunError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); train again") from error
    seed, predictions = settings.pop("seed"), read_predictions(path, config.preparation.classes)
    reading = asdict(plan.reading)
    return Record(
        path,
        settings,
        seed,
        plan.data,
        reading,
        config.fingerprint,
        history,
        test["epoch"],
        parameters,
        predictions,
        **metrics,
        baseline=read_baselines(path),
        calibration=read_calibration(path),
        columns=config.preparation.columns,
    )


def _count(file: Path) -> int:
    """Return the number of values in a file of weights, from its header."""
    with safetensors.safe_open(file, "pt") as content:
        names = content.keys()
        return sum(math.prod(content.get_slice(name).get_shape()) for name in names)
