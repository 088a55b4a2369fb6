"""Show sweeps: trials as they end, and the settings, best first."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...config import Metric
from ...config.axes import Range
from ...formatting import in_words, percent, value_in_words
from ...runs.execute import Event, Started
from ...runs.sweep import Sweep, Trial, Tried
from ...training.loop import few_deciding
from ...training.results import Progress as Step
from .terminal import command_line, print_facts, print_findings, print_table
from .trainings import TrainingsBar

HEADINGS = ("trial", "val acc", "val loss", "seconds")
WIDTHS = (9, 10, 10, 9)
ROWS = 30  # of a table of settings
METRICS: dict[Metric, str] = {
    "loss": "loss",
    "accuracy": "accuracy",
    "balanced-accuracy": "balanced accuracy",
    "macro-f1": "macro F1",
}


class SweepScreen:
    """Shows a sweep while it runs, one line per trial: call it with each event.

    Args:
        console: where to write; the bar is drawn only if it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.path: Path | None = None  # of the sweep, once it has one
        self._bar = TrainingsBar(console, "trial")
        self._looked = False

    def __enter__(self) -> SweepScreen:
        """Start drawing."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove the bar."""
        self._bar.stop()

    def __call__(self, event: Sweep | Trial | Event) -> None:
        """Show one event."""
        if isinstance(event, Sweep):
            self._start(event)
        elif isinstance(event, Started):
            self._look(event)
        elif isinstance(event, Trial):
            if event.status == "running":
                self._bar.begin()
            else:
                self._bar.end()
                self._row(event)
        elif isinstance(event, Step):
            self._bar.step(event)

    def _start(self, sweep: Sweep) -> None:
        self.path = sweep.path
        axes = [
            f"{name} {values if isinstance(values, Range) else ','.join(map(value_in_words, values))}"
            for name, values in sweep.axes.items()
        ]
        seeds = f"seed {sweep.seeds[0]}" if len(sweep.seeds) == 1 else f"seeds {sweep.seeds[0]} to {sweep.seeds[-1]}"
        facts = {
            "data": sweep.data,
            "search": f"{'; '.join(axes)}; {sweep.method}, {sweep.count} settings, {seeds}",
            "same": in_words({"recipe": sweep.recipe, **sweep.settings}),
            "sweep": str(sweep.path),
        }
        print_facts(self.console, facts)
        headings = "".join(f"{heading:>{width}}" for heading, width in zip(HEADINGS, WIDTHS, strict=True))
        self.console.print(Text(f"\n{headings}  setting", style="bold"), soft_wrap=True)
        self._bar.start(sweep.total)
        for trial in sweep.trials:
            if trial.status in ("finished", "failed"):
                self._bar.end()
                self._row(trial)

    def _look(self, started: Started) -> None:
        """Say once so where few sequences are to choose between the settings."""
        few = few_deciding(len(started.training.val or ()), "which setting is best")
        if few and not self._looked:
            print_findings(self.console, few)
        self._looked = True

    def _row(self, trial: Trial) -> None:
        cells = [f"{self._bar.done}/{self._bar.total}", "failed", "", ""]
        if trial.val_accuracy is not None:
            cells[1:] = percent(trial.val_accuracy), f"{trial.val_loss:.4f}", f"{trial.seconds:.1f}"
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
        reason = f": {trial.reason}" if trial.reason else ""
        self.console.print(Text(f"{row}  {in_words(trial.setting)}, seed {trial.seed}{reason}"), soft_wrap=True)


def print_sweep(console: Console, sweep: Sweep) -> None:
    """Show the settings, best first, the chosen one, and its accuracy on the test set."""
    ranked, several = sweep.ranked, len(sweep.seeds) > 1
    console.print()
    print_table(console, _settings_table(sweep, ranked[:ROWS], several))
    if len(ranked) > ROWS:
        console.print(f"and {len(ranked) - ROWS} more settings in {sweep.path / 'sweep.json'}", soft_wrap=True)
    best = sweep.best
    if best is None:
        return
    accuracies = sweep.test_accuracies(best)
    tested = len(accuracies) > 1
    mean = percent(fmean(accuracies) if accuracies else None) + (f" ± {100 * stdev(accuracies):.2f}" if tested else "")
    each = f" over {len(accuracies)} seeds ({', '.join(f'{100 * a:.2f}' for a in accuracies)})" if tested else ""
    each += "; the test set was not used for the choice" if accuracies else ": the data has no test set"
    console.print(
        Text.assemble(
            f"\nchosen by validation {METRICS[sweep.metric]}: {in_words(best.setting)}\ntest accuracy ",
            (mean, "bold green"),
            each,
        ),
        soft_wrap=True,
    )
    runs = [sweep.path / trial.run for tried in ranked[:2] if tried.finished for trial in tried.trials]
    facts = {"sweep": str(sweep.path), "picture": str(sweep.path / "sweep.png")}
    if (refit := sweep.to_dict()["refit"]) is not None:
        accuracy = f"test accuracy {percent(refit['test_accuracy'])}" if refit["n"] else "no test set"
        epochs = "1 epoch" if refit["epochs"] == 1 else f"{refit['epochs']} epochs"
        facts["refit"] = f"{refit['run']}: on all but the test part, {epochs}, {accuracy}"
    if len(runs) > 1:
        facts["next"] = command_line("compare", *runs)
    print_facts(console, facts)


def _settings_table(sweep: Sweep, ranked: list[Tried], several: bool) -> Table:
    title = "settings, best first" + (": mean ± deviation over seeds" if several else "")
    table = Table(title=title, title_justify="left")
    for name in sweep.axes:
        table.add_column(name)
    has_score = sweep.metric in ("balanced-accuracy", "macro-f1")
    for heading in (
        *([METRICS[sweep.metric]] if has_score else []),
        "val acc",
        *(["±"] if several else []),
        "val loss",
        "parameters",
        "seconds",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for tried in ranked:
        cells = [value_in_words(value) for value in tried.setting.values()]
        if tried.mean is None:
            failed = sum(trial.status == "failed" for trial in tried.trials)
            cells += [f"{failed} of {len(tried.trials)} failed" if several else "failed"]
        else:
            cells += [percent(tried.score)] if has_score else []
            cells += [percent(tried.mean), *([f"{100 * (tried.deviation or 0):.2f}"] if several else [])]
            seconds = fmean(trial.seconds or 0.0 for trial in tried.trials)
            cells += [f"{tried.val_loss:.4f}", f"{tried.trials[0].parameters:,}", f"{seconds:.1f}"]
        table.add_row(*map(Text, cells), style="bold" if tried is ranked[0] and tried.finished else "")
    return table
