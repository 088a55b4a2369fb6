"""The page's tokens do not depend on the Unicode of the browser: character by character, beside the library."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import py_mini_racer
import pytest

from unicode_tables import LOWER, WORDS, tokenizers
from unroll.page import read, script

pytest_plugins = ["browser"]

NFKC = tokenizers.normalizers.NFKC()
SCRIPT = f"""(() => {{
{script("engine/tokenizer.js")}
const characters = (text) => Normal.characters(text, 0, text.length);
const joined = (found) => found.map(({{ character }}) => character).join("");
const lines = (text, change) => text.split("\\n").map((line) => joined(change(characters(line), 0))).join("\\n");
const count = (text) => Array.from(Texts.words(characters(text))).length;
const counts = (tried) => tried.map((c) => `${{count("a" + c)}} ${{count("!" + c)}}`).join();
const unknown = (tried) => tried.filter((c) => /\\p{{Cn}}/u.test(c) && !Unicode.isUnassigned(c));
return {{ lines, counts, unknown, Normal }};
}})()"""
# One of each kind that newer versions of Unicode brought: letters in other shapes, marks, capitals, letters, digits,
# symbols, and letters that others are joined into.
NEW = {
    "15": "\U0001e030 \U00010efd \U00011f41 \U00011f04 \U00011f50 \U0001e08f \U00031350 \U0001f6dc",
    "15.1": "\U0002ebf0 \U0002ee5d \u2ffc \u31ef",
    "16": "\U0001ccd6 \U0001ccf9 \u1c89 \ua7cb \ua7da \ua7dc \U00010d50 \U000105c9 \U00011383 \U000113ce \u0897",
    "17": "\ua7ce \ua7d2 \ua7d4 \U00016ea0 \U00016eb8 \u1acf \u1add \U00011de0 \U00011db0 \U0001e6e3 \U0001faea",
}
# The middles of long runs, whose characters all are letters of one script, of private use, or not assigned.
ALIKE = (
    (0x3500, 0x4D00), (0x4F00, 0x9F00), (0xAD00, 0xD700), (0xE100, 0xF800), (0x12500, 0x12F00), (0x13500, 0x14300),
    (0x14700, 0x16000), (0x17100, 0x18700), (0x18E00, 0x1AF00), (0x1B400, 0x1BB00), (0x20100, 0x2A600),
    (0x2A800, 0x2EB00), (0x2FB00, 0x31300), (0x31400, 0x32300), (0x32500, 0x33400), (0x33500, 0xDFF00),
    (0xE0200, 0xEFF00), (0xF0100, 0x10FF00),
)  # fmt: skip
SURROGATES = (0xD7FF, 0xE000)
ENDS = [0, *(end for run in sorted((*ALIKE, SURROGATES)) for end in run), 0x10FFFF]
POINTS = [point for first, last in zip(ENDS[::2], ENDS[1::2], strict=True) for point in range(first, last + 1)]
TRIED = [chr(point) for point in POINTS if chr(point) != "\n"]
Evaluate = Callable[[str], Any]


def _in_mini_racer() -> Iterator[Evaluate]:
    with py_mini_racer.mini_racer() as context:
        context.eval(f"const page = {SCRIPT};")
        yield lambda code: json.loads(str(context.eval(f"JSON.stringify({code})")))


@pytest.fixture(scope="module")
def mini_racer() -> Iterator[Evaluate]:
    yield from _in_mini_racer()


@pytest.fixture(scope="module")
def browser(chromium: Any) -> Iterator[Evaluate]:
    context = chromium.new_context()
    page = context.new_page()
    page.evaluate(f"window.page = {SCRIPT}")
    yield page.evaluate
    context.close()


@pytest.fixture(params=["mini_racer", pytest.param("browser", marks=pytest.mark.browser)])
def evaluate(request: pytest.FixtureRequest) -> Evaluate:
    """JavaScript, in an engine that has its own tables of Unicode."""
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize(
    ("around", "change", "library"),
    [
        ("{}", "nfkc", NFKC),
        ("\u0345{}\u0334", "nfkc", NFKC),  # between marks of the highest and of the lowest class
        ("{}", "lowercase", LOWER),
    ],
)
@pytest.mark.slow
def test_a_character_changes_as_in_the_library(evaluate: Evaluate, around: str, change: str, library: Any) -> None:
    text = "\n".join(map(around.format, TRIED))
    found = evaluate(f"page.lines({json.dumps(text)}, page.Normal.{change})").split("\n")
    expected = library.normalize_str(text).split("\n")
    differ = [
        (hex(ord(c)), ours, theirs) for c, ours, theirs in zip(TRIED, found, expected, strict=True) if ours != theirs
    ]
    assert not differ


@pytest.mark.slow
def test_a_character_is_of_a_word_or_a_symbol_as_in_the_library(evaluate: Evaluate) -> None:
    found = evaluate(f"page.counts({json.dumps(TRIED)})").split(",")
    expected = [" ".join(str(len(WORDS.pre_tokenize_str(before + c))) for before in "a!") for c in TRIED]
    differ = [hex(ord(c)) for c, ours, theirs in zip(TRIED, found, expected, strict=True) if ours != theirs]
    assert not differ


def test_what_no_engine_knows_yet_is_left_alone(evaluate: Evaluate) -> None:
    """A later Unicode may make anything of a character that is not assigned yet."""
    unknown = evaluate(f"page.unknown({json.dumps(TRIED)})")
    assert [hex(ord(c)) for c in unknown if LOWER.normalize_str(c) == c] == []


@pytest.mark.parametrize("text", ["Ab{}cD", "{0}{0}", "é{}\u0301\u0323", "\u0323{}", "x {}!"])
@pytest.mark.parametrize("version", NEW)
def test_newer_characters_within_words(evaluate: Evaluate, version: str, text: str) -> None:
    texts = "\n".join(map(text.format, NEW[version].split()))
    found = evaluate(f"page.lines({json.dumps(texts)}, (c) => page.Normal.lowercase(page.Normal.nfkc(c, 0), 0))")
    assert found == LOWER.normalize_str(NFKC.normalize_str(texts))


def test_the_tables_are_small() -> None:
    assert sum(len(table) for table in read("engine/unicode.js").split("`")[1::2]) < 4_000
