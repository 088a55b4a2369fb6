"""The page's tokenizer in JavaScript, beside the library tokenizers."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import py_mini_racer
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fuzz
from unroll.data.tokenizer import Tokenizer
from unroll.page import script

UNROLL_DATA = os.environ.get("UNROLL_DATA")

# Where the two could differ: marks out of order and joined, letters that become several or one, what looks like a
# special token, names that a JavaScript object has by itself.
HARD = (
    "İSTANBUL Iı ĞÜŞ",
    "ΟΔΥΣΣΕΥΣ ΣΑΣ ΌΣΟΣ",
    "cafe\u0301 CAFE\u0301 e\u0323\u0301 e\u0301\u0323 x\u0301\u0323\u0334\u0345",
    "ﬁne ﬃ ①② ｶﾞ ㍿ ﷺ ½ ² ™ …",
    "한국어 \u1112\u1161\u11ab \u1112\u1161 \u11ab",
    "नमस्ते दुनिया कि\u0324",
    "don't co-operate, well-known: 3.14 (e.g.) a_b __proto__ constructor",
    "👍🏽 emoji👩\u200d👩\u200d👧 and 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝒳",
    "[UNK] x[UNK][UNK]y [unk] [UN K]",
    "\u0301starts with a mark \u0344 \u0fb2\u0f71\u0f80 \u212b \u1e9b\u0323",
    "tabs\tand\nlines\u00a0\u2003\u3000\u200bwide\ufeff",
    " ",
    "",
)
# Characters of every kind that has rules of its own, more often than chance would bring them together.
LETTERS = st.one_of(
    st.sampled_from("aAeEoOiIİıΣσςſßẞǅ ﬁｶﾞ가ᄒ\u1161\u11abÅ \t'.-_[]UNK"),
    st.sampled_from("\u0300\u0301\u0307\u0323\u0327\u0334\u0345\u0344\u0338\u05b0\u3099\u0f71\u0f72\u0f74\u200d\u1dce"),
    st.characters(codec="utf-8", max_codepoint=0x2FFF),
    st.characters(codec="utf-8"),
)
Tokenize = Callable[[Tokenizer, Sequence[str]], list[dict[str, list]]]


@pytest.fixture(scope="module")
def tokenize() -> Iterator[Tokenize]:
    """Tokenize texts in JavaScript: ``tokenize(tokenizer, texts)``."""
    with py_mini_racer.mini_racer() as context:
        context.eval(f"{script('engine/tokenizer.js')}\nlet tokenizer, learned;")

        def run(own: Tokenizer, texts: Sequence[str]) -> list[dict[str, list]]:
            learned, buckets = own.json, own.ngram_buckets
            context.eval(
                f"if (learned !== {json.dumps(learned)})"
                f" [learned, tokenizer] = [{json.dumps(learned)}, JSON.parse({json.dumps(learned)})]; 0"
            )
            found = context.eval(
                f"JSON.stringify({json.dumps(list(texts))}.map((text) =>"
                f" Texts.tokens(text, {{tokenizer, ngram_buckets: {buckets}}})))"
            )
            return list(json.loads(found))

        yield run


def _units(text: str) -> list[int]:
    """Return at which UTF-16 unit each character stands, and where the text ends."""
    places = [0]
    for character in text:
        places.append(places[-1] + 1 + (ord(character) > 0xFFFF))
    return places


def _compare(tokenize: Tokenize, learned: Tokenizer, texts: Sequence[str]) -> None:
    rows_of_each, table = learned.words(texts) if learned.ngram_buckets else (learned.ids(texts), None)
    for text, ids, rows, found in zip(texts, learned.ids(texts), rows_of_each, tokenize(learned, texts), strict=True):
        units = _units(text)
        assert found["numbers"] == ids, text
        if table is None:
            assert found["steps"] == ids, text
        else:
            expected = [
                [int(token), *ngrams[ngrams > 0].tolist()]
                for token, ngrams in zip(table[rows, 0], table[rows, 1:], strict=True)
            ]
            assert found["steps"] == expected, text
        assert found["places"] == [[units[first], units[behind]] for first, behind in learned.offsets(text)], text


@pytest.fixture(scope="module", params=["word", "word+ngrams", "bpe"])
def learned(request: pytest.FixtureRequest) -> Tokenizer:
    return Tokenizer.learn(request.param, [*HARD, "the cat sat on the mat", "then that other theme"] * 2, 150, 1)


def test_hard_texts(tokenize: Tokenize, learned: Tokenizer) -> None:
    _compare(tokenize, learned, HARD)
    _compare(tokenize, learned, ["".join(reversed(text)) for text in HARD])


@fuzz.settings(60)
@example(["\U0001ccd6", "0\U0001ccd6"])  # of Unicode 16: V8 knew it, the library did not
@given(texts=st.lists(st.text(LETTERS, max_size=24), min_size=1, max_size=20))
@pytest.mark.slow
def test_any_text(tokenize: Tokenize, learned: Tokenizer, texts: list[str]) -> None:
    _compare(tokenize, learned, texts)


def test_a_text_as_long_as_a_book_page(tokenize: Tokenize, learned: Tokenizer) -> None:
    _compare(tokenize, learned, ["the cat sat on the mat, " * 300 + "x" * 2_000])


@pytest.mark.data
@pytest.mark.parametrize("kind", ["word", "word+ngrams", "bpe"])
@pytest.mark.slow
def test_real_texts(tokenize: Tokenize, kind: str) -> None:
    if not UNROLL_DATA or not all((Path(UNROLL_DATA) / name).is_dir() for name in ("sst2", "sarcasm")):
        pytest.skip("needs SST-2 and the headlines in $UNROLL_DATA/sst2 and sarcasm")
    folder = Path(UNROLL_DATA)
    sst2 = [path.read_text("utf-8").splitlines() for path in sorted((folder / "sst2").iterdir())]
    sentences = [line.partition(" ")[2] for lines in sst2 for line in lines]
    lines = gzip.decompress(next((folder / "sarcasm").iterdir()).read_bytes()).splitlines()
    headlines = [json.loads(line)["headline"] for line in lines]
    every = 1 if fuzz.EXAMPLES else 24
    for texts in (sentences[::every], headlines[::every]):
        learned = Tokenizer.learn(kind, texts[::2], 5_000, 2)  # type: ignore[arg-type]
        _compare(tokenize, learned, texts)
