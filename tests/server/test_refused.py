"""What the server does not take: one line of words, a status from 400 on, nobody else disturbed, memory bounded."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import re
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import unroll
from served import client, connect, error_of, get, made, plain, post, raw, running
from unroll.server import Served, guard, limits
from waiting import PATIENCE, eventually

pytestmark = pytest.mark.server

JSON = {"content-type": "application/json"}
PICTURE = {"content-type": "image/png"}
HEALTH = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"
IMAGE = "[" + ",".join(["[" + ",".join(["0"] * 28) + "]"] * 28) + "]"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "the body is no JSON"),
        (b"{", 400, "the body is no JSON"),
        (b"\xff\xfe", 400, "the body is no JSON"),
        (b"[" * 100_000, 400, "the body is no JSON: recursion limit"),
        (b'{"images": [[[NaN]]]}', 400, "the body is no JSON"),
        (b'{"images": [[[Infinity]]]}', 400, "the body is no JSON"),
        (b'{"images": [[[1e400]]]}', 422, "images.0.0.0: Input should be a finite number"),
        (b'{"images": [[[' + b"9" * 4000 + b"]]]}", 422, "images.0.0.0"),
        (b'{"images": [[[' + b"9" * 5000 + b"]]]}", 400, "the body is no JSON"),
        (b"[1]", 422, "expected one of {'images': …} or {'sequences': …} or {'texts': …}, got an array"),
        (b"null", 422, "got null"),
        (b"{}", 422, "got the keys (none)"),
        (b'{"images": [], "texts": []}', 422, "got the keys images, texts"),
        (b'{"images": []}', 422, "images: List should have at least 1 item"),
        (b'{"images": [[]]}', 422, "image 1: expected 28 rows of 28 numbers from 0 to 255, got 0 rows of no numbers"),
        (b'{"images": [[[1, 2], [3]]]}', 422, "got 2 rows of 1 or 2 numbers"),
        (b'{"images": [[["1"]]]}', 422, "images.0.0.0: Input should be a valid number"),
        (b'{"images": [[[true]]]}', 422, "images.0.0.0: Input should be a valid number"),
        (b'{"images": [[[256]]]}', 422, "images.0.0.0: Input should be less than or equal to 255"),
        (b'{"images": [[[-1]]]}', 422, "images.0.0.0: Input should be greater than or equal to 0"),
        (b'{"images": [[[null]]]}', 422, "images.0.0.0: Input should be a valid number"),
        (b'{"images": 3}', 422, "images: Input should be a valid list"),
        (b'{"images": [[[1]]], "more": 1}', 422, "more: Extra inputs are not permitted"),
        (b'{"sequences": [[[1]]]}', 422, "the run digits reads images: send {'images': […]}"),
        (b'{"texts": ["a"]}', 422, "the run digits reads images"),
        (b'{"texts": ["\\ud800"]}', 400, "the body is no JSON"),
        (f'{{"images": [{",".join([IMAGE] * 257)}]}}'.encode(), 422, "images: List should have at most 256 items"),
    ],
)
def test_json_that_will_not_do(digits: Served, body: bytes, status: int, words: str) -> None:
    with client(digits) as asked:
        found = asked.post("/predict", content=body, headers=JSON)
        assert found.status_code == status
        assert words in error_of(found)


def test_sequences_and_texts_that_will_not_do() -> None:
    served = made(unroll.SequenceClassifier(2, 2, hidden_size=3), plain())
    long = [[0.0, 0.0]] * limits.STEPS
    with client(served) as asked:
        for sequences, words in (
            ([[]], "sequences.0: List should have at least 1 item"),
            ([[[1.0, 2.0]], [[1.0]]], "sequence 2, step 1: expected 2 numbers, got 1"),
            ([[[1e39, 0.0]]], "too large for float32"),
            ([long + long[:1]], "sequences.0: List should have at most 10000 items"),
            (
                [[[0.0, 0.0]] * limits.STEPS] + [[[0.0, 0.0]]] * 255,
                "are more than 1,000,000 numbers: send fewer at once",
            ),
        ):
            found = asked.post("/predict", json={"sequences": sequences})
            assert found.status_code == 422
            assert words in error_of(found)
        found = asked.post("/stream", json={"steps": [[1e39, 0.0]]})
        assert error_of(found) == "a number is too large for float32"


def test_what_is_asked_where_it_is_not(digits: Served) -> None:
    with client(digits) as asked:
        for method, path, status, words in (
            ("GET", "/nothing", 404, "there is nothing at /nothing"),
            ("GET", "/../../etc/passwd", 404, "there is nothing at"),
            ("GET", "/predict", 405, "GET is not for this address"),
            ("DELETE", "/", 405, "DELETE is not for this address"),
            ("OPTIONS", "/predict", 405, "OPTIONS is not for this address"),
        ):
            found = asked.request(method, path)
            assert found.status_code == status
            assert words in error_of(found)
            assert not any("access-control" in name for name in found.headers)
        for kind in ("text/plain", "application/xml", "x", "application/x-www-form-urlencoded"):
            found = asked.post("/predict", content=b"a=1", headers={"content-type": kind})
            assert found.status_code == 415
            assert "expected application/json, multipart/form-data or an image" in error_of(found)
        for kind, status in (("multipart/form-data", 400), ("multipart/form-data; boundary=x", 422)):
            assert asked.post("/predict", content=b"--x--\r\n", headers={"content-type": kind}).status_code == status
        broken = asked.post(
            "/predict", content=b"--x\r\nno", headers={"content-type": "multipart/form-data; boundary=x"}
        )
        assert broken.status_code in (400, 422)
        many = [("file", (f"{n}.png", b"x")) for n in range(300)]
        assert "the form is broken" in error_of(asked.post("/predict", files=many))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_pictures_that_will_not_do(digits: Served) -> None:
    whole: dict[str, bytes] = {}
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.radial_gradient("L").save(buffer, kind)
        whole[kind] = buffer.getvalue()
    large = zlib.compress(bytes(10_001 * 10_000), 9)  # 100 megapixels in 100 kB
    cases = {
        "empty": (b"", "expected an image file as the body, got an empty one"),
        "words": (b"hello", "image is not a readable image"),
        "100 megapixels": (png(10_000, 10_000, large), "image is too large: at most 16,000,000 pixels are read"),
        "a bomb": (png(2**31 - 1, 2**31 - 1, zlib.compress(b"x" * 100)), "image"),
        "few rows": (png(4_000, 4_000, zlib.compress(b"x" * 100)), "image is not a readable image"),
        "long text": (
            png(28, 28, zlib.compress(bytes(29 * 28)), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**27), 9))),
            "image",
        ),
        "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image is not a readable image"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "image is not a readable image"),
    }
    with client(digits) as asked:
        for name, (content, words) in cases.items():
            found = asked.post("/predict", content=content, headers=PICTURE)
            assert found.status_code == 422, name
            assert words in error_of(found), name
        for kind, content in whole.items():
            assert asked.post("/predict", content=content, headers=PICTURE).status_code == 200, kind
            for share in (0.02, 0.3, 0.6, 0.9):
                found = asked.post("/predict", content=content[: int(len(content) * share)], headers=PICTURE)
                assert found.status_code in (200, 422), kind  # what a decoder fills in is an image
                if found.status_code == 422:
                    error_of(found)
        name = "a\n<b>" + "x" * 500
        found = asked.post("/predict", files=[("file", (name, b"no"))])
        assert len(error_of(found)) < 200


def test_bodies_that_are_too_long(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 1.0)  # so long what is still sent is read, and thrown away
    with running(digits) as address:
        head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        told = raw(address, head + f"content-length: {limits.BODY_BYTES + 1}\r\n\r\n".encode())
        assert b" 413 " in told.splitlines()[0]
        assert b"the body is over 8,388,608 bytes" in told

        def endless() -> Any:
            for _ in range(10**6):
                yield b" " * 65_536

        try:
            found = post(f"http://localhost:{address[1]}/predict", content=endless(), headers=JSON)
            assert found.status_code == 413
        except httpx.TransportError:  # the answer came while the client was still sending
            pass
        for broken in (b"GET / HTTP/9\r\n\r\n", b"\0" * 100, b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n"):
            assert b"Traceback" not in raw(address, broken)
        twice = raw(address, head + b"content-length: 1\r\ncontent-length: 2\r\n\r\nab")
        assert b" 200 " not in twice
        assert get(f"http://localhost:{address[1]}/health").status_code == 200


def test_slow_senders_keep_nobody_waiting_and_are_cut_off(
    digits: Served,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 1.5)
    monkeypatch.setattr(limits, "BODY_SECONDS", 1.5)
    with running(digits) as address, contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connect(address)) for _ in range(50)]
        body = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n"
        for number, connection in enumerate(slow):
            connection.sendall(b"GET / HTTP/1.1\r\nx: " if number % 2 else body)
        silent = stack.enter_context(connect(address))
        silent.sendall(body)
        until = time.monotonic() + PATIENCE
        while slow:  # each sends a byte now and then: that gains it no time
            assert time.monotonic() < until
            assert get(f"http://127.0.0.1:{address[1]}/health").status_code == 200
            for connection in list(slow):
                try:
                    connection.sendall(b"x")
                except ConnectionError:
                    slow.remove(connection)
        told = b""
        while part := silent.recv(4096):
            told += part
        assert b" 408 " in told


def test_more_connections_than_may_be_are_closed(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS", 3)
    with running(digits) as address, contextlib.ExitStack() as stack:
        first = [stack.enter_context(connect(address)) for _ in range(3)]
        for connection in first:
            connection.sendall(HEALTH + b"\r\n")
            assert b" 200 " in connection.recv(1000)
        assert raw(address, HEALTH + b"\r\n") == b""
        first.pop().close()
        eventually(lambda: b" 200 " in raw(address, HEALTH + b"connection: close\r\n\r\n"))


def test_too_many_requests_and_too_long_ones(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUESTS", 0)
    with client(digits) as asked:
        found = asked.get("/health")
        assert found.status_code == 503
        assert found.headers["retry-after"] == "1"
        assert "working on 0 requests already" in error_of(found)
    monkeypatch.setattr(limits, "REQUESTS", 5)
    monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.0)
    with client(digits) as asked:
        found = asked.post("/predict", json={"images": [[[0] * 28] * 28]})
        assert found.status_code == 504
        assert "not done after 0 seconds: send less at once" in error_of(found)


def test_a_token(digits: Served) -> None:
    def basic(name: str) -> dict[str, str]:
        return {"authorization": "Basic " + base64.b64encode(name.encode()).decode()}

    with client(digits, token="s3cret") as asked:
        assert asked.get("/health").status_code == 200
        wrong: list[dict[str, str]] = [
            {}, {"authorization": "Bearer s3cre"}, {"authorization": "s3cret"}, {"authorization": "Digest s3cret"},
            basic("s3cret"), basic("s3cret:"), {"authorization": "Basic %%"}, {"authorization": "Bearer é"},
        ]  # fmt: skip
        for headers in wrong:
            for path in ("/", "/openapi.json", "/metrics", "/nothing"):
                found = asked.get(path, headers={name: value.encode("latin-1") for name, value in headers.items()})
                assert found.status_code == 401, headers
                assert found.headers["www-authenticate"].startswith("Bearer, Basic realm=")
                assert error_of(found) == "this server asks for a token: Authorization: Bearer …"
        for headers in ({"authorization": "Bearer s3cret"}, {"authorization": "bearer s3cret"}, basic("me:s3cret")):
            assert asked.get("/", headers=headers).status_code == 200


def test_names_that_lead_here_from_elsewhere(digits: Served) -> None:
    with client(digits, hosts=guard.LOOPBACK) as asked:
        for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "", "127.0.0.1.nip.io", "[::2]"):
            found = asked.get("/", headers={"host": host})
            assert found.status_code == 421
            assert "the server answers to" in error_of(found)
        for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "[::1]", "LOCALHOST"):
            found = asked.get("/", headers={"host": host})
            assert found.status_code == 200
            assert found.headers["x-frame-options"] == "DENY"
            assert found.headers["x-content-type-options"] == "nosniff"


def test_a_fault_of_the_server_s_own_tells_nothing(
    digits: Served,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("inner secret")

    monkeypatch.setattr(Served, "answer", fail)
    with client(digits) as asked:
        found = asked.post("/predict", json={"images": [[[0] * 28] * 28]})
        assert found.status_code == 500
        assert error_of(found) == "the server failed to answer; its log says more"
        assert "inner secret" in caplog.text
        monkeypatch.undo()
        assert asked.post("/predict", json={"images": [[[0] * 28] * 28]}).status_code == 200


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux' /proc")
def test_memory_is_bounded(digits: Served) -> None:
    largest = zlib.compress(bytes(4_001 * 4_000), 9)  # all the pixels that are allowed
    with client(digits) as asked:
        asked.post("/predict", content=png(28, 28, zlib.compress(bytes(29 * 28))), headers=PICTURE)
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
        before = peak()
        for content in (png(4_000, 4_000, largest), png(10_000, 10_000, largest)):
            assert asked.post("/predict", content=content, headers=PICTURE).status_code == 422
        assert asked.post("/predict", content=b"[" * limits.BODY_BYTES, headers=JSON).status_code == 400
        rows = b'{"images": [' + b",".join([IMAGE.encode()] * 256) + b"]}"
        assert asked.post("/predict", content=rows, headers=JSON).status_code == 200
        assert peak() - before < 600e6
