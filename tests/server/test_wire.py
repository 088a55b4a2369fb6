"""What comes along a connection byte by byte, and what a client leaves unread there."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch

import unroll
from served import connect, get, made, plain, raw, running, settle
from unroll.data.sequences import SequenceData
from unroll.server import Served, limits
from waiting import PATIENCE, eventually

pytestmark = pytest.mark.server

HOST = b"host: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST
CHUNKED = b"POST /predict HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n"
ASKED = json.dumps({"sequences": [[[0.0, 1.0]]]}).encode()
POST = b"POST /predict HTTP/1.1\r\n" + HOST + b"content-type: application/json\r\ncontent-length: %d\r\n" % len(ASKED)


@pytest.fixture
def series() -> Served:
    return made(unroll.SequenceClassifier(2, 2, hidden_size=3), plain())


def held() -> int:
    """Memory that this process holds, in bytes."""
    found = re.search(r"VmRSS:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


class Slow:
    """Stands in the way of a model's answers until it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        answer = Served.answer

        def slowly(served: Served, parts: list[SequenceData]) -> list[torch.Tensor]:
            self.sizes.append(sum(map(len, parts)))
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
            return answer(served, parts)

        monkeypatch.setattr(Served, "answer", slowly)


def sent(connection: socket.socket, part: bytes, most: int) -> int:
    """Send ``part`` again and again, until the server has enough of it; return how many bytes that took."""
    found = 0
    with contextlib.suppress(ConnectionError):
        while found < most:
            connection.sendall(part)
            found += len(part)
    return found


@pytest.mark.parametrize(
    ("before", "part"),
    [
        (CHUNKED + b"0\r\n", b"x: aaaaaaaaaaaaa\r\n" * 1000),
        (CHUNKED + b"0\r\nx: ", b"a" * 16_000),
        (CHUNKED + b"1;", b"a" * 16_000),
    ],
    ids=["behind a body", "one behind a body", "in a body"],
)
def test_what_stands_around_a_body_is_bounded(series: Served, before: bytes, part: bytes) -> None:
    with running(series) as address, connect(address) as connection:
        connection.sendall(before)
        assert sent(connection, part, 60_000_000) < 30_000_000
        assert b" 200 " in raw(address, GET + b"connection: close\r\n\r\n")


def test_headers_behind_a_request_that_is_worked_on_are_bounded(
    series: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = Slow(monkeypatch)
    with running(series) as address, connect(address) as connection:
        connection.sendall(POST + b"\r\n" + ASKED)
        assert slow.begun.wait(PATIENCE)
        connection.sendall(b"GET / HTTP/1.1\r\n")
        before = held()
        assert sent(connection, b"x: aaaaaaaaaaaaa\r\n" * 1000, 60_000_000) < 30_000_000
        assert held() - before < 100e6
        slow.go_on.set()
        assert b" 200 " in raw(address, GET + b"connection: close\r\n\r\n")


def test_chunks_of_a_byte_are_a_body(series: Served) -> None:
    body = b"".join(b"1\r\n%c\r\n" % byte for byte in b" " * 100_000 + ASKED) + b"0\r\nx: behind it\r\n\r\n"
    head = POST.partition(b"content-length")[0] + b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    with running(series) as address:
        assert b" 200 " in raw(address, head + body).splitlines()[0]


def test_who_does_not_read_keeps_no_place_and_no_memory(series: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEND_SECONDS", 0.7)
    monkeypatch.setattr(limits, "REQUESTS", 10)
    with running(replace(series, page="x" * 5_000_000)) as address, contextlib.ExitStack() as stack:
        before = held()
        for _ in range(40):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(address)
            client.sendall((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 5)
        eventually(lambda: get(f"http://127.0.0.1:{address[1]}/health").status_code == 200)
        assert held() - before < 100e6
        eventually(lambda: not address.server.server_state.connections)  # the server has given them up
        monkeypatch.setattr(limits, "SEND_SECONDS", PATIENCE)
        slow = stack.enter_context(socket.socket())  # who reads on, if slowly, gets all of it
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        slow.connect(address)
        slow.settimeout(PATIENCE)
        slow.sendall(b"GET / HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n")
        found = 0
        while part := slow.recv(50_000):
            found += len(part)
            time.sleep(0.01)
        assert found > 5_000_000


def test_nobody_works_for_a_client_that_has_gone(series: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow(monkeypatch)
    with running(series) as address:
        first = connect(address)
        first.sendall(POST + b"\r\n" + ASKED)
        assert slow.begun.wait(PATIENCE)
        for _ in range(5):
            with connect(address) as impatient:
                impatient.sendall(POST + b"\r\n" + ASKED)
                eventually(lambda: address.guard.working == 2)
            eventually(lambda: address.guard.working == 1)
        slow.go_on.set()
        assert b" 200 " in raw(address, POST + b"connection: close\r\n\r\n" + ASKED)
        assert b" 200 " in first.recv(1000)
        first.close()
        counts = get(f"http://127.0.0.1:{address[1]}/metrics").text
    assert slow.sizes == [1, 1]
    assert 'unroll_requests_total{path="/predict",status="0"} 5.0' in counts
    assert "unroll_working 1.0" in counts  # which is the question itself


def test_who_asks_several_times_at_once_and_goes_fills_no_log(
    series: Served,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    slow = Slow(monkeypatch)
    with running(series) as address:
        for _ in range(5):
            with connect(address) as connection:
                connection.sendall((POST + b"\r\n" + ASKED) * 3)
                settle(address)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone at once
        settle(address)
        slow.go_on.set()
        assert b" 200 " in raw(address, POST + b"connection: close\r\n\r\n" + ASKED)
    assert caplog.text == ""
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("pause", [0, 0.1])
def test_who_offers_another_protocol_is_answered_in_this_one(series: Served, pause: float) -> None:
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n\r\n"
    with running(series) as address, connect(address) as connection:
        for _ in range(2):
            connection.sendall(POST + offer)
            time.sleep(pause)
            connection.sendall(ASKED)
            found = b""
            while not found.endswith(b"}]}"):
                part = connection.recv(4096)
                assert part, found
                found += part
            assert found.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "line",
    [
        b"GET health HTTP/1.1", b"CONNECT localhost:80 HTTP/1.1", b"PRI * HTTP/2.0", b"get / HTTP/1.1", b"GET / HTTP/9",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET /\xc3\xa9 HTTP/1.1", b"\0",
        b"POST / HTTP/1.1\r\ntransfer-encoding: gzip", b"POST / HTTP/1.1\r\ncontent-length: -1",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2", b"GET / HTTP/1.1\r\nx y: z",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999",
        b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked",
    ],
)  # fmt: skip
def test_what_is_no_http_is_told_so(series: Served, line: bytes) -> None:
    with running(series) as address:
        head, _, body = raw(address, line + b"\r\n" + HOST + b"\r\n").partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 400 ")
        assert json.loads(body) == {"error": "this is no HTTP request"}


def test_too_long_a_body_is_told_so_to_who_sends_it_to_its_end(series: Served) -> None:
    body = b" " * (2 * limits.BODY_BYTES)
    with running(series) as (host, port), httpx.Client(base_url=f"http://{host}:{port}", timeout=PATIENCE) as asked:
        for content in (body, iter([body[: limits.BODY_BYTES]] * 3)):
            found = asked.post("/predict", content=content)
            assert found.status_code == 413
            assert asked.get("/health").status_code == 200


def test_head_is_get_without_the_body(series: Served) -> None:
    with running(series) as address:
        for path in (b"/", b"/health", b"/openapi.json"):
            head, _, body = raw(
                address, b"HEAD " + path + b" HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n"
            ).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert body == b""
            assert re.search(rb"content-length: [1-9]", head)
