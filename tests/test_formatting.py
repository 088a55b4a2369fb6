"""What comes from a file is shown on one line, without anything that a terminal would obey or hide."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.table import Table
from rich.text import Text

import unroll
from unroll.cli.outcome import say
from unroll.cli.views.terminal import Screen
from unroll.errors import DataError
from unroll.formatting import is_printable, listed, printable, quoted, shown
from unroll.notebook import facts
from unroll.page import html_page
from unroll.plots.style import label
from unroll.report import _unbroken_percent

ESCAPED = {
    "an escape": ("a\x1b[31mb", r"a\x1b[31mb"),
    "delete": ("\x7f", r"\x7f"),
    "a control of the second kind": ("\x9b31m", r"\x9b31m"),
    "a line end": ("a\nb\r", r"a\nb\r"),
    "a bidirectional override": ("\u202egpj.exe", r"\u202egpj.exe"),
    "an isolate": ("\u2066a\u2069", r"\u2066a\u2069"),
    "half a character": ("\ud800", r"\ud800"),
    "a separator of lines": ("a\u2028b", r"a\u2028b"),
    "what has no width": ("a\u200bb\ufeff", r"a\u200bb\ufeff"),
}
KEPT = {
    "a family": "👩\u200d👩\u200d👧",
    "a Persian word with a non-joiner": "می\u200cخواهم",
    "combining marks": "e\u0301 n\u0303",
    "Japanese with its own blank": "日本\u3000語",
    "Hindi": "क्\u200dष",
    "a no-break space": "10\u00a0%",
    "a flag": "🏳️\u200d🌈",
}


@pytest.mark.parametrize("what", ESCAPED)
def test_what_a_terminal_obeys_or_hides_is_escaped(what: str) -> None:
    text, expected = ESCAPED[what]
    assert printable(text) == expected
    assert not is_printable(text)
    assert str(DataError(f"x: {text}")) == f"x: {expected}"


@pytest.mark.parametrize("what", KEPT)
def test_letters_of_all_languages_show_as_they_are(what: str) -> None:
    assert printable(KEPT[what]) == KEPT[what] == shown(KEPT[what])
    assert is_printable(KEPT[what])


def test_a_long_value_is_cut() -> None:
    assert shown("a" * 80) == "a" * 80
    assert shown("a" * 50_000) == "a" * 79 + "…"
    assert shown("\x1b" * 50_000) == r"\x1b" * 19 + "\\x1…"
    assert quoted("a" * 90) == f"'{'a' * 79}…'"
    assert listed(f"class{n}" for n in range(20_000)) == shown(", ".join(f"class{n}" for n in range(20_000)))
    assert len(shown([["b" * 1_000] * 1_000] * 1_000)) <= 80
    assert len(shown(10**4_000)) <= 80
    assert shown(ValueError("first\nsecond")) == "first"
    assert shown(ValueError()) == "ValueError"


def test_the_command_line_escapes_what_a_place_forgot(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[2Jb" + "c" * 500)  # a path that the user typed is not cut
    assert capsys.readouterr().err == "unroll: a\\x1b[2Jb" + "c" * 500 + "\n"
    console = Screen()
    console.file = io.StringIO()
    table = Table(title="t\x1b[2J")
    table.add_column("می\u200cخواهم")
    table.add_row(Text("b\x9b\n\u202ec"))
    console.print(table)
    console.print(Text("one\ntwo\x7f"))
    written = console.file.getvalue()
    assert "one\ntwo\\x7f\n" in written
    assert "می\u200cخواهم" in written
    assert all(is_printable(line) for line in written.split("\n"))


def test_a_class_may_have_a_name_of_any_language(tmp_path: object) -> None:
    names = ("می\u200cخواهم", "👩\u200d👧")
    with open("d.csv", "w", encoding="utf-8") as file:
        file.write("label,a,b\n" + "".join(f"{names[n % 2]},{n},1\n" for n in range(20)))
    assert set(unroll.load("d.csv").classes) == set(names)


def test_no_page_holds_what_nobody_sees() -> None:
    hidden = "a\x1b\x7f\x9b\u202eb می\u200cخواهم <b>"
    page = html_page({"title": hidden, "classes": [hidden]}, "")
    assert all(is_printable(line) for line in page.split("\n") if "\t" not in line)
    embedded = re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert embedded is not None
    assert json.loads(embedded[1])["classes"] == [hidden]
    assert is_printable(_unbroken_percent(hidden))
    assert is_printable(facts({hidden: hidden}))
    assert label(hidden) == printable(hidden)
