"""The tutorial's classifier, by unroll and by torch.nn.RNN: training in the same loop, and predictions."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..config import TrainConfig
from ..data.preparation import Preparation, Scaling
from ..data.sequences import SequenceData
from ..data.splits import Splits
from ..evaluation.metrics import evaluate, predict
from ..models.classifier import SequenceClassifier
from ..models.modes import inference
from ..scan import cpu
from ..training.device import autocast
from ..training.fitting import fit
from ..training.results import EpochResult
from .clock import BFLOAT16, Contender, Results, Runs, in_process, with_threads, within
from .steps import Shape

SHAPE = Shape("rnn")  # 28 steps of 28 pixels, 150 tanh units, batches of 64
CLASSES = 10
TRAINED = 10  # batches of an epoch
IMAGES = 10_000  # to evaluate
COMPARED = 100  # images whose probabilities are compared first
FLOPS = SHAPE.flops + 3 * 2.0 * SHAPE.batch * SHAPE.hidden * CLASSES
FORWARD = 2.0 * SHAPE.hidden * (SHAPE.time * SHAPE.inputs + (SHAPE.time - 1) * SHAPE.hidden + CLASSES)  # of an image
PASSES = 1_000_000  # more than are timed
BF16 = "unroll, bf16"
Precision = Literal["fp32", "bf16"]


class TorchClassifier(nn.Module):
    """`torch.nn.RNN` and a linear head, with the weights of a `SequenceClassifier`."""

    def __init__(self, source: SequenceClassifier) -> None:
        super().__init__()
        self.rnn: nn.RNN = nn.RNN(source.input_size, source.config.hidden_size, batch_first=True)
        self.head: nn.Linear = nn.Linear(source.config.hidden_size, source.num_classes)
        with torch.no_grad():
            for own, value in zip(self.parameters(), source.parameters(), strict=True):
                own.copy_(value)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (batch, classes) of x (batch, time, features), all of full length."""
        _, h_n = self.rnn(x)
        logits: Tensor = self.head(h_n[0])
        return logits


def random_images(count: int, seed: int = 0) -> SequenceData:
    """Return images of 28×28 random pixels with random labels."""
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.integers(0, 256, (count, SHAPE.time, SHAPE.inputs), np.uint8))
    y = torch.from_numpy(random.integers(0, CLASSES, count))
    classes = tuple(map(str, range(CLASSES)))
    return SequenceData(x, y, Preparation(classes, Scaling(0.0, 255.0)))


def classifier() -> SequenceClassifier:
    """Return the tutorial's model, with seeded weights."""
    torch.manual_seed(0)
    return SequenceClassifier(SHAPE.inputs, CLASSES, hidden_size=SHAPE.hidden, init="torch")


def reference(model: SequenceClassifier) -> SequenceClassifier:
    """Return a copy in float64 that uses the reference scan."""
    reference_model = SequenceClassifier(
        model.input_size, model.num_classes, hidden_size=model.config.hidden_size, backend="reference"
    )
    reference_model.load_state_dict(model.state_dict())
    return reference_model.double()


def training_contenders() -> tuple[list[Contender], Results]:
    """Return the training step by nn.RNN and by unroll, and the expected loss and gradients."""
    data = random_images(TRAINED * SHAPE.batch)
    model = classifier()
    peer = with_threads(_passes(TorchClassifier(model), data))
    contenders = [
        Contender("nn.RNN", peer, TRAINED, FLOPS, _learning(TorchClassifier(model), data)),
        Contender(
            "unroll",
            own_runs(_passes(copy.deepcopy(model), data)),
            TRAINED,
            FLOPS,
            _learning(copy.deepcopy(model), data),
        ),
    ]
    if refused := refused_bf16():
        contenders.append(refused)
    else:
        runs = own_runs(_passes(copy.deepcopy(model), data, "bf16"))
        results = _learning(copy.deepcopy(model), data, "bf16")
        contenders.append(Contender(BF16, runs, TRAINED, FLOPS, results, BFLOAT16))
    exact = _loss_and_gradients(reference(model), data)()
    return contenders, {**exact, **_losses(TorchClassifier(copy.deepcopy(model)), data)}


def refused_bf16() -> Contender | None:
    """Return unroll's training in bf16, with the reason if this CPU does not support it."""
    reason = cpu.why_not_bf16()
    return Contender(BF16, {}, refused=f"no kernels for bf16: {reason}") if reason else None


def own_runs(call: Callable[[], object]) -> Runs:
    """Return the runs of unroll's own training: with torch's threads, and if torch computes it, also with one."""
    return {torch.get_num_threads(): in_process(call)} if cpu.INSTRUCTION_SETS else with_threads(call)


def _passes(model: nn.Module, data: SequenceData, precision: Precision = "fp32") -> Callable[[], EpochResult]:
    """Return a function that trains for one pass over ``data`` with `unroll.fit`, gradients clipped, by Adam."""
    config = TrainConfig(
        epochs=PASSES,
        batch_size=SHAPE.batch,
        lr=1e-4,
        optimizer="adam",
        weight_decay=0.0,
        schedule="constant",
        val_fraction=0.0,
        device="cpu",
        precision=precision,
    )
    results = fit(model, Splits(data, data, "random images", "here"), config)
    return lambda: next(results)


def _learning(model: nn.Module, data: SequenceData, precision: Precision = "fp32") -> Callable[[], Results]:
    """Return a function for loss and gradients, and for the losses of a copy trained by the timed steps."""
    results = _loss_and_gradients(model, data, precision)
    return lambda: {**results(), **_losses(copy.deepcopy(model), data, precision)}


def _losses(model: nn.Module, data: SequenceData, precision: Precision = "fp32") -> Results:
    """Return the mean losses of three short epochs; those of nn.RNN, trained operation by operation, are expected."""
    some = data.subset(torch.arange(min(len(data), 3 * SHAPE.batch)))
    one_pass = _passes(model, some, precision)
    return {"losses while learning": torch.tensor([one_pass().train_loss for _ in range(3)], dtype=torch.float64)}


def _loss_and_gradients(model: nn.Module, data: SequenceData, precision: Precision = "fp32") -> Callable[[], Results]:
    """Return a function for a batch's loss and gradients, by name."""
    (batch,) = data.subset(torch.arange(SHAPE.batch)).batches(SHAPE.batch)

    def results() -> Results:
        x = batch.x.to(next(model.parameters()).dtype)
        model.zero_grad()
        with autocast(x.device, precision):
            logits = model(x, None)
        loss = cross_entropy(logits if precision == "fp32" else logits.float(), batch.y)
        torch.autograd.backward(loss)
        names = ("w_ih", "w_hh", "b_ih", "b_hh", "w_out", "b_out")
        grads = [parameter.grad for parameter in model.parameters()]
        gradients = {f"gradient of {name}": grad for name, grad in zip(names, grads, strict=True) if grad is not None}
        return {"the loss": loss.detach(), **gradients}

    return results


def evaluation_contenders(count: int = IMAGES) -> tuple[list[Contender], Results]:
    """Return the evaluation of ``count`` images by nn.RNN and by unroll, and the expected probabilities."""
    data = random_images(count)
    model = classifier()
    few = data.x[:COMPARED].float() / 255
    peer = TorchClassifier(model)
    flops = FORWARD * count
    contenders = [
        Contender(
            "nn.RNN",
            with_threads(lambda: evaluate(peer, data)),
            flops=flops,
            results=lambda: {"probabilities": predict(peer, few)},
        ),
        Contender(
            "unroll",
            {torch.get_num_threads(): in_process(lambda: evaluate(model, data))},
            flops=flops,
            results=lambda: {"probabilities": predict(model, few)},
        ),
    ]
    return contenders, _right_probabilities(model, few)


def _right_probabilities(model: SequenceClassifier, x: Tensor) -> Results:
    with inference(reference_model := reference(model)):
        return {"probabilities": reference_model(x.double()).softmax(dim=1)}


def latency_contenders() -> tuple[list[Contender], Results]:
    """Return the answer to one image by nn.RNN and by unroll, and the expected probabilities."""
    model = classifier()
    peer = TorchClassifier(model)
    x = random_images(1).x.float() / 255
    return [_answering("nn.RNN", peer, x), _answering("unroll", model, x)], _right_probabilities(model, x)


def _answering(name: str, model: nn.Module, x: Tensor) -> Contender:
    mode = partial(inference, model)
    results = within(mode, lambda: {"probabilities": model(x).softmax(dim=1)})
    return Contender(name, with_threads(lambda: model(x), mode), flops=FORWARD, results=results)
