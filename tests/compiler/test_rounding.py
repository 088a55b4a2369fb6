"""Whole numbers and arctangents in a step: the program gives what the loop gives, at ties and signs too."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from own_cells import OneState
from recurrences import MISSING
from unroll.scan import compiled, reference

pytestmark = MISSING

FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "floor": torch.floor,
    "ceil": torch.ceil,
    "trunc": torch.trunc,
    "frac": torch.frac,
    "round": torch.round,
    "round to 2": lambda v: torch.round(v, decimals=2),
    "round to tens": lambda v: torch.round(v, decimals=-1),
    "remainder": lambda v: v % 0.5,
    "negative remainder": lambda v: torch.remainder(v, -2.0),
    "atan": torch.atan,
    "blend": lambda v: (1 - v.gt(0).float()) * 1e8 + v.gt(0).float() * v,
    "floor of a quotient": lambda v: torch.floor(v.round() * 41 / 41),
}
VALUES = [-1e9, -7.75, -2.5, -1.5, -1.0, -0.51, -0.5, -0.49999997, -0.3, -1e-10]


class Applied(OneState):
    """h' = f(h) + W x."""

    def __init__(self, f: Callable[[Tensor], Tensor], hidden_size: int) -> None:
        super().__init__(1, hidden_size)
        self.f, self.w = f, nn.Linear(1, hidden_size, bias=False)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return self.f(state) + self.w(x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_program_gives_what_torch_gives(name: str) -> None:
    values = torch.tensor([0.0, *VALUES, *(-value for value in VALUES)])
    cell = Applied(FUNCTIONS[name], len(values))
    assert compiled.obstacle(cell) == ""
    x, found = torch.zeros(1, 1, 1), []
    for scan in (compiled.scan, lambda cell, *args: reference.loop(cell.step, *args[:4])):
        state = values[None].clone().requires_grad_()
        y, _ = scan(cell, x, state, None, False, False)
        found += [y.detach(), *torch.autograd.grad(y.sum(), state, allow_unused=True, materialize_grads=True)]
    torch.testing.assert_close(found[0], found[2], rtol=2e-6, atol=1e-6)
    torch.testing.assert_close(found[1], found[3], rtol=2e-6, atol=1e-6)


AT_ZERO: dict[str, Callable[[Tensor], Tensor]] = {
    "norm": lambda v: v.norm(dim=1, keepdim=True),
    "norm of order 3": lambda v: v.norm(3, dim=1, keepdim=True),
    "normalised": lambda v: nn.functional.normalize(v, dim=1),
    "cosine": lambda v: nn.functional.cosine_similarity(v, v + 1, dim=1)[:, None],
    "deviation": lambda v: v.std(1, keepdim=True),
    "standardised": lambda v: (v - v.mean(1, keepdim=True)) / (v.std(1, keepdim=True) + 1e-5),
    "power": lambda v: v.abs() ** 1.5,
}


@pytest.mark.parametrize("name", AT_ZERO)
def test_gradients_at_zero_are_those_of_torch(name: str) -> None:
    cell = Applied(lambda v: v + AT_ZERO[name](v), 4)
    assert compiled.obstacle(cell) == ""
    x, found = torch.zeros(2, 3, 1), []
    for scan in (compiled.scan, lambda cell, *args: reference.loop(cell.step, *args[:4])):
        state = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.5, -0.5, 0.0]], requires_grad=True)
        y, _ = scan(cell, x, state, None, False, False)
        found += [y.detach(), *torch.autograd.grad(y[..., 0].sum(), state)]
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[3])


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "quotient": (lambda v: torch.div(v, 3, rounding_mode="floor"), "rounding_mode='floor'"),
    "remainder by 0.75": (lambda v: v % 0.75, "powers of two"),
    "remainder of units": (lambda v: torch.remainder(v, v), "powers of two"),
    "fmod": (lambda v: torch.fmod(v, 0.5), "fmod"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_be_exact_is_not_compiled(name: str) -> None:
    f, reason = REFUSED[name]
    assert reason in compiled.obstacle(Applied(f, 4))
