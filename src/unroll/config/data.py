"""How a data set is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Literal

from ..errors import ConfigError
from ..formatting import quoted
from ..validation import check_at_least, check_types
from .signature import with_defaults

Read = Literal["rows", "columns", "pixels", "permuted"]
TokenizerName = Literal["word", "bpe"]
MissingName = Literal["impute", "mask"]
LinesName = Literal["label-first", "label-last", "tab"]


@with_defaults
@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How a data set is read.

    Attributes:
        read: how the pixels of an image become time steps
        resize: make all images of a folder so large, in pixels; 28 both ways, or 40x28 wide and high (default: as is)
        test_fraction: share of each class to test on, where a set has no test part of its own (default 0.2)
        split_seed: seed of that split (default 0)
        missing: how a value that a series lacks is filled in; impute takes the last one before it, at the beginning the
            mean; mask does too, and joins each feature by one that is 1 where it was missing
        tokenizer: what a text is cut into; words, or the pieces of words that byte pair encoding finds
        vocabulary_size: words, or pieces, that are known at most; the most frequent ones
        min_count: how often one must occur in the training texts to be known
        text_column: column that holds the texts (default: the one named text, sentence, review, …)
        label_column: column that holds the class (default: the one named label, class, …)
        lines: where the class stands in a line of text; before the text, behind it, or on the side of a tab that has
            few different values (default: as every line of the file allows, else you are asked)
    """

    read: Read = "rows"
    resize: str | None = None
    test_fraction: float | None = None
    split_seed: int | None = None
    missing: MissingName = "impute"
    tokenizer: TokenizerName = "word"
    vocabulary_size: int = 20_000
    min_count: int = 2
    text_column: str | None = None
    label_column: str | None = None
    lines: LinesName | None = None

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
