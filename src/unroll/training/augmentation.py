"""Training data changed a little, anew in each epoch.

Images are moved and turned: what a drawing shows does not depend on either. Sequences are cut off, so that a model
learns to answer before they are over.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..data.sequences import SequenceData

CHUNK = 1_000  # images at once: as float32 with their grid they stay in the processor's cache


def augmented(data: SequenceData, shift: float, rotation: float, generator: torch.Generator) -> SequenceData:
    """Return images of which each is moved and turned by a random amount of its own.

    Args:
        data: images, uint8, read in any order.
        shift: each is moved by up to so many pixels in both directions, by fractions of a pixel too.
        rotation: each is turned about its middle by up to so many degrees to either side.
        generator: of the random amounts, on the CPU.

    Returns:
        the same number of sequences; pixels that come from outside repeat the nearest one of the border.
    """
    form = data.preparation.image
    assert form is not None
    x = torch.empty_like(data.x)
    for at in range(0, len(data), CHUNK):
        images = form.images(data.x[at : at + CHUNK])
        amounts = torch.rand(3, len(images), generator=generator).mul_(2).sub_(1).to(images.device)
        changed = moved_and_turned(images, shift * amounts[0], shift * amounts[1], math.radians(rotation) * amounts[2])
        x[at : at + CHUNK] = form.sequences(changed)
    return replace(data, x=x)


def cut_off(data: SequenceData, share: float, generator: torch.Generator) -> SequenceData:
    """Return sequences of which some end early, each after a random number of its time steps.

    Args:
        data: an empty sequence stays so.
        share: each ends early with this probability.
        generator: of the random amounts, on the CPU.

    Returns:
        the same ``x``, with other lengths: at least 1, at most what they were.
    """
    lengths = data.steps_of_each
    chosen, amount = torch.rand(2, len(data), generator=generator).to(lengths.device)
    ends = (amount * lengths).long() + lengths.clamp(max=1)
    return replace(data, lengths=torch.where(chosen < share, torch.minimum(ends, lengths), lengths))


def moved_and_turned(images: Tensor, right: Tensor, down: Tensor, turn: Tensor) -> Tensor:
    """Return images moved and then turned about their middle, interpolated linearly between pixels.

    Args:
        images: (N, height, width) uint8.
        right: (N,) float32, in pixels.
        down: (N,) float32, in pixels.
        turn: (N,) float32, in radians, clockwise.
    """
    n, height, width = images.shape
    cos, sin = turn.cos(), turn.sin()
    # Where each pixel comes from, in grid_sample's coordinates: -1 to 1 over the width, and over the height.
    across = torch.stack([cos, sin * (height / width), -2 / width * right], dim=1)
    along = torch.stack([-sin * (width / height), cos, -2 / height * down], dim=1)
    grid = affine_grid(torch.stack([across, along], dim=1), [n, 1, height, width], align_corners=False)
    values = grid_sample(images[:, None].float(), grid, padding_mode="border", align_corners=False)
    return values[:, 0].round_().to(torch.uint8)
