"""Training a classifier: the loop, its results, the fused step, and where it is computed."""

from .loop import Training, fit
from .results import EpochResult

__all__ = ["EpochResult", "Training", "fit"]
