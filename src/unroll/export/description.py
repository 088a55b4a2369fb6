"""Describe a run as plain JSON, for its page."""

from __future__ import annotations

import base64
import importlib.metadata
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..data.formats.mnist import credit_of
from ..data.preparation import Preparation
from ..data.sequences import SequenceData
from ..data.time_steps import TimeSteps
from ..errors import RunError
from ..models.classifier import SequenceClassifier
from ..models.front import EPSILON
from ..models.stem import KERNELS
from ..runs.storage import Run
from .steps import packed, steps_of

FORMAT = 1  # version of the description
SAMPLES = 20  # real sequences on the page; at least one of each class
LONGEST_TEXT = 2_000  # characters of a sample text
# The settings that the page computes with; the others only matter for training.
SETTINGS = (
    "cell",
    "nonlinearity",
    "hidden_size",
    "num_layers",
    "bidirectional",
    "residual",
    "layer_norm",
    "readout",
)


class Description(NamedTuple):
    """All that a page needs.

    Attributes:
        content: the model and its facts, as plain JSON types.
        steps: JavaScript that declares STEPS, the steps of its cells.
    """

    content: dict[str, Any]
    steps: str


def describe(run: Run, data: SequenceData, name: str, samples: bool = True) -> Description:
    """Return all that the page needs.

    Args:
        run: finished.
        data: the test data, prepared like the training data.
        name: of the data.
        samples: whether some of the data is on the page (default True).

    Raises:
        RunError: its cell does not compile, so it has no JavaScript; or it is an ensemble.
    """
    model = run.single("a page")
    try:
        steps, cells = steps_of(model)
    except RunError as error:
        raise RunError(f"{run.path}: {error}") from None
    chosen = _samples(data) if samples else []
    judged = Path(run.config.plan.data if run.config.plan else name).name  # the data set of the accuracy
    content = {
        "format": FORMAT,
        "unroll": importlib.metadata.version("unroll-rnn"),
        "title": run.path.resolve().name,
        "kind": run.preparation.kind,
        "classes": list(run.preparation.classes),
        "model": _model(model) | {"cells": cells},
        "calibration": run.calibration and run.calibration.to_dict(),
        "operating_point": _operating_point(run),
        "preparation": _preparation(run.preparation) | {"table": _table(run)},
        "samples": [raw(data, number) for number in chosen],
        "typical": _typical(data) if run.preparation.kind == "series" else None,
        "facts": {
            "accuracy": run.evaluation and run.evaluation["accuracy"],
            "n": run.evaluation and run.evaluation["n"],
            "recordings": run.evaluation and _of_recordings(run.evaluation),
            "data": judged,
            "credit": credit_of(judged),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
            "early": run.config.train and run.config.train.early,
        },
    }
    return Description(content, steps)


def _of_recordings(evaluation: dict[str, Any]) -> dict[str, Any] | None:
    """Return the accuracy on whole recordings, where the sequences are their windows."""
    counts = evaluation.get("recordings")
    return counts and {"accuracy": counts["accuracy"], "n": counts["n"]}


def _operating_point(run: Run) -> dict[str, Any] | None:
    point = run.operating_point
    if point is None:
        return None
    positive = None if point.positive is None else point.classes.index(point.positive)
    return {"positive": positive, "threshold": point.threshold, "reject": point.reject, "chosen": point.chosen}


def _model(model: SequenceClassifier) -> dict[str, Any]:
    settings = {name: getattr(model.config, name) for name in SETTINGS}
    sizes = {name: getattr(model, name) for name in ("input_size", "num_classes", "vocabulary_size", "ngram_buckets")}
    weights = {
        name: {"shape": list(value.shape), "data": packed(value)}
        for name, value in model.state_dict().items()
        if not name.startswith("layers.")
    }
    front = asdict(model.front) | {"epsilon": EPSILON}
    stem = model.stem and {"kernels": KERNELS, "strides": model.stem.strides}
    return {**settings, **sizes, "front": front, "stem": stem, "weights": weights}


def _time_steps(rule: TimeSteps) -> dict[str, Any]:
    """Return which time steps the page reads: of windows one, the first of what is given."""
    return {"time_step": rule.time_step, "every": rule.every, "max_length": rule.longest, "window": rule.window}


def _table(run: Run) -> dict[str, Any]:
    """Return how `unroll predict` reads a table: what the page must know to read one alike."""
    columns, marks = run.preparation.columns, run.marks
    return {
        "id": columns and columns.id,
        "time": columns and columns.time,
        "wide": columns is not None and columns.is_wide,
        "missing_values": list(marks.missing),
        "decimal": marks.decimal,
    }


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).data).decode()


def _preparation(preparation: Preparation) -> dict[str, Any]:
    image = preparation.image and asdict(preparation.image)
    if image and image["read"] == "permuted":
        assert preparation.image is not None
        one_channel = replace(preparation.image, channels=1)
        pixels = torch.arange(image["height"] * image["width"]).view(1, *one_channel.shape)
        image["order"] = one_channel.sequences(pixels).flatten().tolist()
    return {
        "scaling": asdict(preparation.scaling),
        "offset": list(preparation.offset),
        "image": image,
        "missing": preparation.missing and asdict(preparation.missing),
        "time_steps": preparation.time_steps and _time_steps(preparation.time_steps),
        "features": list(preparation.features),
        "tokenizer": preparation.tokenizer and json.loads(preparation.tokenizer.json),
        "ngram_buckets": 0 if preparation.tokenizer is None else preparation.tokenizer.ngram_buckets,
    }


def raw(data: SequenceData, number: int) -> dict[str, Any]:
    """Return a sequence before its preparation, for JSON, and its class."""
    item = data.subset(torch.tensor([number]))
    x: Any
    if item.texts is not None:
        x = item.texts[0]
    elif item.kind == "images":
        x = _base64(item.images()[0].numpy())
    else:
        values = item.flat(item.raw)
        gaps = torch.zeros_like(values, dtype=torch.bool) if item.missing is None else item.flat(item.missing)
        x = [
            [None if gap else value for value, gap in zip(*step, strict=True)]
            for step in zip(values.tolist(), gaps.tolist(), strict=True)
        ]
    return {"label": int(item.y[0]), "x": x}


def _samples(data: SequenceData) -> list[int]:
    """Choose the sample sequences: equally many of each class, evenly spread over the data."""
    each = max(1, SAMPLES // len(data.preparation.classes))
    chosen = []
    for label in range(len(data.preparation.classes)):
        of_class = (data.y == label).nonzero()[:, 0].tolist()
        if data.texts is not None:
            of_class = [number for number in of_class if 0 < len(data.texts[number]) <= LONGEST_TEXT]
        chosen.append(spread(of_class, each))
    rounds = max(map(len, chosen), default=0)
    return [numbers[n] for n in range(rounds) for numbers in chosen if n < len(numbers)]


def spread(numbers: list[int], count: int) -> list[int]:
    """Return ``count`` evenly spread numbers of a list, or all if there are fewer."""
    count = min(count, len(numbers))
    return [numbers[n * len(numbers) // count] for n in range(count)]


def _typical(data: SequenceData) -> dict[str, Any]:
    """Return the usual range of values and length of the series."""
    values = data.flat(data.raw).double()
    if data.missing is not None:
        values = values.masked_fill(data.flat(data.missing), torch.nan)
    # At most a million steps, as torch computes quantiles of at most 16 million numbers.
    low, high = values[:: max(1, len(values) // 1_000_000)].nanquantile(torch.tensor([0.01, 0.99]).double(), dim=0)
    return {
        "low": low.nan_to_num().tolist(),
        "high": high.nan_to_num(1.0).tolist(),
        "time": int(data.steps_of_each.median()),
    }
