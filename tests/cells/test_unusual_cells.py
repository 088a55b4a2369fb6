"""The unusual cells of the compiler's tests are cells: they run and have gradients in the loop."""

from __future__ import annotations

import pytest
import torch

from unroll import Cell
from unroll.scan import reference
from unusual_cells import EITHER, REFUSED, SQUARE, UNDERSTOOD

CELLS = [*UNDERSTOOD.values(), *REFUSED, *EITHER.values()]


@pytest.mark.parametrize("kind", CELLS, ids=lambda cell: cell.__name__)
def test_it_runs_in_the_loop_with_gradients(kind: type[Cell]) -> None:
    torch.manual_seed(0)
    cell = kind(6 if kind in SQUARE else 3, 6)
    x = torch.randn(2, 4, cell.input_size, requires_grad=True)
    y, _ = reference.loop(cell.step, x, cell.initial_state(2, dtype=x.dtype, device=x.device), None)
    assert y.shape == (2, 4, 6)
    assert y.dtype == torch.float32
    trained = [parameter for parameter in cell.parameters() if parameter.requires_grad]
    gradients = torch.autograd.grad((y * torch.randn_like(y)).sum(), [x, *trained])
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert all(bool(gradient.any()) for gradient in gradients)
