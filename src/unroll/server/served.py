"""A run that is served: what a request brings becomes sequences, and sequences become answers."""

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
from ..data.preparation import ImageFormat, Kind, Preparation
from ..data.raw import prepare_series, prepare_texts, unlabelled
from ..data.sequences import SequenceData
from ..errors import DataError
from ..evaluation.calibration import probabilities
from ..evaluation.metrics import logits_in_order
from ..runs.storage import Run
from . import limits
from .guard import one_line

# Numbers far from those of the training can grow beyond float32 on their way through a model.
OVERFLOW = "the model's answer to this is no number: expected values in the units and the range of the training data"
Values = Sequence[Sequence[Sequence[float | None]]]


@dataclass(frozen=True)
class Items:
    """What a request asks about.

    Attributes:
        data: as the model reads it; None where nothing could be read
        places: of each item its number in ``data``, or why it could not be read
        names: of files as they were sent; of other items empty
        steps: how each item in ``data`` was made, in words
    """

    data: SequenceData | None
    places: tuple[int | str, ...]
    names: tuple[str, ...] = ()
    steps: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class Served:
    """A run under its name.

    Attributes:
        name: in requests
        run: itself
        page: HTML on which one watches it, or that says why there is none
    """

    name: str
    run: Run
    page: str

    @property
    def preparation(self) -> Preparation:
        """What turns raw examples into model input."""
        return self.run.preparation

    @property
    def kind(self) -> Kind:
        """What it reads."""
        return self.preparation.kind

    @property
    def calibrated(self) -> bool:
        """Whether its probabilities are calibrated."""
        return self.run.calibration is not None

    @property
    def features(self) -> int:
        """Numbers in a time step of raw data."""
        return self.run.raw_features

    @property
    def shape(self) -> str:
        """What one item is, in words."""
        form = self.preparation.image
        if form is not None:
            return f"{form.height} rows of {form.width} numbers from 0 to 255"
        if self.kind == "texts":
            return "a text"
        return f"time steps of {self.features} numbers"

    def facts(self) -> dict[str, Any]:
        """Return what a client should know, as plain JSON types."""
        model, evaluation = self.run.model, self.run.evaluation
        return {
            "name": self.name,
            "kind": self.kind,
            "item": self.shape,
            "classes": list(self.preparation.classes),
            "features": list(self.preparation.features),
            "cell": model.config.cell,
            "streams": not model.config.bidirectional,
            "accuracy": evaluation and evaluation["accuracy"],
            "calibrated": self.calibrated,
        }

    @property
    def form(self) -> ImageFormat:
        """How it reads images; raises as `expect` does."""
        self.expect("images")
        assert self.preparation.image is not None
        return self.preparation.image

    def expect(self, kind: Kind) -> None:
        """Raise `DataError` unless the run reads what was sent."""
        if kind != self.kind:
            key = "sequences" if self.kind == "series" else self.kind
            raise DataError(f"the run {self.name} reads {self.kind}: send {{{key!r}: […]}}, each {self.shape}")

    def of_images(self, images: Values) -> Items:
        """Return images given by their numbers, as those of the training set."""
        form = self.form
        made = torch.empty((len(images), form.height, form.width), dtype=torch.uint8)
        for number, image in enumerate(images):
            heights, widths = len(image), {len(row) for row in image}
            if heights != form.height or widths != {form.width}:
                got = f"{heights} rows of {' or '.join(map(str, sorted(widths))) or 'no'} numbers"
                raise DataError(f"image {number + 1}: expected {self.shape}, got {got}")
            made[number] = torch.from_numpy(np.array(image, np.float64).round().astype(np.uint8))
        return self._all(unlabelled(form.sequences(made), self.preparation), ("taken as it is",))

    def prepared(self, file: Upload) -> PreparedImage | str:
        """Return an image file as the model reads it, or why it cannot be read."""
        form = self.form
        try:
            return prepare_image(file, form)
        except DataError as error:
            return one_line(str(error))

    def of_files(self, files: Sequence[Upload], prepared: Sequence[PreparedImage | str]) -> Items:
        """Return image files, and what `prepared` made of each."""
        images = [image for image in prepared if isinstance(image, PreparedImage)]
        places, found = [], 0
        for image in prepared:
            places.append(image if isinstance(image, str) else found)
            found += not isinstance(image, str)
        pixels = [image.pixels for image in images]
        data = unlabelled(self.form.sequences(torch.stack(pixels)), self.preparation) if images else None
        return Items(data, tuple(places), tuple(file.name for file in files), tuple(image.steps for image in images))

    def of_texts(self, texts: Sequence[str]) -> Items:
        """Return texts."""
        self.expect("texts")
        if len(texts) * max(map(len, texts)) > limits.NUMBERS:
            raise DataError(
                f"{len(texts)} texts as long as the longest are more than {limits.NUMBERS:,} characters: send fewer"
            )
        texts = [check_text(f"text {number + 1}", text) for number, text in enumerate(texts)]
        return self._all(prepare_texts(texts, self.preparation))

    def of_series(self, series: Values) -> Items:
        """Return series in the units of the raw data, None where a value is missing."""
        self.expect("series")
        lengths = [len(values) for values in series]
        longest = max(lengths)
        if len(series) * longest * self.features > limits.NUMBERS:
            raise DataError(
                f"{len(series)} sequences as long as the longest, {longest:,} steps, are more than {limits.NUMBERS:,} "
                "numbers: send fewer at once"
            )
        each = list[np.ndarray]()
        for number, values in enumerate(series):
            for step, features in enumerate(values):
                if len(features) != self.features:
                    where = f"sequence {number + 1}, step {step + 1}"
                    raise DataError(f"{where}: expected {self.features} numbers, got {len(features)}")
            each.append(np.array(values, np.float64).reshape(-1, self.features))
        return self._all(prepare_series("sequences", each, self.features, self.preparation))

    def _all(self, data: SequenceData, steps: tuple[str, ...] = ()) -> Items:
        return Items(data, tuple(range(len(data))), steps=(steps,) * len(data))

    def answer(self, parts: Sequence[SequenceData]) -> list[Tensor]:
        """Return the probabilities (N, classes) of each of some requests' sequences; the model reads all at once."""
        data = _joined(parts)
        size = max(1, min(limits.BATCH, limits.BATCH_STEPS // max(1, data.time)))
        # Not by evaluation.predict: to look at a model's modules anew for every request takes longer than to read one.
        with torch.inference_mode():
            logits = logits_in_order(self.run.model, data, size)
            return list(probabilities(logits, self.run.calibration).split([len(part) for part in parts]))

    def answer_of(self, row: Sequence[float]) -> dict[str, Any]:
        """Return what the probabilities of all classes come to, as plain JSON types."""
        probabilities = dict(zip(self.preparation.classes, row, strict=True))
        best = max(probabilities, key=probabilities.__getitem__)
        return {"class": best, "probability": probabilities[best], "probabilities": probabilities}

    def predictions(self, items: Items, probabilities: Tensor | None) -> list[dict[str, Any]]:
        """Return what is answered of each item, as plain JSON types."""
        rows = [] if probabilities is None else probabilities.tolist()
        found: list[dict[str, Any]] = []
        for number, place in enumerate(items.places):
            named = {"file": items.names[number]} if items.names else {}
            if isinstance(place, str):
                found.append({**named, "error": place})
                continue
            row = rows[place]
            if not np.isfinite(row).all():
                found.append({**named, "error": OVERFLOW})
                continue
            answer = named | self.answer_of(row)
            if items.steps and items.steps[place]:
                answer["preparation"] = list(items.steps[place])
            found.append(answer)
        return found


def named(runs: Sequence[Run]) -> dict[str, Run]:
    """Return runs by the names of their folders; of two that are called alike the second gets a number."""
    found: dict[str, Run] = {}
    for run in runs:
        name = base = Path(run.path).resolve().name
        number = 2
        while name in found:
            name, number = f"{base}-{number}", number + 1
        found[name] = run
    return found


def _joined(parts: Sequence[SequenceData]) -> SequenceData:
    """Return the sequences of several requests as one set."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    texts = None if first.texts is None else tuple(text for part in parts for text in part.texts or ())
    lengths = torch.cat([part.steps_of_each for part in parts])
    x, y = torch.cat([part.flat(part.x) for part in parts]), torch.zeros_like(lengths)
    return SequenceData(x, y, first.preparation, lengths, texts=texts, starts=lengths.cumsum(0) - lengths).unpadded()
