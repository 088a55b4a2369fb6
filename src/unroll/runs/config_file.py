"""config.json of a run's folder: read, checked and written in one place."""

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
from ..validation import check_choice, check_whole
from .folder import CONFIG, FORMAT, TOKENIZER, first_line, read_json, write, write_json
from .plan import Plan


@dataclass(frozen=True)
class RunConfig:
    """What a run's config.json says: all that prediction needs, and what was trained on what.

    Attributes:
        unroll: version that made the run
        torch: version of torch that it was made with
        python: version of Python that it was made with
        input_size: features per time step of the data
        num_classes: of the model
        model: its settings; which backend computed it is no property of the weights, so that is "auto"
        preparation: what turns raw examples into model input; read from the file it has no tokenizer, which has its own
        vocabulary_size: how many tokens there are; 0 where examples are no texts
        fingerprint: of the data that the model was trained on
        plan: what was trained on what, its paths absolute; None if the model was saved by hand
        tensorboard: whether the curves are written for TensorBoard too
    """

    unroll: str
    torch: str
    python: str
    input_size: int
    num_classes: int
    model: ModelConfig
    preparation: Preparation
    vocabulary_size: int
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
        """Return what is to be written about a model, made with what is installed here."""
        return cls(
            unroll=importlib.metadata.version("unroll-rnn"),
            torch=torch.__version__,
            python=platform.python_version(),
            input_size=model.input_size,
            num_classes=model.num_classes,
            model=replace(model.config, backend="auto"),
            preparation=preparation,
            vocabulary_size=model.vocabulary_size,
            fingerprint=fingerprint,
            plan=plan,
            tensorboard=tensorboard,
        )

    @property
    def train(self) -> TrainConfig | None:
        """Settings of the training; None if the model was saved by hand."""
        return self.plan.recipe.train if self.plan else None

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
            "preparation": self.preparation.to_dict() | {"tokens": self.vocabulary_size or None},
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
        """Return what `to_dict` made a dict of; settings that are not in it have their defaults.

        Raises:
            ValueError: a value cannot be, or contradicts another; says which.
            KeyError, TypeError, AttributeError: something is missing, or of another type.
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
            fingerprint=_text("fingerprint of the data", fingerprint),
            plan=_plan(content, model) if "train" in content else None,
            tensorboard=content.get("tensorboard") is True,
        )
        config._check_sizes()
        return config

    def _check_sizes(self) -> None:
        """Raise `ValueError` unless what goes into the model, and what comes out, has its sizes."""
        check_whole("tokens", self.vocabulary_size, 0)
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
        raise ValueError(f"{name} must be a text, got {shown(value)}")
    return value


def read_config(path: Path) -> RunConfig:
    """Return what the config.json of a run's folder says.

    Raises:
        RunError: no run, or one of another format; or the file is broken.
    """
    file = path / CONFIG
    if not file.is_file():
        raise RunError(f"{path} is no run folder: it has no {CONFIG}")
    try:
        content = read_json(file)
        version = content["format"]
        if version == FORMAT:
            return RunConfig.from_dict(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); copy it again, or train again") from error
    made_by = f"unroll {shown(content.get('unroll'))}"
    raise RunError(
        f"{file} has format {shown(version)}, expected {FORMAT}; train anew, or use {made_by}, which made it"
    )


def read_plan(path: str | Path, data_dir: str | Path | None = None) -> Plan:
    """Return what a run, finished or not, was to train on what.

    Args:
        path: the run's folder.
        data_dir: where the data is now, if it has moved (default: where it was).

    Raises:
        RunError: no such run, or it does not say.
    """
    plan = read_config(Path(path)).plan
    if plan is None:
        raise RunError(f"{path} was saved by hand and does not say how it was trained, or on what: give flags instead")
    return plan.moved(data_dir)


def write_config(path: Path, config: RunConfig) -> None:
    """Write config.json into a run's folder, which makes it one, and then the tokenizer of texts."""
    write_json(path / CONFIG, config.to_dict())
    if config.preparation.tokenizer is not None:
        write(path / TOKENIZER, config.preparation.tokenizer.json.encode())
