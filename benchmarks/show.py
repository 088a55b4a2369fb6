"""What the comparisons with peers share: starting them, printing each round, tables, files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

import unroll
from benchmarks.peers import MissingError, Peer
from unroll.bench import Report
from unroll.bench.clock import Contender, Run
from unroll.cli.views.bench import comparison_table, duration, write_report
from unroll.cli.views.terminal import Screen, print_facts, print_table

NAMES = ("w_ih", "w_hh", "b_ih", "b_hh", "w_out", "b_out")


def arrays(model: nn.Module, splits: unroll.Splits) -> dict[str, np.ndarray]:
    """Return what a `Peer` reads: images, labels, and the weights of a classifier with one layer."""
    weights = [parameter.detach().numpy().copy() for parameter in model.parameters()]
    data = {"x": splits.train.x.numpy(), "y": splits.train.y.numpy(), "test_x": splits.test.x.numpy()}
    return {**data, **dict(zip(NAMES, weights, strict=True))}


@contextmanager
def open_peers(
    names: Sequence[str],
    given: dict[str, np.ndarray],
    python: Path | None,
    report: Report,
    module: str = "benchmarks.peers",
) -> Iterator[list[Peer]]:
    """Start the peers; note the versions of those that start, and why the others do not."""
    options = {} if python is None else {"python": str(python.absolute())}
    with ExitStack() as stack:
        running = []
        for name in names:
            try:
                peer = Peer(name, given, module=module, **options)
            except MissingError as error:
                report.notes[name] = f"left out: {error}"
                continue
            stack.callback(peer.close)
            report.notes[name] = ", ".join(f"{package} {version}" for package, version in peer.versions.items())
            running.append(peer)
        yield running


def logits(peer: Peer) -> torch.Tensor:
    """Return the logits that a peer has computed for the first images."""
    return torch.from_numpy(peer.results["logits"])


def announced(contender: Contender) -> Contender:
    """Return the contender with runs that print a line each, as an epoch takes a while."""

    def run(own: Run, threads: int | None, count: int) -> float:
        seconds = own(count)
        with_threads = "" if threads is None else f", {threads} threads"
        print(f"{contender.name}{with_threads}: {duration(seconds / count / contender.units)}", flush=True)
        return seconds

    return replace(contender, runs={threads: partial(run, own, threads) for threads, own in contender.runs.items()})


def finish(report: Report, out: Path | None) -> None:
    """Print the tables, and write JSON and picture if a folder is given."""
    report.finished = True
    console = Screen()
    print_facts(console, {"machine": report.on, **report.notes})
    for comparison in report.comparisons:
        print_table(console, comparison_table(comparison))
    if out is not None:
        print_facts(console, {"written": ", ".join(map(str, write_report(report, out)))})
