"""Streams against the model on whole sequences, and that they hold no more after many steps than after one."""

from __future__ import annotations

import gc
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pairs import every_pair
from unroll import ConfigError, InputError, SequenceClassifier
from unroll.cells import CELLS

READOUTS = ("last", "mean", "max", "attention")
OPTIONS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "deep": {"num_layers": 3, "residual": True, "layer_norm": True, "dropout": 0.5},
}


def make(**options: Any) -> SequenceClassifier:
    return SequenceClassifier(4, 3, **{"hidden_size": 8, **options})


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)


@every_pair(cell=tuple(CELLS), readout=READOUTS, depth=tuple(OPTIONS))
def test_after_each_step_the_logits_are_the_model_s(cell: str, readout: str, depth: str) -> None:
    model = make(cell=cell, readout=readout, **OPTIONS[depth])  # in training mode: a stream drops nothing
    x = torch.randn(2, 12, 4)
    stream = model.stream(batch_size=2)
    steps = [stream.step(x[:, t]) for t in range(12)]
    assert model.training
    model.eval()
    for t, logits in enumerate(steps, start=1):
        assert not logits.requires_grad
        close(logits, model(x[:, :t]))
    stream = model.stream(batch_size=2)
    for start, stop in ((0, 5), (5, 5), (5, 6), (6, 12)):
        close(stream.feed(x[:, start:stop]), model(x[:, :stop]))


@pytest.mark.parametrize("readout", READOUTS)
def test_no_step_at_all(readout: str) -> None:
    model = make(readout=readout).eval()
    stream, x = model.stream(), torch.randn(1, 3, 4)
    close(stream.feed(x[:, :0]), model(x[:, :0]))
    close(stream.feed(x), model(x))


@pytest.mark.parametrize("readout", READOUTS)
def test_sequences_that_come_at_a_speed_of_their_own(readout: str) -> None:
    model = make(cell="lstm", readout=readout, num_layers=2).eval()
    x = torch.randn(3, 9, 4)
    stream, read = model.stream(batch_size=3), [0, 0, 0]
    for lengths in ([3, 0, 1], [0, 0, 1], [2, 4, 3]):
        chunk = torch.full((3, 4, 4), float("nan"))
        for i, count in enumerate(lengths):
            chunk[i, :count] = x[i, read[i] : read[i] + count]
            read[i] += count
        close(stream.feed(chunk, torch.tensor(lengths)), model(x, torch.tensor(read)))


@pytest.mark.parametrize("readout", READOUTS)
def test_a_state_is_taken_out_saved_and_put_back(readout: str) -> None:
    model = make(cell="lstm", readout=readout).eval()
    x = torch.randn(1, 10, 4)
    stream = model.stream()
    fresh = stream.state
    stream.feed(x[:, :6])
    kept = stream.state
    buffer = io.BytesIO()
    torch.save(kept, buffer)
    for t in range(6, 10):
        first = stream.step(x[:, t])
    stream.state = kept
    close(stream.feed(x[:, 6:]), first)
    buffer.seek(0)
    restored = model.stream()
    restored.state = torch.load(buffer, weights_only=True)
    for t in range(6, 10):
        again = restored.step(x[:, t])
    assert torch.equal(again, first)
    restored.state = fresh
    close(restored.feed(x), model(x))


def tensors(state: Any) -> Iterator[Tensor]:
    if isinstance(state, Tensor):
        yield state
    else:
        for part in state:
            yield from tensors(part)


def resident() -> int:
    """Return the bytes of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.slow
def test_thousands_of_steps_take_no_memory(readout: str) -> None:
    """Of outputs kept, 16 MB would come together."""
    model = make(cell="gru", hidden_size=128, readout=readout)
    stream, chunk = model.stream(8), torch.randn(8, 100, 4)
    stream.feed(chunk)
    held = [tensor.untyped_storage().nbytes() for tensor in tensors(stream.state)]
    before = after = 0
    for number in range(49):
        if number == 9:
            gc.collect()
            before = resident() if sys.platform == "linux" else 0
        logits = stream.feed(chunk)
    gc.collect()
    after = resident() if sys.platform == "linux" else 0
    assert [tensor.untyped_storage().nbytes() for tensor in tensors(stream.state)] == held
    assert sum(held) <= 4 * 8 * 128 * 4
    assert after - before < 5_000_000
    close(logits, model.eval()(chunk.repeat(1, 50, 1)).detach())


@pytest.mark.slow
def test_thousands_of_single_steps() -> None:
    model = make(hidden_size=2, readout="mean", nonlinearity="relu").eval()
    stream, x = model.stream(), torch.randn(1, 3_000, 4)
    for x_t in x.unbind(dim=1):
        logits = stream.step(x_t)
    close(logits, model(x).detach())


def test_what_a_stream_refuses() -> None:
    with pytest.raises(
        ConfigError,
        match="a bidirectional model cannot stream, as it also reads each sequence from its end; use forward",
    ):
        make(bidirectional=True).stream()
    with pytest.raises(ConfigError, match="batch_size must be at least 1, got 0"):
        make().stream(batch_size=0)
    stream = make().stream(batch_size=2)
    for x, message in (
        (torch.zeros(4), r"step expects one time step \(batch, features\), got shape \(4,\); feed\(\) takes a chunk"),
        (torch.zeros(2, 5, 4), r"step expects one time step \(batch, features\), got shape \(2, 5, 4\)"),
        ([1.0], "step expects one time step .*, got list"),
        (torch.zeros(2, 3), r"x must have shape \(batch, time, 4\), got \(2, 1, 3\)"),
        (torch.zeros(1, 4), "x must be of the stream's 2 sequences, got 1"),
    ):
        with pytest.raises(InputError, match=message):
            stream.step(x)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="lengths must be from 0 to 3, got 0 to 4"):
        stream.feed(torch.zeros(2, 3, 4), torch.tensor([0, 4]))


def test_a_state_of_another_kind_is_refused() -> None:
    stream = make().stream(batch_size=2)
    for state, message in (
        (make().stream().state, r"same model and batch size, \(\(2 × 8\)\), got \(\(1 × 8\)\)"),
        (make(cell="lstm").stream(2).state, r"got \(\(\(2 × 8, 2 × 8\)\)\)"),
        (None, "got NoneType"),
        (torch.zeros(2, 8), "got Tensor"),
    ):
        with pytest.raises(InputError, match=message):
            stream.state = state
    stream.feed(torch.zeros(2, 3, 4))
    mean = make(readout="mean").stream(2)
    mean.feed(torch.zeros(2, 3, 4))
    with pytest.raises(InputError, match=r"same readout, \(2 × 8\), got \(2 × 8, 2\)"):
        stream.state = mean.state
