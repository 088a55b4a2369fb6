"""Sphinx: the site that `make docs` builds."""

import importlib.metadata
from pathlib import Path
from typing import Any

project = "unroll"
author = "The unroll founders"
release = version = importlib.metadata.version("unroll-rnn")
extensions = ["myst_parser", "sphinx_design", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
smartquotes = False  # -- is the start of a flag
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_theme_options = {"top_of_page_buttons": []}
html_title = f"unroll {release}"
html_show_copyright = False  # the licence is in the repository
default_role = "code"  # single backquotes in docstrings
myst_enable_extensions = ["colon_fence"]  # tabs and cards
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
SCIKIT_LEARN = "set_fit_request, set_predict_request, set_score_request"  # made by it, and described in its own words
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": SCIKIT_LEARN}
napoleon_google_docstring = True
napoleon_use_ivar = True

# What the theme leaves out for those who listen to a page, or have no mouse to scroll with.
MENDED = {
    '<p class="caption" role="heading">': '<p class="caption" role="heading" aria-level="2">',
    '<aside class="sidebar-drawer">': '<aside class="sidebar-drawer" aria-label="Pages">',
    '<aside class="toc-drawer': '<aside aria-label="Page contents" class="toc-drawer',
    "<pre>": '<pre tabindex="0">',
    '<div class="table-wrapper': '<div tabindex="0" class="table-wrapper',
    '<div id="search-results">': '<h1>Search</h1><div id="search-results">',
}


def _mend(app: Any, error: Exception | None) -> None:
    for path in Path(app.outdir).glob("*.html") if error is None else ():
        text = path.read_text("utf-8")
        for before, after in MENDED.items():
            text = text.replace(before, after)
        path.write_text(text, "utf-8")


def setup(app: Any) -> None:
    """Let Sphinx call this when a site is built."""
    app.connect("build-finished", _mend)
