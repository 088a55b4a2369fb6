"""What a step becomes as a graph, what is refused and in which words, and that compiling leaves no trace."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import random
import re
import sys
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.modules.module import register_module_forward_hook

from cell_scans import COMPILED, everything, exact, make, task
from own_cells import Leaky, OneState, OwnGRU, OwnLSTM
from recurrences import MISSING, assert_close
from unroll import Cell
from unroll.compiler import Plan, compile_step
from unroll.compiler.graph import Node, ordered
from unroll.compiler.kind import kind_of
from unroll.scan import compiled
from unusual_cells import (
    EITHER,
    REFUSED,
    Antisymmetric,
    Averaged,
    Concatenated,
    CountedSteps,
    Counting,
    Rolled,
    Tied,
)

INPUTS, HIDDEN = 3, 4
Step = Callable[["Small", Tensor, Any], Any]


class Small(OneState):
    """A step given as a function of the cell, x and h."""

    def __init__(self, function: Step) -> None:
        super().__init__(INPUTS, HIDDEN)
        self.function = function
        self.w, self.u = nn.Parameter(torch.randn(HIDDEN, INPUTS)), nn.Parameter(torch.randn(HIDDEN, HIDDEN))
        self.b, self.s = nn.Parameter(torch.randn(HIDDEN)), nn.Parameter(torch.randn(()))
        self.both = nn.Parameter(torch.randn(HIDDEN, INPUTS + HIDDEN))
        self.register_buffer("mean", torch.zeros(HIDDEN))
        self.register_buffer("order", torch.tensor([2, 0, 3, 1]))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        new: Tensor = self.function(self, x, state)
        return new


class Writer:
    """Writes a graph as formulas, with the names of parameters; "·" stands for what the prologue makes."""

    def __init__(self, plan: Plan) -> None:
        prologue = plan.traced.prologue
        self.names = [prologue.paths[made.item][2] if made.call == -1 else "·" for made in prologue.results]
        self.plan = plan

    def __str__(self) -> str:
        return "; ".join(" | ".join(map(self.of, pieces)) for pieces in self.plan.outputs)

    def of(self, node: Node) -> str:
        inputs = [self.of(below) for below in node.inputs]
        if node.operation in ("x", "state"):
            part, first = node.data
            whole = self.plan.traced.inputs if node.operation == "x" else self.plan.traced.widths[part]
            name = "x" if node.operation == "x" else "hc"[part]
            return name if node.width == whole else f"{name}[{first}:{first + node.width}]"
        if node.operation == "unit":
            return self.of_vector(node.data, node.width)
        if node.operation == "constant":
            return f"{node.data:g}"
        if node.operation == "affine":
            matrices, biases = node.data
            terms = [f"{left} @ {self.names[m.tensor]}" for left, m in zip(inputs, matrices, strict=True)]
            return " + ".join([*terms, *(self.of_vector(bias, node.width) for bias in biases)])
        return f"{node.operation}({', '.join(inputs)})"

    def of_vector(self, vector: Any, width: int) -> str:
        name = self.names[vector.tensor]
        whole = vector.offset == 0 and (vector.stride, width) in ((1, HIDDEN), (0, HIDDEN))
        return name if whole else f"{name}[{vector.offset}:{vector.offset + width}:{vector.stride}]"


def assigned(h: Tensor) -> Tensor:
    new = h.clone()
    new[:, :2] = 0.5
    new[:, 3] = h[:, 0]
    return new.mul_(2)


def through_views(h: Tensor) -> Tensor:
    new = h.clone()
    new.view(-1, 2, 2)[:, 1].add_(1)
    return new


def of_zeros(x: Tensor, h: Tensor) -> Tensor:
    new = torch.zeros(x.shape[0], HIDDEN)
    new[:, 1:3] = h[:, :2]
    return new


GRAPHS: dict[str, tuple[Step, str]] = {
    "sums": (lambda m, x, h: torch.tanh(F.linear(x, m.w, m.b) + F.linear(h, m.u)), "tanh(x @ w + h @ u + b)"),
    "order": (lambda m, x, h: m.b + h @ m.u.T + x @ m.w.T, "h @ u + x @ w + b"),
    "difference": (lambda m, x, h: F.linear(x, m.w) - F.linear(h, m.u), "sub(x @ w, h @ u)"),
    "used twice": (lambda m, x, h: (v := F.linear(h, m.u)) * torch.tanh(v), "mul(h @ u, tanh(h @ u))"),
    "a slice": (lambda m, x, h: torch.cat([h[:, 2:], h[:, :2].tanh()], 1), "h[2:4] | tanh(h[0:2])"),
    "neighbours": (lambda m, x, h: torch.cat([h[:, :1], h[:, 1:]], 1), "h[0:1] | h[1:4]"),
    "every other": (lambda m, x, h: h[:, ::2].repeat(1, 2), "h[0:1] | h[2:3] | h[0:1] | h[2:3]"),
    "cat": (lambda m, x, h: F.linear(torch.cat([x, h], 1), m.both), "x @ both + h @ both"),
    "chunks": (
        lambda m, x, h: torch.cat(F.linear(x, m.w, m.b).chunk(2, 1)[::-1], 1),
        "x @ w + b[2:4:1] | x @ w + b[0:2:1]",
    ),
    "list": (lambda m, x, h: h[:, [3, 2, 1, 0]], "h[3:4] | h[2:3] | h[1:2] | h[0:1]"),
    "indices": (lambda m, x, h: h[:, m.order], "h[2:3] | h[0:1] | h[3:4] | h[1:2]"),
    "roll": (lambda m, x, h: h.roll(1, 1), "h[3:4] | h[0:3]"),
    "transposed": (lambda m, x, h: h.view(-1, 2, 2).mT.flatten(1), "h[0:1] | h[2:3] | h[1:2] | h[3:4]"),
    "axes": (lambda m, x, h: h[:, None, :].unsqueeze(3).squeeze().reshape(-1, 4), "h"),
    "expand": (lambda m, x, h: h.sum(1, keepdim=True).expand(-1, 4), "expand(sum(h))"),
    "broadcast": (lambda m, x, h: h * h[:, :1], "mul(h, expand(h[0:1]))"),
    "scalar": (lambda m, x, h: h * m.s, "mul(h, s)"),
    "one of a vector": (lambda m, x, h: h * m.b[1], "mul(h, b[1:5:0])"),
    "prologue": (lambda m, x, h: h * torch.sigmoid(m.b), "mul(h, ·)"),
    "assigned": (lambda m, x, h: assigned(h), "1 | mul(2, h[2:3]) | mul(2, h[0:1])"),
    "through views": (lambda m, x, h: through_views(h), "h[0:2] | add(h[2:4], 1)"),
    "zeros": (lambda m, x, h: of_zeros(x, h), "0 | h[0:2] | 0"),
    "ones": (lambda m, x, h: h * torch.ones_like(h), "h"),
    "folded": (lambda m, x, h: (h * 1 + 0) / 2 - 0 * h, "mul(0.5, h)"),
    "nothing": (lambda m, x, h: 0 * h, "0"),
    "numbers": (lambda m, x, h: h * (torch.tensor(2.0) * 3 + 1), "mul(7, h)"),
    "a list of numbers": (lambda m, x, h: h * torch.tensor([1.0, 2.0, 3.0, 4.0]), "mul(h, ·)"),
    "neg": (lambda m, x, h: -torch.neg(h), "h"),
    "minus": (lambda m, x, h: h + -torch.tanh(h), "sub(h, tanh(h))"),
    "blend": (lambda m, x, h: (1 - h) * torch.tanh(h) + h * torch.exp(h), "lerp(tanh(h), exp(h), h)"),
    "blend, turned": (lambda m, x, h: h * torch.exp(h) + torch.tanh(h) * (1 - h), "lerp(tanh(h), exp(h), h)"),
    "condition": (lambda m, x, h: torch.where(h > 0, h, m.b), "select(gt(h, 0), h, b)"),
    "as a number": (lambda m, x, h: (h <= 0).float(), "ge(0, h)"),
    "detached": (lambda m, x, h: h.detach(), "stop(h)"),
    "input": (lambda m, x, h: torch.cat([x, h[:, :1]], 1), "x | h[0:1]"),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_graphs(name: str) -> None:
    step, expected = GRAPHS[name]
    assert str(Writer(compile_step(Small(step)))) == expected


def test_a_value_is_in_the_graph_once() -> None:
    plan = compile_step(Small(lambda m, x, h: torch.tanh(h) + torch.sigmoid(torch.tanh(h)) * torch.tanh(h)))
    nodes = ordered(node for pieces in plan.outputs for node in pieces)
    assert [node.operation for node in nodes].count("tanh") == 1


def test_names_are_those_of_local_variables() -> None:
    names = {name: node.operation for node, name in compile_step(OwnGRU(INPUTS, HIDDEN)).names.items()}
    assert (names["r"], names["z"], names["n"]) == ("sigmoid", "sigmoid", "tanh")
    assert {"i", "f", "g", "o", "c"} <= set(compile_step(OwnLSTM(INPUTS, HIDDEN)).names.values())
    assert {"z", "n"} == set(compile_step(Concatenated(INPUTS, HIDDEN)).names.values())


def test_a_profiler_goes_on() -> None:
    seen = []
    sys.setprofile(lambda frame, event, argument: seen.append(frame.f_code.co_name))
    try:
        compile_step(OwnGRU(INPUTS, HIDDEN))
        profiler = sys.getprofile()
    finally:
        sys.setprofile(None)
    assert profiler is not None
    assert "step" in seen


PICKS: dict[str, Callable[[Any, Tensor, Tensor], Tensor]] = {
    "index": lambda order, v, h: v[:, order],
    "index_select": lambda order, v, h: v.index_select(1, order),
    "gather": lambda order, v, h: v.gather(1, order.expand(len(v), -1)),
    "constants": lambda order, v, h: v * torch.arange(1.0, 1 + HIDDEN)[order],
    "list": lambda order, v, h: v.roll(order.tolist()[0], 1),
    "numbers": lambda order, v, h: v * order.float(),
    "mask": lambda order, v, h: torch.cat([v[:, order > 1], v[:, order <= 1]], 1),
}


class Picking(OneState):
    """Its step reads whole numbers of its own, which may pick units."""

    order: Tensor

    def __init__(self, pick: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
        super().__init__(INPUTS, HIDDEN)
        self.w, self.pick = nn.Linear(INPUTS, HIDDEN), pick
        self.register_buffer("order", torch.randperm(HIDDEN))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return self.pick(self.order, torch.tanh(self.w(x) + 0.5 * state), state)


@MISSING
@pytest.mark.parametrize("pick", PICKS.values(), ids=PICKS)
def test_cells_that_pick_other_units_are_other_programs(pick: Callable[[Any, Tensor, Tensor], Tensor]) -> None:
    cell, other = Picking(pick), Picking(pick)
    x, state = torch.randn(2, 3, INPUTS), torch.randn(2, HIDDEN)
    with torch.no_grad():
        for number in range(4):
            if number == 2:
                other.load_state_dict(cell.state_dict())
            own = (cell, other)[number % 2]
            if number == 3:
                own.order.copy_(torch.arange(HIDDEN))
            own.backend = "auto"
            found = own.scan(x, state)[0]
            assert compiled.obstacle(own) == ""
            own.backend = "reference"
            torch.testing.assert_close(found, own.scan(x, state)[0])


@MISSING
def test_a_long_index_is_read_anew_however_it_was_changed() -> None:
    cell = Picking(lambda order, v, h: v[:, order % HIDDEN][:, -HIDDEN:])
    cell.order = torch.arange(1500)
    x, state = torch.randn(2, 3, INPUTS), torch.randn(2, HIDDEN)
    with torch.no_grad():
        before = cell.scan(x, state)[0]
        cell.order.numpy()[:] = cell.order.flip(0).numpy()
        found = cell.scan(x, state)[0]
        assert compiled.obstacle(cell) == ""
        cell.backend = "reference"
        torch.testing.assert_close(found, cell.scan(x, state)[0])
    assert not torch.allclose(found, before)


class Updated(Leaky):
    """Counts its scans in a buffer of whole numbers, which its step does not read."""

    updates: Tensor

    def __init__(self) -> None:
        super().__init__(INPUTS, HIDDEN)
        self.register_buffer("updates", torch.tensor(0))

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        self.updates.add_(1)
        return super().initial_state(batch_size, dtype=dtype, device=device)


@MISSING
def test_whole_numbers_that_no_step_reads_change_no_program() -> None:
    cell = Updated()
    programs = {id(compiled.program_of(cell)) for _ in range(3) for _ in [cell.updates.add_(1)]}
    assert len(programs) == 1
    assert compiled.obstacle(cell) == ""


class Scaled(OneState):
    """Reads an array by NumPy's memory, and has more that its step does not read."""

    def __init__(self) -> None:
        super().__init__(INPUTS, HIDDEN)
        self.w, self.scale = nn.Linear(INPUTS, HIDDEN), np.full(HIDDEN, 0.5, np.float32)
        self.words = [str(n) for n in range(2000)]
        self.picture = np.zeros(2000)

    def encoded(self, word: str) -> int:
        return self.words.index(word)

    def plot(self) -> np.ndarray:
        return self.picture * 2

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + state) * torch.from_numpy(self.scale)


@MISSING
def test_what_a_step_does_not_read_may_be_large() -> None:
    cell = Scaled()
    x, state = torch.randn(2, 3, INPUTS), torch.randn(2, HIDDEN)
    with torch.no_grad():
        before = cell.scan(x, state)[0]
        cell.scale[:] = 0.25
        found = cell.scan(x, state)[0]
        assert compiled.obstacle(cell) == ""
        cell.backend = "reference"
        torch.testing.assert_close(found, cell.scan(x, state)[0])
    assert not torch.allclose(found, before)


@MISSING
def test_whole_numbers_that_cannot_be_read_leave_the_loop() -> None:
    cell = Picking(lambda order, v, h: v[:, order.to_dense()])
    cell.order = torch.arange(HIDDEN).to_sparse()
    x, state = torch.randn(2, 3, INPUTS), torch.randn(2, HIDDEN)
    assert compiled.obstacle(cell) != ""
    cell.scan(x, state)


class Owned(OneState):
    """Its own matrix is called as that which recurrent dropout drops."""

    def __init__(self) -> None:
        super().__init__(INPUTS, HIDDEN)
        self.w = nn.Linear(INPUTS, HIDDEN)
        self.weight_hh = nn.Parameter(torch.randn(HIDDEN, HIDDEN) / 2)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + state @ self.weight_hh.T)


@MISSING
def test_with_recurrent_dropout_and_without_are_two_programs() -> None:
    x, state = torch.randn(2, 3, INPUTS), torch.randn(2, HIDDEN)
    for dropout in (0.0, 0.5, 0.0):
        cell = Owned().train()
        cell.recurrent_dropout = dropout
        cell.scan(x, state)[0].sum().backward()
        assert cell.weight_hh.grad is not None


# What is refused

NO_LINE = (Averaged, CountedSteps, Counting)  # what is wrong with them shows before the step, or after it


def refusal(cell: Cell) -> str:
    found = compiled.program_of(cell)
    assert isinstance(found, str)
    return found


@MISSING
@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_is_refused_says_why_and_where(kind: type[Cell]) -> None:
    reason = refusal(make(kind, INPUTS, HIDDEN))
    assert REFUSED[kind] in reason.split(" (unusual_cells.py:")[0]
    if kind in NO_LINE:
        return
    match = re.fullmatch(r".+ \(unusual_cells\.py:(\d+): (.+)\)", reason)
    assert match is not None
    lines, first = inspect.getsourcelines(kind.step)
    assert lines[int(match[1]) - first].strip() == match[2]


@MISSING
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "Checkpointed")) for name in EITHER]
)
def test_what_may_be_compiled_is_or_says_why_not(name: str) -> None:
    found = compiled.program_of(make(EITHER[name], INPUTS, HIDDEN))
    assert isinstance(found, compiled.Compiled) or found


elsewhere = torch.ones(HIDDEN)


def raising(*_: object) -> Tensor:
    raise KeyError("nothing there")


def written(h: Tensor) -> Tensor:
    new = h.clone()
    new[:, [0, 1]] = 0.0
    return new


ONE_BY_ONE = "which a step must treat one by one"
MESSAGES: dict[str, tuple[Step, str]] = {
    "if": (lambda m, x, h: h if bool(h[0, 0] > 0) else -h, "it picks some sequences of the batch, " + ONE_BY_ONE),
    "if of all": (lambda m, x, h: h if bool((h > 0).all()) else -h, "the compiler does not know all"),
    "of a parameter": (
        lambda m, x, h: h if m.s > 0 else -h,
        "a parameter's value decides what step does; a program always does the same",
    ),
    "item": (
        lambda m, x, h: h * m.s.item(),
        "a parameter's value decides what step does; a program always does the same",
    ),
    "a list of a parameter": (
        lambda m, x, h: h * m.b.tolist()[0],
        "a parameter's value decides what step does; a program always does the same",
    ),
    "a list of the state": (
        lambda m, x, h: h * h.tolist()[0][0],
        "it has numbers for each sequence that torch has not computed from x or the state, such as NumPy's",
    ),
    "NumPy's of a parameter": (
        lambda m, x, h: h * float(m.mean.detach().numpy()[0]),
        "a parameter's value decides what step does; a program always does the same",
    ),
    "in the order of a parameter": (lambda m, x, h: h[:, m.b.argsort()], "it picks units by a parameter's value"),
    "where a parameter is positive": (
        lambda m, x, h: h * m.b[m.b > -9].sum(),
        "a parameter's value decides what step does; a program always does the same",
    ),
    "in the order of a global tensor": (
        lambda m, x, h: h[:, elsewhere.long()],
        "it reads a tensor that is not the cell's: make it an attribute or a buffer of the cell",
    ),
    "unknown": (lambda m, x, h: torch.cumsum(h, 1), "the compiler does not know cumsum"),
    "unknown in place": (lambda m, x, h: written(h), "the compiler does not know index_put_"),
    "random": (lambda m, x, h: h + torch.rand(4), "rand draws random numbers, which a program cannot"),
    "mean of the batch": (lambda m, x, h: h - h.mean(0), "it sums over the sequences of the batch, " + ONE_BY_ONE),
    "the sequence before": (lambda m, x, h: h + h.roll(1, 0), "it mixes the sequences of the batch, " + ONE_BY_ONE),
    "a global tensor": (
        lambda m, x, h: h * elsewhere,
        "it reads a tensor that is not the cell's: make it an attribute or a buffer of the cell",
    ),
    "a global number": (
        lambda m, x, h: h * (m.b * elsewhere.sum()),
        "it reads a tensor that is not the cell's: make it an attribute or a buffer of the cell",
    ),
    "a buffer": (lambda m, x, h: h + m.mean.add_(1), "it changes mean, which belongs to the cell"),
    "a buffer as out": (
        lambda m, x, h: h + torch.mul(m.b, 2, out=m.mean),
        "it changes mean, which belongs to the cell",
    ),
    "a parameter": (lambda m, x, h: h + m.b.mul_(2), "it changes b, which belongs to the cell"),
    "the state": (lambda m, x, h: h.add_(1), "it writes into the x or the state that it is given"),
    "float64": (lambda m, x, h: h.double(), "it computes in float64, not in float32"),
    "of each other": (
        lambda m, x, h: (h[:, None] @ h[:, :, None])[:, 0].expand(-1, 4),
        "it multiplies two matrices that both depend on x or the state",
    ),
    "chosen units": (lambda m, x, h: h.gather(1, (h > 0).long()), "it computes in int64, not in float32"),
    "place of a maximum": (
        lambda m, x, h: h.max(1).indices[:, None].expand(-1, 4) * h,
        "unsqueeze uses the place of a maximum, which the compiler does not know",
    ),
    "numbers for each sequence": (
        lambda m, x, h: h * torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[:, None],
        "it has numbers for each sequence that torch has not computed from x or the state, such as NumPy's",
    ),
}


@MISSING
@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    step, message = MESSAGES[name]
    found, _, place = refusal(Small(step)).partition(" (test_tracing.py:")
    assert found == message
    assert place


@MISSING
@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda m, x, h: (h, h), "step returns a tuple of 2 as the new state, given a tensor"),
        (lambda m, x, h: h[:, :2], "step returns a state of shape (2,) per sequence, given one of (4,)"),
        (lambda m, x, h: h + x.sum(1, keepdim=True) > 0, "step returns a state in bool"),
        (lambda m, x, h: (h > 0) * 2, "step returns a state in int64"),
        (lambda m, x, h: None, "step returns NoneType as the new state, given a tensor"),
        (raising, "it cannot be traced: KeyError: 'nothing there'"),
    ],
)
def test_steps_that_fail(step: Step, message: str) -> None:
    assert refusal(Small(step)).startswith(message)


@MISSING
def test_hooks_are_seen_to() -> None:
    cell = Leaky(INPUTS, HIDDEN)
    assert isinstance(compiled.program_of(cell), compiled.Compiled)
    seen: list[int] = []
    handle = cell.w.register_forward_hook(lambda *_: seen.append(1))
    assert refusal(cell) == "one of its modules calls a hook, which a program would leave out"
    cell.scan(torch.zeros(2, 3, INPUTS), torch.zeros(2, HIDDEN))
    assert len(seen) == 3
    handle.remove()
    assert isinstance(compiled.program_of(cell), compiled.Compiled)


@MISSING
def test_units_in_many_pieces() -> None:
    assert "pieces" in refusal(Rolled(3, 150))


# That compiling leaves no trace


def traces(cell: Cell) -> dict[str, Any]:
    """Return all that compiling might change."""
    return {
        "numbers": {name: (id(t), t._version, t.clone()) for name, t in cell.state_dict(keep_vars=True).items()},
        "gradients": {name: None if p.grad is None else p.grad.clone() for name, p in cell.named_parameters()},
        "needed": {name: p.requires_grad for name, p in cell.named_parameters()},
        "attributes": {
            name: {
                k: repr(v) for k, v in vars(module).items() if k not in vars(nn.Module()) and not isinstance(v, Tensor)
            }
            for name, module in cell.named_modules()
        },
        "members": {name: [*vars(module)] for name, module in cell.named_modules()},
        "torch": torch.get_rng_state(),
        "python": random.getstate(),
        "modes": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
        "profile": sys.getprofile(),
    }


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


@MISSING
@pytest.mark.parametrize("kind", [*COMPILED.values(), *REFUSED, *EITHER.values()], ids=lambda kind: kind.__name__)
def test_compiling_changes_nothing(kind: type[Cell]) -> None:
    cell = make(kind, INPUTS, HIDDEN)
    for number, module in enumerate(cell.modules()):
        module.training = number % 2 == 0
    for parameter in cell.parameters():
        parameter.grad = torch.ones_like(parameter)
    compiled._known.clear()
    before = traces(cell)
    compiled.program_of(cell)
    after = traces(cell)
    for name, expected in before.items():
        assert same(expected, after[name]), name


class Recording(Leaky):
    """It notes what it has seen."""

    def __init__(self, input_size: int, hidden_size: int, where: str) -> None:
        super().__init__(input_size, hidden_size)
        self.where = where
        self.list: list[Tensor] = []
        self.dict: dict[str, list[Tensor]] = {"x": []}
        self.set: set[int] = set()

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        if self.where == "list":
            self.list.append(x)
        elif self.where == "dict":
            self.dict["x"].append(x)
        else:
            self.set.add(len(x))
        return super().step(x, state)


@MISSING
@pytest.mark.parametrize("where", ["list", "dict", "set"])
def test_what_a_step_notes_is_its_own_matter(where: str) -> None:
    cell = Recording(INPUTS, HIDDEN, where)
    assert refusal(cell) == f"it changes {where}, which a program cannot: make it a part of the state"
    assert (cell.list, cell.dict, cell.set) == ([], {"x": []}, set())
    cell.scan(torch.zeros(2, 3, INPUTS), torch.zeros(2, HIDDEN))
    assert (len(cell.list), len(cell.dict["x"]), cell.set) in ((3, 0, set()), (0, 3, set()), (0, 0, {2}))


@MISSING
def test_a_random_initial_state_draws_nothing() -> None:
    class Random(Leaky):
        def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
            return torch.randn(batch_size, self.hidden_size, dtype=dtype, device=device)

    cell = Random(INPUTS, HIDDEN)
    before = torch.get_rng_state()
    assert isinstance(compiled.program_of(cell), compiled.Compiled)
    assert torch.equal(torch.get_rng_state(), before)


# What a program depends on


def is_shared(one: Cell, other: Cell) -> bool:
    return kind_of(one) == kind_of(other)


GAIN = 0.5
BOUNDS = (-0.5, 0.5)


def gained(v: Tensor) -> Tensor:
    return GAIN * v


class Outside(OneState):
    """Its step depends on a class attribute, on global variables, and on one that a function of this module reads."""

    share = 0.9

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)
        self.settings = {"leak": 0.1, "sizes": [1, 2]}

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return (
            self.share * state.clamp(*BOUNDS) + gained(self.w(x)) + self.settings["leak"] * sum(self.settings["sizes"])
        )


def test_what_does_not_change_a_program() -> None:
    cell = Antisymmetric(INPUTS, HIDDEN)
    other = copy.deepcopy(cell)
    with torch.no_grad():
        other.weight.add_(1)
    other.backend = "reference"
    other.recurrent_dropout = 0.5
    other.weight.requires_grad_(False)
    assert is_shared(cell, other)
    assert is_shared(cell, Antisymmetric(INPUTS, HIDDEN))
    assert hash(kind_of(cell)) == hash(kind_of(other))


@pytest.mark.parametrize(
    "change",
    [
        lambda cell: setattr(cell, "gamma", 0.2),
        lambda cell: setattr(cell, "gamma", 1),  # which equals True
        lambda cell: setattr(cell, "more", None),
        lambda cell: setattr(cell, "weight", nn.Parameter(torch.randn(HIDDEN, 2 * HIDDEN)[:, ::2])),
        lambda cell: setattr(cell, "weight", nn.Parameter(torch.randn(HIDDEN, HIDDEN, dtype=torch.float64))),
        lambda cell: setattr(cell.v, "weight", nn.Parameter(torch.randn(HIDDEN, INPUTS + 1))),
        lambda cell: setattr(cell.v, "bias", None),
        lambda cell: setattr(cell.v, "bias", cell.more_bias),
        lambda cell: cell.eval(),
        lambda cell: cell.v.eval(),
        lambda cell: setattr(cell, "v", nn.Sequential(cell.v)),
        lambda cell: cell.v.register_forward_pre_hook(lambda *_: None),
    ],
)
def test_what_changes_a_program(change: Callable[[Any], object]) -> None:
    cell = Antisymmetric(INPUTS, HIDDEN)
    cell.more_bias = nn.Parameter(torch.randn(HIDDEN))
    before = kind_of(cell)
    change(cell)
    assert kind_of(cell) != before


def test_ones_and_true_are_told_apart() -> None:
    cells = [Antisymmetric(INPUTS, HIDDEN) for _ in range(3)]
    for cell, gamma in zip(cells, (1, True, 1.0), strict=True):
        cell.gamma = gamma
    assert len({kind_of(cell) for cell in cells}) == 3


def test_ties_change_a_program() -> None:
    tied, untied = Tied(INPUTS, HIDDEN), Tied(INPUTS, HIDDEN)
    untied.again.weight = nn.Parameter(untied.u.weight.detach().clone())
    assert not is_shared(tied, untied)
    assert is_shared(tied, copy.deepcopy(tied))


@MISSING
def test_a_shared_module_and_tied_parameters_are_one_program() -> None:
    tied, shared = Tied(INPUTS, HIDDEN), Tied(INPUTS, HIDDEN)
    tied.again.bias, shared.again = tied.u.bias, shared.u
    x, state = torch.randn(2, 3, INPUTS), torch.randn(2, HIDDEN)
    assert is_shared(tied, shared)
    for cell in (tied, shared):
        compiled.program_of(cell)
        cell.scan(x, state)


@MISSING
def test_what_is_outside_of_a_cell_changes_its_program(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Outside(INPUTS, HIDDEN)
    x, state = torch.randn(2, 3, INPUTS), torch.randn(2, HIDDEN)

    def agrees() -> None:
        assert cell.choose_backend(x, training=False).backend == "cpu"
        with torch.no_grad():
            found, h = cell.scan(x, state)[0], state
            for t in range(3):
                h = cell.step(x[:, t], h)
                torch.testing.assert_close(found[:, t], h)

    agrees()
    monkeypatch.setattr(Outside, "share", 0.5)
    agrees()
    monkeypatch.setitem(globals(), "GAIN", 2.0)
    agrees()
    monkeypatch.setitem(globals(), "BOUNDS", (-0.1, 0.2))
    agrees()
    cell.settings["leak"] = 0.3
    agrees()
    cell.settings["sizes"].append(3)  # type: ignore[attr-defined]
    agrees()


ARGUMENTS = Namespace(leak=0.1)
CHOICES = {"leak": 0.1}
ACTIVATION = torch.tanh
FACTOR: float | None = None


@dataclasses.dataclass
class Settings:
    leak: float = 0.1

    def leaked(self, v: Tensor) -> Tensor:
        return v * self.leak


def scaled(v: Tensor) -> Tensor:
    return v * 0.5


def halved(v: Tensor) -> Tensor:
    return v * 0.25


class Around(OneState):
    """Its step depends on objects and functions, of its own and outside of it."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)
        self.settings, self.array = Settings(), np.array([0.1])
        leak = 0.1

        def closed(v: Tensor) -> Tensor:
            return v * leak

        def set_leak(value: float) -> None:
            nonlocal leak
            leak = value

        self.closed, self.set_leak = closed, set_leak

    @property
    def factor(self) -> float:
        return FACTOR or 1.0

    @staticmethod
    def scaled(v: Tensor) -> Tensor:
        return scaled(v)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        leaks = ARGUMENTS.leak + CHOICES["leak"] + float(self.array[0])
        parts = self.settings.leaked(state) + self.closed(state) + leaks * state
        return self.scaled(ACTIVATION(self.w(x) + self.factor * parts)) + getattr(self, "more", 0.0)


class Kept:
    """An object with slots."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


FAR = {
    "more than 1,000 numbers": lambda: [0.5] * 1001,
    "an array of more than 1,000": lambda: np.full(1001, 0.5),
    "objects in objects": lambda: Kept(Kept(Kept(Kept(Kept(0.5))))),
}


@MISSING
@pytest.mark.parametrize("far", FAR.values(), ids=FAR)
def test_what_is_too_far_to_look_at_is_not_compiled_where_it_is_read(far: Callable[[], Any]) -> None:
    def read(m: Any, x: Tensor, h: Tensor) -> Tensor:
        value = m.far
        while isinstance(value, Kept):
            value = value.value
        return h * (value if isinstance(value, float) else float(value[3]))

    unread, reader = Small(lambda m, x, h: h * 0.5), Small(read)
    unread.far = reader.far = far()  # type: ignore[assignment]
    assert compiled.obstacle(unread) == ""
    assert refusal(reader).startswith("it reads far, which holds objects in several others, or more than 1,000 items")


@MISSING
@pytest.mark.parametrize(
    "read", [lambda m: m.kept.value, lambda m: getattr(m.kept, m.name), lambda m: m.kept.__getattribute__(m.name)]
)
def test_attributes_are_seen_however_they_are_read(read: Callable[[Any], float]) -> None:
    cell = Small(lambda m, x, h: h * read(m))
    cell.kept, cell.name = Kept(0.5), "value"  # type: ignore[assignment]
    x, state = torch.zeros(2, 1, 3), torch.ones(2, 4)
    assert cell.scan(x, state)[1][0, 0] == 0.5
    cell.kept.value = 0.25
    assert cell.scan(x, state)[1][0, 0] == 0.25
    assert compiled.obstacle(cell) == ""


@MISSING
@pytest.mark.parametrize(
    "change",
    [
        lambda patch, cell: patch.setattr(ARGUMENTS, "leak", 0.9),
        lambda patch, cell: patch.setitem(CHOICES, "leak", 0.9),
        lambda patch, cell: patch.setitem(globals(), "ACTIVATION", torch.sin),
        lambda patch, cell: patch.setitem(globals(), "FACTOR", 2.0),
        lambda patch, cell: patch.setitem(globals(), "scaled", halved),
        lambda patch, cell: patch.setattr(scaled, "__code__", halved.__code__),
        lambda patch, cell: patch.setattr(Around, "step", lambda self, x, state: self.w(x)),
        lambda patch, cell: patch.setattr(Around, "more", 0.5, raising=False),
        lambda patch, cell: patch.setattr(Settings, "leaked", lambda self, v: -v),
        lambda patch, cell: setattr(cell.settings, "leak", 0.9),
        lambda patch, cell: cell.array.fill(0.9),
        lambda patch, cell: cell.set_leak(0.9),
    ],
    ids=[
        *("arguments", "dictionary", "activation", "None before", "function", "code", "step", "new attribute"),
        *("method of an object", "object", "array", "closure"),
    ],
)
def test_a_program_is_never_stale(monkeypatch: pytest.MonkeyPatch, change: Callable[..., object]) -> None:
    cell = Around(INPUTS, HIDDEN)
    x, state = torch.randn(2, 3, INPUTS), torch.randn(2, HIDDEN)
    with torch.no_grad():
        before = cell.scan(x, state)[0]
        change(monkeypatch, cell)
        actual = cell.scan(x, state)[0]
        cell.backend = "reference"
        expected = cell.scan(x, state)[0]
    assert compiled.obstacle(cell) == ""
    torch.testing.assert_close(actual, expected)
    assert not torch.allclose(actual, before)


class Clipped(torch.autograd.Function):
    """The identity, with large gradients clipped."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        return v.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad.clamp(-100, 100)


def hooked(v: Tensor) -> Tensor:
    if v.requires_grad:
        v.register_hook(lambda grad: grad.clamp(-100, 100))
    return v


@MISSING
@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda m, x, h: Clipped.apply(h + m.b), "Clipped has gradients of its own, which a program would leave out"),
        (lambda m, x, h: hooked(h + m.b), "it registers a hook on a tensor, which a program would leave out"),
        (lambda m, x, h: h + m.b if random.random() < 2 else h, "it draws random numbers of Python or NumPy, which"),
        (lambda m, x, h: h + m.b if np.random.rand() < 2 else h, "it draws random numbers of Python or NumPy, which"),
    ],
    ids=["function", "hook", "random", "numpy"],
)
def test_what_the_comparison_may_not_show_is_refused(step: Step, message: str) -> None:
    before = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    assert refusal(Small(step)).startswith(message)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]


@MISSING
def test_hooks_on_gradients_are_seen_to() -> None:
    cell = Leaky(INPUTS, HIDDEN)
    assert compiled.obstacle(cell) == ""
    handle = cell.w.register_full_backward_hook(lambda *_: None)
    assert refusal(cell) == "one of its modules calls a hook, which a program would leave out"
    handle.remove()
    handle = register_module_forward_hook(lambda *_: None)
    assert refusal(cell) == "one of its modules calls a hook, which a program would leave out"
    handle.remove()
    assert compiled.obstacle(cell) == ""


@MISSING
def test_few_programs_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled._known.clear()
    monkeypatch.setattr(compiled, "MOST_PROGRAMS", 3)
    programs = [compiled.program_of(Leaky(INPUTS, hidden)) for hidden in (1, 2, 3)]
    assert compiled.program_of(Leaky(INPUTS, 1)) is programs[0]
    compiled.program_of(Leaky(INPUTS, 4))
    assert compiled.program_of(Leaky(INPUTS, 1)) is programs[0]
    assert compiled.program_of(Leaky(INPUTS, 2)) is not programs[1]
    assert len(compiled._known) == 3


# What is too large


class Blocks(OneState):
    """Many small heads, whose results side by side are one left side, in parts."""

    def __init__(self, input_size: int, heads: int) -> None:
        super().__init__(input_size, heads)
        self.blocks = nn.Parameter(torch.randn(heads, input_size, 1))
        self.u = nn.Linear(heads, heads)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.u(torch.einsum("bi,hio->bho", x, self.blocks).flatten(1)) + state)


class Parts(Cell):
    """A state of many parts."""

    parts = 16

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
        return tuple(torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device) for _ in range(self.parts))

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (torch.tanh(state[-1] + x[:, :1]), *state[:-1])


def agrees(cell: Cell) -> None:
    given = task(cell, 3, 2)
    assert cell.choose_backend(given.x, training=True).backend == "cpu"
    assert_close(everything(cell, given), exact(cell, given), 1e-5)


@MISSING
def test_products_of_many_left_sides() -> None:
    agrees(Blocks(INPUTS, 16))
    agrees(Blocks(INPUTS, 17))
    agrees(Blocks(INPUTS, 40))


@MISSING
def test_states_of_many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    agrees(Parts(INPUTS, HIDDEN))
    monkeypatch.setattr(Parts, "parts", 17)
    assert refusal(Parts(INPUTS, HIDDEN)) == "its state has 17 parts, at most 16 can be handled"
