"""Class probabilities for files, prepared as the run's training data was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .data.images import PreparedImage, prepare_image
from .data.preparation import ImageFormat, Preparation
from .data.sequences import SequenceData
from .data.text import read_texts, unread
from .data.text_file import check_text
from .data.timeseries import read_unlabelled
from .errors import DataError
from .evaluation import EVALUATION_BATCH, predict

TOP = 3


@dataclass(frozen=True)
class FilePrediction:
    """What a model says of one image file, or of one series in a file.

    Attributes:
        file: path as given
        label: most probable class; None if the file could not be read
        probability: of that class
        top: the most probable classes, each with its probability, best first
        steps: how it was made into model input, in words
        error: why the file could not be read; None if it could
        series: which one of the file: its id, line or number; None for an image
        named_by: which of these, "id", "line" or "series"; None for an image
        text: what was read; None where it was no text
    """

    file: str
    label: str | None = None
    probability: float | None = None
    top: tuple[tuple[str, float], ...] = ()
    steps: tuple[str, ...] = ()
    error: str | None = None
    series: str | None = None
    named_by: str | None = None
    text: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {
            "file": self.file,
            **({} if self.series is None or self.text is not None else {"series": self.series}),
            **({} if self.text is None else {"line": self.series, "text": self.text}),
            "class": self.label,
            "probability": self.probability,
            "top": [{"class": label, "probability": p} for label, p in self.top],
            "preparation": list(self.steps),
        }


def predict_files(model: nn.Module, preparation: Preparation, files: Sequence[str | Path]) -> list[FilePrediction]:
    """Classify image files, or each series or text in files of such; a file that cannot be read gets an `error`.

    Args:
        model: trained on data with ``preparation``.
        preparation: as saved in the run.
        files: of a run on images, image files of any size, colour and polarity; of any other run .ts, .csv, .tsv or
            .npz files, with or without classes, which are left alone; of a run on texts what
            `unroll.data.text.read_texts` reads.
    """
    if preparation.image:
        return _of_images(model, preparation, preparation.image, files)
    if preparation.tokens:
        return [found for file in files for found in _of_texts(model, preparation, Path(file))]
    return [found for file in files for found in _of_series(model, preparation, Path(file))]


def predict_texts(
    model: nn.Module, preparation: Preparation, texts: Sequence[str], places: Sequence[str] = (), file: str = "text"
) -> list[FilePrediction]:
    """Classify texts.

    Args:
        model: trained on texts with ``preparation``.
        preparation: as saved in the run.
        texts: one without a word that counts is answered too, as an empty sequence.
        places: where each stands (default: counted from 1).
        file: what they stand in, in words (default "text").

    Raises:
        DataError: the model does not read texts, or one is no Unicode.
    """
    if preparation.tokens is None:
        raise DataError("this run was not trained on texts: it cannot predict from them")
    if not texts:
        return []
    places = places or [str(number) for number in range(1, len(texts) + 1)]
    texts = [check_text(f"{file}, line {place}", text) for text, place in zip(texts, places, strict=True)]
    data = unread(texts, torch.zeros(len(texts), dtype=torch.int64), preparation.classes).prepared_as(preparation)
    lengths = [data.x.shape[1]] * len(data) if data.lengths is None else data.lengths.tolist()
    results = []
    for number, probabilities in enumerate(_probabilities(model, data)):
        top = _top(probabilities, preparation.classes)
        unknown = int((data.x[number, : lengths[number]] == 0).sum())
        steps = (_counted(lengths[number], "token"), *([f"{unknown:,} unknown"] if unknown else []))
        results.append(FilePrediction(file, *top[0], top, steps, None, places[number], "line", texts[number]))
    return results


def _of_texts(model: nn.Module, preparation: Preparation, file: Path) -> list[FilePrediction]:
    try:
        texts, places = read_texts(file, preparation.classes)
    except DataError as error:
        return [FilePrediction(str(file), error=str(error))]
    return predict_texts(model, preparation, texts, [place.split()[-1] for place in places], str(file))


def _probabilities(model: nn.Module, data: SequenceData) -> Tensor:
    return torch.cat([predict(model, batch.x, batch.lengths) for batch in data.batches(EVALUATION_BATCH)])


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _of_images(
    model: nn.Module, preparation: Preparation, form: ImageFormat, files: Sequence[str | Path]
) -> list[FilePrediction]:
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
        top = _top(next(probabilities), preparation.classes)
        results.append(FilePrediction(str(file), *top[0], top, image.steps))
    return results


def _of_series(model: nn.Module, preparation: Preparation, file: Path) -> list[FilePrediction]:
    try:
        data, names, named_by = read_unlabelled(file, preparation.classes)
    except DataError as error:
        return [FilePrediction(str(file), error=str(error))]
    try:
        data = data.prepared_as(preparation)
    except DataError as error:
        return [FilePrediction(str(file), error=f"{file}: {error}")]
    probabilities = _probabilities(model, data)
    results = []
    for number, name in enumerate(names):
        top = _top(probabilities[number], preparation.classes)
        results.append(FilePrediction(str(file), *top[0], top, _steps(data, number), None, name, named_by))
    return results


def _steps(data: SequenceData, number: int) -> tuple[str, ...]:
    length = data.x.shape[1] if data.lengths is None else int(data.lengths[number])
    gaps = 0 if data.missing is None else int(data.missing[number].sum())
    steps = _counted(length, "time step")
    return (steps, f"{_counted(gaps, 'missing value')} filled in") if gaps else (steps,)


def _top(probabilities: Tensor, classes: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    best = probabilities.topk(min(TOP, len(classes)))
    return tuple(
        (classes[index], value) for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
