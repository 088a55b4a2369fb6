"""What the forward pass keeps for the backward pass: as few numbers as possible, and no second product or sigmoid."""

from __future__ import annotations

from collections import deque
from collections.abc import Set as AbstractSet

from .graph import LEAVES, Node
from .operations import POINTWISE

_SOURCE, _SINK = "source", "sink"
_Place = tuple[Node, bool] | str  # before or after a node; the flow through it is what keeping it costs


def choose_kept(needed: AbstractSet[Node], free: AbstractSet[Node]) -> set[Node]:
    """Return the nodes to keep so that the needed ones can be computed cheaply in the backward pass.

    It is a minimal cut between what only a product, a sum over units or a costly function can give, and what is needed,
    where a node counts with its width. Of several minimal cuts it is the one that leaves least to compute.

    Args:
        needed: nodes of the forward pass.
        free: nodes that are there anyway, as states and left sides are.
    """
    room: dict[_Place, dict[_Place, int]] = {}

    def join(a: _Place, b: _Place, most: int) -> None:
        room.setdefault(a, {})[b] = most
        room.setdefault(b, {}).setdefault(a, 0)

    there = {node for node in needed if node not in free and node.operation not in LEAVES}
    endless = 1 << 40
    for node in there:
        join((node, True), _SINK, endless)
    stack = list(there)
    while stack:
        node = stack.pop()
        join((node, False), (node, True), node.width)
        below = [input_ for input_ in node.inputs if input_ not in free and input_.operation not in LEAVES]
        pointwise = POINTWISE.get(node.operation)
        if (pointwise is None and node.operation != "expand") or (pointwise is not None and pointwise.costly and below):
            join(_SOURCE, (node, False), endless)
            continue
        for input_ in below:
            join((input_, True), (node, False), endless)
            if input_ not in there:
                there.add(input_)
                stack.append(input_)
    while path := _path(room):
        most = min(room[a][b] for a, b in path)
        for a, b in path:
            room[a][b] -= most
            room[b][a] += most
    behind: set[_Place] = {_SINK}  # from where the sink can still be reached
    queue: deque[_Place] = deque(behind)
    while queue:
        place = queue.popleft()
        for before in room.get(place, ()):
            if before not in behind and room[before][place] > 0:
                behind.add(before)
                queue.append(before)
    return {node for node in there if (node, False) not in behind and (node, True) in behind}


def _path(room: dict[_Place, dict[_Place, int]]) -> list[tuple[_Place, _Place]]:
    """Return a way from source to sink on which there is room, as its edges; empty if there is none."""
    came: dict[_Place, _Place] = {}
    queue: deque[_Place] = deque([_SOURCE])
    while queue:
        place = queue.popleft()
        for next_, most in room.get(place, {}).items():
            if most > 0 and next_ not in came and next_ != _SOURCE:
                came[next_] = place
                if next_ == _SINK:
                    path: list[tuple[_Place, _Place]] = [(place, next_)]
                    while path[-1][0] != _SOURCE:
                        path.append((came[path[-1][0]], path[-1][0]))
                    return path
                queue.append(next_)
    return []
