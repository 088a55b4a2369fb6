"""What is said of a compiled cell: formulas that are right, numbers counted by hand, and what to write instead."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, linear

import unroll
from unroll.compiler import compile_step, explain, known_operations
from unroll.compiler.instead import advice
from unroll.compiler.program import Product, Stage

X, H = 28, 150


class Own(unroll.Cell):
    """A state h, and two layers of weights."""

    def __init__(self, input_size: int = X, hidden_size: int = H) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size, bias=False)
        self.rate = nn.Parameter(torch.zeros(hidden_size))

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Any) -> Any:
        h, alpha = state, torch.sigmoid(self.rate)
        return (1 - alpha) * h + alpha * torch.tanh(self.w(x) + self.u(h))


class ResetFirst(Own):
    """Its second product waits for the first."""

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        r = torch.sigmoid(self.w(x))
        return torch.tanh(self.u(r * h))


class Pieces(Own):
    """Its new state consists of halves, of which one is a slice of the old."""

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h, half = state, self.hidden_size // 2
        return torch.cat((torch.exp(-h[:, half:]), h[:, :half] / (h[:, half:] - 2 * self.w(x)[:, :half])), dim=1)


class Joined(Own):
    """One matrix for x and h side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Parameter(torch.randn(X + H, 2 * H))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        z, n = (torch.cat((x, h), dim=1) @ self.both).chunk(2, dim=1)
        return torch.where(z > 0, n, -(h + n))


def test_tanh_rnn_by_hand() -> None:
    found = explain(unroll.RNN(X, H))
    assert found.reason == ""
    assert found.formulas == ("h' = tanh(weight_ih x + weight_hh h + bias_ih + bias_hh)",)
    assert (found.inputs, found.state, found.gates, found.kept) == (28, (("h", 150),), (), ())
    assert found.forward == (150 * 28 + 150 * 150, 150)
    # The gradients by h and by both matrices; 1 - h² times the gradient counts as one operation.
    assert found.backward == (150 * 150 + 150 * 28 + 150 * 150, 150)
    assert found.gradient_by_x == 150 * 28
    assert found.held_bytes == 4 * (28 + 150)
    assert found.scratch_bytes == 4 * 150


def test_gru_by_hand() -> None:
    found = explain(unroll.GRU(X, H))
    assert found.formulas == (
        "r = σ(weight_ih[0:150] x + weight_hh[0:150] h + bias_ih[0:150] + bias_hh[0:150])",
        "z = σ(weight_ih[150:300] x + weight_hh[150:300] h + bias_ih[150:300] + bias_hh[150:300])",
        "h_n = weight_hh[300:450] h + bias_hh[300:450]",
        "x_n = weight_ih[300:450] x + bias_ih[300:450]",
        "n = tanh(x_n + r h_n)",
        "h' = (1 - z) n + z h",
    )
    assert found.gates == ("r", "z")
    assert {name for name, _ in found.kept} == {"r", "z", "n", "h_n"}
    assert sum(size for _, size in found.kept) == 4 * 150
    assert [(product.results, product.columns) for product in found.products] == [
        (("r", "z"), 300),
        (("h_n",), 150),
        (("x_n",), 150),
    ]
    assert found.forward.multiply_adds == 450 * (28 + 150)
    assert found.backward.multiply_adds == 450 * (28 + 2 * 150)
    assert found.held_bytes == 4 * (28 + 150 + 600)


def test_lstm_has_its_gates_and_both_parts_of_the_state() -> None:
    found = explain(unroll.LSTM(X, H))
    assert found.state == (("h", 150), ("c", 150))
    assert found.formulas[-2:] == ("c' = σ(f) c + σ(i) tanh(g)", "h' = σ(o) tanh(c')")
    assert found.gates == ("i", "f", "o")


@pytest.mark.parametrize("cell", [unroll.RNN, unroll.GRU, unroll.LSTM, unroll.MinLSTM, unroll.LRU, ResetFirst])
def test_counts_are_those_of_the_program(cell: Any) -> None:
    made = cell(5, 7)
    found, program = explain(made), compile_step(made).program
    products = [phase for phase in program.infer.phases if isinstance(phase, Product)]
    assert sum(product.columns for product in found.products) == sum(product.columns for product in products)
    counted = sum(product.columns * left.factors for product in products for left in product.lefts)
    assert found.forward.multiply_adds == sum(product.multiply_adds for product in found.products) == counted
    stages = [phase for phase in program.forward.phases if isinstance(phase, Stage)]
    assert found.forward.pointwise >= min(stage.width for stage in stages)


def test_a_product_that_waits_is_on_a_level_of_its_own() -> None:
    first, second = explain(ResetFirst()).products
    assert (first.level, first.lefts, first.results) == (1, (("x", X),), ("r",))
    assert (second.level, second.lefts, second.multiply_adds) == (2, (("r h", H),), H * H)


def test_parameters_alone_are_written_as_they_are_computed() -> None:
    (formula, whole) = explain(Own()).formulas
    assert formula == "v1 = tanh(w.weight x + u.weight h + w.bias)"
    assert whole == "h' = (1 - σ(rate)) h + σ(rate) v1"


def test_pieces_slices_and_parentheses() -> None:
    lines = dict(line.split(" = ", 1) for line in explain(Pieces()).formulas)
    assert lines["h'[0:75]"] == "exp(-h[75:150])"
    assert lines["h'[75:150]"] == "h[0:75] / v1"
    assert lines["v1"] == "h[75:150] - 2 (w.weight[0:75] x + w.bias[0:75])"


def test_a_matrix_from_the_right_and_a_choice() -> None:
    lines = dict(line.split(" = ", 1) for line in explain(Joined()).formulas)
    assert lines["z"] == "both[0:28, 0:150]ᵀ x + both[28:178, 0:150]ᵀ h"
    assert lines["h'"] == "n if [z > 0] else -(h + n)"


def test_the_text_fits_a_screen() -> None:
    lines = str(explain(unroll.GRU(X, H))).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 100
    assert "  n   = tanh(x_n + r h_n)" in lines
    assert "  level 1   x (28), h (150) to r, z: 300 columns, 53,400 multiply-adds" in lines
    assert "  backward  147,600 and 1,350; 12,600 more multiply-adds where the gradient by x is needed" in lines


def test_the_path_is_what_the_cell_chooses() -> None:
    cell = unroll.GRU(X, H)
    backend, reason = cell.choose_backend(torch.empty(64, 28, X), training=True)
    assert explain(cell).path == f"{backend}: {reason.partition(' (')[0]}"  # without the instruction set
    cell.backend = "gemm"
    assert "backend 'gemm' has no " in explain(cell).path


def test_nothing_is_changed_by_an_explanation() -> None:
    cell = unroll.GRU(X, H)
    before, drawn = {name: value.clone() for name, value in cell.state_dict().items()}, torch.get_rng_state()
    explain(cell)
    assert all(torch.equal(value, before[name]) for name, value in cell.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)


class Masked(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + self.u(dropout(state, 0.5)))


class Branching(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x)) if state[0, 0].item() > 0 else state


class Comparing(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x)) if state[0, 0] > 0 else state


class Counting(Own):
    def __init__(self, input_size: int = X, hidden_size: int = H) -> None:
        super().__init__(input_size, hidden_size)
        self.register_buffer("mean", torch.zeros(hidden_size))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        self.mean.mul_(0.9)
        return torch.tanh(self.w(x) + state + self.mean)


class Sorting(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + state.sort(dim=1).values)


class Normalising(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return self.w(x) + state - state.mean(dim=0)


class Exact(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(linear(x, self.w.weight) + state.double()).float()


class Numbered(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.from_numpy(np.sort(state.numpy())) + self.w(x)


class OfOneSize(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + state.view(3, -1))


class Chosen(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x)) * (2.0 if self.rate.sum().item() > 0 else 1.0)


class Narrower(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x))[:, 1:]


class Foreign(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + SCALE * state)


class Gram(Own):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        outer = state[:, :, None] @ state[:, None, :]
        return torch.tanh(self.w(x) + outer.sum(2))


SCALE = torch.rand(H)
REFUSED: list[tuple[type[Own], str, str]] = [
    (Masked, "draws random numbers", "recurrent_dropout"),
    (Branching, "a value decides what step does", "torch.where"),
    (Counting, "it changes mean, which belongs to the cell", "make it a part of the state"),
    (Comparing, "picks some sequences", "no if on values"),
    (Sorting, "does not know sort", "unroll.compiler.known_operations()"),
    (Normalising, "the sequences of the batch", "reduce over units (dim=1)"),
    (Exact, "not in float32", "compute in the dtype of x"),
    (Numbered, "such as NumPy's", "torch's operations"),
    (OfOneSize, "it cannot be traced: RuntimeError", "any batch size"),
    (Chosen, "a parameter's value decides", "plain attribute"),
    (Narrower, "step returns a state of shape (149,)", "of the same shape as before"),
    (Foreign, "not the cell's", "register_buffer"),
    (Gram, "two matrices that both depend", "outer products"),
]


@pytest.mark.parametrize(("cell", "reason", "instead"), REFUSED, ids=[cell.__name__ for cell, *_ in REFUSED])
def test_what_is_not_compiled_is_explained_with_advice(cell: type[Own], reason: str, instead: str) -> None:
    found = explain(cell())
    assert reason in found.reason
    assert instead in advice(found.reason)
    assert (found.formulas, found.products, found.forward) == ((), (), (0, 0))
    text = str(found)
    assert text.startswith(f"{cell.__name__} is not compiled, so a loop over its step() computes it: ")
    assert f"\ninstead: {advice(found.reason)}\npath: " in text


def test_the_line_of_the_source_is_named() -> None:
    assert "test_explain.py" in explain(Masked()).reason
    assert "dropout(state, 0.5)" in explain(Masked()).reason


def test_no_advice_without_a_rule() -> None:
    assert advice("something new") == ""


def test_known_operations_are_those_of_torch() -> None:
    known = known_operations()
    assert {"tanh", "mm", "softplus", "where", "sum", "clamp"} <= set(known)
    assert "equal" not in known
    assert all(hasattr(torch.ops.aten, name) for name in known)


def test_check_cell_tells_whether_a_cell_compiles() -> None:
    good = unroll.testing.check_cell(ResetFirstLearning)
    assert good.compiles
    assert str(good) == "ResetFirstLearning follows the rules, and its step can be compiled"
    sorting = unroll.testing.check_cell(SortingLearning)
    assert not sorting.compiles
    assert "its step is not compiled, so a loop computes it: the compiler does not know sort" in str(sorting)
    assert str(sorting).endswith("; use other operations; unroll.compiler.known_operations() lists them")


def test_check_cell_looks_at_training_mode() -> None:
    assert "draws random numbers" in unroll.testing.check_cell(Dropping).reason


class Small(Own):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        unroll.Cell.__init__(self, input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size, bias=False)


class ResetFirstLearning(Small):
    step = ResetFirst.step


class SortingLearning(Small):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + self.u(state.sort(dim=1).values))


class Dropping(Small):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + self.u(dropout(state, 0.5, self.training)))
