"""Signals that wait until nothing is half done, or that do not wait at all."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# What asks a process to end: a batch system or `kill`; and a terminal that goes away, which Windows does not tell.
ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Stopped(BaseException):
    """One of the signals `ENDING` came; what KeyboardInterrupt is for Ctrl-C."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


class Deferred:
    """Which signal has come and waits.

    Attributes:
        signum: its number; None until it comes
    """

    signum: int | None = None


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
    """Within the block SIGTERM and SIGHUP raise `Stopped`, so that what must be saved can be.

    Then a line on stderr says how to resume, the handlers that were there are restored and the signal is raised again,
    so that the process ends as it would have ended. A signal that is ignored stays ignored. Nothing changes inside
    another such block, or outside the main thread, where Python allows no signal handlers.

    Args:
        how_to_resume: returns the command; None if there is nothing to resume.

    Raises:
        KeyboardInterrupt: the handler that was there let the process live.
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
    """Within the block the first Ctrl-C, and the first signal that would raise `Stopped`, only wait for its end.

    A second one acts at once. Outside the main thread nothing changes.
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
            raise KeyboardInterrupt  # the handler that was there has returned


def _stop(signum: int, frame: object) -> None:
    raise Stopped(signum)


def _is_heeded(signum: signal.Signals) -> bool:
    """Tell a signal that has a handler of Python's or the system's default from one that is ignored, as by nohup."""
    return signal.getsignal(signum) not in (signal.SIG_IGN, None)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
