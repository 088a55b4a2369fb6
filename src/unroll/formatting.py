"""Make text from files safe to show: no control characters, not too long."""

from __future__ import annotations

import re
import reprlib
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 80  # characters of a value in a message
LONGEST_REASON = 160  # of a library's error message

# Visible or necessary characters of the category "format": the non-joiner of Persian, the joiner of emoji and Indian
# scripts, and the signs that Arabic and others write before a number.
_WRITTEN = frozenset(
    "\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
# Controls, other format characters (such as bidirectional overrides), surrogates, line and paragraph separators.
_ESCAPED = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))

_values = reprlib.Repr()
_values.maxstring = _values.maxother = _values.maxlong = LONGEST
_values.maxlevel = 3


def printable(text: str) -> str:
    r"""Return a text on one line, with control and invisible characters escaped as in Python.

    Letters of all languages, combining marks and emoji are not changed.

    Example:
        >>> printable("red \x1b[31m, naïve")
        'red \\x1b[31m, naïve'
    """
    if text.isprintable():  # true for nearly all texts, and far faster than checking each character
        return text
    return "".join(_escape(character) if _is_escaped(character) else character for character in text)


def printable_lines(text: str) -> str:
    """Return a text as `printable` does, but keep its line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(part if part in ("\n", "\t") else printable(part) for part in re.split(r"([\n\t])", text))


def is_printable(text: str) -> bool:
    """Tell whether `printable` would not change a text."""
    return text.isprintable() or not any(map(_is_escaped, text))


def _is_escaped(character: str) -> bool:
    return unicodedata.category(character) in _ESCAPED and character not in _WRITTEN


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def shown(value: object, longest: int = LONGEST) -> str:
    """Return a value from a file for a message or a table: printable, and cut to ``longest`` characters.

    A text is shown as it is, an error by the first line of its message, and anything else by its repr.

    Example:
        >>> shown("a" * 10, longest=4)
        'aaa…'
    """
    if isinstance(value, BaseException):
        lines = _message(value).strip().splitlines()
        text, longest = lines[0] if lines else type(value).__name__, max(longest, LONGEST_REASON)
    else:
        text = value if isinstance(value, str) else _values.repr(value)
    line = printable(text[: longest + 1])
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # some libraries' errors cannot be converted, for example because of surrogates
        return ""


def quoted(value: object, longest: int = LONGEST) -> str:
    """Return a value as `shown` does, with quotes around a text.

    Example:
        >>> quoted("cat")
        "'cat'"
    """
    if not isinstance(value, str):
        return shown(value, longest)
    mark = '"' if "'" in value and '"' not in value else "'"
    return f"{mark}{shown(value, longest)}{mark}"


def listed(names: Iterable[object], longest: int = LONGEST) -> str:
    """Return names joined by commas, cut to ``longest`` characters: "cat, dog, …"."""
    return shown(", ".join(map(str, names)), longest)


def brief(text: str, most: int) -> str:
    """Return a text on one line, cut to ``most`` characters."""
    return shown(" ".join(text.split()), most)


def percent(fraction: float | None) -> str:
    """Return a fraction as "97.53 %", and what is not defined as "–"."""
    return "–" if fraction is None else f"{100 * fraction:.2f} %"


def beside_accuracy(evaluation: Mapping[str, Any]) -> str:
    """Return what an accuracy is to be compared with, of `Evaluation.to_dict`, on one line."""
    name, share = evaluation["majority"]["class"], evaluation["majority"]["share"]
    scores = {
        "balanced accuracy": percent(evaluation["balanced_accuracy"]),
        "macro F1": percent(evaluation["macro_f1"]),
    }
    if evaluation["roc_auc"] is not None:
        scores["ROC-AUC"] = f"{evaluation['roc_auc']:.3f}"
    if curve := evaluation["precision_recall"]:
        scores[f"average precision of {quoted(curve['name'])}"] = percent(curve["average"])
    words = ", ".join(f"{score} {value}" for score, value in scores.items())
    return f"always answering {quoted(name)}: {percent(share)}; {words}"


def per_recording(evaluation: Mapping[str, Any]) -> str:
    """Return the accuracy per recording, of `Evaluation.to_dict` of windows, on one line."""
    counts = evaluation["recordings"]
    low, high = counts["interval"]
    return (
        f"accuracy {percent(counts['accuracy'])} (95 % interval {100 * low:.2f} to {percent(high)}; "
        f"{counts['correct']:,} of {counts['n']:,} recordings correct, each by the mean probabilities of its windows)"
    )


def in_words(setting: Mapping[str, Any]) -> str:
    """Return a setting as "cell gru, lr 0.003".

    Example:
        >>> in_words({"cell": "gru", "bidirectional": False, "lr": 3e-3})
        'cell gru, bidirectional no, lr 0.003'
    """
    return ", ".join(f"{name} {value_in_words(value)}" for name, value in setting.items())


def value_in_words(value: object) -> str:
    """Return one value of a setting, as tables show it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else shown(str(value))


def duration(seconds: float) -> str:
    """Return a time to wait for, to two digits or so: "0.4 s", "45 s", "12 min", "3 h 20 min".

    Example:
        >>> [duration(seconds) for seconds in (0.42, 45.3, 134, 12_000, 200_000)]
        ['0.4 s', '45 s', '2 min 10 s', '3 h 20 min', '2 d 8 h']
    """
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    for large, small, units in ((60, 10, "min s"), (3_600, 600, "h min"), (86_400, 3_600, "d h")):
        whole, rest = divmod(round(seconds / small) * small, large)
        if whole < {60: 60, 3_600: 24}.get(large, whole + 1):
            unit, lower = units.split()
            part = rest // {"s": 1, "min": 60, "h": 3_600}[lower]
            return f"{whole:.0f} {unit} {part} {lower}" if part and whole < 10 else f"{whole:.0f} {unit}"
    raise AssertionError("unreachable")


def size(count: int) -> str:
    """Return a number of bytes, to three digits: "812 kB", "1.25 GB".

    Example:
        >>> [size(count) for count in (90, 812_345, 1_254_000_000)]
        ['90 B', '812 kB', '1.25 GB']
    """
    value, units = float(count), iter(("B", "kB", "MB", "GB"))
    unit = next(units)
    for larger in units:
        if value < 999.5:
            break
        value, unit = value / 1_000, larger
    digits = 0 if unit == "B" or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"
