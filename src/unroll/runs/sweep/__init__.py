"""Many trainings that differ in a few settings, and the choice between them by validation accuracy."""

from .running import resume_sweep, run_sweep
from .state import Sweep, Trial, Tried, read_sweep

__all__ = ["Sweep", "Trial", "Tried", "read_sweep", "resume_sweep", "run_sweep"]
