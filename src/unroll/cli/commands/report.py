"""The command report."""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError
from ...interrupt import immediate_interrupt
from ...validation import CROSSVAL, check_run
from ..app import Json, app, import_user_cell
from ..outcome import print_json, say


@app.command
def report(
    run: Path,
    /,
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    out: Path | None = None,
    samples: bool = True,
    cell: str | None = None,
    json: Json = False,
) -> int:
    """Write a report of a run: accuracy, mistakes, when in a sequence the model decides, and what to change.

    Example: unroll report runs/first

    The report is report.html in the run's folder, a single file that needs no network; its figures are also saved in
    figures/ as PNG files. On a terminal, unroll train writes a report automatically. If the run's data is not
    available, the report shows what the run has stored and lists what is missing.

    Of a cross-validation it shows the folds, the classes and the most confident mistakes.

    Parameters
    ----------
    run
        Folder of a finished run, or of a finished cross-validation.
    data
        Data set to evaluate the run on; for another than the run's own, also give --out. Default the run's own.
    data_dir
        Folder to search first for the data.
    out
        Folder to write to; default the run's.
    samples
        Show real samples of the test data: mistakes with their ids or file names, sequences read step by step, what
        speaks for the answers. --no-samples leaves all of them out.
    cell
        module:Class of your own cell, if the run was trained with one; it is imported.
    json
        Print one JSON object: the paths of the report and the figures, the number of samples shown, what is missing,
        and in which way the data is unlike the training data.
    """
    if (run / CROSSVAL).is_file():
        _refuse_data(run, {"--data": data, "--data-dir": data_dir, "--cell": cell})
        return _of_folds(run, out, samples, json)
    check_run(run)
    with immediate_interrupt():
        from ...data.catalog import resolve
        from ...errors import InputError
        from ...report import write_report
        from ...runs.data import load_test, load_train
        from ...runs.folder import FIGURES
        from ...runs.storage import load_run
        from ..views.terminal import Screen, print_facts, show_reading

    import_user_cell(cell)
    loaded, test, train, lacking = load_run(run), None, None, ""
    own = loaded.config.plan and loaded.config.plan.data
    if data is not None and out is None and own not in (None, resolve(data, data_dir)):
        raise ConfigError(
            f"{run} is for the report on its own data, {own}: choose another folder with --out for {data}"
        )
    try:
        with show_reading(data or f"the data of {run}"):
            train = load_train(loaded, data_dir) if data is None and loaded.config.plan else None
            test = load_test(loaded, data, data_dir)
    except InputError as error:
        if data is not None:
            raise
        lacking = str(error)
    warnings = list[str]()
    if test is not None:
        warnings = test.warnings()
        for line in warnings:
            say(f"{test.name}: {line}")
        if optimism := test.optimism():
            say(optimism)
    written = write_report(loaded, test, lacking, train, out, samples)
    paths = {"report": str(written.path), "figures": str(written.path.parent / FIGURES)}
    if json:
        about = {"samples": written.samples, "missing": lacking, "warnings": warnings}
        print_json({"run": str(run), **paths, **about})
    else:
        facts = paths | {"samples": written.about_samples}
        print_facts(Screen(), facts | ({"missing": lacking} if lacking else {}))
    return 0


def _refuse_data(path: Path, given: dict[str, object]) -> None:
    for flag, value in given.items():
        if value is not None:
            raise ConfigError(
                f"{flag} {value} is for the report of a run, and {path} is a cross-validation: leave it out"
            )


def _of_folds(path: Path, out: Path | None, samples: bool, json: bool) -> int:
    """Write the report of a cross-validation."""
    with immediate_interrupt():
        from ...report import write_crossval_report
        from ...runs.crossval import read_cross_validation
        from ...runs.folder import FIGURES
        from ..views.terminal import Screen, print_facts

    written = write_crossval_report(read_cross_validation(path), out, samples)
    paths = {"report": str(written), "figures": str(written.parent / FIGURES)}
    if json:
        print_json({"crossval": str(path), **paths})
    else:
        print_facts(Screen(), paths)
    return 0
