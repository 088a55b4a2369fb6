"""What a run's folder keeps of its evaluation: the counts, what the model said, and its calibration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import RunError
from ..evaluation.calibration import Calibration
from ..evaluation.predictions import Predictions
from ..formatting import quoted, shown
from ..validation import LARGEST, check_whole, is_number
from .folder import CALIBRATION, EVALUATION, PREDICTIONS, first_line, read_json, write, write_json

T = TypeVar("T")


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Keep a calibration in a run's folder."""
    write_json(path / CALIBRATION, calibration.to_dict())


def read_calibration(path: Path) -> Calibration | None:
    """Return the calibration that a run's folder keeps; None where it keeps none.

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


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Keep in a run's folder what its model said."""
    tensors = {"logits": predictions.logits.contiguous(), "y": predictions.y.contiguous()}
    write(path / PREDICTIONS, safetensors.torch.save(tensors, {"fingerprint": predictions.fingerprint}))


def read_predictions(path: Path, classes: tuple[str, ...]) -> Predictions | None:
    """Return what a run's folder keeps; None where it keeps nothing, as runs saved by hand and older ones.

    Args:
        path: the folder.
        classes: names of the run's.

    Raises:
        RunError: the file is broken.
    """

    def parse(file: Path) -> Predictions:
        with safetensors.safe_open(file, "pt") as content:
            logits, y = content.get_tensor("logits"), content.get_tensor("y")
            fingerprint = content.metadata()["fingerprint"]
        _check(logits, y, len(classes))
        return Predictions(logits, y, classes, fingerprint)

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
    """Return what `Evaluation.to_dict` said of the test part; None where a run's folder keeps nothing.

    Without a test part ``n`` is 0, and accuracy, interval and loss are None.

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
        accuracy, n, (low, high) = content["accuracy"], content["n"], content["interval"]
        check_whole("n", n, 1)
        check_whole("correct", content["correct"], 0)
        _check_number("correct", content["correct"], n)
        for name, value in (("accuracy", accuracy), ("interval", low), ("interval", high)):
            _check_number(name, value, 1)
        _check_number("loss", content["loss"], LARGEST)
        if not isinstance(content.get("weights", ""), str):
            raise ValueError(f"weights must be a text, got {quoted(content['weights'])}")
        return content

    return _read(path / EVALUATION, parse, "copy it again")


def _check_number(name: str, value: object, most: float) -> None:
    if not is_number(value, 0, most):
        raise ValueError(f"{name} must be a number from 0 to {most:g}, got {quoted(value)}")


def _read(file: Path, parse: Callable[[Path], T], remedy: str) -> T | None:
    """Return what ``parse`` makes of a file; None where there is none. Of a broken one say so, and what to do."""
    if not file.exists():
        return None
    try:
        return parse(file)
    except (OSError, KeyError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); {remedy}, or train again") from error
