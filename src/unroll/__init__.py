"""unroll: recurrent sequence classifiers for PyTorch.

>>> import unroll
>>> splits = unroll.load("mnist-sample")
>>> splits.train.x.shape
torch.Size([4000, 28, 28])

Names are loaded when they are first used, so that ``import unroll`` and the command line's help need no torch.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import cells, compiler, data, doctor, errors, lessons, plots, scan, testing
    from .cells import GRU, LRU, LSTM, RNN, Cell, IndRNN, MinGRU, MinLSTM
    from .config import RECIPES, ModelConfig, Range, Recipe, TrainConfig
    from .data.catalog import load
    from .data.sequences import SequenceData
    from .data.splits import Splits
    from .errors import ConfigError, DataError, InputError, RunError, TrainingError, UnrollError, UnrollWarning
    from .estimator import RNNClassifier
    from .evaluation.anytime import calibrate, evaluate_anytime, read_along
    from .evaluation.calibration import Calibration
    from .evaluation.metrics import Evaluation, evaluate, predict
    from .evaluation.saliency import attribute
    from .export import export_html
    from .models.classifier import SequenceClassifier
    from .runs.compare import Comparison, compare_runs
    from .runs.crossval import CrossValidation, cross_validate, resume_cross_validation
    from .runs.execute import resume_run, train_run
    from .runs.storage import Run, load_run, save
    from .runs.sweep import Sweep, resume_sweep, run_sweep
    from .training.fitting import fit
    from .training.loop import Training
    from .training.results import EpochResult

    __version__: str

# No public name equals a submodule's name, as importing the submodule would replace it.
_HOME = {
    "config": ("RECIPES", "ModelConfig", "Range", "Recipe", "TrainConfig"),
    "errors": (
        *("ConfigError", "DataError", "InputError", "RunError", "TrainingError", "UnrollError", "UnrollWarning"),
    ),
    "data.catalog": ("load",),
    "data.sequences": ("SequenceData",),
    "data.splits": ("Splits",),
    "cells": ("GRU", "LRU", "LSTM", "RNN", "Cell", "IndRNN", "MinGRU", "MinLSTM"),
    "models.classifier": ("SequenceClassifier",),
    "estimator": ("RNNClassifier",),
    "evaluation.calibration": ("Calibration",),
    "evaluation.anytime": ("calibrate", "evaluate_anytime", "read_along"),
    "evaluation.metrics": ("Evaluation", "evaluate", "predict"),
    "export": ("export_html",),
    "training.fitting": ("fit",),
    "training.loop": ("Training",),
    "training.results": ("EpochResult",),
    "evaluation.saliency": ("attribute",),
    "runs.storage": ("Run", "load_run", "save"),
    "runs.execute": ("resume_run", "train_run"),
    "runs.compare": ("Comparison", "compare_runs"),
    "runs.crossval": ("CrossValidation", "cross_validate", "resume_cross_validation"),
    "runs.sweep": ("Sweep", "resume_sweep", "run_sweep"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_SUBMODULES = ("cells", "compiler", "data", "doctor", "errors", "lessons", "plots", "scan", "testing")

__all__ = [
    "GRU",
    "LRU",
    "LSTM",
    "RECIPES",
    "RNN",
    "Calibration",
    "Cell",
    "Comparison",
    "ConfigError",
    "CrossValidation",
    "DataError",
    "EpochResult",
    "Evaluation",
    "IndRNN",
    "InputError",
    "MinGRU",
    "MinLSTM",
    "ModelConfig",
    "RNNClassifier",
    "Range",
    "Recipe",
    "Run",
    "RunError",
    "SequenceClassifier",
    "SequenceData",
    "Splits",
    "Sweep",
    "TrainConfig",
    "Training",
    "TrainingError",
    "UnrollError",
    "UnrollWarning",
    "__version__",
    "attribute",
    "calibrate",
    "cells",
    "compare_runs",
    "compiler",
    "cross_validate",
    "data",
    "doctor",
    "errors",
    "evaluate",
    "evaluate_anytime",
    "export_html",
    "fit",
    "lessons",
    "load",
    "load_run",
    "plots",
    "predict",
    "read_along",
    "resume_cross_validation",
    "resume_run",
    "resume_sweep",
    "run_sweep",
    "save",
    "scan",
    "testing",
    "train_run",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        value: Any = importlib.metadata.version("unroll-rnn")
    elif name in _SUBMODULES:
        value = importlib.import_module(f".{name}", __name__)
    elif name in _MODULE_OF:
        value = getattr(importlib.import_module(f".{_MODULE_OF[name]}", __name__), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
