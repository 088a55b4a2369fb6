"""Evaluate a model: accuracy, calibration, accuracy over time, attribution and tests of significance."""

from .anytime import Anytime, PartialAnswers, Stop, calibrate, evaluate_anytime, read_along
from .baseline import Baseline, baselines
from .calibration import Calibration, Reliability, fit_temperatures, reliability
from .metrics import ClassScore, Evaluation, Interval, evaluate, logits_of, predict
from .operating_point import OperatingPoint, Outcome, Share
from .predictions import Predictions
from .saliency import attribute
from .significance import difference, holm, mcnemar, two_proportions, welch, wilson
from .stepwise import Watched, watch

__all__ = [
    "Anytime",
    "Baseline",
    "Calibration",
    "ClassScore",
    "Evaluation",
    "Interval",
    "OperatingPoint",
    "Outcome",
    "PartialAnswers",
    "Predictions",
    "Reliability",
    "Share",
    "Stop",
    "Watched",
    "attribute",
    "baselines",
    "calibrate",
    "difference",
    "evaluate",
    "evaluate_anytime",
    "fit_temperatures",
    "holm",
    "logits_of",
    "mcnemar",
    "predict",
    "read_along",
    "reliability",
    "two_proportions",
    "watch",
    "welch",
    "wilson",
]
