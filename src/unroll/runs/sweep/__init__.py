"""Hyper-parameter sweeps: train with several settings and choose by validation accuracy."""

from ..trials import Trial, Tried
from .running import resume_sweep, run_sweep
from .state import Sweep, read_sweep

__all__ = ["Sweep", "Trial", "Tried", "read_sweep", "resume_sweep", "run_sweep"]
