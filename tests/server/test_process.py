"""`unroll serve` from its start to its end: what it prints, and that a request it has taken is answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

import unroll
import unroll.server
from forked import COMMAND, forked
from served import connect, get, refused, settle
from waiting import PATIENCE, eventually

pytestmark = pytest.mark.server

T = TypeVar("T")
Call = Callable[..., tuple[int, str, str]]
BODY = json.dumps({"images": [[[0] * 28] * 28]}).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
REQUEST = HEAD % len(BODY) + BODY


@pytest.fixture
def visited(call: Call, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str, Any]]:
    """Serve in this process, which takes no start: ``status, out, err, result = visited(run, guest=function_of_port)``.

    The guest runs in a thread and stops the server.
    """
    serve = unroll.server.serve

    def visit(*words: object, guest: Callable[[int], T]) -> tuple[int, str, str, T]:
        with ThreadPoolExecutor(1) as pool:
            guests: list[Future[T]] = []

            def welcome(port: int) -> T:
                try:
                    return guest(port)
                except BaseException:
                    stop()
                    raise

            def serve_and_ask(*arguments: Any, ready: Callable[[], Any]) -> None:
                port = arguments[1].getsockname()[1]
                serve(*arguments, ready=lambda: (ready(), guests.append(pool.submit(welcome, port))))

            monkeypatch.setattr(unroll.server, "serve", serve_and_ask)
            ended = call("serve", *words, "--port", 0)
            return *ended, guests[0].result()

    return visit


def stop(sent: int = signal.SIGTERM) -> None:
    """Send this process, which serves, a signal."""
    os.kill(os.getpid(), sent)


def asked(path: str, sent: int = signal.SIGTERM) -> Callable[[int], httpx.Response]:
    """Return a guest who asks for ``path`` and stops the server."""

    def ask_and_stop(port: int) -> httpx.Response:
        answer = get(f"http://127.0.0.1:{port}{path}", headers={"host": "localhost"})
        stop(sent)
        return answer

    return ask_and_stop


@pytest.mark.parametrize(("sent", "words"), [(signal.SIGTERM, []), (signal.SIGINT, ["--log"])])
def test_it_says_where_it_is_and_ends_well(
    visited: Callable[..., Any], run: unroll.Run, sent: int, words: list[str]
) -> None:
    status, out, err, answer = visited(run.path, *words, guest=asked("/?a=%0A", sent))
    assert status == 0
    assert "Watch it read" in answer.text
    lines = out.splitlines()
    address = lines[1].removeprefix("at       ")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
    assert lines == [
        f"serving  {run.path.name} (images)",
        lines[1],
        f"schema   {address}/openapi.json",
        "stop     Ctrl-C",
    ]
    assert '"GET /?a=%0A HTTP/1.1" 200 OK\n' in err if words else err == ""


async def ask(port: int, counts: dict[str, int], stopped: asyncio.Event) -> None:
    """Send one request after the other until the server ends; count what comes of them."""
    while not stopped.is_set():
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            return  # it takes no more
        with contextlib.suppress(ConnectionError), contextlib.closing(writer):
            while True:
                writer.write(REQUEST)
                await writer.drain()
                counts["sent"] += 1
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.IncompleteReadError as error:
                    counts["half an answer" if error.partial else "not taken"] += 1
                    return
                except ConnectionError:
                    counts["not taken"] += 1
                    return
                length = re.search(rb"content-length: (\d+)", head)
                assert length
                answer = json.loads(await reader.readexactly(int(length[1])))
                assert answer["predictions"][0]["class"]
                counts["answered"] += 1
                if b"connection: close" in head.lower():
                    break


def test_stopped_in_the_middle_nothing_that_was_taken_is_lost(visited: Callable[..., Any], run: unroll.Run) -> None:
    async def load(port: int) -> dict[str, int]:
        counts = {"sent": 0, "answered": 0, "not taken": 0, "half an answer": 0}
        stopped = asyncio.Event()
        asking = [asyncio.create_task(ask(port, counts, stopped)) for _ in range(32)]
        while counts["answered"] <= 100:
            assert not any(one.done() for one in asking)
            await asyncio.sleep(0.01)
        stop()
        await asyncio.wait_for(asyncio.gather(*asking), PATIENCE)
        return counts

    status, _, err, counts = visited(run.path, guest=lambda port: asyncio.run(load(port)))
    assert (status, err) == (0, "")
    assert counts["answered"] > 100
    assert counts["answered"] + counts["not taken"] == counts["sent"]
    assert counts["not taken"] <= 32  # at most the last of each connection


def test_a_request_that_has_begun_is_finished(visited: Callable[..., Any], run: unroll.Run) -> None:
    def guest(port: int) -> bytes:
        place = ("127.0.0.1", port)
        with connect(place) as connection:
            connection.sendall(REQUEST[:-100])
            settle(place)
            stop()
            eventually(lambda: refused(place))
            connection.sendall(REQUEST[-100:])
            return connection.recv(1000)

    status, _, err, answer = visited(run.path, guest=guest)
    assert (status, err) == (0, "")
    assert b" 200 " in answer


def test_a_second_signal_does_not_wait(run: unroll.Run) -> None:
    with forked("serve", run.path, "--port", 0) as process:
        place = ("127.0.0.1", int([process.stdout.readline() for _ in range(4)][1].rpartition(":")[2]))
        with connect(place) as connection:
            connection.sendall(REQUEST[:-100])
            settle(place)
            process.send_signal(signal.SIGTERM)
            eventually(lambda: refused(place))
            assert process.running()
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 1


@pytest.mark.parametrize(
    ("token", "who", "status"),
    [
        (None, "anybody, as there is no token (set UNROLL_TOKEN),", 200),
        ("s3cret", "whoever knows the token", 401),
    ],
)
def test_what_is_exposed_is_said(
    visited: Callable[..., Any],
    run: unroll.Run,
    monkeypatch: pytest.MonkeyPatch,
    token: str | None,
    who: str,
    status: int,
) -> None:
    if token is not None:
        monkeypatch.setenv("UNROLL_TOKEN", token)
    served, _, err, answer = visited(run.path, "--host", "0.0.0.0", guest=asked("/runs"))
    assert (served, answer.status_code) == (0, status)
    may = "can use the model and take its weights and samples, unencrypted"
    assert err == f"unroll: {who} on the networks of 0.0.0.0 {may}\n"


def test_what_cannot_be_served_is_one_line(call: Call, run: unroll.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, line in (
            ((run.path, "--port", port), f"cannot listen on 127.0.0.1, port {port}: Address already in use; choose"),
            ((run.path, "--port", 70_000), "port must be from 0 to 65535, got 70000"),
            ((run.path, "--port", "x"), "Invalid value for --port: expected a whole number, got 'x'"),
            ((run.path, "--host", "no such host"), "cannot listen on no such host, port 8000"),
            (("nothing", "--port", 0), "nothing is not a run folder: it has no config.json"),
            ((run.path, "--port", 0, "--token", " "), "token must not be empty"),
        ):  # fmt: skip
            status, out, err = call("serve", *words)
            assert (status, out) == (2, "")
            assert err.startswith(f"unroll: {line}"), err
            assert err.count("\n") == 1
    for name in [name for name in sys.modules if name.startswith("unroll.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["unroll"], "serve", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert call("serve", run.path) == (
        2,
        "",
        "unroll: serving needs fastapi: pip install '.[serve]' in the folder of unroll\n",
    )


def started(*words: object, shell: str = "") -> subprocess.Popen[str]:
    """Start the command from a shell, which can close its streams."""
    command = " ".join([f"exec '{sys.executable}' -m unroll serve", *(f"'{word}'" for word in words), shell])
    return subprocess.Popen(["bash", "-c", command], stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_where_nothing_can_be_printed(run: unroll.Run) -> None:
    with started(run.path, "--port", 0, shell="> /dev/full") as process:
        assert process.wait(PATIENCE) == 1
        assert process.stderr is not None
        assert process.stderr.read() == "unroll: No space left on device\n"
    closed = "import os, sys; os.close(1); sys.stdout = None; "  # as Python does if it finds no such stream
    with forked("serve", run.path, "--port", 0, "--log", code=closed + COMMAND) as process:
        while "startup complete" not in (line := process.stderr.readline()):
            assert line, f"it has ended with status {process.wait()}"
        process.send_signal(signal.SIGTERM)
        status, _, err = process.rest()
    assert status == 0
    assert "Traceback" not in err


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="needs Linux' /proc")
def test_stopped_while_it_loads(run: unroll.Run) -> None:
    with started(run.path, "--port", 0, shell=">/dev/null") as process:
        eventually(lambda: "libtorch" in Path(f"/proc/{process.pid}/maps").read_text())
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) in (0, 130)  # 0 where it has loaded all of it by then
        assert process.stderr is not None
        assert process.stderr.read() in ("", "unroll: interrupted\n")
