"""The fused kernels, each instruction set that this processor has, against the plain loop in float64."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch

from forked import forked
from recurrences import (
    CASE_IDS,
    CASES,
    GATES,
    LARGE_IS_SLOW,
    RECURRENCES,
    Tensors,
    assert_close,
    assert_same_bits,
    call,
    copied,
    everything,
    exact,
    make,
    prepare,
    some_lengths,
)
from unroll.bench.clock import torch_threads
from unroll.scan import cpu, rnn_scan

pytestmark = pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f"backend cpu is {cpu.MISSING}")

F32 = torch.float32
INSTRUCTION_SETS = cpu.INSTRUCTION_SETS or ("none",)


@pytest.fixture(params=INSTRUCTION_SETS)
def isa(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(cpu, "ISA", request.param)
    return str(request.param)


OF_CASES = [
    pytest.param(name, number, isa, id=f"{name}-{CASE_IDS[number]}-{isa}", marks=LARGE_IS_SLOW[number])
    for name in RECURRENCES
    for number in range(len(CASES))
    for isa in INSTRUCTION_SETS
]


@pytest.mark.parametrize(("recurrence", "number", "isa"), OF_CASES, indirect=["isa"])
def test_kernels_equal_the_reference(recurrence: str, number: int, isa: str) -> None:
    inputs, lengths, options = prepare(recurrence, CASES[number])
    actual = everything(recurrence, copied(inputs, F32), lengths, backend="cpu", **options)
    assert_close(actual, exact(recurrence, number), 1e-5)


# Hidden sizes around the widths of registers (4, 8, 16) and of panels (12, 16, 80), more steps than a block of the
# gradients has rows, batches around the rows of a tile (4, 5, 6).
EDGES = [(5, 2, 33, 12), (6, 3, 80, 81), (2, 260, 3, 16), (7, 4, 32, 79), (4, 2, 13, 8), (13, 3, 100, 33)]


@pytest.mark.parametrize("shape", EDGES, ids=["B{}-T{}-I{}-H{}".format(*shape) for shape in EDGES])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_sizes_at_the_edges_of_tiles(isa: str, recurrence: str, shape: tuple[int, ...]) -> None:
    inputs, lengths = make(recurrence, *shape), some_lengths(*shape[:2])
    expected = everything(recurrence, inputs, lengths, backend="reference")
    assert_close(everything(recurrence, copied(inputs, F32), lengths, backend="cpu"), expected, 1e-5)


@pytest.mark.parametrize("reverse", [False, True], ids=["forwards", "reverse"])
@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_threads_split_the_work_without_a_difference(isa: str, recurrence: str, reverse: bool) -> None:
    inputs, lengths = make(recurrence, 13, 9, 28, 150, F32), some_lengths(13, 9)
    alone = everything(recurrence, inputs, lengths, backend="cpu", reverse=reverse)
    for count in (2, 3, 16):  # more than there are sequences, too
        with torch_threads(count):
            shared = everything(recurrence, inputs, lengths, backend="cpu", reverse=reverse)
        assert_same_bits(shared, alone)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_several_callers_at_once(recurrence: str) -> None:
    inputs = make(recurrence, 16, 9, 28, 33, F32)
    expected = everything(recurrence, inputs, backend="cpu")
    results: list[Tensors] = []
    with torch_threads(3):
        callers = [
            threading.Thread(target=lambda: results.append(everything(recurrence, inputs, backend="cpu")))
            for _ in range(8)
        ]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    assert len(results) == 8
    for each in results:
        assert_same_bits(each, expected)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_inference_gives_the_bits_of_training(isa: str, recurrence: str) -> None:
    """The kernels then read x in place, and keep only two states and no gates."""
    inputs, lengths = make(recurrence, 13, 9, 28, 33, F32), some_lengths(13, 9)
    for reverse in (False, True):
        expected = [r.detach() for r in call(recurrence, inputs, lengths, backend="cpu", reverse=reverse)]
        for mode in (torch.no_grad, torch.inference_mode):
            for last_only in (False, True) if recurrence in GATES else (None,):
                options = {} if last_only is None else {"last_only": last_only}
                with mode():
                    y, *final = call(recurrence, inputs, lengths, backend="cpu", reverse=reverse, **options)
                assert not y.requires_grad
                assert torch.equal(y, expected[0][:, :0] if last_only else expected[0])
                for left, right in zip(final, expected[1:], strict=True):
                    assert torch.equal(left, right)


# The peak that getrusage tells would begin with that of the parent.
MEMORY = """
import re, pathlib, torch
from recurrences import GATES, call, make
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])
for recurrence, last_only in [*((name, True) for name in GATES), ("tanh", False)]:
    inputs = {name: tensor.detach() for name, tensor in make(recurrence, 16, 1, 1, 64, torch.float32).items()}
    for time in (2, 10_000):  # an output of 41 MB
        inputs["x"] = torch.zeros(1, 1, 1).expand(16, time, 1)
        before = peak()
        with torch.no_grad():
            call(recurrence, inputs, backend="cpu", last_only=last_only)
    print(recurrence, last_only, peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="tells no peak of a process's memory")
@pytest.mark.slow
def test_memory_does_not_grow_with_time_where_only_the_last_state_is_wanted() -> None:
    with forked(code=MEMORY) as process:
        status, out, err = process.rest()
    assert status == 0, err
    grown = {tuple(line.split()[:2]): int(line.split()[2]) for line in out.splitlines()}
    assert grown.pop(("tanh", "False")) > 30e6  # it would be seen
    assert set(grown) == {(recurrence, "True") for recurrence in GATES}
    assert max(grown.values()) < 4e6


def test_tanh_from_end_to_end(isa: str) -> None:
    x = torch.cat([torch.linspace(-12, 12, 20_001), torch.tensor([0.0, -0.0, 1e-30, -1e-30, 1e30, -1e30])])
    weight, zero = torch.ones(1, 1), torch.zeros(1, 1)
    y, _ = rnn_scan(x.view(-1, 1, 1), torch.zeros(len(x), 1), weight, zero, backend="cpu")
    tanh = x.double().tanh()
    assert float((y.flatten().double() - tanh).abs().max()) < 4e-7
    assert float(y.abs().max()) <= 1.0


@pytest.mark.parametrize("recurrence", RECURRENCES)
@pytest.mark.parametrize("count", [1, 2])
def test_denormals_are_flushed_and_the_caller_s_mode_is_kept(isa: str, recurrence: str, count: int) -> None:
    inputs = make(recurrence, 4, 3, 1, 5, F32, biases=False)
    with torch.no_grad():
        for name, tensor in inputs.items():
            tensor.fill_(1e-40 if name[1:] == "0" else 1.0 if name in {"a", "w_hh"} else 0.0)
    tiny, small = torch.tensor(1e-30), torch.tensor(1e-10)
    with torch_threads(count):
        plain, *_ = call(recurrence, inputs, backend="reference")
        y, *_ = call(recurrence, inputs, backend="cpu")
        assert plain.any()
        assert not y.any()
        (dh0,) = torch.autograd.grad(y.sum(), inputs["h0"], torch.tensor(1e-40))
        assert not dh0.any()
        assert float(tiny * small) != 0.0
        torch.set_flush_denormal(True)
        try:
            call(recurrence, inputs, backend="cpu")
            assert float(tiny * small) == 0.0
        finally:
            torch.set_flush_denormal(False)


@pytest.mark.parametrize("recurrence", RECURRENCES)
def test_the_default_dtype_does_not_matter(recurrence: str) -> None:
    inputs = make(recurrence, 3, 5, 4, 17, F32)
    expected = call(recurrence, inputs, some_lengths(3, 5), backend="cpu")
    torch.set_default_dtype(torch.float64)
    try:
        actual = call(recurrence, inputs, some_lengths(3, 5), backend="cpu")
    finally:
        torch.set_default_dtype(torch.float32)
    for left, right in zip(actual, expected, strict=True):
        assert torch.equal(left, right)


@pytest.mark.skipif("OpenMP" not in torch.__config__.parallel_info(), reason="this torch has threads of another kind")
def test_the_kernels_have_torchs_threads() -> None:
    assert cpu.TEAM


FORKED = """
import os
import torch
from recurrences import assert_same_bits, everything, make
torch.set_num_threads(3)
inputs = make("gru", 16, 9, 5, 33, torch.float32)
expected = everything("gru", inputs, backend="cpu")  # the runtime has begun: its threads are not in the child
if child := os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    assert_same_bits(everything("gru", inputs, backend="cpu"), expected)
    os._exit(0)
finally:
    os._exit(1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.slow
def test_a_forked_child_computes_alone() -> None:
    with forked(code=FORKED) as process:
        status, _, err = process.rest()
    assert status == 0, err
