"""A folder of images becomes sequences, once; what is wrong with it is one line."""

from __future__ import annotations

import os
import shutil
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unroll
from unroll import ConfigError, DataError, load
from unroll.data import image_folder
from unroll.data.images import prepare_image

Folder = Callable[..., Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write images of random pixels: ``folder({"cat": 3, "dog": 2}, size=(6, 4), under="train")``."""

    def write(
        classes: dict[str, int],
        size: tuple[int, int] = (6, 4),
        under: str = "",
        suffix: str = ".png",
        name: str = "pets",
    ) -> Path:
        root = tmp_path / name
        random = np.random.default_rng(0)
        for label, count in classes.items():
            place = root / under / label
            place.mkdir(parents=True)
            for n in range(count):
                pixels = random.integers(0, 256, (size[1], size[0]), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"image{n}{suffix}")
        return root

    return write


def test_class_folders_are_read_in_the_order_of_their_numbers(folder: Folder) -> None:
    root = folder({"9": 5, "10": 10, "2": 5})
    splits = load(str(root))
    assert splits.classes == ("2", "9", "10")
    assert splits.drawn
    assert (splits.name, splits.source) == ("pets", str(root))
    assert splits.train.counts == {"2": 4, "9": 4, "10": 8}
    assert splits.test.counts == {"2": 1, "9": 1, "10": 2}
    assert splits.train.x.shape == (16, 4, 6)
    assert splits.train.x.dtype == torch.uint8
    values = splits.train.x.double()
    assert splits.train.preparation.scaling.mean == pytest.approx(values.mean().item())
    assert splits.train.preparation.scaling.std == pytest.approx(values.std(correction=0).item())


def test_pixels_are_the_files_own_in_the_order_of_their_names(folder: Folder) -> None:
    root = folder({"a": 12, "b": 1}, under="train")
    folder({"b": 2, "a": 1}, under="test")
    splits = load(f"{root}/")
    assert not splits.drawn
    for n in range(12):
        assert np.array_equal(splits.train.x[n], np.asarray(Image.open(root / "train" / "a" / f"image{n}.png")))
    assert splits.train.y.tolist() == [0] * 12 + [1]
    assert splits.test.y.tolist() == [0, 1, 1]


def test_the_drawn_test_part_is_stratified_and_seeded(folder: Folder) -> None:
    root = str(folder({"a": 20, "b": 10}))
    first, again = load(root), load(root)
    assert torch.equal(first.test.x, again.test.x)
    other = load(root, split_seed=1)
    assert not torch.equal(first.test.x, other.test.x)
    assert load(root, test_fraction=0.5).test.counts == {"a": 10, "b": 5}
    assert len(first.whole()) == 30


@pytest.mark.parametrize("read", ["rows", "columns", "pixels", "permuted"])
def test_every_reading_can_be_turned_back(folder: Folder, read: str) -> None:
    root = str(folder({"a": 5, "b": 5}))
    plain, splits = load(root), load(root, read)  # type: ignore[arg-type]
    assert splits.train.preparation.image is not None
    assert torch.equal(splits.train.preparation.image.images(splits.train.x), plain.train.x)


@pytest.mark.parametrize("resize", [5, "5", "3x5"])
def test_resize(folder: Folder, resize: int | str) -> None:
    root = folder({"a": 5, "b": 5})
    folder({"c": 5}, size=(30, 20))
    form = load(str(root), resize=resize).train.preparation.image
    assert form is not None
    assert (form.width, form.height) == ((3, 5) if resize == "3x5" else (5, 5))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp", ".webp", ".gif", ".tif"])
@pytest.mark.parametrize("size", [(40, 30), (8, 8)])
def test_a_model_sees_of_a_file_what_it_was_trained_on(folder: Folder, suffix: str, size: tuple[int, int]) -> None:
    """Prediction prepares a file as the folder was read: byte for byte, colours, transparency and size included."""
    root = folder({"a": 5, "b": 5}, size=(400, 300), suffix=suffix)
    colours = np.random.default_rng(1).integers(0, 256, (300, 400, 4), dtype=np.uint8)
    Image.fromarray(colours).save(root / "a" / "image9.png")
    Image.fromarray(colours).convert("RGB").rotate(90, expand=True).save(root / "b" / "tall.jpg")
    splits = load(str(root), resize="x".join(map(str, size)))
    form = splits.train.preparation.image
    assert form is not None
    known = {image.numpy().tobytes() for image in splits.whole().x}
    files = list(root.glob("*/*"))
    assert len(files) == 12
    for file in files:
        prepared = prepare_image(file, form)
        assert prepared.pixels.numpy().tobytes() in known
        assert prepared.steps == (f"resized to {size[0]}×{size[1]}",)


def test_what_systems_leave_behind_is_left_alone(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5, ".hidden": 1, "__MACOSX": 1})
    (root / "a" / "Thumbs.db").write_text("x")
    (root / "a" / "._image0.png").write_text("x")
    (root / "README.txt").write_text("x")
    assert load(str(root)).train.counts == {"a": 4, "b": 4}


def test_classes_called_train_and_test_are_classes(folder: Folder) -> None:
    assert load(str(folder({"train": 5, "test": 5, "bus": 5}))).classes == ("bus", "test", "train")


# The cache


def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the list of the files that are read from now on."""
    read: list[Path] = []
    real = image_folder.read_grey
    monkeypatch.setattr(image_folder, "read_grey", lambda path, size: read.append(path) or real(path, size))  # type: ignore[func-returns-value]
    return read


def test_files_are_read_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder({"a": 5, "b": 5})
    read = reads(monkeypatch)
    first = load(str(root))
    assert len(read) == 10
    again = load(str(root), read="columns", split_seed=3)
    assert len(read) == 10
    assert torch.equal(first.whole().y, again.whole().y)
    load(str(root), resize=3)
    assert len(read) == 20
    load(str(root), resize=3)
    load(str(root))
    assert len(read) == 20


@pytest.mark.parametrize("change", ["touch", "grow", "new", "gone", "rename", "class"])
def test_a_change_is_noticed(folder: Folder, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    root = folder({"a": 5, "b": 5})
    load(str(root))
    file = root / "a" / "image1.png"
    if change == "touch":
        Image.fromarray(np.full((4, 6), 7, np.uint8)).save(file)
        os.utime(file, ns=(time.time_ns(), time.time_ns()))
    elif change == "grow":
        before = file.stat()
        file.write_bytes(file.read_bytes() + b"more")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "new":
        shutil.copy2(file, root / "a" / "image7.png")
    elif change == "gone":
        file.unlink()
    elif change == "rename":
        file.rename(root / "a" / "image0b.png")
    else:
        (root / "b" / "image1.png").rename(root / "a" / "image8.png")
    read = reads(monkeypatch)
    splits = load(str(root))
    assert len(read) == sum(splits.whole().counts.values()) == {"new": 11, "gone": 9}.get(change, 10)


def test_a_broken_or_forbidden_cache_costs_time_only(folder: Folder, tmp_path: Path) -> None:
    root = folder({"a": 5, "b": 5})
    first = load(str(root))
    (cached,) = (tmp_path / "cache" / "unroll" / "folders").iterdir()
    for content in (b"", b"PK\x03\x04", cached.read_bytes()[:300]):
        cached.write_bytes(content)
        assert torch.equal(load(str(root)).train.x, first.train.x)
    shutil.rmtree(cached.parent)
    cached.parent.write_text("a file in its place")
    assert torch.equal(load(str(root)).train.x, first.train.x)


# What is wrong with it


def complaint(root: Path | str, **settings: object) -> str:
    with pytest.raises((DataError, ConfigError)) as error:
        load(str(root), **settings)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    return str(error.value)


def test_empty_folders(folder: Folder, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert complaint(empty).startswith(f"{empty} is empty: expected a folder per class with its images, like ")
    Image.new("L", (4, 4)).save(empty / "1.png")
    assert complaint(empty).startswith(f"{empty} holds images, but no class folders: expected a folder per class")
    root = folder({"a": 5, "b": 5, "c": 0})
    assert complaint(root) == (
        f"{root / 'c'} holds no image (.png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp, .pgm): "
        "add some, or remove the folder"
    )


def test_one_class(folder: Folder) -> None:
    root = folder({"cat": 5})
    assert complaint(root) == f"{root} holds one class only, cat: expected a folder for each of 2 or more"


def test_unreadable_images_are_named_together(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    broken = root / "a" / "image2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    assert complaint(root).startswith(f"{broken} is not a readable image (")
    (root / "b" / "image0.png").write_text("no image")
    assert complaint(root).endswith(f"; so are 1 more files in {root}; mend or remove what is broken")


def test_different_sizes(folder: Folder) -> None:
    root = folder({"a": 5})
    folder({"b": 4}, size=(9, 5))
    assert complaint(root) == (
        f"images must have one size: {root / 'a' / 'image0.png'} is 6×4, {root / 'b' / 'image0.png'} 9×5; "
        "make them so, to 28×28 say, with --resize 28 (in Python resize=28)"
    )
    folder({"c": 1}, size=(2, 2))
    assert "9×5 (and 1 more sizes); make" in complaint(root)


def test_parts_that_do_not_fit(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5}, under="train")
    assert complaint(root).startswith(f"{root} has train/ but no test/ with class folders: expected both, or class")
    folder({"a": 5, "c": 5}, under="test")
    assert complaint(root) == f"{root / 'test'} has the class c, but the training part only a, b"
    assert "has a test/ of its own" in complaint(root, test_fraction=0.5)
    shutil.rmtree(root / "test")
    folder({"a": 5, "b": 5}, size=(5, 5), under="test")
    assert complaint(root).startswith(f"images must have one size: {root / 'train'} is 6×4, {root / 'test'} 5×5; ")


def test_a_folder_in_a_class_folder(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5, "b/more": 3})
    assert complaint(root).startswith(f"{root / 'b' / 'more'} is a folder: expected images only; ")


def test_too_few_to_draw_from(folder: Folder) -> None:
    root = folder({"a": 2, "b": 2})
    assert complaint(root) == "pets: test_fraction 0.2 of 4 sequences leaves nothing to test on; change it"
    assert complaint(root, test_fraction=0.8).endswith("leaves no sequence of a to train on; change it")


def test_settings_out_of_range(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    assert complaint(root, resize="0") == "resize must be a number of pixels like 28, or two like 40x28, got '0'"
    assert "like 40x28, got '28×28'" in complaint(root, resize="28×28")
    assert complaint(root, test_fraction=1.0) == "test_fraction must be above 0 and below 1, got 1.0"
    assert complaint(root, split_seed=-1) == "split_seed must be from 0 to 4294967295, got -1"
    assert complaint("mnist-sample", resize=14) == "resize 14 cannot be used with mnist-sample: its images are 28×28"
    assert complaint("mnist-sample", split_seed=1).endswith("with mnist-sample: it has its own test part")


def test_missing_folder(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    assert complaint(f"{root}s/").startswith(f"{root}s/ does not exist; data must be one of mnist-sample, ")
    assert complaint("pests").endswith("or the path of a FOLDER/ or FILE.npz; got 'pests'")
    assert "is of no known format" in complaint(root / "a" / "image0.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_folder(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    (root / "a").chmod(0)
    try:
        assert complaint(root) == f"cannot read the folder {root / 'a'}: Permission denied"
    finally:
        (root / "a").chmod(stat.S_IRWXU)


# With the rest of the house


def test_a_run_on_a_folder(folder: Folder, tmp_path: Path) -> None:
    from unroll.saved import load_run, load_test

    root = folder({"a": 20, "b": 20}, size=(8, 8))
    for file in (root / "a").iterdir():  # make it learnable: a is dark, b bright
        Image.fromarray(np.asarray(Image.open(file)) // 4).save(file)
    os.chdir(root.parent)
    run = unroll.train_run("pets", test_fraction=0.25, split_seed=5, out="run", hidden_size=8, epochs=30)
    assert run.evaluation is not None
    os.chdir(tmp_path / "work")  # the path of the data is not lost
    loaded = load_run(run.path.resolve() if run.path.is_absolute() else root.parent / run.path)
    name, part, data = load_test(loaded)
    assert (name, part, len(data)) == (str(root), "test", 10)
    assert unroll.evaluate(loaded.model, data).accuracy == run.evaluation["accuracy"]

    # the same images elsewhere: still only those that were not trained on
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    assert load_test(loaded, str(copy))[1] == "test"
    assert torch.equal(load_test(loaded, str(copy))[2].x, data.x)

    # other images, larger ones and of one class less: all of them, resized as the run's are
    other = folder({"b": 3, "a": 2}, size=(16, 16), name="others")
    name, part, data = load_test(loaded, str(other))
    assert (part, len(data), data.x.shape[1:]) == ("all", 5, (8, 8))
    assert data.preparation == loaded.preparation
    wrong = folder({"b": 3, "c": 2}, name="wrong")
    with pytest.raises(DataError, match="the run knows the classes a, b; the data has b, c"):
        load_test(loaded, str(wrong))

    # the folder has changed: what was trained on can no longer be told
    (root / "a" / "image0.png").unlink()
    with pytest.raises(DataError, match="has changed since .* was trained: what was drawn to test on cannot be told"):
        load_test(loaded)
