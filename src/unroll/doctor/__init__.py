"""Find out why a model does not learn, or forgets, and what to do about it.

>>> import torch, unroll
>>> from unroll.doctor import examine
>>> splits = unroll.load("mnist-sample")
>>> model = unroll.SequenceClassifier(28, 10, hidden_size=20)
>>> model.layers[0][0].weight_hh.data *= 0.1
>>> print(*(finding.name for finding in examine(model, splits.train).findings), sep=", ")
small recurrent weights, vanishing gradient, short memory
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ..config import TrainConfig
from ..data.describe import UNEVEN
from ..data.sequences import SequenceData
from ..errors import InputError
from ..evaluation.metrics import logits_of
from ..formatting import shown
from ..models.classifier import SequenceClassifier
from ..models.modes import inference
from ..models.weights import is_finite
from ..runs.history import read_history
from ..training.loop import few_deciding
from ..training.results import EpochResult
from ..validation import check_whole
from .evidence import MOST_READ, early_accuracy
from .examination import Examination, Finding, LayerHealth, Memory
from .findings import GOOD_LIFT, Patient, judge_layers, judge_memory, judge_numbers, judge_readout
from .layer_health import examine_layers
from .learning_curves import judge_history, lift
from .memory import measure_memory

__all__ = ["NAMES", "Examination", "Finding", "LayerHealth", "Memory", "examine", "read_history"]

NAMES = (
    "not finite",
    "inputs out of scale",
    "exploding activations",
    "saturated units",
    "saturated gates",
    "dead units",
    "large recurrent weights",
    "small recurrent weights",
    "exploding gradient",
    "vanishing gradient",
    "short memory",
    "early evidence lost",
    "input ignored",
    "learning rate too high",
    "nothing learned",
    "shuffled labels",
    "overfitting",
    "uneven classes",
    "majority answers",
    "few validation sequences",
)
FEWEST_SAMPLED, MOST_SAMPLED = 32, 256  # sequences on which loss and accuracy are measured
WORK = 2e10  # multiplications allowed: a few seconds for large models and long sequences
FEWEST_RARE = 5  # sequences of rarer classes; an accuracy on fewer says nothing
LARGE = 1.5  # times the share of equal classes, from which a class can draw the answers to it
# Fraction of the other classes' sequences that get the same answer, of a trained model; healthy: below 0.1.
MAJORITY_ANSWERS = 0.9


class _Sample(NamedTuple):
    """The model's results on some sequences.

    Attributes:
        loss: mean cross entropy, in nats
        accuracy: fraction right
        scale: root mean square of the inputs after scaling; 1 of texts
        rare: number of sequences outside the most frequent class, and how many of them are right
        answer: number of the class that is answered most often
        answered: number of sequences of other classes than that, and how many of them get this answer
    """

    loss: float
    accuracy: float
    scale: float
    rare: tuple[int, int]
    answer: int
    answered: tuple[int, int]


class _Measured(NamedTuple):
    """All measurements.

    Attributes:
        data: the data, if any was given
        some: a sample of it
        sample: the model's results on the sample
        memory: how far back inputs affect the logits
        early: accuracy of a linear classifier on the first half of each sequence
        layers: gradients, units and weights
    """

    data: SequenceData | None
    some: SequenceData | None
    sample: _Sample | None
    memory: Memory | None
    early: float | None
    layers: tuple[LayerHealth, ...]


def examine(
    model: SequenceClassifier,
    data: SequenceData | None = None,
    *,
    history: Sequence[EpochResult] = (),
    test_accuracy: float | None = None,
    deciding: int | None = None,
    training: TrainConfig | None = None,
    seed: int = 0,
) -> Examination:
    """Measure gradients, activations and memory of ``model``, and report what looks wrong.

    It reads a random sample of the data, in eval mode, on the model's device. It does not change the model, its
    gradients or random number generators. It takes about a second for images read by rows, a few for 784 steps.

    Args:
        model: trained or fresh.
        data: the training data, or data to classify; None examines only weights and history (default None).
        history: the epochs of its training, as `fit` yields them or `read_history` reads them (default: none).
        test_accuracy: accuracy on sequences that it was not trained on; used to judge a history without validation
            (default None).
        deciding: validation sequences that decided which weights were kept, or when training stopped (default None:
            none did).
        training: settings of its training, by whose class weights the losses of the history are judged (default None:
            all classes have weight 1).
        seed: seed of the sample (default 0).

    Raises:
        InputError: the model does not take the data.
        ConfigError: ``seed`` is not a whole number of at least 0.

    Sources: the gradient over time R. Pascanu, T. Mikolov and Y. Bengio, arXiv:1211.5063; that it vanishes
    S. Hochreiter, Diploma thesis, TU München (1991), and Y. Bengio, P. Simard and P. Frasconi, IEEE Transactions on
    Neural Networks 5 (1994), p. 157; what helps Q. V. Le, N. Jaitly and G. E. Hinton, arXiv:1504.00941; gates open and
    shut A. Karpathy, J. Johnson and L. Fei-Fei, arXiv:1506.02078, section 4.2.
    """
    check_whole("seed", seed, 0)
    if not isinstance(model, SequenceClassifier):
        raise InputError(f"examine expects a SequenceClassifier, got {type(model).__name__}")
    if data is not None and not isinstance(data, SequenceData):
        raise InputError(f"examine expects SequenceData, such as splits.train, got {type(data).__name__}")
    measured = _measure(model, data if data is not None and len(data) else None, seed)
    data, some, sample, memory, _, layers = measured
    chance = 1 / model.num_classes if data is None else max(data.counts.values()) / len(data)
    weight = _mean_weight(model, data, training)
    return Examination(
        sequences=0 if some is None else len(some),
        time=0 if some is None else _longest(some),
        loss=None if sample is None else sample.loss,
        accuracy=None if sample is None else sample.accuracy,
        chance=chance,
        layers=layers,
        memory=memory,
        epochs=history[-1].epoch if history else 0,
        findings=_judge(model, measured, chance, history, test_accuracy, deciding, weight),
        skipped=_skipped(data, history),
    )


def _measure(model: SequenceClassifier, data: SequenceData | None, seed: int) -> _Measured:
    with inference(model, gradients=True):
        if data is None:
            return _Measured(None, None, None, None, None, examine_layers(model, None))
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(data)))
        n = model.affordable(data.time, WORK, FEWEST_SAMPLED, MOST_SAMPLED)
        device = model.head.weight.device
        some = data.to("cpu").subset(order[:n]).to(device)
        sample = _look(model, data, some)
        sound = _has_finite_weights(model) and math.isfinite(sample.scale)
        memory = measure_memory(model, some) if sound else None
        early = early_accuracy(model, data.to("cpu").subset(order[:MOST_READ]).to(device)) if sound else None
        return _Measured(data, some, sample, memory, early, examine_layers(model, some))


def _judge(
    model: SequenceClassifier,
    measured: _Measured,
    chance: float,
    history: Sequence[EpochResult],
    test_accuracy: float | None,
    deciding: int | None,
    weight: float,
) -> tuple[Finding, ...]:
    """Return the findings, errors first."""
    data, _, sample, memory, early, layers = measured
    does_well = sample is not None and _does_well(sample.accuracy, chance, history, test_accuracy)
    patient = Patient(model.config, does_well, max((epoch.lr for epoch in history), default=None))
    image = data is not None and data.kind == "images"
    scale, finite = 1.0 if sample is None else sample.scale, _has_finite_weights(model)
    findings = [
        *judge_numbers(scale, finite),
        *(judge_layers(layers, patient) if finite and math.isfinite(scale) else ()),
        *judge_memory(memory, layers, patient),
        *(judge_readout(memory, early, chance, patient) if history else ()),
        *judge_history(history, chance, model.num_classes, test_accuracy, model.config, image, weight),
        *_few(deciding),
    ]
    if data is not None and sample is not None:
        findings += [*_uneven(data, sample)] or [*(_majority(data, sample) if history else ())]
    return tuple(sorted(findings, key=lambda finding: finding.severity != "error"))


def _mean_weight(model: SequenceClassifier, data: SequenceData | None, training: TrainConfig | None) -> float:
    """Return the mean weight of the training sequences in the loss; without data, as if classes were even."""
    if training is None or training.class_weight is None:
        return 1.0
    if data is None:
        own = training.own_weights()
        return (sum(own.values()) + model.num_classes - len(own)) / model.num_classes if own else 1.0
    weights = training.weights_of(data.counts) or []
    return sum(weight * count for weight, count in zip(weights, data.counts.values(), strict=True)) / len(data)


def _has_finite_weights(model: SequenceClassifier) -> bool:
    return all(is_finite(parameter.detach()) for parameter in model.parameters())


def _look(model: SequenceClassifier, data: SequenceData, some: SequenceData) -> _Sample:
    logits, y = logits_of(model, some), some.y.cpu()
    right = logits.argmax(dim=1) == y
    rare = y != int(torch.tensor(list(data.counts.values())).argmax())
    scale = 1.0
    if data.kind != "texts":
        values = some.model_input(some.flat(some.x)).double()
        scale = float(values.square().mean().sqrt()) if values.numel() else 1.0
    loss = float(cross_entropy(logits.double(), y))
    answers = logits.argmax(dim=1)
    answer = int(answers.bincount().argmax())
    rest = y != answer
    return _Sample(
        loss,
        float(right.float().mean()),
        scale,
        (int(rare.sum()), int((rare & right).sum())),
        answer,
        (int(rest.sum()), int((rest & (answers == answer)).sum())),
    )


def _does_well(accuracy: float, chance: float, history: Sequence[EpochResult], test: float | None) -> bool:
    held_out = history[-1].val_accuracy if history else None
    known = [value for value in (accuracy, held_out, test) if value is not None]
    return all(lift(value, chance) >= GOOD_LIFT for value in known)


def _uneven(data: SequenceData, sample: _Sample) -> Iterator[Finding]:
    counts = {label: count for label, count in data.counts.items() if count}
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    n, right = sample.rare
    if counts[most] >= UNEVEN * counts[least] and n >= FEWEST_RARE and right < n / 2:
        yield Finding(
            "uneven classes",
            "warning",
            f"{counts[most]:,} of {len(data):,} sequences are {most}, {counts[least]:,} are {least}; the model gets "
            f"{right} of {n} sampled sequences of the other classes than {most} right",
            "use --class-weight balanced, or add sequences of the rarer classes (no copies: they would get into the "
            "test split too); and judge by the balanced accuracy (unroll evaluate), as always predicting "
            f"{most} gets {counts[most] / len(data):.1%}" + _at_recall(data),
        )


def _majority(data: SequenceData, sample: _Sample) -> Iterator[Finding]:
    """Yield a finding if sequences of all classes get the same answer."""
    n, same = sample.answered
    if n < FEWEST_RARE or same < MAJORITY_ANSWERS * n:
        return
    name = shown(data.preparation.classes[sample.answer])
    share = data.counts[data.preparation.classes[sample.answer]] / len(data)
    yield Finding(
        "majority answers",
        "warning",
        f"the model answers {name} for {same} of {n} sampled sequences of other classes; {share:.1%} of all sequences "
        f"are {name}",
        "--class-weight balanced, and judge by the balanced accuracy (unroll evaluate)" + _at_recall(data)
        if share * len(data.counts) > LARGE
        else "more --epochs or another --lr, as for a model that has learned nothing",
    )


def _at_recall(data: SequenceData) -> str:
    """Return what helps without another training, where there are two classes."""
    two = len(data.preparation.classes) == 2
    return "; or keep a threshold for the rarer class in the run (unroll evaluate, at a recall)" if two else ""


def _few(deciding: int | None) -> Iterator[Finding]:
    for line in few_deciding(deciding, "which weights were kept or when training stopped"):
        evidence, _, remedy = line.rpartition("; ")
        yield Finding("few validation sequences", "warning", evidence, remedy)


def _longest(data: SequenceData) -> int:
    return data.time if data.lengths is None else int(data.lengths.max())


def _skipped(data: SequenceData | None, history: Sequence[EpochResult]) -> tuple[str, ...]:
    skipped = []
    if data is None:
        skipped.append("gradients, activations and memory need data; pass it (on the command line with --data)")
    if not history:
        skipped.append("the learning curves need the history of the epochs; runs of unroll train keep it")
    return tuple(skipped)
