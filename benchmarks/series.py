"""Measure what `unroll train` without flags reaches on sets of series, beside `unroll baseline`, for docs/series.md.

The sets are folders of one parent, each with NAME_TRAIN.ts and NAME_TEST.ts, as the package aeon carries some.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cyclopts

import unroll
from unroll.evaluation.baseline import baselines
from unroll.training.environment import describe

SETS = (
    "GunPoint",
    "ItalyPowerDemand",
    "ArrowHead",
    "OSULeaf",
    "ACSF1",
    "PickupGestureWiimoteZ",
    "JapaneseVowels",
    "BasicMotions",
)


def main(
    folder: Path, *names: str, seeds: int = 3, budget: str | None = None, ensemble: int = 1, recipe: str | None = None
) -> int:
    """Train on sets and print a line of the table for each: accuracies in percent, seconds of the whole command.

    Parameters
    ----------
    folder
        Holds a folder for each set.
    names
        Of the sets; default GunPoint, ItalyPowerDemand, ArrowHead, OSULeaf, ACSF1, PickupGestureWiimoteZ,
        JapaneseVowels and BasicMotions.
    seeds
        Trainings of each set.
    budget
        Time to train in; default none.
    ensemble
        Members of each model.
    recipe
        Settings to start from; default that of series.
    """
    facts = describe()
    print(f"{facts['processor']}, {facts['threads']} threads, torch {facts['packages']['torch']}", flush=True)
    given: dict[str, Any] = {"budget": budget, "ensemble": ensemble, "recipe": recipe}
    means = list[float]()
    for name in names or SETS:
        path, accuracies, seconds = folder / name / f"{name}_TRAIN.ts", list[float](), list[float]()
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as out:
                start = time.perf_counter()
                run = unroll.train_run(str(path), out=Path(out) / "run", seed=seed, **given)
                seconds.append(time.perf_counter() - start)
            assert run.evaluation is not None
            accuracies.append(100 * run.evaluation["accuracy"])
        means.append(statistics.mean(accuracies))
        simple = [
            f"{base.name} {100 * base.evaluation.accuracy:.1f}"
            for base in baselines(unroll.load(path))
            if base.evaluation is not None
        ]
        spread = f"{min(accuracies):.1f} to {max(accuracies):.1f}"
        print(f"{name}: {means[-1]:.1f} ({spread}), {statistics.mean(seconds):.0f} s; {', '.join(simple)}", flush=True)
    print(f"mean {statistics.mean(means):.1f}")
    return 0


if __name__ == "__main__":
    app = cyclopts.App(name="python -m benchmarks.series", help=__doc__)
    app.default(main)
    raise SystemExit(app())
