"""Show several trainings while they run: a bar, and a line for each that ends."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ...training.results import Progress as Step


class TrainingsBar:
    """A bar of several trainings, one after the other.

    Args:
        console: where to write; the bar is drawn only if it is a terminal.
        unit: what a training is called: "trial", "fold".
    """

    def __init__(self, console: Console, unit: str) -> None:
        self.unit, self.done, self.total = unit, 0, 0
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        hidden = not console.is_terminal
        self._bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True, disable=hidden)
        self._task = self._bar.add_task("", total=None)

    @property
    def label(self) -> str:
        """Which training runs, in words."""
        return f"{self.unit} {self.done + 1} of {self.total}" if self.done < self.total else "refit on all"

    def start(self, total: int, done: int = 0) -> None:
        """Draw the bar of ``total`` trainings, of which some are done."""
        self.total, self.done = total, done
        self._bar.update(self._task, total=total, completed=done)
        self._bar.start()

    def stop(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def begin(self) -> None:
        """Show that the next training begins."""
        self._bar.update(self._task, description=self.label)

    def step(self, event: Step) -> None:
        """Show how far the training is."""
        share = (event.epoch - 1 + event.step / event.steps) / event.epochs
        label = f"{self.label}, epoch {event.epoch} of {event.epochs}"
        self._bar.update(self._task, description=label, completed=min(self.total, self.done + share))

    def end(self) -> None:
        """Count a training as done."""
        self.done += 1
        self._bar.update(self._task, completed=self.done)
