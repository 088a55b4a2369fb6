"""Training steps of cells of one's own: unroll, its plain loop, torchrecurrent's layers, and JAX's scan, in turn.

A step is forward and backward in float32 for the sum of the final output, with the gradients of all parameters: batch
64, 150 units. The cells are those of tests/helpers/own_cells.py: eight from papers, and three that unroll has, which
are compared with the built-in ones. Peers are in cell_peers.py; those that are not installed, and cells that they do
not have, are named and left out. Every contender's results are compared with the loop in float64 before it is timed,
except those of torchrecurrent's LEM, which has another equation.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cyclopts
import torch
from rich.table import Table

from benchmarks.cell_peers import NAMES
from benchmarks.cell_steps import SIZES, Computed, Step, once
from benchmarks.peers import Peer
from benchmarks.show import open_peers
from tests.helpers.own_cells import EIGHT, TWINS
from unroll.bench import Report, TimedComparison
from unroll.bench.clock import Contender, compare, in_process, torch_threads
from unroll.bench.limit import LIMIT, product
from unroll.cli.views.bench import duration
from unroll.cli.views.terminal import Screen, print_facts, print_table

PEERS = ("torchrecurrent", "JAX, scan and jit")
OTHER_EQUATION = ("LEM", "torchrecurrent")  # it reads z of the step before, and is timed without a comparison
TOLERANCE = 1e-4  # relative error of sums of 784 steps in another order
PROCESSES = 5  # for what happens once
NOTHING = "–"


def own(name: str, step: Step, threads: int) -> Contender:
    """Return a contender of this process."""
    runs = {threads: in_process(step, partial(torch_threads, threads))}
    return Contender(name, runs, 1, step.flops, step.results, TOLERANCE)


def foreign(peer: Peer, step: Step, threads: int) -> Contender:
    """Return a contender of a peer's process."""
    results = {name: torch.from_numpy(result) for name, result in peer.results.items()}
    checked = None if (type(step.cell).__name__, peer.name) == OTHER_EQUATION else lambda: results
    return Contender(peer.name, {threads: partial(peer.run, "step")}, 1, step.flops, checked, TOLERANCE)


def limit(threads: int) -> Contender:
    """Return torch's product of matrices with this many threads."""
    contender = product()
    return Contender(LIMIT, {threads: contender.runs[threads]}, 1, contender.flops)


def compare_cell(
    name: str, size: str, threads: int, *, rounds: int, python: Path | None, report: Report
) -> TimedComparison:
    """Time one of the eight cells."""
    steps: dict[Computed, Step] = {how: Step(EIGHT[name], SIZES[size], how) for how in ("auto", "loop")}
    module = "benchmarks.cell_peers"
    wanted = [peer for peer in PEERS if peer != "torchrecurrent" or name in NAMES]
    with (
        torch_threads(threads),
        open_peers(wanted, steps["auto"].arrays(threads), python, report, module) as peers,
    ):
        contenders = [own("unroll", steps["auto"], threads), own("loop", steps["loop"], threads)]
        contenders += [foreign(peer, steps["auto"], threads) for peer in peers]
        contenders.append(limit(threads))
        right = steps["auto"].double().results()
        title = f"{name}, {size}, threads: {threads}"
        return compare(title, contenders, "unroll", unit="training step", expected=right, rounds=rounds, limit=LIMIT)


def compare_twin(name: str, size: str, threads: int, *, rounds: int) -> TimedComparison:
    """Time a cell of one's own that unroll has as well."""
    kind = next(cell for cell in TWINS if cell.__name__ == name)
    step, built_in = Step(kind, SIZES[size], "auto"), Step(TWINS[kind], SIZES[size], "auto")
    built_in.cell.load_state_dict(step.cell.state_dict())
    with torch_threads(threads):
        contenders = [own("own", step, threads), own("built-in", built_in, threads), limit(threads)]
        title = f"{name}, {size}, threads: {threads}"
        right = step.double().results()
        return compare(title, contenders, "own", unit="training step", expected=right, rounds=rounds, limit=LIMIT)


def summary(title: str, comparisons: Sequence[TimedComparison], others: Sequence[str]) -> Table:
    """Return a row for each cell: its time, the share of the limit, and how many times as long the others take."""
    table = Table(title=title, title_justify="left")
    base = comparisons[0].base
    for heading in ("", base, "of limit", *(f"{other} ×" for other in others)):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for comparison in comparisons:
        timing, share = comparison.timing(base), comparison.of_limit(base)
        cells = [duration(statistics.median(timing.seconds)) if timing.seconds else NOTHING]
        cells.append(f"{100 * share.median:.0f} %" if share else NOTHING)
        for other in others:
            timed = any(timing.name == other for timing in comparison.timings)
            ratio = comparison.ratio(other) if timed else None
            cells.append(f"{ratio.median:.2f} ({ratio.low:.2f}–{ratio.high:.2f})" if ratio else NOTHING)
        table.add_row(comparison.title.split(",")[0], *cells)
    return table


def first_uses(names: Sequence[str], threads: int) -> Table:
    """Return a row for each cell: its first step and memory, beside the loop's."""
    table = Table(
        title=f"first step of a process, and memory of a step: 28x28, threads: {threads}", title_justify="left"
    )
    for heading in ("", "first step", "the loop's", "beyond", "memory", "the loop's", "ratio"):
        table.add_column(heading, justify="left" if not heading else "right", no_wrap=True)
    for name in names:
        taken = [[once("first", name, how, threads) for how in ("auto", "loop")] for _ in range(PROCESSES)]
        first = [statistics.median(ms for ms in column if ms is not None) for column in zip(*taken, strict=True)]
        most = [once("memory", name, how, threads) for how in ("auto", "loop")]
        cells = [f"{first[0]:.0f} ms", f"{first[1]:.0f} ms", f"{first[0] - first[1]:.0f} ms"]
        if most[0] is None or most[1] is None:
            cells += [NOTHING] * 3
        else:
            cells += [f"{most[0] / 2**20:.1f} MiB", f"{most[1] / 2**20:.1f} MiB", f"{most[0] / most[1]:.2f}"]
        table.add_row(name, *cells)
    return table


def main(
    *,
    cells: tuple[str, ...] = (*EIGHT, *(cell.__name__ for cell in TWINS)),
    sizes: tuple[str, ...] = tuple(SIZES),
    threads: tuple[int, ...] = (1, 2),
    rounds: int = 9,
    first_use: bool = True,
    peers: Path | None = None,
    out: Path | None = None,
) -> None:
    """Time training steps in turn and print medians and ratios, round by round.

    Args:
        cells: by name; default all.
        sizes: 28x28, 784x1, or both.
        threads: numbers of threads, each in its own table.
        rounds: of each, after one that is not counted.
        first_use: also measure the first use of each cell, and memory.
        peers: Python of an environment that has the peers; default the one that runs this.
        out: folder for bench.json, new or empty.
    """
    report, screen = Report(full=False), Screen()
    eight, twins = [name for name in cells if name in EIGHT], [name for name in cells if name not in EIGHT]
    tables = []
    for size in sizes:
        for count in threads:
            compared: dict[bool, list[TimedComparison]] = {True: [], False: []}
            for name in [*eight, *twins]:
                if name in EIGHT:
                    result = compare_cell(name, size, count, rounds=rounds, python=peers, report=report)
                else:
                    result = compare_twin(name, size, count, rounds=rounds)
                report.add(result)
                compared[name in EIGHT].append(result)
                print(described(result), flush=True)
            title = f"{size}, threads: {count}"
            if compared[True]:
                tables.append(summary(title, compared[True], ("loop", *PEERS)))
            if compared[False]:
                tables.append(summary(title, compared[False], ("built-in",)))
    if first_use:
        tables.append(first_uses(cells, max(threads)))
    if missing := [name for name in eight if name not in NAMES]:
        report.notes["not in torchrecurrent"] = ", ".join(missing)
    report.finished = True
    print_facts(screen, {"machine": report.on, **report.notes})
    for table in tables:
        print_table(screen, table)
    if out is not None:
        print_facts(screen, {"written": str(report.write(out) / "bench.json")})


def described(comparison: TimedComparison) -> str:
    """Return a comparison in a line; why a contender was refused, in lines of their own."""
    times = [
        f"{timing.name} {duration(statistics.median(timing.seconds))}"
        for timing in comparison.timings
        if timing.seconds and timing.name != comparison.limit
    ]
    refusals = [f"\n  {timing.name}: {timing.refused}" for timing in comparison.timings if timing.refused]
    return f"{comparison.title}: {', '.join(times)}{''.join(refusals)}"


if __name__ == "__main__":
    cyclopts.run(main)
