"""The training loop: what it counts, what it learns, what stops it, and that it can be taken up to the bit."""

from __future__ import annotations

import io
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import unroll
from recurrences import NEEDS_BF16
from resuming import same, weights
from unroll import (
    ConfigError,
    DataError,
    EpochResult,
    InputError,
    SequenceClassifier,
    Splits,
    TrainConfig,
    Training,
    TrainingError,
)
from unroll.config import Metric
from unroll.data.preparation import Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.training.device import choose_device
from unroll.training.fitting import fit
from unroll.training.loop import few_deciding
from unroll.training.results import Progress

CONSTANT = TrainConfig(epochs=2, schedule="constant", val_fraction=0.0)


def small_model(**settings: Any) -> SequenceClassifier:
    torch.manual_seed(1)
    return SequenceClassifier(28, 10, **{"hidden_size": 20, **settings})


def test_it_learns_and_reports(small: Splits) -> None:
    results = list(fit(small_model(hidden_size=64), small, TrainConfig(epochs=15, batch_size=16, lr=5e-3)))
    assert [r.epoch for r in results] == list(range(1, 16))
    first, last = results[0], results[-1]
    assert last.train_loss < 0.5 * first.train_loss
    assert last.train_accuracy > 0.75
    assert last.val_accuracy is not None
    assert last.val_accuracy > 0.5
    assert last.samples_per_second == pytest.approx(360 / last.seconds)
    assert str(last).startswith("epoch 15: train loss ")


def test_a_step_is_adam_s_on_the_mean_cross_entropy(small: Splits) -> None:
    """One epoch against a loop written out, with the same order of batches."""
    torch.manual_seed(1)
    model = small_model(backend="torch")
    twin = small_model(backend="torch")
    training = Training(model, small, CONSTANT)
    orders = []
    original = SequenceData.batch

    def spy(self: SequenceData, index: Tensor, longest: int | None = None) -> Any:
        if self is training.train:
            orders.append(index)
        return original(self, index, longest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SequenceData, "batch", spy)
        result = next(event for event in training.events() if isinstance(event, EpochResult))
    order = torch.cat(orders)
    optimizer = torch.optim.AdamW(twin.parameters(), lr=2e-3, weight_decay=0.01)
    scaling = small.train.preparation.scaling
    loss_sum, right = 0.0, 0
    for at in range(0, 400, 64):
        index = order[at : at + 64]
        x = (small.train.x[index].float() - scaling.mean) / scaling.std
        y = small.train.y[index]
        logits = twin(x)
        loss = nn.functional.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(twin.parameters(), 1.0)
        optimizer.step()
        loss_sum += loss.item() * len(y)
        right += int((logits.argmax(dim=1) == y).sum())
    assert sorted(order.tolist()) == list(range(400))
    for one, other in zip(weights(model), weights(twin), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert result.train_loss == pytest.approx(loss_sum / 400, rel=1e-5)
    assert result.train_accuracy == right / 400


class Perfect(nn.Module):
    """Knows the class from the first value, and has one parameter to train."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(50.0))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return nn.functional.one_hot(x[:, 0, 0].long(), 3).float() * self.scale


def toy(n: int, **change: Any) -> Splits:
    """Return sequences whose only value is their class."""
    y = torch.arange(n) % 3
    data = SequenceData(y.float().view(n, 1, 1), y, Preparation(("a", "b", "c"), Scaling(0.0, 1.0)))
    data = replace(data, **change)
    return Splits(data, data, "toy", "here")


@pytest.mark.parametrize("n", [1, 63, 64, 65, 130])
def test_accuracy_is_right_over_seen_for_any_last_batch(n: int) -> None:
    (result,) = fit(Perfect(), toy(n), replace(CONSTANT, epochs=1))
    assert result.train_accuracy == 1.0
    assert result.train_loss == pytest.approx(0, abs=1e-6)


def test_the_validation_part_is_cut_out_of_a_set_that_stays_whole(small: Splits) -> None:
    training = Training(small_model(), small, TrainConfig(val_fraction=0.25))
    assert (len(training.train), len(small.train)) == (300, 400)
    assert training.val is not None
    assert torch.bincount(training.val.y).tolist() == [10] * 10
    everything = torch.cat([training.train.x, training.val.x]).flatten(1)
    assert sorted(everything.sum(dim=1).tolist()) == sorted(small.train.x.flatten(1).sum(dim=1).tolist())
    other = Training(small_model(), small, TrainConfig(val_fraction=0.25, seed=1))
    assert other.val is not None
    assert not torch.equal(training.val.x, other.val.x)


@pytest.mark.parametrize("settings", [{}, {"seed": 7}])
def test_the_same_seed_gives_the_same_bits(small: Splits, settings: dict[str, Any]) -> None:
    models = [small_model(num_layers=2, dropout=0.3) for _ in range(2)]
    for model in models:
        list(fit(model, small, TrainConfig(epochs=2, **settings)))
    assert same(*map(weights, models))


def test_another_seed_shuffles_differently(small: Splits) -> None:
    models = [small_model() for _ in range(2)]
    for seed, model in enumerate(models):
        list(fit(model, small, replace(CONSTANT, epochs=1, seed=seed)))
    assert not same(*map(weights, models))


DROPPING: dict[str, Any] = {"num_layers": 2, "dropout": 0.3, "recurrent_dropout": 0.2}


@pytest.fixture(scope="module", params=["constant", "one-cycle"])
def whole(request: pytest.FixtureRequest, small: Splits) -> Training:
    """A training that nobody broke off, of nine events: in each epoch step 20, the last, and the epoch's end."""
    few = replace(small, train=small.train.subset(torch.arange(0, 200)))
    config = TrainConfig(epochs=3, batch_size=8, schedule=request.param, keep="best", tbptt=20)
    training = Training(small_model(**DROPPING), few, config)
    events = list(training.events())
    assert [isinstance(event, EpochResult) for event in events] == [False, False, True] * 3
    return training


@pytest.mark.parametrize("events", range(9))
@pytest.mark.slow
def test_a_training_is_taken_up_to_the_bit_at_any_event(small: Splits, whole: Training, events: int) -> None:
    """With dropout, in the middle of epochs and between them, through the file format of a checkpoint."""
    few, config = replace(small, train=small.train.subset(torch.arange(0, 200))), whole.config
    first = Training(small_model(**DROPPING), few, config)
    list(islice(first.events(), events))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    torch.randn(100)  # the global generator moves on
    second = Training(SequenceClassifier(28, 10, hidden_size=20, **DROPPING), few, config)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    list(second.events())
    assert same(weights(whole.model), weights(second.model))
    for one, other in zip(whole.history, second.history, strict=True):
        timeless = {"seconds": 0.0, "samples_per_second": 0.0}
        assert replace(one, **timeless) == replace(other, **timeless)


def test_progress_tells_where_it_stands(small: Splits) -> None:
    training = Training(small_model(), small, replace(CONSTANT, batch_size=8))
    events = list(islice(training.events(), 4))
    assert [(e.epoch, e.epochs, e.step, e.steps) for e in events[:3] if isinstance(e, Progress)] == [
        (1, 2, 20, 50),
        (1, 2, 40, 50),
        (1, 2, 50, 50),
    ]
    assert isinstance(events[3], EpochResult)
    assert isinstance(events[2], Progress)
    assert events[2].loss == pytest.approx(events[3].train_loss)


def test_one_cycle_warms_up_and_anneals(small: Splits) -> None:
    rates = [r.lr for r in fit(small_model(), small, TrainConfig(epochs=10, lr=0.01))]
    assert max(rates) == pytest.approx(0.01, rel=0.05)
    assert rates.index(max(rates)) <= 2
    assert rates[-1] < 1e-4
    assert {r.lr for r in fit(small_model(), small, replace(CONSTANT, lr=0.01))} == {0.01}


def test_a_training_of_a_single_step_still_moves(small: Splits) -> None:
    model = small_model()
    before = weights(model)
    (result,) = fit(model, small, TrainConfig(epochs=1, batch_size=1000))
    assert result.lr > 1e-5
    assert not same(before, weights(model))


def test_clipping_bounds_the_gradient(small: Splits) -> None:
    model = small_model(backend="torch")  # the fused step leaves no gradients to look at
    training = Training(model, small, replace(CONSTANT, clip_norm=1e-3))
    next(training.events())
    norm = torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()
    assert float(norm) <= 1.001e-3
    assert TrainConfig().clip_norm == 1


@NEEDS_BF16
def test_bf16_trains_with_float32_weights(small: Splits) -> None:
    model = small_model()
    results = list(fit(model, small, TrainConfig(epochs=4, precision="bf16")))
    assert results[-1].train_loss < results[0].train_loss
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    exact = small_model()
    list(fit(exact, small, TrainConfig(epochs=4)))
    assert not same(weights(model), weights(exact))


def test_best_weights_are_those_of_the_lowest_validation_loss(small: Splits) -> None:
    config = TrainConfig(epochs=25, lr=0.05, schedule="constant", keep="best", val_fraction=0.25)
    noise = small.train.y[torch.randperm(len(small.train))]  # of which no later epoch knows more, on any processor
    training = Training(small_model(), replace(small, train=replace(small.train, y=noise)), config)
    results = [event for event in training.events() if isinstance(event, EpochResult)]
    losses = [r.val_loss for r in results]
    best = losses.index(min(losses)) + 1  # type: ignore[type-var]
    assert training.kept == f"best weights (epoch {best})"
    assert training.val is not None
    assert unroll.evaluate(training.model, training.val).loss == pytest.approx(losses[best - 1])
    assert best < 25


@pytest.mark.parametrize("metric", ["accuracy", "balanced-accuracy", "macro-f1"])
def test_best_weights_are_those_of_the_metric(small: Splits, metric: Metric) -> None:
    config = TrainConfig(epochs=12, lr=0.05, schedule="constant", keep="best", val_fraction=0.25, metric=metric)
    training = Training(small_model(), small, config)
    results = [event for event in training.events() if isinstance(event, EpochResult)]
    assert training.val is not None
    with torch.inference_mode():
        guesses = training.model(training.val.batch(slice(None)).x).argmax(dim=1)
    y = training.val.y
    score = {
        "accuracy": accuracy_score(y, guesses),
        "balanced-accuracy": balanced_accuracy_score(y, guesses),
        "macro-f1": f1_score(y, guesses, average="macro"),
    }[metric]
    own = [getattr(result, f"val_{metric.replace('-', '_')}") for result in results]
    assert max(own) == pytest.approx(score)
    assert training.best_epoch == own.index(max(own)) + 1  # the first of equals


def test_the_weights_of_classes_are_those_of_the_training_loss_alone(small: Splits) -> None:
    few = replace(small, train=small.train.subset(torch.cat([torch.arange(0, 400, 5), torch.arange(36)])))
    model, twin = small_model(backend="torch"), small_model(backend="torch")
    config = replace(CONSTANT, epochs=1, batch_size=200, class_weight="balanced", clip_norm=0.0)
    training = Training(model, few, config)
    counts = few.train.counts
    expected = compute_class_weight("balanced", classes=np.arange(10), y=few.train.y.numpy())
    assert training.class_weights is not None
    assert training.class_weights.tolist() == pytest.approx(expected.tolist())
    assert config.weights_of(counts) == pytest.approx(expected.tolist())
    batch = few.train.batch(slice(None))
    loss = cross_entropy(twin(batch.x), batch.y, torch.tensor(expected, dtype=torch.float32), reduction="sum")
    (loss / len(batch.y)).backward()
    (result,) = (event for event in training.events() if isinstance(event, EpochResult))
    assert result.train_loss == pytest.approx(loss.item() / len(batch.y), rel=1e-5)
    for own, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-6)
    assert unroll.evaluate(model, few.train).loss == pytest.approx(cross_entropy(model(batch.x), batch.y).item())


def test_weights_of_sequences_are_those_of_the_training_loss(small: Splits) -> None:
    model, twin = small_model(backend="torch"), small_model(backend="torch")
    config = replace(CONSTANT, epochs=1, batch_size=400, class_weight="3=2", clip_norm=0.0)
    weights = torch.rand(len(small.train.y), generator=torch.Generator().manual_seed(0)) + 0.1
    training = Training(model, small, config, weights)
    batch = small.train.batch(slice(None))
    losses = cross_entropy(twin(batch.x), batch.y, reduction="none")
    loss = (losses * weights * torch.where(batch.y == 3, 2, 1)).mean()
    loss.backward()
    (result,) = (event for event in training.events() if isinstance(event, EpochResult))
    assert result.train_loss == pytest.approx(loss.item(), rel=1e-5)
    for own, other in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(own.grad, other.grad, rtol=1e-4, atol=1e-6)
    for wrong in (weights[1:], weights - 0.2):
        with pytest.raises(DataError, match="sequence_weights must be 400 numbers above 0, one of each training sequ"):
            Training(model, small, config, wrong)


def test_guessing_counts_sequences_by_their_own_weight_and_that_of_their_class(small: Splits) -> None:
    weights = torch.rand(len(small.train.y), generator=torch.Generator().manual_seed(0)) + 0.1
    training = Training(small_model(), small, replace(CONSTANT, class_weight="3=2"), weights)
    each = weights * torch.where(small.train.y == 3, 2.0, 1.0)
    shares = torch.bincount(small.train.y, each) / each.sum()  # the best answer that is always the same
    assert training.guessing.loss == pytest.approx((-shares[small.train.y].log() * each).mean().item(), rel=1e-5)


def test_weights_of_sequences_do_in_many_steps_what_those_of_their_classes_do(small: Splits) -> None:
    of_classes, of_sequences = small_model(), small_model()  # the first by the kernels
    config = replace(CONSTANT, epochs=3)
    weights = torch.where(small.train.y == 3, 4.0, 1.0)
    results = [
        list(training.events())
        for training in (
            Training(of_classes, small, replace(config, class_weight="3=4")),
            Training(of_sequences, small, config, weights),
        )
    ]
    assert results[0][-1].train_loss == pytest.approx(results[1][-1].train_loss, rel=1e-4)
    for own, other in zip(of_classes.parameters(), of_sequences.parameters(), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-3, atol=1e-4)


def test_weights_of_classes_by_name(small: Splits) -> None:
    weights = TrainConfig(class_weight="a=b=2,c=0.5").weights_of({"c": 3, "d": 0, "a=b": 9})
    assert weights == [0.5, 1.0, 2.0]
    assert TrainConfig(class_weight="balanced").weights_of({"a": 1, "b": 0, "c": 3}) == [2.0, 1.0, 2 / 3]
    assert TrainConfig().weights_of({"a": 1}) is None
    with pytest.raises(ConfigError, match=r"class_weight names 'cat', the data has the classes 0, 1, 2"):
        Training(small_model(), small, replace(CONSTANT, class_weight="cat=2"))


def test_early_stopping_waits_for_patience(small: Splits) -> None:
    config = TrainConfig(epochs=60, lr=0.05, schedule="constant", patience=2, val_fraction=0.25)
    training = Training(small_model(), small, config)
    results = [event for event in training.events() if isinstance(event, EpochResult)]
    assert len(results) < 60
    assert len(results) == training.best_epoch + 2
    assert training.kept == f"last weights (epoch {len(results)})"


def test_without_a_validation_split_patience_ends_nothing(small: Splits) -> None:
    alike = small.train.subset(torch.arange(1))  # of which none can be held out
    config = TrainConfig(epochs=4, schedule="constant", patience=1)
    training = Training(small_model(), replace(small, train=alike), config)
    assert training.val is None
    assert [event.epoch for event in training.events() if isinstance(event, EpochResult)] == [1, 2, 3, 4]


def test_divergence_is_diagnosed(small: Splits) -> None:
    config = replace(CONSTANT, lr=1e30, clip_norm=0.0)
    with pytest.raises(TrainingError) as error:
        list(fit(small_model(nonlinearity="relu"), small, config))
    message = str(error.value)
    assert message.startswith("the loss became ")
    assert "in epoch 1 at step " in message
    assert message.endswith("of 7: training diverged at lr 1e+30; try lr 0.002, or clip gradients (clip_norm 1)")


def test_divergence_in_the_very_last_step_is_seen(small: Splits) -> None:
    config = replace(CONSTANT, epochs=1, batch_size=400, lr=1e38, clip_norm=0.0, optimizer="adam", weight_decay=1e6)
    with pytest.raises(TrainingError, match="the weights are no longer finite in epoch 1 at step 1 of 1: training div"):
        list(fit(small_model(), small, config))


def test_nan_in_the_data_is_named_as_the_cause() -> None:
    splits = toy(9)
    splits.train.x[4] = float("nan")

    class Linear(Perfect):
        def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
            return x[:, 0] * self.scale * torch.ones(3)

    with pytest.raises(
        TrainingError, match="step 1 of 1: 1 training sequences contain values that are not finite; fix"
    ):
        list(fit(Linear(), splits, CONSTANT))


def test_bad_settings_raise_at_the_call(small: Splits) -> None:
    with pytest.raises(DataError, match="training needs at least 1 sequence, got 0: add some"):
        fit(Perfect(), toy(0), CONSTANT)
    with pytest.raises(TrainingError, match="the resume state must be of format 1, got 9"):
        Training(small_model(), small).load_state_dict({"format": 9})


def test_what_does_not_fit_is_said_before_anything_begins(small: Splits) -> None:
    with pytest.raises(InputError, match=r"the model must give logits \(1, 10\), got \(1, 5\)"):
        fit(SequenceClassifier(28, 5), small)
    with pytest.raises(InputError, match=r"x must have shape \(batch, time, 27\), got \(1, 28, 28\)"):
        fit(SequenceClassifier(27, 10), small)
    with pytest.raises(InputError, match="fit expects Splits, as from unroll.load, got SequenceData"):
        fit(small_model(), small.train)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="evaluate expects SequenceData, such as splits.test, got Splits"):
        unroll.evaluate(small_model(), small)  # type: ignore[arg-type]


def test_devices() -> None:
    assert choose_device("cpu") == (torch.device("cpu"), "asked for")
    expected = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto")[0].type == expected
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="device 'cuda' is not available: torch finds no CUDA device"):
            choose_device("cuda")
    if not torch.backends.mps.is_available():
        with pytest.raises(ConfigError, match="device 'mps' is not available: torch finds no Apple GPU"):
            choose_device("mps")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu(small: Splits) -> None:
    model = small_model(num_layers=2, dropout=0.2)
    results = list(fit(model, small, TrainConfig(epochs=4, device="cuda")))
    assert results[-1].train_loss < results[0].train_loss
    assert next(model.parameters()).is_cuda
    on_gpu = unroll.evaluate(model, small.test)
    on_cpu = unroll.evaluate(model.cpu(), small.test)
    assert on_gpu.loss == pytest.approx(on_cpu.loss, rel=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_training_is_taken_up_on_a_gpu(small: Splits) -> None:
    config = TrainConfig(epochs=2, device="cuda")
    training = Training(small_model(num_layers=2, dropout=0.2), small, config)
    next(training.events())
    file = io.BytesIO()
    torch.save(training.state_dict(), file)
    file.seek(0)
    second = Training(small_model(num_layers=2, dropout=0.2), small, config)
    second.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    assert len(list(second.events())) >= 2


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, None),
        ({"keep": "best"}, None),
        ({"patience": 2, "schedule": "constant"}, 10),
        ({"val_fraction": 0.0}, None),
    ],
)
def test_sequences_that_decide_are_counted(small: Splits, settings: Any, expected: int | None) -> None:
    few = replace(small, train=small.train.subset(torch.arange(100)))
    training = Training(small_model(), few, TrainConfig(epochs=1, **settings))
    assert training.deciding == expected
    lines = few_deciding(training.deciding, "which weights are kept")
    assert bool(lines) == (expected is not None)
    assert not few_deciding(20, "all")
    if lines:
        assert lines[0].startswith("only 10 validation sequences decide which weights are kept, each worth 10% of")
