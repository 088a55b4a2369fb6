"""Several classifiers as one: the mean of their calibrated probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .classifier import SequenceClassifier


def log_mean(logs: Sequence[Tensor]) -> Tensor:
    """Return the logarithms of mean probabilities, (..., classes), of the dtype of ``logs``.

    Args:
        logs: logarithms of the probabilities of each model, (..., classes).
    """
    return torch.stack(list(logs)).logsumexp(dim=0) - math.log(len(logs))


class Ensemble(nn.Module):
    """Classify sequences by the mean of the calibrated probabilities of several models.

    With the logits zₘ and the temperature Tₘ of model m, ``p = mean over m of softmax(zₘ / Tₘ)``. It returns ``log p``,
    whose softmax is p, so that it is used like the logits of a single model.

    Args:
        members: at least one, all for the same input and classes.
        temperatures: by which the logits of each are divided; 1 of a model that is not calibrated.

    Source: B. Lakshminarayanan, A. Pritzel and C. Blundell, Simple and Scalable Predictive Uncertainty Estimation using
    Deep Ensembles, NeurIPS 2017, arXiv:1612.01474.

    Example:
        >>> models = [SequenceClassifier(input_size=28, num_classes=10) for _ in range(3)]
        >>> Ensemble(models, [1.0, 1.2, 0.9])(torch.zeros(64, 28, 28)).shape
        torch.Size([64, 10])
    """

    def __init__(self, members: Sequence[SequenceClassifier], temperatures: Sequence[float]) -> None:
        super().__init__()
        first = members[0]
        self.members = nn.ModuleList(members)
        self.temperatures = tuple(temperatures)
        self.config, self.front = first.config, first.front
        self.input_size, self.num_classes = first.input_size, first.num_classes
        self.vocabulary_size, self.ngram_buckets = first.vocabulary_size, first.ngram_buckets

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the logarithms of the mean probabilities, (batch, num_classes); arguments as of the members."""
        pairs = zip(self.members, self.temperatures, strict=True)
        return log_mean([(member(x, lengths) / temperature).log_softmax(dim=1) for member, temperature in pairs])

    def stream(self, batch_size: int = 1) -> NoReturn:
        """Raise `ConfigError`: streams are read by single models."""
        raise ConfigError("an ensemble cannot stream: use one of its models, as in model.members[0].stream()")
