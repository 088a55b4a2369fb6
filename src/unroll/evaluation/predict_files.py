"""Class probabilities for files, prepared as the run's training data was."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..config import DataConfig
from ..config.data import TABLE
from ..data.formats.image_file import PreparedImage, prepare_image
from ..data.formats.npz import read_images
from ..data.formats.series import marked_as_before, read_unlabelled
from ..data.formats.text_file import check_text
from ..data.formats.texts import read_texts
from ..data.preparation import ImageFormat, Preparation
from ..data.raw import prepare_texts, unlabelled
from ..data.sequences import SequenceData
from ..data.streams import is_stream, receive
from ..data.unusual import unusual
from ..errors import DataError, InputError
from .anytime import check_confidence, read_along
from .calibration import Calibration, probabilities
from .metrics import logits_of
from .operating_point import OperatingPoint

TOP = 3


@dataclass(frozen=True)
class FilePrediction:
    """The prediction for an image file, or for a series or text in a file.

    Attributes:
        file: path as given
        label: the class; None if the answer is "unsure", or the file could not be read
        probability: of that class
        top: the most probable classes, each with its probability, best first
        steps: the preparation of the input, in words
        error: why the file could not be read; None if it could
        series: the id, line or number of the series in its file; None for an image file
        named_by: which of these it is, "id", "line", "series" or "image"; None for an image file
        text: the text; None if it is not a text
        read: time steps read until the threshold was reached; None without early stopping
        unusual: how the file differs from the training data; empty if it does not
        unsure: whether the answer is not probable enough for the run's operating point; None if that rejects none
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
    read: int | None = None
    unusual: str = ""
    unsure: bool | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        if self.error is not None:
            return {"file": self.file, "error": self.error}
        return {
            "file": self.file,
            **({} if self.series is None or self.text is not None else {self._place: self.series}),
            **({} if self.text is None else {"line": self.series, "text": self.text}),
            "class": self.label,
            "probability": self.probability,
            **({} if self.unsure is None else {"unsure": self.unsure}),
            "top": [{"class": label, "probability": p} for label, p in self.top],
            **({} if self.read is None else {"read": self.read}),
            "preparation": list(self.steps),
        }

    @property
    def _place(self) -> str:
        return "image" if self.named_by == "image" else "series"


@dataclass(frozen=True)
class Sure:
    """What decides the answers of a model: its calibration, when to stop reading, and its operating point.

    Attributes:
        calibration: from `unroll.calibrate`; None leaves the confidence uncalibrated
        stop_at: the confidence at which to stop, above 0 and at most 1; None reads each sequence to its end
        point: the run's operating point; None answers the most probable class

    Raises:
        ConfigError: ``stop_at`` is out of range.
    """

    calibration: Calibration | None = None
    stop_at: float | None = None
    point: OperatingPoint | None = None

    def __post_init__(self) -> None:
        if self.stop_at is not None:
            check_confidence(self.stop_at)


AS_IT_COMES = Sure()


def predict_files(
    model: nn.Module,
    preparation: Preparation,
    files: Sequence[str | Path],
    sure: Sure = AS_IT_COMES,
    config: DataConfig | None = None,
    own: DataConfig | None = None,
) -> list[FilePrediction]:
    """Classify image files, or each series or text in a file; a file that cannot be read gets an `error`.

    Args:
        model: trained on data with ``preparation``.
        preparation: as saved in the run.
        files: for a run on images, image files of any size, colour and polarity, or .npz files of such; for a run on
            series, .ts, .csv, .tsv or .npz files, whose classes, if any, are ignored; for a run on texts, anything that
            `unroll.data.formats.texts.read_texts` reads. A pipe is read up to 1 GB.
        sure: the run's calibration, and when to stop reading (default: uncalibrated, read to the end).
        config: names the columns of tables if their names differ from the training data's, and where the classes of
            lines are (default: lines have no classes).
        own: how the training data was read: files that have its column of texts are read from it (default None).
    """
    config = config or DataConfig()
    if preparation.kind != "series":
        config.check_unused("the run's files", f"it reads {preparation.kind}", *TABLE)
    elif own is not None:
        config = marked_as_before(own, config, preparation)
    if preparation.kind == "images":
        config.check_unused("the run's files", "it reads images", "text_column", "lines")
    with (
        tempfile.TemporaryDirectory(prefix="unroll-") if any(map(is_stream, map(Path, files))) else nullcontext() as at
    ):
        places, names, failed = [], dict[str, str](), list[FilePrediction]()
        for number, file in enumerate(map(Path, files)):
            try:
                places.append(receive(file, preparation.kind, Path(str(at), str(number))) if is_stream(file) else file)
                names[str(places[-1])] = str(file)
            except DataError as error:
                failed.append(FilePrediction(str(file), error=str(error)))
        if preparation.image is not None:
            arrays = [place for place in places if place.suffix.lower() == ".npz"]
            images = [place for place in places if place not in arrays]
            predictions = _of_images(model, preparation, preparation.image, images, sure)
            predictions += [
                prediction
                for array in arrays
                for prediction in _of_array(model, preparation, preparation.image, array, sure)
            ]
        else:
            predictions = [
                prediction
                for place in places
                for prediction in (
                    _of_texts(model, preparation, place, sure, config, own or DataConfig())
                    if preparation.kind == "texts"
                    else _of_series(model, preparation, place, sure, config)
                )
            ]
    return [_named(prediction, names[prediction.file]) for prediction in predictions] + failed


def _named(prediction: FilePrediction, name: str) -> FilePrediction:
    """Return a prediction under the file name that was given: data from a pipe was copied to another file."""
    error = prediction.error and prediction.error.replace(prediction.file, name)
    return replace(prediction, file=name, error=error)


def predict_texts(
    model: nn.Module,
    preparation: Preparation,
    texts: Sequence[str],
    places: Sequence[str] = (),
    file: str = "text",
    sure: Sure = AS_IT_COMES,
) -> list[FilePrediction]:
    """Classify texts.

    Args:
        model: trained on texts with ``preparation``.
        preparation: as saved in the run.
        texts: the texts; one without any token is classified as an empty sequence.
        places: the line of each (default: counted from 1).
        file: the name of their source (default "text").
        sure: the run's calibration, and when to stop reading (default: uncalibrated, read to the end).

    Raises:
        DataError: the model does not read texts, or a text is not valid Unicode.
    """
    if preparation.kind != "texts":
        raise DataError("this run was not trained on texts and cannot predict from them")
    if not texts:
        return []
    places = places or [str(number) for number in range(1, len(texts) + 1)]
    texts = [check_text(f"{file}, line {place}", text) for text, place in zip(texts, places, strict=True)]
    data = prepare_texts(texts, preparation)
    lengths = data.steps_of_each.tolist()
    results, line, tokens = [], unusual(data), data.tokens
    for number, answer in enumerate(_answers(model, data, sure)):
        unknown = int((data.sequence(number, tokens) == 0).sum())
        steps = (_counted(lengths[number], "token"), *([f"{unknown:,} unknown"] if unknown else []), *data.notes)
        results.append(answer.of(file, steps, series=places[number], named_by="line", text=texts[number], unusual=line))
    return results


def _of_texts(
    model: nn.Module, preparation: Preparation, file: Path, sure: Sure, config: DataConfig, own: DataConfig
) -> list[FilePrediction]:
    try:
        texts, places = read_texts(file, config.lines, config.text_column, own.text_column)
    except InputError as error:
        return [FilePrediction(str(file), error=str(error))]
    return predict_texts(model, preparation, texts, [place.split()[-1] for place in places], str(file), sure)


class _Answer(NamedTuple):
    """The class, its probability, the most probable classes, and how reading stopped."""

    label: str | None
    probability: float | None
    top: tuple[tuple[str, float], ...]
    unsure: bool | None
    read: int | None = None
    sure: bool = False

    def of(self, file: str, steps: tuple[str, ...], **more: Any) -> FilePrediction:
        if self.read is not None:
            unit = _counted(self.read, "step")
            steps = (*steps, f"sure after {unit}" if self.sure else f"not sure after {unit}, the last")
        return FilePrediction(
            file, self.label, self.probability, self.top, steps, read=self.read, unsure=self.unsure, **more
        )


def _answers(model: nn.Module, data: SequenceData, sure: Sure) -> list[_Answer]:
    if not len(data):
        return []
    if sure.stop_at is None:
        read = probabilities(logits_of(model, data), sure.calibration)
        return [_decided(row, data.preparation.classes, sure.point) for row in read]
    partial = read_along(model, data, sure.calibration)
    at, reached = partial.stopped(sure.stop_at)
    each = torch.arange(len(data))
    stops = zip(partial.probabilities[at, each], partial.steps[at, each].tolist(), reached.tolist(), strict=True)
    return [
        _decided(p, data.preparation.classes, sure.point)._replace(read=steps, sure=was_sure)
        for p, steps, was_sure in stops
    ]


def _decided(probabilities: Tensor, classes: tuple[str, ...], point: OperatingPoint | None) -> _Answer:
    top = _top(probabilities, classes)
    if point is None:
        return _Answer(*top[0], top, None)
    label = point.answer(probabilities.tolist())
    unsure = None if point.reject is None else label is None
    if label is None:
        return _Answer(None, None, top, unsure)
    return _Answer(classes[label], float(probabilities[label]), top, unsure)


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _of_images(
    model: nn.Module, preparation: Preparation, form: ImageFormat, files: Sequence[str | Path], sure: Sure
) -> list[FilePrediction]:
    prepared: list[PreparedImage | DataError] = []
    for file in files:
        try:
            prepared.append(prepare_image(Path(file), form))
        except DataError as error:
            prepared.append(error)
    images = [image.pixels for image in prepared if isinstance(image, PreparedImage)]
    if not images:
        return [FilePrediction(str(file), error=str(error)) for file, error in zip(files, prepared, strict=True)]
    data = unlabelled(form.sequences(torch.stack(images)), preparation)
    lines = (unusual(data.subset(number)) for number in torch.arange(len(data)).split(1))
    answers = iter(_answers(model, data, sure))
    return [
        FilePrediction(str(file), error=str(image))
        if isinstance(image, DataError)
        else next(answers).of(str(file), image.steps, unusual=next(lines))
        for file, image in zip(files, prepared, strict=True)
    ]


def _of_array(
    model: nn.Module, preparation: Preparation, form: ImageFormat, file: Path, sure: Sure
) -> list[FilePrediction]:
    try:
        x = read_images(file, form)
    except DataError as error:
        return [FilePrediction(str(file), error=str(error))]
    return [
        answer.of(str(file), (), series=str(number), named_by="image")
        for number, answer in enumerate(_answers(model, unlabelled(x, preparation), sure))
    ]


def _of_series(
    model: nn.Module, preparation: Preparation, file: Path, sure: Sure, config: DataConfig
) -> list[FilePrediction]:
    try:
        data, names, named_by = read_unlabelled(file, preparation.classes, preparation, config)
    except InputError as error:
        return [FilePrediction(str(file), error=str(error))]
    try:
        data = data.prepared_as(preparation)
    except InputError as error:
        return [FilePrediction(str(file), error=f"{file}: {error}")]
    line = unusual(data)
    return [
        answer.of(str(file), _steps(data, number), series=names[number], named_by=named_by, unusual=line)
        for number, answer in enumerate(_answers(model, data, sure))
    ]


def _steps(data: SequenceData, number: int) -> tuple[str, ...]:
    length = int(data.steps_of_each[number])
    gaps = 0 if data.missing is None else int(data.sequence(number, data.missing).sum())
    steps = _counted(length, "time step")
    notes = (note.partition(": ")[2] or note for note in data.notes)
    return (steps, *([f"{_counted(gaps, 'missing value')} filled in"] if gaps else []), *notes)


def _top(probabilities: Tensor, classes: tuple[str, ...]) -> tuple[tuple[str, float], ...]:
    best = probabilities.topk(min(TOP, len(classes)))
    return tuple(
        (classes[index], value) for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
