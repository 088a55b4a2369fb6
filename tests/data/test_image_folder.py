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
from torch import Tensor

import unroll
from unroll import ConfigError, DataError, load
from unroll.data.describe import describe_data
from unroll.data.formats import image_folder
from unroll.data.formats.download import cache_folder
from unroll.data.formats.image_file import ReadImage, prepare_image
from unroll.evaluation.predict_files import predict_files
from unroll.runs.data import load_test
from unroll.runs.storage import load_run

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


def everything(splits: unroll.Splits) -> Tensor:
    return torch.cat([splits.train.x, splits.test.x])


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
    assert len(everything(first)) == 30


@pytest.mark.parametrize("read", ["rows", "columns", "pixels", "permuted"])
def test_every_reading_can_be_turned_back(folder: Folder, read: str) -> None:
    root = str(folder({"a": 5, "b": 5}))
    plain, splits = load(root), load(root, read=read)  # type: ignore[arg-type]
    assert splits.train.preparation.image is not None
    assert torch.equal(splits.train.preparation.image.images(splits.train.x), plain.train.x)


@pytest.mark.parametrize("resize", [5, "5", "3x5"])
def test_resize(folder: Folder, resize: int | str) -> None:
    root = folder({"a": 5, "b": 5})
    folder({"c": 5}, size=(30, 20))
    form = load(str(root), resize=resize).train.preparation.image
    assert form is not None
    assert (form.width, form.height) == ((3, 5) if resize == "3x5" else (5, 5))


@pytest.mark.parametrize(
    ("suffix", "size"),
    [
        *((".jpg", (40, 30)), (".jpg", (8, 8)), (".JPEG", (8, 8)), (".bmp", (40, 30))),
        *((".webp", (8, 8)), (".gif", (40, 30)), (".tif", (8, 8))),
    ],
)
def test_a_model_sees_of_a_file_what_it_was_trained_on(folder: Folder, suffix: str, size: tuple[int, int]) -> None:
    """Prediction prepares a file as the folder was read: byte for byte, colours, transparency and size included."""
    root = folder({"a": 5, "b": 5}, size=(400, 300), suffix=suffix)
    colours = np.random.default_rng(1).integers(0, 256, (300, 400, 4), dtype=np.uint8)
    Image.fromarray(colours).save(root / "a" / "image9.png")
    Image.fromarray(colours).convert("RGB").rotate(90, expand=True).save(root / "b" / "tall.jpg")
    splits = load(str(root), resize="x".join(map(str, size)))
    form = splits.train.preparation.image
    assert form is not None
    known = {image.numpy().tobytes() for image in everything(splits)}
    files = list(root.glob("*/*"))
    assert len(files) == 12
    for file in files:
        prepared = prepare_image(file, form)
        assert prepared.pixels.numpy().tobytes() in known
        with Image.open(file) as image:
            channels = np.asarray(image.convert("RGB"))
        grey = () if np.ptp(channels, axis=2).any() else ("grey, repeated in three channels",)
        assert prepared.steps == (f"resized to {size[0]}×{size[1]}", *grey)


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
    real = image_folder.read_image

    def noted(path: Path, channels: int, size: tuple[int, int] | None) -> ReadImage:
        read.append(path)
        return real(path, channels, size)

    monkeypatch.setattr(image_folder, "read_image", noted)
    return read


def test_files_are_read_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    root = folder({"a": 5, "b": 5})
    read = reads(monkeypatch)
    first = load(str(root))
    assert len(read) == 10
    again = load(str(root), read="columns", split_seed=3)
    assert len(read) == 10
    assert first.train.counts == again.train.counts
    load(str(root), resize=3)
    assert len(read) == 20
    load(str(root), resize=3)
    load(str(root))
    assert len(read) == 20


@pytest.mark.parametrize("change", ["touch", "grow", "same size", "new", "gone", "rename", "class", "swap"])
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
    elif change == "same size":
        before = file.stat()
        file.write_bytes(bytes(reversed(file.read_bytes()[8:])))
        (root / "b" / "image0.png").replace(file)  # all of one size, and now of one time
        shutil.copy2(file, root / "b" / "image0.png")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif change == "swap":
        (root / "a").rename(root / "c")
        (root / "b").rename(root / "a")
        (root / "c").rename(root / "b")
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
    assert len(read) == len(everything(splits)) == {"new": 11, "gone": 9}.get(change, 10)


@pytest.mark.slow
def test_a_broken_or_forbidden_cache_costs_time_only(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    first = load(str(root))
    (cached,) = (cache_folder() / "folders").iterdir()
    sound, random = cached.read_bytes(), np.random.default_rng(0)
    broken = [b"", b"PK\x03\x04", sound[:300]]
    for _ in range(100):
        flipped = bytearray(sound)
        flipped[int(random.integers(len(sound)))] ^= 255
        broken.append(bytes(flipped))
    for content in broken:
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
    tables = tmp_path / "tables"
    tables.mkdir()
    for name in ("a.xlsx", "b.xlsx"):
        (tables / name).touch()
    assert complaint(tables).startswith(
        f"{tables} holds neither class folders nor files that are read, but a.xlsx, b.x"
    )
    assert f"pandas.read_excel({str(tables / 'a.xlsx')!r}).to_csv(" in complaint(tables)
    root = folder({"a": 5, "b": 5, "c": 0})
    assert complaint(root) == (
        f"{root / 'c'} holds no image (.png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp, .pgm): "
        "add some, or remove the folder"
    )


def test_one_class(folder: Folder) -> None:
    root = folder({"cat": 5})
    assert complaint(root) == f"{root} holds one class only to train on, cat: expected 2 or more"


def test_unreadable_images_are_named_together(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    broken = root / "a" / "image2.png"
    broken.write_bytes(broken.read_bytes()[:40])
    assert complaint(root).startswith(f"{broken} is not a readable image (")
    (root / "b" / "image0.png").write_text("no image")
    assert complaint(root).endswith(f" (and 1 more in {root} cannot be read); mend or remove what is broken")


def test_different_sizes(folder: Folder) -> None:
    root = folder({"a": 5})
    folder({"b": 4}, size=(9, 5))
    assert complaint(root) == (
        f"images must have one size: {root / 'a' / 'image0.png'} is 6×4, {root / 'b' / 'image0.png'} 9×5; "
        "make them so, to 28×28 say, with --resize 28 (in Python resize=28)"
    )
    folder({"c": 1}, size=(2, 2))
    assert "9×5 (there are 3 sizes); make" in complaint(root)


def test_parts_that_do_not_fit(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5}, under="train")
    assert complaint(root).startswith(f"{root} has train/ but no test/ with class folders: expected both, or class")
    folder({"a": 5, "c": 5}, under="test")
    assert complaint(root) == f"{root / 'test'} has the class c, but the training part only a, b"
    (root / "test" / "c").rename(root / "test" / "b")
    assert complaint(root, test_fraction=0.5).endswith(f"with {root}: it has a test part of its own")
    shutil.rmtree(root / "test")
    folder({"a": 5, "b": 5}, size=(5, 5), under="test")
    assert complaint(root).startswith(f"images must have one size: {root / 'train'} is 6×4, {root / 'test'} 5×5; ")


def test_a_folder_in_a_class_folder(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5, "b/more": 3})
    assert complaint(root).startswith(f"{root / 'b' / 'more'} is a folder: expected images only; ")


def test_each_class_of_two_is_trained_on_and_tested(folder: Folder) -> None:
    root = folder({"a": 2, "b": 2, "c": 1})
    for fraction in (0.01, 0.2, 0.8, 0.99):
        splits = load(root, test_fraction=fraction)
        assert splits.train.counts == {"a": 1, "b": 1, "c": 1}
        assert splits.test.counts == {"a": 1, "b": 1, "c": 0}
        assert splits.drawn


def test_names_that_cannot_be_shown(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    for name in (b"caf\xe9", b"two\nlines"):
        (root / "b").rename(os.fsdecode(os.fsencode(root) + b"/" + name))
        assert complaint(root).endswith("cannot be the name of a class: rename it in plain letters")
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).rename(root / "b")
    (root / "a" / "image0.png").rename(os.fsdecode(os.fsencode(root / "a") + b"/\xe9.png"))  # of files any name will do
    assert len(load(str(root)).train) == 8


def test_links_to_nowhere(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    (root / "a" / "link.png").symlink_to("nowhere.png")
    assert complaint(root) == f"cannot read {root / 'a' / 'link.png'}: No such file or directory; mend or remove it"


def test_brightness_does_not_depend_on_the_other_pixels(folder: Folder) -> None:
    """Else the paper behind a transparent icon, or the range of a 16-bit image, would tell its class."""
    root = folder({"dark": 5, "bright": 5, "wide": 5}, size=(4, 4))
    for label, grey in (("dark", 120), ("bright", 136)):
        for file in (root / label).iterdir():
            icon = np.zeros((4, 4, 4), np.uint8)
            icon[1:3, 1:3] = (grey, grey, grey, 255)
            Image.fromarray(icon).save(file)
    for n, file in enumerate((root / "wide").iterdir()):
        Image.fromarray(np.full((4, 4), 257 * 10 * n, np.uint16)).save(file)
    data = load(str(root), test_fraction=0.2).train
    for label in ("dark", "bright"):
        assert (data.x[data.y == data.preparation.classes.index(label)][:, 0, 0] == 255).all()
    wide = data.x[data.y == data.preparation.classes.index("wide")]
    assert {int(image.float().mean()) % 10 for image in wide} == {0}
    Image.fromarray(np.full((4, 4), 0.5, np.float32)).save(root / "wide" / "float.tif")
    assert "has no known range of brightness (F); save it with 8 or 16 bits a pixel" in complaint(root)


@pytest.mark.parametrize(
    ("brightest", "dtype", "suffix", "remedy"),
    [
        (255, np.uint16, ".png", "the values as they are"),
        (3, np.uint16, ".png", "each value * 255 // 3"),  # of a mask
        (4000, np.uint16, ".png", "each value * 255 // 4095"),
        (200, np.int32, ".tif", "the values as they are"),
    ],
)
def test_wide_images_of_narrow_values_are_not_read_as_black(
    folder: Folder, brightest: int, dtype: type, suffix: str, remedy: str
) -> None:
    root = folder({"a": 3, "b": 3}, size=(4, 4))
    for number, file in enumerate(sorted(root.glob("b/*"))):
        file.unlink()
        Image.fromarray(np.full((4, 4), brightest - number, dtype)).save(file.with_suffix(suffix))
    assert complaint(root).endswith(
        f"image0{suffix} has more than 8 bits a pixel, but no image of its kind has a value above {brightest:,} of "
        f"65,535: they would be read as nearly black; save them with 8 bits a pixel, {remedy}"
    )
    assert complaint(root).endswith(remedy)  # kept in the cache folder, too


@pytest.mark.parametrize("part", ["test", "val"])
def test_another_part_than_that_to_train_on_may_be_dim(folder: Folder, part: str) -> None:
    for under, grey in {"train": 60_000, "test": 60_000, part: 255}.items():
        root = folder({"a": 3, "b": 3}, under=under)
        for file in (root / under).rglob("*.png"):
            Image.fromarray(np.full((4, 6), grey, np.uint16)).save(file)
    assert load(root).train.x.min() > 200
    assert load(root / "train", val_data=str(root / part)).val is not None
    assert "a value above 255" in complaint(root / part)


@pytest.mark.parametrize("resize", [None, "3"])
def test_dim_images_are_no_error_of_a_run(folder: Folder, tmp_path: Path, resize: str | None) -> None:
    run = unroll.train_run(str(folder({"a": 5, "b": 5})), out=tmp_path / "run", epochs=1, hidden_size=2, resize=resize)
    dim = folder({"a": 5, "b": 5}, name="dim")
    for file in dim.rglob("*.png"):
        Image.fromarray(np.full((4, 6), 255, np.uint16)).save(file)
    assert len(load_test(run, str(dim)).sequences) == 10


def test_what_is_left_out_is_said(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    for name in ("1.heic", "2.heic", "3.heic", "4.heic"):
        (root / "a" / name).write_text("x")
    assert describe_data(load(str(root))).findings == (
        "left out, as neither image nor class folder: 1.heic, 2.heic, 3.heic, … (4 in all)",
    )
    parts = folder({"a": 5, "b": 5}, under="Train", name="parts")
    folder({"a": 1}, under="Test", name="parts")
    folder({"a": 1}, under="more", name="parts")
    splits = load(str(parts))
    assert splits.test.counts == {"a": 1, "b": 0}
    assert "left out, as neither image nor class folder: more (1 in all)" in describe_data(splits).findings


@pytest.mark.parametrize("name", ["val", "Validation", "dev"])
def test_a_folder_for_validation_is_that_part(folder: Folder, name: str) -> None:
    root = folder({"a": 5, "b": 5}, under="train")
    folder({"a": 2, "b": 3}, under=name)
    splits = load(str(root))
    assert splits.val is not None
    assert splits.val.counts == {"a": 2, "b": 3}
    assert splits.drawn
    folder({"a": 1, "b": 1}, under="test")
    splits = load(str(root))
    assert (len(splits.train), len(splits.test), splits.val and len(splits.val)) == (10, 2, 5)
    (root / "valid").mkdir()
    shutil.copytree(root / "train" / "a", root / "valid" / "a")
    assert complaint(root).startswith(f"{root} has 2 validation parts (")


def test_a_test_folder_without_class_folders_is_not_used(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5}, under="train")
    shutil.copytree(root / "train" / "a", root / "test")
    splits = load(str(root))
    assert splits.drawn
    assert len(splits.train) + len(splits.test) == 10
    assert splits.train.notes == ("test/ has no class folders: it is not used",)


def test_settings_out_of_range(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    assert complaint(root, resize="0") == "resize must be a size in pixels, 28 or 40x28 (width x height), got '0'"
    assert "28 or 40x28 (width x height), got '28×28'" in complaint(root, resize="28×28")
    assert complaint(root, test_fraction=1.0) == "test_fraction must be at least 0 and below 1, got 1.0"
    assert complaint(root, split_seed=-1) == "split_seed must be from 0 to 4294967295, got -1"
    assert complaint("mnist-sample", resize=14) == "resize 14 cannot be used with mnist-sample: its images are 28×28"
    assert complaint("mnist-sample", split_seed=1).endswith("with mnist-sample: it has its own test part")


def test_missing_folder(folder: Folder) -> None:
    root = folder({"a": 5, "b": 5})
    assert complaint(f"{root}s/").startswith(f"{root}s/ does not exist; data must be one of mnist-sample, ")
    assert complaint("~nobodyatall/x").startswith("~nobodyatall/x cannot be found: ")
    assert complaint("").endswith("got an empty name")
    assert complaint("x" * 300).endswith("cannot be read: File name too long")
    assert complaint("pests").endswith(
        "or the path of a FOLDER/, FILE.npz, FILE.ts, FILE.csv, FILE.tsv, FILE.arff, FILE.txt, FILE.parquet, "
        "FILE.arrow, FILE.feather, FILE.json, FILE.jsonl, FILE.ndjson or FILE.train; "
        "got 'pests'"
    )
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


@pytest.fixture
def learnable(folder: Folder) -> Path:
    """40 images of two classes, a dark and b bright."""
    root = folder({"a": 20, "b": 20}, size=(8, 8))
    for file in (root / "a").iterdir():
        with Image.open(file) as image:
            dark = np.asarray(image) // 4
        Image.fromarray(dark).save(file)
    return root


QUICK = {"hidden_size": 4, "epochs": 2}


def test_a_run_on_a_folder(learnable: Path) -> None:
    os.chdir(learnable.parent)
    Path("elsewhere").mkdir()
    run = unroll.train_run("pets", test_fraction=0.25, split_seed=5, out="run", hidden_size=8, epochs=30)
    assert run.evaluation is not None
    os.chdir("elsewhere")  # the path of the data is not lost
    loaded = load_run(learnable.parent / "run")
    found = load_test(loaded)
    assert (found.name, found.part, len(found.sequences), found.trained_on) == (str(learnable), "test", 10, 0)
    assert unroll.evaluate(loaded.model, found.sequences).accuracy == run.evaluation["accuracy"]
    assert load_test(loaded, "../pets").part == "test"


def test_a_run_is_not_judged_by_what_it_was_trained_on(learnable: Path, folder: Folder, tmp_path: Path) -> None:
    run = unroll.train_run(str(learnable), test_fraction=0.25, split_seed=5, out="run", **QUICK)
    own = load_test(run).sequences

    copy = tmp_path / "copy"  # the same images elsewhere: those that were not trained on
    shutil.copytree(learnable, copy)
    found = load_test(run, str(copy))
    assert (found.part, found.trained_on) == ("test", 0)
    assert torch.equal(found.sequences.x, own.x)

    shutil.copy2(copy / "a" / "image0.png", copy / "a" / "image99.png")  # one more: what was drawn is lost, and said
    found = load_test(run, str(copy))
    trained = {x.numpy().tobytes() for x in load(str(learnable), test_fraction=0.25, split_seed=5).train.x}
    assert found.part == "all"
    known = (found.trained_on or 0) + (found.validated_on or 0)
    assert known == sum(x.numpy().tobytes() in trained for x in found.sequences.x) >= 30

    other = folder({"b": 3, "a": 2}, size=(16, 16), name="others")  # others, larger: all, resized as the run's are
    found = load_test(run, str(other))
    assert (found.part, len(found.sequences), found.trained_on) == ("all", 5, 0)
    assert found.sequences.x.shape[1:] == (8, 8)
    assert found.sequences.preparation == run.preparation
    assert load_test(run, str(folder({"b": 3}, name="one"))).sequences.counts == {"a": 0, "b": 3}
    with pytest.raises(DataError, match="the run knows the classes a, b; the data has b, c"):
        load_test(run, str(folder({"b": 3, "c": 2}, name="wrong")))


@pytest.mark.parametrize("change", ["gone", "sorted into parts"])
def test_own_data_that_has_changed_is_refused(learnable: Path, change: str) -> None:
    run = unroll.train_run(str(learnable), out="run", **QUICK)
    if change == "gone":
        (learnable / "a" / "image0.png").unlink()
    else:
        for label in ("a", "b"):
            for part in ("train", "test"):
                (learnable / part / label).mkdir(parents=True)
            for n, file in enumerate(sorted((learnable / label).iterdir())):
                file.rename(learnable / ("test" if n % 2 else "train") / label / file.name)
            (learnable / label).rmdir()
    with pytest.raises(DataError, match="changed after .* was trained, so its test set is unknown"):
        load_test(run)


def test_a_model_saved_by_hand_is_not_judged_by_what_it_was_trained_on(learnable: Path) -> None:
    splits = load(str(learnable))
    model = unroll.SequenceClassifier(8, 2, hidden_size=4)
    unroll.save(model, "by-hand", data=splits.train)
    found = load_test(load_run("by-hand"), str(learnable))
    assert found.part == "test"
    assert torch.equal(found.sequences.x, splits.test.x)


def test_data_that_moved(learnable: Path, tmp_path: Path) -> None:
    run = unroll.train_run(str(learnable), out="run", **QUICK)
    (tmp_path / "new").mkdir()
    moved = tmp_path / "new" / "pets"
    shutil.copytree(learnable, moved)
    (learnable / "a" / "image0.png").unlink()  # the old place is no longer what it was
    for place in (tmp_path / "new", moved):
        assert load_test(run, data_dir=place).part == "test"


def test_an_explicit_path_is_not_hijacked(folder: Folder, tmp_path: Path) -> None:
    here = folder({"a": 5, "b": 5}, name="x/pets")
    folder({"c": 5, "d": 5}, name="dd/pets")
    os.chdir(tmp_path)
    assert load("x/pets", data_dir="dd").classes == ("a", "b")
    assert load("pets", data_dir="dd").classes == ("c", "d")
    assert load(str(here)).classes == ("a", "b")


def test_a_folder_is_prepared_for_a_run_as_its_predictions_are(run: unroll.Run, sample: unroll.Splits) -> None:
    """Negatives and enlargements of digits, for a model of digits: the same answers from evaluate and predict."""
    root, files, digits = Path("digits"), [], range(0, 1000, 25)
    for n in digits:
        place = root / sample.classes[int(sample.test.y[n])]
        place.mkdir(parents=True, exist_ok=True)
        files.append(place / f"{n}.png")
        image = Image.fromarray(255 - sample.test.x[n].numpy())
        image.resize((112, 112)).save(files[-1])
    found = load_test(run, "digits")
    answers = [
        file.parent.name == said.label
        for file, said in zip(files, predict_files(run.model, run.preparation, files), strict=True)
    ]
    assert unroll.evaluate(run.model, found.sequences).correct == sum(answers) > 0.8 * len(digits)
