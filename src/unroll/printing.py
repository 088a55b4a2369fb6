"""Reports of data, of a fresh model, of an evaluation and of predictions, as the command line shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .data.describe import Description, FeatureDescription, PartDescription
from .data.sequences import SequenceData
from .data.splits import Splits
from .data.vocabulary import WordDescription
from .doctor.preflight import Inspection
from .evaluation.anytime import Anytime
from .evaluation.metrics import Evaluation
from .evaluation.predict_files import FilePrediction
from .formatting import shown
from .sketch import preview
from .terminal import brief, percent, print_facts, print_table

ROWS = 30  # of a table of features
MARKS = 14  # of the curve over what was read
SHORT = 60  # characters of a text that are shown with its class


def print_evaluation(console: Console, evaluation: Evaluation, title: str) -> None:
    """Show accuracy, the scores of each class and the confusion matrix."""
    low, high = evaluation.interval
    console.print(
        Text.assemble(
            f"{title}: accuracy ",
            (percent(evaluation.accuracy), "bold green"),
            f" (95 % interval {100 * low:.2f} to {percent(high)}; {evaluation.correct:,} of {evaluation.n:,} right), "
            f"loss {evaluation.loss:.4f}",
        ),
        soft_wrap=True,
    )
    scores = Table(title="per class", title_justify="left")
    scores.add_column("class")
    for heading in ("precision", "recall", "F1", "support"):
        scores.add_column(heading, justify="right")
    for name, precision, recall, f1, support in evaluation.per_class:
        scores.add_row(Text(shown(name)), percent(precision), percent(recall), percent(f1), f"{support:,}")
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
    """Show accuracy against what was read, and what comes of stopping early."""
    calibrated = "calibrated confidence" if anytime.calibrated else "confidence as it comes, not calibrated"
    curve = Table(title=f"after a part of each sequence ({calibrated})", title_justify="left")
    for heading in ("read", "steps, mean", "accuracy", "confidence, mean"):
        curve.add_column(heading, justify="right")
    every = math.ceil(len(anytime.fractions) / MARKS)
    for at in range(len(anytime.fractions) - 1, -1, -every)[::-1]:
        steps, accuracy, confidence = anytime.steps[at], anytime.accuracy[at], anytime.confidence[at]
        curve.add_row(f"{anytime.fractions[at]:.0%}", f"{steps:.1f}", percent(accuracy), percent(confidence))
    stops = Table(title="reading stopped once it was sure", title_justify="left")
    for heading in ("confidence", "accuracy", "steps, mean", "were sure"):
        stops.add_column(heading, justify="right")
    for stop in anytime.stops:
        stops.add_row(f"{stop.confidence:.0%}", percent(stop.accuracy), f"{stop.steps:.1f}", percent(stop.share))
    for table in (curve, stops):
        print_table(console, table)
    console.print(f"mean accuracy over the fraction read (area under the curve): {percent(anytime.area)}")


def print_predictions(console: Console, predictions: Iterable[FilePrediction]) -> None:
    """Show the class of each image or series, the runners-up, and how it was made into model input."""
    for prediction in predictions:
        if prediction.error is not None:
            continue
        series = prediction.series
        (label, probability), *others = prediction.top
        runners_up = ", ".join(f"{shown(name)} {percent(p)}" for name, p in others)
        console.print(
            Text.assemble(
                f"{prediction.file}: "
                if series is None
                else f"{prediction.file}, {prediction.named_by} {shown(series)}: ",
                *([] if prediction.text is None else [(f"{brief(prediction.text, SHORT)} → ", "")]),
                (shown(label), "bold green"),
                f" {percent(probability)}",
                (f" (then {runners_up}) · {', '.join(prediction.steps)}", "dim"),
            ),
            soft_wrap=True,
        )


def print_description(console: Console, description: Description, data: SequenceData, pictures: list[Path]) -> None:
    """Show what a data set holds, a first look at it, and where the pictures are."""
    facts: dict[str, Any] = {"data": f"{description.name} from {description.source}", "kind": description.kind}
    for name, part in (("train", description.train), ("test", description.test)):
        facts[name] = _part_facts(part)
    if description.train.missing or description.test.missing:
        facts["missing"] = _missing(description, data)
    if len(set(description.train.lengths) | set(description.test.lengths)) > 1:
        facts["lengths"] = ", ".join(
            f"{name} {min(part.lengths)} to {max(part.lengths)}, mean {_mean_length(part):.1f}"
            for name, part in (("train", description.train), ("test", description.test))
        )
    print_facts(console, facts)
    counts = Table(title="sequences per class", title_justify="left")
    counts.add_column("class")
    counts.add_column("train", justify="right")
    counts.add_column("test", justify="right")
    for label, count in description.train.counts.items():
        counts.add_row(Text(shown(label)), f"{count:,}", f"{description.test.counts[label]:,}")
    console.print(counts)
    if description.features:
        _print_features(console, description.features)
    if description.words:
        _print_words(console, description.words)
    console.print()
    for line in preview(data, console.width, colours=console.color_system == "truecolor"):
        line.rstrip()
        console.print(line, no_wrap=True, overflow="ignore", crop=False)
    console.print(Text("the first sequences of some classes; more in the pictures", style="dim"))
    console.print(
        f"\nrepeated: {description.train.repeated:,} in train, {description.test.repeated:,} in test; "
        f"in both parts: {description.shared:,}",
        soft_wrap=True,
    )
    print_findings(console, description.findings)
    print_facts(console, {"pictures": ", ".join(map(str, pictures))})


def _print_features(console: Console, features: Sequence[FeatureDescription]) -> None:
    table = Table(title="features, training part", title_justify="left")
    lacking = any(feature.missing for feature in features)
    for heading in ("feature", "least", "most", "mean", "deviation", *(["missing"] if lacking else [])):
        table.add_column(heading, justify="right")
    for feature in features[:ROWS]:
        cells = [f"{cell:.4g}" for cell in (feature.minimum, feature.maximum, feature.mean, feature.std)]
        table.add_row(Text(shown(feature.name)), *cells, *([f"{feature.missing:,}"] if lacking else []))
    console.print(table)
    if len(features) > ROWS:
        console.print(f"and {len(features) - ROWS} more features")


def _print_words(console: Console, words: WordDescription) -> None:
    table = Table(title="tokens that tell a class from the others", title_justify="left")
    table.add_column("class")
    table.add_column("tokens, the most telling first")
    for label, typical in words.typical.items():
        table.add_row(Text(shown(label)), Text(", ".join(shown(word) for word, _ in typical)))
    console.print(table)
    unknown = f"{percent(words.unknown_train)} of the tokens in train, {percent(words.unknown_test)} in test"
    print_facts(
        console,
        {"frequent": ", ".join(f"{shown(word)} {count:,}" for word, count in words.frequent), "unknown": unknown},
    )


def _missing(description: Description, data: SequenceData) -> str:
    counts = [
        f"{part.missing:,} of {values:,} values ({percent(part.missing / values)}) in {name}"
        for name, part in (("train", description.train), ("test", description.test))
        if (values := part.shape[1] * sum(length * count for length, count in part.lengths.items()))
    ]
    rule = data.preparation.missing
    told = ", and told to the model (--missing mask)" if rule and rule.mask else " (--missing impute)"
    return f"{', '.join(counts)}; filled in{told}"


def _part_facts(part: PartDescription) -> str:
    time, features = part.shape
    if part.dtype == "tokens":
        return f"{part.n:,} × up to {time} tokens"
    return (
        f"{part.n:,} × {'up to ' if len(part.lengths) > 1 else ''}{time} steps × {features} features, {part.dtype}; "
        f"values {part.minimum:g} to {part.maximum:g}, mean {part.mean:.4g}, deviation {part.std:.4g}"
    )


def _mean_length(part: PartDescription) -> float:
    return sum(length * count for length, count in part.lengths.items()) / part.n


def print_inspection(console: Console, inspection: Inspection, splits: Splits) -> None:
    """Show a batch's way through a fresh model, and what looks wrong."""
    print_facts(console, {"data": f"{splits.name} from {splits.source}", "weights": "fresh"})
    shapes = Table(title="one batch on its way", title_justify="left")
    shapes.add_column("")
    shapes.add_column("shape", justify="right")
    shapes.add_column("axes")
    for shape in inspection.shapes:
        shapes.add_row(shape.name, " × ".join(map(str, shape.sizes)), " × ".join(shape.axes))
    console.print(shapes)
    print_facts(
        console,
        {
            "parameters": f"{inspection.parameters:,}",
            **(
                {}
                if inspection.padding is None
                else {"padding": f"{percent(inspection.padding)} of the time steps in the batches of an epoch"}
            ),
            "initial loss": f"{inspection.loss:.4f}; ln(classes), a model without preference: {inspection.chance:.4f}",
            "saturated": ", ".join(
                f"layer {n}: {percent(share)}" for n, share in enumerate(inspection.saturated, start=1)
            )
            or "nothing can be: outputs without limits",
        },
    )
    print_findings(console, inspection.findings)


def print_findings(console: Console, findings: Iterable[str]) -> None:
    """Show what looks wrong, a line each, or that nothing does."""
    lines = list(findings)
    for finding in lines:
        console.print(Text.assemble(("look at  ", "bold yellow"), finding), soft_wrap=True)
    if not lines:
        console.print(Text("nothing looks wrong", style="green"))
