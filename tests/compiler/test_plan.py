"""Programs, carried out by torch in float64, against autograd of the loop; and what they consist of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import pytest
import torch
from torch import Tensor

from cell_scans import COMPILED, exact, make, task
from emulator import emulated
from own_cells import EIGHT, ChoGRU, Leaky, OwnGRU, OwnLSTM, OwnRNN
from programs import CASES
from recurrences import assert_close
from unroll import Cell
from unroll.compiler import compile_step
from unroll.compiler.evaluate import evaluate
from unroll.compiler.program import Block, Operand, Product, Steps
from unusual_cells import Attentive, Fixed, Multiplicative, PointwiseInput, Swapped, Tied

INPUTS, HIDDEN = 3, 6


@pytest.mark.parametrize("hidden", [1, 6, 19])
@pytest.mark.parametrize("name", COMPILED)
def test_a_program_gives_what_the_loop_does(name: str, hidden: int) -> None:
    cell = make(COMPILED[name], 3, hidden)
    plan = compile_step(cell)
    given = task(cell, 4, 3)
    cell.double()
    assert_close(emulated(plan, cell, given), exact(cell, given), 1e-7)


@pytest.mark.parametrize("name", COMPILED)
def test_its_graph_can_be_carried_out_by_torch(name: str) -> None:
    """As double backward does."""
    cell = make(COMPILED[name], INPUTS, HIDDEN)
    plan = compile_step(cell)
    given = task(cell.double(), 4, 1)
    x, state = given.x[:, 0].double(), tuple(part.double() for part in given.state)
    found = evaluate(plan.outputs, x, state, plan.traced.prologue.run(cell))
    expected = cell.step(x, state[0] if len(state) == 1 else state)
    for part, right in zip(found, (expected,) if isinstance(expected, Tensor) else expected, strict=True):
        torch.testing.assert_close(part, right, rtol=1e-7, atol=1e-9)


HAND_WRITTEN = {
    "tanh_rnn": (OwnRNN, (0, None, 1, None)),
    "gru": (OwnGRU, (0, 2, 1, 3)),
    "lstm": (OwnLSTM, (0, 2, 1, 3)),
}


def numbered(value: Any, numbers: Sequence[int | None]) -> Any:
    """Return products with other numbers of their tensors."""
    if isinstance(value, Block):
        number = numbers[value.tensor]
        assert number is not None
        return value._replace(tensor=number)
    if isinstance(value, tuple) and not isinstance(value, Operand):
        changed = [numbered(item, numbers) for item in value]
        return type(value)(*changed) if hasattr(value, "_fields") else tuple(changed)
    return value


def products(steps: Steps) -> tuple[Product, ...]:
    return tuple(phase for phase in steps.phases if isinstance(phase, Product))


@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_products_are_those_written_by_hand(name: str) -> None:
    kind, numbers = HAND_WRITTEN[name]
    found, expected = compile_step(kind(INPUTS, HIDDEN)).program, CASES[name](INPUTS, HIDDEN).program
    for attribute in ("inputs", "widths", "kept", "products", "d", "units"):
        assert getattr(found, attribute) == getattr(expected, attribute), attribute
    for attribute in ("infer", "forward", "backward"):
        assert numbered(products(getattr(found, attribute)), numbers) == products(getattr(expected, attribute))
        assert len(getattr(found, attribute).phases) == len(getattr(expected, attribute).phases)
    assert numbered(found.past, numbers) == expected.past
    assert numbered(found.dx, numbers) == expected.dx
    assert set(numbered(found.gradients, numbers)) == set(expected.gradients)


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        (OwnRNN, []),  # tanh's derivative is of its value, the new state
        (OwnGRU, ["n", "n_h", "r", "z"]),
        (OwnLSTM, ["sigmoid", "sigmoid", "sigmoid", "tanh"]),  # tanh(c') is computed again
        (ChoGRU, ["mul", "n", "r", "z"]),  # r h is a left side
        (Leaky, ["tanh"]),
        (Swapped, ["tanh"]),
    ],
)
def test_what_is_kept(kind: type[Cell], kept: list[str]) -> None:
    plan = compile_step(kind(INPUTS, HIDDEN))
    assert sorted(plan.names.get(node, node.operation) for node in plan.kept) == kept
    assert plan.program.kept == len(plan.kept) * HIDDEN


def work(steps: Steps) -> str:
    """Return the kinds of the phases in order, one letter for each run."""
    letters = "".join(type(phase).__name__[0] for phase in steps.phases)
    return "".join(letter for letter, _ in groupby(letters))


@pytest.mark.parametrize(
    ("kind", "forward", "backward"),
    [
        (OwnRNN, "PS", "S"),
        (EIGHT["MGU"], "PSPS", "SPS"),
        (ChoGRU, "PSPS", "SPS"),
        (EIGHT["LEM"], "PSPS", "SPS"),
        (Multiplicative, "PSPS", "SPS"),
        (Attentive, "PSRSRS", "SRS"),
    ],
)
def test_levels(kind: type[Cell], forward: str, backward: str) -> None:
    """Products and sums over units in turn with stages, as few of each as there can be."""
    program = compile_step(make(kind, INPUTS, HIDDEN)).program
    assert (work(program.infer), work(program.forward), work(program.backward)) == (forward, forward, backward)


def test_x_without_a_product_has_columns_of_d() -> None:
    program = compile_step(PointwiseInput(HIDDEN, HIDDEN)).program
    assert (program.products, program.d) == (HIDDEN, 2 * HIDDEN)


def test_gradients_that_nothing_needs_are_none() -> None:
    """Those of a buffer and of a frozen parameter are left out when a scan is carried out: the program has all."""
    cell = Fixed(INPUTS, HIDDEN)
    plan = compile_step(cell)
    assert [tensor.requires_grad for tensor in plan.traced.prologue.run(cell)] == [True, False, False]


def test_a_tied_matrix_is_one_tensor() -> None:
    cell = Tied(INPUTS, HIDDEN)
    plan = compile_step(cell)
    tensors = plan.traced.prologue.run(cell)
    assert sum(tensor is cell.u.weight for tensor in tensors) == 1
    blocks = {block.tensor for gradient in plan.program.gradients for block in gradient.blocks}
    assert len(blocks) == 2  # that one, and the one of x
