"""Every backend against torch.nn, NumPy and the reference: outputs, final state, all gradients, odd shapes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unroll import ConfigError, InputError
from unroll.scan import backends, choose_backend, cpu, rnn_scan

BACKENDS = ("reference", "torch", "gemm")
FUSED = pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f"backend cpu is {cpu.MISSING}")
EVERY = (*BACKENDS, pytest.param("cpu", marks=FUSED))
SHAPES = [(1, 1, 1, 1), (3, 2, 1, 17), (1, 63, 28, 17), (3, 63, 28, 1), (64, 28, 28, 150), (3, 63, 1, 150)]
SHAPE_IDS = [f"B{b}-T{t}-I{i}-H{h}" for b, t, i, h in SHAPES]
TOLERANCE = {torch.float32: (1e-5, 1e-5), torch.float64: (1e-12, 1e-12)}


def make(batch: int, time: int, size: int, hidden: int, dtype: torch.dtype, biases: bool = True) -> list[Tensor | None]:
    """Return x, h0, w_ih, w_hh, b_ih, b_hh with torch.nn's scale of weights."""
    random = torch.Generator().manual_seed(batch * 1000 + time)
    bound = hidden**-0.5

    def uniform(*shape: int) -> Tensor:
        return ((torch.rand(shape, generator=random, dtype=dtype) * 2 - 1) * bound).requires_grad_()

    x = torch.randn(batch, time, size, generator=random, dtype=dtype).requires_grad_()
    h0 = torch.randn(batch, hidden, generator=random, dtype=dtype).requires_grad_()
    bias = [uniform(hidden), uniform(hidden)] if biases else [None, None]
    return [x, h0, uniform(hidden, size), uniform(hidden, hidden), *bias]


def some_lengths(batch: int, time: int) -> Tensor:
    """Return lengths with 0 and the full length among them."""
    return torch.tensor([0, time, (time + 1) // 2])[torch.arange(batch) % 3 if batch > 1 else torch.tensor([2])]


def results_and_gradients(inputs: list[Tensor | None], lengths: Tensor | None, **options: str) -> list[Tensor]:
    tensors = [t for t in inputs if t is not None]
    y, h_n = rnn_scan(*inputs, lengths, **options)  # type: ignore[arg-type]
    weights = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)
    loss = (y * weights).sum() + (h_n**2).sum()
    return [y.detach(), h_n.detach(), *torch.autograd.grad(loss, tensors)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("with_lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("shape", SHAPES, ids=SHAPE_IDS)
@pytest.mark.parametrize("backend", ["torch", "gemm"])
def test_backend_equals_reference(
    backend: str, shape: tuple[int, ...], with_lengths: bool, nonlinearity: str, dtype: torch.dtype
) -> None:
    inputs = make(*shape, dtype)
    lengths = some_lengths(shape[0], shape[1]) if with_lengths else None
    expected = results_and_gradients(inputs, lengths, nonlinearity=nonlinearity, backend="reference")
    found = results_and_gradients(inputs, lengths, nonlinearity=nonlinearity, backend=backend)
    rtol, atol = TOLERANCE[dtype]
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=rtol, atol=atol * max(1.0, float(one.abs().max())))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("biases", [True, False])
def test_scan_equals_torch_nn(backend: str, biases: bool) -> None:
    x, h0, *weights = make(3, 63, 5, 17, torch.float64, biases)
    module = nn.RNN(5, 17, batch_first=True, bias=biases, dtype=torch.float64)
    for parameter, value in zip(module.parameters(), [w for w in weights if w is not None], strict=True):
        parameter.data.copy_(value)  # type: ignore[arg-type]
    expected_y, expected_h = module(x, h0.unsqueeze(0))  # type: ignore[union-attr]
    y, h_n = rnn_scan(x, h0, *weights, backend=backend)  # type: ignore[arg-type]
    torch.testing.assert_close(y, expected_y)
    torch.testing.assert_close(h_n, expected_h[0])


def test_reference_equals_numpy() -> None:
    x, h0, w_ih, w_hh, b_ih, b_hh = (t.detach().numpy() for t in make(2, 5, 3, 4, torch.float64) if t is not None)
    h, steps = h0, []
    for t in range(5):
        h = np.tanh(x[:, t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh)
        steps.append(h)
    y, h_n = rnn_scan(*map(torch.from_numpy, (x, h0, w_ih, w_hh, b_ih, b_hh)), backend="reference")
    np.testing.assert_allclose(y.numpy(), np.stack(steps, axis=1), rtol=1e-12)
    np.testing.assert_allclose(h_n.numpy(), h, rtol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_lengths_mean_what_cut_sequences_mean(backend: str) -> None:
    x, h0, *weights = make(3, 9, 4, 6, torch.float64)
    lengths = torch.tensor([0, 9, 4])
    y, h_n = rnn_scan(x, h0, *weights, lengths, backend=backend)  # type: ignore[arg-type]
    assert torch.equal(h_n[0], h0[0])  # type: ignore[index]
    assert not y[0].any()
    assert not y[2, 4:].any()
    alone, last = rnn_scan(x[2:, :4], h0[2:], *weights, backend="reference")  # type: ignore[index, arg-type]
    torch.testing.assert_close(y[2:, :4], alone)
    torch.testing.assert_close(h_n[2:], last)


@pytest.mark.parametrize("backend", EVERY)
def test_what_stands_in_the_padding_changes_nothing(backend: str) -> None:
    inputs = make(3, 9, 4, 6, torch.float32)
    lengths = torch.tensor([0, 9, 4])
    clean = results_and_gradients(inputs, lengths, backend=backend)
    dirty = inputs[0].detach().clone()  # type: ignore[union-attr]
    dirty[0], dirty[2, 4:] = float("nan"), float("inf")
    found = results_and_gradients([dirty.requires_grad_(), *inputs[1:]], lengths, backend=backend)
    for one, other in zip(clean, found, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("backend", EVERY)
def test_nan_in_the_input_stays_visible(backend: str) -> None:
    x, *others = make(2, 9, 4, 6, torch.float32)
    x = x.detach().clone()  # type: ignore[union-attr]
    x[1, 3, 0] = float("nan")
    y, h_n = rnn_scan(x, *others, backend=backend)  # type: ignore[arg-type]
    assert y[0].isfinite().all()
    assert y[1, :3].isfinite().all()
    assert h_n[1].isnan().all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_gradients_and_second_derivatives_by_finite_differences(backend: str, nonlinearity: str) -> None:
    inputs = make(2, 4, 3, 2, torch.float64)

    def scan(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        return rnn_scan(*tensors, nonlinearity=nonlinearity, backend=backend)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(scan, inputs)
    assert torch.autograd.gradgradcheck(scan, inputs)


@pytest.mark.parametrize("backend", ["torch", "gemm"])
def test_derivatives_of_a_scan_of_a_scan(backend: str) -> None:
    """The second scan's input and state depend on the weights that both share."""
    x, h0, *weights = make(2, 5, 4, 4, torch.float64)

    def twice(backend: str) -> list[Tensor]:
        y, h = rnn_scan(x, h0, *weights, backend=backend)  # type: ignore[arg-type]
        y, _ = rnn_scan(y, h, *weights, backend=backend)  # type: ignore[arg-type]
        first = torch.autograd.grad((y**2).sum(), weights, create_graph=True)  # type: ignore[arg-type]
        second = torch.autograd.grad(sum((g**2).sum() for g in first), weights)  # type: ignore[arg-type]
        return [*first, *second]

    for one, other in zip(twice("reference"), twice(backend), strict=True):
        torch.testing.assert_close(other, one)


@pytest.mark.parametrize("backend", EVERY)
def test_inputs_need_not_be_contiguous_and_are_left_alone(backend: str) -> None:
    x, *others = make(3, 9, 4, 6, torch.float32)
    turned = x.detach().transpose(0, 1).contiguous().transpose(0, 1)  # type: ignore[union-attr]
    before = turned.clone()
    torch.testing.assert_close(
        rnn_scan(turned, *others, backend=backend)[0],  # type: ignore[arg-type]
        rnn_scan(x, *others, backend=backend)[0],  # type: ignore[arg-type]
    )
    assert torch.equal(turned, before)


@pytest.mark.parametrize("backend", EVERY)
def test_the_same_call_twice_gives_the_same_bits(backend: str) -> None:
    inputs = make(64, 28, 28, 150, torch.float32)
    first, second = (results_and_gradients(inputs, None, backend=backend) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_number_of_threads_does_not_matter(backend: str) -> None:
    inputs = make(64, 28, 28, 150, torch.float64)
    one = results_and_gradients(inputs, None, backend=backend)
    torch.set_num_threads(2)
    try:
        two = results_and_gradients(inputs, None, backend=backend)
    finally:
        torch.set_num_threads(1)
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b)


def test_no_time_steps_at_all() -> None:
    x, h0, *weights = make(3, 1, 4, 6, torch.float32)
    y, h_n = rnn_scan(x[:, :0], h0, *weights)  # type: ignore[index, arg-type]
    assert y.shape == (3, 0, 6)
    assert torch.equal(h_n, h0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="backend 'torch' needs at least 1 time step, got 0"):
        rnn_scan(x[:, :0], h0, *weights, backend="torch")  # type: ignore[index, arg-type]


def test_the_choice_without_a_compiler_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "INSTRUCTION_SETS", ())
    x = torch.empty(64, 28, 28)
    assert choose_backend("auto", x, training=True) == ("gemm", "fastest with gradients on a CPU")
    assert choose_backend("auto", x, training=False).backend == "torch"
    assert choose_backend("auto", x[:, :3], training=True) == ("torch", "fastest below 4 time steps")
    assert backends()["cpu"].startswith("not built: there was no C++ compiler when unroll was installed; ")
    with pytest.raises(InputError, match="backend 'cpu' is not built: there was no C\\+\\+ compiler"):
        choose_backend("cpu", x, training=True)


def test_the_choice_says_why() -> None:
    x = torch.empty(64, 28, 28)
    assert choose_backend("auto", x.double(), training=True).backend == "gemm"
    assert choose_backend("reference", x, training=True) == ("reference", "asked for")
    with torch.autocast("cpu", torch.bfloat16):
        assert choose_backend("auto", x, training=True).backend == "torch"
        with pytest.raises(InputError, match="backend 'gemm' computes in float32, but bf16 was asked for"):
            choose_backend("gemm", x, training=True)
    with pytest.raises(ConfigError, match="backend must be one of auto, reference, torch, gemm, cpu, got 'cuda'"):
        choose_backend("cuda", x, training=True)  # type: ignore[arg-type]
    assert tuple(backends()) == (*BACKENDS, "cpu")


@pytest.mark.parametrize(
    ("position", "shape", "message"),
    [
        (0, (3, 9), r"x must have shape \(batch, time, input\), got \(3, 9\)"),
        (1, (1, 6), r"h0 must have shape \(3, 6\), got \(1, 6\)"),
        (2, (6, 5), r"w_ih must have shape \(6, 4\), got \(6, 5\)"),
        (3, (6, 5), r"w_hh must have shape \(6, 6\), got \(6, 5\)"),
        (4, (5,), r"b_ih must have shape \(6,\), got \(5,\)"),
    ],
)
def test_shapes_that_do_not_fit(position: int, shape: tuple[int, ...], message: str) -> None:
    inputs = make(3, 9, 4, 6, torch.float32)
    inputs[position] = torch.zeros(shape)
    with pytest.raises(InputError, match=message):
        rnn_scan(*inputs)  # type: ignore[arg-type]


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
def test_lengths_that_do_not_fit(lengths: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        rnn_scan(*make(3, 9, 4, 6, torch.float32), lengths)  # type: ignore[arg-type]
    x, h0, *weights = make(3, 9, 4, 6, torch.float32)
    with pytest.raises(InputError, match="b_ih and b_hh must both be given, or neither"):
        rnn_scan(x, h0, *weights[:3])  # type: ignore[arg-type]
