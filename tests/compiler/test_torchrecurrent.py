"""Every cell of torchrecurrent is what the table of the helper says."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from torchrecurrent_cells import CELLS, MISSING, make, start, step

BATCH, TIME, INPUTS, HIDDEN = 2, 3, 3, 5

pytestmark = MISSING


def test_the_table_is_complete() -> None:
    import torchrecurrent

    assert set(CELLS) == {name for name in torchrecurrent.__all__ if name.endswith("Cell")}


@pytest.mark.parametrize("name", CELLS)
def test_steps_are_those_of_the_librarys_own_layer(name: str) -> None:
    import torchrecurrent

    torch.manual_seed(0)
    cell = make(name, INPUTS, HIDDEN)
    x = torch.randn(TIME, BATCH, cell.input_size, dtype=torch.float64)
    options: dict[str, Any] = {"delay": TIME} if CELLS[name].delayed else {}  # so that the delayed state is still 0
    layer: nn.Module = getattr(torchrecurrent, name.removesuffix("Cell"))(cell.input_size, HIDDEN, **options).double()
    layer.cells[0].load_state_dict(cell.state_dict())
    expected, _ = layer(x)
    parts, outputs = start(name, cell, BATCH), []
    for x_t in x:
        output, parts = step(name, cell, x_t, parts)
        outputs.append(output)
    assert [part.shape[1] for part in parts] == [getattr(cell, f"{width}_size") for width in CELLS[name].widths]
    torch.testing.assert_close(torch.stack(outputs), expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", CELLS)
def test_every_parameter_has_a_gradient_after_three_steps(name: str) -> None:
    torch.manual_seed(0)
    cell = make(name, INPUTS, HIDDEN)
    parts, loss = start(name, cell, BATCH), torch.zeros((), dtype=torch.float64)
    for x_t in torch.randn(TIME, BATCH, cell.input_size, dtype=torch.float64):
        output, parts = step(name, cell, x_t, parts)
        loss = loss + output.square().sum()
    gradients = torch.autograd.grad(loss, list(cell.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
