"""The pages that are not the run's own: a list, and what stands where a run has no page."""

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


def _rendered(**values: Any) -> str:
    template = (importlib.resources.files(__package__) / "plain.html").read_text("utf-8")
    return ENVIRONMENT.from_string(template).render({"why": "", "runs": [], **values})
