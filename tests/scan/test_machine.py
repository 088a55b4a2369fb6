"""The machine that carries out programs, against plain loops in float64: everything that a scan gives."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from emulator import OPERATIONS
from forked import forked
from programs import CASES, Case, after, gru, kept, lstm, raw, skip, stage, tanh_rnn, x
from unroll.bench.clock import torch_threads
from unroll.compiler.program import Op, Product, Program, Reduction, Steps
from unroll.scan.cpu import AVAILABLE, OVERREAD, kernels

pytestmark = pytest.mark.skipif(kernels is None, reason="the kernels are not built")
SETS = [*AVAILABLE["fp32"], *AVAILABLE["bf16"]]
TOLERANCES = {**dict.fromkeys(AVAILABLE["fp32"], 2e-5), **dict.fromkeys(AVAILABLE["bf16"], 6e-2)}


@dataclass(frozen=True)
class Task:
    """What a scan starts from, and the gradients of a loss by its outputs and its final state."""

    weights: tuple[Tensor, ...]
    x: Tensor
    initial: tuple[Tensor, ...]
    lengths: Tensor | None
    reverse: bool
    dy: Tensor
    dends: tuple[Tensor, ...]


def task(case: Case, batch: int, time: int, ragged: bool = False, reverse: bool = False) -> Task:
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    widths = case.program.widths
    lengths = torch.randint(0, time + 1, (batch,), generator=generator) if ragged else None
    return Task(
        tuple(normal(*shape) / max(1, shape[-1]) ** 0.5 for shape in case.shapes),
        normal(batch, time, case.program.inputs),
        tuple(normal(batch, width) for width in widths),
        lengths,
        reverse,
        normal(batch, time, widths[0]),
        tuple(normal(batch, width) for width in widths),
    )


def expected(case: Case, t: Task) -> dict[str, Tensor]:
    """Outputs, final states and all gradients by a loop in float64."""

    def leaf(tensor: Tensor) -> Tensor:
        return tensor.double().requires_grad_()

    weights, x, initial = tuple(map(leaf, t.weights)), leaf(t.x), tuple(map(leaf, t.initial))
    batch, time, _ = x.shape
    lengths = torch.full((batch,), time) if t.lengths is None else t.lengths
    state, outputs = initial, [torch.empty(0)] * time
    for i in reversed(range(time)) if t.reverse else range(time):
        goes_on = (i < lengths).unsqueeze(1)
        new = case.step(weights, x[:, i], state)
        state = tuple(torch.where(goes_on, part, old) for part, old in zip(new, state, strict=True))
        outputs[i] = torch.where(goes_on, state[0], 0)
    y = torch.stack(outputs, 1)
    loss = (y * t.dy).sum() + sum((end * dend).sum() for end, dend in zip(state, t.dends, strict=True))
    grads = torch.autograd.grad(loss, (*weights, x, *initial), allow_unused=True, materialize_grads=True)
    return named(y, state, grads)


def named(y: Tensor, ends: Sequence[Tensor], grads: Sequence[Tensor]) -> dict[str, Tensor]:
    return {
        "y": y.detach(),
        **{f"end {i}": end.detach() for i, end in enumerate(ends)},
        **{f"gradient {i}": grad for i, grad in enumerate(grads)},
    }


def padded(*shape: int) -> Tensor:
    """Not a number, with as much of it behind as a kernel may read."""
    count = torch.Size(shape).numel()
    return torch.full((count + OVERREAD,), torch.nan)[:count].view(shape)


def addresses(tensors: Sequence[Tensor]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]


def carried_out(case: Case, t: Task, isa: str, threads: int = 1, stretch: int = 0) -> dict[str, Tensor]:
    """What the machine gives, of both passes."""
    program, weights = case.program, t.weights
    batch, time, inputs = t.x.shape
    lengths = 0 if t.lengths is None else t.lengths.data_ptr()
    layout = kernels.Layout(isa, threads, kernels.Program(program), t.reverse, batch, time, lengths)
    states, ends = [padded(time + 1, batch, n) for n in program.widths], [padded(batch, n) for n in program.widths]
    steps, saved = padded(time, batch, inputs), padded(time, batch, program.kept)
    of_weights, of_initial = addresses(weights), addresses(t.initial)
    kernels.forward(
        layout, of_weights, t.x.data_ptr(), *t.x.stride()[:2], of_initial, addresses(states), time + 1,
        addresses(ends), steps.data_ptr(), saved.data_ptr(),
    )  # fmt: skip
    y = states[0][:-1] if t.reverse else states[0][1:]
    if t.lengths is not None:
        y = torch.where((torch.arange(time)[:, None] < t.lengths).unsqueeze(2), y, 0)
    starts = [dend.clone() for dend in t.dends]
    grads, dx = [torch.zeros_like(weight) for weight in weights], padded(time, batch, inputs)
    kernels.backward(
        layout, of_weights, addresses(states), saved.data_ptr(), steps.data_ptr(), t.dy.data_ptr(),
        *t.dy.stride()[:2], stretch, addresses(starts), True, addresses(grads), dx.data_ptr(),
    )  # fmt: skip
    return named(y.transpose(0, 1), ends, (*grads, dx.transpose(0, 1), *starts))


def inferred(case: Case, t: Task, isa: str, threads: int = 1) -> list[Tensor]:
    """The final state, without anything for a backward pass."""
    batch, time, _ = t.x.shape
    lengths = 0 if t.lengths is None else t.lengths.data_ptr()
    layout = kernels.Layout(isa, threads, kernels.Program(case.program), t.reverse, batch, time, lengths)
    states, ends = [padded(2, batch, n) for n in case.program.widths], [padded(batch, n) for n in case.program.widths]
    kernels.forward(
        layout, addresses(t.weights), t.x.data_ptr(), *t.x.stride()[:2], addresses(t.initial), addresses(states), 2,
        addresses(ends), 0, 0,
    )  # fmt: skip
    return ends


def assert_close(actual: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float) -> None:
    assert actual.keys() == wanted.keys()
    for name, value in wanted.items():
        scale = max(1.0, value.abs().max().item()) if value.numel() else 1.0
        error = (actual[name].double() - value).abs().max().item() / scale if value.numel() else 0.0
        assert error < tolerance, f"{name}: {error:.1e}"


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("ragged", [False, True], ids=["full", "ragged"])
@pytest.mark.parametrize("name", CASES)
def test_everything_agrees_with_the_loop(name: str, ragged: bool, reverse: bool, isa: str) -> None:
    case = CASES[name](5, 17)
    t = task(case, 23, 6, ragged, reverse)
    wanted = expected(case, t)
    assert_close(carried_out(case, t, isa), wanted, TOLERANCES[isa])
    ends = {f"end {i}": end for i, end in enumerate(inferred(case, t, isa))}
    assert_close(ends, {key: value for key, value in wanted.items() if key in ends}, TOLERANCES[isa])


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize(("batch", "inputs", "hidden"), [(1, 1, 1), (2, 3, 3), (3, 1, 33), (70, 28, 150), (41, 17, 16)])
@pytest.mark.parametrize("name", CASES)
def test_odd_sizes(name: str, batch: int, inputs: int, hidden: int, isa: str) -> None:
    case = CASES[name](inputs, hidden)
    t = task(case, batch, 4, ragged=True)
    assert_close(carried_out(case, t, isa), expected(case, t), TOLERANCES[isa])


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "backwards"])
@pytest.mark.parametrize("name", CASES)
def test_stretches_of_time(name: str, reverse: bool, isa: str) -> None:
    case = CASES[name](3, 20)
    t = task(case, 5, 11, ragged=True, reverse=reverse)
    wanted = expected(case, t)
    for stretch in (1, 4, 11):
        assert_close(carried_out(case, t, isa, stretch=stretch), wanted, TOLERANCES[isa])


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("name", CASES)
def test_same_bits_with_two_threads(name: str, isa: str) -> None:
    case = CASES[name](4, 33)
    t = task(case, 37, 5, ragged=True)
    with torch_threads(2):
        one, two = (carried_out(case, t, isa, threads) for threads in (1, 2))
    for key, value in one.items():
        assert value.equal(two[key]), key


@pytest.mark.parametrize("name", ["softmax", "gru"])
def test_many_weights_are_shared_by_columns(name: str) -> None:
    case = CASES[name](300, 520)
    t = task(case, 37, 2)
    one, two = (carried_out(case, t, SETS[0], threads) for threads in (1, 2))
    assert_close(one, expected(case, t), TOLERANCES[SETS[0]])
    for key, value in one.items():
        assert value.equal(two[key]), key


def test_x_without_any_product() -> None:
    case = skip(17, 17, has_products=False)
    t = task(case, 9, 5, ragged=True)
    wanted = expected(case, t)
    for isa in SETS:
        assert_close(carried_out(case, t, isa), wanted, TOLERANCES[isa])


def test_numbers_past_a_length_do_not_matter() -> None:
    for name, make in CASES.items():
        case = make(6, 6)
        t = task(case, 7, 5, ragged=True)
        assert t.lengths is not None
        spoilt = t.x.masked_fill((torch.arange(5) >= t.lengths[:, None]).unsqueeze(2), torch.nan)
        clean, other = carried_out(case, t, SETS[0]), carried_out(case, replace(t, x=spoilt), SETS[0])
        for key, value in clean.items():
            assert value.equal(other[key]), (name, key)


def test_strides_of_x_and_dy() -> None:
    case = gru(3, 5)
    t = task(case, 4, 6)
    time_first = replace(t, x=t.x.transpose(0, 1).contiguous().transpose(0, 1), dy=t.dy.transpose(0, 1).contiguous())
    time_first = replace(time_first, dy=time_first.dy.transpose(0, 1))
    assert not time_first.x.is_contiguous()
    for key, value in carried_out(case, t, SETS[0]).items():
        assert value.equal(carried_out(case, time_first, SETS[0])[key]), key


def elementwise(op: Op, arguments: int, width: int) -> Program:
    """h' = op(x) of one step; further arguments are x's next units."""
    case = tanh_rnn(arguments * width, width)
    operands = tuple(x(i * width) for i in range(arguments))
    steps = Steps(0, (stage(width, (op, after(), *operands)),))
    return case.program._replace(infer=steps, forward=steps)


def result(program: Program, x: Tensor, isa: str) -> Tensor:
    weights = [torch.zeros(size) for size in program.sizes]
    layout = kernels.Layout(isa, 1, kernels.Program(program), False, len(x), 1, 0)
    states, end = padded(2, len(x), program.widths[0]), padded(len(x), program.widths[0])
    args = [0], [states.data_ptr()], 2, [end.data_ptr()], 0, 0
    kernels.forward(layout, addresses(weights), x.data_ptr(), x.stride(0), 0, *args)
    return end


SPECIAL = [0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan]
LARGE_AND_SMALL = [1e-30, -1e-30, 1e30, -1e30, 88.5, -87.0, 100.0, -110.0]
GATES = (Op.TANH, Op.SIGMOID)
TWO = [op for op in OPERATIONS if Op.ADD <= op <= Op.NE or op in (Op.TANH_BACK, Op.SIGMOID_BACK, Op.TANH_MUL)]
ONE = [op for op in OPERATIONS if op < Op.ADD and op not in GATES]
THREE = [op for op in OPERATIONS if op >= Op.FMA and op not in TWO]


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("op", ONE, ids=lambda op: op.name)
def test_functions_are_accurate(op: Op, isa: str) -> None:
    generator = torch.Generator().manual_seed(3)
    spread = torch.randn(2000, generator=generator)
    values = torch.cat(
        [torch.tensor([*SPECIAL, *LARGE_AND_SMALL]), spread, spread * 30, spread * 1e-4, torch.rand(500) * 1e6 - 1e5]
    )
    wanted = OPERATIONS[op](values.double()).float()
    wanted[wanted.abs() < torch.finfo(torch.float32).tiny] = 0  # denormal numbers are flushed
    torch.testing.assert_close(
        result(elementwise(op, 1, 33), rows_of(values, 33), isa).flatten()[: len(values)],
        wanted, rtol=1e-6, atol=1.2e-38, equal_nan=True,
    )  # fmt: skip


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("op", GATES, ids=lambda op: op.name)
def test_gates_are_accurate(op: Op, isa: str) -> None:
    values = torch.cat([torch.tensor([*SPECIAL, *LARGE_AND_SMALL]), torch.linspace(-20, 20, 999)])
    wanted = OPERATIONS[op](values.double()).float()
    actual = result(elementwise(op, 1, 33), rows_of(values, 33), isa).flatten()[: len(values)]
    torch.testing.assert_close(actual, wanted, rtol=0, atol=4e-7, equal_nan=True)


def rows_of(values: Tensor, width: int) -> Tensor:
    return torch.nn.functional.pad(values, (0, -len(values) % width)).view(-1, width)


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("op", [*TWO, *THREE], ids=lambda op: op.name)
def test_operations_are_those_of_torch(op: Op, isa: str) -> None:
    special = torch.tensor([*SPECIAL, 2.5, -0.5, 0.3])
    count = 2 if op in TWO else 3
    arguments = torch.cartesian_prod(*[special] * count).unbind(1)
    wanted = OPERATIONS[op](*(a.double() for a in arguments)).float()
    x = torch.cat([rows_of(a, 5) for a in arguments], 1)
    actual = result(elementwise(op, count, 5), x, isa).flatten()
    torch.testing.assert_close(actual, wanted, rtol=1e-6, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("isa", SETS)
@pytest.mark.parametrize("maximum", [False, True], ids=["sum", "maximum"])
@pytest.mark.parametrize("width", [1, 3, 16, 37])
def test_reductions_keep_nan(width: int, maximum: bool, isa: str) -> None:
    values = torch.randn(8, width, generator=torch.Generator().manual_seed(1))
    values[torch.arange(4), torch.arange(4) * (width - 1) // 3] = torch.nan
    values[4, 0] = torch.inf
    values[5, -1] = -torch.inf
    case = tanh_rnn(width, width)
    steps = Steps(1, (Reduction(raw(0), maximum, x(), width), stage(width, (Op.EXPAND, after(), raw(0)))))
    wanted = (values.amax(1) if maximum else values.double().sum(1).float()).unsqueeze(1).expand(-1, width)
    actual = result(case.program._replace(infer=steps, forward=steps), values, isa)
    torch.testing.assert_close(actual, wanted, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_only_wanted_gradients_are_added() -> None:
    case = lstm(3, 5)
    t = task(case, 4, 6)
    wanted = expected(case, t)
    program, (batch, time, inputs) = case.program, t.x.shape
    layout = kernels.Layout(SETS[0], 1, kernels.Program(program), False, batch, time, 0)
    states, ends = [padded(time + 1, batch, 5) for _ in range(2)], [padded(batch, 5) for _ in range(2)]
    steps, saved = padded(time, batch, inputs), padded(time, batch, program.kept)
    of_weights = addresses(t.weights)
    kernels.forward(
        layout, of_weights, t.x.data_ptr(), *t.x.stride()[:2], addresses(t.initial), addresses(states), time + 1,
        addresses(ends), steps.data_ptr(), saved.data_ptr(),
    )  # fmt: skip
    grad = torch.ones_like(t.weights[1])
    starts = [dend.clone() for dend in t.dends]
    kernels.backward(
        layout, of_weights, addresses(states), saved.data_ptr(), steps.data_ptr(), t.dy.data_ptr(),
        *t.dy.stride()[:2], 0, addresses(starts), False, [0, grad.data_ptr(), 0, 0], 0,
    )  # fmt: skip
    torch.testing.assert_close(grad.double() - 1, wanted["gradient 1"], rtol=1e-4, atol=1e-4)


def broken() -> dict[str, tuple[Program, str]]:
    program = gru(3, 5).program
    product = program.infer.phases[0]
    assert isinstance(product, Product)

    def stages(*instructions: object) -> Program:
        return program._replace(infer=Steps(64, (stage(5, *instructions),)))  # type: ignore[arg-type]

    return {
        "fields": (program[:-1], "16 fields"),  # type: ignore[dict-item]
        "raw": (program._replace(infer=Steps(3, program.infer.phases)), "beyond the end of its place"),
        "tensor": (program._replace(sizes=(3, 4, 5, 6)), "beyond the end of their tensor"),
        "no tensor": (program._replace(sizes=()), "no such tensor"),
        "state": (stages((Op.COPY, after(1), raw(0))), "no such part of the state"),
        "x": (stages((Op.COPY, after(), x())), "beyond the end of its place"),
        "kept": (stages((Op.COPY, after(), kept(0))), "reads what is not there"),
        "written x": (stages((Op.COPY, x()._replace(column=-2), after())), "a size is negative"),
        "bias": (program._replace(infer=Steps(64, (product._replace(bias=19),))), "a bias is beyond the end"),
        "past": (program._replace(past=((), ())), "more lists of past products"),
        "operation": (stages((19, after(), after())), "no such operation"),
        "no argument": (stages((Op.ADD, after(), raw(0))), "operand has 3 fields"),
        "no tuple": (program._replace(widths=[5]), "neither a tuple"),  # type: ignore[arg-type]
    }


@pytest.mark.parametrize("name", broken())
def test_wrong_programs_are_refused(name: str) -> None:
    program, reason = broken()[name]
    with pytest.raises(ValueError, match=reason):
        kernels.Program(tuple(program))


TOO_LARGE = """
import resource
import sys

import torch

from programs import gru
from unroll.scan.cpu import OVERREAD, kernels

case = gru(3, 5)
program = kernels.Program(case.program._replace(infer=case.program.infer._replace(raw=1 << 27)))
weights, x = [torch.randn(shape) for shape in case.shapes], torch.randn(64, 2, 3)
states, end = torch.empty(2 * 64 * 5 + OVERREAD), torch.empty(64 * 5)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30),) * 2)
for threads in (1, 2):
    layout = kernels.Layout("generic", threads, program, False, 64, 2, 0)
    at = x.data_ptr(), 6, 3, [0], [states.data_ptr()], 2, [end.data_ptr()], 0, 0
    try:
        kernels.forward(layout, [weight.data_ptr() for weight in weights], *at)
    except MemoryError:
        print("MemoryError")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit of the memory")
def test_a_lack_of_memory_is_an_exception_in_python() -> None:
    with forked(code=TOO_LARGE) as process:
        _, out, err = process.rest()
    assert out.split() == ["MemoryError"] * 2, out + err
