"""What the page's JavaScript computes, beside what Python does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import py_mini_racer
import pytest
import torch
from PIL import Image, ImageDraw

import unroll
from unroll.cells import CELLS
from unroll.data.formats.image_file import prepare_image
from unroll.data.preparation import Framing, ImageFormat, Missing, Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.errors import DataError
from unroll.evaluation.predictions import Predictions
from unroll.evaluation.stepwise import watch
from unroll.export.description import Description, describe, raw
from unroll.export.verify import ASK
from unroll.page import engine
from unroll.runs.config_file import RunConfig
from unroll.runs.storage import Run

DIGITS = ImageFormat(28, 28, "rows", Framing(0.0, 20, "mass"))
Script = Callable[[str], Any]


def declared(description: Description) -> str:
    """JavaScript that declares STEPS and description, within a function."""
    return f"{description.steps}\nconst description = {json.dumps(description.content)};"


@pytest.fixture(scope="module")
def script() -> Iterator[Script]:
    """Run JavaScript, return plain types."""
    with py_mini_racer.mini_racer() as context:
        context.eval(engine())
        yield lambda code: json.loads(context.eval(f"JSON.stringify({code})"))


def test_each_step_is_calibrated_as_a_share_of_the_whole(small: unroll.Splits, script: Script) -> None:
    model = unroll.SequenceClassifier(28, 10, hidden_size=9).eval()
    calibration = unroll.Calibration((0.25, 0.5, 1.0), (4.0, 0.5, 2.0), 7)
    run = Run(Path("made"), model, RunConfig.of(model, small.test.preparation, ""), None, calibration)
    described = describe(run, small.test, "sample")
    found = script(
        f"""(() => {{
          {declared(described)}
          const x = Images.sequence({small.test.x[3].flatten().tolist()}, description.preparation);
          const model = new Model(description.model, description.calibration, STEPS);
          const probabilities = model.read(x).probabilities.map((p) => Array.from(p));
          return [Array.from(model.probabilities([], 0)), ...probabilities, Array.from(model.probabilities(x))];
        }})()"""
    )
    x = small.test.subset(torch.tensor([3])).batch(slice(None)).x
    for step, probabilities in enumerate([*found[:-1], found[-1]]):
        with torch.inference_mode():
            logits = model(x[:, :step])[0]
        temperature = 4.0 if step <= 7 else 0.5 if step <= 14 else 2.0
        assert torch.tensor(probabilities).sub((logits / temperature).softmax(dim=0)).abs().max() < 1e-5, step
    assert found[-1] == found[-2]


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("number", range(len(CELLS)), ids=list(CELLS))
def test_every_cell_and_readout_says_what_pytorch_says(
    small: unroll.Splits, script: Script, number: int, both: bool
) -> None:
    """At the end of twenty digits, and after each step of one."""
    readout = ("last", "mean", "max", "attention")[(number + both) % 4]
    model = unroll.SequenceClassifier(
        28, 10, cell=list(CELLS)[number], hidden_size=7, num_layers=3, bidirectional=both, residual=both,
        layer_norm=both, readout=readout,  # type: ignore[arg-type]
    ).eval()  # fmt: skip
    run = Run(Path("made"), model, RunConfig.of(model, small.test.preparation, ""), None)
    digits = list(range(0, 100, 5))
    samples = json.dumps([raw(small.test, digit) for digit in digits])
    found = script(
        f"""(() => {{
          {declared(describe(run, small.test, "sample"))}
          {ASK}
          return {{answers: answers({samples}), reading: reading({samples}[0])}};
        }})()"""
    )
    expected = Predictions.of(model, small.test.subset(torch.tensor(digits))).probabilities()
    assert torch.tensor(found["answers"]).sub(expected).abs().max() < 1e-6
    assert torch.tensor(found["reading"]).sub(watch(model, small.test, 0).probabilities).abs().max() < 1e-6


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("both", [False, True])
def test_each_step_is_what_watching_sees(small: unroll.Splits, script: Script, cell: str, both: bool) -> None:
    model = unroll.SequenceClassifier(28, 10, cell=cell, hidden_size=9, bidirectional=both, num_layers=2).eval()
    run = Run(Path("made"), model, RunConfig.of(model, small.test.preparation, ""), None)
    described = describe(run, small.test, "sample")
    expected = watch(model, small.test, 3)
    pixels = small.test.x[3].flatten().tolist()
    found = script(
        f"""(() => {{
          {declared(described)}
          const x = Images.sequence({pixels}, description.preparation);
          const reading = new Model(description.model, null, STEPS).read(x);
          const hidden = reading.states.at(-1).map((direction) => Array.from(direction.hidden));
          const {{predicted, decided, units}} = reading;
          return {{probabilities: reading.probabilities.map((p) => Array.from(p)), hidden, predicted, decided, units}};
        }})()"""
    )
    assert torch.tensor(found["probabilities"]).sub(expected.probabilities).abs().max() < 1e-5
    hidden = torch.cat([torch.tensor(one).view(28, 9) for one in found["hidden"]], dim=1)
    assert hidden.sub(expected.hidden).abs().max() < 1e-5
    assert (found["predicted"], found["decided"], found["units"]) == (expected.predicted, expected.decided, 9)


@pytest.mark.parametrize(
    "settings",
    [
        {"frame": 4},
        {"frame": 5, "hop": 3, "scaling": "both", "mask_size": 1},
        {"frame": 3, "hop": 1, "bidirectional": True},
        {"scaling": "series", "mask_size": 2},
        {"stem": "conv", "stem_stride": 6},
        {
            "stem": "conv",
            "stem_stride": 1,
            "scaling": "both",
            "mask_size": 1,
            "bidirectional": True,
            "layer_norm": True,
        },
    ],
    ids=lambda settings: "-".join(map(str, settings.values())),
)
def test_what_stands_before_the_layers_is_watched_in_single_steps(script: Script, settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = unroll.SequenceClassifier(3, 2, cell="gru", hidden_size=5, num_layers=2, readout="max", **settings).eval()
    series = SequenceData(torch.randn(1, 23, 3), torch.tensor([0]), Preparation(("a", "b"), Scaling(0.0, 1.0)))
    run = Run(Path("made"), model, RunConfig.of(model, series.preparation, ""), None)
    expected, x = watch(model, series, 0), series.x
    found = script(
        f"""(() => {{
          {declared(describe(run, series, "made"))}
          const model = new Model(description.model, null, STEPS);
          const x = {json.dumps(x[0].tolist())};
          const reading = model.read(x);
          const hidden = reading.states.at(-1).map((direction) => Array.from(direction.hidden));
          const swapped = [...model.occlude(x, [{{step: 12, value: [0.5, 0.5, 0.5]}}, {{step: 12, value: null}}], 1)];
          const blank = [...model.blank(x, [[0, 23], [10, 14]], 1)];
          return {{probabilities: reading.probabilities.map((p) => Array.from(p)), hidden, swapped, blank}};
        }})()"""
    )
    assert torch.tensor(found["probabilities"]).sub(expected.probabilities).abs().max() < 1e-5
    hidden = torch.cat([torch.tensor(one).view(23, 5) for one in found["hidden"]], dim=1)
    assert hidden.sub(expected.hidden).abs().max() < 1e-5
    changed, shorter = x.clone(), torch.cat([x[:, :12], x[:, 13:]], dim=1)
    changed[0, 12] = 0.5
    vectors = model.vectors(x)
    blank = vectors.clone()
    blank[:, 10:14] = 0
    with torch.inference_mode():
        losses = [model(x) - model(other) for other in (changed, shorter)]
        losses += [model(x) - model.of_vectors(other) for other in (torch.zeros_like(vectors), blank)]
    assert np.allclose(found["swapped"] + found["blank"], [float(loss[0, 1]) for loss in losses], atol=1e-5)


@pytest.mark.parametrize("both", [False, True])
def test_occlusion_is_the_difference_of_two_readings(small: unroll.Splits, script: Script, both: bool) -> None:
    model = unroll.SequenceClassifier(28, 10, hidden_size=8, bidirectional=both, readout="mean").eval()
    run = Run(Path("made"), model, RunConfig.of(model, small.test.preparation, ""), None)
    described = describe(run, small.test, "sample")
    x = small.test.batch(slice(0, 1)).x
    changed, shorter = x.clone(), torch.cat([x[:, :12], x[:, 13:]], dim=1)
    changed[0, 12] = 0.5
    with torch.inference_mode():
        expected = [float((model(x) - model(other))[0, 4]) for other in (changed, shorter)]
    pixels = small.test.x[0].flatten().tolist()
    found = script(
        f"""(() => {{
          {declared(described)}
          const x = Images.sequence({pixels}, description.preparation);
          const halves = new Float32Array(28).fill(0.5);
          const replacements = [{{step: 12, value: halves}}, {{step: 12, value: null}}];
          return [...new Model(description.model, null, STEPS).occlude(x, replacements, 4)];
        }})()"""
    )
    assert np.allclose(found, expected, atol=1e-5)


def test_no_step_at_all_reads_as_in_pytorch(script: Script) -> None:
    for both, norm, readout in ((False, True, "last"), (True, True, "last"), (False, False, "attention")):
        model = unroll.SequenceClassifier(
            3, 2, hidden_size=4, num_layers=2, bidirectional=both, layer_norm=norm, readout=readout  # type: ignore[arg-type]
        ).eval()  # fmt: skip
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.uniform_(-1, 1)
            expected = model(torch.zeros(1, 0, 3))[0]
        data = unroll.SequenceData(torch.zeros(2, 5, 3), torch.tensor([0, 1]), Preparation(("a", "b"), Scaling(0, 1)))
        described = describe(Run(Path("made"), model, RunConfig.of(model, data.preparation, ""), None), data, "made")
        answer = "Array.from(new Model(description.model, null, STEPS).logits([]))"
        found = script(f"(() => {{ {declared(described)} return {answer}; }})()")
        assert np.allclose(found, expected, atol=1e-6), (both, norm, readout)


@pytest.mark.parametrize("time", [56, 57, 200])
def test_who_reads_a_long_sequence_both_ways_is_asked_at_some_steps(script: Script, time: int) -> None:
    model = unroll.SequenceClassifier(2, 2, hidden_size=5, bidirectional=True).eval()
    x = torch.randn(time, 2, generator=torch.Generator().manual_seed(3)).cumsum(dim=0) / 4
    data = unroll.SequenceData(x[None], torch.tensor([0]), Preparation(("a", "b"), Scaling(0, 1)))
    described = describe(Run(Path("made"), model, RunConfig.of(model, data.preparation, ""), None), data, "made")
    found = script(
        f"""(() => {{
          {declared(described)}
          const {{coarse, logits}} = new Model(description.model, null, STEPS).read({x.tolist()});
          return {{coarse, logits: logits.map((one) => Array.from(one))}};
        }})()"""
    )
    with torch.inference_mode():
        expected = torch.cat([model(x[None, : step + 1]) for step in range(time)]).numpy()
    exact = np.isclose(found["logits"], expected, atol=1e-5).all(axis=1)
    assert found["coarse"] == (time > 56) == (not exact.all())
    assert exact.sum() >= 28
    assert exact[0]
    assert exact[-1]


def _prepared(script: Script, picture: Image.Image, *forms: ImageFormat) -> Any:
    rgba = base64.b64encode(picture.convert("RGBA").tobytes()).decode()
    image = f"{{width: {picture.width}, height: {picture.height}, data: decode.bytes({json.dumps(rgba)})}}"
    return script(
        f"((image) => {json.dumps([asdict(form) for form in forms])}.map((form) => Images.prepare(image, form))"
        f".map(({{pixels, steps}}) => ({{pixels: Array.from(pixels), steps}})))({image})"
    )


def _strokes(width: int, height: int, paper: Any, ink: Any, seed: int, mode: str = "RGB") -> Image.Image:
    """Draw a few thick lines."""
    random = np.random.default_rng(seed)
    picture = Image.new(mode, (width, height), paper)
    points = [(int(x), int(y)) for x, y in random.uniform(0.1, 0.8, (4, 2)) * (width, height)]
    ImageDraw.Draw(picture).line(points, fill=ink, width=max(1, width // 12))
    return picture


def _pictures() -> dict[str, Image.Image]:
    grey = _strokes(28, 28, 0, 255, 1, "L")
    return {
        "drawn large": _strokes(280, 280, "white", "black", 2),
        "off the middle, not square": _strokes(301, 117, "black", "white", 3),
        "in colours": _strokes(200, 260, (250, 240, 200), (20, 40, 160), 4),
        "small": _strokes(17, 12, "white", "black", 5),
        "huge": _strokes(2300, 700, "white", "black", 6),
        "own size": grey,
        "own size, a negative": Image.fromarray(255 - np.asarray(grey)),
        "enlarged by whole pixels": grey.resize((280, 280), Image.Resampling.NEAREST),
        "enlarged smoothly": grey.resize((140, 140), Image.Resampling.BICUBIC),
        "enlarged by lanczos": grey.resize((90, 90), Image.Resampling.LANCZOS),
        "without paper": _strokes(120, 120, (0, 0, 0, 0), (0, 0, 0, 255), 7, "RGBA"),
        "upright, of fine grain": Image.fromarray(np.random.default_rng(9).integers(0, 256, (56, 34, 3), np.uint8)),
        "white without paper": _strokes(120, 120, (0, 0, 0, 0), (255, 255, 255, 255), 8, "RGBA"),
    }


PICTURES = _pictures()


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.slow
def test_pictures_are_framed_as_predict_does(script: Script, tmp_path: Path, name: str) -> None:
    picture = PICTURES[name]
    picture.save(tmp_path / "picture.png")
    inverse = replace(DIGITS, framing=Framing(255.0, 22, "box"))
    whole = replace(DIGITS, framing=None, width=32)
    forms = (DIGITS, inverse, whole, replace(whole, channels=3))
    for form, found in zip(forms, _prepared(script, picture, *forms), strict=True):
        expected = prepare_image(tmp_path / "picture.png", form)
        off = np.abs(np.array(found["pixels"]) - expected.pixels.numpy().flatten().astype(int))
        assert off.max() <= 1, form  # a number half way between two may be rounded either way
        assert (off > 0).mean() < 0.01
        assert tuple(found["steps"]) == expected.steps


def test_a_blank_picture_is_refused_in_words(script: Script, tmp_path: Path) -> None:
    picture = Image.new("RGB", (50, 60), "white")
    picture.save(tmp_path / "blank.png")
    with pytest.raises(DataError, match="shows nothing"):
        prepare_image(tmp_path / "blank.png", DIGITS)
    with pytest.raises(py_mini_racer.JSEvalException, match="the picture shows nothing: all its pixels have about"):
        _prepared(script, picture, DIGITS)


@pytest.mark.parametrize("read", ["rows", "columns", "pixels", "permuted"])
def test_pixels_become_steps_in_every_order(small: unroll.Splits, script: Script, read: str) -> None:
    form = ImageFormat(28, 28, read)  # type: ignore[arg-type]
    preparation = replace(small.test.preparation, image=form, scaling=Scaling(33.0, 78.0))
    images = small.test.x[5:6]
    expected = preparation.scaling.apply(form.sequences(images))[0]
    data = replace(small.test, x=form.sequences(small.test.x), preparation=preparation)
    model = unroll.SequenceClassifier(data.input_size, 10, hidden_size=2)
    run = Run(Path("made"), model, RunConfig.of(model, preparation, ""), None)
    described = describe(run, data, "made").content["preparation"]
    pixels = images.flatten().tolist()
    found = script(f"Images.sequence({pixels}, {json.dumps(described)}).map((step) => Array.from(step))")
    assert np.allclose(found, expected, atol=1e-6)
    place = script(f"Images.stepOf(9, 14, {json.dumps(described['image'])})")
    assert form.sequences(torch.arange(784).view(1, 28, 28))[0, place["step"], place["feature"]] == 9 * 28 + 14


@pytest.mark.parametrize("read", ["rows", "columns", "pixels", "permuted"])
def test_a_page_reads_colours_as_pytorch_does(script: Script, read: str) -> None:
    form = ImageFormat(4, 5, read, channels=3)  # type: ignore[arg-type]
    images = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    preparation = Preparation(("a", "b"), Scaling(100.0, 60.0), form)
    data = SequenceData(form.sequences(images), torch.tensor([0, 1, 0]), preparation)
    model = unroll.SequenceClassifier(data.input_size, 2, hidden_size=4)
    run = Run(Path("made"), model, RunConfig.of(model, preparation, ""), None)
    described = describe(run, data, "made")
    asked = [base64.b64encode(image.numpy().tobytes()).decode() for image in images]
    found = script(
        f"""(() => {{
          {declared(described)}
          const {{model, preparation}} = description;
          const page = new Model(model, null, STEPS);
          const read = (x) => page.probabilities(Images.sequence(decode.bytes(x), preparation));
          return {json.dumps(asked)}.map((x) => Array.from(read(x)));
        }})()"""
    )
    with torch.inference_mode():
        expected = model(preparation.scaling.apply(data.x)).softmax(dim=1)
    assert np.allclose(found, expected, atol=1e-5)
    place = script(f"Images.stepOf(2, 3, {json.dumps(described.content['preparation']['image'])})")
    step, feature = place["step"], place["feature"]
    assert torch.equal(data.x[0, step, feature : feature + 3], images[0, 2, 3])


@pytest.mark.parametrize("mask", [False, True])
def test_gaps_are_filled_as_in_training(script: Script, mask: bool) -> None:
    rule = Missing((0.5, -2.0), mask)
    x = torch.randn(1, 6, 2)
    missing = torch.rand(1, 6, 2) < 0.5
    missing[0, 0] = True
    scaling = Scaling((1.0, 2.0), (3.0, 4.0))
    scaling = scaling.with_unscaled(2) if mask else scaling
    offset = [5_400_000.0, 0.0]
    expected = scaling.apply(rule.fill(x, missing))[0]
    values = [
        [None if g else v + o for v, g, o in zip(*row, offset, strict=True)]
        for row in zip(x[0].tolist(), missing[0].tolist(), strict=True)
    ]
    preparation = json.dumps({"missing": asdict(rule), "offset": offset, "scaling": asdict(scaling)})
    code = f"Series.sequence({json.dumps(values)}.map((s) => s.map((v) => v ?? NaN)), {preparation})"
    assert np.allclose(script(f"{code}.map((step) => Array.from(step))"), expected, atol=1e-6)


def test_gaps_that_nobody_learned_to_fill_are_refused(script: Script) -> None:
    with pytest.raises(py_mini_racer.JSEvalException, match="a value is missing"):
        script('Series.sequence([[NaN]], {"missing": null, "offset": [], "scaling": {"mean": 0, "std": 1}})')


def test_raw_steps_are_averaged_and_cut_as_the_training_data_was(script: Script) -> None:
    x = torch.randn(11, 2, dtype=torch.float64)
    gaps = torch.rand(11, 2) < 0.4
    gaps[3:6, 1] = True
    values = [
        [None if g else v for v, g in zip(*row, strict=True)] for row in zip(x.tolist(), gaps.tolist(), strict=True)
    ]
    for every, most in ((3, None), (3, 2), (1, 5), (20, None)):
        whole = x.masked_fill(gaps, torch.nan)
        expected = [group.nanmean(dim=0) for group in whole.split(every)][:most]
        preparation = json.dumps({"time_steps": {"time_step": None, "every": every, "max_length": most}})
        found = script(f"Series.steps({json.dumps(values)}.map((s) => s.map((v) => v ?? NaN)), {preparation})")
        made = np.array([[np.nan if v is None else v for v in step] for step in found])
        np.testing.assert_allclose(made, torch.stack(expected), atol=1e-12)
    assert script('Series.steps([[1], [2]], {"time_steps": null})') == [[1], [2]]
