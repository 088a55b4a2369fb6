"""The doctor's sections of the report."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..doctor import Examination
from ..formatting import percent
from ..plots import gradient_flow, memory
from .section import Lines, Picture, Section


def flow(examination: Examination) -> Iterator[Section]:
    """Show gradients and memory over time."""
    parts = []
    if any(layer.gradient for layer in examination.layers):
        caption = _faded(examination)
        parts.append(
            Picture(
                "gradient-flow",
                gradient_flow(examination),
                caption,
                f"Norm of the gradient of the loss by the hidden state, against time steps before the end. {caption}",
            )
        )
    if (measured := examination.memory) is not None:
        caption = (
            f"{percent(measured.heard)} of the steps change the logits by more than 1 % of the largest change, all of "
            f"them within the last {measured.steps:,} of {measured.time:,}."
            if measured.steps
            else "No single step's input changes the logits."
        )
        parts.append(
            Picture(
                "memory",
                memory(examination),
                caption,
                f"Change of the logits when one step's input is replaced, against steps before the end. {caption}",
            )
        )
    if parts:
        yield Section(
            "How far back does it learn and remember?",
            "Training works through gradients that flow back in time: where they vanish, the model does not learn from "
            "earlier steps; where they explode, training is unstable. If a step matters, replacing its input should "
            "change the logits.",
            parts,
        )


def _faded(examination: Examination) -> str:
    layer = examination.layers[0]
    gradient = [value for value in layer.gradient if not math.isnan(value)]
    if not gradient:
        return f"In {layer.title} all gradients are NaN: see what the doctor says."
    first, last = gradient[-1], gradient[0]
    if not last > 0:
        return f"In {layer.title} the gradient at the last step is 0."
    return (
        f"In {layer.title} the gradient at the first of {len(gradient):,} steps is {first / last:.2g} times that at "
        "the last."
    )


def findings(examination: Examination) -> Iterator[Section]:
    """List what looks wrong, and what helps."""
    parts = [Lines(examination.lines, marked=True)] if examination.findings else [Lines(["Nothing looks wrong."])]
    lead = (
        f"The doctor examined gradients, units, memory, inputs and the learning curves on {examination.sequences:,} "
        "sequences. Each problem is listed with its numbers and the flags of unroll train that may help."
        if examination.sequences
        else "Without data, the doctor could only examine the weights and the stored learning curves."
    )
    if examination.skipped:
        parts.append(Lines([f"Not examined: {line}." for line in examination.skipped]))
    yield Section(
        "What the doctor says",
        lead,
        parts,
    )
