"""Train the chosen settings once more on all data: nothing is held out for validation, and nothing is chosen by it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from ..data.splits import Splits
from ..errors import DataError
from .artifacts import read_evaluation
from .execute import Event, complete_run
from .folder import members_in
from .record import read_record


def refuse_refit(splits: Splits) -> None:
    """Raise `DataError` if the data has a validation part of its own, which a training cannot be on."""
    if splits.val is not None:
        raise DataError(
            f"refit trains on all of the data, but {splits.source} has a validation part of its own, which no training "
            "is on: join it with the training part first"
        )


def refit_settings(settings: Mapping[str, Any], runs: Sequence[Path]) -> dict[str, Any]:
    """Return the settings of a training on all, without a validation part.

    Where that decided which weights are kept or when training stops, the training is as long as up to the epoch whose
    weights were kept, on average over the runs, of ensembles over their members, and its last weights are kept.

    Args:
        settings: of the runs.
        runs: their folders, finished.
    """
    free = {"val_fraction": 0.0, "patience": 0, "keep": "last", "metric": None}
    own = {name: value for name, value in settings.items() if name not in (*free, "val_seed")}
    if any((read_evaluation(path) or {}).get("deciding") is not None for path in runs):
        trained = [single for path in runs for single in members_in(path) or [path]]
        epochs = max(1, round(fmean(read_record(path).kept_epoch for path in trained)))
        own |= {"epochs": epochs, "training_steps": None, "budget": None}
    return own | free


def train_on_all(
    path: Path,
    data: str,
    runs: Sequence[Path],
    *,
    recipe: str,
    data_dir: str | Path | None,
    watch: Callable[[Event], object] | None,
    **settings: Any,
) -> None:
    """Train a run on all with the settings of others, finish it if it was interrupted, or leave it if it is finished.

    Args:
        path: its folder.
        data: as in `train_run`, like all others.
        runs: folders of the runs with these settings, finished.
        recipe: a key of `RECIPES`.
        data_dir: the folder to search first for the data.
        watch: called with the events.
        **settings: of the runs: fields of `DataConfig`, `ModelConfig` and `TrainConfig`.
    """
    chosen = refit_settings(settings, runs)
    complete_run(path, data, recipe=recipe, data_dir=data_dir, watch=watch, **chosen)
