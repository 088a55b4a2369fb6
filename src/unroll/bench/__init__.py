"""Compare the speed of torch.nn and unroll with the limit of this machine, for `unroll bench`.

`measure` yields results as they are ready; `Report` collects them. The repository's benchmarks/ use the same tools to
compare with other libraries.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, get_args

import torch

from ..runs.folder import fresh, write_json
from ..scan import cpu
from ..scan.sets import VARIABLE
from ..training.environment import describe
from .clock import (
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
from .growth import Point, measure_point, sizes
from .limit import LIMIT, product
from .models import IMAGES, evaluation_contenders, latency_contenders, training_contenders
from .steps import CellName, Shape, Step, right_results

__all__ = ["Doing", "Point", "Report", "TimedComparison", "measure"]


class Doing(NamedTuple):
    """The part that is being measured.

    Attributes:
        title: of the part
        number: how many parts are done
        parts: in all
    """

    title: str
    number: int
    parts: int


@dataclass
class Report:
    """All results.

    Attributes:
        machine: its description from `unroll.training.environment.describe`
        full: whether all parts were requested
        finished: whether all requested parts are done
        comparisons: of contenders, as ratios to unroll's time
        growth: sizes, if ``full``
        notes: further remarks, by name
    """

    full: bool
    machine: dict[str, Any] = field(default_factory=describe)
    finished: bool = False
    comparisons: list[TimedComparison] = field(default_factory=list)
    growth: list[Point] = field(default_factory=list)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, result: TimedComparison | Point) -> None:
        """Add the result of a part."""
        if isinstance(result, Point):
            self.growth.append(result)
        else:
            self.comparisons.append(result)

    @property
    def on(self) -> str:
        """The machine, described in a line."""
        packages, threads = self.machine["packages"], self.machine["threads"]
        limit = f", {VARIABLE}={cpu.LIMIT}" if cpu.LIMIT else ""
        return f"{self.machine['processor']}, {threads} threads, torch {packages['torch']}{limit}"

    def to_dict(self) -> dict[str, Any]:
        """Return all results as plain JSON types."""
        return {
            "machine": self.machine,
            "full": self.full,
            "finished": self.finished,
            "notes": self.notes,
            "comparisons": [comparison.to_dict() for comparison in self.comparisons],
            "growth": [point.to_dict() for point in self.growth],
        }

    def write(self, out: Path | str) -> Path:
        """Write bench.json into a folder that is new or empty, and return the folder.

        Raises:
            RunError: the folder is not empty, or cannot be made.
        """
        folder = fresh(out, "", "")
        write_json(folder / "bench.json", self.to_dict())
        return folder


Part = tuple[str, Callable[[], TimedComparison | Point]]


def measure(full: bool = False) -> Iterator[Doing | TimedComparison | Point]:
    """Measure, yielding the start and the result of each part.

    Args:
        full: also measures sequences of single pixels, and growth, which takes minutes (default False).
    """
    parts = _parts(full)
    for number, (title, part) in enumerate(parts):
        yield Doing(title, number, len(parts))
        yield part()


def _parts(full: bool) -> list[Part]:
    parts: list[Part] = [
        ("training step of the tutorial's model", training),
        (f"evaluation of {IMAGES:,} images", evaluation),
        ("one image", latency),
    ]
    shapes = [Shape(cell) for cell in get_args(CellName)]
    if full:
        shapes += [Shape(cell, 784, 1) for cell in get_args(CellName)]
    parts += [(_title(shape), partial(scan_step, shape)) for shape in shapes]
    if full:
        parts += [(f"growth: {_title(shape)}", partial(measure_point, axis, shape)) for axis, shape in sizes()]
    return parts


def training() -> TimedComparison:
    """Compare the training step of the tutorial's model; the limit is measured in the same rounds."""
    contenders, right = training_contenders()
    title = "training step of the tutorial's model (28×28, 150 tanh, batch 64; forward, loss, backward, clip, Adam)"
    contenders.append(product())
    return compare(title, contenders, "unroll", unit="training step", expected=right, limit=LIMIT)


def evaluation() -> TimedComparison:
    """Compare the evaluation of many images with the tutorial's model."""
    contenders, right = evaluation_contenders()
    return compare(f"evaluation of {IMAGES:,} images of 28×28", contenders, "unroll", unit="evaluation", expected=right)


def latency() -> TimedComparison:
    """Compare the prediction of one image with the tutorial's model."""
    contenders, right = latency_contenders()
    return compare("one image of 28×28, from pixels to logits", contenders, "unroll", unit="image", expected=right)


def scan_step(shape: Shape) -> TimedComparison:
    """Compare forward and backward of one recurrence: torch.nn, torch.nn without denormals, and unroll."""
    name = f"nn.{shape.cell.upper()}"
    right = right_results(shape)
    peer = Step(shape, None)
    own = Step(shape, "auto")
    runs: Runs = {torch.get_num_threads(): in_process(own)}
    peer_results = within(partial(torch_threads, 1), peer.results)
    contenders = [
        Contender(name, with_threads(peer), 1, shape.flops, peer_results),
        Contender(f"{name}, denormals flushed", with_threads(peer, flushed_denormals), 1, shape.flops, peer_results),
        Contender("unroll", runs, 1, shape.flops, own.results),
        product(),
    ]
    return compare(_title(shape), contenders, "unroll", unit="training step", expected=right, limit=LIMIT)


def _title(shape: Shape) -> str:
    steps = f"{shape.time} × {shape.inputs}"
    return f"{shape.cell.upper()} scan, forward and backward ({steps}, hidden {shape.hidden}, batch {shape.batch})"
