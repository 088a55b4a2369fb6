"""Ctrl-C that waits for a moment at which nothing is half done, or that does not wait at all."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def immediate_interrupt() -> Iterator[None]:
    """Within the block Ctrl-C ends the process at once, with status 130.

    For imports: numpy's and torch's own swallow a KeyboardInterrupt, or break off half initialised.
    """

    def leave(signum: int, frame: object) -> None:
        sys.stderr.write("unroll: interrupted\n")
        sys.stderr.flush()
        os._exit(130)

    # Only in place of Python's own handler: a program that calls us may have another one.
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Within the block the first Ctrl-C is only noted; the function given tells whether it came. A second one acts.

    Outside the main thread, where Python allows no signal handlers, nothing changes.
    """
    noted = False

    def note(signum: int, frame: object) -> None:
        nonlocal noted
        noted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: noted
    finally:
        signal.signal(signal.SIGINT, before)
