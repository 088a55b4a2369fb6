"""Show data: counts, values, a preview."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ...data.describe import Description, FeatureDescription, PartDescription
from ...data.sequences import SequenceData
from ...data.vocabulary import WordDescription
from ...formatting import percent, shown
from .preview import preview
from .terminal import print_facts, print_findings

ROWS = 30  # of a table of features


def print_description(console: Console, description: Description, data: SequenceData, pictures: list[Path]) -> None:
    """Show a data set's description, a preview, and the paths of the pictures."""
    facts: dict[str, Any] = {"data": f"{description.name} from {description.source}", "kind": description.kind}
    if description.understood:
        facts["read as"] = description.understood
    for name, part in (("train", description.train), ("test", description.test)):
        facts[name] = _part_facts(part)
    if description.train.missing or description.test.missing:
        facts["missing"] = _missing(description, data)
    if len(set(description.train.lengths) | set(description.test.lengths)) > 1:
        facts["lengths"] = ", ".join(
            f"{name} {min(part.lengths)} to {max(part.lengths)}, mean {_mean_length(part):.1f}"
            for name, part in (("train", description.train), ("test", description.test))
            if part.n
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
    table = Table(title="features, training split", title_justify="left")
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
    table = Table(title="most characteristic tokens of each class", title_justify="left")
    table.add_column("class")
    table.add_column("tokens, most characteristic first")
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
    way = ", with masks as features (--missing mask)" if rule and rule.mask else " (--missing impute)"
    return f"{', '.join(counts)}; filled in{way}"


def _part_facts(part: PartDescription) -> str:
    time, features = part.shape
    if not part.n:
        return "–"
    if part.dtype == "tokens":
        return f"{part.n:,} × up to {time} tokens"
    return (
        f"{part.n:,} × {'up to ' if len(part.lengths) > 1 else ''}{time} steps × {features} features, {part.dtype}; "
        f"values {part.minimum:g} to {part.maximum:g}, mean {part.mean:.4g}, deviation {part.std:.4g}"
    )


def _mean_length(part: PartDescription) -> float:
    return sum(length * count for length, count in part.lengths.items()) / part.n
