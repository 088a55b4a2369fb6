"""What a classifier is made from, and the checks of it."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from ..cells import Cell, name_of
from ..config import ModelConfig
from ..config.signature import with_defaults
from ..errors import ConfigError
from ..validation import check_whole
from .front import Front


@with_defaults
@dataclass(frozen=True, kw_only=True)
class Arguments(ModelConfig):
    """The arguments of a `SequenceClassifier`: its sizes and its settings. A cell may also be given as a class.

    Attributes:
        input_size: features per time step, at least 1; with a vocabulary, the size of the token vectors
        num_classes: at least 2
        cell: name from `unroll.cells.CELLS`, or a subclass of `unroll.cells.Cell`
        mask_size: how many features, the last ones, say what is missing: a series is not scaled by itself there
        frame: time steps that the layers read at once, as one
        stem_stride: time steps from one output of the stem to the next; a number where there is a stem
        vocabulary_size: number of tokens, if time steps are tokens with learned vectors; 0 if they are features
        ngram_buckets: number of vectors that the n-grams of a token share: its own vector, which unknown tokens lack,
            is added to the mean of theirs; 0 if tokens have none
    """

    input_size: int = field(kw_only=False)
    num_classes: int = field(kw_only=False)
    cell: str | type[Cell] = "rnn"  # type: ignore[assignment]  # wider: the settings only take its name
    vocabulary_size: int = 0
    mask_size: int = 0
    ngram_buckets: int = 0
    embedding_size: int = field(init=False)

    def __post_init__(self) -> None:
        size = self.input_size if self.vocabulary_size else ModelConfig.embedding_size
        object.__setattr__(self, "embedding_size", size)

    def config(self) -> ModelConfig:
        """Return the settings, checked by the same rules and with the same messages as on the command line."""
        settings = {field.name: getattr(self, field.name) for field in fields(ModelConfig)}
        config = ModelConfig(**settings | {"cell": name_of(self.cell)})
        if not isinstance(config.frame, int):
            raise ConfigError(f"frame must be a number, got {config.frame}: that follows from the training data alone")
        hop = config.hop if isinstance(config.hop, int) else max(1, config.frame // 2)
        config = replace(config, hop=hop)
        if config.stem != "none" and config.stem_stride == "auto":
            raise ConfigError("stem_stride must be a number, got auto: that follows from the training data alone")
        check_whole("input_size", self.input_size, 1)
        check_whole("num_classes", self.num_classes, 2)
        check_whole("vocabulary_size", self.vocabulary_size, 0)
        check_whole("ngram_buckets", self.ngram_buckets, 0)
        if self.ngram_buckets and not self.vocabulary_size:
            raise ConfigError(f"ngram_buckets needs a vocabulary, got {self.ngram_buckets} with vocabulary_size 0")
        for name in ("embedding_dropout", "token_dropout"):
            if (share := getattr(config, name)) and not self.vocabulary_size:
                raise ConfigError(f"{name} needs texts, got {share} for a model without a vocabulary; set it to 0")
        check_whole("mask_size", self.mask_size, 0)
        if self.mask_size >= max(1, self.input_size):
            raise ConfigError(f"mask_size must be below input_size, {self.input_size}, got {self.mask_size}")
        if self.vocabulary_size and not self.front(config).is_identity:
            raise ConfigError(
                f"frame {config.frame} and scaling {config.scaling} cannot be used with a vocabulary: they need numbers"
            )
        if self.vocabulary_size and config.stem != "none":
            raise ConfigError(f"stem {config.stem} cannot be used with a vocabulary: it needs numbers")
        return config

    def front(self, config: ModelConfig) -> Front:
        """Return what stands before the layers, by settings that are checked."""
        assert isinstance(config.frame, int)
        assert isinstance(config.hop, int)
        return Front(self.input_size, config.scaling, self.mask_size, config.frame, config.hop)
