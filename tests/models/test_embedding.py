"""Vectors of words that are also read by their n-grams, beside a plain loop over words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unroll import ConfigError, InputError, SequenceClassifier, attribute
from unroll.models.embedding import word_vectors

TOKENS, BUCKETS, NGRAMS = 7, 11, 5


def some_words(*shape: int) -> Tensor:
    """Return words of which equal tokens have equal n-grams, unknown ones among them and padding behind."""
    of_token = _ngrams(TOKENS)
    tokens = torch.randint(0, TOKENS, shape)
    unknown = _ngrams(tokens.numel()).view(*shape, NGRAMS)
    x = torch.cat([tokens[..., None], torch.where(tokens[..., None] > 0, of_token[tokens], unknown)], dim=-1)
    x[0, -2:] = 0
    return x


def _ngrams(words: int) -> Tensor:
    counts = torch.randint(0, NGRAMS + 1, (words, 1))
    return torch.randint(1, 1 + BUCKETS, (words, NGRAMS)) * (torch.arange(NGRAMS) < counts)


def looped(x: Tensor, tokens: Tensor, ngrams: Tensor) -> Tensor:
    vectors = []
    for word, *numbers in x.flatten(0, 1).tolist():
        parts = [ngrams[number] for number in numbers if number]
        vector = tokens[word] if word else torch.zeros_like(tokens[0])
        vectors.append(vector + torch.stack(parts).mean(dim=0) if parts else vector)
    return (
        torch.stack(vectors).unflatten(0, x.shape[:2]) if vectors else tokens.new_zeros(*x.shape[:2], tokens.shape[1])
    )


def tables() -> tuple[Tensor, Tensor]:
    tokens, ngrams = torch.randn(TOKENS, 3), torch.randn(1 + BUCKETS, 3)
    tokens[0] = ngrams[0] = 0
    return tokens.requires_grad_(), ngrams.requires_grad_()


@pytest.mark.parametrize("shape", [(2, 3), (3, 9), (5, 40)])
@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_vectors_and_gradients_are_those_of_the_loop(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(sum(shape))
    x, weights = some_words(*shape), torch.randn(*shape, 3)
    results = []
    for compute in (word_vectors, looped):
        torch.manual_seed(1)
        both = tables()
        vectors = compute(x.to(dtype), *both)
        (vectors * weights).sum().backward()
        results.append([vectors, *(table.grad for table in both)])
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain if plain is not None else torch.zeros_like(fast))


@pytest.mark.parametrize("x", [torch.zeros(2, 0, 4).long(), torch.zeros(0, 3, 4).long(), torch.zeros(2, 3, 4).long()])
def test_where_nothing_is_read_nothing_is_made(x: Tensor) -> None:
    vectors = word_vectors(x, *tables())
    assert vectors.shape == (*x.shape[:2], 3)
    assert not vectors.any()


def model(**settings: Any) -> SequenceClassifier:
    torch.manual_seed(0)
    sizes = {"vocabulary_size": TOKENS, "ngram_buckets": BUCKETS, "hidden_size": 8}
    return SequenceClassifier(6, 3, **sizes, **settings)


@pytest.mark.parametrize("init", ["orthogonal", "torch"])
def test_rows_that_stand_for_nothing_stay_0_in_training(init: Any) -> None:
    own = model(init=init)
    assert own.embedding is not None
    assert own.ngrams is not None
    optimizer = torch.optim.AdamW(own.parameters(), lr=0.1)
    for _ in range(3):
        own(some_words(4, 6)).square().sum().backward()
        optimizer.step()
    assert not own.embedding.weight[0].any()
    assert not own.ngrams.weight[0].any()


def test_unknown_words_differ_by_their_n_grams_alone() -> None:
    x = torch.tensor([[[0, 1, 2, 0]], [[0, 3, 0, 0]], [[0, 1, 2, 0]]])
    first, second, again = model()(x)
    assert not torch.allclose(first, second)
    assert torch.equal(first, again)


def test_a_stream_reads_word_by_word_and_each_word_is_explained() -> None:
    own, x = model(readout="mean").eval(), some_words(2, 6)
    stream = own.stream(2)
    for t in range(4):
        logits = stream.step(x[:, t])
    torch.testing.assert_close(logits, own(x[:, :4]))
    torch.testing.assert_close(stream.feed(x[:, 4:]), own(x))
    values = attribute(own, x, target=1)
    nothing = own.of_vectors(torch.zeros(2, 6, 6))
    torch.testing.assert_close(values.sum(dim=1), (own(x) - nothing)[:, 1].detach(), atol=1e-4, rtol=0)
    assert attribute(own, x[:, :0], target=1).shape == (2, 0)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(2, 3).long(), r"x must be tokens with their n-grams \(batch, time, 1 \+ n-grams\), .* \(2, 3\)"),
        (torch.zeros(2, 3, 4), "got torch.float32 of shape"),
        (torch.tensor([[[7, 1]]]), "tokens must be from 0 to 6, got 7 to 7"),
        (torch.tensor([[[1, 12]]]), "n-grams must be from 0 to 11, got 12 to 12"),
    ],
)
def test_what_does_not_fit_is_named(x: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        model()(x)


def test_n_grams_need_a_vocabulary() -> None:
    with pytest.raises(ConfigError, match="ngram_buckets needs a vocabulary, got 5 with vocabulary_size 0"):
        SequenceClassifier(6, 3, ngram_buckets=5)
