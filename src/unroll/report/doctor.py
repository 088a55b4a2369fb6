"""What the doctor says of the run."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..doctor import Examination
from ..formatting import percent
from ..plots import gradient_flow, memory
from .measurements import Material
from .section import Lines, Picture, Section


def flow(examination: Examination) -> Iterator[Section]:
    """Show how gradients and memory fare over time."""
    parts = []
    if any(layer.gradient for layer in examination.layers):
        caption = _faded(examination)
        parts.append(
            Picture(
                "gradient-flow",
                gradient_flow(examination),
                caption,
                f"Norm of the loss's gradient by the state against time steps before the end. {caption}",
            )
        )
    if (measured := examination.memory) is not None:
        caption = (
            f"{percent(measured.heard)} of the steps move the logits by more than 1 % of what the strongest does, all "
            f"of them within the last {measured.steps:,} of {measured.time:,}."
            if measured.steps
            else "No single step's input moves the logits."
        )
        parts.append(
            Picture(
                "memory",
                memory(examination),
                caption,
                f"How far exchanging one step's input moves the logits, against steps before the end. {caption}",
            )
        )
    if parts:
        yield Section(
            "How far back does it learn and remember?",
            "Training reaches back through time as gradients: where they fade, what stands that far back is not "
            "learned; where they grow, training is unstable. And what is exchanged in the input at one step should be "
            "heard at the end, if it matters.",
            parts,
        )


def _faded(examination: Examination) -> str:
    layer = examination.layers[0]
    gradient = [value for value in layer.gradient if not math.isnan(value)]
    if not gradient:
        return f"In {layer.title} no gradient is a number: look at what the doctor says."
    first, last = gradient[-1], gradient[0]
    if not last > 0:
        return f"In {layer.title} the last step has no gradient at all."
    return (
        f"In {layer.title} the gradient at the first step read is {first / last:.2g} times that at the last, "
        f"{len(gradient):,} steps in all."
    )


def findings(material: Material) -> Iterator[Section]:
    """Say what looks wrong, and what helps."""
    examination = material.examination
    parts = [Lines(examination.lines, marked=True)] if examination.findings else [Lines(["Nothing looks wrong."])]
    lead = (
        f"Gradients, units, memory, inputs and the course of the training were measured, on {examination.sequences:,} "
        "sequences; what looks wrong is named here, with the numbers, and with the flags of unroll train that help."
        if examination.sequences
        else "Only the weights and the course of the training could be examined, as far as the run keeps it."
    )
    if examination.skipped:
        parts.append(Lines([f"Not examined: {line}." for line in examination.skipped]))
    yield Section(
        "What the doctor says",
        lead,
        parts,
    )
