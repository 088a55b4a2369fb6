"""What comes along a connection byte by byte, and what a client leaves unread there; a proxy before the server."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import torch

import unroll
from served import Address, connect, error_of, get, made, plain, post, raw, refused, running, settle
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


@pytest.fixture(scope="module")
def address() -> Iterator[Address]:
    """One server for requests that leave no trace."""
    served = made(unroll.SequenceClassifier(2, 2, hidden_size=3), plain())
    with running(served) as address:
        yield address


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
    """Send ``part`` again and again, until the server takes no more of it; return how many bytes that took."""
    count = 0
    connection.setblocking(False)
    with contextlib.suppress(ConnectionError):
        while count < most and select.select([], [connection], [], 1)[1]:
            count += connection.send(part)
    connection.settimeout(PATIENCE)
    return count


def test_headers_are_bounded(series: Served) -> None:
    with running(series) as address:
        for endless in (b"x: " + b"a" * 70_000, b"x: aaaaaaaaaaaa\r\n" * 5_000):
            answer = raw(address, GET + endless)
            assert answer == b"" or b" 400 " in answer.splitlines()[0]  # b"": cut off while still sending
        assert b" 200 " in raw(address, GET + b"x: " + b"a" * 30_000 + b"\r\nconnection: close\r\n\r\n")
        # What is left of a body that nobody reads is not a header.
        refused = b"POST /health HTTP/1.1\r\n" + HOST + b"content-length: 200000\r\n\r\n" + b" " * 200_000
        assert raw(address, refused + GET + b"connection: close\r\n\r\n").count(b"HTTP/1.1 ") == 2


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


def test_bodies_of_all_requests_together_are_bounded(series: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELD_BYTES", 100_000)
    head = b"POST /predict HTTP/1.1\r\n" + HOST + b"content-length: 60000\r\n"
    with running(series) as address, connect(address) as first:
        first.sendall(head + b"\r\n" + b" " * 59_999)
        eventually(lambda: address.guard.held == 59_999)
        found = raw(address, head + b"connection: close\r\n\r\n" + b" " * 59_999)
        assert b" 503 " in found.splitlines()[0]
        assert b"retry-after: 1" in found
        first.sendall(b" ")
        assert b" 400 " in first.recv(1000)  # blanks are not JSON
        assert post(f"http://localhost:{address[1]}/predict", content=b" " * 60_000).status_code == 400


def test_a_token_that_is_not_utf_8(series: Served) -> None:
    with running(series, token=os.fsdecode(b"\xff\xfe")) as address:
        for value, status in ((b"\xff\xfe", b" 200 "), (b"\xff", b" 401 ")):
            head = b"HEAD / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer "
            assert status in raw(address, head + value + b"\r\n\r\n").splitlines()[0]


def test_slow_senders_keep_nobody_waiting_and_are_cut_off(series: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 1.5)
    with running(series) as address, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(address)) for _ in range(50)]
        silent = stack.enter_context(connect(address))
        for connection in (*slow, silent):
            connection.sendall(b"POST /predict HTTP/1.1\r\n" + HOST + b"content-length: 1000\r\n\r\n")
        until = time.monotonic() + PATIENCE
        while slow:  # each sends a byte now and then: that gains it no time
            assert time.monotonic() < until
            assert get(f"http://127.0.0.1:{address[1]}/health").status_code == 200
            for connection in list(slow):
                try:
                    connection.sendall(b"x")
                except ConnectionError:
                    slow.remove(connection)
        answer = b""
        while part := silent.recv(4096):
            answer += part
        assert b" 408 " in answer


def test_requests_on_more_connections_than_may_be_are_refused(series: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS", 3)
    with running(series) as address, contextlib.ExitStack() as stack:
        first = [stack.enter_context(connect(address)) for _ in range(3)]
        for connection in first:
            connection.sendall(GET + b"\r\n")
            assert b" 200 " in connection.recv(1000)
        assert raw(address, GET + b"\r\n").startswith(b"HTTP/1.1 503 ")
        first.pop().close()
        eventually(lambda: b" 200 " in raw(address, GET + b"connection: close\r\n\r\n"))


def test_who_does_not_read_keeps_no_place(series: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS", 10)
    with running(replace(series, page="x" * 5_000_000)) as address, contextlib.ExitStack() as stack:
        before = held()
        for _ in range(40):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(address)
            client.sendall((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 5)
        settle(address)
        assert address.guard.working == 0
        assert held() - before < 100e6


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
    logged: io.StringIO,
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
    assert logged.getvalue() == ""
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
    ("line", "error"),
    [
        (b"GET / HTTP/9", None), (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", None), (b"\0" * 100, None),
        (b"GET /\xc3\xa9 HTTP/1.1", None), (b"GET /" + b"a" * 200_000 + b" HTTP/1.1", None),
        (b"GET / HTTP/1.1\r\nx y: z", None), (b"POST / HTTP/1.1\r\ntransfer-encoding: gzip", None),
        (b"POST / HTTP/1.1\r\ncontent-length: -1", None),
        (b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2", None),
        (b"POST / HTTP/1.1\r\ncontent-length: 99999999999999999999999", None),
        (b"GET health HTTP/1.1", "no such path: health"),
        (b"CONNECT localhost:80 HTTP/1.1", "no such path: localhost:80"),
        (b"PRI * HTTP/2.0", "no such path: *"),
        (b"get / HTTP/1.1", "method get is not allowed for this path"),
    ],
)  # fmt: skip
def test_what_is_not_http_or_leads_nowhere_is_refused(address: Address, line: bytes, error: str | None) -> None:
    answer = raw(address, line + b"\r\n" + HOST + b"connection: close\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 40[045] ", head)
    if error is None:
        assert body == b"Invalid HTTP request received."
    else:
        assert json.loads(body) == {"error": error}
    assert b" 200 " in raw(address, GET + b"connection: close\r\n\r\n")


def test_too_long_a_body_is_refused_whether_it_is_sent_or_only_announced(series: Served) -> None:
    words = "the body exceeds the limit of 8,388,608 bytes: send a smaller request"
    body = b" " * (2 * limits.BODY_BYTES)
    with running(series) as (host, port), httpx.Client(base_url=f"http://{host}:{port}", timeout=PATIENCE) as asked:
        for content in (body, iter([body[: limits.BODY_BYTES]] * 3)):
            answer = asked.post("/predict", content=content)
            assert answer.status_code == 413
            assert error_of(answer) == words
            assert asked.get("/health").status_code == 200
        announced = b"POST /predict HTTP/1.1\r\n" + HOST + b"connection: close\r\ncontent-length: 8388609\r\n\r\n"
        answer = raw((host, port), announced)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert words.encode() in answer


def test_head_is_get_without_the_body(series: Served) -> None:
    with running(series) as address:
        for path in (b"/", b"/health", b"/openapi.json"):
            head, _, body = raw(
                address, b"HEAD " + path + b" HTTP/1.1\r\n" + HOST + b"connection: close\r\n\r\n"
            ).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert body == b""
            assert re.search(rb"content-length: [1-9]", head)


@pytest.mark.skipif(not (shutil.which("nginx") and shutil.which("openssl")), reason="needs nginx and openssl")
def test_the_reverse_proxy_of_the_docs(series: Served, tmp_path: Path) -> None:
    key, certificate = tmp_path / "models.key", tmp_path / "models.pem"
    signed = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    signed += ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(["openssl", *signed, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    page = (Path(__file__).parents[2] / "docs" / "sharing.md").read_text()
    example = page.partition("```nginx\n")[2].partition("```")[0]
    with running(replace(series, page="x" * 5_000_000)) as address, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        for written, tried in (
            ("/etc/ssl/certs/models.pem", str(certificate)),
            ("/etc/ssl/private/models.key", str(key)),
            ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl"),
            ("127.0.0.1:8000", f"127.0.0.1:{address[1]}"),
            ("client_header_timeout 10s", "client_header_timeout 1s"),
        ):
            assert written in example
            example = example.replace(written, tried)
        folders = "".join(
            f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        user = "user root;" if os.geteuid() == 0 else ""
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; pid {tmp_path}/pid; {user} error_log stderr crit; events {{}}\n"
            f"http {{ access_log off; {folders}\n{example} }}"
        )
        with subprocess.Popen(["nginx", "-e", "stderr", "-p", tmp_path, "-c", "nginx.conf"]) as nginx:
            try:
                eventually(lambda: nginx.poll() is not None or not refused(("127.0.0.1", port)))
                assert nginx.poll() is None
                check_proxy(address, port, certificate)
            finally:
                nginx.terminate()


def check_proxy(address: tuple[str, int], port: int, certificate: Path) -> None:
    """Ask through the proxy what works, and what it must keep from the server."""
    trusted = ssl.create_default_context(cafile=str(certificate))
    with httpx.Client(base_url=f"https://localhost:{port}", verify=trusted, timeout=PATIENCE) as asked:
        assert asked.get("/").text == "x" * 5_000_000
        body = json.loads(ASKED)
        expected = post(f"http://127.0.0.1:{address[1]}/predict", json=body)
        assert asked.post("/predict", json=body).json() == expected.json()
        state = None
        for step in (1, 2):
            piece = asked.post("/stream", json={"state": state, "steps": [[0.0, 1.0]]}).json()
            assert piece["read"] == step
            state = piece["state"]
        assert asked.post("/predict", content=b" " * (limits.BODY_BYTES + 1)).status_code == 413
        with contextlib.ExitStack() as stack:

            def begin(request: bytes) -> ssl.SSLSocket:
                plain = stack.enter_context(connect(("127.0.0.1", port)))
                connection = stack.enter_context(trusted.wrap_socket(plain, server_hostname="localhost"))
                connection.sendall(request)
                return connection

            assert begin(GET).recv(1) == b""  # its headers took too long
            for _ in range(20):
                begin(POST + b"\r\n")
            eventually(lambda: asked.get("/health").status_code == 503)
            assert get(f"http://127.0.0.1:{address[1]}/health").status_code == 200
