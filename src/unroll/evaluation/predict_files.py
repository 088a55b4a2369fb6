"""Class probabilities for files, prepared as the run's training data was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..config import DataConfig
from ..config.data import TABLE
from ..data.formats.image_file import PreparedImage, prepare_image
from ..data.formats.npz import read_images
from ..data.formats.parsing import read_text
from ..data.formats.series import marked_as_before, read_unlabelled
from ..data.formats.text_file import check_text
from ..data.formats.texts import read_texts
from ..data.frame_examples import series_in, texts_in
from ..data.preparation import ImageFormat, Preparation
from ..data.ragged import owners
from ..data.raw import prepare_texts, unlabelled
from ..data.records import NamedBy, Records
from ..data.sequences import SequenceData
from ..data.sources import Source, sources
from ..data.unusual import unusual
from ..errors import ConfigError, DataError, InputError
from ..formatting import shown
from .anytime import check_confidence, read_along
from .calibration import Calibration, probabilities
from .metrics import logits_of
from .operating_point import OperatingPoint
from .recordings import pooled

TOP = 3


class WindowPrediction(NamedTuple):
    """The prediction for a window of a recording.

    Attributes:
        start: the time step of the recording that it begins with, from 0, as the run counts them
        label: the class; None if the answer is "unsure"
        probability: of that class
        probabilities: (classes,) float32, of each in the order of the model's classes
        unsure: as of `FilePrediction`
    """

    start: int
    label: str | None
    probability: float | None
    probabilities: np.ndarray
    unsure: bool | None = None

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain JSON types; arguments as for `FilePrediction.to_dict`."""
        return {
            "start": self.start,
            "class": self.label,
            "probability": self.probability,
            **({} if self.unsure is None else {"unsure": self.unsure}),
            "probabilities": dict(zip(classes, self.probabilities.tolist(), strict=True)),
        }


@dataclass(frozen=True)
class FilePrediction:
    """The prediction for an image file, or for a series or text in a file.

    Attributes:
        file: path as given; of a file in a folder that was given, with that folder
        label: the class; None if the answer is "unsure", or the file could not be read
        probability: of that class
        probabilities: (classes,) float32, of each in the order of the model's classes; None if there is an error
        top: the most probable classes, each with its probability, best first
        steps: the preparation of the input, in words
        error: why the file could not be read; None if it could
        row: number of its record in the file, from 0, as `unroll.data.records.Records` counts; None of a file that is a
            single sequence
        line: the line that this record ends in, from 1; None if the file has no lines
        id: of the series, or of the text, in its file; of a file that is a single sequence its path below the folder
            that was given, else its name; None if the file has no ids
        named_by: what a message calls it by: "id", "line", "series", "image", "text", or "file"
        text: the text; None if it is not a text
        read: time steps read until the threshold was reached; None without early stopping
        windows: the answers for the windows of a recording, of which this one is the mean; empty if it was not cut
        start: of a window alone, the time step of its recording that it begins with; None of all else
        unusual: how the file differs from the training data; empty if it does not
        unsure: whether the answer is not probable enough for the run's operating point; None if that rejects none
    """

    file: str
    label: str | None = None
    probability: float | None = None
    probabilities: np.ndarray | None = field(default=None, compare=False, repr=False)
    top: tuple[tuple[str, float], ...] = ()
    steps: tuple[str, ...] = ()
    error: str | None = None
    row: int | None = None
    line: int | None = None
    id: str | None = None
    named_by: NamedBy = "file"
    text: str | None = None
    read: int | None = None
    windows: tuple[WindowPrediction, ...] = ()
    start: int | None = None
    unusual: str = ""
    unsure: bool | None = None

    @property
    def place(self) -> str:
        """Its place in the file, in words; empty if it fills the file."""
        name = {"id": self.id, "line": self.line, "file": None}.get(self.named_by, self.row)
        return "" if name is None else f"{self.named_by} {shown(name)}"

    def to_dict(self, classes: Sequence[str]) -> dict[str, Any]:
        """Return plain JSON types.

        Args:
            classes: names of the classes, in the order of ``probabilities``.
        """
        places = {"file": self.file, "row": self.row, "line": self.line, "id": self.id, "text": self.text}
        given = {name: value for name, value in places.items() if value is not None}
        if self.probabilities is None:
            return {**given, "error": self.error}
        return {
            **given,
            "class": self.label,
            "probability": self.probability,
            **({} if self.unsure is None else {"unsure": self.unsure}),
            "probabilities": dict(zip(classes, self.probabilities.tolist(), strict=True)),
            "top": [{"class": label, "probability": p} for label, p in self.top],
            **({} if self.start is None else {"start": self.start}),
            **({} if self.read is None else {"read": self.read}),
            **({"windows": [window.to_dict(classes) for window in self.windows]} if self.windows else {}),
            "preparation": list(self.steps),
        }


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
            `unroll.data.formats.texts.read_texts` reads. A pipe is read up to 1 GB. Of a folder, its files.
        sure: the run's calibration, and when to stop reading (default: uncalibrated, read to the end).
        config: names the columns of tables if their names differ from the training data's, and where the classes of
            lines are (default: lines have no classes).
        own: how the training data was read: files that have its column of texts are read from it (default None).

    Returns:
        the predictions, in the order of the files and of what they hold.
    """
    with sources(files, preparation.kind) as (each, _):
        of_each = predict_sources(model, preparation, each, sure, config, own)
    return [prediction for predictions in of_each for prediction in predictions]


def predict_sources(
    model: nn.Module,
    preparation: Preparation,
    files: Sequence[Source],
    sure: Sure = AS_IT_COMES,
    config: DataConfig | None = None,
    own: DataConfig | None = None,
) -> list[list[FilePrediction]]:
    """Classify what each file holds; arguments as of `predict_files`, for files from `unroll.data.sources.sources`."""
    config = config or DataConfig()
    if preparation.kind != "series":
        unused = [name for name in TABLE if preparation.kind == "images" or name != "id_column"]
        config.check_unused("the run's files", f"it reads {preparation.kind}", *unused)
    elif own is not None:
        config = marked_as_before(own, config, preparation)
    rule = preparation.time_steps
    if rule is not None and rule.window is not None:
        config = replace(config, window=rule.window)  # so that classes in the file may change
        if sure.stop_at is not None:
            raise ConfigError(f"stop_at {sure.stop_at:g} needs sequences that are read alone, the run reads {rule}")
    if preparation.kind == "images":
        config.check_unused("the run's files", "it reads images", "text_column", "lines")
    readable = [file for file in files if not file.error]
    answers: dict[Source, list[FilePrediction]] = {}
    if preparation.image is not None:
        images = [file for file in readable if file.path.suffix.lower() != ".npz"]
        form = preparation.image
        predictions = _of_images(model, preparation, form, [file.path for file in images], sure)
        answers = {file: [prediction] for file, prediction in zip(images, predictions, strict=True)}
        answers |= {
            file: _of_array(model, preparation, form, file.path, sure) for file in readable if file not in answers
        }
    elif preparation.kind == "texts":
        answers = {file: _of_texts(model, preparation, file, sure, config, own or DataConfig()) for file in readable}
    else:
        answers = {file: _of_series(model, preparation, file, sure, config) for file in readable}
    return [
        [FilePrediction(file.name, error=file.error)]
        if file.error
        else [_named(prediction, file) for prediction in answers[file]]
        for file in files
    ]


def _named(prediction: FilePrediction, file: Source) -> FilePrediction:
    """Return a prediction under the names that its file has for the user: data from a pipe is in another file."""
    if prediction.named_by != "file" and file.name == str(file.path):
        return prediction
    error = prediction.error and prediction.error.replace(str(file.path), file.name)
    fills = prediction.named_by == "file" and (error is None or prediction.id is not None)
    return replace(prediction, file=file.name, error=error, id=file.id if fills else prediction.id)


def predict_texts(
    model: nn.Module,
    preparation: Preparation,
    texts: Sequence[str],
    records: Records | None = None,
    file: str = "text",
    sure: Sure = AS_IT_COMES,
) -> list[FilePrediction]:
    """Classify texts.

    Args:
        model: trained on texts with ``preparation``.
        preparation: as saved in the run.
        texts: the texts; one without any token is classified as an empty sequence.
        records: their places in their source (default: one after the other).
        file: the name of their source (default "text").
        sure: the run's calibration, and when to stop reading (default: uncalibrated, read to the end).

    Raises:
        DataError: the model does not read texts, or a text is not valid Unicode.
    """
    if preparation.kind != "texts":
        raise DataError("this run was not trained on texts and cannot predict from them")
    if not texts:
        return []
    records = records or Records(range(len(texts)), named_by="text")
    names = records.names
    texts = [check_text(f"{file}, {records.named_by} {name}", text) for name, text in zip(names, texts, strict=True)]
    data = prepare_texts(texts, preparation)
    notes = [
        (_counted(length, "token"), *([f"{unknown:,} unknown"] if unknown else []), *data.notes)
        for length, unknown in zip(data.steps_of_each.tolist(), _sums(data, data.tokens == 0), strict=True)
    ]
    answers = _answers(model, data, sure)
    return _placed(answers, records, file, notes, unusual(data), texts)


def _placed(
    answers: Sequence[_Answer],
    records: Records,
    file: str,
    steps: Sequence[tuple[str, ...]],
    line: str = "",
    texts: Sequence[str] = (),
) -> list[FilePrediction]:
    """Return the answers for what one file holds, with the place of each in it, its preparation and its text."""
    return [
        answer.of(
            file,
            steps[number],
            row=records.rows[number] if records.rows else None,
            line=records.lines[number] if records.lines else None,
            id=records.ids[number] if records.ids else None,
            named_by=records.named_by,
            unusual=line,
            text=texts[number] if texts else None,
        )
        for number, answer in enumerate(answers)
    ]


def _of_texts(
    model: nn.Module, preparation: Preparation, file: Source, sure: Sure, config: DataConfig, own: DataConfig
) -> list[FilePrediction]:
    name = str(file.path)
    try:
        if file.is_one:
            config.check_unused(name, "it is a text", "text_column", "lines", "id_column")
            texts, records = [read_text(file.path)], Records(named_by="file", ids=[name])
        elif file.frame is not None:
            texts, records = texts_in(file.frame, own)
        else:
            columns = config.text_column, own.text_column, config.id_column
            texts, records = read_texts(file.path, config.lines, *columns)
        return predict_texts(model, preparation, texts, records, name, sure)
    except InputError as error:
        return [FilePrediction(name, error=str(error))]


class _Answer(NamedTuple):
    """The class, and how reading stopped.

    Attributes:
        probabilities: (classes,) float32
        label: the class; None if the answer is "unsure"
        probability: of that class
        top: the most probable classes
        unsure: whether the answer is "unsure"; None if it cannot be
        read: time steps; None if to the end
        sure: whether the threshold was reached
    """

    probabilities: np.ndarray
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
            file,
            self.label,
            self.probability,
            self.probabilities,
            self.top,
            steps,
            read=self.read,
            unsure=self.unsure,
            **more,
        )


def _answers(model: nn.Module, data: SequenceData, sure: Sure) -> list[_Answer]:
    classes = data.preparation.classes
    if not len(data):
        return []
    if sure.stop_at is None:
        read = probabilities(logits_of(model, data), sure.calibration)
        return _decided(read, classes, sure.point)
    partial = read_along(model, data, sure.calibration)
    at, reached = partial.stopped(sure.stop_at)
    each = torch.arange(len(data))
    decided = _decided(partial.probabilities[at, each], classes, sure.point)
    stops = zip(decided, partial.steps[at, each].tolist(), reached.tolist(), strict=True)
    return [answer._replace(read=steps, sure=was_sure) for answer, steps, was_sure in stops]


def best(probabilities: Tensor, classes: Sequence[str]) -> list[tuple[tuple[str, float], ...]]:
    """Return the three most probable classes of each sequence, or all of fewer, each with its probability.

    Args:
        probabilities: (N, classes) of any floating dtype.
        classes: their names.
    """
    top = probabilities.topk(min(TOP, len(classes)), dim=1)
    rows = zip(top.indices.tolist(), top.values.tolist(), strict=True)
    return [tuple((classes[index], p) for index, p in zip(*row, strict=True)) for row in rows]


def _decided(probabilities: Tensor, classes: tuple[str, ...], point: OperatingPoint | None) -> list[_Answer]:
    """Return the answers by probabilities (N, classes), as an operating point decides, or the most probable classes."""
    answers = list[_Answer]()
    for row, top in zip(probabilities.numpy(), best(probabilities, classes), strict=True):
        if point is None:
            answers.append(_Answer(row, *top[0], top, None))
            continue
        label = point.answer(row.tolist())
        unsure = None if point.reject is None else label is None
        name, probability = (None, None) if label is None else (classes[label], float(row[label]))
        answers.append(_Answer(row, name, probability, top, unsure))
    return answers


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _sums(data: SequenceData, values: Tensor) -> list[int]:
    """Return the sum of bool ``values``, laid out as ``x``, in each sequence."""
    steps = data.flat(values)
    counts = steps.long() if steps.dim() == 1 else steps.sum(dim=1)
    return counts.new_zeros(len(data)).index_add(0, owners(data.steps_of_each), counts).tolist()


def _of_images(
    model: nn.Module, preparation: Preparation, form: ImageFormat, files: Sequence[Path], sure: Sure
) -> list[FilePrediction]:
    prepared: list[PreparedImage | DataError] = []
    for file in files:
        try:
            prepared.append(prepare_image(file, form))
        except DataError as error:
            prepared.append(error)
    images = [image.pixels for image in prepared if isinstance(image, PreparedImage)]
    if not images:
        pairs = zip(files, prepared, strict=True)
        return [FilePrediction(str(file), error=str(error), id=str(file)) for file, error in pairs]
    data = unlabelled(form.sequences(torch.stack(images)), preparation)
    lines = (unusual(data.subset(number)) for number in torch.arange(len(data)).split(1))
    answers = iter(_answers(model, data, sure))
    return [
        FilePrediction(str(file), error=str(image), id=str(file))
        if isinstance(image, DataError)
        else next(answers).of(str(file), image.steps, unusual=next(lines))
        for file, image in zip(files, prepared, strict=True)
    ]


def _of_array(
    model: nn.Module, preparation: Preparation, form: ImageFormat, file: Path, sure: Sure
) -> list[FilePrediction]:
    try:
        x, steps = read_images(file, form)
    except DataError as error:
        return [FilePrediction(str(file), error=str(error))]
    data = unlabelled(x, preparation)
    answers = _answers(model, data, sure)
    return _placed(answers, Records(range(len(x)), named_by="image"), str(file), steps, unusual(data))


def _of_series(
    model: nn.Module, preparation: Preparation, file: Source, sure: Sure, config: DataConfig
) -> list[FilePrediction]:
    name = str(file.path)
    try:
        if file.frame is None:
            data, records = read_unlabelled(file.path, preparation.classes, preparation, config)
        else:
            data, records = series_in(file.frame, preparation, config)
    except InputError as error:
        return [FilePrediction(name, error=str(error))]
    try:
        data = data.prepared_as(preparation)
    except InputError as error:
        return [FilePrediction(name, error=f"{name}: {error}")]
    answers, steps = _answers(model, data, sure), _steps(data)
    if data.origins is None or data.origins.windows is None:
        return _placed(answers, records, name, steps, unusual(data))
    recordings, starts = data.origins.windows.T
    of_each = torch.from_numpy(np.stack([answer.probabilities for answer in answers]))
    classes, windows = data.preparation.classes, list[list[WindowPrediction]]()
    for answer, start, is_first in zip(answers, starts.tolist(), starts == 0, strict=True):
        windows += [[]] if is_first else []
        label, probability = answer.label, answer.probability
        windows[-1].append(WindowPrediction(start, label, probability, answer.probabilities, answer.unsure))
    means = pooled(of_each, torch.from_numpy(recordings))
    answers = _decided(means, classes, sure.point)
    notes = [(_counted(len(own), "window"), *steps[0][1:]) for own in windows]
    predictions = _placed(answers, records, name, notes, unusual(data))
    return [replace(each, windows=tuple(own)) for each, own in zip(predictions, windows, strict=True)]


def each_window(predictions: Sequence[FilePrediction]) -> list[FilePrediction]:
    """Return the predictions for the windows of recordings in place of those for the recordings; others as they are."""
    return [
        replace(recording, windows=(), top=(), **answer)
        for recording in predictions
        for answer in ([window._asdict() for window in recording.windows] or [{}])
    ]


def _steps(data: SequenceData) -> list[tuple[str, ...]]:
    """Return what was done to each series, in words."""
    gaps = [0] * len(data) if data.missing is None else _sums(data, data.missing)
    notes = [note.partition(": ")[2] or note for note in data.notes]
    return [
        (_counted(length, "time step"), *([f"{_counted(gap, 'missing value')} filled in"] if gap else []), *notes)
        for length, gap in zip(data.steps_of_each.tolist(), gaps, strict=True)
    ]
