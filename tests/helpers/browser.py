"""A browser for the tests of the page: the system's Chromium, asked through Playwright.

A test module that wants it says ``pytest_plugins = ["browser"]``.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Notes in the page when playing begins and ends, and when a person does something.
NOTES = """(() => {
    window.notes = [];
    let playing = false;
    const look = () => {
        const now = document.documentElement.matches(".playing");
        if (now !== playing) notes.push((playing = now) ? "playing" : "still");
    };
    new MutationObserver(look).observe(document, { subtree: true, attributeFilter: ["class"] });
    for (const act of ["pointerdown", "keydown", "input"]) addEventListener(act, () => notes.push("act"), true);
})()"""
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The running browser; for one module alone, as Playwright holds an event loop that other tests may want."""
    program = os.environ.get("UNROLL_CHROMIUM") or next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        pytest.skip("needs Chromium: apt install chromium, or set UNROLL_CHROMIUM to its path")
    api = pytest.importorskip("playwright.sync_api", reason="needs Playwright: pip install playwright")
    root = hasattr(os, "geteuid") and os.geteuid() == 0  # Chromium refuses its sandbox to root
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"] if root else [])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tab(chromium: Any) -> Iterator[Callable[[bool], Any]]:
    """A page on a wide screen and one on a phone, kept: to open a file in it takes half as long as in a new one."""
    opened: dict[bool, Any] = {}

    def of(phone: bool) -> Any:
        if phone not in opened:
            width, height = (360, 740) if phone else (1280, 900)
            context = chromium.new_context(viewport={"width": width, "height": height}, has_touch=phone)
            context.add_init_script(NOTES)
            opened[phone] = context.new_page()
            opened[phone].set_default_timeout(120_000)  # milliseconds
        return opened[phone]

    yield of
    for page in opened.values():
        page.context.close()


@pytest.fixture
def visit(tab: Callable[[bool], Any]) -> Iterator[Callable[..., Any]]:
    """Open a file, or an address: ``page = visit(path, phone=True, color_scheme="dark")``.

    Nothing moves, which takes a processor most of its time, unless ``reduced_motion="no-preference"``.
    After the test, nothing may have been written to the console, and nothing asked of the network.
    """
    addresses: set[str] = set()
    problems: list[str] = []

    def note_request(request: Any) -> None:
        if request.url not in addresses and not request.url.startswith(("data:", "blob:")):
            problems.append(f"asked for {request.url}")

    noted: dict[str, Callable[[Any], None]] = {
        "console": lambda line: problems.append(f"{line.type}: {line.text}"),
        "pageerror": lambda error: problems.append(f"error: {error}"),
        "request": note_request,
    }
    pages: list[Any] = []

    def open_page(path: Path | str, phone: bool = False, **media: Any) -> Any:
        page = tab(phone)
        page.emulate_media(**{"color_scheme": "light", "reduced_motion": "reduce", **media})
        if page not in pages:
            pages.append(page)
            for event, listener in noted.items():
                page.on(event, listener)
        address = path if isinstance(path, str) else path.resolve().as_uri()
        addresses.add(address)
        page.goto(address)
        return page

    yield open_page
    addresses.add("about:blank")
    for page in pages:
        page.goto("about:blank")
        page.mouse.move(0, 0)
        for event, listener in noted.items():
            page.remove_listener(event, listener)
    assert not problems
