"""What training data is like, in a few numbers: recorded with it, saved with a run, compared with what it is given."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from ..errors import DataError
from ..formatting import quoted
from ..validation import is_number, is_range

Range = tuple[float, float]


@dataclass(frozen=True)
class Usual:
    """What the sequences of a training part are like. Each range leaves out the lowest and the highest hundredth.

    Attributes:
        lengths: time steps of a sequence; of texts tokens
        length: their median
        levels: of each feature, in the units of the stored values: its mean in a sequence; of images one range, of all
            their pixels, and of texts none
        spreads: likewise its standard deviation within a sequence
        constant: fraction of the sequences in which no feature changes
        time_step: of a series on average, in units of its column of times, of dates in seconds; None if it has none
        unknown: fraction of the tokens that the vocabulary lacks; None where there are no texts
        characters: mean characters of a token; likewise
    """

    lengths: Range
    length: float
    levels: tuple[Range, ...] = ()
    spreads: tuple[Range, ...] = ()
    constant: float = 0.0
    time_step: Range | None = None
    unknown: float | None = None
    characters: float | None = None

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> Usual:
        """Rebuild from what `dataclasses.asdict` gave, as JSON has it.

        Raises:
            DataError: a value is not what the documentation says.
        """
        plain = {name: _tuples(value) for name, value in saved.items()}
        made = cls(**plain)
        for field in fields(cls):
            value = getattr(made, field.name)
            ranges = value if field.name in ("levels", "spreads") else (value,)
            is_pair = field.name in ("levels", "spreads", "lengths", "time_step")
            if value is None and field.default is None:
                continue
            if not isinstance(ranges, tuple) or not all(is_range(v) if is_pair else is_number(v) for v in ranges):
                raise DataError(f"usual: {field.name} needs numbers, got {quoted(value)}")
        if len(made.levels) != len(made.spreads):
            raise DataError(f"usual: {len(made.levels)} levels and {len(made.spreads)} spreads")
        return made


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
