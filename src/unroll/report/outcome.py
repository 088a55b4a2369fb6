"""What came out of the training: curves, what is taken for what, the surest mistakes, whether confidence can be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from ..calibration import reliability
from ..evaluation import Evaluation
from ..plots import confusion, learning_curves, mistakes, reliability_diagram
from ..predicted import Predictions
from ..terminal import percent
from ..train import EpochResult
from .material import Material
from .section import Lines, Picture, Section, Table

MIXED_UP = 5  # pairs of classes that are named
CLASSES = 60  # rows of the table of classes: the worst ones, where there are more
SHORT = 120  # characters of a text in a table


def learning(history: Sequence[EpochResult]) -> Iterator[Section]:
    """Show the curves of the training."""
    if not history:
        return
    last = history[-1]
    reading = f"After epoch {last.epoch} the training loss is {last.train_loss:.4f}"
    if last.val_loss is not None and last.val_accuracy is not None:
        losses = [row.val_loss for row in history if row.val_loss is not None]
        best = losses.index(min(losses)) + 1
        reading += f", the validation loss {last.val_loss:.4f} at {percent(last.val_accuracy)} accuracy"
        reading += f"; it was lowest after epoch {best}."
    else:
        reading += "; nothing was held out to validate on."
    yield Section(
        "Learning curves",
        "Loss, which training lowers, and accuracy after each pass over the training data. Where the validation curve "
        "turns while the training curve goes on falling, the model begins to learn its examples by heart.",
        [
            Picture(
                "learning-curves",
                learning_curves([asdict(row) for row in history]),
                reading,
                f"Curves of loss and accuracy over {len(history)} epochs. {reading}",
            )
        ],
    )


def classes(evaluation: Evaluation) -> Iterator[Section]:
    """Show the confusion matrix and the scores of each class."""
    pairs = _mixed_up(evaluation)
    if pairs:
        worst = ", ".join(f"{true} → {said} ({_times(n)})" for n, true, said in pairs)
        reading = f"Most frequent mistakes, true → predicted: {worst}."
    else:
        reading = "Nothing is taken for anything else."
    scores = sorted(evaluation.per_class, key=lambda score: score.f1)
    shown = evaluation.per_class if len(scores) <= CLASSES else scores[:CLASSES]
    rows = [
        (score.name, percent(score.precision), percent(score.recall), percent(score.f1), f"{score.support:,}")
        for score in shown
    ]
    left_out = f"; the {CLASSES} worst of {len(scores)}" if len(scores) > CLASSES else ""
    supported = [score for score in scores if score.support]
    yield Section(
        "Classes",
        "Each row of the matrix is a true class, each column what it was taken for; all that is right lies on the "
        "diagonal. Precision is the share of what was called so that is so; recall the share of what is so that was "
        "called so; F1 their harmonic mean; support the number of sequences.",
        [
            Picture(
                "confusion",
                confusion(evaluation),
                reading,
                f"Confusion matrix of {len(evaluation.classes)} classes. {reading}",
            ),
            Table(
                ("class", "precision", "recall", "F1", "support"),
                rows,
                f"Hardest is {supported[0].name} with F1 {percent(supported[0].f1)}, "
                f"easiest {supported[-1].name} with {percent(supported[-1].f1)}{left_out}.",
            ),
        ],
    )


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def _mixed_up(evaluation: Evaluation) -> list[tuple[int, str, str]]:
    """Return the most frequent confusions: how often, the true class, what it was taken for."""
    counts = evaluation.confusion.clone().fill_diagonal_(0)
    order = counts.flatten().argsort(descending=True, stable=True)[:MIXED_UP].tolist()
    names, size = evaluation.classes, len(evaluation.classes)
    found = [(int(counts.flatten()[at]), names[at // size], names[at % size]) for at in order]
    return [pair for pair in found if pair[0]]


def worst(material: Material) -> Iterator[Section]:
    """Show the mistakes of which the model is surest."""
    predictions, numbers = material.predictions, material.worst
    if predictions is None or not numbers:
        return
    confidence, labels = predictions.logits[numbers].softmax(dim=1).max(dim=1)
    names, true = predictions.classes, predictions.y[numbers].tolist()
    sure = f"{percent(float(confidence[0]))} sure that what is {names[true[0]]} was {names[int(labels[0])]}"
    parts: list[Picture | Table] = []
    data = material.data
    if data is not None and data.texts is None:
        few = numbers if data.preparation.image else numbers[:9]
        kind = "Images" if data.preparation.image else "Series"
        parts.append(
            Picture(
                "mistakes",
                mistakes(data, few, labels[: len(few)], confidence[: len(few)]),
                f"It was {sure}.",
                f"{kind} of the {len(few)} most confident mistakes, each with its true and its predicted class.",
            )
        )
    if data is None or data.preparation.image is None:
        texts = None if data is None else data.texts
        rows = [
            (names[y], names[label], percent(p), f"{number:,}" if texts is None else _short(texts[number]))
            for number, y, label, p in zip(numbers, true, labels.tolist(), confidence.tolist(), strict=True)
        ]
        place = "sequence" if texts is None else "text"
        caption = f"It was {sure}." if not parts else "The same, and more, by number of the sequence in the test part."
        parts.append(Table(("true", "predicted", "confidence", place), rows, caption, words=2))
    yield Section(
        "Surest mistakes",
        f"The {len(numbers)} mistakes of which the model was surest. Where a person could not tell either, or the "
        "label is wrong, nothing can be learned; the others show what the model has not understood.",
        parts,
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= SHORT else f"{line[: SHORT - 1]}…"


def calibration(material: Material, predictions: Predictions) -> Iterator[Section]:
    """Show whether confidence is what it says."""
    as_it_comes = reliability(predictions.logits, predictions.y)
    parts = {"as it comes": as_it_comes}
    over = as_it_comes.mean_confidence - predictions.evaluation.accuracy
    side = "too sure" if over > 0 else "not sure enough"
    reading = (
        f"It is {percent(as_it_comes.mean_confidence)} sure in the mean, and right in "
        f"{percent(predictions.evaluation.accuracy)}: {side} by {100 * abs(over):.2f} points."
    )
    found = material.run.calibration
    if found is not None:
        calibrated = reliability(predictions.logits, predictions.y, found.temperature)
        parts["calibrated"] = calibrated
        note = (
            f"The temperature {found.temperature:.3f}, fitted on {found.n:,} sequences that were held out, brings the "
            f"expected calibration error (ECE) from {percent(as_it_comes.ece)} to {percent(calibrated.ece)}. Divide "
            "the logits by it wherever the probabilities count; no prediction changes."
        )
        if calibrated.ece > as_it_comes.ece:
            note = (
                f"The temperature {found.temperature:.3f}, fitted on {found.n:,} sequences that were held out, does "
                f"not help here: the expected calibration error (ECE) is {percent(as_it_comes.ece)} without it and "
                f"{percent(calibrated.ece)} with it."
            )
    else:
        note = (
            "Nothing was held out from the training to fit a temperature on; train with --val-fraction 0.1 to get one."
        )
    yield Section(
        "Can its confidence be believed?",
        "Of all answers that are given with 80 % confidence, 80 % should be right: then the curve lies on the "
        "diagonal. Below it the model promises too much. Bins of fewer than 10 answers are left out; the bars count "
        "the answers.",
        [
            Picture(
                "calibration",
                reliability_diagram(parts),
                reading,
                f"Reliability diagram: the share that is right against confidence. {reading}",
            ),
            Lines([note]),
        ],
    )
