"""All that a report is about, computed once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data.sequences import SequenceData
from ..doctor import Examination, examine
from ..evaluation.anytime import Anytime, evaluate_anytime
from ..evaluation.metrics import evaluate
from ..evaluation.predictions import Predictions
from ..evaluation.saliency import attribute
from ..evaluation.stepwise import Watched, watch
from ..models.modes import inference
from ..runs.artifacts import read_predictions
from ..runs.data import TestData
from ..runs.history import read_history
from ..runs.storage import Run
from ..training.results import EpochResult

MOST_STEPS = 1_500_000  # time steps of the data that are read for the curve over what was read: else a sample
LONG = 1_000  # time steps; of longer sequences no single one is watched
MISTAKES = 25
WATCHED = 3  # sequences that are read step by step
ATTRIBUTED = 10  # images or texts of which is shown what speaks for the answer
TIMED = 20  # answers to one sequence


@dataclass(frozen=True)
class Speed:
    """How fast the model answers, here and now.

    Attributes:
        sequences: a second, many at a time
        alone: seconds for one by itself, median
    """

    sequences: float
    alone: float


@dataclass(frozen=True)
class Attributions:
    """What parts of some inputs speak for the class that is predicted.

    Attributes:
        data: these sequences
        labels: (N,) int64 predicted classes
        values: of the shape of ``data.x``, float32, what each element adds to the logit of that class
    """

    data: SequenceData
    labels: Tensor
    values: Tensor


@dataclass(frozen=True)
class Material:
    """What a report is about.

    Attributes:
        run: the run
        history: of its training, an epoch each; empty if it was saved by hand
        examination: what the doctor says: of the training part, if that is at hand
        judged: on what, in words
        predictions: of the test part; None where neither they nor the data are at hand
        data: the test part; None where it is not at hand
        lacking: why not; empty where it is
        trained_on: how many of these sequences it was trained on; None where that is not known
        anytime: accuracy after parts of it
        asked: on how many of its sequences that was measured
        watched: some sequences read step by step
        attributions: what speaks for the answer in these and more
        speed: of answers
    """

    run: Run
    history: Sequence[EpochResult]
    examination: Examination
    judged: str
    predictions: Predictions | None
    data: SequenceData | None = None
    lacking: str = ""
    trained_on: int | None = None
    anytime: Anytime | None = None
    asked: int = 0
    watched: Sequence[Watched] = ()
    attributions: Attributions | None = None
    speed: Speed | None = None

    @property
    def unit(self) -> str:
        """What a time step is called."""
        return self.run.preparation.unit

    @property
    def worst(self) -> list[int]:
        """The most confident mistakes, by number of the sequence, the most confident first."""
        if self.predictions is None:
            return []
        confidence = self.predictions.probabilities(self.run.calibration).max(dim=1).values
        wrong = (~self.predictions.right).nonzero()[:, 0]
        return wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES].tolist()


def gather(run: Run, test: TestData | None, lacking: str = "", train: SequenceData | None = None) -> Material:
    """Compute what the report of a run shows.

    Args:
        run: finished.
        test: what it is judged by; None where that is not at hand.
        lacking: why not.
        train: what it was trained on, for the doctor; None takes what it is judged by.
    """
    history = read_history(run.path)
    predictions = read_predictions(run.path, run.preparation.classes)
    examined = train if train is not None or test is None else test.sequences
    accuracy = (run.evaluation or {}).get("accuracy")
    examination = examine(run.model, examined, history=history, test_accuracy=accuracy)
    if test is None:
        known = run.config.plan.data if run.config.plan else "its data"
        return Material(
            run, history, examination, judged=f"the test part of {known}", predictions=predictions, lacking=lacking
        )
    data = test.sequences
    if predictions is None or predictions.fingerprint != data.fingerprint():
        predictions = Predictions.of(run.model, data)
    some = data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[: _affordable(run, data)])
    numbers = _telling(run, predictions, data)
    return Material(
        run,
        history,
        examination,
        judged=f"{'all' if test.part == 'all' else 'the test part'} of {test.name}",
        trained_on=test.trained_on,
        predictions=predictions,
        data=data,
        anytime=evaluate_anytime(run.model, some, run.calibration) if data.x.shape[1] else None,
        asked=len(some),
        watched=tuple(watch(run.model, data, number, run.calibration) for number in numbers[:WATCHED]),
        attributions=_attributions(run, data, predictions, numbers) if numbers else None,
        speed=_speed(run, data),
    )


def _affordable(run: Run, data: SequenceData) -> int:
    """Return how many sequences are read part by part; a model that reads both ways begins each part anew."""
    steps = MOST_STEPS // (8 if run.model.config.bidirectional else 1)
    return max(1, min(len(data), steps // max(1, data.x.shape[1])))


def _telling(run: Run, predictions: Predictions, data: SequenceData) -> list[int]:
    """Return which sequences are looked at: one that is surely right, the least sure right one, the surest mistakes."""
    confidence = predictions.probabilities(run.calibration).max(dim=1).values
    lengths = data.steps_of_each
    usable = ((lengths > 0) & (lengths <= LONG)).cpu()
    right, wrong = (usable & predictions.right).nonzero()[:, 0], (usable & ~predictions.right).nonzero()[:, 0]
    right = right[confidence[right].argsort(stable=True)]
    wrong = wrong[confidence[wrong].argsort(descending=True, stable=True)]
    chosen = dict.fromkeys([*right[len(right) // 2 :][:1].tolist(), *right[:1].tolist(), *wrong.tolist()])
    return list(chosen)[: WATCHED if data.kind == "series" else ATTRIBUTED]


def _attributions(run: Run, data: SequenceData, predictions: Predictions, numbers: list[int]) -> Attributions:
    some, labels = data.subset(torch.tensor(numbers)).unpadded(), predictions.labels[numbers]
    x, _, lengths = some.batch(slice(None))
    return Attributions(some, labels, attribute(run.model, x, lengths, labels))


def _speed(run: Run, data: SequenceData) -> Speed:
    many = data.subset(torch.arange(min(len(data), max(1, 2_000_000 // max(1, data.x.shape[1] * 28)))))
    evaluate(run.model, many)  # once in vain: what is done first is slow
    clock = time.perf_counter()
    evaluate(run.model, many)
    rate = len(many) / (time.perf_counter() - clock)
    device = next(run.model.parameters()).device
    x, _, lengths = data.to(device).batch(slice(0, 1))
    seconds = []
    with inference(run.model):
        for _ in range(TIMED):
            clock = time.perf_counter()
            run.model(x, lengths).cpu()
            seconds.append(time.perf_counter() - clock)
    return Speed(rate, statistics.median(seconds))
