"""Pictures of the page and of a report, photographed in Chromium: ``python docs/screenshots.py``, then look at them.

It follows the four starts: they train the runs whose pages are shown.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from contextlib import chdir
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

DOCS = Path(__file__).parent
STATIC = DOCS / "_static"


def photograph(browser: Any, runs: Path) -> None:
    """Photograph the pages and the report of the starts' runs."""
    page = browser.new_page(viewport={"width": 1120, "height": 1264}, reduced_motion="reduce")
    for run, sample, step, last, name in (
        ("digits", 3, 17, "#player", "watch-digits"),
        ("films", 1, 2, "#curves", "watch-texts"),
    ):
        page.goto((runs / run / "page.html").resolve().as_uri())
        page.locator("#samples > *").nth(sample).click()
        page.locator("#scrub").fill(str(step))
        page.locator("#scrub").blur()
        page.mouse.move(0, 0)
        box = page.locator(last).bounding_box()
        clip = {"x": 0, "y": 0, "width": 1120, "height": box["y"] + box["height"] + 12}
        page.screenshot(path=STATIC / f"{name}.png", clip=clip)
    page.goto((runs / "digits" / "report.html").resolve().as_uri())
    page.screenshot(path=STATIC / "report.png", clip={"x": 0, "y": 0, "width": 1120, "height": 900})


def main() -> None:
    """Train the runs of the starts in an empty folder, and photograph them."""
    sys.path.insert(0, str(DOCS.parent))
    from docs.page import STARTS, execute

    with tempfile.TemporaryDirectory() as folder, chdir(folder), sync_playwright() as playwright:
        for path in (STARTS[0], STARTS[3]):
            execute(path)
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        photograph(browser, Path("runs"))
        browser.close()


if __name__ == "__main__":
    main()
