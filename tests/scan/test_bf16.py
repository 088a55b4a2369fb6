"""The kernels with products in bfloat16, against plain loops whose products round their factors alike."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

import unroll
from recurrences import (
    CASE_IDS,
    CASES,
    GATES,
    LARGE_IS_SLOW,
    NEEDS_BF16,
    Tensors,
    assert_same_bits,
    copied,
    everything,
    make,
    prepare,
    some_lengths,
)
from unroll import SequenceClassifier, TrainConfig
from unroll.bench.clock import torch_threads
from unroll.cells import elman, gated
from unroll.scan import choose_backend, cpu, gru_scan, linear_scan, rnn_scan
from unroll.training.fused_step import why_not_fused

pytestmark = NEEDS_BF16


INSTRUCTION_SETS = cpu.BF16_INSTRUCTION_SETS or ("none",)


@pytest.fixture(params=INSTRUCTION_SETS, autouse=True)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each instruction set that this processor has, where the best one would be taken."""
    monkeypatch.setattr(cpu, "BF16_ISA", request.param)
    monkeypatch.setattr(cpu, "BF16_ISA_OF_ONE", request.param)
    return str(request.param)


def rounded(tensor: Tensor) -> Tensor:
    return tensor.to(torch.bfloat16).to(tensor.dtype)


class Product(torch.autograd.Function):
    """x wᵀ, where every product, in the backward pass too, has factors rounded to bfloat16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return rounded(x) @ rounded(w).t()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return rounded(grad) @ rounded(w), rounded(grad).t() @ rounded(x)


def by_hand(recurrence: str, *arguments: Any, **options: Any) -> Tensors:
    """Return what the reference makes in float64 with such products."""

    def linear(x: Tensor, w: Tensor, b: Tensor | None) -> Tensor:
        product: Tensor = Product.apply(x, w)  # type: ignore[no-untyped-call]
        return product if b is None else product + b

    with pytest.MonkeyPatch.context() as patch:
        for module in (elman, gated):
            patch.setattr(module, "linear", linear)
        return everything(recurrence, *arguments, backend="reference", **options)


@lru_cache(maxsize=1)
def exact(recurrence: str, number: int) -> Tensors:
    """Return that of a case; the instruction sets come one after the other."""
    inputs, lengths, options = prepare(recurrence, CASES[number])
    return by_hand(recurrence, inputs, lengths, **options)


OF_CASES = [
    pytest.param(name, number, isa, id=f"{name}-{CASE_IDS[number]}-{isa}", marks=LARGE_IS_SLOW[number])
    for name in GATES
    for number in range(len(CASES))
    for isa in INSTRUCTION_SETS
]


@pytest.mark.parametrize(("recurrence", "number", "isa"), OF_CASES, indirect=["isa"])
def test_kernels_round_the_factors_and_nothing_else(recurrence: str, number: int, isa: str) -> None:
    inputs, lengths, options = prepare(recurrence, CASES[number])
    with torch.autocast("cpu", torch.bfloat16), torch_threads(2):
        actual = everything(recurrence, copied(inputs, torch.float32), lengths, backend="cpu", **options)
    for name, expected in exact(recurrence, number).items():
        assert actual[name].dtype == torch.float32
        if expected.norm() > 1e-6:
            # A sum in float32 may be rounded to the other neighbour, and a unit of relu be off instead of on.
            most = 0.1 if recurrence == "relu" else 0.01
            error = float((actual[name].double() - expected).norm() / expected.norm())
            assert error < most, f"{name} is off by {error:.2e}"


# Beside the rows of a tile of AMX (16) and of two, its factors (32), the columns of two tiles, and more steps than a
# block of the gradients has rows (512).
EDGES = [(15, 2, 31, 15), (17, 3, 33, 31), (33, 2, 64, 33), (32, 2, 65, 64), (2, 300, 3, 16), (70, 9, 1, 17)]


@pytest.mark.parametrize("shape", EDGES, ids=["B{}-T{}-I{}-H{}".format(*shape) for shape in EDGES])
@pytest.mark.parametrize("recurrence", ["tanh", "gru", "lstm"])
def test_sizes_at_the_edges_of_tiles(recurrence: str, shape: tuple[int, ...]) -> None:
    inputs, lengths = make(recurrence, *shape), some_lengths(*shape[:2])
    expected = by_hand(recurrence, inputs, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        actual = everything(recurrence, copied(inputs, torch.float32), lengths, backend="cpu")
    for name, exact in expected.items():
        error = float((actual[name].double() - exact).norm() / exact.norm())
        assert error < 0.01, f"{name} is off by {error:.2e}"


def test_the_forward_pass_is_exact_but_for_ties() -> None:
    """Closer than float32's products would come: rounding takes place, and at the nearest."""
    inputs, lengths, _ = prepare("tanh", {**CASES[0], "batch": 64, "time": 2, "hidden": 150, "size": 28, "lengths": 0})
    expected = by_hand("tanh", inputs, lengths)["y"]
    single = copied(inputs, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        actual = everything("tanh", single, lengths, backend="cpu")["y"]
    plain = everything("tanh", single, lengths, backend="cpu")["y"]
    assert float((actual - expected).abs().mean()) < 1e-5 < 1e-4 < float((plain - expected).abs().mean())


def test_threads_and_inference_make_no_difference() -> None:
    inputs, lengths, _ = prepare("gru", {**CASES[0], "batch": 13, "time": 9, "hidden": 33, "size": 5, "lengths": True})
    single = copied(inputs, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        alone = everything("gru", single, lengths)
        with torch_threads(3):
            assert_same_bits(everything("gru", single, lengths), alone)
        weights = [single[name] for name in ("x", "h0", "w_ih", "w_hh", "b_ih", "b_hh")]
        with torch.inference_mode():
            assert torch.equal(gru_scan(*weights, lengths, last_only=True)[1], alone["h_n"])


def test_what_else_is_in_bfloat16_is_read_as_such() -> None:
    x, h0, w = torch.randn(3, 4, 5), torch.randn(3, 6).bfloat16(), torch.randn(6, 5)
    w_hh = torch.randn(6, 6).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = rnn_scan(x, h0, w, w_hh, None, None, backend="cpu")
        expected, _ = rnn_scan(x, h0.float(), w, w_hh.float(), None, None, backend="cpu")
    assert torch.equal(y, expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_no_number_stays_visible(bad: float) -> None:
    inputs, _, _ = prepare("tanh", {**CASES[0], "batch": 6, "time": 4, "hidden": 17, "size": 3, "lengths": False})
    single = copied(inputs, torch.float32)
    with torch.no_grad():
        single["x"][2, 1] = bad
        single["w_ih"][:, 0] = 0  # inf · 0 is NaN too
    with torch.autocast("cpu", torch.bfloat16):
        y = everything("tanh", single, backend="cpu")["y"]
    assert y[2, 1:].isnan().all()
    assert y[[0, 1, 3, 4, 5]].isfinite().all()
    with torch.no_grad():
        single["w_hh"][3, 3] = float("nan")
    with torch.autocast("cpu", torch.bfloat16):
        assert everything("tanh", single, backend="cpu")["y"][0, :, 3].isnan().all()


def test_a_sum_over_time_stays_in_float32() -> None:
    a, b, h0 = torch.rand(2, 50, 3), torch.rand(2, 50, 3).bfloat16(), torch.zeros(2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = linear_scan(a, b, h0)
    assert torch.equal(y, linear_scan(a, b.float(), h0)[0])


def test_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    x, best = torch.empty(64, 28, 28), cpu.BF16_INSTRUCTION_SETS[0]
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_backend("auto", x, training=True) == ("cpu", f"fused for bf16 on this CPU ({best})")
        assert choose_backend("auto", x.bfloat16(), training=True).backend == "torch"
    with torch.autocast("cpu", torch.float16):
        assert choose_backend("auto", x, training=True).backend == "torch"
        with pytest.raises(unroll.InputError, match="backend 'cpu' has no kernels for float16; use 'auto'"):
            choose_backend("cpu", x, training=True)
    monkeypatch.setattr(cpu, "BF16_ISA", "")
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_backend("auto", x, training=True).backend == "torch"
        with pytest.raises(unroll.InputError, match="backend 'cpu' has no kernels for bfloat16: "):
            choose_backend("cpu", x, training=True)


def test_whole_steps_are_fused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loss falls as in float32, and not by the very same numbers."""
    splits = unroll.load("mnist-sample")
    small = replace(splits, train=splits.train.subset(torch.arange(512)))
    config = TrainConfig(epochs=3, val_fraction=0, precision="bf16", device="cpu")
    losses = []
    for settings in (config, replace(config, precision="fp32")):
        torch.manual_seed(0)
        model = SequenceClassifier(28, 10, hidden_size=64)
        assert why_not_fused(model, small.train, settings) == ""
        losses.append([result.train_loss for result in unroll.fit(model, small, settings)])
        assert {p.dtype for p in model.parameters()} == {torch.float32}
    for left, right in zip(*losses, strict=True):
        assert left != right
        assert left == pytest.approx(right, rel=0.02)
    monkeypatch.setattr(cpu, "BF16_ISA", "")
    assert "the scan is computed by torch" in why_not_fused(model, small.train, config)


def test_one_sequence_does_not_go_through_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with torch.autocast("cpu", torch.bfloat16):
        assert cpu.isa(1) != "amx"
        assert cpu.isa(2) == cpu.isa() == cpu.BF16_INSTRUCTION_SETS[0]
    assert cpu.isa(1) == cpu.ISA
