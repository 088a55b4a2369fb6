"""Gradients of a time step, in reverse mode, as further nodes of its graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .graph import Graph, Node, Vector, ordered
from .operations import POINTWISE


class Part(NamedTuple):
    """Units of a leaf from `first` on, and the gradient by them."""

    first: int
    gradient: Node


class Gradients(NamedTuple):
    """The gradients of a time step, from the gradient by the state after it (nodes "gradient").

    Attributes:
        products: by each affine node's result.
        state: by each part of the state before the step, without what comes through products with it.
        x: by the input, likewise.
        units: by vectors of parameters.
    """

    products: dict[Node, Node]
    state: tuple[list[Part], ...]
    x: list[Part]
    units: list[tuple[Vector, Node]]


def derive(graph: Graph, outputs: Sequence[Sequence[Node]]) -> Gradients:
    """Differentiate a step.

    Args:
        graph: of the step, in which sums of products are affine nodes.
        outputs: for each part of the new state, nodes side by side.
    """
    gradients: dict[Node, list[Node]] = {}
    for part, pieces in enumerate(outputs):
        first = 0
        for node in pieces:
            gradients.setdefault(node, []).append(graph.gradient(part, first, node.width))
            first += node.width
    products: dict[Node, Node] = {}
    state: tuple[list[Part], ...] = tuple([] for _ in outputs)
    x: list[Part] = []
    units: list[tuple[Vector, Node]] = []
    for node in reversed(ordered(node for pieces in outputs for node in pieces)):
        total = graph.total(gradients.get(node, ()))
        if total is None or node.operation == "constant":
            continue
        if total.operation == "constant" and total.data == 0 and node.operation != "affine":
            continue
        if node.operation == "state":
            state[node.data[0]].append(Part(node.data[1], total))
        elif node.operation == "x":
            x.append(Part(node.data[1], total))
        elif node.operation == "unit":
            units.append((node.data, total))
        else:
            if node.operation == "affine":
                products[node] = total
            for below, gradient in zip(node.inputs, _through(graph, node, total), strict=True):
                if gradient is not None:
                    gradients.setdefault(below, []).append(gradient)
    return Gradients(products, state, x, units)


def _through(graph: Graph, node: Node, gradient: Node) -> Sequence[Node | None]:
    """Return the gradients by a node's inputs."""
    if node.operation == "affine":
        matrices, _ = node.data
        return [
            None
            if left.operation in ("x", "state")  # added for all products at once: see `plan`
            else graph.product(gradient, matrix.transposed, left.width)
            for left, matrix in zip(node.inputs, matrices, strict=True)
        ]
    if node.operation == "sum":
        return [graph.expand(gradient, node.inputs[0].width)]
    if node.operation == "maximum":  # equal inputs share the gradient, as in torch
        below = node.inputs[0]
        largest = graph.apply("eq", below, graph.expand(node, below.width))
        share = graph.apply("div", gradient, graph.reduce("sum", largest))
        return [graph.apply("mul", largest, graph.expand(share, below.width))]
    if node.operation == "expand":
        return [graph.reduce("sum", gradient)]
    derivative = POINTWISE[node.operation].derivative
    return [None] * len(node.inputs) if derivative is None else derivative(graph, node, gradient)
