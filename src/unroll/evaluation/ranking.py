"""Metrics of ranking: how well a model ranks the sequences of a class above all others, over all thresholds.

Computed here because scikit-learn takes as long to load as torch; the tests compare both.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def roc_area(is_class: np.ndarray, odds: np.ndarray) -> float:
    """Return the fraction of pairs of the class and the rest in which the class has the higher odds, ties as halves."""
    _, places, counts = np.unique(odds, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]
    n, rest = int(is_class.sum()), int((~is_class).sum())
    return float((ranks[is_class].sum() - n * (n + 1) / 2) / (n * rest))


def precision_recall(is_class: np.ndarray, odds: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return precision and recall from the lowest threshold to the highest, (points,) each, and their average."""
    order = np.argsort(-odds, kind="stable")
    is_last = np.append(np.diff(odds[order]) != 0, True)  # among equal odds
    right, predicted = is_class[order].cumsum()[is_last], np.flatnonzero(is_last) + 1
    precision, recall = right / predicted, right / right[-1]
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    gains = np.diff(right, prepend=-1) > 0
    corners = np.flatnonzero(gains | np.append(gains[1:], True))[::-1]  # the recall is constant between them
    return np.append(precision[corners], 1.0), np.append(recall[corners], 0.0), average


def log_odds(logits: Tensor) -> Tensor:
    """Return (N, classes) float64 that rank as probabilities do, and stay distinct where those round to 0 or 1."""
    logits = logits.double()
    best = logits.argmax(dim=1, keepdim=True)
    log_probabilities = logits.log_softmax(dim=1)
    odds = log_probabilities - log_probabilities.expm1().neg().log()
    rest = logits.scatter(1, best, -torch.inf).logsumexp(dim=1, keepdim=True)
    return odds.scatter(1, best, logits.gather(1, best) - rest)
