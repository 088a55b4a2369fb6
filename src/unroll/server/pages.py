"""Plain pages: the list of runs, and the page of a run that has none of its own."""

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
    """Return the page of a run that has none of its own. Only the log says why: the reason may name files."""
    return _rendered(title=name, why="see the server's log for the reason.")


def _rendered(**values: Any) -> str:
    template = (importlib.resources.files(__package__) / "plain.html").read_text("utf-8")
    return ENVIRONMENT.from_string(template).render({"why": "", "runs": [], **values})
