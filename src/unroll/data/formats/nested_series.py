"""Series of frames in any of three forms: long, wide, or nested, with a row for each series and lists in its cells.

Of the nested form each column of lists is a feature, ``[0.1, 0.2, …]``; where its items are lists themselves,
``[[0.1, 3.0], [0.2, 3.1], …]``, it is (time, features). All lists of a row are equally long, the column ``time`` among
them, if there is one. Other columns but the id and the label are left out.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from ...config import DataConfig
from ...errors import DataError
from ...formatting import listed, shown
from ..columns import Columns
from ..records import NamedBy
from . import csv_series
from .frame_columns import Lists
from .frames import Frame, read_frame
from .roles import Places, by_name, flag
from .series_file import Series
from .table import Marks


def parse(path: Path, labelled: bool, config: DataConfig, known: Columns | None = None) -> Series:
    """Read the series in a file of a frame; arguments and errors as for `unroll.data.formats.csv_series.parse`."""
    return of_frame(read_frame(path), labelled, config, known)


def of_frame(frame: Frame, labelled: bool, config: DataConfig, known: Columns | None = None) -> Series:
    """Return the series of a frame; arguments and errors as for `unroll.data.formats.csv_series.parse`."""
    marks, places = csv_series.marks_of(config, known), by_name(str(frame.path), frame.header, config, known)
    if any(frame.columns[place].is_list for place in places.features):
        return _nested(frame, places, labelled, config, known, marks)
    series = csv_series.of_table(frame.table(places.texts, marks), labelled, config, known)
    return replace(series, notes=series.notes + frame.notes)


def _nested(
    frame: Frame, places: Places, labelled: bool, config: DataConfig, known: Columns | None, marks: Marks
) -> Series:
    """Return series that are lists in the cells of a row."""
    if labelled:
        csv_series.check_label(frame.path, places, frame.header)
    features = [place for place in places.features if frame.columns[place].is_list]
    scalar = [place for place in places.features if place not in features]
    _check_form(frame, places, features, scalar)
    lists = {place: _lists(frame, place) for place in features}
    if of_dates := [frame.header[place] for place, own in lists.items() if own.ticks != 1]:
        raise DataError(
            f"{frame.path}, column {shown(of_dates[0])}: expected lists of numbers, got lists of dates; --drop-columns "
            f"{flag(of_dates)} leaves it out"
        )
    names = [_names(frame.header[place], lists[place]) for place in features]
    _check_lengths(frame, {**lists, **({} if places.time is None else {places.time: _lists(frame, places.time)})})
    each = dict(zip([name for of in names for name in of], _features(lists), strict=True))
    chosen = tuple(each)
    if known is not None and not config.names("feature_columns"):
        lacking = [name for name in known.features if name not in each]
        if lacking:
            raise DataError(f"{frame.path}: expected the features {listed(known.features)}; got {listed(chosen)}")
        chosen = known.features
    elif known is not None and len(known.features) == len(chosen):
        chosen, each = known.features, dict(zip(known.features, each.values(), strict=True))
    x = np.stack([marks.masked(each[name]) for name in chosen], axis=1)
    x = x if x.dtype == np.float32 else x.astype(np.float64, copy=False)
    lengths = lists[features[0]].lengths
    table = frame.table(places.texts, marks, places.texts)
    if not lengths.all():
        raise DataError(f"{table.where(int((lengths == 0).argmax()))}: the series is empty; remove the row")
    texts = {place: number for number, place in enumerate(places.texts)}
    ids = list(map(str, range(frame.rows)))
    if places.id is not None:
        ids = csv_series.unique_ids(table, texts[places.id])
    labels = None if places.label is None else csv_series.labels_of(table, texts[places.label])
    since, time_step = (None, None) if places.time is None else _since(frame, places.time, lengths)
    columns, notes = known, frame.notes
    if columns is None:
        left_out = [*places.left_out, *((place, "no list") for place in scalar)]
        columns = replace(places, features=(), left_out=tuple(sorted(left_out))).named(frame.header, config)
        columns = replace(columns, features=chosen, nested=True, time_step=time_step)
        if scalar:
            what = listed(f"{frame.header[place]} (no list)" for place in scalar)
            notes = (f"left out: {what}; only columns of lists are features here", *notes)
    by: NamedBy = "row" if places.id is None else "id"
    groups = when = None
    if places.group is not None:
        column = texts[places.group]
        groups = csv_series.each_row(table, column, table.texts(column).values)
    if places.when is not None:
        moments = csv_series.times_of(frame.table([], marks, [places.when]), 0)
        when = np.repeat(moments[:, None], 2, axis=1)
    values = np.split(x, lengths.cumsum()[:-1])
    return Series(
        frame.path, values, ids, by, labels, (), chosen, columns, notes, times=since, groups=groups, when=when
    )


def _check_form(frame: Frame, places: Places, features: list[int], scalar: list[int]) -> None:
    name = shown(frame.header[features[0]])
    if places.time is not None and not frame.columns[places.time].is_list:
        raise DataError(
            f"{frame.path} has lists in the column {name}, a row for each series, but one number in each cell of the "
            f"column {shown(frame.header[places.time])}: expected its times as lists too, or --drop-columns "
            f"{flag([frame.header[features[0]]])}"
        )
    if places.chosen and scalar:
        raise DataError(
            f"{frame.path}: column {shown(frame.header[scalar[0]])} is named as a feature, but holds no lists as "
            f"{name} does: expected lists in all features, or in none"
        )


def _lists(frame: Frame, place: int) -> Lists:
    try:
        return frame.columns[place].lists(frame.header[place])
    except DataError as error:
        raise DataError(f"{frame.path}, {error}; --drop-columns {flag([frame.header[place]])} leaves it out") from error


def _names(name: str, lists: Lists) -> list[str]:
    width = lists.values.shape[1]
    return [name] if width == 1 else [f"{name}_{number}" for number in range(width)]


def _features(lists: dict[int, Lists]) -> list[np.ndarray]:
    return [feature for of in lists.values() for feature in of.values.T]


def _check_lengths(frame: Frame, lists: dict[int, Lists]) -> None:
    (first, expected), *rest = lists.items()
    for place, own in rest:
        differs = own.lengths != expected.lengths
        if differs.any():
            row = int(differs.argmax())
            raise DataError(
                f"{frame.path}, row {row}: expected lists of one length, got {expected.lengths[row]} values in "
                f"{shown(frame.header[first])} and {own.lengths[row]} in {shown(frame.header[place])}"
            )


def _since(frame: Frame, place: int, lengths: np.ndarray) -> tuple[np.ndarray, tuple[float, float] | None]:
    """Return the times since the beginning of each series, and from where to where the mean time step reaches."""
    lists = _lists(frame, place)
    times = lists.values[:, 0]
    times = times.astype(np.float64) if times.dtype.kind == "f" else times
    ends = lengths.cumsum()
    series = np.repeat(np.arange(len(lengths)), lengths)
    bad = times == np.iinfo(np.int64).min if lists.ticks != 1 else ~np.isfinite(times)  # a missing date, or number
    bad[1:] |= (times[1:] <= times[:-1]) & (series[1:] == series[:-1])
    if bad.any():
        row = int(series[bad.argmax()])
        raise DataError(
            f"{frame.path}, row {row}, column {shown(frame.header[place])}: expected ascending times, got "
            f"{shown(times[bad.argmax()].item())} as its item {int(bad.argmax() - (ends - lengths)[row])}"
        )
    since = (times - times[ends - lengths][series]) / lists.ticks
    steps = (since[ends - 1] / np.maximum(lengths - 1, 1))[lengths > 1]
    return since, (float(steps.min()), float(steps.max())) if len(steps) else None
