"""The command compare."""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError
from ...interrupt import immediate_interrupt
from ...validation import CONFIG, CROSSVAL, check_run
from ..app import Json, app
from ..outcome import print_json, say


@app.command
def compare(runs: list[Path], /, *, out: Path | None = None, json: Json = False) -> int:
    """Compare finished runs: settings that differ, accuracies, and whether differences are more than noise.

    Example: unroll compare runs/first runs/second --out compared

    The best run is compared with each of the others: sequence by sequence if both have predictions for the same test
    set (McNemar's exact test), otherwise by the intervals of their accuracies. Runs that differ only in their seed are
    one setting, shown as mean ± standard deviation; if every setting has several seeds, settings are compared over
    their seeds (Welch's t-test). As the best was chosen by the same accuracies, p is corrected for all pairs by Holm's
    method. Copies of a run are skipped.

    Two cross-validations with the same folds are compared fold by fold (the corrected resampled t-test).

    Parameters
    ----------
    runs
        Folders of finished runs, at least two; runs that cannot be compared are named and skipped. Or folders of two
        cross-validations.
    out
        Folder for compare.json and compare.png, the learning curves, new or empty; by default nothing is written.
    json
        Print one JSON object.
    """
    if any((run / CROSSVAL).is_file() for run in runs):
        return _compare_folds(runs, out, json)
    if not any((run / CONFIG).is_file() for run in runs):
        check_run(*runs)
    with immediate_interrupt():
        from ...runs.compare import compare_runs
        from ...runs.folder import OPERATING, refuse_used, write
        from ..views.comparison import print_comparison
        from ..views.terminal import Screen, print_facts

    refuse_used(out)
    comparison = compare_runs(runs)
    written = []
    if out is not None:
        from ...plots import comparison_figure, png  # imported here because matplotlib takes a second to load

        picture = png(comparison_figure(comparison))
        folder = comparison.write(out)
        try:
            write(folder / "compare.png", picture)
        except OSError:  # both or neither
            (folder / "compare.json").unlink(missing_ok=True)
            raise
        written = [folder / "compare.json", folder / "compare.png"]
    if json:
        print_json(comparison.to_dict())
    else:
        console = Screen()
        print_comparison(console, comparison)
        if written:
            print_facts(console, {"written": ", ".join(map(str, written))})
    if kept := [str(run) for run in runs if (run / OPERATING).exists()]:
        say(f"accuracies are of the most probable class, also of {', '.join(kept)} with an operating point")
    for reason in comparison.left_out.values():
        say(f"{reason}; skipped")
    return 2 if comparison.left_out else 0


def _compare_folds(paths: list[Path], out: Path | None, json: bool) -> int:
    """Compare cross-validations."""
    check_run(*paths, kind="cross-validation", file=CROSSVAL)
    if out is not None:
        raise ConfigError(f"--out is for runs, got {out} with cross-validations: leave it out, --json prints all")
    with immediate_interrupt():
        from ...runs.compare_folds import compare_cross_validations
        from ..views.crossval import print_fold_comparison
        from ..views.terminal import Screen

    comparison = compare_cross_validations(paths)
    if json:
        print_json(comparison.to_dict())
    else:
        print_fold_comparison(Screen(), comparison)
    return 0
