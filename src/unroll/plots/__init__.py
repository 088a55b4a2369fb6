"""Pictures, as matplotlib figures: save them with ``figure.savefig``, or show them in a notebook."""

from .data import class_balance, class_means, figures, lengths, samples, typical
from .health import gradient_flow, memory
from .style import COLOURS, STYLE, png

__all__ = [
    "COLOURS",
    "STYLE",
    "class_balance",
    "class_means",
    "figures",
    "gradient_flow",
    "lengths",
    "memory",
    "png",
    "samples",
    "typical",
]
