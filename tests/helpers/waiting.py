"""Waiting for what must come, however slow a machine with other work to do is."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE = 120  # seconds after which a test gives up; not a bound on how long anything may take


def eventually(condition: Callable[[], object]) -> None:
    """Wait until something is so."""
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.01)
