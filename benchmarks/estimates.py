"""Compare what `unroll check` estimates with what the whole training takes: ``python -m benchmarks.estimates``.

Both are seconds of the processor on one thread, which other programs on the machine hardly change. The data sets are
those that ``unroll.load`` finds; SST-2 needs ``$UNROLL_DATA/sst2``. Names of rows as arguments: these alone.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unroll import Training
from unroll.config import choose_settings
from unroll.evaluation.anytime import calibrate
from unroll.evaluation.metrics import evaluate
from unroll.runs.estimate import estimate
from unroll.runs.plan import Plan

ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "digits": ("mnist-sample", {}),
    "pixels": ("mnist-sample", {"cell": "gru", "read": "pixels", "epochs": 1}),
    "vowels": ("ucr:JapaneseVowels", {}),
    "motions": ("ucr:BasicMotions", {}),
    "texts": (str(Path(os.environ.get("UNROLL_DATA", "data")) / "sst2"), {"epochs": 1}),
    "ragged": ("ragged.npz", {}),
}


def ragged(path: Path) -> None:
    """Write 1,500 series of 5 to 600 steps, most of them short, padded with NaN."""
    random = np.random.default_rng(0)
    lengths = np.clip(np.exp(random.normal(3.6, 0.9, 1_500)), 5, 600).astype(int)
    x, y = np.full((1_500, 600, 2), np.nan, np.float32), np.arange(1_500) % 3
    for row, length, label in zip(x, lengths, y, strict=True):
        row[:length, 0] = np.sin(np.arange(length) * (0.2 + 0.2 * label)) + random.normal(0, 0.3, length)
        row[:length, 1] = random.normal(size=length)
    np.savez(path, x=x, y=y)


def measured(data: str, settings: dict[str, Any]) -> tuple[float, float]:
    """Return the estimated and the measured seconds of the processor."""
    reading, first = choose_settings(None, settings)
    plan = Plan(data, None, reading, first)
    splits = plan.load()
    plan = plan.chosen(splits, None, settings)
    estimated = estimate(plan, splits, time.process_time).seconds
    began = time.process_time()
    training = Training(plan.build(splits), splits, plan.recipe.train)
    for _ in training.events():
        pass
    evaluate(training.model, splits.test)
    if training.val:
        calibrate(training.model, training.val)
    return estimated, time.process_time() - began


def main() -> None:
    """Print a line for each row."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[1:] or ROWS:
            data, settings = ROWS[name]
            if data == "ragged.npz":
                data = str(Path(folder) / data)
                ragged(Path(data))
            estimated, needed = measured(data, settings)
            print(
                f"{name:8} estimated {estimated:6.1f} s, measured {needed:6.1f} s: {estimated / needed:.2f}", flush=True
            )


if __name__ == "__main__":
    main()
