"""Series in a CSV file: in long form, a row for each time step, or in wide form, a row for each series.

The first line names the columns, in capitals or not. Flags, or fields of `unroll.config.DataConfig`, may say what they
are; else:

- with ``id`` and ``time`` it is long: the rows of one ``id`` are a series, ordered by ``time``; every other column but
  the label is a feature. ``time`` holds numbers or dates (ISO 8601); only their order counts.
- without ``time`` it is wide: every column but ``id`` and the label is a time step of the one feature, from left to
  right; empty cells at the end of a row mean that the series is shorter.

The label's column is called ``label`` or ``class``. Columns that only name or count rows are left out, see
`unroll.data.formats.roles`. A value that is missing is an empty cell, ``NaN``, ``NA``, ``null`` or ``?``. Cells are
divided by commas, semicolons or tabs, whichever the first line has most of. The file may be packed with gzip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...config import DataConfig
from ...errors import DataError
from ...formatting import is_printable, listed, quoted, shown
from ..columns import Columns
from ..records import NamedBy
from .dates import Dates, moment
from .hints import explained, of_time
from .parsing import check_name
from .roles import LABELS, NUMBERED, Places, by_name, by_value, flag, in_series, numbered
from .series_file import Series
from .table import Marks, Table, Texts, read_table

SAME_RATE = 1.05  # times as long as the shortest may the longest time between two steps be
WHOSE = ("subject", "person", "patient", "participant", "user", "speaker", "group", "session")  # columns' usual names
WINDOWS = "; --window 128 cuts recordings whose class changes into windows of one class each"
SERIES = 1_000  # whose time between two steps is looked at


def parse(path: Path, labelled: bool, config: DataConfig, known: Columns | None = None) -> Series:
    """Read a CSV file of either form.

    Args:
        path: the file.
        labelled: whether labels are needed; if not, labels in the file are ignored.
        config: may say what the columns are.
        known: what the columns are in the training part, or in what a model was trained on; None if unknown.

    Raises:
        DataError: the file cannot be read or is invalid; the message names the line.
    """
    with explained(path):
        marks = marks_of(config, known)
        table = read_table(path, lambda header: by_name(str(path), header, config, known).texts, marks)
        return of_table(table, labelled, config, known)


def of_table(table: Table, labelled: bool, config: DataConfig, known: Columns | None = None) -> Series:
    """Return the series of a table of either form, whose columns of ids and labels are texts; as `parse`."""
    places = by_name(str(table.path), table.header, config, known)
    if labelled:
        check_label(table.path, places, table.header, " in its first line" if table.unit == "line" else "")
    places = by_value(table, places, config)
    return _wide(table, places, config, known) if places.time is None else _long(table, places, config, known)


def check_label(path: Path, places: Places, header: Sequence[str], where: str = "") -> None:
    """Raise `DataError` if no column holds the labels."""
    if places.label is None:
        raise DataError(
            f"{path} has no column {' or '.join(LABELS)}: expected names of columns{where}, got {listed(header)}; "
            "--label-column names another"
        )


def marks_of(config: DataConfig, known: Columns | None) -> Marks:
    """Return how a table writes its numbers: as ``config`` says, else as what a model was trained on."""
    if known is not None and not config.names("missing_values"):
        return Marks(known.decimal if config.decimal == "." else config.decimal, known.missing_values)
    return Marks(config.decimal, config.names("missing_values"))


def _wide(table: Table, places: Places, config: DataConfig, known: Columns | None) -> Series:
    x = np.stack([_values(table, place) for place in places.features], axis=1)
    is_given = ~np.isnan(x)
    lengths = x.shape[1] - is_given[:, ::-1].argmax(axis=1)
    empty = ~is_given.any(axis=1)
    if empty.any():
        raise DataError(f"{table.where(int(empty.argmax()))}: the series is empty; remove the row")
    rows, lines = table.rows.tolist(), table.lines.tolist()
    names = list(map(str, lines)) if places.id is None else unique_ids(table, places.id)
    values = [row[:length, None] for row, length in zip(x, lengths.tolist(), strict=True)]
    by: NamedBy = table.unit if places.id is None else "id"
    labels = None if places.label is None else labels_of(table, places.label)
    lines = lines if table.unit == "line" else []
    columns = places.named(table.header, config) if known is None else known
    groups = None if places.group is None else each_row(table, places.group, table.texts(places.group).values)
    when = None if places.when is None else np.repeat(times_of(table, places.when)[:, None], 2, axis=1)
    notes = _notes(table, places, known)
    return Series(
        table.path, values, names, by, labels, (), (), columns, notes, groups=groups, when=when, rows=rows, lines=lines
    )


def _long(table: Table, places: Places, config: DataConfig, known: Columns | None) -> Series:
    assert places.id is not None
    assert places.time is not None
    ids, times = _ids(table, places.id), times_of(table, places.time)
    order, inner = in_series(ids.codes, times)
    same = inner & (times[order][1:] == times[order][:-1])
    if same.any():
        raise _repeated(table, places, np.arange(len(table))[order], same)
    starts = np.flatnonzero(~inner) + 1
    series = ids.codes[order][np.concatenate([[0], starts])]
    labels = step_labels = None
    if places.label is not None:
        classes = Texts(table.texts(places.label).codes, _labels(table, places.label))
        if config.window is not None and _changes(classes.codes[order], inner):
            step_labels = Texts(classes.codes[order], classes.values)
            labels = [classes.values[code] for code in step_labels.codes[np.concatenate([[0], starts])].tolist()]
        else:
            labels = _of_each(table, places.id, classes, "of class", series, WINDOWS)
    groups = None
    if places.group is not None:
        groups = _of_each(table, places.id, table.texts(places.group), "in group", series)
    x = np.stack([_values(table, place)[order] for place in places.features], axis=1)
    names = [ids.values[code] for code in series.tolist()]
    columns = places.named(table.header, config) if known is None else known
    bounds = np.array([0, *starts.tolist(), len(x)])
    ticks = 1e9 if _is_dates(table.columns[places.time]) else 1  # a second, of dates
    steps = _mean_steps(times[order], bounds) / ticks
    columns = replace(columns, time_step=(float(steps.min()), float(steps.max())) if len(steps) else None)
    features = tuple(table.header[place] for place in places.features)
    if known is not None and config.names("feature_columns") and len(features) == len(known.features):
        features = known.features  # which they are called otherwise here
    notes = _notes(table, places, known)
    if known is None and config.resample is None and len(uneven(steps, "series")):  # a gap moves a mean, not a median
        ends = [*pairwise(bounds.tolist())][:: max(1, len(bounds) // SERIES)]
        medians = [float(np.median(np.diff(times[order][start:end]))) / ticks for start, end in ends if end - start > 1]
        notes += uneven(medians, "series")
    values = [x[start:end] for start, end in pairwise(bounds.tolist())]
    firsts = np.repeat(times[order][bounds[:-1]], np.diff(bounds))
    since = (times[order] - firsts) / ticks
    when = None
    if places.when is not None:
        moments = times_of(table, places.when)[order]
        when = np.stack([reduce.reduceat(moments, bounds[:-1]) for reduce in (np.minimum, np.maximum)], axis=1)
    first = np.minimum.reduceat(np.arange(len(table))[order], bounds[:-1])
    rows, lines = table.rows[first].tolist(), table.lines[first].tolist() if table.unit == "line" else []
    made = Series(
        table.path, values, names, "id", labels, (), features, columns, notes, "", since, groups, when, rows, lines
    )
    return replace(made, step_labels=step_labels)


def _changes(codes: np.ndarray, inner: np.ndarray) -> bool:
    """Tell whether a column changes within a series.

    Args:
        codes: (rows,) of its values, series by series.
        inner: (rows - 1,) bool, which row follows another of its series.
    """
    return bool((inner & (codes[1:] != codes[:-1])).any())


def _values(table: Table, place: int) -> np.ndarray:
    try:
        return table.numbers(place)
    except DataError as error:
        if not isinstance(table.columns[place], Texts) or _has_number(table, place):
            raise
        raise DataError(f"{error}; --drop-columns {flag([table.header[place]])} leaves the column out") from error


def _has_number(table: Table, place: int) -> bool:
    return any(value and value[0] in "+-.0123456789" for value in table.texts(place).values)


def _repeated(table: Table, places: Places, order: np.ndarray, same: np.ndarray) -> DataError:
    pairs = np.sort(np.stack([order[1:][same], order[:-1][same]]), axis=0)
    before, row = pairs[:, pairs[1].argmin()].tolist()
    assert places.id is not None
    assert places.time is not None
    name, time = table.cell(row, places.id), table.cell(row, places.time)
    where = f"{table.where(row)}: id {shown(name)} and time {shown(time)}"
    return DataError(f"{where} are in {table.at(before)} already")


def _ids(table: Table, place: int) -> Texts:
    ids = table.texts(place)
    for code, name in enumerate(ids.values):
        if name and is_printable(name):
            continue
        where = table.where(int((ids.codes == code).argmax()))
        if not name:
            raise DataError(f"{where}: the id is empty: expected which series the row belongs to")
        raise DataError(f"{where}: expected an id in plain letters, got {quoted(name)}")
    return ids


def unique_ids(table: Table, place: int) -> list[str]:
    """Return the ids of a table with a row for each series.

    Raises:
        DataError: an id is empty, or occurs twice.
    """
    ids = _ids(table, place)
    if len(ids.values) < len(table):
        _, first = np.unique(ids.codes, return_index=True)
        row = int(np.setdiff1d(np.arange(len(table)), first)[0])
        before = table.at(int((ids.codes == ids.codes[row]).argmax()))
        name = shown(ids.values[ids.codes[row]])
        raise DataError(f"{table.where(row)}: the id {name} is in {before} already")
    return each_row(table, place, ids.values)


def _labels(table: Table, place: int) -> list[str]:
    column = table.texts(place)
    return [
        check_name(table.where(int((column.codes == code).argmax())), label) for code, label in enumerate(column.values)
    ]


def labels_of(table: Table, place: int) -> list[str]:
    """Return the class of each row.

    Raises:
        DataError: a label is empty, or cannot be shown.
    """
    return each_row(table, place, _labels(table, place))


def each_row(table: Table, place: int, values: Sequence[str]) -> list[str]:
    """Return which of ``values``, those of a column of texts, each row has."""
    return [values[code] for code in table.texts(place).codes.tolist()]


def _of_each(table: Table, id_: int, column: Texts, what: str, series: np.ndarray, remedy: str = "") -> list[str]:
    """Return the value that a column has in each of the ``series``, which are codes of their ids.

    Args:
        table: of the rows.
        id_: place of the ids.
        column: the same in all rows of a series.
        what: a series is, of such a value, for messages.
        series: codes of ids.
        remedy: of several values in a series, for the message (default: none).

    Raises:
        DataError: a series has two.
    """
    ids = table.texts(id_)
    first = np.full(len(ids.values), -1)
    first[ids.codes[::-1]] = np.arange(len(table))[::-1]  # the last to be written counts: the first row
    differs = column.codes != column.codes[first][ids.codes]
    if differs.any():
        row = int(differs.argmax())
        before = int(first[ids.codes[row]])
        own, earlier = (shown(column.values[column.codes[at]]) for at in (row, before))
        raise DataError(
            f"{table.where(row)}: id {shown(ids.values[ids.codes[row]])} is {what} {own}, but {what.partition(' ')[0]} "
            f"{earlier} in {table.at(before)}{remedy}"
        )
    return [column.values[code] for code in column.codes[first[series]].tolist()]


def times_of(table: Table, place: int) -> np.ndarray:
    """Return the time of each row, a number or the nanoseconds of a date; whole numbers as such, however large."""
    column = table.columns[place]
    if not isinstance(column, Texts):
        bad = ~np.isfinite(column)
        if bad.any():
            raise _no_time(table, place, int(bad.argmax()), "a number or a date" if bad[0] else "a number")
        return column.astype(np.float64) if column.dtype.kind == "f" else column
    if isinstance(column.values, Dates):
        missing = column.values.is_missing[column.codes]
        if missing.any():
            raise _no_time(table, place, int(missing.argmax()), "a date")
        dates: np.ndarray = column.values.ns[column.codes]
        return dates
    times = [moment(value) for value in column.values]
    is_date = np.array([isinstance(value, str) is False and kind for value, kind in times], bool)
    is_bad = np.array([value is None for value, _ in times], bool)
    expects_date = bool(is_date[column.codes[0]])
    bad = (is_bad | (is_date != expects_date))[column.codes]
    if bad.any():
        row = int(bad.argmax())
        expected = "a number or a date" if row == 0 else "a date" if expects_date else "a number"
        raise _no_time(table, place, row, expected)
    values = [value for value, _ in times if value is not None]
    exact = all(isinstance(value, int) and abs(value) < 2**63 for value in values)
    numbers: np.ndarray = np.array(values, np.int64 if exact else np.float64)
    result: np.ndarray = numbers[column.codes]
    return result


def _mean_steps(times: np.ndarray, bounds: np.ndarray) -> np.ndarray:
    """Return the mean time step of each series that has two or more.

    Args:
        times: of each row, series by series.
        bounds: where the series begin, and the last one ends.
    """
    steps = np.diff(bounds) - 1
    means: np.ndarray = (times[bounds[1:] - 1] - times[bounds[:-1]])[steps > 0] / steps[steps > 0]
    return means


def _is_dates(column: np.ndarray | Texts) -> bool:
    return isinstance(column, Texts) and moment(column.values[0])[1]


def uneven(steps: Sequence[float] | np.ndarray, what: str) -> tuple[str, ...]:
    """Say so where the time between two steps differs between series: only the steps are read.

    Args:
        steps: of each series.
        what: they are called.
    """
    if not len(steps) or not 0 < min(steps) * SAME_RATE < max(steps):
        return ()
    return (
        f"the time between two steps is {min(steps):.4g} in some {what} and {max(steps):.4g} in others, and is not "
        "read: --resample puts them on one grid",
    )


def _no_time(table: Table, place: int, row: int, expected: str) -> DataError:
    where, cell = f"{table.where(row)}, column {shown(table.header[place])}", table.cell(row, place)
    example = expected.replace("date", "date such as 2026-03-14 10:00:00")
    return DataError(f"{where}: expected {example}, got {quoted(cell)}{of_time(cell, table.header[place])}")


def _order(table: Table, places: Places) -> tuple[str, ...]:
    """Say so where time steps are not in the order of their numbers, as names sorted like words are: t1, t10, t2."""
    names = [table.header[place] for place in places.features]
    matches = [NUMBERED.fullmatch(name) for name in names]
    numbers = [int(match[2]) for match in matches if match]
    if places.time is not None or places.chosen or len(numbers) < len(names) or numbers == sorted(numbers):
        return ()
    if len({(match[1], match[3]) for match in matches if match}) > 1:
        return ()
    return (
        f"the time steps {listed(names[:4])}, … are read from left to right, not in the order of their numbers: sort "
        "the columns, or name them in order with --feature-columns",
    )


def _kinds(table: Table, places: Places) -> tuple[str, ...]:
    """Say so where time steps are named as those of several features are: x0, x1, y0, y1."""
    steps = [[table.header[place] for place in places_] for places_ in numbered(table, places.features)]
    numbers = {tuple(sorted(int(match[2]) for match in map(NUMBERED.fullmatch, names) if match)) for names in steps}
    is_whole = sum(map(len, steps)) == len(places.features)
    if places.time is not None or places.chosen or not is_whole or len(steps) < 2 or len(numbers) > 1:
        return ()
    if len(steps[0]) < 2:
        return ()
    what = listed(f"{names[0]} to {names[-1]}" for names in steps)
    return (
        f"{what} are read as {len(places.features)} time steps of one feature: if they are {len(steps)} features, save "
        "a row for each time step, with columns id, time and one for each feature",
    )


def _notes(table: Table, places: Places, known: Columns | None) -> tuple[str, ...]:
    """Say what was left out without being asked for, and what a run's table lacks or has beside."""
    header = table.header
    if known is None:
        reasons = [(place, reason) for place, reason in places.left_out if reason not in ("as asked", "not asked for")]
        order = (*_order(table, places), *_kinds(table, places))
        if not reasons:
            return order
        what = listed((f"{header[place] or 'a column'} ({reason})" for place, reason in reasons), 400)
        takes_in = f"left out: {what}; --feature-columns takes columns in"
        whose = [header[place] for place, _ in reasons if header[place].lower() in WHOSE]
        keeps = f"; --group {flag(whose[:1])} keeps the series of each {shown(whose[0])} in one part" if whose else ""
        return (takes_in + (keeps if places.group is None else ""), *order)
    spare = [header[place] for place, reason in places.left_out if reason != "as asked"]
    extra = [name for name in spare if name not in known.left_out]
    missing = [step for step in known.features if step not in header and known.is_wide]
    steps = [header[place] for place in sorted(places.features)]
    turned = [step for step in known.features if step in header] != steps and known.is_wide
    return (
        *([f"{table.path.name}: left out {listed(extra)}, which the run does not read"] if extra else []),
        *([f"{table.path.name}: the time steps {listed(missing)} are not there"] if missing else []),
        *([f"{table.path.name}: its time steps are in another order; they are read by their names"] if turned else []),
    )
