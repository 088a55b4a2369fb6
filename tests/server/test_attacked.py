"""What a single client could do to everybody else's server, were there no bound on it."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import tempfile
import time

import httpx
import pytest
import torch
from PIL import Image

import unroll
from served import client, connect, error_of, made, plain, post, raw, refused, running
from unroll.data.preparation import ImageFormat, Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.server import Served, guard, limits, served
from unroll.server.batching import Batcher
from waiting import PATIENCE, eventually

pytestmark = pytest.mark.server

JSON = {"content-type": "application/json"}
GRADIENT = Image.radial_gradient("L")
GET = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"


@pytest.fixture
def digits() -> Served:
    form = ImageFormat(28, 28, "rows")
    preparation = Preparation(tuple("0123456789"), Scaling(0.0, 255.0), form)
    return made(unroll.SequenceClassifier(28, 10, hidden_size=4), preparation)


def test_numbers_that_overflow_in_the_model_are_the_client_s_fault() -> None:
    series = made(unroll.SequenceClassifier(2, 2, hidden_size=8, nonlinearity="relu"), plain())
    wild = [[3e38, -3e38]] * 20
    with client(series) as asked:
        for path, body in (("/predict", {"sequences": [wild]}), ("/stream", {"steps": wild})):
            found = asked.post(path, json=body)
            assert found.status_code == 422
            assert error_of(found) == served.OVERFLOW
        found = asked.post("/predict", json={"sequences": [[[1, 2]], wild]})
        assert found.status_code == 200
        good, bad = found.json()["predictions"]
        assert good["class"] in "ab"
        assert bad["error"] == served.OVERFLOW


def test_a_million_errors_are_one(digits: Served) -> None:
    for one in (b'""', b"[]", b"null"):
        body = b'{"images": [[[' + b",".join([one] * 1_000_000) + b"]]]}"
        with client(digits) as asked:
            found = asked.post("/predict", content=body, headers=JSON)
            assert found.status_code == 422
            assert error_of(found) == "images.0.0.0: Input should be a valid number"


def test_headers_are_bounded(digits: Served) -> None:
    with running(digits) as address:
        for endless in (b"x: " + b"a" * 70_000, b"x: aaaaaaaaaaaa\r\n" * 5_000):
            found = raw(address, GET + endless)
            assert found == b"" or b" 431 " in found.splitlines()[0]  # b"": cut off while still sending
        assert b" 200 " in raw(address, GET + b"x: " + b"a" * 30_000 + b"\r\nconnection: close\r\n\r\n")
        # What is left of a body that nobody reads is no header.
        refused = b"POST /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 200000\r\n\r\n" + b" " * 200_000
        assert raw(address, refused + GET + b"connection: close\r\n\r\n").count(b"HTTP/1.1 ") == 2


def cut_off(connection: socket.socket, part: bytes) -> bool:
    """Send a little more; tell whether the server no longer takes it."""
    time.sleep(0.1)
    try:
        connection.sendall(part)
    except ConnectionError:
        return True
    return False


@pytest.mark.parametrize("before", [b"", GET + b"\r\n"], ids=["at first", "after a request"])
def test_blank_lines_keep_no_connection(digits: Served, monkeypatch: pytest.MonkeyPatch, before: bytes) -> None:
    monkeypatch.setattr(limits, "HEAD_SECONDS", 0.5)
    with running(digits) as address, connect(address) as connection:
        connection.sendall(before)
        if before:
            assert connection.recv(1000)
        eventually(lambda: cut_off(connection, b"\r\n"))


def test_bodies_of_all_requests_together_are_bounded(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HELD_BYTES", 100_000)
    head = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000\r\n\r\n"
    with running(digits) as address, connect(address) as first:
        first.sendall(head + b" " * 59_999)
        eventually(lambda: address.guard.held == 59_999)
        found = raw(address, head + b" " * 59_999)
        assert b" 503 " in found.splitlines()[0]
        assert b"retry-after: 1" in found
        first.sendall(b" ")
        assert b" 400 " in first.recv(1000)  # blanks are no JSON
        assert post(f"http://localhost:{address[1]}/predict", content=b" " * 60_000).status_code == 400


def test_many_large_images_leave_room_for_others(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = {}
    for name, image in (("large", Image.new("RGBA", (4_000, 4_000), (1, 2, 3, 128))), ("small", GRADIENT)):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        pictures[name] = buffer.getvalue()
    with running(digits) as address, httpx.Client(base_url=f"http://localhost:{address[1]}", timeout=PATIENCE) as asked:
        monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.5)
        many = [("file", ("large.png", pictures["large"]))] * 50  # half a minute's work
        assert asked.post("/predict", files=many).status_code == 504
        monkeypatch.setattr(limits, "REQUEST_SECONDS", PATIENCE)
        found = asked.post("/predict", content=pictures["small"], headers={"content-type": "image/png"})
        assert found.status_code == 200, found.text


def answer(connection: socket.socket) -> bytes:
    """Return a whole answer, which is one JSON object without another in it."""
    found = b""
    while not found.endswith(b"}") and (part := connection.recv(1000)):
        found += part
    return found


def test_what_is_on_its_way_when_the_server_stops_is_answered(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LAST_SECONDS", PATIENCE)
    with running(digits) as address, connect(address) as idle, connect(address) as begun:
        begun.sendall(GET[:20])
        for _ in range(2):  # answers of what is asked after it: by then it has come
            idle.sendall(GET + b"\r\n")
            assert b" 200 " in answer(idle)
        address.server.should_exit = True
        eventually(lambda: refused(address))
        idle.sendall(GET + b"\r\n")
        told = answer(idle)
        assert b" 200 " in told
        assert b"connection: close" in told
        begun.sendall(GET[20:] + b"\r\n")
        assert b" 200 " in answer(begun)


def test_pages_of_others_may_not_ask(digits: Served) -> None:
    body = {"images": [[[0] * 28] * 28]}
    with client(digits, hosts=guard.LOOPBACK) as asked:
        for origin, status in (
            ("http://evil.example", 403),
            ("null", 403),
            ("http://localhost:9", 403),
            ("http://localhost:8000", 200),
        ):
            found = asked.post("/predict", json=body, headers={"host": "localhost:8000", "origin": origin})
            assert found.status_code == status, origin
            if status == 403:
                assert error_of(found) == f"pages of {origin} may not ask this server"


@pytest.mark.parametrize("token", ["gehëim", " gehëim\n", os.fsdecode("gehëim".encode())])
def test_a_token_beyond_ascii_and_blanks_around_one(digits: Served, token: str) -> None:
    with client(digits, token=token) as asked:
        for value, status in (("Bearer gehëim", 200), ("Bearer geheim", 401)):
            assert asked.get("/", headers={"authorization": value.encode()}).status_code == status


def test_a_token_that_is_no_utf_8(digits: Served) -> None:
    with running(digits, token=os.fsdecode(b"\xff\xfe")) as address:
        for value, status in ((b"\xff\xfe", b" 200 "), (b"\xff", b" 401 ")):
            head = b"HEAD / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer "
            assert status in raw(address, head + value + b"\r\n\r\n").splitlines()[0]


def test_refusals_are_a_line_whatever_a_client_names(digits: Served) -> None:
    with client(digits) as asked:
        for body in (b'{"a\\nb\\u001b": 1}', b'{"images": [[[1]]], "a\\nb\\u009b": 1}'):
            found = asked.post("/predict", content=body, headers=JSON)
            assert found.status_code == 422
            assert error_of(found).isprintable()
        found = asked.get("/a%0Ab%1B")
        assert error_of(found) == "there is nothing at /a b\\x1b"
        found = asked.get("/", params={"run": "a\nb"})
        assert error_of(found) == "no run 'a\\nb' is served here, but made"
        for host in ("[", "evil.example/?#"):  # where any name will do
            assert asked.get("/nothing", headers={"host": host}).status_code == 404
            found = asked.get("/health/", headers={"host": host}, follow_redirects=False)
            assert error_of(found) == "there is nothing at /health/"
        form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="\xff.a"\r\n\r\n\xff\r\n--x--\r\n'
        for charset in ("undefined", "idna", "zip", "unicode_escape", "utf-16", "x" * 5000):
            kind = f"multipart/form-data; boundary=x; charset={charset}"
            found = asked.post("/predict", content=form, headers={"content-type": kind})
            assert found.status_code in (400, 422), charset
            error_of(found)


def test_uploads_touch_no_disk(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no such folder")
    buffer = io.BytesIO()
    Image.effect_noise((2_000, 2_000), 50).save(buffer, "PNG")
    assert len(buffer.getvalue()) > 2**20
    with client(digits) as asked:
        assert asked.post("/predict", files=[("file", ("noise.png", buffer.getvalue()))]).status_code == 200


def test_a_fault_of_one_request_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    series = made(unroll.SequenceClassifier(1, 2, hidden_size=3), plain())
    answer, sizes = Served.answer, []

    def fail(served: Served, parts: list[SequenceData]) -> list[torch.Tensor]:
        time.sleep(0.2)
        sizes.append(len(parts))
        if any(bool((part.x == 13).any()) for part in parts):
            raise RuntimeError("a fault of the model's")
        return answer(served, parts)

    async def ask() -> list[torch.Tensor | BaseException]:
        batcher = Batcher()
        asked = [series.of_series([[[float(number)]]]).data for number in (1, 2, 13, 4)]
        found = await asyncio.gather(*(batcher.ask(series, one) for one in asked if one), return_exceptions=True)
        batcher.close()
        return found

    monkeypatch.setattr(Served, "answer", fail)
    found = asyncio.run(ask())
    assert [isinstance(one, RuntimeError) for one in found] == [False, False, True, False]
    assert sizes == [4, 1, 1, 1, 1]
