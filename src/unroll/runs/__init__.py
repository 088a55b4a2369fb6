"""Runs as folders: train, resume, save, load, compare, sweep, list and remove.

Names are loaded when they are first used, so that runs are listed without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compare import Comparison, Group, Verdict, compare_runs
    from .compare_folds import FoldComparison, compare_cross_validations
    from .crossval import (
        CrossValidation,
        Fold,
        OutOfFold,
        cross_validate,
        read_cross_validation,
        resume_cross_validation,
    )
    from .data import TestData, load_test, load_train
    from .execute import resume_run, train_run
    from .listing import Entry, list_runs, remove_runs
    from .operating import choose_operating_point, drop_operating_point, keep_operating_point
    from .predicted import answer_files
    from .record import Record, read_record
    from .storage import Run, load_run, save

_HOME = {
    "compare": ("Comparison", "Group", "Verdict", "compare_runs"),
    "compare_folds": ("FoldComparison", "compare_cross_validations"),
    "crossval": (
        *("CrossValidation", "Fold", "OutOfFold", "cross_validate", "read_cross_validation"),
        "resume_cross_validation",
    ),
    "data": ("TestData", "load_test", "load_train"),
    "execute": ("resume_run", "train_run"),
    "listing": ("Entry", "list_runs", "remove_runs"),
    "operating": ("choose_operating_point", "drop_operating_point", "keep_operating_point"),
    "predicted": ("answer_files",),
    "record": ("Record", "read_record"),
    "storage": ("Run", "load_run", "save"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "Comparison",
    "CrossValidation",
    "Entry",
    "Fold",
    "FoldComparison",
    "Group",
    "OutOfFold",
    "Record",
    "Run",
    "TestData",
    "Verdict",
    "answer_files",
    "choose_operating_point",
    "compare_cross_validations",
    "compare_runs",
    "cross_validate",
    "drop_operating_point",
    "keep_operating_point",
    "list_runs",
    "load_run",
    "load_test",
    "load_train",
    "read_cross_validation",
    "read_record",
    "remove_runs",
    "resume_cross_validation",
    "resume_run",
    "save",
    "train_run",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    return value
