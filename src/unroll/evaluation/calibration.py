"""Whether a model's confidence can be believed, and one number that mends it where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..formatting import shown

BINS = 15  # of confidence, as C. Guo et al. have them
COLDEST, HOTTEST = 0.05, 20.0  # between these temperatures it is looked for
HALVINGS = 24  # of that range: the temperature is found to a millionth


@dataclass(frozen=True)
class Reliability:
    """Confidence beside what came true, by bins of confidence of equal width.

    Attributes:
        edges: (bins + 1,) fractions, from 0 to 1
        counts: (bins,) predictions
        confidence: (bins,) mean probability of the predicted class; 0 where there are none
        accuracy: (bins,) share of them that are right; 0 where there are none
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    confidence: tuple[float, ...]
    accuracy: tuple[float, ...]

    @property
    def ece(self) -> float:
        """Expected calibration error: mean distance of confidence and accuracy, each bin weighted by its counts.

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
    """Compare confidence with what came true.

    Args:
        logits: (N, classes) of any floating dtype, N at least 1.
        y: (N,) int64 true classes.
        temperature: the logits are divided by it (default 1.0).
        bins: how many (default 15).
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
    """Return the temperatures, (...,) float64, that make true classes the likeliest, each for one set of logits.

    Dividing logits by a temperature changes no prediction, only how sure it is. The likelihood has one maximum; it is
    looked for between 0.05 and 20. As if one more of N + 2 sequences had been something else, a little of each true
    class is given to the others: of a few sequences that are all right it would else be concluded that the model is
    never wrong.

    Args:
        logits: (..., N, classes) of any floating dtype, N at least 1.
        y: (N,) int64 true classes.

    Source: C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger, arXiv:1706.04599, section 4.2; the doubt from J. Platt,
    Probabilistic Outputs for Support Vector Machines, 1999, equation 17.
    """
    logits = logits.double()
    n, classes = logits.shape[-2:]
    true = logits.gather(-1, y.expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    others = (logits.sum(dim=-1) - true) / (classes - 1)
    wanted = (true + (others - true) / (n + 2)).mean(dim=-1)
    low = logits.new_full(logits.shape[:-2], COLDEST).log()
    high = torch.full_like(low, HOTTEST).log()
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # Of the loss by 1/temperature: the logit that the model expects, less the one wanted. It falls as the
        # temperature rises.
        expected = (logits / middle.exp()[..., None, None]).softmax(dim=-1).mul_(logits).sum(dim=-1).mean(dim=-1)
        low, high = torch.where(expected > wanted, middle, low), torch.where(expected > wanted, high, middle)
    return ((low + high) / 2).exp()


@dataclass(frozen=True)
class Calibration:
    """Temperatures for what a model says after parts of each sequence, the last for what it says at the end.

    Attributes:
        fractions: of the sequence that was read, ascending to 1
        temperatures: the logits after each of them are to be divided by
        n: sequences that they were fitted on
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
                "a calibration needs fractions that ascend to 1, each with a temperature above 0, "
                f"got {shown(self.fractions)} and {shown(self.temperatures)}"
            )

    @property
    def temperature(self) -> float:
        """Of what the model says at the end."""
        return self.temperatures[-1]

    def at(self, fractions: Sequence[float]) -> Tensor:
        """Return the temperatures, (len(fractions),) float32, after other parts: each that of the next mark."""
        marks = torch.tensor(self.fractions, dtype=torch.float64)
        number = torch.searchsorted(marks, torch.tensor(fractions, dtype=torch.float64) - 1e-9)
        return torch.tensor(self.temperatures)[number.clamp(max=len(marks) - 1)]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, as calibration.json and the page have them."""
        return {"fractions": list(self.fractions), "temperatures": list(self.temperatures), "n": self.n}


def probabilities(logits: Tensor, calibration: Calibration | None = None) -> Tensor:
    """Return the probabilities of the classes at the end of sequences, calibrated where there is a calibration.

    Args:
        logits: (..., classes) float32.
        calibration: of the model that they are of (default None: probabilities as they come).
    """
    return (logits if calibration is None else logits / calibration.temperature).softmax(dim=-1)
