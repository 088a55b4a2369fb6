"""What a classifier is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError, did_you_mean
from ..formatting import quoted
from ..validation import MOST, check_at_least, check_at_most, check_fraction, check_types
from .signature import with_defaults
from .strides import split

Init = Literal["orthogonal", "torch", "identity"]
Backend = Literal["auto", "reference", "torch", "gemm", "cpu"]
CELLS = ("rnn", "gru", "lstm", "indrnn", "mingru", "minlstm", "lru")  # names of those in `unroll.cells.CELLS`
ScalingName = Literal["unit", "training", "series", "both"]
Auto = Literal["auto"]
MOST_LAYERS = 1_000
MOST_BIAS = 1_000  # of a gate that is open or shut from about 20 on


@with_defaults
@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the classifier is made of.

    Attributes:
        scaling: how values are scaled; unit maps bytes to [0, 1], training gives mean 0 and deviation 1 over the
            training data, series does so within each series, and both puts the last two side by side as features
        frame: time steps that the layers read at once, as one; auto follows from the length of the training data
        hop: time steps from the beginning of a frame to that of the next; auto is half a frame
        stem: what stands before the recurrent layers; conv is two strided convolutions over time, in place of frames
        stem_stride: time steps from one output of the stem to the next; auto follows from the length of the training
            data
        cell: rnn, gru, lstm, indrnn, mingru, minlstm, lru; or module:Class of your own, imported
        nonlinearity: activation of the rnn and indrnn cells
        hidden_size: units per layer and direction
        num_layers: number of stacked recurrent layers
        bidirectional: read each sequence forwards and backwards
        causal: keep to what can be read as it comes; one direction, and no scaling that needs the whole series
        residual: residual connections; add the outputs of the layer below to each layer's, from the second layer on
        layer_norm: normalise each layer's outputs over its units before the next layer or the readout
        dropout: dropout between layers while training (fraction of activations)
        recurrent_dropout: dropout of the recurrent state while training (fraction of units; one mask per batch)
        embedding_size: size of the learned vector of each token of a text
        embedding_dropout: dropout of the token vectors while training (fraction of their elements)
        token_dropout: dropout of whole token vectors while training (fraction of the tokens)
        readout: how to turn the sequence of hidden states into one vector; attention is learned
        init: initial weights; orthogonal, torch (the defaults of torch.nn), or identity (with relu: an IRNN)
        forget_bias: initial bias of the forget gate (default: set by init; 1 for an lstm with orthogonal)
        backend: what computes the scan; unroll info shows what auto chooses, and why
    """

    scaling: ScalingName = "training"
    frame: int | Auto = 1
    hop: int | Auto = "auto"
    stem: Literal["none", "conv"] = "none"
    stem_stride: int | Auto = "auto"
    cell: str = "rnn"
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    hidden_size: int = 150
    num_layers: int = 1
    bidirectional: bool = False
    causal: bool = False
    residual: bool = False
    layer_norm: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    embedding_size: int = 100
    embedding_dropout: float = 0.0
    token_dropout: float = 0.0
    readout: Literal["last", "mean", "max", "attention"] = "last"
    init: Init = "orthogonal"
    forget_bias: float | None = None
    backend: Backend = "auto"

    def __post_init__(self) -> None:
        check_types(self)
        if ":" not in self.cell:  # unroll's own, in whatever case
            object.__setattr__(self, "cell", self.cell.lower())
            check_cell(self.cell)
        check_at_least("hidden_size", self.hidden_size, 1)
        check_at_least("num_layers", self.num_layers, 1)
        check_at_least("embedding_size", self.embedding_size, 1)
        check_at_most("hidden_size", self.hidden_size, MOST)
        check_at_most("num_layers", self.num_layers, MOST_LAYERS)
        check_at_most("embedding_size", self.embedding_size, MOST)
        if not -MOST_BIAS <= (self.forget_bias or 0) <= MOST_BIAS:
            raise ConfigError(f"forget_bias must be from -{MOST_BIAS} to {MOST_BIAS}, got {self.forget_bias}")
        if self.causal and (self.bidirectional or self.scaling in ("series", "both")):
            what = "bidirectional" if self.bidirectional else f"scaling {self.scaling}"
            raise ConfigError(f"causal reads a sequence as it comes, but {what} needs all of it: give one of them")
        for name in ("frame", "hop", "stem_stride"):
            if (steps := getattr(self, name)) != "auto":
                check_at_least(name, steps, 1)
        if self.frame != "auto":
            check_at_most("frame", self.frame, MOST)
        if isinstance(self.frame, int) and isinstance(self.hop, int) and self.hop > self.frame:
            raise ConfigError(
                f"hop must be at most frame, {self.frame}, got {self.hop}: time steps between two frames would be "
                "skipped"
            )
        self._check_stem()
        for name in ("dropout", "recurrent_dropout", "embedding_dropout", "token_dropout"):
            check_fraction(name, getattr(self, name))
        if self.dropout > 0 and self.num_layers == 1:
            raise ConfigError(
                f"dropout acts between layers and needs num_layers of at least 2, got {self.num_layers}; "
                "add a layer, set dropout to 0, or use recurrent_dropout"
            )
        if self.residual and self.num_layers == 1:
            raise ConfigError(
                f"residual needs num_layers of at least 2 (it skips layers from the second on), got {self.num_layers}; "
                "add a layer or set residual to False"
            )
        if self.layer_norm and self.hidden_size * (2 if self.bidirectional else 1) < 2:
            raise ConfigError("layer_norm needs hidden_size of at least 2, got 1: a single unit always normalises to 0")

    def _check_stem(self) -> None:
        if self.causal and self.stem != "none":
            raise ConfigError(
                f"causal reads a sequence as it comes, but stem {self.stem} looks ahead: give one of them"
            )
        if self.stem == "none" and self.stem_stride != "auto":
            raise ConfigError(f"stem_stride applies to stem conv, got {self.stem_stride} with stem none: leave it out")
        if self.stem != "none" and self.frame != 1:
            raise ConfigError(f"stem {self.stem} reads single time steps, got frame {self.frame}: give one of them")
        if self.stem_stride != "auto":
            split(self.stem_stride)

    @property
    def drops_of_each(self) -> bool:
        """Whether training drops something of each sequence on its own; ``recurrent_dropout`` does not."""
        return bool(self.dropout or self.embedding_dropout or self.token_dropout)

    @property
    def additions(self) -> str:
        """The optional parts that are switched on, in words, each after a comma."""
        scaled = {"series": "each series scaled by itself", "both": "also scaled by itself"}.get(self.scaling)
        parts = {"both directions": self.bidirectional, "residual": self.residual, "layer norm": self.layer_norm}
        shares = {"dropout": self.dropout, "recurrent dropout": self.recurrent_dropout}
        words = [name for name, enabled in parts.items() if enabled]
        words = ([scaled] if scaled else []) + words
        if self.frame != 1:
            words.insert(0, f"frames of {self.frame} steps, hop {self.hop}")
        if self.stem != "none":
            words.insert(0, f"stem {self.stem}, stride {self.stem_stride}")
        words += [f"{name} {share:g}" for name, share in shares.items() if share]
        return "".join(f", {word}" for word in words)


def check_cell(name: str) -> None:
    """Raise `ConfigError` unless ``name`` is that of one of unroll's own cells."""
    if name not in CELLS:
        raise ConfigError(
            f"cell must be one of {', '.join(CELLS)}, a subclass of Cell, or its name as module:Class, got "
            f"{quoted(name)}{did_you_mean(name, CELLS)}"
        )
