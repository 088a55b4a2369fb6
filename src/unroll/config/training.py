"""How a classifier is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError
from ..formatting import quoted
from ..validation import check_at_least, check_types
from .signature import with_defaults

# The step budget behind TrainConfig.epochs = None: small data sets get more epochs.
MIN_EPOCHS = 10
MIN_STEPS = 1_250


@with_defaults
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained.

    Attributes:
        epochs: passes over the training data (default: 10, or more if needed for 1,250 training steps)
        batch_size: sequences per training step
        lr: learning rate (with one-cycle: its peak)
        optimizer: adam, or adamw with decoupled weight decay
        weight_decay: weight decay per training step, multiplied by lr
        schedule: learning rate over the run; one-cycle warms up for the first 15 % and then anneals to 0
        clip_norm: scale gradients down to at most this norm (0: off)
        tbptt: truncate backpropagation through time to this many steps (0: no truncation)
        shift: shift each training image at random by up to this many pixels, differently in each epoch
        rotation: rotate each training image at random by up to this many degrees, differently in each epoch
        early: fraction of the training sequences cut off at a random step, so that the model learns to answer early
        val_fraction: fraction of the training data held out for validation (stratified)
        patience: stop after this many epochs without a lower validation loss (0: never); needs schedule constant
        keep: which weights to keep; those of the last epoch, or those with the lowest validation loss (best)
        seed: seed of the initial weights, shuffling, validation split, dropout, shift and rotation
        device: where to compute; auto uses CUDA if it is available, else the CPU
        precision: bf16 multiplies in bfloat16 while training; on a CPU only if unroll info lists it
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
                f"patience must be 0 with schedule 'one-cycle', got {quoted(self.patience)}: "
                "the rate only anneals at the end; set schedule to 'constant'"
            )
        if self.val_fraction == 0 and (self.patience or self.keep == "best"):
            wish = f"patience {quoted(self.patience)}" if self.patience else "keep 'best'"
            raise ConfigError(f"{wish} needs a validation split: val_fraction must be above 0, got 0")

    def epochs_for(self, steps_per_epoch: int) -> int:
        """Return ``epochs``; if it is None, the number that the step budget gives for this many steps per epoch."""
        if self.epochs is not None:
            return self.epochs
        return max(MIN_EPOCHS, math.ceil(MIN_STEPS / steps_per_epoch))
