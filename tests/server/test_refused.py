"""What the server does not take: one line of words, a status from 400 on, nobody else disturbed, memory bounded."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import re
import struct
import tempfile
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import unroll
from served import client, error_of, made, plain
from unroll.data.sequences import SequenceData
from unroll.data.time_steps import TimeSteps
from unroll.server import Served, guard, limits, served
from unroll.server.batching import Batcher
from unroll.server.bodies import Images, Sequences, Texts, parse
from unroll.server.guard import RefusedError
from waiting import PATIENCE

JSON = {"content-type": "application/json"}
PICTURE = {"content-type": "image/png"}
IMAGE = "[" + ",".join(["[" + ",".join(["0"] * 28) + "]"] * 28) + "]"


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 400, "the body is not JSON"),
        (b"{", 400, "the body is not JSON"),
        (b"\xff\xfe", 400, "the body is not JSON"),
        (b"[" * 100_000, 400, "the body is not JSON: recursion limit"),
        (b'{"images": [[[NaN]]]}', 400, "the body is not JSON"),
        (b'{"images": [[[Infinity]]]}', 400, "the body is not JSON"),
        (b'{"images": [[[1e400]]]}', 422, "images.0.0.0: Input should be a finite number"),
        (b'{"images": [[[' + b"9" * 4000 + b"]]]}", 422, "images.0.0.0"),
        (b'{"images": [[[' + b"9" * 5000 + b"]]]}", 400, "the body is not JSON"),
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
        (b'{"texts": ["\\ud800"]}', 400, "the body is not JSON"),
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
            ([[[1e39, 0.0]]], "sequence 1, step 1, feature 1: 1e+39 is too large for float32; scale it, or send null"),
            ([[[0.0, 0.0]], [[0.0, 0.0], [0.0, -1e300]]], "sequence 2, step 2, feature 2: -1e+300 is too large"),
            ([long + long[:1]], "sequences.0: List should have at most 10000 items"),
            (
                [[[0.0, 0.0]] * limits.STEPS] + [[[0.0, 0.0]]] * 255,
                "exceed 1,000,000 numbers: send fewer at once",
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
            ("GET", "/nothing", 404, "no such path: /nothing"),
            ("GET", "/../../etc/passwd", 404, "no such path"),
            ("GET", "/predict", 405, "method GET is not allowed for this path"),
            ("DELETE", "/", 405, "method DELETE is not allowed for this path"),
            ("OPTIONS", "/predict", 405, "method OPTIONS is not allowed for this path"),
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


def test_formats_of_images_are_named_where_one_is_not_read(digits: Served) -> None:
    with client(digits) as asked:
        found = asked.post("/predict", content=b"P5 1 1 255\n0", headers={"content-type": "image/x-portable-graymap"})
    assert error_of(found) == "image is not a readable image: expected PNG, JPEG, GIF, BMP, WEBP or TIFF"


@pytest.mark.parametrize("path", ["/", "/predict", "/stream"])
def test_two_runs_at_once_are_refused(path: str) -> None:
    runs = [made(unroll.SequenceClassifier(1, 2, hidden_size=2), plain(), name) for name in "sw"]
    with client(*runs) as asked:
        found = asked.request("GET" if path == "/" else "POST", f"{path}?run=s&run=w")
    assert (found.status_code, error_of(found)) == (400, "expected one run, got 2: s, w")


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ('{"texts": ["a"], "texts": ["b"]}', "texts"),
        ('{"texts": ["a"], "te\\u0078ts": ["a:b"]}', "texts"),
        ('{"sequences": [[[1]]], "sequences": [[[2]]], "sequences": [[[3]]]}', "sequences"),
        ('{"times": null, "sequences": [[[1]]], "times": [[0]]}', "times"),
    ],
)
def test_a_key_given_twice_is_refused(body: str, key: str) -> None:
    with pytest.raises(RefusedError) as refused:
        parse(body.encode(), Images, Sequences, Texts)
    assert re.fullmatch(f"the key '{key}' is given [23] times: expected it once", refused.value.why)


@pytest.mark.parametrize("text", ['a: "texts": b', "::::", "\u2028:", "\x7f:"])
def test_what_looks_like_a_key_in_a_text_is_none(text: str) -> None:
    body = parse(json.dumps({"texts": [text, "9" * 5_000]}).encode(), Texts)
    assert isinstance(body, Texts)
    assert body.texts[0] == text


def test_times_that_go_back_are_counted_as_sequences_are() -> None:
    resampled = replace(plain(), time_steps=TimeSteps(time_step=1.0))
    with client(made(unroll.SequenceClassifier(1, 2, hidden_size=2), resampled)) as asked:
        found = asked.post("/predict", json={"sequences": [[[1], [2]]] * 2, "times": [[0, 1], [1, 0]]})
    assert error_of(found) == "times of sequence 2 must be ascending numbers"


@pytest.mark.slow
def test_a_million_errors_are_one(digits: Served) -> None:
    for one in (b'""', b"[]", b"null"):
        body = b'{"images": [[[' + b",".join([one] * 1_000_000) + b"]]]}"
        with client(digits) as asked:
            found = asked.post("/predict", content=body, headers=JSON)
            assert found.status_code == 422
            assert error_of(found) == "images.0.0.0: Input should be a valid number"


def test_refusals_are_a_line_whatever_a_client_names(digits: Served) -> None:
    with client(digits) as asked:
        for body in (b'{"a\\nb\\u001b": 1}', b'{"images": [[[1]]], "a\\nb\\u009b": 1}'):
            found = asked.post("/predict", content=body, headers=JSON)
            assert found.status_code == 422
            assert error_of(found).isprintable()
        found = asked.get("/a%0Ab%1B")
        assert error_of(found) == "no such path: /a b\\x1b"
        found = asked.get("/", params={"run": "a\nb"})
        assert error_of(found) == "unknown run 'a\\nb': expected one of digits"
        for host in ("[", "evil.example/?#"):  # where any name will do
            assert asked.get("/nothing", headers={"host": host}).status_code == 404
            found = asked.get("/health/", headers={"host": host}, follow_redirects=False)
            assert error_of(found) == "no such path: /health/"
        form = b'--x\r\nContent-Disposition: form-data; name="f"; filename="\xff.a"\r\n\r\n\xff\r\n--x--\r\n'
        for charset in ("undefined", "idna", "zip", "unicode_escape", "utf-16", "x" * 5000):
            kind = f"multipart/form-data; boundary=x; charset={charset}"
            found = asked.post("/predict", content=form, headers={"content-type": kind})
            assert found.status_code in (400, 422), charset
            error_of(found)


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


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, *more: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.slow
def test_pictures_that_will_not_do(digits: Served) -> None:
    whole: dict[str, bytes] = {}
    for kind in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF"):
        buffer = io.BytesIO()
        Image.radial_gradient("L").save(buffer, kind)
        whole[kind] = buffer.getvalue()
    large = zlib.compress(bytes(10_001 * 10_000), 9)  # 100 megapixels in 100 kB
    cases = {
        "empty": (b"", "expected an image file as the body, got an empty body"),
        "words": (b"hello", "image is not a readable image: expected PNG, JPEG, GIF, BMP, WEBP or TIFF"),
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


@pytest.mark.slow
def test_many_large_images_leave_room_for_others(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = {}
    for name, image in (
        ("large", Image.new("RGBA", (4_000, 4_000), (1, 2, 3, 128))),
        ("small", Image.radial_gradient("L")),
    ):
        buffer = io.BytesIO()
        image.save(buffer, "PNG")
        pictures[name] = buffer.getvalue()
    with client(digits) as asked:
        monkeypatch.setattr(limits, "REQUEST_SECONDS", 0.5)
        many = [("file", ("large.png", pictures["large"]))] * 50  # half a minute's work
        assert asked.post("/predict", files=many).status_code == 504
        monkeypatch.setattr(limits, "REQUEST_SECONDS", PATIENCE)
        found = asked.post("/predict", content=pictures["small"], headers=PICTURE)
        assert found.status_code == 200, found.text


@pytest.mark.slow
def test_uploads_touch_no_disk(digits: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no such folder")
    buffer = io.BytesIO()
    Image.effect_noise((2_000, 2_000), 50).save(buffer, "PNG")
    assert len(buffer.getvalue()) > 2**20
    with client(digits) as asked:
        assert asked.post("/predict", files=[("file", ("noise.png", buffer.getvalue()))]).status_code == 200


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
        assert "not finished after 0 seconds: send a smaller request" in error_of(found)


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
                assert error_of(found) == "this server requires a token: send Authorization: Bearer …"
        for headers in ({"authorization": "Bearer s3cret"}, {"authorization": "bearer s3cret"}, basic("me:s3cret")):
            assert asked.get("/", headers=headers).status_code == 200


@pytest.mark.parametrize("token", ["gehëim", " gehëim\n", os.fsdecode("gehëim".encode())])
def test_a_token_beyond_ascii_and_blanks_around_one(digits: Served, token: str) -> None:
    with client(digits, token=token) as asked:
        for value, status in (("Bearer gehëim", 200), ("Bearer geheim", 401)):
            assert asked.get("/", headers={"authorization": value.encode()}).status_code == status


def test_names_that_lead_here_from_elsewhere(digits: Served) -> None:
    with client(digits, hosts=guard.LOOPBACK) as asked:
        for host in ("evil.example", "evil.example:8000", "localhost.evil.example", "", "127.0.0.1.nip.io", "[::2]"):
            found = asked.get("/", headers={"host": host})
            assert found.status_code == 421
            assert "expected one of the hosts" in error_of(found)
        for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "[::1]", "LOCALHOST"):
            found = asked.get("/", headers={"host": host})
            assert found.status_code == 200
            assert found.headers["x-frame-options"] == "DENY"
            assert found.headers["x-content-type-options"] == "nosniff"


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
                assert error_of(found) == f"requests from pages of {origin} are not allowed"


def test_a_fault_of_the_server_s_own_tells_nothing(
    digits: Served,
    monkeypatch: pytest.MonkeyPatch,
    logged: io.StringIO,
) -> None:
    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("inner secret")

    monkeypatch.setattr(Served, "answer", fail)
    with client(digits) as asked:
        found = asked.post("/predict", json={"images": [[[0] * 28] * 28]})
        assert found.status_code == 500
        assert error_of(found) == "internal error: see the server's log"
        assert "inner secret" in logged.getvalue()
        monkeypatch.undo()
        assert asked.post("/predict", json={"images": [[[0] * 28] * 28]}).status_code == 200


def peak() -> int:
    """The most memory that this process has held, in bytes."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux' /proc")
@pytest.mark.slow
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
