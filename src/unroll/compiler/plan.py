"""From a step's graph and its gradients to a program: what is kept, what stands where, and in which order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from ..errors import NotCompiledError
from .derive import Part, derive
from .fuse import fuse
from .graph import LEAVES, Graph, Node, ordered
from .keep import choose_kept
from .program import MOST_LEFTS, Block, Gradient, Left, Operand, Place, Product, Program, Term
from .schedule import Columns, Sink, Units, joined_blocks, operand_of, schedule
from .trace import Traced


class Plan(NamedTuple):
    """A program, and the graph that it comes from.

    Attributes:
        program: for the machine.
        traced: the step as it was recorded.
        outputs: for each part of the new state, nodes side by side, with sums of products as affine nodes.
        affines: those nodes, in the order of their columns in D.
        kept: what the forward pass keeps for the backward pass.
        names: of nodes, from the local names in `step`.
    """

    program: Program
    traced: Traced
    outputs: tuple[tuple[Node, ...], ...]
    affines: tuple[Node, ...]
    kept: tuple[Node, ...]
    names: dict[Node, str]


def plan(traced: Traced) -> Plan:
    """Make the program of a traced step."""
    graph = traced.graph
    roots = [node for pieces in traced.outputs for node in pieces]
    new = fuse(graph, roots)
    outputs = tuple(tuple(new[node] for node in pieces) for pieces in traced.outputs)
    roots = [node for pieces in outputs for node in pieces]
    forward = ordered(roots)
    names = _names(traced, new, forward)

    gradients = derive(graph, outputs)
    carries = tuple(_joined(graph, parts) for parts in gradients.state)
    direct = _covering(graph, _joined(graph, gradients.x), traced.inputs) if gradients.x else []
    zero = {node: graph.constant(0, node.width) for node in forward if node.operation == "affine"}
    by_product = {node: gradients.products.get(node, zero[node]) for node in zero}
    backward = [
        *by_product.values(),
        *(part.gradient for parts in (*carries, direct) for part in parts),
        *(gradient for _, gradient in gradients.units),
    ]
    later = fuse(graph, backward, forward, biases=False)

    def final(node: Node) -> Node:
        return later.get(node, node)

    after = _after(outputs)
    lefts = {
        left
        for node in forward
        if node.operation == "affine"
        for left in node.inputs
        if left.operation not in LEAVES and left not in after
    }
    known = set(forward)
    needed = {below for node in ordered(map(final, backward), forward) for below in node.inputs if below in known} | {
        final(node) for node in backward if final(node) in known
    }
    chosen = choose_kept(needed, after.keys() | lefts)
    kept = [node for node in forward if node in lefts or node in chosen]
    homes, columns = dict(after), 0
    for node in kept:
        homes[node] = Operand(Place.KEPT, 0, columns)
        columns += node.width

    units = Units()
    sinks = [Sink(node, Operand(Place.AFTER, part, first)) for part, first, node in _enumerated(outputs)]
    infer = schedule(sinks, {}, units)
    sinks += [Sink(node, homes[node]) for node in kept]
    training = schedule(sinks, {}, units)

    affines = tuple(training.affines)
    assert affines == tuple(infer.affines)
    d = Columns()
    at = {node: d.take(node.width) for node in affines}
    products = d.used
    back = [Sink(final(by_product[node]), Operand(Place.D, 0, at[node])) for node in affines]
    back += [Sink(final(part.gradient), Operand(Place.D, 0, products + part.first)) for part in direct]
    back += [
        Sink(final(part.gradient), Operand(Place.CARRY, index, part.first))
        for index, parts in enumerate(carries)
        for part in parts
    ]
    totals = [(units.vector(vector, gradient.width), final(gradient)) for vector, gradient in gradients.units]
    derived = schedule(back, homes, units, totals)

    def past(kind: str, part: int, width: int, place: Place) -> tuple[Product, ...]:
        return _past(affines, at, kind, part, width, place)

    program = Program(
        inputs=traced.inputs,
        widths=traced.widths,
        kept=columns,
        products=products,
        d=products + (traced.inputs if direct else 0),
        units=units.used,
        sizes=tuple(shape.numel() for shape in traced.prologue.shapes),
        biases=tuple(Term(at[node], node.width, *vector) for node in affines for vector in node.data[1]),
        unit_terms=units.terms,
        fills=units.fills,
        infer=infer.steps,
        forward=training.steps,
        backward=derived.steps,
        past=tuple(past("state", part, width, Place.GRADIENT) for part, width in enumerate(traced.widths)),
        dx=past("x", 0, traced.inputs, Place.X) or _direct_only(direct, traced.inputs),
        gradients=_of_matrices(affines, at, homes),
    )
    return Plan(program, traced, outputs, affines, tuple(kept), names)


def _names(traced: Traced, new: dict[Node, Node], forward: Sequence[Node]) -> dict[Node, str]:
    """Return the local names of nodes, now that sums are affine nodes; also of a sum in a sum, if it is all of one."""
    remaining: set[Node | None] = {*forward}
    names: dict[Node, str] = {}
    for node, name in traced.names.items():
        now = new.get(node)
        if now not in remaining:
            now = fuse(traced.graph, [node])[node]
        if now is not None and now in remaining:
            names.setdefault(now, name)
    return names


def _after(outputs: Sequence[Sequence[Node]]) -> dict[Node, Operand]:
    """Return where in the new state nodes stand."""
    homes: dict[Node, Operand] = {}
    for part, first, node in _enumerated(outputs):
        if node.operation not in LEAVES:
            homes.setdefault(node, Operand(Place.AFTER, part, first))
    return homes


def _enumerated(outputs: Sequence[Sequence[Node]]) -> Iterable[tuple[int, int, Node]]:
    for part, pieces in enumerate(outputs):
        first = 0
        for node in pieces:
            yield part, first, node
            first += node.width


def _joined(graph: Graph, parts: Sequence[Part]) -> list[Part]:
    """Return parts that do not overlap: where several gradients meet, their sum."""
    if len({(part.first, part.gradient.width) for part in parts}) <= 1:
        total = graph.total(part.gradient for part in parts)
        return [] if total is None else [Part(parts[0].first, total)]
    ends = sorted({end for part in parts for end in (part.first, part.first + part.gradient.width)})
    joined = []
    for first, end in pairwise(ends):
        total = graph.total(
            graph.part(part.gradient, first - part.first, end - first)
            for part in parts
            if part.first <= first and end <= part.first + part.gradient.width
        )
        if total is not None:
            joined.append(Part(first, total))
    return joined


def _covering(graph: Graph, parts: Sequence[Part], width: int) -> list[Part]:
    """Return parts with zeros between them, so that they cover all units."""
    covering, end = [], 0
    for part in parts:
        if part.first > end:
            covering.append(Part(end, graph.constant(0, part.first - end)))
        covering.append(part)
        end = part.first + part.gradient.width
    if end < width:
        covering.append(Part(end, graph.constant(0, width - end)))
    return covering


def _of_matrices(affines: Sequence[Node], at: dict[Node, int], homes: dict[Node, Operand]) -> tuple[Gradient, ...]:
    gradients: list[Gradient] = []
    for node in affines:
        for left, matrix in zip(node.inputs, node.data[0], strict=True):
            block = Block(node.width, *matrix)
            operand = operand_of(left) if left.operation in LEAVES else homes[left]
            new = Gradient(at[node], node.width, operand, left.width, (block,))
            for i, before in enumerate(gradients):
                follows = before.d + before.columns == new.d and before.at == operand and before.factors == left.width
                if follows and (blocks := joined_blocks(*before.blocks, block)):
                    gradients[i] = before._replace(columns=before.columns + node.width, blocks=blocks)
                    break
            else:
                gradients.append(new)
    return tuple(gradients)


def _past(
    affines: Sequence[Node], at: dict[Node, int], kind: str, part: int, width: int, place: Place
) -> tuple[Product, ...]:
    """Return the products of D that give the gradient by a part of the state, or by x."""
    uses = [
        (node, left, matrix)
        for node in affines
        for left, matrix in zip(node.inputs, node.data[0], strict=True)
        if left.operation == kind and left.data[0] == part
    ]
    if not uses:
        return ()
    ends = sorted({0, width} | {end for _, left, _ in uses for end in (left.data[1], left.data[1] + left.width)})
    products = []
    for first, end in pairwise(ends):
        lefts: list[Left] = []
        for node, left, matrix in uses:
            start = left.data[1]
            if not (start <= first and end <= start + left.width):
                continue
            turned = matrix.factors_from(first - start).transposed
            new = Left(Operand(Place.D, 0, at[node]), node.width, (Block(end - first, *turned),))
            if lefts and _continues(lefts[-1], new):
                lefts[-1] = lefts[-1]._replace(factors=lefts[-1].factors + node.width)
            else:
                lefts.append(new)
        if len(lefts) > MOST_LEFTS:
            raise NotCompiledError(
                f"the gradient by {'x' if kind == 'x' else 'its state'} is the sum of {len(lefts)} products of parts "
                f"of its vectors, at most {MOST_LEFTS} can be handled"
            )
        products.append(Product(Operand(place, part, first), end - first, -1, tuple(lefts)))
    return tuple(products)


def _continues(left: Left, new: Left) -> bool:
    """Tell whether a left side's factors follow those of another one, in D and in the matrix."""
    (before,), (after,) = left.blocks, new.blocks
    moved = before._replace(offset=before.offset + left.factors * before.factor)
    return left.at.column + left.factors == new.at.column and moved == after


def _direct_only(direct: Sequence[Part], inputs: int) -> tuple[Product, ...]:
    return (Product(Operand(Place.X, 0, 0), inputs, -1, ()),) if direct else ()
