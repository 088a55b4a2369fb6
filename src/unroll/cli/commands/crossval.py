"""The command crossval."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...config import RecipeName, choose_settings
from ...errors import ConfigError
from ...interrupt import immediate_interrupt, resignalled
from ...validation import CROSSVAL, check_run, check_whole
from ..app import DATA, DataFlags, Json, ModelFlags, TrainFlags, app, given, has_settings, import_user_cell
from ..outcome import print_json


@app.command
def crossval(
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    folds: int | None = None,
    repeats: int | None = None,
    reading: DataFlags = None,
    recipe: RecipeName | None = None,
    model: ModelFlags = None,
    training: TrainFlags = None,
    out: Path | None = None,
    overwrite: Annotated[bool, Parameter(negative="")] = False,
    resume: Path | None = None,
    refit: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Cross-validate: train on all folds of the data but one, test on that one, each in turn; each fold is a run.

    Example: unroll crossval --data gestures.csv --folds 5 --group-pattern "s[0-9]+" --out runs/gestures-cv

    The flags are those of unroll train. Folds are stratified and seeded (--split-seed), and equal series or texts are
    in one fold, as are all windows of a recording; with --group or --group-pattern whole groups are. With
    --split-by-time, each fold is later than what is trained on for it. Scaling, vocabulary and all else that is learned
    from data is learned for each fold without it; what --val-fraction holds out is a part of what is trained on.

    If the data has a test split of its own, only the training part is divided, and the test split is not used;
    otherwise all of it is.

    The result is the mean over the folds ± the standard deviation; DIR/crossval.json has all of it, and DIR/oof.csv the
    probabilities that each sequence got from the run that was not trained on it. unroll report DIR shows both. After
    Ctrl-C, kill -9 or a power cut, continue with --resume.

    Parameters
    ----------
    data
        As in unroll train. Default mnist-sample.
    data_dir
        Folder to search first for the data.
    folds
        How many folds; default 5.
    repeats
        Repeat the whole with other folds and other seeds; default 1.
    recipe
        Settings to start from; default images, series or text, as the data is.
    out
        Folder for the runs, crossval.json and oof.csv; default runs/DATA-cv-N.
    overwrite
        Replace an existing cross-validation in --out.
    resume
        Continue the cross-validation in this folder with its settings. If it is finished, only its result is shown.
    refit
        Also train one run on all that was divided, DIR/refit, to predict with. With early stopping it has as many
        epochs as the folds kept on average. Also with --resume of a finished one.
    json
        Print one JSON object on stdout; progress goes to stderr.
    """
    for name, count, least in (("folds", folds, 2), ("repeats", repeats, 1)):
        if count is not None:
            check_whole(name, count, least)
    settings = {**given(reading), **given(model), **given(training)}
    choose_settings(recipe, settings)  # raises before torch is loaded, which takes seconds
    if resume is not None:
        if has_settings(settings) or any((data, folds, repeats, recipe, out, overwrite)):
            raise ConfigError(
                f"--resume takes all settings from {resume}; give at most --data-dir and --refit with it, and --cell "
                "module:Class of your own cell"
            )
        check_run(resume, kind="cross-validation", file=CROSSVAL)
    with immediate_interrupt():
        from ...runs.crossval import cross_validate, resume_cross_validation
        from ..views.crossval import CrossvalScreen, print_crossval
        from ..views.terminal import Screen, stopped, to_continue

    import_user_cell(settings.get("cell"))
    console = Screen(stderr=json)
    screen = CrossvalScreen(console)
    try:
        with resignalled(lambda: to_continue("crossval", screen.path, settings.get("cell"))), screen:
            if resume is not None:
                done = resume_cross_validation(resume, data_dir=data_dir, refit=refit, watch=screen)
            else:
                done = cross_validate(
                    data or DATA,
                    folds=folds or 5,
                    repeats=repeats or 1,
                    recipe=recipe,
                    data_dir=data_dir,
                    out=out,
                    overwrite=overwrite,
                    refit=refit,
                    watch=screen,
                    **settings,
                )
    except (KeyboardInterrupt, OSError, MemoryError, RuntimeError) as error:
        return stopped(error, to_continue("crossval", screen.path, settings.get("cell")))
    if json:
        print_json(done.to_dict())
    else:
        print_crossval(console, done)
    return 0
