"""Settings as frozen, validated dataclasses, and the recipes made of them. No torch here.

The command line's flags are the fields of `DataConfig`, `ModelConfig` and `TrainConfig`; their help is the text below.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, cast, get_args, get_type_hints

from .errors import ConfigError, did_you_mean
from .formatting import quoted
from .validation import is_number

Read = Literal["rows", "columns", "pixels", "permuted"]
TokenizerName = Literal["word", "bpe"]
MissingName = Literal["impute", "mask"]
ScalingName = Literal["unit", "standard"]
Init = Literal["orthogonal", "torch", "identity"]
Backend = Literal["auto", "reference", "torch", "gemm", "cpu"]
RecipeName = Literal["fast", "best", "text", "tutorial"]

# The step budget behind TrainConfig.epochs = None: small sets are read more often.
MIN_EPOCHS = 10
MIN_STEPS = 1_250


@dataclass(frozen=True)
class DataConfig:
    """How a data set is read.

    Attributes:
        read: how the pixels of an image become time steps (default rows)
        resize: make all images of a folder so large, in pixels; 28 both ways, or 40x28 wide and high (default: as is)
        test_fraction: share of each class to test on, where a set has no test part of its own (default 0.2)
        split_seed: seed of that split (default 0)
        missing: how a value that a series lacks is filled in; impute takes the last one before it, at the beginning the
            mean; mask does too, and joins each feature by one that is 1 where it was missing (default impute)
        tokenizer: what a text is cut into; words, or the pieces of words that byte pair encoding finds (default word)
        vocabulary_size: words, or pieces, that are known at most; the most frequent ones (default 20000)
        min_count: how often one must occur in the training texts to be known (default 2)
    """

    read: Read = "rows"
    resize: str | None = None
    test_fraction: float | None = None
    split_seed: int | None = None
    missing: MissingName = "impute"
    tokenizer: TokenizerName = "word"
    vocabulary_size: int = 20_000
    min_count: int = 2

    def __post_init__(self) -> None:
        given: object = self.resize
        if type(given) is int:  # as Python callers write it
            object.__setattr__(self, "resize", str(given))
        check_types(self)
        if self.resize is not None and not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?", self.resize):
            raise ConfigError(f"resize must be pixels like 28, or two like 40x28, got {quoted(self.resize)}")
        if self.test_fraction is not None and not 0 < self.test_fraction < 1:
            raise ConfigError(f"test_fraction must be above 0 and below 1, got {self.test_fraction}")
        if self.split_seed is not None and not 0 <= self.split_seed < 2**32:
            raise ConfigError(f"split_seed must be from 0 to 4294967295, got {quoted(self.split_seed)}")
        check_at_least("vocabulary_size", self.vocabulary_size, 2)
        check_at_least("min_count", self.min_count, 1)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of ``resize``, in pixels."""
        if self.resize is None:
            return None
        width, _, height = self.resize.partition("x")
        return int(width), int(height or width)

    def check_unused(self, name: str, reason: str, *settings: str) -> None:
        """Raise `ConfigError` if one of ``settings`` is not its default: the data ``name`` has no use for it."""
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if field_.name in settings and value != field_.default:
                raise ConfigError(f"{field_.name} {value} cannot be used with {name}: {reason}")


@dataclass(frozen=True)
class ModelConfig:
    """What the classifier is made of.

    Attributes:
        cell: rnn, gru, lstm, indrnn, mingru, minlstm, lru; or module:Class of your own, imported (default rnn)
        nonlinearity: activation of the rnn and indrnn cells (default tanh)
        hidden_size: units per layer and direction (default 150)
        num_layers: recurrent layers, one upon the other (default 1)
        bidirectional: read each sequence forwards and backwards (default False)
        residual: add the outputs of the layer below to each layer's, from the second layer on (default False)
        layer_norm: normalise each layer's outputs over its units for what reads them (default False)
        dropout: share of activations dropped between layers while training (default 0.0)
        recurrent_dropout: share of units hidden from the recurrence while training, one mask a batch (default 0.0)
        embedding_size: numbers that stand for each token of a text; learned (default 100)
        embedding_dropout: share of these numbers dropped while training (default 0.0)
        readout: how a sequence of hidden states becomes one vector; attention is learned (default last)
        init: initial weights; orthogonal, torch's own, or identity, with relu an IRNN (default orthogonal)
        forget_bias: initial bias of the gate that keeps the state (default: as init has it, 1 for lstm if orthogonal)
        backend: what computes the scan; auto chooses and says why, see unroll info (default auto)
    """

    cell: str = "rnn"
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    hidden_size: int = 150
    num_layers: int = 1
    bidirectional: bool = False
    residual: bool = False
    layer_norm: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    embedding_size: int = 100
    embedding_dropout: float = 0.0
    readout: Literal["last", "mean", "max", "attention"] = "last"
    init: Init = "orthogonal"
    forget_bias: float | None = None
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        check_at_least("hidden_size", self.hidden_size, 1)
        check_at_least("num_layers", self.num_layers, 1)
        check_at_least("embedding_size", self.embedding_size, 1)
        for name in ("dropout", "recurrent_dropout", "embedding_dropout"):
            if not 0 <= (share := getattr(self, name)) < 1:
                raise ConfigError(f"{name} must be at least 0 and below 1, got {share}")
        if self.dropout > 0 and self.num_layers == 1:
            raise ConfigError(
                f"dropout acts between layers: it needs num_layers of at least 2, got {self.num_layers}; "
                "add a layer, set dropout to 0, or use recurrent_dropout"
            )
        if self.residual and self.num_layers == 1:
            raise ConfigError(
                f"residual connections go around layers from the second on: they need num_layers of at least 2, "
                f"got {self.num_layers}; add a layer or leave residual out"
            )
        if self.layer_norm and self.hidden_size * (2 if self.bidirectional else 1) < 2:
            raise ConfigError("layer_norm needs hidden_size of at least 2, got 1: one unit alone normalises to nothing")

    @property
    def additions(self) -> str:
        """What there is beyond plain layers in one direction, in words, each after a comma."""
        parts = {"both directions": self.bidirectional, "residual": self.residual, "layer norm": self.layer_norm}
        shares = {"dropout": self.dropout, "recurrent dropout": self.recurrent_dropout}
        words = [name for name, there in parts.items() if there]
        words += [f"{name} {share:g}" for name, share in shares.items() if share]
        return "".join(f", {word}" for word in words)


@dataclass(frozen=True)
class TrainConfig:
    """How a classifier is trained.

    Attributes:
        epochs: passes over the training data (default: at least 10, and as many as make 1,250 optimiser steps)
        batch_size: sequences per optimiser step (default 64)
        lr: learning rate; under one-cycle its peak (default 0.002)
        optimizer: adam, or adamw with decoupled weight decay (default adamw)
        weight_decay: shrinkage of the weights per step, times lr (default 0.01)
        schedule: learning rate over the run; one-cycle warms up for 15 % of it and anneals to 0 (default one-cycle)
        clip_norm: gradients are scaled down to at most this norm; 0 switches it off (default 1.0)
        tbptt: gradients go back through at most so many time steps, truncated; 0 for all (default 0)
        shift: training images are moved by up to so many pixels, anew in each epoch (default 0.0)
        rotation: training images are turned by up to so many degrees, anew in each epoch (default 0.0)
        early: share of the training sequences cut off at random, for answers before the end (default 0.0)
        val_fraction: share of the training data held out, stratified, to watch the training (default 0.1)
        patience: stop after so many epochs without a lower validation loss, 0 never; schedule constant only (default 0)
        keep: weights to keep, those of the last epoch or those with the lowest validation loss (default last)
        seed: seed of initial weights, shuffling, validation part, dropout, shift and rotation (default 0)
        device: where to compute; auto takes CUDA where it is there, else the CPU (default auto)
        precision: bf16 multiplies in bfloat16 while training; on a CPU only where unroll info names it (default fp32)
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


@dataclass(frozen=True)
class Recipe:
    """A named set of settings: the model, its training, and the scaling of its inputs.

    Attributes:
        name: what the recipe is called
        model: settings of the classifier
        train: settings of its training
        scaling: inputs scaled to [0, 1] ("unit") or to mean 0 and deviation 1 over the training data ("standard")
    """

    name: RecipeName = "fast"
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    scaling: ScalingName = "standard"

    def changed(self, **settings: Any) -> Recipe:
        """Return this recipe with fields of its `ModelConfig` and `TrainConfig` replaced.

        Raises:
            ConfigError: a name is no setting, or a value is out of range.
        """
        model = {f.name for f in fields(ModelConfig)}
        train = {f.name for f in fields(TrainConfig)}
        known = model | train | {f.name for f in fields(DataConfig)}
        for name in settings:
            if name not in model | train:
                raise ConfigError(f"{quoted(name)} is not a setting{did_you_mean(name, known)}")
        return replace(
            self,
            model=replace(self.model, **{k: v for k, v in settings.items() if k in model}),
            train=replace(self.train, **{k: v for k, v in settings.items() if k in train}),
        )


def choose_settings(recipe: str, settings: Mapping[str, Any]) -> tuple[DataConfig, Recipe]:
    """Return how to read the data, and the recipe with its settings replaced.

    Args:
        recipe: a key of `RECIPES`.
        settings: fields of `DataConfig`, `ModelConfig` and `TrainConfig`.

    Raises:
        ConfigError: a name is no setting, or a value is out of range.
    """
    check_choice("recipe", recipe, tuple(RECIPES))
    reading = {f.name for f in fields(DataConfig)}
    data = DataConfig(**{name: value for name, value in settings.items() if name in reading})
    chosen = RECIPES[cast(RecipeName, recipe)]
    return data, chosen.changed(**{name: value for name, value in settings.items() if name not in reading})


def check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise `ConfigError` unless ``value`` is one of ``choices``."""
    if value not in choices:
        known, hint = ", ".join(map(str, choices)), did_you_mean(str(value), map(str, choices))
        raise ConfigError(f"{name} must be one of {known}, got {quoted(value)}{hint}")


def check_at_least(name: str, value: float, least: float) -> None:
    """Raise `ConfigError` unless ``value`` is at least ``least``."""
    if not value >= least:
        raise ConfigError(f"{name} must be at least {least}, got {quoted(value)}")


def check_whole(name: str, value: object, least: int) -> None:
    """Raise `ConfigError` unless ``value`` is a whole number of at least ``least``."""
    _check_plain(name, value, int)
    check_at_least(name, cast(int, value), least)


def check_types(config: object) -> None:
    """Raise `ConfigError` unless each field of ``config`` has a value of its annotated type; floats must be finite."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if type(None) in get_args(hint):
            if value is None:
                continue
            (hint,) = set(get_args(hint)) - {type(None)}
        if hint in (str, bool, int, float):
            _check_plain(name, value, hint)
        else:
            check_choice(name, value, get_args(hint))


def _check_plain(name: str, value: object, kind: type) -> None:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (kind is not bool and isinstance(value, bool)):
        raise ConfigError(f"{name} must be of type {kind.__name__}, got {quoted(value)}")
    if kind is float and not is_number(value):
        raise ConfigError(f"{name} must be a finite number, got {quoted(value)}")


RECIPES: dict[RecipeName, Recipe] = {
    "fast": Recipe(),
    # For accuracy: eight times as long, nothing held out, and weights held down so that they are not learned by heart.
    "best": Recipe(name="best", train=TrainConfig(epochs=80, weight_decay=0.1, val_fraction=0.0)),
    # For texts: read both ways, each unit's most telling moment counts, and half of what stands for a word is hidden.
    "text": Recipe(
        name="text",
        model=ModelConfig(cell="gru", hidden_size=128, bidirectional=True, readout="max", embedding_dropout=0.5),
        train=TrainConfig(epochs=6),
    ),
    # The tutorial's own: torch's initial weights, plain Adam on inputs in [0, 1], nothing held out, nothing clipped.
    "tutorial": Recipe(
        name="tutorial",
        model=ModelConfig(init="torch"),
        train=TrainConfig(
            epochs=10,
            lr=1e-3,
            optimizer="adam",
            weight_decay=0.0,
            schedule="constant",
            clip_norm=0.0,
            val_fraction=0.0,
        ),
        scaling="unit",
    ),
}
