"""Calibration, with SciPy and plain loops as oracles."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import minimize_scalar
from torch.nn.functional import cross_entropy

import unroll
from served import client
from unroll import Calibration, InputError, RunError
from unroll.evaluation.calibration import fit_temperatures, reliability
from unroll.evaluation.stepwise import watch
from unroll.runs.artifacts import read_calibration, write_calibration


def overconfident(n: int = 500, by: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits whose softmax is true, made ``by`` times as large, and labels drawn from that softmax."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, 4, generator=generator)
    return by * logits, torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]


def test_reliability_is_what_a_loop_counts() -> None:
    logits, y = overconfident()
    found = reliability(logits, y, bins=10)
    probabilities = logits.softmax(dim=1).numpy()
    ece = 0.0
    for number, (low, high) in enumerate(zip(np.arange(10) / 10, (np.arange(10) + 1) / 10, strict=True)):
        inside = (probabilities.max(1) > low) & (probabilities.max(1) <= high)
        assert found.counts[number] == inside.sum()
        if inside.any():
            confidence = probabilities.max(1)[inside].mean()
            accuracy = (probabilities.argmax(1) == y.numpy())[inside].mean()
            assert (found.confidence[number], found.accuracy[number]) == pytest.approx((confidence, accuracy))
            ece += inside.mean() * abs(confidence - accuracy)
    assert found.ece == pytest.approx(ece, abs=1e-6)
    assert found.mean_confidence == pytest.approx(probabilities.max(1).mean(), abs=1e-6)
    assert found.edges[0] == 0
    assert found.edges[-1] == 1


@pytest.mark.parametrize("by", [0.4, 1.0, 3.0])
def test_the_temperature_is_the_likeliest(by: float) -> None:
    logits, y = overconfident(by=by)
    targets = torch.full((500, 4), 1 / 502 / 3, dtype=torch.float64)  # Platt's, one of N + 2 is something else
    targets[torch.arange(500), y] = 501 / 502
    expected = minimize_scalar(
        lambda t: float(cross_entropy(logits.double() / t, targets)), bounds=(0.05, 20), method="bounded"
    )
    found = float(fit_temperatures(logits, y))
    assert found == pytest.approx(expected.x, rel=1e-3)
    assert found == pytest.approx(by, rel=0.15)
    if by > 1:
        assert reliability(logits, y, found).ece < reliability(logits, y).ece / 2
    assert reliability(logits, y, found).counts != reliability(logits, y).counts or by == 1


def test_the_others_of_several_classes_share_what_is_smoothed() -> None:
    logits, y = overconfident(n=6)
    targets = torch.full((6, 4), 1 / 8 / 3, dtype=torch.float64)  # Platt's: 1 / (N + 2) for the three others together
    targets[torch.arange(6), y] = 7 / 8
    expected = minimize_scalar(
        lambda t: float(cross_entropy(logits.double() / t, targets)), bounds=(0.05, 20), method="bounded"
    )
    assert float(fit_temperatures(logits, y)) == pytest.approx(expected.x, rel=1e-3)


def test_several_are_fitted_at_once() -> None:
    logits, y = overconfident()
    found = fit_temperatures(torch.stack([logits, 2 * logits]), y)
    assert found.tolist() == pytest.approx([float(fit_temperatures(logits, y)), 2 * float(fit_temperatures(logits, y))])


def test_a_few_that_are_all_right_do_not_make_it_certain() -> None:
    logits, y = 30 * torch.eye(10)[torch.arange(28) % 10], torch.arange(28) % 10
    found = reliability(logits, y, float(fit_temperatures(logits, y)))
    assert found.mean_confidence == pytest.approx(29 / 30, abs=1e-3)


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    assert read_calibration(tmp_path) is None
    calibration = Calibration((0.5, 1.0), (2.0, 0.8), 7)
    write_calibration(tmp_path, calibration)
    assert read_calibration(tmp_path) == calibration
    assert calibration.temperature == 0.8
    (tmp_path / "calibration.json").write_text('{"fractions": [1.0], "temperatures": [0.0], "n": 3}')
    with pytest.raises(RunError, match=r"calibration\.json is broken \(a calibration needs .*\); remove it"):
        read_calibration(tmp_path)


@pytest.mark.parametrize(
    ("fractions", "temperatures"),
    [((), ()), ((0.5,), (1.0,)), ((1.0,), (1.0, 2.0)), ((0.0, 1.0), (1.0, 1.0)), ((0.7, 0.5, 1.0), (1.0, 1.0, 1.0))],
)
def test_what_is_none_is_refused(fractions: tuple[float, ...], temperatures: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="a calibration needs ascending fractions up to 1"):
        Calibration(fractions, temperatures, 1)


def test_every_way_to_ask_gives_the_same_calibrated_probability(
    run: unroll.Run, digits: Any, sample: unroll.Splits, call: Callable[..., tuple[int, str, str]]
) -> None:
    assert run.calibration is not None
    pixels = sample.test.x[5]
    Image.fromarray(pixels.numpy()).save("digit.png")
    logits = run.model(run.preparation.scaling.apply(pixels[None]))[0].detach().double().numpy()
    powers = np.exp(logits / run.calibration.temperature)
    expected = float(powers.max() / powers.sum())
    assert abs(expected - float(np.exp(logits.max()) / np.exp(logits).sum())) > 1e-4, "the temperature must show"
    answers = []
    for more in ((), ("--stop-at", "1")):  # a confidence that is never reached: read to the end
        status, out, err = call("predict", run.path, "digit.png", "--json", *more)
        found = json.loads(out)
        assert (status, err, found["calibrated"]) == (0, "", True)
        answers.append(found["predictions"][0]["probability"])
    with client(digits) as asked:
        image = {"images": [pixels.tolist()]}
        assert asked.get("/runs").json()["runs"][0]["calibrated"] is True
        answer = asked.post("/predict", json=image).json()
        streamed = asked.post("/stream", json={"state": None, "steps": pixels.tolist()}).json()
        assert answer["calibrated"] is True
        assert streamed["calibrated"] is True
        answers += [answer["predictions"][0]["probability"], streamed["probability"]]
    watched = watch(run.model, sample.test.prepared_as(run.preparation), 5, run.calibration)  # as the report does
    answers.append(float(watched.probabilities[-1].max()))
    assert answers == pytest.approx([expected] * 5, abs=1e-5)
    out = call("predict", run.path, "digit.png")[1]
    assert f" {100 * expected:.2f} % (then " in out
    assert "; calibrated) · taken as it is" in out
