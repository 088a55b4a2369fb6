"""A run's folder on disk: made once, never by halves, never over something else.

Each file is written beside its place and moved there, so that it is whole at any moment.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError, RunError
from ..formatting import shown
from .lock import LOCK, locked

FORMAT = 2
CONFIG = "config.json"  # all that prediction needs, and the settings of the training; makes a folder a run
METRICS = "metrics.jsonl"  # one epoch per line
METRICS_TABLE = "metrics.csv"  # the same as a table
WEIGHTS = "model.safetensors"  # a run without it is unfinished
TOKENIZER = "tokenizer.json"  # how texts become numbers, as the library tokenizers keeps it
EVALUATION = "evaluation.json"  # counts on the test part
PREDICTIONS = "predictions.safetensors"  # what the model says of the test part
CALIBRATION = "calibration.json"  # temperatures that make its confidence true
BASELINES = "baseline.json"  # what simpler classifiers reach on the test part
RESUME = "resume.pt"  # the newest checkpoint of an unfinished training
PREVIOUS = "resume.previous.pt"  # the checkpoint before it
REPORT = "report.html"
PAGE = "page.html"  # on which one watches the model read
FIGURES = "figures"  # a folder: those of the report
EVENTS = "tensorboard"  # a folder: the epochs for TensorBoard, if the run was begun with it
EVENT_FILES = "events.out.tfevents.*"  # as TensorBoard names what is in it
# In the order in which they are removed: what is left half-way is not taken for a run that is whole.
FILES = (
    *(WEIGHTS, PREVIOUS, RESUME, METRICS, METRICS_TABLE, EVALUATION),
    *(PREDICTIONS, CALIBRATION, BASELINES, REPORT, PAGE, TOKENIZER, CONFIG),
)
PARTIAL = re.compile(rf"\.({'|'.join(map(re.escape, FILES))})\.\d+\.partial")  # as `write` names them


@contextmanager
def claim(out: str | Path | None, overwrite: bool, name: str) -> Iterator[Path]:
    """Make a run's folder, and hold its lock within the block; ``overwrite`` removes the files of a run in it.

    Args:
        out: the folder; None takes the first free ``runs/<name>-<n>``.
        overwrite: whether a run may be replaced.
        name: for ``out`` None.

    Raises:
        RunError: the folder is taken, in use, or cannot be made; nothing in it has been changed then.
    """
    try:
        if out is None:
            path = _number(Path("runs"), name)
        else:
            path = Path(out).expanduser()
            refuse_taken(path, overwrite)
            path.mkdir(parents=True, exist_ok=True)
        sync(path.parent)
    except FileExistsError as error:
        raise RunError(f"cannot make the run folder {error.filename}: a file stands there") from error
    except OSError as error:
        raise RunError(f"cannot make the run folder {error.filename}: {error.strerror}") from error
    with locked(path):
        refuse_taken(path, overwrite)  # again: since then another process may have put something there
        remove_partials(path)
        for file in FILES:
            if file != CONFIG:  # that one stays, to be replaced: it makes the folder a run
                (path / file).unlink(missing_ok=True)
        _clear(path / FIGURES, "*.png", ".*.png.*.partial")
        _clear(path / EVENTS, EVENT_FILES)
        yield path


def refuse_taken(out: str | Path | None, overwrite: bool) -> None:
    """Raise `RunError` if something is in ``out`` that a new run must not replace; None stands for a new folder."""
    path = None if out is None else Path(out).expanduser()
    if path is None or not path.is_dir() or not any(True for entry in path.iterdir() if not _is_leftover(entry)):
        return
    if not _is_run(path):
        raise RunError(f"{path} exists but is not a run folder; nothing was changed. Choose another --out")
    if not overwrite:
        raise RunError(f"{path} holds a run; choose another --out, replace it with --overwrite, or --resume it")


def refuse_inside(out: str | Path, data: str) -> None:
    """Raise `RunError` if ``out`` lies in the folder that ``data`` names: it would be read as data the next time."""
    folder = Path(data)
    if folder.is_absolute() and folder.is_dir():
        folder, path = folder.resolve(), Path(out).expanduser().resolve()
        if path.is_relative_to(folder):
            beside = folder.with_name(f"{folder.name}-run")
            raise RunError(f"{path} lies inside the data folder {folder}; choose another place, such as --out {beside}")


def remove_partials(path: Path) -> None:
    """Remove what processes that were killed while they wrote have left in a run's folder; hold its lock for that."""
    for entry in path.iterdir():
        if entry.name != LOCK and _is_leftover(entry):
            entry.unlink(missing_ok=True)


def _is_leftover(entry: Path) -> bool:
    """Tell whether a folder counts as empty in spite of this: the lock, or a file that was never moved to its place."""
    return entry.name == LOCK or bool(PARTIAL.fullmatch(entry.name))


def event_files(path: Path) -> list[Path]:
    """Return the files for TensorBoard in a run's folder."""
    return list((path / EVENTS).glob(EVENT_FILES))


def checkpoints(path: Path) -> list[Path]:
    """Return the checkpoints in a run's folder, the newest first; none if its training has ended."""
    return [path / name for name in (RESUME, PREVIOUS) if (path / name).exists()]


def _clear(folder: Path, *patterns: str) -> None:
    """Remove the files of a folder inside a run's that the run wrote, and the folder if nothing else lies in it."""
    if folder.is_symlink():  # what it leads to is no part of the run
        folder.unlink()
        return
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    with suppress(OSError):  # it is not there, or somebody keeps something in it
        folder.rmdir()


def _is_run(path: Path) -> bool:
    """Tell a run from a folder of somebody else's, which may well hold a config.json and a model.safetensors too."""
    try:
        return {"format", "unroll", "preparation"} <= set(json.loads((path / CONFIG).read_text("utf-8")))
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
    """Raise `RunError` if something but a lock is in ``out``; None stands for a folder that will be new."""
    path = None if out is None else Path(out).expanduser()
    if path is not None and path.is_dir() and any(entry.name != LOCK for entry in path.iterdir()):
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


def write(path: Path, content: bytes, keep: Path | None = None) -> None:
    """Write a file so that it is whole at any moment: the old one, then the new one.

    Args:
        path: of the file.
        content: of the file.
        keep: where the old one is moved, if there is one; between the two moves it is only there (default None: it
            is replaced).
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if keep is not None and path.exists():
            path.replace(keep)
        partial.replace(path)
        sync(path.parent)
    except OSError as error:  # of a full disk, say, Python does not tell which file it was
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def append(path: Path, content: bytes) -> None:
    """Add to the end of a file, without waiting for the disk."""
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync(folder: Path) -> None:
    """Have the names in a folder written to the disk, so that a power cut does not undo a move; not on Windows."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems have no such thing for folders
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def first_line(error: Exception) -> str:
    """Return what an error says, without what follows below; of a library's no more than fits a line."""
    if isinstance(error, KeyError):
        return f"{shown(error)} is missing"
    if isinstance(error, RecursionError):
        return "its brackets are nested too deep"
    return str(error) if isinstance(error, InputError) else shown(error)
