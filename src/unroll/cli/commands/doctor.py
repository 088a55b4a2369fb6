"""Why a run does as it does: doctor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...interrupt import immediate_interrupt
from ..app import Json, app, import_user_cell
from ..outcome import print_json

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
    """Examine a run: gradients over time, memory, saturated and dead units, its training; and say what helps.

    Example: unroll doctor runs/first

    Findings come with what was measured and with the flags of unroll train that mend them; a healthy run has none. If
    the run's data is gone, its weights and its training are examined alone.

    Parameters
    ----------
    run
        Folder of a finished run.
    data
        Data set whose test part to examine it on, all of it if it has none; default the run's own training part.
    data_dir
        Folder to look for the data in first.
    cell
        module:Class of a cell of your own that the run was trained with; it is imported.
    json
        Print one JSON object.
    """
    with immediate_interrupt():
        from ...doctor import examine
        from ...runs.history import read_history
        from ...runs.storage import load_run
        from ..views.doctor import print_examination
        from ..views.terminal import Screen

    import_user_cell(cell)
    loaded = load_run(run)
    sequences, reason = _sequences(loaded, data, data_dir)
    kept = loaded.evaluation or {}
    found = examine(
        loaded.model,
        sequences,
        history=read_history(run),
        test_accuracy=kept.get("accuracy"),
        deciding=kept.get("deciding"),
    )
    if json:
        print_json({"run": str(run), "data": data, "no_data": reason or None, **found.to_dict()})
    else:
        print_examination(Screen(), found, str(run), reason)
    return 0


def _sequences(run: Run, data: str | None, data_dir: Path | None) -> tuple[SequenceData | None, str]:
    """Return what to examine a run on; or None and why there is nothing, if no data was asked for."""
    from ...errors import InputError
    from ...runs.data import load_test, load_train

    if data is not None:
        return load_test(run, data, data_dir).sequences, ""
    try:
        # Its training part: what is found there is what the training met with.
        return load_train(run, data_dir), ""
    except InputError as error:
        if data_dir is not None:
            raise
        return None, str(error)
