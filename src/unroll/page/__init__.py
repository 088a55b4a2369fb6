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
ENGINE = (
    "engine/cells.js",
    "engine/model.js",
    "engine/resize.js",
    "engine/images.js",
    "engine/series.js",
    "engine/unicode.js",
    "engine/tokenizer.js",
)
# What is seen.
VIEWS = (
    "dom.js",
    "views/palette.js",
    "views/captions.js",
    "views/player.js",
    "views/class_colours.js",
    "views/class_bars.js",
    "views/probability_curves.js",
    "views/state_heatmap.js",
    "views/state_change.js",
    "inputs/drawing_pad.js",
    "inputs/pixel_grid.js",
    "work_slices.js",
    "inputs/image_input.js",
    "inputs/token_view.js",
    "inputs/text_input.js",
    "inputs/series_editor.js",
    "inputs/csv.js",
    "inputs/series_input.js",
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


def html_page(description: dict[str, Any]) -> str:
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
