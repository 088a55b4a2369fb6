"""Named sets of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, cast

from ..errors import ConfigError, did_you_mean
from ..formatting import quoted
from ..validation import check_choice
from .data import DataConfig
from .model import ModelConfig
from .training import TrainConfig

RecipeName = Literal["images", "series", "text", "best", "tutorial"]
OF_KIND: dict[str, RecipeName] = {"images": "images", "series": "series", "texts": "text"}


@dataclass(frozen=True)
class Recipe:
    """A named set of settings: the model and its training.

    Attributes:
        name: the key in `RECIPES`
        model: settings of the classifier
        train: settings of its training
    """

    name: RecipeName = "images"
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def changed(self, **settings: Any) -> Recipe:
        """Return this recipe with fields of its `ModelConfig` and `TrainConfig` replaced.

        Raises:
            ConfigError: a name is not a setting, a value is out of range, or two of them contradict each other.
        """
        if settings.get("training_steps") or settings.get("budget"):  # in place of the recipe's epochs
            settings = {"epochs": None, **settings}
        if settings.get("causal"):
            scaling = "unit" if self.model.scaling == "unit" else "training"
            settings = {"bidirectional": False, "scaling": scaling, "stem": "none", **settings}
        settings = _frames_or_stem(self.model, settings)
        model = {f.name for f in fields(ModelConfig)}
        train = {f.name for f in fields(TrainConfig)}
        known = model | train | {f.name for f in fields(DataConfig)}
        for name in settings:
            if name not in model | train:
                raise ConfigError(f"{quoted(name)} is not a setting{did_you_mean(name, known)}")
        changed = replace(
            self,
            model=replace(self.model, **{k: v for k, v in settings.items() if k in model}),
            train=replace(self.train, **{k: v for k, v in settings.items() if k in train}),
        )
        if changed.train.consistency and not changed.model.drops_of_each:
            raise ConfigError(
                f"consistency {changed.train.consistency:g} compares two readings with different dropout, but dropout, "
                "embedding_dropout and token_dropout are 0: set consistency to 0 too, or one of them above 0"
            )
        return changed


def _frames_or_stem(model: ModelConfig, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with what gives way to those given: a stem replaces a recipe's frames, and frames its stem."""
    has_frames = settings.get("frame", 1) != 1 or settings.get("hop", "auto") not in ("auto", 1)
    if settings.get("stem", "none") != "none":
        return {"frame": 1, "hop": "auto", **settings}
    if model.stem != "none" and (has_frames or settings.get("stem") == "none"):
        return {"stem": "none", "stem_stride": "auto", "frame": "auto", **settings}
    return settings


def choose_settings(
    recipe: str | None, settings: Mapping[str, Any], kind: str | None = None
) -> tuple[DataConfig, Recipe]:
    """Return how to read the data, and the recipe with its settings replaced.

    Args:
        recipe: a key of `RECIPES`; None for the one of the kind of data, a key of `OF_KIND`.
        settings: fields of `DataConfig`, `ModelConfig` and `TrainConfig`.
        kind: of the data; None as long as it is unknown: then ``settings`` must be right for one of the kinds at least.

    Raises:
        ConfigError: a name is not a setting, or a value is out of range.
    """
    if recipe is not None:
        check_choice("recipe", recipe, tuple(RECIPES))
    names = (recipe,) if recipe else (OF_KIND[kind],) if kind else tuple(OF_KIND.values())
    reading = {f.name for f in fields(DataConfig)}
    data = DataConfig(**{name: value for name, value in settings.items() if name in reading})
    own = {name: value for name, value in settings.items() if name not in reading}
    errors = list[ConfigError]()
    for name in names:
        try:
            return data, RECIPES[cast(RecipeName, name)].changed(**own)
        except ConfigError as error:
            errors.append(error)
    raise errors[0]


RECIPES: dict[RecipeName, Recipe] = {
    "images": Recipe(),
    # For series: chosen by cross-validation on training parts, see docs/series.md.
    "series": Recipe(
        name="series",
        model=ModelConfig(cell="gru", hidden_size=64, bidirectional=True, readout="max", stem="conv", scaling="both"),
        train=TrainConfig(
            min_steps=600, lr=5e-3, weight_decay=0.05, label_smoothing=0.05, noise=0.1, gain=0.1, drift=0.2
        ),
    ),
    # For accuracy: eight times as many epochs, no validation split, and more weight decay against overfitting.
    "best": Recipe(name="best", train=TrainConfig(epochs=80, weight_decay=0.1, val_fraction=0.0)),
    # For texts: bidirectional, the maximum over time for each unit, dropout of whole tokens and of half of each vector,
    # and two readings of each batch, whose answers are to agree whatever is dropped.
    "text": Recipe(
        name="text",
        model=ModelConfig(
            cell="gru",
            hidden_size=128,
            bidirectional=True,
            readout="max",
            embedding_size=128,
            token_dropout=0.1,
            embedding_dropout=0.5,
        ),
        train=TrainConfig(
            min_epochs=4, min_steps=400, batch_size=32, weight_decay=0.1, label_smoothing=0.1, consistency=1.0
        ),
    ),
    # As in the tutorial: torch's initial weights, plain Adam on inputs in [0, 1], no validation split, no clipping.
    "tutorial": Recipe(
        name="tutorial",
        model=ModelConfig(init="torch", scaling="unit"),
        train=TrainConfig(
            epochs=10,
            lr=1e-3,
            optimizer="adam",
            weight_decay=0.0,
            schedule="constant",
            clip_norm=0.0,
            val_fraction=0.0,
        ),
    ),
}
