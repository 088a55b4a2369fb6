"""Where all this runs: info, and how fast: bench."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..interrupt import immediate_interrupt
from .app import Json, app, import_user_cell
from .outcome import print_json, say


@app.command
def info(run: Path | None = None, /, *, cell: str | None = None, json: Json = False) -> int:
    """Show versions, devices and scan backends, and why each is used or not.

    Example: unroll info

    Parameters
    ----------
    run
        Folder of a finished run: show too what computes its model here, and why.
    cell
        module:Class of a cell of your own that the run was trained with; it is imported.
    json
        Print one JSON object.
    """
    with immediate_interrupt():
        from ..config import TrainConfig
        from ..runs.storage import load_run
        from ..terminal import Screen, print_facts
        from ..training.environment import describe, describe_model

    facts = describe()
    if run:
        import_user_cell(cell)
        loaded = load_run(run)
        settings = TrainConfig(**loaded.config["train"]) if "train" in loaded.config else None
        facts["run"] = {"path": str(run), **describe_model(loaded.model, settings)}
    if json:
        print_json(facts)
    else:
        print_facts(Screen(), facts)
    return 0


@app.command
def bench(*, full: Annotated[bool, Parameter(negative="")] = False, out: Path | None = None, json: Json = False) -> int:
    """Time training steps and answers on this machine: torch.nn, unroll and the limit, in turn, on random data.

    Example: unroll bench --out bench

    A contender whose results or gradients are not those of the reference is named and not timed. Figures are medians
    over rounds, with the least and the greatest; "of limit" is the share of the rate of torch's own matrix product.

    Parameters
    ----------
    full
        784 time steps too, and how seconds and memory grow with time steps, units and batch; takes minutes.
    out
        Folder for bench.json and bench.png, new or empty; not given, nothing is written.
    json
        Print one JSON object on stdout; tables go to stderr.
    """
    with immediate_interrupt():
        from ..bench import Comparison, Doing, Report, measure
        from ..bench.tables import Bar, comparison_table, growth_table
        from ..runs.folder import refuse_used
        from ..terminal import Screen, print_facts, print_table

        import_module("torch._dynamo")  # hundreds of modules, which torch's optimisers import in their first step

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
                if isinstance(event, Comparison):
                    print_table(console, comparison_table(event))
        report.finished = True
    except KeyboardInterrupt:
        say(f"interrupted; what was done is {'in the object' if json else 'above'}, nothing is written")
    if report.growth:
        print_table(console, growth_table(report.growth))
    if out is not None and report.finished:
        print_facts(console, {"written": ", ".join(map(str, report.write(out)))})
    if json:
        print_json(report.to_dict())
    return 0 if report.finished else 130
