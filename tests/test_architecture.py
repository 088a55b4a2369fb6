"""The floors of the house: a module imports only from floors below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "unroll"

# Sub-packages are one room: inside them no circle, seen by Python itself at import.
FLOORS = {
    "__main__": 10,
    "cli": 9,
    "health": 8.7,  # in the manner of printing
    "printing": 8.5,  # in the terminal's manner
    "tables": 8.5,  # likewise
    "report": 8.2,  # its words are the terminal's
    "server": 8,
    "terminal": 8,
    "bench": 7,
    "export": 7,
    "plots": 6,
    "doctor": 5.5,  # what it asks of a batch, inspection asks of a fresh model's
    "sketch": 4,
    "runs": 5,
    "training": 4.8,
    "models": 4,
    "testing": 4.5,
    "cells": 3,
    "evaluation": 4.1,
    "scan": 2,
    "data": 2,
    "config": 1,
    "notebook": 1,
    "page": 1,
    "interrupt": 1,
    "errors": 0.5,  # whose messages are printable
    "formatting": 0,
    "validation": 0.7,  # what it refuses, in words
    "lessons": 0,  # apart: torch alone, and nobody's ground
    "__init__": 11,  # nobody imports from it: names have one home
}


def rooms() -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in SOURCE.rglob("*.py"):
        parts = path.relative_to(SOURCE).parts
        found.setdefault(parts[0].removesuffix(".py"), []).append(path)
    return found


def imported_rooms(path: Path) -> set[str]:
    """Return the rooms that a file imports from, at any depth of its code."""
    package = ("unroll", *path.relative_to(SOURCE).parent.parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            modules = [[*base, alias.name] for alias in node.names]
        for parts in modules:
            if parts[0] == "unroll":
                name = parts[1] if len(parts) > 1 else "__init__"
                found.add(name if name in FLOORS else "__init__")
    return found


def test_every_room_has_a_floor() -> None:
    assert set(rooms()) == set(FLOORS)


@pytest.mark.parametrize("room", sorted(set(FLOORS) - {"__init__"}))
def test_arrows_run_down(room: str) -> None:
    for path in rooms()[room]:
        for other in imported_rooms(path) - {room}:
            assert FLOORS[other] < FLOORS[room], f"{path.name} (floor {FLOORS[room]}) imports {other}"


def test_lessons_stand_apart() -> None:
    names = [name for node in ast.walk(ast.parse((SOURCE / "lessons.py").read_text())) for name in _modules(node)]
    assert set(names) == {"__future__", "collections", "torch"}
    for room in set(FLOORS) - {"__init__", "lessons"}:
        assert all("lessons" not in imported_rooms(path) for path in rooms()[room])


def _modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    return [(node.module or "").split(".")[0]] if isinstance(node, ast.ImportFrom) else []


def test_the_check_sees_an_arrow_that_runs_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_architecture.SOURCE", tmp_path)
    (tmp_path / "scan").mkdir()
    (tmp_path / "scan" / "cpu.py").write_text(
        "def f():\n    from ..training.loop import fit\n    from . import reference\n"
    )
    assert imported_rooms(tmp_path / "scan" / "cpu.py") == {"training", "scan"}
