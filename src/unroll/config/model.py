"""What a classifier is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ConfigError
from ..validation import check_at_least, check_types
from .signature import with_defaults

Init = Literal["orthogonal", "torch", "identity"]
Backend = Literal["auto", "reference", "torch", "gemm", "cpu"]


@with_defaults
@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """What the classifier is made of.

    Attributes:
        cell: rnn, gru, lstm, indrnn, mingru, minlstm, lru; or module:Class of your own, imported
        nonlinearity: activation of the rnn and indrnn cells
        hidden_size: units per layer and direction
        num_layers: recurrent layers, one upon the other
        bidirectional: read each sequence forwards and backwards
        residual: add the outputs of the layer below to each layer's, from the second layer on
        layer_norm: normalise each layer's outputs over its units for what reads them
        dropout: share of activations dropped between layers while training
        recurrent_dropout: share of units hidden from the recurrence while training, one mask a batch
        embedding_size: numbers that stand for each token of a text; learned
        embedding_dropout: share of a token's numbers dropped while training
        readout: how a sequence of hidden states becomes one vector; attention is learned
        init: initial weights; orthogonal, torch's own, or identity, with relu an IRNN
        forget_bias: initial bias of the gate that keeps the state (default: as init has it, 1 for lstm if orthogonal)
        backend: what computes the scan; auto chooses and says why, see unroll info
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
        if ":" not in self.cell:  # unroll's own, in whatever case
            object.__setattr__(self, "cell", self.cell.lower())
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
