"""The classifier, its layers and readout, and the ways to run it."""

from .classifier import SequenceClassifier
from .readout import Attention, Last, Max, Mean
from .stream import Stream
from .trace import Trace, Traced, trace_states

__all__ = [
    "Attention",
    "Last",
    "Max",
    "Mean",
    "SequenceClassifier",
    "Stream",
    "Trace",
    "Traced",
    "trace_states",
]
