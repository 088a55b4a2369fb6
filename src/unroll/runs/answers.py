"""Predictions as a table that can be joined with one's own: a row for each sequence, in the order of the input.

Columns are ``file``, ``row``, ``line``, ``id``, ``class``, ``probability``; of recordings that were cut into windows
``windows``, their number; of windows ``start``, the time step that each begins with; with early stopping ``read``;
where answers may be "unsure" ``unsure``; then ``error``, and for each class ``p(NAME)``, the probability of the class
NAME. No other column has a bracket in its name, so none has two meanings, whatever the classes are called.
"""

from __future__ import annotations

import csv
import importlib
import importlib.util
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..data.preparation import Kind
from ..data.sources import SUFFIXES, Source
from ..errors import ConfigError, RunError, how_to_install
from ..evaluation.predict_files import FilePrediction
from .folder import write

Columns = dict[str, list[Any]]


def check_answers(out: Path, overwrite: bool) -> None:
    """Raise `RunError` or `ConfigError` unless answers can be written to ``out``: before there are any.

    Args:
        out: the file, .csv, .jsonl or .parquet.
        overwrite: whether it may replace a file.
    """
    if out.suffix.lower() not in FORMATS:
        raise ConfigError(f"--out must end in {', '.join(FORMATS)}, got {out}")
    if out.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise ConfigError(f"{out} needs the library pyarrow: {how_to_install('tables')}, or choose .csv or .jsonl")
    if out.is_dir():
        raise RunError(f"{out} is a folder: choose a file, such as --out {out.with_name('answers.csv')}")
    if not out.parent.is_dir():
        raise RunError(f"cannot write {out}: the folder {out.parent} does not exist")
    if out.exists() and not overwrite:
        raise RunError(f"{out} exists; choose another --out, or replace it with --overwrite")


def check_apart(out: Path, files: Sequence[str | Path], each: Sequence[Source], kind: Kind) -> None:
    """Raise `RunError` if ``out`` is one of the files to classify, or would be the next time.

    Args:
        out: the file for the answers.
        files: as given, folders too.
        each: all files that are read.
        kind: of what they hold.
    """
    place = out.resolve()
    if any(place == source.path.resolve() for source in each):
        raise RunError(f"{out} is one of the files to classify: choose another --out")
    if out.suffix.lower() in SUFFIXES[kind]:
        for folder in map(Path, files):
            if folder.is_dir() and place.is_relative_to(folder.resolve()):
                raise RunError(
                    f"{out} lies in {folder}, where it would be classified the next time; choose another --out"
                )


def write_answers(out: Path, predictions: Sequence[FilePrediction], classes: Sequence[str]) -> None:
    """Write predictions in the format that the name of the file says; at any moment it is whole or not there.

    Args:
        out: the file, for which `check_answers` holds.
        predictions: of sequences, in order.
        classes: names, in the order of their ``probabilities``.
    """
    write(out, FORMATS[out.suffix.lower()](columns_of(predictions, classes)))


def columns_of(predictions: Sequence[FilePrediction], classes: Sequence[str]) -> Columns:
    """Return the columns of the table, None in cells without a value; arguments as for `write_answers`."""
    columns: Columns = {
        "file": [_text(each.file) for each in predictions],
        "row": [each.row for each in predictions],
        "line": [each.line for each in predictions],
        "id": [each.id and _text(each.id) for each in predictions],
        "class": [each.label for each in predictions],
        "probability": [each.probability for each in predictions],
    }
    if any(each.windows for each in predictions):
        columns["windows"] = [len(each.windows) or None for each in predictions]
    if any(each.start is not None for each in predictions):
        columns["start"] = [each.start for each in predictions]
    if any(each.read is not None for each in predictions):
        columns["read"] = [each.read for each in predictions]
    if any(each.unsure is not None for each in predictions):
        columns["unsure"] = [each.unsure for each in predictions]
    columns["error"] = [each.error and _text(each.error) for each in predictions]
    none = [None] * len(classes)
    rows = [none if each.probabilities is None else each.probabilities.tolist() for each in predictions]
    for number, name in enumerate(classes):
        columns[f"p({name})"] = [row[number] for row in rows]
    return columns


def _text(name: str) -> str:
    return name.encode("utf-8", "backslashreplace").decode()  # names of files may hold bytes that are not UTF-8


def _csv(columns: Columns) -> bytes:
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return content.getvalue().encode()


def _json_lines(columns: Columns) -> bytes:
    rows = zip(*columns.values(), strict=True)
    lines = (json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False, allow_nan=False) for row in rows)
    return "".join(f"{line}\n" for line in lines).encode()


def _parquet(columns: Columns) -> bytes:
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    types = {
        **dict.fromkeys(("file", "id", "class", "error"), arrow.string()),
        **dict.fromkeys(("row", "line", "windows", "start", "read"), arrow.int64()),
        "unsure": arrow.bool_(),
    }
    arrays = {name: arrow.array(values, types.get(name, arrow.float64())) for name, values in columns.items()}
    content = io.BytesIO()
    parquet.write_table(arrow.table(arrays), content)
    return content.getvalue()


FORMATS: dict[str, Callable[[Columns], bytes]] = {".csv": _csv, ".jsonl": _json_lines, ".parquet": _parquet}
