"""A foreign image file made into what a model was trained on, the way MNIST's digits were made."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from ...errors import DataError
from ...formatting import shown
from ..files import check_regular
from ..preparation import Framing, ImageFormat
from .colour import difference_in

LARGE = 1_000  # pixels; longer images are first reduced to 1 to 2 times as much: the model sees a few dozen anyway
FAINT = 16  # of 255: with less contrast than this, an image is not a drawing
GREY = "grey, repeated in three channels"
BLANK = "shows nothing: all its pixels have about the same colour"
ENLARGED = 0.05  # of the mean contrast: so well must an image be the enlargement of a small one to count as one
NEAREST = Image.Resampling.NEAREST
DIM = 8192  # of 65,535: images of 16 bits without a brighter pixel have less than 32 of 256 levels of grey, if any
INK = 0.1  # of the strongest contrast to the background: what is weaker is noise of a camera or of JPEG


class Upload(NamedTuple):
    """An image file that somebody sent, who may mean no good.

    Attributes:
        name: as it was sent; what messages call it
        content: its bytes
        formats: of Pillow's, that are read
        pixels: at most; looked at before the image is unpacked
    """

    name: str
    content: bytes
    formats: tuple[str, ...]
    pixels: int

    def __str__(self) -> str:
        return self.name


class PreparedImage(NamedTuple):
    """An image that a model can read.

    Attributes:
        pixels: (height, width) or in colour (height, width, 3) uint8, as in the training images
        steps: what was done to the file, in words
    """

    pixels: Tensor
    steps: tuple[str, ...]


def prepare_image(path: Path | Upload, form: ImageFormat) -> PreparedImage:
    """Read an image file of any size and colour.

    Without ``form.framing`` it is resized as a whole, by `read_image`. With it, any polarity is accepted: an image of
    the model's own size is taken as it is, also if somebody enlarged it bicubically; any other is cropped to its ink,
    area-averaged into a square of ``box`` pixels and centred, as MNIST was made; either is turned into its negative if
    its border is closer to the opposite of the training images' border.

    Args:
        path: a file that Pillow reads, or the content of one.
        form: the images of the run.

    Raises:
        DataError: no such file, no image, too large, or blank; the message names the file.
    """
    if form.framing is None:
        read = read_image(path, form.channels, (form.width, form.height))
        words = in_words(form, read.resized, not read.difference)
        return PreparedImage(torch.from_numpy(read.pixels.copy()), words)
    framing = form.framing
    image = _plain(_stored(path), path, alone=True).convert("RGB")
    steps: list[str] = []
    factor = max(image.size) // LARGE
    if factor > 1:
        steps.append(f"reduced from {image.width}×{image.height}")
        image = image.reduce(factor)
    own = _own_size(image, form, steps)
    if own is not None:
        if np.ptp(own) < FAINT:
            raise DataError(f"{path} {BLANK}")
        if abs(float(np.median(_border(own))) - framing.border) > 127.5:
            own = 255 - own
            steps.append("turned into its negative")
        return PreparedImage(_pixels(own), tuple(steps) or ("taken as it is",))
    ink = _ink(np.asarray(image, np.float32), framing, steps)
    if ink is None:
        raise DataError(f"{path} {BLANK}")
    grey = _frame(ink, form, framing, steps)
    return PreparedImage(_pixels(grey if framing.border < 127.5 else 255 - grey), tuple(steps))


def resized(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return an image of 8 bits a channel in another size, bicubically: first its width, then its height.

    Pillow 13 begins with the height of some shapes, which gives other pixels, as each pass is rounded to 8 bits.
    """
    of_width = image.resize((size[0], image.height), Image.Resampling.BICUBIC)
    return of_width.resize(size, Image.Resampling.BICUBIC)


def in_words(form: ImageFormat, is_resized: bool, is_grey: bool) -> tuple[str, ...]:
    """Return what was done to an image that was read as a whole."""
    size = f"resized to {form.width}×{form.height}" if is_resized else "taken as it is"
    return (size, GREY) if form.channels == 3 and is_grey else (size,)


class ReadImage(NamedTuple):
    """An image file as folders are read.

    Attributes:
        pixels: (height, width) uint8 brightness, or (height, width, 3) uint8 red, green and blue
        resized: whether it had another size
        difference: the largest between two channels of one pixel of the file, of 255
        brightest: of a file of 16 bits a pixel its largest value, of 65,535; None of any other
    """

    pixels: np.ndarray
    resized: bool
    difference: int
    brightest: int | None


def read_image(path: Path | Upload, channels: int, size: tuple[int, int] | None = None) -> ReadImage:
    """Return an image file as folders are read.

    Args:
        path: a file that Pillow reads.
        channels: 1 for its brightness, 3 for its colours.
        size: (width, height) in pixels to resize the whole image to, bicubically (default None: as it is).

    Raises:
        DataError: no such file, no image, or too large; the message names the file.
    """
    stored = _stored(path, size)
    brightest = int(np.asarray(stored).max()) if stored.mode[0] == "I" else None
    source = _plain(stored, path, alone=False)
    mode = "RGB" if channels == 3 else "L"
    image = source if source.mode == mode else source.convert(mode)
    is_other = size is not None and image.size != size
    pixels = np.asarray(resized(image, size) if size and is_other else image)
    return ReadImage(pixels, is_other, 0 if source.mode == "L" else difference_in(source), brightest)


def _stored(path: Path | Upload, size: tuple[int, int] | None = None) -> Image.Image:
    """Return the file upright, of any mode.

    A JPEG is decoded no larger than needed for ``size`` (width, height), which is several times as fast.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of damaged EXIF data, say, which does not touch the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            if isinstance(path, Path):
                check_regular(path)
            with _file(path) as image:
                if size is not None:
                    image.draft(None, (4 * size[0], 4 * size[1]))
                frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a photograph with a preview
                if frames > 1:
                    raise DataError(f"{path} holds {frames:,} images: expected one; save each as a file of its own")
                ImageOps.exif_transpose(image, in_place=True)  # which reads the pixels
    except DataError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        most = path.pixels if isinstance(path, Upload) else Image.MAX_IMAGE_PIXELS
        raise DataError(f"{path} is too large: at most {most:,} pixels are read") from error
    except Exception as error:  # Pillow's decoders raise about anything on a damaged file
        why = f" ({shown(error)})"
        if isinstance(path, Upload) and isinstance(error, UnidentifiedImageError):  # "<_io.BytesIO object …>"
            why = f": expected {', '.join(path.formats[:-1])} or {path.formats[-1]}"
        raise DataError(f"{path} is not a readable image{why}") from error
    return image


def _plain(image: Image.Image, path: Path | Upload, alone: bool) -> Image.Image:
    """Return an image as RGB, or as L if it has no other mode, without transparency, 8 bits a channel.

    ``alone`` takes range and background from the image itself; in a folder, where images are compared, all have the
    same: white paper, and the range that their format has.
    """
    if image.mode[0] in "IF":  # 16 and 32 bits a pixel, which convert() would clip at 255
        values = np.nan_to_num(np.asarray(image, np.float64), posinf=0, neginf=0)
        has_own_range = alone and not (image.mode.startswith("I;16") and values.max() >= DIM)
        top = max(values.max(), 1.0) if has_own_range else 65535.0
        if not alone and (image.mode == "F" or values.min() < 0 or values.max() > top):
            raise DataError(
                f"{path} has no known range of brightness ({image.mode}); save it with 8 or 16 bits a pixel"
            )
        image = Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "black" if alone and _is_bright(image) else "white")
        image = Image.alpha_composite(paper, image)
    return image if image.mode == "L" else image.convert("RGB")


def _is_bright(image: Image.Image) -> bool:
    """Tell whether an RGBA image, its pixels counted as far as they are opaque, is brighter than medium grey."""
    drawn = np.asarray(image)
    total = weight = 0
    for rows in np.array_split(drawn, 1 + drawn.size // 2**22):  # as wide numbers, all at once would take a GiB
        red, green, blue, alpha = np.moveaxis(rows.astype(np.uint32), -1, 0)
        total += int(((red + green + blue) * alpha).sum(dtype=np.uint64))
        weight += int(alpha.sum(dtype=np.uint64))
    return total > 127.5 * 3 * weight


def _file(path: Path | Upload) -> Image.Image:
    if not isinstance(path, Upload):
        return Image.open(path)
    file = Image.open(io.BytesIO(path.content), formats=path.formats)
    if file.width * file.height > path.pixels:
        raise Image.DecompressionBombError
    return file


def _own_size(image: Image.Image, form: ImageFormat, steps: list[str]) -> np.ndarray | None:
    """Return ``image`` in grey if it has the model's own size, or is a bicubic enlargement of such an image.

    To frame an enlarged training image again blurs it and moves it by half a pixel. Of 1,000 digits enlarged ten times
    the default run has 94.6 % right so; framed again 93.9 %. Other filters are near enough to bicubic or cost less.
    """
    grey, size = image.convert("L"), (form.width, form.height)
    if image.size == size:
        return np.asarray(grey, np.float32)
    if image.width * form.height != image.height * form.width or image.width < 2 * form.width:
        return None
    # Enlarging keeps the values at the centres of the pixels; between two samples the mean of both is the centre.
    turned = grey.transpose(Image.Transpose.ROTATE_180).resize(size, NEAREST).transpose(Image.Transpose.ROTATE_180)
    small = (np.asarray(grey.resize(size, NEAREST), np.float32) + np.asarray(turned, np.float32)) / 2
    pixels = np.asarray(grey, np.float32)
    if np.ptp(pixels) < FAINT:  # blank, or drawn in colours of one brightness
        return None
    contrast = np.abs(pixels - np.median(_border(pixels))).mean()
    again = np.asarray(Image.fromarray(small).resize(image.size, Image.Resampling.BICUBIC)).clip(0, 255)
    if np.abs(again - pixels).mean() > ENLARGED * contrast:
        return None
    steps.append(f"recognised as {form.width}×{form.height} enlarged to {image.width}×{image.height}")
    return small


def _border(pixels: np.ndarray) -> np.ndarray:
    """Return the outermost pixels of (height, width, …) as (n, …)."""
    return np.concatenate([pixels[0], pixels[-1], pixels[1:-1, 0], pixels[1:-1, -1]])


def _ink(rgb: np.ndarray, framing: Framing, steps: list[str]) -> np.ndarray | None:
    """Return how far each pixel is from the background, 0 to 255, cropped to what is not noise; None without any."""
    background = np.median(_border(rgb), axis=0)
    contrast = np.abs(rgb - background).max(axis=2)
    peak = contrast.max()
    if peak < FAINT:
        return None
    contrast[contrast < INK * peak] = 0
    ys, xs = np.nonzero(contrast)
    dark = rgb[contrast > 0].mean() < background.mean()
    if dark == (framing.border < 127.5):
        steps.append("turned into its negative")
    ink: np.ndarray = contrast[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    steps.append(f"cropped from {rgb.shape[1]}×{rgb.shape[0]} to its ink {ink.shape[1]}×{ink.shape[0]}")
    return ink


def _frame(ink: np.ndarray, form: ImageFormat, framing: Framing, steps: list[str]) -> np.ndarray:
    """Scale ``ink`` into the box and centre it in (height, width); says so in ``steps``."""
    scale = framing.box / max(ink.shape)
    height, width = (max(1, round(side * scale)) for side in ink.shape)
    filter_ = Image.Resampling.BOX if scale < 1 else Image.Resampling.BICUBIC  # BOX is the mean over each pixel's area
    small = np.asarray(Image.fromarray(ink).resize((width, height), filter_)).clip(min=0)
    small = small * (255 / small.max())
    if framing.centre == "mass":
        # In MNIST the centre of mass lies on pixel 14 of 0 to 27 (measured: 13.997, 14.006 on average).
        middle_y = float(small.sum(axis=1) @ np.arange(height) / small.sum())
        middle_x = float(small.sum(axis=0) @ np.arange(width) / small.sum())
    else:
        middle_y, middle_x = height / 2, width / 2
    top = min(max(0, round(form.height / 2 - middle_y)), form.height - height)
    left = min(max(0, round(form.width / 2 - middle_x)), form.width - width)
    framed = np.zeros((form.height, form.width), np.float32)
    framed[top : top + height, left : left + width] = small
    steps.append(f"scaled to {width}×{height}")
    steps.append("centred by its mass" if framing.centre == "mass" else "centred")
    return framed


def _pixels(grey: np.ndarray) -> Tensor:
    return torch.from_numpy(grey.round().clip(0, 255).astype(np.uint8))
