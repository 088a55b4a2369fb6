"""The built documentation: no warning, no broken link, no name that is not public, and nothing that axe objects to."""

from __future__ import annotations

import ast
import importlib
import importlib.resources
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from docs import page

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
pytest_plugins = ["browser"]


class Links(HTMLParser):
    """What a page of the site links to and shows, and the names in it that can be linked to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src") and value and tag in ("a", "img", "link", "script"):
                self.targets.append(value)
            if name == "id" and value:
                self.names.add(value)


def broken(site: Path) -> list[str]:
    """Return the links within the site that lead nowhere, each with its page."""
    pages = {path: Links(path) for path in site.rglob("*.html")}
    return sorted(
        f"{path.name}: {target}"
        for path, links in pages.items()
        for target in links.targets
        if not urlsplit(target).scheme and not _exists(path, target, pages)
    )


def _exists(path: Path, target: str, pages: dict[Path, Links]) -> bool:
    parts = urlsplit(target)
    to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if not parts.fragment or to not in pages:
        return to.exists()
    return unquote(parts.fragment) in pages[to].names


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built").resolve()
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(folder / "cache")]
    done = subprocess.run([*build, str(page.DOCS), str(folder / "site")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.mark.slow
def test_the_site_has_no_broken_link(site: Path) -> None:
    assert "From one neuron" in (site / "tutorial.html").read_text("utf-8")
    assert "unroll train --data mnist --epochs 2" in (site / "cli.html").read_text("utf-8")
    assert not broken(site)


def test_a_broken_link_is_seen(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#x">1</a><a href="b.html#y">2</a><img src="c.png"><a href="#z">3</a>'
    )
    (tmp_path / "b.html").write_text('<p id="x"><a href="a.html">1</a><a href="https://example.org/none">2</a>')
    assert broken(tmp_path.resolve()) == ["a.html: #z", "a.html: b.html#y", "a.html: c.png"]


CONTRAST, THE_REST = "{runOnly: ['color-contrast']}", "{rules: {'color-contrast': {enabled: false}}}"


@pytest.mark.slow
@pytest.mark.parametrize(("scheme", "asked"), [("light", [CONTRAST, THE_REST]), ("dark", [CONTRAST])])
def test_axe_finds_no_violation(site: Path, chromium: Any, scheme: str, asked: list[str]) -> None:
    package = pytest.importorskip("axe_playwright_python", reason="needs axe: pip install axe-playwright-python")
    axe = (importlib.resources.files(package) / "axe.min.js").read_text("utf-8")
    tab = chromium.new_page(color_scheme=scheme, reduced_motion="reduce")
    violations = []
    for path in sorted(site.glob("*.html")):
        tab.goto(path.as_uri())
        tab.evaluate(axe)
        for options in asked:
            # Of the 17,000 elements of the reference, alike throughout, those of one section: contrast takes a minute.
            part = "#settings" if (path.stem, options) == ("api", CONTRAST) else "html"
            for violation in tab.evaluate(f"axe.run('{part}', {options}).then(result => result.violations)"):
                places = [node["html"][:120] for node in violation["nodes"]]
                violations.append(f"{path.name}: {violation['id']}, {len(places)} times: {places[0]}")
    tab.close()
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_use_public_names_alone(path: Path) -> None:
    text = path.read_text("utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for name in names_in(block):
            assert is_public(name), name
    for name in re.findall(r"`(unroll(?:\.\w+)+)", text):
        assert is_public(name), name


def names_in(code: str) -> Iterator[str]:
    """Yield the dotted names of unroll that code imports or reaches: ``unroll.scan.linear_scan``."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "unroll":
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and re.fullmatch(r"unroll(\.\w+)+", ast.unparse(node)):
            yield ast.unparse(node)


def is_public(name: str) -> bool:
    """Whether each step of a dotted name is in its module's ``__all__``, or is a module of the reference."""
    value: Any = importlib.import_module("unroll")
    modules = {module.__name__: module for module in page.public_modules()}
    for part in name.split(".")[1:]:
        if not isinstance(value, ModuleType):
            return hasattr(value, part)
        if part in value.__all__:
            value = getattr(value, part)
        elif f"{value.__name__}.{part}" in modules:
            value = modules[f"{value.__name__}.{part}"]
        else:
            return False
    return True


def test_a_name_that_is_not_public_is_seen() -> None:
    assert list(names_in("from unroll.runs import load_test\nunroll.scan.linear_scan(x)\n"))[:2] == [
        "unroll.runs.load_test",
        "unroll.scan.linear_scan",
    ]
    assert is_public("unroll.runs.load_test")
    assert is_public("unroll.Cell.step")
    assert not is_public("unroll.runs.storage.load_test")
