"""Cells of one's own against NumPy transcriptions of their papers, and against the built-in ones."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from own_cells import EIGHT, TWINS
from unroll import Cell
from unroll.scan import reference
from unroll.testing import check_cell

Numbers = dict[str, np.ndarray]
Parts = tuple[np.ndarray, ...]
INPUTS, HIDDEN = 3, 5


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def leaky(p: Numbers, x: np.ndarray, h: np.ndarray) -> Parts:
    alpha = sigmoid(p["rate"])
    return ((1 - alpha) * h + alpha * np.tanh(p["w.weight"] @ x + p["u.weight"] @ h + p["w.bias"]),)


def mgu(p: Numbers, x: np.ndarray, h: np.ndarray) -> Parts:
    (w_f, w_n), (u_f, u_n), (b_f, b_n) = (np.split(p[name], 2) for name in ("weight_ih", "weight_hh", "bias"))
    f = sigmoid(w_f @ x + u_f @ h + b_f)
    candidate = np.tanh(w_n @ x + u_n @ (f * h) + b_n)
    return ((1 - f) * h + f * candidate,)


def janet(p: Numbers, x: np.ndarray, h: np.ndarray) -> Parts:
    (w_f, w_n), (u_f, u_n), (b_f, b_n) = (np.split(p[name], 2) for name in ("weight_ih", "weight_hh", "bias"))
    s = w_f @ x + u_f @ h + b_f
    return (sigmoid(s) * h + (1 - sigmoid(s - 1)) * np.tanh(w_n @ x + u_n @ h + b_n),)


def ligru(p: Numbers, x: np.ndarray, h: np.ndarray) -> Parts:
    (w_z, w_n), (u_z, u_n), (b_z, b_n) = (np.split(p[name], 2) for name in ("weight_ih", "weight_hh", "bias"))
    z = sigmoid(w_z @ x + u_z @ h + b_z)
    return (z * h + (1 - z) * np.maximum(w_n @ x + u_n @ h + b_n, 0),)


def cho_gru(p: Numbers, x: np.ndarray, h: np.ndarray) -> Parts:
    r = sigmoid(p["w_r.weight"] @ x + p["u_r.weight"] @ h + p["w_r.bias"])
    z = sigmoid(p["w_z.weight"] @ x + p["u_z.weight"] @ h + p["w_z.bias"])
    return (z * h + (1 - z) * np.tanh(p["w_n.weight"] @ x + p["u_n.weight"] @ (r * h) + p["w_n.bias"]),)


def peephole_lstm(p: Numbers, x: np.ndarray, h: np.ndarray, c: np.ndarray) -> Parts:
    w_i, w_f, w_g, w_o = np.split(p["weight_ih"], 4)
    u_i, u_f, u_g, u_o = np.split(p["weight_hh"], 4)
    b_i, b_f, b_g, b_o = np.split(p["bias"], 4)
    p_i, p_f, p_o = (np.diag(row) for row in p["peephole"])
    i = sigmoid(w_i @ x + u_i @ h + p_i @ c + b_i)
    f = sigmoid(w_f @ x + u_f @ h + p_f @ c + b_f)
    new_c = f * c + i * np.tanh(w_g @ x + u_g @ h + b_g)
    o = sigmoid(w_o @ x + u_o @ h + p_o @ new_c + b_o)
    return o * np.tanh(new_c), new_c


def cornn(p: Numbers, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Parts:
    dt, gamma, epsilon = 0.1, 1.0, 1.0
    drive = np.tanh(p["w.weight"] @ y + p["u.weight"] @ z + p["v.weight"] @ x + p["v.bias"])
    new_z = z + dt * drive - dt * gamma * y - dt * epsilon * z
    return y + dt * new_z, new_z


def lem(p: Numbers, x: np.ndarray, y: np.ndarray, z: np.ndarray) -> Parts:
    v_1, v_2, v_z, v_y = np.split(p["v.weight"], 4)
    b_1, b_2, b_z, b_y = np.split(p["v.bias"], 4)
    w_1, w_2, w_z = np.split(p["w.weight"], 3)
    fast = sigmoid(w_1 @ y + v_1 @ x + b_1)
    slow = sigmoid(w_2 @ y + v_2 @ x + b_2)
    new_z = (1 - fast) * z + fast * np.tanh(w_z @ y + v_z @ x + b_z)
    return (1 - slow) * y + slow * np.tanh(p["w_y.weight"] @ new_z + v_y @ x + b_y), new_z


ORACLES: dict[str, Callable[..., Parts]] = {
    "Leaky": leaky,
    "MGU": mgu,
    "JANET": janet,
    "LiGRU": ligru,
    "ChoGRU": cho_gru,
    "PeepholeLSTM": peephole_lstm,
    "CoRNN": cornn,
    "LEM": lem,
}


@pytest.mark.parametrize("name", EIGHT)
def test_a_step_is_the_papers_equation(name: str) -> None:
    torch.manual_seed(0)
    cell = EIGHT[name](INPUTS, HIDDEN).double()
    with torch.no_grad():
        for parameter in cell.parameters():  # large enough for every nonlinearity to bend
            parameter.normal_()
    start = cell.initial_state(2, dtype=torch.float64, device=torch.device("cpu"))
    parts = (start,) if isinstance(start, torch.Tensor) else start
    x, given = torch.randn(2, INPUTS, dtype=torch.float64), [torch.randn_like(part) for part in parts]
    new = cell.step(x, given[0] if isinstance(start, torch.Tensor) else tuple(given))
    weights = {key: parameter.detach().numpy() for key, parameter in cell.named_parameters()}
    for row in range(2):
        expected = ORACLES[name](weights, x[row].numpy(), *(part[row].numpy() for part in given))
        found = (new,) if isinstance(new, torch.Tensor) else new
        for part, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(part[row].detach().numpy(), right, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", EIGHT)
def test_it_follows_the_rules_of_cells(name: str) -> None:
    check_cell(EIGHT[name])


@pytest.mark.parametrize("own", TWINS, ids=lambda cell: cell.__name__)
def test_a_twin_computes_what_the_built_in_cell_does(own: type[Cell]) -> None:
    torch.manual_seed(0)
    cell, built_in = own(INPUTS, HIDDEN), TWINS[own](INPUTS, HIDDEN)
    cell.load_state_dict(built_in.state_dict())
    x = torch.randn(4, 7, INPUTS)
    state = cell.initial_state(4, dtype=x.dtype, device=x.device)
    found, _ = reference.loop(cell.step, x, state, None)
    expected, _ = reference.loop(built_in.step, x, state, None)
    assert torch.equal(found, expected)
