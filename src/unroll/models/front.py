"""What stands before the layers: each series scaled by itself, and time steps put together to frames.

It has no parameters, and whatever reads a model goes through it, so that everything outside feeds the user's own time
steps: training, prediction, streams, saliency, the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, final

import torch
from torch import Tensor

from ..config import ScalingName
from ..scan import check_lengths
from ..scan.padding import clear_padding

# Added to the variance of a series, relative to the square of its level: a deviation below a ten-thousandth of the
# training data's, or of the level, is rounding or noise. A constant feature becomes 0.
EPSILON = 1e-8
LONGEST = 100  # time steps up to which each is read alone, as recurrent layers remember so far
FRAMES = 60  # about as many remain of a longer series

Kept = tuple[Tensor, ...]  # of a stream: (batch, steps, features) that are still needed, (batch,) int64 steps read
Count = TypeVar("Count", int, Tensor)


def choose_frame(length: float) -> tuple[int, str]:
    """Return how many time steps "auto" puts into a frame, and the reason.

    Args:
        length: median number of time steps of the training data.
    """
    if length <= LONGEST:
        return 1, f"series of about {length:g} time steps, at most {LONGEST}, are read step by step"
    frame = 2 * round(length / FRAMES)
    return frame, f"series of about {length:g} time steps become about {2 * length / frame - 1:.0f} frames"


@final
@dataclass(frozen=True)
class Front:
    """The way from time steps, scaled as in training, to what the layers read.

    Scaling "series" replaces each feature by ``(x - μ) / √(σ² + ε (1 + μ²))`` with its own mean μ and deviation σ over
    the steps of its series and ε = 1e-8, so that a constant one becomes 0; "both" puts these beside the features, as
    further ones. Then a frame is the values of ``frame`` steps one after the other, and the next frame begins ``hop``
    steps later. The last frame is the first that reaches the end; what it lacks there is 0. So a series of L steps has
    1 + ⌈(L - frame) / hop⌉ frames, a shorter one 1, and an empty one none.

    Attributes:
        features: of a time step
        scaling: "series" or "both"; anything else leaves values as they are
        mask_size: how many features, the last ones, are not scaled, as they say what is missing
        frame: time steps in a frame
        hop: time steps between the beginnings of two frames, at most ``frame``
    """

    features: int
    scaling: ScalingName = "training"
    mask_size: int = 0
    frame: int = 1
    hop: int = 1

    @property
    def scales(self) -> bool:
        """Whether each series is scaled by itself, so that a later step changes what earlier ones are."""
        return self.scaling in ("series", "both")

    @property
    def is_identity(self) -> bool:
        """Whether the layers read the time steps as they are."""
        return self.frame == 1 and not self.scales

    @property
    def width(self) -> int:
        """Features of a scaled time step."""
        return self.features + (self.features - self.mask_size if self.scaling == "both" else 0)

    @property
    def output_size(self) -> int:
        """Features that the layers read at once."""
        return self.frame * self.width

    def __call__(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return what the layers read of time steps, (batch, frames, output_size), and the frames of each.

        Args:
            x: (batch, time, features).
            lengths: (batch,) int64 time steps, or None where all are full.
        """
        return self.framed(self.scaled(x, lengths), lengths)

    def scaled(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return time steps (batch, time, features) scaled by their own series, (batch, time, width)."""
        if not self.scales or not x.shape[1]:
            return x.new_empty(*x.shape[:2], self.width) if self.scales else x
        check_lengths(lengths, *x.shape[:2])
        x = x if lengths is None else clear_padding(x, lengths)
        values = x[:, :, : self.features - self.mask_size]
        steps = x.shape[1] if lengths is None else lengths.clamp(min=1)[:, None, None]
        mean = values.sum(dim=1, keepdim=True) / steps
        # The rest that the rounding of the sum has left, so that a constant is exactly its mean.
        mean = mean + self._without_padding(values - mean, lengths).sum(dim=1, keepdim=True) / steps
        own = self._without_padding(values - mean, lengths)
        own = own / (own.square().sum(dim=1, keepdim=True) / steps + EPSILON * (1 + mean.square())).sqrt()
        if self.scaling == "both":
            return torch.cat([x, own], dim=2)
        return torch.cat([own, x[:, :, self.features - self.mask_size :]], dim=2) if self.mask_size else own

    def summed(self, values: Tensor) -> Tensor:
        """Return for each feature the sum of what is said of all that `scaled` made of it: (batch, time, features)."""
        if self.scaling != "both":
            return values
        whole = values[:, :, : self.features].clone()
        whole[:, :, : self.features - self.mask_size] += values[:, :, self.features :]
        return whole

    def framed(self, x: Tensor, lengths: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return the frames of time steps (batch, time, width), (batch, frames, output_size), and how many of each."""
        if self.frame == 1:
            return x, lengths
        check_lengths(lengths, *x.shape[:2])
        x = x if lengths is None else clear_padding(x, lengths)
        return self._windows(x, self.count(x.shape[1])), None if lengths is None else self.count(lengths)

    def count(self, steps: Count) -> Count:
        """Return the number of frames for a number of time steps, an int or (batch,) int64."""
        if isinstance(steps, Tensor):
            return ((steps - self.frame).clamp(min=0) + self.hop - 1) // self.hop + (steps > 0)
        return (max(0, steps - self.frame) + self.hop - 1) // self.hop + (steps > 0)

    def start(self, x: Tensor) -> Kept:
        """Return what a stream keeps before the first step, of the dtype and for the batch of ``x`` (batch, …)."""
        steps = 0 if self.scales else self.frame - 1
        kept = x.new_zeros(len(x), steps, self.features if self.scales else self.width)
        return () if self.is_identity else (kept, torch.zeros(len(x), dtype=torch.int64, device=x.device))

    def remember(self, kept: Kept, x: Tensor, lengths: Tensor | None) -> Kept:
        """Return all steps so far, of a stream whose scale changes with each."""
        steps, read = kept
        total = read + (x.shape[1] if lengths is None else lengths)
        return _joined(steps, read, x, total), total

    def resume(self, kept: Kept, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor, Kept]:
        """Return the frames that a chunk of a stream completes, how many of each sequence, and what is kept.

        Args:
            kept: before the chunk.
            x: (batch, time, features); not for a front that scales.
            lengths: (batch,) int64 steps of the chunk that belong to each sequence, or None where all do.
        """
        steps, read = kept
        total = read + (x.shape[1] if lengths is None else lengths)
        before, after = self._full(read), self._full(total)
        complete = after - before
        joined = _joined(steps, read - before * self.hop, x, total - before * self.hop)
        frames = self._windows(joined, int(complete.max()) if len(x) else 0)
        index = (complete * self.hop).unsqueeze(1) + torch.arange(self.frame - 1, device=x.device)
        padded = torch.nn.functional.pad(joined, (0, 0, 0, self.frame + self.hop))
        rest = padded.gather(1, index.unsqueeze(2).expand(-1, -1, x.shape[2]))
        return frames, complete, (rest, total)

    def rest(self, kept: Kept) -> tuple[Tensor, Tensor]:
        """Return the frame that would end each sequence of a stream here, and whether it has one, 0 or 1."""
        steps, read = kept
        return self._windows(steps, 1), self.count(read) - self._full(read)

    def _full(self, steps: Tensor) -> Tensor:
        """Return the number of frames within ``steps`` time steps, (batch,)."""
        return torch.where(steps < self.frame, 0, (steps - self.frame) // self.hop + 1)

    def _windows(self, x: Tensor, count: int) -> Tensor:
        missing = (count - 1) * self.hop + self.frame - x.shape[1]
        if not count:
            return x.new_empty(len(x), 0, self.output_size)
        if missing > 0:
            x = torch.nn.functional.pad(x, (0, 0, 0, missing))
        return x.unfold(1, self.frame, self.hop)[:, :count].transpose(2, 3).reshape(len(x), count, self.output_size)

    def _without_padding(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        return x if lengths is None else clear_padding(x, lengths)


def _joined(steps: Tensor, waiting: Tensor, x: Tensor, total: Tensor) -> Tensor:
    """Return kept steps of each sequence followed by those of a chunk, without gaps; zeros past each ``total``.

    Args:
        steps: (batch, …, features), of which ``waiting`` (batch,) are kept.
        waiting: of each sequence.
        x: (batch, time, features), the chunk.
        total: (batch,) int64 steps of both.
    """
    index = torch.arange(int(total.max()) if len(total) else 0, device=x.device)
    from_chunk = (index - waiting.unsqueeze(1)).clamp(min=0) + steps.shape[1]
    place = torch.where(index < waiting.unsqueeze(1), index, from_chunk).clamp(max=steps.shape[1] + x.shape[1] - 1)
    both = torch.cat([steps, x], dim=1)
    return clear_padding(both.gather(1, place.unsqueeze(2).expand(-1, -1, x.shape[2])), total)
