"""The gates of a cell, found in its graph: their names, and how many of their values are open or shut."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import silu

import unroll
from unroll.compiler import compile_step
from unroll.compiler.gates import gate_values, gates
from unroll.data.preparation import Preparation, Scaling
from unroll.doctor import examine


class Base(unroll.Cell):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, 2 * hidden_size), nn.Linear(hidden_size, 2 * hidden_size, bias=False)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)


class Named(Base):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        h = state
        keep, n = (self.w(x) + self.u(h)).chunk(2, dim=1)
        keep = torch.sigmoid(keep)
        return keep * h + (1 - keep) * torch.tanh(n)


class NamedBelow(Base):
    """The local names are those of the sums."""

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        s, n = (self.w(x) + self.u(state)).chunk(2, dim=1)
        return torch.sigmoid(s) * state + (1 - torch.sigmoid(s - 1)) * torch.tanh(n)


class NamedAbove(Base):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        rate = 0.5 * torch.sigmoid(self.w(x)[:, : self.hidden_size])
        return (1 - rate) * state + rate * torch.tanh(self.u(state)[:, : self.hidden_size])


class NoGates(Base):
    """Comparisons are always 0 or 1, and silu's sigmoid is a part of it."""

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        a, b = (self.w(x) + self.u(state)).chunk(2, dim=1)
        return silu(a) + torch.where(b > 0, b, state)


class Opposite(Base):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        a, b = (self.w(x) + self.u(state)).chunk(2, dim=1)
        return torch.sigmoid(a) * state + torch.sigmoid(-a) * b


class Random(Base):
    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.sigmoid(self.w(x)[:, : self.hidden_size] + torch.randn_like(state))


NAMED: list[tuple[Any, list[str]]] = [
    (unroll.RNN, []),
    (unroll.GRU, ["r", "z"]),
    (unroll.LSTM, ["i", "f", "o"]),
    (unroll.MinGRU, ["a"]),
    (Named, ["keep"]),
    (NamedBelow, ["s", "s2"]),
    (NamedAbove, ["rate"]),
    (NoGates, []),
    (Opposite, ["a"]),
]


@pytest.mark.parametrize(("cell", "names"), NAMED, ids=[cell.__name__ for cell, _ in NAMED])
def test_names(cell: Any, names: list[str]) -> None:
    assert list(gates(compile_step(cell(3, 4)))) == names


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_of_the_built_in_cells(dtype: torch.dtype) -> None:
    x, h, c = (torch.randn(6, n, dtype=dtype) for n in (3, 4, 4))
    for cell, letters, state in ((unroll.GRU(3, 4), "rz", [h]), (unroll.LSTM(3, 4), "if-o", [h, c])):
        plan = compile_step(cell)
        own = cell.to(dtype)
        sums = x @ own.weight_ih.T + own.bias_ih + h @ own.weight_hh.T + own.bias_hh
        found = gate_values(plan, own, x, state)
        for letter, value in zip(letters, sums.chunk(len(sums[0]) // 4, dim=1), strict=False):
            if letter != "-":
                torch.testing.assert_close(found[letter], value.sigmoid())


def test_values_of_an_own_cell() -> None:
    cell, x, h = NamedAbove(3, 4), torch.randn(6, 3), torch.randn(6, 4)
    torch.testing.assert_close(gate_values(compile_step(cell), cell, x, [h]), {"rate": torch.sigmoid(cell.w(x)[:, :4])})


def series(lengths: Tensor | None = None) -> unroll.SequenceData:
    return unroll.SequenceData(
        torch.randn(8, 5, 3), torch.arange(8) % 2, Preparation(("a", "b"), Scaling(0.0, 1.0)), lengths
    )


@pytest.mark.parametrize("lengths", [None, torch.tensor([5, 1, 2, 3, 4, 5, 0, 1])])
def test_the_doctor_judges_the_gates_of_an_own_cell(lengths: Tensor | None) -> None:
    model = unroll.SequenceClassifier(3, 2, cell=Named, hidden_size=4).eval()
    cell = next(module for module in model.modules() if isinstance(module, Named))
    with torch.no_grad():
        cell.u.weight.zero_()
        cell.w.weight.zero_()
        cell.w.bias.zero_()
        cell.w.bias[:3] = torch.tensor([9.0, -9.0, 9.0])
    found = examine(model, series(lengths))
    assert found.layers[0].gates == {"keep": 0.75}
    assert "saturated gates" in {finding.name for finding in found.findings}


@pytest.mark.parametrize("cell", [NoGates, unroll.RNN, Random])
def test_no_gates_to_judge(cell: Any) -> None:
    torch.manual_seed(0)
    model = unroll.SequenceClassifier(3, 2, cell=cell if cell is not unroll.RNN else "rnn", hidden_size=4).eval()
    assert examine(model, series()).layers[0].gates is None
