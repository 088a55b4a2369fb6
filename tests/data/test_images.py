"""Foreign images become what the model was trained on, whatever their size, colour and polarity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import unroll
from unroll import DataError
from unroll.data.formats.image_file import INK, prepare_image
from unroll.data.preparation import Framing, ImageFormat
from unroll.evaluation.predict_files import predict_files

MNIST = Framing(border=0.0, box=20, centre="mass")
DARK = ImageFormat(28, 28, "rows", MNIST)
BRIGHT = replace(DARK, framing=replace(MNIST, border=255.0))


@pytest.fixture
def stroke(tmp_path: Path) -> Callable[..., Path]:
    """Draw a thick L on paper: ``stroke("red", "white", size=(200, 100))``."""

    def draw(ink: object, paper: object, size: tuple[int, int] = (200, 100), mode: str = "RGB") -> Path:
        image = Image.new(mode, size, paper)  # type: ignore[arg-type]
        image.paste(ink, (100, 20, 110, 60))  # type: ignore[arg-type]
        image.paste(ink, (100, 50, 130, 60))  # type: ignore[arg-type]
        path = tmp_path / "stroke.png"
        image.save(path)
        return path

    return draw


def test_own_size_is_taken_as_it_is(sample: unroll.Splits, tmp_path: Path) -> None:
    pixels = sample.test.x[0]
    Image.fromarray(pixels.numpy()).save(tmp_path / "digit.png")
    prepared = prepare_image(tmp_path / "digit.png", DARK)
    assert torch.equal(prepared.pixels, pixels)
    assert prepared.steps == ("taken as it is",)
    Image.fromarray(255 - pixels.numpy()).save(tmp_path / "negative.png")
    prepared = prepare_image(tmp_path / "negative.png", DARK)
    assert torch.equal(prepared.pixels, pixels)
    assert prepared.steps == ("turned into its negative",)


def test_enlarged_digits_come_back_nearly_as_they_were(sample: unroll.Splits, tmp_path: Path) -> None:
    for pixels in sample.test.x[:30]:
        Image.fromarray(pixels.numpy()).resize((280, 280), Image.Resampling.BICUBIC).save(tmp_path / "big.png")
        prepared = prepare_image(tmp_path / "big.png", DARK)
        assert prepared.steps == ("recognised as 28×28 enlarged to 280×280",)
        assert (prepared.pixels.float() - pixels.float()).abs().mean() < 2


@pytest.mark.slow
def test_the_framing_is_mnist_s_own(sample: unroll.Splits, tmp_path: Path) -> None:
    """Enlarged on paper of another shape a digit is framed anew: no pixel moves, only faint greys are lost."""
    same = 0
    for pixels in sample.test.x[:50]:
        paper = Image.new("L", (400, 300))
        paper.paste(Image.fromarray(pixels.numpy()).resize((280, 280), Image.Resampling.NEAREST), (20, 10))
        paper.save(tmp_path / "paper.png")
        prepared = prepare_image(tmp_path / "paper.png", DARK)
        assert "recognised" not in prepared.steps[0]
        same += bool((prepared.pixels.int() - pixels.int()).abs().max() <= INK * 255 + 1)
    assert same >= 45


def test_colours_of_one_brightness_in_a_square(stroke: Callable[..., Path]) -> None:
    expected = prepare_image(stroke("black", "white", size=(200, 200)), DARK)
    assert torch.equal(prepare_image(stroke((0, 76, 0), (129, 0, 0), size=(200, 200)), DARK).pixels, expected.pixels)


@pytest.mark.parametrize("width", [2, 8, 20, 30])
@pytest.mark.parametrize("smooth", [False, True])
def test_a_drawing_is_not_taken_for_an_enlargement(tmp_path: Path, width: int, smooth: bool) -> None:
    scale = 4 if smooth else 1
    image = Image.new("L", (280 * scale, 280 * scale), 255)
    points = [(60, 40), (200, 60), (90, 140), (210, 190), (60, 240)]
    ImageDraw.Draw(image).line([(x * scale, y * scale) for x, y in points], fill=0, width=width * scale)
    image.resize((280, 280), Image.Resampling.LANCZOS).save(tmp_path / "drawing.png")
    prepared = prepare_image(tmp_path / "drawing.png", DARK)
    assert prepared.steps[:1] == ("turned into its negative",)
    assert prepared.steps[1].startswith("cropped from 280×280")


@pytest.mark.parametrize(
    ("ink", "paper", "mode"),
    [
        ("black", "white", "RGB"),
        ("white", "black", "RGB"),
        ("red", "white", "RGB"),
        ((0, 76, 0), (255, 0, 0), "RGB"),  # nearly the same brightness
        (40, 180, "L"),
        (60_000, 1_000, "I;16"),
        (200, 4, "I;16"),  # of which 16 bits are hardly used
        ((0, 0, 0, 255), (0, 0, 0, 0), "RGBA"),
        ((255, 255, 255, 255), (255, 255, 255, 0), "RGBA"),
        (1, 0, "1"),
    ],
)
def test_any_colour_and_polarity(stroke: Callable[..., Path], ink: object, paper: object, mode: str) -> None:
    expected = prepare_image(stroke("black", "white"), DARK)
    path = stroke(ink, paper, mode=mode)
    prepared = prepare_image(path, DARK)
    assert torch.equal(prepared.pixels, expected.pixels)
    assert torch.equal(prepare_image(path, BRIGHT).pixels, 255 - expected.pixels)


@pytest.mark.parametrize(("suffix", "options"), [("tif", {}), ("gif", {"duration": 50}), ("png", {}), ("webp", {})])
def test_of_several_images_in_a_file_none_is_left_out_in_silence(
    tmp_path: Path, suffix: str, options: dict[str, Any]
) -> None:
    pages = [Image.new("RGB", (9, 9), (80 * n, 0, 0)) for n in range(3)]
    path = tmp_path / f"pages.{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:], **options)
    with pytest.raises(DataError, match=rf"pages.{suffix} holds 3 images: expected one; save each"):
        prepare_image(path, replace(DARK, framing=None))


def test_a_photograph_with_a_preview_is_one_image(tmp_path: Path) -> None:
    photo, preview = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "blue")
    photo.save(tmp_path / "photo.jpg", format="MPO", save_all=True, append_images=[preview])
    expected = Image.new("RGB", (16, 16), "red").convert("L").getpixel((0, 0))
    seen = prepare_image(tmp_path / "photo.jpg", replace(DARK, framing=None)).pixels
    assert int(seen[0, 0]) == pytest.approx(expected, abs=2)


def test_what_was_done_is_said(stroke: Callable[..., Path]) -> None:
    assert prepare_image(stroke("black", "white"), DARK).steps == (
        "turned into its negative",
        "cropped from 200×100 to its ink 30×40",
        "scaled to 15×20",
        "centred by its mass",
    )
    assert prepare_image(stroke("white", "black"), replace(DARK, framing=Framing(0.0, 28, "box"))).steps == (
        "cropped from 200×100 to its ink 30×40",
        "scaled to 21×28",
        "centred",
    )


def test_the_ink_is_framed_as_mnist_s(stroke: Callable[..., Path]) -> None:
    pixels = prepare_image(stroke("black", "white"), DARK).pixels.double()
    ys, xs = torch.nonzero(pixels, as_tuple=True)
    assert (int(ys.max() - ys.min() + 1), int(xs.max() - xs.min() + 1)) == (20, 15)
    rows = torch.arange(28.0, dtype=torch.float64)
    for axis in (0, 1):
        assert float(pixels.sum(dim=1 - axis) @ rows / pixels.sum()) == pytest.approx(14, abs=0.5)
    assert pixels.max() == 255


def test_exif_orientation_is_obeyed(stroke: Callable[..., Path], tmp_path: Path) -> None:
    upright = Image.open(stroke("black", "white"))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 270°
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    expected = prepare_image(tmp_path / "stroke.png", DARK).pixels
    assert torch.equal(prepare_image(tmp_path / "turned.png", DARK).pixels, expected)


def test_tiny_and_thin_images(tmp_path: Path) -> None:
    for size in ((1, 1), (2, 3), (500, 1), (3, 400)):
        pixels = np.zeros(size[::-1], np.uint8)
        pixels[-1, -1] = 255
        Image.fromarray(pixels).save(tmp_path / "thin.png")
        if size == (1, 1):
            with pytest.raises(DataError, match="shows nothing"):
                prepare_image(tmp_path / "thin.png", DARK)
        else:
            assert prepare_image(tmp_path / "thin.png", DARK).pixels.max() == 255


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist"),
        (b"", "is not a readable image"),
        (b"hello", "is not a readable image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "is not a readable image"),
    ],
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "file.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path} {message}") as error:
        prepare_image(path, DARK)
    assert "\n" not in str(error.value)


def test_a_truncated_image_and_a_folder(stroke: Callable[..., Path], tmp_path: Path) -> None:
    path = stroke("black", "white")
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(DataError, match="stroke.png is not a readable image"):
        prepare_image(path, DARK)
    with pytest.raises(DataError, match="is a folder: expected a file"):
        prepare_image(tmp_path, DARK)


def test_large_images_are_reduced_first(tmp_path: Path) -> None:
    image = Image.new("L", (4000, 3000), 255)
    image.paste(0, (2000, 500, 2200, 2000))
    image.save(tmp_path / "photo.png")
    prepared = prepare_image(tmp_path / "photo.png", DARK)
    assert prepared.steps[:3] == (
        "reduced from 4000×3000",
        "turned into its negative",
        "cropped from 1000×750 to its ink 50×375",
    )
    assert prepared.pixels.max() == 255


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    values = np.zeros((40, 40), np.float32)
    values[10:20, 10:12], values[0, 0] = 3.5, np.nan
    Image.fromarray(values).save(tmp_path / "float.tiff")
    assert prepare_image(tmp_path / "float.tiff", DARK).pixels.max() == 255


def test_blank_and_huge_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (50, 50), 77).save(tmp_path / "blank.png")
    with pytest.raises(DataError, match="blank.png shows nothing: all its pixels have about the same colour"):
        prepare_image(tmp_path / "blank.png", DARK)
    Image.new("L", (28, 28), 77).save(tmp_path / "own.png")
    with pytest.raises(DataError, match="own.png shows nothing"):
        prepare_image(tmp_path / "own.png", DARK)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    with pytest.raises(DataError, match="blank.png is too large: at most 2,000 pixels are read"):
        prepare_image(tmp_path / "blank.png", DARK)


def test_the_same_class_as_png_enlarged_negative_and_jpeg(
    run: unroll.Run, sample: unroll.Splits, tmp_path: Path
) -> None:
    variants: dict[str, list[Path]] = {"png": [], "enlarged": [], "negative": [], "jpeg": []}
    for i, pixels in enumerate(sample.test.x[::20]):
        image = Image.fromarray(pixels.numpy())
        for variant, changed, ending in (
            ("png", image, "png"),
            ("enlarged", image.resize((280, 280)), "png"),
            ("negative", Image.fromarray(255 - pixels.numpy()), "png"),
            ("jpeg", image, "jpg"),
        ):
            path = tmp_path / f"{variant}-{i}.{ending}"
            changed.save(path)
            variants[variant].append(path)
    labels = {
        variant: [p.label for p in predict_files(run.model, run.preparation, paths)]
        for variant, paths in variants.items()
    }
    assert len(labels["png"]) == 50
    assert labels["enlarged"] == labels["png"]
    assert labels["negative"] == labels["png"]
    # JPEG changes pixels: of 1,000 digits 994 kept their class, and which ones turns on the last bits of the weights.
    assert sum(a == b for a, b in zip(labels["jpeg"], labels["png"], strict=True)) >= 48
    truth = [run.preparation.classes[y] for y in sample.test.y[::20].tolist()]
    assert sum(a == b for a, b in zip(labels["png"], truth, strict=True)) >= 45


def test_probabilities_of_a_file_are_the_model_s(run: unroll.Run, sample: unroll.Splits, tmp_path: Path) -> None:
    Image.fromarray(sample.test.x[7].numpy()).save(tmp_path / "seven.png")
    (found,) = predict_files(run.model, run.preparation, [tmp_path / "seven.png"])
    with torch.no_grad():
        x = (sample.test.x[7:8].float() - run.preparation.scaling.mean) / run.preparation.scaling.std
        expected = run.model(x).softmax(dim=1)[0]
    assert found.probability == pytest.approx(float(expected.max()), rel=1e-5)
    assert [label for label, _ in found.top] == [str(i) for i in expected.topk(3).indices.tolist()]


def test_one_bad_file_does_not_hold_up_the_others(run: unroll.Run, sample: unroll.Splits, tmp_path: Path) -> None:
    Image.fromarray(sample.test.x[0].numpy()).save(tmp_path / "good.png")
    bad, good = predict_files(run.model, run.preparation, [tmp_path / "no.png", tmp_path / "good.png"])
    missing = str(tmp_path / "no.png")
    assert bad.to_dict(()) == {"file": missing, "id": missing, "error": f"{missing} does not exist"}
    assert good.label is not None
    of_series = replace(run.preparation, image=None)
    (bad,) = predict_files(run.model, of_series, [tmp_path / "good.png"])
    assert bad.error == (
        f"{tmp_path / 'good.png'} is not a file of series: expected .ts, .csv, .tsv, .arff, .txt, .parquet, .arrow, "
        ".feather or .npz"
    )
