"""A time step as a graph of vectors: each node is a vector of `width` units for every sequence of the batch.

Nodes are made by `Graph`, which gives the same node for the same vector, so a graph never computes anything twice.
Slices go through to the leaves: a slice of a product has fewer columns of its matrix, that of a sum is a sum of slices.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from .operations import POINTWISE


class Vector(NamedTuple):
    """A part of a tensor: element i is at offset + i stride of tensor number `tensor`."""

    tensor: int
    offset: int
    stride: int

    def shifted(self, by: int) -> Vector:
        """Return the part that begins `by` elements later."""
        return self._replace(offset=self.offset + by * self.stride)


class Matrix(NamedTuple):
    """A part of a tensor: the weight of column c and factor i is at offset + c column + i factor."""

    tensor: int
    offset: int
    column: int
    factor: int

    def columns_from(self, first: int) -> Matrix:
        """Return the matrix without its first columns."""
        return self._replace(offset=self.offset + first * self.column)

    def factors_from(self, first: int) -> Matrix:
        """Return the matrix without its first factors."""
        return self._replace(offset=self.offset + first * self.factor)

    @property
    def transposed(self) -> Matrix:
        """The matrix with factors for columns."""
        return self._replace(column=self.factor, factor=self.column)


class Node:
    """A vector of `width` units; `operation` says how it is made from the `inputs`.

    Operations: "x", "state" and "gradient" (data: part and first unit; of x the part is 0); "unit" (data: a `Vector`);
    "constant" (data: the number); "product" (data: a `Matrix`); "affine" (data: a `Matrix` for each input, and a tuple
    of `Vector` biases); "sum" and "maximum" over all units; "part" (data: the first unit), a slice of what is in
    memory; "expand", the same number for all units; and the pointwise ones.
    """

    __slots__ = ("data", "inputs", "number", "operation", "width")

    def __init__(self, number: int, operation: str, inputs: tuple[Node, ...], width: int, data: Any) -> None:
        self.number: int = number
        self.operation: str = operation
        self.inputs: tuple[Node, ...] = inputs
        self.width: int = width
        self.data: Any = data

    def __repr__(self) -> str:
        inside = [f"#{node.number}" for node in self.inputs] + ([] if self.data is None else [str(self.data)])
        return f"#{self.number} = {self.operation}({', '.join(inside)}) [{self.width}]"


LEAVES = frozenset({"x", "state", "gradient", "unit", "constant"})
BARRIERS = frozenset({"product", "affine", "sum", "maximum", "part"})  # these need all units of their inputs


class Graph:
    """Makes nodes."""

    def __init__(self) -> None:
        self._nodes: dict[tuple[Any, ...], Node] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def _make(self, operation: str, inputs: tuple[Node, ...], width: int, data: Any = None) -> Node:
        key = (operation, tuple(node.number for node in inputs), width, data, type(data))
        node = self._nodes.get(key)
        if node is None:
            node = self._nodes[key] = Node(len(self._nodes), operation, inputs, width, data)
        return node

    def x(self, first: int, width: int) -> Node:
        """Return features of the input."""
        return self._make("x", (), width, (0, first))

    def state(self, part: int, first: int, width: int) -> Node:
        """Return units of a part of the state before the step."""
        return self._make("state", (), width, (part, first))

    def gradient(self, part: int, first: int, width: int) -> Node:
        """Return the gradient of the loss by units of a state part after the step."""
        return self._make("gradient", (), width, (part, first))

    def unit(self, vector: Vector, width: int) -> Node:
        """Return a vector of parameters, the same for all sequences."""
        return self._make("unit", (), width, vector if width > 1 else vector._replace(stride=0))

    def constant(self, value: float, width: int) -> Node:
        """Return a number for all units."""
        return self._make("constant", (), width, float(value))

    def product(self, left: Node, matrix: Matrix, width: int) -> Node:
        """Return (width,) = left times the matrix."""
        return self._make("product", (left,), width, matrix)

    def affine(self, lefts: Sequence[Node], matrices: Sequence[Matrix], biases: Sequence[Vector], width: int) -> Node:
        """Return the sum of biases and of left sides times their matrices."""
        return self._make("affine", tuple(lefts), width, (tuple(matrices), tuple(biases)))

    def reduce(self, operation: str, node: Node) -> Node:
        """Return the "sum" or the "maximum" over all units, a vector of one unit."""
        if node.width == 1:
            return node
        if node.operation == "expand" and operation == "maximum":
            return node.inputs[0]
        return self._make(operation, (node,), 1)

    def expand(self, node: Node, width: int) -> Node:
        """Return a single number for `width` units."""
        if width == node.width:
            return node
        if node.operation == "constant":
            return self.constant(node.data, width)
        if node.operation == "unit":
            return self._make("unit", (), width, node.data._replace(stride=0))
        return self._make("expand", (node,), width)

    def apply(self, operation: str, *inputs: Node) -> Node:
        """Return a pointwise operation of vectors of one width, made simpler where that changes nothing."""
        width = inputs[0].width
        assert all(node.width == width for node in inputs)
        if all(node.operation == "constant" for node in inputs):
            return self.constant(POINTWISE[operation].of_numbers(*(node.data for node in inputs)), width)
        simpler = self._simpler(operation, inputs)
        return simpler if simpler is not None else self._make(operation, inputs, width)

    def _simpler(self, operation: str, inputs: tuple[Node, ...]) -> Node | None:
        a, b = inputs[0], inputs[-1]
        if operation == "mul":
            if _is(a, 1):
                return b
            if _is(b, 1) or _is(a, 0):
                return a
            if _is(b, 0):
                return b
            if b.operation == "constant":
                return self._make("mul", (b, a), a.width)  # one order, so that the same product is found again
        elif operation == "add":
            if _is(a, 0):
                return b
            if _is(b, 0):
                return a
            if b.operation == "neg":
                return self.apply("sub", a, b.inputs[0])
            return self._blend(a, b) or self._blend(b, a)
        elif operation == "sub":
            if _is(b, 0):
                return a
            if _is(a, 0):
                return self.apply("neg", b)
        elif operation == "neg" and a.operation == "neg":
            return a.inputs[0]
        elif operation == "div" and b.operation == "constant" and abs(math.frexp(b.data)[0]) == 0.5:  # 2^n: it is exact
            return self.apply("mul", a, self.constant(1 / b.data, a.width))
        return None

    def _blend(self, kept: Node, new: Node) -> Node | None:
        """Return (1 - z) a + z b as a single operation, lerp(a, b, z)."""
        if kept.operation != "mul" or new.operation != "mul":
            return None
        for rest, a in (kept.inputs, kept.inputs[::-1]):
            if rest.operation == "sub" and _is(rest.inputs[0], 1):
                for z, b in (new.inputs, new.inputs[::-1]):
                    if z is rest.inputs[1]:
                        return self._make("lerp", (a, b, z), a.width)
        return None

    def total(self, nodes: Iterable[Node]) -> Node | None:
        """Return the sum of some nodes; None for none."""
        sum_: Node | None = None
        for node in nodes:
            sum_ = node if sum_ is None else self.apply("add", sum_, node)
        return sum_

    def slice(self, node: Node, first: int, width: int) -> Node:
        """Return `width` units of a node from `first` on, made from slices of its inputs."""
        if width == node.width:
            return node
        if node.operation in ("x", "state", "gradient"):
            part, start = node.data
            return self._make(node.operation, (), width, (part, start + first))
        if node.operation == "unit":
            return self.unit(node.data.shifted(first), width)
        if node.operation == "constant":
            return self.constant(node.data, width)
        if node.operation == "product":
            return self.product(node.inputs[0], node.data.columns_from(first), width)
        if node.operation == "expand":
            return self.expand(node.inputs[0], width)
        assert node.operation in POINTWISE, node
        return self.apply(node.operation, *(self.slice(node, first, width) for node in node.inputs))

    def part(self, node: Node, first: int, width: int) -> Node:
        """Return units of a node whose own slices would have to be computed again."""
        if node.operation in LEAVES or width == node.width:
            return self.slice(node, first, width)
        return self._make("part", (node,), width, first)

    def rebuild(self, node: Node, inputs: Sequence[Node]) -> Node:
        """Return the same operation of other inputs."""
        if all(a is b for a, b in zip(node.inputs, inputs, strict=True)):
            return node
        if node.operation in POINTWISE:
            return self.apply(node.operation, *inputs)
        return self._make(node.operation, tuple(inputs), node.width, node.data)


def _is(node: Node, value: float) -> bool:
    return node.operation == "constant" and node.data == value


def ordered(roots: Iterable[Node], leaves: Iterable[Node] = ()) -> list[Node]:
    """Return all nodes that the roots need, inputs first; nothing below `leaves`, which are not among them."""
    seen: set[Node] = set(leaves)
    order: list[Node] = []
    for root in roots:
        stack: list[tuple[Node, Iterator[Node]]] = [] if root in seen else [(root, iter(root.inputs))]
        seen.add(root)
        while stack:
            node, inputs = stack[-1]
            for below in inputs:
                if below not in seen:
                    seen.add(below)
                    stack.append((below, iter(below.inputs)))
                    break
            else:
                order.append(node)
                stack.pop()
    return order
