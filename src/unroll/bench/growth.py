"""Measure how seconds and peak memory of the backends "auto" and "torch" grow, along one axis at a time.

Denormal numbers are flushed for both, as vanishing gradients would make torch's kernels several times slower, and this
part is about sizes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, get_args

import torch

from ..config import Backend
from .clock import (
    ROUNDS,
    Contender,
    Runs,
    TimedComparison,
    compare,
    flushed_denormals,
    in_process,
    torch_threads,
    with_threads,
    within,
)
from .memory import peak_memory
from .steps import CellName, Shape, Step, checked, right_results

# The other axes keep 28 steps, 150 units and 64 sequences.
AXES: dict[str, tuple[int, ...]] = {
    "time": (28, 784, 4096),
    "hidden": (32, 150, 512, 1024),
    "batch": (1, 64, 512, 4096),
}


@dataclass(frozen=True)
class Point:
    """The results for one size.

    Attributes:
        axis: "time", "hidden" or "batch"
        shape: of the scan
        comparison: of the backends
        peak: peak bytes of a training step of each backend; None if they cannot be measured
    """

    axis: str
    shape: Shape
    comparison: TimedComparison
    peak: dict[str, int | None]

    @property
    def is_slower(self) -> bool:
        """Whether "auto" took longer than "torch" in every round."""
        ratio = self.comparison.ratio("torch")
        return ratio is not None and ratio.high < 1

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain JSON types."""
        point = {"axis": self.axis, "shape": asdict(self.shape), "peak_bytes": self.peak, "slower": self.is_slower}
        return point | self.comparison.to_dict()


def sizes() -> list[tuple[str, Shape]]:
    """Return the sizes as (axis, shape); the middle one belongs to every axis, but is only measured for "time"."""
    shapes_by_axis = []
    for cell in get_args(CellName):
        middle = Shape(cell)
        for axis, values in AXES.items():
            shapes = [Shape(**{**asdict(middle), axis: value}) for value in values]
            shapes_by_axis += [(axis, shape) for shape in shapes if axis == "time" or shape != middle]
    return shapes_by_axis


def measure_point(axis: str, shape: Shape) -> Point:
    """Measure one size; if "auto" loses every round, repeat with twice the rounds to rule out noise."""
    threads = torch.get_num_threads()
    right, small = right_results(shape), checked(shape)

    runs: Runs = {threads: in_process(Step(shape, "auto"), flushed_denormals)}
    auto = Contender("auto", runs, 1, shape.flops, Step(small, "auto").results)
    runs = with_threads(Step(shape, "torch"), flushed_denormals)
    right_by_torch = within(partial(torch_threads, 1), Step(small, "torch").results)
    torch_own = Contender("torch", runs, 1, shape.flops, right_by_torch)
    title = f"{shape.cell}, {shape.time} steps, {shape.hidden} hidden, batch {shape.batch}"
    counts: dict[Backend, int] = {
        "auto": threads,
        "torch": 1,
    }  # a single thread, as torch's memory does not depend on it
    peak: dict[str, int | None] = {backend: peak_memory(shape, backend, count) for backend, count in counts.items()}

    def measure(rounds: int) -> Point:
        comparison = compare(title, [auto, torch_own], "auto", unit="training step", expected=right, rounds=rounds)
        return Point(axis, shape, comparison, peak)

    point = measure(ROUNDS)
    return measure(2 * ROUNDS) if point.is_slower else point
