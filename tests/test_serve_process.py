"""`unroll serve` as a process: what it prints, how it ends, and that a request it has taken is answered."""

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
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

import unroll

Call = Callable[..., tuple[int, str, str]]
BODY = json.dumps({"images": [[[0] * 28] * 28]}).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
REQUEST = HEAD % len(BODY) + BODY


@contextlib.contextmanager
def serving(*words: object, env: dict[str, str] | None = None) -> Iterator[tuple[Any, str, list[str]]]:
    """Yield the process, its address and what it printed."""
    command = [sys.executable, "-m", "unroll", "serve", *map(str, words), "--port", "0"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env={**os.environ, **(env or {})}) as process:
        lines = [process.stdout.readline().rstrip() for _ in range(4)]
        found = re.search(r"http://\S+", lines[1])
        try:
            assert found, lines + process.stderr.readlines()
            yield process, found[0], lines
        finally:
            process.kill()


def test_it_says_where_it_is_and_ends_well(run: unroll.Run) -> None:
    for sent, words in ((signal.SIGTERM, ()), (signal.SIGINT, ("--log",))):
        with serving(run.path, *words) as (process, address, lines):
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address)
            assert lines[0] == f"serving  {run.path.name} (images)"
            assert lines[2:] == [f"docs     {address}/docs", "stop     Ctrl-C"]
            assert "Watch it read" in httpx.get(address, params={"a": "\n"}).text
            process.send_signal(sent)
            assert process.wait(20) == 0
            told = process.stderr.read()
            assert '"GET /?a=%0A HTTP/1.1" 200 OK\n' in told if words else told == ""
            assert process.stdout.read() == ""


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


def test_stopped_in_the_middle_nothing_that_was_taken_is_lost(run: unroll.Run) -> None:
    async def load(process: Any, port: int) -> dict[str, int]:
        counts = {"sent": 0, "answered": 0, "not taken": 0, "half an answer": 0}
        stopped = asyncio.Event()
        asking = [asyncio.create_task(ask(port, counts, stopped)) for _ in range(32)]
        await asyncio.sleep(1)
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(asyncio.gather(*asking), 20)
        return counts

    with serving(run.path) as (process, address, _):
        counts = asyncio.run(load(process, int(address.rpartition(":")[2])))
        assert process.wait(20) == 0
        assert process.stderr.read() == ""
    assert counts["answered"] > 100
    assert counts["answered"] + counts["not taken"] == counts["sent"]
    assert counts["not taken"] <= 32  # at most the last of each connection


def test_a_request_that_has_begun_is_finished_and_a_second_signal_does_not_wait(run: unroll.Run) -> None:
    for twice in (False, True):
        with serving(run.path) as (process, address, _):
            port = int(address.rpartition(":")[2])
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(REQUEST[:-100])
                time.sleep(0.3)
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                assert process.poll() is None
                with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):  # noqa: PT011
                    pass
                if twice:
                    process.send_signal(signal.SIGTERM)
                    assert process.wait(10) == 1
                else:
                    connection.sendall(REQUEST[-100:])
                    assert b" 200 " in connection.recv(1000)
                    assert process.wait(10) == 0


def test_what_is_exposed_is_said(run: unroll.Run) -> None:
    for token, who in (
        ("", "anybody, as there is no token (set UNROLL_TOKEN),"),
        ("s3cret", "whoever knows the token"),
    ):
        env = {"UNROLL_TOKEN": token} if token else {}
        with serving(run.path, "--host", "0.0.0.0", env=env) as (process, address, _):
            port = address.rpartition(":")[2]
            found = httpx.get(f"http://127.0.0.1:{port}/runs", headers={"host": "example.org"})
            assert found.status_code == (401 if token else 200)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            may = "can use the model and take its weights and samples, unencrypted"
            assert process.stderr.read() == f"unroll: {who} on the networks of 0.0.0.0 {may}\n"


def test_what_cannot_be_served_is_one_line(call: Call, run: unroll.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        for words, line in (
            ((run.path, "--port", port), f"cannot listen on 127.0.0.1, port {port}: Address already in use; choose"),
            ((run.path, "--port", 70_000), "port must be from 0 to 65535, got 70000"),
            ((run.path, "--port", "x"), "Invalid value for --port: expected a whole number, got 'x'"),
            ((run.path, "--host", "no such host"), "cannot listen on no such host, port 8000"),
            (("nothing", "--port", 0), "nothing is no run folder: it has no config.json"),
            ((run.path, "--port", 0, "--token", " "), "token must have a character at least"),
        ):  # fmt: skip
            status, out, err = call("serve", *words)
            assert (status, out) == (2, "")
            assert err.startswith(f"unroll: {line}"), err
            assert err.count("\n") == 1
    for name in [name for name in sys.modules if name.startswith("unroll.serve")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr(sys.modules["unroll"], "serve", raising=False)
    monkeypatch.setitem(sys.modules, "fastapi", None)
    assert call("serve", run.path) == (2, "", "unroll: serving needs fastapi: pip install 'unroll-rnn[serve]'\n")


def started(*words: object, shell: str = "") -> subprocess.Popen[str]:
    """Start the command from a shell, which can close its streams."""
    command = " ".join([f"exec '{sys.executable}' -m unroll serve", *(f"'{word}'" for word in words), shell])
    return subprocess.Popen(["bash", "-c", command], stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_where_nothing_can_be_printed(run: unroll.Run) -> None:
    with started(run.path, "--port", 0, shell="> /dev/full") as process:
        assert process.wait(60) == 1
        assert process.stderr is not None
        assert process.stderr.read() == "unroll: No space left on device\n"
    with started(run.path, "--port", 0, "--log", shell=">&-") as process:
        assert process.stderr is not None
        while "startup complete" not in (line := process.stderr.readline()):
            assert line, "it has ended"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert "Traceback" not in process.stderr.read()


def test_stopped_while_it_loads(run: unroll.Run) -> None:
    with started(run.path, "--port", 0, shell=">/dev/null") as process:
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) in (0, 130)  # 0 on a machine that has loaded it by then
        assert process.stderr is not None
        assert process.stderr.read() in ("", "unroll: interrupted\n")
