"""Pictures, as matplotlib figures: save them with ``figure.savefig``, or show them in a notebook."""

from .data import class_balance, class_means, figures, lengths, samples, typical
from .several import Curve, Score, side_by_side, swept
from .style import COLOURS, STYLE, png

__all__ = [
    "COLOURS",
    "STYLE",
    "Curve",
    "Score",
    "class_balance",
    "class_means",
    "figures",
    "lengths",
    "png",
    "samples",
    "side_by_side",
    "swept",
    "typical",
]
