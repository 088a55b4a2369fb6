"""What the columns of a table were taken for: recorded with the data, applied to each table that a run is given."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import DataError
from ..formatting import is_printable, listed, quoted
from ..validation import is_range


@dataclass(frozen=True)
class Columns:
    """What the columns of a table of series are.

    Attributes:
        features: of the long form the features, of the wide form the time steps, in order
        id: which series a row belongs to; None where there is no such column
        time: by which the rows of a series are ordered; None in the wide form, where a row is a series
        label: the class; None where there is no such column
        left_out: what is read for nothing
        missing_values: marks of a missing value, beside an empty cell and its like
        decimal: what stands before the decimals of a number
        time_step: from the shortest to the longest that a series has on average, in units of ``time``, of dates in
            seconds; None where there is no such column
        nested: whether each cell of the features, and of the time, holds a list: a row is a series
    """

    features: tuple[str, ...]
    id: str | None = None
    time: str | None = None
    label: str | None = None
    left_out: tuple[str, ...] = ()
    missing_values: tuple[str, ...] = ()
    decimal: str = "."
    time_step: tuple[float, float] | None = None
    nested: bool = False

    @property
    def is_wide(self) -> bool:
        """Whether each row is a series, and each of ``features`` a time step of it."""
        return self.time is None and not self.nested

    def __str__(self) -> str:
        """Say in words what was taken for what."""
        steps = f"{len(self.features)} steps, {_ends(self.features)}" if self.is_wide else listed(self.features)
        what = "series in rows of" if self.is_wide else "series from columns"
        what = "series from the lists in columns" if self.nested else what
        roles = (("id", self.id), ("time", self.time), ("class", self.label))
        facts = [f"{what} {steps}", *(f"{role}: {name}" for role, name in roles if name is not None)]
        if self.left_out:
            facts.append(f"left out: {listed(name or 'the column without a name' for name in self.left_out)}")
        return "; ".join(facts)

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Columns:
        """Rebuild from what `dataclasses.asdict` gave, as JSON has it.

        Raises:
            DataError: a value is not what the documentation says.
        """
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in saved.items()
        }
        made = cls(**plain)
        lists = {
            name: value for name, value in asdict(made).items() if name in ("features", "left_out", "missing_values")
        }
        single = [name for name in (made.id, made.time, made.label) if name is not None]
        for what, names in lists.items():
            if not isinstance(names, tuple):
                raise DataError(f"{what} must be names, got {quoted(names)}")
        bad = [name for names in (*lists.values(), single) for name in names if not _is_name(name)]
        if bad:
            raise DataError(f"a column needs a printable name, got {quoted(bad[0])}")
        if not made.features or made.decimal not in (".", ","):
            raise DataError(f"columns need features and a decimal '.' or ',', got {quoted(made.decimal)}")
        if not isinstance(made.nested, bool):
            raise DataError(f"nested must be true or false, got {quoted(made.nested)}")
        if made.time_step is not None and not is_range(made.time_step):
            raise DataError(f"time_step needs two numbers, got {quoted(made.time_step)}")
        return made


def _is_name(name: object) -> bool:
    return isinstance(name, str) and is_printable(name)


def _ends(names: tuple[str, ...]) -> str:
    return listed(names) if len(names) < 4 else f"{names[0]} to {names[-1]}"
