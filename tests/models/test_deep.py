"""Deep and regularised stacks: residual connections, layer norm, dropout of the recurrence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from unroll import GRU, LSTM, RNN, Cell, ConfigError, InputError, SequenceClassifier

TWINS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


def layer_outputs(cell: str, cells: list[Any], x: Tensor) -> Tensor:
    """Return what torch.nn makes of one layer, (batch, time, directions·hidden)."""
    reference = TWINS[cell](x.shape[2], cells[0].hidden_size, bidirectional=len(cells) == 2, batch_first=True)
    weights = {
        f"{name}_l0{'_reverse' if direction else ''}": value
        for direction, cell in enumerate(cells)
        for name, value in cell.state_dict(keep_vars=True).items()
    }
    y: Tensor = torch.func.functional_call(reference, weights, (x,))[0]
    return y


def read(model: SequenceClassifier, x: Tensor) -> Tensor:
    """Return what the head gets, as the model's documentation has it."""
    width = model.head.in_features

    def normalised(y: Tensor, number: int) -> Tensor:
        if model.norms is None:
            return y
        norm = model.norms[number]
        assert isinstance(norm, nn.LayerNorm)
        return layer_norm(y, (width,), norm.weight, norm.bias)

    stream = seen = x
    for number, layer in enumerate(model.layers):
        y = layer_outputs(model.config.cell, list(layer.children()), seen)
        stream = y + stream if model.config.residual and number else y
        seen = normalised(stream, number)
    if model.config.readout == "mean":
        return seen.mean(dim=1)
    forward = model.config.hidden_size  # the units after it have read backwards, and end at the first step
    return normalised(torch.cat([stream[:, -1, :forward], stream[:, 0, forward:]], dim=1), -1)


@pytest.mark.parametrize("readout", ["last", "mean"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("norm", [False, True], ids=["plain", "norm"])
@pytest.mark.parametrize("residual", [False, True], ids=["straight", "residual"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_stack_against_torch_nn(cell: str, residual: bool, norm: bool, bidirectional: bool, readout: Any) -> None:
    model = SequenceClassifier(
        4, 3, cell=cell, hidden_size=6, num_layers=3, bidirectional=bidirectional, readout=readout, residual=residual,
        layer_norm=norm,
    )  # fmt: skip
    for name, parameter in model.named_parameters():
        if name.startswith("norms"):
            nn.init.uniform_(parameter, 0.5, 2)
    x = torch.randn(5, 9, 4)
    expected, logits = model.head(read(model, x)), model(x)
    torch.testing.assert_close(logits, expected)
    y_true = torch.arange(5) % 3
    for left, right in zip(
        torch.autograd.grad(nn.functional.cross_entropy(logits, y_true), list(model.parameters())),
        torch.autograd.grad(nn.functional.cross_entropy(expected, y_true), list(model.parameters())),
        strict=True,
    ):
        torch.testing.assert_close(left, right, rtol=1e-4, atol=1e-6)


def test_stages_name_each_part() -> None:
    model = SequenceClassifier(4, 3, hidden_size=6, num_layers=2, residual=True, layer_norm=True, readout="attention")
    x, lengths = torch.randn(5, 9, 4), torch.tensor([9, 3, 0, 1, 2])
    stages = model.stages(x, lengths)
    assert [stage.name for stage in stages] == [
        "input", "layer 1", "norm 1", "layer 2", "residual 2", "norm 2", "readout attention", "logits",
    ]  # fmt: skip
    named = {stage.name: stage.values for stage in stages}
    assert torch.equal(named["residual 2"], named["layer 1"] + named["layer 2"])
    torch.testing.assert_close(named["logits"], model(x, lengths))
    assert not named["norm 2"][1, 3:].any()


def test_a_deep_stack_passes_more_gradient_with_residual_connections() -> None:
    """The gradient of the first of twelve layers, relative to the last."""

    def share(**options: bool) -> float:
        torch.manual_seed(0)
        model = SequenceClassifier(4, 3, hidden_size=16, num_layers=12, init="torch", **options)
        model(torch.randn(8, 10, 4)).square().sum().backward()
        first, last = (model.layers[i].get_parameter("0.weight_hh").grad for i in (0, 11))
        assert first is not None
        assert last is not None
        return float(first.norm() / last.norm())

    assert share() < 0.01
    assert share(residual=True, layer_norm=True) > 0.1


def masked_loop(cell: Cell, x: Tensor, mask: Tensor) -> Tensor:
    """Return the last h by the equations of the cells, where the recurrence sees h · mask at every step."""
    h = c = torch.zeros(len(x), cell.hidden_size)
    w_ih, w_hh, b_ih, b_hh = cell.parameters()
    for x_t in x.unbind(dim=1):
        a, b = x_t @ w_ih.T + b_ih, (h * mask) @ w_hh.T + b_hh
        if isinstance(cell, RNN):
            h = torch.tanh(a + b)
        elif isinstance(cell, GRU):
            (a_r, a_z, a_n), (b_r, b_z, b_n) = a.chunk(3, dim=1), b.chunk(3, dim=1)
            z = torch.sigmoid(a_z + b_z)
            h = (1 - z) * torch.tanh(a_n + torch.sigmoid(a_r + b_r) * b_n) + z * h
        else:
            i, f, g, o = (a + b).chunk(4, dim=1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
    return h


@pytest.mark.parametrize("tbptt", [0, 3], ids=["whole", "chunks"])
@pytest.mark.parametrize("backend", ["auto", "reference", "torch"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_recurrent_dropout_is_one_mask_over_all_time_steps(cell: str, backend: Any, tbptt: int) -> None:
    model = SequenceClassifier(4, 3, cell=cell, hidden_size=16, recurrent_dropout=0.4, backend=backend)
    x = torch.randn(5, 8, 4)
    torch.manual_seed(7)
    logits = model(x, tbptt=tbptt)
    torch.manual_seed(7)
    mask = nn.functional.dropout(torch.ones(16), 0.4)
    assert 0 < int((mask == 0).sum()) < 16
    (cell,) = model.layers[0].children()
    assert isinstance(cell, Cell)
    expected = model.head(masked_loop(cell, x, mask))
    torch.testing.assert_close(logits, expected)
    if tbptt:
        return
    gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
    wanted = torch.autograd.grad(expected.square().sum(), list(model.parameters()))
    for a, b in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    columns = gradients[1][:, mask == 0]
    assert not columns.any(), "what was dropped gets no gradient"


def test_recurrent_dropout_differs_between_batches_and_directions_and_is_off_in_eval() -> None:
    model = SequenceClassifier(4, 3, cell="gru", hidden_size=16, bidirectional=True, recurrent_dropout=0.5)
    plain = SequenceClassifier(4, 3, cell="gru", hidden_size=16, bidirectional=True)
    plain.load_state_dict(model.state_dict())
    x = torch.randn(5, 8, 4)
    assert not torch.equal(model(x), model(x))
    forward, backward = (cell.dropped() for cell in model.layers[0].children())  # type: ignore[operator]
    assert not torch.equal(forward.weight_hh == 0, backward.weight_hh == 0)
    model.eval()
    assert torch.equal(model(x), plain(x))
    assert torch.equal(model(x), model(x))


@pytest.mark.slow
def test_recurrent_dropout_compiles_and_takes_no_module_s_parameter_away() -> None:
    model = SequenceClassifier(4, 3, cell="gru", hidden_size=16, recurrent_dropout=0.5)
    names = [name for name, _ in model.named_parameters()]
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    compiled(torch.randn(2, 5, 4)).sum().backward()
    assert [name for name, _ in model.named_parameters()] == names
    assert all(parameter.grad is not None for parameter in model.parameters())


class Own(Cell):
    """A cell of one's own whose recurrence has a matrix."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_hh = nn.Parameter(torch.ones(hidden_size, hidden_size))

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Tensor:
        return torch.ones(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return nn.functional.linear(state, self.weight_hh)


class NoMatrix(Own):
    """A cell without one."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight_hh = nn.Parameter(torch.ones(hidden_size))


def test_recurrent_dropout_of_a_cell_of_one_s_own() -> None:
    model = SequenceClassifier(4, 3, cell=Own, hidden_size=8, recurrent_dropout=0.5)
    torch.manual_seed(3)
    (outputs,) = (stage.values for stage in model.stages(torch.zeros(2, 3, 4)) if stage.name == "layer 1")
    torch.manual_seed(3)
    total = float(nn.functional.dropout(torch.ones(8), 0.5).sum())
    assert outputs[0, :, 0].tolist() == [total, total**2, total**3]
    with pytest.raises(
        ConfigError, match=r"recurrent_dropout must be 0 for cell test_deep:NoMatrix, got 0.5: it needs a recurrent"
    ):
        SequenceClassifier(4, 3, cell=NoMatrix, hidden_size=8, recurrent_dropout=0.5)
    nn.utils.parametrizations.orthogonal(model.layers[0][0], "weight_hh")  # type: ignore[index]
    with pytest.raises(InputError, match="recurrent_dropout needs weight_hh to be a plain parameter"):
        model(torch.zeros(2, 3, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"residual": True},
            "residual needs num_layers of at least 2 (it skips layers from the second on), got 1; add",
        ),
        ({"layer_norm": True, "hidden_size": 1}, "layer_norm needs hidden_size of at least 2, got 1"),
        ({"recurrent_dropout": 1.0}, "recurrent_dropout must be at least 0 and below 1, got 1.0"),
        ({"recurrent_dropout": -0.1}, "recurrent_dropout must be at least 0 and below 1, got -0.1"),
        ({"layer_norm": 1}, "layer_norm must be of type bool, got 1"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        SequenceClassifier(4, 3, **options)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize("make", [RNN, GRU, LSTM])
def test_a_cell_alone_knows_recurrent_dropout(make: Callable[[int, int], Cell]) -> None:
    cell = make(3, 200)
    assert cell.dropped() is cell
    cell.recurrent_dropout = 0.25
    weight = cell.get_parameter("weight_hh")
    seen: Any = cell.dropped().weight_hh
    kept = (seen != 0).any(dim=0)
    torch.testing.assert_close(seen[:, kept], weight[:, kept] / 0.75)
    assert 0.6 < float(kept.float().mean()) < 0.9
    assert cell.eval().dropped() is cell
