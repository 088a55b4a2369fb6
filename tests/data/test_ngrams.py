"""Words as hashed n-grams, beside a loop over characters and bytes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fuzz
from unroll import ConfigError, DataError
from unroll.config import DataConfig
from unroll.data.ngrams import MOST, hashed_ngrams
from unroll.data.tokenizer import Tokenizer

ODD = [
    "",
    "a",
    "ab",
    "film",
    "😀",
    "e\u0301\u0302",
    "x" * 500,
    "日本語",
    "\x7f\x80\u07ff\u0800\uffff\U00010000\U0010ffff",
]
TEXTS = ["A fine film!", "ＦＩＬＭ, a filmic film", "", "  ", "unheard-of"]


def fnv1a(content: bytes) -> int:
    state = 0x811C9DC5
    for byte in content:
        state = (state ^ byte) * 0x01000193 % 2**32
    return state


def looped(word: str, buckets: int) -> list[int]:
    marked = f"<{word[:22]}>"
    parts = [marked[at : at + size] for size in (3, 4, 5) for at in range(len(marked) - size + 1)]
    return [1 + fnv1a(part.encode()) % buckets for part in parts]


def test_the_loop_hashes_as_the_rfc_says() -> None:
    assert [fnv1a(content) for content in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]


@pytest.mark.parametrize("buckets", [1, 7, 32_768, 2**31 - 1])
def test_odd_words_have_the_n_grams_of_the_loop(buckets: int) -> None:
    numbers = hashed_ngrams(ODD, buckets)
    assert (numbers.shape, numbers.dtype) == ((len(ODD), MOST), np.int32)
    for word, row in zip(ODD, numbers.tolist(), strict=True):
        expected = looped(word, buckets)
        assert row == expected + [0] * (MOST - len(expected)), word
    assert hashed_ngrams([], buckets).shape == (0, MOST)


def test_a_table_is_as_wide_as_the_longest_word_has_n_grams() -> None:
    assert len(looped("x" * 500, 9)) == MOST == 22 + 21 + 20


@fuzz.settings(40)
@given(words=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), max_size=8))
def test_any_words_have_the_n_grams_of_the_loop(words: list[str]) -> None:
    for word, row in zip(words, hashed_ngrams(words, 1_000).tolist(), strict=True):
        expected = looped(word, 1_000)
        assert row == expected + [0] * (MOST - len(expected))


def test_the_table_of_words_holds_tokens_and_n_grams() -> None:
    tokenizer = Tokenizer.learn("word+ngrams", TEXTS, 100, 2, 50)
    assert tokenizer.vocabulary == ["[UNK]", "film", "a"]
    assert tokenizer.checked() is tokenizer
    rows, table = tokenizer.words(TEXTS)
    assert [table[own, 0].tolist() for own in rows] == tokenizer.ids(TEXTS)
    assert not table[0].any()
    (film, filmic) = rows[1][0], rows[1][3]
    assert rows[0][2] == film == rows[1][4]
    assert table[film, 1:].tolist() == hashed_ngrams(["film"], 50)[0].tolist()
    assert table[filmic].tolist() == [0, *hashed_ngrams(["filmic"], 50)[0].tolist()]
    with pytest.raises(DataError, match="the tokenizer is broken"):
        Tokenizer(Tokenizer.learn("bpe", TEXTS, 20, 1).json.replace('"type":"Whitespace"', '"type":"x"'), 50).checked()


def test_a_tokenizer_that_cannot_name_what_it_lacks_is_broken() -> None:
    json = Tokenizer.learn("word", TEXTS, 20, 1).json
    assert json.count('"unk_token":"[UNK]"') == 1
    with pytest.raises(DataError, match="the tokenizer is broken"):
        Tokenizer(json.replace('"unk_token":"[UNK]"', '"unk_token":"[none]"')).checked()


def test_the_number_of_buckets_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"ngram_buckets needs tokenizer word\+ngrams, got word"):
        DataConfig(tokenizer="word", ngram_buckets=10)
    for wrong in (0, 2**31):
        with pytest.raises(ConfigError, match="ngram_buckets must be"):
            DataConfig(tokenizer="word+ngrams", ngram_buckets=wrong)
    assert DataConfig(tokenizer="word+ngrams", ngram_buckets=2**31 - 1).ngram_buckets == torch.iinfo(torch.int32).max
