"""A model in a run's folder: saved, loaded, and brought together with data again."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import safetensors
import safetensors.torch
import torch

from .cells import CELLS
from .config import ModelConfig, Read
from .data.catalog import is_folder, load, resolve
from .data.preparation import Preparation
from .data.sequences import SequenceData
from .errors import DataError, RunError
from .folder import CONFIG, EVALUATION, FORMAT, RESUME, WEIGHTS, claim, first_line, read_config, write, write_json
from .model import SequenceClassifier
from .train import choose_device


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
    write_json(path / CONFIG, model_config(model, data.preparation))
    write_weights(path, model)


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
        model = build(ModelConfig(**config["model"]), config["input_size"], config["num_classes"])
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


def load_test(
    run: Run, data: str | None = None, data_dir: str | Path | None = None
) -> tuple[str, Literal["test", "all"], SequenceData]:
    """Return what a run can be judged by, prepared as its training data was.

    Args:
        run: a finished run.
        data: name or path for `unroll.load` (default: the set that the run was trained on).
        data_dir: where to look for it first (default: where the run found it).

    Returns:
        the name of the data; "test" for its test part, "all" for other data that has none: all of it; the sequences.

    Raises:
        RunError: no data is given, and the run knows of none.
        DataError: the data cannot be loaded, does not fit the run, or has changed since.
    """
    known = run.config.get("data", {})
    image = run.preparation.image
    name = data or known.get("name")
    if name is None:
        raise RunError(f"{run.path} was saved without the name of its data; give one with --data")
    own = data is None or (bool(known) and resolve(data, data_dir) == known["name"])
    if own and data_dir is None:
        data_dir = still_there(known["dir"])
    read: Read = image.read if image else "rows"
    size = f"{image.width}x{image.height}" if image and is_folder(name, data_dir) else None
    splits = load(name, read, data_dir, resize=size)
    if splits.drawn and known:  # drawn as for the training, if these are the sequences that it was drawn from
        cut = {key: known[key] for key in ("test_fraction", "split_seed")}
        again = load(name, read, data_dir, resize=size, **cut)
        same = again.train.fingerprint() == known["fingerprint"]
        if own and not same:
            raise DataError(
                f"{name} has changed since {run.path} was trained: what was drawn to test on cannot be told from what "
                "was trained on; train anew, or give other data with --data"
            )
        splits = again if same else splits
        own = own or same
    everything = splits.drawn and not own
    sequences = (splits.whole() if everything else splits.test).prepared_as(run.preparation)
    _check_fit(run.model, sequences)
    return name, "all" if everything else "test", sequences


def still_there(folder: str | None) -> str | None:
    """Return where the run found its data, if that is a folder here and now: runs move to other machines."""
    return folder if folder and Path(folder).is_dir() else None


def build(config: ModelConfig, input_size: int, num_classes: int) -> SequenceClassifier:
    """Return a fresh model; its weights come from torch's global generator."""
    return SequenceClassifier(input_size, num_classes, **asdict(config))


def model_config(model: torch.nn.Module, preparation: Preparation) -> dict[str, Any]:
    """Return what config.json says of every run: all that prediction needs."""
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


def write_weights(path: Path, model: SequenceClassifier) -> None:
    """Write the weights into a run's folder: from then on it is finished."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write(path / WEIGHTS, safetensors.torch.save(weights))
