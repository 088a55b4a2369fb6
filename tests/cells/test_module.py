"""Cells that are made of modules: whatever has ``forward(x, state)``."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unroll
from unroll import ConfigError, SequenceClassifier
from unroll.cells import find_cell, from_module, name_of
from unroll.testing import check_cell

INPUTS, HIDDEN = 3, 5
RNNCell = from_module(nn.RNNCell)
ReluCell = from_module(nn.RNNCell, nonlinearity="relu")
GRUCell = from_module(nn.GRUCell)
LSTMCell = from_module(nn.LSTMCell)
Other = from_module(nn.GRUCell)  # GRUCell is another class


class Apart(nn.Module):
    """Its output is no part of its state, whose two parts are of other widths."""

    def __init__(self, input_size: int, hidden_size: int, gain: float = 1.0) -> None:
        super().__init__()
        self.w, self.u, self.gain = nn.Linear(input_size, hidden_size), nn.Linear(2, hidden_size), gain

    def forward(self, x: Tensor, state: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        before, slow = (torch.zeros_like(x), x.new_zeros(len(x), 2)) if state is None else state
        output = self.gain * torch.tanh(self.w(x) + self.u(slow) + self.w(before))
        return output, (x, 0.9 * slow + 0.1 * output[:, :2])


class Needy(nn.Module):
    """It must be given a state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.cell = nn.GRUCell(input_size, hidden_size)

    def forward(self, x: Tensor, state: Tensor) -> Tensor:
        new: Tensor = self.cell(x, state)
        return new


class Forgetful(nn.Module):
    """It takes no state at all."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.w = nn.Linear(input_size, hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        new: Tensor = self.w(x)
        return new


@pytest.mark.slow
@pytest.mark.parametrize("kind", [RNNCell, ReluCell, GRUCell, LSTMCell, from_module(Apart)])
def test_it_follows_the_rules_of_cells(kind: type[unroll.Cell]) -> None:
    check_cell(kind)


@pytest.mark.parametrize(
    ("kind", "layer"),
    [
        (RNNCell, nn.RNN(INPUTS, HIDDEN, batch_first=True)),
        (ReluCell, nn.RNN(INPUTS, HIDDEN, nonlinearity="relu", batch_first=True)),
        (GRUCell, nn.GRU(INPUTS, HIDDEN, batch_first=True)),
        (LSTMCell, nn.LSTM(INPUTS, HIDDEN, batch_first=True)),
    ],
)
def test_cells_of_torch_give_what_its_layers_do(kind: type[unroll.Cell], layer: nn.RNNBase) -> None:
    cell: Any = kind(INPUTS, HIDDEN)
    cell.module.load_state_dict({name.removesuffix("_l0"): p for name, p in layer.state_dict().items()})
    x = torch.randn(4, 6, INPUTS)
    y, final = cell.scan(x, cell.initial_state(4, dtype=x.dtype, device=x.device))
    expected, ends = layer(x)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    for part, right in zip(
        (final,) if isinstance(final, Tensor) else final, (ends,) if isinstance(ends, Tensor) else ends, strict=True
    ):
        torch.testing.assert_close(part, right[0], rtol=1e-5, atol=1e-6)


def test_states_are_found_by_running_the_module() -> None:
    assert (RNNCell(INPUTS, HIDDEN).units, RNNCell(INPUTS, HIDDEN).apart) == ((HIDDEN,), False)
    assert (LSTMCell(INPUTS, HIDDEN).units, LSTMCell(INPUTS, HIDDEN).apart) == ((HIDDEN, HIDDEN), False)
    cell = from_module(Apart)(INPUTS, HIDDEN)
    assert (cell.units, cell.apart) == ((HIDDEN, INPUTS, 2), True)
    start = cell.initial_state(4, dtype=torch.float64, device=torch.device("cpu"))
    assert [(part.shape, part.dtype) for part in start] == [((4, n), torch.float64) for n in (HIDDEN, INPUTS, 2)]


def test_states_may_be_said() -> None:
    cell = from_module(Needy, ["hidden"])(INPUTS, HIDDEN)
    assert (cell.units, cell.apart) == ((HIDDEN,), False)
    cell = from_module(Apart, ["input", 2], output_apart=True, gain=2.0)(INPUTS, HIDDEN)
    assert (cell.units, cell.apart) == ((HIDDEN, INPUTS, 2), True)
    assert cell.module.gain == 2.0
    x, state = torch.randn(4, INPUTS), (torch.randn(4, HIDDEN), torch.randn(4, INPUTS), torch.randn(4, 2))
    output, (before, slow) = cell.module(x, state[1:])
    for part, right in zip(cell.step(x, state), (output, before, slow), strict=True):
        assert torch.equal(part, right)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            from_module(Needy),
            r"Needy cannot be run without a state to see which it has: .+'state'; say so: from_module",
        ),
        (from_module(Forgetful), r"Forgetful does not take the state that it returns; say which it has: from_module\("),
        (from_module(nn.LSTM), r"LSTM does not take the state that it returns; say which it has"),
        (from_module(Apart, output_apart=False), r"Apart does not take the state that it returns"),
    ],
)
def test_modules_that_cannot_be_run(kind: type[unroll.Cell], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(INPUTS, HIDDEN)


def test_to_try_a_module_draws_nothing() -> None:
    """What its parameters draw is all."""
    torch.manual_seed(1)
    nn.GRUCell(INPUTS, HIDDEN)
    expected = torch.get_rng_state()
    torch.manual_seed(1)
    GRUCell(INPUTS, HIDDEN)
    assert torch.equal(torch.get_rng_state(), expected)


@pytest.mark.parametrize(("kind", "name"), [(ReluCell, "ReluCell"), (RNNCell, "RNNCell"), (Other, "Other")])
def test_it_is_named_by_the_variable_that_holds_it(kind: type[unroll.Cell], name: str) -> None:
    assert name_of(kind) == f"test_module:{name}"


@pytest.mark.parametrize("kind", [ReluCell, RNNCell, Other])
def test_its_name_finds_it(kind: type[unroll.Cell]) -> None:
    assert find_cell(name_of(kind)) is kind


@pytest.mark.parametrize("kind", [ReluCell, RNNCell, Other])
def test_it_is_pickled_by_the_variable_that_holds_it(kind: type[unroll.Cell]) -> None:
    assert pickle.loads(pickle.dumps(kind)) is kind


def test_a_model_of_it_is_pickled() -> None:
    model, x = SequenceClassifier(INPUTS, 2, cell=Other, hidden_size=HIDDEN), torch.randn(2, 4, INPUTS)
    assert torch.equal(pickle.loads(pickle.dumps(model))(x), model(x))


def test_a_class_that_no_variable_holds_has_its_own_name() -> None:
    assert name_of(from_module(nn.GRU)) == "test_module:GRU"


def test_names_and_copies() -> None:
    assert (GRUCell.__name__, GRUCell.__module__) == ("GRUCell", __name__)
    assert "nn.GRUCell" not in (GRUCell.__doc__ or "")
    assert "made of GRUCell" in (GRUCell.__doc__ or "")
    model = SequenceClassifier(INPUTS, 2, cell=GRUCell, hidden_size=HIDDEN)
    assert model.config.cell == "test_module:GRUCell"
    x = torch.randn(2, 4, INPUTS)
    assert torch.equal(copy.deepcopy(model)(x), model(x))
