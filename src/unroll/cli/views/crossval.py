"""Show cross-validations: the folds as they end, their mean, and two of them side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...data.folds import UNDIVIDED
from ...formatting import listed, percent
from ...runs.compare_folds import FoldComparison
from ...runs.crossval import CrossvalEvent, CrossValidation, Fold
from ...runs.execute import Started
from ...runs.folder import OUT_OF_FOLD
from ...training.results import Progress as Step
from .terminal import command_line, own_cell, print_facts, print_findings, print_table
from .training import facts_of, notes_on
from .trainings import TrainingsBar

METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "roc_auc": "ROC-AUC",
    "loss": "loss",
}


class CrossvalScreen:
    """Shows a cross-validation while it runs, one line per fold: call it with each event.

    Args:
        console: where to write; the bar is drawn only if it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.path: Path | None = None  # of the whole, once it has one
        self._bar = TrainingsBar(console, "fold")
        self._validation: CrossValidation | None = None
        self._introduced = False

    def __enter__(self) -> CrossvalScreen:
        """Start drawing."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove the bar."""
        self._bar.stop()

    def __call__(self, event: CrossvalEvent) -> None:
        """Show one event."""
        if isinstance(event, CrossValidation):
            self._start(event)
        elif isinstance(event, Started):
            self._introduce(event)
        elif isinstance(event, Fold) and event.finished:
            self._bar.end()
            self._row(event)
        elif isinstance(event, Fold):
            self._bar.begin()
        elif isinstance(event, Step):
            self._bar.step(event)

    def _start(self, validation: CrossValidation) -> None:
        self.path, self._validation = validation.path, validation
        finished = [result for result in validation.results if result.finished]
        print_facts(self.console, {"data": validation.data, "folds": in_words(validation), "in": str(validation.path)})
        if finished:
            self._head()
        for result in finished:
            self._row(result)
        self._bar.start(len(validation.results), len(finished))

    def _introduce(self, started: Started) -> None:
        """Show model and training of the first run, what should be known of the data, and classes that a fold lacks."""
        lacking = [label for label, count in started.splits.train.counts.items() if not count]
        if lacking and started.member == 1:
            words = f"{started.whole}: none of what is trained on is of {listed(lacking)}, which cannot be learned"
            print_findings(self.console, [words])
        if self._introduced:
            return
        facts = {name: value for name, value in facts_of(started).items() if name not in ("data", "run")}
        print_facts(self.console, facts)
        if notes := notes_on(started):
            print_findings(self.console, notes)
        assert self._validation is not None
        if not any(result.finished for result in self._validation.results):
            self._head()
        self._introduced = True

    def _head(self) -> None:
        self.console.print(Text(f"\n{'fold':>8}{'trained on':>12}{'held out':>10}  accuracy", "bold"), soft_wrap=True)

    def _row(self, result: Fold) -> None:
        assert self._validation is not None
        place = f"{result.number}/{len(self._validation.results)}"
        groups = "" if result.groups is None else f", {_counted(result.groups, self._validation.cut)}"
        seconds = f"{result.seconds:.1f} s"
        cells = f"{place:>8}{result.trained_on:>12,}{result.n:>10,}  {percent(result.accuracy):>8}"
        self.console.print(Text(f"{cells}, loss {result.loss:.4f}, {seconds}{groups}"), soft_wrap=True)


def _counted(number: int, word: str) -> str:
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def in_words(validation: CrossValidation) -> str:
    """Return how the data was divided."""
    how = {
        "stratified": "stratified, equal ones in one fold",
        "group": "whole groups in each, stratified",
        "recording": "all windows of a recording in one, stratified",
        "time": "each later than what is trained on for it",
    }[validation.cut]
    repeats = f", {validation.repeats} times with other folds and seeds" if validation.repeats > 1 else ""
    whole = "the whole set" if not validation.apart else "the training part"
    apart = f"; the test part of {validation.apart:,} is not used" if validation.apart else ""
    return f"{validation.folds} of {whole}, {validation.n:,} sequences held out in turn, {how}{repeats}{apart}"


def print_crossval(console: Console, validation: CrossValidation) -> None:
    """Show mean and deviation of the metrics, the out-of-fold accuracy, and the next commands."""
    table = Table(title="over the folds", title_justify="left")
    table.add_column("")
    for heading in ("mean", "±", "lowest", "highest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, words in METRICS.items():
        values, show = validation.values(name), _number if name in ("roc_auc", "loss") else percent
        cells = [
            validation.mean(name),
            validation.deviation(name),
            min(values, default=None),
            max(values, default=None),
        ]
        table.add_row(words, *(show(cell).removesuffix(" %") for cell in cells))
    console.print()
    print_table(console, table)
    low, high = validation.interval or (0.0, 0.0)
    console.print(
        Text.assemble(
            "\nout-of-fold accuracy ",
            (percent(validation.accuracy), "bold green"),
            f" (95 % interval {100 * low:.2f} to {percent(high)}, of {validation.n:,} sequences{_caution(validation)})",
        ),
        soft_wrap=True,
    )
    facts = {"predictions": str(validation.path / OUT_OF_FOLD)}
    refitted = validation.to_dict()["refit"]
    if refitted is not None:
        run = validation.refit
        tested = run.evaluation["accuracy"] if run and run.evaluation else None
        on = f", test accuracy {percent(tested)}" if tested is not None else ", on all sequences: no test accuracy"
        facts["refit"] = f"{refitted}{on}"
    facts["next"] = command_line("report", validation.path)
    print_facts(console, facts)
    if refitted is None and not validation.val_apart:
        own = own_cell(validation.settings.get("cell"))
        print_facts(console, {" " * 11: command_line("crossval", "--resume", validation.path, "--refit", *own)})


def _caution(validation: CrossValidation) -> str:
    """Say what the interval leaves out."""
    if validation.cut in UNDIVIDED:
        return f"; as if those of a {validation.cut} were independent, so it is too narrow"
    return ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def print_fold_comparison(console: Console, comparison: FoldComparison) -> None:
    """Show two cross-validations side by side, and whether they differ."""
    table = Table("", "recipe", title="cross-validations, best first", title_justify="left")
    for heading in (*(f"fold {number}" for number in comparison.numbers), "mean", "±"):
        table.add_column(heading, justify="right", no_wrap=True)
    for validation in comparison.validations:
        cells = [percent(value).removesuffix(" %") for value in validation.values("accuracy")]
        mean, deviation = (percent(value).removesuffix(" %") for value in (validation.mean(), validation.deviation()))
        table.add_row(*map(Text, (str(validation.path), validation.recipe, *cells, mean, deviation)))
    print_table(console, table)
    for name, values in _differing(comparison):
        console.print(Text(f"{name}: {' and '.join(values)}"), soft_wrap=True)
    verdict = comparison.verdict
    console.print(Text(str(verdict), style="green" if verdict.significant else ""), soft_wrap=True)


def _differing(comparison: FoldComparison) -> Iterator[tuple[str, tuple[str, str]]]:
    first, second = (validation.settings for validation in comparison.validations)
    for name in dict.fromkeys((*first, *second)):
        if first.get(name) != second.get(name):
            yield name, (_value(first, name), _value(second, name))


def _value(settings: Mapping[str, Any], name: str) -> str:
    return str(settings[name]) if name in settings else "by the recipe"
