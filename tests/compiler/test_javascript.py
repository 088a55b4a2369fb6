"""A step in JavaScript, beside the same step in PyTorch."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import py_mini_racer
import pytest
import torch
from torch import Tensor, nn

import unroll
from own_cells import EIGHT, OneState, TwoStates, uniform
from unroll import Cell
from unroll.cells import CELLS
from unroll.compiler import compile_step
from unroll.compiler.javascript import Script, javascript
from unroll.errors import NotCompiledError
from unroll.page import engine
from unusual_cells import SQUARE, UNDERSTOOD

Run = Callable[[str], Any]
STEPS = 4


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Evaluate an expression; NaN and infinities come back as strings."""
    with py_mini_racer.mini_racer() as context:
        context.eval(engine())
        context.eval("const plain = (_, v) => typeof v === 'number' && !Number.isFinite(v) ? String(v) : v;")
        yield lambda code: json.loads(context.eval(f"JSON.stringify({code}, plain)"))


def parts_of(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def states_after(cell: Cell, x: Tensor, run: Run) -> tuple[Script, list[dict[str, Any]]]:
    """Return what the step in JavaScript says after each row of x (time, features)."""
    plan = compile_step(cell)
    step = javascript(plan)
    start = parts_of(cell.initial_state(1, dtype=torch.float32, device=torch.device("cpu")))
    with torch.no_grad():
        weights = [tensor.flatten().tolist() for tensor in plan.traced.prologue.run(cell)]
    values = json.dumps([weights, [part.flatten().tolist() for part in start]]).replace("Infinity", "1/0")
    rows = json.dumps(x.tolist()).replace("-Infinity", "-1/0").replace("Infinity", "1/0")
    return step, run(
        f"""(() => {{
          const step = ({step.parameters}) => {{ {step.body} }};
          const [weights, start] = {values};
          const floats = weights.map((one) => Float32Array.from(one));
          let state = start.map((part) => Float64Array.from(part));
          return {rows}.map((x) => {{
            const made = step(Float64Array.from(x), state, floats);
            state = made.state;
            const gates = Object.entries(made.gates).map(([name, values]) => [name, Array.from(values)]);
            return {{ state: state.map((part) => Array.from(part)), gates: Object.fromEntries(gates) }};
          }});
        }})()"""
    )


def tensor(numbers: list[Any]) -> Tensor:
    return torch.tensor([float(number) for number in numbers], dtype=torch.float64)


def check(cell: Cell, x: Tensor, run: Run) -> None:
    """Compare the states after each step."""
    _, found = states_after(cell, x, run)
    state = cell.initial_state(1, dtype=x.dtype, device=x.device)
    for row, made in zip(x, found, strict=True):
        with torch.no_grad():
            state = cell.step(row[None], state)
        for part, numbers in zip(parts_of(state), made["state"], strict=True):
            torch.testing.assert_close(tensor(numbers), part.flatten().double(), rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("kind", [*CELLS.values(), *EIGHT.values()], ids=lambda kind: kind.__name__)
def test_it_computes_what_pytorch_does(kind: type[Cell], run: Run) -> None:
    for size, hidden in ((5, 7), (1, 1), (3, 130)):
        check(kind(size, hidden), torch.randn(STEPS, size), run)


@pytest.mark.parametrize("kind", UNDERSTOOD.values(), ids=lambda kind: kind.__name__)
def test_unusual_cells_are_computed_as_pytorch_does(kind: type[Cell], run: Run) -> None:
    cell = kind(6 if kind in SQUARE else 3, 6)
    try:
        compile_step(cell)
    except NotCompiledError as error:
        pytest.skip(f"{kind.__name__} does not compile: {error}")
    check(cell, torch.randn(STEPS, cell.input_size), run)


class Uneven(Cell):
    """Parts of different widths and shapes, slices of them, and operations over units: layer norm and softmax."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = nn.Linear(input_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size)
        self.score = nn.Linear(hidden_size, 3)
        self.read = uniform(hidden_size, 2, hidden_size)  # the other way round than in nn.Linear
        self.first = nn.Parameter(torch.randn(1))

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
        h = torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)
        slots = h.new_full((batch_size, 3, 2), 0.5)
        return h, slots, self.first.to(dtype).expand(batch_size, 1)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, slots, count = state
        share = torch.softmax(self.score(self.norm(h)), dim=1)
        seen = (share.unsqueeze(2) * slots).sum(1)
        h = torch.tanh(self.w(x) + seen @ self.read) + 0.1 * h.flip(1) * h.amax(1, keepdim=True)
        slots = slots + share.unsqueeze(2) * h[:, None, 1:3]
        return h, slots, 0.9 * count + h[:, :1]


def test_parts_of_the_state_may_be_of_any_width(run: Run) -> None:
    check(Uneven(2, 6), torch.randn(STEPS, 2), run)


class EveryOperation(OneState):
    """Each operation that a graph has, also with negative constants."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        v = self.w(x) - -2.5 * self.u(state)
        a = torch.where(v > -0.5, v - (state - (v - 1)), -(-v / (state * v + 1.5)))
        b = torch.erf(v) + torch.sign(v) * v.abs().sqrt() + torch.log1p(v.exp()) - torch.expm1(-v) / (2 - v.sin())
        c = torch.maximum(v.cos(), state) * torch.minimum(v, -state).detach() + 1 / (1 + v * v)
        d = torch.lerp(v, a, torch.sigmoid(b)) + (1 + v.abs()).log().relu()
        e = (v >= 0).float() + (v == state).float() - (v != 0).float() * (-v).exp()
        return torch.tanh(a + b - (c - d) + e)


def test_every_operation_is_computed_as_pytorch_does(run: Run) -> None:
    check(EveryOperation(3, 9), torch.randn(STEPS, 3), run)


class Extreme(TwoStates):
    """What NaN and infinities come to; without a product, in which infinities would meet zeros."""

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        h = torch.relu(x) + torch.sign(x) + torch.maximum(x, state[0]).tanh()
        high = x.amax(1, keepdim=True)
        return h, torch.where(x > 0, torch.sigmoid(x), torch.erf(x)) + torch.minimum(high, x)


def test_nan_and_infinities_go_the_same_way(run: Run) -> None:
    x = torch.tensor([[math.inf, -math.inf, 0.0], [800.0, -800.0, -0.0], [math.nan, 1.0, -1.0], [1.0, 2.0, 3.0]])
    with pytest.raises(AssertionError):  # or the comparison below is blind
        torch.testing.assert_close(tensor(["NaN"]), tensor([1.0]), equal_nan=True)
    check(Extreme(3, 3), x, run)


def test_the_error_function_is_exact(run: Run) -> None:
    values = torch.cat([torch.linspace(-7, 7, 2001, dtype=torch.float64), torch.tensor([1e-300, -1e-9, 5.999, 6.001])])
    found = run(f"{json.dumps(values.tolist())}.map(erf)")
    assert tensor(found).sub(torch.erf(values)).abs().max() < 1e-12
    assert run("[NaN, Infinity, -Infinity, 0].map(erf)") == ["NaN", 1, -1, 0]


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        (unroll.GRU(2, 3), "r z n"),
        (unroll.LSTM(2, 3), "f i g o tanh(c) c"),
        (EIGHT["PeepholeLSTM"](2, 3), "i f g o tanh(c) c"),
        (EIGHT["MGU"](2, 3), "f n"),
        (EIGHT["Leaky"](2, 3), "tanh"),
        (unroll.RNN(2, 3), ""),
        (unroll.MinGRU(2, 3), "a z candidate b"),  # coefficients() has the names
        (unroll.MinLSTM(2, 3), "a ratio candidate b"),
        (unroll.LRU(2, 3), "h1.1 h1.2"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Cell) else "",
)
def test_gates_have_the_names_in_step(cell: Cell, names: str) -> None:
    assert " ".join(gate.name for gate in javascript(compile_step(cell)).shown) == names


def test_gates_are_those_of_the_equations(run: Run) -> None:
    cell = unroll.LSTM(2, 3)
    x = torch.randn(1, 2)
    step, (made,) = states_after(cell, x, run)
    with torch.no_grad():
        h, c = cell.step(x, cell.initial_state(1, dtype=x.dtype, device=x.device))
        sums = x @ cell.weight_ih.t() + cell.bias_ih + cell.bias_hh
    i, f, g, o = sums.chunk(4, dim=1)
    expected = {"i": i.sigmoid(), "f": f.sigmoid(), "g": g.tanh(), "o": o.sigmoid(), "tanh(c)": c.tanh(), "c": c}
    assert set(made["gates"]) == set(expected)
    for name, values in expected.items():
        torch.testing.assert_close(tensor(made["gates"][name]), values[0].double(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(tensor(made["state"][0]), h[0].double(), rtol=1e-5, atol=1e-6)
    assert [gate.share for gate in step.shown] == [True, True, False, True, False, False]


def test_every_gate_has_its_width(run: Run) -> None:
    step, found = states_after(Uneven(2, 6), torch.randn(1, 2), run)
    widths = {gate.name: gate.width for gate in step.shown}
    assert {name: len(values) for name, values in found[0]["gates"].items()} == widths
    assert (widths["h1"], widths["count"]) == (6, 1)


class Reserved(OneState):
    """Names that JavaScript has for itself, or that the function already uses."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.new, self.var = nn.Linear(input_size, hidden_size), nn.Linear(hidden_size, hidden_size)
        self.x, self.h = (uniform(hidden_size, hidden_size) for _ in range(2))

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        function = torch.sigmoid(self.new(x) + self.var(state))
        unit = torch.tanh(self.new(x) * self.x)
        Math, ä, sigmoid = function * state, unit + self.h, torch.relu(unit)  # noqa: N806
        return Math + torch.tanh(ä) * sigmoid


def test_names_may_be_words_of_javascript(run: Run) -> None:
    check(Reserved(2, 5), torch.randn(STEPS, 2), run)


def test_the_equation_can_be_read_in_it() -> None:
    body = javascript(compile_step(unroll.GRU(28, 150))).body
    lines = re.findall(r"^  (\w+)\[unit\] = (.*);$", body, re.MULTILINE)
    assert dict(lines) == {
        "r": "sigmoid(r_sum[unit])",
        "z": "sigmoid(z_sum[unit])",
        "n": "Math.tanh(x_n[unit] + r[unit] * h_n[unit])",
        "h_next": "(1 - z[unit]) * n[unit] + z[unit] * h[unit]",
    }
