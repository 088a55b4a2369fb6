"""Draw an examination."""

from __future__ import annotations

import math

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..doctor import Examination
from ..doctor.memory import HEARD
from ..errors import InputError
from .style import STYLE

SIZE = (4.6, 3.0)  # inches, a column of a page
MARKED = 40  # up to this number, each point is marked


def gradient_flow(examination: Examination) -> Figure:
    """Draw the gradient against the time step, a line for each layer and direction.

    Args:
        examination: of a model on data. Steps at which a gradient is 0 or not finite are left out.

    Raises:
        InputError: the examination had no data, so no gradient was measured.
    """
    if not any(layer.gradient for layer in examination.layers):
        raise InputError("the examination has no gradients to draw, as it had no data; pass data to examine()")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        ax = figure.add_subplot()
        for layer in examination.layers:
            points = [(n, value) for n, value in enumerate(layer.gradient) if 0 < value < math.inf]
            style = "-" if layer.direction == "forward" else "--"
            marker = "." if len(points) <= MARKED else ""
            ax.plot([n for n, _ in points], [value for _, value in points], style, marker=marker, label=layer.title)
        ax.set_yscale("log")
        ax.set_xlabel("steps before the end")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylabel("‖∂loss/∂state‖ (nats per unit)")
        ax.set_title("gradient through time")
        if len(examination.layers) > 1:
            ax.legend(frameon=False)
        return figure


def memory(examination: Examination) -> Figure:
    """Draw how much each time step's input changes the logits, and the threshold from which it counts.

    Args:
        examination: of a model on data.

    Raises:
        InputError: no memory was measured.
    """
    measured = examination.memory
    if measured is None:
        raise InputError("the examination has no memory to draw, as it had no data; pass data to examine()")
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        ax = figure.add_subplot()
        effects = zip(measured.offsets, measured.effects, strict=True)
        points = [(n, effect) for n, effect in effects if 0 < effect < math.inf]
        ax.plot([n for n, _ in points], [effect for _, effect in points], marker=".", label="one step replaced")
        if points:
            level = HEARD * max(effect for _, effect in points)
            ax.axhline(level, color="C5", linestyle=":", label=f"{HEARD:.0%} of the largest")
        ax.set_yscale("log")
        ax.set_xlabel("steps before the end")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_ylabel("mean change of the logits")
        ax.set_title(f"memory: {measured.heard:.0%} of {measured.time:,} steps affect the logits")
        ax.legend(frameon=False)
        return figure
