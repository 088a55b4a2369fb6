"""Many trainings that differ in a few settings, and the choice between them by validation accuracy."""

from .axes import Range, read_values
from .running import resume_sweep, run_sweep
from .state import Sweep, Trial, Tried, read_sweep

__all__ = ["Range", "Sweep", "Trial", "Tried", "read_sweep", "read_values", "resume_sweep", "run_sweep"]
