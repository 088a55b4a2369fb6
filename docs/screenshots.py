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


def watched(page: Any, scrub: int, height: int) -> bytes:
    """Return a picture of the page as far down as ``height``, after ``scrub`` steps."""
    page.locator("#scrub").fill(str(scrub))
    return page.screenshot(clip={"x": 0, "y": 0, "width": 1120, "height": height})


def main() -> None:
    """Train the runs of the starts in an empty folder, and photograph them."""
    sys.path.insert(0, str(DOCS.parent))
    from docs.page import STARTS, execute

    with tempfile.TemporaryDirectory() as folder, chdir(folder), sync_playwright() as playwright:
        for path in STARTS:
            execute(path)
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1120, "height": 1264}, reduced_motion="reduce")
        page.goto(Path("runs/digits/page.html").resolve().as_uri())
        (STATIC / "watch-digits.png").write_bytes(watched(page, 17, 680))
        page.goto(Path("runs/films/page.html").resolve().as_uri())
        (STATIC / "watch-texts.png").write_bytes(watched(page, 4, 680))
        page.goto(Path("runs/digits/report.html").resolve().as_uri())
        page.screenshot(path=STATIC / "report.png", clip={"x": 0, "y": 0, "width": 1120, "height": 900})
        browser.close()


if __name__ == "__main__":
    main()
