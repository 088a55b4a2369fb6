"""Series as a file or a frame holds them, before they become tensors: what their readers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ...errors import DataError
from ...formatting import listed, shown
from ..columns import Columns
from ..origins import Origins
from ..preparation import Preparation, Scaling
from ..records import NamedBy, Records
from ..remarks import plain
from ..sequences import SequenceData
from .parsing import in_order
from .stored import to_data
from .table import Texts


@dataclass(frozen=True)
class Series:
    """The content of a file.

    Attributes:
        path: of the file
        values: of each series (time, features) float64, NaN where a value is missing
        names: of each series: its id, or its number, or the name of a file that is one series
        named_by: which of these, "id", "line", "row", "series" or "file"
        labels: class of each series; None where the file has no classes
        classes: all that the file says there are, in its order; empty where that follows from the labels
        features: names of the features; empty where the file has none
        columns: what the columns of a table were taken for; None where the file is none
        notes: what one should know of how it was read, in words
        understood: what was taken for what, in words; empty where there was no choice, or ``columns`` say it
        times: (steps of all series,) float64, ascending from 0 in each; of dates in seconds; None where it has none
        groups: of each series what it belongs to; None where no column says so
        when: (N, 2) int64 or float64, the first and the last moment of each series; None where no column says so
        rows: number of each series' record, of its first one if it has several; empty where every record is a series
        lines: the line of each of these records; empty where ``names`` says it, or the file has none
        step_labels: (steps of all series,) the class of each, where it changes within series, of which ``labels`` then
            say the first; None where it does not
    """

    path: Path
    values: list[np.ndarray]
    names: list[str]
    named_by: NamedBy
    labels: list[str] | None
    classes: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    columns: Columns | None = None
    notes: tuple[str, ...] = ()
    understood: str = ""
    times: np.ndarray | None = None
    groups: list[str] | None = None
    when: np.ndarray | None = None
    rows: Sequence[int] = ()
    lines: Sequence[int] = ()
    step_labels: Texts | None = None

    @property
    def all_labels(self) -> list[str]:
        """Each class that occurs, at least once."""
        return [*(self.labels or []), *(self.step_labels.values if self.step_labels else [])]

    @property
    def records(self) -> Records:
        """The places of the series in the file."""
        if self.named_by == "file":
            return Records(ids=self.names, named_by="file")
        rows = self.rows or range(len(self.names))
        if self.named_by == "line":
            return Records(rows, [int(name) for name in self.names], named_by="line")
        if self.named_by != "id":
            return Records(rows, named_by=self.named_by)
        return Records(rows, self.lines, self.names, "id")


def to_sequences(parts: Sequence[Series], offset: tuple[float, ...] | None = None) -> list[SequenceData]:
    """Return the parts of a data set with one table of classes, which the first of them says.

    Args:
        parts: of it.
        offset: of each feature, of the model that is to read them (default: what the first part needs).

    Raises:
        DataError: a part has no series, no labels, or a class or features that the first part lacks.
    """
    first = parts[0]
    for part in parts:
        if not part.values:
            raise DataError(f"{part.path} holds no series")
    classes = first.classes or in_order(first.all_labels)
    index = {label: number for number, label in enumerate(classes)}
    data: list[SequenceData] = []
    for part in parts:
        assert part.labels is not None
        for name, label in zip(part.names, part.labels, strict=True):
            if label not in index:
                alike = [known for known in classes if plain(known) == plain(label)]
                hint = f"; {shown(alike[0])} only looks the same: write both alike" if alike else ""
                raise DataError(
                    f"{part.path}, {part.named_by} {shown(name)}: the class {shown(label)} is not in {first.path}, the "
                    f"training part{hint}"
                )
        y = np.array([index[label] for label in part.labels], np.int64)
        made = _to_data(part, y, classes, data[0].preparation.offset if data else offset)
        data.append(made if part.step_labels is None else _with_step_classes(made, part, index))
    for part, own in zip(parts[1:], data[1:], strict=True):
        if part.features != first.features:
            expected, got = (listed(names) or "features without names" for names in (first.features, part.features))
            raise DataError(f"{part.path}: expected the features of {first.path}, {expected}; got {got}")
        if own.input_size != data[0].input_size:
            expected, got = str(data[0].input_size), str(own.input_size)
            raise DataError(f"{part.path}: expected {expected} features per time step as in {first.path}, got {got}")
    return data


def _with_step_classes(data: SequenceData, part: Series, index: dict[str, int]) -> SequenceData:
    """Return series with the class of each time step.

    Raises:
        DataError: a class is not in ``index``.
    """
    assert part.step_labels is not None
    codes, names = part.step_labels
    unknown = [label for label in names if label not in index]
    if unknown:
        raise DataError(f"{part.path}: the class {shown(unknown[0])} is not in the training part")
    classes = np.array([index[label] for label in names], np.int64)[codes]
    steps = torch.from_numpy(classes)
    return replace(data, step_classes=steps if data.starts is not None else steps.view(len(data), -1))


def unlabelled(series: Series, classes: tuple[str, ...], offset: tuple[float, ...] | None = None) -> SequenceData:
    """Return series for a model to classify; until then each is said to be of the first of ``classes``.

    Raises:
        DataError: there is no series.
    """
    if not series.values:
        raise DataError(f"{series.path} holds no series")
    return _to_data(series, np.zeros(len(series.values), np.int64), classes, offset)


def _to_data(series: Series, y: np.ndarray, classes: tuple[str, ...], offset: tuple[float, ...] | None) -> SequenceData:
    lengths = np.array([len(values) for values in series.values], np.int64)
    preparation = Preparation(classes, Scaling(0.0, 1.0), features=series.features, columns=series.columns)
    name, x = str(series.path), np.concatenate(series.values)
    origins = Origins.of(str(series.path), series.names, series.named_by, series.groups, series.when)
    data = to_data(name, x, lengths, y, preparation, offset, series.notes, series.times)
    return replace(data, origins=origins)
