"""The fused kernels, each instruction set that this processor has, against the plain loop in float64."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import Tensor

import unroll
from test_scan import SHAPES, results_and_gradients, some_lengths
from test_scan import make as make_inputs
from unroll import InputError
from unroll.evaluation import has_fused_cells
from unroll.scan import choose_backend, cpu, rnn_scan

pytestmark = pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f"backend cpu is {cpu.MISSING}")

MORE = [(5, 2, 33, 80), (6, 3, 80, 81), (2, 1030, 3, 16), (7, 4, 32, 160), (64, 63, 1, 256), (1, 2, 100, 33)]
ALL = SHAPES + MORE


@pytest.fixture(params=cpu.INSTRUCTION_SETS or ["none"])
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(cpu, "ISA", request.param)
    return str(request.param)


def make(*shape: int, biases: bool = True) -> list[Tensor | None]:
    return make_inputs(*shape, torch.float32, biases)


def in_double(inputs: list[Tensor | None]) -> list[Tensor | None]:
    return [None if t is None else t.detach().double().requires_grad_() for t in inputs]


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("with_lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("shape", ALL, ids=[f"B{b}-T{t}-I{i}-H{h}" for b, t, i, h in ALL])
def test_kernels_equal_the_reference(isa: str, shape: tuple[int, ...], with_lengths: bool, nonlinearity: str) -> None:
    inputs = make(*shape)
    lengths = some_lengths(shape[0], shape[1]) if with_lengths else None
    expected = results_and_gradients(in_double(inputs), lengths, nonlinearity=nonlinearity, backend="reference")
    found = results_and_gradients(inputs, lengths, nonlinearity=nonlinearity, backend="cpu")
    plain = results_and_gradients(inputs, lengths, nonlinearity=nonlinearity, backend="reference")
    for exact, one, other in zip(expected, found, plain, strict=True):
        size = max(1.0, float(exact.abs().max()))
        rounding = float((other - exact).abs().max()) / size  # what float32 costs in any case
        assert float((one - exact).abs().max()) / size <= 1e-5 + 10 * rounding


def test_no_biases(isa: str) -> None:
    inputs = make(3, 5, 4, 17, biases=False)
    expected = results_and_gradients(inputs, None, backend="reference")
    for one, other in zip(expected, results_and_gradients(inputs, None, backend="cpu"), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-5)


def test_threads_split_the_work_without_a_difference(isa: str) -> None:
    inputs = make(64, 28, 28, 150)
    alone = results_and_gradients(inputs, None, backend="cpu")
    torch.set_num_threads(3)
    try:
        with cpu.lend_threads(True):
            assert torch.get_num_threads() == 1
            shared = results_and_gradients(inputs, None, backend="cpu")
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_several_callers_at_once() -> None:
    inputs = make(16, 28, 28, 33)
    expected = results_and_gradients(inputs, None, backend="cpu")
    found: list[list[Tensor]] = []
    torch.set_num_threads(3)
    try:
        with cpu.lend_threads(True):
            callers = [
                threading.Thread(target=lambda: found.append(results_and_gradients(inputs, None, backend="cpu")))
                for _ in range(8)
            ]
            for caller in callers:
                caller.start()
            for caller in callers:
                caller.join()
    finally:
        torch.set_num_threads(1)
    assert len(found) == 8
    assert all(torch.equal(a, b) for each in found for a, b in zip(expected, each, strict=True))


def test_tanh_from_end_to_end(isa: str) -> None:
    x = torch.cat([torch.linspace(-12, 12, 20_001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30])])
    one, zero = torch.ones(1, 1), torch.zeros(1, 1)
    y, _ = rnn_scan(x.view(-1, 1, 1), torch.zeros(len(x), 1), one, zero, backend="cpu")
    exact = x.double().tanh()
    assert float((y.flatten().double() - exact).abs().max()) < 4e-7
    assert float(y.abs().max()) <= 1.0


def test_denormals_are_flushed_and_the_caller_s_mode_is_kept(isa: str) -> None:
    tiny = torch.full((1, 1, 1), 1e-30)
    weight, zero = torch.full((1, 1), 1e-10), torch.zeros(1, 1)
    _, h = rnn_scan(tiny, zero, weight, zero, nonlinearity="relu", backend="cpu")
    assert float(h) == 0.0
    assert float(torch.tensor(1e-30) * torch.tensor(1e-10)) != 0.0


def test_second_derivatives_are_those_of_the_reference() -> None:
    inputs = make(2, 5, 3, 4)

    def second(backend: str) -> list[Tensor]:
        y, h = rnn_scan(*inputs, backend=backend)  # type: ignore[arg-type]
        first = torch.autograd.grad((y**2).sum() + h.sum(), inputs, create_graph=True)  # type: ignore[arg-type]
        return list(torch.autograd.grad(sum((g**2).sum() for g in first), inputs))  # type: ignore[arg-type]

    for one, other in zip(second("reference"), second("cpu"), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)


def test_the_choice() -> None:
    x = torch.empty(64, 28, 28)
    for training in (True, False):
        assert choose_backend("auto", x, training) == (
            "cpu",
            f"fused for float32 on this CPU ({cpu.INSTRUCTION_SETS[0]})",
        )
    assert choose_backend("auto", x[:0], True).backend != "cpu"
    with pytest.raises(InputError, match="backend 'cpu' computes in float32 on the CPU, got torch.float64 on cpu"):
        choose_backend("cpu", x.double(), True)
    with pytest.raises(InputError, match=r"backend 'cpu' needs a sequence and a time step, got x of \(64, 0, 28\)"):
        choose_backend("cpu", x[:, :0], True)


def test_a_model_is_fused_if_all_its_cells_are() -> None:
    assert has_fused_cells(unroll.SequenceClassifier(3, 2))
    assert not has_fused_cells(unroll.SequenceClassifier(3, 2, backend="torch"))
    assert not has_fused_cells(unroll.SequenceClassifier(3, 2).double())
    assert not has_fused_cells(torch.nn.LSTM(3, 2))


@pytest.mark.parametrize("position", range(1, 6))
def test_memory_is_not_read_as_what_it_is_not(position: int) -> None:
    inputs = make(3, 5, 4, 17)
    inputs[position] = inputs[position].detach().double()  # type: ignore[union-attr]
    with pytest.raises(InputError, match="share one dtype and one device, got torch.float32 on cpu, torch.float64 on"):
        rnn_scan(*inputs)  # type: ignore[arg-type]


def test_the_default_dtype_does_not_matter() -> None:
    inputs = make(3, 5, 4, 17)
    expected = results_and_gradients(inputs, None, backend="cpu")
    torch.set_default_dtype(torch.float64)
    try:
        y, h_n = rnn_scan(*inputs, backend="cpu")  # type: ignore[arg-type]
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(y, expected[0])
    assert torch.equal(h_n, expected[1])


def test_torch_has_its_threads_back_after_an_error() -> None:
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError), cpu.lend_threads(True):
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_compile_and_export_leave_the_kernels_out() -> None:
    model, x = unroll.SequenceClassifier(3, 2, hidden_size=4).eval(), torch.randn(2, 5, 3)
    exported = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(x), model(x))
