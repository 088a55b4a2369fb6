"""Train a run from its settings, or resume one."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..cells import name_of
from ..config import Recipe, RecipeName, choose_settings
from ..data.catalog import resolve
from ..data.splits import Splits
from ..data.unusual import measure
from ..errors import RunError, TrainingError
from ..evaluation.anytime import calibrate
from ..evaluation.metrics import Evaluation
from ..interrupt import deferred_signals, resignalled
from ..models.classifier import SequenceClassifier
from ..training.budget import within_budget
from ..training.loop import Training, refuse_val_fraction
from ..training.results import EpochResult, Progress
from ..validation import CONFIG
from .artifacts import tested, write_calibration, write_evaluation
from .checkpoint import SECONDS, Checkpoints, check_seconds, read_checkpoint
from .config_file import RunConfig, read_config, write_config
from .ensemble import check_member, is_complete, is_finished, judge, members
from .folder import (
    WEIGHTS,
    checkpoints,
    claim,
    first_line,
    refuse_inside,
    refuse_taken,
    remove_partials,
)
from .history import check_tensorboard, recorder, write_metrics
from .lock import locked
from .plan import Plan
from .storage import Run, check_loadable, load_members, load_run, write_weights


@dataclass(frozen=True)
class Started:
    """The event before the first training step.

    Attributes:
        path: the run's folder
        splits: the data
        training: about to run; ``training.history`` holds the epochs before a resume
        recipe: the settings
        tensorboard: whether the curves are also written for TensorBoard
        member: number of the model within an ensemble, from 1
        members: of the ensemble; 1 of a single model
    """

    path: Path
    splits: Splits
    training: Training
    recipe: Recipe
    tensorboard: bool = False
    member: int = 1
    members: int = 1

    @property
    def whole(self) -> Path:
        """The folder to resume: that of the ensemble, if it is a member of one."""
        return self.path.parent.parent if self.members > 1 else self.path


@dataclass(frozen=True)
class Restarted:
    """The training loss was back at that of guessing, so the training begins again.

    Attributes:
        steps: training steps of the first attempt, of which nothing is kept
        lr: learning rate of the second
    """

    steps: int
    lr: float


Event = Started | Progress | EpochResult | Restarted


def train_run(
    data: str = "mnist-sample",
    *,
    recipe: RecipeName | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    tensorboard: bool = False,
    checkpoint_seconds: float = SECONDS,
    watch: Callable[[Event], object] | None = None,
    **settings: Any,
) -> Run:
    """Load data, build a model, train it, evaluate it on the test set, and save everything in a folder.

    With ``ensemble`` above 1 the folder holds as many runs, members/1, members/2 and so on, and their mean.

    Args:
        data: name for `unroll.load` (default "mnist-sample").
        recipe: settings to start from, a key of `RECIPES` (default "images", "series" or "text", as the data is).
        data_dir: the folder to search first for the data (default None).
        out: the run's folder (default ``runs/<data>-<cell>-<n>`` with the first free n).
        overwrite: replace an existing run (default False).
        tensorboard: also write the curves for TensorBoard, into RUN/tensorboard (default False); the training does not
            change.
        checkpoint_seconds: seconds of training between two checkpoints: what ``kill -9`` or a power cut can lose; 0
            writes one after each epoch only (default 10.0).
        watch: called with each `Started`, one for each member of an ensemble, `Progress`, `EpochResult` and `Restarted`
            (default None).
        **settings: fields of `DataConfig`, and fields of `ModelConfig` and `TrainConfig` that differ from the recipe;
            ``cell`` may be a class.

    Raises:
        InputError: a setting, the data or the folder is invalid; nothing has been changed.
        TrainingError: the loss is no longer finite; the folder keeps the metrics of the earlier epochs.
        KeyboardInterrupt: Ctrl-C; the folder keeps the state, for `resume_run`. SIGTERM and SIGHUP keep it too: a line
            on stderr says how to resume, and the signal is raised again.
    """
    check_tensorboard(tensorboard)
    check_seconds(checkpoint_seconds)
    if isinstance(settings.get("cell"), type):
        settings["cell"] = name_of(settings["cell"])
    reading, first = choose_settings(recipe, settings)
    refuse_inside(out or "runs", resolve(data, data_dir))
    refuse_taken(out, overwrite)  # before loading the data, which may take a while
    plan = Plan(data, data_dir, reading, first)
    splits = plan.load()
    if splits.val is not None and "val_fraction" in settings:
        refuse_val_fraction(splits, settings["val_fraction"])
    plan = plan.chosen(splits, recipe, settings)
    model, chosen = plan.build(splits), plan.recipe
    check_loadable(model)
    chosen = replace(chosen, train=within_budget(model, splits, chosen.train))
    training = Training(model, splits, chosen.train.member(1))
    place = None if data_dir is None else str(Path(data_dir).expanduser().resolve())
    fingerprint = splits.train.fingerprint()
    read = splits.reading or reading
    if read.val_data is not None:
        read = replace(read, val_data=resolve(read.val_data, data_dir))
    stored = Plan(resolve(data, data_dir), place, read, chosen, fingerprint)
    preparation = replace(splits.train.preparation, usual=measure(splits.train))
    config = RunConfig.of(model, preparation, fingerprint, stored, tensorboard)
    with claim(out, overwrite, f"{splits.name}-{_short(chosen.model.cell)}") as path:
        write_config(path, config)
        if config.ensemble > 1:
            return _train_ensemble(path, splits, checkpoint_seconds, watch)
        started = Started(path, splits, training, chosen, tensorboard)
        return _train(started, Checkpoints(path, config, checkpoint_seconds), watch)


def _short(cell: str) -> str:
    return cell.rpartition(":")[2].lower()


def resume_run(
    path: str | Path,
    *,
    data_dir: str | Path | None = None,
    checkpoint_seconds: float = SECONDS,
    watch: Callable[[Event], object] | None = None,
) -> Run:
    """Finish an interrupted `train_run`; on the same CPU the weights are bit-identical.

    Args:
        path: the run's folder.
        data_dir: the data's folder now, if it has moved (default: where it was).
        checkpoint_seconds: as in `train_run`.
        watch: as in `train_run`.

    Raises:
        RunError: the run does not exist, is finished, is in use, or its data or config.json has changed.
        ConfigError: the run writes curves for TensorBoard, which is not installed here.

    Warns:
        UnrollWarning: the newest checkpoint is damaged; the previous one is used.
    """
    path = Path(path)
    check_seconds(checkpoint_seconds)
    _check_resumable(path)
    with locked(path):
        config, plan = _check_resumable(path)  # another process may have finished it since
        if config.ensemble > 1:
            check_tensorboard(config.tensorboard)
            splits = plan.moved(data_dir).load()
            remove_partials(path)
            return _train_ensemble(path, splits, checkpoint_seconds, watch)
        return _resume(path, lambda: plan.moved(data_dir).load(), checkpoint_seconds, watch)


def complete_run(
    path: Path,
    data: str,
    *,
    recipe: str,
    data_dir: str | Path | None,
    watch: Callable[[Event], object] | None,
    **settings: Any,
) -> None:
    """Train a run of a sweep or a cross-validation, finish it if it was interrupted, or leave it if it is finished.

    Args:
        path: its folder.
        data: as in `train_run`, like all others.
        recipe: a key of `RECIPES`.
        data_dir: the folder to search first for the data.
        watch: called with the events.
        **settings: fields of `DataConfig`, `ModelConfig` and `TrainConfig`.
    """
    if is_complete(path):
        return
    config = read_config(path) if (path / CONFIG).exists() else None
    if config is not None and (config.ensemble > 1 or checkpoints(path)):
        resume_run(path, data_dir=data_dir, watch=watch)
    else:  # not started, or killed before its first checkpoint
        name: Any = recipe
        train_run(data, recipe=name, data_dir=data_dir, out=path, overwrite=True, watch=watch, **settings)


def _resume(
    path: Path,
    load: Callable[[], Splits],
    checkpoint_seconds: float,
    watch: Callable[[Event], object] | None,
    place: tuple[int, int] = (1, 1),
) -> Run:
    """Finish an interrupted training of one model; the caller holds the lock of its folder.

    Args:
        path: the folder.
        load: returns the data.
        checkpoint_seconds: as in `train_run`.
        watch: as in `train_run`.
        place: its number in an ensemble, and how many there are.
    """
    config, plan = _check_resumable(path)
    state, newest = read_checkpoint(path, config)
    check_tensorboard(config.tensorboard)
    splits = load()
    training = Training(plan.build(splits), splits, plan.recipe.train)
    try:
        training.load_state_dict(state)
    except Exception as error:  # torch raises many kinds of errors here
        raise RunError(f"{path} cannot be resumed ({first_line(error)}); start it again with --overwrite") from error
    remove_partials(path)
    started = Started(path, splits, training, plan.recipe, config.tensorboard, *place)
    return _train(started, Checkpoints(path, config, checkpoint_seconds, keep=newest), watch)


def _check_resumable(path: Path) -> tuple[RunConfig, Plan]:
    """Return the config and the plan of an unfinished run."""
    config = read_config(path)
    if is_finished(path, config):
        raise RunError(f"{path} is finished: there is nothing to resume; start a new run to train longer")
    if config.plan is None:
        raise RunError(f"{path} was saved by hand: there is nothing to resume")
    return config, config.plan


def _train_ensemble(
    whole: Path, splits: Splits, checkpoint_seconds: float, watch: Callable[[Event], object] | None
) -> Run:
    """Train the members that an ensemble lacks, finish an interrupted one, and evaluate all together."""
    config = read_config(whole)  # as at any later time, when it is resumed or loaded
    tokenizer = splits.train.preparation.tokenizer
    config = replace(config, preparation=replace(config.preparation, tokenizer=tokenizer))
    first = config.member(1).plan
    assert first is not None
    training = Training(first.build(splits), splits, first.recipe.train)
    val, device = training.val, training.device.type
    del training  # its data
    paths = dict(enumerate(members(whole, config), start=1))
    for number, path in paths.items():
        if (path / WEIGHTS).exists() or checkpoints(path):
            check_member(path, read_config(path), config.member(number))
    with resignalled(lambda: f"unroll train --resume {shlex.quote(str(whole))}"):
        for number, path in paths.items():
            place = number, config.ensemble
            if checkpoints(path) and not (path / WEIGHTS).exists():
                with locked(path):
                    _resume(path, lambda: splits, checkpoint_seconds, watch, place)
            elif not (path / WEIGHTS).exists():  # not started, or killed before its first checkpoint
                _train_member(path, config.member(number), splits, checkpoint_seconds, watch, place)
        judge(whole, config, load_members(whole, config, device)[0], splits.test, val)
    return load_run(whole, device=device)


def _train_member(
    path: Path,
    config: RunConfig,
    splits: Splits,
    checkpoint_seconds: float,
    watch: Callable[[Event], object] | None,
    place: tuple[int, int],
) -> Run:
    plan = config.plan
    assert plan is not None
    with claim(path, True, "") as path:
        write_config(path, config)
        training = Training(plan.build(splits), splits, plan.recipe.train)
        started = Started(path, splits, training, plan.recipe, config.tensorboard, *place)
        return _train(started, Checkpoints(path, config, checkpoint_seconds), watch)


def _train(started: Started, checkpoints: Checkpoints, watch: Callable[[Event], object] | None) -> Run:
    path, training = started.path, started.training
    with resignalled(lambda: f"unroll train --resume {shlex.quote(str(path))}"):
        checkpoints.write(training)
        write_metrics(path, training.history)  # drops epochs recorded after the checkpoint
        try:
            _take_steps(started, checkpoints, watch or (lambda event: None))
            checkpoints.write(training)
            predictions = tested(path, training.model, started.splits.test)
        except TrainingError as error:
            checkpoints.remove()  # it would only diverge again
            metrics = f"; the metrics of {training.epochs_done} epochs are in {path}" if training.history else ""
            raise TrainingError(f"{error}{metrics}") from error
        calibration = calibrate(training.model, training.val) if training.val else None
        if calibration is not None:
            write_calibration(path, calibration)
        _finish(path, training, None if predictions is None else predictions.evaluated(calibration))
        checkpoints.remove()
    return load_run(path, device=training.device.type)


def _take_steps(started: Started, checkpoints: Checkpoints, notify: Callable[[Event], object]) -> None:
    training = started.training
    notify(started)
    with deferred_signals() as deferred:
        while _attempt(started, checkpoints, notify, lambda: deferred.signum is not None):
            training.restart()
            write_metrics(started.path, [])
            checkpoints.write(training)
            notify(Restarted(training.restarted_after, training.peak))


def _attempt(
    started: Started, checkpoints: Checkpoints, notify: Callable[[Event], object], interrupted: Callable[[], bool]
) -> bool:
    """Train to the end, or until interrupted; return whether it had to be broken off and is to begin again."""
    training = started.training
    if training.has_diverged:  # interrupted just then
        return True
    with recorder(started.path, training.epochs_done, started.tensorboard) as record:
        for event in training.events(pause=lambda: interrupted() or checkpoints.is_due()):
            if isinstance(event, EpochResult):
                record(event)
            if checkpoints.is_due(epoch_ended=isinstance(event, EpochResult)):
                checkpoints.write(training)
            notify(event)
            if interrupted():
                checkpoints.write(training)
                return False
            if training.has_diverged:
                return True
    return False


def _finish(path: Path, training: Training, test: Evaluation | None) -> None:
    write_metrics(path, training.history)  # once more: lines that were appended may not be on the disk yet
    about = {"weights": training.kept, "epoch": training.kept_epoch, "deciding": training.deciding}
    write_evaluation(path, about, test)
    assert isinstance(training.model, SequenceClassifier)
    write_weights(path, training.model)
