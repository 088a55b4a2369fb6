"""Images in a NumPy array (N, height, width, 3), as those of an .npz file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...config import DataConfig
from ...errors import DataError
from ..preparation import ImageFormat, in_channels
from .colour import Colours, colours_of
from .image_file import resized


class ReadArrays(NamedTuple):
    """Arrays of images as a model reads them.

    Attributes:
        sequences: of each array (N, time, features) uint8
        form: of all images
        colours: of all images
    """

    sequences: list[Tensor]
    form: ImageFormat
    colours: Colours


def read_arrays(arrays: Mapping[str, np.ndarray], config: DataConfig, form: ImageFormat | None = None) -> ReadArrays:
    """Return arrays of images, in colour if one of them has any, as sequences.

    Args:
        arrays: by name, (N, height, width, 3) or (N, height, width, 1) uint8.
        config: order of the pixels, size, and whether colours are kept.
        form: of a run that is to read them; then nothing of ``config`` is used (default None).

    Raises:
        DataError: an array holds no images, or images of another size; says which.
    """
    pixels = {name: _checked(name, x) for name, x in arrays.items()}
    colours = functools.reduce(Colours.joined, (colours_of(name, images) for name, images in pixels.items()))
    channels = form.channels if form else config.channels or colours.channels
    size = (form.width, form.height) if form and form.framing is None else config.size
    images = [_resized(in_channels(torch.from_numpy(x), channels), size) for x in pixels.values()]
    height, width = images[0].shape[1:3]
    for name, part in zip(pixels, images, strict=True):
        if part.shape[1:3] != (height, width):
            sizes = f"{width}×{height}, got {part.shape[2]}×{part.shape[1]}"
            raise DataError(f"{name} must hold images of {sizes}; make them so with --resize (in Python resize=28)")
    if form is None or form.framing is not None:  # which says nothing about other sizes
        form = ImageFormat(height, width, form.read if form else config.read, channels=channels)
    return ReadArrays([form.sequences(part) for part in images], form, colours)


def _checked(name: str, x: np.ndarray) -> np.ndarray:
    """Return (N, height, width, 3), or without the last axis where that is 1."""
    expected = f"{name} must hold images (N, height, width, 3) as uint8 from 0 to 255"
    if x.ndim != 4 or x.dtype != np.uint8:
        raise DataError(f"{expected}, got {x.dtype} of shape {x.shape}; series have three axes (N, time, features)")
    if x.shape[3] not in (1, 3):
        hint = "with x.transpose(0, 2, 3, 1)" if x.shape[1] in (1, 3) else "as x[..., :3] without alpha, say"
        raise DataError(f"{expected}, got shape {x.shape}; save them {hint}")
    if 0 in x.shape:
        raise DataError(f"{expected}, at least 1 of 1 pixel, got shape {x.shape}")
    return x[..., 0] if x.shape[3] == 1 else x


def _resized(images: Tensor, size: tuple[int, int] | None) -> Tensor:
    if size is None or images.shape[1:3] == size[::-1]:
        return images
    of_size = (resized(Image.fromarray(image.numpy()), size) for image in images)
    return torch.from_numpy(np.stack([np.asarray(image) for image in of_size]))
