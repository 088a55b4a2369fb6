"""A served run: turns request bodies into sequences, and probabilities into predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.formats.image_file import PreparedImage, Upload, prepare_image
from ..data.formats.text_file import check_text
from ..data.preparation import ImageFormat, Kind, Preparation, in_channels
from ..data.raw import checked_times, prepare_series, prepare_texts, unlabelled
from ..data.sequences import SequenceData
from ..data.time_steps import grid_sizes
from ..data.unusual import unusual
from ..errors import DataError
from ..evaluation.calibration import probabilities
from ..evaluation.metrics import logits_in_order
from ..evaluation.recordings import pooled
from ..models.ensemble import Ensemble
from ..runs.storage import Run
from . import limits
from .guard import one_line

# Values far outside the range of the training data can overflow float32 inside a model.
OVERFLOW = "the model's output is not finite: send values in the units and range of the training data"
Values = Sequence[Sequence[Sequence[float | None]]]


@dataclass(frozen=True)
class Items:
    """The items of a request.

    Attributes:
        data: the model's input; None if no item could be read
        places: each item's index in ``data``, or why it could not be read
        names: file names as sent; empty for items that are not files
        steps: the preparation of each item in ``data``, in words
        unusual: how the items differ from the training data; empty if they do not
    """

    data: SequenceData | None
    places: tuple[int | str, ...]
    names: tuple[str, ...] = ()
    steps: tuple[tuple[str, ...], ...] = ()
    unusual: str = ""


@dataclass(frozen=True)
class Served:
    """A run under the name that requests use.

    Attributes:
        name: of the run in requests
        run: the trained run
        page: the run's HTML page, or a plain one where it could not be made
    """

    name: str
    run: Run
    page: str

    @property
    def preparation(self) -> Preparation:
        """The preparation that turns raw examples into model input."""
        return self.run.preparation

    @property
    def kind(self) -> Kind:
        """The kind of data that the run reads."""
        return self.preparation.kind

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities are calibrated."""
        return self.run.calibration is not None

    @property
    def features(self) -> int:
        """Number of values in a time step of raw data."""
        return self.run.raw_features

    @property
    def shape(self) -> str:
        """An item, in words."""
        form = self.preparation.image
        if form is not None:
            pixels = f"{form.width} numbers" if form.channels == 1 else f"{form.width} pixels, each 3 numbers"
            return f"{form.height} rows of {pixels} from 0 to 255"
        if self.kind == "texts":
            return "a text"
        return f"time steps of {self.features} numbers"

    def facts(self) -> dict[str, Any]:
        """Return the run's description for clients, as plain JSON types."""
        evaluation = self.run.evaluation
        return {
            "name": self.name,
            "kind": self.kind,
            "item": self.shape,
            "classes": list(self.preparation.classes),
            "features": list(self.preparation.features),
            "cell": self.run.model.config.cell,
            "streams": not self.why_no_stream,
            "accuracy": evaluation and evaluation["accuracy"],
            "calibrated": self.calibrated,
            "operating_point": self.run.operating_point and self.run.operating_point.to_dict(),
        }

    @property
    def why_no_stream(self) -> str:
        """Why the run cannot read sequences piece by piece; empty if it can."""
        if isinstance(self.run.model, Ensemble):
            return "an ensemble"
        if self.run.model.config.stem != "none":
            return "a model whose stem looks ahead"
        rule = self.preparation.time_steps
        if rule is not None and (rule.time_step is not None or rule.every > 1):
            return f"trained on {rule}"
        return "bidirectional" if self.run.model.config.bidirectional else ""

    @property
    def form(self) -> ImageFormat:
        """The image format; raises as `expect` does."""
        self.expect("images")
        assert self.preparation.image is not None
        return self.preparation.image

    def expect(self, kind: Kind) -> None:
        """Raise `DataError` unless the run reads what was sent."""
        if kind != self.kind:
            key = "sequences" if self.kind == "series" else self.kind
            raise DataError(f"the run {self.name} reads {self.kind}: send {{{key!r}: […]}}, each {self.shape}")

    def of_images(self, images: Sequence[Sequence[Sequence[float] | Sequence[Sequence[float]]]]) -> Items:
        """Return images given as pixel values, like those of the training set."""
        form = self.form
        made = torch.empty((len(images), *form.shape), dtype=torch.uint8)
        for number, image in enumerate(images):
            heights, widths = len(image), {len(row) for row in image}
            if heights != form.height or widths != {form.width}:
                got = f"{heights} rows of {' or '.join(map(str, sorted(widths))) or 'no'} numbers"
                raise DataError(f"image {number + 1}: expected {self.shape}, got {got}")
            pixels = torch.from_numpy(np.array(image, np.float64).round().astype(np.uint8))
            made[number] = in_channels(pixels[None], form.channels)[0]
        return self._all(unlabelled(form.sequences(made), self.preparation), ("taken as it is",))

    def prepared(self, file: Upload) -> PreparedImage | str:
        """Return an image file as model input, or why it cannot be read."""
        form = self.form
        try:
            return prepare_image(file, form)
        except DataError as error:
            return one_line(str(error))

    def of_files(self, files: Sequence[Upload], prepared: Sequence[PreparedImage | str]) -> Items:
        """Return image files as items; ``prepared`` holds the result of `prepared` for each."""
        images = [image for image in prepared if isinstance(image, PreparedImage)]
        places, readable = [], 0
        for image in prepared:
            places.append(image if isinstance(image, str) else readable)
            readable += not isinstance(image, str)
        pixels = [image.pixels for image in images]
        data = unlabelled(self.form.sequences(torch.stack(pixels)), self.preparation) if images else None
        names, steps = tuple(file.name for file in files), tuple(image.steps for image in images)
        return Items(data, tuple(places), names, steps, "" if data is None else unusual(data))

    def of_texts(self, texts: Sequence[str]) -> Items:
        """Return texts."""
        self.expect("texts")
        if len(texts) * max(map(len, texts)) > limits.NUMBERS:
            raise DataError(
                f"{len(texts)} texts padded to the longest exceed {limits.NUMBERS:,} characters: send fewer"
            )
        texts = [check_text(f"text {number + 1}", text) for number, text in enumerate(texts)]
        return self._all(prepare_texts(texts, self.preparation))

    def of_series(self, series: Values, times: Sequence[Sequence[float]] | None = None) -> Items:
        """Return series in the units of the raw data; None marks a missing value.

        Args:
            series: (time, features) each.
            times: of each time step, if the run resamples.
        """
        self.expect("series")
        lengths = [len(values) for values in series]
        longest = max(lengths)
        if len(series) * longest * self.features > limits.NUMBERS:
            raise DataError(
                f"{len(series)} sequences padded to the longest, {longest:,} steps, exceed {limits.NUMBERS:,} numbers: "
                "send fewer at once"
            )
        each = list[np.ndarray]()
        for number, values in enumerate(series):
            for step, features in enumerate(values):
                if len(features) != self.features:
                    where = f"sequence {number + 1}, step {step + 1}"
                    raise DataError(f"{where}: expected {self.features} numbers, got {len(features)}")
            each.append(self._checked(number, np.array(values, np.float64).reshape(-1, self.features)))
        of_each = None if times is None else self._times(each, times)
        rule = self.preparation.time_steps
        if rule is not None and rule.window is not None and rule.stride is not None:
            windows = sum(1 + -(-max(0, length - rule.window) // rule.stride) for length in lengths)
            if windows * rule.window * self.features > limits.NUMBERS:
                raise DataError(
                    f"{len(series)} sequences are {windows:,} windows of {rule.window:,} steps, which exceed "
                    f"{limits.NUMBERS:,} numbers: send fewer at once"
                )
        return self._all(prepare_series("sequences", each, self.features, self.preparation, of_each))

    def _checked(self, number: int, values: np.ndarray) -> np.ndarray:
        """Return a series (time, features), the ``number``-th from 0, with NaN for all that marks a missing value."""
        values = self.run.marks.masked(values)
        with np.errstate(over="ignore"):
            is_large = np.isinf((values - np.array(self.preparation.offset or 0.0)).astype(np.float32))
        if is_large.any():
            step, feature = (int(at) + 1 for at in np.argwhere(is_large)[0])
            where, value = f"sequence {number + 1}, step {step}, feature {feature}", values[step - 1, feature - 1]
            raise DataError(
                f"{where}: {value:g} is too large for float32; scale it, or send null where a value is missing"
            )
        return values

    def _times(self, each: Sequence[np.ndarray], times: Sequence[Sequence[float]]) -> list[np.ndarray]:
        """Return the times of series, unless they ask for too many time steps."""
        rule = self.preparation.time_steps
        if rule is None or rule.time_step is None:
            raise DataError(f"the run {self.name} does not resample series: leave times out")
        of_each = [np.array(own, np.float64) for own in times]
        since, lengths = checked_times(each, of_each, "sequence", 1), np.array(list(map(len, each)))
        steps = grid_sizes(since, lengths, rule.time_step).max()
        if steps > limits.STEPS or steps * len(each) * self.features > limits.NUMBERS:
            raise DataError(
                f"at a time step of {rule.time_step:g}, {len(each)} sequences have up to {steps:,.0f} time steps: "
                f"expected at most {limits.STEPS:,}, and {limits.NUMBERS:,} numbers in all; are times in other units?"
            )
        return of_each

    def _all(self, data: SequenceData, steps: tuple[str, ...] = ()) -> Items:
        n = len(data) if data.recordings is None else int(data.recordings.max()) + 1
        return Items(data, tuple(range(n)), steps=(steps,) * n, unusual=unusual(data))

    def answer(self, parts: Sequence[SequenceData]) -> list[Tensor]:
        """Return the probabilities (N, classes) for each part; the model reads all parts in one batch."""
        data = _joined(parts)
        size = max(1, min(limits.BATCH, limits.BATCH_STEPS // max(1, data.time)))
        # Not evaluation.predict: walking the model's modules at each request takes longer than classifying a sequence.
        with torch.inference_mode():
            logits = logits_in_order(self.run.model, data, size)
            return list(probabilities(logits, self.run.calibration).split([len(part) for part in parts]))

    def answer_of(self, row: Sequence[float]) -> dict[str, Any]:
        """Return a prediction from the probabilities of all classes, as plain JSON types."""
        probabilities, point = dict(zip(self.preparation.classes, row, strict=True)), self.run.operating_point
        if point is None:
            best = max(probabilities, key=probabilities.__getitem__)
            return {"class": best, "probability": probabilities[best], "probabilities": probabilities}
        label = point.answer(row)
        named = None if label is None else self.preparation.classes[label]
        unsure = {} if point.reject is None else {"unsure": label is None}
        probability = None if named is None else probabilities[named]
        return {"class": named, "probability": probability, **unsure, "probabilities": probabilities}

    def predictions(self, items: Items, probabilities: Tensor | None) -> list[dict[str, Any]]:
        """Return the response for each item, as plain JSON types."""
        windows = None if items.data is None or items.data.origins is None else items.data.origins.windows
        rows = [] if probabilities is None else probabilities.tolist()
        of_windows: dict[int, list[dict[str, Any]]] = {}
        if windows is not None and probabilities is not None:
            for (recording, start), row in zip(windows.tolist(), rows, strict=True):
                of_windows.setdefault(recording, []).append({"start": start, **self.answer_of(row)})
            rows = pooled(probabilities, torch.from_numpy(windows[:, 0])).tolist()
        answers: list[dict[str, Any]] = []
        for number, place in enumerate(items.places):
            named = {"file": items.names[number]} if items.names else {}
            if isinstance(place, str):
                answers.append({**named, "error": place})
                continue
            row = rows[place]
            if not np.isfinite(row).all():
                answers.append({**named, "error": OVERFLOW})
                continue
            answer = named | self.answer_of(row)
            if items.steps and items.steps[place]:
                answer["preparation"] = list(items.steps[place])
            if place in of_windows:
                answer["windows"] = of_windows[place]
            answers.append(answer)
        return answers


def named(runs: Sequence[Run]) -> dict[str, Run]:
    """Return runs by the names of their folders; a name that occurs again gets a number."""
    by_name: dict[str, Run] = {}
    for run in runs:
        name = base = Path(run.path).resolve().name
        number = 2
        while name in by_name:
            name, number = f"{base}-{number}", number + 1
        by_name[name] = run
    return by_name


def _joined(parts: Sequence[SequenceData]) -> SequenceData:
    """Return the sequences of several requests as one set."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    texts = None if first.texts is None else tuple(text for part in parts for text in part.texts or ())
    lengths = torch.cat([part.steps_of_each for part in parts])
    tables = [part.words for part in parts if part.words is not None]
    rows, shifts = [len(table) for table in tables] or [0] * len(parts), [0]
    for number in rows[:-1]:
        shifts.append(shifts[-1] + number)
    x = torch.cat([part.flat(part.x) + shift for part, shift in zip(parts, shifts, strict=True)])
    y, starts, words = torch.zeros_like(lengths), lengths.cumsum(0) - lengths, torch.cat(tables) if tables else None
    return SequenceData(x, y, first.preparation, lengths, texts=texts, starts=starts, words=words).unpadded()
