"""What a run's folder says of a training: settings, epochs, counts. The model itself is not built for it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors

from ..errors import RunError
from ..evaluation.metrics import Interval
from ..evaluation.predictions import Predictions
from ..formatting import shown
from ..training.results import EpochResult
from .artifacts import read_evaluation, read_predictions
from .config_file import read_config
from .folder import EVALUATION, METRICS, WEIGHTS, checkpoints, first_line
from .history import read_history


@dataclass(frozen=True)
class Record:
    """What is written of a finished run.

    Attributes:
        path: its folder
        settings: fields of `ModelConfig` and `TrainConfig`, and the scaling; but for the seed
        seed: of the training
        data: name or path of what it was trained on
        reading: fields of `DataConfig`
        fingerprint: of the training data
        history: its epochs
        kept_epoch: after which of them the model had its weights
        parameters: numbers in the model's weights
        predictions: what it said of each sequence of the test part; None if they are not kept, or there is no such part
        accuracy: on the test part, a fraction; None without one
        interval: the accuracy's 95 % confidence interval (Wilson); None without a test part
        loss: mean cross entropy on the test part, in nats; None without one
        n: sequences of the test part
        correct: how many of them it has right
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

    @property
    def seconds(self) -> float:
        """Seconds of training, without validation."""
        return sum(epoch.seconds for epoch in self.history)

    @property
    def kept(self) -> EpochResult:
        """The epoch whose weights were kept."""
        return next((result for result in self.history if result.epoch == self.kept_epoch), self.history[-1])

    @property
    def epochs(self) -> int:
        """The number of epochs trained."""
        return self.history[-1].epoch


def read_record(path: str | Path) -> Record:
    """Return what is written of a finished run.

    Args:
        path: its folder.

    Raises:
        RunError: no such run, unfinished, saved by hand, or broken; the message says which file.
    """
    path = Path(path)
    config = read_config(path)
    if not (path / WEIGHTS).exists():
        if checkpoints(path):
            raise RunError(f"{path} is not finished: run 'unroll train --resume {shlex.quote(str(path))}' first")
        raise RunError(f"{path} has no {WEIGHTS} and cannot be resumed: its training failed")
    if (plan := config.plan) is None:
        raise RunError(f"{path} was saved by hand: it does not say how it was trained, or how it does on a test part")
    history = tuple(read_history(path))
    if not history:
        raise RunError(f"{path / METRICS} is broken (it holds no epoch); train again")
    recipe = plan.recipe
    settings = {**asdict(recipe.model), **asdict(recipe.train), "scaling": recipe.scaling}
    file = path / EVALUATION
    try:
        test = read_evaluation(path)
        if test is None:
            raise FileNotFoundError("it is missing")
        found = {key: test[key] for key in ("accuracy", "loss", "n", "correct")}
        found["interval"] = Interval(*test["interval"]) if test["n"] else None
        file = path / WEIGHTS
        parameters = _count(file)
    except RunError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); train again") from error
    seed, said = settings.pop("seed"), read_predictions(path, config.preparation.classes)
    reading = asdict(plan.reading)
    return Record(
        path, settings, seed, plan.data, reading, config.fingerprint, history, test["epoch"], parameters, said, **found
    )


def _count(file: Path) -> int:
    """Return how many numbers stand in a file of weights; its header is enough for that."""
    with safetensors.safe_open(file, "pt") as content:
        names = content.keys()
        return sum(math.prod(content.get_slice(name).get_shape()) for name in names)


def in_words(setting: Mapping[str, Any]) -> str:
    """Return a setting as "cell gru, lr 0.003".

    Example:
        >>> in_words({"cell": "gru", "bidirectional": False, "lr": 3e-3})
        'cell gru, bidirectional no, lr 0.003'
    """
    return ", ".join(f"{name} {value_in_words(value)}" for name, value in setting.items())


def value_in_words(value: object) -> str:
    """Return one value of a setting, as tables show it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else shown(str(value))
