"""Sets of the UCR and UEA archive by name: where they are looked for, and what comes from a server."""

from __future__ import annotations

import http.server
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from unroll import DataError, load
from unroll.data.catalog import resolve
from unroll.data.formats import ucr_archive as archive
from unroll.data.formats.download import cache_folder
from unroll.errors import DownloadError

TRAIN = "@classLabel true a b\n@data\n1,2:a\n3,4:b\n"
TEST = "@classLabel true a b\n@data\n5,6:a\n"


def put(folder: Path, name: str = "Gun", parts: tuple[str, ...] = ("TRAIN", "TEST"), first: str = "1") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts:
        content = TRAIN.replace("1,2", f"{first},2") if part == "TRAIN" else TEST
        (folder / f"{name}_{part}.ts").write_text(content)


def zipped(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in names:
            file.writestr(name, TRAIN if "TRAIN" in name else TEST)
    return buffer.getvalue()


class Server(http.server.BaseHTTPRequestHandler):
    """Serves what ``content`` has, and counts how often it is asked."""

    content: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        Server.asked.append(self.path)
        body = Server.content.get(self.path)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Server]]:
    Server.content.clear()
    Server.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as listening:
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setattr(archive, "ADDRESS", f"http://127.0.0.1:{listening.server_port}/{{}}.zip")
        yield Server
        listening.shutdown()


def test_places_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(cache_folder() / "ucr" / "Gun", first="10")
    assert load("ucr:Gun").train.x[0, 0, 0] == 10
    put(tmp_path / "shared" / "any-name", first="20")
    monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "shared"))
    assert load("ucr:Gun").train.x[0, 0, 0] == 20
    put(tmp_path / "mine", first="30")
    splits = load("ucr:Gun", data_dir=tmp_path / "mine")
    assert splits.train.x[0, 0, 0] == 30
    assert (splits.name, splits.drawn, len(splits.test)) == ("Gun", False, 1)
    assert resolve("ucr:Gun") == "ucr:Gun"


@pytest.mark.parametrize("prefix", ["", "Gun/"])
def test_a_set_is_fetched_once(server: type[Server], prefix: str) -> None:
    server.content["/Gun.zip"] = zipped([f"{prefix}Gun_TRAIN.ts", f"{prefix}Gun_TEST.ts", "Gun.txt"])
    for _ in range(2):
        assert load("ucr:Gun").train.x.flatten().tolist() == [1, 2, 3, 4]
    assert server.asked == ["/Gun.zip"]
    assert sorted(path.name for path in (cache_folder() / "ucr").rglob("*")) == ["Gun", "Gun_TEST.ts", "Gun_TRAIN.ts"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "answered 404"),
        (b"<html>", "the archive has no set of this name, or sends it in another form"),
        (zipped(["Gun_TRAIN.ts"]), "the archive has no set of this name, or sends it in another form"),
    ],
    ids=["404", "page", "half"],
)
def test_what_the_archive_does_not_have(server: type[Server], content: bytes | None, reason: str) -> None:
    if content is not None:
        server.content["/Gun.zip"] = content
    with pytest.raises(DownloadError) as error:
        load("ucr:Gun")
    assert str(error.value).startswith("ucr:Gun is not on this machine and cannot be downloaded from http://127.0.0.1")
    assert f"({reason}); put Gun_TRAIN.ts and Gun_TEST.ts into {cache_folder() / 'ucr' / 'Gun'}, or" in str(error.value)
    assert not list((cache_folder() / "ucr").iterdir())


def test_half_a_set(tmp_path: Path) -> None:
    put(tmp_path / "half", parts=("TEST",))
    message = f"{tmp_path / 'half' / 'Gun_TRAIN.ts'} is missing, though the other part of the set is there"
    with pytest.raises(DataError, match=re.escape(message)):
        load("ucr:Gun", data_dir=tmp_path / "half")


@pytest.mark.parametrize("name", ["ucr:", "ucr:../x", "ucr:a b", "ucr:Gün"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(DataError, match="cannot be a set of the archive: expected a name like ucr:GunPoint"):
        load(name)
