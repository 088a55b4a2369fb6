"""Each of the doctor's remedies is tried on a case that it is given for: what was measured must improve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

import unroll
from patients import flags, names, series, train, waves
from unroll import TrainingError
from unroll.data.preparation import Scaling
from unroll.doctor import Examination, examine
from unroll.doctor.memory import used_share
from unroll.training.loop import FEW

QUICK: dict[str, Any] = {"hidden_size": 16, "batch_size": 16, "val_fraction": 0.0}


@dataclass(frozen=True)
class Trained:
    """A model, its history and what the doctor says."""

    model: unroll.SequenceClassifier
    history: list[unroll.EpochResult]
    examination: Examination
    splits: unroll.Splits

    @property
    def accuracy(self) -> float:
        return unroll.evaluate(self.model, self.splits.test).accuracy


def trained(splits: unroll.Splits, epochs: int, **settings: Any) -> Trained:
    model, history = train(splits, epochs, **settings)
    accuracy = unroll.evaluate(model, splits.test).accuracy
    examination = examine(model, splits.train, history=history, test_accuracy=accuracy)
    return Trained(model, history, examination, splits)


def drawn(x: np.ndarray, y: np.ndarray, share: float = 0.4) -> unroll.Splits:
    rest, test = series(x, y).cut(share, 0)
    return unroll.Splits(rest, test, "made", "here")


def early_events() -> unroll.Splits:
    """Three of the first 40 of 60 steps tell the class."""
    random, y = np.random.default_rng(0), np.arange(300) % 2
    x = random.normal(size=(300, 60, 1))
    for row, label in zip(x, y, strict=True):
        row[random.choice(40, 3, replace=False)] += 4 * (2 * label - 1)
    return drawn(x, y)


def first_steps() -> unroll.Splits:
    """The first 5 of 80 steps tell the class."""
    random, y = np.random.default_rng(0), np.arange(200) % 2
    x = random.normal(0, 0.1, size=(200, 80, 1))
    x[:, :5] += (0.5 + y)[:, None, None]
    return drawn(x, y)


def few_and_noisy() -> unroll.Splits:
    y = np.arange(120) % 2
    x = np.random.default_rng(0).normal(size=(120, 10, 4)) + 0.15 * (2 * y - 1)[:, None, None]
    return drawn(x, y, 0.5)


def uneven() -> unroll.Splits:
    y = (np.arange(400) % 8 == 0).astype(np.int64)
    return drawn(np.random.default_rng(0).normal(size=(400, 10, 2)) + 0.3 * y[:, None, None], y)


def digits() -> unroll.Splits:
    whole = unroll.load("mnist-sample")
    few = whole.train.subset(torch.arange(0, 4000, 20))
    return replace(whole, train=few, test=whole.test.subset(torch.arange(0, 1000, 4)))


def gap(run: Trained) -> float:
    return run.accuracy - run.history[-1].train_accuracy


def used(run: Trained) -> float:
    assert run.examination.memory is not None
    return used_share(run.examination.memory)


def unsaturated(run: Trained) -> float:
    return -(run.examination.layers[0].saturated or 0.0)


def free_gates(run: Trained) -> float:
    gates = run.examination.layers[0].gates
    assert gates is not None
    return -min(gates.values())


def alive(run: Trained) -> float:
    return -(run.examination.layers[0].dead or 0.0)


def radius(run: Trained) -> float:
    radii = run.examination.layers[0].radius
    assert radii is not None
    return min(1.0, radii["h"])


def steps_used(run: Trained) -> float:
    assert run.examination.memory is not None
    return run.examination.memory.steps


def contained(run: Trained) -> float:
    return -max(run.examination.layers[0].activation)


def falling(run: Trained) -> float:
    return -run.history[-1].train_loss


def val_loss(run: Trained) -> float:
    """The loss of the weights that were kept, on what was held out."""
    _, held_out = run.splits.train.cut(0.3, 0)
    return -unroll.evaluate(run.model, held_out).loss


def balanced(run: Trained) -> float:
    return unroll.evaluate(run.model, run.splits.test).balanced_accuracy or 0.0


@dataclass(frozen=True)
class Case:
    """What is sick, what is measured (more is better), and by how much at least it must improve."""

    finding: str
    data: Callable[[], unroll.Splits]
    epochs: int
    settings: dict[str, Any]
    quality: Callable[[Trained], float]
    by: float
    only: frozenset[str] = frozenset()  # flags that are tried, of a remedy of which others are tried in another case
    seeds: int = 1  # of which the first is taken that makes it sick, where not every one does


OVERFIT = {"lr": 0.01, "num_layers": 2, **QUICK, "hidden_size": 48, "val_fraction": 0.34}
FAST = {"schedule": "constant", **QUICK}
GROWING = {"lr": 0.01, "init": "identity", "nonlinearity": "relu", **FAST}
CASES = {
    "forgets": Case("vanishing gradient", early_events, 8, {"init": "torch", "lr": 0.005, **QUICK}, used, 0.01),
    "a gru forgets": Case(
        "vanishing gradient", early_events, 8, {"cell": "gru", "init": "torch", "lr": 0.005, **QUICK}, used, 0.01
    ),
    "early": Case(
        "early evidence lost", early_events, 8, {"init": "torch", "lr": 0.005, **QUICK}, lambda run: run.accuracy, 0.3
    ),
    "saturated": Case("saturated units", waves, 12, {"lr": 0.3, "init": "torch", **FAST}, unsaturated, 0.02),
    "gates": Case("saturated gates", waves, 8, {"lr": 3.0, "cell": "gru", **FAST}, free_gates, 0.02),
    "dead": Case("dead units", waves, 8, {"lr": 0.3, "nonlinearity": "relu", **FAST}, alive, 0.1),
    "radius": Case(
        "small recurrent weights",
        early_events,
        8,
        {"init": "torch", "weight_decay": 5.0, "lr": 0.005, **QUICK},
        radius,
        0.01,
    ),
    "large": Case("large recurrent weights", waves, 8, {"lr": 0.3, "init": "torch", **FAST}, unsaturated, 0.02),
    "large activations": Case("large recurrent weights", first_steps, 5, GROWING, contained, 5, seeds=12),
    "activations explode": Case("exploding activations", first_steps, 5, GROWING, contained, 5, seeds=12),
    "ignored": Case("input ignored", waves, 5, {"lr": 3.0, "init": "torch", **FAST}, steps_used, 1, seeds=12),
    "rate": Case("learning rate too high", waves, 8, {"lr": 1.0, "clip_norm": 0.0, **FAST}, falling, 0.5),
    "nothing": Case("nothing learned", waves, 5, {"lr": 2e-4, **QUICK}, falling, 0.02),
    "overfits": Case("overfitting", few_and_noisy, 40, OVERFIT, val_loss, 0.05),
    "overfits images": Case(
        "overfitting", digits, 25, {"lr": 0.01, "hidden_size": 48}, gap, 0.02, frozenset({"shift", "rotation"})
    ),
    "majority": Case("majority answers", uneven, 8, {"lr": 0.003, **QUICK}, balanced, 0.05),
}


def found_sick(case: Case, splits: unroll.Splits) -> tuple[Trained, str, int]:
    """Return a model with the finding, the remedy, and the seed of both."""
    for seed in range(case.seeds):
        sick = trained(splits, case.epochs, seed=seed, **case.settings)
        remedies = {f.remedy for f in sick.examination.findings if f.name == case.finding}
        if remedies:
            (remedy,) = remedies
            return sick, remedy, seed
    raise AssertionError(f"no seed gives the finding {case.finding!r}")


@pytest.mark.parametrize("what", CASES)
@pytest.mark.slow
def test_what_is_advised_improves_what_was_measured(what: str) -> None:
    case = CASES[what]
    splits = case.data()
    sick, remedy, seed = found_sick(case, splits)
    ways = [way for way in flags(remedy) if not case.only or case.only & set(way)]
    assert ways
    better = {}
    for way in ways:
        changed = {"epochs": case.epochs, "seed": seed, **case.settings, **way}
        better[str(way)] = case.quality(trained(splits, **changed)) - case.quality(sick)
    assert {way: gain for way, gain in better.items() if gain < case.by} == {}


def test_gradients_do_not_explode_with_what_is_advised() -> None:
    """They rarely explode for long in a training, so here the weights are too large from its beginning."""
    splits, settings = waves(120, 80), {"init": "identity", "nonlinearity": "relu", **QUICK}
    grown = unroll.SequenceClassifier(2, 3, hidden_size=16, init="identity", nonlinearity="relu")
    with torch.no_grad():
        grown.get_parameter("layers.0.0.weight_hh").mul_(1.2)
    _, history = train(splits, 1, grown, lr=1e-4, batch_size=16, val_fraction=0.0)
    examination = examine(grown, splits.train, history=history)
    (remedy,) = {f.remedy for f in examination.findings if f.name == "exploding gradient"}
    ways = flags(remedy)
    assert {"lr", "nonlinearity", "cell", "weight_decay", "tbptt"} <= {name for way in ways for name in way}
    for way in ways:
        better = trained(splits, **{"epochs": 3, **settings, **way})
        assert "exploding gradient" not in names(better.examination), way
        assert better.history[-1].train_loss < history[-1].train_loss, way


def test_inputs_out_of_scale_are_brought_into_it() -> None:
    splits = waves()
    raw = replace(splits.train.preparation, scaling=Scaling(0.0, 0.01))
    parts = {name: replace(getattr(splits, name), preparation=raw) for name in ("train", "test")}
    sick, better = (trained(data, 8, lr=0.005, **QUICK) for data in (replace(splits, **parts), splits))
    (remedy,) = (f.remedy for f in sick.examination.findings if f.name == "inputs out of scale")
    assert "--scaling training" in remedy  # whose scaling is that of ``splits``
    assert "inputs out of scale" not in names(better.examination)
    assert better.accuracy > sick.accuracy + 0.1


def test_a_larger_validation_part_leaves_less_to_chance() -> None:
    splits = drawn(np.random.default_rng(0).normal(size=(100, 5, 1)), np.arange(100) % 2)
    few = unroll.Training(unroll.SequenceClassifier(1, 2), splits, unroll.TrainConfig(patience=2, schedule="constant"))
    found = examine(unroll.SequenceClassifier(1, 2), splits.train, deciding=few.deciding)
    (remedy,) = (f.remedy for f in found.findings if f.name == "few validation sequences")
    assert remedy == "raise --val-fraction, or add data"
    config = unroll.TrainConfig(patience=2, schedule="constant", val_fraction=0.4)
    more = unroll.Training(unroll.SequenceClassifier(1, 2), splits, config)
    assert (few.deciding or 0) < FEW <= (more.deciding or 0)


def test_weights_stay_finite_with_a_lower_rate() -> None:
    settings = {"nonlinearity": "relu", "clip_norm": 0.0, "schedule": "constant", **QUICK}
    with pytest.raises(TrainingError):
        train(waves(), 8, lr=1e4, **settings)
    model, _ = train(waves(), 8, **{**settings, "lr": 0.002, "clip_norm": 1.0})
    assert "not finite" not in names(examine(model, waves().train))
