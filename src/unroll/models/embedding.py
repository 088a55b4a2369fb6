"""The vectors of words that are also read by their n-grams."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import embedding, embedding_bag


def word_vectors(x: Tensor, tokens: Tensor, ngrams: Tensor, sparse: bool = False) -> Tensor:
    """Return the vectors of words, (batch, time, size): the token's own plus the mean of its n-grams'.

    A word that occurs several times is made once.

    Args:
        x: (batch, time, 1 + n-grams) int64 or int32: the token, 0 for an unknown one, and the numbers of its n-grams,
            from 1 on, 0 behind the last. Equal tokens above 0 have equal n-grams.
        tokens: (vocabulary, size) the vectors; of tokens 0 the zero vector.
        ngrams: (1 + buckets, size).
        sparse: whether the gradients of both are (default False).

    Source: P. Bojanowski, E. Grave, A. Joulin, T. Mikolov, TACL 5 (2017), section 3.2; the mean as in fastText.
    """
    words, at = _distinct(x.flatten(0, 1))
    numbers = words[:, 1:]
    is_used = numbers > 0
    counts = is_used.sum(dim=1)
    starts = counts.cumsum(0) - counts
    means = embedding_bag(numbers[is_used].long(), ngrams, starts, mode="mean", sparse=sparse)
    vectors: Tensor = embedding(words[:, 0].long(), tokens, padding_idx=0, sparse=sparse) + means
    return vectors.index_select(0, at).view(*x.shape[:2], vectors.shape[1])


def _distinct(words: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct words, unknown ones each apart, and where each of ``words`` is among them."""
    numbers = torch.arange(len(words), device=words.device)
    is_known = (words[:, 0] > 0) | (words[:, 1:2] == 0).all(dim=1)  # or padding
    keys = torch.where(is_known, words[:, 0].long(), -1 - numbers)
    different, at = keys.unique(return_inverse=True)
    return words[numbers.new_empty(len(different)).scatter_(0, at, numbers)], at
