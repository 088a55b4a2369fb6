"""Draw a cell: what a time step computes, from the input and the old state to the new one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, PathPatch
from matplotlib.path import Path
from torch import nn

from ..compiler import Plan, compile_step
from ..compiler.formulas import Formulas
from ..compiler.gates import gates
from ..compiler.graph import LEAVES, Node
from ..compiler.operations import POINTWISE
from ..errors import InputError, NotCompiledError
from .layers import Layout, lay_out
from .style import COLOURS, INK, STYLE, label

Kind = Literal["input", "state", "product", "gate", "function", "formula", "circle"]
FILLS = {"product": "#d7e8f5", "gate": "#fbe7c0", "function": "#d3efe4", "formula": "#f1f1f1"}
WORDS = {"product": "product", "gate": "gate, 0 to 1", "function": "function", "formula": "arithmetic"}
FUNCTIONS = frozenset(
    {"tanh", "sigmoid", "relu", "sin", "cos", "atan", "exp", "log", "log1p", "expm1", "erf", "sqrt", "abs", "floor"}
)
SIGNS = {"add": "+", "mul": "×"}
LETTER, LINE_HEIGHT, MARGIN = 0.073, 0.17, 0.09  # inches, for 8 points
RADIUS, GAP, BETWEEN = 0.11, 0.13, 0.42
SHORT = 8  # characters of what a formula shows of a box without a name; beyond, a dot
LONGEST = 34  # characters of a formula in a box
STATES = (0, 5, 3, 4)  # colours of the parts of the state
KAPPA = 0.5  # how far the control points of a line's bend are from its ends, of its width


@dataclass
class Box:
    """Something that is drawn: its words, and what points to it."""

    kind: Kind
    lines: tuple[str, ...]
    inputs: list[Hashable] = field(default_factory=list)
    name: str = ""
    colour: str = INK
    line: str = "#555555"

    @property
    def width(self) -> float:
        """Return its width in inches."""
        if self.kind == "circle":
            return 2 * RADIUS
        return max(LETTER * len(line) for line in (*self.lines, self.name)) + 2 * MARGIN

    @property
    def height(self) -> float:
        """Return its height in inches."""
        if self.kind == "circle":
            return 2 * RADIUS + (LINE_HEIGHT if self.name else 0)
        return LINE_HEIGHT * (len(self.lines) + bool(self.name)) + 2 * MARGIN * 0.7


def plot_cell(cell: nn.Module) -> Figure:
    """Draw a cell's step as a graph: x and the old state on the left, the new state on the right.

    Boxes are products with matrices, gates, other functions and arithmetic on units; circles are sums and products unit
    by unit. Names are those of local variables in the source of `step`.

    Args:
        cell: as for `unroll.compiler.explain`.

    Raises:
        InputError: its step is not compiled, so that there is no graph; the message says why.
    """
    try:
        plan = compile_step(cell)
    except NotCompiledError as error:
        raise InputError(f"{type(cell).__name__} has no graph to draw, as its step is not compiled: {error}") from error
    boxes, ends = _Drawing(plan).boxes()
    layout = lay_out(
        {key: box.inputs for key, box in boxes.items()},
        {key: box.height for key, box in boxes.items()},
        ends,
        GAP,
        0.02,
    )
    with mpl.rc_context(STYLE | {"font.size": 8}):
        return _draw(type(cell).__name__, boxes, layout)


class _Drawing:
    """Chooses what of a graph is drawn as a box of its own."""

    def __init__(self, plan: Plan) -> None:
        self.plan, formulas = plan, Formulas(plan)
        self.names = dict(formulas.names)
        self.gates = {node: name for name, node in gates(plan).items()}
        order = formulas.order
        self.uses = Counter(below for node in order for below in node.inputs)
        self.uses.update(node for pieces in plan.outputs for node in pieces)
        for node in order:  # where f is only used in σ(f), the picture has a single box f
            if node.operation in FUNCTIONS and node not in self.names:
                below = node.inputs[0]
                name = self.names.get(below, "") if self.uses[below] == 1 and below.operation == "affine" else ""
                name = name or self.gates.get(node, "")
                if name and (
                    name not in self.names.values() or (self.names.get(below) == name and self.uses[below] == 1)
                ):
                    self.names.pop(below, None)
                    self.names[node] = name
        self.formulas = Formulas(plan, self.names)
        self.found: dict[Hashable, Box] = {}

    def boxes(self) -> tuple[dict[Hashable, Box], list[Hashable]]:
        """Return the boxes, inputs first, and which of them are the new state."""
        parts = self.plan.traced.parts
        for number, part in enumerate(parts):
            colour = COLOURS[STATES[number % len(STATES)]]
            self.found["state", number] = Box("state", (part,), colour=colour, line=colour)
        self.found["x"] = Box("input", ("x",), colour=COLOURS[2], line=COLOURS[2])
        ends: list[Hashable] = []
        for number, (part, pieces) in enumerate(zip(parts, self.plan.outputs, strict=True)):
            inputs = [key for piece in pieces for key in self.sources(piece)]
            end, colour = ("new", number), self.found["state", number].colour
            self.found[end] = Box("state", (f"{part}'",), inputs, colour=colour)
            for key in inputs:
                if self.found[key].kind not in ("input", "state"):
                    self.found[key].line = colour
            ends.append(end)
        used = {key for box in self.found.values() for key in box.inputs}
        return {key: box for key, box in self.found.items() if key in used or key in ends}, ends

    def sources(self, node: Node) -> list[Hashable]:
        """Return the keys of the boxes that give a node, made if they are not there yet."""
        if node.operation == "x":
            return ["x"]
        if node.operation == "state":
            return [("state", node.data[0])]
        if node.operation in ("unit", "constant"):
            return []
        if node.operation in ("expand", "stop"):
            return self.sources(node.inputs[0])
        if node not in self.found:
            box = self._box(node)
            self.found[node] = box
        return [node]

    def _box(self, node: Node) -> Box:
        name = self.names.get(node, "")
        name = "" if name.endswith("'") else name
        if node.operation == "affine":
            return Box("product", (self._product(node),), self._of(node.inputs), name)
        if node.operation in FUNCTIONS:
            kind: Kind = "gate" if node.operation == "sigmoid" else "function"
            symbol = POINTWISE[node.operation].symbol
            below = node.inputs[0]
            if below.operation == "affine" and self.uses[below] == 1 and below not in self.names:
                return Box(kind, (symbol.format(self._product(below)),), self._of(below.inputs), name)
            return Box(kind, (symbol.format("·").replace("(·)", ""),), self._of(node.inputs), name)
        if node.operation in ("sum", "maximum"):
            return Box(
                "function", ("Σ units" if node.operation == "sum" else "max units",), self._of(node.inputs), name
            )
        inside = self._folded(node)
        if all(below.operation in SIGNS and self._variables(below) == 2 for below in inside):
            return Box("circle", (SIGNS[node.operation],), self._of(node.inputs), name)
        lefts = [below for inner in inside for below in inner.inputs if below not in inside]
        nameless = {
            below: "·"
            for below in lefts
            if below not in self.names and below.operation not in LEAVES and len(self.formulas.of(below).text) > SHORT
        }
        text = Formulas(self.plan, self.names | nameless).right(node).text.replace(" - ", " − ")
        return Box("formula", (text if len(text) <= LONGEST else "…",), self._of(lefts), name)

    def _of(self, nodes: tuple[Node, ...] | list[Node]) -> list[Hashable]:
        return list(dict.fromkeys(key for node in nodes for key in self.sources(node)))

    def _product(self, node: Node) -> str:
        lefts = [self.formulas.of(left) for left in node.inputs]
        terms = [f"W {left.within(4) if len(left.text) <= 12 else '·'}" for left in lefts]
        return " + ".join([*terms, *(["b"] if node.data[1] else [])])

    def _variables(self, node: Node) -> int:
        return sum(below.operation not in ("unit", "constant") for below in node.inputs)

    def _folded(self, node: Node) -> set[Node]:
        """Return a node and the arithmetic below that has no name and no other use."""
        inside, stack = {node}, list(node.inputs)
        while stack:
            below = stack.pop()
            arithmetic = below.operation in POINTWISE and below.operation not in FUNCTIONS
            if (arithmetic or below.operation == "expand") and self.uses[below] == 1 and below not in self.names:
                inside.add(below)
                stack.extend(below.inputs)
        return inside


def _draw(title: str, boxes: dict[Hashable, Box], layout: Layout) -> Figure:
    widths = [0.0] * (max(layout.layer.values()) + 1)
    for key, box in boxes.items():
        widths[layout.layer[key]] = max(widths[layout.layer[key]], box.width)
    centres, right = [], 0.0
    for width in widths:
        centres.append(right + width / 2)
        right += width + BETWEEN
    right -= BETWEEN
    highs = [layout.y[key, layout.layer[key]] + box.height / 2 for key, box in boxes.items()]
    lows = [layout.y[key, layout.layer[key]] - box.height / 2 for key, box in boxes.items()]
    highs += list(layout.y.values())
    lows += list(layout.y.values())
    top, bottom = max(highs) + 0.35, min(lows) - 0.4
    figure = Figure(figsize=(right + 0.3, top - bottom))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set_xlim(-0.15, right + 0.15)
    ax.set_ylim(bottom, top)
    ax.set_axis_off()
    ax.text(-0.05, top - 0.08, label(title), weight="bold", size=9, va="top")
    _draw_lines(ax, boxes, layout, centres, widths)
    for key, box in boxes.items():
        _draw_box(ax, box, centres[layout.layer[key]], layout.y[key, layout.layer[key]])
    x = -0.05
    for kind in FILLS:
        if any(box.kind == kind for box in boxes.values()):
            ax.add_patch(
                FancyBboxPatch(
                    (x, bottom + 0.1), 0.14, 0.1, "round,pad=0,rounding_size=0.03", fc=FILLS[kind], ec=INK, lw=0.6
                )
            )
            ax.text(x + 0.2, bottom + 0.15, WORDS[kind], size=7, va="center")
            x += 0.34 + LETTER * 0.85 * len(WORDS[kind])
    ax.text(x, bottom + 0.15, "W, b: different ones in each box", size=7, va="center")
    return figure


def _draw_box(ax: Axes, box: Box, x: float, y: float) -> None:
    if box.kind == "circle":
        middle = y - (LINE_HEIGHT / 2 if box.name else 0)
        ax.add_patch(Circle((x, middle), RADIUS, fc="white", ec=INK, lw=0.8, zorder=3))
        ax.text(x, middle - 0.005, box.lines[0], ha="center", va="center", size=9, zorder=4)
        if box.name:
            ax.text(x, middle + RADIUS + 0.07, label(box.name), ha="center", va="center", weight="bold", zorder=4)
        return
    fill = FILLS.get(box.kind, "white")
    ax.add_patch(
        FancyBboxPatch(
            (x - box.width / 2, y - box.height / 2), box.width, box.height, "round,pad=0,rounding_size=0.06",
            fc=fill, ec=box.colour, lw=1.4 if box.kind in ("input", "state") else 0.8, zorder=3,
        )
    )  # fmt: skip
    words = [*([(box.name, "bold")] if box.name else []), *((line, "normal") for line in box.lines)]
    for i, (text, weight) in enumerate(words):
        if box.kind in ("input", "state"):
            weight = "bold"
        at = y + LINE_HEIGHT * ((len(words) - 1) / 2 - i)
        ax.text(x, at, label(text), ha="center", va="center_baseline", weight=weight, zorder=4)


def _draw_lines(
    ax: Axes, boxes: dict[Hashable, Box], layout: Layout, centres: list[float], widths: list[float]
) -> None:
    """Draw a line from each box through the layers to its targets, where the arrows are."""
    for key, box in boxes.items():
        own, last = layout.layer[key], layout.passes[key]
        style: Any = {"fill": False, "ec": box.line, "lw": 1.2, "zorder": 2, "capstyle": "round"}
        for number in range(own, last):  # through the next layer
            left, right = centres[number] + widths[number] / 2, centres[number + 1] - widths[number + 1] / 2
            start, end = layout.y[key, number], layout.y[key, number + 1]
            begin = centres[number] + box.width / 2 if number == own else left
            far = right + widths[number + 1]
            ax.add_patch(PathPatch(_bend(begin, left, start, right, end, far), **style))
        for target, to in boxes.items():
            if key not in to.inputs:
                continue
            number = layout.layer[target] - 1
            sources = sorted(to.inputs, key=lambda source: layout.y[source, number], reverse=True)
            spread = to.height * 0.5 if to.kind != "circle" else RADIUS * 0.9
            place = (len(sources) - 1) / 2 - sources.index(key)
            middle = layout.y[target, number + 1] - (LINE_HEIGHT / 2 if to.kind == "circle" and to.name else 0)
            end = middle + place * min(0.12, spread / max(1, len(sources) - 1))
            left, right = centres[number] + widths[number] / 2, centres[number + 1] - widths[number + 1] / 2
            begin = centres[number] + box.width / 2 if number == own else left
            tip = centres[number + 1] - to.width / 2
            if to.kind == "circle":
                tip = centres[number + 1] - (RADIUS**2 - min(abs(end - middle), RADIUS) ** 2) ** 0.5
            start = layout.y[key, number]
            ax.add_patch(PathPatch(_bend(begin, left, start, right, end, tip - 0.03), **style))
            ax.fill([tip, tip - 0.09, tip - 0.09], [end, end + 0.035, end - 0.035], color=box.line, lw=0, zorder=2.5)


def _bend(begin: float, left: float, start: float, right: float, end: float, far: float) -> Path:
    """Return a level line to ``left``, a bend to ``right``, and a level line to ``far``."""
    bend = KAPPA * (right - left)
    points = [(begin, start), (left, start), (left + bend, start), (right - bend, end), (right, end), (far, end)]
    return Path(points, [Path.MOVETO, Path.LINETO, Path.CURVE4, Path.CURVE4, Path.CURVE4, Path.LINETO])
