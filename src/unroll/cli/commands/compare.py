"""Finished runs side by side: compare."""

from __future__ import annotations

from pathlib import Path

from ...interrupt import immediate_interrupt
from ..app import Json, app
from ..outcome import print_json, say


@app.command
def compare(runs: list[Path], /, *, out: Path | None = None, json: Json = False) -> int:
    """Set finished runs side by side: what differs in their settings, how they do, what is more than noise.

    Example: unroll compare runs/first runs/second --out compared

    The best run is held against each of the others. Runs that read the same test part are compared sequence by sequence
    (McNemar's exact test); where that cannot be told, by the intervals of their accuracies. Runs that differ in nothing
    but the seed are one setting: mean ± standard deviation; where every setting has several seeds, the settings are
    held against each other over their seeds (Welch's t-test). The best was picked by the same accuracies, so p is
    corrected for all pairs by Holm's method. The same training twice, a copy say, is left out.

    Parameters
    ----------
    runs
        Folders of finished runs, at least two; one that cannot be compared is named and left out.
    out
        Folder for compare.json and compare.png, the learning curves, new or empty; not given, nothing is written.
    json
        Print one JSON object.
    """
    with immediate_interrupt():
        from ...runs.compare import compare_runs
        from ...runs.folder import refuse_used, write
        from ..views.comparison import print_comparison
        from ..views.terminal import Screen, print_facts

    refuse_used(out)
    comparison = compare_runs(runs)
    written = []
    if out is not None:
        from ...plots import comparison_figure, png  # here, for matplotlib costs a second

        picture = png(comparison_figure(comparison))
        folder = comparison.write(out)
        write(folder / "compare.png", picture)
        written = [folder / "compare.json", folder / "compare.png"]
    if json:
        print_json(comparison.to_dict())
    else:
        console = Screen()
        print_comparison(console, comparison)
        if written:
            print_facts(console, {"written": ", ".join(map(str, written))})
    for reason in comparison.left_out.values():
        say(f"{reason}; left out")
    return 2 if comparison.left_out else 0
