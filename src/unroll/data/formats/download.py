"""Fetching a file from the first mirror that delivers it whole and true; and the folder where such files are kept."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from ...errors import DataError, DownloadError

LOCKS = ".locks"  # a folder of the cache; nothing in it is removed: a lock on a replaced file would protect nothing
PARTIAL = ".partial-"  # begins the names of folders whose content is not yet whole
TIMEOUT = 20.0  # seconds without a byte after which a mirror counts as stalled


def cache_folder() -> Path:
    """Return the user's cache folder (``~/.cache/unroll`` on Linux)."""
    import pooch

    return Path(pooch.os_cache("unroll"))


def lock_of(folder: Path) -> FileLock:
    """Return the lock under which files are put into a folder of the cache."""
    return FileLock(folder.parent / LOCKS / folder.name, preserve_lock_file=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder of the cache within the block, in which files are put there; another process waits.

    Where the file system has no locks, nothing is held: what is put there is whole at any moment, lock or none.

    Args:
        folder: an existing folder.
    """
    lock = lock_of(folder)
    try:
        lock.acquire()
    except (OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()


def fetch(mirrors: Sequence[str], name: str, target: Path, sha256: str, content: Callable[[Path], bytes]) -> None:
    """Download a file to ``target``; it appears there whole and checked, or not at all.

    Args:
        mirrors: addresses of folders, ending in ``/``, tried in this order.
        name: file name on the mirrors.
        target: where the file is to stand; its folder must exist.
        sha256: of what ``content`` returns.
        content: reads a file as it is to be hashed (unpacked, or as it came).

    Raises:
        DownloadError: no mirror delivered it; says why, mirror by mirror.
    """
    reasons = []
    for mirror in mirrors:
        # A folder beside the target, so that the last step is one rename on the same disk.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=PARTIAL) as folder:
            try:
                path = retrieve(mirror + name, Path(folder) / name)
                digest = hashlib.sha256(content(path)).hexdigest()
            except (OSError, DataError) as error:
                reasons.append(f"{_host(mirror)}: {reason_of(error)}")
                continue
            if digest == sha256:
                os.replace(path, target)
                return
            reasons.append(f"{_host(mirror)}: wrong content (SHA-256 {digest[:8]}…, expected {sha256[:8]}…)")
    raise DownloadError(f"cannot download {name} ({'; '.join(reasons)})")


def retrieve(url: str, path: Path) -> Path:
    """Download ``url`` to ``path``, with a progress bar on a terminal.

    Raises:
        OSError: it did not come; see `reason_of`.
    """
    import pooch  # loads requests: only a download needs it
    from requests import HTTPError

    pooch.get_logger().setLevel(logging.WARNING)
    bar = _Bar(path.name)
    downloader = pooch.HTTPDownloader(timeout=TIMEOUT, progressbar=bar, chunk_size=1 << 16)
    try:
        # The hash is checked by the caller: mirrors wrap the same content differently.
        return Path(pooch.retrieve(url, known_hash=None, fname=path.name, path=path.parent, downloader=downloader))
    except HTTPError as error:
        if error.response is not None:
            error.response.close()  # pooch leaves the connection open that brought a refusal
        raise
    finally:
        bar.close()


def _host(mirror: str) -> str:
    return urllib.parse.urlsplit(mirror).netloc


def reason_of(error: Exception) -> str:
    """Say in a few words what requests says in a tower of nested exceptions."""
    import requests

    if isinstance(error, requests.Timeout):
        return f"no answer for {TIMEOUT:g} s"
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"answered {error.response.status_code}"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "broke off"
    if isinstance(error, requests.ConnectionError):
        return f"no answer for {TIMEOUT:g} s" if "timed out" in str(error) else "cannot connect"
    return str(error).splitlines()[0]


class _Bar:
    """What pooch asks of a progress bar, drawn by rich on stderr; silent without a terminal."""

    def __init__(self, label: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

        self.total = 0  # pooch sets it
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())
        self._task = self._progress.add_task(label, total=None)
        self._progress.start()

    def update(self, amount: int) -> None:
        self._progress.update(self._task, total=self.total or None, advance=amount)

    def reset(self) -> None:
        self._progress.reset(self._task)

    def close(self) -> None:
        self._progress.stop()
