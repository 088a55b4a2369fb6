"""The server as a process: where it listens, how it starts, how it stops."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..errors import ConfigError, InputError
from ..export import make_page
from ..saved import Run, load_run, load_test
from . import limits
from .app import create_app, guarded
from .guard import LOOPBACK
from .pages import no_page
from .served import Served, named

HOST = "127.0.0.1"
PORT = 8000


class Protocol(HttpToolsProtocol):
    """uvicorn's, with bounds on a request's headers, their time, and the connections, which it has not."""

    deadline: TimerHandle | None = None
    head = 0  # bytes of the headers that have come of the next request
    inside = False  # a request whose headers are complete, and whose body is not
    stopping = False

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Begin to wait for headers; one connection too many is closed."""
        super().connection_made(transport)
        if len(self.connections) > limits.CONNECTIONS:
            transport.abort()
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Begin to wait for the headers of a further request, also where only blank lines come before them."""
        if self.deadline is None and self._idle:
            self._wait()
        self.head += 0 if self.inside or self.deadline is None else len(data)
        super().data_received(data)
        if self.deadline is not None and self._idle and self.head > limits.HEAD_BYTES:
            self._refuse_head()

    def on_message_begin(self) -> None:
        """Begin to wait for the headers of a further request."""
        if self.deadline is None:
            self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Wait no more: from here the guard does."""
        self._wait_no_more()
        self.inside = True
        super().on_headers_complete()
        if self.stopping:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Count headers again from here."""
        self.inside = False
        super().on_message_complete()

    def shutdown(self) -> None:
        """Answer what has been sent, and close; a request may be on its way that the client thinks is taken."""
        self.stopping = True
        if not self._idle:
            super().shutdown()
        elif not self.head:  # headers that have begun have their own deadline
            self.loop.call_later(limits.LAST_SECONDS, self._close_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    @property
    def _idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _close_idle(self) -> None:
        if self._idle and not self.head:
            self.transport.close()

    def _wait(self) -> None:
        self._wait_no_more()
        self.deadline = self.loop.call_later(limits.HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self.deadline = None
        if self._idle:
            self.transport.close()
        else:  # the request before is still being answered
            self._wait()

    def _refuse_head(self) -> None:
        self._wait_no_more()
        why = json.dumps({"error": f"the headers are over {limits.HEAD_BYTES:,} bytes, the most that is read"})
        head = f"content-type: application/json\r\ncontent-length: {len(why)}\r\nconnection: close"
        self.transport.write(f"HTTP/1.1 431 Request Header Fields Too Large\r\n{head}\r\n\r\n{why}".encode())
        self.transport.close()

    def _wait_no_more(self) -> None:
        self.head = 0
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None


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
    """Return the page on which one watches a run, or one that says why there is none."""
    try:
        return make_page(run, load_test(run, None, data_dir))[0]
    except InputError as error:
        return no_page(name, str(error))


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
    """
    app, service = create_app(runs, batching)
    address = sock.getsockname()[0]
    hosts = LOOPBACK | {address} if is_loopback(address) else None
    config = uvicorn.Config(
        guarded(app, service, token, hosts),
        http=Protocol,
        ws="none",
        lifespan="on",
        log_level="info" if log else "warning",
        access_log=log,
        server_header=False,
        timeout_keep_alive=limits.IDLE_SECONDS,
        timeout_graceful_shutdown=limits.STOP_SECONDS,
    )
    _Server(config, ready).run(sockets=[sock])


class _Server(uvicorn.Server):
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
        self._ready()
