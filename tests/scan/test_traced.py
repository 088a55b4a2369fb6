"""Who must see each operation, sees them: compiling, exporting, tracing, torch.func, forward-mode derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx

import unroll
from recurrences import MISSING, RECURRENCES, Tensors, call, loss, make
from unroll import InputError
from unroll.scan import choose_backend

F32 = torch.float32
pytestmark = [  # torch's own, where it loads its forward-mode rules and where it traces
    pytest.mark.filterwarnings("ignore:`torch.jit.script. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated. Methods on autograd functions:DeprecationWarning"),
]


def model_and_inputs(cell: str = "rnn", **options: Any) -> tuple[unroll.SequenceClassifier, Tensor, Tensor]:
    """Return a small classifier, and two batches that it may not take for one another."""
    model = unroll.SequenceClassifier(3, 2, cell=cell, hidden_size=4, **options)
    return model.eval(), torch.randn(2, 3, 3), torch.randn(2, 3, 3)


CELLS = ["rnn", "gru", "lstm"]


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "num_layers": 2}], ids=["one layer", "both ways"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.slow
def test_export(cell: str, options: dict[str, Any]) -> None:
    model, x, unseen = model_and_inputs(cell, **options)
    exported = torch.export.export(model, (x,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(unseen), model(unseen))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.slow
def test_compile_in_one_graph(cell: str) -> None:
    model, x, unseen = model_and_inputs(cell)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    compiled(x).sum().backward()
    compiled_gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    for gradient, parameter in zip(compiled_gradients, model.parameters(), strict=True):
        torch.testing.assert_close(gradient, parameter.grad)
    with torch.no_grad():
        torch.testing.assert_close(compiled(unseen), model(unseen))


@MISSING
@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"
)  # dynamo looks at it
@pytest.mark.parametrize("lengths", [None, torch.tensor([3, 2])], ids=["full", "lengths"])
@pytest.mark.slow
def test_compiling_goes_around_kernels_that_were_asked_for(lengths: Tensor | None) -> None:
    model, x, _ = model_and_inputs(backend="cpu")
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x, lengths), model(x, lengths))


def function_of(recurrence: str) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """Return a scan as a function of its first input, and two values of that."""
    inputs: Tensors = {name: t.detach() for name, t in make(recurrence, 3, 4, 2, 5, F32).items()}
    first = next(iter(inputs))

    def scan(x: Tensor, backend: str = "auto") -> Tensor:
        return loss(call(recurrence, inputs | {first: x}, backend=backend))

    return scan, inputs[first], torch.randn_like(inputs[first])


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_make_fx_does_not_take_results_for_constants(recurrence: str) -> None:
    scan, x, unseen = function_of(recurrence)
    torch.testing.assert_close(make_fx(lambda x: scan(x))(x)(unseen), scan(unseen))


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")  # it is still in use, as by older exporters
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning")
def test_jit_trace_does_not_take_results_for_constants(recurrence: str) -> None:
    scan, x, unseen = function_of(recurrence)
    torch.testing.assert_close(torch.jit.trace(scan, (x,), check_trace=False)(unseen), scan(unseen))


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("gradients", [True, False])
def test_fake_tensors_have_no_memory_to_read(recurrence: str, gradients: bool) -> None:
    with FakeTensorMode(), torch.set_grad_enabled(gradients):
        y, *_ = call(recurrence, make(recurrence, 3, 4, 2, 5, F32))
    assert y.shape == (3, 4, 5)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_torch_func(recurrence: str) -> None:
    scan, x, unseen = function_of(recurrence)
    both = torch.stack([x, unseen])
    torch.testing.assert_close(torch.func.vmap(scan)(both), torch.stack([scan(x), scan(unseen)]))
    gradient = torch.func.grad(scan)(x)
    given = x.clone().requires_grad_()
    torch.testing.assert_close(gradient, torch.autograd.grad(scan(given), given)[0])
    _, along = torch.func.jvp(scan, (x,), (unseen,))
    torch.testing.assert_close(along, (gradient * unseen).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("gradients", [True, False])
def test_forward_mode_derivatives(recurrence: str, gradients: bool) -> None:
    scan, x, unseen = function_of(recurrence)
    given = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(scan(given), given)
    with forward_ad.dual_level(), torch.set_grad_enabled(gradients):
        along = forward_ad.unpack_dual(scan(forward_ad.make_dual(x, unseen))).tangent
    assert along is not None
    torch.testing.assert_close(along, (gradient * unseen).sum(), rtol=1e-4, atol=1e-4)


@MISSING
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_the_kernels_say_why_not(recurrence: str) -> None:
    scan, x, unseen = function_of(recurrence)
    with pytest.raises(InputError, match="backend 'cpu' cannot be used while torch.func must see each operation"):
        torch.func.grad(lambda x: scan(x, "cpu"))(x)
    with forward_ad.dual_level(), pytest.raises(InputError, match="while forward-mode differentiation must see each"):
        scan(forward_ad.make_dual(x, unseen), "cpu")
    with FakeTensorMode():
        choice = choose_backend("auto", torch.empty(3, 4, 2), training=False)
    assert choice == ("reference", "a dispatch mode (fake tensors, make_fx) must see each operation")
