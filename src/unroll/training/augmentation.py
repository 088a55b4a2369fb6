"""Augment training data, differently in each epoch.

Images are shifted and rotated, as neither changes what a drawing shows; series are stretched, and get noise and drift.
Sequences are cut off, so that a model learns to answer early.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from ..data.ragged import owners, places
from ..data.sequences import SequenceData

CHUNK = 1_000  # images at once, so that as float32 with their grid they stay in the processor's cache
POINTS = 6  # evenly spaced in a series, between which its drift is straight


def augmented(data: SequenceData, shift: float, rotation: float, generator: torch.Generator) -> SequenceData:
    """Shift and rotate each image by its own random amount.

    Args:
        data: images, uint8, read in any order.
        shift: largest shift in each direction, in pixels; fractions of a pixel occur too.
        rotation: largest rotation about the centre to either side, in degrees.
        generator: draws the random amounts, on the CPU.

    Returns:
        the same number of sequences; pixels from outside the image repeat the nearest border pixel.
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


def varied(data: SequenceData, noise: float, gain: float, drift: float, generator: torch.Generator) -> SequenceData:
    """Stretch each series about its mean by a random factor, and add noise and drift to its values.

    A feature that is constant in a series stays so.

    Args:
        data: series.
        noise: deviation of the noise, relative to that of the feature in its series.
        gain: largest change of the factor, which is the same for all features of a series, from 1.
        drift: deviation, relative to that of the feature in its series, of the points that drift goes through.
        generator: draws the random amounts, on the CPU.

    Returns:
        the same number of sequences, as long as before; what tells of missing values stays as it is.
    """
    lengths, steps = data.steps_of_each, data.flat(data.x)
    features = data.values.shape[-1]
    values, number = steps[:, :features], owners(lengths)
    mean, deviation = data.moments
    factor = 1 + gain * (2 * torch.rand(len(data), 1, generator=generator) - 1).to(steps.device)
    random = torch.randn(values.shape, generator=generator).to(steps.device)
    added = noise * random
    if drift:
        points = torch.randn(len(data), POINTS, features, generator=generator).to(steps.device)
        added += drift * _between(points, lengths)
    changed = values + (factor - 1)[number] * (values - mean[number]) + deviation[number] * added
    x = torch.cat([changed, steps[:, features:]], dim=1)
    return replace(data, x=x, starts=lengths.cumsum(0) - lengths, lengths=lengths, missing=None, times=None)


def _between(points: Tensor, lengths: Tensor) -> Tensor:
    """Return lines through ``points`` (N, POINTS, features) at the steps of sequences, (steps of all, features)."""
    number = owners(lengths)
    step = places(torch.zeros_like(lengths), lengths)
    place = step * ((POINTS - 1) / (lengths - 1).clamp(min=1))[number]
    before = place.long().clamp(max=POINTS - 2)
    return torch.lerp(points[number, before], points[number, before + 1], (place - before).unsqueeze(1))


def cut_off(data: SequenceData, share: float, generator: torch.Generator) -> SequenceData:
    """Cut some sequences off, each after a random number of its time steps.

    Args:
        data: empty sequences stay empty.
        share: probability that a sequence is cut off.
        generator: draws the random amounts, on the CPU.

    Returns:
        the same ``x``, with new lengths: at least 1, at most the old ones.
    """
    lengths = data.steps_of_each
    chosen, amount = torch.rand(2, len(data), generator=generator).to(lengths.device)
    ends = (amount * lengths).long() + lengths.clamp(max=1)
    return replace(data, lengths=torch.where(chosen < share, torch.minimum(ends, lengths), lengths))


def moved_and_turned(images: Tensor, right: Tensor, down: Tensor, turn: Tensor) -> Tensor:
    """Shift images, then rotate them about their centre, with linear interpolation.

    Args:
        images: (N, height, width) or (N, height, width, 3) uint8.
        right: (N,) float32, in pixels.
        down: (N,) float32, in pixels.
        turn: (N,) float32, in radians, clockwise.
    """
    n, height, width = images.shape[:3]
    cos, sin = turn.cos(), turn.sin()
    # Where each pixel comes from, in grid_sample's coordinates: -1 to 1 over the width, and over the height.
    across = torch.stack([cos, sin * (height / width), -2 / width * right], dim=1)
    along = torch.stack([-sin * (width / height), cos, -2 / height * down], dim=1)
    grid = affine_grid(torch.stack([across, along], dim=1), [n, 1, height, width], align_corners=False)
    channels = images[:, None] if images.dim() == 3 else images.movedim(3, 1)
    values = grid_sample(channels.float(), grid, padding_mode="border", align_corners=False).round_().to(torch.uint8)
    return values[:, 0] if images.dim() == 3 else values.movedim(1, 3)
