"""Show evaluations and predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...evaluation.anytime import Anytime
from ...evaluation.metrics import Evaluation
from ...evaluation.operating_point import UNSURE, OperatingPoint, Outcome
from ...evaluation.predict_files import FilePrediction
from ...formatting import beside_accuracy, brief, per_recording, percent, shown
from .terminal import print_table

MARKS = 14  # rows of the table of accuracy after parts of a sequence
SHORT = 60  # most characters of a text shown with its class


def print_evaluation(console: Console, evaluation: Evaluation, title: str) -> None:
    """Show accuracy, the scores of each class and the confusion matrix."""
    low, high = evaluation.interval
    console.print(
        Text.assemble(
            f"{title}: accuracy ",
            (percent(evaluation.accuracy), "bold green"),
            f" (95 % interval {100 * low:.2f} to {percent(high)}; {evaluation.correct:,} of {evaluation.n:,} correct), "
            f"loss {evaluation.loss:.4f}",
        ),
        soft_wrap=True,
    )
    if evaluation.recordings is not None:
        console.print(Text(f"per recording: {per_recording(evaluation.to_dict())}"), soft_wrap=True)
    console.print(Text(beside_accuracy(evaluation.to_dict())), soft_wrap=True)
    scores = Table(title="per class", title_justify="left")
    scores.add_column("class")
    for heading in ("precision", "recall", "F1", "ROC-AUC", "support"):
        scores.add_column(heading, justify="right")
    for score, area in zip(evaluation.per_class, evaluation.roc_auc_per_class, strict=True):
        shares = map(percent, (score.precision, score.recall, score.f1))
        scores.add_row(Text(shown(score.name)), *shares, "–" if area is None else f"{area:.3f}", f"{score.support:,}")
    for table in (scores, _confusion(evaluation)):
        print_table(console, table)


def _confusion(evaluation: Evaluation) -> Table:
    table = Table(title="confusion (rows: true, columns: predicted)", title_justify="left")
    table.add_column("")
    for name in evaluation.classes:
        table.add_column(Text(shown(name)), justify="right")
    for true, counts in enumerate(evaluation.confusion.tolist()):
        cells = [Text(f"{count:,}" if count else "·", style=_style(count, true == j)) for j, count in enumerate(counts)]
        table.add_row(Text(shown(evaluation.classes[true]), style="bold"), *cells)
    return table


def _style(count: int, right: bool) -> str:
    if not count:
        return "dim"
    return "green" if right else "red"


def print_operating_point(
    console: Console, point: OperatingPoint, test: Outcome, of_recordings: Outcome | None, full: bool
) -> None:
    """Show an operating point, and what it makes of the validation split and of other sequences.

    Args:
        console: where.
        point: to show.
        test: what it makes of those sequences.
        of_recordings: and of the recordings that they are windows of; None if they are not.
        full: as tables; False says it in a line, as of a point that was chosen earlier.
    """
    if not full:
        lines = {f"at the operating point kept in the run, {point}": test, "per recording": of_recordings}
        for about, outcome in lines.items():
            if outcome is not None:
                own = outcome.in_words(point.reject is not None)
                measures = ", ".join(f"{name} {value}" for name, value in own.items())
                console.print(Text(f"{about}: {measures}"), soft_wrap=True)
        return
    console.print(Text(f"operating point: {point}"), soft_wrap=True)
    unit = "sequences" if of_recordings is None else "windows"
    each = {
        f"validation, {{}} {point.counted}": point.validation,
        f"test, {{}} {unit}": test,
        "test, {} recordings": of_recordings,
    }
    columns = {name: outcome for name, outcome in each.items() if outcome is not None}
    table = Table(title="at the operating point, with 95 % intervals", title_justify="left")
    table.add_column("")
    for name, outcome in columns.items():
        table.add_column(name.format(f"{outcome.n:,}"), justify="right")
    words = [outcome.in_words(point.reject is not None) for outcome in columns.values()]
    for name in words[0]:
        table.add_row(Text(shown(name)), *(each[name] for each in words))
    for shown_table in (table, _answers(test)):
        print_table(console, shown_table)


def _answers(outcome: Outcome) -> Table:
    table = Table(title="test (rows: true, columns: answered)", title_justify="left")
    table.add_column("")
    unsure = any(row[-1] for row in outcome.counts)
    for name in (*outcome.classes, *([UNSURE] if unsure else [])):
        table.add_column(Text(shown(name)), justify="right")
    for true, counts in enumerate(outcome.counts):
        answered = counts if unsure else counts[:-1]
        cells = [
            Text(f"{n:,}" if n else "·", style="yellow" if at == len(outcome.classes) else _style(n, true == at))
            for at, n in enumerate(answered)
        ]
        table.add_row(Text(shown(outcome.classes[true]), style="bold"), *cells)
    return table


def print_anytime(console: Console, anytime: Anytime) -> None:
    """Show the accuracy after parts of sequences, and with early stopping."""
    calibrated = "calibrated confidence" if anytime.calibrated else "uncalibrated confidence"
    curve = Table(title=f"after a part of each sequence ({calibrated})", title_justify="left")
    for heading in ("read", "mean steps", "accuracy", "mean confidence"):
        curve.add_column(heading, justify="right")
    every = math.ceil(len(anytime.fractions) / MARKS)
    for at in range(len(anytime.fractions) - 1, -1, -every)[::-1]:
        steps, accuracy, confidence = anytime.steps[at], anytime.accuracy[at], anytime.confidence[at]
        curve.add_row(f"{anytime.fractions[at]:.0%}", f"{steps:.1f}", percent(accuracy), percent(confidence))
    stops = Table(title="early stopping by confidence", title_justify="left")
    for heading in ("confidence", "accuracy", "mean steps", "reached it"):
        stops.add_column(heading, justify="right")
    for stop in anytime.stops:
        stops.add_row(f"{stop.confidence:.0%}", percent(stop.accuracy), f"{stop.steps:.1f}", percent(stop.share))
    for table in (curve, stops):
        print_table(console, table)
    console.print(f"mean accuracy over the fraction read (area under the curve): {percent(anytime.area)}")


def print_predictions(console: Console, predictions: Iterable[FilePrediction], calibrated: bool) -> None:
    """Show the class of each image, series or text, the runners-up, and the preparation of the input."""
    confidence = "calibrated" if calibrated else "not calibrated"
    for prediction in predictions:
        if prediction.error is not None:
            continue
        rest = [(name, p) for name, p in prediction.top if name != prediction.label]
        runners_up = ", ".join(f"{shown(name)} {percent(p)}" for name, p in rest)
        answer = (
            [(UNSURE, "bold yellow"), (f" ({runners_up}; {confidence})", "dim")]
            if prediction.label is None
            else [
                (shown(prediction.label), "bold green"),
                f" {percent(prediction.probability)}",
                (f" (then {runners_up}; {confidence})", "dim"),
            ]
        )
        console.print(
            Text.assemble(
                f"{', '.join(filter(None, (prediction.file, prediction.place)))}: ",
                *([] if prediction.text is None else [(f"{brief(prediction.text, SHORT)} → ", "")]),
                *answer,
                (f" · {', '.join(prediction.steps)}", "dim"),
            ),
            soft_wrap=True,
        )
