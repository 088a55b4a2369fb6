"""Training a classifier: the loop, its results, the fused step, and where it is computed."""

from .fitting import fit
from .loop import Training
from .results import EpochResult

__all__ = ["EpochResult", "Training", "fit"]
