"""Models to examine: made data, quick trainings, and what the doctor's words hold."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

import unroll
from unroll.data.preparation import Preparation, Scaling
from unroll.doctor import NAMES, Examination

Fit = tuple[unroll.SequenceClassifier, list[unroll.EpochResult]]


def train(splits: unroll.Splits, epochs: int, model: unroll.SequenceClassifier | None = None, **settings: Any) -> Fit:
    """Return a model trained with some settings, and its history."""
    torch.manual_seed(settings.get("seed", 0))
    config = {name: settings.pop(name) for name in list(settings) if name in unroll.TrainConfig.__dataclass_fields__}
    model = model or unroll.SequenceClassifier(splits.train.input_size, len(splits.classes), **settings)
    return model, list(unroll.fit(model, splits, unroll.TrainConfig(epochs=epochs, **config)))


def names(examination: Examination) -> set[str]:
    assert {finding.name for finding in examination.findings} <= set(NAMES)
    return {finding.name for finding in examination.findings}


def series(x: np.ndarray, y: np.ndarray, lengths: np.ndarray | None = None) -> unroll.SequenceData:
    x = np.asarray(x, np.float32)
    scaling = Scaling.of("training", torch.from_numpy(x))
    classes = tuple("abcdefghij"[: int(y.max()) + 1])
    return unroll.SequenceData(
        torch.from_numpy(x),
        torch.from_numpy(np.asarray(y, np.int64)),
        Preparation(classes, scaling),
        None if lengths is None else torch.from_numpy(np.asarray(lengths, np.int64)),
    )


def waves(n: int = 240, steps: int = 30) -> unroll.Splits:
    """Two noisy features, three classes of frequency, any phase."""
    random = np.random.default_rng(0)
    y = np.arange(n) % 3
    t = np.arange(steps)[None, :, None]
    angle = (0.3 + 0.25 * y)[:, None, None] * t + random.uniform(0, 2 * np.pi, (n, 1, 2))
    data = series(np.sin(angle) + random.normal(0, 0.2, (n, steps, 2)), y)
    train, test = data.cut(0.2, 0)
    return unroll.Splits(train, test, "waves", "here")


def flags(remedy: str) -> list[dict[str, Any]]:
    """Return what stands in a remedy: the flags that follow each other are meant together."""
    together = re.findall(r"(?:--[a-z-]+ (?!and |or )[a-z0-9.+-]*[a-z0-9](?: (?=--)|\b))+", remedy)
    ways = [dict(re.findall(r"--([a-z-]+) (\S+)", some)) for some in together]
    return [
        {
            name.replace("-", "_"): value if value.isalpha() else float(value) if set(value) & set(".e") else int(value)
            for name, value in way.items()
        }
        for way in ways
    ]
