"""Dates in the cells of a table, as whole numbers: two that differ stay two, however close they are."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FRACTION = re.compile(r"(?<=:\d\d)[.,](\d{1,9})")  # of a second


def date_ns(cell: str) -> int | None:
    """Return the nanoseconds from 1970 to a date (ISO 8601), None if it is none.

    One without a zone is read as UTC: where a clock is put back, two dates would have one number.
    """
    fraction = FRACTION.search(cell)
    try:
        date = datetime.fromisoformat(FRACTION.sub("", cell, count=1))
    except ValueError:
        return None
    whole = (date if date.tzinfo else date.replace(tzinfo=UTC)) - EPOCH
    return whole // timedelta(microseconds=1) * 1000 + (int(fraction[1].ljust(9, "0")) if fraction else 0)


def moment(cell: str) -> tuple[float | int | None, bool]:
    """Return a number, or the nanoseconds of a date and True; None for what is neither."""
    for kind in (int, float) if "_" not in cell else ():  # Python takes 1_2 for 12
        try:
            value = kind(cell)
            return (value if math.isfinite(float(value)) else None), False
        except (ValueError, OverflowError):
            continue
    date = date_ns(cell)
    return date, date is not None


class Dates(Sequence[str]):
    """Dates that a frame holds as such, written as ISO 8601 where somebody looks; empty where one is missing.

    Attributes:
        ns: (dates,) int64 nanoseconds from 1970, the lowest number there is where a date is missing
    """

    def __init__(self, ns: np.ndarray) -> None:
        self.ns = ns

    def __len__(self) -> int:
        return len(self.ns)

    def __getitem__(self, index: Any) -> Any:
        date = np.datetime64(int(self.ns[index]), "ns")
        whole, _, fraction = str(date).replace("T", " ").partition(".")
        return "" if np.isnat(date) else ".".join(filter(None, (whole, fraction.rstrip("0"))))

    @property
    def is_missing(self) -> np.ndarray:
        """(dates,) bool, where one is missing."""
        missing: np.ndarray = self.ns == np.iinfo(np.int64).min
        return missing
