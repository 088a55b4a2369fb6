"""How long a training is, what it averages, and when it begins again: by numbers that know no clock."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from recurrences import MISSING
from resuming import same, weights
from unroll import ConfigError, EpochResult, SequenceClassifier, Splits, TrainConfig, Training, fit
from unroll.config import RECIPES
from unroll.data.preparation import Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.training.budget import measure_pace, within_budget
from unroll.training.chance import STAYS, WINDOW, Guessing, Losses
from unroll.training.results import Progress


def tiny(n: int = 12) -> Splits:
    """Return series of 4 steps and two classes, that a small model tells apart."""
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(n, 4, 2)).astype("f4"))
    data = SequenceData(x, (x[:, 0, 0] > x[:, 0, 0].median()).long(), Preparation(("a", "b"), Scaling(0.0, 1.0)))
    return Splits(data, data, "tiny", "here")


def model(**settings: Any) -> SequenceClassifier:
    torch.manual_seed(3)
    return SequenceClassifier(2, 2, **{"hidden_size": 8, **settings})


def resumed(training: Training, config: TrainConfig, data: Splits) -> Training:
    """Return a new training that goes on from where another is, through the bytes of a checkpoint."""
    buffer = io.BytesIO()
    torch.save(training.state_dict(), buffer)
    again = Training(model(), data, config)
    again.load_state_dict(torch.load(io.BytesIO(buffer.getvalue()), weights_only=True))
    return again


# Results


@pytest.mark.slow
def test_results_of_a_long_training_of_short_epochs_cover_several() -> None:
    config = TrainConfig(epochs=1_250, val_fraction=0.25)
    training = Training(model(), tiny(), config)
    results = [event for event in training.events() if isinstance(event, EpochResult)]
    assert [result.epoch for result in results] == [*range(20, 1_250, 20), 1_250]
    assert training.losses.steps == 1_250
    assert results[-1].train_accuracy == 1.0
    assert all(result.val_loss is not None for result in results)


def test_they_are_the_mean_of_their_epochs() -> None:
    config = TrainConfig(epochs=150, val_fraction=0, schedule="constant")
    long, losses = Training(model(), tiny(), config), []
    for event in islice(long.events(), 4):  # three epochs of one step, and their result
        losses.append(event.loss if isinstance(event, Progress) else event.train_loss)
    each = [
        result.train_loss for result in fit(model(), tiny(), TrainConfig(epochs=3, val_fraction=0, schedule="constant"))
    ]
    assert losses[-1] == pytest.approx(sum(each) / 3)


def test_few_epochs_and_long_ones_have_a_result_each(small: Splits) -> None:
    assert [result.epoch for result in fit(model(), tiny(), TrainConfig(epochs=60))] == list(range(1, 61))
    assert (
        Training(SequenceClassifier(28, 10, hidden_size=4), small, TrainConfig(epochs=1_000, batch_size=16)).every == 1
    )


# Steps


@pytest.mark.parametrize("batch_size", [4, 64])
def test_a_training_of_so_many_steps_may_end_within_an_epoch(batch_size: int) -> None:
    config = TrainConfig(training_steps=7, batch_size=batch_size, val_fraction=0)
    training = Training(model(), tiny(), config)
    *_, last = training.events()
    assert isinstance(last, EpochResult)
    assert len(training.losses.window) == 7
    assert training.optimizer.state_dict()["state"][0]["step"] == 7
    assert last.epoch == math.ceil(7 / math.ceil(12 / batch_size))
    assert last.train_loss == pytest.approx(training.losses.window[-1])  # the last epoch is of one batch in both cases
    assert 0 < training.lr < 2e-4  # annealed over 7 steps


def test_whole_epochs_in_steps_are_the_same_training() -> None:
    by_epochs, by_steps = model(), model()
    list(fit(by_epochs, tiny(), TrainConfig(epochs=4, batch_size=5)))
    list(fit(by_steps, tiny(), TrainConfig(training_steps=4 * math.ceil(10 / 5), batch_size=5)))
    assert same(weights(by_epochs), weights(by_steps))


def test_steps_and_a_budget_are_in_place_of_epochs() -> None:
    for settings in ({"training_steps": 5}, {"budget": "60s"}):
        with pytest.raises(ConfigError, match="is in place of epochs: give one of them"):
            TrainConfig(epochs=3, **settings)  # type: ignore[arg-type]
        assert RECIPES["best"].changed(**settings).train.epochs is None
    for wrong in ("60", "s", "-1s", "1 min", ""):
        with pytest.raises(ConfigError, match="budget must be a time above 0 such as 90s, 5m or 1h, got"):
            TrainConfig(budget=wrong)
    assert [TrainConfig(budget=time).budget_seconds for time in ("90s", "1.5m", "2h")] == [90, 90, 7_200]


def test_each_member_has_some_of_the_smallest_budget() -> None:
    assert TrainConfig(budget="0.001s", ensemble=9).member(2).budget == "0.001s"


# A budget


class Clock:
    """Counts how often it is asked: each time a second later."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_budget_is_turned_into_steps_once() -> None:
    fresh = model()
    before = weights(fresh)
    config = within_budget(fresh, tiny(), TrainConfig(budget="60s", val_fraction=0), Clock())
    assert same(weights(fresh), before)
    assert config.budget == "60s"
    assert config.training_steps == 60 - 3 - 7  # at a second a step; 3 are in reserve, and measuring took 7
    assert within_budget(fresh, tiny(), config, Clock()) is config
    measured, given = model(), model()
    list(fit(measured, tiny(), config))
    list(fit(given, tiny(), TrainConfig(training_steps=50, val_fraction=0)))
    assert same(weights(measured), weights(given))


class Scripted:
    """A training of two epochs, of which each time step takes 2 seconds, and the validations 5 and 8."""

    taken, total = 0, 10**9

    def __init__(self) -> None:
        self.now = 100.0

    def batch_steps(self, epoch: int) -> np.ndarray:
        return np.array([[1, 2, 6], [6, 2, 1]][epoch - 1])

    def events(self, pause: Callable[[], bool]) -> Iterator[object]:
        for epoch, validation in ((1, 5), (2, 8)):
            for step, own in enumerate(self.batch_steps(epoch).tolist(), start=1):
                self.now += 2 * own
                yield Progress(epoch, 2, step, 3, 0.1)
            self.now += validation
            yield "the result of an epoch"


def test_the_pace_of_a_training_is_that_of_its_steps_and_its_validations() -> None:
    scripted = Scripted()
    pace = measure_pace(scripted, 1000.0, lambda: scripted.now)  # type: ignore[arg-type]
    assert pace == (pytest.approx(2 * (1 + 2 + 6) / 3), pytest.approx((5 + 8) / 2))


class Ragged(torch.nn.Module):
    """A model that takes a second on the clock for each time step that it learns from, padding included."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.now = torch.nn.Linear(2, 2), 0.0

    def forward(self, x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
        self.now += x.shape[0] * x.shape[1] if self.training else 0
        return self.head(x.sum(dim=1))


def test_the_pace_is_that_of_all_batches_though_few_were_measured() -> None:
    lengths = torch.arange(1, 201)
    data = SequenceData(torch.rand(200, 200, 2), lengths % 2, Preparation(("a", "b"), Scaling(0.0, 1.0)), lengths)
    slow = Ragged()
    training = Training(slow, Splits(data, data, "ragged", "here"), TrainConfig(batch_size=4, epochs=3, val_fraction=0))
    pace = measure_pace(training, 1.0, lambda: slow.now)
    assert training.taken == 2  # the first allocates memory
    list(training.events())
    assert pace.step == pytest.approx(slow.now / training.total, rel=0.1)


def test_a_budget_that_is_too_small_gives_one_step() -> None:
    assert within_budget(model(), tiny(), TrainConfig(budget="1s"), Clock()).training_steps == 1


# Averages


@pytest.mark.parametrize("backend", [pytest.param("cpu", marks=MISSING), "torch"])
def test_weights_are_averaged_over_the_last_quarter(backend: str) -> None:
    config = TrainConfig(training_steps=80, val_fraction=0, average_weights=True, schedule="constant")
    subject, kept = model(backend=backend), []
    training = Training(subject, tiny(), config)
    for event in training.events():
        if isinstance(event, Progress) and training.taken in (60, 70, 80):
            kept.append(weights(subject))
    assert len(kept) == 3
    for mean, *values in zip(weights(subject), *kept, strict=True):
        torch.testing.assert_close(mean, torch.stack(values).mean(dim=0))
    assert training.kept == "mean of 3 weights from the last quarter of the steps"


@pytest.mark.parametrize("batch_size", [2, 64])
def test_a_resumed_training_averages_to_the_same_bits(batch_size: int) -> None:
    config = TrainConfig(training_steps=100, val_fraction=0, average_weights=True, batch_size=batch_size)
    whole = Training(model(), tiny(), config)
    list(whole.events())
    training, pauses = Training(model(), tiny(), config), iter([False, True] * 200)
    for _ in range(3):
        for event in training.events(pause=lambda: next(pauses)):
            if training.taken % 33 > 28 and isinstance(event, Progress):
                break
        training = resumed(training, config, tiny())
    list(training.events())
    assert same(weights(training.model), weights(whole.model))


def test_an_average_of_the_last_steps_needs_them_all() -> None:
    with pytest.raises(ConfigError, match="average_weights needs all of the last steps, but keep 'best' takes"):
        TrainConfig(average_weights=True, keep="best")
    with pytest.raises(ConfigError, match="but patience ends a training early"):
        TrainConfig(average_weights=True, patience=3, schedule="constant")


def test_the_best_weights_are_kept_where_validation_can_tell() -> None:
    settings: dict[str, Any] = {"epochs": 2, "val_fraction": 0.5, "keep": "best"}
    few = Training(model(), tiny(36), TrainConfig(**settings))
    list(few.events())
    assert few.kept == "last weights (epoch 2): 18 validation sequences are too few to choose by"
    enough = Training(model(), tiny(40), TrainConfig(**settings))
    list(enough.events())
    assert enough.kept == f"best weights (epoch {enough.best_epoch})"
    assert (few.kept_epoch, enough.kept_epoch) == (2, enough.best_epoch)


# Guessing


def test_the_loss_of_guessing_is_the_entropy_of_the_classes() -> None:
    assert Guessing.of([5, 5, 5]) == pytest.approx((math.log(3), 0.0))
    each = np.repeat([-math.log(0.9), -math.log(0.1)], [9, 1])
    assert Guessing.of([9, 1, 0]) == pytest.approx((each.mean(), each.std()))
    assert Guessing.of([9, 1], [10 / 18, 5.0]).loss == pytest.approx(math.log(2))


@pytest.mark.parametrize(("counts", "weights"), [([5, 5], None), ([9, 1, 0], None), ([9, 1, 2], [0.5, 3.0, 1.0])])
def test_the_loss_of_guessing_with_smoothed_targets_is_that_of_the_best_constant(
    counts: list[int], weights: list[float] | None
) -> None:
    """The oracle is a search: the logits that are best whatever the sequence."""
    y = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    own = torch.ones(len(counts)) if weights is None else torch.tensor(weights)
    logits = torch.zeros(1, len(counts), requires_grad=True)
    optimizer = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def losses() -> torch.Tensor:
        each = torch.nn.functional.cross_entropy(logits.expand(len(y), -1), y, reduction="none", label_smoothing=0.2)
        return each * own[y]

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        mean = losses().mean()
        torch.autograd.backward(mean)
        return mean

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    guessing = Guessing.of(counts, weights, smoothing=0.2)
    assert guessing.loss == pytest.approx(float(losses().mean().detach()), abs=1e-4)
    assert guessing.deviation == pytest.approx(float(losses().std(correction=0).detach()), abs=2e-3)


@pytest.mark.parametrize(
    ("curve", "risen"),
    [
        ([0.69, 0.5, *[0.6] * STAYS, *[0.72] * STAYS], True),
        ([0.69, 0.5, *[0.6] * STAYS, *[0.72] * (STAYS - 3)], False),  # not for long
        ([0.69, 0.5, *[0.6] * STAYS, *[0.66] * STAYS], False),  # better than guessing
        ([0.69] * 5 * STAYS, False),  # noise for labels, or slow to start
        ([0.70, 0.68] * 3 * STAYS, False),
        ([0.69, *[0.75] * 2 * STAYS], True),  # never fell, and is worse than guessing
        ([2.0, *[0.75] * (STAYS - 1), *[0.69] * STAYS], False),  # initial weights that were far off
        ([0.69, 0.1, *[0.9] * STAYS], True),
        ([0.69, *[0.3] * 3 * STAYS, *[0.72] * STAYS], True),  # the last points count alone
        ([0.69, 0.3, *[0.9] * 3 * STAYS, *[0.66] * STAYS], False),
        ([0.69, *[0.9] * (STAYS - 1)], False),  # too early to tell
        ([0.1] * STAYS, False),
    ],
)
def test_a_loss_that_is_back_at_guessing_for_long_has_risen(curve: list[float], risen: bool) -> None:
    assert Losses(curve).have_risen(Guessing.of([7, 7]), 64) is risen


def test_rare_classes_that_some_batches_lack_do_not_look_like_a_fall() -> None:
    """Curves of nothing but guessing, as batches draw them: none of a hundred long ones has risen."""
    random, guessing = np.random.default_rng(0), Guessing.of([95, 5])
    own = np.array([-math.log(0.95), -math.log(0.05)])
    for _ in range(100):
        rare = random.binomial(WINDOW * 16, 0.05, size=400) / (WINDOW * 16)
        curve = ((1 - rare) * own[0] + rare * own[1]).tolist()
        assert min(curve) < 0.85 * guessing.loss
        assert not any(Losses(curve[:end]).have_risen(guessing, 16) for end in range(400))


def test_losses_are_put_together_step_by_step() -> None:
    losses = Losses()
    for step in range(2 * WINDOW + 3):
        losses.add(float(step))
    assert losses.curve == [(WINDOW - 1) / 2, (WINDOW - 1) / 2 + WINDOW]
    assert losses.window == [50.0, 51.0, 52.0]
    assert losses.steps == 2 * WINDOW


def diverging(training: Training) -> None:
    """Make a training believe that its loss fell and rose."""
    training.losses = Losses([0.1] * STAYS + [0.8] * STAYS)


def test_a_restart_is_a_training_with_a_quarter_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(epochs=30, lr=0.02, val_fraction=0)
    training = Training(model(recurrent_dropout=0.2), tiny(), config)
    list(islice(training.events(), 9))
    assert not training.has_diverged
    diverging(training)
    assert training.has_diverged
    training.restart()
    assert (training.taken, training.history, training.has_diverged) == (0, [], False)
    assert training.restarted_after == 2 * STAYS * WINDOW
    diverging(training)
    assert not training.has_diverged  # once
    training.losses = Losses()
    list(training.events())
    lower = Training(model(recurrent_dropout=0.2), tiny(), TrainConfig(epochs=30, lr=0.005, val_fraction=0))
    list(lower.events())
    assert same(weights(training.model), weights(lower.model))
    assert training.kept == "last weights (epoch 30), restarted after 400 steps with lr 0.005"


def test_a_restart_survives_a_checkpoint() -> None:
    config = TrainConfig(epochs=30, lr=0.02, val_fraction=0)
    training = Training(model(), tiny(), config)
    diverging(training)
    training.restart()
    list(islice(training.events(), 7))
    again = resumed(training, config, tiny())
    assert (again.peak, again.restarted_after, again.has_diverged) == (0.005, 400, False)
    list(training.events())
    list(again.events())
    assert same(weights(training.model), weights(again.model))


def test_a_restart_within_a_budget_has_the_steps_that_are_left() -> None:
    config = TrainConfig(budget="60s", training_steps=1_000, val_fraction=0)
    training = Training(model(), tiny(), config)
    diverging(training)
    training.restart()
    assert training.total == 600
    assert resumed(training, config, tiny()).total == 600
    short = Training(model(), tiny(), TrainConfig(budget="60s", training_steps=700, val_fraction=0))
    diverging(short)
    assert not short.has_diverged  # too little of the time is left


def test_fit_does_not_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Losses, "have_risen", lambda *_: True)
    assert [result.epoch for result in fit(model(), tiny(), TrainConfig(epochs=3))] == [1, 2, 3]
