"""The floors of the house: a module imports only from floors below its own."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "unroll"

# A folder is one room.
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
    "estimator": 10,
    "runs": 9,
    "training": 8,
    "evaluation": 7,
    "models": 6,
    "testing": 6,
    "cells": 5,
    "data": 4,
    "scan": 4,
    "config": 3,
    "compiler": 3,
    "validation": 2,
    "errors": 1,
    "formatting": 0,
    "notebook": 1,
    "interrupt": 0,
    "page": 1,
    "lessons": 0,  # apart: torch alone, and nobody's ground
}


# The one arrow that runs up: `unroll.scan` gives the cells' scans by the names that people know.
ALLOWED = {"scan/__init__.py": {"cells.functional"}}
RECURRENCES, DATA = {"scan", "cells", "models"}, {"data"}  # two wings, which know nothing of each other


@cache
def modules(source: Path = SOURCE) -> dict[str, Path]:
    """Return the files by the names of their modules, below the package: "scan", "scan.cpu"."""
    names = {path: path.relative_to(source).with_suffix("").parts for path in source.rglob("*.py")}
    return {
        ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts): path
        for path, parts in names.items()
    }


@cache  # many tests ask for all of them
def imports(path: Path, source: Path = SOURCE) -> set[str]:
    """Return the modules that a file imports, at any depth of its code, for types alone too."""
    package = ("unroll", *path.relative_to(source).parent.parts)
    known, found = modules(source), set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            base += node.module.split(".") if node.module else []
            names = [[*base, alias.name] for alias in node.names]
        for first, *rest in names:
            if first == "unroll":
                while rest and ".".join(rest) not in known:
                    rest.pop()
                found.add(".".join(rest) or "__init__")
    return (
        found - {name for name, own in known.items() if own == path} - ALLOWED.get(str(path.relative_to(source)), set())
    )


def room(module: str) -> str:
    return module.partition(".")[0]


def test_every_room_has_a_floor() -> None:
    assert {room(module) for module in modules()} == set(FLOORS)
    assert len({path.relative_to(SOURCE).parts[0] for path in SOURCE.rglob("*.py")}) <= 27


@pytest.mark.parametrize("own", sorted(set(FLOORS) - {"__init__"}))
def test_arrows_run_down(own: str) -> None:
    for module, path in modules().items():
        for other in map(room, imports(path)) if room(module) == own else ():
            assert other == own or FLOORS[other] < FLOORS[own], f"{module} (floor {FLOORS[own]}) imports {other}"


def test_there_is_no_circle() -> None:
    tuple(TopologicalSorter({module: imports(path) for module, path in modules().items()}).static_order())


def test_recurrences_and_data_know_nothing_of_each_other() -> None:
    for own, foreign in ((RECURRENCES, DATA), (DATA, RECURRENCES)):
        for module, path in modules().items():
            assert room(module) not in own or not foreign & set(map(room, imports(path))), module


def test_each_folder_has_its_line_in_the_readme() -> None:
    tree = (SOURCE.parent.parent / "README.md").read_text("utf-8")
    for folder in (path for path in SOURCE.iterdir() if (path / "__init__.py").exists()):
        assert f"\n  {folder.name}/  " in tree, folder.name


def test_lessons_stand_apart() -> None:
    assert not imports(SOURCE / "lessons.py")
    for module, path in modules().items():
        assert module == "__init__" or "lessons" not in imports(path), module


def test_the_check_sees_an_arrow_that_runs_up(tmp_path: Path) -> None:
    for name in ("scan/cpu.py", "scan/reference.py", "training/loop.py", "training/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    code = "def f():\n    from ..training.loop import fit\n    from . import reference\n"
    (tmp_path / "scan" / "cpu.py").write_text(code)
    assert imports(tmp_path / "scan" / "cpu.py", tmp_path) == {"training.loop", "scan.reference"}
