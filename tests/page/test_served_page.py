"""The page as `unroll serve` gives it, in a browser: the same as the file, and it asks the server for nothing more."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_page import BARS, ONE, STEPS, bars_at, draw, drop, first, go, png, position, until_read

import unroll
from forked import forked

pytestmark = pytest.mark.server

pytest_plugins = ["browser"]


@pytest.fixture(scope="module")
def address(run: unroll.Run) -> Iterator[str]:
    """Where the default run is served."""
    with forked("serve", run.path, "--port", 0) as server:
        lines = [server.stdout.readline() for _ in range(2)]
        found = re.search(r"http://127\.0\.0\.1:\d+", lines[1])
        assert found, lines
        yield f"{found[0]}/"
        server.send_signal(signal.SIGTERM)
        status, _, err = server.rest()
        assert (status, err) == (0, "")


def test_it_draws_reads_goes_back_and_takes_a_picture(
    address: str, visit: Callable[..., Any], sample: unroll.Splits, tmp_path: Path
) -> None:
    page = visit(address, reduced_motion="no-preference")
    draw(page, ONE)
    until_read(page)
    assert (position(page), first(page)) == (STEPS, "1")
    seen = bars_at(page, range(STEPS + 1))
    assert first(page) == "1"
    go(page, 9)
    assert page.evaluate(BARS) == seen[9]
    number = int((sample.test.y == 0).nonzero()[0, 0])
    drop(page, "zero.png", "image/png", png(sample.test.x[number].numpy()))
    page.wait_for_function("() => document.querySelector('.made').textContent.includes('cropped')")
    page.keyboard.press("End")
    go(page, STEPS)
    assert first(page) == "0"


def test_on_a_phone(address: str, visit: Callable[..., Any]) -> None:
    page = visit(address, phone=True)
    draw(page, ONE)
    page.locator("#scrub").press("End")
    assert first(page) == "1"
    assert page.evaluate("() => document.scrollingElement.scrollWidth <= innerWidth")
