"""List the runs in a folder by what their small files say, and remove some. Nothing here loads torch."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from ..errors import RunError, did_you_mean
from ..formatting import shown
from ..validation import CONFIG, CROSSVAL, FOLDS, REFIT, SWEEP, is_number
from .folder import (
    EVALUATION,
    FORMAT,
    MEMBERS,
    METRICS,
    OUT_OF_FOLD,
    RESUME,
    WEIGHTS,
    checkpoints,
    first_line,
    is_run,
    members_in,
    read_json,
    remove,
    remove_many,
    runs_of_many,
)
from .lock import LOCK, is_locked, locked
from .trials import Trial, ranked

Sorting = Literal["date", "name", "accuracy", "size"]
State = Literal["finished", "running", "interrupted", "failed", "damaged"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A run, an ensemble, a sweep or a cross-validation in a folder.

    Attributes:
        name: of its folder; of the run of a fold with that of the folder of all, "folds/1"
        path: its folder
        kind: "run", "ensemble", "sweep" or "crossval"
        state: finished; running, its lock is held; interrupted, it can be resumed; failed, it has no weights and cannot
            be resumed; damaged, or made in another format
        reason: what is damaged; empty if nothing is
        data: name or path of the training data; empty if the model was saved by hand
        model: the cell and its size, "gru 64"; of a sweep its cells
        accuracy: on the test set, a fraction; of a cross-validation the mean over its folds; None without one, and of
            sweeps
        val_accuracy: validation accuracy of the saved weights, a fraction; of a sweep that of the best setting so far
        epochs: trained so far, of an ensemble the most of a member; None of a sweep or a cross-validation
        trainings: of a sweep or a cross-validation those that have ended; None of others
        date: of the last change of the training's files
        size: bytes of all files in the folder
    """

    name: str
    path: Path
    kind: Literal["run", "ensemble", "sweep", "crossval"] = "run"
    state: State = "finished"
    reason: str = ""
    data: str = ""
    model: str = ""
    accuracy: float | None = None
    val_accuracy: float | None = None
    epochs: int | None = None
    trainings: int | None = None
    date: datetime
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; the date in UTC by ISO 8601."""
        date = self.date.astimezone(UTC).isoformat(timespec="seconds")
        return asdict(self) | {"path": str(self.path), "date": date}


def list_runs(folder: str | Path = "runs", sort: Sorting = "date") -> list[Entry]:
    """Return the runs, ensembles, sweeps and cross-validations in a folder; of one of the last two its runs.

    Args:
        folder: its sub-folders are looked at, not theirs (default "runs").
        sort: "date" and "name" ascending, "accuracy" and "size" descending; without an accuracy last (default "date").

    Raises:
        RunError: the folder does not exist, or is a run itself.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; give one that holds runs, such as that of the --out of unroll train")
    if _marked(folder) == CONFIG:
        raise RunError(f"{folder} is a run itself; give the folder that holds it: {folder.resolve().parent}")
    paths = [path for path in folder.iterdir() if path.is_dir()]
    if (folder / CROSSVAL).is_file() and (folder / FOLDS).is_dir():
        paths += [path for path in (folder / FOLDS).iterdir() if path.is_dir()]
    entries = [entry for path in paths if (entry := _entry(path, str(path.relative_to(folder)))) is not None]
    return sorted(sorted(entries, key=lambda entry: entry.name), key=_KEYS[sort])


_KEYS: dict[Sorting, Any] = {
    "date": lambda entry: entry.date,
    "name": lambda entry: entry.name,
    "accuracy": lambda entry: (entry.accuracy is None, -(entry.accuracy or 0.0)),
    "size": lambda entry: -entry.size,
}


def _marked(path: Path) -> str | None:
    """Return the name of the file that marks a folder as runs or a run, even if it is broken; None if none does."""
    for name in (SWEEP, CROSSVAL):
        if (path / name).is_file():
            return name
    try:
        text = (path / CONFIG).read_text("utf-8", errors="replace")
    except OSError:
        return None
    trained = any((path / name).is_file() for name in (METRICS, RESUME))
    return CONFIG if trained or all(f'"{key}"' in text for key in ("format", "unroll", "preparation")) else None


def _entry(path: Path, name: str) -> Entry | None:
    marked = _marked(path)
    if marked is None:
        return None
    size, changed = _size(path), _changed(path, marked)
    place: dict[str, Any] = {"name": name, "path": path, "size": size, "date": changed}
    try:
        content = read_json(path / marked)
        read = {SWEEP: _sweep, CROSSVAL: _crossval}.get(marked, _run)
        return Entry(**place, **read(path, content))
    except RunError as error:
        return Entry(**place, state="damaged", reason=str(error))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return Entry(**place, state="damaged", reason=f"a file is broken ({first_line(error)})")


def _run(path: Path, config: dict[str, Any]) -> dict[str, Any]:
    if (version := config["format"]) != FORMAT:
        raise RunError(f"format {shown(version)} of unroll {shown(config.get('unroll'))}, expected {FORMAT}")
    members = config.get("train", {}).get("ensemble", 1)
    facts: dict[str, Any] = {
        "kind": "ensemble" if members > 1 else "run",
        "data": str(config["data"].get("name", "")),
        "model": _model(config),
    }
    test = read_json(path / EVALUATION) if (path / EVALUATION).exists() else None
    is_whole = all((member / WEIGHTS).exists() for member in _members(path, members)) and (members == 1 or test)
    if not is_whole:
        resumable = members > 1 or checkpoints(path)
        facts["state"] = "running" if _in_use(path) else "interrupted" if resumable else "failed"
    if test is not None and is_number(accuracy := test.get("accuracy"), 0, 1):
        facts["accuracy"] = accuracy
    if members > 1:
        lasts = [epochs[-1]["epoch"] for member in _members(path, members) if (epochs := _epochs(member))]
        facts["epochs"] = max(lasts, default=None)
    elif epochs := _epochs(path):
        kept = [epoch for epoch in epochs if test and epoch["epoch"] == test.get("epoch")] or epochs[-1:]
        facts |= {"epochs": epochs[-1]["epoch"], "val_accuracy": kept[0].get("val_accuracy")}
    return facts


def _model(config: dict[str, Any]) -> str:
    return f"{config['model']['cell']} {config['model']['hidden_size']}"


def _members(path: Path, members: int) -> list[Path]:
    return [path] if members == 1 else [path / MEMBERS / str(number) for number in range(1, members + 1)]


def _epochs(path: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl; a power cut leaves the last one incomplete."""
    try:
        return [json.loads(line) for line in (path / METRICS).read_text("utf-8").split("\n")[:-1]]
    except FileNotFoundError:
        return []


def _sweep(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    trials = state["trials"]
    ended = [trial for trial in trials if trial["status"] in ("finished", "failed")]
    best = next(iter(ranked([Trial(**trial) for trial in trials])), None)
    cell = state["settings"].get("cell") or state["axes"].get("cell") or ""
    is_whole = len(ended) == len(trials) == state["count"] * len(state["seeds"])
    return {
        "kind": "sweep",
        "state": "running" if _in_use(path) else "finished" if is_whole else "interrupted",
        "data": str(state["data"]),
        "model": " ".join(map(str, cell)) if isinstance(cell, list) else str(cell),
        "val_accuracy": best.mean if best else None,
        "trainings": len(ended),
    }


def _crossval(path: Path, state: dict[str, Any]) -> dict[str, Any]:
    ended = [result for result in state["results"] if result["accuracy"] is not None]
    is_whole = len(ended) == len(state["results"]) and (path / OUT_OF_FOLD).exists()
    if is_whole and state["refits"]:
        is_whole = (path / REFIT / CONFIG).exists() and _run(path / REFIT, read_json(path / REFIT / CONFIG)).get(
            "state"
        ) is None
    first = path / FOLDS / "1" / CONFIG
    mean = None if state["summary"] is None else state["summary"]["accuracy"]["mean"]
    return {
        "kind": "crossval",
        "state": "running" if _in_use(path) else "finished" if is_whole else "interrupted",
        "data": str(state["data"]),
        "model": _model(read_json(first)) if first.exists() else str(state["settings"].get("cell", "")),
        "accuracy": mean if is_number(mean, 0, 1) else None,
        "trainings": len(ended),
    }


def _in_use(path: Path) -> bool:
    return any(map(is_locked, _folders(path)))


def _changed(path: Path, marked: str) -> datetime:
    """Return when the training last wrote something: not the date of the folder, which a report changes too."""
    names = (marked, METRICS, EVALUATION, RESUME)
    times = [(path / name).stat().st_mtime for name in names if (path / name).exists()]
    return datetime.fromtimestamp(max(times, default=0.0)).astimezone()


def _size(path: Path) -> int:
    """Return the bytes of all files below a folder; what links point to does not count."""
    total, folders = 0, [str(path)]
    while folders:
        with os.scandir(folders.pop()) as children:
            for child in children:
                if child.is_dir(follow_symlinks=False):
                    folders.append(child.path)
                else:
                    entry = child.stat(follow_symlinks=False)
                    total += entry.st_size if stat.S_ISREG(entry.st_mode) else 0
    return total


def remove_runs(entries: Sequence[Entry]) -> dict[str, list[Path]]:
    """Remove what is listed, all or none; files that no training wrote stay, and so does their folder.

    Args:
        entries: as from `list_runs`.

    Returns:
        what stays, by the name of its run; runs of which nothing stays are left out.

    Raises:
        RunError: one of them is in use, a link, or not a run; nothing has been removed.
    """
    with ExitStack() as locks:
        for entry in entries:
            if entry.path.is_symlink():
                raise RunError(f"{entry.path} is a link to {entry.path.resolve()}: remove the run there")
            for folder in _folders(entry.path):
                locks.enter_context(locked(folder, "wait until it ends"))
            if not (is_run(entry.path) or _is_many(entry.path)):
                raise RunError(f"{entry.path} is too damaged to tell what in it is a run's: remove it by hand")
        left = {}
        for entry in entries:
            (remove_many if _is_many(entry.path) else remove)(entry.path)
            if entry.path.exists():
                left[entry.name] = sorted(
                    file for file in entry.path.rglob("*") if file.name != LOCK and not file.is_dir()
                )
    return {name: files for name, files in left.items() if files}


def _is_many(path: Path) -> bool:
    return _marked(path) in (SWEEP, CROSSVAL)


def _folders(path: Path) -> list[Path]:
    """Return the folders that have a lock: a run's own, those of its members, and of a sweep those of its runs."""
    return [path, *members_in(path), *(folder for run in runs_of_many(path) for folder in (run, *members_in(run)))]


def pick(entries: Sequence[Entry], names: Sequence[str], folder: str | Path) -> list[Entry]:
    """Return the entries of these names, each once.

    Raises:
        RunError: a name is none of theirs; the message says which is like it.
    """
    known = {entry.name: entry for entry in entries}
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known)
            raise RunError(f"{folder} holds no run called {shown(name)}{hint}")
    return [known[name] for name in dict.fromkeys(names)]
