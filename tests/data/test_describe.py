"""What `explore` counts, draws and finds; and what `check` finds before a training."""

from __future__ import annotations

import math
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch import Tensor

import unroll
from unroll import plots
from unroll.cli.views.preview import preview
from unroll.data.describe import copies, describe_data, majority
from unroll.data.preparation import ImageFormat, Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.data.splits import Splits
from unroll.doctor.preflight import inspect_model


def splits_of(
    x: Tensor, y: list[int], test_x: Tensor, test_y: list[int], lengths: list[int] | None = None, classes: int = 2
) -> Splits:
    preparation = Preparation(tuple("abcdefghijklmnopqrstuvwxyz"[:classes]), Scaling(0.0, 1.0))
    train = SequenceData(x, torch.tensor(y), preparation, None if lengths is None else torch.tensor(lengths))
    return Splits(train, SequenceData(test_x, torch.tensor(test_y), preparation), "made", "here").scaled("training")


def random_splits(n: int = 60, features: int = 3, classes: int = 3, scale: float = 1.0) -> Splits:
    x = torch.randn(n + 6, 9, features) * scale
    y = [i % classes for i in range(n + 6)]
    return splits_of(x[:n], y[:n], x[n:], y[n:], classes=classes)


# Description


def test_counts_and_values_leave_padding_out() -> None:
    x = torch.tensor([[1.0, 2.0, 99.0], [3.0, 99.0, 99.0], [4.0, 6.0, 8.0]])[:, :, None]
    found = describe_data(splits_of(x, [0, 1, 1], torch.ones(1, 3, 1), [0], lengths=[2, 1, 3]))
    values = np.array([1, 2, 3, 4, 6, 8])
    assert found.train.counts == {"a": 1, "b": 2}
    assert (found.train.minimum, found.train.maximum) == (1.0, 8.0)
    assert found.train.mean == pytest.approx(values.mean())
    assert found.train.std == pytest.approx(values.std())
    assert found.train.lengths == {1: 1, 2: 1, 3: 1}
    assert found.test.lengths == {3: 1}
    assert found.kind == "sequences of different lengths"
    assert found.to_dict()["findings"] == list(found.findings)


def test_features_are_told_apart() -> None:
    x = torch.tensor([[[1.0, 500.0, 7.0], [3.0, 700.0, 7.0]]] * 2)
    found = describe_data(splits_of(x, [0, 1], x[:1], [0]))
    assert [(f.minimum, f.maximum, f.mean, f.std) for f in found.features] == [
        (1.0, 3.0, 2.0, 1.0),
        (500.0, 700.0, 600.0, 100.0),
        (7.0, 7.0, 7.0, 0.0),
    ]
    assert "constant, so of no use: feature 2" in found.findings


@pytest.mark.parametrize("gaps", [0, 3])
def test_missing_values_are_counted_of_each_feature_and_in_no_other_figure(gaps: int) -> None:
    x, gone = torch.arange(16.0).view(2, 4, 2), torch.zeros(2, 4, 2, dtype=torch.bool)
    gone[1, :gaps, 1] = True
    splits = splits_of(x, [0, 1], x, [0, 1])
    found = describe_data(replace(splits, train=replace(splits.train, missing=gone if gaps else None)))
    values = x[~gone].numpy()
    assert (found.train.missing, [feature.missing for feature in found.features]) == (gaps, [0, gaps])
    assert (found.train.mean, found.train.std) == (pytest.approx(values.mean()), pytest.approx(values.std()))


@pytest.mark.parametrize(("repeats", "said"), [(0, []), (1, ["1 of 5"]), (4, ["4 of 5"])])
def test_copies_in_the_training_part_are_counted(repeats: int, said: list[str]) -> None:
    x = torch.randn(5, 4, 2)
    x[1 : 1 + repeats] = x[0]
    found = copies(splits_of(x, [0, 1, 0, 1, 0], x, [0, 1, 0, 1, 0]))
    assert [line.partition(" training sequences repeat another")[0] for line in found] == said


@pytest.mark.parametrize(("most", "least", "are"), [(9, 1, False), (10, 1, True), (19, 2, False), (20, 2, True)])
def test_classes_are_uneven_from_ten_to_one_on(most: int, least: int, are: bool) -> None:
    x, y = torch.randn(most + least, 3, 1), [0] * most + [1] * least
    findings = describe_data(splits_of(x, y, torch.randn(2, 3, 1), [0, 1])).findings
    assert (f"classes are uneven: {most} of a, {least} of b; look beyond the accuracy" in findings) == are


@pytest.mark.parametrize(("counts", "is_said"), [([4, 1], False), ([9, 2], True), ([1, 0], True), ([0, 0], False)])
def test_a_majority_is_more_than_four_fifths(counts: list[int], is_said: bool) -> None:
    assert bool(majority(dict(zip("ab", counts, strict=True)))) == is_said


def test_repeated_shared_and_contradicting_sequences() -> None:
    one, two, three = torch.randn(3, 4, 2)
    found = describe_data(splits_of(torch.stack([one, two, one, one]), [0, 1, 0, 1], torch.stack([one, three]), [0, 1]))
    assert (found.train.repeated, found.test.repeated, found.shared, found.conflicts) == (2, 0, 1, 1)
    assert found.findings == (
        "1 test sequence also in the training part: the test accuracy will be too high; remove the copies",
        "2 repeated sequences in the training part",
        "1 sequence labelled with more than one class: look at their labels",
    )


def test_padding_does_not_hide_a_repetition() -> None:
    x = torch.tensor([[1.0, 2.0, 5.0], [1.0, 2.0, 7.0], [1.0, 2.0, 7.0]])[:, :, None]
    found = describe_data(splits_of(x, [0, 0, 1], torch.ones(1, 3, 1), [1], lengths=[2, 2, 3]))
    assert found.train.repeated == 1


def test_findings() -> None:
    x = torch.zeros(24, 2, 1)
    x[:, 0, 0] = torch.arange(24)
    found = describe_data(splits_of(x, [0] * 22 + [1, 1], x[:1] - 1, [0], lengths=[0] + [2] * 23, classes=3)).findings
    assert found[0] == "the training part has no sequence of c, which cannot be learned: add some"
    assert found[1] == "the test part has no sequence of b, c, which will not be tested: add some"
    assert found[2] == "1 empty sequence (length 0) in the training part"
    assert found[3] == "classes are uneven: 22 of a, 2 of b; look beyond the accuracy"
    constant = describe_data(splits_of(torch.ones(4, 2, 1), [0, 1, 0, 1], torch.zeros(1, 2, 1), [0]))
    assert "all values are 1: there is nothing to learn from" in constant.findings
    assert constant.train.std == 0.0


def test_empty_sequences_are_no_repetition() -> None:
    x = torch.randn(4, 3, 1)
    found = describe_data(splits_of(x, [0, 1, 0, 1], torch.randn(1, 3, 1), [0], lengths=[0, 0, 0, 3]))
    assert (found.train.repeated, found.shared, found.conflicts) == (0, 0, 0)


def test_real_digits_have_no_findings(sample: Splits) -> None:
    assert describe_data(sample).findings == ()


# Pictures, by what they hold


def test_samples_are_the_images(small: Splits) -> None:
    figure = plots.samples(small.train, per_class=2, seed=1)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list("0123456789")
    sheet = np.asarray(axes.images[0].get_array())
    gap, size = 2, 28
    for row in range(10):
        known = {x.numpy().tobytes() for x in small.train.x[small.train.y == row]}
        top = row * (size + gap) + gap
        for left in (gap, size + 2 * gap):
            tile = sheet[top : top + size, left : left + size].astype(np.uint8)
            assert tile.tobytes() in known


@pytest.mark.parametrize("read", ["rows", "columns", "pixels", "permuted"])
def test_means_are_means_however_images_are_read(small: Splits, read: str) -> None:
    form = ImageFormat(28, 28, read)  # type: ignore[arg-type]
    data = replace(
        small.train,
        x=form.sequences(small.train.x),
        preparation=replace(small.train.preparation, image=form),
    )
    (axes,) = plots.class_means(data).axes
    sheet = np.asarray(axes.images[0].get_array())
    expected = small.train.x[small.train.y == 0].double().mean(dim=0).numpy()
    head = 2 + 28 // 3
    np.testing.assert_allclose(sheet[head : head + 28, 2:30], expected, atol=1e-3)


def test_curves_and_heat_maps() -> None:
    curves = plots.class_means(random_splits(features=3).train)
    assert [len(ax.lines) for ax in curves.axes] == [3, 3, 3]
    assert curves.get_supxlabel() == "time step"
    assert [text.get_text() for text in curves.legends[0].get_texts()] == ["feature 0", "feature 1", "feature 2"]
    maps = plots.samples(random_splits(features=25).train)
    assert len(maps.axes) == 3 * 4 + 1  # and the colour bar
    assert maps.axes[0].images[0].get_array().shape == (25, 9)  # type: ignore[union-attr]
    assert maps.axes[-1].get_ylabel() == "standardised value"


def test_means_of_sequences_that_end_early() -> None:
    x = torch.tensor([[1.0, 5.0, 77.0], [3.0, 77.0, 77.0]])[:, :, None]
    splits = splits_of(x.repeat(2, 1, 1), [0, 0, 1, 1], x, [0, 1], lengths=[2, 1, 2, 1])
    line = np.asarray(plots.class_means(splits.train).axes[0].lines[0].get_ydata())
    scaling = splits.train.preparation.scaling
    expected = (np.array([2.0, 5.0, np.nan]) - scaling.mean) / scaling.std
    np.testing.assert_allclose(line, expected, rtol=1e-6)
    assert set(plots.figures(splits)) == {"samples", "means", "classes", "lengths"}
    bars = [patch.get_height() for patch in plots.lengths(splits).axes[0].patches]
    assert sum(bars) == 4 + 2


def test_class_balance_and_many_classes() -> None:
    splits = random_splits(n=120, classes=26)
    figure = plots.class_balance(splits)
    widths = [patch.get_width() for patch in figure.axes[0].patches]
    assert widths == [*splits.train.counts.values(), *splits.test.counts.values()]
    plots.data.MOST_CLASSES, most = 5, plots.data.MOST_CLASSES
    try:
        title = plots.class_balance(splits).axes[0].get_title()
    finally:
        plots.data.MOST_CLASSES = most
    assert title == "made: sequences per class\n(21 of 26 classes are not shown)"


def test_a_class_without_training_is_in_the_balance() -> None:
    x = torch.randn(4, 3, 1)
    figure = plots.class_balance(splits_of(x, [0, 1, 0, 1], x[:1], [2], classes=3))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["a", "b", "c"]


def test_large_images_are_drawn_small() -> None:
    form = ImageFormat(600, 400, "rows")
    x = torch.randint(0, 256, (4, 600, 400), dtype=torch.uint8)
    preparation = Preparation(("a", "b"), Scaling(0.0, 1.0), form)
    data = SequenceData(x, torch.tensor([0, 1, 0, 1]), preparation)
    sheet = plots.samples(data, per_class=2).axes[0].images[0].get_array()
    assert sheet is not None
    assert max(sheet.shape) < 2 * (plots.data.TILE + 10) + 10
    assert len(preview(data, 30)) <= 21


def test_one_time_step_is_seen() -> None:
    splits = splits_of(torch.randn(4, 1, 2), [0, 1, 0, 1], torch.randn(2, 1, 2), [0, 1])
    assert plots.samples(splits.train).axes[0].lines[0].get_marker() == "."


def test_drawing_leaves_matplotlib_as_it_was(small: Splits) -> None:
    before = dict(mpl.rcParams)
    png = plots.png(plots.figures(small)["means"])
    assert png.startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before


# Characters


def test_preview_of_images(small: Splits) -> None:
    lines = preview(small.train, width=80)
    assert len(lines) == 28 // 4 + 1
    assert all(line.cell_len == 5 * 14 + 4 * 2 for line in lines)
    assert lines[-1].plain.split() == list("01234")
    first = small.train.x[small.train.y == 0][0]
    bright = first > (int(first.min()) + int(first.max())) / 2
    dots = sum((ord(char) - 0x2800).bit_count() for line in lines[:-1] for char in line.plain[:14])
    assert dots == int(bright.sum())
    corner = bright[4:8, 6:8].T.flatten().tolist()  # dots 1 to 3 and 4 to 6 run down, 7 and 8 lie below
    weights = [1, 2, 4, 64, 8, 16, 32, 128]
    expected = sum(w for w, on in zip(weights, corner, strict=True) if on)
    assert ord(lines[1].plain[3]) - 0x2800 == expected


def test_preview_in_greys(small: Splits) -> None:
    lines = preview(small.train, width=70, colours=True)
    assert len(lines) == 28 // 2 + 1
    assert lines[0].plain.startswith("▀" * 28 + "  ")
    assert lines[-1].plain.split() == ["0", "1"]


def test_preview_fits_the_terminal() -> None:
    x = torch.full((2, 2, 2), 3e38)
    x[:, 0] *= -1
    made = splits_of(x, [0, 1], x, [0, 1]).train
    data = replace(made, preparation=replace(made.preparation, classes=("a very long name of a class", "子犬の写真")))
    lines = preview(data, width=60)
    assert len({line.cell_len for line in lines}) == 1
    assert lines[-1].plain.split("  ")[0] == "a very long name of a c…"
    assert "子犬の写真" in lines[-1].plain


@pytest.mark.parametrize("colours", [False, True])
def test_preview_on_a_narrow_terminal(small: Splits, colours: bool) -> None:
    for width in (1, 12, 20, 31):
        assert all(line.cell_len <= max(width, 12) for line in preview(small.train, width, colours))


def test_preview_of_series() -> None:
    x = torch.stack([torch.linspace(0, 1, 24), torch.linspace(1, 0, 24)])[:, :, None]
    lines = preview(splits_of(x, [0, 1], x, [0, 1]).train, width=60)
    up, down = lines[0].plain[:24], lines[0].plain[26:]
    assert set(up) == set(" ▁▂▃▄▅▆▇█")
    assert list(up) == sorted(up)
    assert list(down) == sorted(down, reverse=True)
    assert lines[1].plain.split() == ["a", "b"]


# Inspection


def test_shapes_loss_and_parameters() -> None:
    splits = random_splits()
    model = unroll.SequenceClassifier(3, 3, hidden_size=5, num_layers=2, bidirectional=True)
    found = inspect_model(model, splits, unroll.TrainConfig(batch_size=8))
    assert [(shape.name, shape.sizes) for shape in found.shapes] == [
        ("input", (8, 9, 3)),
        ("layer 1", (8, 9, 10)),
        ("layer 2", (8, 9, 10)),
        ("readout last", (8, 10)),
        ("logits", (8, 3)),
    ]
    assert found.parameters == sum(p.numel() for p in model.parameters())
    assert found.chance == pytest.approx(math.log(3))
    assert found.findings == ()
    assert model.training
    model.dropout.eval()
    inspect_model(model, splits)
    assert model.training
    assert not model.dropout.training


@pytest.mark.parametrize("recipe", ["images", "tutorial"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"hidden_size": 16},
        {"num_layers": 3},
        {"nonlinearity": "relu"},
        {"readout": "mean"},
        {"bidirectional": True},
    ],
    ids=str,
)
def test_healthy_models_have_no_findings(small: Splits, recipe: str, settings: dict[str, object]) -> None:
    chosen = unroll.RECIPES[recipe].changed(**settings)  # type: ignore[index]
    for seed in range(2):
        torch.manual_seed(seed)
        model = unroll.SequenceClassifier(28, 10, init=chosen.model.init, **settings)  # type: ignore[arg-type]
        assert inspect_model(model, small.scaled(chosen.model.scaling)).findings == ()


def test_sick_models_are_found(sample: Splits) -> None:
    def findings(change: float, name: str, data: Splits = sample, nonlinearity: str = "tanh") -> tuple[str, ...]:
        torch.manual_seed(0)
        model = unroll.SequenceClassifier(28, 10, hidden_size=32, nonlinearity=nonlinearity)  # type: ignore[arg-type]
        with torch.no_grad():
            dict(model.named_parameters())[name].mul_(change)
        return inspect_model(model, data).findings

    (saturated,) = findings(30, "layers.0.0.weight_ih")
    assert saturated.startswith("layer 1: ")
    assert "of the outputs are saturated (beyond ±0.99), so gradients are close to 0" in saturated
    (loss,) = findings(50, "head.weight")
    assert loss.endswith("is far above ln(classes) = 2.30: outputs are too large")
    broken = findings(math.nan, "head.weight")
    assert broken == ("the initial loss is nan: inputs or weights are not finite",)

    torch.manual_seed(0)
    dead = unroll.SequenceClassifier(28, 10, hidden_size=32, nonlinearity="relu")
    with torch.no_grad():
        dead.layers[0][0].bias_ih.sub_(1000)  # type: ignore[index, union-attr, operator]
    assert inspect_model(dead, sample).findings[0].startswith("layer 1: 100% of the units are always 0, so gradients")


def test_sick_data_is_found() -> None:
    splits = random_splits()
    model = unroll.SequenceClassifier(3, 4, hidden_size=5)
    with_fourth = splits_of(splits.train.x, splits.train.y.tolist(), splits.test.x, [0] * 6, classes=4)
    assert inspect_model(model, with_fourth).findings == (
        "the training part has no sequence of d, which cannot be learned: add some",
        "the test part has no sequence of b, c, d, which will not be tested: add some",
    )
    x = splits.train.x.clone()
    x[7, 3, 1] = 1e4
    outlier = splits_of(x, splits.train.y.tolist(), splits.test.x, splits.test.y.tolist(), classes=3)
    found = inspect_model(unroll.SequenceClassifier(3, 3, hidden_size=5), outlier)
    assert any("the input reaches" in finding for finding in found.findings)
    leak = torch.zeros(60, 9, 3)
    leak[torch.arange(60), :, splits.train.y] = 1.0
    model = unroll.SequenceClassifier(3, 3, hidden_size=3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.eye(3) * 9 if "weight" in name else torch.zeros(3))
    found = inspect_model(model, splits_of(leak, splits.train.y.tolist(), leak[:6], [0, 1, 2] * 2, classes=3))
    assert any("is far below ln(classes) = 1.10" in finding for finding in found.findings)
