"""Texts as numbers: the vocabulary that a model reads, learned on its training part and saved with its run."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ..config import DataConfig, TokenizerName
from ..errors import DataError, how_to_install
from ..formatting import shown
from .ngrams import hashed_ngrams

UNKNOWN = "[UNK]"  # id 0: what the vocabulary lacks


@dataclass(frozen=True)
class Tokenizer:
    """How a text becomes numbers, as the library tokenizers does it.

    Texts are brought into Unicode's form NFKC and into lower case, then cut into words, and into runs of what is
    neither letter nor digit. Of kind "word" a token is such a word; one that the vocabulary lacks is ``[UNK]``. Of kind
    "bpe" it is one of the pieces that byte pair encoding makes of words; a word never seen is pieces too. Of kind
    "word+ngrams" a token is a word that is also read by its character n-grams: see `unroll.data.ngrams`.

    Attributes:
        json: the tokenizer, as the library saves it
        ngram_buckets: number of vectors that n-grams share; 0 if words are not read by them
    """

    json: str
    ngram_buckets: int = 0

    @classmethod
    def learn(
        cls,
        kind: TokenizerName,
        texts: Sequence[str],
        size: int,
        min_count: int,
        ngram_buckets: int = DataConfig.ngram_buckets,
    ) -> Tokenizer:
        """Learn a vocabulary.

        Args:
            kind: "word", "word+ngrams" or "bpe".
            texts: of the training part.
            size: entries at most, ``[UNK]`` among them; the most frequent ones are kept.
            min_count: words ("bpe": pairs of pieces) that occur less often are left out.
            ngram_buckets: of "word+ngrams" (default 32768).

        Source: R. Sennrich, B. Haddow, A. Birch, arXiv:1508.07909 (byte pair encoding of words).
        """
        hf = library()
        tokenizer = hf.Tokenizer(hf.models.BPE(unk_token=UNKNOWN))
        tokenizer.normalizer = hf.normalizers.Sequence([hf.normalizers.NFKC(), hf.normalizers.Lowercase()])
        tokenizer.pre_tokenizer = hf.pre_tokenizers.Whitespace()
        if kind == "bpe":
            trainer = hf.trainers.BpeTrainer(
                vocab_size=size, min_frequency=min_count, special_tokens=[UNKNOWN], show_progress=False
            )
            tokenizer.train_from_iterator(texts, trainer)
            return cls(tokenizer.to_str())
        tokenizer.model = hf.models.WordLevel()
        # Not one of its special tokens: these are looked for in texts before they are cut into words.
        trainer = hf.trainers.WordLevelTrainer(
            vocab_size=size - 1, min_frequency=min_count, special_tokens=[], show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        numbers = tokenizer.get_vocab()
        vocabulary = {word: number for number, word in enumerate([UNKNOWN, *sorted(numbers, key=numbers.__getitem__)])}
        tokenizer.model = hf.models.WordLevel(vocabulary, UNKNOWN)
        return cls(tokenizer.to_str(), ngram_buckets if kind == "word+ngrams" else 0)

    def checked(self) -> Tokenizer:
        """Return this, after a look at what a file may have got wrong.

        Raises:
            DataError: the library cannot read it, it lacks ``[UNK]``, or its ids have gaps.
        """
        vocabulary: dict[str, int] = _tokenizer(self.json).get_vocab()
        if vocabulary.get(UNKNOWN) != 0:
            raise DataError(f"the tokenizer is broken (it lacks the token {UNKNOWN}, number 0)")
        if sorted(vocabulary.values()) != list(range(len(vocabulary))):
            raise DataError(f"the tokenizer is broken (its {len(vocabulary):,} tokens are not numbered from 0 on)")
        probes = ["a", "\u0f3c"]  # one that is known to few
        if self.ngram_buckets and len(self.words(probes)[0]) != len(self.ids(probes)):
            raise DataError("the tokenizer is broken (it has no words to make n-grams of)")
        self.ids(probes)
        return self

    @property
    def size(self) -> int:
        """Number of tokens, ``[UNK]`` among them."""
        return int(_tokenizer(self.json).get_vocab_size())

    @property
    def vocabulary(self) -> list[str]:
        """The tokens in the order of their ids."""
        vocabulary: dict[str, int] = _tokenizer(self.json).get_vocab()
        return sorted(vocabulary, key=vocabulary.__getitem__)

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of each text's tokens; none at all for a text without a word."""
        tokenizer = _tokenizer(self.json)
        with _errors_of_the_library():
            return [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]

    def words(self, texts: Sequence[str]) -> tuple[list[list[int]], np.ndarray]:
        """Return the words of each text, as rows of a table of all distinct ones, and that table; see `table`."""
        rows = {"": 0}
        return self.rows(texts, rows), self.table(rows)

    def rows(self, texts: Sequence[str], rows: dict[str, int]) -> list[list[int]]:
        """Return the words of each text, as numbers from ``rows``, to which new words are added."""
        tokenizer = _tokenizer(self.json)
        with _errors_of_the_library():
            normalise, split = tokenizer.normalizer.normalize_str, tokenizer.pre_tokenizer.pre_tokenize_str
            return [[rows.setdefault(word, len(rows)) for word, _ in split(normalise(text))] for text in texts]

    def table(self, rows: dict[str, int]) -> np.ndarray:
        """Return words as a model reads them, (words, 1 + n-grams) int32, in the order of ``rows``.

        That is the id, 0 of an unknown word, and its `hashed_ngrams`. Row 0 is all 0, which stands for no word.
        """
        tokenizer = _tokenizer(self.json)
        ids = [tokenizer.token_to_id(word) or 0 for word in rows]
        table = np.column_stack([np.array(ids, np.int32), hashed_ngrams(list(rows), self.ngram_buckets)])
        table[0] = 0
        return table

    def tokens(self, text: str) -> list[str]:
        """Return a text's tokens as they are read, ``[UNK]`` where one is unknown."""
        return list(_tokenizer(self.json).encode(text).tokens)

    def offsets(self, text: str) -> list[tuple[int, int]]:
        """Return where in ``text`` its tokens stand: of each the first character, and the one behind its last."""
        return list(_tokenizer(self.json).encode(text).offsets)


def library() -> Any:
    """Return the library tokenizers.

    Raises:
        DataError: it is not installed.
    """
    try:
        return importlib.import_module("tokenizers")
    except ImportError as error:
        raise DataError(f"texts need the library tokenizers: {how_to_install('text')}") from error


@lru_cache(maxsize=8)
def _tokenizer(json: str) -> Any:
    tokenizers = library()
    with _errors_of_the_library():
        return tokenizers.Tokenizer.from_str(json)


@contextmanager
def _errors_of_the_library() -> Iterator[None]:
    """Within the block what the library raises is a `DataError`; it has no errors more special than Exception."""
    try:
        yield
    except BaseException as error:
        # A panic of its Rust code is not an Exception, and its class is known only by name.
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise DataError(f"the tokenizer is broken ({shown(error)})") from error
        raise
