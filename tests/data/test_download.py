"""Downloads from a local server that stalls, breaks off and lies."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from unroll import DataError, load
from unroll.data.formats import download, mnist
from unroll.data.formats.mnist import FILES, SOURCES, cache_folder
from unroll.errors import DownloadError


class Server(http.server.BaseHTTPRequestHandler):
    """Serves ``/MODE/FILE``: MODE says how badly."""

    content: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        _, mode, file = self.path.split("/")
        Server.asked.append(f"{mode}/{file}")
        body = Server.content[file]
        if mode == "missing":
            self.send_error(404)
            return
        if mode == "lies":
            body = gzip.compress(b"something else")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if mode == "stalls":
            self.wfile.write(body[:10])
            self.wfile.flush()
            time.sleep(1.5)
        elif mode == "breaks":
            self.wfile.write(body[: len(body) // 2])
        elif mode == "garbles":
            self.wfile.write(b"\x1f\x8b" + bytes(len(body) - 2))
        else:
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(idx_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A server of a small set in MNIST's place, with the sums to match."""
    folder = idx_folder(zipped=True)
    Server.content = {f"{file}.gz": (folder / f"{file}.gz").read_bytes() for file in FILES}
    Server.asked = []
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    httpd.daemon_threads = True
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setattr(download, "TIMEOUT", 0.4)
    yield f"http://127.0.0.1:{httpd.server_port}"
    httpd.shutdown()
    httpd.server_close()


@pytest.fixture
def mirrors(server: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make the set's mirrors those modes of the server: ``mirrors("stalls", "good")``."""

    def use(*modes: str, hashed: str = "unpacked") -> None:
        sums = {}
        for file in FILES:
            raw = Server.content[f"{file}.gz"]
            sums[file] = hashlib.sha256(gzip.decompress(raw) if hashed == "unpacked" else raw).hexdigest()
        source = replace(
            SOURCES["mnist"],
            mirrors=tuple(f"{server}/{mode}/" for mode in modes),
            sha256=sums,
            hashed=hashed,  # type: ignore[arg-type]
        )
        monkeypatch.setitem(mnist.SOURCES, "mnist", source)

    return use


def cached() -> list[str]:
    return sorted(path.name for path in (cache_folder() / "mnist").iterdir())


def test_a_download_lands_in_the_cache_and_is_not_repeated(mirrors: Callable[..., None]) -> None:
    mirrors("good")
    assert load("mnist").train.x.shape == (50, 28, 28)
    assert cached() == sorted(f"{file}.gz" for file in FILES)
    assert len(Server.asked) == 4
    load("mnist")
    assert len(Server.asked) == 4


@pytest.mark.parametrize("mode", ["missing", "stalls", "breaks", "lies", "garbles"])
@pytest.mark.parametrize("hashed", ["unpacked", "gzipped"])
def test_the_next_mirror_helps(mirrors: Callable[..., None], mode: str, hashed: str) -> None:
    mirrors(mode, "good", hashed=hashed)
    assert load("mnist").train.x.shape == (50, 28, 28)
    assert Server.asked[:2] == [f"{mode}/{FILES[0]}.gz", f"good/{FILES[0]}.gz"]
    assert cached() == sorted(f"{file}.gz" for file in FILES)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("missing", "answered 404"),
        ("stalls", "no answer for 0.4 s"),
        ("breaks", "broke off"),
        ("lies", "wrong content (SHA-256 "),
        ("garbles", "is a broken gzip file"),
    ],
)
def test_no_mirror_helps_and_nothing_is_left(mirrors: Callable[..., None], mode: str, reason: str) -> None:
    mirrors(mode)
    with pytest.raises(DownloadError) as error:
        load("mnist")
    message = str(error.value)
    assert message.startswith(f"mnist is not on this machine: cannot download {FILES[0]}.gz (127.0.0.1:")
    assert reason in message
    assert f"into {cache_folder() / 'mnist'}, or name their folder with --data-dir or $UNROLL_DATA" in message
    assert "\n" not in message
    assert cached() == []


def test_no_network_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    monkeypatch.setitem(mnist.SOURCES, "mnist", replace(SOURCES["mnist"], mirrors=(address, address)))
    with pytest.raises(DownloadError, match="cannot connect.*; put train-images-idx3-ubyte.gz, .* into "):
        load("mnist")


def test_a_broken_off_download_goes_on_where_it_was(mirrors: Callable[..., None]) -> None:
    mirrors("good")
    load("mnist")
    (cache_folder() / "mnist" / f"{FILES[2]}.gz").unlink()
    Server.asked.clear()
    load("mnist")
    assert Server.asked == [f"good/{FILES[2]}.gz"]


def test_a_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot write to the cache folder .*: Not a directory"):
        load("mnist")
