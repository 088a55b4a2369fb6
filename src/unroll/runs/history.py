"""The metrics of each epoch in a run's folder: JSON lines, a table, and TensorBoard if asked for."""

from __future__ import annotations

import csv
import importlib
import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..errors import ConfigError, RunError, how_to_install
from ..formatting import shown
from ..training.results import EpochResult
from ..validation import check_types
from .folder import EVENTS, METRICS, METRICS_TABLE, append, event_files, first_line, write


def write_metrics(path: Path, history: Sequence[EpochResult]) -> None:
    """Write metrics.jsonl and metrics.csv into a run's folder: one result per line, accuracies as fractions."""
    lines, table = _lines(history)
    names = ",".join(field.name for field in fields(EpochResult))
    write(path / METRICS, lines.encode())
    write(path / METRICS_TABLE, f"{names}\n{table}".encode())


def append_metrics(path: Path, result: EpochResult) -> None:
    """Add an epoch to the files that `write_metrics` wrote."""
    for name, text in zip((METRICS, METRICS_TABLE), _lines([result]), strict=True):
        append(path / name, text.encode())


def _lines(history: Sequence[EpochResult]) -> tuple[str, str]:
    """Return epochs as JSON lines and as rows of a table."""
    rows = [asdict(result) for result in history]
    table = io.StringIO()
    writer = csv.DictWriter(table, [field.name for field in fields(EpochResult)], lineterminator="\n")
    writer.writerows(rows)  # without a validation split its cells are empty
    return "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), table.getvalue()


def read_history(run: str | Path) -> list[EpochResult]:
    """Return the epochs of a run, finished or not; none if it was saved by hand.

    Args:
        run: its folder.

    Raises:
        RunError: the file is broken.
    """
    path = Path(run) / METRICS
    if not path.exists():
        return []
    try:
        lines = path.read_text("utf-8").split("\n")[:-1]  # a power cut leaves the last line incomplete
        history = [_epoch(number, line) for number, line in enumerate(lines, start=1)]
        for number, (before, after) in enumerate(itertools.pairwise([0, *(result.epoch for result in history)]), 1):
            if after <= before:
                raise ValueError(f"line {number}: expected an epoch after {before}, got {shown(after)}")
        return history
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is broken ({first_line(error)}); train again") from error


def _epoch(number: int, line: str) -> EpochResult:
    content = json.loads(line)
    if not isinstance(content, dict):
        raise ValueError(f"line {number}: expected an object, got {shown(content)}")
    result = EpochResult(**content)
    check_types(result)
    return result


def check_tensorboard(wanted: bool) -> None:
    """Raise `ConfigError` if TensorBoard files are wanted but cannot be written here."""
    if wanted:
        _summary_writer()


def _summary_writer() -> Any:
    try:
        return importlib.import_module("torch.utils.tensorboard").SummaryWriter
    except ImportError as error:
        raise ConfigError(
            f"curves for TensorBoard need the package tensorboard: {how_to_install('tensorboard')}"
        ) from error


@contextmanager
def recorder(path: Path, done: int, wanted: bool) -> Iterator[Callable[[EpochResult], None]]:
    """Yield a function that appends an epoch to a run's metrics and, if wanted, to its TensorBoard files.

    Record an epoch before saving the checkpoint after it: a training that is killed in between then records the epoch
    again when it is resumed, instead of never.

    Args:
        path: the run's folder.
        done: number of epochs before this training starts; records of later ones are dropped.
        wanted: whether to write TensorBoard files.
    """
    if not wanted:
        yield lambda result: append_metrics(path, result)
        return
    void = done + 1 if event_files(path) else None
    with _summary_writer()(str(path / EVENTS), purge_step=void) as writer:

        def record(result: EpochResult) -> None:
            for name, value in scalars(result).items():
                writer.add_scalar(name, value, result.epoch)
            writer.flush()
            append_metrics(path, result)

        yield record


def scalars(result: EpochResult) -> dict[str, float]:
    """Return an epoch's scalars for TensorBoard, by names that group its charts; accuracies are fractions."""
    values = {
        "loss/train": result.train_loss,
        "loss/val": result.val_loss,
        "accuracy/train": result.train_accuracy,
        "accuracy/val": result.val_accuracy,
        "lr": result.lr,
    }
    return {name: value for name, value in values.items() if value is not None}
