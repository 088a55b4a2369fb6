"""What a value from a file must be before anything is computed with it."""

from __future__ import annotations

import sys

LARGEST = sys.float_info.max


def is_number(value: object, least: float = -LARGEST, most: float = LARGEST) -> bool:
    """Tell whether a value is a number from ``least`` to ``most``; a whole number may be larger than any float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most
