"""Draw matplotlib figures: save them with ``figure.savefig``, or show them in a notebook."""

from .cell import plot_cell
from .data import class_balance, class_means, figures, lengths, samples, typical
from .doctor import gradient_flow, memory
from .evaluation import anytime_curve, confusion, learning_curves, precision_recall, reliability_diagram
from .runs import Curve, Score, comparison_figure, side_by_side, sweep_figure, swept
from .saliency import saliency_curve, saliency_map, saliency_spans
from .stepwise import mistakes, reading
from .style import COLOURS, STYLE, png, svg

__all__ = [
    "COLOURS",
    "STYLE",
    "Curve",
    "Score",
    "anytime_curve",
    "class_balance",
    "class_means",
    "comparison_figure",
    "confusion",
    "figures",
    "gradient_flow",
    "learning_curves",
    "lengths",
    "memory",
    "mistakes",
    "plot_cell",
    "png",
    "precision_recall",
    "reading",
    "reliability_diagram",
    "saliency_curve",
    "saliency_map",
    "saliency_spans",
    "samples",
    "side_by_side",
    "svg",
    "sweep_figure",
    "swept",
    "typical",
]
