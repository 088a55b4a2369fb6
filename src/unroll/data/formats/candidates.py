"""What values look like, where a file does not say what they are: classes, or prose."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

MOST_CLASSES = 20  # different values that are taken for classes without being asked for
LOOKED_AT = 1_000  # values of a column, to tell whether they are prose


def look_like_classes(values: Iterable[object]) -> bool:
    """Tell whether values are names of classes: 2 to 20 different ones, each of which occurs at least twice."""
    counts: Counter[str] = Counter()
    for value in values:
        if value is None or value == "":
            continue
        counts[str(value)] += 1
        if len(counts) > MOST_CLASSES:
            return False
    return len(counts) > 1 and min(counts.values()) > 1


def length_of_prose(values: Sequence[object]) -> float:
    """Return the mean number of characters of texts of several words; 0 if most values are not such texts."""
    texts = [value for value in values[:LOOKED_AT] if isinstance(value, str) and value.strip()]
    several = sum(len(text.split(maxsplit=1)) > 1 for text in texts)
    if 2 * several <= len(texts) or look_like_classes(texts):
        return 0.0
    return sum(map(len, texts)) / len(texts)
