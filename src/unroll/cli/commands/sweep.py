"""Many settings, and the choice between them: sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from ...config import RecipeName
from ...config.axes import Range, Values, check_axes, read_values
from ...errors import ConfigError
from ...interrupt import immediate_interrupt, resignalled
from ..app import RECIPE, DataFlags, Json, ModelLists, TrainLists, app, given, import_user_cell
from ..outcome import in_words, is_expected, print_json, say


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
    json: Json = False,
) -> int:
    """Train with many settings and choose the best by validation accuracy, or by --metric; each trial is a run.

    Example: unroll sweep --cell rnn,gru --lr 1e-3,3e-3 --seeds 3

    Example: unroll sweep --lr 1e-4..1e-2 --hidden-size 64..256 --method tpe --trials 20 --out sweeps/mine

    The flags are those of unroll train. One with several values, commas between them, is chosen; so is a number with a
    range LOW..HIGH, for the methods random and tpe, of lr and weight-decay by factors. What has one value has it in all
    trials; switches take true, false or both.

    The test part has no say in the choice, else it would be no test any more: it is looked at for the chosen setting
    alone, at the end. So a validation part must be held out, and recipes without one need --val-fraction 0.1.

    A trial that diverges is noted, and the sweep goes on. After Ctrl-C, kill -9 or a power cut --resume takes it up.

    Parameters
    ----------
    data
        As in unroll train. Default mnist-sample.
    data_dir
        Folder to look for the data in first.
    recipe
        Settings to start from; default fast.
    seeds
        Trainings of each setting, with the seeds 0, 1, 2 … or from --seed on; default 1.
    method
        grid tries all settings, random some of them, tpe those that look best after the ones before, which needs
        the extra sweep; default grid, with a range random.
    trials
        Settings that random and tpe try; default 10.
    out
        Folder for the runs, sweep.json and sweep.png, new or empty; default sweeps/DATA-N.
    resume
        Go on with the sweep in this folder; takes everything from there. Of a finished one the result is shown again.
    json
        Print one JSON object on stdout; progress goes to stderr.
    """
    flags = {**given(model), **given(training)}
    if resume is None:
        search, same = _chosen_and_same(flags)
        same |= given(reading)
        check_axes(recipe or RECIPE, {name: value for name, value in same.items() if name != "seed"}, search)
    with immediate_interrupt():
        from ...plots import png, sweep_figure
        from ...runs.folder import write
        from ...runs.sweep import resume_sweep, run_sweep
        from ..views.sweep import SweepScreen, print_sweep
        from ..views.terminal import Screen, command_line

    for cell in flags.get("cell", "").split(","):
        import_user_cell(cell)
    console = Screen(stderr=json)
    screen = SweepScreen(console)
    others = (data, recipe, seeds, method, trials, out, given(reading))
    try:
        with resignalled(lambda: command_line("sweep", "--resume", screen.path) if screen.path else None), screen:
            if resume is None:
                asked = {"data": data, "recipe": recipe, "seeds": seeds, "method": method, "trials": trials}
                wanted: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
                found = run_sweep(search=search, **same, **wanted, data_dir=data_dir, out=out, watch=screen)
            elif any(others) or set(flags) - {"cell"} or ":" not in flags.get("cell", ":"):
                raise ConfigError(
                    f"--resume takes everything from {resume}; give at most --data-dir with it, "
                    "and --cell module:Class of cells of your own"
                )
            else:
                found = resume_sweep(resume, data_dir=data_dir, watch=screen)
            if found.best is not None:
                write(found.path / "sweep.png", png(sweep_figure(found)))
    except (KeyboardInterrupt, OSError, MemoryError, RuntimeError) as error:
        if screen.path is None or not is_expected(error):
            raise
        reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"cannot go on: {in_words(error)}"
        say(f"{reason}; continue with: {command_line('sweep', '--resume', screen.path)}")
        return 130 if isinstance(error, KeyboardInterrupt) else 1
    if json:
        print_json(found.to_dict())
    else:
        print_sweep(console, found)
    if found.best is None:
        say(f"no setting came to its end with every seed; see {found.path / 'sweep.json'}")
    return 0 if found.best else 1


def _chosen_and_same(flags: dict[str, str]) -> tuple[dict[str, Values], dict[str, Any]]:
    """Return what is to be chosen, with its values or range; and what has one value."""
    values = {name: read_values(name, text) for name, text in flags.items()}
    search = {name: found for name, found in values.items() if isinstance(found, Range) or len(found) > 1}
    same = {name: found[0] for name, found in values.items() if not isinstance(found, Range) and len(found) == 1}
    return search, same
