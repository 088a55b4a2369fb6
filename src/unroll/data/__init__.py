"""Data sets: compact tensors with everything that turns them into model input."""

from .catalog import load
from .describe import Description, FeatureDescription, PartDescription, describe_data
from .preparation import ImageFormat, Missing, Preparation, Scaling
from .sequences import Batch, SequenceData
from .splits import Splits
from .time_steps import TimeSteps
from .tokenizer import Tokenizer
from .usual import Usual
from .vocabulary import WordDescription

__all__ = [
    "Batch",
    "Description",
    "FeatureDescription",
    "ImageFormat",
    "Missing",
    "PartDescription",
    "Preparation",
    "Scaling",
    "SequenceData",
    "Splits",
    "TimeSteps",
    "Tokenizer",
    "Usual",
    "WordDescription",
    "describe_data",
    "load",
]
