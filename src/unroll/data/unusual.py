"""Tell data that a model was not trained for: other units, another rate, another language, nothing at all."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..formatting import quoted
from .preparation import CONSTANT, Preparation
from .ragged import owners
from .sequences import SequenceData
from .usual import Range, Usual

SAMPLE = 10_000  # training sequences that are measured
CHUNK = 1_000  # sequences that are measured at once
EDGE = 0.01  # fraction of the training sequences left out at either end of a range
# A file is unlike the training data if more than half of its sequences are: of single ones a hundredth is outside.
SLACK = 0.5  # a mean is unlike this far outside of the range of training, in widths of it, deviation included
TIMES = 4.0  # this much more, or less, than in training: deviations; more: tokens of a text
STILL = 1e-6  # of the smallest deviation in training: a feature that does not change
LONGER = 1.5  # this much more, or less, than in training: time steps of a series, and the time between two
FEW = 10  # sequences from which on their median length is compared too,
MEDIANS = 1.6  # and is unlike at this ratio
CONSTANT_TIMES = 10  # as large a fraction of constant sequences as in training
UNKNOWN, FEWEST_UNKNOWN = 0.4, 4  # fraction of a text's tokens that are unknown, and their number
SHORTER, FEWEST_TOKENS = 0.6, 20  # characters of a token, as a fraction of those in training; number of tokens


class _Measured(NamedTuple):
    """Of each sequence and feature the mean and the deviation, (N, features) float64, NaN where there are no values."""

    levels: np.ndarray
    spreads: np.ndarray

    @property
    def constant(self) -> np.ndarray:
        """(N,) bool: no feature changes."""
        is_still = ~(self.spreads > CONSTANT * np.abs(self.levels))
        return np.asarray(is_still.all(axis=1))


def measure(data: SequenceData) -> Usual | None:
    """Return what the sequences of a training part are like; None where there is none.

    Args:
        data: prepared.
    """
    if not len(data):
        return None
    if len(data) > SAMPLE:
        data = data.subset(torch.arange(0, len(data), -(-len(data) // SAMPLE), device=data.y.device))
    steps = data.steps_of_each.cpu().numpy()
    lengths, median = _range(steps), float(np.median(steps))
    if data.kind == "texts":
        unknown, spelled = int(_unknown(data).sum()), _spelled(data)
        characters = spelled.characters / max(1, spelled.tokens)
        return Usual(lengths, median, unknown=unknown / max(1, int(steps.sum())), characters=characters)
    measured = _measured(data)
    levels, spreads = (tuple(_range(each[~np.isnan(each)]) for each in values.T) for values in measured)
    step = None if data.preparation.columns is None else data.preparation.columns.time_step
    constant = float((measured.constant & (steps > 1)).mean())
    return Usual(lengths, median, levels, spreads, constant, step)


def _range(values: np.ndarray) -> Range:
    if not len(values):
        return 0.0, 0.0
    low, high = np.quantile(values, (EDGE, 1 - EDGE), method="nearest").tolist()
    return float(low), float(high)


def _measured(data: SequenceData) -> _Measured:
    parts = [data]
    if len(data) > CHUNK:
        parts = [data.subset(index) for index in torch.arange(len(data)).split(CHUNK)]
    levels, spreads = (np.concatenate(each) for each in zip(*map(_of_chunk, parts), strict=True))
    spreads[data.steps_of_each.cpu().numpy() < 2] = np.nan  # one step says nothing of how much a feature changes
    return _Measured(levels, spreads)


def _of_chunk(data: SequenceData) -> _Measured:
    """Return means and deviations; of images of all their pixels, as of one feature."""
    if data.lengths is None and data.missing is None and data.time:
        values = data.values.cpu().numpy()
        values = values.reshape(len(values), -1, 1) if data.kind == "images" else values
        return _Measured(values.mean(axis=1, dtype=np.float64), values.std(axis=1, dtype=np.float64))
    steps = data.flat(data.values).double()
    valid = torch.ones_like(steps) if data.missing is None else (~data.flat(data.missing)).double()
    owner = owners(data.steps_of_each)

    def summed(numbers: Tensor) -> Tensor:
        return numbers.new_zeros(len(data), numbers.shape[1]).index_add_(0, owner, numbers)

    counts = summed(valid)  # where it is 0, the quotients are NaN
    means = summed(steps * valid) / counts
    squares = (steps - means[owner]).square().nan_to_num() * valid
    return _Measured(means.cpu().numpy(), (summed(squares) / counts).sqrt().cpu().numpy())


def _unknown(data: SequenceData) -> np.ndarray:
    """Return (N,) how many tokens of each text the vocabulary lacks."""
    is_unknown = (data.flat(data.tokens) == 0).long()
    return torch.zeros_like(data.y).index_add_(0, owners(data.steps_of_each), is_unknown).cpu().numpy()


class _Spelled(NamedTuple):
    """How many characters some texts have, and how many tokens."""

    characters: int
    tokens: int


def _spelled(data: SequenceData) -> _Spelled:
    """Return the size of the texts of which all tokens are read."""
    rule, counts = data.preparation.time_steps, data.steps_of_each.tolist()
    most = None if rule is None else rule.max_length
    whole = [(len(text), n) for text, n in zip(data.texts or (), counts, strict=True) if most is None or n < most]
    return _Spelled(sum(characters for characters, _ in whole), sum(tokens for _, tokens in whole))


def unusual(data: SequenceData) -> str:
    """Say on one line in which ways data is unlike what its model was trained on; nothing where it is like that.

    Args:
        data: prepared for the model; what belongs together, such as the series of one file.
    """
    if data.preparation.usual is None or not len(data):
        return ""
    steps = data.steps_of_each.cpu().numpy()
    if data.kind == "texts":
        return _line(_of_texts(steps, _unknown(data), _spelled(data), data.preparation.usual))
    return _line(_of_numbers(_measured(data), steps, data.preparation, data.preparation.usual))


def _line(ways: Iterator[str]) -> str:
    line = "; ".join(ways)
    return line and f"unlike the training data: {line}"


def nothing_seen(preparation: Preparation) -> Tensor:
    """Return what is known of a stream before its first step, for `seen_with`.

    Returns:
        float64: (3, features) number, mean and summed squared deviation of the values of each feature, of images of all
        pixels as of one; of texts (2,) numbers of unknown tokens and of characters; (0,) where nothing is usual.
    """
    usual = preparation.usual
    if usual is None:
        return torch.zeros(0, dtype=torch.float64)
    return torch.zeros(2 if preparation.kind == "texts" else (3, len(usual.levels)), dtype=torch.float64)


def seen_with(seen: Tensor, x: Tensor, characters: int = 0) -> Tensor:
    """Return what is known of a stream after its next steps.

    Args:
        seen: before them, from `nothing_seen` or this function.
        x: (steps, features) float, as the data stores them, NaN where a value is missing; or (steps,) tokens, or
            (steps, 1 + n-grams), each with its n-grams.
        characters: of the text of these tokens (default 0: no texts).
    """
    if not seen.numel():
        return seen
    if seen.dim() == 1:
        tokens = x if x.dim() == 1 else x[:, 0]
        return seen + seen.new_tensor([int((tokens == 0).sum()), characters])
    count, mean, squares = seen
    x = x.double().reshape(-1, len(count))
    own = (~x.isnan()).sum(dim=0)
    shift = x.nanmean(dim=0).nan_to_num() - mean
    total = (count + own).clamp(min=1)
    own_squares = (x - x.nanmean(dim=0)).square().nansum(dim=0)
    return torch.stack(
        [count + own, mean + shift * own / total, squares + own_squares + shift**2 * count * own / total]
    )


def unusual_stream(seen: Tensor, read: int, preparation: Preparation) -> str:
    """Say in which ways a stream is unlike the training data; nothing before it is as long as the shortest of these.

    Args:
        seen: of all its steps, from `seen_with`.
        read: their number.
        preparation: of the training data.
    """
    usual, steps = preparation.usual, np.array([read])
    if usual is None or read < usual.lengths[0]:
        return ""
    if preparation.kind == "texts":
        unknown, characters = seen.long().tolist()
        return _line(_of_texts(steps, np.array([unknown]), _Spelled(characters, read), usual))
    count, mean, squares = (part[None].numpy() for part in seen)
    with np.errstate(invalid="ignore", divide="ignore"):
        spreads = np.where(count > 1, np.sqrt(squares / count), np.nan)
    return _line(_of_numbers(_Measured(np.where(count > 0, mean, np.nan), spreads), steps, preparation, usual))


def _of_texts(steps: np.ndarray, unknown: np.ndarray, spelled: _Spelled, usual: Usual) -> Iterator[str]:
    tokens, expected = int(steps.sum()), "expected the language and spelling of these"
    usually, characters = usual.unknown or 0.0, usual.characters or 0.0
    if _most(steps == 0):
        yield f"{_counted(steps == 0, 'text')} without a word: there is nothing to read"
    is_strange = (unknown > max(UNKNOWN, 2 * usually) * steps) & ((unknown >= FEWEST_UNKNOWN) | (unknown == steps))
    if _most(is_strange):
        yield f"{unknown.sum() / tokens:.0%} of the tokens are unknown, in training {usually:.0%}: {expected}"
    elif spelled.tokens >= FEWEST_TOKENS and spelled.characters < SHORTER * characters * spelled.tokens:
        yield f"{spelled.characters / spelled.tokens:.1f} characters a token, in training {characters:.1f}: {expected}"
    if _most(steps > TIMES * usual.lengths[1]):
        longest = f"in training up to {usual.lengths[1]:,.0f}"
        yield f"{np.median(steps):,.0f} tokens a text, {longest}: classify shorter pieces of these texts"


def _of_numbers(measured: _Measured, steps: np.ndarray, preparation: Preparation, usual: Usual) -> Iterator[str]:
    is_image = preparation.kind == "images"
    if not is_image:
        yield from _of_time(steps, preparation, usual)
    constant = measured.constant & (steps > 1)
    if constant.sum() > CONSTANT_TIMES * usual.constant * len(steps):
        remedy = "blank: check the file" if is_image else "constant: check the sensor or the file"
        yield f"{_counted(constant, 'image' if is_image else 'series')} {remedy}"
    yield from _of_features(_Measured(*(values[~constant] for values in measured)), preparation, usual)


def _of_time(steps: np.ndarray, preparation: Preparation, usual: Usual) -> Iterator[str]:
    (low, high), median = usual.lengths, float(np.median(steps))
    expected = "expected the rate and duration of the training data"
    if _most((steps < low / LONGER) | (steps > high * LONGER)):
        yield f"{median:,.0f} time steps a series, in training {_words(usual.lengths)}: {expected}"
    elif len(steps) >= FEW and not 1 / MEDIANS < (median + 1) / (usual.length + 1) < MEDIANS:
        yield f"half of the series have up to {median:,.0f} time steps, in training {usual.length:,.0f}: {expected}"
    own = None if preparation.columns is None else preparation.columns.time_step
    if own and usual.time_step and (own[0] > LONGER * usual.time_step[1] or LONGER * own[1] < usual.time_step[0]):
        yield f"a time step of {_words(own)}, in training {_words(usual.time_step)}: resample the series to that"


def _of_features(measured: _Measured, preparation: Preparation, usual: Usual) -> Iterator[str]:
    levels, spreads = measured
    (low, high), (least, most) = np.array(usual.levels).T, np.array(usual.spreads).T
    slack = SLACK * (high - low + most)
    moved = _features((levels < low - slack) | (levels > high + slack), levels)
    still = _features(spreads < STILL * least, spreads)
    scaled = _features((spreads < least / TIMES) | (spreads > most * TIMES), spreads)
    offset, names, ways = preparation.offset or (0.0,) * len(low), preparation.features, list[str]()
    for feature, value, more in _first(moved, ()):
        mean, ends = (_words(what, offset[feature]) for what in ((value, value), usual.levels[feature]))
        ways.append(f"{_name(feature, names)} has a mean of {mean}, in training {ends}{more}")
    for feature, value, more in _first(scaled, (*moved, *still)):
        ends = _words(usual.spreads[feature])
        ways.append(f"{_name(feature, names)} has a deviation of {value:.4g}, in training {ends}{more}")
    if ways and preparation.kind == "images":
        facts = ", ".join(way.partition(" has ")[2] for way in ways)
        yield f"pixels have {facts}: expected the brightness, ink and paper of the training images"
    elif ways:
        yield f"{', '.join(ways)}: expected the units of the training data"
    for feature, _, more in _first(still, moved):
        yield f"{_name(feature, names)} is constant{more}: check the sensor or the file"


def _features(unlike: np.ndarray, values: np.ndarray) -> dict[int, float]:
    """Return the features in which most sequences are unlike the training data, each with the median of its values.

    Args:
        unlike: (N, features) bool; False where a sequence has no values.
        values: (N, features).
    """
    which = np.flatnonzero(2 * unlike.sum(axis=0) > (~np.isnan(values)).sum(axis=0)).tolist()
    return {feature: float(np.nanmedian(values[:, feature])) for feature in which}


def _first(features: Mapping[int, float], known: Container[int]) -> Iterator[tuple[int, float, str]]:
    """Yield the first of some features that is not known yet, its value, and how many more there are, in words."""
    new = [feature for feature in features if feature not in known]
    if new:
        yield new[0], features[new[0]], f", and {len(new) - 1} more likewise" if len(new) > 1 else ""


def _name(feature: int, names: Sequence[str]) -> str:
    return f"feature {quoted(names[feature]) if names else feature}"


def _most(unlike: np.ndarray) -> bool:
    """Tell whether more than half of the sequences are unlike the training data."""
    return 2 * int(unlike.sum()) > len(unlike)


def _counted(which: np.ndarray, what: str) -> str:
    """Return how many sequences something holds for: "the series is", "all 3 texts are", "2 of 7 images are"."""
    count, total, several = int(which.sum()), len(which), what if what == "series" else f"{what}s"
    if total == 1:
        return f"the {what} is"
    return f"all {total:,} {several} are" if count == total else f"{count:,} of {total:,} {several} are"


def _words(ends: Range, offset: float = 0.0) -> str:
    low, high = (f"{end + offset:.10g}" if offset else f"{end:.4g}" for end in ends)
    return low if low == high else f"{low} to {high}"
