"""The data and settings of a training, known before the data is loaded and stored in config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from ..cells import CELLS, Cell
from ..cells.trial import try_step
from ..config import DataConfig, ModelConfig, Recipe, choose_settings
from ..data.catalog import load
from ..data.splits import Splits
from ..errors import ConfigError, DataError
from ..models.classifier import SequenceClassifier, build
from ..models.front import choose_frame
from ..models.stem import choose_stem_stride

WORK = 2.5e11  # multiplications of a training, forwards: half a minute on two cores
FEWEST_STEPS = 100
FEW = 200  # training series up to which the recipe for series holds none out: a tenth of them could judge nothing


@dataclass(frozen=True)
class Plan:
    """The data and settings of a training.

    Attributes:
        data: name or path for `unroll.load`
        data_dir: the folder to search first for it
        reading: settings of how to read it
        recipe: the settings of model and training
        fingerprint: of the training data, if already known
        cell: the class itself, where that is not looked up by its name
    """

    data: str
    data_dir: str | Path | None
    reading: DataConfig
    recipe: Recipe
    fingerprint: str | None = None
    cell: type[Cell] | None = None

    def moved(self, data_dir: str | Path | None) -> Plan:
        """Return the plan with its data in ``data_dir``; None keeps the old folder if it still exists."""
        known = self.data_dir if self.data_dir and Path(self.data_dir).is_dir() else None
        return replace(self, data_dir=data_dir or known)

    def load(self) -> Splits:
        """Load the data.

        Raises:
            DataError: the data is missing, broken, or has another fingerprint.
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

    def chosen(self, splits: Splits, recipe: str | None, settings: Mapping[str, Any]) -> Plan:
        """Return the plan with the recipe of the kind of its data, unless ``recipe`` names one, and ``settings``.

        Of few series the recipe for them holds none out: too few would be left to judge by, and they are needed.
        """
        _, chosen = choose_settings(recipe, settings, splits.train.kind)
        needs_some = chosen.train.patience or chosen.train.metric or chosen.train.keep == "best"
        if chosen.name == "series" and "val_fraction" not in settings and not needs_some and holds_none_out(splits):
            chosen = chosen.changed(val_fraction=0.0)
        plan = replace(self, recipe=chosen)
        if chosen.name in ("series", "text") and "min_steps" not in settings:
            plan = replace(plan, recipe=chosen.changed(min_steps=plan.affordable_steps(splits)))
        return plan

    def affordable_steps(self, splits: Splits) -> int:
        """Return how many training steps the recipe takes at least: fewer of what is slow to read."""
        train, data = self.recipe.train, splits.train
        batch = min(train.batch_size, len(data))
        length = data.time if batch == len(data) else int(data.steps_of_each.median())  # batches are of like length
        readings = batch * (2 if train.consistency else 1)
        return self.build(splits).affordable(length, WORK / readings, FEWEST_STEPS, train.min_steps)

    def build(self, splits: Splits) -> SequenceClassifier:
        """Return a new model for the data; its weights are initialised with the recipe's seed.

        Raises:
            ConfigError: a setting is out of range, or does not apply to the data, or the user's own cell fails.
        """
        config, train = self.recipe.model, splits.train
        if config.embedding_size != ModelConfig.embedding_size and train.kind != "texts":
            raise ConfigError(
                f"embedding_size applies to texts, got {config.embedding_size} for numeric data: leave it out"
            )
        if config.scaling in ("series", "both") and train.kind != "series":
            raise ConfigError(f"scaling {config.scaling} applies to series, got {train.kind}: use training")
        if config.frame != 1 and train.kind == "texts":
            raise ConfigError(f"frame applies to numeric data, got {config.frame} for texts: leave it out")
        if config.stem != "none" and train.kind == "texts":
            raise ConfigError(f"stem applies to numeric data, got {config.stem} for texts: leave it out")
        if config.frame == "auto":
            config = replace(config, frame=self.frame(splits)[0])
        if config.stem != "none" and config.stem_stride == "auto":
            config = replace(config, stem_stride=self.stem_stride(splits)[0])
        torch.manual_seed(self.recipe.train.seed)
        sizes = len(splits.classes), train.vocabulary_size, train.preparation.mask_size, train.ngram_buckets
        model = build(config, train.input_size, *sizes, cell=self.cell)
        for cell in model.modules():
            if isinstance(cell, Cell) and type(cell) not in CELLS.values():
                try_step(cell)
        return model

    @staticmethod
    def frame(splits: Splits) -> tuple[int, str]:
        """Return the frame that "auto" chooses for the training data, and the reason."""
        return choose_frame(float(splits.train.steps_of_each.median()))

    @staticmethod
    def stem_stride(splits: Splits) -> tuple[int, str]:
        """Return the stride of a stem that "auto" chooses for the training data, and the reason."""
        return choose_stem_stride(float(splits.train.steps_of_each.median()))


def holds_none_out(splits: Splits) -> bool:
    """Return whether series are too few to hold some of them out for validation."""
    return splits.val is None and splits.train.kind == "series" and len(splits.train) <= FEW


def why_none_can_be(splits: Splits) -> str:
    """Return why no sequences could be held out for validation, in words."""
    origins = splits.train.origins
    if origins is not None and origins.when is not None:
        return "all begin at the same time"
    if origins is not None and origins.undivided is not None:
        return f"each {origins.whole} has a class that no other has"
    return "no class has two"
