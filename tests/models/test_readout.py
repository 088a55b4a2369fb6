"""Readouts against the formulas written out, one sequence at a time; in one piece and in chunks."""

from __future__ import annotations

import pytest
import torch
from test_classifier import torch_twin
from torch import Tensor

from unroll import SequenceClassifier
from unroll.models.readout import Attention, make_readout

READOUTS = ["last", "mean", "max", "attention"]
LENGTHS = torch.tensor([7, 0, 1, 4])


def formula(name: str, readout: torch.nn.Module, y: Tensor) -> Tensor:
    """Read out one sequence (time, width) of at least one step."""
    if name == "attention":
        assert isinstance(readout, Attention)
        scores = torch.tanh(y @ readout.projection.weight.T + readout.projection.bias) @ readout.query
        return (torch.softmax(scores, dim=0).unsqueeze(1) * y).sum(dim=0)
    return {"last": y[-1], "mean": y.mean(dim=0), "max": y.amax(dim=0)}[name]


@pytest.mark.parametrize("chunk", [7, 3, 1])
@pytest.mark.parametrize("with_lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("name", READOUTS)
def test_values_and_gradients(name: str, dtype: torch.dtype, with_lengths: bool, chunk: int) -> None:
    readout = make_readout(name, 5).to(dtype)
    lengths = LENGTHS if with_lengths else torch.full((4,), 7)
    given = torch.randn(4, 7, 5, dtype=dtype, requires_grad=True)
    y = torch.where((torch.arange(7) < lengths.unsqueeze(1)).unsqueeze(2), given, 0)
    held, ends = None, torch.zeros(4, 5, dtype=dtype)
    for start in range(0, 7, chunk):
        stop = min(start + chunk, 7)
        at = (lengths.clamp(max=stop) - 1).clamp(min=0)
        ends = torch.where((lengths > 0).unsqueeze(1), y[torch.arange(4), at], 0)
        held = readout.add(held, y[:, start:stop], ends, (lengths - start).clamp(0, chunk) if with_lengths else None)
    assert held is not None
    actual = readout.result(held)
    expected = torch.stack(
        [formula(name, readout, y[i, :n]) if n else y.new_zeros(5) for i, n in enumerate(lengths.tolist())]
    )
    torch.testing.assert_close(actual, expected)
    wanted = [given, *readout.parameters()]
    direction = torch.randn(4, 5, dtype=dtype)
    for left, right in zip(
        torch.autograd.grad((actual * direction).sum(), wanted, retain_graph=True),
        torch.autograd.grad((expected * direction).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(left, right)


def test_attention_weighs_scores_of_any_size() -> None:
    """The scores reach ±300, whose exponential no float32 holds."""
    readout, y = Attention(3), torch.randn(2, 6, 3)
    with torch.no_grad():
        readout.query *= 300 / readout.query.abs().sum()
        readout.projection.weight *= 1e4
        for _ in range(2):
            readout.query *= -1
            expected = torch.stack([formula("attention", readout, sequence) for sequence in y])
            held = None
            for t in range(6):
                held = readout.add(held, y[:, t : t + 1], y[:, t], None)
            assert held is not None
            torch.testing.assert_close(readout.result(held), expected)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
def test_a_model_with_attention_against_torch_nn(bidirectional: bool) -> None:
    model = SequenceClassifier(4, 3, cell="gru", hidden_size=6, readout="attention", bidirectional=bidirectional)
    x = torch.randn(4, 7, 4)
    expected_model = torch_twin(model)
    expected = torch.stack([formula("attention", model.readout, expected_model(s.unsqueeze(0))[0][0]) for s in x])
    torch.testing.assert_close(model(x), model.head(expected))
    assert model.state_dict()["readout.query"].shape == (12 if bidirectional else 6,)


@pytest.mark.parametrize("options", [{}, {"layer_norm": True, "residual": True}], ids=["plain", "norm and residual"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("readout", READOUTS)
def test_nothing_of_the_padding_comes_through(readout: str, bidirectional: bool, options: dict[str, bool]) -> None:
    model = SequenceClassifier(
        4, 3, cell="lstm", hidden_size=6, num_layers=3, readout=readout, bidirectional=bidirectional, **options  # type: ignore[arg-type]
    )  # fmt: skip
    x = torch.randn(4, 7, 4)
    padded = x.clone()
    for i, length in enumerate(LENGTHS.tolist()):
        padded[i, length:] = float("nan")
    padded.requires_grad_()
    logits = model(padded, LENGTHS)
    for i, length in enumerate(LENGTHS.tolist()):
        torch.testing.assert_close(logits[i], model(x[i : i + 1, :length])[0])
    logits.sum().backward()
    assert padded.grad is not None
    assert not padded.grad[1].any()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("readout", READOUTS)
def test_an_empty_sequence_reads_as_zeros(readout: str) -> None:
    model = SequenceClassifier(4, 3, hidden_size=8, readout=readout)  # type: ignore[arg-type]
    logits = model(torch.randn(2, 9, 4), torch.tensor([0, 9]))
    torch.testing.assert_close(logits[0], model.head.bias)
    torch.testing.assert_close(model(torch.randn(2, 0, 4))[0], model.head.bias)
