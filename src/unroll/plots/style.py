"""How all pictures look, in one place, and how they become files."""

from __future__ import annotations

import io
import warnings
from typing import Any

from cycler import cycler
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too (https://jfly.uni-koeln.de/color/).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
STYLE: Any = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "image.cmap": "gray",
}


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a class name in a script that the font does not have
        figure.savefig(buffer, format="png")
    return buffer.getvalue()
