"""Settings as frozen, validated dataclasses, and the recipes made of them. No torch here.

The command line's flags are the fields of `DataConfig`, `ModelConfig`, `TrainConfig` and `OperatingConfig`; their help
is the text there.
"""

from .axes import Range, read_values
from .data import ColourName, DataConfig, LinesName, MissingName, Read, TokenizerName
from .model import Backend, Init, ModelConfig, ScalingName
from .operating import OperatingConfig
from .recipes import OF_KIND, RECIPES, Recipe, RecipeName, choose_settings
from .training import Metric, TrainConfig

__all__ = [
    "OF_KIND",
    "RECIPES",
    "Backend",
    "ColourName",
    "DataConfig",
    "Init",
    "LinesName",
    "Metric",
    "MissingName",
    "ModelConfig",
    "OperatingConfig",
    "Range",
    "Read",
    "Recipe",
    "RecipeName",
    "ScalingName",
    "TokenizerName",
    "TrainConfig",
    "choose_settings",
    "read_values",
]
