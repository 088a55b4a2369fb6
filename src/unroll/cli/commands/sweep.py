"""The command sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ...config import RecipeName
from ...config.axes import Range, Values, check_axes, read_values
from ...errors import ConfigError
from ...interrupt import immediate_interrupt, resignalled
from ...validation import SWEEP, check_run, check_whole
from ..app import DataFlags, Json, ModelLists, TrainLists, app, given, has_settings, import_user_cell
from ..outcome import print_json, say


@app.command
def sweep(
    *,
    data: str | None = None,
    data_dir: Path | None = None,
    reading: DataFlags = None,
    recipe: RecipeName | None = None,
    seeds: int | None = None,
    method: Literal["grid", "random", "tpe"] | None = None,
    trials: int | None = None,
    model: ModelLists = None,
    training: TrainLists = None,
    out: Path | None = None,
    resume: Path | None = None,
    refit: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """Train with several settings and choose the best by validation accuracy or --metric; each trial is a run.

    Example: unroll sweep --cell rnn,gru --lr 1e-3,3e-3 --seeds 3

    Example: unroll sweep --lr 1e-4..1e-2 --hidden-size 64..256 --method tpe --trials 20 --out sweeps/mine

    The flags are those of unroll train. The sweep chooses the flags that have several values, separated by commas, or,
    with the methods random and tpe, a range LOW..HIGH; lr and weight-decay are searched by factors. Flags with one
    value are the same in all trials; switches take true, false or both.

    The test set is not used for the choice: at the end, only the chosen setting is evaluated on it. A sweep therefore
    needs a validation split, and recipes without one need --val-fraction 0.1.

    If a trial diverges, the sweep records it and continues. After Ctrl-C, kill -9 or a power cut, continue with
    --resume.

    Parameters
    ----------
    data
        As in unroll train. Default mnist-sample.
    data_dir
        Folder to search first for the data.
    recipe
        Settings to start from; default images, series or text, as the data is.
    seeds
        Number of trainings of each setting, with the seeds 0, 1, 2 … or from --seed on; default 1.
    method
        grid tries all settings, random some of them, tpe those that look best after the previous ones, which needs
        the extra sweep; default grid, or random if there is a range.
    trials
        Number of settings that random and tpe try; default 10.
    out
        Folder for the runs, sweep.json and sweep.png, new or empty; default sweeps/DATA-N.
    resume
        Continue the sweep in this folder with its settings. If it is finished, only its result is shown.
    refit
        Train the chosen setting once more, on the training and the validation data together, DIR/refit. With early
        stopping it has as many epochs as were kept on average. Also with --resume of a finished sweep.
    json
        Print one JSON object on stdout; progress goes to stderr.
    """
    for name, count in (("seeds", seeds), ("trials", trials)):
        if count is not None:
            check_whole(name, count, 1)
    flags = {**given(model), **given(training)}
    if resume is None:
        search, same = _chosen_and_same(flags)
        same |= given(reading)
        check_axes(recipe, {name: value for name, value in same.items() if name != "seed"}, search)
    else:
        if any((data, recipe, seeds, method, trials, out, given(reading))) or has_settings(flags):
            raise ConfigError(
                f"--resume takes all settings from {resume}; give at most --data-dir and --refit with it, and --cell "
                "module:Class of your own cells"
            )
        check_run(resume, kind="sweep", file=SWEEP)
    with immediate_interrupt():
        from ...plots import png, sweep_figure
        from ...runs.folder import SWEEP_IMAGE, write
        from ...runs.sweep import resume_sweep, run_sweep
        from ..views.sweep import SweepScreen, print_sweep
        from ..views.terminal import Screen, stopped, to_continue

    for cell in flags.get("cell", "").split(","):
        import_user_cell(cell)
    console = Screen(stderr=json)
    screen = SweepScreen(console)
    try:
        with resignalled(lambda: to_continue("sweep", screen.path, flags.get("cell"))), screen:
            if resume is None:
                asked = {"data": data, "recipe": recipe, "seeds": seeds, "method": method, "trials": trials}
                wanted: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
                done = run_sweep(search=search, **same, **wanted, data_dir=data_dir, out=out, refit=refit, watch=screen)
            else:
                done = resume_sweep(resume, data_dir=data_dir, refit=refit, watch=screen)
            if done.best is not None:
                write(done.path / SWEEP_IMAGE, png(sweep_figure(done)))
    except (KeyboardInterrupt, OSError, MemoryError, RuntimeError) as error:
        return stopped(error, to_continue("sweep", screen.path, flags.get("cell")))
    if json:
        print_json(done.to_dict())
    else:
        print_sweep(console, done)
    if done.best is None:
        say(f"no setting finished with every seed; see {done.path / 'sweep.json'}")
    return 0 if done.best else 1


def _chosen_and_same(flags: dict[str, str]) -> tuple[dict[str, Values], dict[str, Any]]:
    """Return the settings to choose, with their values or range, and the settings with one value."""
    axes = {name: read_values(name, text) for name, text in flags.items()}
    search = {name: values for name, values in axes.items() if isinstance(values, Range) or len(values) > 1}
    same = {name: values[0] for name, values in axes.items() if not isinstance(values, Range) and len(values) == 1}
    return search, same
