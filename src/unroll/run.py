"""The one road from settings to a finished run, and back from a run's folder to its model."""

from __future__ import annotations

import importlib.metadata
import io
import json
import math
import platform
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from .cells import CELLS
from .config import RECIPES, ModelConfig, Read, Recipe, RecipeName, TrainConfig, check_choice
from .data.catalog import load
from .data.preparation import Preparation
from .data.sequences import SequenceData, Splits
from .errors import DataError, RunError, TrainingError
from .evaluation import Evaluation, evaluate
from .folder import (
    CONFIG,
    EVALUATION,
    FORMAT,
    METRICS,
    RESUME,
    WEIGHTS,
    claim,
    first_line,
    read_config,
    write,
    write_json,
)
from .interrupt import deferred_interrupt
from .model import SequenceClassifier
from .train import EpochResult, Progress, Training, choose_device

CHECKPOINT_SECONDS = 30.0  # at most so much training is lost, besides what the end of an epoch saves


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder
        model: trained, in eval mode
        preparation: what turns raw examples into model input
        config: content of config.json
        evaluation: content of evaluation.json, or None if the model was saved by hand
    """

    path: Path
    model: SequenceClassifier
    preparation: Preparation
    config: dict[str, Any]
    evaluation: dict[str, Any] | None


@dataclass(frozen=True)
class Started:
    """Told once, before the first step.

    Attributes:
        path: the run's folder
        splits: the data
        training: about to run; ``training.history`` holds what was done before a resume
        recipe: the settings
    """

    path: Path
    splits: Splits
    training: Training
    recipe: Recipe


Event = Started | Progress | EpochResult


def train_run(
    data: str = "mnist-sample",
    *,
    recipe: RecipeName = "fast",
    read: Read = "rows",
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    watch: Callable[[Event], object] | None = None,
    **settings: Any,
) -> Run:
    """Load data, build a model, train it, evaluate it on the test part, and keep all of it in a folder.

    Args:
        data: name for `unroll.load` (default "mnist-sample").
        recipe: settings to start from, a key of `RECIPES` (default "fast").
        read: how an image becomes a sequence (default "rows").
        data_dir: where to look for the data first (default None).
        out: the run's folder (default ``runs/<data>-<cell>-<n>`` with the first free n).
        overwrite: replace a run that stands there (default False).
        watch: is called with each `Started`, `Progress` and `EpochResult` (default None).
        **settings: fields of `ModelConfig` and `TrainConfig` that differ from the recipe.

    Raises:
        InputError: a setting, the data or the folder will not do; nothing has been changed then.
        TrainingError: the loss is no longer finite; the folder keeps the metrics of the epochs before.
        KeyboardInterrupt: Ctrl-C; the folder keeps the state, for `resume_run`.
    """
    check_choice("recipe", recipe, tuple(RECIPES))
    chosen = RECIPES[recipe].changed(**settings)
    splits = load(data, read, data_dir, chosen.scaling)
    training = _prepare(splits, chosen)
    config = {
        **_model_config(training.model, splits.train.preparation),
        "recipe": chosen.name,
        "scaling": chosen.scaling,
        "train": asdict(chosen.train),
        "backend": chosen.model.backend,
        "data": {
            "name": data,
            "read": read,
            "dir": None if data_dir is None else str(Path(data_dir).expanduser().resolve()),
            "fingerprint": splits.train.fingerprint(),
        },
    }
    path = claim(out, overwrite, f"{data}-{chosen.model.cell}")
    write_json(path / CONFIG, config)
    return _train(Started(path, splits, training, chosen), watch)


def resume_run(
    path: str | Path, *, data_dir: str | Path | None = None, watch: Callable[[Event], object] | None = None
) -> Run:
    """Finish an interrupted `train_run`; on the same CPU the weights come out the same to the bit.

    Args:
        path: the run's folder.
        data_dir: where the data is now, if it has moved (default: where it was).
        watch: as in `train_run`.

    Raises:
        RunError: no such run, nothing to resume, or the data has changed.
    """
    path = Path(path)
    config = read_config(path)
    if (path / WEIGHTS).exists():
        raise RunError(f"{path} is finished: there is nothing to resume; start a new run to train longer")
    if "train" not in config or not (path / RESUME).exists():
        raise RunError(f"{path} cannot be resumed: it has no resume.pt; start it anew with --overwrite")
    try:
        model = ModelConfig(**config["model"] | {"backend": config["backend"]})
        recipe = Recipe(config["recipe"], model, TrainConfig(**config["train"]), config["scaling"])
        data = config["data"]
        wanted = (data["name"], data["read"], data_dir or _still_there(data["dir"]), recipe.scaling)
    except (KeyError, TypeError) as error:
        raise RunError(f"{path / CONFIG} is broken ({first_line(error)})") from error
    splits = load(*wanted)
    if splits.train.fingerprint() != data["fingerprint"]:
        raise RunError(f"{path} was trained on other data than {splits.source} holds now; start a new run")
    training = _prepare(splits, recipe)
    try:
        training.load_state_dict(torch.load(path / RESUME, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises about anything on a damaged file
        raise RunError(f"{path / RESUME} is broken ({first_line(error)}); start a new run") from error
    return _train(Started(path, splits, training, recipe), watch)


def save(model: SequenceClassifier, path: str | Path, *, data: SequenceData, overwrite: bool = False) -> None:
    """Save a model trained by hand as a run folder, for `load_run` and the command line.

    Args:
        model: any `SequenceClassifier` with a cell from `unroll.cells.CELLS`.
        path: folder to make.
        data: what the model was trained on; its preparation is saved too.
        overwrite: replace a run that stands there (default False).

    Raises:
        RunError: something else stands there, or the cell cannot be loaded again.
        DataError: the model's features or classes are not those of ``data``.
    """
    if model.config.cell not in CELLS:
        raise RunError(f"only models with a cell of {', '.join(CELLS)} can be saved, got {model.config.cell}")
    _check_fit(model, data)
    path = claim(path, overwrite, "")
    write_json(path / CONFIG, _model_config(model, data.preparation))
    _write_weights(path, model)


def _check_fit(model: SequenceClassifier, data: SequenceData) -> None:
    for what, of_model, of_data in (
        ("features", model.input_size, data.input_size),
        ("classes", model.num_classes, len(data.preparation.classes)),
    ):
        if of_model != of_data:
            raise DataError(f"model and data must have the same {what}, got {of_model} and {of_data}")


def load_run(path: str | Path, device: str = "cpu") -> Run:
    """Load a finished run.

    Args:
        path: its folder.
        device: where to put the model: "auto", "cpu", "cuda" or "mps" (default "cpu").

    Raises:
        RunError: no such run, unfinished, or broken; the message says which file.
    """
    path = Path(path)
    config = read_config(path)
    weights = path / WEIGHTS
    if not weights.exists() and not (path / RESUME).exists():
        raise RunError(f"{path} has no {WEIGHTS} and cannot be resumed: its training failed; train anew")
    if not weights.exists():
        raise RunError(f"{path} is not finished: run 'unroll train --resume {shlex.quote(str(path))}' first")
    try:
        model = _build(ModelConfig(**config["model"]), config["input_size"], config["num_classes"])
        tensors = safetensors.torch.load(weights.read_bytes())
        if {k: v.shape for k, v in tensors.items()} != {k: v.shape for k, v in model.state_dict().items()}:
            raise ValueError(f"{WEIGHTS} does not fit {CONFIG}")
        model.load_state_dict(tensors)
        preparation = Preparation.from_dict(config["preparation"])
        if len(preparation.classes) != model.num_classes:
            raise ValueError(f"{len(preparation.classes)} names for {model.num_classes} classes")
        evaluation = path / EVALUATION
        found = json.loads(evaluation.read_text("utf-8")) if evaluation.exists() else None
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, safetensors.SafetensorError) as error:
        raise RunError(f"{path} is broken ({first_line(error)}); copy it anew or train again") from error
    return Run(path, model.to(choose_device(device)[0]).eval(), preparation, config, found)


def load_test(run: Run, data: str | None = None, data_dir: str | Path | None = None) -> tuple[str, SequenceData]:
    """Return name and test part of a data set, prepared as the run's training data was.

    Args:
        run: a finished run.
        data: name for `unroll.load` (default: the set that the run was trained on).
        data_dir: where to look for it first (default: where the run found it).

    Raises:
        RunError: no data is given, and the run knows of none.
        DataError: the data cannot be loaded, or does not fit the run.
    """
    known = run.config.get("data", {})
    name = data or known.get("name")
    if name is None:
        raise RunError(f"{run.path} was saved without the name of its data; give one with --data")
    if data is None and data_dir is None:
        data_dir = _still_there(known["dir"])
    image = run.preparation.image
    splits = load(name, image.read if image else "rows", data_dir)
    return name, splits.test.prepared_as(run.preparation)


def _still_there(folder: str | None) -> str | None:
    """Return where the run found its data, if that is a folder here and now: runs move to other machines."""
    return folder if folder and Path(folder).is_dir() else None


def _build(config: ModelConfig, input_size: int, num_classes: int) -> SequenceClassifier:
    return SequenceClassifier(input_size, num_classes, **asdict(config))


def _prepare(splits: Splits, recipe: Recipe) -> Training:
    torch.manual_seed(recipe.train.seed)
    model = _build(recipe.model, splits.train.input_size, len(splits.classes))
    return Training(model, splits, recipe.train)


def _model_config(model: torch.nn.Module, preparation: Preparation) -> dict[str, Any]:
    assert isinstance(model, SequenceClassifier)
    # Which backend computed it is no property of the weights: a machine that lacks it must still load them.
    return {
        "format": FORMAT,
        "unroll": importlib.metadata.version("unroll-rnn"),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "input_size": model.input_size,
        "num_classes": model.num_classes,
        "model": asdict(model.config) | {"backend": "auto"},
        "preparation": preparation.to_dict(),
    }


def _train(started: Started, watch: Callable[[Event], object] | None) -> Run:
    path, training = started.path, started.training
    tell = watch or (lambda event: None)
    _checkpoint(path, training)
    tell(started)
    saved = time.monotonic()
    try:
        with deferred_interrupt() as interrupted:
            for event in training.events():
                due = time.monotonic() - saved > CHECKPOINT_SECONDS
                if isinstance(event, EpochResult) or due or interrupted():
                    _checkpoint(path, training)
                    saved = time.monotonic()
                tell(event)
                if interrupted():
                    raise KeyboardInterrupt
        test = evaluate(training.model, started.splits.test)
        if not math.isfinite(test.loss):
            raise TrainingError(f"the test loss is {test.loss}: training diverged")
    except TrainingError as error:
        (path / RESUME).unlink(missing_ok=True)  # it would only diverge again
        kept = f"; the metrics of {len(training.history)} epochs are in {path}" if training.history else ""
        raise TrainingError(f"{error}{kept}") from error
    _finish(path, training, test)
    return load_run(path, device=training.device.type)


def _checkpoint(path: Path, training: Training) -> None:
    buffer = io.BytesIO()
    torch.save(training.state_dict(), buffer)
    write(path / RESUME, buffer.getvalue())
    lines = (json.dumps(asdict(result), allow_nan=False) + "\n" for result in training.history)
    write(path / METRICS, "".join(lines).encode())


def _finish(path: Path, training: Training, test: Evaluation) -> None:
    write_json(path / EVALUATION, {"weights": training.kept, **test.to_dict()})
    assert isinstance(training.model, SequenceClassifier)
    _write_weights(path, training.model)
    (path / RESUME).unlink(missing_ok=True)


def _write_weights(path: Path, model: SequenceClassifier) -> None:
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write(path / WEIGHTS, safetensors.torch.save(weights))
