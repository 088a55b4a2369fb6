"""The page on which one watches a model read: plain HTML, CSS and JavaScript, put together into one file.

The page needs no network and may not use it: a content security policy names the checksum of its script and of its
style, and allows nothing else. There is no build step: the JavaScript files are modules, for linters and tests, and a
page holds them as one script without their imports and exports. So no two may share a name at their top level.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from ..formatting import is_printable, printable

# The modules of what computes that others ask; it needs no browser.
ENGINE = ("engine/model.js", "engine/images.js", "engine/series.js", "engine/tokenizer.js")
STYLES = ("style.css", "views.css", "time.css", "inputs.css", "chart.css", "layout.css")
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "(\.\.?/[\w./]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async |class |const |function))", re.MULTILINE)
MARK = b'<meta name="generator" content="unroll">'  # in the head of every page


def read(name: str) -> str:
    """Return one of the page's files."""
    return (importlib.resources.files(__package__) / name).read_text("utf-8")


def modules(*entries: str) -> dict[str, str]:
    """Return the sources of modules and of all that they import, by name, each after what it imports."""
    ordered: dict[str, str] = {}
    entered = set()

    def enter(name: str) -> None:
        if name in entered:
            return
        entered.add(name)
        source = read(name)
        for _, path in IMPORT.findall(source):
            enter(posixpath.normpath(posixpath.join(posixpath.dirname(name), path)))
        ordered[name] = source

    for entry in entries:
        enter(entry)
    return ordered


def script(*entries: str) -> str:
    """Return modules, with all that they import, as one classic script."""
    sources = (EXPORT.sub("", IMPORT.sub("", source)) for source in modules(*entries).values())
    return "\n".join(['"use strict";', *sources])


def engine() -> str:
    """Return the JavaScript that computes what a model says; it runs in any engine, without a browser too."""
    return script(*ENGINE)


def html_page(description: dict[str, Any]) -> str:
    """Return the page as one HTML file.

    Args:
        description: plain JSON types, all that the page knows of the model; see `unroll.export`.
    """
    code = script("app.js")
    style = "\n".join(map(read, STYLES))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_checksum(code)}'",
            f"style-src '{_checksum(style)}'",
            "img-src data: blob:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    told = json.dumps(description, ensure_ascii=False, allow_nan=False)
    # "<" could end the element that the description stands in; in JSON it may be written like this, as may what nobody
    # sees in a file.
    parts = {
        "title": html.escape(printable(str(description["title"]))),
        "policy": policy,
        "style": style,
        "description": re.sub(r"<|[^ -~]", _written, told),
        "script": code,
    }
    before, *rest = read("page.html").split("{{ ")
    return before + "".join(parts[name] + after for name, _, after in (part.partition(" }}") for part in rest))


def _written(found: re.Match[str]) -> str:
    character = found[0]
    if character == "<":
        return "\\u003c"
    return character if is_printable(character) else json.dumps(character)[1:-1]


def is_page(path: Path) -> bool:
    """Tell a page made here from any other file, of which no more than its head is read."""
    if not path.is_file():  # to open a pipe would wait for its other end
        return False
    with path.open("rb") as file:
        return MARK in file.read(2_000)


def _checksum(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
