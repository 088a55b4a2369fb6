"""A model in a run's folder: saved, loaded, and brought together with data again."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError

from ..cells import Cell, find_cell
from ..config import DataConfig, ModelConfig, TrainConfig
from ..data.catalog import load, load_as, resolve
from ..data.preparation import Preparation
from ..data.sequences import SequenceData
from ..data.splits import TEST_FRACTION, Splits
from ..data.tokenizer import Tokenizer, library
from ..errors import ConfigError, DataError, InputError, RunError
from ..evaluation.calibration import Calibration
from ..formatting import shown
from ..models.classifier import SequenceClassifier
from ..models.weights import check_finite, load_weights
from ..training.device import choose_device
from .artifacts import read_calibration, read_evaluation
from .folder import CONFIG, FORMAT, TOKENIZER, WEIGHTS, checkpoints, claim, first_line, read_config, write, write_json


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        path: its folder
        model: trained, in eval mode
        preparation: what turns raw examples into model input
        config: content of config.json
        evaluation: content of evaluation.json, or None if the model was saved by hand
        calibration: of its confidence, or None where nothing was held out to calibrate on
    """

    path: Path
    model: SequenceClassifier
    preparation: Preparation
    config: dict[str, Any]
    evaluation: dict[str, Any] | None
    calibration: Calibration | None = None


def save(model: SequenceClassifier, path: str | Path, *, data: SequenceData, overwrite: bool = False) -> None:
    """Save a model trained by hand as a run folder, for `load_run` and the command line.

    Args:
        model: any `SequenceClassifier` whose cell is one of unroll's, or stands in a module by its name.
        path: folder to make.
        data: what the model was trained on; its preparation is saved too.
        overwrite: replace a run that stands there (default False).

    Raises:
        RunError: something else stands there, the cell cannot be loaded again, or weights are NaN or infinite.
        DataError: the model's features or classes are not those of ``data``.
    """
    check_loadable(model)
    _check_fit(model, data)
    data.preparation.check()
    try:
        check_finite(model)
    except ValueError as error:
        raise RunError(f"a run needs a model of numbers: {error}; train it again with a lower lr") from error
    # The fingerprint of what it was trained on, so that it is not judged by that.
    config = {**model_config(model, data.preparation), "data": {"fingerprint": data.fingerprint()}}
    with claim(path, overwrite, "") as path:
        write_config(path, config, data.preparation)
        write_weights(path, model)


def check_loadable(model: SequenceClassifier) -> None:
    """Raise `RunError` unless the cell can be found again by its name."""
    name, own = model.config.cell, type(next(module for module in model.modules() if isinstance(module, Cell)))
    try:
        again = find_cell(name) is own and not name.startswith("__main__:")
    except ConfigError:
        again = False
    if not again:
        raise RunError(f"a run needs a cell that can be imported again: put {name} at the top of a module of its own")


def _check_fit(model: SequenceClassifier, data: SequenceData) -> None:
    for what, of_model, of_data in (
        ("tokens", model.vocabulary_size, data.vocabulary_size),
        ("features", 1 if model.vocabulary_size else model.input_size, data.input_size),
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
        ConfigError: its cell is not one of unroll's, and its module has not been imported.
        DataError: it reads texts, and the library tokenizers is not installed.
    """
    path = Path(path)
    config = read_config(path)
    weights = path / WEIGHTS
    if not weights.is_file() and not checkpoints(path):
        raise RunError(f"{path} has no {WEIGHTS} and cannot be resumed: its training failed; train anew")
    if not weights.is_file():
        raise RunError(f"{path} is not finished: run 'unroll train --resume {shlex.quote(str(path))}' first")
    if ":" in (cell := str(config["model"].get("cell"))):
        find_cell(cell)  # says what to do where that is not here
    if (path / TOKENIZER).exists():
        library()  # says what to install where it is missing
    try:
        has_tokens = config["preparation"].get("tokens")
        tokenizer = Tokenizer((path / TOKENIZER).read_text("utf-8")) if has_tokens else None
        preparation = Preparation.from_dict(config["preparation"], tokenizer)
        sizes = config["input_size"], config["num_classes"], 0 if tokenizer is None else tokenizer.checked().size
        _check_preparation(preparation, *sizes)
        _check_settings(config)
        make = partial(build, input_size=sizes[0], num_classes=sizes[1], vocabulary_size=sizes[2])
        tensors = safetensors.torch.load(weights.read_bytes())
        model = load_weights(make, ModelConfig(**config["model"]), *sizes, tensors)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        raise RunError(f"{path} is broken ({first_line(error)}); copy it anew or train again") from error
    evaluation, calibration = read_evaluation(path), read_calibration(path)
    return Run(path, model.to(choose_device(device)[0]).eval(), preparation, config, evaluation, calibration)


def _check_settings(config: dict[str, Any]) -> None:
    """Raise an error unless what is said of the training and its data can be; a run saved by hand says little."""
    if "train" in config:
        TrainConfig(**config["train"])
    data = config.get("data", {})
    DataConfig(**{field.name: data[field.name] for field in fields(DataConfig) if field.name in data})
    for name in ("name", "dir", "fingerprint"):
        value = data.get(name)
        if not isinstance(value, str) and not (value is None and name == "dir") and name in data:
            raise TypeError(f"{name} of the data must be a text, got {shown(value)}")
    if "name" in data and "fingerprint" not in data:
        raise KeyError("fingerprint")


def _check_preparation(preparation: Preparation, input_size: int, num_classes: int, vocabulary_size: int) -> None:
    """Raise `ValueError` unless what goes into a model, and what comes out, has the model's sizes."""
    if len(preparation.classes) != num_classes:
        raise ValueError(f"{len(preparation.classes)} names for {shown(num_classes)} classes")
    image, scaling, missing = preparation.image, preparation.scaling, preparation.missing
    features = {"scaling": scaling.mean} if isinstance(scaling.mean, tuple) else {}
    counts = {what: len(values) for what, values in features.items()}
    if image is not None:
        counts["image"] = {"rows": image.width, "columns": image.height}.get(image.read, 1)
    if missing is not None:
        counts["missing"] = len(missing.means) * (2 if missing.mask else 1)
    for what, count in counts.items():
        if count != input_size and not vocabulary_size:
            raise ValueError(f"{what} is for {count} features, the model for {shown(input_size)}")
    if preparation.features and missing is not None and len(preparation.features) != len(missing.means):
        raise ValueError(f"{len(preparation.features)} names for {len(missing.means)} features")


class TestData(NamedTuple):
    """What a run can be judged by.

    Attributes:
        name: of the data
        part: "test" for its test part; "all" for other data, which has none
        sequences: prepared as the run's training data was
        trained_on: how many of them the run was trained on; None where that cannot be told
    """

    name: str
    part: Literal["test", "all"]
    sequences: SequenceData
    trained_on: int | None


def load_test(run: Run, data: str | None = None, data_dir: str | Path | None = None) -> TestData:
    """Return what a run can be judged by: the test part of its own data, or other data.

    Args:
        run: a finished run.
        data: name or path for `unroll.load` (default: the set that the run was trained on).
        data_dir: where to look for it first (default: where the run found it).

    Raises:
        RunError: no data is given, and the run knows of none.
        DataError: the data cannot be loaded, does not fit the run, or is the run's own and has changed since.
    """
    known = run.config.get("data", {})
    name = data or known.get("name")
    if name is None:
        raise RunError(f"{run.path} was saved without the name of its data; give one with --data")
    if "name" in known and (data is None or resolve(data, data_dir) == known["name"]):
        splits = _own_data(run, known, data_dir)
        if splits.train.fingerprint() != known["fingerprint"]:
            raise DataError(
                f"{name} has changed since {run.path} was trained: what to test on can no longer be told from what was "
                "trained on; train anew, or give other data with --data"
            )
        found = TestData(name, "test", splits.test.prepared_as(run.preparation), 0)
    else:
        found = _other_data(run, known, name, data_dir)
    _check_fit(run.model, found.sequences)
    return found


def _own_data(run: Run, known: dict[str, Any], data_dir: str | Path | None) -> Splits:
    try:
        reading = {field.name: known[field.name] for field in fields(DataConfig) if field.name in known}
        data_dir = data_dir or still_there(known["dir"])
    except KeyError as error:
        raise RunError(f"{run.path / CONFIG} is broken ({first_line(error)})") from error
    return load(known["name"], data_dir=data_dir, **reading)


def _other_data(run: Run, known: dict[str, Any], name: str, data_dir: str | Path | None) -> TestData:
    parts = load_as(name, run.preparation, data_dir)
    if len(parts) == 1 and known:  # a copy of the run's own data: it is drawn from as it was for the training
        rest, test = parts[0].cut(known.get("test_fraction") or TEST_FRACTION, known.get("split_seed") or 0)
        if rest.fingerprint() == known["fingerprint"]:
            return TestData(name, "test", test, 0)
    return TestData(name, "all" if len(parts) == 1 else "test", parts[-1], _trained_on(run, known, parts[-1]))


def _trained_on(run: Run, known: dict[str, Any], sequences: SequenceData) -> int | None:
    """Return how many of ``sequences`` the run was trained on; None where its own data is not at hand."""
    if not Path(known.get("name", "")).is_absolute():
        return None  # a set of a name is not fetched for this
    try:
        train = _own_data(run, known, None).train
    except InputError:
        return None
    if train.fingerprint() != known["fingerprint"]:
        return None
    seen = set(train.checksums())
    return sum(checksum in seen for checksum in sequences.checksums())


def still_there(folder: str | None) -> str | None:
    """Return where the run found its data, if that is a folder here and now: runs move to other machines."""
    return folder if folder and Path(folder).is_dir() else None


def build(config: ModelConfig, input_size: int, num_classes: int, vocabulary_size: int = 0) -> SequenceClassifier:
    """Return a fresh model; its weights come from torch's global generator.

    Args:
        config: its settings.
        input_size: features per time step of the data; has no meaning for texts.
        num_classes: of the data.
        vocabulary_size: tokens that it knows; 0 where time steps hold features (default 0).
    """
    settings = asdict(config)
    embedding_size = settings.pop("embedding_size")
    size = embedding_size if vocabulary_size else input_size
    return SequenceClassifier(size, num_classes, vocabulary_size=vocabulary_size, **settings)


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


def write_config(path: Path, config: dict[str, Any], preparation: Preparation) -> None:
    """Write config.json into a run's folder, which makes it one, and then the tokenizer of texts."""
    write_json(path / CONFIG, config)
    if preparation.tokenizer is not None:
        write(path / TOKENIZER, preparation.tokenizer.json.encode())


def write_weights(path: Path, model: SequenceClassifier) -> None:
    """Write the weights into a run's folder: from then on it is finished."""
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    write(path / WEIGHTS, safetensors.torch.save(weights))
