"""The floors of the house: a module imports only from floors below its own."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "unroll"

# Sub-packages are one room: inside them no circle, seen by Python itself at import.
FLOORS = {
    "__init__": 14,  # nobody imports from it: names have one home
    "__main__": 14,
    "cli": 13,
    "report": 12,
    "server": 11,
    "plots": 11,
    "export": 10,
    "doctor": 10,
    "bench": 10,
    "runs": 9,
    "training": 8,
    "evaluation": 7,
    "models": 6,
    "testing": 6,
    "cells": 5,
    "data": 4,
    "scan": 4,
    "config": 3,
    "validation": 2,
    "errors": 1,
    "formatting": 0,
    "notebook": 1,
    "interrupt": 0,
    "page": 1,
    "lessons": 0,  # apart: torch alone, and nobody's ground
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
