"""Show examinations, with gradients over time as bars, and inspections of new models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...data.splits import Splits
from ...doctor import Examination, LayerHealth, Memory
from ...doctor.preflight import Inspection
from ...formatting import duration, percent, size
from ...runs.estimate import Estimate
from .bench import duration as time
from .preview import BLOCKS
from .terminal import print_facts, print_findings

WIDTH = 40  # bars of a line, at most
DECADES = 8  # from the lowest bar to the highest; smaller values are blank


def print_examination(console: Console, examination: Examination, run: str, no_data: str = "") -> None:
    """Show the measurements of a run, what was skipped, and the findings with their remedies.

    Args:
        console: where to write.
        examination: of the run.
        run: its name.
        no_data: why its data is not available; empty if it is.
    """
    facts: dict[str, Any] = {"run": run}
    if examination.accuracy is not None and examination.loss is not None:
        facts["examined on"] = (
            f"{examination.sequences:,} sequences of up to {examination.time:,} steps: accuracy "
            f"{percent(examination.accuracy)} (always the most frequent class: {percent(examination.chance)}), "
            f"loss {examination.loss:.4f}"
        )
    if examination.epochs:
        facts["training"] = f"{examination.epochs:,} epochs"
    if (memory := examination.memory) is not None:
        facts["memory"] = _memory(memory)
    for layer in examination.layers:
        facts[layer.title] = _layer(layer) or "nothing measured"
    print_facts(console, facts)
    if no_data:
        console.print(Text.assemble(("no data  ", "bold yellow"), no_data), soft_wrap=True)
    for line in examination.skipped:
        console.print(Text.assemble(("skipped  ", "bold yellow"), line), soft_wrap=True)
    print_findings(console, examination.lines)


def _memory(memory: Memory) -> str:
    if not memory.steps:
        return f"none of {memory.time:,} time steps moves the logits"
    return (
        f"{percent(memory.heard)} of {memory.time:,} time steps move the logits, all within the last {memory.steps:,}"
    )


def _layer(layer: LayerHealth) -> dict[str, str]:
    facts = {}
    gradient = [value for value in layer.gradient if not math.isnan(value)]
    if gradient:
        facts["gradient"] = (
            f"{bars(gradient)}  {gradient[-1]:.1e} at the first step read, {gradient[0]:.1e} at the last"
        )
    activation = [value for value in layer.activation if not math.isnan(value)]
    if activation:
        facts["activation"] = f"{activation[-1]:.3g} after the first step read, {activation[0]:.3g} after the last"
    if layer.saturated is not None:
        facts["saturated"] = f"{percent(layer.saturated)} of the outputs"
    if layer.dead is not None:
        facts["dead"] = f"{percent(layer.dead)} of the units"
    if layer.gates:
        facts["gates"] = (
            ", ".join(f"{letter} {percent(share)}" for letter, share in layer.gates.items()) + " open or shut"
        )
    if layer.radius:
        facts["radius"] = ", ".join(f"{letter} {radius:.3g}" for letter, radius in layer.radius.items())
    return facts


def bars(gradient: Sequence[float], width: int = WIDTH) -> str:
    """Return gradients as a line of bars, from the first step read to the last, on a logarithmic scale.

    Args:
        gradient: by steps before the end, at least one.
        width: most characters of the line; with more steps, each bar is a mean (default 40).
    """
    parts = np.array_split(np.asarray(gradient[::-1], dtype=np.float64), min(width, len(gradient)))
    means = [float(part.mean()) for part in parts]
    largest = max((mean for mean in means if math.isfinite(mean)), default=0.0)
    return "".join(_bar(mean, largest) for mean in means)


def _bar(value: float, largest: float) -> str:
    top = len(BLOCKS) - 1
    if not math.isfinite(value):
        return "!"
    if value <= 0 or largest <= 0:
        return BLOCKS[0]
    return BLOCKS[max(0, round(top + math.log10(value / largest) * (top - 1) / DECADES))]


def print_inspection(
    console: Console, inspection: Inspection, splits: Splits, estimate: Estimate | None = None
) -> None:
    """Show the shapes of a batch in a new model, what the training will take if that is known, and the findings."""
    read_as = {"read as": splits.understood} if splits.understood else {}
    print_facts(console, {"data": f"{splits.name} from {splits.source}", **read_as, "weights": "new"})
    shapes = Table(title="shapes of one batch", title_justify="left")
    shapes.add_column("")
    shapes.add_column("shape", justify="right")
    shapes.add_column("axes")
    for shape in inspection.shapes:
        shapes.add_row(shape.name, " × ".join(map(str, shape.sizes)), " × ".join(shape.axes))
    console.print(shapes)
    print_facts(
        console,
        {
            "parameters": f"{inspection.parameters:,}",
            **(
                {}
                if inspection.padding is None
                else {"padding": f"{percent(inspection.padding)} of the time steps in the batches of an epoch"}
            ),
            "computed by": inspection.computed,
            "initial loss": f"{inspection.loss:.4f}; a uniform guess, ln(classes): {inspection.chance:.4f}",
            "saturated": ", ".join(
                f"layer {n}: {percent(share)}" for n, share in enumerate(inspection.saturated, start=1)
            )
            or "not applicable: the outputs are unbounded",
            **({} if estimate is None else _needs(estimate)),
        },
    )
    print_findings(console, inspection.findings)


def _needs(estimate: Estimate) -> dict[str, str]:
    parts = [f"{estimate.steps:,} steps of {time(estimate.step)}"]
    if estimate.validation:
        parts.append(f"validation {duration(estimate.validation)}")
    parts.append(f"before and after them {duration(estimate.after)}")
    limit = "at most " if estimate.is_limit else ""
    facts = {"training time": f"{limit}about {duration(estimate.seconds)}: {', '.join(parts)}"}
    if estimate.memory is not None:
        facts["memory"] = f"about {size(estimate.memory)} at its peak"
    return facts
