"""The vectors of a step that a page shows: gates, candidates and further parts of the state, each with a name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .fuse import fuse
from .graph import LEAVES, Node, ordered
from .plan import Plan

ACTIVATIONS = frozenset({"tanh", "sigmoid", "relu"})
# Between these and the state, a vector is still a share of the state; behind others, it only decides about one.
_ARITHMETIC = frozenset({"add", "sub", "mul", "div", "neg", "lerp", "stop", "expand"})
_SUMS = frozenset({"add", "sub", "neg"})
_MOST_PIECES = 4  # of a part of the state, each as wide as the hidden state, that are shown one by one


class Shown(NamedTuple):
    """A vector of a step.

    Attributes:
        name: the local name in `step`; for an activation without one, the name in what it is applied to, else "tanh".
        nodes: in the graph of `Plan.outputs`, side by side.
        share: whether its numbers lie between 0 and 1.
    """

    name: str
    nodes: tuple[Node, ...]
    share: bool


def shown_of(plan: Plan) -> tuple[Shown, ...]:
    """Return gates and candidates in the order of their lines in `step`, then the parts of the state but the first."""
    traced = plan.traced
    roots = [node for pieces in traced.outputs for node in pieces]
    fused = fuse(traced.graph, roots)
    alive = set(ordered(node for pieces in plan.outputs for node in pieces))
    near = _near(roots)
    names: dict[Node, str] = {}
    for node in ordered(roots):
        if node.operation not in LEAVES and node not in roots and fused.get(node) in alive:
            if node.operation in ACTIVATIONS:
                names[node] = traced.names.get(node) or _from_argument(node, traced.names, roots)
            elif node in traced.names and node in near:
                names[node] = traced.names[node]
    written = sorted(names, key=lambda node: node.number)
    gates = [Shown(names[node], (fused[node],), node.operation == "sigmoid") for node in written]
    for part, pieces in enumerate(traced.outputs[1:], 1):
        apart = len(pieces) <= _MOST_PIECES and all(node.width == plan.traced.widths[0] for node in pieces)
        for number, nodes in enumerate([(node,) for node in pieces] if apart else [pieces], 1):
            name = f"{traced.parts[part]}.{number}" if apart and len(pieces) > 1 else traced.parts[part]
            if len(nodes) == 1:
                name = traced.names.get(nodes[0], name)
            gates.append(Shown(name, tuple(fused[node] for node in nodes), False))
    return _distinct(gates)


def _near(roots: Iterable[Node]) -> set[Node]:
    """Return the nodes from which the new state can be reached through arithmetic alone."""
    near: set[Node] = set()
    stack = list(roots)
    while stack:
        node = stack.pop()
        if node not in near:
            near.add(node)
            if node.operation in _ARITHMETIC:
                stack.extend(node.inputs)
    return near


def _from_argument(node: Node, names: dict[Node, str], roots: list[Node]) -> str:
    """Return a name for an activation: σ(i) is i, σ(o + p c) is o, tanh(c) of a new state c says so."""
    (argument,) = node.inputs
    if argument in roots and argument in names:
        return f"{node.operation}({names[argument]})"
    terms, named = [argument], set()
    while terms:
        term = terms.pop()
        if term in names:
            named.add(names[term])
        elif term.operation in _SUMS:
            terms.extend(term.inputs)
    return named.pop() if len(named) == 1 else node.operation


def _distinct(gates: list[Shown]) -> tuple[Shown, ...]:
    """Return gates no two of which have the same name."""
    seen: set[str] = {"hidden"}
    distinct = []
    for gate in gates:
        name, number = gate.name, 2
        while name in seen:
            name, number = f"{gate.name} {number}", number + 1
        seen.add(name)
        distinct.append(gate._replace(name=name))
    return tuple(distinct)
