"""Load data to evaluate a run on, and its training data, with the run's own preparation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..config import DataConfig
from ..data.catalog import is_name, load, load_as, resolve
from ..data.memory import source_of
from ..data.sequences import SequenceData
from ..data.splits import TEST_FRACTION, Splits
from ..data.unusual import unusual
from ..errors import DataError, InputError, RunError
from ..training.loop import held_out
from .config_file import read_plan
from .plan import Plan
from .storage import Run, check_fit


class TestData(NamedTuple):
    """Data to evaluate a run on.

    Attributes:
        name: of the data
        part: "test" for a test set; "all" for data without one
        sequences: prepared as the run's training data was
        trained_on: how many of them the run was trained on; None if unknown
        validated_on: how many others of them are its validation split; None if unknown
    """

    name: str
    part: Literal["test", "all"]
    sequences: SequenceData
    trained_on: int | None
    validated_on: int | None

    def warnings(self) -> list[str]:
        """Return how the sequences differ from the training data, on one line; nothing if they do not."""
        line = unusual(self.sequences)
        return [line] if line else []

    def optimism(self) -> str:
        """Say which of the sequences the run knows, so that it does better on them; nothing if it knows none."""
        n = f"of these {len(self.sequences):,} sequences"
        if self.trained_on:
            also = f" and validated on {self.validated_on:,}" if self.validated_on else ""
            return f"the run was trained on {self.trained_on:,} {n}{also}, so this accuracy is optimistic"
        if self.validated_on:
            return f"the run was validated on {self.validated_on:,} {n}, so this accuracy may be optimistic"
        return ""


def load_test(run: Run, data: Any = None, data_dir: str | Path | None = None, **reading: Any) -> TestData:
    """Return data to evaluate a run on: the test set of its own data, or other data.

    Args:
        run: a finished run.
        data: name or path for `unroll.load`, or what Python holds, as there, of arrays the pair (X, y) (default: the
            data set that the run was trained on).
        data_dir: the folder to search first (default: the run's).
        **reading: fields of `DataConfig` that name the columns of a table, if ``data`` names them differently.

    Raises:
        RunError: no data is given, and the run does not name its own.
        DataError: the data cannot be loaded, does not fit the run, or is the run's own and changed after training.
    """
    plan = run.config.plan
    is_own = data is None or (is_name(data) and plan is not None and resolve(data, data_dir) == plan.data)
    if plan is not None and not reading and is_own:
        splits = _own_data(plan, data_dir)
        if splits.train.fingerprint() != run.config.fingerprint:
            raise DataError(
                f"{plan.data if data is None else data} changed after {run.path} was trained, so its test set is "
                "unknown; train again, or pass other data with --data"
            )
        test = _own_test(run, splits, data or plan.data, asked=data is not None)
    elif data is not None:
        test = _other_data(run, data, data_dir, DataConfig(**reading))
    else:
        raise RunError(f"{run.path} was saved without the name of its data; name one with --data")
    check_fit(run.model, test.sequences)
    return test


def _own_test(run: Run, splits: Splits, name: str, asked: bool) -> TestData:
    if len(splits.test):
        return TestData(name, "test", splits.test.prepared_as(run.preparation), 0, 0)
    if not asked:
        raise RunError(f"{run.path} was trained on all of its data and has no test set; pass other data with --data")
    sequences, trained = splits.train.prepared_as(run.preparation), len(divided(run, splits)[0])
    return TestData(name, "all", sequences, trained, len(sequences) - trained)


def load_samples(run: Run, data: str | None = None, data_dir: str | Path | None = None) -> TestData:
    """Return sequences to show a run with: those of `load_test`, or the training data if there is no test set.

    Args:
        run: a finished run.
        data: as for `load_test`.
        data_dir: as for `load_test`.

    Raises:
        RunError: as `load_test`.
        DataError: as `load_test`.
    """
    own = run.config.plan.data if run.config.plan and run.evaluation is None else None
    return load_test(run, data or own, data_dir)


def load_train(run: Run, data_dir: str | Path | None = None) -> SequenceData:
    """Return a run's training data, including its validation split, prepared as for the training.

    Args:
        run: finished.
        data_dir: the data's folder now, if it has moved (default: where it was).

    Raises:
        RunError: the run does not name its data.
        DataError: the data is missing, broken, or changed after training.
    """
    return load_splits(run, data_dir).train.prepared_as(run.preparation)


def load_splits(run: Run, data_dir: str | Path | None = None) -> Splits:
    """Return the data that a run was trained and tested on; arguments and errors as for `load_train`."""
    return read_plan(run.path, data_dir).load()


def _own_data(plan: Plan, data_dir: str | Path | None) -> Splits:
    return load(plan.data, data_dir=plan.moved(data_dir).data_dir, **asdict(plan.reading))


def _other_data(run: Run, data: Any, data_dir: str | Path | None, reading: DataConfig) -> TestData:
    own = run.config.plan.reading if run.config.plan else reading
    name = str(data) if is_name(data) else source_of(data)
    parts = load_as(data, run.preparation, data_dir, reading, own)
    if parts.test is None:  # may be a copy of the run's own data: split it as for the training
        rest, test = _held_out(parts.train, own)
        if len(test) and rest.fingerprint() == run.config.fingerprint:
            return TestData(name, "test", test, 0, 0)
    sequences = parts.train if parts.test is None else parts.test
    return TestData(name, "all" if parts.test is None else "test", sequences, *_known(run, sequences))


def _held_out(whole: SequenceData, own: DataConfig) -> tuple[SequenceData, SequenceData]:
    """Return the training and the test part of a run, if ``whole`` is a copy of its data.

    Args:
        whole: a set without a test part of its own.
        own: how the run's data was read and cut.
    """
    seed = own.split_seed or 0
    try:
        grouped = whole.grouped_by(own.group_pattern)
        if own.held_out_fold is not None:
            return grouped.cut_by(grouped.folds(*own.held_out_fold, seed))
        return grouped.cut(TEST_FRACTION if own.test_fraction is None else own.test_fraction, seed)
    except DataError:  # no copy: there is too little to be divided into folds, or what has no groups
        return whole.cut(0.0, seed)


def divided(run: Run, splits: Splits) -> tuple[SequenceData, SequenceData | None]:
    """Return what a run was trained on, and its validation split, None without one.

    Args:
        run: that records its training.
        splits: its own data.
    """
    trained = run.config.member(1).train  # all members of an ensemble have the same split
    assert trained is not None
    return held_out(splits, trained)


def _known(run: Run, sequences: SequenceData) -> tuple[int | None, int | None]:
    """Return how many of ``sequences`` the run was trained on, and how many others it was validated on.

    None if its own data is not available.
    """
    plan = run.config.plan
    if plan is None or not Path(plan.data).is_absolute():
        return None, None  # a data set given by name is not downloaded for this
    try:
        splits = _own_data(plan, None)
    except InputError:
        return None, None
    if splits.train.fingerprint() != run.config.fingerprint:
        return None, None
    train, val = divided(run, splits)
    in_train, asked = set(train.checksums()), sequences.checksums()
    in_val = set() if val is None else set(val.checksums()) - in_train
    return sum(checksum in in_train for checksum in asked), sum(checksum in in_val for checksum in asked)
