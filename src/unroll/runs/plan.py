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
        splits = load(self.data, data_dir=self.data_dir, scaling=self.recipe.scaling, **asdict(self.reading))
        if self.fingerprint not in (None, splits.train.fingerprint()):
            raise DataError(f"the run was trained on other data than {splits.source} holds now; start a new run")
        return splits

    def build(self, splits: Splits) -> SequenceClassifier:
        """Return a fresh model for the data, its weights drawn from the recipe's seed.

        Raises:
            ConfigError: a setting is out of range, or the data has no use for it.
        """
        size, usual = self.recipe.model.embedding_size, ModelConfig.embedding_size
        if size != usual and splits.train.kind != "texts":
            raise ConfigError(f"embedding_size is for texts, got {size} for data of numbers: leave it out")
        torch.manual_seed(self.recipe.train.seed)
        return build(self.recipe.model, splits.train.input_size, len(splits.classes), splits.train.vocabulary_size)
