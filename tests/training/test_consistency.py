"""Batches that are read twice, so that answers depend less on what dropout leaves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import kl_div

from unroll import RECIPES, ConfigError, EpochResult, SequenceClassifier, Splits, TrainConfig, fit
from unroll.data.batching import MOST_STEPS
from unroll.data.preparation import Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.training.consistency import divergence


@pytest.fixture(scope="module")
def series() -> Splits:
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(24, 4, 2)).astype("f4"))
    lengths = torch.tensor([4, 3, 2] * 8)
    data = SequenceData(x, (x[:, 0, 0] > x[:, 0, 0].median()).long(), Preparation(("a", "b"), Scaling(0, 1)), lengths)
    return Splits(data, data, "series", "here")


def trained(data: Splits, consistency: float, epochs: int, **settings: Any) -> tuple[SequenceClassifier, EpochResult]:
    torch.manual_seed(3)
    model = SequenceClassifier(2, 2, **{"hidden_size": 8, **settings})
    config = TrainConfig(epochs=epochs, batch_size=8, val_fraction=0.0, lr=0.01, consistency=consistency)
    return model, list(fit(model, data, config))[-1]


def test_the_divergence_is_the_mean_of_both_directions() -> None:
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(10, 3)))
    p, q = logits[:5].log_softmax(1), logits[5:].log_softmax(1)
    both = [kl_div(a, b, reduction="batchmean", log_target=True) for a, b in ((p, q), (q, p))]
    assert divergence(logits).item() == pytest.approx((both[0] + both[1]).item() / 2)
    assert divergence(logits[:5].repeat(2, 1)).item() == 0


def test_without_dropout_a_second_reading_changes_nothing(series: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    once, result = trained(series, 0.0, 4)
    for most in (MOST_STEPS, 16):  # batches at once, and in parts
        monkeypatch.setattr("unroll.training.loop.MOST_STEPS", most)
        twice, same = trained(series, 2.0, 4)
        for one, two in zip(once.parameters(), twice.parameters(), strict=True):
            torch.testing.assert_close(two, one, rtol=1e-3, atol=1e-5)
        assert same.train_loss == pytest.approx(result.train_loss, rel=1e-4)
        assert same.train_accuracy == result.train_accuracy


def test_answers_depend_less_on_dropout(series: Splits) -> None:
    batch = series.train.batch(torch.arange(24).repeat(100))
    apart = []
    for consistency in (0.0, 3.0):
        model, result = trained(series, consistency, 20, num_layers=2, dropout=0.5)
        torch.manual_seed(0)
        with torch.no_grad():
            apart.append(divergence(model.train()(batch.x, batch.lengths)).item())
        assert result.train_loss < 0.65  # guessing: 0.69
    assert apart[1] < 0.5 * apart[0]


def test_a_recipe_wants_dropout_for_it() -> None:
    assert RECIPES["text"].changed(consistency=0.0, token_dropout=0.0, embedding_dropout=0.0).train.consistency == 0
    assert RECIPES["series"].changed(consistency=1.0, num_layers=2, dropout=0.3).train.consistency == 1
    for without in ({}, {"recurrent_dropout": 0.5}):
        with pytest.raises(ConfigError, match="consistency 2 compares two readings with different dropout, but"):
            RECIPES["images"].changed(consistency=2.0, **without)
