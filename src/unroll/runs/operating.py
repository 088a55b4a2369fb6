"""Choose the operating point of a finished run on its validation split, keep it in the run's folder, or drop it."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

from ..config import OperatingConfig
from ..data.sequences import SequenceData
from ..errors import ConfigError, DataError, InputError, RunError, UnrollWarning, did_you_mean
from ..evaluation.calibration import probabilities
from ..evaluation.metrics import logits_of
from ..evaluation.operating_point import OperatingPoint
from ..formatting import listed, quoted
from .artifacts import read_calibration, write_operating_point
from .config_file import read_config
from .data import divided, load_splits
from .folder import OPERATING
from .lock import locked
from .storage import Run


def choose_operating_point(run: Run, config: OperatingConfig, data_dir: str | Path | None = None) -> OperatingPoint:
    """Choose when a run answers which class, on its own validation split; the run is not changed.

    A run on windows is judged by what it answers for recordings, see `OperatingPoint.choose`.

    Args:
        run: finished.
        config: what to choose.
        data_dir: the data's folder now, if it has moved (default: where it was).

    Raises:
        ConfigError: a threshold is asked for, but the run has other than two classes; or none is named positive.
        RunError: the threshold is to be chosen on a validation split, and the run has none.
        DataError: the data is needed, and it is missing, broken, or changed after training; or the validation split
            lacks a class.

    Warns:
        UnrollWarning: the data cannot be read, so what a given point makes of the validation split is unknown.

    Example:
        >>> import tempfile, unroll
        >>> from unroll.config import OperatingConfig
        >>> from unroll.runs import choose_operating_point
        >>> run = unroll.train_run(out=tempfile.mkdtemp() + "/run", epochs=2, hidden_size=16)
        >>> point = choose_operating_point(run, OperatingConfig(reject=0.5))
        >>> point.labels(run.predict(unroll.load("mnist-sample").test.images()[:3])).shape
        torch.Size([3])
    """
    classes = run.preparation.classes
    if not config:
        raise ConfigError("an operating point needs threshold, at_recall, a cost or reject: give one of them")
    if config.rules and len(classes) != 2:
        raise ConfigError(
            f"{config.rules[0]} applies to two classes, and {run.path} has {len(classes)}: of these only reject applies"
        )
    if config.positive is not None and config.positive not in classes:
        hint = did_you_mean(config.positive, classes)
        raise ConfigError(f"positive must be one of {listed(classes)}, got {quoted(config.positive)}{hint}")
    needed = config.needs_validation or (bool(config.rules) and config.positive is None)
    if run.config.plan is None and needed:
        what = "no validation split" if config.needs_validation else "no counts of its classes: name the positive one"
        raise RunError(f"{run.path} was saved by hand and records {what}; give threshold and positive")
    try:
        counts, val = _parts(run, data_dir) if run.config.plan else ({}, None)
    except InputError as error:
        if needed:
            raise
        warnings.warn(f"what the point makes of the validation split is unknown: {error}", UnrollWarning, stacklevel=2)
        counts, val = {}, None
    if val is None and config.needs_validation:
        raise RunError(
            f"{run.path} has no validation split, on which {config.rules[0]} would be chosen: give threshold, or train "
            "with --val-fraction 0.1"
        )
    positive = (config.positive or _rarer(counts)) if config.rules else None
    if val is None:
        return OperatingPoint.choose(config, classes, positive)
    judged = probabilities(logits_of(run.model, val), run.calibration), val.y.cpu()
    return OperatingPoint.choose(config, classes, positive, judged, val.recordings)


def _parts(run: Run, data_dir: str | Path | None) -> tuple[dict[str, int], SequenceData | None]:
    """Return the training data's number of sequences of each class, and the validation split."""
    splits = load_splits(run, data_dir)
    _, val = divided(run, splits)
    known, size = run.calibration, 0 if val is None else len(val)
    if known is not None and known.n != size:
        raise DataError(
            f"the validation split of {run.path} has {size:,} sequences now, and had {known.n:,} when the run was "
            "calibrated on it; train again"
        )
    return splits.train.counts, None if val is None else val.prepared_as(run.preparation)


def _rarer(counts: dict[str, int]) -> str:
    first, second = counts
    if counts[first] == counts[second]:
        raise ConfigError(
            f"both classes have {counts[first]:,} training sequences, so neither is the rarer: name the positive one, "
            f"--positive {first} or --positive {second}"
        )
    return min(counts, key=counts.__getitem__)


def keep_operating_point(run: Run, point: OperatingPoint) -> Run:
    """Keep an operating point in a run's folder; predictions, the page, the server and the report follow it.

    Args:
        run: finished.
        point: as from `choose_operating_point`; it replaces an earlier one.

    Returns:
        the run with that operating point.

    Raises:
        RunError: the run was trained again since it was loaded, or is in use.
    """
    with locked(run.path):
        now = read_config(run.path).to_dict(), read_calibration(run.path)
        if now != (run.config.to_dict(), run.calibration):
            raise RunError(f"{run.path} was trained again since it was loaded; nothing was changed. Load it again")
        write_operating_point(run.path, point, run.calibration)
    return replace(run, operating_point=point)


def drop_operating_point(path: str | Path) -> None:
    """Remove the operating point from a run's folder: it answers the most probable class again.

    Args:
        path: the folder.

    Raises:
        RunError: it keeps none, is not a run, or is in use.
    """
    path = Path(path)
    read_config(path)
    with locked(path):
        if not (path / OPERATING).exists():
            raise RunError(f"{path} keeps no operating point: there is nothing to drop")
        (path / OPERATING).unlink()
