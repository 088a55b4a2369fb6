"""The state of a sweep: settings, progress and results, in one file that is written atomically."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from ...config import Metric
from ...config.axes import Range, Setting, Values
from ...errors import RunError
from ...validation import REFIT, SWEEP, check_run
from ..ensemble import is_complete
from ..folder import first_line, read_json, write_json
from ..record import read_record
from ..storage import Run, load_run
from ..trials import Trial, Tried, ranked
from .search import Method

FORMAT = 1
NAME = 60  # most characters of a setting in a run's folder name


@dataclass
class Sweep:
    """A sweep, finished or not.

    Attributes:
        path: its folder
        data: name or absolute path for `unroll.load`
        data_dir: the folder to search first for it
        fingerprint: of the training data
        recipe: the base of the settings
        settings: the same for all
        axes: values or ranges of the settings to choose
        method: "grid", "random" or "tpe"
        count: number of settings to try
        seeds: each setting is trained with all of them
        refits: whether the chosen setting is trained once more on all, see ``refit``
        trials: setting by setting; tpe adds them one by one
    """

    path: Path
    data: str
    data_dir: str | None
    fingerprint: str
    recipe: str
    settings: dict[str, Any]
    axes: dict[str, Values]
    method: Method
    count: int
    seeds: tuple[int, ...]
    refits: bool = False
    trials: list[Trial] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of trainings."""
        return self.count * len(self.seeds)

    @property
    def metric(self) -> Metric:
        """The metric by which settings are ranked, on the validation set."""
        metric: Metric | None = self.settings.get("metric")
        return metric or "accuracy"

    @property
    def ranked(self) -> list[Tried]:
        """The settings, best mean score over the seeds first; then those that failed or are not finished."""
        return ranked(self.trials)

    @property
    def best(self) -> Tried | None:
        """The chosen setting; None if none is finished."""
        ranked = self.ranked
        return ranked[0] if ranked and ranked[0].finished else None

    @property
    def refit(self) -> Run | None:
        """The run with the chosen setting on the training and the validation data, loaded; None if not asked for."""
        path = self.path / REFIT
        return load_run(path) if self.refits and is_complete(path) else None

    def test_accuracies(self, tried: Tried) -> list[float]:
        """Return the test accuracies of a finished setting's runs; empty if the data has no test set."""
        accuracies = (read_record(self.path / trial.run).accuracy for trial in tried.trials)
        return [accuracy for accuracy in accuracies if accuracy is not None]

    def add(self, setting: Setting) -> None:
        """Add the trainings of another setting."""
        number = len({trial.number for trial in self.trials}) + 1
        for seed in self.seeds:
            name = f"{number:0{len(str(self.count))}d}-{_slug(setting)}-seed{seed}"
            self.trials.append(Trial(number, setting, seed, name))

    def change(self, trial: Trial, **changes: Any) -> Trial:
        """Update a training, save the sweep, and return the new training."""
        changed = replace(trial, **changes)
        self.trials[self.trials.index(trial)] = changed
        self.save()
        return changed

    def save(self) -> None:
        """Write the sweep's file."""
        write_json(self.path / SWEEP, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            **{name: getattr(self, name) for name in ("data", "data_dir", "fingerprint", "recipe", "settings")},
            "axes": {name: asdict(v) if isinstance(v, Range) else list(v) for name, v in self.axes.items()},
            "method": self.method,
            "refits": self.refits,
            "count": self.count,
            "seeds": list(self.seeds),
            "trials": [asdict(trial) for trial in self.trials],
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types: the state, the ranking, and the test accuracy of the chosen setting."""
        best = self.best
        ranked = [
            {
                "number": tried.number,
                "setting": tried.setting,
                "score": tried.score,
                "val_accuracy": tried.mean,
                "deviation": tried.deviation,
            }
            for tried in self.ranked
        ]
        return {
            "sweep": str(self.path),
            **self._state(),
            "metric": self.metric,
            "ranked": ranked,
            "best": best and self._chosen(best),
            "refit": self._refitted(),
        }

    def _refitted(self) -> dict[str, Any] | None:
        """Return the results of ``refit`` in plain JSON types; None without it."""
        path = self.path / REFIT
        if not self.refits or not is_complete(path):
            return None
        record = read_record(path)
        return {"run": str(path), "epochs": record.epochs, "test_accuracy": record.accuracy, "n": record.n}

    def _chosen(self, best: Tried) -> dict[str, Any]:
        accuracies = self.test_accuracies(best)
        return {
            "number": best.number,
            "setting": best.setting,
            "runs": [str(self.path / trial.run) for trial in best.trials],
            "val_accuracy": best.mean,
            "test_accuracies": accuracies,
            "test_accuracy": fmean(accuracies) if accuracies else None,
            "test_deviation": stdev(accuracies) if len(accuracies) > 1 else None,
        }


def _slug(setting: Mapping[str, Any]) -> str:
    """Return a setting as a part of a folder's name, "rnn-lr0.001"."""
    parts = []
    for name, value in setting.items():
        text = f"{value:g}" if isinstance(value, float) else str(value)
        parts.append(text.rpartition(":")[2].lower() if name == "cell" else f"{name}{text}")
    return re.sub(r"[^\w.+-]", "-", "-".join(parts))[:NAME]


def read_sweep(path: str | Path) -> Sweep:
    """Return a sweep, finished or not.

    Args:
        path: its folder.

    Raises:
        RunError: the folder is not a sweep, or is broken.
    """
    path = Path(path)
    check_run(path, kind="sweep", file=SWEEP)
    file = path / SWEEP
    try:
        state = read_json(file)
        if (version := state.pop("format")) != FORMAT:
            raise ValueError(f"it has format {version}, expected {FORMAT}")
        state["axes"] = {n: Range(**v) if isinstance(v, dict) else tuple(v) for n, v in state["axes"].items()}
        state["seeds"] = tuple(state["seeds"])
        state["trials"] = [Trial(**trial) for trial in state["trials"]]
        return Sweep(path, **state)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{file} is broken ({first_line(error)}); start a new sweep") from error
