"""Defer Ctrl-C and other signals to a safe point, or exit at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Requests to end: by `kill` or a batch system, and when the terminal closes, for which Windows has no signal.
ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Stopped(BaseException):
    """Raised for one of the signals `ENDING`, as KeyboardInterrupt is for Ctrl-C."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Deferred:
    """The deferred signal.

    Attributes:
        signum: its number; None if none has arrived
    """

    signum: int | None = None


@contextmanager
def immediate_interrupt() -> Iterator[None]:
    """Exit with status 130 at once on Ctrl-C within the block.

    For imports: those of numpy and torch swallow a KeyboardInterrupt, or stop half initialised.
    """

    def leave(signum: int, frame: object) -> None:
        sys.stderr.write("unroll: interrupted\n")
        sys.stderr.flush()
        os._exit(130)

    # Replaces only Python's own handler, as a calling program may have set its own.
    if not _in_main_thread() or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def resignalled(how_to_resume: Callable[[], str | None]) -> Iterator[None]:
    """Raise `Stopped` on SIGTERM and SIGHUP within the block, so that work can be saved.

    Then print a line on stderr on how to resume, restore the previous handlers and raise the signal again, so that the
    process ends as usual. Ignored signals stay ignored. Inside another such block, and outside the main thread, where
    Python allows no signal handlers, nothing changes.

    Args:
        how_to_resume: returns the command to resume; None if there is nothing to resume.

    Raises:
        KeyboardInterrupt: the previous handler did not end the process.
    """
    before: dict[signal.Signals, Any] = {}
    if _in_main_thread() and not any(signal.getsignal(signum) is _stop for signum in ENDING):
        before = {signum: signal.signal(signum, _stop) for signum in ENDING if _is_heeded(signum)}
    stopped: Stopped | None = None
    try:
        yield
    except Stopped as error:
        if not before:
            raise
        stopped = error
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
    if stopped:
        command = how_to_resume()
        end = f"; continue with: {command}\n" if command else "\n"
        sys.stderr.write(f"unroll: stopped by {stopped}{end}")
        sys.stderr.flush()
        signal.raise_signal(stopped.signum)
        raise KeyboardInterrupt from stopped


@contextmanager
def deferred_signals() -> Iterator[Deferred]:
    """Defer the first Ctrl-C, or the first signal that would raise `Stopped`, to the end of the block.

    A second one acts at once. Outside the main thread, nothing changes.
    """
    deferred = Deferred()
    before: dict[signal.Signals, Any] = {}

    def note(signum: int, frame: object) -> None:
        signal.signal(signum, before[signal.Signals(signum)])
        if deferred.signum:
            signal.raise_signal(signum)
        deferred.signum = signum

    if _in_main_thread():
        wanted = [signum for signum in ENDING if signal.getsignal(signum) is _stop]
        before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, *wanted) if _is_heeded(signum)}
        for signum in before:
            signal.signal(signum, note)
    try:
        yield deferred
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if deferred.signum:
            signal.raise_signal(deferred.signum)
            raise KeyboardInterrupt  # the previous handler has returned


def _stop(signum: int, frame: object) -> None:
    raise Stopped(signum)


def _is_heeded(signum: signal.Signals) -> bool:
    """Tell whether a signal is not ignored (nohup ignores SIGHUP) and has a handler that Python can restore."""
    return signal.getsignal(signum) not in (signal.SIG_IGN, None)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
