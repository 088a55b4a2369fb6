"""Verify a page: run its JavaScript on real sequences and compare with PyTorch."""

from __future__ import annotations

import importlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from ..data.formats.image_file import FAINT, prepare_image
from ..data.sequences import SequenceData
from ..errors import ConfigError, RunError, how_to_install
from ..evaluation.predictions import Predictions
from ..evaluation.stepwise import watch
from ..page import engine
from ..runs.storage import Run
from .description import Description, raw, spread

CHECKED = 100  # real sequences to compare
READ, READ_STEPS = 5, 1_000  # sequences among them to compare after each time step, and their greatest length
DRAWN = 10  # images among them that are also pasted onto a larger sheet and prepared from there
TOLERANCE = 1e-4  # largest difference of probabilities
LEVELS = 1  # of 255: largest difference of a pixel, as rounding may go either way

# Prepares the samples of a description and computes their probabilities.
ASK = """
const sequenceOf = ({preparation, kind}, x) => {
  if (kind === "texts") return Texts.tokens(x, preparation).steps;
  if (kind === "images") return Images.sequence(decode.bytes(x), preparation);
  return Series.sequence(x.map((step) => step.map((v) => v ?? NaN)), preparation);
};
const model = new Model(description.model, description.calibration, STEPS, description.operating_point);
const answers = (samples) => samples.map(({x}) => Array.from(model.probabilities(sequenceOf(description, x))));
const reading = ({x}) => {
  const {coarse, probabilities} = model.read(sequenceOf(description, x));
  return coarse ? null : probabilities.map((row) => Array.from(row));
};
const prepared = (grey, width, height) => {
  const data = Uint8ClampedArray.from(grey.flatMap((v) => [v, v, v, 255]));
  return Array.from(Images.prepare({width, height, data}, description.preparation.image).pixels);
};
"""


class Check(NamedTuple):
    """The result of the comparison.

    Attributes:
        checked: number of sequences compared
        difference: largest difference of any class's probability from PyTorch's
    """

    checked: int
    difference: float


def check(run: Run, data: SequenceData, description: Description) -> Check:
    """Compare the results of the page with those of PyTorch.

    Args:
        run: the run that the page shows.
        data: real sequences, at least 1, prepared like the run's training data.
        description: of the page, see `unroll.export.description.describe`.

    Raises:
        RunError: they differ.
        ConfigError: the library that runs JavaScript is not installed.
    """
    numbers = spread(list(range(len(data))), CHECKED)
    some = data.subset(torch.tensor(numbers)).unpadded()
    expected = Predictions.of(run.model, some).probabilities(run.calibration)
    given = json.dumps(
        json.dumps(description.content)
    )  # JSON.parse, as on the page, keeps a key "__proto__", unlike a literal
    with _javascript(f"const description = JSON.parse({given});\n{engine(description.steps)}\n{ASK}") as run_script:
        samples = [raw(data, number) for number in numbers]
        differences = [_difference(run_script(f"answers({json.dumps(samples)})"), expected)]
        steps = some.steps_of_each
        for number in ((steps > 0) & (steps <= READ_STEPS)).nonzero()[:READ, 0].tolist():
            if (read := run_script(f"reading({json.dumps(samples[number])})")) is not None:
                expected = watch(run.single("a page"), some, number, run.calibration).probabilities
                differences.append(_difference(read, expected))
        difference = max(differences)
        if not difference <= TOLERANCE:
            raise RunError(
                f"{run.path}: the page and PyTorch must agree within {TOLERANCE} in each probability, got a difference "
                f"of {difference:.2g}; nothing was written"
            )
        form = run.preparation.image
        if form is not None and form.framing is not None:
            _check_drawings(run, some.images()[:DRAWN], run_script)
    return Check(len(numbers), difference)


def _difference(answers: list[list[float]], expected: Tensor) -> float:
    """Return the largest difference of any probability; 1 if one is NaN."""
    return float((torch.tensor(answers, dtype=torch.float64) - expected.double()).abs().max().nan_to_num(1.0))


def _check_drawings(run: Run, images: Tensor, run_script: Any) -> None:
    """Paste images onto a larger sheet, off centre, and compare how the page and `prepare_image` prepare them."""
    form = run.preparation.image
    assert form is not None
    for number, image in enumerate(images):
        if int(image.max()) - int(image.min()) < 2 * FAINT:  # both refuse blank images
            continue
        large = image.repeat_interleave(3, dim=0).repeat_interleave(3, dim=1)
        height, width = large.shape
        background = int(large[0].float().median())
        sheet = torch.full((height + 40, width + 60), background, dtype=torch.uint8)
        sheet[5 : 5 + height, 7 + number : 7 + number + width] = large
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "drawing.png"
            Image.fromarray(sheet.numpy()).save(file)
            expected = prepare_image(file, form).pixels.int()
        pixels = run_script(f"prepared({sheet.flatten().tolist()}, {sheet.shape[1]}, {sheet.shape[0]})")
        off = int((torch.tensor(pixels).view_as(expected) - expected).abs().max())
        if off > LEVELS:
            raise RunError(
                f"{run.path}: the page and predict must prepare drawings alike, got pixels that differ by {off} of 255"
            )


@contextmanager
def _javascript(script: str) -> Iterator[Any]:
    """Yield a function that evaluates JavaScript expressions after ``script`` and returns plain types.

    Raises:
        ConfigError: the library for it is not installed.
    """
    try:
        library = importlib.import_module("py_mini_racer")
    except ImportError as error:
        raise ConfigError(
            f"checking a page needs a JavaScript engine; install it with {how_to_install('html')}"
        ) from error
    with library.mini_racer() as context:
        context.eval(script)
        yield lambda expression: json.loads(context.eval(f"JSON.stringify({expression})"))
