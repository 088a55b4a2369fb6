"""Examples as a user has them, arrays, lists or texts, put through a preparation."""

from __future__ import annotations

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import DataConfig
from ..errors import DataError
from .containers import is_frame, numbers, series_block
from .formats.series import marked_as_before, marks_before
from .formats.stored import to_data
from .formats.text_file import check_text
from .formats.texts import unread
from .frame_examples import is_table, series_in, texts_in
from .preparation import ImageFormat, Preparation, Scaling, in_channels
from .sequences import SequenceData


def prepare_raw(
    raw: Any,
    preparation: Preparation,
    features: int,
    lengths: Any = None,
    times: Any = None,
    own: DataConfig | None = None,
) -> SequenceData:
    """Return raw examples as a model reads them; until it answers, each counts as one of the first class.

    Args:
        raw: of images (N, height, width), or in colour (N, height, width, 3), whole numbers from 0 to 255; of series
            (N, time, features) in the units of the training data, NaN or None where a value is missing, or a list of
            (time, features) of any lengths, and where there is one feature also without that axis; a number that marked
            a missing value in the training data does so here; of texts a list of them. Arrays, tensors or nested lists;
            series also as a pandas frame with two keys, see `series_block`; both as a frame whose columns say what they
            are, see `unroll.data.frame_examples`.
        preparation: of the training data.
        features: numbers in a time step of raw series.
        lengths: (N,) time steps of each series that is padded in ``raw`` (default None: all are full).
        times: (N, time), or a list with (time,) of each series, in the units of the training data's times, of dates in
            seconds; where that was resampled (default None).
        own: how the training data was read (default None: as the defaults say).

    Raises:
        DataError: ``raw`` does not fit the preparation.
    """
    if isinstance(raw, SequenceData):
        return raw.prepared_as(preparation)
    is_refused = is_frame(raw) and (preparation.kind == "images" or not (is_table(raw) or preparation.kind == "series"))
    if isinstance(raw, str | bytes | dict) or is_refused or not hasattr(raw, "__len__"):
        raise DataError(f"expected an array or a list of {preparation.kind}, got {type(raw).__name__}")
    if lengths is not None and preparation.kind != "series":
        raise DataError(f"lengths are for padded series, the run reads {preparation.kind}: leave them out")
    if times is not None and (preparation.kind != "series" or not resamples(preparation)):
        raise DataError("times are for a run that resamples series, this one does not: leave them out")
    if is_table(raw):
        return _of_frame(raw, preparation, lengths, times, own or DataConfig())
    if preparation.kind == "texts":
        return _texts(raw, preparation)
    if preparation.image is not None:
        return unlabelled(_images(raw, preparation.image), preparation)
    block = series_block(raw, "raw", features)
    each = list(map(marks_before(own, preparation).masked, block.each))
    if times is None and block.times is not None and resamples(preparation):
        times = np.split(block.times, block.lengths.cumsum()[:-1])
    if lengths is not None:
        own_lengths = numbers("lengths", lengths, np.int64)
        if own_lengths.shape != (len(each),):
            raise DataError(f"lengths must have shape ({len(each)},), one of each series, got {own_lengths.shape}")
        time = max(map(len, each), default=0)
        if len(each) and not 0 <= own_lengths.min() <= own_lengths.max() <= time:
            raise DataError(f"lengths must be from 0 to {time}, got {own_lengths.min()} to {own_lengths.max()}")
        each = [series[:length] for series, length in zip(each, own_lengths.tolist(), strict=True)]
        if times is not None and len(times) == len(each):
            times = [own[:length] for own, length in zip(times, own_lengths.tolist(), strict=True)]
    of_each = None if times is None else [numbers("times", own, np.float64) for own in times]
    return prepare_series("raw", each, features, preparation, of_each, block.features)


def _of_frame(raw: Any, preparation: Preparation, lengths: Any, times: Any, own: DataConfig) -> SequenceData:
    for name, value in (("lengths", lengths), ("times", times)):
        if value is not None:
            raise DataError(f"{name} cannot be used with a frame, whose columns say it: leave them out")
    if preparation.kind == "texts":
        return prepare_texts(texts_in(raw, own)[0], preparation)
    data, _ = series_in(raw, preparation, marked_as_before(own, DataConfig(), preparation))
    return data.prepared_as(preparation)


def _no_labels(raw: Sized) -> Tensor:
    return torch.zeros(len(raw), dtype=torch.int64)


def _texts(raw: Sequence[Any], preparation: Preparation) -> SequenceData:
    wrong = next((text for text in raw if not isinstance(text, str)), None)
    if wrong is not None:
        raise DataError(f"the run reads texts: expected a list of them, got one with {type(wrong).__name__}")
    texts = [check_text(f"text {number}", text) for number, text in enumerate(raw)]
    return prepare_texts(texts, preparation)


def _images(raw: Sequence[Any], form: ImageFormat) -> Tensor:
    pixels = numbers("images", raw)
    if not len(pixels):
        pixels = np.zeros((0, *form.shape), np.uint8)
    expected = f"images (N, {', '.join(map(str, form.shape))}) of whole numbers from 0 to 255"
    size = (form.height, form.width)
    if pixels.shape[1:] not in (size, (*size, 3)) or pixels.dtype.kind not in "uif":
        raise DataError(f"the run reads {expected}, got {pixels.dtype} of shape {pixels.shape}")
    low, high = pixels.min(initial=0), pixels.max(initial=0)
    scaled = pixels.dtype.kind == "f" and 0 < high <= 1  # black and white too, as whole numbers they would be black
    if not (0 <= low <= high <= 255) or scaled or bool((pixels % 1).any()):
        raise DataError(f"the run reads {expected}, got {pixels.dtype} from {low:g} to {high:g}")
    return form.sequences(in_channels(torch.from_numpy(np.ascontiguousarray(pixels, np.uint8)), form.channels))


def resamples(preparation: Preparation) -> bool:
    """Tell whether series need times to be read."""
    return preparation.time_steps is not None and preparation.time_steps.time_step is not None


def prepare_series(
    name: str,
    each: Sequence[np.ndarray],
    features: int,
    preparation: Preparation,
    times: Sequence[np.ndarray] | None = None,
    names: tuple[str, ...] = (),
) -> SequenceData:
    """Return series to classify, in the units of the training data.

    Args:
        name: of the array, for messages.
        each: (time, features) of real numbers, NaN where a value is missing.
        features: numbers in a time step.
        preparation: of the training data.
        times: of each (time,) float64 (default: they have none).
        names: of the features, which are put in the order of the training data (default: they have none).

    Raises:
        DataError: an infinite value, or what does not fit the preparation.
    """
    since = None if times is None else checked_times(each, times)
    plain = Preparation(preparation.classes, Scaling(0.0, 1.0), features=names)
    lengths = np.array([len(series) for series in each], np.int64)
    x = np.concatenate([np.empty((0, features)), *each])
    data = to_data(name, x, lengths, np.zeros(len(each), np.int64), plain, preparation.offset, times=since)
    return data.prepared_as(preparation)


def checked_times(
    each: Sequence[np.ndarray], times: Sequence[np.ndarray], what: str = "series", first: int = 0
) -> np.ndarray:
    """Return how long after its series' beginning each time step is, (steps of all,) float64.

    Args:
        each: (time, features), of each series.
        times: (time,), of each.
        what: messages call each (default "series"),
        first: and its number (default 0).

    Raises:
        DataError: their number differs from that of the steps, or they are not ascending numbers.
    """
    if len(times) != len(each):
        raise DataError(f"times must be those of {len(each)} series, got {len(times)}")
    since = [np.empty(0)]
    for number, (series, own) in enumerate(zip(each, times, strict=True), start=first):
        if own.shape != (len(series),):
            raise DataError(f"times of {what} {number} must have shape ({len(series)},), got {own.shape}")
        if not np.isfinite(own).all() or (np.diff(own) < 0).any():
            raise DataError(f"times of {what} {number} must be ascending numbers")
        since.append(own - own[:1])
    return np.concatenate(since)


def prepare_texts(texts: Sequence[str], preparation: Preparation) -> SequenceData:
    """Return texts to classify as the tokens that a model knows."""
    return unread(texts, _no_labels(texts), preparation.classes).prepared_as(preparation)


def unlabelled(x: Tensor, preparation: Preparation) -> SequenceData:
    """Return sequences to classify, as compact as the training data; until then each is said to be of class 0."""
    return SequenceData(x, _no_labels(x), preparation)
