"""Scans of any cell whose step the compiler understands, in the kernels (`csrc/machine.h`), for float32 on the CPU."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from threading import Lock
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .. import compiler
from ..compiler import Plan
from ..compiler.evaluate import evaluate
from ..compiler.kind import copied, neutral
from ..compiler.program import Place, Stage
from ..compiler.prologue import Prologue
from ..errors import InputError, NotCompiledError
from . import cpu, reference
from .gemm import differentiable
from .padding import valid_mask

MOST_PROGRAMS = 128  # kinds of which programs are kept, those used last
MOST_NUMBERS = 32  # programs of a kind, for cells that pick other units
TOLERANCE = 1e-4  # of the largest number: between a program and the loop, on first use


class Compiled(NamedTuple):
    """A cell's program, ready for the kernels."""

    plan: Plan
    program: Any
    reads_x: bool  # whether the backward pass needs the input

    def layout(self, batch: int, time: int, lengths: Tensor | None = None, reverse: bool = False, isa: str = "") -> Any:
        """Return a scan's layout for the kernels, by default of float32; ``lengths`` must outlive it."""
        threads = torch.get_num_threads()
        return cpu.kernels.Layout(isa or cpu.ISA, threads, self.program, reverse, batch, time, cpu.address(lengths))

    def reads_parameters(self, cell: nn.Module) -> bool:
        """Tell whether the program reads all of a cell's parameters, and nothing else, as they are."""
        prologue = self.plan.traced.prologue
        if not prologue.is_trivial:
            return False
        read = [id(tensor) for tensor in self.tensors(cell)]
        return len(set(read)) == len(read) and set(read) == {id(parameter) for parameter in cell.parameters()}

    def tensors(self, cell: nn.Module) -> list[Tensor]:
        """Return what the program reads of a cell's parameters, contiguous."""
        return self.plan.traced.prologue.run(cell)


class _Programs:
    """The programs of cells of one kind, by the whole numbers in tensors that they rely on: of nearly all kinds one."""

    def __init__(self) -> None:
        self.prologue: Prologue | None = None  # that says which
        self.known: OrderedDict[tuple[bytes, ...], Compiled | str] = OrderedDict()

    def of(self, cell: nn.Module) -> Compiled | str | None:
        """Return the program of a cell; None if it is not known yet."""
        try:
            return self.known.get(() if self.prologue is None else self.prologue.numbers(cell))
        except (RuntimeError, TypeError) as error:
            return f"the whole numbers that it relies on cannot be read: {error}"

    def add(self, cell: nn.Module, program: Compiled | str) -> None:
        """Keep a program, those of the last numbers alone; where it relies on more than others do, it alone."""
        prologue = program.plan.traced.prologue if isinstance(program, Compiled) else None
        if prologue is not None and (self.prologue is None or prologue.relied - self.prologue.relied):
            self.prologue = prologue
            self.known.clear()
        self.known[() if self.prologue is None else self.prologue.numbers(cell)] = program
        while len(self.known) > MOST_NUMBERS:
            self.known.popitem(last=False)


_known: OrderedDict[Hashable, _Programs] = OrderedDict()
_lock = Lock()


def program_of(cell: Any) -> Compiled | str:
    """Return the program of a cell's step; or why there is none, as words that follow "step() is not compiled: ".

    On first use the program is compared with the loop over `step` on a small batch, with all gradients. Nothing of the
    cell is changed, nor any random state.
    """
    kind = cell.program_kind()
    with _lock:
        programs = _known.get(kind)
        if programs is not None:
            _known.move_to_end(kind)
            program = programs.of(cell)
            if program is not None:
                return program
    program = _compile(cell)
    with _lock:
        _known.setdefault(kind, _Programs()).add(cell, program)
        while len(_known) > MOST_PROGRAMS:
            _known.popitem(last=False)
    return program


def obstacle(cell: Any) -> str:
    """Return why a cell's step has no program, or an empty string if it has one."""
    program = program_of(cell)
    return program if isinstance(program, str) else ""


def _compile(cell: nn.Module) -> Compiled | str:
    try:
        plan = compiler.compile_step(cell)
    except NotCompiledError as error:
        return str(error)
    program = plan.program
    stages = [phase for phase in program.backward.phases if isinstance(phase, Stage)]
    operands = [operand for stage in stages for i in stage.instructions for operand in i[1:] if operand is not None]
    places = [gradient.at.place for gradient in program.gradients] + [operand.place for operand in operands]
    compiled = Compiled(plan, cpu.kernels.Program(program), Place.X in places)
    return _difference(compiled, cell) or compiled


def scan(
    cell: Any, x: Tensor, state: Any, lengths: Tensor | None, reverse: bool, last_only: bool
) -> tuple[Tensor, Any]:
    """Apply a cell that has a program over time; see `unroll.cells.Cell.scan`. At least one sequence and one time step.

    With ``last_only`` the outputs have 0 time steps; without gradients, memory then does not grow with time. Under
    autocast to bfloat16 products are computed in it.

    Raises:
        InputError: x or the state has another shape than the cell's.
    """
    program = program_of(cell)
    assert isinstance(program, Compiled), program
    return _apply(program, cell, x, state, lengths, reverse, last_only)


def _apply(
    compiled: Compiled, cell: Any, x: Tensor, state: Any, lengths: Tensor | None, reverse: bool, last_only: bool
) -> tuple[Tensor, Any]:
    program = compiled.plan.program
    single = isinstance(state, Tensor)
    shapes = [part.shape for part in ([state] if single else state)]
    units = [shape[1:].numel() for shape in shapes]
    if x.dim() != 3 or x.shape[2] != program.inputs:
        raise InputError(f"x must have shape (batch, time, {program.inputs}), got {tuple(x.shape)}")
    if units != [*program.widths] or any(shape[0] != len(x) for shape in shapes):
        expected = ", ".join(f"({len(x)}, {width})" for width in program.widths)
        raise InputError(f"the state must have the shapes {expected}, got {', '.join(str(tuple(s)) for s in shapes)}")
    parts = [part.float().reshape(len(x), -1) for part in ([state] if single else state)]
    with torch.autocast("cpu", enabled=False):
        tensors = compiled.tensors(cell)
    run = _Run(compiled, x, lengths, reverse)
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (x, *tensors, *parts)):
        y, *ends = _Scan.apply(run, last_only, x, *tensors, *parts)  # type: ignore[no-untyped-call]
    else:
        held, ends = run.states(2 if last_only else run.time + 1), run.ends()
        run.forward(x, tensors, parts, held, 2 if last_only else run.time + 1, ends)
        y = run.outputs(held[0], last_only)
    final = [end.view(shape) for end, shape in zip(ends, shapes, strict=True)]
    return y, final[0] if single else type(state)(final) if type(state) in (list, tuple) else tuple(final)


class _Run:
    """A scan's sizes, and its calls of the kernels. Tensors inside are time-first, with padding behind for the kernels.

    held: each part of the state, (time + 1, batch, units) with the initial state where the scan begins, or only 2
    alternating states; steps: x (time, batch, input), zero past each length; kept: (time, batch, numbers), what a step
    keeps for the backward pass.
    """

    def __init__(self, compiled: Compiled, x: Tensor, lengths: Tensor | None, reverse: bool) -> None:
        self.compiled, self.reverse, self.isa = compiled, bool(reverse), cpu.isa(len(x))
        self.batch, self.time, self.inputs = x.shape
        self.widths = compiled.plan.program.widths
        self.lengths = cpu.own(lengths)

    def padded(self, time: int, columns: int) -> Tensor:
        """Return an empty tensor (time and more, batch, columns) that a kernel may read past its ``time`` steps."""
        more = cpu.OVERREAD // max(1, self.batch * columns) + 1
        return torch.empty(time + more, self.batch, max(1, columns), dtype=torch.float32)

    def states(self, slots: int) -> list[Tensor]:
        return [self.padded(slots, width) for width in self.widths]

    def ends(self) -> list[Tensor]:
        """Return empty tensors for the final state, or for gradients by a state."""
        return [torch.empty(self.batch, width, dtype=torch.float32) for width in self.widths]

    def outputs(self, h: Tensor, last_only: bool) -> Tensor:
        if last_only:
            return h.new_empty(self.batch, 0, self.widths[0])
        y = h.narrow(0, 0 if self.reverse else 1, self.time).transpose(0, 1)
        return y if self.lengths is None else torch.where(valid_mask(self.time, self.lengths).unsqueeze(2), y, 0)

    def reference(self, x: Tensor, *given: Any) -> tuple[Tensor, ...]:
        """Return outputs and final state as functions of x, the program's tensors and the initial state."""
        count = len(given) - len(self.widths)
        tensors, state = given[:count], given[count:]
        outputs = self.compiled.plan.outputs
        step = lambda x_t, before: evaluate(outputs, x_t, before, tensors)  # noqa: E731
        y, final = reference.loop(step, x, tuple(state), self.lengths, self.reverse)
        return y, *final

    def layout(self) -> Any:
        return self.compiled.layout(self.batch, self.time, self.lengths, self.reverse, self.isa)

    def forward(
        self,
        x: Tensor,
        tensors: Sequence[Tensor],
        state: Sequence[Tensor],
        held: Sequence[Tensor],
        slots: int,
        ends: Sequence[Tensor],
        steps: Tensor | None = None,
        kept: Tensor | None = None,
    ) -> None:
        """Fill the output tensors, with ``slots`` states in ``held``."""
        # Kept in variables, so that they live until the call is over.
        x = x if x.stride(2) == 1 and not x.is_neg() else cpu.plain(x)
        tensors, state = [*map(cpu.plain, tensors)], [*map(cpu.plain, state)]
        x_batch, x_time, _ = x.stride()
        cpu.kernels.forward(
            self.layout(), _addresses(tensors), cpu.address(x), x_batch, x_time, _addresses(state), _addresses(held),
            slots, _addresses(ends), cpu.address(steps), cpu.address(kept),
        )  # fmt: skip

    def backward(
        self,
        tensors: Sequence[Tensor],
        saved: Sequence[Tensor | None],
        grads: Sequence[Tensor | None],
        needed: Sequence[bool],
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, the tensors and the initial state."""
        (steps, kept, *held), (dy, *ends) = saved, grads
        dy = dy if dy is None or (dy.stride(2) == 1 and not dy.is_neg()) else cpu.plain(dy)
        dy_batch, dy_time = (0, 0) if dy is None else dy.stride()[:2]
        # Gradients of the final state before the call, of the initial state after it.
        starts = [
            torch.zeros(self.batch, width) if end is None else end.clone(memory_format=torch.contiguous_format)
            for end, width in zip(ends, self.widths, strict=True)
        ]
        tensors = [*map(cpu.plain, tensors)]
        count = 1 + len(tensors)
        dw = [torch.zeros_like(w) if need else None for w, need in zip(tensors, needed[1:count], strict=True)]
        dx = torch.empty(self.time, self.batch, self.inputs) if needed[0] else None
        cpu.kernels.backward(
            self.layout(), _addresses(tensors), _addresses(held), cpu.address(kept), cpu.address(steps),
            cpu.address(dy), dy_batch, dy_time, 0, _addresses(starts), any(needed[count:]), _addresses(dw),
            cpu.address(dx),
        )  # fmt: skip
        return None if dx is None else dx.transpose(0, 1), *dw, *starts


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _Run, last_only: bool, x: Tensor, *given: Any) -> tuple[Tensor, ...]:
        count = len(given) - len(run.widths)
        held, ends = run.states(run.time + 1), run.ends()
        steps = run.padded(run.time, run.inputs) if run.compiled.reads_x else None
        kept = run.padded(run.time, run.compiled.plan.program.kept)
        run.forward(x, given[:count], given[count:], held, run.time + 1, ends, steps, kept)
        ctx.save_for_backward(x, *given, steps, kept, *held)
        ctx.run, ctx.last_only = run, last_only
        ctx.set_materialize_grads(False)
        return run.outputs(held[0], last_only), *ends

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        run, needed = ctx.run, ctx.needs_input_grad[2:]
        grads = (None, *grads[1:]) if ctx.last_only else grads
        saved = ctx.saved_tensors  # torch.utils.checkpoint allows access only once
        parts = len(needed)
        if torch.is_grad_enabled():  # create_graph=True: the kernels cannot be differentiated twice
            return None, None, *differentiable(run.reference, saved[:parts], needed, grads)
        tensors = saved[1 : parts - len(run.widths)]
        return None, None, *run.backward(tensors, [*map(cpu.as_saved, saved[parts:])], grads, needed)


def _difference(compiled: Compiled, cell: nn.Module) -> str:
    """Compare a program with the loop on a small batch; return in words where they differ, or an empty string."""
    with neutral(), torch.enable_grad():
        return _differing(compiled, copied(cell))


def _differing(compiled: Compiled, shadow: Any) -> str:
    generator = torch.Generator().manual_seed(0)
    paths = compiled.plan.traced.prologue.paths
    parameters = compiled.plan.traced.prologue.parameters(shadow)
    names = [".".join(filter(None, (module, name))) for module, _, name in paths]
    wanted = [(name, p) for name, p in zip(names, parameters, strict=True) if p.is_floating_point()]
    lengths = torch.tensor([2, 1, 2])

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32)

    for _, parameter in wanted:
        parameter.requires_grad_()
    state = shadow.initial_state(3, dtype=torch.float32, device=torch.device("cpu"))
    single = isinstance(state, Tensor)
    parts = [some(*part.shape).mul_(0.5).requires_grad_() for part in ((state,) if single else state)]
    x = some(3, 2, shadow.input_size).requires_grad_()
    state = parts[0] if single else tuple(parts)
    inputs = [("x", x), *((f"state {i}", part) for i, part in enumerate(parts)), *wanted]
    weights: list[Tensor] = []

    def results(y: Tensor, final: Any) -> list[tuple[str, Tensor]]:
        ends = [final] if single else [*final]
        if not weights:
            weights.extend(some(*end.shape) for end in (y, *ends))
        total = sum((end * weight).sum() for end, weight in zip((y, *ends), weights, strict=True))
        actual: list[tuple[str, Tensor]] = [("the output", y), *((f"state {i}", end) for i, end in enumerate(ends))]
        if isinstance(total, Tensor) and total.requires_grad:
            gradients = torch.autograd.grad(total, [tensor for _, tensor in inputs], allow_unused=True)
            for (name, tensor), gradient in zip(inputs, gradients, strict=True):
                actual.append((f"the gradient by {name}", torch.zeros_like(tensor) if gradient is None else gradient))
        return actual

    try:
        with _Hooks() as hooks:
            looped = reference.loop(shadow.step, x, state, lengths)  # type: ignore[type-var]
        if hooks.any_registered:
            return "it registers a hook on a tensor, which a program would leave out"
        if name := _own_gradient([looped[0], *([looped[1]] if single else looped[1])]):
            return f"{name} has gradients of its own, which a program would leave out"
        exact = results(*looped)
    except Exception:
        return "the loop over its step fails"  # where the user sees the whole of it
    try:
        ours = results(*_apply(compiled, shadow, x, state, lengths, False, False))
    except Exception as error:
        return f"its program cannot be run: {type(error).__name__}: {error}"
    for (name, right), (_, actual) in zip(exact, ours, strict=True):
        most = TOLERANCE * (1 + right.abs().max().nan_to_num(0, 0).item()) if right.numel() else 0.0
        if not torch.allclose(right, actual, rtol=0, atol=most, equal_nan=True):
            if "gradient" in name:
                return f"its program and its loop differ in {name}, as if step stopped or replaced gradients"
            return (
                f"its program and its loop differ in {name}: step must depend on x, the state and parameters alone, "
                "not on the size of the batch or on what changes elsewhere"
            )
    return ""


class _Hooks(TorchFunctionMode):
    """Notes whether hooks are registered on tensors.

    A hook, as a `torch.autograd.Function`, may act on large gradients alone, so that a comparison does not show it.
    """

    any_registered = False

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.any_registered |= getattr(function, "__name__", "") == "register_hook"
        return function(*args, **(kwargs or {}))


def _own_gradient(results: Sequence[Tensor]) -> str:
    """Return the name of a `torch.autograd.Function` that results depend on; empty if there is none."""
    waiting, seen = [result.grad_fn for result in results], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            return type(node).__name__.removesuffix("Backward")
        waiting += [below for below, _ in node.next_functions]
    return ""


def _addresses(tensors: Sequence[Tensor | None]) -> list[int]:
    return [*map(cpu.address, tensors)]
