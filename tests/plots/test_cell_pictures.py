"""Pictures of cells: every value has its box, no box covers another one, and every word fits."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch
from torch import Tensor, nn

import unroll
from unroll import plots
from unroll.plots.layers import lay_out


class Two(unroll.Cell):
    """A gate, a product behind another one, peepholes and two parts of the state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w, self.u = nn.Linear(input_size, 2 * hidden_size), nn.Linear(hidden_size, hidden_size, bias=False)
        self.peephole = nn.Parameter(torch.zeros(hidden_size))

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return (torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device),) * 2

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        y, z = state
        gate, new = self.w(x).chunk(2, dim=1)
        gate = torch.sigmoid(gate + self.peephole * z)
        z = z + 0.1 * (torch.tanh(new + self.u(gate * y)) - z)
        return (1 - gate) * y + gate * torch.relu(z), z


class Refused(Two):
    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return state[0] + torch.rand_like(state[0]), state[1]


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def extents(figure: Figure) -> tuple[list[Any], list[Any]]:
    """Return the extents of the boxes and of the texts, in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    ax = figure.axes[0]
    boxes = [patch.get_window_extent() for patch in ax.patches if isinstance(patch, (FancyBboxPatch, Circle))]
    return boxes, [text.get_window_extent(renderer) for text in ax.texts]


CELLS: list[Any] = [*unroll.cells.CELLS.values(), Two]


@pytest.mark.parametrize("cell", CELLS, ids=[cell.__name__ for cell in CELLS])
def test_nothing_covers_anything(cell: Any) -> None:
    figure = plots.plot_cell(cell(28, 150))
    boxes, texts = extents(figure)
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert not any(a.overlaps(b) for a, b in combinations(texts, 2))
    page = figure.bbox
    for part in (*boxes, *texts):
        assert page.x0 <= part.x0
        assert part.x1 <= page.x1
        assert page.y0 <= part.y0
        assert part.y1 <= page.y1
    for text in texts:  # a word is inside of a box, or outside of all
        for box in boxes:
            if text.overlaps(box):
                assert box.x0 <= text.x0
                assert text.x1 <= box.x1


def test_gru_is_drawn_with_its_names() -> None:
    found = words(plots.plot_cell(unroll.GRU(28, 150)))
    assert {"GRU", "h", "x", "h'", "r", "z", "n", "h_n", "×", "+", "tanh", "(1 − z) n + z h"} <= set(found)
    assert found.count("σ(W x + W h + b)") == 2


def test_lstm_has_four_boxes_of_products() -> None:
    found = words(plots.plot_cell(unroll.LSTM(28, 150)))
    assert found.count("σ(W x + W h + b)") == 3
    assert found.count("tanh(W x + W h + b)") == 1
    assert {"i", "f", "g", "o", "c", "c'", "h", "h'"} <= set(found)
    assert found.count("×") == 3


def test_an_own_cell_is_drawn_as_it_is_written() -> None:
    found = set(words(plots.plot_cell(Two(28, 150))))
    assert {"y", "z", "y'", "z'", "gate", "· + peephole z", "×"} <= found
    assert "(1 − gate) y + gate relu(z')" in found


def test_a_cell_without_a_graph() -> None:
    with pytest.raises(unroll.InputError, match="Refused has no graph to draw, as its step is not compiled: .*random"):
        plots.plot_cell(Refused(3, 4))


def test_a_figure_becomes_a_png_and_a_part_of_a_page() -> None:
    figure = plots.plot_cell(unroll.RNN(28, 150))
    assert plots.svg(figure, "cell").startswith("<svg")
    assert plots.png(plots.plot_cell(unroll.RNN(28, 150))).startswith(b"\x89PNG")


def test_lines_do_not_cross_where_they_need_not() -> None:
    inputs: dict[Any, list[Any]] = {"a": [], "b": [], "c": [], "cc": ["c"], "bb": ["b"], "aa": ["a"]}
    layout = lay_out(inputs, dict.fromkeys(inputs, 1.0), ["cc", "bb", "aa"], 0.5, 0.1)
    left, right = [layout.y[name, 0] for name in "abc"], [layout.y[name, 1] for name in ("aa", "bb", "cc")]
    assert left == sorted(left, reverse=True)
    assert right == sorted(right, reverse=True)


def test_boxes_of_a_layer_keep_their_distance() -> None:
    inputs: dict[Any, list[Any]] = {"x": [], **{n: ["x"] for n in range(5)}, "end": [0, 4, "x"]}
    heights = {key: 0.5 + 0.1 * (key if isinstance(key, int) else 0) for key in inputs}
    layout = lay_out(inputs, heights, ["end"], 0.25, 0.1)
    middle = sorted(((y, heights[key]) for (key, layer), y in layout.y.items() if layer == 1 and key != "x"))
    for (low, height), (high, other) in pairwise(middle):
        assert high - low >= (height + other) / 2 + 0.25 - 1e-9
    assert (layout.layer["end"], layout.passes["x"]) == (2, 1)
