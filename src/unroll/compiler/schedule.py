"""The order of a time step's work: products and sums over units in turn with stages of pointwise operations.

Everything is done as early as it can be. A node that is needed in another stage than its own, or as a left side, has a
place in memory; all others live in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .graph import BARRIERS, LEAVES, Node, Vector, ordered
from .operations import POINTWISE
from .program import (
    ALIGNED,
    Block,
    Fill,
    Instruction,
    Left,
    Op,
    Operand,
    Phase,
    Place,
    Product,
    Reduction,
    Stage,
    Steps,
    Term,
)


class Sink(NamedTuple):
    """A node, and a place in memory that must hold it at the end."""

    node: Node
    at: Operand


class Scheduled(NamedTuple):
    """The phases of a step, and its affine nodes in the order of their columns."""

    steps: Steps
    affines: list[Node]


class Columns:
    """Hands out columns, from 0 on."""

    def __init__(self, aligned: int = 1) -> None:
        self.used: int = 0
        self._aligned = aligned

    def take(self, width: int) -> int:
        """Return the first of `width` new columns."""
        first = self.used
        self.used += -(-width // self._aligned) * self._aligned
        return first


class Units:
    """The columns of UNIT: constants, and vectors of parameters."""

    def __init__(self) -> None:
        self._columns = Columns(ALIGNED)
        self._at: dict[tuple[Vector | float, int], int] = {}

    def vector(self, vector: Vector | float, width: int) -> int:
        """Return the first column of a vector of parameters, or of a number for all units."""
        key = (vector, width)
        if key not in self._at:
            self._at[key] = self._columns.take(width)
        return self._at[key]

    @property
    def used(self) -> int:
        """All columns so far."""
        return self._columns.used

    @property
    def terms(self) -> tuple[Term, ...]:
        """What the vectors are read from."""
        return tuple(Term(at, n, *vector) for (vector, n), at in self._at.items() if isinstance(vector, Vector))

    @property
    def fills(self) -> tuple[Fill, ...]:
        """The constants."""
        return tuple(Fill(at, n, number) for (number, n), at in self._at.items() if isinstance(number, float))


def schedule(
    sinks: Sequence[Sink], homes: dict[Node, Operand], units: Units, totals: Sequence[tuple[int, Node]] = ()
) -> Scheduled:
    """Put the work that gives the sinks into order.

    Args:
        sinks: what memory must hold at the end.
        homes: where nodes are already.
        units: the columns of UNIT, to which constants and vectors are added.
        totals: columns of TOTAL, and what is added to them (default none).
    """
    return _Schedule(sinks, homes, units, totals).run()


class _Schedule:
    def __init__(
        self, sinks: Sequence[Sink], homes: dict[Node, Operand], units: Units, totals: Sequence[tuple[int, Node]]
    ) -> None:
        self.sinks, self.units, self.totals = sinks, units, totals
        self.at = dict(homes)
        self.order = ordered([*(sink.node for sink in sinks), *(node for _, node in totals)], homes)
        self.raw = Columns(ALIGNED)
        self.level: dict[Node, int] = {}
        for node in self.order:
            below = [self.level[node_] + (node.operation in BARRIERS) for node_ in node.inputs if node_ in self.level]
            if node.operation not in LEAVES:
                self.level[node] = max(below, default=0)
        self.affines: list[Node] = []

    def run(self) -> Scheduled:
        self._settle()
        phases: list[Phase] = []
        levels = max(self.level.values(), default=0) + 1
        for level in range(levels):
            now = [node for node in self.order if self.level.get(node) == level]
            phases += self._products([node for node in now if node.operation == "affine"])
            for node in now:
                if node.operation in ("sum", "maximum"):
                    at = self._operand(node.inputs[0])
                    phases.append(Reduction(self.at[node], node.operation == "maximum", at, node.inputs[0].width))
                elif node.operation == "part":
                    at = self._operand(node.inputs[0])
                    self.at[node] = at._replace(column=at.column + node.data)
            phases += self._stages(level, now)
        return Scheduled(Steps(self.raw.used, tuple(phases)), self.affines)

    def _settle(self) -> None:
        """Give a place in memory to all that needs one."""
        waiting: dict[Node, list[Sink]] = {}
        for sink in self.sinks:
            waiting.setdefault(sink.node, []).append(sink)
        self.copies: list[Sink] = []  # of nodes that stand elsewhere
        for node, sinks in waiting.items():
            if node in self.level and node.operation not in BARRIERS:
                self.at[node] = sinks.pop(0).at
            self.copies += sinks
        for node in self.order:
            for below in node.inputs:
                if below in self.level and below not in self.at and self._apart(node, below):
                    self.at[below] = Operand(Place.RAW, 0, self.raw.take(below.width))
        for node in self.order:
            if node.operation in ("sum", "maximum") and node not in self.at:
                self.at[node] = Operand(Place.RAW, 0, self.raw.take(1))

    def _apart(self, node: Node, below: Node) -> bool:
        """Tell whether an input must be in memory, as it is made in another stage or read as a whole."""
        if below.operation in BARRIERS:
            return False  # it is in memory anyway
        return node.operation in BARRIERS or self.level[node] != self.level[below] or node.width != below.width

    def _products(self, affines: list[Node]) -> list[Phase]:
        groups: dict[tuple[Node, ...], list[Node]] = {}
        for node in affines:
            groups.setdefault(node.inputs, []).append(node)
        # Those with a state first, so that their columns of D, which each backward step reads, are neighbours.
        inputs_last = sorted(groups, key=lambda lefts: all(left.operation == "x" for left in lefts))
        phases: list[Phase] = []
        for lefts in inputs_last:
            nodes = sorted(groups[lefts], key=lambda node: node.data[0][0][:2])
            columns = sum(node.width for node in nodes)
            first = self.raw.take(columns)
            bias = sum(node.width for node in self.affines)
            sides = []
            for i, left in enumerate(lefts):
                blocks = joined_blocks(*(Block(node.width, *node.data[0][i]) for node in nodes))
                sides.append(Left(self._operand(left), left.width, blocks))
            has_bias = any(node.data[1] for node in nodes)
            phases.append(Product(Operand(Place.RAW, 0, first), columns, bias if has_bias else -1, tuple(sides)))
            for node in nodes:
                self.at[node] = Operand(Place.RAW, 0, first)
                first += node.width
                self.affines.append(node)
        return phases

    def _stages(self, level: int, now: list[Node]) -> list[Phase]:
        """Return the pointwise work of a level, narrow vectors first, as single numbers are expanded."""
        pointwise = [node for node in now if node.operation in POINTWISE or node.operation == "expand"]
        copies = [sink for sink in self.copies if self.level.get(sink.node, 0) == level]
        totals = [(column, node) for column, node in self.totals if self.level.get(node, 0) == level]
        widths = {node.width for node in (*pointwise, *(c.node for c in copies), *(node for _, node in totals))}
        stages: list[Phase] = []
        for width in sorted(widths):
            stages.append(
                _StageWriter(self, [node for node in pointwise if node.width == width]).write(
                    width,
                    [sink for sink in copies if sink.node.width == width],
                    [(column, node) for column, node in totals if node.width == width],
                )
            )
        return stages

    def _operand(self, node: Node) -> Operand:
        """Return where a node is in memory."""
        if node in self.at:
            return self.at[node]
        if node.operation in ("unit", "constant"):
            return Operand(Place.UNIT, 0, self.units.vector(node.data, node.width))
        return operand_of(node)


class _StageWriter:
    """Writes the instructions of a stage."""

    def __init__(self, schedule: _Schedule, nodes: list[Node]) -> None:
        self.schedule, self.nodes = schedule, nodes
        self.instructions: list[Instruction] = []
        self.registers: dict[Node, int] = {}
        self.free: list[int] = []
        self.count = 0

    def write(self, width: int, copies: Iterable[Sink], totals: Iterable[tuple[int, Node]]) -> Stage:
        copies, totals = list(copies), list(totals)
        self._count_uses(copies, totals)
        self._find_fused()
        for node in self.nodes:
            if node in self.inlined:
                continue
            op, inputs = self.fused.get(node) or (_op(node), node.inputs)
            operands = [self._operand(input_) for input_ in inputs]
            for input_ in inputs:
                self._used(input_)
            self.instructions.append(Instruction(op, self._result(node), *operands))
        for sink in copies:
            self.instructions.append(Instruction(Op.COPY, sink.at, self._operand(sink.node)))
            self._used(sink.node)
        for column, node in totals:
            self.instructions.append(Instruction(Op.ACCUMULATE, Operand(Place.TOTAL, 0, column), self._operand(node)))
            self._used(node)
        return Stage(width, self.count, tuple(self.instructions))

    def _count_uses(self, copies: list[Sink], totals: list[tuple[int, Node]]) -> None:
        self.uses: dict[Node, int] = {}
        for node in (*(i for n in self.nodes for i in n.inputs), *(s.node for s in copies), *(n for _, n in totals)):
            self.uses[node] = self.uses.get(node, 0) + 1

    def _find_fused(self) -> None:
        """Find operations that one instruction does together with those of its inputs which nothing else needs."""
        here = set(self.nodes)
        self.fused: dict[Node, tuple[Op, tuple[Node, ...]]] = {}
        self.inlined: set[Node] = set()

        def is_alone(node: Node, operation: str) -> bool:
            at_home = node in self.schedule.at or node in self.inlined or node in self.fused
            return node.operation == operation and node in here and self.uses[node] == 1 and not at_home

        for node in reversed(self.nodes):
            if node not in self.inlined and (together := _together(node, is_alone)):
                op, inputs, inside = together
                self.fused[node] = op, inputs
                self.inlined.update(inside)

    def _operand(self, node: Node) -> Operand:
        if node in self.registers:
            return Operand(Place.LOCAL, self.registers[node], 0)
        return self.schedule._operand(node)

    def _used(self, node: Node) -> None:
        """Give a register back after its last use."""
        self.uses[node] -= 1
        if self.uses[node] == 0 and node in self.registers:
            self.free.append(self.registers[node])

    def _result(self, node: Node) -> Operand:
        if node in self.schedule.at:
            return self.schedule.at[node]
        if self.free:
            self.registers[node] = self.free.pop()
        else:
            self.registers[node], self.count = self.count, self.count + 1
        return Operand(Place.LOCAL, self.registers[node], 0)


def _together(
    node: Node, is_alone: Callable[[Node, str], bool]
) -> tuple[Op, tuple[Node, ...], tuple[Node, ...]] | None:
    """Return an instruction for a node and some of what it is made of, its inputs, and those nodes; or None.

    Args:
        node: of any operation.
        is_alone: whether a node has an operation, and nothing else needs it.
    """
    if node.operation in ("tanh_back", "sigmoid_back"):
        value, gradient = node.inputs
        if is_alone(gradient, "mul"):
            op = Op.TANH_BACK_MUL if node.operation == "tanh_back" else Op.SIGMOID_BACK_MUL
            return op, (value, *gradient.inputs), (gradient,)
    elif node.operation == "tanh" and is_alone(node.inputs[0], "add"):
        for product, rest in _both_ways(node.inputs[0]):
            if is_alone(product, "mul"):
                return Op.TANH_FMA, (*product.inputs, rest), (node.inputs[0], product)
    elif node.operation == "mul":
        for tanh, rest in _both_ways(node):
            if is_alone(tanh, "tanh"):
                return Op.TANH_MUL, (tanh.inputs[0], rest), (tanh,)
    elif node.operation == "add":
        for product, rest in _both_ways(node):
            if is_alone(product, "mul"):
                return Op.FMA, (*product.inputs, rest), (product,)
    elif node.operation == "sub" and is_alone(node.inputs[1], "mul"):
        return Op.FNMA, (*node.inputs[1].inputs, node.inputs[0]), (node.inputs[1],)
    return None


def _both_ways(node: Node) -> tuple[tuple[Node, Node], tuple[Node, Node]]:
    a, b = node.inputs
    return (a, b), (b, a)


def _op(node: Node) -> Op:
    return Op.EXPAND if node.operation == "expand" else POINTWISE[node.operation].op


def operand_of(leaf: Node) -> Operand:
    """Return where x, a state or a gradient stands."""
    place = {"x": Place.X, "state": Place.BEFORE, "gradient": Place.GRADIENT}[leaf.operation]
    return Operand(place, leaf.data[0], leaf.data[1])


def joined_blocks(*blocks: Block) -> tuple[Block, ...]:
    """Return blocks side by side, neighbours in a tensor as one."""
    joined = [blocks[0]]
    for block in blocks[1:]:
        last = joined[-1]
        if block == last._replace(columns=block.columns, offset=last.offset + last.columns * last.column):
            joined[-1] = last._replace(columns=last.columns + block.columns)
        else:
            joined.append(block)
    return tuple(joined)
