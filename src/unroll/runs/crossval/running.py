"""Cross-validation: train on all folds of the data but one, test on that one, each in turn; every fold is a run.

The folder holds the runs folds/1, folds/2, …, beside them ``crossval.json``, settings and results, and ``oof.csv``,
what was answered for each sequence by the run that was not trained on it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...cells import name_of
from ...config import OF_KIND, RecipeName, TrainConfig, choose_settings
from ...data.catalog import resolve
from ...data.folds import Folds
from ...data.splits import Splits
from ...errors import ConfigError, DataError, RunError, TrainingError
from ...formatting import listed
from ...interrupt import resignalled
from ...training.loop import Training
from ...validation import CROSSVAL, FOLDS, REFIT, check_whole
from ..artifacts import read_evaluation
from ..execute import Event, complete_run
from ..folder import (
    OUT_OF_FOLD,
    clear_runs,
    fresh,
    is_run,
    refuse_inside,
    refuse_used,
    runs_in,
    write,
)
from ..lock import locked
from ..plan import Plan
from ..record import read_record
from ..refit import refuse_refit, train_on_all
from ..storage import check_loadable
from .out_of_fold import table_of
from .state import METRICS, CrossValidation, Fold, read_cross_validation

CrossvalEvent = CrossValidation | Fold | Event


def cross_validate(
    data: str = "mnist-sample",
    *,
    folds: int = 5,
    repeats: int = 1,
    recipe: RecipeName | None = None,
    data_dir: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    refit: bool = False,
    watch: Callable[[CrossvalEvent], object] | None = None,
    **settings: Any,
) -> CrossValidation:
    """Train as many runs as there are folds, each on all of them but one, and test each on that one.

    All that is learned from data, the scaling, the vocabulary, what replaces missing values, is learned by each run on
    what it is trained on. Folds are stratified, and equal series or texts are in one fold, as are all windows of a
    recording; with ``group`` or ``group_pattern`` whole groups are; with ``split_by_time`` the past is trained on and
    the next fold tested on. Of data with a test part of its own only the training part is divided, and the test part
    is not used.

    Args:
        data: name for `unroll.load` (default "mnist-sample").
        folds: at least 2 (default 5).
        repeats: of the whole, with the seeds ``split_seed``, ``split_seed + 1`` and so on of the division, and
            likewise of the training (default 1).
        recipe: settings to start from (default "images", "series" or "text", as the data is).
        data_dir: the folder to search first for the data (default None).
        out: the folder (default ``runs/<data>-cv-<n>`` with the first free n).
        overwrite: replace an existing cross-validation (default False).
        refit: train one more run with these settings on all that was divided, as `CrossValidation.refit`
            (default False).
        watch: called with the `CrossValidation` at the start, each `Fold` when it begins and ends, and the events of
            `train_run` (default None).
        **settings: as for `train_run`.

    Raises:
        InputError: a setting, the data or the folder is invalid; nothing has been changed.
        TrainingError: the training of a fold diverged; the folder keeps the others.
        KeyboardInterrupt: Ctrl-C; the folder keeps the state, for `resume_cross_validation`.

    Source: M. Stone, Cross-Validatory Choice and Assessment of Statistical Predictions, Journal of the Royal
    Statistical Society B 36 (1974), p. 111.
    """
    settings = _checked(folds, repeats, recipe, settings)
    refuse_inside(out or "runs", resolve(data, data_dir))
    _refuse_taken(out, overwrite)
    place = None if data_dir is None else str(Path(data_dir).expanduser().resolve())
    if settings.get("val_data") is not None:
        settings["val_data"] = resolve(settings["val_data"], data_dir)
    first = CrossValidation(
        path=Path(),
        data=resolve(data, data_dir),
        data_dir=place,
        fingerprint="",
        recipe=recipe or "",
        settings=settings,
        folds=folds,
        repeats=repeats,
        cut="stratified",
        apart=0,
        refits=refit,
    )
    splits = _load(first, place)
    _try_out(first, splits, recipe)
    divided = splits.folds
    assert divided is not None
    of_repeats = [divided, *(_folds(first, place, repeat) for repeat in range(2, repeats + 1))]
    _refuse_one_class(of_repeats, splits)
    path = Path(out).expanduser() if out is not None and overwrite else fresh(out, "runs", f"{splits.name}-cv")
    path.mkdir(parents=True, exist_ok=True)
    validation = replace(
        first,
        path=path,
        fingerprint=_fingerprint(splits),
        recipe=recipe or OF_KIND[splits.train.kind],
        cut=divided.cut_by,
        apart=divided.apart,
        val_apart=splits.val is not None,
        results=list(_planned(of_repeats)),
    )
    del splits  # each run reads the data by itself
    with locked(path):
        _refuse_taken(path, overwrite)  # again: another process may have been faster
        clear_runs(path, [*runs_in(path / FOLDS), *filter(is_run, [path / REFIT])])
        (path / OUT_OF_FOLD).unlink(missing_ok=True)
        validation.save()
        return _run(validation, of_repeats, place, watch)


def resume_cross_validation(
    path: str | Path,
    *,
    data_dir: str | Path | None = None,
    refit: bool = False,
    watch: Callable[[CrossvalEvent], object] | None = None,
) -> CrossValidation:
    """Finish an interrupted `cross_validate`: finished folds stay, the interrupted one is resumed.

    Args:
        path: its folder; if all is finished, the result is returned without training.
        data_dir: the data's folder now, if it has moved (default: where it was).
        refit: as in `cross_validate` (default: as it was begun).
        watch: as in `cross_validate`.

    Raises:
        RunError: the folder is not a cross-validation, or is broken.
        DataError: the data is missing or has changed.
    """
    read_cross_validation(path)  # raises before a lock file is written into another folder
    with locked(Path(path)):
        validation = read_cross_validation(path)
        place = str(data_dir) if data_dir else validation.data_dir
        of_repeats = list[Folds]()
        if not validation.finished or not (validation.path / OUT_OF_FOLD).exists() or refit:
            splits = _load(validation, place)
            assert splits.folds is not None
            if refit:
                refuse_refit(splits)
            more = (_folds(validation, place, repeat) for repeat in range(2, validation.repeats + 1))
            of_repeats = [splits.folds, *more]
        if refit and not validation.refits:
            validation.refits = True
            validation.save()
        return _run(validation, of_repeats, place, watch)


def _checked(folds: int, repeats: int, recipe: str | None, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of all runs, checked as far as that needs no data."""
    check_whole("folds", folds, 2)
    check_whole("repeats", repeats, 1)
    for name in ("fold", "test_fraction"):
        if settings.get(name) is not None:
            raise ConfigError(
                f"{name} {settings[name]} cannot be used in a cross-validation: each of its folds is held out in turn"
            )
    if isinstance(settings.get("cell"), type):
        settings["cell"] = name_of(settings["cell"])
    reading, _ = choose_settings(recipe, settings)
    if reading.split_by_time is not None and repeats > 1:
        raise ConfigError(f"folds by time are divided in one way only: repeats must be 1, got {repeats}")
    last = settings.get("seed", 0) + repeats - 1
    TrainConfig(seed=last)  # raises if it is invalid
    return {name: value for name, value in settings.items() if value is not None}


def _refuse_taken(out: str | Path | None, overwrite: bool) -> None:
    if out is None or not (Path(out).expanduser() / CROSSVAL).exists():
        refuse_used(out)
    elif not overwrite:
        raise RunError(
            f"{out} holds a cross-validation; continue it with --resume {out}, replace it with --overwrite, or choose "
            "another --out"
        )


def _settings(validation: CrossValidation, fold: int, repeat: int) -> dict[str, Any]:
    """Return the settings of one run."""
    own = validation.settings
    seeds = {name: own.get(name, 0) + repeat - 1 for name in ("seed", "split_seed")} if repeat > 1 else {}
    return {**own, **seeds, "fold": f"{fold}/{validation.folds}"}


def _load(validation: CrossValidation, data_dir: str | None, repeat: int = 1) -> Splits:
    """Load the data with the first fold of a repeat held out; for the first repeat, check that it has not changed."""
    reading, first = choose_settings(validation.recipe or None, _settings(validation, 1, repeat))
    splits = Plan(validation.data, data_dir, reading, first).load()
    if repeat == 1 and validation.fingerprint not in ("", _fingerprint(splits)):
        raise DataError(f"{validation.path} was begun with other data than {splits.source} holds now; start a new one")
    return splits


def _fingerprint(splits: Splits) -> str:
    return f"{splits.train.fingerprint()}-{splits.test.fingerprint()}"


def _folds(validation: CrossValidation, data_dir: str | None, repeat: int) -> Folds:
    folds = _load(validation, data_dir, repeat).folds
    assert folds is not None
    return folds


def _try_out(validation: CrossValidation, splits: Splits, recipe: str | None) -> None:
    """Build a model and a training for the first fold, so that errors show before anything is written."""
    settings = _settings(validation, 1, 1)
    reading, first = choose_settings(recipe, settings)
    plan = Plan(validation.data, validation.data_dir, reading, first).chosen(splits, recipe, settings)
    model = plan.build(splits)
    check_loadable(model)
    Training(model, splits, plan.recipe.train.member(1))
    if validation.refits:
        refuse_refit(splits)


def _refuse_one_class(of_repeats: list[Folds], splits: Splits) -> None:
    """Raise `DataError` if what is trained on for a fold is of one class only."""
    for folds in of_repeats:
        for number in range(1, folds.total + 1):
            classes = set(folds.y[folds.cut(number)[0]].tolist())
            if len(classes) < 2:
                names = listed(splits.classes[label] for label in classes)
                raise DataError(
                    f"{splits.source}: for fold {number} of {folds.total} there is one class only to train on, "
                    f"{names}: take another number of folds"
                )


def _planned(of_repeats: list[Folds]) -> Iterator[Fold]:
    for repeat, folds in enumerate(of_repeats, start=1):
        for fold in range(1, folds.total + 1):
            rest, part = folds.cut(fold)
            number = (repeat - 1) * folds.total + fold
            yield Fold(number, fold, repeat, len(rest), len(part), folds.groups(fold))


def _run(
    validation: CrossValidation,
    of_repeats: list[Folds],
    data_dir: str | None,
    watch: Callable[[CrossvalEvent], object] | None,
) -> CrossValidation:
    notify = watch or (lambda _: None)
    with resignalled(lambda: f"unroll crossval --resume {shlex.quote(str(validation.path))}"):
        notify(validation)
        for result in list(validation.results):
            if not result.finished:
                notify(result)
                finished = _finished(validation, result, data_dir, watch)
                validation.change(finished)
                notify(finished)
        if not (validation.path / OUT_OF_FOLD).exists():
            write(validation.path / OUT_OF_FOLD, table_of(validation, of_repeats))
        if validation.refits:
            _refit(validation, data_dir, watch)
    return validation


def _finished(
    validation: CrossValidation, result: Fold, data_dir: str | None, watch: Callable[[Event], object] | None
) -> Fold:
    """Train a fold's run, resume it, or read it if it is finished; return its results."""
    path, settings = validation.path / result.run, _settings(validation, result.fold, result.repeat)
    try:
        complete_run(path, validation.data, recipe=validation.recipe, data_dir=data_dir, watch=watch, **settings)
    except TrainingError as error:
        raise TrainingError(f"fold {result.number} of {len(validation.results)}: {error}") from error
    evaluation = read_evaluation(path)
    if evaluation is None or evaluation["n"] != result.n:
        raise RunError(f"{path} was not tested on the {result.n} sequences of its fold; start again with --overwrite")
    metrics = {name: evaluation[name] for name in (*METRICS, "correct")}
    return replace(result, **metrics, seconds=read_record(path).seconds)


def _refit(validation: CrossValidation, data_dir: str | None, watch: Callable[[Event], object] | None) -> None:
    settings = {**validation.settings} if validation.apart else {**validation.settings, "test_fraction": 0.0}
    runs, path = [validation.path / result.run for result in validation.results], validation.path / REFIT
    if validation.apart:
        settings.pop("split_seed", None)  # nothing is drawn from a set with a test part of its own
    train_on_all(path, validation.data, runs, recipe=validation.recipe, data_dir=data_dir, watch=watch, **settings)
