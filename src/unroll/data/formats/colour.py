"""Whether a set of images is read in colour, three features a pixel, or in grey."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops

from ...config import ColourName

COLOURFUL = 8  # of 255: where channels differ by more, an image has colour; less is the noise of JPEG


class Colours(NamedTuple):
    """What colour a set of images has.

    Attributes:
        difference: the largest between two channels of one pixel of `example`, of 255
        example: name of the first image with a difference above `COLOURFUL`; empty where there is none
        grey: images whose channels are all the same
    """

    difference: int = 0
    example: str = ""
    grey: int = 0

    def joined(self, more: Colours) -> Colours:
        """Return what colour two parts of a set have."""
        first = self if self.example else more
        return Colours(first.difference, first.example, self.grey + more.grey)

    @property
    def channels(self) -> int:
        """Numbers of each pixel that are read where nothing else is asked for: 3 or 1."""
        return 3 if self.example else 1

    def understood(self, setting: ColourName | None) -> str:
        """Say how the images are read, and why."""
        if setting is not None:
            return {"keep": "colour, 3 features", "grey": "grey, 1 feature"}[setting] + f" a pixel (--colour {setting})"
        if self.example:
            why = f"two channels of {self.example} differ by {self.difference} of 255"
            return f"colour, 3 features a pixel ({why}; --colour grey reads brightness alone)"
        return f"grey, 1 feature a pixel (no two channels differ by more than {COLOURFUL} of 255)"

    def notes(self, images: int, channels: int) -> tuple[str, ...]:
        """Say that some images are read in colour though they have none.

        Args:
            images: how many there are.
            channels: numbers of each pixel that are read.
        """
        if channels == 1 or not self.grey:
            return ()
        return (f"{self.grey:,} of {images:,} images are grey: their brightness is repeated in three channels",)


def difference_in(image: Image.Image) -> int:
    """Return the largest difference, of 255, between two channels of one pixel of an RGB image."""
    red, green, blue = image.split()
    pairs = ((red, green), (green, blue), (blue, red))
    extremes = [ImageChops.difference(*pair).getextrema() for pair in pairs]
    return max(int(highest) for _, highest in extremes)  # type: ignore[arg-type]


def colours_of(name: str, images: np.ndarray) -> Colours:
    """Return what colour images (N, height, width) or (N, height, width, 3) uint8 have; ``name`` is the array's."""
    if images.ndim == 3:
        return Colours(grey=len(images))
    colours = Colours()
    for number, image in enumerate(images):
        difference = int(np.ptp(image, axis=2).max())
        example = f"{name}[{number}]" if difference > COLOURFUL else ""
        colours = colours.joined(Colours(difference, example, int(difference == 0)))
    return colours
