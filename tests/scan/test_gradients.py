"""Derivatives of the scans: which are wanted, how often, of what order, and what may happen in between."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from recurrences import (
    EVERY,
    GATES,
    MISSING,
    RECURRENCES,
    assert_close,
    assert_same_bits,
    backends_of,
    call,
    everything,
    loss,
    make,
)

F32, F64 = torch.float32, torch.float64
LENGTHS = torch.tensor([0, 5, 3])
# Those that compute in float64, which finite differences need.
EXACT = [pair for pair in EVERY if pair.values[0] != "cpu"]


@pytest.mark.parametrize(("backend", "recurrence"), EXACT)
@pytest.mark.slow
def test_gradients_and_second_derivatives_by_finite_differences(backend: str, recurrence: str) -> None:
    inputs = make(recurrence, 2, 3, 1, 2)
    lengths = torch.tensor([3, 2]) if backend == "reference" else None

    def scan(*tensors: Tensor) -> tuple[Tensor, ...]:
        return call(recurrence, dict(zip(inputs, tensors, strict=True)), lengths, backend=backend, reverse=True)

    assert torch.autograd.gradcheck(scan, tuple(inputs.values()))
    assert torch.autograd.gradgradcheck(scan, tuple(inputs.values()))


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
@pytest.mark.parametrize("recurrence", RECURRENCES)
@MISSING
def test_second_derivatives_of_the_kernels_are_those_of_the_reference(
    recurrence: str, lengths: Tensor | None, reverse: bool
) -> None:
    inputs = make(recurrence, 3, 5, 3, 4, F32)
    given = list(inputs.values())

    def second(backend: str) -> list[Tensor]:
        results = call(recurrence, inputs, lengths, backend=backend, reverse=reverse)
        first = torch.autograd.grad(loss(tuple(r**2 for r in results)), given, create_graph=True)
        return [*first, *torch.autograd.grad(sum((g**2).sum() for g in first), given)]

    for left, right in zip(second("cpu"), second("reference"), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("backend", "recurrence"), backends_of(*GATES))
def test_derivatives_of_a_scan_of_a_scan(backend: str, recurrence: str) -> None:
    """The second scan's input and state depend on the weights that both share."""
    inputs = make(recurrence, 2, 5, 4, 4, F32 if backend == "cpu" else F64)
    weights = [tensor for name, tensor in inputs.items() if "_" in name]

    def twice(backend: str) -> list[Tensor]:
        y, *final = call(recurrence, inputs, backend=backend)
        after = inputs | {"x": y} | dict(zip(("h0", "c0"), final, strict=False))
        y, *_ = call(recurrence, after, backend=backend)
        first = torch.autograd.grad((y**2).sum(), weights, create_graph=True)
        return [*first, *torch.autograd.grad(sum((g**2).sum() for g in first), weights)]

    tolerance = {"rtol": 1e-4, "atol": 1e-4} if backend == "cpu" else {}
    for left, right in zip(twice(backend), twice("reference"), strict=True):
        torch.testing.assert_close(left, right, **tolerance)


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_only_some_gradients_are_wanted(backend: str, recurrence: str) -> None:
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    expected = everything(recurrence, inputs, LENGTHS, backend=backend)
    for name in inputs:
        alone = {key: t.detach().requires_grad_(key == name) for key, t in inputs.items()}
        actual = everything(recurrence, alone, LENGTHS, backend=backend)
        assert_close(actual, {key: t for key, t in expected.items() if key in actual}, 1e-6)
        assert f"d {name}" in actual


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_only_one_result_is_used(backend: str, recurrence: str, position: int) -> None:
    inputs = make(recurrence, 3, 5, 4, 6, F32)

    def gradients(backend: str) -> tuple[Tensor | None, ...]:
        results = call(recurrence, inputs, LENGTHS, backend=backend)
        used = results[position % len(results)]
        return torch.autograd.grad(loss((used,)), list(inputs.values()), materialize_grads=True)

    for left, right in zip(gradients(backend), gradients("reference"), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_backward_twice_gives_the_same(backend: str, recurrence: str) -> None:
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    results, given = call(recurrence, inputs, LENGTHS, backend=backend), list(inputs.values())
    first = torch.autograd.grad(loss(results), given, retain_graph=True)
    second = torch.autograd.grad(loss(results), given)
    for left, right in zip(second, first, strict=True):
        assert torch.equal(left, right)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_results_do_not_depend_on_the_mode(backend: str, recurrence: str, mode: Any) -> None:
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    expected = call(recurrence, inputs, LENGTHS, backend=backend)
    with mode():
        actual = call(recurrence, inputs, LENGTHS, backend=backend)
    for left, right in zip(actual, expected, strict=True):
        assert right.requires_grad
        assert not left.requires_grad
        torch.testing.assert_close(left, right.detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("backend", "recurrence"), [pair for pair in EVERY if pair.values[0] in ("gemm", "cpu")])
def test_gradients_have_memory_of_their_own(backend: str, recurrence: str) -> None:
    """What clips them in place would otherwise scale twice."""
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    gradients = torch.autograd.grad(loss(call(recurrence, inputs, backend=backend)), list(inputs.values()))
    assert len({g.untyped_storage().data_ptr() for g in gradients}) == len(gradients)


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_the_caller_may_use_lengths_again(backend: str, recurrence: str) -> None:
    inputs, lengths = make(recurrence, 3, 5, 4, 6, F32), LENGTHS.clone()
    expected = everything(recurrence, inputs, LENGTHS, backend=backend)
    results = call(recurrence, inputs, lengths, backend=backend)
    lengths.fill_(999)
    for tensor, gradient in zip(inputs, torch.autograd.grad(loss(results), list(inputs.values())), strict=True):
        assert torch.equal(gradient, expected[f"d {tensor}"])


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_saved_tensors_may_come_back_laid_out_otherwise(backend: str, recurrence: str) -> None:
    """As from a disk, or another device."""
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    expected = everything(recurrence, inputs, LENGTHS, backend=backend)
    for pack in (torch.clone, lambda t: t.transpose(0, -1).contiguous().transpose(0, -1)):
        with saved_tensors_hooks(pack, lambda t: t):
            actual = everything(recurrence, inputs, LENGTHS, backend=backend)
        assert_close(actual, expected, 1e-6)


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_checkpoints(backend: str, recurrence: str) -> None:
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    given, expected = list(inputs.values()), everything(recurrence, inputs, LENGTHS, backend=backend)

    def scan(*tensors: Tensor) -> tuple[Tensor, ...]:
        return call(recurrence, dict(zip(inputs, tensors, strict=True)), LENGTHS, backend=backend)

    gradients = torch.autograd.grad(loss(checkpoint(scan, *given, use_reentrant=False)), given)
    assert_same_bits(dict(zip(inputs, gradients, strict=True)), {name: expected[f"d {name}"] for name in inputs})


class NothingComesBack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sum()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> None:
        return None


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_no_gradient_comes_back(backend: str, recurrence: str, create_graph: bool) -> None:
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    total = sum(NothingComesBack.apply(result) for result in call(recurrence, inputs, backend=backend))
    gradients = torch.autograd.grad(total, list(inputs.values()), create_graph=create_graph, allow_unused=True)
    assert all(gradient is None or not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(("backend", "recurrence"), backends_of(*GATES))
def test_last_only_has_the_gradients_of_the_last_state(backend: str, recurrence: str, create_graph: bool) -> None:
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    given = list(inputs.values())
    y, *final = call(recurrence, inputs, LENGTHS, backend=backend, last_only=True)
    assert y.shape == (3, 0, 6)
    expected = torch.autograd.grad(loss(call(recurrence, inputs, LENGTHS, backend=backend)[1:]), given)
    actual = torch.autograd.grad(y.sum() + loss(tuple(final)), given, create_graph=create_graph)
    for left, right in zip(actual, expected, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_results_changed_in_place_are_refused_or_do_no_harm(backend: str, recurrence: str) -> None:
    inputs = make(recurrence, 3, 5, 4, 6, F32)
    given, expected = list(inputs.values()), everything(recurrence, inputs, backend=backend)
    for position in range(len(call(recurrence, inputs, backend=backend))):
        results = call(recurrence, inputs, backend=backend)
        refused = None
        try:
            results[position].mul_(2)
            changed = tuple(r / 2 if i == position else r for i, r in enumerate(results))
            actual = torch.autograd.grad(loss(changed), given)
        except RuntimeError as error:
            refused = str(error)
        if refused is None:
            assert_close(dict(zip(inputs, actual, strict=True)), {name: expected[f"d {name}"] for name in inputs}, 1e-5)
        else:
            assert "inplace" in refused


@pytest.mark.parametrize(("backend", "recurrence"), EVERY)
def test_inputs_of_lazily_negated_memory(backend: str, recurrence: str) -> None:
    """A conjugate's imaginary part is such: the negative of what its memory holds."""
    inputs = {name: t.detach() for name, t in make(recurrence, 3, 5, 1, 1, F32).items()}
    for name, tensor in inputs.items():
        negated = torch.complex(tensor, -tensor).squeeze(-1).conj().imag.unsqueeze(-1)
        if tensor.dim() == 1:
            negated = torch.complex(tensor, -tensor).conj().imag
        assert negated.is_neg()
        actual = call(recurrence, inputs | {name: negated}, backend=backend)
        for left, right in zip(actual, call(recurrence, inputs, backend="reference"), strict=True):
            torch.testing.assert_close(left, right)
