"""The forward pass step by step: the same logits, and gradients of every state through the whole recurrence."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

import unroll
from pairs import every_pair
from unroll.models.trace import trace_states

LENGTHS = torch.tensor([7, 0, 3, 1, 7])
Y = torch.tensor([0, 1, 2, 0, 1])


class Leaky(unroll.Cell):
    """A cell of one's own whose state has a third part, of whole numbers."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.mix = torch.nn.Linear(input_size + hidden_size, hidden_size)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> Any:
        h = torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)
        return h, torch.zeros(batch_size, 1, dtype=torch.int64, device=device)

    def step(self, x: Tensor, state: Any) -> Any:
        return 0.5 * state[0] + torch.tanh(self.mix(torch.cat([x, state[0]], dim=1))), state[1] + 1


def sequences(model: unroll.SequenceClassifier) -> Tensor:
    if model.vocabulary_size:
        return torch.randint(0, model.vocabulary_size, (5, 7))
    return torch.randn(5, 7, model.input_size, dtype=torch.float64)


def by_perturbation(model: unroll.SequenceClassifier, x: Tensor, y: Tensor, t: int) -> Tensor:
    """Return ``∂loss/∂state_t`` of one-layered, one-way model: the state is set, and the rest read by `Cell.scan`."""
    cell = model.layers[0][0]  # type: ignore[index]
    state = cell.initial_state(len(x), dtype=x.dtype, device=x.device)
    if t >= 0:
        state = cell.scan(x[:, : t + 1], state)[1]
    parts = (state,) if isinstance(state, Tensor) else state
    # For the readouts that see outputs: h_t is put out too.
    parts = tuple(part.detach().requires_grad_() for part in parts)
    rest, end = cell.scan(x[:, t + 1 :], parts[0] if len(parts) == 1 else parts)
    end = end if isinstance(end, Tensor) else end[0]
    before = cell.scan(x[:, :t], cell.initial_state(len(x), dtype=x.dtype, device=x.device))[0].detach()
    held = model.readout.add(None, torch.cat([before, parts[0].unsqueeze(1), rest], dim=1), end, None)
    loss = cross_entropy(model.head(model.readout.result(held)), y, reduction="sum")
    gradients = torch.autograd.grad(loss, parts, materialize_grads=True)
    return torch.stack([part.square().sum(dim=1) for part in gradients]).sum(dim=0).sqrt()


@pytest.mark.parametrize("readout", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("cell", unroll.cells.CELLS)
def test_gradients_are_those_of_a_model_cut_open_at_the_step(cell: Any, readout: Any) -> None:
    model = unroll.SequenceClassifier(3, 3, cell=cell, hidden_size=4, readout=readout).double()
    x = sequences(model)
    ((norms,),) = trace_states(model, x).gradient_norms(Y)
    assert norms.shape == (5, 7)
    for t in range(7):
        expected = by_perturbation(model, x, Y, t)
        torch.testing.assert_close(norms[:, t], expected)


def test_an_lstm_s_gradients_against_a_hand_loop() -> None:
    model = unroll.SequenceClassifier(3, 3, cell="lstm", hidden_size=4, readout="mean").double()
    x, (cell,) = sequences(model), model.layers[0]
    h = c = torch.zeros(5, 4, dtype=torch.float64)
    kept, outputs = [], []
    for t in range(7):
        gates = x[:, t] @ cell.weight_ih.T + cell.bias_ih + h @ cell.weight_hh.T + cell.bias_hh
        i, f, g, o = gates.chunk(4, dim=1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        h, c = h.clone(), c.clone()  # each separately
        kept += [h, c]
        outputs.append(h)
    loss = cross_entropy(model.head(torch.stack(outputs).mean(dim=0)), Y, reduction="sum")
    gradients = torch.stack(torch.autograd.grad(loss, kept, materialize_grads=True)).view(7, 2, 5, 4)
    ((norms,),) = trace_states(model, x).gradient_norms(Y)
    torch.testing.assert_close(norms, gradients.square().sum(dim=(1, 3)).sqrt().T)


@every_pair(cell=(*unroll.cells.CELLS, Leaky), readout=("last", "attention"), both=(False, True))
def test_logits_are_the_model_s(cell: Any, readout: Any, both: bool) -> None:
    model = unroll.SequenceClassifier(
        3,
        3,
        cell=cell,
        hidden_size=4,
        num_layers=3,
        bidirectional=both,
        residual=True,
        layer_norm=True,
        readout=readout,
    ).double()
    x = sequences(model)
    for lengths in (None, LENGTHS):
        trace = trace_states(model, x, lengths)
        torch.testing.assert_close(trace.logits, model(x, lengths))
        norms, hidden = trace.gradient_norms(Y), trace.hidden()
        assert [len(layer) for layer in norms] == [len(layer) for layer in hidden] == [1 + both] * 3
        stages = {stage.name: stage.values for stage in model.stages(x, lengths)}
        torch.testing.assert_close(
            torch.cat(hidden[0], dim=2)[0], stages["layer 1"][0]
        )  # at the time step that was read, in both directions
        for norm in (norm for layer in norms for norm in layer):
            assert (norm[0] > 0).all()
            if lengths is not None:
                assert not norm[torch.arange(7) >= lengths.unsqueeze(1)].any()


def test_texts_frozen_weights_and_what_is_left_behind() -> None:
    model = unroll.SequenceClassifier(3, 3, cell="gru", hidden_size=4, bidirectional=True, vocabulary_size=9).eval()
    x = sequences(model)
    expected = trace_states(model, x, LENGTHS).gradient_norms(Y)
    assert all(parameter.grad is None for parameter in model.parameters())
    model.requires_grad_(False)
    for actual, norm in zip(trace_states(model, x, LENGTHS).gradient_norms(Y)[0], expected[0], strict=True):
        torch.testing.assert_close(actual, norm)
    assert len(list(model.modules())) == len(
        list(
            unroll.SequenceClassifier(3, 3, cell="gru", hidden_size=4, bidirectional=True, vocabulary_size=9).modules()
        )
    )


def test_in_training_mode_the_recurrence_is_dropped_as_in_training() -> None:
    model = unroll.SequenceClassifier(3, 3, hidden_size=40, recurrent_dropout=0.5).double()
    x = sequences(model)
    torch.manual_seed(1)
    logits = model(x)
    torch.manual_seed(1)
    torch.testing.assert_close(trace_states(model, x).logits, logits)
    assert not torch.allclose(model.eval()(x), logits)


def test_gradients_where_they_are_switched_off() -> None:
    model = unroll.SequenceClassifier(3, 3, cell="gru", hidden_size=4).double()
    x = sequences(model)
    trace = trace_states(model, x)
    ((expected,),) = trace.gradient_norms(Y)
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            ((norms,),) = trace.gradient_norms(Y + 0)  # a tensor that was made there
            torch.testing.assert_close(norms, expected)
            without = trace_states(model, x)
        torch.testing.assert_close(without.hidden()[0][0], trace.hidden()[0][0])
        with pytest.raises(unroll.InputError, match=r"call trace_states outside of torch.no_grad\(\) and"):
            without.gradient_norms(Y)
