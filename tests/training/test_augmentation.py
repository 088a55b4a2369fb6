"""Images moved and turned: against slices, against torch.rot90 and against Pillow; and the training that does so."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import unroll
from unroll import SequenceClassifier, SequenceData, Splits, TrainConfig, Training
from unroll.config import Read
from unroll.data.preparation import ImageFormat, Missing, Preparation, Scaling
from unroll.training import augmentation
from unroll.training import fused_step as fused_module
from unroll.training.augmentation import augmented, cut_off, moved_and_turned, varied


def drawings(height: int, width: int) -> Tensor:
    """Return three smooth images, uint8, brightest in the middle."""
    random = torch.rand(3, 1, 5, 4, generator=torch.Generator().manual_seed(2))
    smooth = torch.nn.functional.interpolate(random, (height, width), mode="bicubic", align_corners=False)[:, 0]
    return smooth.mul(255).clamp(0, 255).to(torch.uint8)


def one(amount: float) -> Tensor:
    return torch.full((3,), amount)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2, 0), (-1, 3), (0, -4)])
def test_whole_pixels_are_moved_by_slices(right: int, down: int) -> None:
    images = drawings(9, 13)
    rows = (torch.arange(9) - down).clamp(0, 8)  # what comes from outside repeats the border
    columns = (torch.arange(13) - right).clamp(0, 12)
    assert torch.equal(moved_and_turned(images, one(right), one(down), one(0)), images[:, rows][:, :, columns])


def test_half_a_pixel_is_the_mean_of_two() -> None:
    images = torch.tensor([[[0, 100, 40, 0]]], dtype=torch.uint8)
    found = moved_and_turned(images, torch.tensor([0.5]), torch.tensor([0.0]), torch.tensor([0.0]))
    assert found.tolist() == [[[0, 50, 70, 20]]]


def test_amounts_reach_to_the_largest_on_either_side_and_no_farther(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[tuple[Tensor, ...]]()

    def remembered(images: Tensor, *amounts: Tensor) -> Tensor:
        asked.append(amounts)
        return images

    monkeypatch.setattr(augmentation, "moved_and_turned", remembered)
    preparation = Preparation(("a",), Scaling(0.0, 1.0), ImageFormat(2, 3, "rows"))
    images = torch.zeros(400, 2, 3, dtype=torch.uint8)
    data = SequenceData(images, torch.zeros(400, dtype=torch.int64), preparation)
    augmented(data, 1.5, 30, torch.Generator().manual_seed(0))
    for own, largest in zip(asked[0], (1.5, 1.5, math.pi / 6), strict=True):
        assert float(own.max()) == pytest.approx(largest, rel=0.03)
        assert float(own.min()) == pytest.approx(-largest, rel=0.03)
        assert float(own.abs().max()) <= largest


def test_quarter_turns_are_exact() -> None:
    square, wide = drawings(11, 11), drawings(8, 14)
    assert torch.equal(moved_and_turned(square, one(0), one(0), one(math.pi / 2)), torch.rot90(square, -1, (1, 2)))
    assert torch.equal(moved_and_turned(wide, one(0), one(0), one(math.pi)), wide.flip(1, 2))


@pytest.mark.parametrize("degrees", [10, -25])
def test_images_that_are_not_square_are_turned_as_pillow_turns_them(degrees: float) -> None:
    images = drawings(40, 60)
    found = moved_and_turned(images, one(0), one(0), one(math.radians(degrees)))
    for image, own in zip(images, found, strict=True):
        turned = Image.fromarray(image.numpy()).rotate(-degrees, Image.Resampling.BILINEAR)  # counter-clockwise
        inside = np.s_[14:-14, 14:-14]
        assert np.abs(np.asarray(turned, np.int32)[inside] - own.numpy().astype(np.int32)[inside]).max() <= 2


def dots(n: int, read: Read = "rows") -> SequenceData:
    """Return images of 21×25 pixels with one bright one in the middle."""
    images = torch.zeros(n, 21, 25, dtype=torch.uint8)
    images[:, 10, 12] = 200
    form = ImageFormat(21, 25, read)
    preparation = Preparation(("a", "b"), Scaling(0.0, 255.0), form)
    return SequenceData(form.sequences(images), torch.arange(n) % 2, preparation)


def test_each_image_moves_by_an_amount_of_its_own_up_to_the_limit() -> None:
    changed = augmented(dots(2_100), 3.0, 0.0, torch.Generator().manual_seed(0)).x.double()
    mass = changed.sum((1, 2))
    down = (changed.sum(2) * torch.arange(21)).sum(1) / mass - 10
    right = (changed.sum(1) * torch.arange(25)).sum(1) / mass - 12
    for moved in (down, right):
        assert moved.abs().max() <= 3.01
        assert moved.std().item() == pytest.approx(3 / math.sqrt(3), rel=0.05)  # of uniform amounts
        assert abs(moved.mean().item()) < 0.1
    assert abs(float(torch.corrcoef(torch.stack([down, right]))[0, 1])) < 0.1
    assert torch.equal(augmented(dots(10), 0, 0, torch.Generator()).x, dots(10).x)


@pytest.mark.parametrize("read", ["columns", "pixels", "permuted"])
def test_images_are_changed_alike_however_they_are_read(read: Read) -> None:
    rows = augmented(dots(6), 2, 15, torch.Generator().manual_seed(1))
    other = augmented(dots(6, read), 2, 15, torch.Generator().manual_seed(1))
    assert rows.preparation.image is not None
    assert other.preparation.image is not None
    assert torch.equal(other.preparation.image.images(other.x), rows.preparation.image.images(rows.x))


CONFIG = TrainConfig(epochs=3, shift=2, rotation=10, val_fraction=0)


def seen(training: Training, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Return what each epoch of a training reads, without training."""
    found = []

    def no_steps(data: SequenceData, order: Tensor, longest: Sequence[int | None], pause: Callable[[], bool]) -> Tensor:
        if training.step == 0:
            found.append(data.x)
        return torch.ones(1)

    monkeypatch.setattr(training, "_take_steps", no_steps)
    list(training.events())
    return found


def test_each_epoch_sees_other_images_the_same_ones_with_the_same_seed(
    small: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = seen(Training(SequenceClassifier(28, 10, hidden_size=4), small, CONFIG), monkeypatch)
    assert not torch.equal(first, small.train.x)
    assert not torch.equal(first, second)
    again = seen(Training(SequenceClassifier(28, 10, hidden_size=4), small, CONFIG), monkeypatch)
    assert all(torch.equal(*pair) for pair in zip((first, second, third), again, strict=True))


def losses(training: Training) -> list[float]:
    list(training.events())
    return [epoch.train_loss for epoch in training.history]


def test_the_fused_step_reads_the_images_of_its_epoch(small: Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    def model() -> SequenceClassifier:
        torch.manual_seed(0)
        return SequenceClassifier(28, 10, hidden_size=8)

    fused = losses(Training(model(), small, CONFIG))
    monkeypatch.setattr(fused_module, "why_not_fused", lambda *_: "the test wants the plain step")
    assert losses(Training(model(), small, CONFIG)) == pytest.approx(fused, rel=1e-4)


def test_a_training_is_taken_up_within_an_epoch_of_changed_images(small: Splits) -> None:
    def training() -> Training:
        torch.manual_seed(0)
        return Training(
            SequenceClassifier(28, 10, hidden_size=8), small, unroll.TrainConfig(epochs=2, shift=1.5, batch_size=8)
        )

    whole, first, second = training(), training(), training()
    list(whole.events())
    events = first.events()
    for _ in range(2):
        next(events)
    second.load_state_dict(first.state_dict())
    list(second.events())
    for expected, found in zip(whole.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(expected, found)


def test_only_images_can_be_moved(small: Splits) -> None:
    x = torch.randn(30, 5, 2)
    data = SequenceData(x, torch.arange(30) % 2, Preparation(("a", "b"), Scaling.of("training", x)))
    with pytest.raises(unroll.DataError, match="shift and rotation need images, but the data has none; set them to 0"):
        Training(SequenceClassifier(2, 2), Splits(data, data, "x", "x"), CONFIG)
    with pytest.raises(unroll.ConfigError, match="rotation must be from 0 to 180 degrees, got 200"):
        TrainConfig(rotation=200)


def test_sequences_are_cut_off_after_a_step_of_their_own(small: Splits) -> None:
    lengths = torch.arange(400) % 29
    for data in (small.train, replace(small.train, lengths=lengths)):
        whole = torch.full_like(data.y, 28) if data.lengths is None else lengths
        found = cut_off(data, 0.5, torch.Generator().manual_seed(1))
        assert found.lengths is not None
        assert torch.equal(found.x, data.x)
        shorter = found.lengths < whole
        assert 0.35 < float(shorter.double().mean()) < 0.55  # of half of them some are cut at their end
        assert torch.equal(found.lengths[~shorter], whole[~shorter])
        assert bool((found.lengths >= whole.clamp(max=1)).all())
        if data.lengths is None:  # all ends are about as frequent
            assert set(found.lengths[shorter].tolist()) == set(range(1, 28))
    assert cut_off(small.train, 1.0, torch.Generator().manual_seed(1)).lengths.double().mean() < 17


@pytest.mark.slow
def test_a_model_that_saw_sequences_cut_off_knows_early(sample: Splits) -> None:
    found = {}
    for early in (0.0, 0.7):
        model = SequenceClassifier(28, 10, hidden_size=64)
        list(unroll.fit(model, sample, TrainConfig(epochs=20, early=early, val_fraction=0.0)))
        found[early] = unroll.evaluate_anytime(model, sample.test.prepared_as(sample.train.preparation))
    after_half = {early: anytime.accuracy[13] for early, anytime in found.items()}
    assert after_half[0.0] < 0.35
    assert after_half[0.7] > 0.5
    assert found[0.7].area > found[0.0].area + 0.2


# Series


def ragged(features: int = 2, mask: bool = False) -> SequenceData:
    """Return series of 0 to 400 steps, one behind the other; feature 0 is constant in each series."""
    lengths = torch.tensor([400, 0, 1, 300, 400])
    x = torch.randn(int(lengths.sum()), features, generator=torch.Generator().manual_seed(3)) * 5 + 1e3
    x[:, 0] = torch.arange(5.0).repeat_interleave(lengths)
    means = tuple(x.double().mean(dim=0).tolist())
    preparation = Preparation(("a", "b"), Scaling.of("training", x), missing=Missing(means, mask))
    if mask:
        x = torch.cat([x, (torch.arange(len(x)) % 3 == 0).float().unsqueeze(1).expand(-1, features)], dim=1)
        preparation = replace(preparation, scaling=preparation.scaling.with_unscaled(features))
    return SequenceData(x, torch.tensor([0, 1, 0, 1, 0]), preparation, lengths, starts=lengths.cumsum(0) - lengths)


@pytest.mark.parametrize("mask", [False, True])
def test_noise_is_relative_to_each_series_and_leaves_constants_and_masks(mask: bool) -> None:
    data = ragged(mask=mask)
    noisy = varied(data, 0.2, 0.0, 0.0, torch.Generator().manual_seed(4))
    assert torch.equal(noisy.steps_of_each, data.steps_of_each)
    for number in (0, 3, 4):
        before, after = data.sequence(number), noisy.sequence(number)
        assert torch.equal(after[:, 0], before[:, 0])
        assert torch.equal(after[:, 2:], before[:, 2:])
        added = (after - before)[:, 1]
        assert float(added.std()) == pytest.approx(0.2 * float(before[:, 1].std()), rel=0.1)
        assert abs(float(added.mean())) < 0.2
    assert torch.equal(noisy.sequence(2), data.sequence(2))  # one step deviates from nothing


def test_gain_stretches_each_series_about_its_own_mean_by_one_factor() -> None:
    x = torch.randn(60, 30, 3, generator=torch.Generator().manual_seed(3)) * torch.tensor([1.0, 10.0, 0.1]) - 5
    data = SequenceData(x, torch.arange(60) % 2, Preparation(("a", "b"), Scaling.of("training", x)))
    stretched = varied(data, 0.0, 0.3, 0.0, torch.Generator().manual_seed(4)).padded()
    mean = x.double().mean(dim=1, keepdim=True)
    factors = (stretched - mean).square().sum(dim=1).sqrt() / (x - mean).square().sum(dim=1).sqrt()
    assert torch.allclose(factors, factors[:, :1].expand(-1, 3), atol=1e-4)
    assert torch.allclose(stretched.double().mean(dim=1), mean[:, 0], atol=1e-4)
    assert 0.7 <= float(factors.min()) < 0.75
    assert 1.25 < float(factors.max()) <= 1.3001


@pytest.mark.parametrize("mask", [False, True])
def test_drift_leaves_constants_masks_and_lengths(mask: bool) -> None:
    data = ragged(mask=mask)
    drifted = varied(data, 0.0, 0.0, 0.3, torch.Generator().manual_seed(4))
    assert torch.equal(drifted.steps_of_each, data.steps_of_each)
    kept = [0, *range(2, data.x.shape[1])]
    assert torch.equal(drifted.x[:, kept], data.x[:, kept])
    assert not torch.allclose(drifted.x[:, 1], data.x[:, 1], atol=1.0)
    assert torch.equal(drifted.sequence(2), data.sequence(2))  # one step deviates from nothing


def test_drift_is_straight_between_six_points() -> None:
    x = torch.randn(3, 51, 2, generator=torch.Generator().manual_seed(3))
    lengths = torch.tensor([26, 51, 6])
    data = SequenceData(x, torch.tensor([0, 1, 0]), Preparation(("a", "b"), Scaling.of("training", x)), lengths)
    drifted = varied(data, 0.0, 0.0, 0.3, torch.Generator().manual_seed(4))
    for number, length in enumerate(lengths.tolist()):
        added = (drifted.sequence(number) - data.sequence(number)).numpy()
        points = np.arange(0, length, (length - 1) // 5)
        for feature in added.T:
            assert np.allclose(feature, np.interp(range(length), points, feature[points]), atol=1e-5)
            assert np.abs(feature[points]).min() > 0


def test_points_of_drift_have_its_deviation() -> None:
    x = torch.randn(2_000, 6, 2, generator=torch.Generator().manual_seed(3)) * torch.tensor([1.0, 10.0])
    data = SequenceData(x, torch.arange(2_000) % 2, Preparation(("a", "b"), Scaling.of("training", x)))
    added = varied(data, 0.0, 0.0, 0.3, torch.Generator().manual_seed(4)).padded() - x  # each step is a point
    relative = added / x.std(dim=1, correction=0, keepdim=True)
    assert torch.allclose(relative.std(dim=0), torch.full((6, 2), 0.3), atol=0.02)
    assert float(torch.corrcoef(relative.flatten(1).T).fill_diagonal_(0).abs().max()) < 0.1


def test_each_epoch_sees_other_series_the_same_ones_with_the_same_seed() -> None:
    data = ragged()
    splits = Splits(data, data, "x", "x")

    def epochs(seed: int) -> list[Tensor]:
        config = TrainConfig(epochs=2, noise=0.1, gain=0.1, drift=0.1, seed=seed, val_fraction=0.0)
        training, seen = Training(SequenceClassifier(2, 2, hidden_size=4), splits, config), list[Tensor]()
        for _ in range(2):
            seen.append(training._epoch_data().x)
            training.epoch += 1
        return seen

    first, again, other = epochs(0), epochs(0), epochs(1)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], other[0])


def test_only_series_get_noise(small: Splits) -> None:
    with pytest.raises(unroll.DataError, match="noise, gain and drift need series, got images; set them to 0"):
        Training(SequenceClassifier(28, 10), small, TrainConfig(drift=0.1))
