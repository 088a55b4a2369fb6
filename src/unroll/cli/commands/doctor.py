"""The command doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...interrupt import immediate_interrupt
from ...validation import check_run
from ..app import Json, app, import_user_cell
from ..outcome import print_json, say

if TYPE_CHECKING:
    from ...data.sequences import SequenceData
    from ...runs.storage import Run


@app.command
def doctor(
    run: Path,
    /,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    cell: str | None = None,
    json: Json = False,
) -> int:
    """Examine a run for problems: gradients over time, memory, saturated and dead units, training curves.

    Example: unroll doctor runs/first

    Each finding is shown with its measurements and the flags of unroll train that may help; a healthy run has none. If
    the run's data is not available, only its weights and training curves are examined.

    Parameters
    ----------
    run
        Folder of a finished run.
    data
        Data set to examine the run on: its test split, or all of it if it has none; default the run's training data.
    data_dir
        Folder to search first for the data.
    cell
        module:Class of your own cell, if the run was trained with one; it is imported.
    json
        Print one JSON object.
    """
    check_run(run)
    with immediate_interrupt():
        from ...doctor import examine
        from ...runs.history import read_history
        from ...runs.storage import load_run
        from ..views.doctor import print_examination
        from ..views.terminal import Screen, show_reading

    import_user_cell(cell)
    loaded = load_run(run)
    model = loaded.single("unroll doctor")
    with show_reading(data or f"the data of {run}"):
        sequences, warnings, reason = _sequences(loaded, data, data_dir)
    for line in warnings:
        say(f"{data}: {line}")
    stored = loaded.evaluation or {}
    examination = examine(
        model,
        sequences,
        history=read_history(run),
        test_accuracy=stored.get("accuracy"),
        deciding=stored.get("deciding"),
        training=loaded.config.train,
    )
    if json:
        about = {"run": str(run), "data": data, "no_data": reason or None, "warnings": warnings}
        print_json(about | examination.to_dict())
    else:
        print_examination(Screen(), examination, str(run), reason)
    return 0


def _sequences(run: Run, data: str | None, data_dir: Path | None) -> tuple[SequenceData | None, list[str], str]:
    """Return the sequences to examine a run on, with their warnings; or None and the reason, if none were asked for."""
    from ...errors import InputError
    from ...runs.data import load_test, load_train

    if data is not None:
        test = load_test(run, data, data_dir)
        return test.sequences, test.warnings(), ""
    try:
        # The training data: problems there are those that the training had.
        return load_train(run, data_dir), [], ""
    except InputError as error:
        if data_dir is not None:
            raise
        return None, [], str(error)
