"""Exact metrics of a trained model on labelled sequences, and class probabilities for unlabelled ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..data.sequences import SequenceData
from ..errors import DataError, InputError
from ..models.classifier import SequenceClassifier
from ..models.ensemble import Ensemble
from ..models.fused_forward import is_watched
from ..models.modes import inference
from ..notebook import evaluation_html
from .calibration import Calibration, probabilities
from .ranking import log_odds, precision_recall, roc_area
from .recordings import classes_of_recordings, pooled
from .significance import wilson

EVALUATION_BATCH = 1_000  # sequences; does not change any result
FORWARD: Callable[..., Tensor] = SequenceClassifier.forward  # kept to detect monkey-patching


class Interval(NamedTuple):
    """A confidence interval of an accuracy.

    Attributes:
        low: fraction
        high: fraction
    """

    low: float
    high: float


class ClassScore(NamedTuple):
    """The scores of one class.

    Attributes:
        name: of the class
        precision: fraction of its predictions that are correct; 0 if it was never predicted
        recall: fraction of its sequences that were predicted as it
        f1: harmonic mean of the two
        support: number of sequences of the class; if it is 0, each score is None
    """

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


class PrecisionRecall(NamedTuple):
    """Precision and recall of one of two classes, at each threshold of its probability.

    Attributes:
        name: of the class, the rarer of the two
        share: fraction of the sequences that belong to it, which is the precision by chance
        precision: at each recall
        recall: from 1 down to 0
        average: mean precision, weighted by the recall gained
    """

    name: str
    share: float
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    average: float


@dataclass(frozen=True)
class Evaluation:
    """Exact counts of a model's predictions by true class, and the metrics from them.

    Attributes:
        confusion: (classes, classes) int64 counts; rows are the true classes, columns the predicted ones
        loss: mean cross entropy, in nats
        classes: names
        logits: (N, classes) for metrics that need more than counts; None if only the counts are known
        y: (N,) int64 true classes; None if only the counts are known
        recordings: the same of whole recordings, of which the sequences are windows: of each that has one class; None
            if there is none
    """

    confusion: Tensor
    loss: float
    classes: tuple[str, ...]
    logits: Tensor | None = None
    y: Tensor | None = None
    recordings: Evaluation | None = None

    @classmethod
    def of(cls, logits: Tensor, y: Tensor, classes: tuple[str, ...]) -> Evaluation:
        """Count predictions by true class.

        Args:
            logits: (N, classes) of any floating dtype.
            y: (N,) int64 true classes, on the same device; N is at least 1.
            classes: names.
        """
        size = len(classes)
        counts = torch.bincount(y * size + logits.argmax(dim=1), minlength=size * size)
        loss = float(cross_entropy(logits, y, reduction="none").double().mean())
        return cls(counts.view(size, size).cpu(), loss, classes, logits, y)

    def with_recordings(self, recordings: Tensor | None, calibration: Calibration | None = None) -> Evaluation:
        """Return this evaluation of windows with that of the recordings, by the mean probabilities of their windows.

        Args:
            recordings: (N,) int64 number of the recording of each; None if the sequences are not windows.
            calibration: of the model (default None: uncalibrated).
        """
        if recordings is None or self.logits is None or self.y is None:
            return self
        y = classes_of_recordings(self.y, recordings)
        of_each = pooled(probabilities(self.logits.double(), calibration), recordings)
        has_class = y >= 0
        if not has_class.any():
            return self
        return replace(self, recordings=Evaluation.of(of_each[has_class].log(), y[has_class], self.classes))

    @property
    def n(self) -> int:
        """Number of sequences."""
        return int(self.confusion.sum())

    @property
    def correct(self) -> int:
        """Number of correct predictions."""
        return int(self.confusion.diagonal().sum())

    @property
    def accuracy(self) -> float:
        """Fraction of correct predictions."""
        return self.correct / self.n

    @property
    def interval(self) -> Interval:
        """The accuracy's 95 % confidence interval (`unroll.evaluation.significance.wilson`)."""
        return Interval(*wilson(self.correct, self.n))

    @property
    def per_class(self) -> list[ClassScore]:
        """Precision, recall and F1 of each class."""
        sums = (self.confusion.diagonal(), self.confusion.sum(dim=0), self.confusion.sum(dim=1))
        scores = []
        for name, right, called, support in zip(self.classes, *(counts.tolist() for counts in sums), strict=True):
            if not support:
                scores.append(ClassScore(name, None, None, None, 0))
                continue
            precision = right / called if called else 0.0
            scores.append(ClassScore(name, precision, right / support, 2 * right / (called + support), support))
        return scores

    @property
    def majority(self) -> tuple[str, float]:
        """The largest class, and its share: the accuracy of always predicting it."""
        counts = self.confusion.sum(dim=1)
        return self.classes[int(counts.argmax())], float(counts.max()) / self.n

    @property
    def balanced_accuracy(self) -> float:
        """Mean recall over the classes that have a sequence, as a fraction: every class counts equally."""
        return fmean(score.recall for score in self.per_class if score.recall is not None)

    @property
    def macro_f1(self) -> float:
        """Mean F1 over the classes that have a sequence."""
        return fmean(score.f1 for score in self.per_class if score.f1 is not None)

    @cached_property
    def roc_auc_per_class(self) -> tuple[float | None, ...]:
        """The area under each class's ROC curve, one against rest; None if the class has no sequences or all of them.

        It is the probability that a sequence of the class gets a higher probability of it than one of the rest: 0.5 by
        chance.
        """
        if self.logits is None or self.y is None or not self.logits.isfinite().all():
            return (None,) * len(self.classes)
        y, odds = self.y.cpu().numpy(), log_odds(self.logits).cpu().numpy()
        return tuple(
            None if score.support in (0, self.n) else roc_area(y == label, odds[:, label])
            for label, score in enumerate(self.per_class)
        )

    @property
    def roc_auc(self) -> float | None:
        """Mean of `roc_auc_per_class` over the classes that have an area; None if no class has."""
        areas = [area for area in self.roc_auc_per_class if area is not None]
        return fmean(areas) if areas else None

    @cached_property
    def precision_recall(self) -> PrecisionRecall | None:
        """The curve of the rarer of two classes; None with more classes, or if one of the two has no sequence."""
        counts = self.confusion.sum(dim=1)
        if self.logits is None or self.y is None or len(counts) != 2 or not counts.all():
            return None
        if not self.logits.isfinite().all():
            return None
        label = int(counts[1] <= counts[0])
        is_class = (self.y == label).cpu().numpy()
        odds = log_odds(self.logits)[:, label].cpu().numpy()
        precision, recall, average = precision_recall(is_class, odds)
        share = float(counts[label]) / self.n
        return PrecisionRecall(self.classes[label], share, tuple(precision.tolist()), tuple(recall.tolist()), average)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; accuracies are fractions."""
        name, share = self.majority
        areas, curve = self.roc_auc_per_class, self.precision_recall
        return {
            "accuracy": self.accuracy,
            "loss": self.loss,
            "n": self.n,
            "correct": self.correct,
            "interval": list(self.interval),
            "majority": {"class": name, "share": share},
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "roc_auc": self.roc_auc,
            "per_class": [
                score._asdict() | {"roc_auc": area} for score, area in zip(self.per_class, areas, strict=True)
            ],
            "precision_recall": curve
            and {name: list(value) if isinstance(value, tuple) else value for name, value in curve._asdict().items()},
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            **({} if self.recordings is None else {"recordings": self.recordings._counts()}),
        }

    def _counts(self) -> dict[str, Any]:
        counts = {"n": self.n, "correct": self.correct}
        return counts | {"accuracy": self.accuracy, "interval": list(self.interval)}

    def _repr_html_(self) -> str:
        return evaluation_html(self.to_dict())


def evaluate(
    model: nn.Module,
    data: SequenceData,
    batch_size: int = EVALUATION_BATCH,
    calibration: Calibration | None = None,
) -> Evaluation:
    """Evaluate ``model`` on ``data``, in eval mode and without gradients.

    Args:
        model: maps x (batch, time, features) float32 and lengths to logits (batch, classes).
        data: labelled sequences; they are moved to the model's device.
        batch_size: sequences at a time (default 1,000); it does not affect the result.
        calibration: of the model, for the answers per recording where ``data`` holds windows of recordings; all else is
            as without it (default None: uncalibrated).

    Raises:
        DataError: ``data`` is empty.
        InputError: the model and the data have different numbers of classes.
    """
    evaluation = Evaluation.of(logits_of(model, data, batch_size), data.y.cpu(), data.preparation.classes)
    return evaluation.with_recordings(data.recordings, calibration)


def logits_of(model: nn.Module, data: SequenceData, batch_size: int = EVALUATION_BATCH) -> Tensor:
    """Return the logits of ``model`` on ``data``, (N, classes) float32 on the CPU; see `evaluate`."""
    if not isinstance(data, SequenceData):
        raise InputError(f"evaluate expects SequenceData, such as splits.test, got {type(data).__name__}")
    if len(data) == 0:
        raise DataError("evaluation needs at least 1 sequence, got 0")
    with inference(model):
        return logits_in_order(model, data.to(_parameter(model).device), batch_size).cpu()


def logits_in_order(model: nn.Module, data: SequenceData, batch_size: int) -> Tensor:
    """Return the logits of ``model``, (N, classes) float32; where the kernels can, they read ``data`` directly.

    The caller sets mode and gradients, and puts ``data`` on the model's device.
    """
    classes, read = len(data.preparation.classes), []
    parts = data.parts(batch_size)
    for part in parts:
        x, lengths = data.padded(part), None if data.lengths is None else data.lengths[part]
        logits = _at_once(model, data, x, lengths)
        if logits is None:
            logits = model(data.model_input(x), lengths).float()
        if logits.shape != (len(x), classes):
            raise InputError(f"the model must give logits ({len(x)}, {classes}), got {tuple(logits.shape)}")
        read.append(logits)
    return in_order(parts, read)


def in_order(parts: Sequence[slice | Tensor], read: Sequence[Tensor], dim: int = 0) -> Tensor:
    """Return what was read of each of a set's parts as one tensor, in the order of the set.

    Args:
        parts: as from `SequenceData.parts`.
        read: of each part.
        dim: along which the sequences of a part stand (default 0).
    """
    joined = torch.cat(list(read), dim)
    if isinstance(parts[0], slice):
        return joined
    order = torch.cat([part for part in parts if isinstance(part, Tensor)]).to(joined.device)
    return joined.index_select(dim, order.argsort())


def is_as_made(model: nn.Module) -> TypeGuard[SequenceClassifier]:
    """Return whether ``model`` is a `SequenceClassifier` without changes to its forward pass.

    If a subclass, a hook or a patch changes the forward pass, only calling the model gives its output.
    """
    return isinstance(model, SequenceClassifier) and type(model).forward is FORWARD and not is_watched(model)


def _at_once(model: nn.Module, data: SequenceData, x: Tensor, lengths: Tensor | None) -> Tensor | None:
    return model.answer_at_once(x, lengths, data.preparation.scaling.factors) if is_as_made(model) else None


def predict(model: nn.Module, x: Tensor, lengths: Tensor | None = None, batch_size: int = EVALUATION_BATCH) -> Tensor:
    """Return class probabilities (N, classes) float32 on the CPU, in eval mode and without gradients.

    Args:
        model: maps x and lengths to logits (batch, classes).
        x: model input: (N, time, features) of the parameters' dtype, scaled as in training; or the ids of
            tokens, (N, time) int32 or int64. `Run.predict` takes raw data.
        lengths: (N,) int64, or None if no sequence is padded (default None).
        batch_size: sequences at a time (default 1,000).

    Raises:
        InputError: ``x`` has another type, dtype or shape.
    """
    _check_read(model, x)
    device = _parameter(model).device
    parts = []
    with inference(model):
        for at in range(0, max(1, len(x)), batch_size):  # of no sequence, one part, which has the classes
            part = slice(at, at + batch_size)
            some = None if lengths is None else lengths[part].to(device)
            parts.append(model(x[part].to(device), some).float().softmax(dim=1).cpu())
    return torch.cat(parts)


def _check_read(model: nn.Module, x: Tensor) -> None:
    """Raise `InputError` unless ``x`` fits ``model``: for raw data the predictions would silently be wrong."""
    dtype, ids_dtypes = _parameter(model).dtype, (torch.int32, torch.int64)
    values = f"a {_name(dtype)} tensor (N, time, features), scaled as in training"
    ids = "token ids, an int32 or int64 tensor (N, time)"
    is_tensor = isinstance(x, Tensor)
    if not isinstance(model, SequenceClassifier | Ensemble):
        expected, fits = f"{values}, or {ids}", is_tensor and x.dtype in (dtype, *ids_dtypes)
    elif size := model.vocabulary_size:
        expected, fits = f"{ids} from 0 to {size - 1}", is_tensor and x.dtype in ids_dtypes and x.dim() == 2
        if buckets := model.ngram_buckets:
            expected = (
                f"token ids from 0 to {size - 1}, each with its n-grams from 0 to {buckets}, (N, time, 1 + n-grams)"
            )
            fits = is_tensor and x.dtype in ids_dtypes and x.dim() == 3 and x.shape[2] > 0
            fits = fits and bool(((x[..., 1:] >= 0) & (x[..., 1:] <= buckets)).all())
            x = x[..., 0] if fits else x
        fits = fits and bool(((x >= 0) & (x < size)).all())
    else:
        expected = values.replace("features", str(model.input_size))
        fits = is_tensor and x.dtype == dtype and x.dim() == 3 and x.shape[2] == model.input_size
    if not fits:
        got = f"{_name(x.dtype)} of shape {tuple(x.shape)}" if is_tensor else type(x).__name__
        raise InputError(f"predict expects {expected}; got {got}. For raw data use run.predict(raw)")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _parameter(module: nn.Module) -> Tensor:
    """Return a parameter, for the device and dtype of ``module``; without parameters, float32 on the CPU."""
    return next(module.parameters(), torch.empty(0, dtype=torch.float32, device="cpu"))
