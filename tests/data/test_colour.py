"""Images in colour: three features a pixel where there is any colour, else grey; and each in the other's run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import unroll
from unroll import DataError, load
from unroll.data.catalog import load_as
from unroll.data.formats.image_file import prepare_image
from unroll.data.preparation import Framing, ImageFormat, in_channels
from unroll.data.unusual import measure
from unroll.errors import ConfigError, UnrollWarning
from unroll.evaluation.predict_files import FilePrediction, predict_files
from unroll.training.augmentation import moved_and_turned

Draw = Callable[[str, tuple[int, int, int]], Path]
RED, GREEN = (200, 40, 40), (40, 121, 40)  # of one brightness: 88
READS = ("rows", "columns", "pixels", "permuted")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write ten images of 5×4 pixels of each class, of its colour with grey noise: ``write(red=RED, green=GREEN)``."""

    def of(under: str = "", mode: str = "RGB", **classes: tuple[int, int, int]) -> Path:
        random = np.random.default_rng(0)
        for name, colour in classes.items():
            folder = tmp_path / "set" / under / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(10):
                pixels = np.array(colour) + random.integers(-20, 20, (4, 5, 1))
                Image.fromarray(pixels.astype(np.uint8)).convert(mode).save(folder / f"{number}.png")
        return tmp_path / "set"

    return of


def image_of(splits: unroll.Splits) -> ImageFormat:
    image = splits.train.preparation.image
    assert image is not None
    return image


def equal_brightness(n: int = 20) -> tuple[np.ndarray, np.ndarray]:
    """Return images (n, 4, 5, 3), red or green, and their classes."""
    y = np.arange(n) % 2
    noise = np.random.default_rng(0).integers(-20, 20, (n, 4, 5, 1))
    return (np.array([RED, GREEN])[y][:, None, None] + noise).astype(np.uint8), y


@pytest.mark.parametrize("read", READS)
def test_each_pixel_is_red_green_and_blue_beside_each_other(read: Any) -> None:
    images = torch.arange(2 * 4 * 5 * 3).view(2, 4, 5, 3).to(torch.uint8)
    form = ImageFormat(4, 5, read, channels=3)
    sequences = form.sequences(images)
    assert sequences.shape == (2, {"rows": 4, "columns": 5}.get(read, 20), form.features)
    order = np.random.RandomState(92916).permutation(20).tolist()
    for row in range(4):
        for column in range(5):
            pixel = 5 * row + column
            step, place = {
                "rows": (row, column), "columns": (column, row), "pixels": (pixel, 0),
                "permuted": (order.index(pixel), 0),
            }[read]  # fmt: skip
            assert torch.equal(sequences[:, step, 3 * place : 3 * place + 3], images[:, row, column])
    assert torch.equal(form.images(sequences), images)


@pytest.mark.parametrize(("difference", "channels"), [(0, 1), (8, 1), (9, 3)])
def test_colour_begins_above_8_of_255(write: Callable[..., Path], difference: int, channels: int) -> None:
    root = write(a=(100, 100, 100), b=(150, 150, 150 + difference))
    splits = load(root)
    assert image_of(splits).channels == channels
    assert splits.train.x.shape == (16, 4, 5 * channels)
    assert splits.reading is not None
    if channels == 1:
        assert splits.understood == "grey, 1 feature a pixel (no two channels differ by more than 8 of 255)"
        assert splits.reading.colour == "grey"
    else:
        assert splits.understood == (
            "colour, 3 features a pixel (two channels of b/0.png differ by 9 of 255; "
            "--colour grey reads brightness alone)"
        )
        assert splits.reading.colour == "keep"


@pytest.mark.parametrize("mode", ["L", "RGB", "P", "RGBA", "CMYK"])
def test_grey_sets_are_read_as_ever(write: Callable[..., Path], tmp_path: Path, mode: str) -> None:
    root = write(a=(100, 100, 100), b=(150, 150, 150))
    for file in root.glob("*/*.png"):
        with Image.open(file) as image:
            image.convert("L").convert(mode).save(file.with_suffix(".tif"))
        file.unlink()
    expected = []
    for file in sorted(root.glob("*/*.tif")):
        with Image.open(file) as image:
            expected.append(np.asarray(image.convert("RGB").convert("L")))
    splits = load(root)
    assert image_of(splits) == ImageFormat(4, 5, "rows")
    read = {image.numpy().tobytes() for image in torch.cat([splits.train.x, splits.test.x])}
    assert read == {image.tobytes() for image in expected}


def test_colours_are_those_of_the_file_in_any_size(write: Callable[..., Path]) -> None:
    root = write(red=RED, green=GREEN)
    splits = load(root, resize=8)
    with Image.open(root / "red" / "3.png") as image:
        expected = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
    assert any(np.array_equal(image, expected) for image in torch.cat([splits.train.images(), splits.test.images()]))
    prepared = prepare_image(root / "red" / "3.png", image_of(splits))
    assert np.array_equal(prepared.pixels, expected)
    assert prepared.steps == ("resized to 8×8",)


def test_the_setting_decides_against_the_images(write: Callable[..., Path]) -> None:
    root = write(red=RED, green=GREEN)
    grey = load(root, colour="grey")
    assert (image_of(grey).channels, grey.understood) == (1, "grey, 1 feature a pixel (--colour grey)")
    assert grey.train.x.shape == (16, 4, 5)
    kept = load(write(under="../plain", a=(9, 9, 9), b=(90, 90, 90)).parent / "plain", colour="keep")
    assert (image_of(kept).channels, kept.understood) == (3, "colour, 3 features a pixel (--colour keep)")
    assert kept.train.notes == ("20 of 20 images are grey: their brightness is repeated in three channels",)
    with pytest.raises(ConfigError, match="colour must be"):
        load(root, colour="gray")  # type: ignore[arg-type]


def test_a_colour_in_any_part_makes_all_parts_coloured(write: Callable[..., Path]) -> None:
    write(under="train", red=(88, 88, 88), green=(60, 60, 60))
    root = write(under="test", red=RED, green=GREEN)
    splits = load(root)
    assert splits.train.x.shape == (20, 4, 15)
    assert "two channels of green/0.png differ by 81 of 255" in splits.understood
    images = splits.train.images()
    assert torch.equal(images, images[..., :1].expand_as(images))
    assert splits.train.notes == ("20 of 40 images are grey: their brightness is repeated in three channels",)


def test_images_of_one_kind_fit_a_run_of_the_other(write: Callable[..., Path]) -> None:
    colour = load(write(red=RED, green=GREEN))
    grey = load(write(), colour="grey")
    converted = colour.train.prepared_as(grey.train.preparation)
    assert torch.equal(converted.x, grey.train.x)
    repeated = grey.train.prepared_as(colour.train.preparation)
    assert torch.equal(repeated.images(), in_channels(grey.train.images(), 3))
    assert torch.equal(in_channels(repeated.images(), 1), grey.train.images())
    read = load_as(str(write()), grey.train.preparation).train
    assert torch.equal(read.x, torch.from_numpy(np.stack([read.images()[n] for n in range(20)])))
    assert read.x.shape == (20, 4, 5)


def test_brightness_is_pillows() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    expected = [np.asarray(Image.fromarray(image).convert("L")) for image in pixels]
    assert np.array_equal(in_channels(torch.from_numpy(pixels), 1), np.stack(expected))


# Arrays


def test_arrays_of_images_are_read_as_such(tmp_path: Path) -> None:
    x, y = equal_brightness()
    np.savez(tmp_path / "set.npz", x=x, y=y)
    splits = load(tmp_path / "set.npz", read="columns")
    assert image_of(splits) == ImageFormat(4, 5, "columns", channels=3)
    assert splits.train.x.shape == (16, 5, 12)
    assert np.array_equal(splits.train.images()[0], x[0])
    assert "two channels of " in splits.understood
    assert "set.npz: x[0] differ by 160" in splits.understood
    grey = load(tmp_path / "set.npz", colour="grey", resize=3)
    assert grey.train.x.shape == (16, 3, 3)
    np.savez(tmp_path / "grey.npz", x=x[..., :1], y=y)
    assert np.array_equal(load(tmp_path / "grey.npz").train.x[0], x[0, :, :, 0])


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((4, 5, 6, 3)), "x must hold images (N, height, width, 3) as uint8 from 0 to 255, got float64"),
        (np.zeros((4, 3, 5, 6), np.uint8), "got shape (4, 3, 5, 6); save them with x.transpose(0, 2, 3, 1)"),
        (np.zeros((4, 5, 6, 4), np.uint8), "got shape (4, 5, 6, 4); save them as x[..., :3] without alpha, say"),
        (np.zeros((4, 0, 6, 3), np.uint8), "at least 1 of 1 pixel, got shape (4, 0, 6, 3)"),
        (np.zeros((3, 5, 6, 3), np.uint8), "x holds 3 images for 4 labels: expected one of each"),
    ],
)
def test_arrays_that_are_no_images_are_refused(tmp_path: Path, x: np.ndarray, message: str) -> None:
    np.savez(tmp_path / "set.npz", x=x, y=np.arange(4) % 2)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "set.npz")
    assert message in str(caught.value)


def test_series_have_no_colour(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=np.zeros((4, 5, 6), np.uint8), y=np.arange(4) % 2)
    with pytest.raises(ConfigError, match="colour grey cannot be used with .*it holds no images"):
        load(tmp_path / "set.npz", colour="grey")
    with pytest.raises(ConfigError, match="its images are grey"):
        load("mnist-sample", colour="keep")


def predicted(tmp_path: Path, x: np.ndarray) -> list[FilePrediction]:
    """Classify images of an .npz file by a model of images of 5×4 pixels, red and green."""
    pixels, y = equal_brightness()
    np.savez(tmp_path / "own.npz", x=pixels, y=y)
    data = load(tmp_path / "own.npz").train
    preparation = replace(data.preparation, usual=measure(data))
    torch.manual_seed(0)
    np.savez(tmp_path / "more.npz", x=x)
    return predict_files(
        unroll.SequenceClassifier(data.input_size, 2, hidden_size=2), preparation, [tmp_path / "more.npz"]
    )


def test_images_of_an_array_are_said_to_be_unlike_those_of_the_training(tmp_path: Path) -> None:
    assert {one.unusual for one in predicted(tmp_path, equal_brightness()[0][:2])} == {""}
    (one,) = predicted(tmp_path, np.zeros((1, 4, 5, 3), np.uint8))
    assert one.unusual == "unlike the training data: the image is blank: check the file"


def test_what_was_done_to_images_of_an_array_is_said_of_each(tmp_path: Path) -> None:
    own = equal_brightness()[0][:2]
    assert [one.steps for one in predicted(tmp_path, own)] == [("taken as it is",)] * 2
    own[1] = own[1, :, :, :1]
    grey = "grey, repeated in three channels"
    assert [one.steps[1:] for one in predicted(tmp_path, own)] == [(), (grey,)]
    (small,) = predicted(tmp_path, own[1:, :3, :3, :1])
    assert small.steps == ("resized to 5×4", grey)


@pytest.mark.parametrize("channels", [0, 2, 4, "3"])
def test_other_channels_are_refused(channels: Any) -> None:
    with pytest.raises(ConfigError, match="channels must be 1 or 3"):
        ImageFormat(4, 5, "rows", channels=channels).check()
    with pytest.raises(ConfigError, match="only the first with a framing"):
        ImageFormat(4, 5, "rows", Framing(0.0, 3, "box"), channels=3).check()


# Runs


def test_a_run_tells_colours_of_one_brightness_apart(write: Callable[..., Path], tmp_path: Path) -> None:
    root = write(red=RED, green=GREEN)
    run = unroll.train_run(str(root), hidden_size=8, epochs=20, lr=0.02, out=tmp_path / "run")
    assert run.evaluation is not None
    assert run.evaluation["accuracy"] == 1.0
    loaded = unroll.load_run(tmp_path / "run")
    assert loaded.config.plan is not None
    assert loaded.config.plan.reading.colour == "keep"
    assert loaded.preparation.image == ImageFormat(4, 5, "rows", channels=3)
    files = [root / "red" / "0.png", root / "green" / "0.png"]
    x, y = equal_brightness()
    assert _labels(loaded, files) == ["red", "green"]
    np.savez(tmp_path / "others.npz", x=x)
    array = predict_files(loaded.model, loaded.preparation, [tmp_path / "others.npz"])
    assert [one.label for one in array] == [("red", "green")[label] for label in y]
    assert (array[1].place, array[1].row) == ("image 1", 1)
    assert array[1].to_dict(loaded.preparation.classes)["row"] == 1
    assert loaded.predict(x).argmax(dim=1).tolist() == [1 - label for label in y]
    Image.new("L", (5, 4), 88).save(tmp_path / "grey.png")
    (grey,) = predict_files(loaded.model, loaded.preparation, [tmp_path / "grey.png"])
    assert grey.steps == ("taken as it is", "grey, repeated in three channels")
    noise = x[:1, :, :, 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnrollWarning)  # of an image unlike those of the training
        assert torch.equal(loaded.predict(noise), loaded.predict(noise[..., None].repeat(3, axis=3)))
    with pytest.raises(DataError, match=r"images \(N, 4, 5, 3\) of whole numbers from 0 to 255, got uint8"):
        loaded.predict(x[:, :3])


def _labels(run: unroll.Run, files: list[Path]) -> list[str | None]:
    return [one.label for one in predict_files(run.model, run.preparation, files)]


def test_augmentation_moves_all_channels_alike() -> None:
    images = torch.randint(0, 256, (6, 9, 7, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    amounts: list[Tensor] = [torch.linspace(-3, 3, 6), torch.linspace(2, -2, 6), torch.linspace(-1, 1, 6)]
    moved = moved_and_turned(images, *amounts)
    assert not torch.equal(moved, images)
    for channel in range(3):
        assert torch.equal(moved[..., channel], moved_and_turned(images[..., channel], *amounts))
