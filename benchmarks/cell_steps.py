"""The training step of a cell of one's own, in this process or, for what happens once, in a new one.

``python -m benchmarks.cell_steps first CELL COMPUTED THREADS`` prints the milliseconds of a cell's first training step
in a process that has trained a built-in cell before; ``memory`` in place of ``first`` prints by how many bytes the
resident memory rises in a training step, or null. COMPUTED is "auto" or "loop".
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

import unroll
from tests.helpers.own_cells import EIGHT, TWINS
from unroll.bench import memory
from unroll.bench.clock import Results
from unroll.scan import reference

Computed = Literal["auto", "loop"]
CELLS: dict[str, type[unroll.Cell]] = EIGHT | {cell.__name__: cell for cell in TWINS}


class Size(NamedTuple):
    """The sizes of a scan."""

    time: int
    inputs: int
    hidden: int = 150
    batch: int = 64


SIZES = {"28x28": Size(28, 28), "784x1": Size(784, 1)}


class Step:
    """Forward and backward over random numbers: the gradients of all parameters for the sum of the final output.

    Args:
        kind: the class of the cell.
        size: of the scan.
        computed: by `Cell.scan`, "auto", or by the plain loop over `Cell.step`, "loop".
        seed: of the random numbers (default 0).
    """

    def __init__(self, kind: type[unroll.Cell], size: Size, computed: Computed, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.cell, self.size, self.computed = kind(size.inputs, size.hidden), size, computed
        self.x = torch.rand(size.batch, size.time, size.inputs)

    def __call__(self) -> Tensor:
        """Take the step and return the final output."""
        cell, x = self.cell, self.x
        cell.zero_grad()
        start = cell.initial_state(x.shape[0], dtype=x.dtype, device=x.device)
        if self.computed == "auto":
            _, state = cell.scan(x, start, last_only=True)
        else:
            _, state = reference.loop(cell.step, x, start, None)
        output: Tensor = state if isinstance(state, Tensor) else state[0]
        torch.autograd.backward(output.sum())
        return output

    def double(self) -> Step:
        """Return the same step in float64, by the loop."""
        other = copy.deepcopy(self)
        other.cell, other.x, other.computed = other.cell.double(), other.x.double(), "loop"
        return other

    def results(self) -> Results:
        """Return the final output and all gradients."""
        results = {"the final output": self().detach()}
        for name, parameter in self.cell.named_parameters():
            assert parameter.grad is not None
            results[f"gradient of {name}"] = parameter.grad.clone()
        self.cell.zero_grad()
        return results

    def arrays(self, threads: int) -> dict[str, np.ndarray]:
        """Return what a peer of cell_peers.py reads."""
        weights = {name: parameter.detach().numpy().copy() for name, parameter in self.cell.named_parameters()}
        facts = {"cell": type(self.cell).__name__, "threads": threads, "hidden": self.size.hidden}
        return {**{name: np.array(fact) for name, fact in facts.items()}, "x": self.x.numpy(), **weights}

    @property
    def flops(self) -> float:
        """Operations in products, without the gradient of x and the products with a zero initial state."""
        time, inputs, _, batch = self.size
        total = 0.0
        for name, weight in self.cell.named_parameters():
            if weight.dim() == 2 and name != "peephole":
                of_x = weight.shape[1] == inputs
                total += 2.0 * batch * weight.numel() * (2 * time if of_x else 3 * (time - 1))
        return total


def once(what: Literal["first", "memory"], name: str, computed: Computed, threads: int) -> float | None:
    """Return the figure of a new process, as the module says; None if it is not known."""
    command = [sys.executable, "-m", "benchmarks.cell_steps", what, name, computed, str(threads)]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True, check=True)
    figure: float | None = json.loads(done.stdout)
    return figure


def first_use(kind: type[unroll.Cell], computed: Computed) -> float:
    """Return the milliseconds of the first training step of 28 × 28; libraries are loaded and threads run before."""
    Step(unroll.RNN, SIZES["28x28"], "auto")()
    step = Step(kind, SIZES["28x28"], computed)
    start = time.perf_counter()
    step()
    return 1000 * (time.perf_counter() - start)


def peak(kind: type[unroll.Cell], computed: Computed) -> int | None:
    """Return by how many bytes memory rises in a training step of 28 × 28."""
    Step(kind, Size(2, 2, 8, 2), computed)()  # allocates everything that is allocated only once
    return memory.rise(Step(kind, SIZES["28x28"], computed))


def _main(what: str, name: str, computed: Any, threads: str) -> None:
    torch.set_num_threads(int(threads))
    print(json.dumps({"first": first_use, "memory": peak}[what](CELLS[name], computed)))


if __name__ == "__main__":
    _main(*sys.argv[1:])
