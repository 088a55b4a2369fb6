"""Class probabilities for files, prepared as the run's training data was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .data.images import PreparedImage, prepare_image
from .data.preparation import Preparation
from .errors import DataError
from .evaluation import predict

TOP = 3


@dataclass(frozen=True)
class FilePrediction:
    """What a model says of one file.

    Attributes:
        file: path as given
        label: most probable class; None if the file could not be read
        probability: of that class
        top: the most probable classes, each with its probability, best first
        steps: how the file was made into model input, in words
        error: why the file could not be read; None if it could
    """

    file: str
    label: str | None = None
    probability: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    steps: tuple[str, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {
            "file": self.file,
            "class": self.label,
            "probability": self.probability,
            "top": [{"class": label, "probability": p} for label, p in self.top],
            "preparation": list(self.steps),
        }


def predict_files(model: nn.Module, preparation: Preparation, files: Sequence[str | Path]) -> list[FilePrediction]:
    """Classify image files; one that cannot be read gets an `error` and does not hold up the others.

    Args:
        model: trained on images with ``preparation``.
        preparation: as saved in the run.
        files: image files of any size, colour and polarity.

    Raises:
        DataError: the model does not read images.
    """
    form = preparation.image
    if form is None:
        raise DataError("this run was not trained on images: it cannot predict from image files")
    prepared: list[PreparedImage | DataError] = []
    for file in files:
        try:
            prepared.append(prepare_image(Path(file), form))
        except DataError as error:
            prepared.append(error)
    images = [image.pixels for image in prepared if isinstance(image, PreparedImage)]
    if images:
        x = preparation.scaling.apply(form.sequences(torch.stack(images)))
        probabilities = iter(predict(model, x))
    results = []
    for file, image in zip(files, prepared, strict=True):
        if isinstance(image, DataError):
            results.append(FilePrediction(str(file), error=str(image)))
            continue
        best = next(probabilities).topk(min(TOP, len(preparation.classes)))
        top = tuple(
            (preparation.classes[index], value)
            for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        )
        results.append(FilePrediction(str(file), *top[0], top, image.steps))
    return results
