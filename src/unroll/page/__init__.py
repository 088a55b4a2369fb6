"""Build the page that shows a model reading: plain HTML, CSS and JavaScript in one file.

The page cannot use the network: its content security policy allows only its own script and style, by checksum. There is
no build step: the JavaScript files are modules, for linters and tests, and the page joins them into one script without
their imports and exports. So no two modules may share a top-level name.
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

# The entry points of the engine, which needs no browser.
ENGINE = ("engine/model.js", "engine/images.js", "engine/series.js", "engine/tokenizer.js")
STYLES = ("style.css", "views.css", "time.css", "inputs.css", "chart.css", "layout.css")
IMPORT = re.compile(r'^import \{ ([\w, ]+) \} from "(\.\.?/[\w./]+)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async |class |const |function))", re.MULTILINE)
MARK = b'<meta name="generator" content="unroll">'  # in the head of every page


def read(name: str) -> str:
    """Return the text of one of the page's files."""
    return (importlib.resources.files(__package__) / name).read_text("utf-8")


def modules(*entries: str) -> dict[str, str]:
    """Return the sources of modules and of their imports, by name, imports first."""
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


def script(*entries: str, steps: str = "") -> str:
    """Join modules and their imports into one classic script.

    Args:
        entries: names of the modules.
        steps: code that declares STEPS, the steps of a model's cells (default none).
    """
    sources = (EXPORT.sub("", IMPORT.sub("", source)) for source in modules(*entries).values())
    return "\n".join(['"use strict";', *filter(None, [steps]), *sources])


def engine(steps: str = "") -> str:
    """Return the JavaScript that computes a model's predictions, which also runs without a browser; see `script`."""
    return script(*ENGINE, steps=steps)


def html_page(description: dict[str, Any], steps: str) -> str:
    """Return the page as one HTML file.

    Args:
        description: the model and its facts as plain JSON types; see `unroll.export`.
        steps: code that declares STEPS, the steps of its cells; it must not end a script element.
    """
    code = script("app.js", steps=steps)
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
    description_json = json.dumps(description, ensure_ascii=False, allow_nan=False)
    # "<" could close the script element, so it is escaped, as are invisible characters.
    parts = {
        "title": html.escape(printable(str(description["title"]))),
        "policy": policy,
        "style": style,
        "description": re.sub(r"<|[^ -~]", _written, description_json),
        "script": code,
    }
    before, *rest = read("page.html").split("{{ ")
    return before + "".join(parts[name] + after for name, _, after in (part.partition(" }}") for part in rest))


def _written(match: re.Match[str]) -> str:
    character = match[0]
    if character == "<":
        return "\\u003c"
    return character if is_printable(character) else json.dumps(character)[1:-1]


def is_page(path: Path) -> bool:
    """Tell whether a file is a page made by `html_page`, reading only its beginning."""
    if not path.is_file():  # opening a pipe would wait for its writer
        return False
    with path.open("rb") as file:
        return MARK in file.read(2_000)


def _checksum(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
