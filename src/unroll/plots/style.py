"""The style of all figures, and their conversion to files and parts of pages."""

from __future__ import annotations

import io
import re
import warnings
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure

from ..formatting import printable

# Okabe and Ito's colours, distinct for colour-blind readers too (https://jfly.uni-koeln.de/color/).
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
INK = "#1b1c1d"  # of text and axes; in a page, the page's text colour replaces it
STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.dpi": 150,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "image.cmap": "gray",
    "svg.fonttype": "path",  # a page looks the same wherever it is opened
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}
WIDTH = 4.6  # inches; in a page on a phone, as wide as the screen with legible letters


def label(name: str) -> str:
    """Return a name as text of a figure: printable, with dollar signs escaped so that they begin no formula."""
    return printable(name).replace("$", r"\$")


def png(figure: Figure) -> bytes:
    """Return a figure as the bytes of a PNG file."""
    return _saved(figure, format="png")


def svg(figure: Figure, name: str) -> str:
    """Return a figure as an ``<svg>`` element for a page, without background, with text in the page's colour.

    Args:
        figure: what to draw.
        name: letters, digits and dashes, unique on the page; prefixes the ids in the figure.
    """
    with mpl.rc_context({"svg.hashsalt": name}):
        drawn = _saved(figure, format="svg", transparent=True, metadata={"Date": None}).decode()
    drawn = drawn[drawn.index("<svg") :].replace(INK, "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(
        r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r"\1", drawn, count=1
    )  # so that the width follows the page
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", drawn)


def _saved(figure: Figure, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a class name in a script that the font lacks
        if engine := figure.get_layout_engine():
            engine.execute(figure)  # once here: savefig would lay out by drawing everything twice
            figure.set_layout_engine(None)
        figure.savefig(buffer, **options)
    return buffer.getvalue()
