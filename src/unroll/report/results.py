"""What came out of the training: curves, what is taken for what, the surest mistakes, whether confidence can be had."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

from ..evaluation.calibration import COLDEST, HOTTEST, Reliability, reliability
from ..evaluation.metrics import Evaluation
from ..evaluation.predictions import Predictions
from ..formatting import brief, percent
from ..plots import confusion, learning_curves, mistakes, precision_recall, reliability_diagram
from ..training.results import EpochResult
from .measurements import Material
from .section import NAME, Lines, Picture, Section, Table

MIXED_UP = 5  # pairs of classes that are named
FEW_HELD_OUT = 50  # sequences; a temperature fitted on fewer says little
CLASSES = 60  # rows of the table of classes: the worst ones, where there are more
SHORT = 120  # characters of a text in a table


def learning(history: Sequence[EpochResult]) -> Iterator[Section]:
    """Show the curves of the training."""
    if not history:
        return
    last = history[-1]
    caption = f"After epoch {last.epoch} the training loss is {last.train_loss:.4f}"
    if last.val_loss is not None and last.val_accuracy is not None:
        losses = [row.val_loss for row in history if row.val_loss is not None]
        best = losses.index(min(losses)) + 1
        caption += f", the validation loss {last.val_loss:.4f} at {percent(last.val_accuracy)} accuracy"
        caption += f"; it was lowest after epoch {best}."
    else:
        caption += "; nothing was held out to validate on."
    yield Section(
        "Learning curves",
        "Loss, which training lowers, and accuracy after each pass over the training data. Where the validation curve "
        "turns while the training curve goes on falling, the model begins to learn its examples by heart.",
        [
            Picture(
                "learning-curves",
                learning_curves([asdict(row) for row in history]),
                caption,
                f"Curves of loss and accuracy over {len(history)} epochs. {caption}",
            )
        ],
    )


def classes(evaluation: Evaluation) -> Iterator[Section]:
    """Show the confusion matrix and the scores of each class."""
    pairs = _mixed_up(evaluation)
    if pairs:
        worst = ", ".join(f"{true} → {predicted} ({_times(n)})" for n, true, predicted in pairs)
        caption = f"Most frequent mistakes, true → predicted: {worst}."
    else:
        caption = "Nothing is taken for anything else."
    areas = dict(zip(evaluation.classes, evaluation.roc_auc_per_class, strict=True))
    # The least F1 is the hardest; classes without a sequence come last.
    scores = sorted(evaluation.per_class, key=lambda score: 2.0 if score.f1 is None else score.f1)
    shown = evaluation.per_class if len(scores) <= CLASSES else scores[:CLASSES]
    rows = [
        (
            brief(score.name, NAME),
            percent(score.precision),
            percent(score.recall),
            percent(score.f1),
            "–" if areas[score.name] is None else f"{areas[score.name]:.3f}",
            f"{score.support:,}",
        )
        for score in shown
    ]
    left_out = f"; the {CLASSES} worst of {len(scores)}" if len(scores) > CLASSES else ""
    supported = [score for score in scores if score.support]
    yield Section(
        "Classes",
        "Each row of the matrix is a true class, each column what it was taken for; all that is right lies on the "
        "diagonal. Recall: of all sequences of the class, the share that was found. Precision: of all that were taken "
        "for it, the share that is right. F1: their harmonic mean. ROC-AUC: how often a sequence of the class has a "
        "higher probability of it than one of the rest, 0.5 by chance. Support: how many there are.",
        [
            Picture(
                "confusion",
                confusion(evaluation),
                caption,
                f"Confusion matrix of {len(evaluation.classes)} classes. {caption}",
            ),
            Table(
                ("class", "precision", "recall", "F1", "ROC-AUC", "support"),
                rows,
                f"Hardest is {brief(supported[0].name, NAME)} with F1 {percent(supported[0].f1)}, "
                f"easiest {brief(supported[-1].name, NAME)} with {percent(supported[-1].f1)}{left_out}.",
            ),
            *_precision_recall(evaluation),
        ],
    )


def _precision_recall(evaluation: Evaluation) -> Iterator[Picture]:
    """Show what precision there is at each recall of the rarer of two classes."""
    curve = evaluation.precision_recall
    if curve is not None:
        name = brief(curve.name, NAME)
        caption = (
            f"Average precision of {name}: {percent(curve.average)}; by chance it would be its share, "
            f"{percent(curve.share)}."
        )
        words = f"Precision against recall of {name}, whichever probability is enough to predict it. {caption}"
        yield Picture("precision-recall", precision_recall(curve), caption, words)


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def _mixed_up(evaluation: Evaluation) -> list[tuple[int, str, str]]:
    """Return the most frequent confusions: how often, the true class, what it was taken for."""
    counts = evaluation.confusion.clone().fill_diagonal_(0)
    order = counts.flatten().argsort(descending=True, stable=True)[:MIXED_UP].tolist()
    names, size = [brief(name, NAME) for name in evaluation.classes], len(evaluation.classes)
    pairs = [(int(counts.flatten()[at]), names[at // size], names[at % size]) for at in order]
    return [pair for pair in pairs if pair[0]]


def worst(material: Material) -> Iterator[Section]:
    """Show the mistakes of which the model is surest."""
    predictions, numbers = material.predictions, material.worst
    if predictions is None or not numbers:
        return
    confidence, labels = predictions.probabilities(material.run.calibration)[numbers].max(dim=1)
    names, true = [brief(name, NAME) for name in predictions.classes], predictions.y[numbers].tolist()
    sure = f"took {names[true[0]]} for {names[int(labels[0])]}, {percent(float(confidence[0]))} sure"
    parts: list[Picture | Table] = []
    data, kind = material.data, material.run.preparation.kind
    if data is not None and kind != "texts":
        drawn = numbers if kind == "images" else numbers[:9]
        parts.append(
            Picture(
                "mistakes",
                mistakes(data, drawn, labels[: len(drawn)], confidence[: len(drawn)]),
                f"It {sure}.",
                f"{kind.capitalize()} of the {len(drawn)} most confident mistakes, each with its true and its "
                "predicted class.",
            )
        )
    if data is None or kind != "images":
        texts = None if data is None else data.texts
        rows = [
            (names[y], names[label], percent(p), f"{number:,}" if texts is None else brief(texts[number], SHORT))
            for number, y, label, p in zip(numbers, true, labels.tolist(), confidence.tolist(), strict=True)
        ]
        place = "sequence" if texts is None else "text"
        caption = f"It {sure}." if not parts else "The same, and more, by number of the sequence in the test part."
        parts.append(Table(("true", "predicted", "confidence", place), rows, caption, words=2))
    yield Section(
        "Surest mistakes",
        f"The {len(numbers)} mistakes of which the model was surest. Where a person could not tell either, or the "
        "label is wrong, nothing can be learned; the others show what the model has not understood.",
        parts,
    )


def _mended(material: Material, as_it_comes: Reliability, calibrated: Reliability | None) -> str:
    """Say what a temperature does for the confidence, or why there is none."""
    fit, trained = material.run.calibration, material.run.config.train
    if fit is None or calibrated is None:
        if trained and not trained.val_fraction:
            return "Nothing was held out to fit a temperature on; train with --val-fraction 0.1 to get one."
        return "The run keeps no temperature (calibration.json): only unroll train makes one, of what it holds out."
    fitted = f"The temperature {fit.temperature:.3f}, fitted on {fit.n:,} sequences that were held out,"
    if not 1.01 * COLDEST < fit.temperature < 0.99 * HOTTEST:
        return f"{fitted} is at its limit: how sure it is has nothing to do with how often it is right."
    few = f" {fit.n:,} are few for that." if fit.n < FEW_HELD_OUT else ""
    error = (
        f"the expected calibration error (ECE): {percent(as_it_comes.ece)} without, {percent(calibrated.ece)} with it."
    )
    if calibrated.ece > as_it_comes.ece:
        return f"{fitted} does not lower {error}{few}"
    return f"{fitted} lowers {error}{few} All that shows probabilities divides logits by it; no prediction changes."


def calibration(material: Material, predictions: Predictions) -> Iterator[Section]:
    """Show whether confidence is what it says."""
    as_it_comes = reliability(predictions.logits, predictions.y)
    parts = {"as it comes": as_it_comes}
    over = as_it_comes.mean_confidence - predictions.evaluation.accuracy
    side = "too sure" if over > 0 else "not sure enough"
    caption = (
        f"It is {percent(as_it_comes.mean_confidence)} sure in the mean, and right in "
        f"{percent(predictions.evaluation.accuracy)}: {side} by {100 * abs(over):.2f} points."
    )
    fit = material.run.calibration
    if fit is not None:
        parts["calibrated"] = reliability(predictions.logits, predictions.y, fit.temperature)
    note = _mended(material, as_it_comes, parts.get("calibrated"))
    yield Section(
        "Can its confidence be believed?",
        "Of all answers that are given with 80 % confidence, 80 % should be right: then the curve lies on the "
        "diagonal. Below it the model promises too much. Bins of fewer than 10 answers are left out; the bars count "
        "the answers.",
        [
            Picture(
                "calibration",
                reliability_diagram(parts),
                caption,
                f"Reliability diagram: the share that is right against confidence. {caption}",
            ),
            Lines([note]),
        ],
    )
