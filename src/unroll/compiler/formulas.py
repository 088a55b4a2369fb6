"""A step's graph as formulas: a line for each value with a name and for each part of the new state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from typing import Any, NamedTuple

from .graph import LEAVES, Matrix, Node, Vector, ordered
from .operations import POINTWISE
from .plan import Plan

CHOICE, SUM, QUOTIENT, PRODUCT, ATOM = 0, 1, 2, 3, 4  # how tightly the parts of a formula hold together

# How tightly an operation's formula holds together, and how tightly its inputs must; the others are like functions.
_BINDING: dict[str, tuple[int, tuple[int, ...]]] = {
    "add": (SUM, (SUM, SUM)),
    "sub": (SUM, (SUM, QUOTIENT)),
    "neg": (SUM, (QUOTIENT,)),
    "expm1": (SUM, (SUM,)),
    "lerp": (SUM, (PRODUCT, PRODUCT, PRODUCT)),
    "mul": (PRODUCT, (PRODUCT, PRODUCT)),
    "div": (QUOTIENT, (PRODUCT, ATOM)),
    "reciprocal": (QUOTIENT, (ATOM,)),
    "select": (CHOICE, (SUM, SUM, SUM)),
    "gt": (ATOM, (SUM, SUM)),
    "ge": (ATOM, (SUM, SUM)),
    "eq": (ATOM, (SUM, SUM)),
    "ne": (ATOM, (SUM, SUM)),
    "log1p": (ATOM, (SUM,)),
}
_OF_TORCH = {"rsub": "sub", "maximum": "max", "minimum": "min"}  # torch's names of what the prologue computes
LONGEST = 40  # characters of what is computed from parameters; beyond, only what comes last is named
# Operations that give the same numbers in another shape.
_VIEWS = frozenset({
    "view", "t", "transpose", "permute", "unbind", "select", "slice", "split", "chunk", "unsqueeze", "squeeze",
    "expand", "detach", "clone", "contiguous", "_unsafe_view", "_to_copy", "alias", "split_with_sizes", "as_strided",
    "reshape",
})  # fmt: skip


class Text(NamedTuple):
    """A formula, and how tightly it holds together."""

    text: str
    binding: int = ATOM

    def within(self, binding: int) -> str:
        """Return the formula as a part of another one, in parentheses where that binds more tightly."""
        return self.text if self.binding >= binding else f"({self.text})"


class Formula(NamedTuple):
    """What a named value is."""

    name: str
    right: str
    node: Node

    def __str__(self) -> str:
        return f"{self.name} = {self.right}"


class Formulas:
    """Writes formulas of a plan's graph.

    Attributes:
        names: of nodes, unless others are given: the local names in `step`; h' for the new value of a part h of the
            state; v1, v2 and so on for what has no name and is used more than once, or would be long and is kept.
    """

    def __init__(self, plan: Plan, names: dict[Node, str] | None = None) -> None:
        self.plan = plan
        self.parts: tuple[str, ...] = plan.traced.parts
        self.order: list[Node] = ordered(node for pieces in plan.outputs for node in pieces)
        self.names: dict[Node, str] = self._named() if names is None else names
        self._written: dict[Node, Text] = {}

    def _named(self) -> dict[Node, str]:
        """Return the named nodes, each behind those that it needs, otherwise in the order of the products."""
        names: dict[Node, str] = {}
        for name, node in self._outputs():
            if node.operation not in LEAVES:
                names.setdefault(node, name)
        uses = Counter(below for node in self.order for below in node.inputs)
        shared = {node for node in self.order if uses[node] > 1 and node.operation not in ("expand", "stop")}
        shared |= {node for node in self.plan.kept if self._has_nameless_product(node, names)}
        whole = {node for node in (names.keys() | self.plan.names.keys() | shared) if node.operation not in LEAVES}
        first: dict[Node, int] = {}  # product that a formula waits for
        for node in self.order:
            own = self.plan.affines.index(node) if node.operation == "affine" else len(self.plan.affines)
            first[node] = min([own, *(first[below] for below in node.inputs if below not in whole)])
        taken = {"x", *self.parts}
        named: dict[Node, str] = {}
        for root in sorted(whole, key=lambda node: (first[node], self.order.index(node))):
            for node in ordered([root], named):
                if node in whole and node not in named:
                    named[node] = names.get(node) or free_name(self.plan.names.get(node, "v1"), taken)
                    taken.add(named[node])
        return named

    def _has_nameless_product(self, node: Node, names: dict[Node, str]) -> bool:
        """Tell whether a formula with a product stands where the node does, unless it is named."""
        if node in names or node in self.plan.names:
            return False
        return node.operation == "affine" or any(self._has_nameless_product(below, names) for below in node.inputs)

    def _outputs(self) -> Iterator[tuple[str, Node]]:
        """Yield the pieces of the new state, with names."""
        for part, width, pieces in zip(self.parts, self.plan.traced.widths, self.plan.outputs, strict=True):
            first = 0
            for node in pieces:
                yield f"{part}'" + _slice(first, node.width, width), node
                first += node.width

    def lines(self) -> list[Formula]:
        """Return the formulas, each behind those that it needs."""
        lines = [Formula(name, self.right(node).text, node) for node, name in self.names.items()]
        same = [(name, node) for name, node in self._outputs() if self.names.get(node) != name]
        return lines + [Formula(name, self.of(node).text, node) for name, node in same]

    def of(self, node: Node) -> Text:
        """Return a node's name; if it has none, its formula."""
        return Text(self.names[node]) if node in self.names else self.right(node)

    def right(self, node: Node) -> Text:
        """Return a node's formula, in which the values that it is made of are named."""
        if node not in self._written:
            self._written[node] = self._right(node)
        return self._written[node]

    def _right(self, node: Node) -> Text:
        if node.operation == "x":
            return Text("x" + _slice(node.data[1], node.width, self.plan.traced.inputs))
        if node.operation == "state":
            part = node.data[0]
            return Text(self.parts[part] + _slice(node.data[1], node.width, self.plan.traced.widths[part]))
        if node.operation == "constant":
            return _number(node.data)
        if node.operation == "unit":
            return self.vector(node.data, node.width)
        if node.operation == "affine":
            matrices, biases = node.data
            terms = [
                f"{self.matrix(matrix, left.width, node.width).within(ATOM)} {self.of(left).within(ATOM)}"
                for left, matrix in zip(node.inputs, matrices, strict=True)
            ]
            terms += [self.vector(bias, node.width).within(SUM) for bias in biases]
            return Text(" + ".join(terms), SUM if len(terms) > 1 else PRODUCT)
        inside = [self.of(below) for below in node.inputs]
        if node.operation in ("expand", "stop"):
            return inside[0]
        if node.operation in ("sum", "maximum"):
            return Text(f"{'sum' if node.operation == 'sum' else 'max'}({inside[0].text})")
        return pointwise(node.operation, inside)

    def vector(self, vector: Vector, width: int) -> Text:
        """Return the name of a vector of parameters."""
        return self._place(vector.tensor, vector.offset, [(width, vector.stride)])

    def matrix(self, matrix: Matrix, factors: int, columns: int) -> Text:
        """Return the name of a matrix W in W x."""
        return self._place(matrix.tensor, matrix.offset, [(columns, matrix.column), (factors, matrix.factor)])

    def _place(self, tensor: int, offset: int, runs: Sequence[tuple[int, int]]) -> Text:
        """Return the name of numbers in a tensor, with the indices there of `runs` (count, stride), rows first."""
        prologue = self.plan.traced.prologue
        name = prologue.fold(tensor, Text, _called)
        shape = prologue.shapes[tensor]
        strides = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
        firsts, rest = [], offset
        for size, stride in zip(shape, strides, strict=True):
            firsts.append(min(rest // stride, size - 1))
            rest -= firsts[-1] * stride
        index = [str(first) for first in firsts]
        axes = []
        for count, stride in runs:
            fitting = [
                axis
                for axis, size in enumerate(shape)
                if axis not in axes and strides[axis] == stride and firsts[axis] + count <= size
            ]
            if not fitting:
                if stride == 0 or count == 1:
                    continue  # one number for all units
                return Text(f"{name.within(ATOM)}[…]")
            axis = fitting[-1]
            axes.append(axis)
            whole = count == shape[axis]
            index[axis] = "" if whole else f"{firsts[axis]}:{firsts[axis] + count}"
        index = ["0" if not item and axis not in axes else item for axis, item in enumerate(index)]
        if all(axis in axes or shape[axis] == 1 for axis in range(len(shape))) and not any(
            index[axis] for axis in axes
        ):
            placed = name
        else:
            while index and not index[-1]:
                index.pop()
            placed = Text(f"{name.within(ATOM)}[{', '.join(item or ':' for item in index)}]")
        turned = len(axes) == 2 and axes[0] > axes[1]
        return Text(placed.within(ATOM) + "ᵀ") if turned else placed


def pointwise(operation: str, inputs: Sequence[Text]) -> Text:
    """Return a pointwise operation as a formula."""
    binding, needed = _BINDING.get(operation, (ATOM, (CHOICE,) * len(inputs)))
    if operation == "mul" and inputs[1].text[0].isdigit():
        inputs = inputs[::-1]  # numbers first
    given = [text.within(need) for text, need in zip(inputs, needed, strict=True)]
    text = POINTWISE[operation].symbol.format(*given)
    return Text(text[1:-1] if operation == "select" else text, binding)


def free_name(name: str, taken: set[str]) -> str:
    """Return a name that is not taken: the given one, or with the next number behind it."""
    stem, number = name.rstrip("0123456789") or name, 2
    free = name
    while free in taken:
        free, number = f"{stem}{number}", number + 1
    return free


def _slice(first: int, width: int, whole: int) -> str:
    return "" if width == whole else f"[{first}:{first + width}]"


def _number(value: float) -> Text:
    return Text(f"{value:.6g}", ATOM if value >= 0 else SUM)


def _called(name: str, args: Sequence[Any]) -> Text:
    """Return a call on parameters as a formula."""
    given = [
        arg if isinstance(arg, Text) else _number(float(arg))
        for arg in args
        if isinstance(arg, Text) or (isinstance(arg, (int, float)) and not isinstance(arg, bool))
    ]
    if name in _VIEWS and given:
        return given[0]
    operation = _OF_TORCH.get(name, name)
    known = POINTWISE.get(operation)
    if known is not None and len(given) >= known.arity:
        given = given[: known.arity]
        text = pointwise(operation, given[::-1] if name == "rsub" else given)
        if len(text.text) <= LONGEST:
            return text
    tensors = [arg.text for arg in args if isinstance(arg, Text)]
    called = f"{name.strip('_')}({', '.join(tensors)})"
    return Text(called if len(called) <= LONGEST else f"{name.strip('_')}(…)")
