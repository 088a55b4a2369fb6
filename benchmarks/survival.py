"""Test what a training survives: SIGKILL, damaged checkpoints, and other trainings in its folder.

A trial survives if it ends with the same bits as an undisturbed training:

    python -m benchmarks.survival                          # 200 kills and all else
    python -m benchmarks.survival --kills 5 --every 9      # fewer of them

Only where processes can be forked (Linux, macOS): so the trials share one import of PyTorch.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unroll
from unroll.runs.folder import PREVIOUS, RESUME

SETTINGS: dict[str, Any] = {"hidden_size": 8, "batch_size": 8, "epochs": 10, "checkpoint_seconds": 0.02}
# The names that Python's audit hooks give to operations that change a folder.
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
OLD = 2  # seed of the run that is to be replaced
REFUSED = 3  # exit status of a child


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked process; return the number of the process."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        warnings.simplefilter("ignore", unroll.UnrollWarning)
        work()
        status = 0
    except unroll.RunError:
        status = REFUSED
    finally:
        os._exit(status)


def end_of(child: int) -> int:
    """Wait for a process; return its exit status, or the signal that killed it as a negative number."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Trials:
    """A folder with data, and the weights of an undisturbed training.

    Args:
        folder: to work in.
    """

    def __init__(self, folder: Path) -> None:
        numbers = np.random.default_rng(0)
        y = np.arange(80) % 2
        x = (numbers.normal(size=(80, 10, 3)) + y[:, None, None]).astype(np.float32)
        self.data, self.path = folder / "data.npz", folder / "run"
        np.savez(self.data, x=x, y=y)
        self.runs = {seed: folder / f"whole-{seed}" for seed in (0, 1, OLD)}
        for seed, path in self.runs.items():
            clock = time.monotonic()
            self.train(path, seed=seed)  # not in a child, so that the children find all that is imported on the way
            self.duration = time.monotonic() - clock  # seconds, of the last, which imports nothing
        self.whole = {seed: (path / "model.safetensors").read_bytes() for seed, path in self.runs.items()}

    def train(self, path: Path, **settings: Any) -> None:
        """Train into a folder."""
        unroll.train_run(str(self.data), out=path, **{**SETTINGS, **settings})

    def fresh(self) -> Path:
        """Return an empty folder for a run."""
        shutil.rmtree(self.path, ignore_errors=True)
        return self.path

    def older(self, seed: int) -> Path:
        """Return a folder with an undisturbed run."""
        return Path(shutil.copytree(self.runs[seed], self.fresh()))

    def survives(self, path: Path, seed: int = 0) -> bool:
        """Finish a run that was killed as its owner would, and compare its weights.

        A run that was to be replaced may also still be there, whole.
        """

        def finish() -> None:
            if not (path / "model.safetensors").exists():
                if any((path / name).exists() for name in (RESUME, PREVIOUS)):
                    unroll.resume_run(path)
                else:
                    self.train(path, seed=seed, overwrite=True)

        if end_of(in_child(finish)) != 0 or list(path.glob(".*.partial")):
            return False
        weights = (path / "model.safetensors").read_bytes()
        return weights == self.whole[seed] or (weights == self.whole[OLD] and (path / "metrics.csv").exists())


def kill_anywhere(trials: Trials, count: int) -> tuple[int, int]:
    """Kill trainings at random moments."""
    dice, survived = random.Random(0), 0
    for _ in range(count):
        path = trials.fresh()
        child = in_child(lambda path=path: trials.train(path))  # type: ignore[misc]
        time.sleep(dice.uniform(0, trials.duration))
        os.kill(child, signal.SIGKILL)
        end_of(child)
        survived += trials.survives(path)
    return count, survived


def kill_before_each_operation(trials: Trials, overwrite: bool, every: int) -> tuple[int, int]:
    """Kill trainings before their first change to the folder, their second, and so on to the last."""
    survived = 0
    for tried in range(10_000):
        number = 1 + tried * every
        path = trials.older(OLD) if overwrite else trials.fresh()

        def work(path: Path = path, number: int = number) -> None:
            left = number

            def hook(event: str, arguments: tuple[Any, ...]) -> None:
                nonlocal left
                if event in CHANGES and str(arguments[0]).startswith(str(path)):
                    reads = event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
                    left -= not reads
                    if left == 0:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(hook)
            # No checkpoint by time: as many operations each time.
            trials.train(path, overwrite=overwrite, checkpoint_seconds=1e9)

        if end_of(in_child(work)) == 0:
            return tried, survived
        survived += trials.survives(path)
    raise AssertionError("the training never ended")


def flip_bits(trials: Trials, count: int) -> tuple[int, int]:
    """Flip a bit of the newest checkpoint of an interrupted training."""
    path, dice, survived = trials.fresh(), random.Random(0), 0

    def interrupted() -> None:
        def watch(event: object) -> None:
            if isinstance(event, unroll.EpochResult) and event.epoch == 6:
                os.kill(os.getpid(), signal.SIGKILL)

        trials.train(path, watch=watch, checkpoint_seconds=0)

    end_of(in_child(interrupted))
    kept = path.with_name("interrupted")
    path.rename(kept)
    for _ in range(count):
        shutil.copytree(kept, trials.fresh())
        content = bytearray((path / RESUME).read_bytes())
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        (path / RESUME).write_bytes(content)
        survived += trials.survives(path)
    return count, survived


def refuse_beside(trials: Trials, count: int) -> tuple[int, int]:
    """Let other processes try to train into the folder of a running training, half of them with --overwrite."""
    path = trials.fresh()
    refused = 0

    def watch(event: object) -> None:
        nonlocal refused
        if isinstance(event, unroll.EpochResult) and event.epoch == 5:
            for number in range(count):
                child = in_child(lambda overwrite=number % 2 == 0: trials.train(path, seed=1, overwrite=overwrite))  # type: ignore[misc]
                refused += end_of(child) == REFUSED

    def work() -> None:
        trials.train(path, watch=watch)
        assert refused == count, refused

    survived = end_of(in_child(work)) == 0 and trials.survives(path)
    return count, count if survived else 0


def overwrite_in_pairs(trials: Trials, count: int) -> tuple[int, int]:
    """Start two trainings with --overwrite into one folder at once: settings and weights must be of one of them."""
    path, survived = trials.older(0), 0
    for _ in range(count):
        pair = [in_child(lambda seed=seed: trials.train(path, seed=seed, overwrite=True)) for seed in (0, 1)]  # type: ignore[misc]
        ends = sorted(end_of(child) for child in pair)
        trained = unroll.load_run(path).config.train
        assert trained is not None
        survived += ends in ([0, REFUSED], [0, 0]) and trials.survives(path, trained.seed)
    return count, survived


def main() -> int:
    """Run the trials and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("kills", 200), ("flips", 100), ("refused", 30), ("pairs", 10), ("every", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    wanted = parser.parse_args()
    torch.set_num_threads(1)  # a forked process has no threads of its parent
    lost = 0
    print(f"{'':44}{'tried':>8}{'survived':>10}{'lost':>6}")
    with tempfile.TemporaryDirectory() as folder:
        trials = Trials(Path(folder))
        for name, result in (
            ("SIGKILL at a random moment", lambda: kill_anywhere(trials, wanted.kills)),
            ("SIGKILL before each file operation", lambda: kill_before_each_operation(trials, False, wanted.every)),
            ("the same, over an older run", lambda: kill_before_each_operation(trials, True, wanted.every)),
            ("a flipped bit in the newest checkpoint", lambda: flip_bits(trials, wanted.flips)),
            ("refused trainings during a running one", lambda: refuse_beside(trials, wanted.refused)),
            ("two at once with --overwrite", lambda: overwrite_in_pairs(trials, wanted.pairs)),
        ):
            tried, survived = result()
            lost += tried - survived
            print(f"{name:44}{tried:>8}{survived:>10}{tried - survived:>6}", flush=True)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
