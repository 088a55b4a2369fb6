"""Measure the peak memory of a training step: a new process takes two steps and reports its highest resident memory.

``python -m unroll.bench.memory '{"cell": "rnn", …}' auto`` prints one number: by how many bytes the process's resident
memory rose after loading libraries, starting threads and drawing numbers. The operating system counts it, so memory
allocated by C++ is included. It prints null if the system does not report it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from ..config import Backend
from ..training.resident import peak_resident
from .steps import Shape, Step

CLEAR = Path("/proc/self/clear_refs")
STEPS = 2  # the second step reuses the memory that the first one freed


def peak_memory(shape: Shape, backend: Backend, threads: int) -> int | None:
    """Return the peak bytes of a training step above its inputs and weights, measured in its own process."""
    command = [sys.executable, "-m", "unroll.bench.memory", json.dumps(asdict(shape)), backend, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:  # for example killed for lack of memory; the table then shows no figure
        return None
    peak = json.loads(done.stdout)
    return None if peak is None else int(peak)


def measure(shape: Shape, backend: Backend) -> int | None:
    """Take the steps in this process, and return by how many bytes resident memory rose."""
    Step(Shape(shape.cell, 2, 2, 8, 2), backend)()  # allocates everything that is allocated only once
    return rise(Step(shape, backend))


def rise(step: Callable[[], object]) -> int | None:
    """Call ``step`` `STEPS` times and return by how many bytes resident memory rose; None if that is not reported."""
    before = _reset_mark()
    for _ in range(STEPS):
        step()
    after = peak_resident()
    return None if before is None or after is None else after - before


def _reset_mark() -> int | None:
    """Reset the peak to the memory resident now, if the system allows it, and return it."""
    if CLEAR.exists():
        try:
            CLEAR.write_text("5")
        except OSError:
            return peak_resident()  # without a reset, a higher peak at start-up hides part of the need
    return peak_resident()


def _main(shape: str, backend: Backend, threads: str) -> None:
    torch.set_num_threads(int(threads))
    print(json.dumps(measure(Shape(**json.loads(shape)), backend)))


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]
