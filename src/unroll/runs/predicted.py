"""Predictions for files by one run, or by the mean of several, each of which prepares the data in its own way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..config import DataConfig
from ..data.containers import is_frame
from ..data.records import Records
from ..data.sources import Source, sources
from ..errors import DataError, RunError
from ..evaluation.predict_files import FilePrediction, Sure, best, predict_sources, predict_texts
from ..formatting import listed
from ..models.ensemble import log_mean
from .answers import columns_of
from .storage import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Predicted:
    """Predictions for files and texts.

    Attributes:
        predictions: in the order of the files and of what they hold, then those for texts
        classes: names, in the order of their ``probabilities``
        warnings: how files differ from the training data, a line for each
    """

    predictions: list[FilePrediction]
    classes: tuple[str, ...]
    warnings: list[str]


def check_alike(runs: Sequence[Run]) -> None:
    """Raise `RunError` unless the predictions of runs can be averaged: they read the same kind of data and classes.

    A run counts once: one that is named again is refused too.
    """
    first, seen = runs[0], {runs[0].path.resolve()}
    for run in runs[1:]:
        if run.path.resolve() in seen:
            raise RunError(f"{run.path} is given twice: leave one out")
        seen.add(run.path.resolve())
        kinds = first.preparation.kind, run.preparation.kind
        if kinds[0] != kinds[1]:
            raise RunError(
                f"{first.path} and {run.path} must read the same kind of data to be averaged, got {' and '.join(kinds)}"
            )
        own, of_first = set(run.preparation.classes), set(first.preparation.classes)
        if own != of_first:
            extra = "; ".join(
                f"only {path} has {listed(sorted(names))}"
                for path, names in ((first.path, of_first - own), (run.path, own - of_first))
                if names
            )
            raise RunError(f"{first.path} and {run.path} must have the same classes to be averaged: {extra}")


def predict(
    runs: Sequence[Run],
    files: Sequence[Source],
    texts: Sequence[str] = (),
    records: Records | None = None,
    texts_from: str = "--text",
    config: DataConfig | None = None,
    stop_at: float | None = None,
) -> Predicted:
    """Classify files and texts by one run, or by the mean of the calibrated probabilities of several.

    Args:
        runs: at least one; `check_alike` must hold. Each counts alike, an ensemble too.
        files: from `unroll.data.sources.sources`.
        texts: to classify beside them.
        records: their places in their source (default: one after the other).
        texts_from: the name of that source (default "--text").
        config: how files are read, as for `unroll.evaluation.predict_files.predict_files`.
        stop_at: the confidence at which a single run stops reading (default None: at the end).

    Raises:
        RunError: ``stop_at`` is given for several runs.
        DataError: the runs do not read texts, and there are some.
        ConfigError: ``config`` is not for these files.
    """
    if stop_at is not None and len(runs) > 1:
        raise RunError("--stop-at needs a single run: leave out --with")
    of_runs = []
    for run in runs:
        point = run.operating_point if len(runs) == 1 else None
        sure, own = Sure(run.calibration, stop_at, point), run.config.plan.reading if run.config.plan else None
        predictions = predict_sources(run.model, run.preparation, files, sure, config, own)
        if texts:
            predictions.append(predict_texts(run.model, run.preparation, texts, records, texts_from, sure))
        of_runs.append(predictions)
    warnings = list(dict.fromkeys(_warnings(runs, of_runs)))
    kept = [str(run.path) for run in runs if run.operating_point is not None]
    if len(runs) > 1 and kept:
        warnings.append(f"the operating point of {listed(kept)} is not used: the mean of runs has none")
    classes = runs[0].preparation.classes
    if len(runs) == 1:
        return Predicted([each for file in of_runs[0] for each in file], classes, warnings)
    return Predicted(_means(runs, of_runs), classes, warnings)


def answer_files(run: Run | Sequence[Run], files: Any) -> pd.DataFrame:
    """Return the answers for files as a frame: a row for each sequence, with the columns of ``unroll predict --out``.

    Args:
        run: finished; or several with the same classes, whose calibrated probabilities are averaged.
        files: path, or a list of paths, of files of the kind that the run was trained on, or folders of such; of a
            folder, all files at any depth, in the order of their paths. Or a frame of series or texts, as for
            `unroll.load`, whose columns are what those of the training data were.

    Returns:
        a pandas frame in the order of the input: ``file``, ``row`` (from 0, as pandas counts), ``line``, ``id``,
        ``class``, ``probability``, ``error`` of what cannot be read, and ``p(NAME)`` for each class; see
        `unroll.runs.answers` for more.

    Raises:
        RunError: the runs do not read the same kind of data and classes.
        DataError: a folder holds no such file, or a frame does not fit the run.
    """
    import pandas as pd  # takes half a second

    runs = [run] if isinstance(run, Run) else list(run)
    check_alike(runs)
    if is_frame(files):
        name = type(files).__name__
        if runs[0].preparation.kind == "images":
            raise DataError(f"expected paths of images, got {name}")
        predicted = predict(runs, [Source(name, Path(name), name, frame=files)])
        if error := next((each.error for each in predicted.predictions if each.error), None):
            raise DataError(error)
    else:
        given = [files] if isinstance(files, str | Path) else list(files)
        with sources(list(map(Path, given)), runs[0].preparation.kind, None) as (each, _):
            predicted = predict(runs, each)
    return pd.DataFrame(columns_of(predicted.predictions, predicted.classes))


def _warnings(runs: Sequence[Run], of_runs: Sequence[Sequence[Sequence[FilePrediction]]]) -> Iterator[str]:
    for run, files in zip(runs, of_runs, strict=True):
        of = f" ({run.path})" if len(runs) > 1 else ""
        for prediction in (each for file in files for each in file):
            if prediction.unusual:
                yield f"{prediction.file}: {prediction.unusual}{of}"


def _means(runs: Sequence[Run], of_runs: Sequence[Sequence[Sequence[FilePrediction]]]) -> list[FilePrediction]:
    """Return the predictions with the mean probabilities of all runs."""
    rows = [row for of_file in zip(*of_runs, strict=True) for row in _aligned(runs, of_file)]
    readable, classes = [row for row in rows if row[0].error is None], runs[0].preparation.classes
    logs = []
    for number, run in enumerate(runs):
        order = [run.preparation.classes.index(name) for name in classes]
        given = [row[number].probabilities for row in readable]
        each = np.array(given, np.float64).reshape(len(given), len(classes))[:, order]
        logs.append(torch.from_numpy(each).log())
    mean = log_mean(logs).exp().float()
    answers = zip(mean.numpy(), best(mean, classes), strict=True)
    means = list[FilePrediction]()
    for first, *_ in rows:
        if first.error is None:
            probabilities, top = next(answers)
            label, probability = top[0]
            steps = (*first.steps, f"mean of {len(runs)} runs")
            first = replace(
                first,
                label=label,
                probability=probability,
                probabilities=probabilities,
                top=top,
                steps=steps,
                windows=(),  # those of runs may differ
            )
        means.append(first)
    return means


def _aligned(runs: Sequence[Run], of_file: Sequence[Sequence[FilePrediction]]) -> Iterator[tuple[FilePrediction, ...]]:
    """Yield the predictions of all runs for each sequence in a file; of a file that not every run reads, one error."""
    for run, predictions in zip(runs, of_file, strict=True):
        failed = next((each for each in predictions if each.error is not None), None)
        if failed is not None:
            yield (replace(failed, error=f"{failed.error} ({run.path})"),)
            return
    first, *rest = ([(each.row, each.line, each.id, each.text) for each in predictions] for predictions in of_file)
    for run, places in zip(runs[1:], rest, strict=True):
        if places != first:
            file = of_file[0][0].file
            error = (
                f"{file} is read differently by {runs[0].path}, as {len(first):,} sequences, and {run.path}, as "
                f"{len(places):,}: predict with each alone, or name the columns"
            )
            yield (FilePrediction(file, error=error),)
            return
    yield from zip(*of_file, strict=True)
