"""Show evaluations and predictions."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...evaluation.anytime import Anytime
from ...evaluation.metrics import Evaluation
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
        (label, probability), *rest = prediction.top
        runners_up = ", ".join(f"{shown(name)} {percent(p)}" for name, p in rest)
        console.print(
            Text.assemble(
                f"{', '.join(filter(None, (prediction.file, prediction.place)))}: ",
                *([] if prediction.text is None else [(f"{brief(prediction.text, SHORT)} → ", "")]),
                (shown(label), "bold green"),
                f" {percent(probability)}",
                (f" (then {runners_up}; {confidence}) · {', '.join(prediction.steps)}", "dim"),
            ),
            soft_wrap=True,
        )
