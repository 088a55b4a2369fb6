"""Lay out a small directed graph in layers, from left to right, so that few lines cross (Sugiyama's method)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

SWEEPS = 24
SETTLING = 200
Place = tuple[Hashable, int]  # a node in a layer: where it stands, or where its line passes


class Layout(NamedTuple):
    """Where everything is.

    Attributes:
        layer: of each node.
        y: of each node in its layer, and of its line in each layer that it passes.
        passes: the last layer that a node's line reaches before its last target's.
    """

    layer: dict[Hashable, int]
    y: dict[Place, float]
    passes: dict[Hashable, int]


def lay_out(
    inputs: Mapping[Hashable, Sequence[Hashable]],
    heights: Mapping[Hashable, float],
    last: Sequence[Hashable],
    gap: float,
    line: float,
) -> Layout:
    """Return places at which boxes do not overlap. A node's line is one for all its targets.

    Args:
        inputs: of each node; the keys in an order in which inputs come first.
        heights: of the nodes.
        last: nodes of the last layer.
        gap: least distance between boxes of a layer.
        line: height that a passing line takes.
    """
    layer: dict[Hashable, int] = {}
    for node, below in inputs.items():
        layer[node] = max((layer[input_] + 1 for input_ in below), default=0)
    end = max(layer.values())
    for node in last:
        layer[node] = end
    passes = dict(layer)
    for node, below in inputs.items():
        for input_ in below:
            passes[input_] = max(passes[input_], layer[node] - 1)
    rows: list[list[Place]] = [[] for _ in range(end + 1)]
    for node in inputs:
        for number in range(layer[node], passes[node] + 1):
            rows[number].append((node, number))
    before: dict[Place, list[Place]] = {}
    for node, below in inputs.items():
        before[node, layer[node]] = [(input_, layer[node] - 1) for input_ in below]
        for number in range(layer[node] + 1, passes[node] + 1):
            before[node, number] = [(node, number - 1)]
    rows = _ordered(rows, before)
    height = {place: heights[place[0]] if place[1] == layer[place[0]] else line for row in rows for place in row}
    return Layout(layer, _heights(rows, before, height, gap), passes)


def _after(before: Mapping[Place, Sequence[Place]]) -> dict[Place, list[Place]]:
    after: dict[Place, list[Place]] = {}
    for place, below in before.items():
        for input_ in below:
            after.setdefault(input_, []).append(place)
    return after


def _ordered(rows: list[list[Place]], before: Mapping[Place, Sequence[Place]]) -> list[list[Place]]:
    """Return the layers in an order with few crossings; the first layer stays as it is."""
    after = _after(before)
    best, fewest = [row[:] for row in rows], _crossings(rows, before)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        numbers = range(1, len(rows)) if down else range(len(rows) - 2, 0, -1)
        for number in numbers:
            near = rows[number - 1] if down else rows[number + 1]
            at = {place: i for i, place in enumerate(near)}
            own = {place: i for i, place in enumerate(rows[number])}
            linked = before if down else after

            def centre(
                place: Place,
                at: dict[Place, int] = at,
                own: dict[Place, int] = own,
                linked: Mapping[Place, Sequence[Place]] = linked,
            ) -> float:
                places = [at[neighbour] for neighbour in linked.get(place, ())]
                return sum(places) / len(places) if places else float(own[place])

            rows[number].sort(key=centre)
        crossings = _crossings(rows, before)
        if crossings < fewest:
            best, fewest = [row[:] for row in rows], crossings
    return _exchanged(best, before)


def _exchanged(rows: list[list[Place]], before: Mapping[Place, Sequence[Place]]) -> list[list[Place]]:
    """Exchange neighbours as long as that removes crossings."""
    fewest, better = _crossings(rows, before), True
    while better:
        better = False
        for row in rows[1:]:
            for i in range(len(row) - 1):
                row[i], row[i + 1] = row[i + 1], row[i]
                crossings = _crossings(rows, before)
                if crossings < fewest:
                    fewest, better = crossings, True
                else:
                    row[i], row[i + 1] = row[i + 1], row[i]
    return rows


def _crossings(rows: Sequence[Sequence[Place]], before: Mapping[Place, Sequence[Place]]) -> int:
    count = 0
    for left, right in pairwise(rows):
        at = {place: i for i, place in enumerate(left)}
        ends = [(at[below], i) for i, place in enumerate(right) for below in before.get(place, ())]
        count += sum((a - c) * (b - d) < 0 for i, (a, b) in enumerate(ends) for c, d in ends[:i])
    return count


def _heights(
    rows: Sequence[Sequence[Place]], before: Mapping[Place, Sequence[Place]], height: Mapping[Place, float], gap: float
) -> dict[Place, float]:
    """Return heights at which lines are as level as they can be."""
    after = _after(before)
    y: dict[Place, float] = {}
    for row in rows:
        total = sum(height[place] + gap for place in row)
        top = total / 2
        for place in row:
            y[place] = top - height[place] / 2
            top -= height[place] + gap
    for sweep in range(SETTLING):
        for row in rows if sweep % 2 == 0 else reversed(rows):
            wanted = []
            for place in row:
                near = [*before.get(place, ()), *after.get(place, ())]
                # A line that passes is to be straight before a box is to be in the middle.
                weights = [6.0 if neighbour[0] == place[0] else 1.0 for neighbour in near]
                total = sum(weights)
                mean = (
                    sum(w * y[neighbour] for w, neighbour in zip(weights, near, strict=True)) / total
                    if near
                    else y[place]
                )
                wanted.append(mean)
            for place, value in zip(row, _apart(wanted, [height[place] for place in row], gap), strict=True):
                y[place] = value
    return y


def _apart(wanted: Sequence[float], heights: Sequence[float], gap: float) -> list[float]:
    """Return places from the top down, as near to the wanted ones as distances allow (pool adjacent violators)."""
    offsets = [0.0]
    for above, below in pairwise(heights):
        offsets.append(offsets[-1] + (above + below) / 2 + gap)
    blocks: list[tuple[float, int]] = []
    for value, offset in zip(wanted, offsets, strict=True):
        mean, count = value + offset, 1
        while blocks and blocks[-1][0] < mean:
            level, more = blocks.pop()
            mean, count = (mean * count + level * more) / (count + more), count + more
        blocks.append((mean, count))
    levels = [mean for mean, count in blocks for _ in range(count)]
    return [level - offset for level, offset in zip(levels, offsets, strict=True)]
