"""Random shapes, lengths and options: every backend against the reference in float64."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fuzz
from recurrences import GATES, RECURRENCES, Tensors, assert_close, copied, everything, make
from unroll.bench.clock import torch_threads
from unroll.scan import choice, cpu


@st.composite
def scans(draw: st.DrawFn) -> tuple[str, Tensors, torch.Tensor | None, dict[str, bool]]:
    recurrence = draw(st.sampled_from(RECURRENCES))
    batch, time, size = draw(st.integers(1, 20)), draw(st.integers(1, 12)), draw(st.integers(1, 40))
    hidden = draw(st.integers(1, 40) | st.integers(75, 100))  # about the widths of registers and panels
    inputs = make(recurrence, batch, time, size, hidden, biases=draw(st.booleans()))
    for tensor in inputs.values():
        tensor.requires_grad_(draw(st.booleans()))
    if not any(tensor.requires_grad for tensor in inputs.values()):
        next(iter(inputs.values())).requires_grad_()
    lengths = draw(st.none() | st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    options = {"reverse": draw(st.booleans())}
    if recurrence in GATES:
        options["last_only"] = draw(st.booleans())
    return recurrence, inputs, None if lengths is None else torch.tensor(lengths), options


@fuzz.settings(30)
@given(scans(), st.integers(1, 3))
@pytest.mark.slow
def test_any_scan(drawn: tuple[str, Tensors, torch.Tensor | None, dict[str, bool]], count: int) -> None:
    recurrence, inputs, lengths, options = drawn
    expected = everything(recurrence, inputs, lengths, backend="reference", **options)
    single = copied(inputs, torch.float32)
    for backend, known in choice.KNOWN.items():
        if recurrence in known and (backend != "cpu" or cpu.INSTRUCTION_SETS):
            with torch_threads(count):
                actual = everything(recurrence, single, lengths, backend=backend, **options)
            assert_close(actual, expected, 1e-5)
