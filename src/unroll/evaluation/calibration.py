"""Calibration: whether a model's confidence matches its accuracy, and the temperature that corrects it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..formatting import shown

BINS = 15  # of confidence, as in C. Guo et al.
COLDEST, HOTTEST = 0.05, 20.0  # the temperature is searched between these
HALVINGS = 24  # of that range, which gives the temperature to a millionth


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy, in bins of confidence of equal width.

    Attributes:
        edges: (bins + 1,) fractions, from 0 to 1
        counts: (bins,) number of predictions
        confidence: (bins,) mean probability of the predicted class; 0 in empty bins
        accuracy: (bins,) fraction of correct predictions; 0 in empty bins
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance between confidence and accuracy, weighted by the bins' counts.

        Source: M. P. Naeini, G. F. Cooper, M. Hauskrecht, Obtaining Well Calibrated Probabilities Using Bayesian
        Binning, AAAI 2015.
        """
        bins = zip(self.counts, self.confidence, self.accuracy, strict=True)
        return sum(n * abs(confidence - accuracy) for n, confidence, accuracy in bins) / sum(self.counts)

    @property
    def mean_confidence(self) -> float:
        """Mean probability of the predicted class, as a fraction."""
        return sum(n * confidence for n, confidence in zip(self.counts, self.confidence, strict=True)) / sum(
            self.counts
        )


def reliability(logits: Tensor, y: Tensor, temperature: float = 1.0, bins: int = BINS) -> Reliability:
    """Compare confidence with accuracy.

    Args:
        logits: (N, classes) of any floating dtype, N at least 1.
        y: (N,) int64 true classes.
        temperature: the logits are divided by it (default 1.0).
        bins: number of bins (default 15).
    """
    confidence, labels = (logits.double() / temperature).softmax(dim=1).max(dim=1)
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    number = torch.bucketize(confidence, edges[1:-1])
    counts = torch.bincount(number, minlength=bins)
    each = counts.clamp(min=1)
    sums = (torch.bincount(number, weights, minlength=bins) for weights in (confidence, (labels == y).double()))
    means = [tuple((values / each).tolist()) for values in sums]
    return Reliability(tuple(edges.tolist()), tuple(counts.tolist()), *means)


def fit_temperatures(logits: Tensor, y: Tensor) -> Tensor:
    """Return the temperatures, (...,) float64, that maximise the likelihood of the true classes, one per set of logits.

    Dividing logits by a temperature changes the confidence, but no prediction. The likelihood has a single maximum; it
    is searched between 0.05 and 20. The targets are smoothed: each true class gives 1 / (N + 2) to the others.
    Otherwise a few sequences, all predicted correctly, would imply that the model is never wrong.

    Args:
        logits: (..., N, classes) of any floating dtype, N at least 1.
        y: (N,) int64 true classes.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, arXiv:1706.04599, section 4.2; the smoothing from J. Platt,
    Probabilistic Outputs for Support Vector Machines, 1999, equation 17.
    """
    logits = logits.double()
    n, classes = logits.shape[-2:]
    true = logits.gather(-1, y.expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    rest = (logits.sum(dim=-1) - true) / (classes - 1)
    wanted = (true + (rest - true) / (n + 2)).mean(dim=-1)
    low = logits.new_full(logits.shape[:-2], COLDEST).log()
    high = torch.full_like(low, HOTTEST).log()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # The derivative of the loss by 1/temperature is the model's expected logit minus the wanted one; it falls as
        # the temperature rises.
        expected = (logits / middle.exp()[..., None, None]).softmax(dim=-1).mul_(logits).sum(dim=-1).mean(dim=-1)
        low, high = torch.where(expected > wanted, middle, low), torch.where(expected > wanted, high, middle)
    return ((low + high) / 2).exp()


@dataclass(frozen=True)
class Calibration:
    """Temperatures for predictions after parts of each sequence; the last is for the whole sequence.

    Attributes:
        fractions: the parts of a sequence, ascending to 1
        temperatures: one for each part; divide the logits by it
        n: number of sequences that they were fitted on
    """

    fractions: tuple[float, ...]
    temperatures: tuple[float, ...]
    n: int

    def __post_init__(self) -> None:
        if not (
            len(self.fractions) == len(self.temperatures) > 0
            and self.fractions[-1] == 1
            and all(0 < a < b for a, b in pairwise((self.fractions[0] / 2, *self.fractions)))
            and all(temperature > 0 for temperature in self.temperatures)
        ):
            raise InputError(
                "a calibration needs ascending fractions up to 1, each with a temperature above 0, "
                f"got {shown(self.fractions)} and {shown(self.temperatures)}"
            )

    @property
    def temperature(self) -> float:
        """The temperature for the whole sequence."""
        return self.temperatures[-1]

    def at(self, fractions: Sequence[float]) -> Tensor:
        """Return the temperatures, (len(fractions),) float32, after any parts: each takes that of the next mark."""
        marks = torch.tensor(self.fractions, dtype=torch.float64)
        number = torch.searchsorted(marks, torch.tensor(fractions, dtype=torch.float64) - 1e-9)
        return torch.tensor(self.temperatures)[number]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, as in calibration.json and the page."""
        return {"fractions": list(self.fractions), "temperatures": list(self.temperatures), "n": self.n}


def probabilities(logits: Tensor, calibration: Calibration | None = None) -> Tensor:
    """Return the probabilities of the classes at the end of sequences, calibrated if a calibration is given.

    Args:
        logits: (..., classes) float32.
        calibration: of the model (default None: uncalibrated).
    """
    return (logits if calibration is None else logits / calibration.temperature).softmax(dim=-1)
