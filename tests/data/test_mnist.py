"""idx files: found in the right place, read right, and refused in one clear line when they are not right."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import idx_bytes

from unroll import DataError, load
from unroll.data.formats.idx import read_idx
from unroll.data.formats.mnist import FILES, SOURCES, cache_folder


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_files_are_read_as_they_are(idx_folder: Callable[..., Path], zipped: bool) -> None:
    folder = idx_folder(train=50, test=20, zipped=zipped)
    splits = load("mnist", data_dir=folder)
    assert splits.train.x.shape == (50, 28, 28)
    expected = np.random.default_rng(0).integers(0, 256, (50, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(splits.train.x.numpy(), expected)
    assert splits.test.y.tolist() == list(range(10)) * 2
    assert splits.source == str(folder)


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "kmnist"])
def test_where_files_are_looked_for(
    name: str, idx_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [tmp_path / "given", tmp_path / "all" / name, tmp_path / "env" / name, cache_folder() / name]
    for place in places:
        idx_folder(folder=place)
    monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "env"))
    assert load(name, data_dir=places[0]).source == str(places[0])
    assert load(name, data_dir=tmp_path / "all").source == str(places[1])
    assert load(name).source == str(places[2])
    (tmp_path / "nothing").mkdir()
    assert load(name, data_dir=tmp_path / "nothing").source == str(places[2])
    monkeypatch.delenv("UNROLL_DATA")
    assert load(name).source == str(places[3])
    assert len(load(name).classes) == 10


def edit(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (IMAGES, lambda b: gzip.compress(b)[:-900], "is a broken gzip file (Compressed file ended before"),
        (IMAGES, lambda b: gzip.compress(b)[:60] + b"\0" * 99, "is a broken gzip file ("),
        (IMAGES, lambda b: b"", "expected it to start with 00000803, got nothing"),
        (IMAGES, lambda b: b"\x89PNG" + b[4:], "expected it to start with 00000803, got 89504e47"),
        (IMAGES, lambda b: b[:9], "ends within its header: expected 16 bytes, got 9"),
        (IMAGES, lambda b: b[:-1], "announces 50×28×28: expected 39216 bytes, got 39215"),
        (IMAGES, lambda b: b + b"\0", "announces 50×28×28: expected 39216 bytes, got 39217"),
        (IMAGES, lambda b: idx_bytes(np.zeros((50, 8, 8), np.uint8)), "must hold images of 28×28, got 50×8×8"),
        (IMAGES, lambda b: idx_bytes(np.zeros((0, 28, 28), np.uint8)), "must hold images of 28×28, got 0×28×28"),
        (IMAGES, lambda b: idx_bytes(np.zeros((49, 28, 28), np.uint8)), "holds 49 images, but "),
        (LABELS, lambda b: b[:-1] + b"\x0a", "must hold labels from 0 to 9, got 10"),
        (LABELS, lambda b: idx_bytes(np.zeros((5, 10), np.uint8)), "expected it to start with 00000801, got 00000802"),
    ],
)
def test_broken_files_are_named_with_what_is_wrong(
    idx_folder: Callable[..., Path], file: str, change: Callable[[bytes], bytes], message: str
) -> None:
    path = edit(idx_folder() / file, change)
    with pytest.raises(DataError) as error:
        load("mnist", data_dir=path.parent)
    assert str(error.value).startswith(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_broken_file_never_falls_through_to_the_next_place(
    idx_folder: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    idx_folder(folder=tmp_path / "env" / "mnist")
    monkeypatch.setenv("UNROLL_DATA", str(tmp_path / "env"))
    broken = idx_folder(folder=tmp_path / "given")
    (broken / LABELS).unlink()
    with pytest.raises(DataError, match=f"{broken / LABELS} is missing, with or without .gz"):
        load("mnist", data_dir=broken)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"data_dir must be a folder, got {tmp_path / 'no'}"):
        load("mnist", data_dir=tmp_path / "no")


def test_an_unreadable_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="folder is a folder: expected a file"):
        read_idx(tmp_path / "folder", ndim=3)


@pytest.mark.data
def test_the_sums_are_those_of_the_real_mnist(mnist_dir: Path) -> None:
    for file in FILES:
        content = gzip.decompress((mnist_dir / f"{file}.gz").read_bytes())
        assert hashlib.sha256(content).hexdigest() == SOURCES["mnist"].sha256[file]
