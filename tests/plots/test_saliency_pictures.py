"""What is drawn of saliency: the right pixels in the right colours, on one scale; and texts piece by piece."""

from __future__ import annotations

import html
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import unroll
from unroll import DataError, SequenceData, Splits, plots
from unroll.config import DataConfig
from unroll.data.preparation import ImageFormat, Preparation, Scaling
from unroll.data.sequences import Parts
from unroll.plots.saliency import AGAINST, FOR, SCALE
from unroll.plots.style import png


def series(features: int = 2, **others: Any) -> SequenceData:
    names = ("flow", "<x>", "heat", "wind", "rain", "snow", "sun")[:features]
    preparation = Preparation(("a", "b"), Scaling(1.0, 2.0), features=names)
    return SequenceData(torch.randn(3, 12, features), torch.tensor([0, 1, 1]), preparation, **others)


def texts() -> SequenceData:
    rows = ["good <b>film</b> ", "  bad & dull,\nÄrger", "good good", "bad film"]
    whole = SequenceData(
        torch.zeros(4, 1, dtype=torch.int32), torch.tensor([0, 1, 0, 1]), Preparation(("+", "-"), Scaling(0.0, 1.0)),
        torch.zeros(4, dtype=torch.int64), texts=tuple(rows),
    )  # fmt: skip
    return Splits.of(Parts(whole, whole), "made", "made", DataConfig(tokenizer="word")).train


def test_colours_tell_for_from_against_and_strength() -> None:
    rgba = np.array([SCALE(at) for at in (0.0, 0.25, 0.5, 0.75, 1.0)])
    assert rgba[:, 3].tolist() == pytest.approx([1, 0.574, 0, 0.574, 1], abs=0.01)
    for at, name in ((1, AGAINST), (3, FOR)):
        assert np.abs(rgba[at, :3] - to_rgb(name)).max() < 0.06
    assert rgba[1, 2] > rgba[1, 0]  # blue
    assert rgba[3, 0] > rgba[3, 2]  # vermilion


@pytest.mark.parametrize("read", ["rows", "columns", "permuted"])
@pytest.mark.slow
def test_pixels_get_their_own_values(small: unroll.Splits, read: Any) -> None:
    form = ImageFormat(28, 28, read, small.test.preparation.image.framing)
    some = small.test.subset(torch.arange(7))
    some = replace(some, x=form.sequences(some.x), preparation=replace(some.preparation, image=form))
    picture = torch.zeros(7, 28, 28)
    picture[:, 3, 20], picture[:, 25, 1] = 2.0, -1.0
    figure = plots.saliency_map(some, form.sequences(picture), titles=[f"number {n},\nbut is $1" for n in range(7)])
    drawn = [ax for ax in figure.axes if len(ax.images) == 2]
    assert [ax.get_title() for ax in drawn] == [f"number {n},\nbut is \\$1" for n in range(7)]
    for ax, expected in zip(drawn, picture, strict=True):
        image, found = ax.images
        assert np.array_equal(found.get_array(), expected.numpy())
        assert image.get_array().shape == (28, 28)
        assert (found.norm.vmin, found.norm.vmax) == (-2.0, 2.0)
    assert figure.axes[-1].get_ylabel() == "added to the logit, over the image in grey"
    assert len(png(figure)) > 1000


def test_images_in_colour_stand_beside_the_sums_of_their_values() -> None:
    form = ImageFormat(4, 5, "columns", channels=3)
    images = torch.randint(0, 256, (3, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    data = SequenceData(form.sequences(images), torch.tensor([0, 1, 0]), Preparation(("a", "b"), Scaling(0, 255), form))
    values = torch.randn(3, 4, 5, 3, generator=torch.Generator().manual_seed(1))
    figure = plots.saliency_map(data, form.sequences(values))
    drawn = [ax for ax in figure.axes if len(ax.images) == 3]
    assert len(drawn) == 3
    for ax, image, own in zip(drawn, images, values, strict=True):
        colours, grey, found = ax.images
        assert np.array_equal(colours.get_array(), image.numpy())
        assert grey.get_array().shape == (4, 5)
        assert np.allclose(found.get_array(), own.sum(dim=2))
        assert colours.get_extent()[1] == found.get_extent()[0] == 4.5


@pytest.mark.parametrize("side", [4, 200])
def test_samples_and_means_are_drawn_in_colour(side: int) -> None:
    form = ImageFormat(side, side, "rows", channels=3)
    images = torch.tensor([(200, 40, 40), (40, 121, 40)], dtype=torch.uint8).view(2, 1, 1, 3).expand(2, side, side, 3)
    data = SequenceData(form.sequences(images), torch.tensor([0, 1]), Preparation(("a", "b"), Scaling(0, 255), form))
    for figure in (plots.samples(data), plots.class_means(data)):
        (sheet,) = (image.get_array() for image in figure.axes[0].images)
        seen = np.unique((255 * sheet.reshape(-1, 4)).round().astype(int), axis=0)
        assert seen.tolist() == [[0, 0, 0, 0], [40, 121, 40, 255], [200, 40, 40, 255]]


@pytest.mark.slow
def test_at_most_twenty_images_are_drawn_each_with_its_class(small: unroll.Splits) -> None:
    figure = plots.saliency_map(small.test, torch.randn(100, 28, 28))
    assert [ax.get_title() for ax in figure.axes if len(ax.images) == 2] == list("00000000001111111111")


def _strips(figure: Figure) -> list[Any]:
    return [ax for ax in figure.axes if len(ax.images) == 1 and ax.lines]


@pytest.mark.slow
def test_a_series_is_drawn_over_its_values_up_to_its_length() -> None:
    data, values = series(lengths=torch.tensor([12, 5, 0])), torch.randn(3, 12, 2)
    figure = plots.saliency_curve(data, values, index=1)
    strips = _strips(figure)
    assert [ax.get_title("left") for ax in strips] == ["flow", "<x>"]
    for feature, ax in enumerate(strips):
        assert np.allclose(ax.lines[0].get_ydata(), (data.x[1, :5, feature].numpy() - 1) / 2)
        assert np.allclose(ax.images[0].get_array(), values[1, :5, feature])
    assert len(png(figure)) > 1000
    assert len(png(plots.saliency_curve(data, values, index=2))) > 1000  # nothing at all


def test_of_many_features_those_that_matter_are_drawn() -> None:
    data, values = series(7), torch.zeros(3, 12, 7)
    values[:, :, 1:] = torch.randn(3, 12, 6)
    figure = plots.saliency_curve(data, values)
    assert [ax.get_title("left") for ax in _strips(figure)] == ["<x>", "heat", "wind", "rain", "snow", "sun"]
    assert figure.get_suptitle() == "the 6 of 7 features that matter most"


def test_a_feature_that_tells_what_is_missing_is_called_so() -> None:
    missing = torch.zeros(3, 12, 2, dtype=torch.bool)
    missing[0, 3, 1] = True
    whole = series(missing=missing)
    train = Splits.of(Parts(whole, whole), "made", "made", DataConfig(missing="mask")).train
    figure = plots.saliency_curve(train, torch.randn(3, 12, 4))
    names = ["flow", "<x>", "flow is missing", "<x> is missing"]
    assert [ax.get_title("left") for ax in _strips(figure)] == names


def test_texts_come_back_whole_and_escaped_with_the_value_of_each_token() -> None:
    data = texts()
    values = torch.arange(1.0, math.prod(data.shape) + 1).view(data.shape)
    assert data.texts is not None
    for number, text in enumerate(data.texts):
        spans = plots.saliency_spans(data, values, number)
        assert "".join(piece for piece, _ in spans) == html.escape(text)
        length = int(data.lengths[number])
        assert [value for _, value in spans if value] == values[number, :length].tolist()
    first = plots.saliency_spans(data, values, 0)
    assert first[:4] == [("good", 1.0), (" ", 0.0), ("&lt;", 2.0), ("b", 3.0)]
    assert ("Ärger", values[1, 4].item()) in plots.saliency_spans(data, values, 1)


def test_spans_of_a_model(small: unroll.Splits) -> None:
    data = texts()
    model = unroll.SequenceClassifier(4, 2, cell="gru", hidden_size=5, vocabulary_size=data.vocabulary_size)
    batch = data.batch(slice(None))
    values = unroll.attribute(model, batch.x, batch.lengths)
    assert sum(value for _, value in plots.saliency_spans(data, values, 2)) == pytest.approx(float(values[2].sum()))


@pytest.mark.parametrize(
    ("draw", "data", "message"),
    [
        (plots.saliency_map, series, "saliency_map expects images, got other data: use saliency_curve for series,"),
        (plots.saliency_curve, texts, "saliency_curve expects series, got texts: use saliency_spans"),
        (plots.saliency_spans, series, "saliency_spans expects texts, got other data: use saliency_map for images,"),
    ],
)
def test_what_is_for_other_data_says_so(draw: Any, data: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        draw(data(), torch.zeros(data().x.shape))


def test_values_of_another_shape_are_refused() -> None:
    with pytest.raises(DataError, match=r"values must be of the data's shape \(3, 12, 2\), got \(3, 12\)"):
        plots.saliency_curve(series(), torch.zeros(3, 12))
