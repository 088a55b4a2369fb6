"""Runs as folders: train, resume, save, load, compare and sweep."""

from .compare import Comparison, Group, Verdict, compare_runs
from .data import TestData, load_test, load_train
from .execute import resume_run, train_run
from .operating import choose_operating_point, drop_operating_point, keep_operating_point
from .record import Record, read_record
from .storage import Run, load_run, save

__all__ = [
    "Comparison",
    "Group",
    "Record",
    "Run",
    "TestData",
    "Verdict",
    "choose_operating_point",
    "compare_runs",
    "drop_operating_point",
    "keep_operating_point",
    "load_run",
    "load_test",
    "load_train",
    "read_record",
    "resume_run",
    "save",
    "train_run",
]
