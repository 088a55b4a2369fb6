"""A run's folder on disk: made once, never by halves, never over something else.

Each file is written beside its place and moved there, so that it is whole at any moment.
"""

from __future__ import annotations

import itertools
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from .errors import InputError, RunError
from .formatting import shown

FORMAT = 2
CONFIG = "config.json"  # all that prediction needs, and the settings of the training; makes a folder a run
METRICS = "metrics.jsonl"  # one epoch per line
METRICS_TABLE = "metrics.csv"  # the same as a table
WEIGHTS = "model.safetensors"  # a run without it is unfinished
TOKENIZER = "tokenizer.json"  # how texts become numbers, as the library tokenizers keeps it
EVALUATION = "evaluation.json"  # counts on the test part
PREDICTIONS = "predictions.safetensors"  # what the model says of the test part
CALIBRATION = "calibration.json"  # temperatures that make its confidence true
RESUME = "resume.pt"  # where an unfinished training stands
REPORT = "report.html"
PAGE = "page.html"  # on which one watches the model read
FIGURES = "figures"  # a folder: those of the report
EVENTS = "tensorboard"  # a folder: the epochs for TensorBoard, if the run was begun with it
EVENT_FILES = "events.out.tfevents.*"  # as TensorBoard names what is in it
FILES = (CONFIG, TOKENIZER, METRICS, METRICS_TABLE, WEIGHTS, EVALUATION, PREDICTIONS, CALIBRATION, REPORT, PAGE, RESUME)


def claim(out: str | Path | None, overwrite: bool, name: str) -> Path:
    """Make a run's folder and return its path; the files of a run that stands there are removed if ``overwrite``.

    Args:
        out: the folder; None takes the first free ``runs/<name>-<n>``.
        overwrite: whether a run may be replaced.
        name: for ``out`` None.

    Raises:
        RunError: something stands there, or the folder cannot be made.
    """
    try:
        if out is None:
            return _number(Path("runs"), name)
        path = Path(out).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            for partial in path.glob(f".{file}.*.partial"):  # of a run that was killed while it wrote
                partial.unlink(missing_ok=True)
        if not any(path.iterdir()):
            (path / CONFIG).touch(exist_ok=False)  # of two runs that want this folder one gets it
            return path
    except FileExistsError as error:
        if path.is_dir():
            raise RunError(f"{path} was just taken by another run; choose another --out") from error
        raise RunError(f"cannot make the run folder {path}: a file stands there") from error
    except OSError as error:
        raise RunError(f"cannot make the run folder {error.filename}: {error.strerror}") from error
    if not _is_run(path):
        raise RunError(f"{path} exists and is no run: it is left alone; choose another --out")
    if not overwrite:
        raise RunError(f"{path} holds a run; choose another --out, replace it with --overwrite, or --resume it")
    for file in FILES:
        if file != CONFIG:  # that one stays, to be replaced: it makes the folder a run
            (path / file).unlink(missing_ok=True)
    _clear(path / FIGURES, "*.png")
    _clear(path / EVENTS, EVENT_FILES)
    return path


def event_files(path: Path) -> list[Path]:
    """Return the files for TensorBoard in a run's folder."""
    return list((path / EVENTS).glob(EVENT_FILES))


def _clear(folder: Path, pattern: str) -> None:
    """Remove the files of a folder inside a run's that the run wrote, and the folder if nothing else lies in it."""
    if folder.is_symlink():  # what it leads to is no part of the run
        folder.unlink()
        return
    for file in folder.glob(pattern):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or somebody keeps something in it
        folder.rmdir()


def _is_run(path: Path) -> bool:
    """Tell a run from a folder of somebody else's, which may well hold a config.json and a model.safetensors too."""
    try:
        content = (path / CONFIG).read_text("utf-8")
        return not content or {"format", "unroll", "preparation"} <= set(json.loads(content))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def fresh(out: str | Path | None, parent: str, name: str) -> Path:
    """Make a folder that nothing stands in yet and return its path: ``out``, or the first free ``parent/name-n``.

    Raises:
        RunError: something stands there, or the folder cannot be made.
    """
    try:
        if out is None:
            return _number(Path(parent), name)
        path = Path(out).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        refuse_used(path)
        return path
    except FileExistsError as error:
        raise RunError(f"cannot make the folder {path}: a file stands there") from error
    except OSError as error:
        raise RunError(f"cannot make the folder {error.filename}: {error.strerror}") from error


def refuse_used(out: str | Path | None) -> None:
    """Raise `RunError` if something stands in ``out``; None stands for a folder that will be new."""
    path = None if out is None else Path(out).expanduser()
    if path is not None and path.is_dir() and any(path.iterdir()):
        raise RunError(f"{path} is not empty: it is left alone; choose another --out")


def _number(parent: Path, name: str) -> Path:
    """Make and return the first free ``parent/name-n``."""
    parent.mkdir(parents=True, exist_ok=True)
    for n in itertools.count(1):
        path = parent / f"{name}-{n}"
        try:
            path.mkdir()
            return path
        except FileExistsError:
            continue
    raise AssertionError("unreachable")


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of a run's config.json: an object, whose parts are objects too.

    Raises:
        RunError: no run, or one of another format.
    """
    file = path / CONFIG
    if not file.is_file():
        raise RunError(f"{path} is no run folder: it has no config.json")
    try:
        config = read_json(file)
        version = config["format"]
        if version == FORMAT:
            _check_parts(config)
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); copy it again, or train again") from error
    if version != FORMAT:
        made_by = f"unroll {shown(config.get('unroll'))}"
        raise RunError(
            f"{file} has format {shown(version)}, expected {FORMAT}; train anew, or use {made_by}, which made it"
        )
    return config


def _check_parts(config: dict[str, Any]) -> None:
    for part in ("model", "preparation"):
        if part not in config:
            raise KeyError(part)
    for part in ("model", "preparation", "data", "train"):
        if not isinstance(config.get(part, {}), dict):
            raise ValueError(f"{part} must be an object, got {shown(config[part])}")


def read_json(file: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON, or holds something else.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except RecursionError as error:
        raise ValueError(first_line(error)) from error
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {shown(content)}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file that a person can read, as `write` does."""
    write(path, (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write(path: Path, content: bytes) -> None:
    """Write a file so that it is whole at any moment: the old one, then the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:  # of a full disk, say, Python does not tell which file it was
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def first_line(error: Exception) -> str:
    """Return what an error says, without what follows below; of a library's no more than fits a line."""
    if isinstance(error, KeyError):
        return f"{shown(error)} is missing"
    if isinstance(error, RecursionError):
        return "its brackets are nested too deep"
    return str(error) if isinstance(error, InputError) else shown(error)
