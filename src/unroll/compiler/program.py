"""A recurrence as plain data, which one machine in the kernels carries out (`unroll/scan/csrc/program.h`).

A time step runs through phases: products with matrices, sums over units, and stages, which are instructions on vectors
of one width. There are three lists of phases: `infer`; `forward`, which also keeps what the gradients need; `backward`.

Weights, biases and vectors are read from *tensors*, contiguous results of the prologue (`unroll.compiler.prologue`).
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

MOST_PARTS, MOST_LEFTS = 16, 16  # parts of a state; left sides of a product
ALIGNED = 16  # floats; columns of RAW and of UNIT begin at multiples of it, and as much room follows the last ones


class Place(IntEnum):
    """Where an operand lies. Places are per row (sequence) and time step; UNIT and TOTAL are not."""

    X = 0  # the input
    BEFORE = 1  # state part `part` before the step
    AFTER = 2  # and after it
    KEPT = 3  # (time, batch, kept): what the forward pass keeps for the backward pass, left sides among it
    RAW = 4  # scratch: results of products and sums, and what later phases of the step read
    UNIT = 5  # parameters and constants, the same for all rows
    LOCAL = 6  # scratch of a stage, `part` is the register
    GRADIENT = 7  # of the loss by state part `part` after the step
    CARRY = 8  # the part of the gradient by state part `part` before the step that bypasses the products
    D = 9  # (time, rows, d): gradients by the results of products, then by x where it is used without a product
    TOTAL = 10  # sums over rows and time steps of gradients by UNIT


class Op(IntEnum):
    """An instruction's operation, unit by unit; the result is `to`. Comparisons give 1 or 0.

    Those below 20 take one input, those below 40 two, the others three; but TANH_BACK, SIGMOID_BACK and TANH_MUL take
    two, and ACCUMULATE one.
    """

    COPY = 0
    EXPAND = 1  # the single number of `a`, for all units
    NEG = 2
    RECIPROCAL = 3
    SQRT = 4
    ABS = 5
    SIGN = 6
    EXP = 7
    LOG = 8
    LOG1P = 9
    EXPM1 = 10
    TANH = 11
    SIGMOID = 12
    SIN = 13
    COS = 14
    ERF = 15
    RELU = 16  # NaN stays NaN
    ATAN = 17
    FLOOR = 18  # the largest whole number that is not larger
    ADD = 20
    SUB = 21
    MUL = 22
    DIV = 23
    MAX = 24  # NaN if either is
    MIN = 25
    GT = 26
    GE = 27
    EQ = 28
    NE = 29
    FMA = 40  # a * b + c
    FNMA = 41  # c - a * b
    SELECT = 42  # b where a is not 0, else c
    LERP = 43  # a - c * a + c * b, exact where c is 0 or 1
    TANH_BACK = 44  # b * (1 - a * a): a the value of tanh, b the gradient by it
    SIGMOID_BACK = 45  # b * a * (1 - a)
    TANH_BACK_MUL = 46  # b * c * (1 - a * a): the gradient is b * c
    SIGMOID_BACK_MUL = 47  # b * c * a * (1 - a)
    TANH_MUL = 48  # tanh(a) * b
    TANH_FMA = 49  # tanh(a * b + c)
    ACCUMULATE = 60  # to (TOTAL) += the sum of `a` over the rows


class Operand(NamedTuple):
    """Where a vector begins. `part`: that of the state, or the register; otherwise 0. `column`: 0 for registers."""

    place: Place
    part: int
    column: int


class Instruction(NamedTuple):
    """An operation on up to three operands of the stage's width."""

    op: Op
    to: Operand
    a: Operand
    b: Operand | None = None
    c: Operand | None = None


class Stage(NamedTuple):
    """Instructions, in order, on vectors of `width` units; registers are numbered from 0 to `registers`."""

    width: int
    registers: int
    instructions: tuple[Instruction, ...]


class Block(NamedTuple):
    """Columns of a matrix, out of a tensor: the weight of column c and factor i is at offset + c column + i factor."""

    columns: int
    tensor: int
    offset: int
    column: int
    factor: int


class Left(NamedTuple):
    """A left side: `factors` numbers from `at` on, and its matrix, whose blocks of columns stand side by side."""

    at: Operand
    factors: int
    blocks: tuple[Block, ...]


class Product(NamedTuple):
    """to[0 : columns] = bias + the sum of all left sides times their matrices; a sum of none is the bias.

    `bias` is a column of the biases, which are numbered as the columns of D, or -1. Up to `ALIGNED` - 1 numbers behind
    the columns may be overwritten.
    """

    to: Operand
    columns: int
    bias: int
    lefts: tuple[Left, ...]


class Reduction(NamedTuple):
    """to = the sum, or the maximum (NaN if one is), of `n` numbers from `at` on."""

    to: Operand  # in RAW
    maximum: bool
    at: Operand
    n: int


Phase = Stage | Product | Reduction


class Gradient(NamedTuple):
    """The gradient by a matrix: sum over rows and steps of D[d + c] * at[i], added to its blocks."""

    d: int
    columns: int
    at: Operand  # X, BEFORE, AFTER or KEPT
    factors: int
    blocks: tuple[Block, ...]


class Term(NamedTuple):
    """Numbers added to the biases, or to UNIT, from column `to` on: `n` of a tensor, `stride` apart (0: the same)."""

    to: int
    n: int
    tensor: int
    offset: int
    stride: int


class Fill(NamedTuple):
    """A constant in UNIT."""

    to: int
    n: int
    value: float


class Steps(NamedTuple):
    """The phases of a time step, in order, and the columns of RAW that they use."""

    raw: int
    phases: tuple[Phase, ...]


class Program(NamedTuple):
    """Everything that the machine needs to know of a recurrence.

    Attributes:
        inputs: features of x.
        widths: units of each part of the state; the first part is the output.
        kept: columns of KEPT.
        products: columns of D that are gradients by products, and of the biases.
        d: columns of D: those, and `inputs` more if x is used without a product.
        units: columns of UNIT and of TOTAL.
        sizes: numbers in each tensor.
        biases: what the biases are made of.
        unit_terms: what UNIT is made of, and where TOTAL goes.
        fills: constants in UNIT.
        infer: the phases without gradients; no KEPT.
        forward: the phases with them.
        backward: the phases of the backward pass, from GRADIENT to D, CARRY and TOTAL.
        past: for each part of the state, what is added to CARRY to give GRADIENT before the step: products of D (of the
            step after) to GRADIENT, which cover all its columns in order; or none at all.
        dx: the gradient by x likewise, products of D to X; they start from D's columns behind `products`, if there are
            any.
        gradients: of all matrices.
    """

    inputs: int
    widths: tuple[int, ...]
    kept: int
    products: int
    d: int
    units: int
    sizes: tuple[int, ...]
    biases: tuple[Term, ...]
    unit_terms: tuple[Term, ...]
    fills: tuple[Fill, ...]
    infer: Steps
    forward: Steps
    backward: Steps
    past: tuple[tuple[Product, ...], ...]
    dx: tuple[Product, ...]
    gradients: tuple[Gradient, ...]
