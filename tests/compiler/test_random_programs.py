"""Random steps: programs against autograd of the loop, in float64 by torch and in float32 by the kernels."""

from __future__ import annotations

import copy
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import fuzz
import random_steps
from cell_scans import Task, everything, loop, task
from emulator import emulated
from random_steps import Drawn, cells
from recurrences import Tensors, assert_close
from unroll.compiler import NotCompiledError, compile_step
from unroll.scan import compiled, cpu


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Drawn, Task]:
    cell = draw(cells())
    batch, time = draw(st.sampled_from((1, 2, 5, 19))), draw(st.integers(1, 4))
    options = {"reverse": draw(st.booleans()), "last_only": draw(st.booleans())}
    return cell, task(cell, batch, time, ragged=draw(st.booleans()), **options)


def smooth(cell: Drawn, given: Task, least: float) -> Tensors:
    """Return what the loop in float64 gives; skip examples that come too near to where a step is not smooth."""
    random_steps.MARGINS = margins = []
    try:
        expected = everything(copy.deepcopy(cell).double(), given, loop)
    finally:
        random_steps.MARGINS = None
    assume(min(margins, default=1.0) > least)
    assume(
        all(
            bool(tensor.isfinite().all()) and tensor.abs().max() < 1e6 for tensor in expected.values() if tensor.numel()
        )
    )
    return expected


def is_large(reason: str) -> bool:
    return bool(re.search(r"in more than \d+ pieces|at most \d+ can be handled", reason))


@fuzz.settings(60)
@given(tasks())
@pytest.mark.slow
def test_any_step_in_float64(drawn: tuple[Drawn, Task]) -> None:
    cell, ragged = drawn
    full = task(cell, len(ragged.x), ragged.x.shape[1])
    expected = smooth(cell, full, 1e-10)
    try:
        plan = compile_step(cell)
    except NotCompiledError as error:
        assume(not is_large(str(error)))
        raise
    assert_close(emulated(plan, cell.double(), full), expected, 1e-6)


def close(found: Tensors, expected: Tensors, tolerance: float) -> bool:
    return all(
        (found[name].double() - right).abs().max() <= tolerance * max(1.0, float(right.abs().max()))
        for name, right in expected.items()
        if right.numel()
    )


@pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f"backend cpu is {cpu.MISSING}")
@fuzz.settings(60)
@given(tasks())
@pytest.mark.slow
def test_any_step_in_the_kernels(drawn: tuple[Drawn, Task]) -> None:
    cell, task_ = drawn
    expected = smooth(cell, task_, 1e-4)
    assume(close(everything(cell, task_, loop), expected, 1e-5))  # what float32 can give
    found = compiled.program_of(cell)
    assume(not isinstance(found, str) or not is_large(found))
    assert isinstance(found, compiled.Compiled), found
    assert_close(everything(cell, task_, compiled.scan), expected, 1e-4)
