"""Every backend against the reference in float64, torch.nn and NumPy: outputs, final state, all gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from recurrences import (
    CASE_IDS,
    CASES,
    EVERY,
    GATES,
    LARGE_IS_SLOW,
    RECURRENCES,
    assert_close,
    assert_same_bits,
    backends_of,
    call,
    copied,
    everything,
    exact,
    loss,
    make,
    prepare,
    some_lengths,
)
from unroll.bench.clock import torch_threads
from unroll.scan.choice import KNOWN

F32, F64 = torch.float32, torch.float64
TOLERANCE = {F32: 1e-5, F64: 1e-12}
OF_CASES = [
    pytest.param(
        name,
        number,
        backend,
        dtype,
        id=f"{name}-{CASE_IDS[number]}-{backend}-{str(dtype)[6:]}",
        marks=LARGE_IS_SLOW[number],
    )
    for name in RECURRENCES
    for number in range(len(CASES))
    for backend, known in KNOWN.items()
    for dtype in (F32, F64)
    if name in known and backend != "cpu" and (backend, dtype) != ("reference", F64)
]


@pytest.mark.parametrize(("recurrence", "number", "backend", "dtype"), OF_CASES)
def test_backend_equals_reference(recurrence: str, number: int, backend: str, dtype: torch.dtype) -> None:
    inputs, lengths, options = prepare(recurrence, CASES[number])
    actual = everything(recurrence, copied(inputs, dtype), lengths, backend=backend, **options)
    assert_close(actual, exact(recurrence, number), TOLERANCE[dtype])


MODULES: dict[str, Callable[..., nn.RNNBase]] = {
    "tanh": nn.RNN,
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "gru": nn.GRU,
    "lstm": nn.LSTM,
}


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 9, 1])], ids=["full", "packed"])
@pytest.mark.parametrize("biases", [True, False], ids=["biases", "plain"])
@pytest.mark.parametrize(("backend", "recurrence"), backends_of(*GATES))
def test_both_directions_equal_torch_nn(backend: str, recurrence: str, biases: bool, lengths: Tensor | None) -> None:
    dtype = F32 if backend == "cpu" else F64
    module = MODULES[recurrence](5, 17, batch_first=True, bias=biases, bidirectional=True, dtype=F64)
    x = torch.randn(3, 9, 5, dtype=F64, requires_grad=True)
    start = [torch.randn(2, 3, 17, dtype=F64, requires_grad=True) for _ in range(2 if recurrence == "lstm" else 1)]

    def torch_nn() -> tuple[Tensor, ...]:
        given = x if lengths is None else pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        y, final = module(given, tuple(start) if recurrence == "lstm" else start[0])
        if lengths is not None:
            y, _ = pad_packed_sequence(y, batch_first=True, total_length=9)
        return y, *(final if recurrence == "lstm" else (final,))

    def scan(way: int) -> tuple[Tensor, ...]:
        inputs = {"x": x} | {name: part[way] for name, part in zip(("h0", "c0"), start, strict=False)}
        for name, parameter in module.named_parameters():
            if name.endswith("_reverse") == bool(way):
                inputs[name.replace("weight", "w").replace("bias", "b")[:4]] = parameter
        inputs = {name: tensor.to(dtype) for name, tensor in inputs.items()}
        results = call(recurrence, inputs, lengths, backend=backend, reverse=bool(way))
        return tuple(result.to(F64) for result in results)

    (y, *ends), (other_y, *other_ends) = scan(0), scan(1)
    actual = torch.cat([y, other_y], dim=2), *(torch.stack(pair) for pair in zip(ends, other_ends, strict=True))
    expected, leaves = torch_nn(), [x, *start, *module.parameters()]
    for pair in zip(
        (*actual, *torch.autograd.grad(loss(actual), leaves)),
        (*expected, *torch.autograd.grad(loss(expected), leaves)),
        strict=True,
    ):
        torch.testing.assert_close(*pair, rtol=0, atol=20 * TOLERANCE[dtype])


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def numpy_scan(recurrence: str, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return outputs and final state by the equations of the papers, gate by gate."""
    if recurrence == "linear":  # in closed form: every b decays by all a that come after it
        a, b, h0 = inputs.values()
        terms = np.concatenate([h0[:, None], b], axis=1)
        decay = [[np.prod(a[:, k:t], axis=1) for k in range(t + 1)] for t in range(a.shape[1] + 1)]
        h = np.stack([sum(terms[:, k] * row[k] for k in range(len(row))) for row in decay[1:]], axis=1)
        return h, h[:, -1]
    h, c, steps = inputs["h0"], inputs.get("c0"), []
    gates = GATES[recurrence]
    w, u = np.split(inputs["w_ih"], gates), np.split(inputs["w_hh"], gates)
    b, d = np.split(inputs["b_ih"], gates), np.split(inputs["b_hh"], gates)
    for x in inputs["x"].transpose(1, 0, 2):
        read, kept = [x @ w[k].T + b[k] for k in range(gates)], [h @ u[k].T + d[k] for k in range(gates)]
        if recurrence == "lstm":
            i, f, g, o = (read[k] + kept[k] for k in range(4))
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            h = sigmoid(o) * np.tanh(c)
        elif recurrence == "gru":
            z = sigmoid(read[1] + kept[1])
            h = (1 - z) * np.tanh(read[2] + sigmoid(read[0] + kept[0]) * kept[2]) + z * h
        else:
            h = read[0] + kept[0]
            h = np.tanh(h) if recurrence == "tanh" else np.maximum(h, 0)
        steps.append(h)
    return np.stack(steps, axis=1), h, *(() if c is None else (c,))


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_reference_equals_numpy(recurrence: str) -> None:
    inputs = make(recurrence, 2, 5, 3, 4)
    expected = numpy_scan(recurrence, {name: tensor.detach().numpy() for name, tensor in inputs.items()})
    for actual, value in zip(call(recurrence, inputs, backend="reference"), expected, strict=True):
        np.testing.assert_allclose(actual.detach().numpy(), value, rtol=1e-12)


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_lengths_mean_what_cut_sequences_mean(backend: str, recurrence: str, reverse: bool) -> None:
    inputs = make(recurrence, 3, 9, 4, 6, F32)
    y, *final = call(recurrence, inputs, torch.tensor([0, 9, 4]), backend=backend, reverse=reverse)
    for part, name in zip(final, ("h0", "c0"), strict=False):
        assert torch.equal(part[0], inputs[name][0])
    assert not y[0].any()
    assert not y[2, 4:].any()
    cut = {name: t if "_" in name else t[2:, :4] if t.dim() == 3 else t[2:] for name, t in inputs.items()}
    alone, *last = call(recurrence, cut, backend="reference", reverse=reverse)
    for left, right in zip((y[2:, :4], *(part[2:] for part in final)), (alone, *last), strict=True):
        torch.testing.assert_close(left, right)


@pytest.mark.parametrize("gradients", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_what_stands_in_the_padding_changes_nothing(
    backend: str, recurrence: str, reverse: bool, gradients: bool
) -> None:
    clean, lengths = make(recurrence, 3, 9, 4, 6, F32), torch.tensor([0, 9, 4])
    dirty = copied(clean, F32)
    with torch.no_grad():
        for name in {"x", "a", "b"} & dirty.keys():
            dirty[name][0], dirty[name][2, 4:] = float("nan"), float("inf")
    both = []
    for inputs in (clean, dirty):
        if gradients:
            both.append(everything(recurrence, inputs, lengths, backend=backend, reverse=reverse))
        else:
            with torch.no_grad():
                results = call(recurrence, inputs, lengths, backend=backend, reverse=reverse)
            both.append(dict(zip("yhc", results, strict=False)))
    assert_same_bits(*both)
    for name in {"d x", "d a", "d b"} & both[1].keys():
        assert not both[1][name][0].any()
        assert not both[1][name][2, 4:].any()


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_gradients_to_padded_outputs_go_nowhere(backend: str, recurrence: str) -> None:
    inputs, lengths = make(recurrence, 3, 9, 4, 6, F32), torch.tensor([0, 9, 4])
    y, *_ = call(recurrence, inputs, lengths, backend=backend)
    dy = torch.randn_like(y)
    dirty = dy.clone()
    dirty[0], dirty[2, 4:] = 1e9, float("nan")
    given = list(inputs.values())
    expected = torch.autograd.grad(y, given, dy, retain_graph=True, allow_unused=True)
    for left, right in zip(torch.autograd.grad(y, given, dirty, allow_unused=True), expected, strict=True):
        assert left is right is None or torch.equal(left, right)


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_nan_in_the_input_stays_visible(backend: str, recurrence: str, reverse: bool) -> None:
    inputs = make(recurrence, 3, 9, 4, 17, F32)
    for name in {"x", "a"} & inputs.keys():
        with torch.no_grad():
            inputs[name][1, 3] = float("nan")
    actual = everything(recurrence, inputs, backend=backend, reverse=reverse)
    touched = torch.zeros(3, 9, 1, dtype=torch.bool)
    touched[1, slice(None, 4) if reverse else slice(3, None)] = True
    assert torch.equal(actual["y"].isnan(), touched.expand(3, 9, 17))
    for name in {"h_n", "c_n"} & actual.keys():
        assert torch.equal(actual[name].isnan(), torch.tensor([[False], [True], [False]]).expand(3, 17))
    for name in {"d x", "d a", "d b", "d h0", "d c0"} & actual.keys():
        assert actual[name][::2].isfinite().all(), name
    for name in {"d w_ih", "d w_hh"} & actual.keys():
        assert actual[name].isnan().any(), name


def layouts(tensor: Tensor) -> list[Tensor]:
    """Return the same values in memory laid out otherwise."""
    turned = tensor.detach().transpose(0, 1).contiguous().transpose(0, 1)
    wide = torch.full((*tensor.shape[:-1], 2 * tensor.shape[-1]), float("nan"))
    wide[..., ::2] = tensor.detach()
    tall = torch.full((tensor.shape[0] + 2, *tensor.shape[1:]), float("nan"))
    tall[1:-1] = tensor.detach()
    return [turned, wide[..., ::2], tall[1:-1]]


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_inputs_need_not_be_contiguous_and_are_left_alone(backend: str, recurrence: str) -> None:
    inputs, lengths = make(recurrence, 3, 9, 4, 6, F32), torch.tensor([[9, 7], [0, 7], [4, 7]])[:, 0]
    expected = everything(recurrence, inputs, lengths, backend=backend)
    for name, tensor in inputs.items():
        for laid_out in layouts(tensor.unsqueeze(0)) if tensor.dim() == 1 else layouts(tensor):
            laid_out = (laid_out[0] if tensor.dim() == 1 else laid_out).requires_grad_()
            before = laid_out.detach().clone()
            assert_close(everything(recurrence, inputs | {name: laid_out}, lengths, backend=backend), expected, 1e-6)
            with torch.no_grad():
                y, *_ = call(recurrence, inputs | {name: laid_out}, lengths, backend=backend)
            torch.testing.assert_close(y, expected["y"], rtol=0, atol=1e-6)
            assert torch.equal(laid_out, before)


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_expanded_states_and_inputs_and_gradients_of_every_stride(backend: str, recurrence: str) -> None:
    inputs = make(recurrence, 3, 9, 4, 6, F32)
    inputs |= {name: t.detach()[:1].expand_as(t).requires_grad_() for name, t in inputs.items() if "_" not in name}
    own = copied(inputs, F32)
    for dy in [*layouts(torch.randn(3, 9, 6)), torch.randn(1, 1, 6).expand(3, 9, 6), torch.ones(1).expand(3, 9, 6)]:
        actual, expected = (
            torch.autograd.grad(call(recurrence, given, backend=name)[0], list(given.values()), grad)
            for given, name, grad in ((inputs, backend, dy), (own, "reference", dy.contiguous()))
        )
        for left, right in zip(actual, expected, strict=True):
            torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_the_same_call_twice_gives_the_same_bits(backend: str, recurrence: str) -> None:
    inputs = make(recurrence, 64, 9, 28, 150, F32)
    first, second = (everything(recurrence, inputs, some_lengths(64, 9), backend=backend) for _ in range(2))
    assert_same_bits(first, second)


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_the_number_of_threads_does_not_matter(backend: str, recurrence: str) -> None:
    inputs = make(recurrence, 64, 3, 28, 150, F32)
    first = everything(recurrence, inputs, backend=backend)
    with torch_threads(2):
        assert_close(everything(recurrence, inputs, backend=backend), first, 1e-6)
