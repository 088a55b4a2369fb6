"""What the command line shows on a terminal while it works."""

from __future__ import annotations

import io

from rich.console import Console

from unroll.cli.views.terminal import show_reading
from waiting import eventually


def test_slow_reading_is_shown_until_it_ends() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    with show_reading("large[1].csv", console, patience=0):
        eventually(lambda: "reading large[1].csv" in screen.getvalue())
    assert not console._live_stack


def test_quick_reading_is_not() -> None:
    screen = io.StringIO()
    with show_reading("small.csv", Console(file=screen, force_terminal=True), patience=1_000):
        pass
    assert screen.getvalue().strip() == ""


def test_nothing_is_shown_without_a_terminal() -> None:
    screen = io.StringIO()
    with show_reading("large.csv", Console(file=screen), patience=0):
        pass
    assert screen.getvalue() == ""
