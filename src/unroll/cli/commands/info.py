"""The command info."""

from __future__ import annotations

from pathlib import Path

from ...interrupt import immediate_interrupt
from ...validation import check_run
from ..app import Json, app, import_user_cell
from ..outcome import print_json


@app.command
def info(run: Path | None = None, /, *, cell: str | None = None, json: Json = False) -> int:
    """Show versions, devices and scan backends, and why each is used or not.

    Example: unroll info

    Parameters
    ----------
    run
        Folder of a finished run: also show which backend computes its model here, and why, and what its cell computes.
    cell
        module:Class of your own cell, if the run was trained with one; it is imported.
    json
        Print one JSON object.
    """
    check_run(run)
    with immediate_interrupt():
        from ...runs.storage import load_run
        from ...training.environment import describe, describe_model, describe_step
        from ..views.terminal import Screen, print_facts

    facts = describe()
    if run:
        import_user_cell(cell)
        loaded = load_run(run)
        described = describe_model(loaded.model, loaded.config.train), describe_step(loaded.model, loaded.config.train)
        facts["run"] = {"path": str(run), **described[0], **described[1]}
    if json:
        print_json(facts)
    else:
        print_facts(Screen(), facts)
    return 0
