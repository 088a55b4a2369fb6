"""The data that a run can be judged by, and what it was trained on: put through the run's own preparation."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..config import DataConfig
from ..data.catalog import load, load_as, resolve
from ..data.sequences import SequenceData
from ..data.splits import TEST_FRACTION, Splits
from ..data.unusual import unusual
from ..errors import DataError, InputError, RunError
from .config_file import read_plan
from .plan import Plan
from .storage import Run, check_fit


class TestData(NamedTuple):
    """What a run can be judged by.

    Attributes:
        name: of the data
        part: "test" for its test part; "all" for other data, which has none
        sequences: prepared as the run's training data was
        trained_on: how many of them the run was trained on; None where that cannot be told
    """

    name: str
    part: Literal["test", "all"]
    sequences: SequenceData
    trained_on: int | None

    @property
    def unusual(self) -> str:
        """In which ways the sequences are unlike the training data, on one line; empty where they are like it."""
        return unusual(self.sequences)


def load_test(run: Run, data: str | None = None, data_dir: str | Path | None = None, **reading: Any) -> TestData:
    """Return what a run can be judged by: the test part of its own data, or other data.

    Args:
        run: a finished run.
        data: name or path for `unroll.load` (default: the set that the run was trained on).
        data_dir: where to look for it first (default: where the run found it).
        **reading: fields of `DataConfig` that say what the columns of a table are, where ``data`` calls them otherwise.

    Raises:
        RunError: no data is given, and the run knows of none.
        DataError: the data cannot be loaded, does not fit the run, or is the run's own and has changed since.
    """
    plan = run.config.plan
    if plan is not None and not reading and (data is None or resolve(data, data_dir) == plan.data):
        splits = _own_data(plan, data_dir)
        if splits.train.fingerprint() != run.config.fingerprint:
            raise DataError(
                f"{plan.data if data is None else data} has changed since {run.path} was trained: what to test on can "
                "no longer be told from what was trained on; train anew, or give other data with --data"
            )
        test = _own_test(run, splits, data or plan.data, asked=data is not None)
    elif data is not None:
        test = _other_data(run, data, data_dir, DataConfig(**reading))
    else:
        raise RunError(f"{run.path} was saved without the name of its data; give one with --data")
    check_fit(run.model, test.sequences)
    return test


def _own_test(run: Run, splits: Splits, name: str, asked: bool) -> TestData:
    if len(splits.test):
        return TestData(name, "test", splits.test.prepared_as(run.preparation), 0)
    if not asked:
        raise RunError(f"{run.path} was trained on all of its data, which leaves no test part; give other with --data")
    return TestData(name, "all", splits.train.prepared_as(run.preparation), len(splits.train))


def load_samples(run: Run, data: str | None = None, data_dir: str | Path | None = None) -> TestData:
    """Return real sequences to show a run with: those of `load_test`, or where all was trained on the training part.

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
    """Return what a run was trained on, validation part included, prepared as it was then.

    Args:
        run: finished.
        data_dir: where the data is now, if it has moved (default: where it was).

    Raises:
        RunError: the run does not say what that was.
        DataError: it is not there, is broken, or has changed since.
    """
    return load_splits(run, data_dir).train.prepared_as(run.preparation)


def load_splits(run: Run, data_dir: str | Path | None = None) -> Splits:
    """Return the data that a run was trained and tested on; arguments and errors as in `load_train`."""
    return read_plan(run.path, data_dir).load()


def _own_data(plan: Plan, data_dir: str | Path | None) -> Splits:
    return load(plan.data, data_dir=plan.moved(data_dir).data_dir, **asdict(plan.reading))


def _other_data(run: Run, name: str, data_dir: str | Path | None, reading: DataConfig) -> TestData:
    own = run.config.plan.reading if run.config.plan else reading
    parts = load_as(name, run.preparation, data_dir, reading, own)
    if parts.test is None:  # a copy of the run's own data: it is drawn from as it was for the training
        fraction = TEST_FRACTION if own.test_fraction is None else own.test_fraction
        rest, test = parts.train.cut(fraction, own.split_seed or 0)
        if len(test) and rest.fingerprint() == run.config.fingerprint:
            return TestData(name, "test", test, 0)
    sequences = parts.train if parts.test is None else parts.test
    return TestData(name, "all" if parts.test is None else "test", sequences, _trained_on(run, sequences))


def _trained_on(run: Run, sequences: SequenceData) -> int | None:
    """Return how many of ``sequences`` the run was trained on; None where its own data is not at hand."""
    plan = run.config.plan
    if plan is None or not Path(plan.data).is_absolute():
        return None  # a set of a name is not fetched for this
    try:
        train = _own_data(plan, None).train
    except InputError:
        return None
    if train.fingerprint() != run.config.fingerprint:
        return None
    seen = set(train.checksums())
    return sum(checksum in seen for checksum in sequences.checksums())
