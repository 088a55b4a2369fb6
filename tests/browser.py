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


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open a file, or an address: ``page = visit(path, viewport=…, color_scheme="dark")``.

    After the test, nothing may have been written to the console, and nothing asked of the network.
    """
    contexts: list[Any] = []
    problems: list[str] = []

    def open_page(path: Path | str, **options: Any) -> Any:
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)  # milliseconds
        page.on("console", lambda line: problems.append(f"{line.type}: {line.text}"))
        page.on("pageerror", lambda error: problems.append(f"error: {error}"))
        address = path if isinstance(path, str) else path.resolve().as_uri()

        def note(request: Any) -> None:
            if request.url != address and not request.url.startswith(("data:", "blob:")):
                problems.append(f"asked for {request.url}")

        page.on("request", note)
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not problems
