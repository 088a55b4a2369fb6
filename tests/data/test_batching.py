"""The order of an epoch: every sequence once, like lengths together, the same again from the same seed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fuzz
from unroll import SequenceClassifier, SequenceData, Splits, TrainConfig
from unroll.data.batching import longest_of_each, padded_share, training_order
from unroll.data.preparation import Preparation, Scaling
from unroll.training.loop import Training
from unroll.training.results import EpochResult, Progress

LENGTHS = st.lists(st.integers(0, 30), min_size=1, max_size=300)


def ordered(lengths: list[int], batch_size: int, seed: int) -> tuple[list[int], list[int | None]]:
    order, longest = training_order(torch.tensor(lengths), len(lengths), batch_size, np.random.default_rng((seed, 1)))
    return order.tolist(), list(longest)


@fuzz.settings(40)
@given(LENGTHS, st.integers(1, 20), st.integers(0, 3))
@pytest.mark.slow
def test_each_sequence_once_in_batches_as_long_as_said(lengths: list[int], batch_size: int, seed: int) -> None:
    order, longest = ordered(lengths, batch_size, seed)
    assert sorted(order) == list(range(len(lengths)))
    batches = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    assert longest == [max(1, *(lengths[index] for index in batch)) for batch in batches]
    assert ordered(lengths, batch_size, seed) == (order, longest)


@fuzz.settings(40)
@given(LENGTHS, st.integers(1, 20))
def test_padding_is_counted_as_a_plain_loop_counts_it(lengths: list[int], batch_size: int) -> None:
    computed = 0
    for at in range(0, len(lengths), batch_size):
        batch = lengths[at : at + batch_size]
        computed += len(batch) * max(1, *batch)
    assert padded_share(np.array(lengths), batch_size) == pytest.approx(1 - sum(lengths) / computed)


@fuzz.settings(40)
@given(st.integers(1, 10), st.integers(1, 16), st.integers(0, 9))
def test_no_other_order_has_less_padding(batch_size: int, batches: int, seed: int) -> None:
    lengths = np.random.default_rng(seed).integers(1, 40, batch_size * batches)
    order, _ = ordered(lengths.tolist(), batch_size, seed)
    least = padded_share(np.sort(lengths), batch_size)
    assert padded_share(lengths[order], batch_size) == pytest.approx(least)


def test_sequences_that_are_all_full_are_shuffled_as_ever() -> None:
    order, longest = training_order(None, 10, 4, np.random.default_rng(7))
    assert order.tolist() == np.random.default_rng(7).permutation(10).tolist()
    assert longest == [None] * 3


def test_company_changes_from_epoch_to_epoch() -> None:
    lengths = list(range(1, 21)) * 16
    pairs = [ordered(lengths, 2, seed)[0] for seed in range(2)]
    first, second = ({frozenset(order[at : at + 2]) for at in range(0, 320, 2)} for order in pairs)
    assert len(first & second) < len(first) / 2


def test_of_nothing_there_are_no_batches() -> None:
    assert longest_of_each(np.array([], np.int64), 4) == []


def uneven() -> Splits:
    """Return 60 sequences of 1 to 12 steps in 2 classes."""
    random = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 13, (60,), generator=random)
    preparation = Preparation(("a", "b"), Scaling((0.0, 0.0), (1.0, 1.0)))
    x, y = torch.randn(60, 12, 2, generator=random), torch.randint(0, 2, (60,), generator=random)
    data = SequenceData(x, y, preparation, lengths)
    return Splits(data, data, "random", "the test")


def weights(training: Training) -> list[torch.Tensor]:
    return list(training.model.state_dict().values())


@pytest.mark.parametrize("readout", ["last", "mean"], ids=["fused", "plain"])
def test_a_training_is_taken_up_within_an_epoch(readout: str) -> None:
    def begun() -> Training:
        torch.manual_seed(0)
        model = SequenceClassifier(2, 2, cell="gru", hidden_size=6, readout=readout)
        return Training(model, uneven(), TrainConfig(epochs=2, batch_size=2, val_fraction=0))

    whole = begun()
    results = [event for event in whole.events() if isinstance(event, EpochResult)]
    interrupted = begun()
    event = next(interrupted.events())
    assert isinstance(event, Progress)
    assert 0 < event.step < event.steps == math.ceil(60 / 2)
    again = begun()
    again.load_state_dict(interrupted.state_dict())
    rest = [event for event in again.events() if isinstance(event, EpochResult)]
    assert [result.train_loss for result in rest] == [result.train_loss for result in results]
    assert all(torch.equal(*pair) for pair in zip(weights(again), weights(whole), strict=True))
