"""A lock for each run folder, so that only one process writes into it."""

from __future__ import annotations

import errno
import os
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import RunError, UnrollWarning

LOCK = ".lock"  # never removed: a lock on a replaced file would protect nothing
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # errors of file systems without locks


@contextmanager
def locked(folder: Path, remedy: str = "wait until it ends, or choose another --out") -> Iterator[None]:
    """Hold the lock of a folder within the block; if the process dies, the kernel releases it.

    Args:
        folder: an existing folder.
        remedy: what to do if another process holds it, in words.

    Raises:
        RunError: another process holds the lock, or the lock file cannot be opened.

    Warns:
        UnrollWarning: the file system has no locks, so no lock is held.
    """
    file = folder / LOCK
    lock = FileLock(file, blocking=False, preserve_lock_file=True, on_acquired=_write_holder)
    try:
        lock.acquire()
    except Timeout:
        raise RunError(f"{folder} is in use by another training{_holder(file)}; {remedy}") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise RunError(f"cannot lock {file}: {error.strerror}") from error
        warnings.warn(
            f"the file system of {folder} has no locks; let no other training write there", UnrollWarning, stacklevel=3
        )
        yield
        return
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether another process holds the lock of a folder; nothing is written."""
    file = folder / LOCK
    if not file.exists():
        return False
    try:
        with FileLock(file, blocking=False, preserve_lock_file=True):
            return False
    except Timeout:
        return True
    except OSError:  # a file system without locks, or a folder that is not to be written to
        return False


def _write_holder(descriptor: int) -> None:
    """Record who holds the lock, for the error message; a full disk is for what is written later to report."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())


def _holder(file: Path) -> str:
    """Return " (process 1 on host)" if the file can be read; on Windows it cannot while locked."""
    try:
        content = file.read_text("utf-8", errors="replace")[:300]
    except OSError:
        return ""
    match = re.fullmatch(r"(\d{1,10}) ([\w.-]{1,80})\n", content)
    return f" (process {match[1]} on {match[2]})" if match else ""
