"""Recordings: CSV files, or .txt files of numbers alone, that each hold one series, a row for each time step.

The class of a recording is the folder that it is in, ``walking/01.csv``, or its name before a number,
``walking_01.csv``; either may be in ``train/``, ``test/`` and ``val/``. The first line names the columns; where all
lines are numbers, features have no names. No feature is a column that only says which recording or which moment it is:
one that is called time, timestamp, index or the like, label, class or nothing, one that grows from row to row in each
file, or one that is the same within each file and not in all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...config import DataConfig
from ...config.data import OF_IMAGES
from ...errors import DataError, did_you_mean
from ...formatting import listed, quoted, shown
from ..columns import Columns
from ..preparation import Preparation
from ..sequences import Parts
from .csv_series import marks_of, uneven
from .dates import date_ns, moment
from .frame_columns import text_of
from .hints import explained
from .image_folder import SUFFIXES as IMAGES
from .parsing import check_name, number, read_rows
from .parts import VALIDATION, Files, entries_of, inside, unpacked
from .plain_series import holds_numbers, number_rows
from .roles import LABELS, flag, id_candidates, long_form
from .series_file import Series, to_sequences
from .table import NO_MARKS, Marks, read_table

SUFFIXES = (".csv", ".tsv", ".txt")
CLOCKS = ("", "time", "timestamp", "date", "datetime", "index", "unnamed: 0", "id")
TIMES = ("time", "timestamp")
NUMBERED = re.compile(r"(?P<label>.*[^\W\d_].*?)[_\-. ]*\d+")
NO_CLASSES = ("train", "test", *VALIDATION)


@dataclass(frozen=True)
class Recording:
    """One file.

    Attributes:
        path: of it
        columns: values (time,) float64 of each column; of one that holds no numbers the cells
        named: whether columns have names; else they are numbered
        exact: cells of the columns by which parts are cut, as they are written
    """

    path: Path
    columns: dict[str, np.ndarray | list[str]]
    named: bool
    exact: dict[str, list[str]] = field(default_factory=dict)


def is_of_recordings(folder: Path) -> bool:
    """Tell whether a folder holds recordings, by names; of files that lie side by side also by their columns."""
    parts = inside(folder)
    return bool(_labelled_files(folder if parts is None else parts.train))


def read(path: Path, config: DataConfig, model: Preparation | None = None) -> Parts:
    """Read a folder of recordings; for arguments and errors see `unroll.data.formats.series.read`."""
    config.check_unused(str(path), "it holds no images", *OF_IMAGES)
    folders = inside(path) or Files(path)
    files = [[] if folder is None else _labelled_files(folder) for folder in folders]
    left_out = [name for part in files for name in _left_out([file for file, _ in part])]
    marks = marks_of(config, None if model is None else model.columns)
    cuts = [config.group, config.split_by_time]
    recordings = [[_recording(file, marks, cuts) for file, _ in part] for part in files]
    if model is not None:  # whose own recordings had these columns
        cuts = [_if_there(column, recordings[0]) for column in cuts]
        config = replace(config, group=cuts[0], split_by_time=cuts[1])
    features, unused = _features(path, recordings[0], cuts, config.names("drop_columns"), model)
    by = "name" if files[0][0][0].parent in folders else "folder"
    names = f"features {listed(features)}" if recordings[0][0].named else f"{len(features)} features"
    facts = [f"series from files, of {names}"]
    facts += [f"class: the {by} of each"]
    facts += [f"left out: {listed(name or 'the column without a name' for name in unused)}"] if unused else []
    parts = [
        _with_origins(
            _series(folder, part, [check_name(str(file), label) for file, label in labelled], features, marks),
            part,
            config,
        )
        for folder, part, labelled in zip(folders, recordings, files, strict=True)
        if folder is not None and part
    ]
    present = [name for name, part in zip(Parts._fields, recordings, strict=False) if part]
    notes: tuple[str, ...] = (f"left out, as no recordings: {listed(left_out)}",) if left_out else ()
    if config.resample is None:
        steps = [float(np.median(np.diff(times))) for times in map(_times, recordings[0]) if len(times) > 1]
        notes += uneven(steps, "recordings")
    parts[0] = replace(parts[0], notes=(*parts[0].notes, *notes))
    data = to_sequences(parts, None if model is None else model.offset)
    return Parts.of(dict(zip(present, data, strict=True)), understood="; ".join(facts))


def _with_origins(series: Series, recordings: Sequence[Recording], config: DataConfig) -> Series:
    """Return recordings with the group of each, and when it was, as the columns that are asked for say.

    Raises:
        DataError: a recording lacks such a column, or belongs to two groups.
    """
    names = [f"{recording.path.parent.name}/{recording.path.name}" for recording in recordings]
    groups = when = None
    if config.group is not None:
        each = [_column(recording, config.group) for recording in recordings]
        for recording, column in zip(recordings, each, strict=True):
            if len(set(column)) > 1:
                first, second = listed(name or "an empty cell" for name in dict.fromkeys(column)), recording.path
                raise DataError(f"{second}, column {shown(config.group)}: a recording is of one group, got {first}")
        groups = [column[0] for column in each]
    if config.split_by_time is not None:
        columns = [[moment(cell) for cell in _column(recording, config.split_by_time)] for recording in recordings]
        for recording, cells in zip(recordings, columns, strict=True):
            if any(value is None or is_date != columns[0][0][1] for value, is_date in cells):
                where = f"{recording.path}, column {shown(config.split_by_time)}"
                raise DataError(f"{where}: expected {'dates' if columns[0][0][1] else 'numbers'} in each row")
        ends = [[value for value, _ in cells if value is not None] for cells in columns]
        when = np.array([(min(own), max(own)) for own in ends])
    return replace(series, names=names, named_by="file", groups=groups, when=when)


def _if_there(column: str | None, recordings: Sequence[Recording]) -> str | None:
    return column if all(column in recording.columns for recording in recordings) else None


def _column(recording: Recording, name: str) -> list[str]:
    """Return the cells of a column by which parts are cut; empty where one is missing."""
    if name not in recording.columns:
        known = listed(recording.columns) if recording.named else "columns without names"
        raise DataError(f"{recording.path} has no column {shown(name)}: it has {known}")
    return recording.exact.get(name) or list(map(text_of, recording.columns[name]))


def read_alone(path: Path, model: Preparation, config: DataConfig) -> Series | None:
    """Return a file as one series to classify; None where it is not a recording.

    Args:
        path: a .csv, .tsv or .txt file.
        model: says which features are read, or how many where these have no names.
        config: may say how a table writes its numbers; one whose id or features it names is not a recording.

    Raises:
        DataError: the file cannot be read, a row is invalid, or it lacks a feature and cannot be anything else.
    """
    features, count = model.features, _count(model)
    if holds_numbers(path):
        if features or count < 2:
            return None
    else:
        if not features or path.suffix.lower() == ".txt":
            return None
        if config.id_column is not None or config.feature_columns is not None:
            return None
        names, own = read_rows(path, 1)[0], model.columns.id if model.columns else None
        id_ = next((name for name in names if name == own or name.lower() == "id"), None)
        if id_ is not None or not set(features) <= set(names):
            _check_wide(path, names, id_, model, config)
            return None
        if _looks_long(path, [*features, *config.names("drop_columns")]):
            return None
    marks = marks_of(config, model.columns)
    recording = _recording(path, marks)
    names = list(recording.columns)
    if not features and len(names) != count:
        return None
    unused = [name for name in names if features and name not in features]
    notes = (f"left out {listed(unused)}",) if unused else ()
    return replace(_series(path, [recording], None, tuple(features) or tuple(names), marks), notes=notes)


def _check_wide(path: Path, names: Sequence[str], id_: str | None, model: Preparation, config: DataConfig) -> None:
    """Raise `DataError` unless a table is long, or may have a row for each series, of one feature in several steps.

    Args:
        path: of the table.
        names: of its columns; without an id, not all that the model reads are there.
        id_: which one is the id; None where there is none.
        model: its preparation.
        config: how the table is read.
    """
    own = model.columns and model.columns.time
    times = {"time", *(name.lower() for name in (own, config.time_column) if name)}
    no_steps = {*CLOCKS, *LABELS, *map(str.lower, (*config.names("drop_columns"), config.label_column or ""))}
    steps = [name for name in names if name.lower() not in no_steps and name != id_]
    has_time = bool(times & set(map(str.lower, names)))
    if id_ is not None:
        if not has_time and len(steps) < 2:
            raise DataError(
                f"{path} has a column {shown(id_)} but no column {shown(own or 'time')}: expected both, or neither for "
                "a file of one series"
            )
    elif (len(model.features) > 1 or len(steps) < 2 or has_time) and not _looks_long(
        path, config.names("drop_columns")
    ):
        missing = [name for name in model.features if name not in names]
        several = "" if len(missing) == 1 else "s"
        raise DataError(
            f"{path} has no column{several} {listed(missing)}: expected {listed(model.features)}, which the run reads, "
            f"got {listed(names)}; rename the columns that hold them"
        )


def _looks_long(path: Path, used: Sequence[str]) -> bool:
    """Tell whether a table looks like one of several series, by columns other than those ``used`` otherwise."""
    table = read_table(path, lambda _: (), NO_MARKS)
    rest = [place for place, name in enumerate(table.header) if name not in used]
    return long_form(table, id_candidates(table, rest, None), rest) is not None


def _count(model: Preparation) -> int:
    """Return how many features the data had that a model was trained on; 0 where its preparation does not say."""
    if model.missing is not None:
        return len(model.missing.means)
    return len(model.scaling.mean) if isinstance(model.scaling.mean, tuple) else 0


def _labelled_files(folder: Path) -> list[tuple[Path, str]]:
    """Return the recordings in a folder with their classes; none where it holds something else."""
    entries = entries_of(folder)
    folders = [entry for entry in entries if entry.is_dir()]
    files = [(file, sub.name) for sub in folders for file in entries_of(sub)]
    if files:
        kinds = Counter(file.suffix.lower() for file, _ in files)
        kind = max(SUFFIXES, key=kinds.__getitem__)  # a note may lie beside tables, and a table beside texts
        tables = [(file, label) for file, label in files if file.suffix.lower() == kind]
        if not tables or set(kinds) & set(IMAGES) or any(file.is_dir() for file, _ in files):
            return []
        return [] if kind == ".txt" and not holds_numbers(tables[0][0]) else tables
    matches = [(file, NUMBERED.fullmatch(file.stem)) for file in entries if file.suffix.lower() in (".csv", ".tsv")]
    labelled = [(file, match["label"]) for file, match in matches if match]
    classes = {label for _, label in labelled}
    if len(labelled) < len(matches) or len(classes) < 2 or classes & set(NO_CLASSES):
        return []
    first = labelled[0][0]
    header = [] if holds_numbers(first) else [name.lower() for name in read_rows(first, 1)[0]]
    return [] if {"id", *LABELS} & set(header) else labelled


def _left_out(files: Sequence[Path]) -> list[str]:
    """Return the names of files in the folders of classes that are not read as recordings.

    Raises:
        DataError: a folder of a class has none.
    """
    folders = {file.parent for file in files}
    if len(folders) < 2:
        return []  # they lie side by side
    empty = [entry for entry in entries_of(files[0].parent.parent) if entry.is_dir() and entry not in folders]
    if empty:
        kind = files[0].suffix.lower()
        raise DataError(f"{empty[0]} holds no {kind} file, as the other classes do: expected recordings of one kind")
    chosen = set(files)
    unread = [entry for folder in sorted(folders) for entry in entries_of(folder) if entry not in chosen]
    return [f"{entry.parent.name}/{entry.name}" for entry in unread]


def _recording(path: Path, marks: Marks, exact: Collection[str | None] = ()) -> Recording:
    if holds_numbers(path):
        columns_ = enumerate(marks.masked(number_rows(path)).T)
        return Recording(path, {str(place): column for place, column in columns_}, named=False)
    with explained(path):
        return _named(path, marks, exact)


def _named(path: Path, marks: Marks, exact: Collection[str | None]) -> Recording:
    header, rows = read_rows(path)
    if not rows:
        raise DataError(f"{path} holds no rows: expected one for each time step")
    columns: dict[str, np.ndarray | list[str]] = {}
    for place, name in enumerate(header):
        cells = [row[place] for _, row in rows]
        try:
            columns[name] = marks.masked(np.array([marks.value(cell) for cell in cells]))
        except ValueError:
            columns[name] = cells
    for name in columns:
        times = columns[name]
        if name.lower() in TIMES and not isinstance(times, list):
            back = np.flatnonzero(np.diff(times) < 0)
            if len(back):
                raise DataError(f"{path}, line {rows[back[0] + 1][0]}, column {name}: the time goes back")
    as_written = {name: [row[place].strip() for _, row in rows] for place, name in enumerate(header) if name in exact}
    return Recording(path, columns, True, as_written)


def _clock(recording: Recording) -> str | None:
    return next((name for name in recording.columns if name.lower() in TIMES), None)


def _times(recording: Recording) -> np.ndarray:
    """Return the times of a recording, of dates in seconds from the first on; none where not every row has one.

    Raises:
        DataError: they go back.
    """
    times = recording.columns.get(_clock(recording) or "", [])
    if isinstance(times, list):
        dates = [date_ns(cell) for cell in times]
        first = next((date for date in dates if date is not None), 0)
        times = np.array([np.nan if date is None else (date - first) / 1e9 for date in dates])
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        name = _clock(recording) or ""
        cell = shown(recording.columns[name][back[0] + 1])
        raise DataError(f"{recording.path}, column {name}: the time goes back, to {cell}")
    return times if np.isfinite(times).all() else times[:0]


def _features(
    path: Path,
    recordings: Sequence[Recording],
    cuts: Sequence[str | None],
    dropped: Sequence[str],
    model: Preparation | None,
) -> tuple[tuple[str, ...], list[str]]:
    """Return the columns that are features, and those that are not.

    Args:
        path: of all recordings.
        recordings: to train on.
        cuts: columns that say how parts are cut; no feature is among them.
        dropped: columns that the user leaves out.
        model: whose features are read, if they have names; it may have been trained without a column that is here, and
            what was dropped for it may not be here (default None: nothing is known).

    Raises:
        DataError: there is no feature, a recording lacks one that another has, or what is dropped is not there.
    """
    names = list(dict.fromkeys(name for recording in recordings for name in recording.columns))
    named = all(recording.named for recording in recordings)
    if model is not None and model.features and named:
        needed = [name for name in dropped if name in model.features]
        if needed:
            raise DataError(
                f"{path}: the run reads the features {listed(model.features)}: {needed[0]} cannot be left out"
            )
        return model.features, [name for name in names if name not in model.features]
    for name in dropped:
        if name not in names or not named:
            hint, known = (did_you_mean(name, names), listed(names)) if named else ("", "columns without names")
            raise DataError(f"{path} has no column {quoted(name)}{hint}: it has {known}")
    unread, features, unused = (*cuts, *dropped), list[str](), list[str]()
    for name in names:
        each = [recording.columns[name] for recording in recordings if name in recording.columns]
        is_unread = name in unread or _is_no_feature(name, each)
        (unused if recordings[0].named and is_unread else features).append(name)
        if len(each) < len(recordings) and name in features:
            lacks = next(recording for recording in recordings if name not in recording.columns)
            has = next(recording for recording in recordings if name in recording.columns)
            way = f"; --drop-columns {flag([*dropped, name])} leaves it out" if named else ""
            raise DataError(
                f"{lacks.path} has no column {shown(name)}, which {has.path} has: expected the same ones{way}"
            )
    if not features:
        raise DataError(f"{recordings[0].path} has no column of values: expected more than {listed(unused)}")
    return tuple(features), unused


def _is_no_feature(name: str, each: Sequence[np.ndarray | list[str]]) -> bool:
    if name.lower() in (*CLOCKS, *LABELS):
        return True
    numbers = [column for column in each if not isinstance(column, list) and len(column) > 2]
    grows = len(numbers) == len(each) and all(bool((np.diff(column) > 0).all()) for column in numbers)
    still = all(len(set(column)) == 1 for column in each) and len({column[0] for column in each}) > 1
    return grows or still


def _series(
    path: Path, recordings: Sequence[Recording], labels: list[str] | None, features: tuple[str, ...], marks: Marks
) -> Series:
    values = []
    for recording in recordings:
        for name in features:
            if name not in recording.columns:
                raise DataError(f"{recording.path} has no column {shown(name)}: it has {listed(recording.columns)}")
            if isinstance(recording.columns[name], list):
                cell = _text_in(recording, name)
                with explained(recording.path):
                    raise DataError(f"{recording.path}, column {shown(name)}: expected numbers, got {cell}")
        values.append(np.stack([np.asarray(recording.columns[name]) for name in features], axis=1))
    names = [unpacked(recording.path).stem for recording in recordings]
    if not recordings[0].named:
        return Series(path, values, names, "file", labels)
    times = [_times(recording) for recording in recordings]
    columns = _columns(recordings, features, marks, times)
    since = np.concatenate([own - own[0] for own in times]) if all(map(len, times)) else None
    return Series(path, values, names, "file", labels, features=features, columns=columns, times=since)


def _columns(
    recordings: Sequence[Recording], features: tuple[str, ...], marks: Marks, times: Sequence[np.ndarray]
) -> Columns | None:
    """Return what the columns are; None where none of them holds times.

    Args:
        recordings: of which.
        features: which columns are features.
        marks: how numbers are written.
        times: of each recording, as `_times` returns them.
    """
    clock = _clock(recordings[0])
    if clock is None:
        return None
    each = [(own[-1] - own[0]) / (len(own) - 1) for own in times if len(own) > 1]
    time_step = (float(min(each)), float(max(each))) if each else None
    left_out = tuple(name for name in recordings[0].columns if name not in (clock, *features))
    return Columns(features, None, clock, None, left_out, marks.missing, marks.decimal, time_step)


def _text_in(recording: Recording, name: str) -> str:
    """Return the first cell of a column that is not a number, as a message shows it."""
    cells = [str(cell) for cell in recording.columns[name]]
    for cell in cells:
        try:
            number(cell)
        except ValueError:
            return shown(cell)
    return shown(cells[0])  # numbers, but not with the decimal separator that was asked for
