"""Recurrences written as programs by hand, each with the same step in torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from unroll.compiler.program import (
    ALIGNED,
    Block,
    Fill,
    Gradient,
    Instruction,
    Left,
    Op,
    Operand,
    Phase,
    Place,
    Product,
    Program,
    Reduction,
    Stage,
    Steps,
    Term,
)

State = tuple[Tensor, ...]


@dataclass(frozen=True)
class Case:
    """A program, the shapes of its tensors, and its step: (tensors, x, state) to state."""

    program: Program
    shapes: tuple[tuple[int, ...], ...]
    step: Callable[[tuple[Tensor, ...], Tensor, State], State]


def x(column: int = 0) -> Operand:
    return Operand(Place.X, 0, column)


def before(index: int = 0, column: int = 0) -> Operand:
    return Operand(Place.BEFORE, index, column)


def after(index: int = 0) -> Operand:
    return Operand(Place.AFTER, index, 0)


def kept(column: int) -> Operand:
    return Operand(Place.KEPT, 0, column)


def raw(column: int) -> Operand:
    return Operand(Place.RAW, 0, column)


def unit(column: int) -> Operand:
    return Operand(Place.UNIT, 0, column)


def total(column: int) -> Operand:
    return Operand(Place.TOTAL, 0, column)


def local(index: int) -> Operand:
    return Operand(Place.LOCAL, index, 0)


def gradient(index: int = 0, column: int = 0) -> Operand:
    return Operand(Place.GRADIENT, index, column)


def carry(index: int = 0) -> Operand:
    return Operand(Place.CARRY, index, 0)


def d(column: int) -> Operand:
    return Operand(Place.D, 0, column)


def stage(width: int, *instructions: tuple[Op | Operand, ...]) -> Stage:
    """Instructions as op, to, a and further arguments."""
    padded = tuple(Instruction(*i, *[None] * (5 - len(i))) for i in instructions)  # type: ignore[arg-type]
    operands = [o for i in padded for o in i[1:] if o is not None and o.place == Place.LOCAL]
    return Stage(width, 1 + max((o.part for o in operands), default=-1), padded)


def rows(tensor: int, count: int, factors: int, first: int = 0) -> tuple[Block, ...]:
    """As columns the rows of a tensor (.., factors), from the first on."""
    return (Block(count, tensor, first * factors, factors, 1),)


def transposed(tensor: int, count: int, first: int = 0) -> tuple[Block, ...]:
    """As factors the rows of a tensor (.., count), from the first on."""
    return (Block(count, tensor, first * count, 1, count),)


def aligned(columns: int) -> int:
    return -(-columns // ALIGNED) * ALIGNED


def sizes(shapes: tuple[tuple[int, ...], ...]) -> tuple[int, ...]:
    return tuple(torch.Size(shape).numel() for shape in shapes)


def tanh_rnn(inputs: int, hidden: int) -> Case:
    shapes = ((hidden, inputs), (hidden, hidden), (hidden,))
    phases: tuple[Phase, ...] = (
        Product(
            raw(0),
            hidden,
            0,
            (Left(x(), inputs, rows(0, hidden, inputs)), Left(before(), hidden, rows(1, hidden, hidden))),
        ),
        stage(hidden, (Op.TANH, after(), raw(0))),
    )
    program = Program(
        inputs=inputs,
        widths=(hidden,),
        kept=0,
        products=hidden,
        d=hidden,
        units=0,
        sizes=sizes(shapes),
        biases=(Term(0, hidden, 2, 0, 1),),
        unit_terms=(),
        fills=(),
        infer=Steps(hidden, phases),
        forward=Steps(hidden, phases),
        backward=Steps(0, (stage(hidden, (Op.TANH_BACK, d(0), after(), gradient())),)),
        past=((Product(gradient(), hidden, -1, (Left(d(0), hidden, transposed(1, hidden)),)),),),
        dx=(Product(x(), inputs, -1, (Left(d(0), hidden, transposed(0, inputs)),)),),
        gradients=(
            Gradient(0, hidden, x(), inputs, rows(0, hidden, inputs)),
            Gradient(0, hidden, before(), hidden, rows(1, hidden, hidden)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, b = weights
        return (torch.tanh(x @ w.T + state[0] @ u.T + b),)

    return Case(program, shapes, step)


def gru(inputs: int, hidden: int) -> Case:
    """That of torch: r, z, q = W_hn h + b_hn and n."""
    H, I = hidden, inputs
    shapes = ((3 * H, I), (3 * H, H), (3 * H,), (3 * H,))
    of_h, of_x = aligned(2 * H), aligned(2 * H) + aligned(H)
    products: tuple[Phase, ...] = (
        Product(raw(0), 2 * H, 0, (Left(x(), I, rows(0, 2 * H, I)), Left(before(), H, rows(1, 2 * H, H)))),
        Product(raw(of_h), H, 2 * H, (Left(before(), H, rows(1, H, H, 2 * H)),)),
        Product(raw(of_x), H, 3 * H, (Left(x(), I, rows(0, H, I, 2 * H)),)),
    )
    infer = stage(
        H,
        (Op.SIGMOID, local(0), raw(0)),
        (Op.FMA, local(0), local(0), raw(of_h), raw(of_x)),
        (Op.TANH, local(0), local(0)),
        (Op.SIGMOID, local(1), raw(H)),
        (Op.LERP, after(), local(0), before(), local(1)),
    )
    forward = stage(
        H,
        (Op.SIGMOID, kept(0), raw(0)),
        (Op.SIGMOID, kept(H), raw(H)),
        (Op.COPY, kept(2 * H), raw(of_h)),
        (Op.FMA, local(0), kept(0), raw(of_h), raw(of_x)),
        (Op.TANH, kept(3 * H), local(0)),
        (Op.LERP, after(), kept(3 * H), before(), kept(H)),
    )
    backward = stage(
        H,
        (Op.FNMA, local(0), gradient(), kept(H), gradient()),
        (Op.TANH_BACK, local(0), kept(3 * H), local(0)),
        (Op.COPY, d(3 * H), local(0)),
        (Op.MUL, d(2 * H), local(0), kept(0)),
        (Op.MUL, local(0), local(0), kept(2 * H)),
        (Op.SIGMOID_BACK, d(0), kept(0), local(0)),
        (Op.SUB, local(0), before(), kept(3 * H)),
        (Op.MUL, local(0), local(0), gradient()),
        (Op.SIGMOID_BACK, d(H), kept(H), local(0)),
        (Op.MUL, carry(), gradient(), kept(H)),
    )
    program = Program(
        inputs=I,
        widths=(H,),
        kept=4 * H,
        products=4 * H,
        d=4 * H,
        units=0,
        sizes=sizes(shapes),
        biases=(
            Term(0, 2 * H, 2, 0, 1),
            Term(0, 2 * H, 3, 0, 1),
            Term(2 * H, H, 3, 2 * H, 1),
            Term(3 * H, H, 2, 2 * H, 1),
        ),
        unit_terms=(),
        fills=(),
        infer=Steps(of_x + H, (*products, infer)),
        forward=Steps(of_x + H, (*products, forward)),
        backward=Steps(0, (backward,)),
        past=((Product(gradient(), H, -1, (Left(d(0), 3 * H, transposed(1, H)),)),),),
        dx=(Product(x(), I, -1, (Left(d(0), 2 * H, transposed(0, I)), Left(d(3 * H), H, transposed(0, I, 2 * H)))),),
        gradients=(
            Gradient(0, 2 * H, x(), I, rows(0, 2 * H, I)),
            Gradient(3 * H, H, x(), I, rows(0, H, I, 2 * H)),
            Gradient(0, 3 * H, before(), H, rows(1, 3 * H, H)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, b, c = weights
        (h,) = state
        of_x, of_h = x @ w.T + b, h @ u.T + c
        r, z = torch.sigmoid(of_x + of_h)[:, : 2 * H].chunk(2, 1)
        n = torch.tanh(of_x[:, 2 * H :] + r * of_h[:, 2 * H :])
        return ((1 - z) * n + z * h,)

    return Case(program, shapes, step)


def lstm(inputs: int, hidden: int) -> Case:
    H, I = hidden, inputs
    shapes = ((4 * H, I), (4 * H, H), (4 * H,), (4 * H,))
    products: tuple[Phase, ...] = (
        Product(raw(0), 4 * H, 0, (Left(x(), I, rows(0, 4 * H, I)), Left(before(), H, rows(1, 4 * H, H)))),
    )
    infer = stage(
        H,
        (Op.SIGMOID, local(0), raw(0)),
        (Op.TANH, local(1), raw(2 * H)),
        (Op.MUL, local(0), local(0), local(1)),
        (Op.SIGMOID, local(1), raw(H)),
        (Op.FMA, local(0), local(1), before(1), local(0)),
        (Op.COPY, after(1), local(0)),
        (Op.TANH, local(0), local(0)),
        (Op.SIGMOID, local(1), raw(3 * H)),
        (Op.MUL, after(0), local(0), local(1)),
    )
    forward = stage(
        H,
        (Op.SIGMOID, kept(0), raw(0)),
        (Op.SIGMOID, kept(H), raw(H)),
        (Op.TANH, kept(2 * H), raw(2 * H)),
        (Op.SIGMOID, kept(3 * H), raw(3 * H)),
        (Op.MUL, local(0), kept(0), kept(2 * H)),
        (Op.FMA, after(1), kept(H), before(1), local(0)),
        (Op.TANH, local(0), after(1)),
        (Op.MUL, after(0), kept(3 * H), local(0)),
    )
    backward = stage(
        H,
        (Op.TANH, local(0), after(1)),
        (Op.MUL, local(1), gradient(), local(0)),
        (Op.SIGMOID_BACK, d(3 * H), kept(3 * H), local(1)),
        (Op.MUL, local(1), gradient(), kept(3 * H)),
        (Op.TANH_BACK, local(0), local(0), local(1)),
        (Op.ADD, local(0), local(0), gradient(1)),
        (Op.MUL, local(1), local(0), kept(2 * H)),
        (Op.SIGMOID_BACK, d(0), kept(0), local(1)),
        (Op.MUL, local(1), local(0), before(1)),
        (Op.SIGMOID_BACK, d(H), kept(H), local(1)),
        (Op.MUL, local(1), local(0), kept(0)),
        (Op.TANH_BACK, d(2 * H), kept(2 * H), local(1)),
        (Op.MUL, carry(1), local(0), kept(H)),
    )
    program = Program(
        inputs=I,
        widths=(H, H),
        kept=4 * H,
        products=4 * H,
        d=4 * H,
        units=0,
        sizes=sizes(shapes),
        biases=(Term(0, 4 * H, 2, 0, 1), Term(0, 4 * H, 3, 0, 1)),
        unit_terms=(),
        fills=(),
        infer=Steps(4 * H, (*products, infer)),
        forward=Steps(4 * H, (*products, forward)),
        backward=Steps(0, (backward,)),
        past=((Product(gradient(), H, -1, (Left(d(0), 4 * H, transposed(1, H)),)),), ()),
        dx=(Product(x(), I, -1, (Left(d(0), 4 * H, transposed(0, I)),)),),
        gradients=(
            Gradient(0, 4 * H, x(), I, rows(0, 4 * H, I)),
            Gradient(0, 4 * H, before(), H, rows(1, 4 * H, H)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, b_x, b_h = weights
        h, c = state
        i, f, g, o = (x @ w.T + h @ u.T + b_x + b_h).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    return Case(program, shapes, step)


def cho_gru(inputs: int, hidden: int) -> Case:
    """With r * h before the product, so that a step has products at two levels."""
    H, I = hidden, inputs
    shapes = ((3 * H, I), (3 * H, H), (3 * H,))
    candidate, reset, update = aligned(2 * H), aligned(2 * H) + aligned(H), aligned(2 * H) + 2 * aligned(H)
    gates = Product(raw(0), 2 * H, 0, (Left(x(), I, rows(0, 2 * H, I)), Left(before(), H, rows(1, 2 * H, H))))

    def second(reset_h: Operand) -> Product:
        lefts = Left(x(), I, rows(0, H, I, 2 * H)), Left(reset_h, H, rows(1, H, H, 2 * H))
        return Product(raw(candidate), H, 2 * H, lefts)

    infer: tuple[Phase, ...] = (
        gates,
        stage(
            H,
            (Op.SIGMOID, local(0), raw(0)),
            (Op.MUL, raw(reset), local(0), before()),
            (Op.SIGMOID, raw(update), raw(H)),
        ),
        second(raw(reset)),
        stage(H, (Op.TANH, local(0), raw(candidate)), (Op.LERP, after(), local(0), before(), raw(update))),
    )
    forward: tuple[Phase, ...] = (
        gates,
        stage(
            H,
            (Op.SIGMOID, kept(0), raw(0)),
            (Op.MUL, kept(2 * H), kept(0), before()),
            (Op.SIGMOID, kept(H), raw(H)),
        ),
        second(kept(2 * H)),
        stage(H, (Op.TANH, kept(3 * H), raw(candidate)), (Op.LERP, after(), kept(3 * H), before(), kept(H))),
    )
    backward: tuple[Phase, ...] = (
        stage(
            H,
            (Op.FNMA, local(0), gradient(), kept(H), gradient()),
            (Op.TANH_BACK, d(2 * H), kept(3 * H), local(0)),
            (Op.SUB, local(0), before(), kept(3 * H)),
            (Op.MUL, local(0), local(0), gradient()),
            (Op.SIGMOID_BACK, d(H), kept(H), local(0)),
        ),
        Product(raw(0), H, -1, (Left(d(2 * H), H, transposed(1, H, 2 * H)),)),
        stage(
            H,
            (Op.MUL, local(0), raw(0), before()),
            (Op.SIGMOID_BACK, d(0), kept(0), local(0)),
            (Op.MUL, carry(), raw(0), kept(0)),
            (Op.FMA, carry(), gradient(), kept(H), carry()),
        ),
    )
    program = Program(
        inputs=I,
        widths=(H,),
        kept=4 * H,
        products=3 * H,
        d=3 * H,
        units=0,
        sizes=sizes(shapes),
        biases=(Term(0, 3 * H, 2, 0, 1),),
        unit_terms=(),
        fills=(),
        infer=Steps(update + H, infer),
        forward=Steps(update + H, forward),
        backward=Steps(H, backward),
        past=((Product(gradient(), H, -1, (Left(d(0), 2 * H, transposed(1, H)),)),),),
        dx=(Product(x(), I, -1, (Left(d(0), 3 * H, transposed(0, I)),)),),
        gradients=(
            Gradient(0, 3 * H, x(), I, rows(0, 3 * H, I)),
            Gradient(0, 2 * H, before(), H, rows(1, 2 * H, H)),
            Gradient(2 * H, H, kept(2 * H), H, rows(1, H, H, 2 * H)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, b = weights
        (h,) = state
        of_x = x @ w.T + b
        r, z = torch.sigmoid(of_x[:, : 2 * H] + h @ u[: 2 * H].T).chunk(2, 1)
        n = torch.tanh(of_x[:, 2 * H :] + (r * h) @ u[2 * H :].T)
        return ((1 - z) * n + z * h,)

    return Case(program, shapes, step)


def softmax(inputs: int, hidden: int) -> Case:
    """h' = scale * softmax(W x + U h) + shift: a scale for each unit, a single shift."""
    H, I = hidden, inputs
    shapes = ((H, I), (H, H), (H,), (1,))
    powers, most, norm, shift = aligned(H), 2 * aligned(H), 2 * aligned(H) + ALIGNED, aligned(H)

    def phases(value: Operand) -> tuple[Phase, ...]:
        return (
            Product(raw(0), H, -1, (Left(x(), I, rows(0, H, I)), Left(before(), H, rows(1, H, H)))),
            Reduction(raw(most), True, raw(0), H),
            stage(
                H,
                (Op.EXPAND, local(0), raw(most)),
                (Op.SUB, local(0), raw(0), local(0)),
                (Op.EXP, raw(powers), local(0)),
            ),
            Reduction(raw(norm), False, raw(powers), H),
            stage(
                H,
                (Op.EXPAND, local(0), raw(norm)),
                (Op.RECIPROCAL, local(0), local(0)),
                (Op.MUL, value, raw(powers), local(0)),
                (Op.FMA, after(), value, unit(0), unit(shift)),
            ),
        )

    backward: tuple[Phase, ...] = (
        stage(
            H,
            (Op.ACCUMULATE, total(shift), gradient()),
            (Op.MUL, local(0), gradient(), kept(0)),
            (Op.ACCUMULATE, total(0), local(0)),
            (Op.MUL, raw(0), gradient(), unit(0)),
            (Op.MUL, raw(powers), raw(0), kept(0)),
        ),
        Reduction(raw(most), False, raw(powers), H),
        stage(
            H,
            (Op.EXPAND, local(0), raw(most)),
            (Op.SUB, local(0), raw(0), local(0)),
            (Op.MUL, d(0), local(0), kept(0)),
        ),
    )
    program = Program(
        inputs=I,
        widths=(H,),
        kept=H,
        products=H,
        d=H,
        units=2 * aligned(H),
        sizes=sizes(shapes),
        biases=(),
        unit_terms=(Term(0, H, 2, 0, 1), Term(shift, H, 3, 0, 0)),
        fills=(),
        infer=Steps(norm + 1, phases(local(1))),
        forward=Steps(norm + 1, phases(kept(0))),
        backward=Steps(most + 1, backward),
        past=((Product(gradient(), H, -1, (Left(d(0), H, transposed(1, H)),)),),),
        dx=(Product(x(), I, -1, (Left(d(0), H, transposed(0, I)),)),),
        gradients=(
            Gradient(0, H, x(), I, rows(0, H, I)),
            Gradient(0, H, before(), H, rows(1, H, H)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, scale, shift = weights
        return (scale * torch.softmax(x @ w.T + state[0] @ u.T, 1) + shift,)

    return Case(program, shapes, step)


def skip(inputs: int, hidden: int, has_products: bool = True) -> Case:
    """h' = tanh(U h + W x) + scale * x, with as many features as units; or without W x, so that dx has no product."""
    H = hidden
    shapes = ((H, H), (H, H), (H,))
    of_x = (Left(x(), H, rows(0, H, H)),) if has_products else ()

    def phases(value: Operand) -> tuple[Phase, ...]:
        return (
            Product(raw(0), H, -1, (*of_x, Left(before(), H, rows(1, H, H)))),
            stage(H, (Op.TANH, value, raw(0)), (Op.FMA, after(), x(), unit(0), value)),
        )

    backward = stage(
        H,
        (Op.TANH_BACK, d(0), kept(0), gradient()),
        (Op.MUL, d(H), gradient(), unit(0)),
        (Op.MUL, local(0), gradient(), x()),
        (Op.ACCUMULATE, total(0), local(0)),
    )
    program = Program(
        inputs=H,
        widths=(H,),
        kept=H,
        products=H,
        d=2 * H,
        units=H,
        sizes=sizes(shapes),
        biases=(),
        unit_terms=(Term(0, H, 2, 0, 1),),
        fills=(),
        infer=Steps(H, phases(local(0))),
        forward=Steps(H, phases(kept(0))),
        backward=Steps(0, (backward,)),
        past=((Product(gradient(), H, -1, (Left(d(0), H, transposed(1, H)),)),),),
        dx=(Product(x(), H, -1, (Left(d(0), H, transposed(0, H)),)),) if has_products else (),
        gradients=(
            *((Gradient(0, H, x(), H, rows(0, H, H)),) if has_products else ()),
            Gradient(0, H, before(), H, rows(1, H, H)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, scale = weights
        of_x = x @ w.T if has_products else 0
        return (torch.tanh(state[0] @ u.T + of_x) + x * scale,)

    return Case(program, shapes, step)


def slices(inputs: int, hidden: int) -> Case:
    """h' = tanh(W x + U h + V c[some columns]), c' = c / 2 + P h' with c of another width; V's rows are in two tensors."""
    H, I = hidden, inputs
    G, first, some, upper = H // 2 + 5, 2, H // 2 + 1, (H + 1) // 2
    lower = H - upper
    shapes = ((H, I), (H, H), (upper, some), (lower, some), (G, H))
    of_slice = (Block(upper, 2, 0, some, 1), Block(lower, 3, 0, some, 1))
    to_slice = tuple(
        Left(d(at), count, (Block(some, tensor, 0, 1, some),))
        for at, count, tensor in ((0, upper, 2), (upper, lower, 3))
    )
    of_c = aligned(H)
    phases: tuple[Phase, ...] = (
        Product(
            raw(0),
            H,
            -1,
            (
                Left(x(), I, rows(0, H, I)),
                Left(before(), H, rows(1, H, H)),
                Left(before(1, first), some, of_slice),
            ),
        ),
        stage(H, (Op.TANH, after(), raw(0))),
        Product(raw(of_c), G, -1, (Left(after(), H, rows(4, G, H)),)),
        stage(G, (Op.FMA, after(1), before(1), unit(0), raw(of_c))),
    )
    backward: tuple[Phase, ...] = (
        stage(G, (Op.COPY, d(H), gradient(1)), (Op.MUL, carry(1), gradient(1), unit(0))),
        Product(raw(0), H, -1, (Left(d(H), G, transposed(4, H)),)),
        stage(H, (Op.ADD, local(0), gradient(), raw(0)), (Op.TANH_BACK, d(0), after(), local(0))),
    )
    program = Program(
        inputs=I,
        widths=(H, G),
        kept=0,
        products=H + G,
        d=H + G,
        units=G,
        sizes=sizes(shapes),
        biases=(),
        unit_terms=(),
        fills=(Fill(0, G, 0.5),),
        infer=Steps(of_c + G, phases),
        forward=Steps(of_c + G, phases),
        backward=Steps(H, backward),
        past=(
            (Product(gradient(), H, -1, (Left(d(0), H, transposed(1, H)),)),),
            (
                Product(gradient(1), first, -1, ()),
                Product(gradient(1, first), some, -1, to_slice),
                Product(gradient(1, first + some), G - first - some, -1, ()),
            ),
        ),
        dx=(Product(x(), I, -1, (Left(d(0), H, transposed(0, I)),)),),
        gradients=(
            Gradient(0, H, x(), I, rows(0, H, I)),
            Gradient(0, H, before(), H, rows(1, H, H)),
            Gradient(0, H, before(1, first), some, of_slice),
            Gradient(H, G, after(), H, rows(4, G, H)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, v, v_lower, p = weights
        h, c = state
        h = torch.tanh(x @ w.T + h @ u.T + c[:, first : first + some] @ torch.cat([v, v_lower]).T)
        return h, c / 2 + h @ p.T

    return Case(program, shapes, step)


CASES: dict[str, Callable[[int, int], Case]] = {
    "tanh_rnn": tanh_rnn,
    "gru": gru,
    "lstm": lstm,
    "cho_gru": cho_gru,
    "softmax": softmax,
    "skip": skip,
    "slices": slices,
}
