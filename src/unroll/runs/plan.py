"""What is to be trained on what: known before anything is loaded, and kept in a run's config.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from ..config import DataConfig, ModelConfig, Recipe
from ..data.catalog import load
from ..data.splits import Splits
from ..errors import ConfigError, DataError
from ..models.classifier import SequenceClassifier, build
from ..models.front import choose_frame


@dataclass(frozen=True)
class Plan:
    """What is to be trained on what.

    Attributes:
        data: name or path for `unroll.load`
        data_dir: where to look for it first
        reading: how it is read
        recipe: the settings of model and training
        fingerprint: of the training data, if that is known already
    """

    data: str
    data_dir: str | Path | None
    reading: DataConfig
    recipe: Recipe
    fingerprint: str | None = None

    def moved(self, data_dir: str | Path | None) -> Plan:
        """Return the plan with its data in ``data_dir``; None is where it was, if that is a folder here and now."""
        known = self.data_dir if self.data_dir and Path(self.data_dir).is_dir() else None
        return replace(self, data_dir=data_dir or known)

    def load(self) -> Splits:
        """Load the data.

        Raises:
            DataError: it is not there, is broken, or is not what the fingerprint is of.
        """
        scaling = self.recipe.model.scaling
        splits = load(
            self.data,
            data_dir=self.data_dir,
            scaling="unit" if scaling == "unit" else "training",
            **asdict(self.reading),
        )
        if self.fingerprint not in (None, splits.train.fingerprint()):
            raise DataError(f"the run was trained on other data than {splits.source} holds now; start a new run")
        return splits

    def build(self, splits: Splits) -> SequenceClassifier:
        """Return a fresh model for the data, its weights drawn from the recipe's seed.

        Raises:
            ConfigError: a setting is out of range, or the data has no use for it.
        """
        config, train = self.recipe.model, splits.train
        if config.embedding_size != ModelConfig.embedding_size and train.kind != "texts":
            raise ConfigError(
                f"embedding_size is for texts, got {config.embedding_size} for data of numbers: leave it out"
            )
        if config.scaling in ("series", "both") and train.kind != "series":
            raise ConfigError(f"scaling {config.scaling} is for series, got {train.kind}: use training")
        if config.frame != 1 and train.kind == "texts":
            raise ConfigError(f"frame is for numbers, got {config.frame} for texts: leave it out")
        if config.frame == "auto":
            config = replace(config, frame=self.frame(splits)[0])
        torch.manual_seed(self.recipe.train.seed)
        sizes = len(splits.classes), train.vocabulary_size, train.preparation.mask_size
        return build(config, train.input_size, *sizes)

    @staticmethod
    def frame(splits: Splits) -> tuple[int, str]:
        """Return what "auto" makes of the time steps of the training data, and the reason."""
        return choose_frame(float(splits.train.steps_of_each.median()))
