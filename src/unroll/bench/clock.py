"""Check contenders, then time them in turn in one process: medians, and ratios round by round.

The speed of a shared machine varies. Each round times every contender, so both sides of a ratio are close in time; the
median over the rounds removes outliers.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

Results = Mapping[str, Tensor]
Run = Callable[[int], float]
Runs = Mapping[int | None, Run]

FLOAT32 = 1e-5  # relative error, in the Frobenius norm, allowed for rounding to float32
BFLOAT16 = 0.1  # … and with products in bfloat16, of 8 significant bits
VANISHED = 1e-30  # norm below which float32 has only denormal numbers
ROUNDS = 5
HOPELESS = 3  # a number of threads is dropped if its warm-up takes this many times the fastest one's
REST = 0.05  # seconds before a round, as threads of the previous contender may still spin and occupy a core
SHORTEST = 0.05  # seconds of a round; shorter ones would measure the clock


class Spread(NamedTuple):
    """The spread over several rounds.

    Attributes:
        median: over the rounds
        low: the minimum
        high: the maximum
    """

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return median, minimum and maximum of ``values``, of which there must be at least one."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Contender:
    """Something to time.

    Attributes:
        name: in tables
        runs: functions that do the work a number of times and return the seconds, see `in_process`; by the number of
            torch's threads, or None if the threads are not torch's. The fastest counts.
        units: of work in one call, such as training steps; figures are per unit (default 1)
        flops: multiplications and additions of a unit; None leaves the rate out (default None)
        results: returns its results, to compare with the expected ones; None skips the check (default None)
        tolerance: relative error allowed (default float32's rounding)
        refused: why it cannot be timed on this machine, in one line; None if it can (default None)
    """

    name: str
    runs: Runs
    units: int = 1
    flops: float | None = None
    results: Callable[[], Results] | None = None
    tolerance: float = FLOAT32
    refused: str | None = None


@dataclass(frozen=True)
class Timing:
    """The timing of a contender.

    Attributes:
        name: of the contender
        seconds: of a unit of work, round by round; empty if it was refused
        threads: number of torch's threads, or None
        slower: median seconds with other numbers of threads, tried in the same rounds
        flops: of a unit, or None
        refused: why it was not timed, in one line; None if it was
    """

    name: str
    seconds: tuple[float, ...]
    threads: int | None = None
    slower: Mapping[int | None, float] = field(default_factory=dict)
    flops: float | None = None
    refused: str | None = None


@dataclass(frozen=True)
class TimedComparison:
    """The timings of several contenders.

    Attributes:
        title: the task
        unit: the unit of work that the seconds refer to
        base: name of the contender that the others are compared with
        timings: one for each contender
        limit: name of the contender with the highest possible arithmetic per second; or None
    """

    title: str
    unit: str
    base: str
    timings: tuple[Timing, ...]
    limit: str | None = None

    def timing(self, name: str) -> Timing:
        """Return the timing of the contender called ``name``."""
        return next(timing for timing in self.timings if timing.name == name)

    def ratio(self, name: str) -> Spread | None:
        """Return a contender's time relative to the base's, round by round.

        It is None for the limit, which does other work, and if one of the two was not timed.
        """
        if name == self.limit:
            return None
        pairs = zip(self.timing(name).seconds, self.timing(self.base).seconds, strict=False)
        ratios = [seconds / base for seconds, base in pairs]
        return spread(ratios) if ratios else None

    def of_limit(self, name: str) -> Spread | None:
        """Return a contender's arithmetic per second as a fraction of the limit's, round by round."""
        timing = self.timing(name)
        best = self.timing(self.limit) if self.limit else None
        if best is None or best.flops is None or timing.flops is None or not timing.seconds:
            return None
        work = timing.flops / best.flops
        return spread([work * most / own for own, most in zip(timing.seconds, best.seconds, strict=True)])

    def to_dict(self) -> dict[str, Any]:
        """Return the timings as plain JSON types; seconds and ratios with median, low and high."""
        contenders = {}
        for timing in self.timings:
            entry: dict[str, Any] = {"threads": timing.threads, "refused": timing.refused}
            if timing.seconds:
                median = spread(timing.seconds).median
                entry |= {**spread(timing.seconds)._asdict(), "seconds": list(timing.seconds)}
                entry["with_other_threads"] = {str(count): seconds for count, seconds in timing.slower.items()}
                entry["flop_per_second"] = timing.flops / median if timing.flops else None
                for key, value in (("ratio", self.ratio(timing.name)), ("of_limit", self.of_limit(timing.name))):
                    entry[key] = value._asdict() if value else None
            contenders[timing.name] = entry
        return {"title": self.title, "unit": self.unit, "base": self.base, "contenders": contenders}


def compare(
    title: str,
    contenders: Sequence[Contender],
    base: str,
    *,
    unit: str = "call",
    expected: Results | None = None,
    rounds: int = ROUNDS,
    shortest: float = SHORTEST,
    limit: str | None = None,
) -> TimedComparison:
    """Time contenders in turn, each in every round; refuse those that cannot run or whose results are wrong.

    Args:
        title: the task.
        contenders: with different names.
        base: name of the contender that the others are compared with.
        unit: the unit of work that the seconds refer to (default "call").
        expected: the expected results, in float64; None checks nothing (default None).
        rounds: number of rounds, after another one to warm up (default 5).
        shortest: shortest duration of a round in seconds; 0: a single call (default 0.05).
        limit: name of the contender whose arithmetic per second is the limit (default None).
    """
    refused = {contender.name: _refusal(contender, expected) for contender in contenders}
    able = [contender for contender in contenders if refused[contender.name] is None]
    runs: dict[tuple[str, int | None], tuple[Run, int]] = {}
    for contender in able:
        warm = {threads: _warm_up(run, shortest) for threads, run in contender.runs.items()}
        fastest = min(seconds for _, seconds in warm.values())
        for threads, (count, seconds) in warm.items():
            if seconds <= HOPELESS * fastest:
                runs[contender.name, threads] = contender.runs[threads], count
    measured: dict[tuple[str, int | None], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, (run, count) in runs.items():
            time.sleep(REST)
            measured[key].append(run(count) / count)
    timings = [
        _timing(contender, {threads: times for (name, threads), times in measured.items() if name == contender.name})
        if refused[contender.name] is None
        else Timing(contender.name, (), flops=contender.flops, refused=refused[contender.name])
        for contender in contenders
    ]
    return TimedComparison(title, unit, base, tuple(timings), limit)


def _timing(contender: Contender, seconds: Mapping[int | None, Sequence[float]]) -> Timing:
    """Return the timing of a contender with its fastest number of threads."""
    medians = {threads: spread(times).median / contender.units for threads, times in seconds.items()}
    best = min(medians, key=medians.__getitem__)
    slower = {threads: median for threads, median in medians.items() if threads != best}
    per_unit = tuple(time / contender.units for time in seconds[best])
    return Timing(contender.name, per_unit, best, slower, contender.flops)


def _refusal(contender: Contender, expected: Results | None) -> str | None:
    if contender.refused or expected is None or contender.results is None:
        return contender.refused
    return difference(contender.results(), expected, contender.tolerance)


def _warm_up(run: Run, shortest: float) -> tuple[int, float]:
    """Return how many calls make a round, and the seconds of the last call."""
    seconds = run(1)
    if not shortest:
        return 1, seconds
    count, seconds = 1, run(1)
    while seconds < shortest:
        count = max(2 * count, math.ceil(1.2 * count * shortest / max(seconds, 1e-9)))
        seconds = run(count)
    return count, seconds / count


def difference(results: Results, expected: Results, tolerance: float = FLOAT32) -> str | None:
    """Describe where results differ from the expected ones by more than rounding; return None if nowhere.

    Args:
        results: tensors by name.
        expected: the correct tensors, in float64; gradients below 1e-30 may be zero.
        tolerance: relative error in the Frobenius norm (default 1e-5).
    """
    for name, right in expected.items():
        if name not in results or results[name].shape != right.shape:
            given = tuple(results[name].shape) if name in results else "nothing"
            return f"wrong results, not timed: {name} must have shape {tuple(right.shape)}, got {given}"
        gap = float(torch.linalg.vector_norm(results[name].detach().double() - right))
        error = gap / max(float(torch.linalg.vector_norm(right)), VANISHED)
        if not error <= tolerance:  # NaN too
            return f"wrong results, not timed: {name} has a relative error of {error:.1e}, not within {tolerance:.0e}"
    return None


def in_process(call: Callable[[], object], around: Callable[[], AbstractContextManager[object]] = nullcontext) -> Run:
    """Return a run that times ``call`` within the context ``around``, which is not timed."""

    def run(count: int) -> float:
        with around():
            start = time.perf_counter()
            for _ in range(count):
                call()
            return time.perf_counter() - start

    return run


def within(
    around: Callable[[], AbstractContextManager[object]], results: Callable[[], Results]
) -> Callable[[], Results]:
    """Return a `Contender.results` that calls ``results`` within the context ``around``, like `in_process`."""

    def checked() -> Results:
        with around():
            return results()

    return checked


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch ``count`` threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Flush denormal numbers to zero within the block, in the calling thread; torch's default is not to."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def with_threads(
    call: Callable[[], object], around: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Runs:
    """Return `Contender.runs` for ``call`` with one of torch's threads and with all of them."""

    def using(count: int) -> Run:
        @contextmanager
        def both() -> Iterator[None]:
            with torch_threads(count), around():
                yield

        return in_process(call, both)

    return {count: using(count) for count in (1, torch.get_num_threads())}
