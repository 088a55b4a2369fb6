"""Cross-validation: train on all folds of the data but one, test on that one, each in turn; every fold is a run.

The folder holds the runs folds/1, folds/2, …, beside them ``crossval.json``, settings and results, and ``oof.csv``,
what was answered for each sequence by the run that was not trained on it.
"""

from __future__ import annotations

import csv
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ..cells import name_of
from ..config import OF_KIND, RecipeName, TrainConfig, choose_settings
from ..data.catalog import resolve
from ..data.folds import Folds
from ..data.splits import Splits
from ..errors import ConfigError, DataError, RunError, TrainingError
from ..evaluation.metrics import Interval
from ..evaluation.predictions import Predictions
from ..evaluation.significance import wilson
from ..formatting import listed
from ..interrupt import resignalled
from ..training.loop import Training
from ..validation import CROSSVAL, FOLDS, REFIT, check_run, check_whole
from .answers import FORMATS
from .artifacts import read_calibration, read_evaluation, read_predictions
from .config_file import read_config
from .ensemble import is_complete
from .execute import Event, complete_run
from .folder import OUT_OF_FOLD, clear_runs, first_line, fresh, read_json, refuse_inside, refuse_used, write, write_json
from .lock import locked
from .plan import Plan
from .record import read_record
from .refit import refuse_refit, train_on_all
from .storage import Run, check_loadable, load_run

FORMAT = 1
NAMED_BY = ("id", "line", "file")  # what a column of names can be called; others only count
METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "loss")
Cut = Literal["stratified", "group", "time"]


@dataclass(frozen=True)
class Fold:
    """A fold of a cross-validation; the results are None until its run is finished.

    Attributes:
        number: of the run, from 1; the folds of a second repeat follow those of the first
        fold: that was held out, from 1
        repeat: of the whole, from 1
        trained_on: sequences that the run could train and validate on
        n: sequences held out
        groups: whole groups held out, of windows without groups whole recordings; None where the data has neither
        accuracy: on the fold, a fraction
        balanced_accuracy: mean recall of the classes in the fold
        macro_f1: their mean F1
        roc_auc: their mean area under the ROC curve; None too if the fold holds one class only
        loss: mean cross entropy on the fold, in nats
        correct: number of correct predictions
        seconds: of training
    """

    number: int
    fold: int
    repeat: int
    trained_on: int
    n: int
    groups: int | None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    macro_f1: float | None = None
    roc_auc: float | None = None
    loss: float | None = None
    correct: int | None = None
    seconds: float | None = None

    @property
    def run(self) -> str:
        """The run's folder, inside that of the cross-validation."""
        return f"{FOLDS}/{self.number}"

    @property
    def finished(self) -> bool:
        """Whether the results are known."""
        return self.accuracy is not None


class OutOfFold(NamedTuple):
    """What was answered for sequences by runs that were not trained on them, fold by fold.

    Attributes:
        logits: (N, classes) float32, calibrated where the run is
        y: (N,) int64 true classes
        classes: names
        rows: of each sequence its cells in ``oof.csv``, by the names of the columns
    """

    logits: Tensor
    y: Tensor
    classes: tuple[str, ...]
    rows: list[dict[str, str]]


@dataclass
class CrossValidation:
    """A cross-validation, finished or not.

    Attributes:
        path: its folder
        data: name or absolute path for `unroll.load`
        data_dir: the folder to search first for it
        fingerprint: of what the first run is trained and tested on
        recipe: the base of the settings
        settings: of all runs
        folds: that the data is divided into
        repeats: of the whole, each with another division and another seed
        cut: how the data is divided: "stratified", "group" for whole groups, "time" where each fold is later than all
            that is trained on
        apart: sequences of the set's own test part, which is not used
        refits: whether a run is trained on all, see ``refit``
        results: fold by fold
    """

    path: Path
    data: str
    data_dir: str | None
    fingerprint: str
    recipe: str
    settings: dict[str, Any]
    folds: int
    repeats: int
    cut: Cut
    apart: int
    refits: bool = False
    results: list[Fold] = field(default_factory=list)

    @property
    def finished(self) -> bool:
        """Whether all folds are."""
        return all(result.finished for result in self.results)

    @property
    def n(self) -> int:
        """Sequences that are held out in one of the folds."""
        return sum(result.n for result in self.results if result.repeat == 1)

    def values(self, metric: str) -> list[float]:
        """Return a metric of `METRICS` on each finished fold that has it."""
        values = (getattr(result, metric) for result in self.results)
        return [value for value in values if value is not None]

    def mean(self, metric: str = "accuracy") -> float | None:
        """Return the mean over the folds; None if no fold has the metric."""
        return fmean(values) if (values := self.values(metric)) else None

    def deviation(self, metric: str = "accuracy") -> float | None:
        """Return the standard deviation over the folds (n - 1 in its denominator); None of a single fold."""
        return stdev(values) if len(values := self.values(metric)) > 1 else None

    @property
    def accuracy(self) -> float | None:
        """Fraction of the out-of-fold predictions that are correct; None until all folds are finished."""
        correct = [result.correct for result in self.results if result.correct is not None]
        return sum(correct) / (self.n * self.repeats) if self.finished else None

    @property
    def interval(self) -> Interval | None:
        """The 95 % interval of ``accuracy`` (Wilson); repeats do not make it narrower."""
        return None if (accuracy := self.accuracy) is None else Interval(*wilson(round(accuracy * self.n), self.n))

    @property
    def refit(self) -> Run | None:
        """The run with the same settings on all, loaded; None if not asked for."""
        path = self.path / REFIT
        return load_run(path) if self.refits and is_complete(path) else None

    def out_of_fold(self) -> OutOfFold:
        """Return the answers of the runs of a finished cross-validation.

        Raises:
            RunError: it is not finished, or a file is missing or broken.
        """
        if not self.finished or not (self.path / OUT_OF_FOLD).is_file():
            raise RunError(f"{self.path} is not finished: run 'unroll crossval --resume {shlex.quote(str(self.path))}'")
        answers = [_answers(self.path / result.run) for result in self.results]
        with (self.path / OUT_OF_FOLD).open(encoding="utf-8", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: (int(row.get("repeat", 1)), int(row["fold"])))
        logits, y = (torch.cat(each) for each in zip(*((a.logits, a.y) for a in answers), strict=True))
        if len(rows) != len(y):
            raise RunError(f"{self.path / OUT_OF_FOLD} has {len(rows)} rows, expected {len(y)}: copy it again")
        return OutOfFold(logits, y, answers[0].classes, rows)

    def change(self, result: Fold) -> None:
        """Put a fold's results in place, and save the whole."""
        self.results[result.number - 1] = result
        self.save()

    def save(self) -> None:
        """Write crossval.json."""
        write_json(self.path / CROSSVAL, self._state() | {"summary": self._summary()})

    def _state(self) -> dict[str, Any]:
        names = ("data", "data_dir", "fingerprint", "recipe", "settings", "folds", "repeats", "cut", "apart", "refits")
        return {"format": FORMAT, **{name: getattr(self, name) for name in names}} | {
            "results": [asdict(result) for result in self.results]
        }

    def _summary(self) -> dict[str, Any] | None:
        if not self.finished:
            return None
        interval = self.interval
        metrics = {name: {"mean": self.mean(name), "deviation": self.deviation(name)} for name in METRICS}
        pooled = {"n": self.n, "accuracy": self.accuracy, "interval": interval and list(interval)}
        return {**metrics, "out_of_fold": pooled}

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types: settings, folds, mean and deviation, and where the files are."""
        refitted = self.path / REFIT
        return {
            "crossval": str(self.path),
            **self._state(),
            "summary": self._summary(),
            "predictions": str(self.path / OUT_OF_FOLD) if self.finished else None,
            "refit": str(refitted) if self.refits and is_complete(refitted) else None,
        }


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
    what it is trained on. Folds are stratified, and equal series or texts are in one fold; with ``group`` or
    ``group_pattern`` whole groups are, and with ``window`` whole recordings; with ``split_by_time`` the past is trained
    on and the next fold tested on. Of data with a test part of its own only the training part is divided, and the test
    part is not used.

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
        cut="time" if divided.by_time else "stratified" if divided.groups(1) is None else "group",
        apart=divided.apart,
        results=list(_planned(of_repeats)),
    )
    del splits  # each run reads the data by itself
    with locked(path):
        _refuse_taken(path, overwrite)  # again: another process may have been faster
        for folder in (FOLDS, "."):
            clear_runs(path, folder)
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


def read_cross_validation(path: str | Path) -> CrossValidation:
    """Return a cross-validation, finished or not.

    Args:
        path: its folder.

    Raises:
        RunError: the folder is not a cross-validation, or is broken.
    """
    path = Path(path)
    check_run(path, kind="cross-validation", file=CROSSVAL)
    file = path / CROSSVAL
    try:
        state = read_json(file)
        if (version := state.pop("format")) != FORMAT:
            raise ValueError(f"it has format {version}, expected {FORMAT}")
        del state["summary"]
        state["results"] = [Fold(**result) for result in state["results"]]
        return CrossValidation(path, **state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); start a new cross-validation") from error


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
            write(validation.path / OUT_OF_FOLD, _table(validation, of_repeats))
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


def _answers(path: Path) -> Predictions:
    """Return the predictions of a fold's run, its logits calibrated where it has a calibration."""
    predictions = read_predictions(path, read_config(path).preparation.classes)
    if predictions is None:
        raise RunError(f"{path} has no predictions of its fold: start again with --overwrite")
    calibration = read_calibration(path)
    temperature = 1.0 if calibration is None else calibration.temperature
    return replace(predictions, logits=predictions.logits / temperature)


def _table(validation: CrossValidation, of_repeats: list[Folds]) -> bytes:
    """Return the content of oof.csv: a row for each sequence in the order of the data, in each repeat.

    Columns are called as in `unroll.runs.answers`: ``row``, the number in what was divided, from 0; ``id``, ``line`` or
    ``file``, as the source calls it; ``start``, of windows, the time step of the recording that each begins with;
    ``group``; ``repeat`` if there are several; ``fold``; ``true``, the true class;
    ``class``, the most probable one; its ``probability``, and that of each class, ``p(NAME)``.

    Raises:
        RunError: a run was tested on other sequences than those of its fold.
    """
    rows, classes = list[tuple[int, int, list[Any]]](), tuple[str, ...]()
    origins = of_repeats[0].origins
    named = origins is not None and origins.named_by in NAMED_BY
    for result in validation.results:
        folds, answers = of_repeats[result.repeat - 1], _answers(validation.path / result.run)
        places, classes = folds.cut(result.fold)[1], answers.classes
        if folds.y[places].tolist() != answers.y.tolist():
            raise RunError(f"{validation.path / result.run} was tested on other data: start again with --overwrite")
        probabilities = answers.probabilities()
        for place, y, row in zip(places.tolist(), answers.y.tolist(), probabilities, strict=True):
            label = int(row.argmax())
            cells: list[Any] = [place]
            if origins is not None and named:
                cells.append(origins.names[place].encode("utf-8", "backslashreplace").decode())
            if origins is not None and origins.windows is not None:
                cells.append(int(origins.windows[place, 1]))
            if origins is not None and origins.groups:
                cells.append(origins.groups[place])
            cells += [result.repeat] if validation.repeats > 1 else []
            cells += [result.fold, classes[y], classes[label], float(row[label]), *row.tolist()]
            rows.append((result.repeat, place, cells))
    head = ["row", *([origins.named_by] if origins is not None and named else [])]
    head += ["start"] if origins is not None and origins.windows is not None else []
    head += ["group"] if origins is not None and origins.groups else []
    head += ["repeat"] if validation.repeats > 1 else []
    head += ["fold", "true", "class", "probability", *(f"p({name})" for name in classes)]
    cells_of_each = [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])]
    columns = {name: [cells[at] for cells in cells_of_each] for at, name in enumerate(head)}
    return FORMATS[".csv"](columns)
