"""A full disk costs one line and status 1: what was written before is whole, and a sweep continues from it."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unroll
from unroll.runs.sweep import resume_sweep

Call = Callable[..., tuple[int, str, str]]
QUICK: dict[str, Any] = {"epochs": 1, "hidden_size": 4}


@contextmanager
def full(size: int) -> Iterator[None]:
    """Let no file grow beyond ``size`` bytes: what a full disk is to whoever writes one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def data(tmp_path: Path) -> str:
    y = np.arange(120) % 2
    x = np.random.default_rng(0).normal(size=(120, 5, 2)) + y[:, None, None]
    np.savez(tmp_path / "steps.npz", x=x, y=y)
    return str(tmp_path / "steps.npz")


def files(folder: str) -> set[str]:
    return {path.name for path in Path(folder).rglob("*") if path.is_file()} - {".lock"}


@pytest.mark.parametrize(("size", "missing"), [(100, "compare.json"), (4_000, "compare.png")])
def test_compare_writes_both_files_or_neither(size: int, missing: str, data: str, call: Call) -> None:
    for name, lr in (("a", 0.001), ("b", 0.01)):
        unroll.train_run(data, out=name, lr=lr, **QUICK)
    with full(size):
        status, out, err = call("compare", "a", "b", "--out", "compared", "--json")
    assert (status, out, err) == (1, "", f"unroll: compared/{missing}: File too large\n")
    assert files("compared") == set()


@pytest.mark.parametrize("size", [0, 100, 1_500, 6_000])
def test_a_sweep_ends_with_how_to_continue_it(size: int, data: str, call: Call) -> None:
    flags = ("--data", data, "--epochs", 1, "--hidden-size", "4,6", "--out", "tried", "--json")
    with full(size):
        status, out, err = call("sweep", *flags)
    assert (status, out) == (1, "")
    assert ": File too large" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert not [name for name in files("tried") if name.endswith(".partial")]
    for path in Path("tried").rglob("*.json"):
        assert json.loads(path.read_text())
    if (Path("tried") / "sweep.json").exists():
        assert "continue with: " in err
        assert resume_sweep("tried").best is not None
