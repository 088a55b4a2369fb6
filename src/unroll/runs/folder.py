"""A run's folder on disk. It never overwrites other files.

Each file is written under a temporary name and then moved, so that it is complete at any moment.
"""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import InputError, RunError
from ..formatting import shown
from ..validation import CONFIG, CROSSVAL, FOLDS, SWEEP
from .lock import LOCK, locked

FORMAT = 3
METRICS = "metrics.jsonl"  # one epoch per line
METRICS_TABLE = "metrics.csv"  # the same as a table
WEIGHTS = "model.safetensors"  # a run without it is unfinished
TOKENIZER = "tokenizer.json"  # maps texts to token ids, in the format of the library tokenizers
EVALUATION = "evaluation.json"  # metrics on the test set
PREDICTIONS = "predictions.safetensors"  # logits on the test set
CALIBRATION = "calibration.json"  # temperatures that calibrate its confidence
OPERATING = "operating_point.json"  # from which probability on it answers a class
BASELINES = "baseline.json"  # accuracies of simpler classifiers on the test set
RESUME = "resume.pt"  # the newest checkpoint of an unfinished training
PREVIOUS = "resume.previous.pt"  # the checkpoint before it
REPORT = "report.html"
PAGE = "page.html"  # the interactive page
FIGURES = "figures"  # a folder: the report's figures
EVENTS = "tensorboard"  # a folder: the epochs for TensorBoard, if asked for
MEMBERS = "members"  # a folder: the runs 1, 2, … whose mean an ensemble is
SWEEP_IMAGE = "sweep.png"  # the trainings of a sweep
OUT_OF_FOLD = "oof.csv"  # what the runs of a cross-validation answered for the sequences that each held out
EVENT_FILES = "events.out.tfevents.*"  # TensorBoard's names for its files
# In order of removal: after an interruption, the rest cannot be mistaken for a complete run.
FILES = (
    *(WEIGHTS, PREVIOUS, RESUME, METRICS, METRICS_TABLE, EVALUATION),
    *(PREDICTIONS, OPERATING, CALIBRATION, BASELINES, REPORT, PAGE, TOKENIZER, CONFIG),
)
PARTIAL = re.compile(rf"\.({'|'.join(map(re.escape, FILES))})\.\d+\.partial")  # as `write` names them


@contextmanager
def claim(out: str | Path | None, overwrite: bool, name: str) -> Iterator[Path]:
    """Make a run's folder and hold its lock within the block; ``overwrite`` removes the files of an existing run.

    Args:
        out: the folder; None takes the first free ``runs/<name>-<n>``.
        overwrite: whether a run may be replaced.
        name: used if ``out`` is None.

    Raises:
        RunError: the folder is taken, in use, or cannot be made; nothing in it has been changed.
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
        raise RunError(f"cannot make the run folder {error.filename}: it is a file; choose another --out") from error
    except OSError as error:
        raise RunError(f"cannot make the run folder {error.filename}: {error.strerror}") from error
    with locked(path):
        refuse_taken(path, overwrite)  # again: another process may have written to it since
        with ExitStack() as locks:
            members = members_in(path)
            for member in members:
                locks.enter_context(locked(member))
            _empty(path)
            for member in members:
                _empty(member)
                (member / CONFIG).unlink()
        yield path


def members_in(path: Path) -> list[Path]:
    """Return the folders of the members in a run's folder; none of a single model."""
    return runs_in(path / MEMBERS)


def runs_in(folder: Path) -> list[Path]:
    """Return the runs in a folder, which may be missing; links to runs do not count."""
    entries = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
    return [entry for entry in entries if is_run(entry) and not entry.is_symlink()]


def remove(path: Path) -> None:
    """Remove a run's files, and its folder if it holds no others; the caller holds its and its members' locks."""
    _empty(path)
    for member in members_in(path):
        remove(member)
    with suppress(OSError):  # a single model has none; other files stay
        (path / MEMBERS).rmdir()
    (path / CONFIG).unlink()
    _remove_folder(path)


def runs_of_many(path: Path) -> list[Path]:
    """Return the folders of the runs of a sweep or a cross-validation; none of another folder."""
    if not any((path / name).is_file() for name in (SWEEP, CROSSVAL)):
        return []
    return [*runs_in(path / FOLDS), *runs_in(path)]


def remove_many(path: Path) -> None:
    """Remove a sweep or a cross-validation and its runs; the caller holds their locks."""
    for run in runs_of_many(path):
        remove(run)
    names = [SWEEP_IMAGE, SWEEP]  # the last marks the folder: what is left after an interruption can be removed still
    if (path / CROSSVAL).is_file():
        names = [OUT_OF_FOLD, REPORT, CROSSVAL]
        _clear(path / FIGURES, "*.png", ".*.png.*.partial")
        with suppress(OSError):  # other files stay
            (path / FOLDS).rmdir()
    for name in names:
        for partial in path.glob(f".{name}.*.partial"):
            partial.unlink()
        (path / name).unlink(missing_ok=True)
    _remove_folder(path)


def _remove_folder(path: Path) -> None:
    """Remove a folder in which nothing is left but its lock, which is held: whoever waits for it is refused."""
    if {entry.name for entry in path.iterdir()} <= {LOCK}:
        with suppress(OSError):  # Windows lets no file go that is open: the empty folder stays
            (path / LOCK).unlink(missing_ok=True)
            path.rmdir()


def clear_runs(path: Path, runs: Sequence[Path]) -> None:
    """Remove the files of runs, as `claim` does, and of the report on them in ``path``.

    Args:
        path: the folder, whose lock the caller holds.
        runs: folders of runs in it; other runs that a user has put there stay.
    """
    for run in runs:
        with claim(run, True, ""):
            (run / CONFIG).unlink()
    _empty(path)


def _empty(path: Path) -> None:
    """Remove a run's files from its folder, except config.json, with which it stays a run."""
    remove_partials(path)
    for file in FILES:
        if file != CONFIG:
            (path / file).unlink(missing_ok=True)
    _clear(path / FIGURES, "*.png", ".*.png.*.partial")
    _clear(path / EVENTS, EVENT_FILES)


def refuse_taken(out: str | Path | None, overwrite: bool) -> None:
    """Raise `RunError` if ``out`` holds anything that a new run must not replace; None means a new folder."""
    path = None if out is None else Path(out).expanduser()
    if path is None or not path.is_dir() or not any(True for entry in path.iterdir() if not _is_leftover(entry)):
        return
    if not is_run(path):
        raise RunError(f"{path} exists but is not a run folder; nothing was changed. Choose another --out")
    if not overwrite:
        raise RunError(f"{path} holds a run; choose another --out, replace it with --overwrite, or --resume it")


def refuse_inside(out: str | Path, data: str) -> None:
    """Raise `RunError` if ``out`` lies in the folder ``data``: the run would be read as data the next time."""
    folder = Path(data)
    if folder.is_absolute() and folder.is_dir():
        folder, path = folder.resolve(), Path(out).expanduser().resolve()
        if path.is_relative_to(folder):
            beside = folder.with_name(f"{folder.name}-run")
            raise RunError(
                f"{path} lies inside the data folder {folder}; choose another folder, such as --out {beside}"
            )


def remove_partials(path: Path) -> None:
    """Remove partial files that killed processes left in a run's folder; the caller holds its lock."""
    for entry in path.iterdir():
        if entry.name != LOCK and _is_leftover(entry):
            entry.unlink(missing_ok=True)


def _is_leftover(entry: Path) -> bool:
    """Return whether a folder still counts as empty with this entry: the lock, or a partial file."""
    return entry.name == LOCK or bool(PARTIAL.fullmatch(entry.name))


def event_files(path: Path) -> list[Path]:
    """Return the TensorBoard files in a run's folder."""
    return list((path / EVENTS).glob(EVENT_FILES))


def checkpoints(path: Path) -> list[Path]:
    """Return the checkpoints in a run's folder, newest first; none if its training has ended."""
    return [path / name for name in (RESUME, PREVIOUS) if (path / name).exists()]


def _clear(folder: Path, *patterns: str) -> None:
    """Remove the run's own files from a subfolder, and the subfolder if it is empty then."""
    if folder.is_symlink():  # its target does not belong to the run
        folder.unlink()
        return
    for pattern in patterns:
        for file in folder.glob(pattern):
            file.unlink(missing_ok=True)
    with suppress(OSError):  # it does not exist, or holds other files
        folder.rmdir()


def is_run(path: Path) -> bool:
    """Return whether a folder is a run; other folders may also hold a config.json and a model.safetensors."""
    try:
        return {"format", "unroll", "preparation"} <= set(json.loads((path / CONFIG).read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def fresh(out: str | Path | None, parent: str, name: str) -> Path:
    """Make a new or empty folder and return its path: ``out``, or the first free ``parent/name-n``.

    Raises:
        RunError: the folder is not empty, or cannot be made.
    """
    try:
        if out is None:
            return _number(Path(parent), name)
        path = Path(out).expanduser()
        path.mkdir(parents=True, exist_ok=True)
        refuse_used(path)
        return path
    except FileExistsError as error:
        raise RunError(f"cannot make the folder {path}: it is a file; choose another --out") from error
    except OSError as error:
        raise RunError(f"cannot make the folder {error.filename}: {error.strerror}") from error


def refuse_used(out: str | Path | None) -> None:
    """Raise `RunError` if ``out`` holds anything except a lock; None means a new folder."""
    path = None if out is None else Path(out).expanduser()
    if path is not None and path.is_dir() and any(entry.name != LOCK for entry in path.iterdir()):
        raise RunError(f"{path} is not empty; choose another --out")


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
        OSError: the file cannot be read.
        ValueError: it is not JSON, or not an object.
    """
    try:
        content = json.loads(file.read_text("utf-8"))
    except RecursionError as error:
        raise ValueError(first_line(error)) from error
    if not isinstance(content, dict):
        raise ValueError(f"expected an object, got {shown(content)}")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write an indented JSON file, as `write` does."""
    write(path, (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write(path: Path, content: bytes, keep: Path | None = None) -> None:
    """Write a file atomically: at any moment it is the complete old or new one.

    Args:
        path: of the file.
        content: of the file.
        keep: path to move the old file to, if there is one; between the two moves only that copy exists (default None:
            it is replaced).
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
    except OSError as error:  # some errors, such as a full disk, do not name the file
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def append(path: Path, content: bytes) -> None:
    """Append to a file, without waiting for the disk."""
    try:
        with path.open("ab") as file:
            file.write(content)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def sync(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that a power cut does not undo a move; not on Windows."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            with suppress(OSError):  # some file systems do not support it for folders
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message; shortened if it comes from a library."""
    if isinstance(error, KeyError):
        return f"{shown(error)} is missing"
    if isinstance(error, RecursionError):
        return "its brackets are nested too deeply"
    return str(error) if isinstance(error, InputError) else shown(error)
