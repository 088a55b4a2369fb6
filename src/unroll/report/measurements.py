"""Compute the contents of a report, once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..data.sequences import SequenceData
from ..doctor import Examination, examine
from ..evaluation.anytime import Anytime, evaluate_anytime
from ..evaluation.metrics import evaluate
from ..evaluation.predictions import Predictions
from ..evaluation.saliency import attribute
from ..evaluation.stepwise import Watched, watch
from ..models.classifier import SequenceClassifier
from ..models.ensemble import Ensemble
from ..models.modes import inference
from ..runs.artifacts import BestBaseline, read_baselines, read_predictions
from ..runs.data import TestData
from ..runs.ensemble import history_of
from ..runs.storage import Run
from ..training.results import EpochResult

MOST_STEPS = 1_500_000  # time steps to read for the anytime curve; of larger data sets, a sample is used
LONGEST_WATCHED = 1_000  # time steps
MOST_MISTAKES = 25
MOST_SERIES = 9  # of them that are drawn, where they are series
MOST_WATCHED = 3  # sequences that are read step by step
MOST_ATTRIBUTED = 10  # images or texts
TIMED_ANSWERS = 20


@dataclass(frozen=True)
class Speed:
    """The speed of the model on this machine.

    Attributes:
        sequences: sequences per second, in large batches
        alone: seconds for a single sequence, median
    """

    sequences: float
    alone: float


@dataclass(frozen=True)
class Attributions:
    """Which parts of some inputs speak for the predicted class.

    Attributes:
        data: these sequences
        labels: (N,) int64 predicted classes
        values: (N, time, features) float32, what each element adds to the logit of that class
    """

    data: SequenceData
    labels: Tensor
    values: Tensor


@dataclass(frozen=True)
class Material:
    """The contents of a report.

    Attributes:
        run: the run
        history: the epochs of its training; empty if it was saved by hand
        examination: the doctor's results on the training split, or if that is not available on the test split; None of
            an ensemble
        judged: what it was evaluated on, in words
        predictions: for the test split; None if neither they nor the data are available
        data: the test split; None if it is not available
        lacking: why it is not available; empty if it is
        optimism: which of these sequences the run was trained or validated on, in words; empty if on none
        warnings: how they differ from the training data, in words; empty if they do not
        anytime: accuracy after parts of the sequences
        asked: number of sequences that ``anytime`` was measured on
        watched: some sequences read step by step
        attributions: which parts of the input speak for the predicted class, in these sequences and more
        speed: of predictions
        baseline: the best that ``unroll baseline`` has kept of the run
        telling: indices of the sequences that ``watched`` and ``attributions`` show
        shows_samples: whether real sequences of the test data, and what their source calls them, may be shown
    """

    run: Run
    history: Sequence[EpochResult]
    examination: Examination | None
    judged: str
    predictions: Predictions | None
    data: SequenceData | None = None
    lacking: str = ""
    optimism: str = ""
    warnings: Sequence[str] = ()
    anytime: Anytime | None = None
    asked: int = 0
    watched: Sequence[Watched] = ()
    attributions: Attributions | None = None
    speed: Speed | None = None
    baseline: BestBaseline | None = None
    telling: Sequence[int] = ()
    shows_samples: bool = True

    @property
    def unit(self) -> str:
        """The name of a time step, such as "row"."""
        return self.run.preparation.unit

    @property
    def worst(self) -> list[int]:
        """The indices of the most confident mistakes, the most confident first."""
        if self.predictions is None:
            return []
        confidence = self.predictions.probabilities(self.run.calibration).max(dim=1).values
        wrong = (~self.predictions.right).nonzero()[:, 0]
        return wrong[confidence[wrong].argsort(descending=True, stable=True)][:MOST_MISTAKES].tolist()

    @property
    def drawn(self) -> list[int]:
        """The indices of the most confident mistakes that are shown themselves: images, series or texts."""
        if self.data is None or not self.shows_samples:
            return []
        return self.worst[:MOST_SERIES] if self.run.preparation.kind == "series" else self.worst

    @property
    def samples(self) -> set[int]:
        """The indices of all sequences that are shown."""
        return {*self.drawn, *self.telling}

    @property
    def about_samples(self) -> str:
        """Whether sequences are shown, in a sentence."""
        n = len(self.samples)
        if not n:
            return "It holds no samples of the data."
        samples = f"{n:,} real sample{'s' if n > 1 else ''}"
        return f"It holds {samples}, of {self.judged}; unroll report --no-samples leaves them out."


def gather(
    run: Run, test: TestData | None, lacking: str = "", train: SequenceData | None = None, samples: bool = True
) -> Material:
    """Compute what the report of a run shows.

    Args:
        run: finished.
        test: the test data; None if it is not available.
        lacking: why it is not available.
        train: the training data, for the doctor; None uses the test data.
        samples: whether to show real sequences of the test data.
    """
    history = history_of(run.path, run.config)
    predictions = read_predictions(run.path, run.preparation.classes)
    examined = train if train is not None or test is None else test.sequences
    accuracy, deciding = ((run.evaluation or {}).get(name) for name in ("accuracy", "deciding"))
    single = None if isinstance(run.model, Ensemble) else run.model
    examination = (
        None
        if single is None
        else examine(
            single, examined, history=history, test_accuracy=accuracy, deciding=deciding, training=run.config.train
        )
    )
    if test is None:
        known = run.config.plan.data if run.config.plan else "its data"
        return Material(
            run,
            history,
            examination,
            judged="no test split" if run.config.plan and not run.evaluation else f"the test split of {known}",
            predictions=predictions,
            lacking=lacking,
            baseline=read_baselines(run.path),
            shows_samples=samples,
        )
    data = test.sequences
    if predictions is None or predictions.fingerprint != data.fingerprint():
        predictions = Predictions.of(run.model, data)
    material = Material(
        run,
        history,
        examination,
        judged=f"{'all' if test.part == 'all' else 'the test split'} of {test.name}",
        optimism=test.optimism(),
        warnings=test.warnings(),
        predictions=predictions,
        data=data,
        speed=_speed(run, data),
        baseline=read_baselines(run.path) if test.part == "test" else None,
        shows_samples=samples,
    )
    return material if single is None else _with_reading(material, single, data, predictions)


def _with_reading(
    material: Material, model: SequenceClassifier, data: SequenceData, predictions: Predictions
) -> Material:
    """Return the contents with what shows how a single model reads."""
    run = material.run
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    some = data.subset(order[: _affordable(model, data)])
    numbers = _telling(run, predictions, data) if material.shows_samples else []
    return replace(
        material,
        anytime=evaluate_anytime(model, some, run.calibration) if data.time else None,
        asked=len(some),
        watched=tuple(watch(model, data, number, run.calibration) for number in numbers[:MOST_WATCHED]),
        attributions=_attributions(run, data, predictions, numbers) if numbers else None,
        telling=numbers,
    )


def _affordable(model: SequenceClassifier, data: SequenceData) -> int:
    """Return how many sequences to read part by part; a model that is not causal reads each from its beginning."""
    steps = MOST_STEPS // (1 if model.is_causal else 8)
    return max(1, min(len(data), steps // max(1, data.time)))


def _telling(run: Run, predictions: Predictions, data: SequenceData) -> list[int]:
    """Return which sequences to show: a confident correct one, the least confident correct one, then mistakes."""
    confidence = predictions.probabilities(run.calibration).max(dim=1).values
    lengths = data.steps_of_each
    usable = ((lengths > 0) & (lengths <= LONGEST_WATCHED)).cpu()
    right, wrong = (usable & predictions.right).nonzero()[:, 0], (usable & ~predictions.right).nonzero()[:, 0]
    right = right[confidence[right].argsort(stable=True)]
    wrong = wrong[confidence[wrong].argsort(descending=True, stable=True)]
    chosen = dict.fromkeys([*right[len(right) // 2 :][:1].tolist(), *right[:1].tolist(), *wrong.tolist()])
    return list(chosen)[: MOST_WATCHED if data.kind == "series" else MOST_ATTRIBUTED]


def _attributions(run: Run, data: SequenceData, predictions: Predictions, numbers: list[int]) -> Attributions:
    some, labels = data.subset(torch.tensor(numbers)).unpadded(), predictions.labels[numbers]
    x, _, lengths = some.batch(slice(None))
    return Attributions(some, labels, attribute(run.model, x, lengths, labels))


def _speed(run: Run, data: SequenceData) -> Speed:
    many = data.subset(torch.arange(min(len(data), max(1, 2_000_000 // max(1, data.time * 28)))))
    evaluate(run.model, many)  # once without timing, to warm up
    clock = time.perf_counter()
    evaluate(run.model, many)
    rate = len(many) / (time.perf_counter() - clock)
    device = next(run.model.parameters()).device
    x, _, lengths = data.to(device).batch(slice(0, 1))
    seconds = []
    with inference(run.model):
        for _ in range(TIMED_ANSWERS):
            clock = time.perf_counter()
            run.model(x, lengths).cpu()
            seconds.append(time.perf_counter() - clock)
    return Speed(rate, statistics.median(seconds))
