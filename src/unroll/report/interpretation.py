"""How the model reads: when it knows, how its state and its answer move."""

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
LATE = 0.8  # of a sequence, from which on it is said to know late
SOME = 0.1  # of the sequences, for which stopping early must be good for anything
NEARLY = 0.9  # of the final lift over chance: "it knows"


def knowing(material: Material) -> Iterator[Section]:
    """Show accuracy against what was read."""
    anytime, unit = material.anytime, material.unit
    if anytime is None or len(anytime.fractions) < 2:
        return
    known = _known(anytime, 1 / len(material.run.preparation.classes))
    area, last = percent(anytime.area), percent(anytime.accuracy[-1])
    caption = f"At the end it is right in {last}, in the mean over all parts (area under the curve) in {area}."
    if known < len(anytime.fractions) - 1:
        part, accuracy = f"{anytime.fractions[known]:.0%}", percent(anytime.accuracy[known])
        caption = f"After {part} of the sequence it is right in {accuracy}. {caption}"
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
        "The model is asked for its answer after each part of a sequence, as if the rest never came. Diamonds show "
        f"what happens when reading stops as soon as its confidence passes a mark.{sample}",
        [
            Picture(
                "anytime",
                anytime_curve(anytime, unit),
                caption,
                f"Accuracy and confidence against the share of the sequence that was read. {caption}",
            ),
            Table(
                ("stop at confidence", "accuracy", f"{unit}s read, of {mean:.1f}", "share that got so sure"),
                rows,
                "What comes of stopping early.",
                words=0,
            ),
            Lines([_advice(material, anytime, known)]),
        ],
    )


def _advice(material: Material, anytime: Anytime, known: int) -> str:
    """Say what to make of it."""
    classes, unit = len(material.run.preparation.classes), material.unit
    if anytime.accuracy[-1] < 2 / (classes + 1):  # twice chance, or less where that is much
        return "At the end too it knows little more than chance: look at what the doctor says first."
    if anytime.fractions[known] > LATE:
        if not (material.run.config.train and material.run.config.train.early):
            return (
                "It makes up its mind late, for it was only ever asked at the end. A model trained with --early 0.5 "
                f"learns to answer before, and may need fewer {unit}s for the same accuracy."
            )
        return (
            "It makes up its mind late, though it was trained for answers before the end: what tells may stand there."
        )
    if not any(stop.share > SOME for stop in anytime.stops):
        return "It is seldom sure enough to stop before the end."
    return f"To stop early: unroll predict {shlex.quote(str(material.run.path))} FILE --stop-at 0.95"


def _known(anytime: Anytime, chance: float) -> int:
    """Return the first mark at which most of what is known at the end is known."""
    enough = chance + NEARLY * (anytime.accuracy[-1] - chance)
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
        f"Some sequences, {unit} by {unit}: what is read, the hidden state, which is what the model remembers of it, "
        "and how probable each class is by then. The line marks the moment since which the answer has stayed."
        f"{_both(material)}",
        parts,
    )


def _both(material: Material) -> str:
    if not material.run.model.config.bidirectional:
        return ""
    return (
        " This model reads both ways: the states that are shown are those of the whole sequence, of which the units of "
        "the backward direction have seen what comes later; the probabilities have not."
    )


def telling(material: Material) -> Iterator[Section]:
    """Show which parts of the input speak for the answer."""
    if material.attributions is None:
        return
    yield Section(
        "What speaks for the answer",
        "What each part of the input adds to the logit of the predicted class: orange speaks for it, blue against it "
        "(integrated gradients; M. Sundararajan, A. Taly, Q. Yan, 2017). It shows what this model looks at, which need "
        "not be what makes the class.",
        list(_attributed(material.attributions)),
    )


def _attributed(attributions: Attributions) -> Iterator[Picture | ColouredText]:
    """Yield what speaks for the answer: of images one picture, of series one each, of texts their words."""
    data, values = attributions.data, attributions.values
    names = [brief(name, NAME) for name in data.preparation.classes]
    titles = [
        names[label] if label == true else f"{names[label]}, but is {names[true]}"
        for label, true in zip(attributions.labels.tolist(), data.y.tolist(), strict=True)
    ]
    if data.kind == "images":
        figure = saliency_map(data, values, [title.replace(", ", ",\n") for title in titles])
        alt = f"{len(data)} images, their pixels coloured by what they add to the logit of the predicted class."
        yield Picture("saliency", figure, f"Above each the class that it is taken for. {COLOURED}", alt)
        return
    for number, title in enumerate(titles):
        if data.kind == "texts":
            yield ColouredText(f"Taken for {title}:", saliency_spans(data, values, number))
        else:
            caption = f"Taken for {title}. {COLOURED}"
            alt = f"A series with what each of its values adds to the logit of the predicted class. {caption}"
            yield Picture(f"saliency-{number + 1}", saliency_curve(data, values, number), caption, alt)


def _caption(watched: Watched, unit: str) -> str:
    steps, predicted = len(watched.probabilities), brief(watched.name(watched.predicted), NAME)
    sure = percent(float(watched.probabilities[-1, watched.predicted]))
    since = f"since {unit} {watched.decided} of {steps}"
    if watched.predicted == watched.true:
        return f"This is {predicted}, and {since} that is the answer; at the end it is {sure} sure."
    true = brief(watched.name(watched.true), NAME)
    return f"This is {true}, but {since} it is taken for {predicted}, in the end with {sure}."


def _alt(watched: Watched, unit: str) -> str:
    return (
        f"A sequence of {len(watched.probabilities)} {unit}s, a heat map of {watched.hidden.shape[1]} units after "
        f"each, and the probabilities of the classes. {_caption(watched, unit)}"
    )
