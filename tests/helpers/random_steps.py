"""Random steps, as cells: what hypothesis draws is a recipe, plain data, which `Drawn.step` follows.

A recipe's lines make values (batch, units) of earlier ones. Functions get numbers from where they are smooth and small,
so that float32 and float64 agree; where one is not (a comparison, a maximum), the distance is noted in `MARGINS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from unroll import Cell

Line = tuple[Any, ...]
MARGINS: list[float] | None = None  # while a list: how near the values came to where a step is not smooth


def _near(*distances: Tensor) -> None:
    if MARGINS is not None:
        for distance in distances:
            near = distance.detach().abs()
            near = near[near > 0]
            MARGINS.append(float(near.min()) if near.numel() else torch.inf)


def _greatest(v: Tensor) -> Tensor:
    if MARGINS is not None and v.shape[1] > 1:
        first, second = v.topk(2, dim=1).values.unbind(1)
        _near(first - second)
    return v.amax(1, keepdim=True)


def _kinked(function: Callable[[Tensor], Tensor], *kinks: float) -> Callable[[Tensor], Tensor]:
    def of(v: Tensor) -> Tensor:
        _near(*(v - kink for kink in kinks))
        return function(v)

    return of


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "neg": torch.neg,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sin": lambda v: torch.sin(torch.tanh(v)),
    "cos": lambda v: torch.cos(torch.tanh(v) * 3),
    "erf": torch.erf,
    "exp": lambda v: torch.exp(torch.tanh(v)),
    "expm1": lambda v: torch.expm1(torch.tanh(v)),
    "log": lambda v: torch.log(1.5 + torch.tanh(v)),
    "log1p": lambda v: torch.log1p(v * v),
    "sqrt": lambda v: torch.sqrt(v.square() + 0.1),
    "rsqrt": lambda v: torch.rsqrt(v.square() + 0.1),
    "reciprocal": lambda v: (1 + v * v).reciprocal(),
    "power": lambda v: torch.tanh(v) ** 3,
    "root": lambda v: (1.5 + torch.tanh(v)).pow(0.7),
    "two_to": lambda v: 2.0 ** torch.tanh(v),
    "abs": _kinked(torch.abs, 0.0),
    "sign": _kinked(torch.sign, 0.0),
    "relu": _kinked(torch.relu, 0.0),
    "leaky": _kinked(lambda v: F.leaky_relu(v, 0.2), 0.0),
    "clamp": _kinked(lambda v: v.clamp(-0.5, 0.7), -0.5, 0.7),
    "hardtanh": _kinked(F.hardtanh, -1.0, 1.0),
    "elu": _kinked(F.elu, 0.0),
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,
    "mish": F.mish,
    "detach": Tensor.detach,
    "softmax": lambda v: torch.softmax(v, 1),
    "log_softmax": lambda v: torch.log_softmax(v, -1),
    "norm": lambda v: F.layer_norm(v, v.shape[1:]) if v.shape[1] > 2 else v,
    "roll": lambda v: v.roll(1, 1),
    "flip": lambda v: v.flip(1),
    "shifted": lambda v: v + 0.25,
    "scaled": lambda v: 1 - 0.5 * v,
    "half": lambda v: v / 2,
    "turned": lambda v: v.t().contiguous().t(),
    "in_place": lambda v: v.clone().mul_(0.5).add_(v, alpha=0.3),
    "sum": lambda v: v.sum(1, keepdim=True),
    "mean": lambda v: v.mean(dim=-1, keepdim=True),
    "amax": _greatest,
    "amin": lambda v: -_greatest(-v),
    "logsumexp": lambda v: v.logsumexp(1, keepdim=True),
    "var": lambda v: v.var(1, unbiased=False, keepdim=True),
}


def _compared(operation: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    def of(a: Tensor, b: Tensor) -> Tensor:
        _near(a - b)
        return operation(a, b)

    return of


BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": lambda a, b: a / (1 + b * b),
    "maximum": _compared(torch.maximum),
    "minimum": _compared(torch.minimum),
    "gt": _compared(lambda a, b: (a > b).to(a.dtype)),
    "where": _compared(lambda a, b: torch.where(a <= b, a, 0.3 * b)),
    "masked": _compared(lambda a, b: b.expand(torch.broadcast_shapes(a.shape, b.shape)).masked_fill(a < b, 0.5)),
    "lerp": lambda a, b: torch.lerp(a, b, 0.3),
    "blend": lambda a, b: (1 - torch.sigmoid(a)) * b + torch.sigmoid(a) * a,
    "addcmul": lambda a, b: torch.addcmul(a, a, b, value=0.5),
    "over": lambda a, b: a - b * torch.sigmoid(b),
}


class Drawn(Cell):
    """A cell that follows a recipe; `widths` are those of the state's parts."""

    def __init__(self, inputs: int, widths: tuple[int, ...], lines: tuple[Line, ...], results: tuple[int, ...]) -> None:
        super().__init__(inputs, widths[0])
        self.widths, self.lines, self.results = widths, lines, results
        self.tensors = nn.ParameterList()
        generator = torch.Generator().manual_seed(1)
        for line in lines:
            for shape in shapes_of(line):
                scale = max(1, shape[-1]) ** -0.5 if len(shape) > 1 else 0.7
                self.tensors.append(nn.Parameter(torch.randn(shape, generator=generator) * scale))

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        parts = tuple(torch.zeros(batch_size, width, dtype=dtype, device=device) for width in self.widths)
        return parts if len(parts) > 1 else parts[0]

    def step(self, x: Tensor, state: Any) -> Any:
        values = [x, *((state,) if isinstance(state, Tensor) else state)]
        tensors = iter(self.tensors)
        for line in self.lines:
            values.append(self.follow(line, values, [next(tensors) for _ in shapes_of(line)]))
        new = tuple(values[number] for number in self.results)
        return new if len(new) > 1 else new[0]

    def follow(self, line: Line, values: list[Tensor], tensors: list[Tensor]) -> Tensor:
        kind, *rest = line
        if kind == "unary":
            return UNARY[rest[0]](values[rest[1]])
        if kind == "binary":
            return BINARY[rest[0]](values[rest[1]], values[rest[2]])
        if kind == "select":
            a, b, c = (values[number] for number in rest)
            _near(a)
            return torch.where(a > 0, b, c)
        if kind in ("linear", "affine"):
            return F.linear(values[rest[0]], *tensors)
        if kind == "turned":
            return values[rest[0]] @ tensors[0]
        if kind == "again":  # the same matrix to the right and, transposed, back
            return torch.tanh(F.linear(values[rest[0]], tensors[0])) @ tensors[0]
        if kind == "rows":  # two products with parts of one matrix
            first, second = tensors[0].chunk(2)
            return F.linear(values[rest[0]], first) * torch.sigmoid(F.linear(values[rest[0]], second))
        if kind == "blocks":
            heads = values[rest[0]].view(len(values[rest[0]]), rest[1], -1)
            return torch.einsum("bni,nij->bnj", heads, tensors[0]).flatten(1)
        if kind == "heads":
            heads = values[rest[0]].view(len(values[rest[0]]), rest[1], -1)
            return {
                "sum": lambda: heads.sum(1),
                "softmax": lambda: torch.softmax(heads, 2).flatten(1),
                "turned": lambda: heads.transpose(1, 2).flatten(1),
                "mean": lambda: (heads - heads.mean(2, keepdim=True)).flatten(1),
            }[rest[2]]()
        if kind == "unit":
            return values[rest[0]] * tensors[0] + tensors[1]
        if kind == "scalar":
            return values[rest[0]] * torch.sigmoid(tensors[0]) - tensors[0].square()
        if kind == "slice":
            _, first, end, stride = rest
            return values[rest[0]][:, first:end:stride]
        if kind == "cat":
            return torch.cat([values[number] for number in rest], 1)
        if kind == "assign":  # some units of a copy are written over
            new = values[rest[0]].clone()
            new[:, rest[2] : rest[2] + values[rest[1]].shape[1]] = values[rest[1]]
            return new
        if kind == "pick":
            return values[rest[0]][:, list(rest[1])]
        if kind == "expand":
            return values[rest[0]].expand(-1, rest[1])
        if kind == "bounded":  # what a part of the state becomes
            return torch.tanh(values[rest[0]])
        raise AssertionError(kind)


def shapes_of(line: Line) -> list[tuple[int, ...]]:
    """Return the shapes of the parameters that a line has."""
    kind, *rest = line
    if kind in ("linear", "affine", "turned", "again", "rows"):
        _, width, columns = rest
        matrix = {"turned": (width, columns), "again": (columns, width), "rows": (2 * columns, width)}
        shape = matrix.get(kind, (columns, width))
        return [shape, (columns,)] if kind == "affine" else [shape]
    if kind == "blocks":
        return [(rest[1], rest[2] // rest[1], rest[3])]
    if kind == "unit":
        return [(rest[1],), (rest[1],)]
    return [()] if kind == "scalar" else []


@st.composite
def cells(draw: st.DrawFn) -> Drawn:
    """Draw a cell of one to four parts of the state."""
    inputs = draw(st.integers(1, 5))
    units = st.integers(1, 7) | st.integers(14, 34)  # about the widths of registers
    given = tuple(draw(st.lists(units, min_size=1, max_size=4)))
    lines: list[Line] = []
    widths = [inputs, *given]  # of the values

    def add(line: Line, width: int) -> int:
        lines.append(line)
        widths.append(width)
        return len(widths) - 1

    def some(*fitting: int) -> int | None:
        numbers = [number for number, width in enumerate(widths) if not fitting or width in fitting]
        # Later values, so that a step is deep; the first ones again and again.
        return None if not numbers else draw(st.sampled_from(numbers) | st.sampled_from(numbers[-3:]))

    def columns() -> int:
        return draw(st.sampled_from(widths) | st.integers(1, 9) | units)

    for _ in range(draw(st.integers(1, 12))):
        a = some()
        assert a is not None
        width = widths[a]
        kind = draw(st.sampled_from(KINDS))
        if kind == "unary":
            name = draw(st.sampled_from(tuple(UNARY)))
            narrow = name in ("sum", "mean", "amax", "amin", "logsumexp", "var")
            add((kind, name, a), 1 if narrow else width)
        elif kind == "binary":
            b = some() if width == 1 else some(1, width)
            assert b is not None
            add((kind, draw(st.sampled_from(tuple(BINARY))), a, b), max(width, widths[b]))
        elif kind == "select":
            b, c = some(width), some(width)
            add((kind, a, b, c), width)
        elif kind in ("linear", "affine", "turned", "rows"):
            n = columns()
            add((kind, a, width, n), n)
        elif kind == "again":
            add((kind, a, width, columns()), width)
        elif kind in ("blocks", "heads"):
            counts = [n for n in range(1, width + 1) if width % n == 0]
            heads = draw(st.sampled_from(counts))
            if kind == "blocks":
                n = draw(st.integers(1, 3))
                add((kind, a, heads, width, n), heads * n)
            else:
                name = draw(st.sampled_from(("sum", "softmax", "turned", "mean")))
                add((kind, a, heads, name), width // heads if name == "sum" else width)
        elif kind == "unit":
            add((kind, a, width), width)
        elif kind == "scalar":
            add((kind, a), width)
        elif kind == "slice":
            first = draw(st.integers(0, width - 1))
            end, stride = draw(st.integers(first + 1, width)), draw(st.sampled_from((1, 1, 2)))
            add((kind, a, first, end, stride), len(range(first, end, stride)))
        elif kind == "cat":
            others = [some() for _ in range(draw(st.integers(1, 2)))]
            numbers = [a, *(number for number in others if number is not None)]
            total = sum(widths[number] for number in numbers)
            if total <= 60:
                add((kind, *numbers), total)
        elif kind == "assign":
            b = some(*range(1, width + 1))
            if b is not None:
                add((kind, a, b, draw(st.integers(0, width - widths[b]))), width)
        elif kind == "pick":
            picked = tuple(draw(st.lists(st.integers(0, width - 1), min_size=1, max_size=6)))
            add((kind, a, picked), len(picked))
        elif width == 1:
            n = columns()
            add(("expand", a, n), n)
    results = []
    for width in given:
        number = some(width) if draw(st.booleans()) else None
        if number is None:
            source = some()
            number = add(("affine", source, widths[source or 0], width), width)
        bounded = draw(st.booleans()) or number > len(given)
        results.append(add(("bounded", number), width) if bounded else number)
    return Drawn(inputs, given, tuple(lines), tuple(results))


KINDS = (
    "unary", "unary", "unary", "binary", "binary", "binary", "select", "linear", "affine", "turned", "again", "rows",
    "blocks", "heads", "unit", "scalar", "slice", "cat", "assign", "pick", "expand",
)  # fmt: skip
