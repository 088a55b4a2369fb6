"""How a classifier is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError
from ..formatting import quoted
from ..validation import check_at_least, check_types
from .signature import with_defaults

# The step budget behind TrainConfig.epochs = None: small sets are read more often.
MIN_EPOCHS = 10
MIN_STEPS = 1_250


@with_defaults
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained.

    Attributes:
        epochs: passes over the training data (default: at least 10, and as many as make 1,250 optimiser steps)
        batch_size: sequences per optimiser step
        lr: learning rate; under one-cycle its peak
        optimizer: adam, or adamw with decoupled weight decay
        weight_decay: shrinkage of the weights per step, times lr
        schedule: learning rate over the run; one-cycle warms up for 15 % of it and anneals to 0
        clip_norm: gradients are scaled down to at most this norm; 0 switches it off
        tbptt: gradients go back through at most so many time steps, truncated; 0 for all
        shift: training images are moved by up to so many pixels, anew in each epoch
        rotation: training images are turned by up to so many degrees, anew in each epoch
        early: share of the training sequences cut off at random, for answers before the end
        val_fraction: share of the training data held out, stratified, to watch the training
        patience: stop after so many epochs without a lower validation loss, 0 never; schedule constant only
        keep: weights to keep, those of the last epoch or those with the lowest validation loss
        seed: seed of initial weights, shuffling, validation part, dropout, shift and rotation
        device: where to compute; auto takes CUDA where it is there, else the CPU
        precision: bf16 multiplies in bfloat16 while training; on a CPU only where unroll info names it
    """

    epochs: int | None = None
    batch_size: int = 64
    lr: float = 2e-3
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = 0.01
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    clip_norm: float = 1.0
    tbptt: int = 0
    shift: float = 0.0
    rotation: float = 0.0
    early: float = 0.0
    val_fraction: float = 0.1
    patience: int = 0
    keep: Literal["last", "best"] = "last"
    seed: int = 0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        check_types(self)
        if self.epochs is not None:
            check_at_least("epochs", self.epochs, 1)
        check_at_least("batch_size", self.batch_size, 1)
        if not self.lr > 0:
            raise ConfigError(f"lr must be above 0, got {self.lr}")
        for name in ("weight_decay", "clip_norm", "tbptt", "shift", "patience"):
            check_at_least(name, getattr(self, name), 0)
        for name, most, unit in (("early", 1, ""), ("rotation", 180, " degrees")):
            if not 0 <= (amount := getattr(self, name)) <= most:
                raise ConfigError(f"{name} must be from 0 to {most}{unit}, got {amount}")
        if not 0 <= self.val_fraction < 1:
            raise ConfigError(f"val_fraction must be at least 0 and below 1, got {self.val_fraction}")
        if not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed must be from 0 to 4294967295, got {quoted(self.seed)}")
        self._check_early_stopping()

    def _check_early_stopping(self) -> None:
        if self.patience and self.schedule == "one-cycle":
            raise ConfigError(
                f"patience must be 0 under schedule 'one-cycle', got {quoted(self.patience)}: "
                "the rate only anneals at the end; set schedule to 'constant'"
            )
        if self.val_fraction == 0 and (self.patience or self.keep == "best"):
            wish = f"patience {quoted(self.patience)}" if self.patience else "keep 'best'"
            raise ConfigError(f"{wish} needs a validation part: val_fraction must be above 0, got 0")

    def epochs_for(self, steps_per_epoch: int) -> int:
        """Return ``epochs``, or what the step budget makes of it for this many optimiser steps in an epoch."""
        if self.epochs is not None:
            return self.epochs
        return max(MIN_EPOCHS, math.ceil(MIN_STEPS / steps_per_epoch))
