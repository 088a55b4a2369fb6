"""A run to take along: export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ...interrupt import immediate_interrupt
from ..app import Json, app
from ..outcome import print_json


@app.command
def export(
    run: Path,
    /,
    *,
    to: Literal["html"],
    out: Path | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
    json: Json = False,
) -> int:
    """Make one file of a run: a web page that runs the model by itself, to draw and watch it read.

    Example: unroll export runs/first --to html

    The page holds the weights and computes in the browser: no server, no network, so it can be mailed, or opened from a
    memory stick. Before it is kept, its JavaScript is run on real sequences and compared with PyTorch; if any
    probability differs by more than 0.0001, nothing is written. It needs the extra html.

    Parameters
    ----------
    run
        Folder of a finished run.
    to
        What to make: html, a page.
    out
        File to write; default page.html in the run's folder. An older page that stands there is replaced, any other
        file is left alone.
    data
        Data set to check the page on and to take samples from; default the run's own.
    data_dir
        Folder to look for the data in first.
    json
        Print one JSON object: where the page is, its size in bytes, how many sequences it was compared on, and the
        largest difference of a probability.
    """
    with immediate_interrupt():
        from ...export import check_cell, export_html
        from ...runs.config_file import read_config
        from ...runs.data import load_samples
        from ...runs.storage import load_run
        from ..views.terminal import Screen, print_facts

    assert to == "html"
    check_cell(run, read_config(run).model.cell)  # before loading asks for the cell's module
    loaded = load_run(run)
    found = export_html(loaded, load_samples(loaded, data, data_dir), out)
    if json:
        size = {"bytes": found.size, "checked": found.checked, "difference": found.difference}
        print_json({"run": str(run), "to": to, "file": str(found.path), **size})
    else:
        facts = {
            "page": f"{found.path} ({found.size / 1e6:.2f} MB)",
            "checked": f"on {found.checked} real sequences: all within {found.difference:.1g} of PyTorch",
            "next": "open it in a browser; it needs no network",
        }
        print_facts(Screen(), facts)
    return 0
