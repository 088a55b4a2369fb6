"""Truncated backpropagation through time against torch.nn, one sequence after the other, detached by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_classifier import torch_twin
from test_readout import formula
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pairs import every_pair
from unroll import Cell, ConfigError, InputError, SequenceClassifier, Splits, TrainConfig, Training
from unroll.doctor.preflight import inspect_model
from unroll.training.environment import describe_model
from unroll.training.fused_step import why_not_fused

READOUTS = ("last", "mean", "max", "attention")
LENGTHS = torch.tensor([10, 2, 1, 6, 5])


def by_hand(model: SequenceClassifier, reference: nn.RNNBase, x: Tensor, length: int, steps: int) -> Tensor:
    """Return the logits (classes,) of one sequence (time, features), its states detached after each chunk."""
    state, outputs, start = None, [], 0
    for stop in [t for t in range(1, len(x) + 1) if (len(x) - t) % steps == 0]:
        if start < length:
            y, state = reference(x[start : min(stop, length)].unsqueeze(0), state)
            state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
            outputs.append(y[0])
        start = stop
    logits: Tensor = model.head(formula(model.config.readout, model.readout, torch.cat(outputs)))
    return logits


@every_pair(steps=(1, 3, 5, 10, 99), with_lengths=(False, True), readout=READOUTS, cell=("rnn", "gru", "lstm"))
def test_gradients_are_those_of_chunks_detached_by_hand(
    cell: str, readout: Any, with_lengths: bool, steps: int
) -> None:
    model = SequenceClassifier(3, 4, cell=cell, hidden_size=6, num_layers=2, readout=readout)
    reference = torch_twin(model)
    x, y = torch.randn(5, 10, 3), torch.arange(5) % 4
    lengths = LENGTHS if with_lengths else None
    logits = model(x, lengths, tbptt=steps)
    torch.testing.assert_close(logits, model(x, lengths))
    cross_entropy(logits, y).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}

    model.zero_grad()
    ends = LENGTHS.tolist() if with_lengths else [10] * 5
    each = [by_hand(model, reference, sequence, end, steps) for sequence, end in zip(x, ends, strict=True)]
    cross_entropy(torch.stack(each), y).backward()
    for name, parameter in reference.named_parameters():
        kind, layer = name.split("_l")
        torch.testing.assert_close(gradients[f"layers.{layer}.0.{kind}"], parameter.grad, rtol=1e-4, atol=1e-6)
    for name, parameter in (*model.head.named_parameters("head"), *model.readout.named_parameters("readout")):
        torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


def saved_for_the_way_back(forward: Callable[[], Tensor]) -> int:
    """Return the bytes that autograd holds between forward and backward."""
    held: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = forward()
    assert loss.requires_grad
    return sum(held.values())


@pytest.mark.parametrize("backend", ["auto", "torch", "reference"])
@pytest.mark.parametrize("cell", ["rnn", "lstm"])
def test_memory_does_not_grow_with_time(cell: str, backend: Any) -> None:
    model = SequenceClassifier(3, 4, cell=cell, hidden_size=32, num_layers=2, backend=backend)

    def needed(time: int, tbptt: int) -> int:
        x = torch.randn(4, time, 3)
        inputs = x.untyped_storage().nbytes()  # a view of all of it is kept
        return saved_for_the_way_back(lambda: model(x, tbptt=tbptt).sum()) - inputs

    assert needed(400, 20) <= 1.1 * needed(40, 20)
    assert needed(400, 0) > 5 * needed(40, 0)


class Learned(Cell):
    """A cell whose initial state is learned."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.start = nn.Parameter(torch.ones(hidden_size))

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return self.start.expand(batch_size, -1)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return 0.5 * state + x.sum(dim=1, keepdim=True)


def test_an_empty_sequence_keeps_the_gradient_of_its_initial_state() -> None:
    model = SequenceClassifier(3, 4, cell=Learned, hidden_size=2)
    model(torch.randn(2, 6, 3), torch.tensor([0, 6]), tbptt=2).sum().backward()
    grad = model.get_parameter("layers.0.0.start").grad
    torch.testing.assert_close(grad, model.head.weight.sum(dim=0))  # of the first alone: the second's is cut off


def test_bf16_and_layers_with_all_else() -> None:
    model = SequenceClassifier(
        3,
        4,
        cell="gru",
        hidden_size=8,
        num_layers=3,
        residual=True,
        layer_norm=True,
        dropout=0.1,
        recurrent_dropout=0.1,
    )
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(torch.randn(5, 10, 3), LENGTHS, tbptt=4)
    logits.float().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_a_training_truncates(small: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    forward = SequenceClassifier.forward

    def watched(self: Any, x: Tensor, lengths: Tensor | None = None, *, tbptt: int = 0) -> Tensor:
        asked.append((self.training, tbptt))
        return forward(self, x, lengths, tbptt=tbptt)

    monkeypatch.setattr(SequenceClassifier, "forward", watched)
    model = SequenceClassifier(28, 10, hidden_size=8)
    config = TrainConfig(epochs=1, batch_size=100, tbptt=7)
    list(Training(model, small, config).events())
    assert [tbptt for training, tbptt in asked if training] == [7] * 4
    assert {tbptt for training, tbptt in asked if not training} == {0}
    assert why_not_fused(model, small.train, config) == "tbptt truncates gradients to 7 time steps"
    assert "to 7 time steps" in describe_model(model, config)["training_step"]
    assert "tbptt" not in why_not_fused(model, small.train, replace(config, tbptt=28))
    assert inspect_model(model, small, config).loss > 0


def test_what_cannot_be_truncated(small: Splits) -> None:
    both = SequenceClassifier(28, 10, hidden_size=8, bidirectional=True)
    message = "tbptt must be 0 for a bidirectional model, as it also reads each sequence from its end"
    with pytest.raises(ConfigError, match=message):
        both(torch.randn(2, 5, 28), tbptt=2)
    with pytest.raises(ConfigError, match=message):
        Training(both, small, TrainConfig(tbptt=2))
    with pytest.raises(ConfigError, match="tbptt must be 0 for Linear, as only a SequenceClassifier reads in chunks"):
        Training(nn.Linear(28, 10), small, TrainConfig(tbptt=2))
    model = SequenceClassifier(28, 10, hidden_size=8)
    with pytest.raises(ConfigError, match="tbptt must be at least 0, got -1"):
        model(torch.randn(2, 5, 28), tbptt=-1)
    with pytest.raises(InputError, match="lengths must be from 0 to 5, got 0 to 6"):
        model(torch.randn(2, 5, 28), torch.tensor([0, 6]), tbptt=2)
    assert model(torch.randn(2, 0, 28), tbptt=2).shape == (2, 10)
