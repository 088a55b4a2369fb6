"""Sums of products as single nodes: out = biases + W x + U h, in one pass over the columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from .graph import Graph, Node, ordered
from .program import MOST_LEFTS


def fuse(graph: Graph, roots: Sequence[Node], leaves: Sequence[Node] = (), biases: bool = True) -> dict[Node, Node]:
    """Return what stands for each node that the roots need: products become affine nodes, with what is added to them.

    Args:
        graph: makes the new nodes.
        roots: the nodes to keep.
        leaves: nodes that stay, with all below them (default none).
        biases: whether vectors of parameters that are added belong to an affine node (default True).
    """
    order = ordered(roots, leaves)
    uses = Counter(below for node in order for below in node.inputs)
    uses.update(roots)
    inside: set[Node] = set()  # sums and products that only a single sum uses, which takes them in
    for node in reversed(order):
        if node.operation == "add":
            inside.update(below for below in node.inputs if below.operation in ("add", "product") and uses[below] == 1)
    new: dict[Node, Node] = {leaf: leaf for leaf in leaves}
    for node in order:
        if node.operation == "product":
            new[node] = graph.affine([new.get(node.inputs[0], node.inputs[0])], [node.data], [], node.width)
        elif node.operation == "add" and node not in inside:
            terms = _terms(node, inside)
            products = [term for term in terms if term.operation == "product" and term in inside]
            vectors = [term for term in terms if biases and products and term.operation == "unit"]
            parts = [new.get(term, term) for term in terms if term not in products and term not in vectors]
            for first in range(0, len(products), MOST_LEFTS):
                some = products[first : first + MOST_LEFTS]
                lefts = [new.get(term.inputs[0], term.inputs[0]) for term in some]
                added = [term.data for term in vectors] if first == 0 else []
                affine = graph.affine(lefts, [term.data for term in some], added, node.width)
                parts.insert(first // MOST_LEFTS, affine)
            total = graph.total(parts)
            assert total is not None
            new[node] = total
        elif node not in new:
            new[node] = graph.rebuild(node, [new.get(below, below) for below in node.inputs])
    return new


def _terms(node: Node, inside: set[Node]) -> list[Node]:
    """Return what a sum adds up."""
    return [
        term
        for below in node.inputs
        for term in (_terms(below, inside) if below.operation == "add" and below in inside else [below])
    ]
