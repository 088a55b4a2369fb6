"""The sections about results: learning curves, confusion, mistakes, calibration."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from statistics import fmean

from ..evaluation.calibration import COLDEST, HOTTEST, Reliability, reliability
from ..evaluation.metrics import Evaluation, PrecisionRecall
from ..evaluation.predictions import Predictions
from ..formatting import brief, percent
from ..plots import confusion, learning_curves, mistakes, precision_recall, reliability_diagram
from ..runs.storage import Run
from ..training.results import EpochResult
from .measurements import Material
from .section import NAME, Lines, Picture, Section, Table

MOST_CONFUSIONS = 5  # pairs of classes
FEW_HELD_OUT = 50  # sequences; a temperature fitted on fewer is unreliable
MOST_CLASSES = 60  # rows of the table of classes; the worst ones are shown
TEXT_LENGTH = 120  # characters of a text in a table
PLACE = 60  # characters of an id, or the name of a file, in a table


def learning(history: Sequence[EpochResult]) -> Iterator[Section]:
    """Show the curves of the training."""
    if not history:
        return
    last = history[-1]
    caption = f"After epoch {last.epoch} the training loss is {last.train_loss:.4f}"
    if last.val_loss is not None and last.val_accuracy is not None:
        losses = [row.val_loss for row in history if row.val_loss is not None]
        best = next(row.epoch for row in history if row.val_loss == min(losses))
        caption += f", the validation loss {last.val_loss:.4f} at {percent(last.val_accuracy)} accuracy"
        caption += f"; it was lowest after epoch {best}."
    else:
        caption += "; no validation split was held out."
    yield Section(
        "Learning curves",
        "Loss and accuracy after each epoch. Where the validation loss rises while the training loss still falls, the "
        "model overfits.",
        [
            Picture(
                "learning-curves",
                learning_curves([asdict(row) for row in history]),
                caption,
                f"Curves of loss and accuracy over {last.epoch} epochs. {caption}",
            )
        ],
    )


def members(run: Run) -> Iterator[Section]:
    """Show the members of an ensemble, each with its accuracy."""
    if run.config.train is None or run.config.ensemble == 1 or run.evaluation is None:
        return
    alone, together = [member["accuracy"] for member in run.evaluation["members"]], run.evaluation["accuracy"]
    rows = [
        (f"members/{number}", f"{run.config.train.member(number).seed}", percent(accuracy))
        for number, accuracy in enumerate(alone, start=1)
    ]
    yield Section(
        "Members",
        "The run answers with the mean of its members' calibrated probabilities. Each member is a run of its own: what "
        "it makes of a sequence step by step, which parts of the input speak for its answer and what the doctor says "
        f"of it is in its report: unroll report {shlex.quote(f'{run.path}/members/1')}",
        [
            Table(
                ("member", "seed", "accuracy"),
                rows,
                f"The members reach {percent(fmean(alone))} on average, the ensemble {percent(together)}.",
            )
        ],
    )


def classes(evaluation: Evaluation, kept: tuple[Predictions, Run] | None = None) -> Iterator[Section]:
    """Show the confusion matrix and the scores of each class.

    Args:
        evaluation: of all sequences.
        kept: the predictions and the run that may keep an operating point (default None).
    """
    pairs = _confusions(evaluation)
    if pairs:
        worst = ", ".join(f"{true} → {predicted} ({_times(n)})" for n, true, predicted in pairs)
        caption = f"Most frequent mistakes, true → predicted: {worst}."
    else:
        caption = "There are no mistakes."
    areas = dict(zip(evaluation.classes, evaluation.roc_auc_per_class, strict=True))
    # Hardest first; classes without a test sequence last.
    scores = sorted(evaluation.per_class, key=lambda score: 2.0 if score.f1 is None else score.f1)
    shown = evaluation.per_class if len(scores) <= MOST_CLASSES else scores[:MOST_CLASSES]
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
    left_out = f"; the {MOST_CLASSES} worst of {len(scores)}" if len(scores) > MOST_CLASSES else ""
    supported = [score for score in scores if score.support]
    yield Section(
        "Classes",
        "Each row of the matrix is a true class, each column a predicted one; correct predictions lie on the diagonal. "
        "Recall: fraction of the sequences of a class that were predicted as it. Precision: fraction of the "
        "predictions of a class that are correct. F1: their harmonic mean. ROC-AUC: probability that a sequence of the "
        "class gets a higher probability of it than one of the rest, 0.5 by chance. Support: number of sequences.",
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
            *_precision_recall(evaluation, kept),
        ],
    )


def _precision_recall(evaluation: Evaluation, kept: tuple[Predictions, Run] | None) -> Iterator[Picture]:
    """Show the precision at each recall of the rarer of two classes, and where the run's threshold lies."""
    curve = evaluation.precision_recall
    if curve is not None:
        at = None if kept is None else _place_of_threshold(curve, *kept)
        name = brief(curve.name, NAME)
        caption = (
            f"Average precision of {name}: {percent(curve.average)}; by chance it would equal its share, "
            f"{percent(curve.share)}."
        )
        words = f"Precision against recall of {name}, over all thresholds of its probability. {caption}"
        yield Picture("precision-recall", precision_recall(curve, at), caption, words)


def _place_of_threshold(curve: PrecisionRecall, predictions: Predictions, run: Run) -> tuple[float, float, str] | None:
    """Return recall and precision at the run's threshold, and its name; None where the curve has no such place."""
    point = run.operating_point
    if point is None or point.positive != curve.name:
        return None
    always = replace(point, reject=None).outcome(predictions.probabilities(run.calibration), predictions.y)
    if always.recall is None or always.precision is None:
        return None
    return always.recall.value, always.precision.value, f"threshold {point.threshold:.6g}"


def operating_point(predictions: Predictions, run: Run) -> Iterator[Section]:
    """Show what the operating point that the run keeps makes of the validation and the test split."""
    point = run.operating_point
    if point is None:
        return
    judged = predictions.probabilities(run.calibration), predictions.y
    of_recordings = point.outcome_of_recordings(*judged, predictions.recordings)
    validation = "validation, per recording" if point.counted == "recordings" else "validation"
    each = {validation: point.validation, "test": point.outcome(*judged), "test, per recording": of_recordings}
    parts = {name: outcome for name, outcome in each.items() if outcome is not None}
    words = [outcome.in_words(point.reject is not None) for outcome in parts.values()]
    rows = [(brief(name, NAME + len("precision of ''")), *(of_part[name] for of_part in words)) for name in words[0]]
    units = {validation: point.counted, "test": "sequences" if of_recordings is None else "windows"}
    counts = ", ".join(
        f"{outcome.n:,} {units.get(name, 'recordings')} of {name.partition(',')[0]}" for name, outcome in parts.items()
    )
    counts += "" if of_recordings is None else "; a recording is answered by the mean of its windows"
    lead = f"The run answers {point}. unroll predict, its page and its server follow this."
    unsure = (
        " All but the coverage and what is missed is of the sequences that get a class."
        if point.reject is not None
        else ""
    )
    chosen = (
        " The threshold was chosen on validation, where it looks better than it is."
        if point.costs or (point.chosen != "given")
        else ""
    )
    yield Section(
        "Operating point",
        f"{lead}{unsure}{chosen} The other sections are about the most probable class.",
        [Table(("", *parts), rows, f"With 95 % intervals, on {counts}.")],
    )


def _times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def _confusions(evaluation: Evaluation) -> list[tuple[int, str, str]]:
    """Return the most frequent confusions: count, true class, predicted class."""
    counts = evaluation.confusion.clone().fill_diagonal_(0)
    order = counts.flatten().argsort(descending=True, stable=True)[:MOST_CONFUSIONS].tolist()
    names, size = [brief(name, NAME) for name in evaluation.classes], len(evaluation.classes)
    pairs = [(int(counts.flatten()[at]), names[at // size], names[at % size]) for at in order]
    return [pair for pair in pairs if pair[0]]


def worst(material: Material) -> Iterator[Section]:
    """Show the most confident mistakes."""
    predictions, numbers = material.predictions, material.worst
    if predictions is None or not numbers:
        return
    confidence, labels = predictions.probabilities(material.run.calibration)[numbers].max(dim=1)
    names, true = [brief(name, NAME) for name in predictions.classes], predictions.y[numbers].tolist()
    first = (
        f"A true {names[true[0]]}, predicted {names[int(labels[0])]} with {percent(float(confidence[0]))} confidence."
    )
    parts: list[Picture | Table] = []
    data, drawn = material.data, material.drawn
    if data is not None and drawn and data.kind != "texts":
        parts.append(
            Picture(
                "mistakes",
                mistakes(data, drawn, labels[: len(drawn)], confidence[: len(drawn)]),
                first,
                f"{data.kind.capitalize()} of the {len(drawn)} most confident mistakes, each with its true and its "
                "predicted class.",
            )
        )
    places = _places(material, numbers)
    if not parts or material.run.preparation.kind != "images" or "index" not in places:
        rows = [
            (names[y], names[label], percent(p), *place)
            for y, label, p, place in zip(
                true, labels.tolist(), confidence.tolist(), zip(*places.values(), strict=True), strict=True
            )
        ]
        of_index = ", with the index of the sequence in the test split" if "index" in places else ""
        caption = (
            first if not parts else f"The same mistakes{'' if len(drawn) == len(rows) else ' and more'}{of_index}."
        )
        parts.append(Table(("true", "predicted", "confidence", *places), rows, caption, words=2))
    yield Section(
        "Most confident mistakes",
        f"The {len(numbers)} mistakes with the highest confidence. Some are ambiguous or wrongly labelled; the rest "
        "show what the model has not learned.",
        parts,
    )


def _places(material: Material, numbers: Sequence[int]) -> dict[str, list[str]]:
    """Return columns that say which sequences these are: what their source calls them, else their index; and texts."""
    data, columns = material.data, dict[str, list[str]]()
    if data is not None and data.origins is not None and material.shows_samples:
        columns[data.origins.named_by] = [brief(data.origins.names[number], PLACE) for number in numbers]
        if data.origins.windows is not None:
            columns["start"] = [f"{data.origins.windows[number, 1]:,}" for number in numbers]
    if data is not None and data.texts is not None and material.shows_samples:
        columns["text"] = [brief(data.texts[number], TEXT_LENGTH) for number in numbers]
    return columns or {"index": [f"{number:,}" for number in numbers]}


def _calibration_note(material: Material, uncalibrated: Reliability, calibrated: Reliability | None) -> str:
    """Say what the temperature does to the calibration error, or why there is no temperature."""
    fit, trained = material.run.calibration, material.run.config.train
    if fit is None or calibrated is None:
        if trained and not trained.val_fraction:
            return (
                "There is no temperature, as nothing was held out to fit it; train with --val-fraction 0.1 to get one."
            )
        return "The run has no temperature (calibration.json): unroll train fits one on its validation split."
    fitted = f"The temperature {fit.temperature:.3f}, fitted on {fit.n:,} held-out sequences,"
    if not 1.01 * COLDEST < fit.temperature < 0.99 * HOTTEST:
        return f"{fitted} is at its limit: the confidence is unrelated to the accuracy."
    few = f" {fit.n:,} sequences are few for that." if fit.n < FEW_HELD_OUT else ""
    error = (
        f"the expected calibration error (ECE): {percent(uncalibrated.ece)} without, {percent(calibrated.ece)} with it."
    )
    if calibrated.ece > uncalibrated.ece:
        return f"{fitted} does not lower {error}{few}"
    uses = "All probabilities shown use it, cross entropy and ROC-AUC do not; no prediction changes."
    return f"{fitted} lowers {error}{few} {uses}"


def calibration(material: Material, predictions: Predictions) -> Iterator[Section]:
    """Show whether the confidence matches the accuracy."""
    uncalibrated = reliability(predictions.logits, predictions.y)
    parts = {"uncalibrated": uncalibrated}
    over = uncalibrated.mean_confidence - predictions.evaluation.accuracy
    side = "overconfident" if over > 0 else "underconfident"
    caption = (
        f"Mean confidence {percent(uncalibrated.mean_confidence)}, accuracy "
        f"{percent(predictions.evaluation.accuracy)}: {side} by {100 * abs(over):.2f} points."
    )
    fit = material.run.calibration
    if fit is not None:
        parts["calibrated"] = reliability(predictions.logits, predictions.y, fit.temperature)
    note = _calibration_note(material, uncalibrated, parts.get("calibrated"))
    yield Section(
        "Calibration: does the confidence match the accuracy?",
        "Of all predictions with 80 % confidence, 80 % should be correct: then the curve lies on the diagonal. Below "
        "it the model is overconfident. Bins of fewer than 10 predictions are left out; the bars show the number of "
        "predictions.",
        [
            Picture(
                "calibration",
                reliability_diagram(parts),
                caption,
                f"Reliability diagram: the fraction of correct predictions against confidence. {caption}",
            ),
            Lines([note]),
        ],
    )
