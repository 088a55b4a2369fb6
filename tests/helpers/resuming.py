"""Trainings that are broken off and taken up again, and their weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import unroll


def interrupt_after(epoch: int) -> Callable[[object], None]:
    """Return what `unroll.train_run` may take for ``watch``: it is interrupted after so many epochs."""

    def watch(event: object) -> None:
        if isinstance(event, unroll.EpochResult) and event.epoch == epoch:
            raise KeyboardInterrupt

    return watch


def weights(model: nn.Module) -> list[Tensor]:
    """Return copies of a model's weights and buffers."""
    return [value.clone() for value in model.state_dict().values()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    """Tell whether all are equal to the bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
