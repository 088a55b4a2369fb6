"""A step as a function in JavaScript, to be read by people too: products as calls, all else as loops over the units.

It calls the functions of unroll/page/engine/step.js.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .graph import BARRIERS, LEAVES, Node, ordered
from .operations import POINTWISE
from .plan import Plan
from .shown import shown_of

MOST_INLINE = 60  # characters of an expression inside another one
_WORDS = (  # reserved, or called by the function
    "addProduct addVector erf greatest joined sigmoid total unit Float64Array Infinity Math NaN undefined arguments "
    "await break case catch class const continue debugger default delete do else enum eval export extends false "
    "finally for function if implements import in instanceof interface let new null package private protected public "
    "return static super switch this throw true try typeof var void while with yield x"
)
# How tightly an expression holds together, from a choice to a call or a name.
_CHOICE, _COMPARISON, _SUM, _PRODUCT, _SIGN, _NAME = range(6)
# How tightly the templates that are not calls hold together, and how tightly their inputs must at least.
_TIGHTNESS: dict[str, tuple[int, tuple[int, ...]]] = {
    "stop": (_NAME, (_NAME,)),
    "neg": (_SIGN, (_NAME,)),
    "reciprocal": (_PRODUCT, (_SIGN,)),
    "add": (_SUM, (_SUM, _PRODUCT)),
    "sub": (_SUM, (_SUM, _PRODUCT)),
    "mul": (_PRODUCT, (_PRODUCT, _SIGN)),
    "div": (_PRODUCT, (_PRODUCT, _SIGN)),
    "gt": (_NAME, (_SUM, _SUM)),
    "ge": (_NAME, (_SUM, _SUM)),
    "eq": (_NAME, (_SUM, _SUM)),
    "ne": (_NAME, (_SUM, _SUM)),
    "select": (_NAME, (_COMPARISON, _SUM, _SUM)),
    "lerp": (_SUM, (_SIGN, _SIGN, _SIGN)),
}


class Gate(NamedTuple):
    """A vector that a step returns beside the new state.

    Attributes:
        name: for people.
        width: its numbers.
        share: whether they lie between 0 and 1.
    """

    name: str
    width: int
    share: bool


class Script(NamedTuple):
    """A step in JavaScript.

    Attributes:
        parameters: of the function: x, an array of state parts, an array of weights.
        body: its statements; it returns ``{state, gates}``, the new parts and the vectors that are `shown`, by name.
        shown: see `unroll.compiler.shown.shown_of`.
    """

    parameters: str
    body: str
    shown: tuple[Gate, ...]


def javascript(plan: Plan) -> Script:
    """Return a step in JavaScript. The weights are the results of the plan's prologue, flat and in their order."""
    return _Writer(plan).script()


class _Writer:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.gates = shown_of(plan)
        roots = [node for pieces in plan.outputs for node in pieces]
        self.order = ordered(roots)
        self.uses = Counter(below for node in self.order for below in node.inputs)
        self.users: dict[Node, list[Node]] = {node: [] for node in self.order}
        for node in self.order:
            for below in node.inputs:
                self.users[below].append(node)
        self.taken = set(_WORDS.split())
        self.weights = [self.fresh(name) for name in _names_of_weights(plan)]
        self.parts = [self.fresh(name) for name in plan.traced.parts]
        self.wanted = self._wanted_names()
        self.levels = _levels(self.order, self.users)
        shown = {node for gate in self.gates for node in gate.nodes}
        self.vectors = {node for node in self.order if self._is_vector(node, shown.union(roots))}
        self.names: dict[Node, str] = {}
        self.lines: list[str] = []

    def fresh(self, name: str) -> str:
        """Return a name like this one that nothing else has."""
        name = re.sub(r"\W", "_", name).rstrip("_") or "_"
        name = name if name.isidentifier() else f"_{name}"
        free, number = name, 2
        while free in self.taken:
            free, number = f"{name}{number}", number + 1
        self.taken.add(free)
        return free

    def _wanted_names(self) -> dict[Node, str]:
        """Return names that say what nodes are, where something does."""
        wanted = {
            pieces[0]: f"{name}_next"
            for name, pieces in zip(self.parts, self.plan.outputs, strict=True)
            if len(pieces) == 1 and pieces[0].operation != "affine"
        }
        for gate in self.gates:
            for number, node in enumerate(gate.nodes):
                wanted.setdefault(node, gate.name if len(gate.nodes) == 1 else f"{gate.name}.{number}")
        known = set(wanted.values())
        for node, name in self.plan.names.items():
            if name not in known:
                wanted.setdefault(node, name)
        for node in self.order:
            if node.operation == "affine" and node not in wanted:
                user = node
                while user not in wanted and len(self.users[user]) == 1 and self.users[user][0].operation != "affine":
                    (user,) = self.users[user]
                wanted[node] = f"{wanted[user]}_sum" if user in wanted else "sum"
        return wanted

    def _is_vector(self, node: Node, wanted: set[Node]) -> bool:
        """Tell whether a node needs an array of its own, beside what leaves and sums of products have."""
        if node.operation in ("affine", "x", "state"):
            return False
        if node in wanted or any(user.operation in BARRIERS for user in self.users[node]):
            return True
        if node.operation in LEAVES or node.operation == "expand":
            return False
        return node.width > 1 and any(self.levels[user] > self.levels[node] for user in self.users[node])

    # Expressions

    def at_unit(self, node: Node) -> tuple[str, int]:
        """Return an expression for a node's number at one unit, and how tightly it holds together."""
        if node in self.names:
            name = self.names[node]
            if node.operation == "affine" or node in self.vectors:
                return (f"{name}[0]" if node.width == 1 else f"{name}[unit]"), _NAME
            return name, _NAME
        if node.operation == "constant":
            return _number(node.data), _SIGN if math.copysign(1, node.data) < 0 else _NAME
        if node.operation == "x":
            return f"x[{_index(node.data[1], int(node.width > 1))}]", _NAME
        if node.operation == "state":
            return f"{self.parts[node.data[0]]}[{_index(node.data[1], int(node.width > 1))}]", _NAME
        if node.operation == "unit":
            stride = node.data.stride if node.width > 1 else 0
            return f"{self.weights[node.data.tensor]}[{_index(node.data.offset, stride)}]", _NAME
        if node.operation == "expand":
            return self.at_unit(node.inputs[0])
        return self.formula(node)

    def formula(self, node: Node) -> tuple[str, int]:
        """Return a pointwise operation of its inputs."""
        template = POINTWISE[node.operation].javascript
        given = [self.at_unit(below) for below in node.inputs]
        tight, least = _TIGHTNESS.get(node.operation, (_NAME, (_CHOICE,) * len(given)))
        texts = [text if held >= needed else f"({text})" for (text, held), needed in zip(given, least, strict=True)]
        return template.format(*texts), given[0][1] if node.operation == "stop" else tight

    def whole(self, node: Node) -> str:
        """Return an expression for the array of a node."""
        if node.operation in ("x", "state"):
            part, first = node.data
            name, width = ("x", self.plan.traced.inputs) if node.operation == "x" else self._part(part)
            return name if node.width == width else f"{name}.subarray({first}, {first + node.width})"
        return self.names[node]

    def _part(self, part: int) -> tuple[str, int]:
        return self.parts[part], self.plan.traced.widths[part]

    # Statements

    def script(self) -> Script:
        for level in range(max(self.levels.values(), default=0) + 1):
            here = [node for node in self.order if self.levels[node] == level]
            for node in here:
                if node.operation == "affine":
                    self.affine(node)
                elif node.operation in BARRIERS:
                    self.reduction(node)
            for node in here:
                if node.width == 1:
                    self.scalar(node)
            for width in sorted({node.width for node in here if node.width > 1}):
                self.loop(width, [node for node in here if node.width == width])
        state = ", ".join(self.joined(pieces) for pieces in self.plan.outputs)
        gates = ", ".join(_entry(gate.name, self.joined(gate.nodes)) for gate in self.gates)
        self.lines.append(f"return {{ state: [{state}], gates: {f'{{ {gates} }}' if gates else '{}'} }};")
        shown = tuple(Gate(gate.name, sum(node.width for node in gate.nodes), gate.share) for gate in self.gates)
        body = "\n".join(self.lines)
        parts = _pattern(self.parts, body)
        return Script(f"x, {parts}, {_pattern(self.weights, body)}", body, shown)

    def joined(self, nodes: Sequence[Node]) -> str:
        texts = [self.whole(node) for node in nodes]
        return texts[0] if len(texts) == 1 else f"joined({', '.join(texts)})"

    def affine(self, node: Node) -> None:
        """Add up biases and products in a new array."""
        name = self.names[node] = self.fresh(self.wanted[node])
        self.lines.append(f"const {name} = new Float64Array({node.width});")
        matrices, biases = node.data
        for bias in biases:
            stride = [] if bias.stride == 1 else [bias.stride]
            self.call("addVector", name, self.weights[bias.tensor], bias.offset, *stride)
        for left, matrix in zip(node.inputs, matrices, strict=True):
            across = matrix.column if node.width > 1 else left.width  # which does not matter for a single row
            along = matrix.factor if left.width > 1 else 1
            usual = (across, along) == (left.width, 1)
            strides = [] if usual else [across] if along == 1 else [across, along]
            self.call("addProduct", name, self.weights[matrix.tensor], matrix.offset, self.whole(left), *strides)

    def call(self, function: str, *arguments: object) -> None:
        self.lines.append(f"{function}({', '.join(map(str, arguments))});")

    def reduction(self, node: Node) -> None:
        function = {"sum": "total", "maximum": "greatest"}[node.operation]
        value = f"{function}({self.whole(node.inputs[0])})"
        self.define(node, {"sum": "all", "maximum": "most"}[node.operation], value)

    def scalar(self, node: Node) -> None:
        """Compute a node of one unit."""
        if node in self.names or node.operation == "affine" or (node.operation in LEAVES and node not in self.vectors):
            return
        if node in self.vectors or not self.is_inline(node):
            self.define(node, "v", self.at_unit(node)[0])

    def define(self, node: Node, default: str, value: str) -> None:
        name = self.fresh(self.wanted.get(node, default))
        self.lines.append(f"const {name} = {f'Float64Array.of({value})' if node in self.vectors else value};")
        self.names[node] = name

    def loop(self, width: int, nodes: Sequence[Node]) -> None:
        """Compute nodes of one width, unit by unit."""
        arrays, inside = [], []
        for node in nodes:
            if node.operation in BARRIERS or (node not in self.vectors and self.is_inline(node)):
                continue
            value = self.at_unit(node)[0]
            name = self.fresh(self.wanted.get(node, "v"))
            if node in self.vectors:
                arrays.append(f"const {name} = new Float64Array({width});")
                inside.append(f"  {name}[unit] = {value};")
            else:
                inside.append(f"  const {name} = {value};")
            self.names[node] = name
        if inside:
            self.lines += [*arrays, f"for (let unit = 0; unit < {width}; unit++) {{", *inside, "}"]

    def is_inline(self, node: Node) -> bool:
        """Tell whether a node is written where it is used."""
        if node.operation in LEAVES or node.operation == "expand":
            return True
        if node.operation == "stop" and node.width == 1 and node.inputs[0] in self.names:
            return True
        if node in self.wanted or self.uses[node] > 1:
            return False
        (user,) = self.users[node]
        if (user.width, self.levels[user]) != (node.width, self.levels[node]):
            return False
        twice = POINTWISE[user.operation].javascript.count("{0}") > 1 and node is user.inputs[0]
        return not twice and len(self.formula(node)[0]) <= MOST_INLINE


def _levels(order: Sequence[Node], users: dict[Node, list[Node]]) -> dict[Node, int]:
    """Return when each node is computed: sums of products as soon as possible, all else as late as possible."""
    earliest: dict[Node, int] = {}
    for node in order:
        below = max((earliest[given] for given in node.inputs), default=0)
        earliest[node] = below + (node.operation in BARRIERS)
    last = max(earliest.values(), default=0)
    levels: dict[Node, int] = {}
    for node in reversed(order):
        if node.operation in BARRIERS:
            levels[node] = earliest[node]
        else:
            levels[node] = min((levels[user] - (user.operation in BARRIERS) for user in users[node]), default=last)
    return levels


def _names_of_weights(plan: Plan) -> Iterable[str]:
    prologue = plan.traced.prologue
    for made in prologue.results:
        if made.call == -1:
            module, _, name = prologue.paths[made.item]
            yield f"{module}_{name}" if module else name
        else:
            yield "derived"


def _number(value: float) -> str:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return "NaN" if math.isnan(value) else str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)


def _index(offset: int, stride: int) -> str:
    """Return offset + stride * unit."""
    unit = {0: "", 1: "unit"}.get(stride, f"{stride} * unit")
    return f"{offset} + {unit}" if offset and unit else unit or str(offset)


def _entry(name: str, value: str) -> str:
    if name == value:
        return name
    return f"{name if name.isidentifier() else json.dumps(name)}: {value}"


def _pattern(names: Sequence[str], body: str) -> str:
    """Return a pattern that takes an array apart, with gaps for what is not used."""
    used = [name if re.search(rf"(?<!\w){re.escape(name)}(?!\w)", body) else "" for name in names]
    while used and not used[-1]:
        used.pop()
    return f"[{', '.join(used)}]"
