"""Two convolutions before the layers, beside torch's on each sequence alone; and all that reads such a model."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d, layer_norm

import unroll
from unroll.config.strides import split
from unroll.data.preparation import Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.doctor import examine
from unroll.errors import ConfigError
from unroll.models.front import choose_frame
from unroll.models.stem import CHANNELS, KERNELS, Stem, choose_stem_stride
from unroll.models.trace import trace_states
from unroll.training.fused_step import why_not_fused

LENGTHS = [17, 1, 0, 9, 4, 12, 5]
STRIDES = [1, 2, 6, 7, 20, 45]


def reference(stem: Stem, x: Tensor) -> Tensor:
    """Return the outputs of one sequence (time, features) by torch's convolution; an empty one has none."""
    if not len(x):
        return x.new_zeros(0, CHANNELS)
    for convolution, norm, kernel, stride in zip(stem.convolutions, stem.norms, KERNELS, stem.strides, strict=True):
        weight = convolution.weight.view(CHANNELS, kernel, -1).transpose(1, 2)
        around = torch.nn.functional.pad(x.T[None], ((kernel - stride) // 2, kernel))  # more than enough
        y = conv1d(around, weight, convolution.bias, stride=stride)[0].T[: math.ceil(len(x) / stride)]
        x = layer_norm(y, (CHANNELS,), norm.weight, norm.bias).clamp(min=0)
    return x


def made(features: int = 3, **settings: Any) -> unroll.SequenceClassifier:
    torch.manual_seed(1)
    settings = {"cell": "gru", "hidden_size": 6, "stem": "conv", "stem_stride": 6} | settings
    return unroll.SequenceClassifier(features, 2, **settings).eval()


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("lengths", [LENGTHS, [3, 3], [1], [0, 0], [], [40, 23]], ids=str)
def test_a_stem_and_all_its_gradients_are_those_of_plain_convolutions(stride: int, lengths: list[int]) -> None:
    stem, time = Stem(3, stride).double(), max(lengths, default=4)
    for norm in stem.norms:
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    counts = torch.tensor(lengths, dtype=torch.int64)
    x = torch.randn(len(lengths), time, 3, dtype=torch.float64)
    poisoned = torch.where(torch.arange(time).view(1, -1, 1) < counts.view(-1, 1, 1), x, math.nan).requires_grad_()
    read, steps = stem(poisoned, counts)
    assert steps is not None
    assert read.shape == (len(lengths), stem.count(time), CHANNELS)
    plain = x.clone().requires_grad_()
    weights = torch.randn(read.shape, dtype=torch.float64)
    own = total = torch.zeros((), dtype=torch.float64)
    for number, length in enumerate(lengths):
        expected = reference(stem, plain[number, :length])
        assert len(expected) == int(steps[number]) == stem.count(length)
        assert length == 0 or stem.count(length) == 1 + (length - 1) // stride
        torch.testing.assert_close(read[number, : len(expected)], expected, rtol=1e-9, atol=1e-9)
        own = own + (read[number, : len(expected)] * weights[number, : len(expected)]).sum()
        total = total + (expected * weights[number, : len(expected)]).sum()
    inputs = [poisoned, *stem.parameters()], [plain, *stem.parameters()]
    if not sum(lengths):
        assert not own.requires_grad or all(not g.any() for g in torch.autograd.grad(own, inputs[0]))
        return
    of_stem, of_reference = torch.autograd.grad(own, inputs[0]), torch.autograd.grad(total, inputs[1])
    for one, other in zip(of_stem, of_reference, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_the_gradients_of_a_stem_are_the_differences_of_its_outputs() -> None:
    stem = Stem(2, 4).double()
    x = torch.randn(2, 7, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: stem(x, torch.tensor([7, 3]))[0], (x,))


@pytest.mark.parametrize(
    "settings",
    [
        {"bidirectional": True, "readout": "max"},
        {"readout": "last", "stem_stride": 1},
        {"cell": "lstm", "num_layers": 2, "readout": "attention", "stem_stride": 45},
        {"readout": "mean", "scaling": "both", "mask_size": 1},
    ],
    ids=str,
)
def test_neither_padding_nor_the_batch_changes_a_logit(settings: dict[str, Any]) -> None:
    model, lengths = made(**settings), torch.tensor(LENGTHS)
    x = torch.randn(len(LENGTHS), 17, 3)
    padded = torch.cat([x, torch.full((len(x), 50, 3), math.nan)], dim=1)
    with torch.inference_mode():
        together = model(x, lengths)
        torch.testing.assert_close(model(padded, lengths), together, rtol=0, atol=1e-6)
        for number, length in enumerate(LENGTHS):
            alone = model(x[number : number + 1, :length])[0]
            torch.testing.assert_close(alone, together[number], rtol=0, atol=1e-6)
    torch.testing.assert_close(model(x, lengths), together, rtol=0, atol=1e-6)  # operation by operation


@pytest.mark.parametrize("stride", STRIDES)
def test_each_step_is_read(stride: int) -> None:
    for time in (1, 2, 8, 9, 44, 45, 46, 61):
        x = torch.randn(1, time, 1).requires_grad_()
        (gradient,) = torch.autograd.grad(Stem(1, stride)(x)[0].square().sum(), x)
        assert gradient.count_nonzero() == time


def test_strides_are_as_equal_as_they_can_be_and_auto_takes_them() -> None:
    assert [split(stride) for stride in (1, 2, 6, 7, 12, 16, 20, 36, 45)] == [
        (1, 1), (2, 1), (3, 2), (7, 1), (4, 3), (4, 4), (5, 4), (9, 4), (9, 5),
    ]  # fmt: skip
    assert [choose_stem_stride(length)[0] for length in (1, 100, 101, 251, 427, 784, 1460, 18_000)] == [
        1, 1, 2, 4, 6, 12, 25, 45,
    ]  # fmt: skip
    for length in range(1, 5000):
        stride, reason = choose_stem_stride(length)
        first, second = split(stride)
        assert first >= second
        assert first - second <= 1 or (first, second) in ((7, 5), (8, 5), (9, 5))
        if length > 100:
            assert 0.7 < stride / min(45, choose_frame(length)[0] // 2) < 1.4
            assert reason.endswith(f" become about {-(-length // stride)} stem steps")


def test_stages_and_traces_show_the_stem() -> None:
    model, x, lengths = made(scaling="both"), torch.randn(2, 20, 3), torch.tensor([20, 5])
    stages = {stage.name: tuple(stage.values.shape) for stage in model.stages(x, lengths)}
    assert stages == {
        "input": (2, 20, 3), "scaled": (2, 20, 6), "stem 1": (2, 7, 64), "stem 2": (2, 4, 64), "layer 1": (2, 4, 6),
        "readout last": (2, 6), "logits": (2, 2),
    }  # fmt: skip
    trace = trace_states(model, x, lengths)
    assert trace.lengths is not None
    assert trace.lengths.tolist() == [4, 1]
    torch.testing.assert_close(trace.logits, model(x, lengths))
    assert model.config.additions == ", stem conv, stride 6, also scaled by itself"
    assert "stem.convolutions.1.weight" in model._repr_html_()
    assert "64 × 320" in model._repr_html_()


@pytest.mark.parametrize("scaling", ["training", "both"])
def test_saliency_speaks_of_single_time_steps(scaling: str) -> None:
    model, x, lengths = made(scaling=scaling), torch.randn(4, 20, 3), torch.tensor([20, 3, 0, 11])
    values = unroll.attribute(model, x, lengths, target=1, steps=1000)
    assert values.shape == x.shape
    nothing = torch.zeros_like(model.vectors(x, lengths))
    gain = model(x, lengths)[:, 1] - model.of_vectors(nothing, lengths)[:, 1]
    torch.testing.assert_close(values.sum(dim=(1, 2)), gain.detach(), rtol=0, atol=2e-3)
    assert values[0].abs().sum(dim=1).count_nonzero() == 20
    assert not values[1, 3:].any()


def test_truncation_goes_back_whole_stem_steps() -> None:
    model, x = made(readout="last", stem_stride=4), torch.randn(2, 80, 3)
    whole, cut = x.clone().requires_grad_(), x.clone().requires_grad_()
    (everywhere,) = torch.autograd.grad(model(whole, tbptt=80).sum(), whole)
    (gradient,) = torch.autograd.grad(model(cut, tbptt=9).sum(), cut)
    assert everywhere.abs().amax(dim=(0, 2)).count_nonzero() == 80
    # The last 3 of 20 outputs, of which each reads 3 + 2·1 steps before its own block.
    assert gradient.abs().amax(dim=(0, 2)).nonzero()[:, 0].tolist() == list(range(4 * 17 - 5, 80))


def test_a_model_with_a_stem_is_not_fused_but_answers_in_one_call_of_the_kernels(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from unroll.models import classifier

    model, x = made(readout="last"), torch.randn(5, 23, 3)
    config = unroll.TrainConfig()
    assert why_not_fused(model, None, config) == "the model has a stem of convolutions"
    assert model.answer_at_once(x) is None
    answers, original = [], classifier.answer_at_once
    monkeypatch.setattr(classifier, "answer_at_once", lambda *args: (answers.append(original(*args)), answers[-1])[1])
    expected = model(x).detach()
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)
    if unroll.scan.cpu.INSTRUCTION_SETS:
        assert [None if answer is None else answer.shape for answer in answers] == [(5, 2)]


def test_the_doctor_counts_stem_steps_where_the_layers_read_them() -> None:
    x = torch.randn(20, 90, 2)
    data = SequenceData(
        x, torch.arange(20) % 2, Preparation(("a", "b"), Scaling(0.0, 1.0)), torch.randint(40, 91, (20,))
    )
    examination = examine(made(2, scaling="both"), data)
    assert examination.memory is not None
    assert examination.memory.time == examination.time == int(data.steps_of_each.max())
    (layer,) = examination.layers
    assert len(layer.gradient) == 1 + (examination.time - 1) // 6


def test_autocast_gives_the_layers_what_they_read_without_it() -> None:
    model, x = made(readout="max", bidirectional=True), torch.randn(3, 30, 3)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(x)
    torch.testing.assert_close(logits.float(), model(x), rtol=0, atol=0.05)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"stem_stride": "auto"}, "stem_stride must be a number, got auto: that follows from the training data alone"),
        ({"stem_stride": 0}, "stem_stride must be at least 1, got 0"),
        ({"stem_stride": 11}, "stem_stride must be the product of a number up to 9 and one up to 5, got 11: try 10"),
        ({"stem_stride": 400}, "stem_stride must be the product of a number up to 9 and one up to 5, got 400: try 45"),
        ({"stem": "none"}, "stem_stride applies to stem conv, got 6 with stem none: leave it out"),
        ({"stem": "batch"}, "stem must be one of none, conv, got 'batch'"),
        ({"frame": 4}, "stem conv reads single time steps, got frame 4: give one of them"),
        ({"causal": True}, "causal reads a sequence as it comes, but stem conv looks ahead: give one of them"),
        ({"vocabulary_size": 9}, "stem conv cannot be used with a vocabulary: it needs numbers"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        made(**settings)


def test_a_model_with_a_stem_does_not_stream() -> None:
    with pytest.raises(ConfigError, match="a model with stem conv cannot stream, as its convolutions look ahead"):
        made().stream()
