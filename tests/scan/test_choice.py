"""Which backend computes a scan and why; what a scan refuses, in words."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from recurrences import GATES, MISSING, RECURRENCES, call, everything, make
from unroll import ConfigError, InputError, SequenceClassifier
from unroll.cells import CELLS
from unroll.scan import backends, choose_backend, cpu, torch_backend
from unroll.scan.choice import KNOWN

F32, F64 = torch.float32, torch.float64


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("lengths", [None, torch.zeros(3, dtype=torch.int64)], ids=["full", "lengths"])
def test_no_time_steps_at_all(recurrence: str, lengths: Tensor | None) -> None:
    inputs = {name: t[:, :0] if t.dim() == 3 else t for name, t in make(recurrence, 3, 1, 4, 6, F32).items()}
    y, *final = call(recurrence, inputs, lengths)
    assert y.shape == (3, 0, 6)
    for part, name in zip(final, ("h0", "c0"), strict=False):
        assert torch.equal(part, inputs[name])
    for backend, message in (
        ("torch", "needs at least 1 time step, got 0"),
        ("cpu", "needs at least 1 sequence and 1 time step"),
    ):
        if recurrence in GATES and (backend != "cpu" or cpu.INSTRUCTION_SETS):
            with pytest.raises(InputError, match=f"backend '{backend}' {message}"):
                call(recurrence, inputs, backend=backend)


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("sizes", [(0, 5, 4, 6), (3, 5, 0, 6), (3, 5, 4, 0)], ids=["batch 0", "input 0", "hidden 0"])
def test_sizes_of_nothing(recurrence: str, sizes: tuple[int, ...]) -> None:
    """Such are not worth computing, but a kernel must not read or write what is not there."""
    inputs = make(recurrence, *sizes, F32)
    for left, right in zip(call(recurrence, inputs), call(recurrence, inputs, backend="reference"), strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
def test_no_sequences_at_all(recurrence: str, reverse: bool) -> None:
    """Nothing comes out, and the gradients of the weights are zero, with lengths and without."""
    inputs = make(recurrence, 0, 5, 4, 6, F32)
    for lengths in (None, torch.zeros(0, dtype=torch.int64)):
        for backend in ("auto", *(name for name, known in KNOWN.items() if recurrence in known and name != "cpu")):
            actual = everything(recurrence, inputs, lengths, backend=backend, reverse=reverse)
            assert actual["y"].shape == (0, 5, 6)
            assert actual["h_n"].shape == (0, 6)
            for name, gradient in actual.items():
                assert not gradient.any(), name
            with torch.no_grad():
                assert call(recurrence, inputs, lengths, backend=backend, reverse=reverse)[0].shape == (0, 5, 6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("readout", ["last", "mean", "max", "attention"])
def test_a_classifier_of_no_sequences(cell: str, readout: Any) -> None:
    model = SequenceClassifier(3, 2, cell=cell, hidden_size=5, num_layers=2, bidirectional=True, readout=readout)
    for lengths in (None, torch.zeros(0, dtype=torch.int64)):
        logits = model(torch.zeros(0, 4, 3), lengths)
        assert logits.shape == (0, 2)
        model.zero_grad()
        logits.sum().backward()
        assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)
        with torch.inference_mode():
            assert model(torch.zeros(0, 4, 3), lengths).shape == (0, 2)


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
def test_an_lstm_under_autocast_works_on_any_processor(training: bool) -> None:
    """Where oneDNN has no lstm in bf16 torch's own raises in the middle of it: the plain loop then is taken."""
    inputs = make("lstm", 3, 5, 4, 6, F32)
    exact = call("lstm", inputs)
    with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(training):
        for lengths in (None, torch.tensor([5, 0, 3])):
            y, *_ = call("lstm", inputs, lengths)
            assert y.requires_grad == training
        torch.testing.assert_close(call("lstm", inputs)[0], exact[0], rtol=0.1, atol=0.05, check_dtype=False)


def test_the_choice_for_an_lstm_that_torch_cannot_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "BF16_ISA", "")
    monkeypatch.setattr(torch_backend, "_has_lstm", lambda dtype: False)
    x, reason = torch.empty(64, 28, 28), "torch's lstm cannot compute in bfloat16 on this processor"
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_backend("auto", x, training=True, recurrence="lstm") == ("reference", reason)
        assert choose_backend("auto", x, training=True, recurrence="gru").backend == "torch"
        message = "backend 'torch' cannot compute an lstm in bfloat16 on this processor; use 'reference' or 'auto'"
        with pytest.raises(InputError, match=message):
            choose_backend("torch", x, training=True, recurrence="lstm")
        no_kernels = "has no kernels for bfloat16: .+; use 'auto'" if cpu.INSTRUCTION_SETS else f"is {cpu.MISSING}"
        with pytest.raises(InputError, match=f"backend 'cpu' {no_kernels}"):
            choose_backend("cpu", x, training=True, recurrence="lstm")
        monkeypatch.setattr(torch_backend, "_has_lstm", lambda dtype: True)
        assert choose_backend("auto", x, training=True, recurrence="lstm").backend == "torch"
    assert choose_backend("torch", x, training=True, recurrence="lstm").backend == "torch"


@pytest.mark.slow
def test_an_lstm_under_autocast_can_be_compiled() -> None:
    model = SequenceClassifier(4, 2, cell="lstm", hidden_size=6)
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(3, 5, 4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(compiled(x), model(x), rtol=0.1, atol=0.05, check_dtype=False)


def test_the_choice_without_a_compiler_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "INSTRUCTION_SETS", ())
    monkeypatch.setattr(cpu, "MISSING", cpu.NOT_BUILT)
    x = torch.empty(64, 28, 28)
    assert choose_backend("auto", x, training=True) == ("gemm", "fastest with gradients on a CPU")
    assert choose_backend("auto", x, training=False).backend == "torch"
    assert choose_backend("auto", x[:, :3], training=True) == ("torch", "fastest below 4 time steps")
    assert backends()["cpu"].startswith("not built, as there was no C++ compiler when unroll was installed; ")
    with pytest.raises(InputError, match="backend 'cpu' is not built, as there was no C\\+\\+ compiler"):
        choose_backend("cpu", x, training=True)


def test_the_choice_says_why() -> None:
    x = torch.empty(64, 28, 28)
    assert choose_backend("auto", x.double(), training=True).backend == "gemm"
    assert choose_backend("reference", x, training=True) == ("reference", "asked for")
    with torch.autocast("cpu", torch.bfloat16):
        expected = "cpu" if cpu.BF16_INSTRUCTION_SETS else "torch"
        assert choose_backend("auto", x, training=True).backend == expected
        with pytest.raises(InputError, match="backend 'gemm' computes in float32, but bf16 was asked for"):
            choose_backend("gemm", x, training=True)
    with pytest.raises(ConfigError, match="backend must be one of auto, reference, torch, gemm, cpu, got 'cuda'"):
        choose_backend("cuda", x, training=True)  # type: ignore[arg-type]
    assert tuple(backends()) == ("reference", "torch", "gemm", "cpu")


def test_backends_that_do_not_know_a_recurrence() -> None:
    x = torch.empty(64, 28, 28)
    with pytest.raises(
        InputError, match="backend 'gemm' has no gru recurrence; use one of reference, torch, cpu, or 'auto'"
    ):
        choose_backend("gemm", x, training=True, recurrence="gru")
    with pytest.raises(
        InputError, match="backend 'torch' has no linear recurrence; use one of reference, cpu, or 'auto'"
    ):
        choose_backend("torch", x, training=True, recurrence="linear")


@MISSING
def test_the_choice_of_the_fused_kernels() -> None:
    x = torch.empty(64, 28, 28)
    for training in (True, False):
        for recurrence in RECURRENCES:
            assert choose_backend("auto", x, training, recurrence) == (
                "cpu",
                f"fused for float32 on this CPU ({cpu.INSTRUCTION_SETS[0]})",
            )
    assert choose_backend("auto", x[:0], True).backend != "cpu"
    with pytest.raises(InputError, match="backend 'cpu' computes in float32 on the CPU, got torch.float64 on cpu"):
        choose_backend("cpu", x.double(), True)
    with pytest.raises(
        InputError, match=r"backend 'cpu' needs at least 1 sequence and 1 time step, got x of shape \(64, 0, 28\)"
    ):
        choose_backend("cpu", x[:, :0], True)


@pytest.mark.parametrize(
    ("recurrence", "name", "shape", "message"),
    [
        ("tanh", "x", (3, 9), r"x must have shape \(batch, time, input\), got \(3, 9\)"),
        ("tanh", "h0", (1, 6), r"h0 must have shape \(3, 6\), got \(1, 6\)"),
        ("tanh", "w_ih", (6, 5), r"w_ih must have shape \(6, 4\), got \(6, 5\)"),
        ("tanh", "w_hh", (6, 5), r"w_hh must have shape \(6, 6\), got \(6, 5\)"),
        ("tanh", "b_ih", (5,), r"b_ih must have shape \(6,\), got \(5,\)"),
        ("gru", "w_ih", (6, 4), r"w_ih must have shape \(18, 4\), got \(6, 4\)"),
        ("gru", "w_hh", (19, 6), r"w_hh must have shape \(18, 6\), got \(19, 6\)"),
        ("lstm", "c0", (3, 7), r"c0 must have shape \(3, 6\), got \(3, 7\)"),
        ("lstm", "b_hh", (6,), r"b_hh must have shape \(24,\), got \(6,\)"),
        ("linear", "a", (3, 6), r"a must have shape \(batch, time, hidden\), got \(3, 6\)"),
        ("linear", "b", (3, 9, 1), r"b must have shape \(3, 9, 6\), got \(3, 9, 1\)"),
        ("linear", "h0", (6,), r"h0 must have shape \(3, 6\), got \(6,\)"),
    ],
)
def test_shapes_that_do_not_fit(recurrence: str, name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(recurrence, make(recurrence, 3, 9, 4, 6, F32) | {name: torch.zeros(shape)})


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_memory_is_not_read_as_what_it_is_not(recurrence: str) -> None:
    inputs = make(recurrence, 3, 5, 4, 17, F32)
    for name in inputs:
        with pytest.raises(
            InputError, match="share one dtype and one device, got torch.float32 on cpu, torch.float64 on"
        ):
            call(recurrence, inputs | {name: inputs[name].detach().double()})


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1, 2, 3], r"lengths must be an int64 tensor \(3,\), got list"),
        (torch.tensor([1, 2]), r"lengths must have shape \(3,\), got \(2,\)"),
        (torch.tensor([1.0, 2.0, 3.0]), "lengths must be int64, got torch.float32"),
        (torch.tensor([1, 2, 10]), "lengths must be from 0 to 9, got 1 to 10"),
        (torch.tensor([-1, 2, 3]), "lengths must be from 0 to 9, got -1 to 3"),
    ],
)
def test_lengths_that_do_not_fit(recurrence: str, lengths: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call(recurrence, make(recurrence, 3, 9, 4, 6, F32), lengths)


@pytest.mark.parametrize("recurrence", GATES)
def test_one_bias_alone(recurrence: str) -> None:
    inputs = make(recurrence, 3, 9, 4, 6, F32)
    del inputs["b_hh"]
    with pytest.raises(InputError, match="b_ih and b_hh must both be given, or neither"):
        call(recurrence, inputs)
