"""Read, check and write the config.json of a run's folder."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from ..config import RECIPES, DataConfig, ModelConfig, Recipe, TrainConfig
from ..data.preparation import Preparation
from ..errors import RunError
from ..formatting import shown
from ..models.classifier import SequenceClassifier
from ..validation import CONFIG, check_choice, check_run, check_whole
from .folder import FORMAT, TOKENIZER, first_line, read_json, write, write_json
from .plan import Plan


@dataclass(frozen=True)
class RunConfig:
    """The content of a run's config.json: all that prediction needs, and the settings of the training.

    Attributes:
        unroll: version of unroll that made the run
        torch: version of torch
        python: version of Python
        input_size: features per time step of the data
        num_classes: number of classes
        model: settings of the model; the backend is "auto", as the weights do not depend on it
        preparation: turns raw examples into model input; the tokenizer is in a file of its own
        vocabulary_size: number of tokens; 0 if the examples are not texts
        ngram_buckets: number of vectors that n-grams of words share; 0 if there are none
        fingerprint: of the training data
        plan: data and settings of the training, with absolute paths; None if the model was saved by hand
        tensorboard: whether the curves are also written for TensorBoard
    """

    unroll: str
    torch: str
    python: str
    input_size: int
    num_classes: int
    model: ModelConfig
    preparation: Preparation
    vocabulary_size: int
    ngram_buckets: int
    fingerprint: str
    plan: Plan | None = None
    tensorboard: bool = False

    @classmethod
    def of(
        cls,
        model: SequenceClassifier,
        preparation: Preparation,
        fingerprint: str,
        plan: Plan | None = None,
        tensorboard: bool = False,
    ) -> RunConfig:
        """Return the config of a model, with the versions installed here."""
        return cls(
            unroll=importlib.metadata.version("unroll-rnn"),
            torch=torch.__version__,
            python=platform.python_version(),
            input_size=model.input_size,
            num_classes=model.num_classes,
            model=replace(model.config, backend="auto"),
            preparation=preparation,
            vocabulary_size=model.vocabulary_size,
            ngram_buckets=model.ngram_buckets,
            fingerprint=fingerprint,
            plan=plan,
            tensorboard=tensorboard,
        )

    @property
    def train(self) -> TrainConfig | None:
        """Settings of the training; None if the model was saved by hand."""
        return self.plan.recipe.train if self.plan else None

    @property
    def ensemble(self) -> int:
        """The number of models that the run consists of."""
        return self.train.ensemble if self.train else 1

    def member(self, number: int) -> RunConfig:
        """Return the config of a member of the ensemble, a run of its own; ``number`` counts from 1."""
        assert self.plan is not None
        recipe = replace(self.plan.recipe, train=self.plan.recipe.train.member(number))
        return replace(self, plan=replace(self.plan, recipe=recipe))

    def to_dict(self) -> dict[str, Any]:
        """Return the content of config.json."""
        content = {
            "format": FORMAT,
            "unroll": self.unroll,
            "torch": self.torch,
            "python": self.python,
            "input_size": self.input_size,
            "num_classes": self.num_classes,
            "model": asdict(self.model),
            "preparation": self.preparation.to_dict()
            | {"tokens": self.vocabulary_size or None, "ngram_buckets": self.ngram_buckets},
        }
        if self.plan is None:
            return content | {"data": {"fingerprint": self.fingerprint}}
        recipe, folder = self.plan.recipe, self.plan.data_dir
        place = {"dir": None if folder is None else str(folder), "fingerprint": self.fingerprint}
        return content | {
            "recipe": recipe.name,
            "train": asdict(recipe.train),
            "backend": recipe.model.backend,
            "tensorboard": self.tensorboard,
            "data": {"name": self.plan.data, **asdict(self.plan.reading), **place},
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> RunConfig:
        """Return the config from the content of config.json; missing settings get their defaults.

        Raises:
            ValueError: a value is invalid or contradicts another; the message names it.
            KeyError, TypeError, AttributeError: a value is missing or has the wrong type.
        """
        for part in ("model", "preparation", "data", "train"):
            if not isinstance(content[part] if part != "train" else content.get(part, {}), dict):
                raise ValueError(f"{part} must be an object, got {shown(content[part])}")
        for name, least in (("input_size", 1), ("num_classes", 2)):
            check_whole(name, content[name], least)
        model, fingerprint = ModelConfig(**content["model"]), content["data"]["fingerprint"]
        config = cls(
            **{name: _text(name, content[name]) for name in ("unroll", "torch", "python")},
            input_size=content["input_size"],
            num_classes=content["num_classes"],
            model=model,
            preparation=Preparation.from_dict(content["preparation"]),
            vocabulary_size=content["preparation"].get("tokens") or 0,
            ngram_buckets=content["preparation"].get("ngram_buckets", 0),
            fingerprint=_text("fingerprint of the data", fingerprint),
            plan=_plan(content, model) if "train" in content else None,
            tensorboard=content.get("tensorboard") is True,
        )
        config._check_sizes()
        return config

    def _check_sizes(self) -> None:
        """Raise `ValueError` unless the sizes of preparation and model agree."""
        check_whole("tokens", self.vocabulary_size, 0)
        check_whole("ngram_buckets", self.ngram_buckets, 0)
        if self.ngram_buckets >= 2**31 or (self.ngram_buckets and not self.vocabulary_size):
            raise ValueError(
                f"ngram_buckets must be below {2**31}, and 0 without tokens, got {shown(self.ngram_buckets)}"
            )
        if len(self.preparation.classes) != self.num_classes:
            raise ValueError(f"{len(self.preparation.classes)} names for {shown(self.num_classes)} classes")
        image, scaling, missing = self.preparation.image, self.preparation.scaling, self.preparation.missing
        counts = {"scaling": len(scaling.mean)} if isinstance(scaling.mean, tuple) else {}
        if image is not None:
            counts["image"] = image.features
        if missing is not None:
            counts["missing"] = len(missing.means) * (2 if missing.mask else 1)
        for what, count in counts.items():
            if count != self.input_size and not self.vocabulary_size:
                raise ValueError(f"{what} is for {count} features, the model for {shown(self.input_size)}")
        usual = self.preparation.usual
        if usual is not None and not self.vocabulary_size:
            raw = 1 if image is not None else len(missing.means) if missing is not None else self.input_size
            if len(usual.levels) != raw:
                raise ValueError(f"usual is for {len(usual.levels)} features, the data has {raw}")
        if self.preparation.features and missing is not None and len(self.preparation.features) != len(missing.means):
            raise ValueError(f"{len(self.preparation.features)} names for {len(missing.means)} features")


def _plan(content: dict[str, Any], model: ModelConfig) -> Plan:
    train, data = TrainConfig(**content["train"]), content["data"]
    check_choice("recipe", content["recipe"], tuple(RECIPES))
    recipe = Recipe(content["recipe"], replace(model, backend=content["backend"]), train)
    reading = DataConfig(**{field.name: data[field.name] for field in fields(DataConfig) if field.name in data})
    folder = None if data["dir"] is None else _text("dir of the data", data["dir"])
    return Plan(_text("name of the data", data["name"]), folder, reading, recipe, data["fingerprint"])


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a string, got {shown(value)}")
    return value


def read_config(path: Path) -> RunConfig:
    """Return the config.json of a run's folder.

    Raises:
        RunError: the folder is not a run, has another format, or the file is broken.
    """
    check_run(path)
    file = path / CONFIG
    try:
        content = read_json(file)
        version = content["format"]
        if version == FORMAT:
            return RunConfig.from_dict(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); copy it again, or train again") from error
    made_by, ours = content.get("unroll"), importlib.metadata.version("unroll-rnn")
    older = "" if made_by == ours else f", or use unroll {shown(made_by)}, which made it"
    raise RunError(f"{file} has format {shown(version)}, expected {FORMAT}; train again{older}")


def read_plan(path: str | Path, data_dir: str | Path | None = None) -> Plan:
    """Return the data and settings of a run's training, finished or not.

    Args:
        path: the run's folder.
        data_dir: the data's folder now, if it has moved (default: where it was).

    Raises:
        RunError: the run does not exist, or was saved by hand.
    """
    plan = read_config(Path(path)).plan
    if plan is None:
        raise RunError(f"{path} was saved by hand, without the settings and data of its training: give flags instead")
    return plan.moved(data_dir)


def write_config(path: Path, config: RunConfig) -> None:
    """Write config.json into a folder, which makes it a run folder, and then the tokenizer of texts."""
    write_json(path / CONFIG, config.to_dict())
    if config.preparation.tokenizer is not None:
        write(path / TOKENIZER, config.preparation.tokenizer.json.encode())
