"""Sick models and runs, each built for real, are told by name; healthy ones have no finding."""

from __future__ import annotations

import contextlib
import inspect
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import unroll
from patients import flags, names, series, train, waves
from unroll import plots
from unroll.cli.views.doctor import bars
from unroll.config import ModelConfig, choose_settings
from unroll.data.preparation import Scaling
from unroll.doctor import NAMES, Examination, examine, remedies
from unroll.doctor import findings as judgement
from unroll.doctor import learning_curves as course
from unroll.doctor.examination import Finding, LayerHealth, Memory
from unroll.doctor.findings import Patient, judge_layers, judge_memory, judge_numbers, judge_readout
from unroll.doctor.layer_health import before_the_end, radii
from unroll.doctor.learning_curves import judge_history
from unroll.doctor.memory import measure_memory, positions
from unroll.models.classifier import build
from unroll.runs.history import read_history

Digits = unroll.Splits


def evidence(examination: Examination, name: str) -> str:
    (found,) = [finding for finding in examination.findings if finding.name == name]
    return found.evidence


def fresh(**settings: Any) -> unroll.SequenceClassifier:
    return unroll.SequenceClassifier(28, 10, **{"hidden_size": 32, **settings})


def cell_of(model: unroll.SequenceClassifier) -> Any:
    """Return the first layer's first cell."""
    return next(cell for layer in model.layers for cell in layer.children())


@torch.no_grad()
def with_radius(radius: float, **settings: Any) -> unroll.SequenceClassifier:
    model = fresh(**settings)
    cell_of(model).weight_hh.mul_(radius)
    return model


# Healthy


def test_the_default_run_is_healthy(run: unroll.Run, sample: Digits) -> None:
    assert run.evaluation is not None
    history = read_history(run.path)
    found = examine(run.model, sample.train, history=history, test_accuracy=run.evaluation["accuracy"])
    assert found.findings == ()
    assert found.skipped == ()
    assert (found.sequences, found.time, found.epochs) == (256, 28, len(history))
    assert found.accuracy is not None
    assert found.accuracy > 0.95
    assert found.chance == 0.1
    (layer,) = found.layers
    assert len(layer.gradient) == len(layer.activation) == 28
    assert found.memory is not None
    assert found.memory.heard > 0.8  # the first rows are blank
    assert examine(run.model, sample.test, seed=1).findings == ()


@pytest.mark.parametrize(
    ("cell", "settings"),
    [("gru", {}), ("lstm", {}), ("rnn", {"bidirectional": True, "num_layers": 2}), ("lru", {"readout": "mean"})],
)
@pytest.mark.slow
def test_models_of_series_are_healthy(cell: Any, settings: Any) -> None:
    splits = waves()
    model, history = train(splits, 12, cell=cell, hidden_size=24, lr=0.01, batch_size=32, **settings)
    found = examine(model, splits.train, history=history)
    assert found.accuracy is not None
    assert found.accuracy > 0.8
    assert found.findings == ()


@pytest.mark.slow
def test_a_model_of_texts_is_healthy() -> None:
    random = np.random.default_rng(0)
    words = [f"word{n}" for n in range(30)]
    rows = [f"{' '.join(random.choice(words[n % 2 * 8 : n % 2 * 8 + 22], 9))}\t{'ab'[n % 2]}" for n in range(300)]
    Path("texts.tsv").write_text("\n".join(["text\tlabel", *rows]))
    splits = unroll.load("texts.tsv", tokenizer="word")
    model = unroll.SequenceClassifier(
        20,
        2,
        cell="gru",
        hidden_size=16,
        readout="max",
        bidirectional=True,
        vocabulary_size=splits.train.vocabulary_size,
    )
    model, history = train(splits, 15, model, lr=0.01, batch_size=32)
    found = examine(model, splits.train, history=history)
    assert found.findings == ()
    assert [layer.title for layer in found.layers] == ["layer 1", "layer 1 backward"]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "lru"])
def test_fresh_models_are_healthy(cell: Any, small: Digits) -> None:
    assert examine(fresh(cell=cell), small.train).findings == ()


# Sick


def test_a_small_spectral_radius_makes_the_gradient_vanish(small: Digits) -> None:
    found = examine(with_radius(0.1), small.train)
    assert names(found) == {"small recurrent weights", "vanishing gradient", "short memory"}
    assert "spectral radius of 0.1: after 10 steps at most 1e-10 of a state" in evidence(
        found, "small recurrent weights"
    )
    assert re.search(
        r"27 steps before the last one .* is \S+, and at its strongest 1\.\de\+00",
        evidence(found, "vanishing gradient"),
    )
    assert found.memory is not None
    assert found.memory.steps <= 5
    assert "--cell gru" in found.findings[-1].remedy


def test_what_forgets_but_does_well_is_not_sick() -> None:
    splits = waves()
    x = splits.train.x.clone()
    x[:, -1, 0] = splits.train.y - 1.0 + 0.1 * torch.randn(len(x))  # all is told at the end
    splits = replace(splits, train=replace(splits.train, x=x))
    model = unroll.SequenceClassifier(2, 3, hidden_size=16)
    with torch.no_grad():
        cell_of(model).weight_hh.mul_(0.1)
    assert "vanishing gradient" in names(examine(model, splits.train))
    model, _ = train(splits, 10, model, lr=0.02, batch_size=16)
    found = examine(model, splits.train)
    assert found.accuracy is not None
    assert found.accuracy > 0.95
    assert "vanishing gradient" not in names(found)
    assert "short memory" not in names(found)


def test_a_large_spectral_radius_makes_the_gradient_explode(small: Digits) -> None:
    found = examine(with_radius(3), small.train)
    assert {"large recurrent weights", "exploding gradient"} <= names(found)
    assert "spectral radius of 3, and gradients explode" in evidence(found, "large recurrent weights")
    (layer,) = found.layers
    assert f"{layer.gradient[-1] / layer.gradient[0]:.1e} times" in evidence(found, "exploding gradient")


def test_exploding_activations(small: Digits) -> None:
    found = examine(with_radius(3, nonlinearity="relu"), small.train)
    assert {"exploding activations", "large recurrent weights", "exploding gradient"} <= names(found)
    found = examine(with_radius(1e6, nonlinearity="relu"), small.train)
    assert found.findings[0].name == "exploding activations"
    assert found.findings[0].severity == "error"
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_inputs_out_of_scale(cell: Any, small: Digits) -> None:
    raw = replace(small.train, preparation=replace(small.train.preparation, scaling=Scaling(0.0, 1.0)))
    found = examine(fresh(cell=cell), raw)
    rms = raw.x.double().square().mean().sqrt()
    assert (
        abs(float(re.findall(r"mean square of ([\d.]+);", evidence(found, "inputs out of scale"))[0]) / rms - 1) < 0.1
    )
    assert ("saturated units" if cell == "rnn" else "saturated gates") in names(found)


def test_dead_units(small: Digits) -> None:
    model, _ = train(small, 1, hidden_size=32, nonlinearity="relu")
    with torch.no_grad():
        cell_of(model).bias_ih[:20] -= 50
    found = examine(model, small.train)
    assert "62% of the units are 0, at any step" in evidence(found, "dead units")
    assert found.layers[0].dead == 20 / 32
    with torch.no_grad():
        cell_of(model).bias_ih -= 50
    found = examine(model, small.train)
    assert [(finding.name, finding.severity) for finding in found.findings] == [
        ("dead units", "error"),
        ("input ignored", "error"),
    ]
    still = fresh()
    with torch.no_grad():
        cell_of(still).weight_ih[:16] = 0
        cell_of(still).weight_hh[:16] = 0
    assert "50% of the units do not change" in evidence(examine(still, small.train), "dead units")


def test_a_learning_rate_far_too_high(small: Digits) -> None:
    model, history = train(small, 8, hidden_size=32, lr=1.0, schedule="constant")
    found = examine(model, small.train, history=history)
    assert {"learning rate too high", "saturated units", "large recurrent weights"} <= names(found)
    assert "the highest learning rate was 1" in evidence(found, "learning rate too high")
    assert any("--lr 0.002" in finding.remedy for finding in found.findings)


@pytest.mark.slow
def test_shuffled_labels(small: Digits) -> None:
    order = torch.randperm(400, generator=torch.Generator().manual_seed(1))
    shuffled = replace(small, train=replace(small.train, y=small.train.y[order]))
    model, history = train(shuffled, 3, hidden_size=16)
    found = examine(model, shuffled.train, history=history)
    assert "ln(10) = 2.303" in evidence(found, "nothing learned")
    model, history = train(shuffled, 30, hidden_size=64, cell="gru", lr=0.01)
    found = examine(model, shuffled.train, history=history)
    assert names(found) == {"shuffled labels"}
    assert f"the training accuracy is {history[-1].train_accuracy:.1%}" in evidence(found, "shuffled labels")


HEALTHY = LayerHealth(1, "forward", (1.0, 0.5), (0.5, 0.6), saturated=0.1, dead=0.0, gates=None, radius={"h": 1.0})


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        ({}, []),
        ({"saturated": 0.5}, []),
        ({"saturated": 0.51}, ["saturated units"]),
        ({"gates": {"i": 0.61, "f": 0.9}}, ["saturated gates"]),
        ({"gates": {"i": 0.6, "f": 0.9}}, []),
        ({"dead": 0.3}, []),
        ({"dead": 0.31}, ["dead units"]),
        ({"activation": (0.5, 100.0)}, []),
        ({"activation": (0.5, 101.0)}, ["exploding activations"]),
        ({"activation": (0.5, math.nan)}, ["exploding activations"]),
        ({"radius": {"h": 0.5}}, []),
        ({"radius": {"h": 0.49}}, ["small recurrent weights"]),
        ({"radius": {"h": 9.0}}, []),  # to no effect
        ({"radius": {"h": 1.6}, "saturated": 0.6}, ["saturated units", "large recurrent weights"]),
        ({"radius": {"h": 1.5}, "saturated": 0.6}, ["saturated units"]),
        ({"radius": {"h": 1.6}, "gradient": (1.0, 1001.0)}, ["large recurrent weights", "exploding gradient"]),
        ({"gradient": (1.0, 1000.0)}, []),
        ({"gradient": (1.0, 1001.0)}, ["exploding gradient"]),
        ({"gradient": (1.0, math.inf)}, ["exploding gradient"]),
        ({"gradient": (1.0, 1e-7)}, []),
        ({"gradient": (1.0, 9e-8)}, ["vanishing gradient"]),
        ({"gradient": (1.0, 0.0)}, ["vanishing gradient"]),
        ({"gradient": (0.0, 0.0)}, []),  # no sequence has any
        ({"gradient": (1.0,)}, []),
    ],
)
def test_a_layer_is_ill_beyond_the_limits(layer: dict[str, Any], found: list[str]) -> None:
    patient = Patient(ModelConfig(), False, None)
    assert [finding.name for finding in judge_layers([replace(HEALTHY, **layer)], patient)] == found


@pytest.mark.parametrize(("radius", "found"), [(1.0, []), (1.1, ["large recurrent weights"])])
def test_units_without_a_limit_explode_with_a_radius_above_one(radius: float, found: list[str]) -> None:
    layer = replace(HEALTHY, radius={"h": radius}, activation=(101.0, 1.0), saturated=None)
    names_ = [each.name for each in judge_layers([layer], Patient(ModelConfig(nonlinearity="relu"), False, None))]
    assert names_ == ["exploding activations", *found]


@pytest.mark.parametrize(
    ("layers", "does_well", "count"),
    [
        ([1, 2], False, 1),
        ([2], False, 0),  # a higher layer may forget
        ([1], True, 0),
    ],
)
def test_a_vanishing_gradient_counts_in_the_lowest_layer_of_what_does_badly(
    layers: list[int], does_well: bool, count: int
) -> None:
    patient = Patient(ModelConfig(), does_well, None)
    each = [replace(HEALTHY, layer=n, gradient=(1.0, 1e-9 if n in layers else 0.5)) for n in (1, 2)]
    assert [finding.name for finding in judge_layers(each, patient)] == ["vanishing gradient"] * count


@pytest.mark.parametrize(("bidirectional", "count"), [(False, 1), (True, 0)])
def test_of_two_directions_each_carries_half_of_a_sequence(bidirectional: bool, count: int) -> None:
    patient = Patient(ModelConfig(bidirectional=bidirectional), False, None)
    layer = replace(HEALTHY, gradient=(1.0, 0.5, 0.5, 1e-9))
    assert [finding.name for finding in judge_layers([layer], patient)] == ["vanishing gradient"] * count


@pytest.mark.parametrize(
    ("steps", "heard", "time", "found"),
    [
        (3, 0.24, 12, ["short memory"]),
        (3, 0.25, 12, []),
        (2, 0.2, 11, []),  # too few steps to tell
        (0, 0.0, 5, ["input ignored"]),
    ],
)
def test_memory_is_short_beyond_the_limits(steps: int, heard: float, time: int, found: list[str]) -> None:
    memory = Memory((0, time - 1), (1.0, 0.0), steps, heard, time)
    patient = Patient(ModelConfig(), False, None)
    assert [finding.name for finding in judge_memory(memory, [HEALTHY], patient)] == found


@pytest.mark.parametrize(("scale", "found"), [(0.03, 1), (0.04, 0), (5.0, 0), (5.1, 1)])
def test_inputs_are_out_of_scale_beyond_the_limits(scale: float, found: int) -> None:
    assert [finding.name for finding in judge_numbers(scale, True)] == ["inputs out of scale"] * found


def test_not_finite_weights_and_inputs(small: Digits) -> None:
    model = fresh()
    with torch.no_grad():
        model.head.weight[0, 0] = math.nan
        cell_of(model).weight_hh[0, 0] = math.inf
    found = examine(model, small.train)
    assert evidence(found, "not finite") == "some weights are not finite"
    assert found.layers[0].radius is None
    json.dumps(found.to_dict(), allow_nan=False)
    data = waves().train
    x = data.x.clone()
    x[0, 0, 0] = math.inf
    found = examine(unroll.SequenceClassifier(2, 3), replace(data, x=x))
    assert "values that are not finite" in evidence(found, "not finite")
    json.dumps(found.to_dict(), allow_nan=False)


def test_uneven_classes() -> None:
    random = np.random.default_rng(0)
    y = (np.arange(300) % 15 == 0).astype(np.int64)
    data = series(random.normal(size=(300, 10, 2)) + 0.2 * y[:, None, None], y)
    model = unroll.SequenceClassifier(2, 2, hidden_size=8)
    with torch.no_grad():
        model.head.bias.copy_(torch.tensor([5.0, -5.0]))
    found = examine(model, data)
    assert "280 of 300 sequences are a, 20 are b" in evidence(found, "uneven classes")
    assert found.chance == 280 / 300
    model, _ = train(unroll.Splits(data, data, "uneven", "here"), 40, hidden_size=32, lr=0.02, val_fraction=0.0)
    assert "uneven classes" not in names(examine(model, data))  # all are learned by heart


def test_what_is_advised_for_uneven_classes_helps() -> None:
    random = np.random.default_rng(0)
    y = (np.arange(900) % 15 == 0).astype(np.int64)
    data = series(random.normal(size=(900, 10, 2)) + 0.25 * y[:, None, None], y)
    splits = unroll.Splits(data.subset(torch.arange(600)), data.subset(torch.arange(600, 900)), "uneven", "here")
    settings = {"hidden_size": 8, "lr": 0.01, "val_fraction": 0.0}
    model, _ = train(splits, 6, **settings)
    (remedy,) = (f.remedy for f in examine(model, splits.train).findings if f.name == "uneven classes")
    assert "several times" not in remedy
    (way,) = flags(remedy)
    better, _ = train(splits, 6, **settings, **way)
    before, after = (unroll.evaluate(one, splits.test).balanced_accuracy for one in (model, better))
    assert before < 0.55
    assert after > before + 0.1


# History


def epochs(losses: list[float], train_accuracy: float, val_accuracy: float | None = None) -> list[unroll.EpochResult]:
    return [
        unroll.EpochResult(n, loss, train_accuracy, None if val_accuracy is None else loss, val_accuracy, 0.002, 1, 100)
        for n, loss in enumerate(losses, start=1)
    ]


def test_the_course_of_a_training() -> None:
    falling = [2.0, 1.0, 0.5, 0.3, 0.2]

    def found(*history: Any, test: float | None = None, **settings: Any) -> list[str]:
        return [finding.name for finding in judge_history(epochs(*history), 0.1, 10, test, **settings)]

    assert found(falling, 0.97, 0.9) == []
    assert found(falling, 0.97, 0.7) == ["overfitting"]
    assert found(falling, 0.97, None) == []
    assert found(falling, 0.97, None, test=0.7) == ["overfitting"]
    assert found(falling, 0.97, None, test=0.12) == ["shuffled labels"]
    assert found(falling, 0.15, 0.15) == ["nothing learned"]
    assert found(falling[:2], 0.15, 0.15) == []  # too early
    assert found([2.0, 3.0, 1.0, 0.5, 0.3, 0.2], 0.97, 0.9) == []  # one jump in six epochs
    assert found([9.0, 5.0, 4.0, 3.9, 3.8], 0.5, 0.5) == ["learning rate too high"]
    assert found([2.0, 1.0, 2.0, 1.0, 2.0], 0.5, 0.5) == ["learning rate too high"]
    assert found([0.01, 0.001, 0.01, 0.001, 0.05], 1.0, 1.0) == []  # ten times as much, and nothing
    assert found([0.5, 0.0, 0.5], 1.0, 1.0) == ["learning rate too high"]
    (jumps,) = judge_history(epochs([0.5, 0.0, 0.3, 0.6, 0.5], 1.0, 1.0), 0.1, 10)
    assert jumps.evidence.startswith(
        "the training loss jumps up in 3 of 5 epochs, in epoch 4 to 0.6, after 0 at its lowest before; "
    )
    (overfitting,) = judge_history(
        epochs(falling, 0.97, 0.7), 0.1, 10, None, unroll.ModelConfig(num_layers=2, hidden_size=64), image=True
    )
    for flag in ("--hidden-size 32", "--shift", "--recurrent-dropout", "--dropout", "--weight-decay"):
        assert flag in overfitting.remedy


@pytest.mark.parametrize(
    ("accuracy", "chance", "lift"),
    [(0.1, 0.1, 0.0), (1.0, 0.1, 1.0), (0.55, 0.1, 0.5), (0.7, 0.8, -0.5), (1.0, 1.0, 1.0)],
)
def test_lift_is_the_part_of_what_chance_leaves(accuracy: float, chance: float, lift: float) -> None:
    assert course.lift(accuracy, chance) == pytest.approx(lift)


@pytest.mark.parametrize(("lr", "advised"), [(1e-4, 1e-3), (2e-3, 2e-2), (0.5, 2e-3)])
@pytest.mark.parametrize(("losses", "longer"), [([2.3, 2.2, 2.1], True), ([2.3, 2.1, 2.2], False)])
def test_what_learned_nothing_is_advised_another_rate_and_more_epochs_while_the_loss_falls(
    lr: float, advised: float, losses: list[float], longer: bool
) -> None:
    history = [replace(epoch, lr=lr) for epoch in epochs(losses, 0.1, 0.1)]
    (finding,) = judge_history(history, 0.1, 10)
    assert f"--lr {advised:g};" in finding.remedy
    assert ("--epochs 12," in finding.remedy) == longer


@pytest.mark.parametrize(("losses", "found"), [([9.0, 9.0], 1), ([9.0], 0), ([2.0, 1.9], 0)])
def test_a_loss_far_above_that_of_guessing_is_told_after_two_epochs(losses: list[float], found: int) -> None:
    names_ = [finding.name for finding in judge_history(epochs(losses, 0.1, 0.1), 0.1, 10)]
    assert names_ == ["learning rate too high"] * found


@pytest.mark.parametrize("losses", [[6.0, 3.0, 1.5, 2.1, 1.5, 2.1], [6.0, 6.0]], ids=["jumps", "high"])
@pytest.mark.parametrize(("weight", "found"), [(1.0, ["learning rate too high"]), (6.5, [])])
def test_losses_are_judged_by_the_mean_weight_of_the_sequences(
    losses: list[float], weight: float, found: list[str]
) -> None:
    judged = judge_history(epochs(losses, 0.8), 0.5, 2, weight=weight)
    assert [finding.name for finding in judged] == found


def test_the_loss_of_equal_probabilities_is_told_with_the_mean_weight() -> None:
    (high,) = judge_history(epochs([29.0, 29.0], 0.8), 0.5, 2, weight=6.5)
    assert "equal probabilities would give mean class weight 6.5 × ln(2) = 4.505" in high.evidence


@pytest.mark.parametrize(
    ("class_weight", "weight"),
    [(None, ""), ("balanced", ""), ("a=5,b=15", "mean class weight 7.5 × "), ("a=7", "mean class weight 5.5 × ")],
)
def test_an_examination_weighs_the_losses_as_the_training_did(class_weight: str | None, weight: str) -> None:
    """Of three sequences of a and one of b."""
    data = series(np.random.default_rng(0).normal(size=(4, 3, 1)), np.array([0, 0, 0, 1]))
    training = unroll.TrainConfig(class_weight=class_weight)
    found = examine(unroll.SequenceClassifier(1, 2), data, history=epochs([40.0] * 2, 0.5), training=training)
    assert f"would give {weight}ln(2) = " in evidence(found, "learning rate too high")


def test_without_data_the_losses_are_weighed_as_of_even_classes() -> None:
    training = unroll.TrainConfig(class_weight="a=6")
    found = examine(unroll.SequenceClassifier(1, 2), history=epochs([40.0] * 2, 0.5), training=training)
    assert "would give mean class weight 3.5 × ln(2) = " in evidence(found, "learning rate too high")


# Measurements


class LastThree(unroll.Cell):
    """Knows its last three inputs, and nothing before."""

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.zeros(batch_size, 3, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.cat([x, state[:, :2]], dim=1)


def test_memory_is_as_long_as_it_is() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(30, 100, 1))
    data = series(x, np.arange(30) % 2, random.integers(0, 100, 30))
    model = unroll.SequenceClassifier(1, 2, cell=LastThree, hidden_size=3)
    found = measure_memory(model, data)
    assert found is not None
    assert found.steps == 3
    assert found.heard == pytest.approx(3 / found.time)
    assert len(found.offsets) == len(found.effects) <= 40
    assert all(effect == 0 for offset, effect in zip(found.offsets, found.effects, strict=True) if offset > 2)
    constant = series(np.zeros((30, 100, 1)), np.arange(30) % 2)
    silent = measure_memory(model, constant)
    assert silent is not None
    assert (silent.steps, silent.heard) == (0, 0.0)
    assert measure_memory(model, data.subset(torch.tensor([0]))) is None
    assert positions(28) == list(range(28))
    assert len(positions(784)) <= 40
    assert {0, 1, 783} <= set(positions(784))


def test_different_lengths_are_aligned_at_the_end_of_the_reading() -> None:
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 0.0], [7.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    lengths = torch.tensor([3, 2, 1, 0])
    assert before_the_end(values, lengths, False).tolist() == [10.0, 6.0, 1.0]
    assert before_the_end(values, lengths, True).tolist() == [6.0, 11.0, 3.0]
    assert before_the_end(values[:2], None, False).tolist() == [1.5, 11.0, 5.5]
    assert math.isnan(before_the_end(values[1:], lengths[1:], False)[2])


def test_spectral_radii() -> None:
    torch.manual_seed(0)
    model = unroll.SequenceClassifier(2, 2, cell="lstm", hidden_size=5)
    (cell,) = model.layers[0]  # type: ignore[misc]
    expected = [max(abs(np.linalg.eigvals(block.detach().numpy()))) for block in cell.weight_hh.split(5)]
    found = radii(cell)
    assert found is not None
    assert list(found) == ["i", "f", "g", "o"]
    assert list(found.values()) == pytest.approx(expected, rel=1e-5)
    assert radii(unroll.RNN(2, 5)) is not None
    assert list(radii(unroll.LRU(2, 5)) or ()) == ["λ"]
    assert list(radii(unroll.IndRNN(2, 5)) or ()) == ["u"]
    assert radii(unroll.MinGRU(2, 5)) is None


def test_the_model_stays_as_it_is(small: Digits) -> None:
    model = fresh(num_layers=2, dropout=0.5, recurrent_dropout=0.5)
    model.head.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first, second = examine(model, small.train), examine(model, small.train)
    assert first == second
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in model.modules()] == modes
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert examine(model, small.train, seed=1) != first


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_are_measured_wherever_they_are_switched_off(off: Any) -> None:
    model, data = unroll.SequenceClassifier(2, 3, hidden_size=8, num_layers=2), waves().train
    expected = examine(model, data)
    with off():
        assert examine(model, data) == expected
        assert examine(model, waves().train) == expected  # of tensors that were made there
        assert not torch.is_grad_enabled()
    assert expected.layers[0].gradient[0] > 0


@pytest.mark.parametrize("cell", [*unroll.cells.CELLS, LastThree])
def test_any_cell_and_any_length(cell: Any) -> None:
    random = np.random.default_rng(0)
    hidden = 3
    for both in (False, True):
        model = unroll.SequenceClassifier(
            2 if cell is not LastThree else 1, 2, cell=cell, hidden_size=hidden, bidirectional=both, readout="attention"
        )
        for steps, lengths in ((1, None), (9, random.integers(0, 9, 12)), (4, np.zeros(12))):
            data = series(random.normal(size=(12, steps, model.input_size)), np.arange(12) % 2, lengths)
            found = examine(model, data)
            json.dumps(found.to_dict(), allow_nan=False)
            assert len(found.layers) == 1 + both
    one = examine(model, data.subset(torch.tensor([1])))
    assert one.memory is None
    assert examine(model, data.subset(torch.empty(0, dtype=torch.int64))).sequences == 0


def test_without_data_weights_and_history_are_examined() -> None:
    found = examine(with_radius(0.1), history=epochs([2.3, 2.3, 2.3], 0.1, 0.1))
    assert names(found) == {"small recurrent weights", "nothing learned"}
    assert (found.sequences, found.loss, found.memory, found.layers[0].gradient) == (0, None, None, ())
    assert len(found.skipped) == 1
    assert found.skipped[0].endswith("need data; pass it (on the command line with --data)")
    assert len(examine(fresh()).skipped) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.nn.Linear(2, 2),), "examine expects a SequenceClassifier, got Linear"),
        ((unroll.SequenceClassifier(2, 2), torch.zeros(3)), "examine expects SequenceData, such as splits.train, got"),
    ],
)
def test_what_cannot_be_examined(arguments: Any, message: str) -> None:
    with pytest.raises(unroll.InputError, match=re.escape(message)):
        examine(*arguments)
    with pytest.raises(unroll.InputError, match=re.escape("x must have shape (batch, time, 3)")):
        examine(unroll.SequenceClassifier(3, 3), waves().train)
    with pytest.raises(unroll.ConfigError, match="seed must be at least 0"):
        examine(unroll.SequenceClassifier(2, 2), seed=-1)


# Command line


Call = Callable[..., tuple[int, str, str]]


def test_doctor_of_a_healthy_run(call: Call, run: unroll.Run) -> None:
    status, out, err = call("doctor", run.path)
    assert (status, err) == (0, "")
    assert out.endswith("nothing looks wrong\n")
    assert re.search(r"\n  gradient +[▁▂▃▄▅▆▇█]{28}  \S+ at the first step read, \S+ at the last\n", out)
    assert "look at" not in out
    status, out, err = call("doctor", run.path, "--data", "mnist-sample", "--json")
    found = json.loads(out)
    assert (status, err, found["findings"], found["no_data"]) == (0, "", [], None)
    assert len(found["layers"][0]["gradient"]) == 28


@pytest.mark.slow
def test_doctor_of_a_sick_run_and_of_one_whose_data_is_gone(call: Call, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    np.savez("noise.npz", x=random.normal(size=(80, 15, 2)), y=np.arange(80) % 2)
    # Weights are pulled to nothing, so nothing is remembered.
    settings = (
        "--recipe",
        "images",
        "--hidden-size",
        8,
        "--weight-decay",
        50,
        "--lr",
        0.01,
        "--epochs",
        60,
        "--out",
        "sick",
    )
    assert call("train", "--no-report", "--data", "noise.npz", *settings)[0] == 0
    status, out, err = call("doctor", "sick")
    assert (status, err) == (0, "")
    assert "look at  small recurrent weights: layer 1: weight_hh has a spectral radius of 0.0" in out
    assert "; try: a lower --weight-decay, 0.01 by default" in out
    Path("noise.npz").unlink()
    status, out, err = call("doctor", "sick")
    assert (status, err) == (0, "")
    assert re.search(r"\nno data  .*noise.npz does not exist", out)
    assert "\nskipped  gradients, activations and memory need data" in out
    assert "look at  small recurrent weights" in out
    assert json.loads(call("doctor", "sick", "--json")[1])["no_data"].count("noise.npz") >= 1


def test_doctor_of_a_run_saved_by_hand(call: Call, small: Digits) -> None:
    unroll.save(fresh(), "by-hand", data=small.train)
    status, out, err = call("doctor", "by-hand")
    assert (status, err) == (0, "")
    assert "no data  by-hand was saved by hand" in out
    assert call("doctor", "by-hand", "--data", "mnist-sample")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("doctor no", "no is not a run folder: it has no config.json"),
        ("doctor", 'Command "doctor" parameter RUN requires an argument.'),
        ("doctor RUN --data no.npz", "no.npz does not exist"),
        ("doctor RUN --data-dir no", "data_dir must be a folder, got no"),
    ],
)
def test_bad_input_is_one_line(call: Call, run: unroll.Run, words: str, message: str) -> None:
    status, out, err = call(*words.replace("RUN", str(run.path)).split())
    assert (status, out) == (2, "")
    assert err.startswith(f"unroll: {message}")
    assert err.count("\n") == 1


def test_a_line_of_bars() -> None:
    assert bars([1.0, 1e-4, 1e-8, 1e-30, 0.0]) == "  ▁▄█"  # from the first step read to the last
    assert bars([1.0] * 1000) == "█" * 40
    assert bars([math.inf, 1.0, 0.1]) == "▇█!"
    assert bars([0.0, 0.0]) == "  "


def test_every_flag_that_is_named_is_one(call: Call) -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", call("train", "--no-report", "--help")[1]))
    sources = [inspect.getsource(module) for module in (judgement, unroll.doctor, course, remedies)]
    named = set(re.findall(r"--[a-z][a-z-]+", "".join(sources)))
    assert len(named) > 10
    assert named - {"--data"} <= known


class Own(unroll.Cell):
    """Takes all that any cell takes, so that another cell refuses it."""

    options = frozenset({"nonlinearity"})

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: str = "tanh") -> None:
        super().__init__(input_size, hidden_size)
        self.weight_ih = torch.nn.Parameter(torch.randn(hidden_size, input_size))
        self.weight_hh = torch.nn.Parameter(torch.randn(hidden_size, hidden_size))

    def init_identity(self) -> None:
        """Is taken."""

    def set_forget_bias(self, value: float) -> None:
        """Is taken too."""

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(x @ self.weight_ih.T + state @ self.weight_hh.T)


GRID: dict[str, tuple[Any, ...]] = {
    "nonlinearity": ("tanh", "relu"),
    "bidirectional": (False, True),
    "recurrent_dropout": (0.0, 0.3),
    "init": ("orthogonal", "torch", "identity"),
    "forget_bias": (None, 2.0),
}
SHAPES: tuple[dict[str, Any], ...] = (  # as many as share no factor with half of the grid: each meets all of it
    {"num_layers": 2, "hidden_size": 2, "backend": "torch"},
    {"hidden_size": 3, "readout": "mean", "layer_norm": True},
    {"hidden_size": 1, "backend": "reference"},
    {"hidden_size": 2, "num_layers": 2, "layer_norm": True, "dropout": 0.1},
    {"hidden_size": 4, "backend": "gemm"},
)


def models(cell: str) -> Iterator[ModelConfig]:
    """Yield half of the grid, where all values of any four settings meet, in shapes that take turns."""
    places = itertools.product(*(range(len(values)) for values in GRID.values()))
    for chosen, shape in zip((place for place in places if sum(place) % 2 == 0), itertools.cycle(SHAPES), strict=False):
        values = {name: GRID[name][at] for name, at in zip(GRID, chosen, strict=True)}
        config = ModelConfig(cell=cell, **values, **shape)
        with contextlib.suppress(unroll.InputError):
            build(config, 28, 10)(torch.zeros(1, 2, 28))
            yield config


def all_findings(config: ModelConfig) -> list[Finding]:
    """Return every finding that comes with a remedy of its own for a model."""
    gone, grown = LayerHealth(1, "forward", (1.0, *[1e-12] * 29)), LayerHealth(1, "forward", (1e-6, *[1.0] * 29))
    ill = {"activation": (1e4,) * 30, "saturated": 0.9, "dead": 0.9, "gates": {"r": 0.9, "z": 0.9}}
    found = [*judge_numbers(1.0, False), *judge_numbers(math.nan, True), *judge_numbers(100.0, True)]
    for lr in (None, 0.3):
        patient = Patient(config, False, lr)
        found += judge_layers([replace(gone, radius={"h": 0.1})], patient)
        found += judge_layers([replace(grown, **ill, radius={"h": 3.0})], patient)
        for heard in (0, 3):
            memory = Memory((0, 29), (1.0, 0.0), heard, heard / 30, 30)
            found += [*judge_memory(memory, [gone], patient), *judge_memory(memory, [grown], patient)]
    late = Memory((0, 5, 29), (1.0, 0.0, 0.0), 5, 5 / 30, 30)
    found += judge_readout(late, 0.9, 0.1, Patient(config, False, 0.3))
    for losses, right in (([2.3] * 3, 0.1), ([9.0] * 3, 0.9), ([2.0, 1.0, 2.0], 0.9), ([1.0, 0.5, 0.6], 0.99)):
        for held_out in (0.1, 0.5):
            found += judge_history(epochs(losses, right, held_out), 0.1, 10, None, config, image=True)
    return found


@pytest.mark.parametrize("cell", [*unroll.cells.CELLS, f"{__name__}:Own"])
@pytest.mark.slow
def test_no_remedy_is_refused(cell: str, small: Digits) -> None:
    few = replace(small, train=small.train.subset(torch.arange(40)))
    named, tried = set(), set()
    for config in models(cell):
        for finding in all_findings(config):
            named.add(finding.name)
            for way in flags(finding.remedy):
                recipe = way.get("recipe", "images")
                changed = {**asdict(config), **{name: value for name, value in way.items() if name != "recipe"}}
                if (key := repr((recipe, changed))) not in tried:
                    tried.add(key)
                    _, chosen = choose_settings(recipe, changed)
                    unroll.Training(build(chosen.model, 28, 10), few, chosen.train)
    without_flags = {"uneven classes", "majority answers", "few validation sequences"}
    of_rnn = {"large recurrent weights", "small recurrent weights"}
    assert named == set(NAMES) - without_flags - (set() if cell == "rnn" else of_rnn)
    assert len(tried) > 10


def test_flags_are_read_from_a_remedy() -> None:
    assert flags(
        "a lower --lr and --clip-norm 1, --init identity --nonlinearity relu, or (--cell gru); see --missing"
    ) == [
        {"clip_norm": 1},
        {"init": "identity", "nonlinearity": "relu"},
        {"cell": "gru"},
    ]
    relu = ModelConfig(nonlinearity="relu", init="identity", recurrent_dropout=0.1, backend="gemm")
    assert flags(remedies.longer_memory(relu, 20)) == [
        {"cell": "gru", "nonlinearity": "tanh", "init": "orthogonal", "backend": "auto", "forget_bias": 3},
        {"cell": "lru", "nonlinearity": "tanh", "init": "orthogonal", "recurrent_dropout": 0, "backend": "auto"},
        {"readout": "mean"},
        {"readout": "attention"},
    ]
    assert "--tbptt 5" in remedies.against_explosion(ModelConfig(), None, 20)
    assert "--tbptt" not in remedies.against_explosion(ModelConfig(bidirectional=True), None, 20)
    assert "--cell lru" not in remedies.longer_memory(ModelConfig(cell="gru", forget_bias=1.0), 20)
    tiny = remedies.against_overfitting([], ModelConfig(cell="lru", hidden_size=3, layer_norm=True), False)
    assert tiny == "more training data, or --weight-decay 0.1"


# Pictures


@pytest.mark.slow
def test_pictures(small: Digits) -> None:
    found = examine(fresh(num_layers=2, bidirectional=True), small.train)
    (ax,) = plots.gradient_flow(found).axes
    assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "steps before the end")
    assert ax.get_ylabel() == "‖∂loss/∂state‖ (nats per unit)"
    assert [str(line.get_label()) for line in ax.lines] == [layer.title for layer in found.layers]
    for line, layer in zip(ax.lines, found.layers, strict=True):
        assert list(np.asarray(line.get_xdata())) == list(range(28))
        assert tuple(np.asarray(line.get_ydata())) == layer.gradient
    (ax,) = plots.memory(found).axes
    assert found.memory is not None
    offsets = np.asarray(ax.lines[0].get_xdata())
    assert set(offsets) <= set(found.memory.offsets)
    assert np.asarray(ax.lines[1].get_ydata())[0] == pytest.approx(max(found.memory.effects) / 100)
    assert (ax.get_yscale(), ax.get_xlabel()) == ("log", "steps before the end")
    assert plots.png(plots.memory(found)).startswith(b"\x89PNG")
    for draw in (plots.gradient_flow, plots.memory):
        with pytest.raises(unroll.InputError, match="it had no data; pass data to examine"):
            draw(examine(fresh()))


def test_the_page_has_every_finding() -> None:
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text("utf-8")
    assert re.findall(r"^\| ([a-z ]+) \| (?!when)", page, re.MULTILINE) != []
    assert set(re.findall(r"^\| ([a-z ]+) \| (?!when)", page, re.MULTILINE)) == set(NAMES)
