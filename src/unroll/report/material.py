"""All that a report is about, computed once."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..anytime import Anytime, evaluate_anytime
from ..data.sequences import SequenceData
from ..evaluation import evaluate, inference
from ..folder import METRICS
from ..predicted import Predictions, read_predictions
from ..saved import Run, TestData
from ..train import EpochResult
from ..watching import Watched, watch

MOST_STEPS = 40_000_000  # time steps of the data that are read for a report: what is more is left out of some figures
LONG = 1_000  # time steps; of longer sequences no single one is watched
MISTAKES = 25
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
class Material:
    """What a report is about.

    Attributes:
        run: the run
        history: of its training, an epoch each; empty if it was saved by hand
        judged: on what, in words
        predictions: of the test part; None where neither they nor the data are at hand
        data: the test part; None where it is not at hand
        lacking: why not; empty where it is
        anytime: accuracy after parts of it
        watched: some sequences read step by step
        speed: of answers
    """

    run: Run
    history: Sequence[EpochResult]
    judged: str
    predictions: Predictions | None
    data: SequenceData | None
    lacking: str
    anytime: Anytime | None = None
    watched: Sequence[Watched] = ()
    speed: Speed | None = None

    @property
    def unit(self) -> str:
        """What a time step is called."""
        form, tokens = self.run.preparation.image, self.run.preparation.tokens
        if form is not None:
            return {"rows": "row", "columns": "column"}.get(form.read, "pixel")
        return "time step" if tokens is None else "token"

    @property
    def worst(self) -> list[int]:
        """The most confident mistakes, by number of the sequence, the most confident first."""
        if self.predictions is None:
            return []
        confidence = self.predictions.logits.softmax(dim=1).max(dim=1).values
        wrong = (~self.predictions.right).nonzero()[:, 0]
        return wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES].tolist()


def gather(run: Run, test: TestData | None, lacking: str = "") -> Material:
    """Compute what the report of a run shows.

    Args:
        run: finished.
        test: what it is judged by; None where that is not at hand.
        lacking: why not.
    """
    history = read_history(run.path)
    kept = read_predictions(run.path, run.preparation.classes)
    if test is None:
        known = run.config.get("data", {}).get("name", "its data")
        return Material(run, history, f"the test part of {known}", kept, None, lacking)
    data, judged = test.sequences, f"{'all' if test.part == 'all' else 'the test part'} of {test.name}"
    predictions = kept
    if kept is None or kept.fingerprint != data.fingerprint():
        predictions = Predictions.of(run.model, data)
    assert predictions is not None
    some = data.subset(torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[: _affordable(data)])
    anytime = evaluate_anytime(run.model, some, run.calibration) if data.x.shape[1] else None
    watched = tuple(watch(run.model, data, number, run.calibration) for number in _telling(predictions, data, run))
    return Material(run, history, judged, predictions, data, "", anytime, watched, _speed(run, data))


def read_history(path: Path) -> list[EpochResult]:
    """Return the epochs that a run's folder keeps."""
    file = path / METRICS
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return [EpochResult(**json.loads(line)) for line in lines]


def _affordable(data: SequenceData) -> int:
    return max(1, min(len(data), MOST_STEPS // 28 // max(1, data.x.shape[1])))


def _telling(predictions: Predictions, data: SequenceData, run: Run) -> list[int]:
    """Return which sequences are watched: one that is surely right, the least sure right one, the surest mistake."""
    confidence = predictions.logits.softmax(dim=1).max(dim=1).values
    lengths = torch.full_like(data.y, data.x.shape[1]) if data.lengths is None else data.lengths
    usable = ((lengths > 0) & (lengths <= LONG)).cpu()
    right, wrong = (usable & predictions.right).nonzero()[:, 0], (usable & ~predictions.right).nonzero()[:, 0]
    chosen = []
    if len(right):
        order = right[confidence[right].argsort(stable=True)]
        chosen = [int(order[len(order) // 2]), int(order[0])] if len(order) > 1 else [int(order[0])]
    return [*chosen, *([int(wrong[confidence[wrong].argmax()])] if len(wrong) else [])]


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
