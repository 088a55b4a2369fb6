"""The five recurrences for the tests of the scans: what goes in, how to call them, what to compare."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from pairs import covering
from unroll.scan import choice, cpu, gru_scan, linear_scan, lstm_scan, rnn_scan

Tensors = dict[str, Tensor]

GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}
RECURRENCES = (*GATES, "linear")


MISSING = pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f"backend cpu is {cpu.MISSING}")
NEEDS_BF16 = pytest.mark.skipif(not cpu.BF16_ISA, reason=f"no kernels for bf16: {cpu.why_not_bf16()}")


def backends_of(*recurrences: str) -> list[Any]:
    """Return parameters (backend, recurrence), for every backend that knows it."""
    return [
        pytest.param(backend, name, marks=MISSING if backend == "cpu" else (), id=f"{backend}-{name}")
        for backend, known in choice.KNOWN.items()
        for name in known
        if name in recurrences
    ]


EVERY = backends_of(*RECURRENCES)


def make(
    recurrence: str,
    batch: int,
    time: int,
    size: int,
    hidden: int,
    dtype: torch.dtype = torch.float64,
    biases: bool = True,
) -> Tensors:
    """Return a recurrence's inputs by name, all of which need gradients, with torch.nn's scale of weights."""
    random = torch.Generator().manual_seed(batch * 1000 + time)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, dtype=torch.float64)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=random, dtype=torch.float64) * 2 - 1) * max(hidden, 1) ** -0.5

    if recurrence == "linear":
        made = {"a": torch.tanh(normal(batch, time, hidden)), "b": normal(batch, time, hidden)}
        made["h0"] = normal(batch, hidden)
    else:
        made = {"x": normal(batch, time, size), "h0": normal(batch, hidden)}
        if recurrence == "lstm":
            made["c0"] = normal(batch, hidden)
        rows = GATES[recurrence] * hidden
        made |= {"w_ih": uniform(rows, size), "w_hh": uniform(rows, hidden)}
        if biases:
            made |= {"b_ih": uniform(rows), "b_hh": uniform(rows)}
    return {name: tensor.to(dtype).requires_grad_() for name, tensor in made.items()}


def some_lengths(batch: int, time: int) -> Tensor:
    """Return lengths with 0 and the full length among them; alone, a sequence is cut."""
    return torch.tensor([0, time, (time + 1) // 2])[torch.arange(batch) % 3 if batch > 1 else torch.tensor([2])]


def call(recurrence: str, inputs: Tensors, lengths: Tensor | None = None, **options: Any) -> tuple[Tensor, ...]:
    """Return outputs and the parts of the final state."""
    if recurrence == "linear":
        return linear_scan(inputs["a"], inputs["b"], inputs["h0"], lengths, **options)
    weights = [inputs.get(name) for name in ("w_ih", "w_hh", "b_ih", "b_hh")]
    if recurrence == "lstm":
        y, final = lstm_scan(inputs["x"], (inputs["h0"], inputs["c0"]), *weights, lengths, **options)
        return y, *final
    if recurrence == "gru":
        return gru_scan(inputs["x"], inputs["h0"], *weights, lengths, **options)
    return rnn_scan(inputs["x"], inputs["h0"], *weights, lengths, recurrence, **options)


def loss(results: tuple[Tensor, ...]) -> Tensor:
    """Return a number to which every result contributes in its own measure."""
    return sum((r * torch.linspace(-1, 1, r.numel(), dtype=r.dtype).view_as(r)).sum() for r in results)


def everything(recurrence: str, inputs: Tensors, lengths: Tensor | None = None, **options: Any) -> Tensors:
    """Return results and the gradients of all inputs that need them, by name."""
    results = call(recurrence, inputs, lengths, **options)
    wanted = [name for name, tensor in inputs.items() if tensor.requires_grad]
    gradients = torch.autograd.grad(loss(results), [inputs[name] for name in wanted])
    names = (*("y", "h_n", "c_n")[: len(results)], *(f"d {name}" for name in wanted))
    return dict(zip(names, (*(r.detach() for r in results), *gradients), strict=True))


def assert_close(found: Tensors, exact: Tensors, tolerance: float) -> None:
    """Compare by the size of each result: rounding grows with the largest numbers that were added."""
    assert found.keys() == exact.keys()
    for name, expected in exact.items():
        assert found[name].shape == expected.shape, name
        if expected.numel():
            error = float((found[name].double() - expected).abs().max()) / max(1.0, float(expected.abs().max()))
            assert error <= tolerance, f"{name} is off by {error:.2e}"


def assert_same_bits(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


# All sizes and options with each other would be 1,536 cases; in these 16 every two values of different factors meet.
CASES = covering(
    {
        "batch": (1, 3, 64),
        "time": (1, 2, 21),
        "hidden": (1, 17, 150, 256),
        "size": (1, 28),
        "lengths": (False, True),
        "reverse": (False, True),
        "last_only": (False, True),
        "biases": (True, False),
        "start": (True, False),
    }
)
CASE_IDS = [
    "-".join(["B{batch}-T{time}-I{size}-H{hidden}".format(**case), *(k for k, value in case.items() if value is True)])
    for case in CASES
]
LARGE_IS_SLOW = [
    [pytest.mark.slow] if case["batch"] * case["time"] * case["hidden"] > 300_000 else [] for case in CASES
]


def prepare(recurrence: str, case: dict[str, Any]) -> tuple[Tensors, Tensor | None, dict[str, bool]]:
    """Return a case's inputs in float64, lengths and options."""
    inputs = make(recurrence, *(case[name] for name in ("batch", "time", "size", "hidden")), biases=case["biases"])
    if not case["start"]:
        inputs |= {name: torch.zeros_like(inputs[name]) for name in ("h0", "c0") if name in inputs}
    options = {"reverse": case["reverse"]} | ({} if recurrence == "linear" else {"last_only": case["last_only"]})
    return inputs, some_lengths(case["batch"], case["time"]) if case["lengths"] else None, options


@lru_cache(maxsize=4)
def exact(recurrence: str, number: int) -> Tensors:
    """Return what the reference makes of a case in float64."""
    inputs, lengths, options = prepare(recurrence, CASES[number])
    return everything(recurrence, inputs, lengths, backend="reference", **options)


def copied(inputs: Tensors, dtype: torch.dtype) -> Tensors:
    """Return tensors of their own, which need gradients where those of ``inputs`` do."""
    return {name: t.detach().to(dtype, copy=True).requires_grad_(t.requires_grad) for name, t in inputs.items()}
