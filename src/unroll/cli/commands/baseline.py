"""The command baseline."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from ...config import choose_settings
from ...errors import ConfigError
from ...interrupt import immediate_interrupt
from ...validation import check_run
from ..app import DATA, DataFlags, Json, app, given
from ..outcome import print_json


@app.command
def baseline(
    run: Path | None = None,
    /,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    reading: DataFlags = None,
    json: Json = False,
) -> int:
    """Train simple classifiers on the same data: is a recurrent net worth it?

    Example: unroll baseline runs/first

    The baselines are the majority class; logistic regression (on each feature's mean, deviation and last value for
    series, on all pixels for images, on a bag of words for texts); and, for series, the nearest neighbour under dynamic
    time warping, which needs the extra baseline. They are fitted on the training split and evaluated on the test set.

    Parameters
    ----------
    run
        Folder of a finished run: its data is used, its accuracy is compared with the best baseline, and the results are
        saved in the folder for unroll report and unroll compare.
    data
        Data set, if no run is given; as in unroll train.
    data_dir
        Folder to search first for the data.
    json
        Print one JSON object.
    """
    settings = given(reading)
    if run is not None and (settings or data):
        raise ConfigError(f"give {run} or the flags of data, not both")
    check_run(run)
    with immediate_interrupt():
        from ...evaluation.baseline import baselines, best_of, verdict
        from ...evaluation.predictions import Predictions
        from ...runs.artifacts import write_baselines
        from ...runs.data import load_splits
        from ...runs.plan import Plan
        from ...runs.storage import load_run
        from ..views.baseline import print_baselines
        from ..views.terminal import Screen, show_reading

    loaded = None if run is None else load_run(run)
    if loaded is None:
        with show_reading(data or DATA):
            splits = Plan(data or DATA, data_dir, *choose_settings(None, settings)).load()
    else:
        with show_reading(f"the data of {run}"):
            splits = load_splits(loaded, data_dir)
    with Screen(stderr=True).status("training baselines"):
        tried = list(baselines(splits))
    best, comparison = best_of(tried), ""
    if loaded is not None and best is not None:
        plan, test = loaded.config.plan, splits.test.prepared_as(loaded.preparation)
        assert plan is not None
        comparison = verdict(Predictions.of(loaded.model, test), best, asdict(plan.reading))
        write_baselines(loaded.path, tried, comparison)
    if json:
        content = {"data": splits.name, "baselines": [base.to_dict() for base in tried]}
        print_json(content | ({"run": str(run), "comparison": comparison} if comparison else {}))
    else:
        print_baselines(Screen(), tried, splits, comparison)
    return 0
