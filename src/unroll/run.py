"""The one road from settings to a finished run."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from .anytime import calibrate
from .config import DataConfig, ModelConfig, Recipe, RecipeName, TrainConfig, choose_settings
from .data.catalog import load, resolve
from .data.sequences import SequenceData
from .data.splits import Splits
from .errors import ConfigError, DataError, RunError, TrainingError
from .evaluation import Evaluation
from .folder import CONFIG, EVALUATION, RESUME, WEIGHTS, claim, first_line, read_config, write, write_json
from .history import check_tensorboard, recorder, write_metrics
from .interrupt import deferred_interrupt
from .model import SequenceClassifier
from .predicted import Predictions
from .saved import Run, build, check_loadable, load_run, model_config, still_there, write_config, write_weights
from .train import EpochResult, Progress, Training

CHECKPOINT_SECONDS = 30.0  # at most so much training is lost, besides what the end of an epoch saves


@dataclass(frozen=True)
class Plan:
    """What is to be trained on what.

    Attributes:
        data: name or path for `unroll.load`
        data_dir: where to look for it first
        reading: how it is read
        recipe: the settings of model and training
        fingerprint: of the training data, if that is known already
    """

    data: str
    data_dir: str | Path | None
    reading: DataConfig
    recipe: Recipe
    fingerprint: str | None = None

    def load(self) -> Splits:
        """Load the data.

        Raises:
            DataError: it is not there, is broken, or is not what the fingerprint is of.
        """
        splits = load(self.data, data_dir=self.data_dir, scaling=self.recipe.scaling, **asdict(self.reading))
        if self.fingerprint not in (None, splits.train.fingerprint()):
            raise DataError(f"the run was trained on other data than {splits.source} holds now; start a new run")
        return splits

    def build(self, splits: Splits) -> SequenceClassifier:
        """Return a fresh model for the data, its weights drawn from the recipe's seed.

        Raises:
            ConfigError: a setting is out of range, or the data has no use for it.
        """
        size, usual = self.recipe.model.embedding_size, ModelConfig.embedding_size
        if size != usual and not splits.train.vocabulary_size:
            raise ConfigError(f"embedding_size is for texts, got {size} for data of numbers: leave it out")
        torch.manual_seed(self.recipe.train.seed)
        return build(self.recipe.model, splits.train.input_size, len(splits.classes), splits.train.vocabulary_size)


@dataclass(frozen=True)
class Started:
    """Told once, before the first step.

    Attributes:
        path: the run's folder
        splits: the data
        training: about to run; ``training.history`` holds what was done before a resume
        recipe: the settings
        tensorboard: whether the curves are written for TensorBoard too
    """

    path: Path
    splits: Splits
    training: Training
    recipe: Recipe
    tensorboard: bool = False


Event = Started | Progress | EpochResult


def train_run(
    data: str = "mnist-sample",
    *,
    recipe: RecipeName = "fast",
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    tensorboard: bool = False,
    watch: Callable[[Event], object] | None = None,
    **settings: Any,
) -> Run:
    """Load data, build a model, train it, evaluate it on the test part, and keep all of it in a folder.

    Args:
        data: name for `unroll.load` (default "mnist-sample").
        recipe: settings to start from, a key of `RECIPES` (default "fast").
        data_dir: where to look for the data first (default None).
        out: the run's folder (default ``runs/<data>-<cell>-<n>`` with the first free n).
        overwrite: replace a run that stands there (default False).
        tensorboard: write the curves for TensorBoard too, into a folder of that name in the run's (default False); has
            no influence on the training.
        watch: is called with each `Started`, `Progress` and `EpochResult` (default None).
        **settings: fields of `DataConfig`; and of `ModelConfig` and `TrainConfig` that differ from the recipe.

    Raises:
        InputError: a setting, the data or the folder will not do; nothing has been changed then.
        TrainingError: the loss is no longer finite; the folder keeps the metrics of the epochs before.
        KeyboardInterrupt: Ctrl-C; the folder keeps the state, for `resume_run`.
    """
    check_tensorboard(tensorboard)
    reading, chosen = choose_settings(recipe, settings)
    plan = Plan(data, data_dir, reading, chosen)
    splits = plan.load()
    model = plan.build(splits)
    check_loadable(model)
    training = Training(model, splits, chosen.train)
    config = {
        **model_config(model, splits.train.preparation),
        "recipe": chosen.name,
        "scaling": chosen.scaling,
        "train": asdict(chosen.train),
        "backend": chosen.model.backend,
        "tensorboard": tensorboard,
        "data": {
            "name": resolve(data, data_dir),
            **asdict(reading),
            "dir": None if data_dir is None else str(Path(data_dir).expanduser().resolve()),
            "fingerprint": splits.train.fingerprint(),
        },
    }
    path = claim(out, overwrite, f"{splits.name}-{_short(chosen.model.cell)}")
    write_config(path, config, splits.train.preparation)
    return _train(Started(path, splits, training, chosen, tensorboard), watch)


def _short(cell: str) -> str:
    return cell.rpartition(":")[2].lower()


def resume_run(
    path: str | Path, *, data_dir: str | Path | None = None, watch: Callable[[Event], object] | None = None
) -> Run:
    """Finish an interrupted `train_run`; on the same CPU the weights come out the same to the bit.

    Args:
        path: the run's folder.
        data_dir: where the data is now, if it has moved (default: where it was).
        watch: as in `train_run`.

    Raises:
        RunError: no such run, nothing to resume, or the data has changed.
        ConfigError: the run was begun with curves for TensorBoard, which is not installed here.
    """
    path = Path(path)
    config = read_config(path)
    if (path / WEIGHTS).exists():
        raise RunError(f"{path} is finished: there is nothing to resume; start a new run to train longer")
    if "train" not in config or not (path / RESUME).exists():
        raise RunError(f"{path} cannot be resumed: it has no resume.pt; start it anew with --overwrite")
    tensorboard = bool(config.get("tensorboard"))  # runs from before there was such a thing do not say
    check_tensorboard(tensorboard)
    plan = read_plan(path, data_dir)
    splits = plan.load()
    training = Training(plan.build(splits), splits, plan.recipe.train)
    try:
        training.load_state_dict(torch.load(path / RESUME, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises about anything on a damaged file
        raise RunError(f"{path / RESUME} is broken ({first_line(error)}); start a new run") from error
    return _train(Started(path, splits, training, plan.recipe, tensorboard), watch)


def read_plan(path: str | Path, data_dir: str | Path | None = None) -> Plan:
    """Return what a run, finished or not, was to train on what.

    Args:
        path: the run's folder.
        data_dir: where the data is now, if it has moved (default: where it was).

    Raises:
        RunError: no such run, or it does not say.
    """
    config = read_config(Path(path))
    if "train" not in config:
        raise RunError(f"{path} was saved by hand and does not say how it was trained, or on what: give flags instead")
    try:
        model = ModelConfig(**config["model"] | {"backend": config["backend"]})
        recipe = Recipe(config["recipe"], model, TrainConfig(**config["train"]), config["scaling"])
        data = config["data"]
        reading = DataConfig(**{field.name: data[field.name] for field in fields(DataConfig) if field.name in data})
        return Plan(data["name"], data_dir or still_there(data["dir"]), reading, recipe, data["fingerprint"])
    except (KeyError, TypeError) as error:
        raise RunError(f"{Path(path) / CONFIG} is broken ({first_line(error)})") from error


def load_train(run: Run, data_dir: str | Path | None = None) -> SequenceData:
    """Return what a run was trained on, validation part included, prepared as it was then.

    Args:
        run: finished.
        data_dir: where the data is now, if it has moved (default: where it was).

    Raises:
        RunError: the run does not say what that was.
        DataError: it is not there, is broken, or has changed since.
    """
    return read_plan(run.path, data_dir).load().train.prepared_as(run.preparation)


def _train(started: Started, watch: Callable[[Event], object] | None) -> Run:
    path, training = started.path, started.training
    tell = watch or (lambda event: None)
    _checkpoint(path, training)
    tell(started)
    saved = time.monotonic()
    try:
        recording = recorder(path, len(training.history), started.tensorboard)
        with deferred_interrupt() as interrupted, recording as record:
            for event in training.events():
                if isinstance(event, EpochResult):
                    record(event)
                due = time.monotonic() - saved > CHECKPOINT_SECONDS
                if isinstance(event, EpochResult) or due or interrupted():
                    _checkpoint(path, training)
                    saved = time.monotonic()
                tell(event)
                if interrupted():
                    raise KeyboardInterrupt
        predictions = Predictions.of(training.model, started.splits.test)
        test = predictions.evaluation
        if not math.isfinite(test.loss):
            raise TrainingError(f"the test loss is {test.loss}: training diverged")
    except TrainingError as error:
        (path / RESUME).unlink(missing_ok=True)  # it would only diverge again
        kept = f"; the metrics of {len(training.history)} epochs are in {path}" if training.history else ""
        raise TrainingError(f"{error}{kept}") from error
    predictions.write(path)
    if training.val:
        calibrate(training.model, training.val).write(path)
    _finish(path, training, test)
    return load_run(path, device=training.device.type)


def _checkpoint(path: Path, training: Training) -> None:
    buffer = io.BytesIO()
    torch.save(training.state_dict(), buffer)
    write(path / RESUME, buffer.getvalue())
    write_metrics(path, training.history)


def _finish(path: Path, training: Training, test: Evaluation) -> None:
    write_json(path / EVALUATION, {"weights": training.kept, **test.to_dict()})
    assert isinstance(training.model, SequenceClassifier)
    write_weights(path, training.model)
    (path / RESUME).unlink(missing_ok=True)
