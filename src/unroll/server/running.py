"""Run the server: load runs, listen, start and stop."""

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
    """Load runs and make their pages; a run whose page cannot be made is still served.

    Args:
        paths: of finished runs.
        data_dir: the folder to search first for their data.

    Raises:
        RunError: a run does not exist or is broken.
    """
    return [
        Served(name, run, page_of(run, name, data_dir))
        for name, run in named([load_run(path) for path in paths]).items()
    ]


def page_of(run: Run, name: str, data_dir: Path | None = None) -> str:
    """Return a run's page, or a plain page if it cannot be made; the reason is logged."""
    try:
        return make_page(run, load_samples(run, None, data_dir)).content
    except InputError as error:
        hint = "; name the data's folder with --data-dir" if isinstance(error, DataError) else ""
        LOG.warning("%s is served without a page: %s%s", name, error, hint)
        return no_page(name)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: an address or a host name.
        port: 0 takes any free port.

    Raises:
        ConfigError: the address cannot be bound, for example because another program uses the port.
    """
    if not 0 <= port <= 65_535:
        raise ConfigError(f"port must be from 0 to 65535, got {port}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=limits.CONNECTIONS)
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]  # Python repeats the address
        raise ConfigError(f"cannot listen on {host}, port {port}: {why}; choose another --port or --host") from error


def serve(
    runs: Sequence[Served],
    sock: socket.socket,
    token: str | None = None,
    batching: bool = True,
    log: bool = False,
    ready: Callable[[], Any] = lambda: None,
) -> None:
    """Serve until SIGINT or SIGTERM, then finish open requests. A second signal ends the process at once.

    Args:
        runs: at least one.
        sock: from `listen`.
        token: required of each request; None requires none (default None).
        batching: whether waiting requests are classified in one batch (default True).
        log: whether to log each request on stderr (default False).
        ready: called once the server accepts requests.

    Raises:
        OSError: raised by ``ready``, after the server has stopped.
    """
    app, service = create_app(runs, batching)
    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it writes a line for each broken form
    address = sock.getsockname()[0]
    hosts = LOOPBACK | {address} if is_loopback(address) else None
    server = _Server(configured(guarded(app, service, token, hosts), log), ready)
    gc.collect()
    gc.freeze()  # PyTorch's objects live as long as the process: collecting over them would stall all requests
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
        log: whether to log each request on stderr (default False).
    """
    return uvicorn.Config(
        app,
        http="h11",
        h11_max_incomplete_event_size=limits.HEAD_BYTES,
        ws="none",
        lifespan="on",
        log_level="info" if log else "error",  # "warning" would log each request that is not HTTP
        log_config=_logging(),
        use_colors=False,  # uvicorn would ask sys.stdout, which may be closed
        access_log=log,
        server_header=False,
        limit_concurrency=limits.CONNECTIONS + 1,  # uvicorn refuses from this number on
        timeout_keep_alive=limits.IDLE_SECONDS,
        timeout_graceful_shutdown=limits.STOP_SECONDS,
    )


def _logging() -> dict[str, Any]:
    """Return uvicorn's logging configuration with everything on stderr."""
    config = deepcopy(LOGGING_CONFIG)
    config["handlers"]["access"]["stream"] = "ext://sys.stderr"
    return config


class _Server(uvicorn.Server):
    failed: OSError | None = None

    def __init__(self, config: uvicorn.Config, ready: Callable[[], Any]) -> None:
        super().__init__(config)
        self._ready = ready

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop gracefully at the first signal; exit at once with status 1 at the second. No signal is raised again."""
        if self.should_exit:
            os._exit(1)  # a graceful exit would wait for the model's thread
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            self._ready()
        except OSError as error:  # stdout is closed; raised here it would be lost among other errors
            self.failed = error
            self.should_exit = True
