"""Cells and the classifier, with torch.nn as the oracle."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pairs import every_pair
from unroll import Cell, ConfigError, InputError, SequenceClassifier
from unroll.cells import CELLS
from unroll.scan.padding import reverse_within_lengths


def torch_twin(model: SequenceClassifier) -> nn.RNNBase:
    """Return an nn.RNN, nn.GRU or nn.LSTM with the weights of the model's layers."""
    config = model.config
    expected_model: nn.RNNBase = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[config.cell](
        model.input_size,
        config.hidden_size,
        config.num_layers,
        bidirectional=config.bidirectional,
        batch_first=True,
        dropout=config.dropout,
        **({"nonlinearity": config.nonlinearity} if config.cell == "rnn" else {}),
    )
    weights = {}
    for layer, directions in enumerate(model.layers):
        for direction, cell in enumerate(directions.children()):
            for name, value in cell.state_dict().items():
                weights[f"{name}_l{layer}{'_reverse' if direction else ''}"] = value
    expected_model.load_state_dict(weights)
    return expected_model


@pytest.mark.parametrize("backend", ["auto", "reference", "torch", "gemm"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(
    ("cell", "nonlinearity"), [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]
)
def test_logits_and_gradients_equal_torch_nn(
    cell: str, nonlinearity: Any, num_layers: int, bidirectional: bool, backend: Any
) -> None:
    if backend == "gemm" and cell != "rnn":
        pytest.skip("backend gemm knows the rnn alone")
    model = SequenceClassifier(
        12, 10, cell=cell, hidden_size=20, num_layers=num_layers, bidirectional=bidirectional,
        nonlinearity=nonlinearity, backend=backend,
    )  # fmt: skip
    expected_model = torch_twin(model)
    x, y = torch.randn(6, 14, 12), torch.arange(6) % 10
    _, h_n = expected_model(x)
    h_n = h_n[0] if cell == "lstm" else h_n
    expected = model.head(torch.cat([h_n[-2], h_n[-1]], dim=1) if bidirectional else h_n[-1])
    logits = model(x)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-6 * max(1.0, expected.abs().max().item()))

    nn.functional.cross_entropy(expected, y).backward()
    expected_grads = {name: p.grad for name, p in expected_model.named_parameters()}
    model.zero_grad()
    nn.functional.cross_entropy(logits, y).backward()
    for layer, directions in enumerate(model.layers):
        for direction, cell in enumerate(directions.children()):
            for name, parameter in cell.named_parameters():
                grad = expected_grads[f"{name}_l{layer}{'_reverse' if direction else ''}"]
                torch.testing.assert_close(parameter.grad, grad, rtol=1e-5, atol=1e-5)


@every_pair(
    readout=("last", "mean", "max"),
    bidirectional=(False, True),
    cell=tuple(CELLS),
    dtype=(torch.float32, torch.float64),
)
def test_a_padded_sequence_reads_like_the_sequence_alone(
    readout: Any, bidirectional: bool, cell: str, dtype: torch.dtype
) -> None:
    model = SequenceClassifier(
        4, 3, cell=cell, hidden_size=8, num_layers=2, readout=readout, bidirectional=bidirectional
    ).to(dtype)
    x = torch.randn(3, 9, 4, dtype=dtype)
    lengths = torch.tensor([9, 4, 1])
    x[1, 4:], x[2, 1:] = float("nan"), 1e9
    logits = model(x, lengths)
    for i, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(logits[i : i + 1], model(x[i : i + 1, :length]))


@pytest.mark.parametrize("readout", ["last", "mean", "max"])
def test_an_empty_sequence_reads_as_the_initial_state(readout: Any) -> None:
    model = SequenceClassifier(4, 3, hidden_size=8, readout=readout)
    logits = model(torch.randn(2, 9, 4), torch.tensor([0, 9]))
    torch.testing.assert_close(logits[0], model.head.bias)
    torch.testing.assert_close(model(torch.randn(2, 0, 4))[0], model.head.bias)


def test_readouts_against_the_outputs_of_torch_nn() -> None:
    x = torch.randn(5, 7, 4)
    for readout, read in (("mean", lambda y: y.mean(dim=1)), ("max", lambda y: y.amax(dim=1))):
        model = SequenceClassifier(4, 3, hidden_size=8, readout=readout)  # type: ignore[arg-type]
        torch.testing.assert_close(model(x), model.head(read(torch_twin(model)(x)[0])))


def test_it_keeps_no_state_and_takes_any_batch_and_length() -> None:
    model = SequenceClassifier(28, 10).eval()
    x = torch.randn(7, 28, 28)
    assert torch.equal(model(x), model(x))
    for batch, time in ((1, 1), (3, 5), (64, 100)):
        assert model(torch.randn(batch, time, 28)).shape == (batch, 10)
    for _ in range(2):  # two backward passes: no graph is left over
        model(x).sum().backward()


def test_dropout_acts_between_layers_while_training_only() -> None:
    model = SequenceClassifier(4, 3, hidden_size=32, num_layers=2, dropout=0.5)
    x = torch.randn(5, 7, 4)
    assert not torch.equal(model(x), model(x))
    model.eval()
    torch.testing.assert_close(model(x), model.head(torch_twin(model).eval()(x)[1][-1]))


def test_init_orthogonal_and_torch() -> None:
    model = SequenceClassifier(28, 10, num_layers=2)
    for layer in model.layers:
        (cell,) = layer.children()
        torch.testing.assert_close(cell.weight_hh @ cell.weight_hh.T, torch.eye(150), atol=1e-5, rtol=0)
        assert not cell.bias_ih.any()
    assert not model.head.bias.any()
    model = SequenceClassifier(28, 10, init="torch")
    (cell,) = model.layers[0].children()
    bound = 150**-0.5
    for parameter in cell.parameters():
        assert bound * 0.9 < parameter.abs().max().item() <= bound


def test_a_cell_of_one_s_own_keeps_its_own_weights() -> None:
    class Own(Counter):
        def __init__(self, input_size: int, hidden_size: int) -> None:
            super().__init__(input_size, hidden_size)
            self.weight_hh = nn.Parameter(2 * torch.eye(hidden_size))
            self.bias = nn.Parameter(torch.ones(hidden_size))

    (cell,) = SequenceClassifier(3, 4, cell=Own, hidden_size=5).layers[0].children()
    assert torch.equal(cell.weight_hh, 2 * torch.eye(5))
    assert torch.equal(cell.bias, torch.ones(5))


def test_two_models_with_one_seed_are_the_same() -> None:
    torch.manual_seed(3)
    first = SequenceClassifier(28, 10).state_dict()
    torch.manual_seed(3)
    second = SequenceClassifier(28, 10).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_parameters_count_as_in_torch_nn() -> None:
    model = SequenceClassifier(28, 10)
    assert sum(p.numel() for p in model.parameters()) == 28 * 150 + 150 * 150 + 2 * 150 + 150 * 10 + 10


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(64, 784), r"x must have shape \(batch, time, 28\), got \(64, 784\)"),
        (torch.zeros(64, 28, 28).numpy(), r"x must be a tensor \(batch, time, 28\), got ndarray"),
        (torch.zeros(64, 28, 28).double(), "x must have the parameters' dtype torch.float32, got torch.float64"),
        (torch.zeros(64, 28, 27), r"x must have shape \(batch, time, 28\), got \(64, 28, 27\)"),
        (torch.zeros(64, 28, 28, dtype=torch.uint8), "x must be floating point and scaled as in training, got torch.u"),
    ],
)
def test_inputs_that_do_not_fit(x: Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SequenceClassifier(28, 10)(x)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 1}, "num_classes must be at least 2, got 1"),
        ({"input_size": "28"}, "input_size must be of type int, got '28'"),
        ({"input_size": 0}, "input_size must be at least 1, got 0"),
        (
            {"cell": "rnm"},
            "cell must be one of rnn, gru, lstm, indrnn, mingru, minlstm, lru, a subclass of Cell, or its name as "
            "module:Class, got 'rnm'; did you mean 'rnn'?",
        ),
        ({"hidden_size": 0}, "hidden_size must be at least 1, got 0"),
        ({"nonlinearity": "sigmoid"}, "nonlinearity must be one of tanh, relu, got 'sigmoid'"),
    ],
)
def test_arguments_out_of_range(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        SequenceClassifier(**{"input_size": 28, "num_classes": 10, **arguments})
    assert str(error.value).startswith(message)


def test_reverse_turns_each_sequence_within_its_length() -> None:
    x = torch.arange(8.0).view(2, 4, 1)
    assert reverse_within_lengths(x, None)[0].flatten().tolist() == [3, 2, 1, 0]
    assert reverse_within_lengths(x, torch.tensor([3, 0])).flatten().tolist() == [2, 1, 0, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("way", ["out", "in"])
@pytest.mark.parametrize(("name", "twin_class"), [("rnn", nn.RNNCell), ("gru", nn.GRUCell), ("lstm", nn.LSTMCell)])
def test_weights_move_to_torch_s_cells_and_back(name: str, twin_class: type[nn.RNNCellBase], way: str) -> None:
    cell, expected_model = CELLS[name](3, 5), twin_class(3, 5)  # type: ignore[call-arg, arg-type]
    if way == "out":
        expected_model.load_state_dict(cell.state_dict())
    else:
        cell.load_state_dict(expected_model.state_dict())
    x, h, c = torch.randn(4, 3), torch.randn(4, 5), torch.randn(4, 5)
    state = (h, c) if name == "lstm" else h
    expected = expected_model(x, state)
    torch.testing.assert_close(cell.step(x, state), expected)
    y, end = cell.scan(x.unsqueeze(1), state)
    torch.testing.assert_close(end, expected)
    assert torch.equal(y[:, 0], end[0] if name == "lstm" else end)


class Counter(Cell):
    """A cell of one's own with two state tensors: a running sum, and the number of steps."""

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        zeros = torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)
        return zeros, torch.zeros(batch_size, 1, 2, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Any) -> Any:
        return state[0] + x.sum(dim=1, keepdim=True), state[1] + 1


def test_a_cell_of_one_s_own_gets_scan_lengths_and_classifier() -> None:
    cell = Counter(3, 2)
    x = torch.ones(3, 5, 3)
    state = cell.initial_state(3, dtype=x.dtype, device=x.device)
    y, (total, steps) = cell.scan(x, state, torch.tensor([5, 2, 0]))
    assert y[0, :, 0].tolist() == [3, 6, 9, 12, 15]
    assert y[1, :, 0].tolist() == [3, 6, 0, 0, 0]
    assert total[:, 0].tolist() == [15, 6, 0]
    assert steps[:, 0, 0].tolist() == [5, 2, 0]
    model = SequenceClassifier(3, 4, cell=Counter, hidden_size=2, num_layers=2, bidirectional=True, init="torch")
    assert model(x, torch.tensor([5, 2, 0])).shape == (3, 4)
    with pytest.raises(ConfigError, match="cell test_classifier:Counter has a fixed nonlinearity, got 'relu'"):
        SequenceClassifier(3, 4, cell=Counter, nonlinearity="relu")
    with pytest.raises(InputError, match="lengths must be from 0 to 5, got 0 to 6"):
        cell.scan(x, state, torch.tensor([6, 2, 0]))
    with pytest.raises(TypeError, match="abstract"):
        Cell(3, 2)  # type: ignore[abstract]


def test_gradient_is_there_in_eval_mode_and_for_second_derivatives() -> None:
    model = SequenceClassifier(4, 3, hidden_size=8).eval()
    x = torch.randn(2, 6, 4, requires_grad=True)
    (first,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), x)
    assert second.abs().sum() > 0
