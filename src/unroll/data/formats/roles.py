"""What each column of a table of series is for, by names and values; where that would be a guess, a question.

Named columns come first: those that flags name, then ``id``, ``time``, ``label`` and ``class``. All others are
features, or time steps, except those that only name or count rows: they say nothing about a series, and a model learns
them all too well where rows are ordered by class.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...config import DataConfig
from ...errors import DataError, did_you_mean
from ...formatting import listed, quoted, shown
from ..columns import Columns
from .dates import Dates, date_ns
from .table import Table, Texts

LABELS = ("label", "class")
NO_NAME = re.compile(r"|unnamed: ?\d+", re.IGNORECASE)  # as pandas writes and reads an index
CLOCK = re.compile(r"time|date|clock|epoch", re.IGNORECASE)
NUMBERED = re.compile(r"(.*?)(\d+)(\D*)")
EVIDENCE = 8  # rows that must agree before anything is concluded from values
SHUFFLED = 20  # rows whose distinct whole numbers of a narrow range number them in any order
LONGEST_NAME = 60  # characters of a column's name in a flag that a message shows: longer ones are cut
CANDIDATES = 10  # columns that are looked at as ids of a long form


@dataclass(frozen=True)
class Places:
    """Where in a table what stands; None where there is no such column.

    Attributes:
        id, time, label: their places
        group, when: of the columns by which parts are cut
        features: places of features, or of time steps
        left_out: places of all others, each with the reason
        chosen: whether somebody said which are the features
    """

    id: int | None
    time: int | None
    label: int | None
    features: tuple[int, ...]
    left_out: tuple[tuple[int, str], ...] = ()
    chosen: bool = False
    group: int | None = None
    when: int | None = None

    @property
    def texts(self) -> list[int]:
        """Places of the columns that are texts, whatever their content."""
        return [place for place in (self.id, self.label, self.group) if place is not None]

    def named(self, header: Sequence[str], config: DataConfig) -> Columns:
        """Return the names of all that."""
        id_, time, label = (None if place is None else header[place] for place in (self.id, self.time, self.label))
        features = tuple(header[place] for place in self.features)
        left_out = tuple(header[place] for place, _ in self.left_out)
        return Columns(features, id_, time, label, left_out, config.names("missing_values"), config.decimal)


def by_name(name: str, header: Sequence[str], config: DataConfig, known: Columns | None) -> Places:
    """Return what the names of columns alone say.

    Args:
        name: of the file, for messages.
        header: the names.
        config: may name columns.
        known: what a trained model, or the training part, takes for what (default None: nothing is known).

    Raises:
        DataError: a column that is named is not there, or names contradict each other.
    """
    lower = [column.lower() for column in header]

    def place(asked: str | None, recorded: str | None, *usual: str) -> int | None:
        if asked is not None:
            return _place(name, header, asked)
        if recorded is not None and recorded in header:
            return header.index(recorded)
        return next((lower.index(key) for key in usual if key in lower), None)

    if config.label_column is None and (known is None or known.label not in header) and set(LABELS) <= set(lower):
        raise DataError(f"{name} has a column label and a column class: rename the one that is not the label")
    recorded = (None, None, None) if known is None else (known.id, known.time, known.label)
    id_ = place(config.id_column, recorded[0], "id")
    time = place(config.time_column, recorded[1], "time")
    label = place(config.label_column, recorded[2], *LABELS)
    special = [where for where in (id_, time, label) if where is not None]
    if len(set(special)) < len(special):
        raise DataError(
            f"{name}: id, time and label must be different columns, got {listed(header[p] for p in special)}"
        )
    group, when = (_cutting(name, header, column, known) for column in (config.group, config.split_by_time))
    if group is not None and group in (time, label):
        raise DataError(f"{name}: group must be another column than time and label, got {quoted(header[group])}")
    if when is not None and when in (id_, label):
        raise DataError(f"{name}: split_by_time must be another column than id and label, got {quoted(header[when])}")
    special += [where for where in (group, when) if where is not None]
    dropped = [
        _place(name, header, column) for column in config.names("drop_columns") if known is None or column in header
    ]
    chosen = [_place(name, header, column) for column in config.names("feature_columns")]
    for where in chosen:
        if where in special or where in dropped:
            raise DataError(f"{name}: column {quoted(header[where])} is named as a feature and as something else")
    if known is not None and not chosen:
        chosen = _known_features(name, header, known, time)
    rest = [where for where in range(len(header)) if where not in (*special, *dropped)]
    cutting = [where for where in (group, when) if where not in (None, id_, time)]
    left_out = [(where, "as asked") for where in (*dropped, *cutting)]
    if chosen:
        left_out += [(where, "not asked for") for where in rest if where not in chosen]
    if not (chosen or rest):
        raise DataError(f"{name} has no column of values: expected more than {listed(header)}")
    return Places(id_, time, label, tuple(chosen or rest), tuple(left_out), bool(chosen), group, when)


def _cutting(name: str, header: Sequence[str], column: str | None, known: Columns | None) -> int | None:
    """Return the place of a column by which parts are cut; another part, or a model's data, may lack it."""
    return None if column is None or (known is not None and column not in header) else _place(name, header, column)


def _place(name: str, header: Sequence[str], column: str) -> int:
    if column in header:
        return header.index(column)
    lower = [known.lower() for known in header]
    if lower.count(column.lower()) == 1:
        return lower.index(column.lower())
    hint = did_you_mean(column, header) or ":"
    raise DataError(f"{name} has no column {quoted(column)}{hint} {'It' if '?' in hint else 'it'} has {listed(header)}")


def _known_features(name: str, header: Sequence[str], known: Columns, time: int | None) -> list[int]:
    """Return the places of the features, or time steps, that a model reads; none where the table is another one."""
    if (time is None) != known.is_wide:
        return []
    present = [feature for feature in known.features if feature in header]
    if not known.is_wide:
        return [header.index(feature) for feature in present] if len(present) == len(known.features) else []
    if not present or tuple(present) != known.features[: len(present)]:
        steps = [column for column in header if column not in (known.id, known.label, *known.left_out)]
        raise DataError(f"{name}: expected the time steps {listed(known.features)}; got {listed(steps)}")
    return [header.index(step) for step in present]


def by_value(table: Table, places: Places, config: DataConfig) -> Places:
    """Return ``places`` without the columns that name or count rows, as far as nobody asked for them.

    Raises:
        DataError: the table looks like one of another form: says how to read it.
    """
    if places.chosen:
        _check_id(table, places)
        return places
    unnamed = [(place, "no name") for place in places.features if NO_NAME.fullmatch(table.header[place])]
    places = _without(table, places, unnamed)
    if (places.id is None or places.time is None) and not config.names("drop_columns"):
        _propose(table, places)
    _check_id(table, places)
    return _without(table, places, list(_counting(table, places)))


def _without(table: Table, places: Places, more: list[tuple[int, str]]) -> Places:
    gone = dict(more[::-1])  # the first reason of each
    rest = tuple(place for place in places.features if place not in gone)
    if not rest:
        raise DataError(
            f"{table.path} has no column of values: {listed(table.header[place] or 'no name' for place in gone)} only "
            "name or count rows; if not, name the features with --feature-columns"
        )
    return replace(places, features=rest, left_out=(*places.left_out, *sorted(gone.items())))


def _counting(table: Table, places: Places) -> Iterator[tuple[int, str]]:
    if places.time is None:
        yield from _odd_names(table, places.features)
        if len(places.features) > 2:
            yield from ((place, "counts the rows") for place in places.features if _numbers_rows(table.columns[place]))
        return
    assert places.id is not None
    order, inner = in_series(table.texts(places.id).codes, as_numbers(table.columns[places.time]))
    if inner.sum() < EVIDENCE:
        return
    for place in places.features:
        reason = _reason(table.columns[place], table.header[place], order, inner)
        if reason:
            yield place, reason


def in_series(codes: np.ndarray, times: np.ndarray) -> tuple[np.ndarray | slice, np.ndarray]:
    """Return the order of rows by series, as they first occur, and time; and which row follows another of its series.

    Args:
        codes: (rows,) whole numbers, equal in the rows of a series.
        times: (rows,) by which these are ordered.
    """
    is_next = codes[1:] == codes[:-1]
    if (~is_next).sum() == len(np.unique(codes)) - 1 and ((times[1:] > times[:-1]) | ~is_next).all():
        return slice(None), is_next  # as nearly every file has them
    _, first, series = np.unique(codes, return_index=True, return_inverse=True)
    order = np.lexsort((times, first[series]))
    return order, codes[order][1:] == codes[order][:-1]


def _reason(column: np.ndarray | Texts, name: str, order: np.ndarray | slice, inner: np.ndarray) -> str | None:
    """Return why a column of the long form cannot be a feature; None if it may be one."""
    if _is_row_number(column):
        return "counts the rows"
    values = as_numbers(column)
    first = values[: 4 * EVIDENCE] if isinstance(order, slice) else values[order[: 4 * EVIDENCE]]
    if not _is_still_or_steady(np.diff(first)[inner[: len(first) - 1]], bool(CLOCK.search(name))):
        return None  # as nearly all features show at once
    values = values[order]
    steps = np.diff(values)[inner]
    if not steps.any():
        return "the same within each series" if len(np.unique(values)) > 1 else None
    if np.isnan(steps).any() or (isinstance(column, Texts) and not _is_dates(column)):
        return None
    if _is_even(steps):
        return "counts on" if steps[0] == 1 else "a clock"
    return "a clock" if CLOCK.search(name) and (steps >= 0).all() else None


def _is_still_or_steady(steps: np.ndarray, is_clock: bool) -> bool:
    return not steps.any() or _is_even(steps) or (is_clock and bool((steps >= 0).all()))


def _is_even(steps: np.ndarray) -> bool:
    return bool(len(steps) and 0 < steps[0] < np.inf and np.ptp(steps) <= 1e-6 * steps[0])


def as_numbers(column: np.ndarray | Texts) -> np.ndarray:
    """Return a column as numbers with a sign: of dates nanoseconds, of other texts one number for each that differs."""
    if not isinstance(column, Texts):
        return column.astype(np.float64) if column.dtype == np.uint64 else column  # whose differences wrap round
    if isinstance(column.values, Dates) and not column.values.is_missing.any():
        ns: np.ndarray = column.values.ns[column.codes]
        return ns
    dates = [date_ns(value) for value in column.values] if _is_dates(column) else list(range(len(column.values)))
    is_exact = all(abs(date) < 2**63 for date in dates if date is not None)  # from 1677 to 2262
    values: np.ndarray = np.array(dates, np.int64 if is_exact else np.float64)[column.codes]
    return values


def _is_dates(column: Texts) -> bool:
    if isinstance(column.values, Dates):
        return not column.values.is_missing.any()
    return bool(column.values) and all(date_ns(value) is not None for value in column.values)


def _is_whole(column: np.ndarray | Texts) -> bool:
    return not isinstance(column, Texts) and bool((column == np.floor(column)).all())


def _is_row_number(column: np.ndarray | Texts) -> bool:
    if isinstance(column, Texts) or len(column) < EVIDENCE:
        return False
    return bool(np.diff(column[:2])[0] == 1 and (np.diff(column) == 1).all())


def _numbers_rows(column: np.ndarray | Texts) -> bool:
    """Tell whether a column of the wide form numbers rows: by ones, or by whole numbers of which none occurs twice."""
    if _is_row_number(column):
        return True
    if isinstance(column, Texts) or len(column) < SHUFFLED or not _is_whole(column):
        return False
    return len(np.unique(column)) == len(column) and np.ptp(column) < 2 * len(column)


def _odd_names(table: Table, features: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Yield the few columns that are not named as all others are, t0, t1, t2 and so on."""
    steps = max(numbered(table, features), key=len, default=[])
    if len(steps) >= 4 and len(steps) >= 0.7 * len(features):
        example = f"{table.header[steps[0]]} to {table.header[steps[-1]]}"
        yield from ((place, f"not named as {example} are") for place in features if place not in set(steps))


def numbered(table: Table, features: Sequence[int]) -> list[list[int]]:
    """Return the columns whose names differ by a number alone, together."""
    stems: dict[tuple[str, str], list[int]] = {}
    for place in features:
        match = NUMBERED.fullmatch(table.header[place])
        if match:
            stems.setdefault((match[1], match[3]), []).append(place)
    return list(stems.values())


def _propose(table: Table, places: Places) -> None:
    """Raise `DataError` if the rows look like time steps of a series, and say how they are read as such, or not."""
    steps = {place for places_ in numbered(table, places.features) if len(places_) > 1 for place in places_}
    named = [place for place in places.features if place not in steps]  # t0, t1 are steps or features of one kind
    counters = named if places.time is None else [places.time]
    ids = id_candidates(table, named, places.label) if places.id is None else [places.id]
    form = long_form(table, ids, counters)
    if form is not None:
        names = [table.header[place] for place in form]
        raise DataError(
            f"{table.path} looks like the long form, a row for each time step: {shown(names[0])} repeats, "
            f"{shown(names[1])} counts. If it is, say --id-column {flag(names[:1])} --time-column "
            f"{flag(names[1:])}; if each row is a series, --drop-columns {flag(names)}"
        )


def _check_id(table: Table, places: Places) -> None:
    if places.time is not None and places.id is None:
        raise DataError(
            f"{table.path} has a column {shown(table.header[places.time])} but no column id: expected both, or neither "
            "and a row for each series; --id-column names it"
        )


def long_form(table: Table, ids: Iterable[int], times: Sequence[int]) -> tuple[int, int] | None:
    """Return the id and the time by which rows look like time steps of several series; None if they do not.

    Args:
        table: of the rows.
        ids: places of columns that may be the id.
        times: places of columns that may be the time.
    """
    for id_ in ids:
        codes = _codes(table.columns[id_])
        for time in times:
            if time != id_ and _counts_within(table.columns[time], codes):
                return id_, time
    return None


def flag(names: Sequence[str]) -> str:
    """Return names of columns as a flag takes them, for a shell."""
    short = [name if len(name) <= LONGEST_NAME else f"{name[:20]}…" for name in names]
    text = ",".join(f'"{name}"' if "," in name else name for name in short)
    return text if re.fullmatch(r"[\w.,:+-]+", text) else f"'{text}'"


def _codes(column: np.ndarray | Texts) -> np.ndarray:
    return column.codes if isinstance(column, Texts) else np.unique(column, return_inverse=True)[1]


def id_candidates(table: Table, places: Sequence[int], label_at: int | None) -> Iterator[int]:
    """Yield the columns whose values repeat as the id of a series does, of one class each."""
    label = None if label_at is None else table.texts(label_at).codes
    looked_at = 0
    for place in places:
        column = table.columns[place]
        if not (isinstance(column, Texts) or (column.dtype.kind in "iuf" and _is_whole(column))):
            continue
        codes = _codes(column)
        groups = int(codes.max(initial=0)) + 1
        if not 2 <= groups <= len(codes) / 3 or len(codes) - groups < EVIDENCE:
            continue
        if label is None or len(np.unique(codes * (label.max() + 1) + label)) == groups:
            yield place
            looked_at += 1
            if looked_at == CANDIDATES:
                return


def _counts_within(column: np.ndarray | Texts, codes: np.ndarray) -> bool:
    """Tell whether a column counts on within each group: by even steps, or ever upwards as the rows stand."""
    if isinstance(column, Texts) and not _is_dates(column):
        return False
    values = as_numbers(column)
    if np.isnan(values).any():
        return False
    order = np.lexsort((values, codes))
    inner = codes[order][1:] == codes[order][:-1]
    if inner.sum() < EVIDENCE:
        return False
    if _is_even(np.diff(values[order])[inner]):
        return True
    follows = codes[1:] == codes[:-1]
    is_contiguous = follows.sum() == inner.sum()
    return bool(is_contiguous and (np.diff(values)[follows] > 0).all())
