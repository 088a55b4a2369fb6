"""The pages that are not the run's own: a list, a reference, and what stands where a run has no page."""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence
from typing import Any

from jinja2 import Environment, StrictUndefined

ENVIRONMENT = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def index_page(runs: Sequence[dict[str, Any]]) -> str:
    """Return the list of runs, each with a link to its page."""
    return _rendered(title="unroll", runs=runs)


def no_page(name: str) -> str:
    """Return what is shown where a run has no page of its own. Why may be a matter of the server's files alone."""
    return _rendered(title=name, why="the server said why when it started.")


# What may be sent, in words, and how.
EXAMPLES = {
    "/predict": (
        ("Image files of any size and colour; or one as the body", "curl -F file=@digit.png ADDRESS/predict"),
        ("Images by their numbers", """curl --json '{"images": [[[0, 12, 255, …], …]]}' ADDRESS/predict"""),
        ("Series in the units of the raw data, null where a value is missing",
         """curl --json '{"sequences": [[[0.1, 2.5], [0.3, null], …]]}' ADDRESS/predict"""),
        ("Texts", """curl --json '{"texts": ["a fine film"]}' ADDRESS/predict"""),
    ),
    "/stream": (
        ("The first time steps, and then the next with the state that came back",
         """curl --json '{"state": null, "steps": [[0.1, 2.5], …]}' ADDRESS/stream"""),
        ("A piece of a text", """curl --json '{"state": "…", "text": " but far too long"}' ADDRESS/stream"""),
    ),
}  # fmt: skip


def docs_page(schema: dict[str, Any], runs: Sequence[dict[str, Any]]) -> str:
    """Return the reference: every address, what it reads and answers. It needs nothing from elsewhere."""
    addresses = [
        {"method": method.upper(), "path": path, "reads": EXAMPLES.get(path, ()), **operation}
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    return _rendered(title="unroll: the interface", addresses=addresses, runs=runs, about=schema["info"]["description"])


def _rendered(**values: Any) -> str:
    template = (importlib.resources.files(__package__) / "plain.html").read_text("utf-8")
    known = {"why": "", "addresses": [], "runs": [], "about": ""}
    return ENVIRONMENT.from_string(template).render(**known | values)
