"""Measure what the first half of each sequence says of its class, whatever the model makes of it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..data.preparation import moments_of_each
from ..data.sequences import SequenceData
from ..models.classifier import SequenceClassifier

MOST_READ = 2_000  # sequences that the linear classifier learns from and is tested on
NUMBERS = 4_000_000  # in all of them at most, which bounds the memory
RIDGE = 1e-2  # of the number of sequences: keeps weights of features that hardly vary small
FOLDS = 2


def early_accuracy(model: SequenceClassifier, data: SequenceData) -> float | None:
    """Return the accuracy of a linear classifier on means and deviations over the first half of each sequence.

    It learns on one half of the sequences and is tested on the other, both ways round.

    Args:
        model: embeds tokens.
        data: sequences in random order, on the model's device; of fewer than two steps none counts.

    Returns:
        a fraction; None for fewer than two sequences of each fold.
    """
    most = min(MOST_READ, NUMBERS // max(1, data.time * model.input_size))
    data = data.subset((data.steps_of_each > 1).nonzero()[:most, 0])
    if len(data) < 2 * FOLDS:
        return None
    x, y, lengths = data.batch(slice(None))
    if model.embedding is not None:
        x = model.token_vectors(x).detach()
    features = _summary(x, (data.steps_of_each if lengths is None else lengths) // 2)
    targets = torch.nn.functional.one_hot(y, model.num_classes).double()
    fold = torch.arange(len(y), device=y.device) % FOLDS
    right = sum(_right(features, targets, fold == number) for number in range(FOLDS))
    return right / len(y)


def _summary(x: Tensor, steps: Tensor) -> Tensor:
    """Return means and deviations over the first steps, standardised, and a 1: (N, 2 × features + 1) float64."""
    features = torch.cat(moments_of_each(x, steps), dim=1)
    features = (features - features.mean(dim=0)) / features.std(dim=0, correction=0).clamp(min=1e-12)
    return torch.cat([features, torch.ones_like(features[:, :1])], dim=1)


def _right(features: Tensor, targets: Tensor, held_out: Tensor) -> int:
    """Return how many of the sequences held out a ridge regression on the others gets right."""
    a, b = features[~held_out], targets[~held_out]
    identity = torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
    weights = torch.linalg.solve(a.T @ a + RIDGE * len(a) * identity, a.T @ b)
    return int(((features[held_out] @ weights).argmax(dim=1) == targets[held_out].argmax(dim=1)).sum())
