"""What a process that wants the same cores costs: epochs of unroll, and of nn.RNN with one thread, with and without it.

Threads that wait for each other in every time step would all go at the pace of the one whose core is shared. unroll's
wait once per call.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import cyclopts
import torch

import unroll
from benchmarks.show import announced, finish
from benchmarks.tutorial import fit_epoch
from unroll.bench import Report, models
from unroll.bench.clock import Contender, compare, spread, with_threads
from unroll.cli.views.bench import times

LOOP = "while True: pass"
OWN, PEER = "unroll", "nn.RNN, one thread"


@contextmanager
def busy_cores(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep a number of processes busy within the block."""
    children = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(processes)]
    try:
        yield children
    finally:
        for child in children:
            child.kill()
            child.wait()


def main(data: str = "mnist", *, rounds: int = 5, images: int = 12_800, processes: int = 2) -> None:
    """Time epochs in turn and print medians, and how many times as long each takes with busy processes.

    Args:
        data: data set of 28×28 images.
        rounds: epochs of each, after one of each that is not counted.
        images: how many of the training images make an epoch.
        processes: that are busy.
    """
    splits = unroll.load(data).scaled("unit")
    splits = replace(splits, train=splits.train.subset(torch.arange(min(images, len(splits.train)))))
    model = models.classifier()
    epochs = {OWN: fit_epoch(model, splits), PEER: fit_epoch(models.TorchClassifier(model), splits)}
    contenders = []
    for name, epoch in epochs.items():
        threads = 1 if name == PEER else torch.get_num_threads()
        contenders.append(Contender(name, {threads: with_threads(epoch)[threads]}))
        disturbed = with_threads(epoch, partial(busy_cores, processes))
        contenders.append(Contender(f"{name}; {processes} busy", {threads: disturbed[threads]}))
    title = f"an epoch of {data}, {len(splits.train):,} images, with {processes} busy processes and alone"
    comparison = compare(
        title, [announced(contender) for contender in contenders], OWN, unit="epoch", rounds=rounds, shortest=0
    )
    report = Report(full=False)
    report.add(comparison)
    for name in epochs:
        pairs = zip(
            comparison.timing(f"{name}; {processes} busy").seconds, comparison.timing(name).seconds, strict=True
        )
        report.notes[f"{name}, slowed"] = times(spread([busy / alone for busy, alone in pairs]))
    finish(report, None)


if __name__ == "__main__":
    cyclopts.run(main)
