"""The command bench."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ...interrupt import immediate_interrupt
from ..app import Json, app
from ..outcome import print_json, say


@app.command
def bench(*, full: Annotated[bool, Parameter(negative="")] = False, out: Path | None = None, json: Json = False) -> int:
    """Time training steps and predictions on this machine: torch.nn, unroll and the limit, in turn, on random data.

    Example: unroll bench --out bench

    An implementation whose results or gradients differ from the reference is named and not timed. Figures are medians
    over rounds, with minimum and maximum; "of limit" is the fraction of the rate of torch's own matrix product.

    Parameters
    ----------
    full
        Also measure 784 time steps, and the growth of time and memory with time steps, units and batch; takes minutes.
    out
        Folder for bench.json and bench.png, new or empty; by default nothing is written.
    json
        Print one JSON object on stdout; tables go to stderr.
    """
    with immediate_interrupt():
        from ...bench import Doing, Report, TimedComparison, measure
        from ...runs.folder import refuse_used
        from ..views.bench import Bar, comparison_table, growth_table, write_report
        from ..views.terminal import Screen, print_facts, print_table

        import_module("torch._dynamo")  # torch's optimisers import hundreds of modules in their first step

    refuse_used(out)
    report, console = Report(full), Screen(stderr=json)
    try:
        print_facts(console, {"machine": report.on})
        with Bar(console) as bar:
            for event in measure(full):
                if isinstance(event, Doing):
                    bar.show(event.title, event.number, event.parts)
                    continue
                report.add(event)
                if isinstance(event, TimedComparison):
                    print_table(console, comparison_table(event))
        report.finished = True
    except KeyboardInterrupt:
        say(f"interrupted; results so far are {'in the JSON object' if json else 'above'}, nothing was written")
    if report.growth:
        print_table(console, growth_table(report.growth))
    if out is not None and report.finished:
        print_facts(console, {"written": ", ".join(map(str, write_report(report, out)))})
    if json:
        print_json(report.to_dict())
    return 0 if report.finished else 130
