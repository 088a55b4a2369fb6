"""What one should know of labelled series before training on them, as far as their values and classes show it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

import torch

from ..errors import DataError
from ..formatting import listed, quoted, shown
from .ragged import owners
from .sequences import SequenceData

FREQUENT = 0.002  # share of a feature's values, and
OFTEN = 5  # how often at least one far value occurs that may mark what is missing
FAR = 4  # deviations between such a value and the nearest other
MINUS_ONES = 0.01  # share of a feature's values that are -1, if all others are 0 or more
SAMPLE = 20_000  # values that are looked at first
VARIED = 10  # different values that the rest must have: what has fewer may be a switch
MANY_NUMBERS = 10  # classes that are numbers, from which it is said that they are not read as such
SHORTEST_PADDED = 4  # time steps of series that are looked at for padding
PADDED = 0.1  # share of the series that must begin, or end, in zeros
SPARSE = 0.02  # share of all steps that may be zeros elsewhere
LACKING = ("nan", "na", "null", "none", "?")  # names that a class may have for want of one


def remarks(data: SequenceData) -> tuple[str, ...]:
    """Return what one should know of series, in words."""
    return (*_marks(data), *_padding(data), *_without_values(data), *_odd_classes(data))


def check_classes(source: str, data: SequenceData) -> None:
    """Raise `DataError` where classes cannot be meant as such: names that look the same, or numbers to predict."""
    alike: dict[str, str] = {}
    for name in data.preparation.classes:
        first = alike.setdefault(plain(name), name)
        if first != name:
            codes = " and ".join(name.encode("unicode_escape").decode() for name in (first, name))
            raise DataError(f"{source}: two classes look the same, {quoted(name)}, written {codes}: write both alike")
    numbers = _numbers(data.preparation.classes)
    of_steps = data.step_classes is not None  # and so of windows, of which there will be more
    if numbers is not None and len(numbers) >= MANY_NUMBERS and 2 * len(numbers) > len(data) and not of_steps:
        raise DataError(
            f"{source}: {len(numbers)} classes for {len(data)} series, {_range(numbers)}: are these numbers to "
            "predict? unroll predicts classes; put the numbers into a few ranges, and name these"
        )


def plain(name: str) -> str:
    """Return a name without what no eye can see: how its accents are composed, and joiners between its letters."""
    return unicodedata.normalize("NFC", name).replace("\u200c", "").replace("\u200d", "").replace("\xa0", " ")


def _odd_classes(data: SequenceData) -> Iterator[str]:
    classes = data.preparation.classes
    numbers = _numbers(classes)
    if numbers is not None and (len(numbers) >= MANY_NUMBERS or any("." in name for name in classes)):
        yield (
            f"the {len(numbers)} classes are {_range(numbers)}: each is learned as a name, without order; "
            "unroll does not predict numbers"
        )
    yield from _alike(classes)
    lacking = [name for name in classes if name.lower() in LACKING]
    if lacking:
        yield f"there is a class called {listed(lacking)}: if that marks a missing class, remove these series"


def _alike(classes: tuple[str, ...]) -> Iterator[str]:
    """Name classes that differ in capitals alone, or are the same number."""
    seen: dict[str | float, str] = {}
    pairs = list[str]()
    for name in classes:
        number = _numbers((name,))
        before = seen.setdefault(name.casefold() if number is None else number[0], name)
        if before != name:
            pairs.append(f"{before} and {name}")
    if pairs:
        yield f"classes that differ only in how they are written, {listed(pairs)}: write them alike if they are one"


def _numbers(classes: tuple[str, ...]) -> list[float] | None:
    try:
        numbers = [float(name) for name in classes]
    except ValueError:
        return None
    return numbers if all(abs(number) < float("inf") for number in numbers) else None


def _range(numbers: list[float]) -> str:
    return f"numbers from {min(numbers):g} to {max(numbers):g}"


def _padding(data: SequenceData) -> Iterator[str]:
    """Say so where series of one length begin or end in zeros, some in more of them than others."""
    if data.lengths is not None or data.preparation.offset or not len(data) or data.time < SHORTEST_PADDED:
        return
    is_zero = (data.values == 0).all(dim=2)
    if data.missing is not None:
        is_zero &= ~data.missing.any(dim=2)
    for where, zeros in (("end", is_zero.flip(1)), ("begin", is_zero)):
        runs = zeros.long().cumprod(dim=1).sum(dim=1)  # zeros until the first step that is not
        runs = torch.where(runs == data.time, 0, runs)
        padded = runs >= 2
        elsewhere = int(is_zero.sum() - runs.sum())  # within series: of sparse ones 0 is a value as any other
        if padded.sum() < PADDED * len(data) or len(runs[padded].unique()) < 2 or elsewhere > SPARSE * is_zero.numel():
            continue
        what = "leave these cells empty, or in an .npz file say lengths" if where == "end" else "remove these steps"
        yield (
            f"{int(padded.sum()):,} of {len(data):,} series {where} in zeros, in up to {int(runs.max()):,} steps: if "
            f"these are padding, {what}"
        )


def _without_values(data: SequenceData) -> Iterator[str]:
    """Say so where all values of a series are missing."""
    if data.missing is None:
        return
    given = torch.zeros(len(data), dtype=torch.int64)
    given.index_add_(0, owners(data.steps_of_each), (~data.flat(data.missing)).sum(dim=1))
    empty = (given == 0).nonzero().flatten().tolist()
    if empty:
        origins = data.origins
        first = f"sequence {empty[0]}" if origins is None else f"{origins.named_by} {shown(origins.names[empty[0]])}"
        yield f"all values are missing in {len(empty):,} of {len(data):,} series, the first is {first}: leave them out"


def _marks(data: SequenceData) -> Iterator[str]:
    """Name a value far from all others that occurs so often that it may mark what is missing."""
    if data.x.dtype == torch.uint8 or not len(data):
        return
    steps = data.flat(data.values)
    missing = None if data.missing is None else data.flat(data.missing)
    names = data.preparation.features
    for feature in range(steps.shape[1]):
        values = steps[:, feature] if missing is None else steps[:, feature][~missing[:, feature]]
        some = values[:: max(1, len(values) // SAMPLE)]  # in which what is frequent occurs too
        where = f" in feature {shown(names[feature])}" if names else ""
        if not data.preparation.offset and _has_minus_ones(values, some):
            yield (
                f"-1 occurs {int((values == -1).sum()):,} times{where}, more often than any value above 0, and none is "
                "below it: if it marks a missing value, say --missing-values -1"
            )
            continue
        if not len(some) or max(int((some == end).sum()) for end in (some.min(), some.max())) < 2:
            continue
        for extreme in (values.min(), values.max()):
            count = int((values == extreme).sum())
            if count >= max(OFTEN, FREQUENT * len(values)) and _is_far(values, extreme):
                offset = data.preparation.offset[feature] if data.preparation.offset else 0.0
                mark = f"{float(extreme) + offset:.10g}"
                yield (
                    f"{mark} occurs {count:,} times{where}, far from all other values: if it marks a missing value, "
                    f"say --missing-values {mark}"
                )


def _has_minus_ones(values: torch.Tensor, some: torch.Tensor) -> bool:
    """Tell whether -1 is frequent among values that are otherwise 0 or more.

    Args:
        values: of a feature.
        some: of them, which are looked at first.
    """
    if not len(some) or some.min() != -1 or int((some == -1).sum()) < MINUS_ONES * len(some):
        return False
    rest = values[values != -1]
    kinds, counts = some[some > 0].unique(return_counts=True)
    if not len(rest) or rest.min() < 0 or len(kinds) < VARIED:
        return False
    return int((some == -1).sum()) > int(counts.max())


def _is_far(values: torch.Tensor, extreme: torch.Tensor) -> bool:
    rest = values[values != extreme].double()
    if len(rest) < VARIED or len(rest[:1000].unique()) < VARIED:
        return False
    low, high = rest.min(), rest.max()
    gap = float(low - extreme if extreme < low else extreme - high)
    return gap > FAR * float(rest.std()) and gap > float(high - low) / 2
