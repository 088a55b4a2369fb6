"""Examples to classify in a data frame, whose columns are what those of the training data were taken for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import DataConfig
from ..errors import DataError
from ..formatting import listed
from .columns import Columns
from .containers import is_frame
from .formats import nested_series
from .formats.frames import Frame, of_frame, texts_of
from .formats.roles import LABELS
from .formats.series_file import unlabelled
from .preparation import Preparation
from .records import Records
from .sequences import SequenceData


def is_table(raw: object) -> bool:
    """Tell whether ``raw`` is a frame whose columns say what they are: its rows have no key (series, time)."""
    return is_frame(raw) and getattr(getattr(raw, "index", None), "nlevels", 1) < 2


def series_in(raw: Any, preparation: Preparation, config: DataConfig) -> tuple[SequenceData, Records]:
    """Return the series of a frame, not yet prepared, and their places in it; their classes are ignored.

    Args:
        raw: a frame in long or wide form, or with a list in each cell, of pandas or polars, or a pyarrow table.
        preparation: of the model that is to classify them.
        config: may say what marks a missing value.

    Raises:
        DataError: the frame is invalid, or does not say which series a row belongs to, or which feature is which.
    """
    known = preparation.columns
    frame = _without_classes(of_frame(raw, _path(raw)), known)
    series = nested_series.of_frame(frame, False, config, known)
    is_wide = not series.features
    if is_wide and known is not None and not known.is_wide and set(known.features) <= set(frame.header):
        raise DataError(
            f"{frame.path} has the features {listed(known.features)}, but no columns that say which series and which "
            "time step a row is: add columns id and time, or hand over an array (N, time, features)"
        )
    if len(series.features) > 1 and not preparation.features:
        raise DataError(
            f"{frame.path} names its features, {listed(series.features)}, but those of the training data have no "
            "names: hand over an array (N, time, features) in their order"
        )
    return unlabelled(series, preparation.classes, preparation.offset), series.records


def texts_in(raw: Any, own: DataConfig) -> tuple[list[str], Records]:
    """Return the texts of a frame, and their places in it; their classes are ignored.

    Args:
        raw: a frame with a column of texts.
        own: how the training data was read, whose column of texts is used if the frame has it.

    Raises:
        DataError: the frame has no such column, or a row no text.
    """
    frame = of_frame(raw, _path(raw))
    column = own.text_column if own.text_column in frame.header else None
    parsed = texts_of(frame, DataConfig(text_column=column), "unwanted")
    return parsed.texts, parsed.records


def _without_classes(frame: Frame, known: Columns | None) -> Frame:
    """Return a frame without its column of classes, which may be empty, or change within a series."""
    if known is not None and known.label in frame.header:
        labels = [known.label]
    else:
        labels = [name for name in frame.header if name.lower() in LABELS]
    kept = [place for place, name in enumerate(frame.header) if name not in labels]
    return replace(frame, header=[frame.header[at] for at in kept], columns=[frame.columns[at] for at in kept])


def _path(raw: object) -> Path:
    return Path(type(raw).__name__)  # which messages call the frame
