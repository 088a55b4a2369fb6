"""The command evaluate."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from ...config import DataConfig, LinesName, OperatingConfig
from ...errors import ConfigError
from ...formatting import quoted
from ...interrupt import immediate_interrupt
from ...validation import check_run
from ..app import Json, OperatingFlags, TableFlags, app, given, import_user_cell
from ..outcome import print_json, say

if TYPE_CHECKING:
    from ...data.sequences import SequenceData
    from ...evaluation.metrics import Evaluation
    from ...evaluation.operating_point import OperatingPoint, Outcome
    from ...runs.storage import Run


@app.command
def evaluate(
    run: Path,
    /,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    reading: TableFlags = None,
    lines: LinesName | None = None,
    text_column: str | None = None,
    cell: str | None = None,
    anytime: Annotated[bool, Parameter(negative="")] = False,
    operating: OperatingFlags = None,
    keep: Annotated[bool, Parameter(negative="")] = False,
    drop: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Evaluate a run: accuracy, balanced accuracy, F1, ROC-AUC, confusion matrix.

    Example: unroll evaluate runs/first

    Example: unroll evaluate runs/fraud --at-recall 0.95 --keep

    A run answers the most probable class. --threshold, --at-recall or costs show what it does with another threshold
    for one of two classes, --reject with "unsure" as an answer: chosen on the run's validation split, measured on the
    test split. --keep keeps that in the run, and predict, serve, export and report follow it; --drop removes it.

    Parameters
    ----------
    run
        Folder of a finished run.
    data
        Data set to evaluate on: its test split, or all of it if it has none; default the run's own. It is prepared as
        the run's training data was.
    data_dir
        Folder to search first for the data.
    lines
        Position of the class in a line of text: label-first, label-last, or tab; default as in the run's own data.
    text_column
        Column of a table, or field of JSON, with the texts; default the one that the run was trained on.
    cell
        module:Class of your own cell, if the run was trained with one; it is imported.
    anytime
        Also show the accuracy after parts of each sequence, and with early stopping by confidence.
    keep
        Keep the operating point in the run, in place of an earlier one.
    drop
        Remove the operating point from the run, and do nothing else.
    json
        Print one JSON object with accuracy (a fraction), loss, n and more.
    """
    columns = {"lines": lines, "text_column": text_column}
    settings = given(reading) | {name: value for name, value in columns.items() if value is not None}
    DataConfig(**settings)
    if settings and data is None:
        raise ConfigError(f"{' and '.join(settings)} must come with --data: the run's own data is read as it was")
    chosen = OperatingConfig(**given(operating))
    if drop and (keep or chosen or settings or data or data_dir or anytime):
        raise ConfigError("drop only removes the operating point: give no other flags with it")
    if keep and not chosen:
        raise ConfigError("keep must come with an operating point: threshold, at_recall, a cost or reject")
    check_run(run)
    if drop:
        return _drop(run, json)
    with immediate_interrupt():
        from ...evaluation.anytime import evaluate_anytime
        from ...evaluation.metrics import evaluate as count
        from ...runs.data import load_test
        from ...runs.operating import choose_operating_point, keep_operating_point
        from ...runs.storage import load_run
        from ..views.evaluation import print_anytime, print_evaluation, print_operating_point
        from ..views.terminal import Screen, show_reading

    import_user_cell(cell)
    loaded = load_run(run)
    if anytime:
        loaded.single("--anytime")
    with show_reading(data or f"the data of {run}"):
        test = load_test(loaded, data, data_dir, **settings)
        own_dir = data_dir if data is None else None
        point = choose_operating_point(loaded, chosen, own_dir) if chosen else loaded.operating_point
    name, part, sequences = test.name, test.part, test.sequences
    evaluation = count(loaded.model, sequences, calibration=loaded.calibration)
    warnings = test.warnings()
    early = evaluate_anytime(loaded.model, sequences, loaded.calibration) if anytime else None
    outcome, of_recordings = (None, None) if point is None else _outcomes(point, evaluation, loaded, sequences)
    if keep and point:
        loaded = keep_operating_point(loaded, point)
    kept = point is not None and loaded.operating_point == point
    if json:
        about = {"run": str(run), "data": name, "part": part, "trained_on": test.trained_on}
        about["validated_on"] = test.validated_on
        results = about | {"warnings": warnings, **evaluation.to_dict()}
        results["operating_point"] = point and outcome and _facts(point, outcome, of_recordings, kept)
        print_json(results | ({"anytime": early.to_dict()} if early else {}))
    else:
        console = Screen()
        where = f"all of {name}" if part == "all" else f"the test split of {name}"
        print_evaluation(console, evaluation, f"{run} on {where}")
        if early:
            print_anytime(console, early)
        if point and outcome:
            print_operating_point(console, point, outcome, of_recordings, full=bool(chosen))
    if chosen and point:
        for line in _remarks(loaded, point, chosen, kept):
            say(line)
    if loaded.config.train and loaded.config.train.precision == "bf16":
        say("the run was trained in bf16; it is evaluated in float32")
    for note in sequences.notes if data is not None else ():
        say(note)
    for line in warnings:
        say(f"{name}: {line}")
    if optimism := test.optimism():
        say(optimism)
    return 0


def _drop(run: Path, json: bool) -> int:
    with immediate_interrupt():
        from ...runs.operating import drop_operating_point

    drop_operating_point(run)
    if json:
        print_json({"run": str(run), "operating_point": None})
    else:
        say(f"{run} answers the most probable class again")
    for line in _outdated(run):
        say(line)
    return 0


def _outdated(run: Path) -> Iterator[str]:
    """Yield a line for each file in a run's folder that shows the answers of an earlier operating point."""
    from ...runs.folder import PAGE, REPORT

    for name, command in ((PAGE, "export"), (REPORT, "report")):
        if (run / name).exists():
            yield f"{run / name} was made before: renew it with unroll {command} {shlex.quote(str(run))}"


def _outcomes(
    point: OperatingPoint, evaluation: Evaluation, run: Run, sequences: SequenceData
) -> tuple[Outcome, Outcome | None]:
    """Return what an operating point makes of sequences, and of the recordings that they are windows of."""
    from ...evaluation.calibration import probabilities

    assert evaluation.logits is not None
    assert evaluation.y is not None
    judged = probabilities(evaluation.logits, run.calibration), evaluation.y
    return point.outcome(*judged), point.outcome_of_recordings(*judged, sequences.recordings)


def _facts(point: OperatingPoint, outcome: Outcome, of_recordings: Outcome | None, kept: bool) -> dict[str, Any]:
    validation = point.validation and point.validation.to_dict()
    facts = {**point.to_dict(), "kept": kept, "validation": validation, "test": outcome.to_dict()}
    return facts | ({} if of_recordings is None else {"recordings": of_recordings.to_dict()})


def _remarks(run: Run, point: OperatingPoint, chosen: OperatingConfig, kept: bool) -> Iterator[str]:
    """Yield what a user should know about an operating point that was just chosen."""
    from ...evaluation.operating_point import FEW

    if point.positive is not None and chosen.positive is None:
        yield f"{quoted(point.positive)}, the rarer class of the training data, is the positive one (--positive)"
    if point.validation and chosen.needs_validation and (n := point.validation.positives) < FEW:
        yield f"the threshold was chosen by {n} validation {point.counted} of {quoted(point.positive)}, which are few"
    if point.validation and chosen.needs_validation and point.counted == "windows":
        yield "the threshold was chosen by windows, as recordings of the validation split are of several classes"
    if run.calibration is None:
        yield f"{run.path} has no calibration, so its probabilities are often too high"
    if not kept:
        yield f"this is not kept in {run.path}: add --keep, and predict, serve, export and report follow it"
        return
    yield f"kept in {run.path}: predict, serve, export and report follow it (--drop removes it)"
    yield from _outdated(run.path)
