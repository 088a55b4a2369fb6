"""The classifier, its layers and readout, and the ways to run it."""

from .classifier import SequenceClassifier
from .ensemble import Ensemble
from .front import Front, choose_frame
from .readout import Attention, Last, Max, Mean
from .stem import Stem, choose_stem_stride
from .stream import Stream
from .trace import Trace, Traced, trace_states

__all__ = [
    "Attention",
    "Ensemble",
    "Front",
    "Last",
    "Max",
    "Mean",
    "SequenceClassifier",
    "Stem",
    "Stream",
    "Trace",
    "Traced",
    "choose_frame",
    "choose_stem_stride",
    "trace_states",
]
