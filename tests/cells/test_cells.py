"""Cells beyond torch.nn's against NumPy transcriptions of their papers, and what all cells must hold to."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unroll import Cell, ConfigError, SequenceClassifier
from unroll.cells import CELLS, LRU, IndRNN, MinGRU, MinLSTM, name_of
from unroll.testing import check_cell

Numbers = dict[str, np.ndarray]
CPU = torch.device("cpu")


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def indrnn(p: Numbers, x: np.ndarray, activation: Callable[[np.ndarray], np.ndarray] = np.tanh) -> list[np.ndarray]:
    h, states = np.zeros(len(p["weight_hh"])), []
    for x_t in x:
        h = activation(p["weight_ih"] @ x_t + p["weight_hh"] * h + p["bias"])
        states.append(h)
    return states


def indrnn_relu(p: Numbers, x: np.ndarray) -> list[np.ndarray]:
    return indrnn(p, x, lambda z: np.maximum(z, 0))


def mingru(p: Numbers, x: np.ndarray) -> list[np.ndarray]:
    w_z, w_h = np.split(p["weight_ih"], 2)
    b_z, b_h = np.split(p["bias"], 2)
    h, states = np.zeros(len(b_z)), []
    for x_t in x:
        z = sigmoid(w_z @ x_t + b_z)
        h = (1 - z) * h + z * (w_h @ x_t + b_h)
        states.append(h)
    return states


def minlstm(p: Numbers, x: np.ndarray) -> list[np.ndarray]:
    w_f, w_i, w_h = np.split(p["weight_ih"], 3)
    b_f, b_i, b_h = np.split(p["bias"], 3)
    h, states = np.zeros(len(b_f)), []
    for x_t in x:
        f, i = sigmoid(w_f @ x_t + b_f), sigmoid(w_i @ x_t + b_i)
        h = f / (f + i) * h + i / (f + i) * (w_h @ x_t + b_h)
        states.append(h)
    return states


def lru(p: Numbers, x: np.ndarray) -> list[np.ndarray]:
    """Complex, as in the paper's appendix A, with the nonlinearity after it."""
    lamb = np.exp(-np.exp(p["nu_log"]) + 1j * np.exp(p["theta_log"]))
    real, imaginary = np.split(p["weight_ih"], 2)
    c_real, c_negative = np.split(p["weight_ho"], 2, axis=1)
    b, c = real + 1j * imaginary, c_real - 1j * c_negative
    s, outputs = np.zeros(len(lamb), dtype=complex), []
    for x_t in x:
        s = lamb * s + np.exp(p["gamma_log"]) * (b @ x_t)
        z = torch.from_numpy((c @ s).real + p["weight_io"] @ x_t)
        outputs.append((z * 0.5 * (1 + torch.erf(z / 2**0.5))).numpy())
    return outputs


ORACLES: list[tuple[Callable[[int, int], Cell], Callable[[Numbers, np.ndarray], list[np.ndarray]]]] = [
    (IndRNN, indrnn),
    (partial(IndRNN, nonlinearity="relu"), indrnn_relu),
    (MinGRU, mingru),
    (MinLSTM, minlstm),
    (LRU, lru),
]


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
@pytest.mark.parametrize(("kind", "oracle"), ORACLES, ids=[oracle.__name__ for _, oracle in ORACLES])
def test_cells_do_what_their_papers_say(
    kind: Callable[[int, int], Cell], oracle: Callable[[Numbers, np.ndarray], list[np.ndarray]], reverse: bool
) -> None:
    torch.manual_seed(0)
    cell = kind(3, 7).double()
    x, lengths = torch.randn(4, 11, 3, dtype=torch.float64), torch.tensor([11, 1, 0, 6])
    state = cell.initial_state(4, dtype=x.dtype, device=x.device)
    with torch.no_grad():
        y, final = cell.scan(x, state, lengths, reverse=reverse)
        _, alone = cell.scan(x, state, lengths, reverse=reverse, last_only=True)
    parameters = {name: value.detach().numpy() for name, value in cell.named_parameters()}
    end = final if isinstance(final, Tensor) else final[0]
    for row, length in enumerate(lengths.tolist()):
        steps = x[row, :length].numpy()
        expected = oracle(parameters, steps[::-1] if reverse else steps)
        if not length:
            assert not end[row].any()
            continue
        np.testing.assert_allclose(end[row], expected[-1], atol=1e-10)
        np.testing.assert_allclose(y[row, :length], expected[::-1] if reverse else expected, atol=1e-10)
        assert not y[row, length:].any()
    for left, right in zip(*([s] if isinstance(s, Tensor) else s for s in (alone, final)), strict=True):
        torch.testing.assert_close(left, right, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_a_good_one(name: str) -> None:
    check_cell(CELLS[name])


@pytest.mark.slow
def test_lru_stays_stable_whatever_is_learned() -> None:
    torch.manual_seed(0)
    cell = LRU(1, 16)
    with torch.no_grad():
        cell.nu_log.copy_(torch.linspace(-10, 5, 16))  # |λ| from 0.99995 to 0
        _, (_, s) = cell.scan(torch.ones(1, 10_000, 1), cell.initial_state(1, dtype=torch.float32, device=CPU))
        exact = LRU(1, 16).double()
        exact.load_state_dict({name: value.double() for name, value in cell.state_dict().items()})
        start = exact.initial_state(1, dtype=torch.float64, device=CPU)
        _, drive = exact.step(torch.ones(1, 1, dtype=torch.float64), start)
        eigenvalue = torch.exp(torch.complex(-exact.nu_log.exp(), exact.theta_log.exp()))
        expected = torch.complex(*drive.chunk(2, dim=1)) * (1 - eigenvalue**10_000) / (1 - eigenvalue)
    assert (torch.exp(-torch.exp(cell.nu_log)) < 1).all()
    # A geometric sum cannot grow beyond 1 / (1 - |λ|) times what drives it.
    assert s.isfinite().all()
    torch.testing.assert_close(s.double(), torch.cat([expected.real, expected.imag], dim=1), rtol=1e-3, atol=1e-3)


def test_lru_begins_in_its_ring() -> None:
    torch.manual_seed(0)
    cell = LRU(2, 4000)
    radius = torch.exp(-torch.exp(cell.nu_log))
    assert 0.8999 < float(radius.detach().min()) < 0.91
    assert 0.99 < float(radius.detach().max()) < 0.9991
    torch.testing.assert_close(cell.gamma_log.exp(), (1 - radius**2).sqrt())


@pytest.mark.parametrize("cell", ["mingru", "minlstm", "lru", "indrnn"])
@pytest.mark.slow
def test_new_cells_learn(cell: str) -> None:
    """The class is the value at a marked step 12 steps ago, which later steps do not reveal."""
    torch.manual_seed(0)
    x = torch.rand(256, 20, 2)
    x[:, :, 1] = 0
    x[:, 8, 1] = 1
    y = (x[:, 8, 0] > 0.5).long()
    options = {"nonlinearity": "relu"} if cell == "indrnn" else {}
    model = SequenceClassifier(2, 2, cell=cell, hidden_size=16, num_layers=2, **options)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(250):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        if float(loss.detach()) < 0.1:
            break
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    assert float((model(x).argmax(dim=1) == y).float().mean()) > 0.9


def test_identity_makes_an_irnn() -> None:
    model = SequenceClassifier(5, 3, hidden_size=8, nonlinearity="relu", init="identity")
    cell = model.layers[0][0]  # type: ignore[index]
    assert torch.equal(cell.weight_hh, torch.eye(8))
    assert 0 < float(cell.weight_ih.detach().std()) < 0.01
    assert not cell.bias_ih.any()
    h = torch.rand(2, 8)
    assert torch.equal(cell.step(torch.zeros(2, 5), h), h)
    own = SequenceClassifier(5, 3, cell="indrnn", hidden_size=8, nonlinearity="relu", init="identity")
    assert torch.equal(own.layers[0][0].weight_hh, torch.ones(8))  # type: ignore[index]
    for name in ("gru", "lstm", "mingru", "minlstm", "lru"):
        with pytest.raises(ConfigError, match="init identity needs a cell with a plain recurrence, such as rnn, got "):
            SequenceClassifier(5, 3, cell=name, init="identity")


@pytest.mark.parametrize("cell", ["gru", "lstm", "mingru", "minlstm"])
def test_forget_bias_keeps_the_state(cell: str) -> None:
    """What a unit knows lasts the longer, the higher the bias of its gate."""
    kept = []
    for bias in (-4.0, 0.0, 4.0):
        torch.manual_seed(0)
        made = SequenceClassifier(2, 2, cell=cell, hidden_size=6, forget_bias=bias).layers[0][0]  # type: ignore[index]
        state = made.initial_state(1, dtype=torch.float32, device=CPU)
        ones = torch.ones(1, 6)
        start = ones if isinstance(state, Tensor) else (state[0], ones)
        end = made.step(torch.zeros(1, 2), start)
        before = made.step(torch.zeros(1, 2), state)
        kept.append(float((end - before if isinstance(end, Tensor) else end[1] - before[1]).detach().mean()))
    assert kept[0] < 0.1 < kept[1] < kept[2]
    assert kept[2] > 0.6
    with pytest.raises(ConfigError, match="forget_bias needs a cell with a forget gate, such as lstm, got RNN"):
        SequenceClassifier(2, 2, forget_bias=1.0)


def test_names_of_classes() -> None:
    assert name_of(MinGRU) == "mingru"
    assert SequenceClassifier(2, 2, cell=LRU).config.cell == "lru"
    assert name_of(Good) == f"{__name__}:Good"


class Good(Cell):
    """h' = tanh(W [x, h])."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.inner = nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: Tensor, state: Any) -> Any:
        return torch.tanh(self.inner(torch.cat((x, state), dim=1)))


class NoSizes(Good):
    def __init__(self) -> None:
        super().__init__(2, 4)


class NoSuper(Good):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        self.inner = nn.Linear(input_size, hidden_size)


class OtherArguments(Good):
    def initial_state(self, batch_size: int) -> Any:  # type: ignore[override]
        return torch.zeros(batch_size, self.hidden_size)


class Raises(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        return self.inner(x)


class RaisesLater(Good):
    def scan(
        self, x: Tensor, state: Any, lengths: Any = None, *, reverse: bool = False, last_only: bool = False
    ) -> Any:
        raise KeyError("no scan")


class LosesTheBatch(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        return super().step(x, state).squeeze()


class Abstract(Cell):
    def step(self, x: Tensor, state: Any) -> Any:
        return state


class NoTensor(Good):
    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return [torch.zeros(batch_size, self.hidden_size)]


class WrongBatch(Good):
    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return torch.zeros(self.hidden_size, batch_size + 1, dtype=dtype, device=device)


class WrongWidth(Good):
    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return torch.zeros(batch_size, 7, dtype=dtype, device=device)


class SingleState(Good):
    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return torch.zeros(batch_size, self.hidden_size, device=device)


class OtherForm(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        return (super().step(x, state),)


class OtherShape(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        return super().step(x, state)[:, :-1]


class OtherDtype(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        return super().step(x, state).float()


class InPlace(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        state += 1
        return super().step(x, state)


class Remembers(Good):
    last: Any = None

    def step(self, x: Tensor, state: Any) -> Any:
        self.last = super().step(x, state)
        return self.last


class Counts(Good):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self._steps: list[int] = []

    def step(self, x: Tensor, state: Any) -> Any:
        self._steps.append(1)
        return super().step(x, state) + len(self._steps)


class MixesRows(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        return super().step(x - x.mean(dim=0), state)


class OwnScan(Good):
    def scan(
        self, x: Tensor, state: Any, lengths: Any = None, *, reverse: bool = False, last_only: bool = False
    ) -> Any:
        y, end = super().scan(x, state, lengths, reverse=reverse)
        return 2 * y, end


class ForgetsReverse(Good):
    def scan(
        self, x: Tensor, state: Any, lengths: Any = None, *, reverse: bool = False, last_only: bool = False
    ) -> Any:
        return super().scan(x, state, lengths)


class NoMask(Good):
    def scan(
        self, x: Tensor, state: Any, lengths: Any = None, *, reverse: bool = False, last_only: bool = False
    ) -> Any:
        return super().scan(x, state, None, reverse=reverse)


class MasksLate(Good):
    """Correct in the forward pass, but in the backward pass 0 times NaN is NaN."""

    def scan(
        self, x: Tensor, state: Any, lengths: Any = None, *, reverse: bool = False, last_only: bool = False
    ) -> Any:
        if lengths is None or reverse:
            return super().scan(x, state, lengths, reverse=reverse)
        outputs = []
        for t in range(x.shape[1]):
            inside = (t < lengths).unsqueeze(1)
            state = torch.where(inside, self.step(x[:, t], state), state)
            outputs.append(torch.where(inside, state, 0))
        return torch.stack(outputs, dim=1), state


class Unused(Good):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.scale = nn.Parameter(torch.ones(hidden_size))


class Deaf(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        return super().step(x.detach(), state)


class WrongGradient(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        h = super().step(x, state)
        return h + (h * h - (h * h).detach())  # as large as h, but it grows otherwise


class NotSaved(Good):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.scale = float(torch.rand(()))

    def step(self, x: Tensor, state: Any) -> Any:
        return self.scale * super().step(x, state)


class OnTheCpu(Good):
    def step(self, x: Tensor, state: Any) -> Any:
        return super().step(x, state) + torch.ones(self.hidden_size, dtype=x.dtype)


class StateOnTheCpu(Good):
    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype)


COMPLAINTS: list[tuple[Any, str]] = [
    (nn.Linear, "check_cell expects a subclass of unroll.Cell, the class itself, got"),
    (Good(2, 4), "check_cell expects a subclass of unroll.Cell, the class itself, got"),
    (Abstract, "Abstract must define initial_state"),
    (NoSizes, "NoSizes(2, 4) must make a cell, got TypeError"),
    (
        NoSuper,
        "NoSuper(2, 4) must make a cell, got AttributeError: cannot assign module before Module.__init__() call; c",
    ),
    (OtherArguments, "initial_state(3, dtype=torch.float64, device=cpu) must return a state, got TypeError: "),
    (
        Raises,
        "step must take x (3, 2) and what initial_state(3) returns, got RuntimeError: mat1 and mat2 shapes cannot",
    ),
    (RaisesLater, "scan must compute, got KeyError: 'no scan'"),
    (LosesTheBatch, "step must keep the shape of part 0 of the state, (1, 4), got (4,)"),
    (NoTensor, "initial_state must return a tensor or a tuple of tensors, got a list of 1 (Tensor)"),
    (WrongBatch, "part 0 of initial_state(3) must have shape (3, …), got (4, 4)"),
    (WrongWidth, "is the output and must have shape (batch, hidden), here (3, 4), got (3, 7)"),
    (SingleState, "initial_state must use its argument dtype, torch.float64, got torch.float32; pass dtype on"),
    (OtherForm, "step must return a state of the form it was given, a Tensor, got a tuple of 1 (Tensor)"),
    (OtherShape, "step must keep the shape of part 0 of the state, (3, 4), got (3, 3)"),
    (OtherDtype, "step must keep the dtype torch.float64, got torch.float32; make tensors with dtype=x.dtype"),
    (InPlace, "step must not change x or the state in place: their gradients need the old values"),
    (Remembers, "step must not store anything on the module; put it into the state"),
    (Counts, "step must return the same for the same x and state in eval mode; keep all memory in the state"),
    (MixesRows, "a sequence must give the same result in any batch; step must not mix the rows of its batch"),
    (OwnScan, "scan must give the same as a loop over step: outputs differ by"),
    (ForgetsReverse, "scan with reverse=True must read from the last step to the first: outputs differ by"),
    (NoMask, "outputs past a sequence's length must be zero, even if x is NaN there"),
    (MasksLate, "must not depend on padding, here NaN; set x to 0 past each length first"),
    (Unused, "the parameter scale gets no gradient; use it in step, and do not detach results"),
    (Deaf, "x gets no gradient; use it in step, and do not detach results"),
    (WrongGradient, "gradients must match finite differences in float64"),
    (NotSaved, "a new cell with this one's state_dict must give the same; make all weights nn.Parameter or buffers"),
    (OnTheCpu, "step must stay on the device of x"),
    (StateOnTheCpu, "initial_state must use its argument device; pass device on"),
]


@pytest.mark.parametrize(("cell", "complaint"), COMPLAINTS, ids=[getattr(c, "__name__", "made") for c, _ in COMPLAINTS])
def test_what_is_wrong_is_said(cell: Any, complaint: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_cell(cell)
    assert complaint in str(caught.value)


class NothingToLearn(Good):
    def __init__(self, input_size: int, hidden_size: int) -> None:
        Cell.__init__(self, input_size, hidden_size)

    def step(self, x: Tensor, state: Any) -> Any:
        return 0.5 * state + x.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("cell", [Good, NothingToLearn])
def test_a_good_cell_passes(cell: type[Cell]) -> None:
    check_cell(cell)
