"""Peak memory of a training step, measured from outside: a fresh process takes two steps and tells its highest mark.

``python -m unroll.bench.memory '{"cell": "rnn", …}' auto`` prints one number: by how many bytes the process's resident
memory rose above what it was with libraries loaded, threads started and numbers drawn. The operating system counts
it, so that what C++ allocates is in it. None (null) where there is no such mark to read.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import torch

from ..config import Backend
from .steps import Shape, Step

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
STEPS = 2  # the second one finds the memory that the first one has given back


def peak_memory(shape: Shape, backend: Backend, threads: int) -> int | None:
    """Return the bytes that a training step needs above its inputs and weights, at most, in a process of its own."""
    command = [sys.executable, "-m", "unroll.bench.memory", json.dumps(asdict(shape)), backend, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:  # killed for want of memory, say: no figure, and the table says so
        return None
    found = json.loads(done.stdout)
    return None if found is None else int(found)


def measure(shape: Shape, backend: Backend) -> int | None:
    """Take the steps here, and return by how many bytes resident memory rose."""
    Step(Shape(shape.cell, 2, 2, 8, 2), backend)()  # what is only allocated once
    step = Step(shape, backend)
    before = _reset_mark()
    for _ in range(STEPS):
        step()
    after = _mark()
    return None if before is None or after is None else after - before


def _reset_mark() -> int | None:
    """Bring the highest mark down to what is resident now, where the system lets one, and return it."""
    if CLEAR.exists():
        try:
            CLEAR.write_text("5")
        except OSError:
            return _mark()  # a process that was bigger while it started than it is now shows less than it needs
    return _mark()


def _mark() -> int | None:
    if STATUS.exists():
        for line in STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _main(shape: str, backend: Backend, threads: str) -> None:
    torch.set_num_threads(int(threads))
    print(json.dumps(measure(Shape(**json.loads(shape)), backend)))


if __name__ == "__main__":
    _main(*sys.argv[1:])  # type: ignore[arg-type]
