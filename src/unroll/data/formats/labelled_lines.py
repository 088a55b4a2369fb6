"""Lines of text, each with its class before it or behind it, divided by blanks or by a tab.

Which of these it is must follow from the file, or be said with ``lines``. Divided by blanks, the class is the first
word of each line, if these are the names of at most 20 classes that occur at least twice. Divided by one tab in each
line, it is on the side of which the same is true, if that is one side alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...config import DataConfig, LinesName
from ...errors import DataError
from ...formatting import brief, quoted
from ..records import Records
from .candidates import MOST_CLASSES, look_like_classes
from .parsing import check_name, read_text
from .text_file import LABELS, TEXTS, Labels, ParsedTexts

EXAMPLES = 3  # of how lines were read
SHORT = 30  # characters of a text in an example
FLAGS = "--lines label-first, label-last or tab (in Python lines='label-first')"


def parse(path: Path, config: DataConfig, labels: Labels = "needed") -> ParsedTexts:
    """Read lines of texts with their classes.

    Args:
        path: the file.
        config: ``lines`` says where the classes are; None where that is to follow from the file.
        labels: makes no difference: lines without classes are not for this reader.

    Raises:
        DataError: the file cannot be read, it is not plain where the classes are, or one has no name that can be
            shown; says in which line.
    """
    numbered = [(n, line) for n, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]
    lines = [line for _, line in numbered]
    by_tab = bool(lines) and all("\t" in line for line in lines)
    form = _form(path, numbered, config.lines, by_tab) if lines else config.lines
    texts, classes = [], []
    for number, line in numbered:
        label, text = _divided(line, form == "label-last", by_tab)
        texts.append(text.strip())
        classes.append(check_name(f"{path}, line {number}", label))
    pairs = zip(classes[:EXAMPLES], texts[:EXAMPLES], strict=True)
    examples = "; ".join(f"{label} | {brief(text, SHORT)}" for label, text in pairs)
    where = "at the end" if form == "label-last" else "at the beginning"
    understood = f"texts from lines; class: {where} of each, as in {examples}"
    at = [number for number, _ in numbered]
    records = Records(range(len(at)), at, named_by="line")
    places = [f"line {number}" for number in at]
    return ParsedTexts(path, texts, classes, places, understood, replace(config, lines=form), records=records)


def _divided(line: str, last: bool, by_tab: bool) -> tuple[str, str]:
    """Return the class and the text of a line."""
    if by_tab:
        before, _, behind = line.rpartition("\t") if last else line.partition("\t")
        return (behind, before) if last else (before, behind)
    words = line.rsplit(maxsplit=1) if last else line.split(maxsplit=1)
    return words.pop(-1 if last else 0), "".join(words)


def _form(path: Path, numbered: Sequence[tuple[int, str]], wanted: LinesName | None, by_tab: bool) -> LinesName:
    """Return where the classes are, "label-first" or "label-last"."""
    if wanted in ("label-first", "label-last"):
        return wanted
    lines = [line for _, line in numbered]
    if wanted == "tab" and not by_tab:
        number, line = next((n, line) for n, line in numbered if "\t" not in line)
        raise DataError(f"{path}, line {number}: expected a class and a text divided by a tab, got {quoted(line)}")
    if not by_tab:
        if look_like_classes(line.split(maxsplit=1)[0] for line in lines):
            return "label-first"
        raise DataError(
            f"{path} does not show where the class of a line is: expected each line to begin with one of at most "
            f"{MOST_CLASSES} classes that occur twice or more, got {quoted(lines[0])}; say where with {FLAGS}"
        )
    sides = [look_like_classes(_divided(line, last, True)[0].strip() for line in lines) for last in (False, True)]
    most = max(line.count("\t") for line in lines)
    if sum(sides) == 1 and (most == 1 or wanted == "tab"):
        return "label-first" if sides[0] else "label-last"
    raise DataError(f"{path} {_unclear(lines[0], most, all(sides))}")


def _unclear(line: str, most: int, both: bool) -> str:
    """Say why it is not clear on which side of a tab the classes are, and what to do."""
    names = {name.strip().lower() for name in line.split("\t")}
    if names & set(TEXTS) and names & set(LABELS):
        return "begins with names of columns: call it .tsv"
    if most > 1:
        why = f"has up to {most + 1} cells in a line: name the columns in a first line, and call it .tsv; or"
    elif both:
        why = "has few different values on both sides of its tabs:"
    else:
        why = f"has more than {MOST_CLASSES} values, or some that occur once, on both sides of its tabs:"
    return f"{why} say where the class is with --lines label-first or label-last (in Python lines='label-first')"
