"""Show trainings: a live table of epochs, and the result."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ...cells import find_cell
from ...config import RECIPES, ModelConfig, Recipe
from ...data.describe import copies, majority, missing_classes, notes_of
from ...data.splits import Splits
from ...formatting import beside_accuracy, per_recording, percent
from ...models.classifier import SequenceClassifier
from ...runs.ensemble import members
from ...runs.execute import Event, Restarted, Started
from ...runs.folder import EVENTS, MEMBERS, METRICS
from ...runs.plan import Plan, holds_none_out, why_none_can_be
from ...runs.storage import Run
from ...training.loop import Training, few_deciding
from ...training.results import EpochResult
from ...training.results import Progress as Step
from .terminal import command_line, own_cell, print_facts, print_findings, show_reading

HEADINGS = ("epoch", "train loss", "train acc", "val loss", "val acc", "lr", "seconds", "samples/s")
WIDTHS = (7, 12, 11, 10, 9, 10, 9, 11)
ROWS = 30  # about, in a table of epochs; longer trainings show only every nth epoch


class TrainingScreen:
    """Shows a training while it runs: call it with each event.

    Args:
        console: where to write; the bar is drawn only if it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.path: Path | None = None  # of the run, once it has one
        self.splits: Splits | None = None  # of the run
        self._skipped: EpochResult | None = None
        self._training: Training | None = None
        self._member = ""  # which of an ensemble is trained, in words
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  loss {task.fields[loss]:.4f}"),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None, loss=0.0)
        self._reading = ExitStack()

    def __enter__(self) -> TrainingScreen:
        """Start drawing."""
        self._reading.enter_context(show_reading("the data", self.console))
        return self

    def __exit__(self, *exc: object) -> None:
        """Remove the bar; the last epoch is always shown."""
        self._reading.close()
        self._bar.stop()
        self._end_table()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        if isinstance(event, Started):
            self._start(event)
        elif isinstance(event, Step):
            assert self._training is not None
            done, total = self._training.taken, self._training.total
            label = f"{self._member}{self._member and ', '}epoch {event.epoch} of {event.epochs}"
            self._bar.update(self._task, description=label, completed=done, total=total, loss=event.loss)
        elif isinstance(event, Restarted):
            words = f"after {event.steps} steps the training loss is back at that of guessing: again from the beginning"
            self.console.print(Text(f"{words}, with lr {event.lr:g}", style="yellow"), soft_wrap=True)
        else:
            self._show(event)

    def _start(self, started: Started) -> None:
        self._reading.close()
        self._end_table()
        is_first = self._training is None
        self.path, self.splits = started.whole, started.splits
        training = self._training = started.training
        self._every = training.every * math.ceil(training.epochs / training.every / ROWS)
        self._member = f"member {started.member} of {started.members}" if started.members > 1 else ""
        if is_first:
            self._introduce(started)
        if self._member:
            self.console.print(f"\n{self._member}, seed {training.config.seed}", style="bold")
        headings = "".join(f"{h:>{w}}" for h, w in zip(HEADINGS, WIDTHS, strict=True))
        start = "" if self._member else "\n"
        self.console.print(Text(f"{start}{headings}", style="bold"), no_wrap=True, overflow="ignore", crop=False)
        for result in training.history:
            self._show(result)
        self._bar.start()

    def _introduce(self, started: Started) -> None:
        facts, training = facts_of(started), started.training
        if (notes := majority(started.splits.train.counts)) and not started.recipe.train.class_weight:
            facts["note"] = notes[0]
        if started.recipe.train.early:
            facts["train acc"] = (
                f"{started.recipe.train.early:.0%} of the sequences are cut off at a random step (--early), so it may "
                "be lower than val acc and test accuracy, for which all are read to the end"
            )
        if started.tensorboard:
            folder = started.whole / MEMBERS if self._member else started.path / EVENTS
            facts["curves"] = f"tensorboard --logdir {shlex.quote(str(folder))}"
        if self._every > 1:
            each = f"has every {training.every}" if training.every > 1 else "has them all"
            facts["table"] = f"every {self._every} epochs; {started.path / METRICS} {each}"
        print_facts(self.console, facts)
        if notes := [*missing_classes(started.splits), *notes_on(started)]:
            print_findings(self.console, notes)

    def _show(self, result: EpochResult) -> None:
        assert self._training is not None
        wanted = result.epoch % self._every == 0 or result.epoch in (self._training.every, self._training.epochs)
        self._skipped = None if wanted else result
        if wanted:
            self._row(result)

    def _end_table(self) -> None:
        if self._skipped is not None:
            self._row(self._skipped)
        self._skipped = None

    def _row(self, result: EpochResult) -> None:
        cells = (
            f"{result.epoch}",
            f"{result.train_loss:.4f}",
            percent(result.train_accuracy),
            "–" if result.val_loss is None else f"{result.val_loss:.4f}",
            "–" if result.val_accuracy is None else percent(result.val_accuracy),
            f"{result.lr:.2e}",
            f"{result.seconds:.2f}",
            f"{result.samples_per_second:,.0f}",
        )
        row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
        self.console.print(Text(row), no_wrap=True, overflow="ignore", crop=False)


def notes_on(started: Started) -> list[str]:
    """Return what one should know of the data of a training, in words, besides classes that a part lacks."""
    splits = started.splits
    few = few_deciding(started.training.deciding, "which weights are kept or when training stops")
    return [*copies(splits), *notes_of(splits), *few]


def facts_of(started: Started) -> dict[str, str]:
    """Return the data, model and settings in a few lines."""
    splits, training, recipe = started.splits, started.training, started.recipe
    assert isinstance(training.model, SequenceClassifier)
    parameters = sum(p.numel() for p in training.model.parameters())
    model, train = training.model.config, recipe.train
    held_out = f" ({len(training.val):,} held out for validation)" if training.val else ""
    if train.val_fraction and not training.val:
        held_out = f" (none held out for validation: {why_none_can_be(splits)})"
    if recipe.name == "series" and not train.val_fraction and holds_none_out(splits):
        held_out = " (none held out for validation: a tenth would be too few, see --val-fraction)"
    if splits.val is not None:
        held_out = f", {len(splits.val):,} for validation"
    tested = f"{len(splits.test):,} test" if len(splits.test) else "no test set"
    activation = f" {model.nonlinearity}" if "nonlinearity" in find_cell(model.cell).options else ""
    shape = f"{model.cell}{activation}, {model.num_layers} × {model.hidden_size} hidden"
    truncated = f", gradients through {train.tbptt} steps" if train.tbptt else ""
    device = f"{training.device} ({training.device_reason})"
    drawn = ", test split drawn" if splits.drawn else ""
    if splits.folds is not None:
        drawn = f", fold {splits.folds.number} of {splits.folds.total} held out as the test split"
    return {
        "data": f"{splits.name} from {splits.source}{drawn}: "
        f"{len(splits.train):,} train{held_out}, {tested}; "
        f"{splits.train.steps}, {len(splits.classes)} classes",
        **({"read as": splits.understood} if splits.understood else {}),
        "model": f"{shape}{model.additions}, readout {model.readout}, init {model.init}; {parameters:,} parameters",
        **({"frame": f"{model.frame}, as {Plan.frame(splits)[1]}"} if recipe.model.frame == "auto" else {}),
        **_chosen_stem(recipe.model, model, splits),
        "train": f"recipe {recipe.name}: {_length(training)}{_fewer(recipe, training.total)}, "
        f"batch {train.batch_size}, {train.optimizer}, lr {train.lr:g} {train.schedule}{truncated}{train.additions}, "
        f"seed {train.seed}",
        "on": f"{device}, {train.precision}",
        **({"ensemble": f"the mean of {started.members} members"} if started.members > 1 else {}),
        "run": str(started.whole),
    }


def _chosen_stem(asked: ModelConfig, model: ModelConfig, splits: Splits) -> dict[str, str]:
    """Return the stride of a stem that "auto" chose, and why."""
    if asked.stem == "none" or asked.stem_stride != "auto":
        return {}
    return {"stem stride": f"{model.stem_stride}, as {Plan.stem_stride(splits)[1]}"}


def _length(training: Training) -> str:
    """Return how many training steps there are, and why as many."""
    within = f" within {training.config.budget}" if training.config.budget else ""
    if training.config.training_steps is None:
        return f"{training.epochs} × {training.steps} steps"
    return f"{training.total:,} steps, {training.steps} an epoch{within}"


def _fewer(recipe: Recipe, total: int) -> str:
    """Say why there are fewer steps than the recipe has, ``total``; empty where there are not."""
    train, usual = recipe.train, RECIPES[recipe.name].train.min_steps
    if total >= usual or train.min_steps >= usual or train.epochs or train.training_steps:
        return ""
    return f" (fewer than {usual}, as these {'texts' if recipe.name == 'text' else 'series'} are slow to read)"


def print_run(console: Console, run: Run, reported: bool) -> None:
    """Show the result of a finished run and the next commands; ``reported``: a report is written automatically."""
    own = own_cell(run.model.config.cell)
    if (evaluation := run.evaluation) is None:
        console.print("\nno test accuracy: all sequences were used for training", soft_wrap=True)
    else:
        examined = members(run.path, run.config)[0]
        examining = command_line("doctor", examined, *own)
        _print_accuracy(console, evaluation, examining, run.config.train.class_weight if run.config.train else None)
    file = "IMAGE" if run.preparation.kind == "images" else "FILE"
    commands = [command_line("evaluate", run.path, *([] if evaluation else ["--data", "OTHER"]), *own)]
    commands.append(f"{command_line('predict', run.path, *own)} {file}…")
    if not reported:
        commands.append(command_line("report", run.path, *own))
    print_facts(console, {"run": str(run.path), "next": commands[0]})
    for command in commands[1:]:
        print_facts(console, {"    ": command})


def _print_accuracy(console: Console, evaluation: Mapping[str, Any], examining: str, weighted: str | None) -> None:
    low, high = evaluation["interval"]
    console.print(
        Text.assemble(
            "\ntest accuracy ",
            (percent(evaluation["accuracy"]), "bold green"),
            f" (95 % interval {100 * low:.2f} to {percent(high)}; {evaluation['correct']:,} of {evaluation['n']:,} "
            f"correct), loss {evaluation['loss']:.4f}; {evaluation['weights']}",
        ),
        soft_wrap=True,
    )
    if "recordings" in evaluation:
        console.print(Text(f"per recording: {per_recording(evaluation)}"), soft_wrap=True)
    console.print(Text(beside_accuracy(evaluation)), soft_wrap=True)
    if alone := [member["accuracy"] for member in evaluation.get("members", [])]:
        span = f"{100 * min(alone):.2f} to {percent(max(alone))}"
        words = f"its {len(alone)} members reach {percent(fmean(alone))} on average, {span}"
        console.print(Text(words), soft_wrap=True)
    if low <= evaluation["majority"]["share"] and weighted is None:
        words = f"no better than the majority class: the interval begins at {percent(low)}; try"
        console.print(Text(f"{words} {examining}, which looks for the reason", "yellow"), soft_wrap=True)
