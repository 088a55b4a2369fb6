"""Contenders timed in turn in one process, each checked before: medians, and ratios round by round.

A machine that others use is slower at one moment than at the next. One round of each contender, in turn, puts both
sides of a ratio beside each other in time; the median over the rounds then forgets what disturbed a single one.
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

FLOAT32 = 1e-5  # relative error, in the Frobenius norm, that rounding to float32 may leave
BFLOAT16 = 0.1  # … and with products in bfloat16, of 8 significant bits
VANISHED = 1e-30  # norm below which float32 has only denormal numbers left for what is in there
ROUNDS = 5
HOPELESS = 3  # a number of threads that takes so many times another's to warm up is not tried again
REST = 0.05  # seconds before a round: threads of the contender before it may still look for work, and take a core
SHORTEST = 0.05  # seconds of a round; shorter ones would time the clock


class Spread(NamedTuple):
    """What several rounds gave.

    Attributes:
        median: over the rounds
        low: the least
        high: the greatest
    """

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Return median, least and greatest of ``values``, at least one."""
    return Spread(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Contender:
    """Something to time.

    Attributes:
        name: in tables
        runs: each does the work so many times and returns the seconds that it took, see `in_process`; by the number of
            torch's threads that it has, or None where they are not torch's. The fastest counts.
        units: of work in one call, training steps say; figures are per unit (default 1)
        flops: arithmetic of a unit, multiplications and additions; None leaves the rate out (default None)
        results: returns what it computes, to be compared with what is right; None where there is nothing (default None)
        tolerance: relative error allowed (default float32's rounding)
        refused: why it cannot be timed here, in one line; None if it can (default None)
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
    """What came of a contender.

    Attributes:
        name: of the contender
        seconds: of a unit of work, round by round; empty if it was refused
        threads: that torch had for it, or None
        slower: median seconds with other numbers of threads, which were tried in the same rounds
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
    """Contenders timed in turn.

    Attributes:
        title: what they do
        unit: what the seconds are of
        base: name of the contender that the others are measured by
        timings: one for each contender
        limit: name of the contender that nothing of the kind can beat, by arithmetic per second; or None
    """

    title: str
    unit: str
    base: str
    timings: tuple[Timing, ...]
    limit: str | None = None

    def timing(self, name: str) -> Timing:
        """Return that of the contender called ``name``."""
        return next(timing for timing in self.timings if timing.name == name)

    def ratio(self, name: str) -> Spread | None:
        """Return how many times the base's time a contender takes, round by round; None where there is nothing to say.

        That is: for the limit, which does other work, and if one of the two was not timed.
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
        """Return all of it as plain JSON types; seconds and ratios with median, low and high."""
        contenders = {}
        for timing in self.timings:
            found: dict[str, Any] = {"threads": timing.threads, "refused": timing.refused}
            if timing.seconds:
                median = spread(timing.seconds).median
                found |= {**spread(timing.seconds)._asdict(), "seconds": list(timing.seconds)}
                found["with_other_threads"] = {str(count): seconds for count, seconds in timing.slower.items()}
                found["flop_per_second"] = timing.flops / median if timing.flops else None
                for key, value in (("ratio", self.ratio(timing.name)), ("of_limit", self.of_limit(timing.name))):
                    found[key] = value._asdict() if value else None
            contenders[timing.name] = found
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
    """Time contenders in turn, each in every round; those that cannot run here or whose results are wrong are refused.

    Args:
        title: what they do.
        contenders: with different names.
        base: name of the one that the others are measured by.
        unit: what the seconds are of (default "call").
        expected: what is right, in float64; None checks nothing (default None).
        rounds: that are counted; one more goes before them to warm up (default 5).
        shortest: seconds that a round lasts at least; 0 makes each a single call (default 0.05).
        limit: name of the contender whose arithmetic per second is the limit (default None).
    """
    refused = {contender.name: _refusal(contender, expected) for contender in contenders}
    able = [contender for contender in contenders if refused[contender.name] is None]
    runs: dict[tuple[str, int | None], tuple[Run, int]] = {}
    for one in able:
        warm = {threads: _warm_up(run, shortest) for threads, run in one.runs.items()}
        fastest = min(seconds for _, seconds in warm.values())
        for threads, (count, seconds) in warm.items():
            if seconds <= HOPELESS * fastest:
                runs[one.name, threads] = one.runs[threads], count
    measured: dict[tuple[str, int | None], list[float]] = {key: [] for key in runs}
    for _ in range(rounds):
        for key, (run, count) in runs.items():
            time.sleep(REST)
            measured[key].append(run(count) / count)
    timings = [
        _timing(one, {threads: found for (name, threads), found in measured.items() if name == one.name})
        if refused[one.name] is None
        else Timing(one.name, (), flops=one.flops, refused=refused[one.name])
        for one in contenders
    ]
    return TimedComparison(title, unit, base, tuple(timings), limit)


def _timing(contender: Contender, seconds: Mapping[int | None, Sequence[float]]) -> Timing:
    """Return that of the fastest of a contender's runs."""
    medians = {threads: spread(found).median / contender.units for threads, found in seconds.items()}
    best = min(medians, key=medians.__getitem__)
    slower = {threads: median for threads, median in medians.items() if threads != best}
    per_unit = tuple(found / contender.units for found in seconds[best])
    return Timing(contender.name, per_unit, best, slower, contender.flops)


def _refusal(contender: Contender, expected: Results | None) -> str | None:
    if contender.refused or expected is None or contender.results is None:
        return contender.refused
    return difference(contender.results(), expected, contender.tolerance)


def _warm_up(run: Run, shortest: float) -> tuple[int, float]:
    """Return how many calls make a round, and the seconds that the last call took."""
    seconds = run(1)
    if not shortest:
        return 1, seconds
    count, seconds = 1, run(1)
    while seconds < shortest:
        count = max(2 * count, math.ceil(1.2 * count * shortest / max(seconds, 1e-9)))
        seconds = run(count)
    return count, seconds / count


def difference(found: Results, expected: Results, tolerance: float = FLOAT32) -> str | None:
    """Say in what ``found`` differs from what is right beyond rounding; None if in nothing.

    Args:
        found: tensors by name.
        expected: what is right, in float64; gradients that vanish below 1e-30 may be zero.
        tolerance: relative error in the Frobenius norm (default 1e-5).
    """
    for name, right in expected.items():
        if name not in found or found[name].shape != right.shape:
            given = tuple(found[name].shape) if name in found else "nothing"
            return f"wrong results, not timed: {name} must have shape {tuple(right.shape)}, got {given}"
        gap = float(torch.linalg.vector_norm(found[name].detach().double() - right))
        error = gap / max(float(torch.linalg.vector_norm(right)), VANISHED)
        if not error <= tolerance:  # NaN too
            return (
                f"wrong results, not timed: {name} is off by {error:.1e}, relative, where {tolerance:.0e} is rounding"
            )
    return None


def in_process(call: Callable[[], object], around: Callable[[], AbstractContextManager[object]] = nullcontext) -> Run:
    """Return a run that times ``call`` inside ``around``, which itself is not timed."""

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
    """Return a `Contender.results` that calls ``results`` inside ``around``, as `in_process` does what it times."""

    def checked() -> Results:
        with around():
            return results()

    return checked


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Give torch ``count`` threads meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let the processor take denormal numbers for zero meanwhile, in the calling thread; torch's default is not to."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def with_threads(
    call: Callable[[], object], around: Callable[[], AbstractContextManager[object]] = nullcontext
) -> Runs:
    """Return `Contender.runs` for ``call`` with one thread of torch and with all that it has."""

    def using(count: int) -> Run:
        @contextmanager
        def both() -> Iterator[None]:
            with torch_threads(count), around():
                yield

        return in_process(call, both)

    return {count: using(count) for count in (1, torch.get_num_threads())}
