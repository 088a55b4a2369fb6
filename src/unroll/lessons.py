"""The five models of the tutorial that unroll grew out of, corrected, under their old names; needs only torch.

They keep its argument names, shapes and return values, including the time-first layout: ``X`` is (time, batch, inputs).
docs/tutorial.md explains them. Everything else in unroll is batch first and faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

__all__ = [
    "BasicRNN",
    "CleanBasicRNN",
    "ImageRNN",
    "SingleRNN",
    "get_accuracy",
    "test",
    "train_one_epoch",
    "unroll_cell",
]


class SingleRNN(nn.Module):
    """One recurrent layer over two time steps, written out; the tutorial uses a single neuron.

    Y0 = tanh(X0 Wx + b), Y1 = tanh(Y0 Wy + X1 Wx + b).

    Corrected: the weights are Parameters, so they are trained and saved; their standard deviation is 1/√inputs instead
    of 1, so that fewer neurons start saturated; nothing is stored on the module.

    Args:
        n_inputs: features per time step.
        n_neurons: units, the size of an output.

    Attributes:
        Wx: (n_inputs, n_neurons) weights of the inputs of this time step
        Wy: (n_neurons, n_neurons) weights of the outputs of the time step before
        b: (1, n_neurons) bias
    """

    def __init__(self, n_inputs: int, n_neurons: int) -> None:
        super().__init__()
        self.Wx = nn.Parameter(torch.randn(n_inputs, n_neurons) / n_inputs**0.5)
        self.Wy = nn.Parameter(torch.randn(n_neurons, n_neurons) / n_neurons**0.5)
        self.b = nn.Parameter(torch.zeros(1, n_neurons))

    def forward(self, X0: Tensor, X1: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs ``(Y0, Y1)`` of both time steps, each (batch, n_neurons).

        Args:
            X0: (batch, n_inputs) float32, the first time step of every sequence.
            X1: the same, the second.
        """
        Y0 = torch.tanh(X0 @ self.Wx + self.b)
        Y1 = torch.tanh(Y0 @ self.Wy + X1 @ self.Wx + self.b)
        return Y0, Y1


class BasicRNN(SingleRNN):
    """`SingleRNN` with more neurons: only the shapes change. The tutorial uses five.

    Corrected: as in `SingleRNN`. A third time step would need a third line; `unroll_cell` needs none.
    """


def unroll_cell(rnn: nn.RNNCell, X: Tensor, hx: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    """Apply a cell to each time step: the loop that gives unroll its name.

    Corrected: any number of time steps instead of two; the default initial state is zero instead of random.

    Args:
        rnn: the cell.
        X: (time, batch, n_inputs).
        hx: (batch, n_neurons) initial hidden state (default None: zeros).

    Returns:
        the hidden state after each time step, a list of (batch, n_neurons); the last one (``hx`` if there is no step).
    """
    if hx is None:
        hx = X.new_zeros(X.shape[1], rnn.hidden_size)
    output = []
    for x in X:
        hx = rnn(x, hx)
        output.append(hx)
    return output, hx


class CleanBasicRNN(nn.Module):
    """`BasicRNN` with `torch.nn.RNNCell` instead of hand-made weights.

    Corrected: every call starts from a zero state instead of the last call's final state, so the same input gives the
    same output, and the sizes of batches and sequences may vary between calls.

    Args:
        batch_size: kept for the tutorial's calls; `forward` accepts any batch size.
        n_inputs: features per time step.
        n_neurons: units.
    """

    def __init__(self, batch_size: int, n_inputs: int, n_neurons: int) -> None:
        super().__init__()
        self.rnn = nn.RNNCell(n_inputs, n_neurons)

    def forward(self, X: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the outputs of all time steps of ``X`` (time, batch, n_inputs), and the final state.

        See `unroll_cell` for their shapes.
        """
        return unroll_cell(self.rnn, X)


class ImageRNN(nn.Module):
    """Classify images row by row: a recurrent layer, and a linear layer on its final state.

    Corrected: the result is called logits (the tutorial calls it log probabilities); the state is on the input's device
    and not stored on the module; with several layers, only the last layer's state is classified.

    Args:
        batch_size: batch size of `init_hidden`; `forward` accepts any.
        n_steps: time steps, the rows of an image; used by `train_one_epoch` and `test`; `forward` accepts any number.
        n_inputs: features per time step, the pixels of a row.
        n_neurons: units.
        n_outputs: classes.
        n_layers: number of stacked recurrent layers (default 1).
    """

    def __init__(
        self, batch_size: int, n_steps: int, n_inputs: int, n_neurons: int, n_outputs: int, n_layers: int = 1
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.n_steps = n_steps
        self.n_inputs = n_inputs
        self.n_neurons = n_neurons
        self.n_outputs = n_outputs
        self.n_layers = n_layers
        self.basic_rnn = nn.RNN(n_inputs, n_neurons, n_layers)
        self.FC = nn.Linear(n_neurons, n_outputs)

    def init_hidden(self, batch_size: int | None = None) -> Tensor:
        """Return zeros (n_layers, batch_size, n_neurons) on the device of the weights; `forward` calls it.

        Args:
            batch_size: default: the one passed to the constructor.
        """
        size = self.batch_size if batch_size is None else batch_size
        return self.FC.weight.new_zeros(self.n_layers, size, self.n_neurons)

    def forward(self, X: Tensor) -> Tensor:
        """Return logits (batch, n_outputs) of ``X`` (batch, time, n_inputs) with the weights' dtype and device.

        Raises:
            ValueError: ``X`` has another shape.
        """
        if X.dim() != 3 or X.shape[2] != self.n_inputs:
            raise ValueError(f"X must have shape (batch, time, {self.n_inputs}), got {tuple(X.shape)}")
        X = X.permute(1, 0, 2)  # nn.RNN reads time first
        _, hidden = self.basic_rnn(X, self.init_hidden(X.shape[1]))
        logits: Tensor = self.FC(hidden[-1])
        return logits


def get_accuracy(logit: Tensor, target: Tensor, batch_size: int | None = None) -> float:
    """Return the accuracy of a batch in percent.

    Corrected: it divides by the number of targets, so that the smaller last batch of an epoch counts correctly.

    Args:
        logit: (batch, classes).
        target: (batch,) int64 class indices, at least one.
        batch_size: kept for the tutorial's calls; the size of ``target`` is what counts.

    Raises:
        ValueError: there is no target, or not one for each row of logits.
    """
    if logit.dim() != 2 or target.shape != logit.shape[:1] or not len(target):
        raise ValueError(f"expected a target for each row of logits, got {tuple(target.shape)}, {tuple(logit.shape)}")
    corrects = (logit.argmax(dim=1) == target).sum().item()
    return 100.0 * corrects / len(target)


Batches = Iterable[tuple[Tensor, Tensor]]


def train_one_epoch(
    model: ImageRNN,
    trainloader: Batches,
    criterion: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
) -> tuple[float, float]:
    """Train for one epoch; return mean loss and accuracy (percent) over all examples, while the weights changed.

    Corrected: it calls ``zero_grad``; both means divide by the number of examples instead of the index of the last
    batch; batches are moved to the device of the weights.

    Args:
        model: trained in place.
        trainloader: yields (images, labels): images of ``n_steps · n_inputs`` float32 values each in any shape, labels
            (batch,) int64.
        criterion: a loss such as ``nn.CrossEntropyLoss()``.
        optimizer: over the model's parameters.

    Raises:
        ValueError: the loader yielded no batch.
    """
    model.train()
    running_loss, corrects, seen = 0.0, 0.0, 0
    for inputs, labels in _batches(model, trainloader):
        optimizer.zero_grad()
        logits = model(inputs)
        loss = criterion(logits, labels)
        loss.backward()
        optimizer.step()

        running_loss += loss.item() * len(labels)
        corrects += get_accuracy(logits.detach(), labels) * len(labels)
        seen += len(labels)
    if not seen:
        raise ValueError("trainloader must give at least 1 batch, got none")
    return running_loss / seen, corrects / seen


@torch.no_grad()
def test(model: ImageRNN, testloader: Batches) -> float:
    """Return the accuracy on a data set in percent.

    Corrected: it runs without gradients and in eval mode, and divides by the number of examples, so 100 is the highest
    value (the tutorial gives a perfect model 100.16 on MNIST's 10,000 images).

    Args:
        model: in eval mode afterwards, as in the tutorial.
        testloader: as in `train_one_epoch`.

    Raises:
        ValueError: the loader yielded no batch.
    """
    model.eval()
    corrects, seen = 0.0, 0
    for inputs, labels in _batches(model, testloader):
        corrects += get_accuracy(model(inputs), labels) * len(labels)
        seen += len(labels)
    if not seen:
        raise ValueError("testloader must give at least 1 batch, got none")
    return corrects / seen


def _batches(model: ImageRNN, loader: Batches) -> Iterable[tuple[Tensor, Tensor]]:
    """Yield each batch as (batch, n_steps, n_inputs) on the model's device."""
    device = model.FC.weight.device
    for images, labels in loader:
        yield images.reshape(-1, model.n_steps, model.n_inputs).to(device), labels.to(device)
