"""The sections about how the model reads: accuracy over time, states step by step, and attribution."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from ..evaluation.anytime import Anytime
from ..evaluation.stepwise import Watched
from ..formatting import brief, percent
from ..plots import anytime_curve, reading, saliency_curve, saliency_map, saliency_spans
from .measurements import Attributions, Material
from .section import NAME, ColouredText, Lines, Picture, Section, Table

COLOURED = "Orange speaks for that class, blue against it."
LATE = 0.8  # fraction of a sequence after which an answer counts as late
FEWEST_STOPPED = 0.1  # fraction of the sequences that must stop early to make it worthwhile
KNOWN_LIFT = 0.9  # fraction of the final lift over chance from which the model "knows"


def knowing(material: Material) -> Iterator[Section]:
    """Show accuracy against the fraction of the sequence that was read."""
    anytime, unit = material.anytime, material.unit
    if anytime is None or len(anytime.fractions) < 2:
        return
    known = _known(anytime, 1 / len(material.run.preparation.classes))
    area, last = percent(anytime.area), percent(anytime.accuracy[-1])
    caption = f"At the end the accuracy is {last}; its mean over all parts (area under the curve) is {area}."
    if known < len(anytime.fractions) - 1:
        part, accuracy = f"{anytime.fractions[known]:.0%}", percent(anytime.accuracy[known])
        caption = f"After {part} of the sequence the accuracy is {accuracy}. {caption}"
    rows = [
        (f"{stop.confidence:.0%}", percent(stop.accuracy), f"{stop.steps:.1f}", percent(stop.share))
        for stop in anytime.stops
    ]
    mean = anytime.steps[-1]
    data = material.data
    assert data is not None
    sample = (
        f" Measured on {material.asked:,} of {len(data):,} sequences, drawn at random."
        if material.asked < len(data)
        else ""
    )
    yield Section(
        "When does it know?",
        "The model's prediction after each part of a sequence, as if it ended there. Diamonds show the result of "
        f"stopping as soon as the confidence reaches a threshold.{sample}",
        [
            Picture(
                "anytime",
                anytime_curve(anytime, unit),
                caption,
                f"Accuracy and confidence against the fraction of the sequence that was read. {caption}",
            ),
            Table(
                ("stop at confidence", "accuracy", f"{unit}s read, of {mean:.1f}", "reached it"),
                rows,
                "Stopping early by confidence.",
                words=0,
            ),
            Lines([_advice(material, anytime, known)]),
        ],
    )


def _advice(material: Material, anytime: Anytime, known: int) -> str:
    """Return advice on early answers."""
    classes, unit = len(material.run.preparation.classes), material.unit
    if anytime.accuracy[-1] < 2 / (classes + 1):  # twice chance, or less if that would be too high
        return "Even at the end the accuracy is hardly above chance: first read what the doctor says."
    if anytime.fractions[known] > LATE:
        if not (material.run.config.train and material.run.config.train.early):
            return (
                "The model decides late, as it was trained to answer only at the end. With --early 0.5 it learns to "
                f"answer earlier, and may need fewer {unit}s for the same accuracy."
            )
        return "The model decides late, although it was trained for early answers: the decisive part may come late."
    if not any(stop.share > FEWEST_STOPPED for stop in anytime.stops):
        return "It is rarely confident enough to stop before the end."
    rule, point = material.run.preparation.time_steps, material.run.operating_point
    if rule is not None and rule.window is not None:
        return (
            "unroll predict answers for whole recordings, so it has no --stop-at for this run; a stream may stop early."
        )
    if point is not None and point.positive is not None:
        return f"unroll predict has no --stop-at for this run while it answers {point}."
    return f"To stop early: unroll predict {shlex.quote(str(material.run.path))} FILE --stop-at 0.95"


def _known(anytime: Anytime, chance: float) -> int:
    """Return the first mark at which the model reaches most of its final lift."""
    enough = chance + KNOWN_LIFT * (anytime.accuracy[-1] - chance)
    return next(n for n, accuracy in enumerate(anytime.accuracy) if accuracy >= min(enough, anytime.accuracy[-1]))


def watching(material: Material) -> Iterator[Section]:
    """Show some sequences read step by step."""
    if not material.watched:
        return
    unit = material.unit
    parts = [
        Picture(f"reading-{number}", reading(watched), _caption(watched, unit), _alt(watched, unit))
        for number, watched in enumerate(material.watched, start=1)
    ]
    yield Section(
        "How it reads",
        f"Some sequences, {unit} by {unit}: the input, the hidden state (the model's memory of what it has read) and "
        "the probability of each class. The line marks the step since which the answer has not changed."
        f"{_both(material)}",
        parts,
    )


def _both(material: Material) -> str:
    if material.run.model.is_causal:
        return ""
    config = material.run.model.config
    if config.stem != "none" and not config.bidirectional:
        return (
            " The convolutions in front of this model look a few steps ahead: the states shown are those of the whole "
            "sequence; the probabilities are those of the steps read."
        )
    if not config.bidirectional:
        return (
            " This model scales each series by its own mean and deviation: the states shown are those of the whole "
            "series; the probabilities are those of the steps read."
        )
    return (
        " This model is bidirectional: the states shown are those of the whole sequence, so the backward units have "
        "seen later steps; the probabilities have not."
    )


def telling(material: Material) -> Iterator[Section]:
    """Show which parts of the input speak for the predicted class."""
    if material.attributions is None:
        return
    yield Section(
        "What speaks for the answer",
        "What each part of the input adds to the logit of the predicted class: orange speaks for it, blue against it "
        "(integrated gradients; M. Sundararajan, A. Taly, Q. Yan, 2017). It shows what this model uses, which may "
        "differ from what defines the class.",
        list(_attributed(material.attributions)),
    )


def _attributed(attributions: Attributions) -> Iterator[Picture | ColouredText]:
    """Yield the attributions: one figure for all images, one for each series, coloured words for each text."""
    data, values = attributions.data, attributions.values
    names = [brief(name, NAME) for name in data.preparation.classes]
    titles = [
        names[label] if label == true else f"{names[label]}, true class {names[true]}"
        for label, true in zip(attributions.labels.tolist(), data.y.tolist(), strict=True)
    ]
    if data.kind == "images":
        figure = saliency_map(data, values, [title.replace(", ", ",\n") for title in titles])
        alt = f"{len(data)} images, their pixels coloured by what they add to the logit of the predicted class."
        side = "" if data.images().dim() == 3 else "On the left the image as it was read, on the right its values. "
        yield Picture("saliency", figure, f"Above each image: the predicted class. {side}{COLOURED}", alt)
        return
    for number, title in enumerate(titles):
        if data.kind == "texts":
            yield ColouredText(f"Predicted {title}:", saliency_spans(data, values, number))
        else:
            caption = f"Predicted {title}. {COLOURED}"
            alt = f"A series with what each of its values adds to the logit of the predicted class. {caption}"
            yield Picture(f"saliency-{number + 1}", saliency_curve(data, values, number), caption, alt)


def _caption(watched: Watched, unit: str) -> str:
    steps, predicted = len(watched.probabilities), brief(watched.name(watched.predicted), NAME)
    sure = percent(float(watched.probabilities[-1, watched.predicted]))
    since = f"since {unit} {watched.decided} of {steps}"
    if watched.predicted == watched.true:
        return (
            f"This is {predicted}, and the model has answered {predicted} {since}, at the end with {sure} confidence."
        )
    true = brief(watched.name(watched.true), NAME)
    return f"This is {true}, but the model has answered {predicted} {since}, at the end with {sure} confidence."


def _alt(watched: Watched, unit: str) -> str:
    return (
        f"A sequence of {len(watched.probabilities)} {unit}s, a heat map of {watched.hidden.shape[1]} units after "
        f"each, and the probabilities of the classes. {_caption(watched, unit)}"
    )
