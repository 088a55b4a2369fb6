"""Run or resume a sweep."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...config import OF_KIND, RecipeName, TrainConfig, choose_settings
from ...config.axes import Range, Setting, Values, check_axes, combinations
from ...data.catalog import resolve
from ...data.splits import Splits
from ...errors import ConfigError, DataError, RunError, TrainingError, is_out_of_memory
from ...formatting import in_words
from ...interrupt import resignalled
from ...training.loop import Training
from ...validation import REFIT, SWEEP, check_choice, check_whole
from ..execute import Event, complete_run
from ..folder import fresh, refuse_inside, refuse_used
from ..lock import locked
from ..plan import Plan, holds_none_out, why_none_can_be
from ..record import read_record
from ..refit import refuse_refit, train_on_all
from ..trials import Trial
from .search import Method, plan, propose
from .state import Sweep, read_sweep

OPEN = ("waiting", "running")  # of a trial that is not finished
TRIED_OUT = 100  # most combinations of the ends of ranges that are checked on the data before training

SweepEvent = Sweep | Trial | Event


def run_sweep(
    data: str = "mnist-sample",
    *,
    search: Mapping[str, Sequence[Any] | Range],
    seeds: int = 1,
    method: Method | None = None,
    trials: int | None = None,
    recipe: RecipeName | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    refit: bool = False,
    watch: Callable[[SweepEvent], object] | None = None,
    **settings: Any,
) -> Sweep:
    """Train with several settings, each as an ordinary run, and choose the best by validation accuracy or ``metric``.

    The test set is not used for the choice. At the end, only the chosen setting is evaluated on it.

    Args:
        data: name for `unroll.load` (default "mnist-sample").
        search: values, or a `Range` of numbers, for each setting to choose: fields of `ModelConfig` and `TrainConfig`.
            Ranges of lr and weight_decay are searched by factors, others evenly.
        seeds: trainings of each setting (default 1), with the seeds ``seed``, ``seed + 1`` and so on.
        method: "grid" tries all settings, "random" some, "tpe" those that look best after the previous ones (optuna);
            default "grid", or "random" if there is a range.
        trials: number of settings that random and tpe try (default 10).
        recipe: settings to start from (default "images", "series" or "text", as the data is).
        data_dir: the folder to search first for the data (default None).
        out: the sweep's folder, new or empty (default ``sweeps/<data>-<n>`` with the first free n).
        refit: train the chosen setting once more, on the training and the validation data, as `Sweep.refit`; with early
            stopping for as many epochs as it kept on average (default False).
        watch: called with the `Sweep` at the start, each `Trial` when it begins and ends, and the events of
            `train_run` (default None).
        **settings: the same for all: fields of `DataConfig`, `ModelConfig` and `TrainConfig`.

    Raises:
        InputError: a setting, the data or the folder is invalid; nothing has been changed.
        KeyboardInterrupt: Ctrl-C; the folder keeps the state, for `resume_sweep`.
    """
    check_whole("seeds", seeds, 1)
    if trials is not None:
        check_whole("trials", trials, 1)
    first = settings.pop("seed", 0)
    for seed in (first, first + seeds - 1):
        TrainConfig(seed=seed)  # raises if it is invalid
    axes = check_axes(recipe, settings, search)
    chosen = method or ("random" if any(isinstance(values, Range) for values in axes.values()) else "grid")
    check_choice("method", chosen, ("grid", "random", "tpe"))
    planned, count = plan(chosen, axes, trials, first)
    refuse_inside(out or "sweeps", resolve(data, data_dir))
    _refuse_used(out)
    splits = _try_out(data, data_dir, recipe, settings, planned or _corners(axes))
    if refit:
        refuse_refit(splits)
    settings = _with_validation(splits, settings)
    if settings.get("val_data") is not None:
        settings["val_data"] = resolve(settings["val_data"], data_dir)
    sweep = Sweep(
        path=fresh(out, "sweeps", splits.name),
        data=resolve(data, data_dir),
        data_dir=None if data_dir is None else str(Path(data_dir).expanduser().resolve()),
        fingerprint=splits.train.fingerprint(),
        recipe=recipe or OF_KIND[splits.train.kind],
        settings=settings,
        axes=axes,
        method=chosen,
        count=count,
        seeds=tuple(range(first, first + seeds)),
        refits=refit,
    )
    with locked(sweep.path):
        _refuse_used(sweep.path)  # again: another process may have been faster
        for setting in planned:
            sweep.add(setting)
        sweep.save()
        return _run(sweep, sweep.data_dir, watch)


def resume_sweep(
    path: str | Path,
    *,
    data_dir: str | Path | None = None,
    refit: bool = False,
    watch: Callable[[SweepEvent], object] | None = None,
) -> Sweep:
    """Continue an interrupted `run_sweep`: finished runs stay, the interrupted run is resumed.

    Args:
        path: the sweep's folder; if the sweep is finished, its result is returned without training.
        data_dir: the data's folder now, if it has moved (default: where it was).
        refit: as in `run_sweep`; a finished sweep is refitted too (default: as it was begun).
        watch: as in `run_sweep`.

    Raises:
        RunError: the folder is not a sweep, or is broken.
        DataError: the data is missing or has changed.
    """
    read_sweep(path)  # raises before a lock file is written into a folder that is not a sweep
    with locked(Path(path)):
        return _resume(read_sweep(path), data_dir, refit, watch)


def _resume(
    sweep: Sweep, data_dir: str | Path | None, refit: bool, watch: Callable[[SweepEvent], object] | None
) -> Sweep:
    folder = str(data_dir) if data_dir else sweep.data_dir
    if refit and not sweep.refits:
        some = sweep.trials[0].setting if sweep.trials else _corners(sweep.axes)[0]
        refuse_refit(_try_out(sweep.data, folder, sweep.recipe, sweep.settings, [some], sweep.fingerprint))
        sweep.refits = True
        sweep.save()
    left = [trial.setting for trial in sweep.trials if trial.status in OPEN]
    if left or len(sweep.trials) < sweep.total:
        tried = left if len(sweep.trials) == sweep.total else [*left, *_corners(sweep.axes)]
        _try_out(sweep.data, folder, sweep.recipe, sweep.settings, tried, sweep.fingerprint)
    return _run(sweep, folder, watch)


def _refuse_used(out: str | Path | None) -> None:
    if out is not None and (Path(out).expanduser() / SWEEP).exists():
        raise RunError(f"{out} holds a sweep; continue it with --resume {out}, or choose another --out")
    refuse_used(out)


def _corners(axes: Mapping[str, Values]) -> list[Setting]:
    """Return combinations of the values and of the ends of ranges, for settings that are not drawn yet."""
    return list(itertools.islice(combinations(axes), TRIED_OUT))


def _try_out(
    data: str,
    data_dir: str | Path | None,
    recipe: str | None,
    settings: Mapping[str, Any],
    tried: Sequence[Setting],
    fingerprint: str | None = None,
) -> Splits:
    """Load the data and build a model for each setting, so that errors show before any training."""
    first = Plan(data, data_dir, *choose_settings(recipe, {**settings, **tried[0]}), fingerprint)
    splits = first.load()
    settings = _with_validation(splits, settings)
    for setting in tried:
        try:
            own = first.chosen(splits, recipe, {**settings, **setting})
            training = Training(own.build(splits), splits, own.recipe.train)
        except ConfigError as error:
            raise ConfigError(
                f"{error} (in the setting {in_words(setting)})" if len(setting) > 1 else f"{error}"
            ) from error
        if training.val is None:
            why = f"none of {splits.source} can be held out: {why_none_can_be(splits)}"
            raise DataError(f"a sweep chooses by validation accuracy, but {why}; give --val-data")
    return splits


def _with_validation(splits: Splits, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings; of data of which a recipe would hold none out with the fraction by which a sweep chooses."""
    return {"val_fraction": TrainConfig.val_fraction, **settings} if holds_none_out(splits) else dict(settings)


def _run(sweep: Sweep, data_dir: str | None, watch: Callable[[SweepEvent], object] | None) -> Sweep:
    with resignalled(lambda: f"unroll sweep --resume {shlex.quote(str(sweep.path))}"):
        _train_all(sweep, data_dir, watch)
        best = sweep.best
        if sweep.refits and best is not None:
            runs = [sweep.path / trial.run for trial in best.trials]
            settings = {**sweep.settings, **best.setting, "seed": sweep.seeds[0]}
            path = sweep.path / REFIT
            train_on_all(path, sweep.data, runs, recipe=sweep.recipe, data_dir=data_dir, watch=watch, **settings)
    return sweep


def _train_all(sweep: Sweep, data_dir: str | None, watch: Callable[[SweepEvent], object] | None) -> None:
    notify = watch or (lambda _: None)
    notify(sweep)
    for place in range(sweep.total):
        if place == len(sweep.trials):
            worst = min([0.0, *(tried.score or 0.0 for tried in sweep.ranked)])  # for settings that failed
            by_number = sorted(sweep.ranked, key=lambda tried: tried.number)
            seen = [(tried.setting, worst if tried.score is None else tried.score) for tried in by_number]
            sweep.add(propose(sweep.axes, seen, sweep.count, sweep.seeds[0]))
        if sweep.trials[place].status in OPEN:
            trial = sweep.change(sweep.trials[place], status="running")
            notify(trial)
            notify(sweep.change(trial, **_outcome(sweep, trial, data_dir, watch)))


def _outcome(
    sweep: Sweep, trial: Trial, data_dir: str | None, watch: Callable[[Event], object] | None
) -> dict[str, Any]:
    """Train a trial, resume it, or read it if it is finished; return its results."""
    path = sweep.path / trial.run
    settings = {**sweep.settings, **trial.setting, "seed": trial.seed}
    try:
        complete_run(path, sweep.data, recipe=sweep.recipe, data_dir=data_dir, watch=watch, **settings)
    except (TrainingError, ConfigError) as error:  # other settings may still succeed
        return {"status": "failed", "reason": str(error).partition("; the metrics of")[0]}
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return {"status": "failed", "reason": "out of memory"}
    record = read_record(path)
    return {
        "status": "finished",
        "val_accuracy": record.chosen_epoch.val_accuracy,
        "val_loss": record.chosen_epoch.val_loss,
        "score": record.chosen_epoch.score(sweep.metric),
        "parameters": record.parameters,
        "seconds": record.seconds,
    }
