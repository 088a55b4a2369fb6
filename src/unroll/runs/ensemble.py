"""The folder of an ensemble: ordinary runs in members/1, members/2, …, and beside them what they are together.

``config.json`` holds the settings of all, from which those of each member follow. The folder is finished once each
member is, and ``evaluation.json`` is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ..data.sequences import SequenceData
from ..errors import RunError
from ..evaluation.calibration import Calibration, fit_temperatures
from ..evaluation.metrics import logits_of
from ..models.ensemble import Ensemble
from ..training.results import EpochResult
from ..validation import CONFIG
from .artifacts import read_evaluation, tested, write_calibration, write_evaluation
from .config_file import RunConfig, read_config
from .folder import EVALUATION, MEMBERS, WEIGHTS
from .history import read_history


def members(path: Path, config: RunConfig) -> list[Path]:
    """Return the folders of the members of a run; a single model is its own and only one.

    Args:
        path: the run's folder.
        config: its config.json.
    """
    if config.ensemble == 1:
        return [path]
    return [path / MEMBERS / str(number) for number in range(1, config.ensemble + 1)]


def is_finished(path: Path, config: RunConfig) -> bool:
    """Return whether a run has all its weights, and an ensemble what they were judged by together."""
    judged = config.ensemble == 1 or (path / EVALUATION).exists()
    return judged and all((member / WEIGHTS).exists() for member in members(path, config))


def is_complete(path: Path) -> bool:
    """Return whether a folder holds a finished run."""
    return (path / CONFIG).exists() and is_finished(path, read_config(path))


def check_member(path: Path, config: RunConfig, expected: RunConfig) -> None:
    """Raise `RunError` unless the run in a member's folder has the settings that its ensemble gives it.

    Args:
        path: the member's folder.
        config: its config.json.
        expected: what the config.json of the ensemble makes of it.
    """
    if _settings(config) != _settings(expected):
        raise RunError(
            f"{path} was trained with other settings or data than {path.parent.parent / CONFIG} asks for; change that "
            "back, or train the ensemble again"
        )


def _settings(config: RunConfig) -> tuple[Any, ...]:
    return config.model, config.fingerprint, config.plan and (config.plan.recipe, config.plan.reading)


def judge(path: Path, config: RunConfig, model: Ensemble, test: SequenceData, val: SequenceData | None) -> None:
    """Calibrate the mean of finished members and evaluate it, which finishes the ensemble.

    Args:
        path: the ensemble's folder.
        config: its config.json.
        model: its members.
        test: the test set; without a sequence if there is none.
        val: the validation split, the same of all members; None if there is none.

    Raises:
        TrainingError: the loss on the test set is not finite.
    """
    predictions, calibration = tested(path, model, test), None
    if val is not None:
        temperatures = fit_temperatures(logits_of(model, val).unsqueeze(0), val.y.cpu())
        calibration = Calibration((1.0,), tuple(temperatures.tolist()), len(val))
        write_calibration(path, calibration)
    evaluations = [read_evaluation(member) for member in members(path, config)]
    each = [evaluation for evaluation in evaluations if evaluation is not None]
    about = {
        "weights": f"mean of {config.ensemble} members",
        "epoch": max(evaluation["epoch"] for evaluation in each),
        "deciding": each[0]["deciding"],
        "members": [{key: evaluation[key] for key in ("accuracy", "loss")} for evaluation in each],
    }
    write_evaluation(path, about, None if predictions is None else predictions.evaluated(calibration))


def history_of(path: Path, config: RunConfig) -> list[EpochResult]:
    """Return the epochs of a run's training; of an ensemble means over its members, but the seconds of all.

    Raises:
        RunError: a file is broken.
    """
    histories = [read_history(member) for member in members(path, config)]
    return histories[0] if len(histories) == 1 else _mean(histories)


def _mean(histories: Sequence[Sequence[EpochResult]]) -> list[EpochResult]:
    """Return the mean of several histories; one that ended early keeps its last result."""
    if not all(histories):
        return []
    means, before = list[EpochResult](), 0
    first = max(history[0].epoch for history in histories)
    for epoch in sorted({max(first, result.epoch) for history in histories for result in history}):
        latest = [[result for result in history if result.epoch <= epoch][-1] for history in histories]
        values: dict[str, Any] = {
            name: None if None in (each := [getattr(result, name) for result in latest]) else fmean(each)
            for name in vars(latest[0])
        }
        seconds = sum(result.seconds for history in histories for result in history if before < result.epoch <= epoch)
        means.append(EpochResult(**(values | {"epoch": epoch, "seconds": seconds})))
        before = epoch
    return means
