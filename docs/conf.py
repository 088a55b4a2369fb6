"""Sphinx: the site that `make docs` builds."""

import importlib.metadata

project = "unroll"
author = "The unroll founders"
release = version = importlib.metadata.version("unroll-rnn")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
smartquotes = False  # -- is the start of a flag
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["style.css"]
html_title = f"unroll {release}"
default_role = "code"  # single backquotes in docstrings
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_use_ivar = True
