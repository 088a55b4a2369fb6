"""Makes the tables of ``src/unroll/page/engine/unicode.js`` anew: ``python tests/helpers/unicode_tables.py``.

They say where the library tokenizers and a browser may differ about a character. The newer the Unicode of mini-racer's
JavaScript engine, the more is known of it.
"""

from __future__ import annotations

import functools
import re
import textwrap
from collections.abc import Container
from pathlib import Path

import py_mini_racer
import tokenizers

from unroll import page

NFKD = tokenizers.normalizers.NFKD()
LOWER = tokenizers.normalizers.Lowercase()
WORDS = tokenizers.pre_tokenizers.Whitespace()
# A digit for each character: whether it is unassigned in the engine's Unicode, and whether the form NFKC changes it or
# puts it in order as a mark.
ENGINE = r"""
const changes = (text) => text.normalize("NFKD") !== text;
const unassigned = (c) => /\p{Cn}/u.test(c);
const formed = (c) => changes(c) || changes("\u0345" + c) || changes(c + "\u0334");
const digits = (tell) => {
  let found = "";
  for (let point = 0; point < 0x110000; point++)
    if (point < 0xd800 || point > 0xdfff) found += tell(String.fromCodePoint(point)) ? 1 : 0;
  return found;
};
"""


@functools.cache
def characters() -> list[str]:
    return [chr(point) for point in range(0x110000) if not 0xD800 <= point <= 0xDFFF]


def tables() -> dict[str, str]:
    """Return each table of the page as it is written there."""
    with py_mini_racer.mini_racer() as context:
        context.eval(ENGINE)
        unassigned, formed = (_which(str(context.eval(f"digits({name})"))) for name in ("unassigned", "formed"))
    ours = {character for character in characters() if _is_formed(character)}
    # What is left alone is joined with nothing either.
    parts = {part for character in ours for part in NFKD.normalize_str(character)}
    unformed = set(characters()) - ours - parts
    symbols = {
        character for character in unformed if LOWER.normalize_str(character) == character and _is_symbol(character)
    }
    return {
        "UNASSIGNED": _table(unassigned & (symbols | capitals()), symbols),
        "UNFORMED": _table((formed - ours) & unformed, unformed),
    }


def capitals() -> set[str]:
    """Return the letters whose small ones the page has by heart."""
    found = re.search(r"CAPITALS: \[(.*?)\n  \],", page.read("engine/unicode.js"), re.DOTALL)
    assert found
    ends = re.findall(r"\[0x(\w+), 0x(\w+), ", found[1])
    return {chr(point) for first, last in ends for point in range(int(first, 16), int(last, 16) + 1)}


def _which(digits: str) -> set[str]:
    return {character for character, digit in zip(characters(), digits, strict=True) if digit == "1"}


def _is_formed(character: str) -> bool:
    return any(NFKD.normalize_str(text) != text for text in (character, "\u0345" + character, character + "\u0334"))


def _is_symbol(character: str) -> bool:
    """Tell whether a character is neither of a word nor a space to the library."""
    return [len(WORDS.pre_tokenize_str(before + character)) for before in "a!"] == [2, 1]


def _table(wanted: set[str], free: Container[str]) -> str:
    """Return ranges of code points with all wanted characters and, apart from them, none but free ones."""
    ranges: list[tuple[int, int]] = []
    goes_on = False
    for character in characters():
        if character in wanted:
            first = ranges.pop()[0] if goes_on else ord(character)
            ranges.append((first, ord(character)))
        goes_on = character in wanted or (goes_on and character in free)
    last, words = 0, []
    for first, end in ranges:
        words += [_base_36(first - last), _base_36(end - first)]
        last = end
    return "\n".join(textwrap.wrap(" ".join(words), 116, initial_indent="    ", subsequent_indent="    "))


def _base_36(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    return (_base_36(number // 36) if number >= 36 else "") + digits[number % 36]


if __name__ == "__main__":
    file = Path(page.__file__).parent / "engine" / "unicode.js"
    content = file.read_text("utf-8")
    for name, table in tables().items():
        content = re.sub(
            rf"  {name}: `.*?`", lambda _, n=name, t=table: f"  {n}: `\n{t}\n  `", content, flags=re.DOTALL
        )
    file.write_text(content, "utf-8")
