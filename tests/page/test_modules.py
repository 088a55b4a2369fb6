"""The page's JavaScript files are modules of a form that `unroll.page` can join into one classic script."""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

from unroll import page

FOLDER = Path(page.__file__).parent
SOURCES = {path.relative_to(FOLDER).as_posix(): path.read_text("utf-8") for path in sorted(FOLDER.rglob("*.js"))}
NAME = r"[A-Za-z_$][\w$]*"
DECLARED = re.compile(rf"(export )?(?:const|class|function|async function)\*? ({NAME})\b(?! *[,:])")
IMPORTED = re.compile(rf'import \{{ ({NAME}(?:, {NAME})*) \}} from "(\.{{1,2}}/[\w/]+\.js)";')
COMMENT_OR_END = re.compile(r"/\*|\*/| \*|//|[)}\]]")  # of what a line begins with that stands at no indent


def _imports(name: str) -> dict[str, list[str]]:
    """Return the names that a module imports, by module."""
    lines = [line for line in SOURCES[name].splitlines() if line.startswith("import")]
    matches = [IMPORTED.fullmatch(line) for line in lines]
    assert None not in matches, f"{name} imports in a form that is not joined: {lines[matches.index(None)]}"
    folder = posixpath.dirname(name)
    return {posixpath.normpath(posixpath.join(folder, found[2])): found[1].split(", ") for found in matches if found}


def _declared(name: str, *, exported: bool = False) -> list[str]:
    declared = [DECLARED.match(line) for line in SOURCES[name].splitlines()]
    return [found[2] for found in declared if found and (found[1] or not exported)]


def test_a_name_at_the_top_level_is_always_one_that_these_tests_see() -> None:
    """Else two modules could share a name that is declared in another way."""
    seen = re.compile(rf"{DECLARED.pattern}|import |{COMMENT_OR_END.pattern}|{NAME}\.{NAME} = |new App\(|$")
    lines = [(name, line) for name in SOURCES for line in SOURCES[name].splitlines() if not line.startswith("  ")]
    assert [(name, line) for name, line in lines if not seen.match(line)] == []


def test_no_two_modules_share_a_name_at_their_top_level() -> None:
    counts = Counter(declared for name in SOURCES for declared in _declared(name))
    assert counts["Model"] == 1
    assert [declared for declared, count in counts.items() if count > 1] == []


def test_every_import_names_what_the_other_module_exports() -> None:
    wrong = [
        (name, other, imported)
        for name in SOURCES
        for other, names in _imports(name).items()
        for imported in names
        if other not in SOURCES or imported not in _declared(other, exported=True)
    ]
    assert wrong == []


def test_modules_import_each_other_in_no_circle() -> None:
    TopologicalSorter({name: _imports(name) for name in SOURCES}).prepare()  # raises CycleError


def test_a_module_comes_after_what_it_imports_and_nothing_is_left_out() -> None:
    order = list(page.modules("app.js"))
    assert sorted(order) == sorted(SOURCES)
    assert all(order.index(other) < order.index(name) for name in order for other in _imports(name))


def test_the_engine_imports_nothing_of_what_is_seen() -> None:
    assert [name for name in page.modules(*page.ENGINE) if not name.startswith("engine/")] == []
    assert sorted(page.modules(*page.ENGINE)) == [name for name in SOURCES if name.startswith("engine/")]


def test_the_script_is_the_modules_without_their_imports_and_exports() -> None:
    script = page.script("app.js")
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    code = [line for name in page.modules("app.js") for line in SOURCES[name].splitlines()]
    kept = [line.removeprefix("export ") for line in code if not line.startswith("import")]
    assert [line for line in script.splitlines() if line] == ['"use strict";', *(line for line in kept if line)]
