"""Containers, scaling, splits, orders of reading, and the embedded sample."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unroll
from unroll import ConfigError, DataError, SequenceData, Splits, load
from unroll.data.cuts import stratified_cut
from unroll.data.formats import mnist
from unroll.data.formats.texts import unread
from unroll.data.preparation import Framing, ImageFormat, Preparation, Scaling, moments_of_each
from unroll.data.tokenizer import Tokenizer


def numbers(n: int = 10, classes: int = 2, lengths: bool = False) -> SequenceData:
    """Return sequences whose values tell which they are."""
    x = torch.arange(n, dtype=torch.float32).view(n, 1, 1).expand(n, 4, 2).contiguous()
    names = tuple("abcdefghij"[:classes])
    return SequenceData(
        x, torch.arange(n) % classes, Preparation(names, Scaling(1.0, 2.0)), torch.arange(n) % 5 if lengths else None
    )


def test_the_sample_is_real_compact_and_always_split_alike(sample: Splits) -> None:
    assert sample.train.x.shape == (4000, 28, 28)
    assert sample.test.x.shape == (1000, 28, 28)
    assert sample.train.x.dtype == torch.uint8
    assert torch.bincount(sample.train.y).tolist() == [400] * 10
    assert torch.bincount(sample.test.y).tolist() == [100] * 10
    assert sample.classes == tuple("0123456789")
    # Recorded from the first version: a change would make all results incomparable.
    assert (sample.train.fingerprint(), sample.test.fingerprint()) == ("00e09196", "35664670")


@pytest.mark.parametrize("content", [None, b"", b"PK\3\4 no archive"])
def test_a_broken_sample_is_one_line(content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "SAMPLE", tmp_path / "sample.npz")
    if content is not None:
        mnist.SAMPLE.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot read .*sample\.npz \(.*\); reinstall unroll-rnn"):
        load("mnist-sample")


def test_the_sample_s_digits_are_all_different(sample: Splits) -> None:
    train = {image.numpy().tobytes() for image in sample.train.x}
    assert not any(image.numpy().tobytes() in train for image in sample.test.x)


def test_reading_orders(sample: Splits) -> None:
    images = sample.test.x
    columns, pixels, permuted = (load(read=read).test.x for read in ("columns", "pixels", "permuted"))
    assert torch.equal(columns, images.transpose(1, 2))
    assert torch.equal(pixels, images.reshape(1000, 784, 1))
    order = np.random.RandomState(92916).permutation(784)
    assert order[:5].tolist() == [319, 576, 323, 107, 355]  # as documented, whatever NumPy does
    assert torch.equal(permuted, pixels[:, order])


def test_data_says_of_what_kind_it_is_and_what_a_time_step_is(sample: Splits) -> None:
    for read, unit in (("rows", "row"), ("columns", "column"), ("pixels", "pixel"), ("permuted", "pixel")):
        test = load(read=read).test  # type: ignore[arg-type]
        assert (test.kind, test.preparation.unit) == ("images", unit)
        assert torch.equal(test.images(), sample.test.x)  # read by rows
    assert (numbers().kind, numbers().preparation.unit) == ("series", "time step")
    texts = unread(["a film", "a play"], torch.tensor([0, 1]), ("good", "bad"))
    assert texts.kind == "texts"  # without a tokenizer too
    tokenizer = Tokenizer.learn("word", texts.texts or (), 10, 1)
    learned = texts.tokenized(tokenizer).preparation
    assert (learned.kind, learned.unit) == ("texts", "token")


def test_scaling_is_learned_on_the_training_part_alone(sample: Splits) -> None:
    scaling = sample.train.preparation.scaling
    x = sample.train.x.double()
    assert (scaling.mean, scaling.std) == pytest.approx((float(x.mean()), float(x.std(correction=0))))
    assert sample.test.preparation is sample.train.preparation
    (batch,) = sample.train.batches(4000)
    assert float(batch.x.double().mean()) == pytest.approx(0, abs=1e-6)
    assert float(batch.x.double().std(correction=0)) == pytest.approx(1, abs=1e-6)


def test_unit_scaling_is_totensor_s(sample: Splits) -> None:
    (batch,) = sample.scaled("unit").test.batches(1000)
    assert torch.equal(batch.x, sample.test.x.float().div(255))
    assert load(scaling="unit").train.preparation.scaling == Scaling(0.0, 255.0)


def test_scaling_of_floats() -> None:
    assert Scaling.of("training", torch.tensor([[[1.0, 5.0], [3.0, 9.0]]])) == Scaling((2.0, 7.0), (1.0, 2.0))
    assert Scaling.of("training", torch.ones(2, 3, 1)) == Scaling((1.0,), (1.0,))  # constant: nothing to divide by
    assert Scaling.of("training", torch.tensor([[1.0], [3.0]])) == Scaling((2.0,), (1.0,))
    with pytest.raises(
        DataError, match="scaling 'unit', as in recipe 'tutorial', expects uint8 values, got torch.float32"
    ):
        Scaling.of("unit", torch.ones(1, 1, 1))
    with pytest.raises(ConfigError, match="scaling must be one of unit, training, got 'log'"):
        Scaling.of("log", torch.ones(1, 1, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_moments_of_each_sequence_are_those_of_its_own_steps(dtype: torch.dtype) -> None:
    x, steps = np.random.default_rng(0).integers(0, 200, (5, 4, 3)), [4, 3, 2, 1, 0]
    means, deviations = moments_of_each(torch.from_numpy(x).to(dtype), torch.tensor(steps))
    for own, length, mean, deviation in zip(x, steps, means.numpy(), deviations.numpy(), strict=True):
        np.testing.assert_allclose(mean, own[:length].mean(axis=0) if length else 0)
        np.testing.assert_allclose(deviation, own[:length].std(axis=0) if length else 0)


def test_batches_give_every_sequence_once_scaled() -> None:
    data = numbers(10, lengths=True)
    batches = list(data.batches(4))
    assert [len(batch.y) for batch in batches] == [4, 4, 2]
    assert [batch.x.shape[1] for batch in batches] == [3, 4, 4]  # the padding that no sequence needs is left out
    assert torch.cat([batch.x[:, 0] for batch in batches])[:, 0].tolist() == [(i - 1) / 2 for i in range(10)]
    order = torch.tensor([9, 3, 5])
    (batch,) = data.batches(4, order)
    assert batch.x[:, 0, 0].tolist() == [4, 1, 2]
    assert batch.y.tolist() == [1, 1, 1]
    assert batch.lengths is not None
    assert batch.lengths.tolist() == [4, 3, 0]
    assert [b.y.tolist() for b in data.batches(4, start=2)] == [[0, 1]]


def test_cut_is_stratified_seeded_and_complete() -> None:
    y = np.repeat([0, 1, 2], [100, 50, 10])
    rest, part = stratified_cut(y, 0.1, seed=0)
    assert np.bincount(y[part]).tolist() == [10, 5, 1]
    assert sorted([*rest, *part]) == list(range(160))
    assert part.tolist() == stratified_cut(y, 0.1, seed=0)[1].tolist()
    assert part.tolist() != stratified_cut(y, 0.1, seed=1)[1].tolist()


def test_a_class_of_two_or_more_is_on_both_sides_of_a_cut_and_a_class_of_one_in_the_rest() -> None:
    y = np.array([0, 1, 1, 2, 2, 2, 2])
    for fraction in (0.01, 0.5, 0.99):
        rest, part = stratified_cut(y, fraction, seed=3)
        assert set(y[rest]) == {0, 1, 2}
        assert set(y[part]) == {1, 2}
    rest, part = stratified_cut(y, 0.0, seed=3)
    assert rest.tolist() == list(range(7))
    assert not len(part)
    assert not len(stratified_cut(np.arange(4), 0.5, seed=0)[1])


@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from("abcd")), max_size=12),
    st.floats(0, 0.99),
    st.integers(0, 99),
)
def test_a_cut_keeps_equal_contents_together_and_each_class_in_the_rest(
    labelled: list[tuple[int, str]], fraction: float, seed: int
) -> None:
    y, contents = np.array([y for y, _ in labelled], np.int64), [f"{y}{text}" for y, text in labelled]
    rest, part = stratified_cut(y, fraction, seed, contents)
    assert sorted([*rest, *part]) == list(range(len(y)))
    assert not {contents[i] for i in rest} & {contents[i] for i in part}
    assert set(y[rest]) == set(y)
    several = {
        label for label in set(y.tolist()) if len({c for c, own in zip(contents, y, strict=True) if own == label}) > 1
    }
    assert set(y[part].tolist()) == (several if fraction else set())


def test_another_set_is_put_through_the_run_s_preparation() -> None:
    data = numbers(6, classes=3)
    other = Preparation(("c", "a", "b"), Scaling(5.0, 1.0))
    prepared = data.prepared_as(other)
    assert [other.classes[i] for i in prepared.y] == [data.preparation.classes[i] for i in data.y]
    assert next(prepared.batches(6)).x[0, 0, 0] == -5
    with pytest.raises(DataError, match="the run knows the classes a, b; the data has a, b, c"):
        data.prepared_as(Preparation(("a", "b"), Scaling(0.0, 1.0)))


@pytest.mark.parametrize(
    ("steps", "full"), [([2, 2, 2], True), ([3, 2, 1], False), ([2, 1, 2], False), ([0, 0], False)]
)
def test_padding_behind_the_longest_sequence_is_left_out(steps: list[int], full: bool) -> None:
    data = numbers(len(steps))
    cut = replace(data, lengths=torch.tensor(steps)).unpadded()
    assert torch.equal(cut.x, data.x[:, : max(steps)])
    assert cut.steps_of_each.tolist() == steps
    assert (cut.lengths is None) == full


def test_another_part_has_the_features_of_the_training_part_and_any_length() -> None:
    train, longer = numbers(4), torch.ones(3, 9, 2)
    other = SequenceData(longer, torch.zeros(3, dtype=torch.int64), train.preparation)
    assert torch.equal(other.beside(train).x, longer)
    with pytest.raises(DataError, match="the run reads 2 features per time step, the data has 1"):
        replace(other, x=longer[..., :1]).beside(train)


def test_images_read_differently_do_not_fit(sample: Splits) -> None:
    with pytest.raises(DataError, match="the run expects images of 28×28 read by columns, got 28×28 read by rows"):
        sample.test.prepared_as(load(read="columns").train.preparation)
    with pytest.raises(DataError, match="must both hold images, or neither"):
        numbers().prepared_as(sample.train.preparation)


def test_preparation_survives_json(sample: Splits) -> None:
    for preparation in (sample.train.preparation, numbers().preparation):
        assert Preparation.from_dict(preparation.to_dict()) == preparation


IMAGE = {"height": 8, "width": 6, "read": "rows", "framing": None, "channels": 1}
FRAMING = {"border": 0.0, "box": 6, "centre": "mass"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": ["a", "a"]}, "each class needs a name of its own, got a, a"),
        ({"classes": ["a", "b\n"]}, "a class needs a printable name, got"),
        ({"classes": ["a", 1]}, "a class needs a printable name, got 1"),
        ({"features": ["x", "x"]}, "each feature needs a name of its own, got x, x"),
        ({"scaling": {"mean": [0.0, math.nan], "std": [1.0, 1.0]}}, "scaling needs numbers, got nan"),
        ({"scaling": {"mean": 1e39, "std": 1.0}}, "scaling needs numbers, got 1e"),
        ({"scaling": {"mean": [0.0], "std": [0]}}, "scaling needs numbers above 0, got 0"),
        ({"scaling": {"mean": [0.0], "std": [-1.0]}}, "scaling needs numbers above 0, got -1.0"),
        ({"scaling": {"mean": [0.0], "std": 1.0}}, "scaling needs as many means as deviations"),
        ({"scaling": {"mean": 0.0, "std": [1.0]}}, "scaling needs as many means as deviations"),
        ({"scaling": {"mean": [0.0], "std": [1.0, 1.0]}}, "scaling needs as many means as deviations"),
        ({"missing": {"means": [0.0, None], "mask": False}}, "missing needs numbers, got None"),
        ({"missing": {"means": [0.0, 0.0], "mask": 1}}, "mask must be true or false, got 1"),
        ({"offset": [0.0, "1"]}, "offset needs numbers, got '1'"),
        ({"offset": [0.0, 0.0, 0.0]}, "offset has 3 numbers for 2 features"),
        ({"image": IMAGE | {"height": 0}}, "height must be at least 1, got 0"),
        ({"image": IMAGE | {"width": 6.0}}, "width must be"),
        ({"image": IMAGE | {"height": 10_001, "width": 10_000}}, "images have at most 100,000,000 pixels"),
        ({"image": IMAGE | {"read": "diagonals"}}, "read must be one of rows, columns, pixels, permuted, got"),
        ({"image": IMAGE | {"framing": FRAMING | {"box": 0}}}, "box must be from 1 to the smaller side of an image"),
        ({"image": IMAGE | {"framing": FRAMING | {"box": 7}}}, "box must be from 1 to the smaller side of an image"),
        ({"image": IMAGE | {"framing": FRAMING | {"border": "0"}}}, "border must be"),
        ({"image": IMAGE | {"framing": FRAMING | {"centre": "left"}}}, "centre must be"),
    ],
)
def test_a_run_s_preparation_is_checked(wrong: dict[str, Any], message: str) -> None:
    saved = Preparation(("a", "b"), Scaling((0.0, 1.0), (1.0, 2.0))).to_dict()
    with pytest.raises((ConfigError, DataError), match=message):
        Preparation.from_dict(saved | wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"scaling": {"mean": [0, -1], "std": [5e-324, 3e38]}, "offset": [1, 2]},
        {"missing": {"means": [0, 0], "mask": True}, "features": ["x", "y"]},
        {"image": IMAGE | {"height": 10_000, "width": 10_000}},
        {"image": IMAGE | {"framing": FRAMING}},
        {"image": IMAGE | {"framing": FRAMING | {"box": 1, "centre": "box"}}},
    ],
)
def test_a_run_s_preparation_at_its_limits_comes_back_as_it_was(right: dict[str, Any]) -> None:
    saved = Preparation(("a", "b"), Scaling((0.0, 1.0), (1.0, 2.0))).to_dict() | right
    assert json.loads(json.dumps(Preparation.from_dict(saved).to_dict())) == json.loads(json.dumps(saved))


def test_the_sample_s_image_format(sample: Splits) -> None:
    image = sample.train.preparation.image
    assert image is not None
    assert image.framing is not None
    assert replace(image.framing, border=0.0) == Framing(0.0, 20, "mass")
    assert replace(image, framing=None) == ImageFormat(28, 28, "rows")
    assert image.framing.border < 1


def test_fingerprint_tells_changes_apart() -> None:
    data = numbers(lengths=True)
    assert data.lengths is not None
    changed = [
        replace(data, x=data.x + 1),
        replace(data, y=1 - data.y),
        replace(data, lengths=data.lengths.clamp(max=3)),
    ]
    assert len({d.fingerprint() for d in (data, *changed)}) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": torch.zeros(10, 4)}, r"x must have shape \(N, time, features\), got \(10, 4\)"),
        ({"x": torch.zeros(10, 4, 2, dtype=torch.int64)}, "x must be uint8 or float32, got torch.int64"),
        ({"y": torch.zeros(9, dtype=torch.int64)}, r"y must be int64 of shape \(10,\), got torch.int64 of \(9,\)"),
        ({"y": torch.full((10,), 2)}, "y must be from 0 to 1, got 2 to 2"),
        ({"lengths": torch.ones(10)}, r"lengths must be int64 of shape \(10,\), got torch.float32"),
        ({"lengths": torch.full((10,), 5)}, "lengths must be from 0 to 4, got 5 to 5"),
    ],
)
def test_tensors_that_do_not_fit(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(numbers(), **change)


def test_a_set_shows_what_it_is(sample: Splits) -> None:
    assert repr(sample.train) == "SequenceData(4000×28×28 uint8, 10 classes)"


def test_unknown_names() -> None:
    with pytest.raises(DataError, match=r"got 'mnits'; did you mean 'mnist'\?"):
        load("mnits")
    with pytest.raises(
        DataError,
        match="mnist-sample, mnist, fashion-mnist, kmnist, ucr:NAME, hf:OWNER/NAME, or the path of a FOLDER/, "
        "FILE.npz, FILE.ts, FILE.csv, FILE.tsv, FILE.arff, FILE.txt, FILE.parquet, FILE.arrow, FILE.feather, "
        "FILE.json, FILE.jsonl, FILE.ndjson or FILE.train; got 'x'$",
    ):
        load("x")
    with pytest.raises(ConfigError, match=r"read must be one of rows, columns, pixels, permuted, got 'row'; did you"):
        load(read="row")  # type: ignore[arg-type]


@pytest.mark.data
def test_full_mnist_has_its_published_mean_and_deviation(mnist_dir: Path) -> None:
    splits = unroll.load("mnist", data_dir=mnist_dir)
    assert (len(splits.train), len(splits.test)) == (60_000, 10_000)
    assert torch.bincount(splits.test.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    scaling = splits.train.preparation.scaling
    assert (scaling.mean / 255, scaling.std / 255) == pytest.approx((0.1307, 0.3081), abs=5e-5)
