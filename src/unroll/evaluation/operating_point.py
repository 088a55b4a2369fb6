"""Operating points: from which probability on a class is answered, and when the answer is "unsure"."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ..config import OperatingConfig
from ..errors import ConfigError, DataError, InputError
from ..formatting import listed, percent, quoted
from .recordings import classes_of_recordings, pooled
from .significance import wilson

Counted = Literal["sequences", "windows", "recordings"]
UNSURE = "unsure"  # on screen; in JSON the class is null
# A chosen threshold lies this far below the probability that it is chosen for, or half way to the next lower one, so
# that the rounding of another machine, or of the page, does not change the answer.
MARGIN = 1e-6
FEW = 20  # positive sequences below which chance decides a threshold: one more or less is 5 points of recall


class Share(NamedTuple):
    """A fraction with its 95 % confidence interval (`unroll.evaluation.significance.wilson`).

    Attributes:
        value: the fraction
        low: of the interval
        high: of the interval
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return the fraction in percent, with its interval."""
        return f"{percent(self.value)} ({100 * self.low:.2f} to {percent(self.high)})"


def _share(part: int, whole: int) -> Share | None:
    return Share(part / whole, *wilson(part, whole)) if whole else None


def _in_words(name: str, value: Share | float | None) -> str:
    if isinstance(value, Share):
        return str(value)
    return f"{value:.4f}" if name == "cost" and value is not None else percent(value)


@dataclass(frozen=True)
class Outcome:
    """What an operating point makes of labelled sequences; all but coverage and missed is of those that get a class.

    Attributes:
        counts: for each true class, how often each class was answered, and last how often "unsure"
        classes: names
        positive: the positive one of two classes; None without a threshold
        costs: of a false negative and of a false positive; None if none were given
    """

    counts: tuple[tuple[int, ...], ...]
    classes: tuple[str, ...]
    positive: str | None = None
    costs: tuple[float, float] | None = None

    @property
    def n(self) -> int:
        """Number of sequences."""
        return sum(map(sum, self.counts))

    @property
    def answered(self) -> int:
        """Number of sequences that got a class."""
        return self.n - sum(row[-1] for row in self.counts)

    @property
    def coverage(self) -> Share | None:
        """Fraction of the sequences that got a class."""
        return _share(self.answered, self.n)

    @property
    def accuracy(self) -> Share | None:
        """Fraction of the answers that are correct."""
        return _share(sum(row[label] for label, row in enumerate(self.counts)), self.answered)

    @property
    def cells(self) -> tuple[int, int, int, int] | None:
        """True positives, false positives, false negatives and true negatives; None without a threshold."""
        if self.positive is None:
            return None
        at = self.classes.index(self.positive)
        return self.counts[at][at], self.counts[1 - at][at], self.counts[at][1 - at], self.counts[1 - at][1 - at]

    @property
    def precision(self) -> Share | None:
        """Fraction of the positive answers that are correct; None if there are none."""
        cells = self.cells
        return cells and _share(cells[0], cells[0] + cells[1])

    @property
    def recall(self) -> Share | None:
        """Fraction of the positive sequences that are recognised; None if there are none."""
        cells = self.cells
        return cells and _share(cells[0], cells[0] + cells[2])

    @property
    def positives(self) -> int:
        """Number of positive sequences; 0 without a threshold."""
        return 0 if self.positive is None else sum(self.counts[self.classes.index(self.positive)])

    @property
    def missed(self) -> Share | None:
        """Fraction of the positive sequences that are answered as the other class; None if there are none."""
        cells = self.cells
        return cells and _share(cells[2], self.positives)

    @property
    def f1(self) -> float | None:
        """Harmonic mean of precision and recall; None if there is no positive sequence and no positive answer."""
        if self.cells is None:
            return None
        right, false_positives, false_negatives, _ = self.cells
        wrong = false_positives + false_negatives
        return 2 * right / (2 * right + wrong) if right + wrong else None

    @property
    def cost(self) -> float | None:
        """Mean cost of an answer; None if no costs were given."""
        if self.cells is None or self.costs is None or not self.answered:
            return None
        _, false_positives, false_negatives, _ = self.cells
        return (self.costs[0] * false_negatives + self.costs[1] * false_positives) / self.answered

    def measures(self) -> dict[str, Share | float | None]:
        """Return what applies by name, in the order of a table."""
        measures: dict[str, Share | float | None] = {}
        if self.positive is not None:
            measures |= {"precision": self.precision, "recall": self.recall, "missed": self.missed, "f1": self.f1}
        measures |= {"accuracy": self.accuracy, "coverage": self.coverage}
        return measures | ({} if self.costs is None else {"cost": self.cost})

    def in_words(self, rejects: bool) -> dict[str, str]:
        """Return the measures as tables show them, fractions in percent with their 95 % intervals.

        Args:
            rejects: whether the answer may be "unsure"; if not, coverage is 1, and missed is what lacks of the recall.
        """
        shown = {
            name: value for name, value in self.measures().items() if rejects or name not in ("coverage", "missed")
        }
        labels = {name: f"{name} of {quoted(self.positive)}" for name in ("precision", "recall")}
        labels |= {"missed": f"{quoted(self.positive)} missed", "f1": "F1", "cost": "mean cost"}
        return {labels.get(name, name): _in_words(name, value) for name, value in shown.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; precision and the like as {"value", "low", "high"}, or null if undefined."""
        plain = {
            name: value._asdict() if isinstance(value, Share) else value for name, value in self.measures().items()
        }
        return {"n": self.n, "answered": self.answered, **plain, "counts": [list(row) for row in self.counts]}


@dataclass(frozen=True)
class OperatingPoint:
    """When a run answers which class.

    Attributes:
        classes: names
        positive: the one of two classes that is answered where its probability is at least ``threshold``, and the other
            one elsewhere; None answers the most probable class
        threshold: a probability; None without ``positive``
        reject: where the class to be answered has a lower probability than this, the answer is "unsure"; None answers
            always
        chosen: how the threshold was chosen: "given", "at recall 0.95", "costs: false negative 5, false positive 1"
        costs: of a false negative and of a false positive; None if none were given
        validation: what it makes of the validation split; None if the run has none, or its data is not available
        counted: what that is of, and what the threshold was chosen by: sequences, windows, or the recordings that they
            are windows of
    """

    classes: tuple[str, ...]
    positive: str | None = None
    threshold: float | None = None
    reject: float | None = None
    chosen: str = "given"
    costs: tuple[float, float] | None = None
    validation: Outcome | None = None
    counted: Counted = "sequences"

    def __post_init__(self) -> None:
        by_threshold = self.threshold is not None
        if by_threshold != (self.positive is not None) or (by_threshold and len(self.classes) != 2):
            raise InputError("an operating point needs a threshold and a positive one of two classes, or neither")
        if self.counted not in get_args(Counted):
            raise InputError(f"counted must be one of {listed(get_args(Counted))}, got {quoted(self.counted)}")
        if by_threshold and self.positive not in self.classes:
            raise InputError(f"the positive class must be one of the classes, got {quoted(self.positive)}")
        for name, value in (("threshold", self.threshold), ("reject", self.reject)):
            if value is not None and not 0 <= value <= 1:
                raise InputError(f"{name} must be a probability, got {quoted(value)}")

    @classmethod
    def choose(
        cls,
        config: OperatingConfig,
        classes: Sequence[str],
        positive: str | None = None,
        validation: tuple[Tensor, Tensor] | None = None,
        recordings: Tensor | None = None,
    ) -> OperatingPoint:
        """Return the operating point that the settings ask for.

        The threshold is chosen as if every sequence got a class, whatever is rejected then: what costs or recall ask
        for holds of the sequences that would be answered as the other class.

        Args:
            config: the settings.
            classes: names; two of them if a threshold is asked for.
            positive: the positive class (default: that of ``config``; None there too if no threshold is asked for).
            validation: calibrated probabilities (N, classes) and the true classes (N,) int64 of sequences that were not
                trained on (default None: there are none, so the threshold must be given).
            recordings: (N,) int64 number of the recording that each of these is a window of. If each recording is of
                one class, the point is chosen by recordings, as these are answered: by the mean probabilities of their
                windows; else by windows (default None: they are not windows).

        Raises:
            ConfigError: a threshold is asked for, but no class is named positive, or there is nothing to choose it by.
            DataError: the validation split lacks a class to choose by.
        """
        costs, classes, positive = config.costs, tuple(classes), positive or config.positive
        if config.rules and positive is None:
            raise ConfigError(f"{config.rules[0]} needs the positive class: one of {listed(classes)}")
        if config.needs_validation and validation is None:
            raise ConfigError(f"{config.rules[0]} is chosen by probabilities and true classes: hand both over")
        counted: Counted = "sequences"
        if validation is not None and recordings is not None:
            validation, counted = _by_recording(*validation, recordings)
        point = cls(classes, reject=config.reject, costs=costs, counted=counted)
        if positive is not None:
            threshold, chosen = config.threshold, "given"
            if threshold is None:
                assert validation is not None
                threshold, chosen = _threshold(*validation, classes.index(positive), config)
            point = replace(point, positive=positive, threshold=threshold, chosen=chosen)
        return point if validation is None else replace(point, validation=point.outcome(*validation))

    def labels(self, probabilities: Tensor) -> Tensor:
        """Return the answers, (N,) int64: numbers of classes, and -1 for "unsure".

        Args:
            probabilities: (N, classes) of any floating dtype, as from `Run.predict`.
        """
        exact = probabilities.double()
        if self.positive is None or self.threshold is None:
            answers = exact.argmax(dim=1)
        else:
            at = self.classes.index(self.positive)
            answers = torch.where(exact[:, at] >= self.threshold, at, 1 - at)
        if self.reject is None:
            return answers
        return answers.where(exact.gather(1, answers.unsqueeze(1))[:, 0] >= self.reject, -1)

    def answer(self, probabilities: Sequence[float]) -> int | None:
        """Return the class of one sequence by its number, None for "unsure", from the probabilities of all classes."""
        label = int(self.labels(torch.tensor([probabilities], dtype=torch.float64))[0])
        return None if label < 0 else label

    def outcome(self, probabilities: Tensor, y: Tensor) -> Outcome:
        """Return what it makes of labelled sequences.

        Args:
            probabilities: (N, classes) of any floating dtype.
            y: (N,) int64 true classes.
        """
        size = len(self.classes)
        labels = self.labels(probabilities).cpu()
        labels = labels.where(labels >= 0, size)
        counts = torch.bincount(y.cpu() * (size + 1) + labels, minlength=size * (size + 1)).view(size, size + 1)
        return Outcome(tuple(map(tuple, counts.tolist())), self.classes, self.positive, self.costs)

    def outcome_of_recordings(self, probabilities: Tensor, y: Tensor, recordings: Tensor | None) -> Outcome | None:
        """Return what it makes of whole recordings, each answered by the mean probabilities of its windows.

        Args:
            probabilities: (N, classes) of any floating dtype, of each window.
            y: (N,) int64 true classes of the windows.
            recordings: (N,) int64 number of the recording of each; None if the sequences are not windows.

        Returns:
            None too if no recording is of one class.
        """
        if recordings is None:
            return None
        classes = classes_of_recordings(y.cpu(), recordings.cpu())
        counted = classes >= 0
        if not counted.any():
            return None
        return self.outcome(pooled(probabilities.cpu(), recordings.cpu())[counted], classes[counted])

    def __str__(self) -> str:
        """Return it in words: "'b' where its probability is at least 0.3 (given), unsure where …"."""
        words = []
        if self.positive is not None:
            rest = next(name for name in self.classes if name != self.positive)
            by = "" if self.counted == "sequences" or self.chosen == "given" else f" of {self.counted}"
            words.append(
                f"{quoted(self.positive)} where its probability is at least {self.threshold:.6g} ({self.chosen}{by}), "
                f"{quoted(rest)} elsewhere"
            )
        if self.reject is not None:
            words.append(f"{UNSURE} where the answer has a probability below {self.reject:.6g}")
        return ", ".join(words)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without what it makes of any sequences."""
        costs = self.costs and dict(zip(("false_negative", "false_positive"), self.costs, strict=True))
        return {
            "positive": self.positive,
            "threshold": self.threshold,
            "reject": self.reject,
            "chosen": self.chosen,
            "counted": self.counted,
            "costs": costs,
        }


def _by_recording(probabilities: Tensor, y: Tensor, recordings: Tensor) -> tuple[tuple[Tensor, Tensor], Counted]:
    """Return mean probabilities and class of each recording; those of windows if a recording is of several classes."""
    classes = classes_of_recordings(y.cpu(), recordings.cpu())
    if (classes < 0).any():
        return (probabilities, y), "windows"
    return (pooled(probabilities.cpu(), recordings.cpu()), classes), "recordings"


def _threshold(probabilities: Tensor, y: Tensor, label: int, config: OperatingConfig) -> tuple[float, str]:
    """Return the threshold for a class that the settings ask for, and how it was chosen."""
    of_class, is_positive = probabilities[:, label].double().cpu().numpy(), (y == label).cpu().numpy()
    recall, costs = config.at_recall, config.costs
    if not is_positive.any() or (costs and is_positive.all()):
        lacking = "the other class" if is_positive.any() else "the positive class"
        raise DataError(
            f"the validation split has no sequence of {lacking}, so no threshold can be chosen: give threshold, or "
            "train with a larger --val-fraction"
        )
    if recall is not None:
        return threshold_at_recall(of_class, is_positive, recall), f"at recall {recall:g}"
    assert costs is not None
    chosen = f"costs: false negative {costs[0]:g}, false positive {costs[1]:g}"
    return threshold_of_least_cost(of_class, is_positive, *costs), chosen


def threshold_at_recall(probabilities: np.ndarray, is_positive: np.ndarray, recall: float) -> float:
    """Return the largest threshold at which at least a fraction ``recall`` of the positive sequences is recognised.

    Sequences of equal probability are recognised together. The threshold is up to a millionth below the probability of
    the last sequence that it must recognise.

    Args:
        probabilities: (N,) float64 of the positive class.
        is_positive: (N,) bool, at least one of them true.
        recall: above 0, at most 1.
    """
    values, counts = _by_value(probabilities, is_positive)
    at = int(np.argmax(counts.cumsum() / counts.sum() >= recall))  # the first, as values descend
    return _just_below(values, at)


def threshold_of_least_cost(
    probabilities: np.ndarray, is_positive: np.ndarray, false_negative: float, false_positive: float
) -> float:
    """Return the threshold of least cost on these sequences; of several, the one nearest to fp / (fp + fn).

    That fraction is the best threshold if the probabilities are right (C. Elkan, The Foundations of Cost-Sensitive
    Learning, IJCAI 2001, equation 2). A temperature does not make them so where the classes were weighted in training,
    so the counts decide; where few sequences leave a wide choice, the fraction does.

    Args:
        probabilities: (N,) float64 of the positive class.
        is_positive: (N,) bool, with at least one of each.
        false_negative: cost, above 0.
        false_positive: cost, above 0.
    """
    values, positives = _by_value(probabilities, is_positive)
    _, negatives = _by_value(probabilities, ~is_positive)
    missed = is_positive.sum() - np.append(0, positives.cumsum())  # by the number of values that are answered positive
    costs = false_negative * missed + false_positive * np.append(0, negatives.cumsum())
    best = false_positive / (false_positive + false_negative)
    highest, lowest = np.append(1.0, values), np.append(values, 0.0)
    costs = np.where((highest == 1) & (lowest == 1), np.inf, costs)  # no threshold rejects a probability of 1
    thresholds = []
    for high, low, cost in zip(highest, lowest, costs, strict=True):
        if cost <= costs.min() * (1 + 1e-12):
            margin = min(MARGIN, (high - low) / 2)
            thresholds.append(min(max(best, low + margin), high - margin))
    return float(min(thresholds, key=lambda threshold: abs(threshold - best)))


def _by_value(probabilities: np.ndarray, counted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct probabilities, descending, and how many of those to be counted have each."""
    values, places = np.unique(-probabilities, return_inverse=True)
    return -values, np.bincount(places, counted, len(values)).astype(np.int64)


def _just_below(values: np.ndarray, at: int) -> float:
    below = values[at + 1] if at + 1 < len(values) else 0.0
    return float(values[at] - min(MARGIN, (values[at] - below) / 2))
