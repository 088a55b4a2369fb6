"""The built documentation: no warning, no broken link, no name that is not public, and nothing that axe objects to."""

from __future__ import annotations

import ast
import importlib
import importlib.resources
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from docs import page
from forked import forked

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


# Nothing that it keeps is garbage: to look for some takes time.
SPHINX = "import gc, sys; gc.disable(); from sphinx.cmd.build import main; sys.exit(main(sys.argv[1:]))"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built").resolve()
    words = ["-W", "--keep-going", "-q", "-d", folder / "cache", page.DOCS, folder / "site"]
    with forked(*words, code=SPHINX) as build:
        status, _, err = build.rest()
    assert status == 0, err
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


# What depends on looks alone is asked of one of the texts that look alike: on all 58,000 elements it takes minutes.
LOOKS = "['color-contrast', 'link-in-text-block']"
# Of what passes only the first is named: to find a selector for each takes half of the time.
AXE = f"""({{
    structure: () => axe.run({{
        resultTypes: ["violations"],
        rules: Object.fromEntries({LOOKS}.map((rule) => [rule, {{ enabled: false }}])),
    }}),
    looks: (include) => axe.run({{ include }}, {{ resultTypes: ["violations"], runOnly: {LOOKS} }}),
}})"""
# Of each look that was not seen before an element: one with text, or to write into, that can be seen. A look is all
# that the contrast of a text is made of, and that of a link to the text around it.
NEW_LOOKS = """([scheme, seen]) => {
    for (const change of document.getAnimations()) change.finish();  // from light to dark
    const grounds = new Map([[null, ""]]);
    const ground = (element) => {
        if (!grounds.has(element)) {
            const { backgroundColor, backgroundImage, opacity, position } = getComputedStyle(element);
            const own = [backgroundColor, backgroundImage, opacity, position].join(" ");
            const below = ground(element.parentElement);
            grounds.set(element, below.endsWith(own) ? below : below + own);
        }
        return grounds.get(element);
    };
    const letters = (element) => {
        const { color, fontSize, fontWeight, fontStyle, textShadow, textDecoration, borderBottom, display } =
            getComputedStyle(element);
        return [color, fontSize, fontWeight, fontStyle, textShadow, textDecoration, borderBottom, display].join(" ");
    };
    const isText = (node) => node.nodeType === Node.TEXT_NODE && node.data.trim();
    const isShown = (element) => {
        const { width, height } = element.getBoundingClientRect();
        return width > 1 && height > 1 && element.checkVisibility({ opacityProperty: true, visibilityProperty: true });
    };
    const known = new Set(seen);
    const newLooks = [];
    for (const element of document.body.querySelectorAll("*")) {
        if (!element.matches("a, input, select, textarea") && ![...element.childNodes].some(isText)) continue;
        if (!isShown(element)) continue;
        const link = element.closest("a");
        const block = link?.closest("p, li, dd, dt, td, th, div, nav");
        const within = block?.textContent.trim() !== link?.textContent.trim();
        const around = link ? [...[link, link.parentElement, block ?? document.body].map(letters), within].join() : "";
        const look = [letters(element), around, ground(element)].join();
        if (!known.has(look)) newLooks.push(element);
        known.add(look);
    }
    window.looks = { ...window.looks, [scheme]: newLooks };
    return [...known];
}"""
# What else a reference holds is in nobody's way, and axe takes seconds to look through all of it.
CLEAR = """() => {
    const looks = Object.values(window.looks).flat();
    for (const entry of document.querySelectorAll("dl.py")) {
        if (!looks.some((element) => entry.contains(element))) entry.remove();
    }
}"""


def violations(chromium: Any, pages: list[Path]) -> list[str]:
    """Return what axe objects to in pages, in light and in dark, each with its page."""
    package = pytest.importorskip("axe_playwright_python", reason="needs axe: pip install axe-playwright-python")
    axe = (importlib.resources.files(package) / "axe.min.js").read_text("utf-8")
    tab = chromium.new_page(reduced_motion="reduce")
    seen: dict[str, list[str]] = {"light": [], "dark": []}
    found = []
    for path in pages:
        tab.emulate_media(color_scheme="light")
        tab.goto(path.as_uri())
        tab.evaluate(axe)
        objections = [("", violation) for violation in tab.evaluate(f"{AXE}.structure().then((all) => all.violations)")]
        for scheme in seen:
            tab.emulate_media(color_scheme=scheme)
            seen[scheme] = tab.evaluate(NEW_LOOKS, [scheme, seen[scheme]])
        tab.evaluate(CLEAR)
        for scheme in seen:
            tab.emulate_media(color_scheme=scheme)
            if tab.evaluate(f"looks.{scheme}.length"):
                tab.evaluate("document.getAnimations().forEach((change) => change.finish())")
                answer = tab.evaluate(f"{AXE}.looks(looks.{scheme}).then((all) => all.violations)")
                objections += [(f" in {scheme}", violation) for violation in answer]
        for where, violation in objections:
            places = [node["html"][:120] for node in violation["nodes"]]
            found.append(f"{path.name}{where}: {violation['id']}, {len(places)} times: {places[0]}")
    tab.close()
    return found


@pytest.mark.slow
def test_axe_finds_no_violation(site: Path, chromium: Any) -> None:
    found = violations(chromium, sorted(site.glob("*.html")))
    assert not found, "\n".join(found)


PAGE = """<!doctype html><html lang="en"><title>A page</title><style>
    :root {{ color-scheme: light dark; }}
    body {{ color: light-dark(#000, #fff); background: light-dark(#fff, #000); }}
    a {{ color: inherit; }}
    {style}
    </style><main><h1>A page</h1><p>Fine.</p>{body}</main>"""


@pytest.mark.slow
def test_what_axe_objects_to_is_seen(chromium: Any, tmp_path: Path) -> None:
    bodies = {
        "good": ("", "<p>Fine too."),
        "light": (".faint { color: light-dark(#999, #fff); }", "<p class=faint>Faint."),
        "dark": (".faint { color: light-dark(#000, #555); }", "<p>Fine, <b class=faint>faint</b>, and fine."),
        "ground": ("div { background: light-dark(#555, #ddd); }", "<div><p>Fine.</div>"),
        "clear": ("div { opacity: 0.4; }", "<div><p>Fine.</div>"),
        "link": (
            "a { color: light-dark(#333, #ccc); text-decoration: none; }",
            "<p>In a text that is fine, <a href='#x'>a link</a> that nothing tells from it.",
        ),
        "input": ("input::placeholder, input { color: #999; background: #fff; }", "<input aria-label=x value=y>"),
        "picture": ("", "<img src='data:,'>"),
        "again": ("", "<p>Fine, <a href='#x'></a>."),
    }
    for name, (style, body) in bodies.items():
        (tmp_path / f"{name}.html").write_text(PAGE.format(style=style, body=body), "utf-8")
    found = violations(chromium, [tmp_path / f"{name}.html" for name in bodies])
    assert [line.partition(", ")[0] for line in found] == [
        "light.html in light: color-contrast",
        "dark.html in dark: color-contrast",
        "ground.html in light: color-contrast",
        "ground.html in dark: color-contrast",
        "clear.html in light: color-contrast",
        "clear.html in dark: color-contrast",
        "link.html in light: link-in-text-block",
        "link.html in dark: link-in-text-block",
        "input.html in light: color-contrast",
        "input.html in dark: color-contrast",
        "picture.html: image-alt",
        "again.html: link-name",
    ]


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
