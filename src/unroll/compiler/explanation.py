"""What the compiler makes of a cell, in words and numbers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from .formulas import Formulas
from .gates import gates
from .graph import BARRIERS, Node
from .instead import advice
from .plan import Plan
from .program import Place, Product, Stage, Steps

BYTES = 4  # of a float32
# Operations of an instruction, where it is not one.
TOGETHER = {
    "COPY": 0,
    "EXPAND": 0,
    "FMA": 2,
    "FNMA": 2,
    "TANH_MUL": 2,
    "TANH_FMA": 3,
    "TANH_BACK_MUL": 2,
    "SIGMOID_BACK_MUL": 2,
}
BATCH, TIME = 64, 28  # of the batch for which `path` is asked


class LevelProduct(NamedTuple):
    """Products with the same left sides, done at once.

    Attributes:
        level: how many products, and sums over units, one after the other: 1 needs nothing but x and the state.
        lefts: the vectors that are multiplied by a matrix, with their sizes.
        results: the values that the columns belong to.
        columns: of all results together.
    """

    level: int
    lefts: tuple[tuple[str, int], ...]
    results: tuple[str, ...]
    columns: int

    @property
    def multiply_adds(self) -> int:
        """Return the multiplications and additions for one sequence and time step."""
        return self.columns * sum(size for _, size in self.lefts)


class Work(NamedTuple):
    """Work for one sequence and time step.

    Attributes:
        multiply_adds: of products: a multiplication and an addition each.
        pointwise: operations on single numbers, such as a product or a tanh.
    """

    multiply_adds: int
    pointwise: int


NONE = Work(0, 0)


@dataclass(frozen=True)
class Explanation:
    """What the compiler makes of a cell; ``str()`` gives it as text.

    Sizes, work and bytes are those of the cell's program; ``path`` tells whether something else computes the cell.

    Attributes:
        cell: name of its class.
        reason: why its step is not compiled, with the line of the source, and all but ``path`` is empty; else empty.
        path: what computes the cell in training on its device, and why; empty for modules that do not tell.
        inputs: features of x.
        state: names and sizes of the parts of the state, the output first.
        formulas: a line for each named value and each part of the new state: "z = σ(weight_ih x + …)".
        gates: names of the sigmoids.
        products: with matrices, in the order in which they are computed.
        kept: names and sizes of what a step keeps for the backward pass, besides x and the states.
        forward: work of the forward pass.
        backward: work of the backward pass, without the gradient by x.
        gradient_by_x: multiply-adds of that, which only layers behind a trained one need.
        held_bytes: for one sequence and time step, until the backward pass: x, the states and what is kept.
        scratch_bytes: likewise, during the backward pass: the gradients by the results of the products.
    """

    cell: str
    reason: str
    path: str
    inputs: int = 0
    state: tuple[tuple[str, int], ...] = ()
    formulas: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    products: tuple[LevelProduct, ...] = ()
    kept: tuple[tuple[str, int], ...] = ()
    forward: Work = NONE
    backward: Work = NONE
    gradient_by_x: int = 0
    held_bytes: int = 0
    scratch_bytes: int = 0

    def __str__(self) -> str:
        if self.reason:
            path = f"\npath: {self.path}" if self.path else ""
            instead = f"\ninstead: {advice(self.reason)}" if advice(self.reason) else ""
            return f"{self.cell} is not compiled, so a loop over its step() computes it: {self.reason}{instead}{path}"
        lines = [f"{self.cell}: x ({self.inputs}) and the state {sizes(self.state)} give {self._new()}", ""]
        width = max(len(line.partition(" = ")[0]) for line in self.formulas)
        for line in self.formulas:
            name, _, right = line.partition(" = ")
            lines.append(f"  {name:{width}} = {right}")
        levels = [
            (
                f"level {product.level}",
                f"{sizes(product.lefts)} to {', '.join(product.results)}: {product.columns:,} columns, "
                f"{product.multiply_adds:,} multiply-adds",
            )
            for product in self.products
        ]
        lines += ["", "for each sequence and time step"]
        lines += [f"  {name:8}  {value}" for name, value in (*levels, *self.facts().items())]
        return "\n".join(lines)

    def _new(self) -> str:
        return " and ".join(f"{name}'" for name, _ in self.state)

    def facts(self) -> dict[str, str]:
        """Return the numbers as words, by short names: gates, kept, forward, backward, memory and path."""
        kept = sum(size for _, size in self.kept)
        names = f"{', '.join(name for name, _ in self.kept)}: {kept:,} numbers" if kept else "nothing"
        facts = {"gates": ", ".join(self.gates)} if self.gates else {}
        facts |= {
            "kept": f"{names} besides x and the states",
            "forward": f"{self.forward.multiply_adds:,} multiply-adds, {self.forward.pointwise:,} pointwise operations",
            "backward": f"{self.backward.multiply_adds:,} and {self.backward.pointwise:,}; {self.gradient_by_x:,} more "
            "multiply-adds where the gradient by x is needed",
            "memory": f"{self.held_bytes:,} bytes until the backward pass, {self.scratch_bytes:,} more during it",
        }
        return facts | ({"path": self.path} if self.path else {})


def sizes(named: Iterable[tuple[str, int]]) -> str:
    """Return names with sizes as words: x (28), h (150)."""
    return ", ".join(f"{name} ({size:,})" for name, size in named)


def explain_refused(cell: nn.Module, reason: str) -> Explanation:
    """Explain a cell that is not compiled."""
    return Explanation(type(cell).__name__, reason, _path(cell))


def explain_plan(cell: nn.Module, plan: Plan) -> Explanation:
    """Explain a cell that is compiled to a plan."""
    program, formulas = plan.program, Formulas(plan)
    labels = _labels(plan, formulas)
    past = sum(_columns(products) for products in program.past)
    matrices = sum(gradient.columns * gradient.factors for gradient in program.gradients)
    stages = [phase for phase in program.backward.phases if isinstance(phase, Stage)]
    read = [operand for stage in stages for i in stage.instructions for operand in i[1:] if operand is not None]
    reads_x = any(operand.place is Place.X for operand in [*read, *(gradient.at for gradient in program.gradients)])
    return Explanation(
        cell=type(cell).__name__,
        reason="",
        path=_path(cell),
        inputs=program.inputs,
        state=tuple(zip(plan.traced.parts, program.widths, strict=True)),
        formulas=tuple(map(str, formulas.lines())),
        gates=tuple(gates(plan)),
        products=tuple(_products(plan, formulas, labels)),
        kept=tuple((formulas.of(node).text, node.width) for node in plan.kept),
        forward=Work(_in_phases(program.forward), _pointwise(program.forward)),
        backward=Work(past + _in_phases(program.backward) + matrices, _pointwise(program.backward)),
        gradient_by_x=_columns(program.dx),
        held_bytes=BYTES * (program.kept + sum(program.widths) + (program.inputs if reads_x else 0)),
        scratch_bytes=BYTES * program.d,
    )


def _products(plan: Plan, formulas: Formulas, labels: dict[Node, str]) -> Iterable[LevelProduct]:
    level: dict[Node, int] = {}
    for node in formulas.order:
        level[node] = max((level[below] for below in node.inputs), default=0) + (node.operation in BARRIERS)
    groups: dict[tuple[int, tuple[Node, ...]], list[Node]] = {}
    for node in plan.affines:
        groups.setdefault((level[node], node.inputs), []).append(node)
    for (number, inputs), nodes in groups.items():
        lefts = tuple((formulas.of(left).text, left.width) for left in inputs)
        results = tuple(dict.fromkeys(labels[node] for node in nodes))
        yield LevelProduct(number, lefts, results, sum(node.width for node in nodes))


def _labels(plan: Plan, formulas: Formulas) -> dict[Node, str]:
    """Return the names of products, or else of the nearest values that they are a part of."""
    named: dict[Node, str] = {}
    for node in reversed(formulas.order):
        name = formulas.names.get(node)
        for below in node.inputs:
            above = name or named.get(node, "")
            named.setdefault(below, above)
    return {node: formulas.names.get(node) or named.get(node, "") for node in plan.affines}


def _in_phases(steps: Steps) -> int:
    return _columns(phase for phase in steps.phases if isinstance(phase, Product))


def _columns(products: Iterable[Product]) -> int:
    return sum(product.columns * left.factors for product in products for left in product.lefts)


def _pointwise(steps: Steps) -> int:
    """Return the operations of a step's stages, those that one instruction does together one by one."""
    return sum(
        stage.width * TOGETHER.get(instruction.op.name, 1)
        for stage in steps.phases
        if isinstance(stage, Stage)
        for instruction in stage.instructions
    )


def _path(cell: nn.Module) -> str:
    choose: Any = getattr(cell, "choose_backend", None)
    if choose is None:
        return ""
    inputs: Any = cell.input_size
    like = next(cell.parameters(), torch.empty(0))
    try:
        backend, reason = choose(like.new_empty(BATCH, TIME, inputs), training=True)
        return f"{backend}: {reason.partition(' (')[0]}"  # without the instruction set
    except Exception as error:  # a backend that was asked for and is missing here
        return str(error)
