"""The page on which one watches a model read: plain HTML, CSS and JavaScript, put together into one file.

The page needs no network and may not use it: a content security policy names the checksum of its script and of its
style, and allows nothing else. There is no build step; each file here is what a browser runs.
"""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

from ..formatting import is_printable, printable

# What computes, in the order in which it is read; it needs no browser.
ENGINE = ("cells.js", "model.js", "resize.js", "images.js", "series.js", "unicode.js", "texts.js")
# What is seen.
VIEWS = (
    "dom.js",
    "palette.js",
    "words.js",
    "player.js",
    "leaders.js",
    "bars.js",
    "curves.js",
    "heat.js",
    "moved.js",
    "pad.js",
    "pixels.js",
    "slices.js",
    "digit.js",
    "passage.js",
    "sentence.js",
    "chart.js",
    "table.js",
    "curve.js",
    "app.js",
)
STYLES = ("style.css", "views.css", "time.css", "inputs.css", "chart.css", "layout.css")
MARK = b'<meta name="generator" content="unroll">'  # in the head of every page


def read(name: str) -> str:
    """Return one of the page's files."""
    return (importlib.resources.files(__package__) / name).read_text("utf-8")


def engine() -> str:
    """Return the JavaScript that computes what a model says; it runs in any engine, without a browser too."""
    return "\n".join(map(read, ENGINE))


def page(description: dict[str, Any]) -> str:
    """Return the page as one HTML file.

    Args:
        description: plain JSON types, all that the page knows of the model; see `unroll.export`.
    """
    script = "\n".join([engine(), *map(read, VIEWS)])
    style = "\n".join(map(read, STYLES))
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_checksum(script)}'",
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
        "script": script,
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
