"""Tables of vectors, trained by the rows that a batch reads, beside torch's own step on dense gradients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unroll import SequenceClassifier, Splits, TrainConfig
from unroll.data.preparation import Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.training.loop import Training

TOKENS, BUCKETS, STEPS = 30, 20, 6


@pytest.fixture(scope="module", params=["words", "words and n-grams"])
def texts(request: pytest.FixtureRequest) -> Splits:
    """24 texts of up to 5 tokens, one of them empty; row 3 of the words has neither a token nor an n-gram."""
    random = np.random.default_rng(0)
    words = None
    if request.param == "words and n-grams":
        words = torch.from_numpy(random.integers(0, BUCKETS + 1, (TOKENS, 6)).astype("i4"))
        words[:, 1:] = words[:, 1:].sort(descending=True).values
        words[:, 0] = torch.arange(TOKENS) % 25  # the last 5 are unknown, or known twice
        words[25:, 0] = 0
        words[[0, 3]] = 0
    x = torch.from_numpy(random.integers(0, TOKENS, (24, 5)).astype("i4"))
    lengths = torch.from_numpy(random.integers(0, 6, 24))
    lengths[:2] = torch.tensor([0, 5])
    preparation = Preparation(("a", "b"), Scaling(0, 1))
    data = SequenceData(x, torch.arange(24) % 2, preparation, lengths, texts=("-",) * 24, words=words)
    return Splits(data, data, "texts", "here")


def model_of(texts: Splits) -> SequenceClassifier:
    torch.manual_seed(0)
    buckets = 0 if texts.train.words is None else BUCKETS
    return SequenceClassifier(6, 2, cell="gru", hidden_size=5, vocabulary_size=TOKENS, ngram_buckets=buckets)


def settings(clip: float = 1e-4) -> TrainConfig:  # lower than the norm of any gradient here
    return TrainConfig(
        training_steps=STEPS, batch_size=4, lr=0.01, weight_decay=0.1, clip_norm=clip, val_fraction=0.0, keep="last"
    )


@pytest.mark.parametrize("clip", [0.0, 1e-4])
def test_the_weights_are_those_of_a_loop_with_dense_gradients(texts: Splits, clip: float) -> None:
    config = settings(clip)
    training, twin = Training(model_of(texts), texts, config), model_of(texts)
    order, longest = training._order(1)
    list(training.events())
    optimizer = torch.optim.AdamW(twin.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, config.lr, total_steps=STEPS + 1, pct_start=0.15, cycle_momentum=False
    )
    for step in range(STEPS):
        x, y, lengths = texts.train.batch(order[4 * step : 4 * step + 4], longest[step])
        optimizer.zero_grad()
        nn.functional.cross_entropy(twin(x, lengths), y).backward()
        if clip:
            assert nn.utils.clip_grad_norm_(twin.parameters(), clip) > clip
        optimizer.step()
        schedule.step()
    for (name, one), other in zip(training.model.named_parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6, msg=name)
        state, right = training.optimizer.state[one], optimizer.state[other]
        assert state["step"] == right["step"] == STEPS
        for average in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(state[average], right[average], rtol=1e-4, atol=1e-9, msg=f"{name}: {average}")


@pytest.mark.parametrize("averaged", [False, True])
def test_steps_that_wait_are_the_same_steps(texts: Splits, averaged: bool) -> None:
    """A pause after each step brings all rows up to date: they take one step at a time."""
    config = replace(settings(), training_steps=15, average_weights=averaged)
    results = []
    for pause in (False, True):
        training = Training(model_of(texts), texts, config)
        list(training.events(lambda pause=pause: pause))  # type: ignore[misc]
        results.append(nn.utils.parameters_to_vector(training.model.parameters()))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_an_exception_in_the_step_leaves_no_gradient_for_the_next(texts: Splits) -> None:
    results = []
    for interrupted in (False, True):
        training = Training(model_of(texts), texts, settings())
        index = torch.arange(8)
        training.model.train()
        training._train_step(texts.train, index[:4], 5)
        if interrupted:
            hook = training.optimizer.register_step_pre_hook(lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                training._train_step(texts.train, index[4:], 5)
            hook.remove()
        training._train_step(texts.train, index[:4], 5)
        results.append(nn.utils.parameters_to_vector(training.model.parameters()))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_hook_of_a_table_sees_the_whole_gradient(texts: Splits) -> None:
    model, seen = model_of(texts), list[Tensor]()
    assert model.embedding is not None
    model.embedding.weight.register_hook(seen.append)
    list(Training(model, texts, settings()).events())
    assert [(gradient.layout, gradient.shape) for gradient in seen] == [(torch.strided, (TOKENS, 6))] * STEPS


def test_a_model_trained_before_has_dense_gradients_of_its_own(texts: Splits) -> None:
    model = model_of(texts)
    list(Training(model, texts, settings()).events())
    model.zero_grad()
    batch = texts.train.batch(torch.arange(4))
    model(batch.x, batch.lengths).sum().backward()
    assert all(p.grad is not None and p.grad.layout == torch.strided for p in model.parameters())


def test_a_table_that_a_head_reads_whole_is_up_to_date_in_each_step(texts: Splits) -> None:
    class Nearest(nn.Module):
        """Scores of classes by the tokens whose vectors a state is like; the gradient stops at the vectors."""

        def __init__(self, table: nn.Embedding) -> None:
            super().__init__()
            self.table, self.out = table, nn.Linear(TOKENS, 2)
            self.register_buffer("turn", torch.randn(5, 6))

        def forward(self, state: Tensor) -> Tensor:
            return self.out(state @ self.turn @ self.table.weight.detach().t())  # type: ignore[no-any-return]

    results = []
    for pause in (False, True):
        model = model_of(texts)
        assert model.embedding is not None
        model.head = Nearest(model.embedding)  # type: ignore[assignment]
        list(Training(model, texts, settings()).events(lambda pause=pause: pause))  # type: ignore[misc]
        results.append(nn.utils.parameters_to_vector(model.parameters()))
    torch.testing.assert_close(*results, rtol=0, atol=0)


def test_a_table_whose_gradients_depend_on_the_whole_batch_has_dense_ones(texts: Splits) -> None:
    model = model_of(texts)
    model.embedding = nn.Embedding(TOKENS, 6, padding_idx=0, scale_grad_by_freq=True)
    before = model.embedding.weight.detach().clone()
    list(Training(model, texts, settings()).events())
    assert not torch.equal(model.embedding.weight, before)


@pytest.mark.parametrize("texts", ["words"], indirect=True)
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_table_that_is_computed_from_parameters_has_dense_gradients(texts: Splits) -> None:
    model = model_of(texts)
    assert model.embedding is not None
    nn.utils.weight_norm(model.embedding)
    before = model.embedding.weight_v.detach().clone()
    list(Training(model, texts, settings()).events())
    assert not torch.equal(model.embedding.weight_v, before)
