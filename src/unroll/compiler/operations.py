"""The pointwise operations: each is declared once, with its derivative, for the kernels, JavaScript and formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from .program import Op


class Node(Protocol):
    """What a derivative reads of a node (`unroll.compiler.graph.Node`)."""

    inputs: tuple[Any, ...]
    width: int


class Graph(Protocol):
    """What a derivative makes nodes with (`unroll.compiler.graph.Graph`)."""

    def apply(self, operation: str, *inputs: Any) -> Any:
        """Return a pointwise operation of nodes."""

    def constant(self, value: float, width: int) -> Any:
        """Return a number for all units."""


# The gradients by the inputs, in order, None where there is none: f(graph, node, the gradient by the node).
Derivative = Callable[[Any, Any, Any], tuple[Any, ...]]


class Pointwise(NamedTuple):
    """A pointwise operation.

    Attributes:
        op: the machine's instruction.
        of_numbers: the value for numbers.
        derivative: see `Derivative`; None: it is always zero.
        javascript: an expression of the inputs {0}, {1}, {2}.
        costly: whether it takes much longer than reading a number that was kept.
        symbol: how a formula writes it, with the inputs {0}, {1}, {2}.
    """

    op: Op
    of_numbers: Callable[..., float]
    derivative: Derivative | None
    javascript: str
    symbol: str
    costly: bool = False

    @property
    def arity(self) -> int:
        """How many inputs it takes."""
        return sum(f"{{{i}}}" in self.symbol for i in range(3))


def _times(make: Callable[[Graph, Node], Node]) -> Derivative:
    """Return the derivative of an operation of one input: the gradient times a factor."""
    return lambda graph, node, gradient: (graph.apply("mul", gradient, make(graph, node)),)


def _constant(graph: Graph, node: Node, value: float) -> Any:
    return graph.constant(value, node.width)


def _of_mul(graph: Graph, node: Node, gradient: Node) -> tuple[Node, ...]:
    a, b = node.inputs
    return graph.apply("mul", gradient, b), graph.apply("mul", gradient, a)


def _of_div(graph: Graph, node: Node, gradient: Node) -> tuple[Node, ...]:
    by_a = graph.apply("div", gradient, node.inputs[1])
    return by_a, graph.apply("neg", graph.apply("mul", by_a, node))


def _where_larger(graph: Graph, a: Node, b: Node, gradient: Node) -> Any:
    """Return the gradient where a > b and half of it where both are equal, as torch has it."""
    zero, half = _constant(graph, a, 0), graph.apply("mul", gradient, _constant(graph, a, 0.5))
    shared = graph.apply("select", graph.apply("eq", a, b), half, zero)
    return graph.apply("select", graph.apply("gt", a, b), gradient, shared)


def _of_max(graph: Graph, node: Node, gradient: Node) -> tuple[Node, ...]:
    a, b = node.inputs
    return _where_larger(graph, a, b, gradient), _where_larger(graph, b, a, gradient)


def _of_min(graph: Graph, node: Node, gradient: Node) -> tuple[Node, ...]:
    a, b = node.inputs
    return _where_larger(graph, b, a, gradient), _where_larger(graph, a, b, gradient)


def _of_select(graph: Graph, node: Node, gradient: Node) -> tuple[Node | None, ...]:
    condition, zero = node.inputs[0], _constant(graph, node, 0)
    return (
        None,
        graph.apply("select", condition, gradient, zero),
        graph.apply("select", condition, zero, gradient),
    )


def _of_lerp(graph: Graph, node: Node, gradient: Node) -> tuple[Node, ...]:
    a, b, c = node.inputs
    by_b = graph.apply("mul", gradient, c)
    return graph.apply("sub", gradient, by_b), by_b, graph.apply("mul", gradient, graph.apply("sub", b, a))


def _of_relu(graph: Graph, node: Node, gradient: Node) -> tuple[Node, ...]:
    zero = _constant(graph, node, 0)
    return (graph.apply("select", graph.apply("gt", node, zero), gradient, zero),)


def _sigmoid(x: float) -> float:
    return 0.5 + 0.5 * math.tanh(0.5 * x)


def _lenient(function: Callable[[float], float]) -> Callable[[float], float]:
    """Return a function of a number that gives inf or NaN where Python raises."""

    def of(x: float) -> float:
        import torch  # only for constants that Python's own functions refuse

        try:
            return function(x)
        except (ValueError, OverflowError, ZeroDivisionError):
            name = {"<lambda>": "reciprocal"}.get(function.__name__, function.__name__)
            return float(getattr(torch, name)(torch.tensor(x, dtype=torch.float64)))

    return of


_TWO_OVER_ROOT_PI = 2 / math.sqrt(math.pi)

POINTWISE: dict[str, Pointwise] = {
    "stop": Pointwise(Op.COPY, lambda a: a, None, "{0}", "{0}"),  # detach(): no gradient goes through
    "neg": Pointwise(Op.NEG, lambda a: -a, lambda g, n, d: (g.apply("neg", d),), "-{0}", "-{0}"),
    "reciprocal": Pointwise(
        Op.RECIPROCAL,
        _lenient(lambda a: 1 / a),
        lambda g, n, d: (g.apply("neg", g.apply("mul", d, g.apply("mul", n, n))),),
        "1 / {0}",
        "1 / {0}",
    ),
    "sqrt": Pointwise(
        Op.SQRT,
        _lenient(math.sqrt),
        lambda g, n, d: (g.apply("div", g.apply("mul", d, _constant(g, n, 0.5)), n),),
        "Math.sqrt({0})",
        "√({0})",
    ),
    "abs": Pointwise(Op.ABS, abs, _times(lambda g, n: g.apply("sign", n.inputs[0])), "Math.abs({0})", "|{0}|"),
    "sign": Pointwise(Op.SIGN, lambda a: (a > 0) - (a < 0), None, "(Math.sign({0}) || 0)", "sign({0})"),
    "exp": Pointwise(Op.EXP, _lenient(math.exp), _times(lambda g, n: n), "Math.exp({0})", "exp({0})", True),
    "log": Pointwise(
        Op.LOG,
        _lenient(math.log),
        lambda g, n, d: (g.apply("div", d, n.inputs[0]),),
        "Math.log({0})",
        "log({0})",
        True,
    ),
    "log1p": Pointwise(
        Op.LOG1P,
        _lenient(math.log1p),
        lambda g, n, d: (g.apply("div", d, g.apply("add", n.inputs[0], _constant(g, n, 1))),),
        "Math.log1p({0})",
        "log(1 + {0})",
        True,
    ),
    "expm1": Pointwise(
        Op.EXPM1,
        _lenient(math.expm1),
        _times(lambda g, n: g.apply("add", n, _constant(g, n, 1))),
        "Math.expm1({0})",
        "exp({0}) - 1",
        True,
    ),
    "tanh": Pointwise(
        Op.TANH, math.tanh, lambda g, n, d: (g.apply("tanh_back", n, d),), "Math.tanh({0})", "tanh({0})", True
    ),
    "sigmoid": Pointwise(
        Op.SIGMOID,
        _sigmoid,
        lambda g, n, d: (g.apply("sigmoid_back", n, d),),
        "sigmoid({0})",
        "σ({0})",
        True,
    ),
    "sin": Pointwise(
        Op.SIN, _lenient(math.sin), _times(lambda g, n: g.apply("cos", n.inputs[0])), "Math.sin({0})", "sin({0})", True
    ),
    "cos": Pointwise(
        Op.COS,
        _lenient(math.cos),
        lambda g, n, d: (g.apply("neg", g.apply("mul", d, g.apply("sin", n.inputs[0]))),),
        "Math.cos({0})",
        "cos({0})",
        True,
    ),
    "erf": Pointwise(
        Op.ERF,
        math.erf,
        _times(
            lambda g, n: g.apply(
                "mul",
                _constant(g, n, _TWO_OVER_ROOT_PI),
                g.apply("exp", g.apply("neg", g.apply("mul", n.inputs[0], n.inputs[0]))),
            )
        ),
        "erf({0})",
        "erf({0})",
        True,
    ),
    "relu": Pointwise(Op.RELU, lambda a: max(a, 0.0), _of_relu, "Math.max({0}, 0)", "relu({0})"),
    "atan": Pointwise(
        Op.ATAN,
        math.atan,
        lambda g, n, d: (
            g.apply("div", d, g.apply("add", g.apply("mul", n.inputs[0], n.inputs[0]), _constant(g, n, 1))),
        ),
        "Math.atan({0})",
        "arctan({0})",
        True,
    ),
    "floor": Pointwise(Op.FLOOR, _lenient(math.floor), None, "Math.floor({0})", "⌊{0}⌋"),
    "add": Pointwise(Op.ADD, lambda a, b: a + b, lambda g, n, d: (d, d), "{0} + {1}", "{0} + {1}"),
    "sub": Pointwise(Op.SUB, lambda a, b: a - b, lambda g, n, d: (d, g.apply("neg", d)), "{0} - {1}", "{0} - {1}"),
    "mul": Pointwise(Op.MUL, lambda a, b: a * b, _of_mul, "{0} * {1}", "{0} {1}"),
    "div": Pointwise(Op.DIV, lambda a, b: a / b, _of_div, "{0} / {1}", "{0} / {1}"),
    "max": Pointwise(Op.MAX, max, _of_max, "Math.max({0}, {1})", "max({0}, {1})"),
    "min": Pointwise(Op.MIN, min, _of_min, "Math.min({0}, {1})", "min({0}, {1})"),
    "gt": Pointwise(Op.GT, lambda a, b: float(a > b), None, "({0} > {1} ? 1 : 0)", "[{0} > {1}]"),
    "ge": Pointwise(Op.GE, lambda a, b: float(a >= b), None, "({0} >= {1} ? 1 : 0)", "[{0} ≥ {1}]"),
    "eq": Pointwise(Op.EQ, lambda a, b: float(a == b), None, "({0} === {1} ? 1 : 0)", "[{0} = {1}]"),
    "ne": Pointwise(Op.NE, lambda a, b: float(a != b), None, "({0} !== {1} ? 1 : 0)", "[{0} ≠ {1}]"),
    "select": Pointwise(
        Op.SELECT, lambda a, b, c: b if a else c, _of_select, "({0} ? {1} : {2})", "({1} if {0} else {2})"
    ),
    "lerp": Pointwise(
        Op.LERP, lambda a, b, c: a - c * a + c * b, _of_lerp, "(1 - {2}) * {0} + {2} * {1}", "(1 - {2}) {0} + {2} {1}"
    ),
    "tanh_back": Pointwise(Op.TANH_BACK, lambda a, b: b * (1 - a * a), None, "", "{1} (1 - {0}²)"),
    "sigmoid_back": Pointwise(Op.SIGMOID_BACK, lambda a, b: b * a * (1 - a), None, "", "{1} {0} (1 - {0})"),
}
