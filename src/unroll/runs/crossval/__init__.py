"""Cross-validation: every fold of the data is tested on by a run that was trained on the others."""

from .out_of_fold import NAMED_BY
from .running import CrossvalEvent, cross_validate, resume_cross_validation
from .state import CrossValidation, Fold, OutOfFold, read_cross_validation

__all__ = [
    "NAMED_BY",
    "CrossValidation",
    "CrossvalEvent",
    "Fold",
    "OutOfFold",
    "cross_validate",
    "read_cross_validation",
    "resume_cross_validation",
]
