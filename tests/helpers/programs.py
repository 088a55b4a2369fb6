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
    k = hidden
    shapes = ((3 * k, inputs), (3 * k, k), (3 * k,), (3 * k,))
    of_h, of_x = aligned(2 * k), aligned(2 * k) + aligned(k)
    products: tuple[Phase, ...] = (
        Product(raw(0), 2 * k, 0, (Left(x(), inputs, rows(0, 2 * k, inputs)), Left(before(), k, rows(1, 2 * k, k)))),
        Product(raw(of_h), k, 2 * k, (Left(before(), k, rows(1, k, k, 2 * k)),)),
        Product(raw(of_x), k, 3 * k, (Left(x(), inputs, rows(0, k, inputs, 2 * k)),)),
    )
    infer = stage(
        k,
        (Op.SIGMOID, local(0), raw(0)),
        (Op.TANH_FMA, local(0), local(0), raw(of_h), raw(of_x)),
        (Op.SIGMOID, local(1), raw(k)),
        (Op.LERP, after(), local(0), before(), local(1)),
    )
    forward = stage(
        k,
        (Op.SIGMOID, kept(0), raw(0)),
        (Op.SIGMOID, kept(k), raw(k)),
        (Op.COPY, kept(2 * k), raw(of_h)),
        (Op.TANH_FMA, kept(3 * k), kept(0), raw(of_h), raw(of_x)),
        (Op.LERP, after(), kept(3 * k), before(), kept(k)),
    )
    backward = stage(
        k,
        (Op.FNMA, local(0), gradient(), kept(k), gradient()),
        (Op.TANH_BACK, d(3 * k), kept(3 * k), local(0)),
        (Op.MUL, d(2 * k), d(3 * k), kept(0)),
        (Op.SIGMOID_BACK_MUL, d(0), kept(0), d(3 * k), kept(2 * k)),
        (Op.SUB, local(0), before(), kept(3 * k)),
        (Op.SIGMOID_BACK_MUL, d(k), kept(k), local(0), gradient()),
        (Op.MUL, carry(), gradient(), kept(k)),
    )
    program = Program(
        inputs=inputs,
        widths=(k,),
        kept=4 * k,
        products=4 * k,
        d=4 * k,
        units=0,
        sizes=sizes(shapes),
        biases=(
            Term(0, 2 * k, 2, 0, 1),
            Term(0, 2 * k, 3, 0, 1),
            Term(2 * k, k, 3, 2 * k, 1),
            Term(3 * k, k, 2, 2 * k, 1),
        ),
        unit_terms=(),
        fills=(),
        infer=Steps(of_x + k, (*products, infer)),
        forward=Steps(of_x + k, (*products, forward)),
        backward=Steps(0, (backward,)),
        past=((Product(gradient(), k, -1, (Left(d(0), 3 * k, transposed(1, k)),)),),),
        dx=(
            Product(
                x(),
                inputs,
                -1,
                (Left(d(0), 2 * k, transposed(0, inputs)), Left(d(3 * k), k, transposed(0, inputs, 2 * k))),
            ),
        ),
        gradients=(
            Gradient(0, 2 * k, x(), inputs, rows(0, 2 * k, inputs)),
            Gradient(3 * k, k, x(), inputs, rows(0, k, inputs, 2 * k)),
            Gradient(0, 3 * k, before(), k, rows(1, 3 * k, k)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, b, c = weights
        (h,) = state
        of_x, of_h = x @ w.T + b, h @ u.T + c
        r, z = torch.sigmoid(of_x + of_h)[:, : 2 * k].chunk(2, 1)
        n = torch.tanh(of_x[:, 2 * k :] + r * of_h[:, 2 * k :])
        return ((1 - z) * n + z * h,)

    return Case(program, shapes, step)


def lstm(inputs: int, hidden: int) -> Case:
    k = hidden
    shapes = ((4 * k, inputs), (4 * k, k), (4 * k,), (4 * k,))
    products: tuple[Phase, ...] = (
        Product(raw(0), 4 * k, 0, (Left(x(), inputs, rows(0, 4 * k, inputs)), Left(before(), k, rows(1, 4 * k, k)))),
    )
    infer = stage(
        k,
        (Op.SIGMOID, local(0), raw(0)),
        (Op.TANH, local(1), raw(2 * k)),
        (Op.MUL, local(0), local(0), local(1)),
        (Op.SIGMOID, local(1), raw(k)),
        (Op.FMA, local(0), local(1), before(1), local(0)),
        (Op.COPY, after(1), local(0)),
        (Op.TANH, local(0), local(0)),
        (Op.SIGMOID, local(1), raw(3 * k)),
        (Op.MUL, after(0), local(0), local(1)),
    )
    forward = stage(
        k,
        (Op.SIGMOID, kept(0), raw(0)),
        (Op.SIGMOID, kept(k), raw(k)),
        (Op.TANH, kept(2 * k), raw(2 * k)),
        (Op.SIGMOID, kept(3 * k), raw(3 * k)),
        (Op.MUL, local(0), kept(0), kept(2 * k)),
        (Op.FMA, after(1), kept(k), before(1), local(0)),
        (Op.TANH_MUL, after(0), after(1), kept(3 * k)),
    )
    backward = stage(
        k,
        (Op.TANH, local(0), after(1)),
        (Op.SIGMOID_BACK_MUL, d(3 * k), kept(3 * k), gradient(), local(0)),
        (Op.TANH_BACK_MUL, local(0), local(0), gradient(), kept(3 * k)),
        (Op.ADD, local(0), local(0), gradient(1)),
        (Op.SIGMOID_BACK_MUL, d(0), kept(0), local(0), kept(2 * k)),
        (Op.SIGMOID_BACK_MUL, d(k), kept(k), local(0), before(1)),
        (Op.TANH_BACK_MUL, d(2 * k), kept(2 * k), local(0), kept(0)),
        (Op.MUL, carry(1), local(0), kept(k)),
    )
    program = Program(
        inputs=inputs,
        widths=(k, k),
        kept=4 * k,
        products=4 * k,
        d=4 * k,
        units=0,
        sizes=sizes(shapes),
        biases=(Term(0, 4 * k, 2, 0, 1), Term(0, 4 * k, 3, 0, 1)),
        unit_terms=(),
        fills=(),
        infer=Steps(4 * k, (*products, infer)),
        forward=Steps(4 * k, (*products, forward)),
        backward=Steps(0, (backward,)),
        past=((Product(gradient(), k, -1, (Left(d(0), 4 * k, transposed(1, k)),)),), ()),
        dx=(Product(x(), inputs, -1, (Left(d(0), 4 * k, transposed(0, inputs)),)),),
        gradients=(
            Gradient(0, 4 * k, x(), inputs, rows(0, 4 * k, inputs)),
            Gradient(0, 4 * k, before(), k, rows(1, 4 * k, k)),
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
    k = hidden
    shapes = ((3 * k, inputs), (3 * k, k), (3 * k,))
    candidate, reset, update = aligned(2 * k), aligned(2 * k) + aligned(k), aligned(2 * k) + 2 * aligned(k)
    gates = Product(raw(0), 2 * k, 0, (Left(x(), inputs, rows(0, 2 * k, inputs)), Left(before(), k, rows(1, 2 * k, k))))

    def second(reset_h: Operand) -> Product:
        lefts = Left(x(), inputs, rows(0, k, inputs, 2 * k)), Left(reset_h, k, rows(1, k, k, 2 * k))
        return Product(raw(candidate), k, 2 * k, lefts)

    infer: tuple[Phase, ...] = (
        gates,
        stage(
            k,
            (Op.SIGMOID, local(0), raw(0)),
            (Op.MUL, raw(reset), local(0), before()),
            (Op.SIGMOID, raw(update), raw(k)),
        ),
        second(raw(reset)),
        stage(k, (Op.TANH, local(0), raw(candidate)), (Op.LERP, after(), local(0), before(), raw(update))),
    )
    forward: tuple[Phase, ...] = (
        gates,
        stage(
            k,
            (Op.SIGMOID, kept(0), raw(0)),
            (Op.MUL, kept(2 * k), kept(0), before()),
            (Op.SIGMOID, kept(k), raw(k)),
        ),
        second(kept(2 * k)),
        stage(k, (Op.TANH, kept(3 * k), raw(candidate)), (Op.LERP, after(), kept(3 * k), before(), kept(k))),
    )
    backward: tuple[Phase, ...] = (
        stage(
            k,
            (Op.FNMA, local(0), gradient(), kept(k), gradient()),
            (Op.TANH_BACK, d(2 * k), kept(3 * k), local(0)),
            (Op.SUB, local(0), before(), kept(3 * k)),
            (Op.MUL, local(0), local(0), gradient()),
            (Op.SIGMOID_BACK, d(k), kept(k), local(0)),
        ),
        Product(raw(0), k, -1, (Left(d(2 * k), k, transposed(1, k, 2 * k)),)),
        stage(
            k,
            (Op.MUL, local(0), raw(0), before()),
            (Op.SIGMOID_BACK, d(0), kept(0), local(0)),
            (Op.MUL, carry(), raw(0), kept(0)),
            (Op.FMA, carry(), gradient(), kept(k), carry()),
        ),
    )
    program = Program(
        inputs=inputs,
        widths=(k,),
        kept=4 * k,
        products=3 * k,
        d=3 * k,
        units=0,
        sizes=sizes(shapes),
        biases=(Term(0, 3 * k, 2, 0, 1),),
        unit_terms=(),
        fills=(),
        infer=Steps(update + k, infer),
        forward=Steps(update + k, forward),
        backward=Steps(k, backward),
        past=((Product(gradient(), k, -1, (Left(d(0), 2 * k, transposed(1, k)),)),),),
        dx=(Product(x(), inputs, -1, (Left(d(0), 3 * k, transposed(0, inputs)),)),),
        gradients=(
            Gradient(0, 3 * k, x(), inputs, rows(0, 3 * k, inputs)),
            Gradient(0, 2 * k, before(), k, rows(1, 2 * k, k)),
            Gradient(2 * k, k, kept(2 * k), k, rows(1, k, k, 2 * k)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, b = weights
        (h,) = state
        of_x = x @ w.T + b
        r, z = torch.sigmoid(of_x[:, : 2 * k] + h @ u[: 2 * k].T).chunk(2, 1)
        n = torch.tanh(of_x[:, 2 * k :] + (r * h) @ u[2 * k :].T)
        return ((1 - z) * n + z * h,)

    return Case(program, shapes, step)


def softmax(inputs: int, hidden: int) -> Case:
    """h' = scale * softmax(W x + U h) + shift: a scale for each unit, a single shift."""
    k = hidden
    shapes = ((k, inputs), (k, k), (k,), (1,))
    powers, most, norm, shift = aligned(k), 2 * aligned(k), 2 * aligned(k) + ALIGNED, aligned(k)

    def phases(value: Operand) -> tuple[Phase, ...]:
        return (
            Product(raw(0), k, -1, (Left(x(), inputs, rows(0, k, inputs)), Left(before(), k, rows(1, k, k)))),
            Reduction(raw(most), True, raw(0), k),
            stage(
                k,
                (Op.EXPAND, local(0), raw(most)),
                (Op.SUB, local(0), raw(0), local(0)),
                (Op.EXP, raw(powers), local(0)),
            ),
            Reduction(raw(norm), False, raw(powers), k),
            stage(
                k,
                (Op.EXPAND, local(0), raw(norm)),
                (Op.RECIPROCAL, local(0), local(0)),
                (Op.MUL, value, raw(powers), local(0)),
                (Op.FMA, after(), value, unit(0), unit(shift)),
            ),
        )

    backward: tuple[Phase, ...] = (
        stage(
            k,
            (Op.ACCUMULATE, total(shift), gradient()),
            (Op.MUL, local(0), gradient(), kept(0)),
            (Op.ACCUMULATE, total(0), local(0)),
            (Op.MUL, raw(0), gradient(), unit(0)),
            (Op.MUL, raw(powers), raw(0), kept(0)),
        ),
        Reduction(raw(most), False, raw(powers), k),
        stage(
            k,
            (Op.EXPAND, local(0), raw(most)),
            (Op.SUB, local(0), raw(0), local(0)),
            (Op.MUL, d(0), local(0), kept(0)),
        ),
    )
    program = Program(
        inputs=inputs,
        widths=(k,),
        kept=k,
        products=k,
        d=k,
        units=2 * aligned(k),
        sizes=sizes(shapes),
        biases=(),
        unit_terms=(Term(0, k, 2, 0, 1), Term(shift, k, 3, 0, 0)),
        fills=(),
        infer=Steps(norm + 1, phases(local(1))),
        forward=Steps(norm + 1, phases(kept(0))),
        backward=Steps(most + 1, backward),
        past=((Product(gradient(), k, -1, (Left(d(0), k, transposed(1, k)),)),),),
        dx=(Product(x(), inputs, -1, (Left(d(0), k, transposed(0, inputs)),)),),
        gradients=(
            Gradient(0, k, x(), inputs, rows(0, k, inputs)),
            Gradient(0, k, before(), k, rows(1, k, k)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, scale, shift = weights
        return (scale * torch.softmax(x @ w.T + state[0] @ u.T, 1) + shift,)

    return Case(program, shapes, step)


def skip(inputs: int, hidden: int, has_products: bool = True) -> Case:
    """h' = tanh(U h + W x) + scale * x, with as many features as units; or without W x, so that dx has no product."""
    k = hidden
    shapes = ((k, k), (k, k), (k,))
    of_x = (Left(x(), k, rows(0, k, k)),) if has_products else ()

    def phases(product: Operand, value: Operand) -> tuple[Phase, ...]:
        return (
            Product(product, k, -1, (*of_x, Left(before(), k, rows(1, k, k)))),
            stage(k, (Op.TANH, value, product), (Op.FMA, after(), x(), unit(0), value)),
        )

    backward = stage(
        k,
        (Op.TANH_BACK, d(0), kept(0), gradient()),
        (Op.MUL, d(k), gradient(), unit(0)),
        (Op.MUL, local(0), gradient(), x()),
        (Op.ACCUMULATE, total(0), local(0)),
    )
    program = Program(
        inputs=k,
        widths=(k,),
        kept=k,
        products=k,
        d=2 * k,
        units=k,
        sizes=sizes(shapes),
        biases=(),
        unit_terms=(Term(0, k, 2, 0, 1),),
        fills=(),
        infer=Steps(k, phases(raw(0), local(0))),
        forward=Steps(k, phases(kept(0), kept(0))),
        backward=Steps(0, (backward,)),
        past=((Product(gradient(), k, -1, (Left(d(0), k, transposed(1, k)),)),),),
        dx=(Product(x(), k, -1, (Left(d(0), k, transposed(0, k)),)),) if has_products else (),
        gradients=(
            *((Gradient(0, k, x(), k, rows(0, k, k)),) if has_products else ()),
            Gradient(0, k, before(), k, rows(1, k, k)),
        ),
    )

    def step(weights: tuple[Tensor, ...], x: Tensor, state: State) -> State:
        w, u, scale = weights
        of_x = x @ w.T if has_products else 0
        return (torch.tanh(state[0] @ u.T + of_x) + x * scale,)

    return Case(program, shapes, step)


def slices(inputs: int, hidden: int) -> Case:
    """h' = tanh(W x + U h + V c[some columns]), c' = c / 2 + P h' with a wider or narrower c; V is in two tensors."""
    k = hidden
    j, first, some, upper = k // 2 + 5, 2, k // 2 + 1, (k + 1) // 2
    lower = k - upper
    shapes = ((k, inputs), (k, k), (upper, some), (lower, some), (j, k))
    of_slice = (Block(upper, 2, 0, some, 1), Block(lower, 3, 0, some, 1))
    to_slice = tuple(
        Left(d(at), count, (Block(some, tensor, 0, 1, some),))
        for at, count, tensor in ((0, upper, 2), (upper, lower, 3))
    )
    of_c = aligned(k)
    phases: tuple[Phase, ...] = (
        Product(
            raw(0),
            k,
            -1,
            (
                Left(x(), inputs, rows(0, k, inputs)),
                Left(before(), k, rows(1, k, k)),
                Left(before(1, first), some, of_slice),
            ),
        ),
        stage(k, (Op.TANH, after(), raw(0))),
        Product(raw(of_c), j, -1, (Left(after(), k, rows(4, j, k)),)),
        stage(j, (Op.FMA, after(1), before(1), unit(0), raw(of_c))),
    )
    backward: tuple[Phase, ...] = (
        stage(j, (Op.COPY, d(k), gradient(1)), (Op.MUL, carry(1), gradient(1), unit(0))),
        Product(raw(0), k, -1, (Left(d(k), j, transposed(4, k)),)),
        stage(k, (Op.ADD, local(0), gradient(), raw(0)), (Op.TANH_BACK, d(0), after(), local(0))),
    )
    program = Program(
        inputs=inputs,
        widths=(k, j),
        kept=0,
        products=k + j,
        d=k + j,
        units=j,
        sizes=sizes(shapes),
        biases=(),
        unit_terms=(),
        fills=(Fill(0, j, 0.5),),
        infer=Steps(of_c + j, phases),
        forward=Steps(of_c + j, phases),
        backward=Steps(k, backward),
        past=(
            (Product(gradient(), k, -1, (Left(d(0), k, transposed(1, k)),)),),
            (
                Product(gradient(1), first, -1, ()),
                Product(gradient(1, first), some, -1, to_slice),
                Product(gradient(1, first + some), j - first - some, -1, ()),
            ),
        ),
        dx=(Product(x(), inputs, -1, (Left(d(0), k, transposed(0, inputs)),)),),
        gradients=(
            Gradient(0, k, x(), inputs, rows(0, k, inputs)),
            Gradient(0, k, before(), k, rows(1, k, k)),
            Gradient(0, k, before(1, first), some, of_slice),
            Gradient(k, j, after(), k, rows(4, j, k)),
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
