"""Runs as folders: train, resume, save, load, compare and sweep."""

from .compare import Comparison, Group, Verdict, compare_runs
from .compare_folds import FoldComparison, compare_cross_validations
from .crossval import CrossValidation, Fold, OutOfFold, cross_validate, read_cross_validation, resume_cross_validation
from .data import TestData, load_test, load_train
from .execute import resume_run, train_run
from .record import Record, read_record
from .storage import Run, load_run, save

__all__ = [
    "Comparison",
    "CrossValidation",
    "Fold",
    "FoldComparison",
    "Group",
    "OutOfFold",
    "Record",
    "Run",
    "TestData",
    "Verdict",
    "compare_cross_validations",
    "compare_runs",
    "cross_validate",
    "load_run",
    "load_test",
    "load_train",
    "read_cross_validation",
    "read_record",
    "resume_cross_validation",
    "resume_run",
    "save",
    "train_run",
]
