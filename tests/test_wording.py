"""Sentences are plain English: patterns that made unroll hard to read stay out of src and docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATTERNS = {
    "stands in, beside, there": r"\b(?:stands?|stood) (?:in|on|at|there|beside|behind|above|below|so|alone)\b",
    "so many": r"\bso many\b",
    "surest": r"\bsurest\b",
    "anew": r"\banew\b",
    "in the mean": r"\bin the mean\b",
    "is no": r"(?<![Tt]here )\b(?:is|are) no (?!longer\b|more\b)",
    "left alone": r"\b(?:left|leaves?) (?:\w+ )?alone\b",
    "but for": r"\bbut for\b|\blest\b",
    "will do": r"\bwill (?:not )?do\b",
    "way back": r"\bway back\b",
}
NAMES = {"found", "told", "said", "there", "one", "other", "others"}
ROOMS = ["src/unroll", "docs", "README.md", "CONTRIBUTING.md"]
TEXT = {".cpp", ".css", ".h", ".html", ".js", ".md", ".py", ".ts"}


def files(suffixes: set[str]) -> Iterator[Path]:
    """Yield the files of the rooms."""
    for room in ROOMS:
        path = ROOT / room
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix in suffixes and "_build" not in file.parts:
                yield file


@pytest.mark.parametrize("name", PATTERNS)
def test_the_rooms_are_rid_of_a_pattern(name: str) -> None:
    lines = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in files(TEXT)
        for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1)
        if re.search(PATTERNS[name], line)
    ]
    assert lines == []


def test_names_say_what_a_value_is() -> None:
    named = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {name}"
        for file in files({".py"})
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if (name := getattr(node, "arg", None) if isinstance(node, ast.arg) else getattr(node, "id", None)) in NAMES
    ]
    assert named == []


def test_the_rooms_exist_and_patterns_match() -> None:
    assert len({file.relative_to(ROOT).parts[:3] for file in files(TEXT)}) > 15
    assert re.search(PATTERNS["is no"], "x is no run")
    assert not re.search(PATTERNS["is no"], "there is no run")
    assert re.search(PATTERNS["left alone"], "it leaves them alone")
