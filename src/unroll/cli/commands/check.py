"""The command check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ...config import RecipeName, choose_settings
from ...errors import ConfigError, TrainingError
from ...interrupt import immediate_interrupt
from ..app import DATA, DataFlags, Json, ModelFlags, TrainFlags, app, given, has_settings, import_user_cell
from ..outcome import print_json


@app.command
def check(
    run: Path | None = None,
    /,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    reading: DataFlags = None,
    recipe: RecipeName | None = None,
    model: ModelFlags = None,
    training: TrainFlags = None,
    json: Json = False,
) -> int:
    """Try a training before it begins: shapes, parameters and initial loss of a batch, and what the whole will take.

    Example: unroll check --data mnist --cell rnn --num-layers 3

    Give the flags of unroll train, or a run, to check its architecture with new weights.

    Time and memory are those of unroll train on this machine as busy as it is now, estimated from about three seconds
    of the training. The time is from the data in memory to the finished run, without the report, and with --patience
    the most that it may take. The memory is the peak of the process, without that of a GPU. With --json they are
    "seconds" and "memory_bytes": null if the first steps fail, and the memory also where the system does not report it.

    Parameters
    ----------
    run
        Folder of a run, finished or not.
    data
        As in unroll train.
    data_dir
        Folder to search first for the data.
    recipe
        Settings to start from; default images, series or text, as the data is.
    json
        Print one JSON object.
    """
    settings = {**given(reading), **given(model), **given(training)}
    chosen = choose_settings(recipe, settings)
    with immediate_interrupt():
        from ...doctor.preflight import inspect_model
        from ...runs.config_file import read_plan
        from ...runs.estimate import estimate
        from ...runs.plan import Plan
        from ...training.loop import refuse_val_fraction
        from ...validation import CONFIG, CROSSVAL, SWEEP
        from ..views.doctor import print_inspection
        from ..views.terminal import Screen, show_reading

    import_user_cell(settings.get("cell"))
    if run is None:
        plan = Plan(data or DATA, data_dir, *chosen)
    elif has_settings(settings) or data or recipe:
        raise ConfigError(f"give {run} or the flags of a new run, not both")
    elif run.exists() and not any((run / name).exists() for name in (CONFIG, CROSSVAL, SWEEP)):
        raise ConfigError(f"{run} is not a run; to check data, use --data {run}")
    else:
        plan = read_plan(run, data_dir)
    with show_reading(plan.data):
        splits = plan.load()
    if splits.val is not None and "val_fraction" in settings:
        refuse_val_fraction(splits, settings["val_fraction"])
    if run is None:
        plan = plan.chosen(splits, recipe, settings)
    needs, trial = None, ""
    try:
        needs = estimate(plan, splits)  # raises what unroll train would raise
    except TrainingError as error:
        trial = str(error)
    inspection = inspect_model(plan.build(splits), splits, plan.recipe.train)
    if trial:
        inspection = replace(inspection, findings=(trial, *inspection.findings))
    if json:
        unknown = {"seconds": None, "memory_bytes": None, "training_steps": None}
        print_json(inspection.to_dict() | (needs.to_dict() if needs else unknown))
    else:
        print_inspection(Screen(), inspection, splits, needs)
    return 0
