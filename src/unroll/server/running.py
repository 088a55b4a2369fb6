"""The server as a process: where it listens, how it starts, how it stops."""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import socket
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from ..errors import ConfigError, DataError, InputError
from ..export import make_page
from ..runs.data import load_samples
from ..runs.storage import Run, load_run
from . import limits
from .app import create_app, guarded
from .guard import LOG, LOOPBACK, Guard
from .pages import no_page
from .served import Served, named

HOST = "127.0.0.1"
PORT = 8000


def load_served(paths: Sequence[Path], data_dir: Path | None = None) -> list[Served]:
    """Load runs and make their pages; one whose page cannot be made is served all the same.

    Args:
        paths: of finished runs.
        data_dir: where to look for their data first.

    Raises:
        RunError: there is no such run, or it is broken.
    """
    return [
        Served(name, run, page_of(run, name, data_dir))
        for name, run in named([load_run(path) for path in paths]).items()
    ]


def page_of(run: Run, name: str, data_dir: Path | None = None) -> str:
    """Return the page on which one watches a run, or one that says that there is none; why is logged."""
    try:
        return make_page(run, load_samples(run, None, data_dir))[0]
    except InputError as error:
        hint = "; --data-dir says where data is" if isinstance(error, DataError) else ""
        LOG.warning("%s has no page to watch it read: %s%s", name, error, hint)
        return no_page(name)


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: an address, or a name of one.
        port: 0 takes any that is free.

    Raises:
        ConfigError: it cannot, as where another program has the port.
    """
    if not 0 <= port <= 65_535:
        raise ConfigError(f"port must be from 0 to 65535, got {port}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=limits.CONNECTIONS)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # Python adds the address once more
        raise ConfigError(f"cannot listen on {host}, port {port}: {why}; choose another --port or --host") from error


def serve(
    runs: Sequence[Served],
    sock: socket.socket,
    token: str | None = None,
    batching: bool = True,
    log: bool = False,
    ready: Callable[[], Any] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM; then finish what was begun. A second signal ends it at once.

    Args:
        runs: at least one.
        sock: from `listen`.
        token: that requests must show; None asks none (default None).
        batching: whether requests that wait are read together (default True).
        log: a line on stderr for each request (default False).
        ready: called once requests are answered.

    Raises:
        OSError: ``ready`` did; the server has ended.
    """
    app, service = create_app(runs, batching)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it writes a line for each broken form
    address = sock.getsockname()[0]
    hosts = LOOPBACK | {address} if is_loopback(address) else None
    server = _Server(configured(guarded(app, service, token, hosts), log), ready)
    gc.collect()
    gc.freeze()  # PyTorch's objects, which are here to stay: to look through all of them again stalls everybody
    try:
        server.run(sockets=[sock])
    finally:
        gc.unfreeze()
    if server.failed is not None:
        raise server.failed


def configured(app: Guard, log: bool = False) -> uvicorn.Config:
    """Return uvicorn's settings.

    Args:
        app: from `guarded`.
        log: a line on stderr for each request (default False).
    """
    return uvicorn.Config(
        app,
        http="h11",
        h11_max_incomplete_event_size=limits.HEAD_BYTES,
        ws="none",
        lifespan="on",
        log_level="info" if log else "error",  # else a line for each request that is not HTTP
        log_config=_logging(),
        use_colors=False,  # to know of colours it asks sys.stdout, which may be closed
        access_log=log,
        server_header=False,
        limit_concurrency=limits.CONNECTIONS + 1,  # from which number on uvicorn refuses
        timeout_keep_alive=limits.IDLE_SECONDS,
        timeout_graceful_shutdown=limits.STOP_SECONDS,
    )


def _logging() -> dict[str, Any]:
    """Return uvicorn's own way of logging, but all of it on stderr."""
    config = deepcopy(LOGGING_CONFIG)
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    return config


class _Server(uvicorn.Server):
    failed: OSError | None = None

    def __init__(self, config: uvicorn.Config, ready: Callable[[], Any]) -> None:
        super().__init__(config)
        self._ready = ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop when told to; told so again, at once, with status 1. No signal is raised anew: it was obeyed."""
        if self.should_exit:
            os._exit(1)  # an orderly end would wait for the model's thread
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            self._ready()
        except OSError as error:  # nowhere to say it; raised from here it would be lost among others
            self.failed = error
            self.should_exit = True
