"""The cache: what it holds is listed by name, and removed unless something is being written there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import PNG

from unroll import load
from unroll.data.cache import Cached, list_cache, remove_cached
from unroll.data.formats.download import cache_folder, writing
from unroll.errors import DataError


@pytest.fixture
def cache(idx_folder: Callable[..., Path]) -> Path:
    """MNIST, a set of the archive, a folder of images, what a killed process left, and files that are none of these."""
    cache = cache_folder()
    idx_folder(zipped=True, folder=cache / "mnist")
    for part in ("TRAIN", "TEST"):
        (cache / "ucr" / "GunPoint").mkdir(parents=True, exist_ok=True)
        (cache / "ucr" / "GunPoint" / f"GunPoint_{part}.ts").write_text("@data")
    for name in ("images/a/1.png", "images/a/2.png", "images/b/3.png", "images/b/4.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(PNG)
    load("images")
    (cache / "ucr" / ".partial-x").mkdir()
    (cache / "ucr" / ".partial-x" / "Coffee.zip").write_text("half")
    (cache / "mine.txt").write_text("mine")
    (cache / "ucr" / "GunPoint" / "notes.txt").write_text("mine")
    return cache


def by_name() -> dict[str, Cached]:
    return {entry.name: entry for entry in list_cache()}


def test_it_is_listed_with_what_it_is(cache: Path) -> None:
    entries = by_name()
    images = next(name for name in entries if name.startswith("folders/"))
    assert set(entries) == {"mnist", "ucr:GunPoint", "ucr/.partial-x", images}
    assert entries[images].what == f"images of {Path('images').resolve()}"
    assert entries["mnist"].size == sum(file.stat().st_size for file in (cache / "mnist").iterdir())
    assert entries["ucr:GunPoint"].size == 10


def test_it_is_removed_but_no_other_file(cache: Path) -> None:
    entries = list_cache()
    with writing(cache / "ucr"), pytest.raises(DataError, match="another process is writing to .*ucr: wait until"):
        remove_cached(entries)
    assert list_cache() == entries
    remove_cached(entries)
    assert list_cache() == []
    left = sorted(str(file.relative_to(cache)) for file in cache.rglob("*") if file.is_file())
    assert left == [".locks/folders", ".locks/mnist", ".locks/ucr", "mine.txt", "ucr/GunPoint/notes.txt"]
    assert len(load("images").train) > 0  # and read again


def test_the_command_lists_and_removes_it(cache: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    assert "│ ucr:GunPoint " in call("runs", "--cache")[1]
    status, out, err = call("runs", "--cache", "--remove", "mnst", "--yes")
    assert (status, out, err) == (2, "", "unroll: the cache holds nothing called mnst; did you mean 'mnist'?\n")
    assert call("runs", "--cache", "--remove", "mnist")[0] == 2
    assert json.loads(call("runs", "--cache", "--remove", "mnist", "--yes", "--json")[1]) == {"removed": ["mnist"]}
    assert "mnist" not in by_name()
    assert call("runs", "--cache", "--remove", "all", "--yes")[0] == 0
    assert call("runs", "--cache")[1] == f"nothing in the cache folder {cache}\n"
