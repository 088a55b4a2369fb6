"""Baselines: the accuracy of simpler classifiers on the same data."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.preparation import moments_of_each
from ..data.sequences import SequenceData
from ..data.splits import Splits
from ..errors import DataError, how_to_install
from ..formatting import percent
from .metrics import Evaluation
from .predictions import Predictions
from .significance import LEVEL, dependence, mcnemar

Labels = NDArray[np.int64]
MOST_TRAINING = 10_000  # sequences that logistic regression on images or series learns from
BAND = 0.1  # of the longest series: how far dynamic time warping may shift a time step
MOST_CELLS = 2e10  # of the tables of dynamic time warping, about two minutes of one core
BATCH = 1_000  # sequences; does not change any result


@dataclass(frozen=True)
class Baseline:
    """The result of a simple classifier on the test set.

    Attributes:
        name: of the classifier
        description: how it decides
        labels: (N,) int64 the classes that it predicts; None where it was not tried
        evaluation: their counts, without a loss; None where it was not tried
        seconds: that learning and predicting took
        note: why it was not tried, or what was left out; empty where there is nothing to say
    """

    name: str
    description: str
    labels: Tensor | None
    evaluation: Evaluation | None
    seconds: float
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; accuracies are fractions, None if the classifier was skipped."""
        counts = self.evaluation
        return {
            "name": self.name,
            "description": self.description,
            "accuracy": counts and counts.accuracy,
            "interval": counts and list(counts.interval),
            "balanced_accuracy": counts and counts.balanced_accuracy,
            "macro_f1": counts and counts.macro_f1,
            "n": counts and counts.n,
            "correct": counts and counts.correct,
            "seconds": self.seconds,
            "note": self.note,
        }


def baselines(splits: Splits) -> Iterator[Baseline]:
    """Fit simple classifiers on the training split, one after the other, and yield the result of each on the test set.

    The majority class; logistic regression, of texts on TF-IDF of words and characters, of images on their pixels, of
    series on each feature's mean, deviation and last value; of series 1-nearest neighbour under dynamic time warping.

    Args:
        splits: the data; a validation part of its own is not used.

    Raises:
        DataError: there is no test part.

    Source: dynamic time warping with a band of a tenth of the length: C. A. Ratanamahatana and E. Keogh, Three Myths
    about Dynamic Time Warping Data Mining, SDM 2005.
    """
    train, test = splits.train.to("cpu"), splits.test.to("cpu")
    if not len(test):
        raise DataError("baselines need a test part, and this data has none; give a --test-fraction above 0")
    yield _tried(train, test, "majority class", "always the largest class of the training part", _majority)
    if train.kind == "texts":
        words = "logistic regression on TF-IDF of words (1 and 2) and of characters within words (2 to 5)"
        yield _tried(train, test, "bag of words", words, _bag_of_words)
        return
    on = "all pixels" if train.kind == "images" else "each feature's mean, deviation and last value"
    part = _part(train)
    note = f"learned from {len(part):,} of {len(train):,} training sequences" if len(part) < len(train) else ""
    yield _tried(part, test, "logistic regression", f"logistic regression on {on}", _logistic_regression, note)
    if train.kind == "series":
        yield _dtw(train, test)


def best_of(tried: Iterable[Baseline]) -> Baseline | None:
    """Return the baseline with the highest accuracy, the first of equal ones; None if all were skipped."""
    return max((base for base in tried if base.evaluation), key=_accuracy, default=None)


def _accuracy(base: Baseline) -> float:
    assert base.evaluation is not None
    return base.evaluation.accuracy


def verdict(predictions: Predictions, best: Baseline, reading: Mapping[str, Any]) -> str:
    """Return in words whether a run is better than a baseline on the same test set (McNemar's exact test).

    Args:
        predictions: the run's.
        best: the baseline, of the same sequences.
        reading: how they were read, fields of `DataConfig`.
    """
    assert best.labels is not None
    mine, theirs = predictions.right, best.labels == predictions.y
    p = mcnemar(int((mine & ~theirs).sum()), int((theirs & ~mine).sum()))
    but = f"; {dependent}" if (dependent := dependence([reading])) else ""
    own, simple = (percent(float(right.double().mean())) for right in (mine, theirs))
    if p >= LEVEL:
        return f"the run ({own}) and {best.name} ({simple}) differ by no more than noise (McNemar p = {p:.2g}){but}"
    better = "better" if mine.sum() > theirs.sum() else "worse"
    return f"the run ({own}) is {better} than {best.name} ({simple}), by more than noise (McNemar p = {p:.2g}){but}"


def _tried(
    train: SequenceData,
    test: SequenceData,
    name: str,
    description: str,
    classify: Callable[[SequenceData, SequenceData], Labels],
    note: str = "",
) -> Baseline:
    import sklearn.linear_model  # noqa: F401 -- its seconds are not the classifier's

    start = time.perf_counter()
    labels = torch.from_numpy(classify(train, test)).long()
    classes = test.preparation.classes
    scores = torch.nn.functional.one_hot(labels, len(classes)).float()
    evaluation = Evaluation.of(scores, test.y, classes)
    return Baseline(name, description, labels, evaluation, time.perf_counter() - start, note)


def _majority(train: SequenceData, test: SequenceData) -> Labels:
    return np.full(len(test), int(torch.bincount(train.y).argmax()))


def _bag_of_words(train: SequenceData, test: SequenceData) -> Labels:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    vectors = make_union(
        TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\S+", sublinear_tf=True),
        TfidfVectorizer(ngram_range=(2, 5), analyzer="char_wb", sublinear_tf=True),
    )
    try:
        learned = vectors.fit_transform(train.texts)
    except ValueError:  # an empty vocabulary: no text has a word
        return _majority(train, test)
    return _regression(learned, train.y.numpy(), vectors.transform(test.texts))


def _logistic_regression(train: SequenceData, test: SequenceData) -> Labels:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    learned = scaler.fit_transform(_summaries(train))
    return _regression(learned, train.y.numpy(), scaler.transform(_summaries(test)))


def _regression(learned: Any, y: Labels, asked: Any) -> Labels:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if len(np.unique(y)) == 1:
        return np.full(asked.shape[0], y[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred steps are near enough
        labels: Labels = LogisticRegression().fit(learned, y).predict(asked)
    return labels


def _part(data: SequenceData) -> SequenceData:
    """Return the data, or a random part of it if it is large."""
    if len(data) <= MOST_TRAINING:
        return data
    order = np.random.default_rng(0).permutation(len(data))[:MOST_TRAINING]
    return data.subset(torch.from_numpy(np.sort(order)))


def _summaries(data: SequenceData) -> NDArray[np.float64]:
    """Return (N, numbers): all pixels of images; of series each feature's mean, deviation and last value."""
    parts = []
    for x, _, lengths in data.batches(BATCH):
        if data.kind == "images":
            parts.append(x.flatten(1).double())
            continue
        steps = torch.full((len(x),), x.shape[1]) if lengths is None else lengths
        last = x.double().gather(1, (steps - 1).clamp(min=0)[:, None, None].expand(-1, 1, x.shape[2]))[:, 0]
        parts.append(torch.cat([*moments_of_each(x, steps), last], dim=1))
    return torch.cat(parts).numpy()


def _dtw(train: SequenceData, test: SequenceData) -> Baseline:
    name, description = "1-NN DTW", f"1-nearest neighbour under dynamic time warping, band {BAND:.0%} of the length"
    steps = [data.steps_of_each.double().sum().item() for data in (train, test)]
    cells = 2 * BAND * steps[0] * steps[1] * train.input_size
    try:
        import dtaidistance  # noqa: F401
    except ImportError:
        note = f"needs the library dtaidistance: {how_to_install('baseline')}"
        return Baseline(name, description, None, None, 0.0, note)
    if cells > MOST_CELLS:
        note = f"left out: {cells:.0e} comparisons of values, more than {MOST_CELLS:.0e}"
        return Baseline(name, description, None, None, 0.0, note)
    return _tried(train, test, name, description, _nearest)


def _nearest(train: SequenceData, test: SequenceData) -> Labels:
    from dtaidistance import dtw_ndim

    series = [*_series(train), *_series(test)]
    distances = dtw_ndim.distance_matrix_fast(
        series,
        ndim=train.input_size,
        window=max(1, round(BAND * max(map(len, series)))),
        block=((0, len(train)), (len(train), len(series)), False),
        compact=True,
        parallel=False,
    )
    nearest = np.asarray(distances).reshape(len(train), len(test)).argmin(axis=0)
    labels: Labels = train.y.numpy()[nearest]
    return labels


def _series(data: SequenceData) -> Iterator[NDArray[np.float64]]:
    """Yield each series (time, features), scaled; an empty one as one step of zeros, as a distance needs a step."""
    for x, _, lengths in data.batches(BATCH):
        steps = [x.shape[1]] * len(x) if lengths is None else lengths.tolist()
        for values, length in zip(x.double().numpy(), steps, strict=True):
            yield np.ascontiguousarray(values[:length]) if length else np.zeros((1, values.shape[1]))
