"""The report of a cross-validation: its folds, the classes, and the most confident mistakes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..data.folds import UNDIVIDED
from ..evaluation.metrics import Evaluation
from ..formatting import brief, percent
from ..runs.crossval import NAMED_BY, CrossValidation, OutOfFold
from . import results
from .measurements import MOST_MISTAKES
from .section import NAME, Section, Table
from .summary import in_word

METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}
NUMBERS = {"roc_auc": "ROC-AUC", "loss": "loss"}


def summary(validation: CrossValidation) -> list[str]:
    """Summarise the cross-validation in a few lines."""
    low, high = validation.interval or (0.0, 0.0)
    kinds = {
        "stratified": "stratified",
        "group": "whole groups in each",
        "recording": "all windows of a recording in one",
        "time": "each later than what was trained on for it",
    }
    times = f", {validation.repeats} times with other folds and seeds" if validation.repeats > 1 else ""
    lines = [
        f"Data: {validation.n:,} sequences of {validation.data} in {validation.folds} folds, "
        f"{kinds[validation.cut]}{times}.",
        f"Result: accuracy {_spread(validation, 'accuracy')} over the folds.",
        f"Out-of-fold accuracy {percent(validation.accuracy)}, 95 % interval {percent(low)} to {percent(high)}.",
    ]
    lines.append("Classes and mistakes below are those of all folds together.")
    if validation.cut in UNDIVIDED:
        lines.append(
            f"The interval takes the sequences as independent; those of a {validation.cut} are not, so it is too "
            "narrow."
        )
    if validation.apart:
        lines.append(f"The test part of the data, {validation.apart:,} sequences, was not used.")
    return lines


def sections(validation: CrossValidation, samples: bool) -> Iterator[Section]:
    """Show folds, classes and mistakes.

    Args:
        validation: finished.
        samples: whether mistakes are named.

    Raises:
        RunError: it is not finished, or a file is missing.
    """
    answers = validation.out_of_fold()
    yield _folds(validation)
    yield from results.classes(Evaluation.of(answers.logits, answers.y, answers.classes))
    yield from _mistakes(answers, samples)
    rows = [(name, in_word(value)) for name, value in {"recipe": validation.recipe, **validation.settings}.items()]
    yield Section(
        "Settings",
        "Those that were given; the recipe has the others, and config.json of each run has all.",
        [Table(("setting", "value"), rows, words=2)],
    )


def _spread(validation: CrossValidation, metric: str) -> str:
    mean, deviation = validation.mean(metric), validation.deviation(metric)
    if metric in NUMBERS:
        return "–" if mean is None else f"{mean:.4f}" + ("" if deviation is None else f" ± {deviation:.4f}")
    return percent(mean) + ("" if deviation is None else f" ± {100 * deviation:.2f}")


def _folds(validation: CrossValidation) -> Section:
    """Return the table of the folds."""
    has_groups = validation.cut in UNDIVIDED
    head = (
        "fold",
        "trained on",
        "held out",
        *([f"{validation.cut}s"] if has_groups else []),
        *METRICS.values(),
        *NUMBERS.values(),
    )
    rows = []
    for result in validation.results:
        numbers = (getattr(result, name) for name in NUMBERS)
        rows.append(
            (
                f"{result.number}",
                f"{result.trained_on:,}",
                f"{result.n:,}",
                *([f"{result.groups}"] if has_groups else []),
                *(percent(getattr(result, name)) for name in METRICS),
                *("–" if number is None else f"{number:.4f}" for number in numbers),
            )
        )
    gap = ("–",) * (3 if has_groups else 2)
    rows.append(("mean ± deviation", *gap, *(_spread(validation, name) for name in (*METRICS, *NUMBERS))))
    first = shlex.quote(f"{validation.path}/{validation.results[0].run}")
    return Section(
        "Folds",
        "Each fold was held out in turn, and a run was trained on the others, or with folds by time on the earlier "
        f"ones. Each is a run of its own, with a report of its own: unroll report {first}",
        [Table(head, rows)],
    )


def _mistakes(answers: OutOfFold, samples: bool) -> Iterator[Section]:
    """Show the mistakes with the highest confidence, by what their source calls them."""
    confidence, labels = answers.logits.softmax(dim=1).max(dim=1)
    wrong = (labels != answers.y).nonzero()[:, 0]
    numbers = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MOST_MISTAKES].tolist()
    if not numbers:
        return
    columns = [name for name in (*NAMED_BY, "start", "group") if samples and name in answers.rows[0]] or ["row"]
    names = [brief(name, NAME) for name in answers.classes]
    rows = [
        (
            names[int(answers.y[number])],
            names[int(labels[number])],
            percent(float(confidence[number])),
            answers.rows[number]["fold"],
            *(brief(answers.rows[number][name], results.PLACE) for name in columns),
        )
        for number in numbers
    ]
    yield Section(
        "Most confident mistakes",
        f"The {len(numbers)} mistakes with the highest confidence, out of {len(wrong):,}, each by the run that was not "
        "trained on the sequence. Some are ambiguous or wrongly labelled; all are in oof.csv.",
        [Table(("true", "predicted", "confidence", "fold", *columns), rows, words=2)],
    )
