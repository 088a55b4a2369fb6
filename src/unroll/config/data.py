"""How a data set is read."""

from __future__ import annotations

import csv
import math
import re
from dataclasses import dataclass, fields
from typing import Literal

from ..errors import ConfigError
from ..formatting import quoted
from ..validation import MOST, check_at_least, check_at_most, check_fraction, check_types
from .signature import with_defaults

Read = Literal["rows", "columns", "pixels", "permuted"]
TokenizerName = Literal["word", "word+ngrams", "bpe"]
MissingName = Literal["impute", "mask"]
LinesName = Literal["label-first", "label-last", "tab"]
Decimal = Literal[".", ","]
ColourName = Literal["keep", "grey"]
LISTS = ("feature_columns", "drop_columns", "missing_values")
COLUMNS = ("id_column", "time_column", "label_column", "feature_columns", "drop_columns", "decimal")  # of tables alone
CUTS = ("group", "group_pattern", "split_by_time")  # columns that say how parts are cut
OF_IMAGES = ("read", "resize", "colour")
OF_SERIES = ("resample", "every", "window", "stride")  # which time steps are read; max_length also says which tokens
TABLE = (*COLUMNS, "missing_values")  # settings of tables, of which the last is one of all series
SECONDS = {"": 1.0, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
HERTZ = {"hz": 1.0, "khz": 1e3}


@with_defaults
@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """How a data set is read.

    Attributes:
        read: how the pixels of an image become time steps
        resize: resize every image of a folder to this size in pixels; 28 (square) or 40x28 (width x height) (default:
            keep the size)
        colour: read the colours of images, three features a pixel, or only their brightness; keep or grey (default:
            keep if any two channels of any image differ by more than 8 of 255)
        test_fraction: fraction of each class held out as the test split, if the data has none of its own, at least one
            sequence of two or more; 0 trains on all of them (default 0.2)
        split_seed: seed of that split (default 0)
        group: column of what must not be divided, such as the person that sequences are of; whole groups are held out
            for test and validation (default: every sequence may be held out)
        group_pattern: regular expression that finds the name of the group in that column, or without group in the id
            or the file name of each sequence, such as "s[0-9]+" (default: the whole column is the name)
        split_by_time: column with the time of each sequence, or of each row; the latest sequences are held out for test
            and validation (default: those held out are drawn at random)
        fold: fold of a cross-validation to hold out as the test split, such as 2/5, the second of five; of data with a
            test split of its own, a fold of its training part (default: none, see test_fraction)
        val_data: data to validate on, read as the training data is (default: part of the training data, see
            val_fraction)
        missing: how to fill in missing values of a series; impute repeats the last value (at the start: the mean); mask
            does the same and adds, for each feature, a second one that is 1 where the value was missing
        tokenizer: how to split a text into tokens; word+ngrams, words that are also read by their character n-grams, so
            that unknown words count too; word; or bpe, subwords by byte pair encoding
        vocabulary_size: maximum number of tokens in the vocabulary; the most frequent ones are kept
        ngram_buckets: number of vectors that the character n-grams of tokenizer word+ngrams share, by their hash
        min_count: minimum number of times a token must occur in the training texts to enter the vocabulary
        id_column: column of a table that names the series of each row, or a text to classify (default: id)
        time_column: column that orders the rows of a series, each of which is then a time step (default: time)
        label_column: column of the class (default: label or class; of texts also category, sentiment or target)
        feature_columns: columns that are features, or time steps if each row is a series, such as x,y,z (default: all
            others, except those that only name or count rows)
        drop_columns: columns to leave out, such as x,y,z (default: none)
        missing_values: marks of a missing value of a series beside an empty cell, NaN, NA, null and ?, such as
            -999,none; only tables have marks that are not numbers (default: no others)
        decimal: decimal separator of the numbers in a table
        resample: put each series on a grid of regular times by linear interpolation; 50Hz, 20ms or 0.02 in the units of
            the data's times, of dates in seconds (default: time steps are read as they stand)
        every: number of time steps of a series whose mean is read as one
        max_length: maximum number of time steps, or tokens, to read of each sequence; the rest is cut off (default: no
            maximum)
        window: number of time steps of the windows that each recording is cut into, which are then the sequences; those
            of a recording are held out together (default: recordings are not cut)
        stride: time steps from the beginning of a window to that of the next; the last window of a recording ends with
            it, and may begin earlier (default: half the window)
        text_column: column of the texts (default: the one called text, sentence, headline, review, title, message,
            comment, tweet or content)
        lines: where the class is in a line of text; before the text, after it, or on the side of a tab that has few
            different values (default: as every line of the file allows; otherwise you are asked)
    """

    read: Read = "rows"
    resize: str | None = None
    colour: ColourName | None = None
    test_fraction: float | None = None
    split_seed: int | None = None
    group: str | None = None
    group_pattern: str | None = None
    split_by_time: str | None = None
    fold: str | None = None
    val_data: str | None = None
    missing: MissingName = "impute"
    tokenizer: TokenizerName = "word+ngrams"
    vocabulary_size: int = 20_000
    ngram_buckets: int = 32_768
    min_count: int = 2
    id_column: str | None = None
    time_column: str | None = None
    label_column: str | None = None
    feature_columns: str | None = None
    drop_columns: str | None = None
    missing_values: str | None = None
    decimal: Decimal = "."
    resample: str | None = None
    every: int = 1
    max_length: int | None = None
    window: int | None = None
    stride: int | None = None
    text_column: str | None = None
    lines: LinesName | None = None

    def __post_init__(self) -> None:
        given: object = self.resize
        if type(given) is int:  # as Python callers write it
            object.__setattr__(self, "resize", str(given))
        step: object = self.resample
        if type(step) in (int, float):
            object.__setattr__(self, "resample", f"{step!r}")
        for name in LISTS:
            listed: object = getattr(self, name)  # as Python callers write it: a list, or a number
            if type(listed) in (int, float):
                listed = [listed]
            if isinstance(listed, (list, tuple)):
                object.__setattr__(self, name, ",".join(map(_quoted, listed)))
        check_types(self)
        if self.resize is not None and not re.fullmatch(r"[1-9]\d{0,4}(x[1-9]\d{0,4})?", self.resize):
            raise ConfigError(
                f"resize must be a size in pixels, 28 or 40x28 (width x height), got {quoted(self.resize)}"
            )
        if self.test_fraction is not None:
            check_fraction("test_fraction", self.test_fraction)
        if self.split_seed is not None and not 0 <= self.split_seed < 2**32:
            raise ConfigError(f"split_seed must be from 0 to 4294967295, got {quoted(self.split_seed)}")
        if self.is_grouped and self.split_by_time is not None:
            raise ConfigError("group and split_by_time are two ways to cut the data: choose one")
        if self.fold is not None and self.held_out_fold is None:
            raise ConfigError(
                f"fold must be written NUMBER/FOLDS, such as 2/5, 2 folds at least, got {quoted(self.fold)}"
            )
        if self.fold is not None and self.test_fraction is not None:
            raise ConfigError(
                f"fold {self.fold} is what is held out to test on: leave out test_fraction {self.test_fraction:g}"
            )
        try:
            re.compile(self.group_pattern or "")
        except re.error as error:
            raise ConfigError(
                f"group_pattern must be a regular expression, got {quoted(self.group_pattern)}: {error}"
            ) from error
        check_at_least("vocabulary_size", self.vocabulary_size, 2)
        check_at_least("ngram_buckets", self.ngram_buckets, 1)
        if self.ngram_buckets >= 2**31:
            raise ConfigError(f"ngram_buckets must be below {2**31}, got {self.ngram_buckets}")
        if self.tokenizer != "word+ngrams" and self.ngram_buckets != DataConfig.ngram_buckets:
            raise ConfigError(f"ngram_buckets needs tokenizer word+ngrams, got {self.tokenizer}")
        check_at_least("min_count", self.min_count, 1)
        check_at_least("every", self.every, 1)
        if self.max_length is not None:
            check_at_least("max_length", self.max_length, 1)
        self._check_window()
        for name in ("vocabulary_size", "min_count", "every", "max_length", "window"):
            check_at_most(name, getattr(self, name) or 1, MOST)
        if self.resample is not None and self.time_step is None:
            raise ConfigError(
                f"resample must be a rate such as 50Hz, or a time above 0 between two steps such as 20ms or 0.02, got "
                f"{quoted(self.resample)}"
            )

    def _check_window(self) -> None:
        if self.window is not None:
            check_at_least("window", self.window, 1)
        if self.stride is None:
            return
        check_at_least("stride", self.stride, 1)
        if self.window is None:
            raise ConfigError(f"stride {self.stride} is that of windows: give their length too, such as --window 128")
        if self.stride > self.window:
            raise ConfigError(
                f"stride must be at most window, {self.window}, got {self.stride}: time steps between windows would be "
                "skipped"
            )

    def names(self, setting: str) -> tuple[str, ...]:
        """Return the names, or marks, that one of the settings lists: those with a comma in quotes."""
        value = getattr(self, setting)
        return () if not value else tuple(name.strip() for name in next(csv.reader([value], skipinitialspace=True)))

    @property
    def is_grouped(self) -> bool:
        """Whether groups must not be divided."""
        return self.group is not None or self.group_pattern is not None

    @property
    def held_out_fold(self) -> tuple[int, int] | None:
        """The number of the fold that is held out, from 1, and how many there are; None if ``fold`` names none."""
        parts = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", self.fold or "")
        if parts is None or not int(parts[1]) <= int(parts[2]) or int(parts[2]) < 2:
            return None
        return int(parts[1]), int(parts[2])

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of ``resize``, in pixels."""
        if self.resize is None:
            return None
        width, _, height = self.resize.partition("x")
        return int(width), int(height or width)

    @property
    def time_step(self) -> float | None:
        """Time between two steps that ``resample`` asks for, in seconds or in units of the data's times."""
        parts = re.fullmatch(r"([\d.]+(?:e[+-]?\d+)?) *([a-z]*)", (self.resample or "").lower())
        try:
            number, unit = (float(parts[1]), parts[2]) if parts else (0.0, "")
        except ValueError:
            return None
        if not 0 < number < math.inf or unit not in {**SECONDS, **HERTZ}:
            return None
        step = 1 / (number * HERTZ[unit]) if unit in HERTZ else number * SECONDS[unit]
        return step if 0 < step < math.inf else None

    @property
    def channels(self) -> int | None:
        """Numbers of each pixel that ``colour`` asks for, 3 or 1; None leaves it to the images."""
        return None if self.colour is None else 3 if self.colour == "keep" else 1

    def check_unused(self, name: str, reason: str, *settings: str) -> None:
        """Raise `ConfigError` if one of ``settings`` is not its default: the data ``name`` does not use it."""
        for field_ in fields(self):
            value = getattr(self, field_.name)
            if field_.name in settings and value != field_.default:
                raise ConfigError(f"{field_.name} {value} cannot be used with {name}: {reason}")


def _quoted(name: object) -> str:
    text = str(name)
    return f'"{text}"' if "," in text else text
