"""The command train."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from ...config import RecipeName, choose_settings
from ...errors import ConfigError
from ...interrupt import immediate_interrupt, resignalled
from ...validation import check_run
from ..app import DATA, DataFlags, Json, ModelFlags, TrainFlags, app, given, has_settings, import_user_cell
from ..outcome import in_words, is_expected, print_json, say

if TYPE_CHECKING:
    from ...runs.storage import Run
    from ..views.terminal import Screen
    from ..views.training import TrainingScreen

# Keys of evaluation.json that --json prints.
SCORES = ("accuracy", "loss", "n", "interval", "majority", "balanced_accuracy", "macro_f1", "roc_auc", "weights")


@app.command
def train(
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    reading: DataFlags = None,
    recipe: RecipeName | None = None,
    model: ModelFlags = None,
    training: TrainFlags = None,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    resume: Path | None = None,
    report: bool | None = None,
    tensorboard: Annotated[bool, Parameter(negative="")] = False,
    checkpoint_seconds: float = 10.0,
    json: Json = False,
) -> int:
    """Train a classifier and save it in a run folder.

    Example: unroll train --data mnist --epochs 2 --out runs/first

    Settings that are not given come from the recipe, which follows from the kind of data. "images" has the defaults
    shown. "series" is a bidirectional GRU of 64 units with readout max, which reads each series scaled both ways and
    through a stem of two convolutions; at least 600 training steps with lr 0.005, weight decay 0.05, label smoothing
    0.05, noise 0.1, gain 0.1 and drift 0.2; of at most 200 training series none is held out for validation. "text" is a
    bidirectional GRU of 128 units, with readout max, token vectors of 128 numbers, token dropout 0.1, embedding dropout
    0.5, label smoothing 0.1, weight decay 0.1, consistency 1, batches of 32, and 4 epochs or 400 training steps,
    whichever is more. "best" trains for 80 epochs on all of the training data, with weight decay 0.1. "tutorial"
    uses torch's initial weights, 10 epochs of plain Adam at a constant 0.001, no clipping, no validation split, and
    inputs from 0 to 1.

    Parameters
    ----------
    data
        mnist-sample (included), mnist, fashion-mnist, kmnist; ucr:NAME, a set of the UCR and UEA archive;
        hf:OWNER/NAME, a set of the Hugging Face Hub, or hf:FOLDER; a folder of images with a sub-folder for each class;
        series in a .ts, .arff, .csv, .tsv, .txt, .parquet, .arrow or .feather file, in an .npz file with x (N, time,
        features) and y, or in a folder of CSV files with one recording each; texts in a table or JSON
        with a column for them, in lines with their class, or in a folder with a sub-folder for each class. Default
        mnist-sample.
    data_dir
        Folder to search first for the data.
    recipe
        Settings to start from; default images, series or text, as the data is.
    out
        Run folder; default runs/DATA-CELL-N.
    overwrite
        Replace an existing run in --out.
    resume
        Finish this interrupted run, with its settings.
    report
        Write a report of the finished run, RUN/report.html; see unroll report. Default: if stderr is a terminal.
    tensorboard
        Also write the curves for TensorBoard, into RUN/tensorboard.
    checkpoint_seconds
        Seconds of training between two checkpoints: what kill -9 or a power cut can lose; 0 writes one after each epoch
        only.
    json
        Print one JSON object on stdout; progress goes to stderr.
    """
    settings = {**given(reading), **given(model), **given(training)}
    choose_settings(recipe, settings)  # raises before torch is loaded, which takes seconds
    if resume is not None:
        if has_settings(settings) or out or overwrite or tensorboard or data or recipe:
            raise ConfigError(
                f"--resume takes all settings from {resume}; give at most --data-dir and --checkpoint-seconds with it, "
                "and --cell module:Class of your own cell"
            )
        check_run(resume)
    with immediate_interrupt():
        from ...runs.execute import resume_run, train_run
        from ..views.terminal import Screen, stopped, to_continue
        from ..views.training import TrainingScreen, print_run

    import_user_cell(settings.get("cell"))
    console = Screen(stderr=json)
    screen = TrainingScreen(console)
    try:
        with resignalled(lambda: to_continue("train", screen.path, settings.get("cell"))), screen:
            if resume is not None:
                run = resume_run(resume, data_dir=data_dir, checkpoint_seconds=checkpoint_seconds, watch=screen)
            else:
                run = train_run(
                    data or DATA,
                    recipe=recipe,
                    data_dir=data_dir,
                    out=out,
                    overwrite=overwrite,
                    tensorboard=tensorboard,
                    checkpoint_seconds=checkpoint_seconds,
                    watch=screen,
                    **settings,
                )
    except (KeyboardInterrupt, OSError, MemoryError, RuntimeError) as error:
        return stopped(error, to_continue("train", screen.path, settings.get("cell")))
    reported = sys.stderr.isatty() if report is None else report
    if json:
        result, more = run.evaluation or {}, ("members",) if run.config.ensemble > 1 else ()
        keys = (*SCORES, *more, *(("recordings",) if "recordings" in result else ()))
        print_json({"run": str(run.path), **{key: result.get(key) for key in keys}})
    else:
        print_run(console, run, reported)
    return _report(run, screen, console) if reported else 0


def _report(run: Run, screen: TrainingScreen, console: Screen) -> int:
    """Write the report of a run that has just been trained; if that fails, the run is still complete."""
    from ...errors import InputError
    from ...report import write_report
    from ...runs.data import TestData, load_splits
    from ..views.terminal import command_line, own_cell, print_facts

    assert run.config.plan is not None
    try:
        with console.status("writing the report"):
            splits = screen.splits or load_splits(run)  # an ensemble may have lacked nothing but its evaluation
            test = TestData(run.config.plan.data, "test", splits.test, 0, 0) if run.evaluation else None
            written = write_report(run, test, "no test split", splits.train)
        print_facts(console, {"report": written.path, "samples": written.about_samples})
        return 0
    except (KeyboardInterrupt, InputError, OSError, MemoryError, RuntimeError) as error:
        if not is_expected(error):
            raise
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else in_words(error)
        line = command_line("report", run.path, *own_cell(run.model.config.cell))
        say(f"the run is finished, but not its report: {reason}; write it with: {line}")
        return 130 if isinstance(error, KeyboardInterrupt) else 1
