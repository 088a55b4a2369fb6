"""The tutorial's systems against its equations, torch.nn and the rest of the house."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import unroll
from unroll import lessons

# The tutorial's own inputs: 4 instances, two time steps; the last column only for the single neuron.
X0 = torch.tensor([[0, 1, 2, 0], [3, 4, 5, 0], [6, 7, 8, 0], [9, 0, 1, 0]], dtype=torch.float)
X1 = torch.tensor([[9, 8, 7, 0], [0, 0, 0, 0], [6, 5, 4, 0], [3, 2, 1, 0]], dtype=torch.float)
X = torch.stack([X0, X1])[:, :, :3]  # (2, 4, 3), time first


def sizes(*tensors: Tensor) -> list[tuple[int, ...]]:
    return [tuple(tensor.shape) for tensor in tensors]


def image_rnn(n_layers: int = 1, n_neurons: int = 150) -> lessons.ImageRNN:
    return lessons.ImageRNN(64, 28, 28, n_neurons, 10, n_layers)


# The shapes that the tutorial documents


def test_single_neuron() -> None:
    model = lessons.SingleRNN(4, 1)
    assert sizes(*model(X0, X1)) == [(4, 1), (4, 1)]
    assert sizes(model.Wx, model.Wy, model.b) == [(4, 1), (1, 1), (1, 1)]


def test_five_neurons() -> None:
    model = lessons.BasicRNN(n_inputs=3, n_neurons=5)
    assert sizes(*model(X0=X[0], X1=X[1])) == [(4, 5), (4, 5)]
    assert sizes(model.Wx, model.Wy, model.b) == [(3, 5), (5, 5), (1, 5)]


def test_cell_and_clean() -> None:
    output, hx = lessons.unroll_cell(nn.RNNCell(3, 5), X, torch.randn(4, 5))
    assert sizes(*output, hx) == [(4, 5), (4, 5), (4, 5)]
    output, state = lessons.CleanBasicRNN(batch_size=4, n_inputs=3, n_neurons=5)(X)
    assert sizes(*output, state) == [(4, 5), (4, 5), (4, 5)]
    assert torch.equal(output[-1], state)


@pytest.mark.parametrize("n_layers", [1, 3])
def test_images(n_layers: int) -> None:
    model = image_rnn(n_layers)
    assert model(torch.rand(64, 1, 28, 28).view(-1, 28, 28)).shape == (64, 10)
    assert model.init_hidden().shape == (n_layers, 64, 150)


# The equations


@pytest.mark.parametrize("batch", [1, 4, 17])
@pytest.mark.parametrize("kind", [lessons.SingleRNN, lessons.BasicRNN])
def test_the_equations_in_numpy(kind: type[lessons.SingleRNN], batch: int) -> None:
    model = kind(3, 5)
    x0, x1 = torch.randn(2, batch, 3)
    wx, wy, b = (p.detach().numpy().astype(np.float64) for p in (model.Wx, model.Wy, model.b))
    y0 = np.tanh(x0.numpy() @ wx + b)
    y1 = np.tanh(y0 @ wy + x1.numpy() @ wx + b)
    np.testing.assert_allclose(model(x0, x1)[0].detach(), y0, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model(x0, x1)[1].detach(), y1, rtol=1e-5, atol=1e-6)


def test_basic_rnn_is_an_rnn_cell() -> None:
    model, cell = lessons.BasicRNN(3, 5), nn.RNNCell(3, 5)
    with torch.no_grad():
        model.b.copy_(torch.randn(1, 5))
        cell.weight_ih.copy_(model.Wx.T)
        cell.weight_hh.copy_(model.Wy.T)
        cell.bias_ih.copy_(model.b[0])
        cell.bias_hh.zero_()
    output, _ = lessons.unroll_cell(cell, X)
    torch.testing.assert_close(model(X[0], X[1]), tuple(output))


@pytest.mark.parametrize("time", [0, 1, 2, 63])
def test_unroll_cell_is_torch_s_rnn(time: int) -> None:
    cell, peer = nn.RNNCell(3, 5), nn.RNN(3, 5)
    peer.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    x, hx = torch.randn(time, 4, 3), torch.randn(4, 5)
    output, last = lessons.unroll_cell(cell, x, hx)
    assert len(output) == time
    if time:
        expected, final = peer(x, hx[None])
        torch.testing.assert_close(torch.stack(output), expected)
        torch.testing.assert_close(last, final[0])
    else:
        assert last is hx


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_image_rnn_is_a_sequence_classifier(n_layers: int) -> None:
    model = image_rnn(n_layers, n_neurons=17)
    ours = unroll.SequenceClassifier(28, 10, hidden_size=17, num_layers=n_layers, init="torch")
    weights = {
        f"layers.{layer}.0.{name}": getattr(model.basic_rnn, f"{name}_l{layer}")
        for layer in range(n_layers)
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    }
    ours.load_state_dict({**weights, "head.weight": model.FC.weight, "head.bias": model.FC.bias})
    for batch, time in ((1, 28), (7, 28), (64, 13)):
        x = torch.randn(batch, time, 28)
        torch.testing.assert_close(model(x), ours(x))


# What was corrected


def test_nothing_is_kept_between_calls() -> None:
    clean, images = lessons.CleanBasicRNN(4, 3, 5), image_rnn(n_neurons=8)
    for model, x in ((clean, X), (images, torch.rand(4, 28, 28))):
        before = set(vars(model))
        first, again = model(x), model(x)
        torch.testing.assert_close(first, again, rtol=0, atol=0)
        assert set(vars(model)) == before
    for _ in range(2):  # a second backward raised
        clean(X)[1].sum().backward()
    assert clean(torch.randn(9, 7, 3))[1].shape == (7, 5)  # other lengths, other batches


def test_the_state_follows_the_weights() -> None:
    model = image_rnn(n_neurons=8).to("meta")
    assert model(torch.empty(2, 28, 28, device="meta")).device.type == "meta"
    assert lessons.CleanBasicRNN(4, 3, 5).double()(X.double())[1].dtype == torch.float64


def fit(model: nn.Module, outputs: Callable[[], Tensor], target: Tensor) -> tuple[float, float]:
    """Train for 40 steps; return the first and the last loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(outputs(), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0], losses[-1]


def test_all_train_and_come_back(tmp_path_factory: pytest.TempPathFactory) -> None:
    x = torch.randn(2, 4, 3)
    single, basic, clean = lessons.SingleRNN(3, 1), lessons.BasicRNN(3, 5), lessons.CleanBasicRNN(4, 3, 5)
    cell, images, rows = nn.RNNCell(3, 5), image_rnn(2, 16), torch.rand(8, 28, 28)
    cases: list[tuple[nn.Module, Callable[[nn.Module], Tensor], nn.Module]] = [
        (single, lambda m: m(x[0], x[1])[1], lessons.SingleRNN(3, 1)),
        (basic, lambda m: m(x[0], x[1])[1], lessons.BasicRNN(3, 5)),
        (cell, lambda m: lessons.unroll_cell(m, x)[1], nn.RNNCell(3, 5)),  # type: ignore[arg-type]
        (clean, lambda m: m(x)[1], lessons.CleanBasicRNN(9, 3, 5)),
        (images, lambda m: m(rows), image_rnn(2, 16)),
    ]
    for model, call, expected_model in cases:
        assert len(list(model.parameters())) >= 3
        target = torch.rand_like(call(model)) - 0.5
        before = [p.detach().clone() for p in model.parameters()]
        first, last = fit(model, lambda model=model, call=call: call(model), target)  # type: ignore[misc]
        assert last < 0.7 * first, type(model)
        assert all(not torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True)), type(model)
        expected_model.load_state_dict(model.state_dict())
        torch.testing.assert_close(call(expected_model), call(model), rtol=0, atol=0)


# The loops


def batches(n: int, batch_size: int = 64, shape: tuple[int, ...] = (1, 28, 28)) -> list[tuple[Tensor, Tensor]]:
    """Return images whose class is a bright row, as a loader of the tutorial gives them."""
    y = torch.arange(n) % 10
    x = torch.zeros(n, 28, 28)
    x[torch.arange(n), 2 * y + 4] = 1.0
    return list(zip(x.view(n, *shape).split(batch_size), y.split(batch_size), strict=True))


class Oracle(nn.Module):
    """Knows the bright row."""

    def __init__(self, right: bool) -> None:
        super().__init__()
        self.n_steps = self.n_inputs = 28
        self.FC = nn.Linear(1, 1)
        self.right = right

    def forward(self, x: Tensor) -> Tensor:
        sign = 1.0 if self.right else -1.0
        return sign * x.mean(dim=2)[:, 4:24:2]


@pytest.mark.parametrize("n", [1, 63, 64, 65, 10_000])
def test_a_perfect_model_scores_exactly_100(n: int) -> None:
    assert lessons.test(Oracle(True), batches(n)) == 100.0  # type: ignore[arg-type]
    assert lessons.test(Oracle(False), batches(n)) == 0.0  # type: ignore[arg-type]


def test_get_accuracy() -> None:
    logit, target = torch.eye(4), torch.tensor([0, 1, 2, 0])
    assert lessons.get_accuracy(logit, target, 4) == 75.0
    assert lessons.get_accuracy(logit=logit, target=target, batch_size=64) == 75.0
    assert isinstance(lessons.get_accuracy(logit, target), float)


def test_training_counts_what_it_sees() -> None:
    """With a rate of zero, the means over the epoch are those of the model, whatever the size of the last batch."""
    model = image_rnn(n_neurons=16)
    data = batches(150)
    x, y = torch.cat([x for x, _ in data]), torch.cat([y for _, y in data])
    logits = model(x.view(-1, 28, 28))
    loss, accuracy = lessons.train_one_epoch(
        model, data, nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.0)
    )
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, y).item(), rel=1e-5)
    assert accuracy == pytest.approx(100 * (logits.argmax(1) == y).sum().item() / 150)


@pytest.mark.parametrize("n_layers", [1, 3])
@pytest.mark.slow
def test_the_loops_learn(n_layers: int) -> None:
    model = image_rnn(n_layers, n_neurons=32)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    results = [lessons.train_one_epoch(model, batches(256), nn.CrossEntropyLoss(), optimizer) for _ in range(15)]
    assert results[-1][0] < 0.5 * results[0][0]
    assert lessons.test(model, batches(100, shape=(784,))) == 100.0
    assert not model.training


def test_no_batch() -> None:
    model = image_rnn(n_neurons=2)
    with pytest.raises(ValueError, match="testloader must give at least 1 batch, got none"):
        lessons.test(model, [])
    with pytest.raises(ValueError, match="trainloader must give at least 1 batch, got none"):
        lessons.train_one_epoch(model, [], nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters()))


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"X must have shape \(batch, time, 28\), got \(64, 1, 28, 28\)"):
        image_rnn(n_neurons=2)(torch.zeros(64, 1, 28, 28))
    for logit, target in ((torch.eye(10), torch.tensor([0])), (torch.empty(0, 10), torch.empty(0))):
        with pytest.raises(ValueError, match="expected a target for each row of logits, got"):
            lessons.get_accuracy(logit, target)
