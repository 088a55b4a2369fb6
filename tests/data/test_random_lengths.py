"""Lengths that nobody thought of: every cell and readout, whole, padded and in a stream."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fuzz
from unroll import SequenceClassifier
from unroll.cells import CELLS

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=5)
MODELS = st.fixed_dictionaries(
    {
        "cell": st.sampled_from(list(CELLS)),
        "readout": st.sampled_from(["last", "mean", "max", "attention"]),
        "num_layers": st.integers(1, 2),
        "hidden_size": st.sampled_from([2, 7]),
        "layer_norm": st.booleans(),
    }
)


DTYPES = st.sampled_from([torch.float32, torch.float64])  # of which the first is that of the kernels
CLOSE = {torch.float32: 1e-5, torch.float64: 1e-10}


def make(settings: dict[str, Any], dtype: torch.dtype, **more: Any) -> SequenceClassifier:
    torch.manual_seed(0)
    return SequenceClassifier(3, 4, **settings, **more).to(dtype).eval()


@fuzz.settings(30)
@given(MODELS, LENGTHS, st.booleans(), st.integers(1, 3), DTYPES)
@pytest.mark.slow
def test_each_sequence_reads_as_it_does_alone(
    settings: dict[str, Any], lengths: list[int], bidirectional: bool, more: int, dtype: torch.dtype
) -> None:
    """Whatever its length, what it is padded with, and what stands beside it; its gradient too."""
    model = make(settings, dtype, bidirectional=bidirectional)
    x = torch.full((len(lengths), max(lengths) + more, 3), float("nan"), dtype=dtype)
    sequences = [torch.randn(1, length, 3, dtype=dtype, requires_grad=True) for length in lengths]
    for row, sequence in zip(x, sequences, strict=True):
        row[: sequence.shape[1]] = sequence[0].detach()
    x.requires_grad_()
    logits = model(x, torch.tensor(lengths))
    logits.square().sum().backward()
    assert x.grad is not None
    for row, sequence in enumerate(sequences):
        alone = model(sequence)
        torch.testing.assert_close(logits[row], alone[0], rtol=0, atol=CLOSE[dtype])
        length = sequence.shape[1]
        if length:
            (grad,) = torch.autograd.grad(alone.square().sum(), sequence)
            torch.testing.assert_close(x.grad[row, :length], grad[0], rtol=0, atol=10 * CLOSE[dtype])
        assert not x.grad[row, length:].any()


@fuzz.settings(30)
@given(MODELS, st.lists(LENGTHS, min_size=1, max_size=4), st.integers(1, 3), DTYPES)
@pytest.mark.slow
def test_a_stream_in_chunks_of_any_length_reads_as_the_whole(
    settings: dict[str, Any], chunks: list[list[int]], batch: int, dtype: torch.dtype
) -> None:
    """Each sequence brings a number of steps of its own with each chunk, which may be none."""
    model = make(settings, dtype)
    x = torch.randn(batch, 40, 3, dtype=dtype)
    stream, read = model.stream(batch), torch.zeros(batch, dtype=torch.int64)
    for chunk in chunks:
        lengths = torch.tensor([chunk[row % len(chunk)] for row in range(batch)])
        part = torch.full((batch, max(chunk), 3), float("nan"), dtype=dtype)
        for row, (start, length) in enumerate(zip(read.tolist(), lengths.tolist(), strict=True)):
            part[row, :length] = x[row, start : start + length]
        read = read + lengths
        torch.testing.assert_close(stream.feed(part, lengths), model(x, read), rtol=0, atol=CLOSE[dtype])
