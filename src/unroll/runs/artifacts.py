"""The files of a run's evaluation: metrics, predictions, calibration and operating point."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from ..data.sequences import SequenceData
from ..errors import RunError, TrainingError
from ..evaluation.baseline import Baseline
from ..evaluation.calibration import Calibration
from ..evaluation.metrics import Evaluation, Interval
from ..evaluation.operating_point import OperatingPoint, Outcome
from ..evaluation.predictions import Predictions
from ..formatting import quoted, shown
from ..validation import LARGEST, check_whole, is_number
from .folder import BASELINES, CALIBRATION, EVALUATION, OPERATING, PREDICTIONS, first_line, read_json, write, write_json

T = TypeVar("T")


class BestBaseline(NamedTuple):
    """The best of the baselines in a run's folder.

    Attributes:
        name: of the classifier
        accuracy: on the run's test set, a fraction
        interval: the accuracy's 95 % confidence interval
        comparison: whether the run is better, in words
    """

    name: str
    accuracy: float
    interval: Interval
    comparison: str


def tested(path: Path, model: nn.Module, test: SequenceData) -> Predictions | None:
    """Save and return the predictions of a trained model on the test set; None if there is no test set.

    Raises:
        TrainingError: the loss is not finite.
    """
    if not len(test):
        return None
    predictions = Predictions.of(model, test)
    loss = predictions.evaluation.loss
    if not math.isfinite(loss):
        raise TrainingError(f"the test loss is {loss}: training diverged")
    write_predictions(path, predictions)
    return predictions


def write_evaluation(path: Path, about: dict[str, Any], test: Evaluation | None) -> None:
    """Write what a training has kept, and how good that is on the test set, if there is one."""
    write_json(path / EVALUATION, about | (test.to_dict() if test else {"n": 0}))


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration into a run's folder."""
    write_json(path / CALIBRATION, calibration.to_dict())


def read_calibration(path: Path) -> Calibration | None:
    """Return the calibration in a run's folder; None if there is none.

    Raises:
        RunError: the file is broken.
    """

    def parse(file: Path) -> Calibration:
        content = read_json(file)
        check_whole("n", content["n"], 1)
        fractions, temperatures = (_numbers(key, content[key]) for key in ("fractions", "temperatures"))
        return Calibration(fractions, temperatures, content["n"])

    return _read(path / CALIBRATION, parse, "remove it")


def _numbers(key: str, values: object) -> tuple[float, ...]:
    if not isinstance(values, list):
        raise ValueError(f"{key} must be a list, got {quoted(values)}")
    for value in values:
        if not is_number(value):
            raise ValueError(f"{key} must be finite numbers, got {quoted(value)}")
    return tuple(map(float, values))


def write_operating_point(path: Path, point: OperatingPoint, calibration: Calibration | None) -> None:
    """Write an operating point, and what it makes of the validation split, into a run's folder.

    Args:
        path: the folder.
        point: to write.
        calibration: of the probabilities that it applies to; None if they are not calibrated.
    """
    validation = point.validation and [list(row) for row in point.validation.counts]
    about = {"temperature": calibration and calibration.temperature, "validation": validation}
    write_json(path / OPERATING, point.to_dict() | about)


def read_operating_point(
    path: Path, classes: tuple[str, ...], calibration: Calibration | None
) -> OperatingPoint | None:
    """Return the operating point in a run's folder; None if there is none.

    Args:
        path: the folder.
        classes: names of the run's classes.
        calibration: of the run; None if there is none.

    Raises:
        RunError: the file is broken, or was chosen for probabilities of another calibration.
    """

    def parse(file: Path) -> OperatingPoint:
        content = read_json(file)
        if content["temperature"] != (calibration and calibration.temperature):
            raise ValueError("it was chosen for probabilities of another calibration")
        for name in ("threshold", "reject"):
            if content[name] is not None:
                _check_number(name, content[name], 1)
        if content["threshold"] is None and content["reject"] is None:
            raise ValueError("it has neither a threshold nor a level of rejection")
        if not isinstance(content["chosen"], str):
            raise ValueError(f"chosen must be a string, got {quoted(content['chosen'])}")
        costs, counts = content["costs"], content["validation"]
        if costs is not None:
            costs = costs["false_negative"], costs["false_positive"]
            for cost in costs:
                _check_number("a cost", cost, LARGEST)
        positive, threshold, reject = (content[name] for name in ("positive", "threshold", "reject"))
        validation = None if counts is None else Outcome(_counts(counts, len(classes)), classes, positive, costs)
        chosen, counted = content["chosen"], content["counted"]
        return OperatingPoint(classes, positive, threshold, reject, chosen, costs, validation, counted)

    return _read(path / OPERATING, parse, f"remove it or choose it again: unroll evaluate {path} --drop")


def _counts(rows: Any, classes: int) -> tuple[tuple[int, ...], ...]:
    """Return how often each class, and last "unsure", was answered, for each true class."""
    if not isinstance(rows, list) or [len(row) for row in rows] != [classes + 1] * classes:
        raise ValueError(f"validation must be {classes} rows of {classes + 1} counts, got {quoted(rows)}")
    for row in rows:
        for count in row:
            check_whole("a count", count, 0)
    return tuple(map(tuple, rows))


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write predictions into a run's folder."""
    tensors = {"logits": predictions.logits.contiguous(), "y": predictions.y.contiguous()}
    if predictions.recordings is not None:
        tensors["recordings"] = predictions.recordings.contiguous()
    write(path / PREDICTIONS, safetensors.torch.save(tensors, {"fingerprint": predictions.fingerprint}))


def read_predictions(path: Path, classes: tuple[str, ...]) -> Predictions | None:
    """Return the predictions in a run's folder; None if there are none, as for models saved by hand.

    Args:
        path: the folder.
        classes: names of the run's classes.

    Raises:
        RunError: the file is broken.
    """

    def parse(file: Path) -> Predictions:
        with safetensors.safe_open(file, "pt") as content:
            logits, y = content.get_tensor("logits"), content.get_tensor("y")
            has_recordings = "recordings" in set(content.keys())
            recordings = content.get_tensor("recordings") if has_recordings else None
            fingerprint = content.metadata()["fingerprint"]
        _check(logits, y, len(classes))
        if recordings is not None and (recordings.dtype != torch.int64 or recordings.shape != y.shape):
            raise ValueError(f"recordings must be int64 like y, got {recordings.dtype} of {tuple(recordings.shape)}")
        return Predictions(logits, y, classes, fingerprint, recordings)

    return _read(path / PREDICTIONS, parse, "remove it")


def _check(logits: Tensor, y: Tensor, classes: int) -> None:
    if logits.dtype != torch.float32 or y.dtype != torch.int64:
        raise ValueError(f"logits and y must be float32 and int64, got {logits.dtype} and {y.dtype}")
    if y.dim() != 1 or logits.shape != (len(y), classes) or not len(y):
        shapes = f"{shown(tuple(logits.shape))} and y of {shown(tuple(y.shape))}"
        raise ValueError(f"logits of shape {shapes} do not fit {classes} classes")
    if not logits.isfinite().all():
        raise ValueError("logits are NaN or infinite")
    if not 0 <= int(y.min()) <= int(y.max()) < classes:
        raise ValueError(f"y must be from 0 to {classes - 1}, got {int(y.min())} to {int(y.max())}")


def read_evaluation(path: Path) -> dict[str, Any] | None:
    """Return the `Evaluation.to_dict` of the test set from a run's folder; None if there is none.

    Without a test set ``n`` is 0, and accuracy, interval and loss are None.

    Args:
        path: the folder.

    Raises:
        RunError: the file is broken.
    """

    def parse(file: Path) -> dict[str, Any]:
        content = read_json(file)
        no_test = content["n"] == 0
        check_whole("epoch", content["epoch"], 1)
        if no_test:
            return {**content, "correct": 0, "accuracy": None, "interval": None, "loss": None}
        for counts in (content, content["recordings"]) if "recordings" in content else (content,):
            _check_counts(counts)
        _check_number("loss", content["loss"], LARGEST)
        if not isinstance(content.get("weights", ""), str):
            raise ValueError(f"weights must be a string, got {quoted(content['weights'])}")
        if (deciding := content.get("deciding")) is not None:
            check_whole("deciding", deciding, 1)
        for member in content.get("members", []):
            _check_number("accuracy of a member", member["accuracy"], 1)
        return content

    return _read(path / EVALUATION, parse, "copy it again")


def _check_counts(counts: dict[str, Any]) -> None:
    accuracy, n, (low, high) = counts["accuracy"], counts["n"], counts["interval"]
    check_whole("n", n, 1)
    check_whole("correct", counts["correct"], 0)
    _check_number("correct", counts["correct"], n)
    for name, value in (("accuracy", accuracy), ("interval", low), ("interval", high)):
        _check_number(name, value, 1)


def write_baselines(path: Path, tried: Sequence[Baseline], comparison: str) -> None:
    """Write the accuracies of simpler classifiers, and how the run compares with the best, into a run's folder."""
    write_json(path / BASELINES, {"baselines": [base.to_dict() for base in tried], "comparison": comparison})


def read_baselines(path: Path) -> BestBaseline | None:
    """Return the best baseline in a run's folder; None if there is none.

    Raises:
        RunError: the file is broken.
    """

    def parse(file: Path) -> BestBaseline:
        content = read_json(file)
        best = max(content["baselines"], key=lambda base: base["accuracy"] or 0.0)
        for name, value in (("accuracy", best["accuracy"]), *(("interval", end) for end in best["interval"])):
            _check_number(name, value, 1)
        low, high = best["interval"]
        name, comparison = best["name"], content["comparison"]
        if not isinstance(name, str) or not isinstance(comparison, str):
            raise ValueError(f"name and comparison must be strings, got {quoted(name)} and {quoted(comparison)}")
        return BestBaseline(name, best["accuracy"], Interval(low, high), comparison)

    return _read(path / BASELINES, parse, "run unroll baseline again")


def _check_number(name: str, value: object, most: float) -> None:
    if not is_number(value, 0, most):
        raise ValueError(f"{name} must be a number from 0 to {most:g}, got {quoted(value)}")


def _read(file: Path, parse: Callable[[Path], T], remedy: str) -> T | None:
    """Return the result of ``parse`` for a file; None if it does not exist. If it is broken, raise with ``remedy``."""
    if not file.exists():
        return None
    try:
        return parse(file)
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); {remedy}, or train again") from error
