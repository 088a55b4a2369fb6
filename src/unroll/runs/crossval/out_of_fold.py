"""The table of a cross-validation's answers, ``oof.csv``: of each sequence by the run that was not trained on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...data.folds import Folds
from ...errors import RunError
from ..answers import FORMATS
from .state import CrossValidation, answers_of

NAMED_BY = ("id", "line", "file")  # what a column of names can be called; others only count


def table_of(validation: CrossValidation, of_repeats: Sequence[Folds]) -> bytes:
    """Return the content of oof.csv: a row for each sequence in the order of the data, in each repeat.

    Columns are called as in `unroll.runs.answers`: ``row``, the number in what was divided, from 0; ``id``, ``line`` or
    ``file``, as the source calls it; ``start``, of windows, the time step of the recording that each begins with;
    ``group``; ``repeat`` if there are several; ``fold``; ``true``, the true class; ``class``, the most probable one;
    its ``probability``, and that of each class, ``p(NAME)``.

    Raises:
        RunError: a run was tested on other sequences than those of its fold.
    """
    rows, classes = list[tuple[int, int, list[Any]]](), tuple[str, ...]()
    origins = of_repeats[0].origins
    named = origins is not None and origins.named_by in NAMED_BY
    for result in validation.results:
        folds, answers = of_repeats[result.repeat - 1], answers_of(validation.path / result.run)
        places, classes = folds.cut(result.fold)[1], answers.classes
        if folds.y[places].tolist() != answers.y.tolist():
            raise RunError(f"{validation.path / result.run} was tested on other data: start again with --overwrite")
        probabilities = answers.probabilities()
        for place, y, row in zip(places.tolist(), answers.y.tolist(), probabilities, strict=True):
            label = int(row.argmax())
            cells: list[Any] = [place]
            if origins is not None and named:
                cells.append(origins.names[place].encode("utf-8", "backslashreplace").decode())
            if origins is not None and origins.windows is not None:
                cells.append(int(origins.windows[place, 1]))
            if origins is not None and origins.groups:
                cells.append(origins.groups[place])
            cells += [result.repeat] if validation.repeats > 1 else []
            cells += [result.fold, classes[y], classes[label], float(row[label]), *row.tolist()]
            rows.append((result.repeat, place, cells))
    head = ["row", *([origins.named_by] if origins is not None and named else [])]
    head += ["start"] if origins is not None and origins.windows is not None else []
    head += ["group"] if origins is not None and origins.groups else []
    head += ["repeat"] if validation.repeats > 1 else []
    head += ["fold", "true", "class", "probability", *(f"p({name})" for name in classes)]
    cells_of_each = [cells for _, _, cells in sorted(rows, key=lambda row: row[:2])]
    columns = {name: [cells[at] for cells in cells_of_each] for at, name in enumerate(head)}
    return FORMATS[".csv"](columns)
