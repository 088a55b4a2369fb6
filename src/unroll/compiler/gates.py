"""The gates of a cell, found in the graph of its step."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .evaluate import evaluate
from .formulas import free_name
from .graph import LEAVES, Node, ordered
from .plan import Plan


def gates(plan: Plan) -> dict[str, Node]:
    """Return the sigmoids of a step by name, in the order of their products.

    A gate has the local name that it has in `step`; else that of what the sigmoid is taken of; else that of its
    multiple by a constant; else it is called sigmoid. Not gates: the sigmoid inside of silu, σ(-a) beside σ(a), which
    is 1 - σ(a), and comparisons, which are always 0 or 1.
    """
    order = ordered(node for pieces in plan.outputs for node in pieces)
    users: dict[Node, list[Node]] = {}
    for node in order:
        for below in node.inputs:
            users.setdefault(below, []).append(node)

    def is_silu(node: Node) -> bool:
        return bool(users.get(node)) and all(
            user.operation == "mul" and node.inputs[0] in user.inputs for user in users[node]
        )

    sigmoids = [node for node in order if node.operation == "sigmoid" and not is_silu(node)]
    sigmoids.sort(key=lambda node: (node not in plan.names, _product(node, plan)))
    kept: list[Node] = []
    for node in sigmoids:
        if not any(_opposite(node.inputs[0], gate.inputs[0]) for gate in kept):
            kept.append(node)
    named: dict[str, Node] = {}
    for node in sorted(kept, key=lambda node: _product(node, plan)):
        name = plan.names.get(node) or _name_below(node, plan.names) or _name_above(node, plan.names, users)
        named[free_name(name or "sigmoid", set(named))] = node
    return named


def gate_values(plan: Plan, cell: nn.Module, x: Tensor, state: Sequence[Tensor]) -> dict[str, Tensor]:
    """Compute the gates of a cell, on the device and in the dtype of x.

    Args:
        plan: of a cell of the same kind, as `compile_step` makes it.
        cell: has the parameters.
        x: (rows, features): of many sequences or time steps.
        state: the parts of the state before the step, each (rows, …).

    Returns:
        (rows, units) for each gate, by name.
    """
    named = gates(plan)
    if not named:
        return {}
    flat = [part.flatten(1) if part.dim() > 1 else part[:, None] for part in state]
    values = evaluate([[node] for node in named.values()], x, flat, plan.traced.prologue.run(cell))
    return dict(zip(named, values, strict=True))


def _product(node: Node, plan: Plan) -> int:
    """Return the number of the first product that a node waits for, not counting those of other named values."""
    first, stack = len(plan.affines), [node]
    while stack:
        below = stack.pop()
        if below.operation == "affine":
            first = min(first, plan.affines.index(below))
        elif below is node or below not in plan.names:
            stack.extend(below.inputs)
    return first


def _opposite(a: Node, b: Node) -> bool:
    return (a.operation == "neg" and a.inputs[0] is b) or (b.operation == "neg" and b.inputs[0] is a)


def _name_below(node: Node, names: dict[Node, str]) -> str:
    """Return the name of what a sigmoid is taken of, past terms that parameters and numbers alone make."""
    below = [node.inputs[0]]
    while len(below) == 1:
        if below[0] in names:
            return names[below[0]]
        below = [input_ for input_ in below[0].inputs if input_.operation not in LEAVES]
        named = [input_ for input_ in below if input_ in names and input_.operation == "affine"]
        below = named if len(named) == 1 else below
    return ""


def _name_above(node: Node, names: dict[Node, str], users: dict[Node, list[Node]]) -> str:
    for user in users.get(node, ()):
        if user.operation == "mul" and any(input_.operation == "constant" for input_ in user.inputs) and user in names:
            return names[user]
    return ""
