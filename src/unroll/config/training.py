"""How a classifier is trained."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ..errors import ConfigError
from ..formatting import listed, quoted
from ..validation import check_at_least, check_at_most, check_fraction, check_types
from .signature import with_defaults

MOST_MEMBERS = 1_000  # of an ensemble
MOST_TIMES = 1_000  # of what is relative to a deviation or a loss: nothing would be left of that
MOST_WEIGHT = 1_000_000_000  # of a class: the squares of far larger gradients do not fit into float32


Metric = Literal["loss", "accuracy", "balanced-accuracy", "macro-f1"]


@with_defaults
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a classifier is trained.

    Attributes:
        epochs: passes over the training data (default: min_epochs, or more if needed for min_steps)
        min_epochs: epochs that a training has at least if epochs, training_steps and budget are left out
        min_steps: training steps that it then has at least
        training_steps: training steps in all, in place of epochs; the last epoch may end early (default: those of the
            epochs)
        budget: time to train in, in place of epochs, such as 90s, 5m or 1h; as many training steps as fit by the speed
            of some on a copy, and their number is kept as training_steps, by which it is repeated: where both are
            given, that number counts (default: no limit)
        batch_size: sequences per training step
        lr: learning rate (with one-cycle: its peak)
        optimizer: adam, or adamw with decoupled weight decay
        weight_decay: weight decay per training step, multiplied by lr
        schedule: learning rate over the run; one-cycle warms up for the first 15 % and then anneals to 0
        clip_norm: scale gradients down to at most this norm (0: off)
        tbptt: truncate backpropagation through time to this many steps (0: no truncation)
        shift: shift each training image at random by up to this many pixels, differently in each epoch
        rotation: rotate each training image at random by up to this many degrees, differently in each epoch
        noise: add to each value of a training series a random number of this deviation, relative to that of its feature
            in the series, differently in each epoch
        gain: stretch each training series about its mean by a random factor of 1 plus or minus up to this, differently
            in each epoch
        drift: add to each feature of a training series a line through six random points of this deviation, relative to
            that of the feature in the series, differently in each epoch
        early: fraction of the training sequences cut off at a random step, so that the model learns to answer early
        label_smoothing: fraction of each training target that is spread evenly over all classes
        consistency: read each training batch twice, with different dropout, and add this times the divergence of the
            two answers to the loss; 0 reads it once
        val_fraction: fraction of the training data held out for validation, of each class at least one sequence of two
            or more; 0 holds out none
        patience: stop after this many epochs without a better validation result (0: never); needs schedule constant
        keep: which weights to keep; those of the last epoch, or those with the best validation result (best; of fewer
            than 20 validation sequences the last, as they are too few to choose by)
        average_weights: end with the mean of the weights over the last quarter of the training steps
        class_weight: weights of the classes in the training loss; balanced, so that each class counts alike however
            rare it is, or CLASS=WEIGHT,…, the others 1 (default: 1 for all)
        metric: which validation result counts, for keep, patience and sweeps (default: loss for keep and patience,
            accuracy for sweeps)
        seed: seed of the initial weights, shuffling, validation split, dropout, shift and rotation
        val_seed: seed of the validation split (default: seed)
        ensemble: number of models to train, with the seeds seed, seed + 1 and so on and one validation split; the run
            answers with the mean of their calibrated probabilities, and a budget is shared out among them
        device: where to compute; auto uses CUDA if it is available, else the CPU
        precision: bf16 multiplies in bfloat16 while training; on a CPU only if unroll info lists it
    """

    epochs: int | None = None
    min_epochs: int = 10
    min_steps: int = 1_250
    training_steps: int | None = None
    budget: str | None = None
    batch_size: int = 64
    lr: float = 2e-3
    optimizer: Literal["adam", "adamw"] = "adamw"
    weight_decay: float = 0.01
    schedule: Literal["one-cycle", "constant"] = "one-cycle"
    clip_norm: float = 1.0
    tbptt: int = 0
    shift: float = 0.0
    rotation: float = 0.0
    noise: float = 0.0
    gain: float = 0.0
    drift: float = 0.0
    early: float = 0.0
    label_smoothing: float = 0.0
    consistency: float = 0.0
    val_fraction: float = 0.1
    patience: int = 0
    keep: Literal["last", "best"] = "last"
    average_weights: bool = False
    class_weight: str | None = None
    metric: Metric | None = None
    seed: int = 0
    val_seed: int | None = None
    ensemble: int = 1
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("epochs", "training_steps"):
            if (number := getattr(self, name)) is not None:
                check_at_least(name, number, 1)
        if self.budget is not None and (
            not re.fullmatch(r"\d{1,9}(\.\d+)?[smh]", self.budget) or self.budget_seconds == 0
        ):
            raise ConfigError(f"budget must be a time above 0 such as 90s, 5m or 1h, got {quoted(self.budget)}")
        if self.epochs is not None and (self.training_steps or self.budget):
            raise ConfigError(
                f"{'training_steps' if self.training_steps else 'budget'} is in place of epochs: give one of them"
            )
        check_at_least("batch_size", self.batch_size, 1)
        check_at_least("min_epochs", self.min_epochs, 1)
        check_at_least("min_steps", self.min_steps, 1)
        if not self.lr > 0:
            raise ConfigError(f"lr must be above 0, got {self.lr}")
        for name in ("weight_decay", "clip_norm", "tbptt", "shift", "noise", "drift", "consistency", "patience"):
            check_at_least(name, getattr(self, name), 0)
        for name in ("noise", "drift", "consistency"):
            check_at_most(name, getattr(self, name), MOST_TIMES)
        for name in ("gain", "label_smoothing", "val_fraction"):
            check_fraction(name, getattr(self, name))
        for name, most, unit in (("early", 1, ""), ("rotation", 180, " degrees")):
            if not 0 <= (amount := getattr(self, name)) <= most:
                raise ConfigError(f"{name} must be from 0 to {most}{unit}, got {amount}")
        if not 1 <= self.ensemble <= MOST_MEMBERS:
            raise ConfigError(f"ensemble must be from 1 to {MOST_MEMBERS}, got {quoted(self.ensemble)}")
        for name, seed in (("seed", self.seed), ("val_seed", self.val_seed or 0)):
            if not 0 <= seed < 2**32:
                raise ConfigError(f"{name} must be from 0 to 4294967295, got {quoted(seed)}")
        if self.seed + self.ensemble > 2**32:
            raise ConfigError(
                f"the seeds of an ensemble must be at most 4294967295, got {self.ensemble} from {self.seed} on"
            )
        self._check_early_stopping()
        self.own_weights()  # complains of what is none

    def _check_early_stopping(self) -> None:
        if self.patience and self.schedule == "one-cycle":
            raise ConfigError(
                f"patience must be 0 with schedule 'one-cycle', got {quoted(self.patience)}: "
                "the rate only anneals at the end; set schedule to 'constant'"
            )
        if self.val_fraction == 0 and (self.patience or self.keep == "best" or self.metric):
            wish = f"patience {quoted(self.patience)}" if self.patience else "keep 'best'"
            if not self.patience and self.keep == "last":
                wish = f"metric {quoted(self.metric)}"
            raise ConfigError(f"{wish} needs a validation split: val_fraction must be above 0, got 0")

        if self.average_weights and (self.patience or self.keep == "best"):
            wish = "patience ends a training early" if self.patience else "keep 'best' takes the weights of one epoch"
            raise ConfigError(f"average_weights needs all of the last steps, but {wish}: give one of them")

    def own_weights(self) -> dict[str, float]:
        """Return the weights that ``class_weight`` gives classes by name; empty if it gives none, or is "balanced".

        Raises:
            ConfigError: it is not of that form, a class is named twice, or a weight is out of range.
        """
        if self.class_weight in (None, "balanced"):
            return {}
        weights = dict[str, float]()
        for part in str(self.class_weight).split(","):
            name, _, weight = (word.strip() for word in part.rpartition("="))
            if name in weights:
                raise ConfigError(f"class_weight names {quoted(name)} twice: leave one out")
            try:
                weights[name] = float(weight)
            except ValueError:
                weights[name] = 0.0
            if not name or not 0 < weights[name] <= MOST_WEIGHT:
                raise ConfigError(
                    f"class_weight must be balanced, or CLASS=WEIGHT,… with weights above 0 and at most "
                    f"{MOST_WEIGHT:,}, got {quoted(part)}"
                )
        return weights

    def weights_of(self, counts: Mapping[str, int]) -> list[float] | None:
        """Return the weight of each class in the training loss; None where all count as they come.

        Args:
            counts: training sequences of each class.

        Raises:
            ConfigError: there is no class of that name.
        """
        if self.class_weight is None:
            return None
        if self.class_weight == "balanced":
            present = sum(count > 0 for count in counts.values())
            return [sum(counts.values()) / (present * count) if count else 1.0 for count in counts.values()]
        weights = self.own_weights()
        for name in weights:
            if name not in counts:
                raise ConfigError(f"class_weight names {quoted(name)}, the data has the classes {listed(counts)}")
        return [weights.get(name, 1.0) for name in counts]

    def steps_for(self, steps_per_epoch: int) -> int:
        """Return ``training_steps``; if it is None, those of the epochs, or as many as follow from an epoch's."""
        if self.training_steps is not None:
            return self.training_steps
        return steps_per_epoch * (self.epochs or max(self.min_epochs, math.ceil(self.min_steps / steps_per_epoch)))

    @property
    def additions(self) -> str:
        """What is done to training sequences, targets and loss, in words, each after a comma."""
        names = ("shift", "rotation", "noise", "gain", "drift", "early", "label_smoothing", "consistency")
        shares = {name.replace("_", " "): getattr(self, name) for name in names}
        return "".join(f", {name} {share:g}" for name, share in shares.items() if share)

    def member(self, number: int) -> TrainConfig:
        """Return the settings by which a member of the ensemble is trained, as a run of its own.

        All members hold out the same sequences, so that their mean can be calibrated on them.

        Args:
            number: of the member, from 1; a single model is its own first member.
        """
        if self.ensemble == 1:
            return self
        val_seed = self.seed if self.val_seed is None else self.val_seed
        share = f"{max(self.budget_seconds / self.ensemble, 0.001):.3f}".rstrip("0").rstrip(".")
        budget = self.budget and f"{share}s"
        return replace(self, ensemble=1, seed=self.seed + number - 1, val_seed=val_seed, budget=budget)

    @property
    def budget_seconds(self) -> float:
        """The budget in seconds; without one infinity."""
        if self.budget is None:
            return math.inf
        return float(self.budget[:-1]) * {"s": 1, "m": 60, "h": 3600}[self.budget[-1]]
