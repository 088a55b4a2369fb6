"""The command export."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ...interrupt import immediate_interrupt
from ...validation import check_run
from ..app import Json, app, import_user_cell
from ..outcome import print_json, say


@app.command
def export(
    run: Path,
    /,
    *,
    to: Literal["html"] = "html",
    out: Path | None = None,
    data: str | None = None,
    data_dir: Path | None = None,
    samples: bool = True,
    cell: str | None = None,
    json: Json = False,
) -> int:
    """Export a run as a single web page that runs the model in the browser: draw an input and watch it read.

    Example: unroll export runs/first

    The page contains the weights and needs neither a server nor a network, so it can be mailed or opened from a memory
    stick. Before it is written, its JavaScript is run on real sequences and compared with PyTorch; if any probability
    differs by more than 0.0001, nothing is written. The command needs the extra html.

    Parameters
    ----------
    run
        Folder of a finished run.
    to
        Format: html, a web page.
    out
        File to write; default page.html in the run's folder. An older page is replaced; any other file is an error.
    data
        Data set to check the page on and to take samples from; default the run's own.
    data_dir
        Folder to search first for the data.
    samples
        Put real samples of the test data on the page, to choose from. --no-samples leaves all of them out.
    cell
        module:Class of your own cell, if the run was trained with one; it is imported.
    json
        Print one JSON object: the page's path, its size in bytes, the number of samples on it, the number of sequences
        compared, the largest difference of a probability, and in which way the data is unlike the training data.
    """
    check_run(run)
    with immediate_interrupt():
        from ...export import export_html
        from ...runs.data import load_samples
        from ...runs.storage import load_run
        from ..views.terminal import Screen, print_facts

    assert to == "html"
    import_user_cell(cell)
    loaded = load_run(run)
    loaded.single("a page")  # before the data is loaded
    test = load_samples(loaded, data, data_dir)
    warnings = test.warnings()
    for line in warnings:
        say(f"{test.name}: {line}")
    page = export_html(loaded, test, out, samples)
    if json:
        size = {"bytes": page.size, "samples": page.samples, "checked": page.checked, "difference": page.difference}
        print_json({"run": str(run), "to": to, "file": str(page.path), **size, "warnings": warnings})
    else:
        facts = {
            "page": f"{page.path} ({page.size / 1e6:.2f} MB)",
            "samples": page.about_samples,
            "checked": f"on {page.checked} real sequences: all within {page.difference:.1g} of PyTorch",
            "next": "open it in a browser; it needs no network",
        }
        print_facts(Screen(), facts)
    return 0
