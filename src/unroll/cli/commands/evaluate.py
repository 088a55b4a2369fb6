"""The command evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...config import DataConfig, LinesName
from ...errors import ConfigError
from ...interrupt import immediate_interrupt
from ...validation import check_run
from ..app import Json, TableFlags, app, given, import_user_cell
from ..outcome import print_json, say


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
    json: Json = False,
) -> int:
    """Evaluate a run: accuracy, balanced accuracy, F1, ROC-AUC, confusion matrix.

    Example: unroll evaluate runs/first

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
    json
        Print one JSON object with accuracy (a fraction), loss, n and more.
    """
    columns = {"lines": lines, "text_column": text_column}
    settings = given(reading) | {name: value for name, value in columns.items() if value is not None}
    DataConfig(**settings)
    if settings and data is None:
        raise ConfigError(f"{' and '.join(settings)} must come with --data: the run's own data is read as it was")
    check_run(run)
    with immediate_interrupt():
        from ...evaluation.anytime import evaluate_anytime
        from ...evaluation.metrics import evaluate as count
        from ...runs.data import load_test
        from ...runs.storage import load_run
        from ..views.evaluation import print_anytime, print_evaluation
        from ..views.terminal import Screen, show_reading

    import_user_cell(cell)
    loaded = load_run(run)
    if anytime:
        loaded.single("--anytime")
    with show_reading(data or f"the data of {run}"):
        test = load_test(loaded, data, data_dir, **settings)
    name, part, sequences, trained_on = test
    evaluation = count(loaded.model, sequences, calibration=loaded.calibration)
    warnings = test.warnings()
    early = evaluate_anytime(loaded.model, sequences, loaded.calibration) if anytime else None
    if json:
        about = {"run": str(run), "data": name, "part": part, "trained_on": trained_on}
        results = about | {"warnings": warnings, **evaluation.to_dict()}
        print_json(results | ({"anytime": early.to_dict()} if early else {}))
    else:
        console = Screen()
        where = f"all of {name}" if part == "all" else f"the test split of {name}"
        print_evaluation(console, evaluation, f"{run} on {where}")
        if early:
            print_anytime(console, early)
    if loaded.config.train and loaded.config.train.precision == "bf16":
        say("the run was trained in bf16; it is evaluated in float32")
    for note in sequences.notes if data is not None else ():
        say(note)
    for line in warnings:
        say(f"{name}: {line}")
    if trained_on:
        n = len(sequences)
        say(f"the run was trained on {trained_on:,} of these {n:,} sequences, so this accuracy is optimistic")
    return 0
