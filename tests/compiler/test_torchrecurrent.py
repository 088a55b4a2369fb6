"""Every cell of torchrecurrent is what the table of the helper says, and its own `forward` compiles as it is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cell_scans import Task, everything, loop, task
from recurrences import MISSING as NO_KERNELS
from recurrences import Tensors
from torchrecurrent_cells import CELLS, MISSING, make, start, step
from unroll import Cell
from unroll.cells import from_module

BATCH, TIME, INPUTS, HIDDEN = 2, 3, 3, 5

pytestmark = MISSING

# tauGRU's forward takes a third argument, the state of some steps ago, which no state of a cell holds.
WRAPPED = [name for name, signature in CELLS.items() if not signature.delayed]


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


def wrapped(name: str, inputs: int, hidden: int) -> tuple[Cell, nn.Module]:
    """Return a cell made of a module, and the same module in float64."""
    import torchrecurrent

    module = make(name, inputs, hidden)
    cell = from_module(getattr(torchrecurrent, name))(module.input_size, hidden)
    cell.module.load_state_dict(module.state_dict())
    return cell, module


def by_the_module(name: str, cell: Cell, module: nn.Module, given: Task) -> Tensors:
    """Return what a loop over the module itself gives; its output, where it is apart, is a part of our state."""

    def module_s_step(x: Tensor, state: Any) -> Any:
        parts = (state,) if isinstance(state, Tensor) else tuple(state)
        output, parts = step(name, module, x, parts[1:] if CELLS[name].apart else parts)
        parts = (output, *parts) if CELLS[name].apart else parts
        return parts[0] if isinstance(state, Tensor) else parts

    class Loop(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        step = staticmethod(module_s_step)

    return everything(Loop(), given, loop)  # type: ignore[arg-type]


@NO_KERNELS
@pytest.mark.parametrize("sizes", [(3, 5), (8, 17)], ids=str)
@pytest.mark.parametrize("name", WRAPPED)
def test_everything_is_what_the_module_s_own_loop_gives(name: str, sizes: tuple[int, int]) -> None:
    torch.manual_seed(0)
    cell, module = wrapped(name, *sizes)
    given = task(cell, 6, 7, ragged=True)
    assert cell.choose_backend(given.x, training=True).backend == "cpu"
    found, expected = everything(cell, given), by_the_module(name, cell, module, given)
    assert found.keys() == expected.keys()
    for key, right in expected.items():
        error = float((found[key].double() - right).abs().max()) / max(1e-3, float(right.abs().max()))
        assert error <= 1e-4, f"{key} is off by {error:.1e}"


@NO_KERNELS
@pytest.mark.parametrize("name", WRAPPED)
def test_backwards_in_time_and_without_gradients(name: str) -> None:
    torch.manual_seed(0)
    cell, module = wrapped(name, 4, 6)
    given = task(cell, 3, 4, reverse=True)
    expected = by_the_module(name, cell, module, given)
    with torch.no_grad():
        y, _ = cell.scan(given.x, given.state if len(given.state) > 1 else given.state[0], reverse=True)
    torch.testing.assert_close(y.double(), expected["y"], rtol=1e-4, atol=1e-5)
