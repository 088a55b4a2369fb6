"""A server for the tests: in this process by itself, or in a thread where the network and its clock matter."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from starlette.testclient import TestClient

import unroll
from unroll.data.preparation import Preparation, Scaling
from unroll.runs.config_file import RunConfig
from unroll.runs.storage import Run
from unroll.server import Served, configured, create_app, guarded, listen
from unroll.server.guard import Guard
from waiting import PATIENCE, eventually

get = partial(httpx.get, timeout=PATIENCE)
post = partial(httpx.post, timeout=PATIENCE)
connect = partial(socket.create_connection, timeout=PATIENCE)


def settle(address: tuple[str, int]) -> None:
    """Wait until the server has read what was sent to it before: what is asked after it is answered."""
    for _ in range(2):
        assert get(f"http://{address[0]}:{address[1]}/health").status_code == 200


def refused(address: tuple[str, int]) -> bool:
    """Whether nobody listens there any more."""
    try:
        connect(address).close()
    except ConnectionRefusedError:
        return True
    return False


class Address(tuple[str, int]):
    """Host and port of a server in a thread, and what can be seen of it from inside."""

    server: uvicorn.Server
    guard: Guard


def made(model: unroll.SequenceClassifier, preparation: Preparation, name: str = "made") -> Served:
    """A run that no folder holds."""
    return Served(name, Run(Path(name), model.eval(), RunConfig.of(model, preparation, ""), None), "<p>the page</p>")


def plain(classes: Sequence[str] = ("a", "b")) -> Preparation:
    """Of series that are read as they come."""
    return Preparation(tuple(classes), Scaling(0.0, 1.0))


@contextlib.contextmanager
def client(*runs: Served, **options: Any) -> Iterator[TestClient]:
    """Ask the application without a network."""
    batching = options.pop("batching", True)
    app, service = create_app(runs, batching)
    with TestClient(guarded(app, service, **{"hosts": None, **options}), raise_server_exceptions=True) as asked:
        yield asked


@contextlib.contextmanager
def running(*runs: Served, **options: Any) -> Iterator[Address]:
    """Serve in a thread; yield host and port."""
    app, service = create_app(runs)
    guard = guarded(app, service, **options)
    server = uvicorn.Server(configured(guard))
    sock = listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive())
        address = Address(sock.getsockname()[:2])
        address.server, address.guard = server, guard
        yield address
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        sock.close()
        assert not thread.is_alive()


def error_of(response: httpx.Response) -> str:
    """What a refusal says, which is one line of words."""
    assert list(response.json()) == ["error"]
    line = str(response.json()["error"])
    assert "\n" not in line
    assert "Traceback" not in line
    assert " at 0x" not in line
    assert line
    return line


def raw(address: tuple[str, int], content: bytes) -> bytes:
    """Send bytes, return all that comes until the server closes."""
    with connect(address) as connection:
        found = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(content)
            while part := connection.recv(65_536):
                found += part
        return found


def same(found: dict[str, Any], label: str | None, probability: float | None) -> bool:
    """Whether an answer is what was expected."""
    return found["class"] == label and abs(found["probability"] - (probability or 0)) < 1e-5
