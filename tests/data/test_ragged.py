"""Sequences of different lengths stand one behind the other: they must give what the same ones, padded, give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import unroll
from unroll import SequenceClassifier, SequenceData, Splits, TrainConfig
from unroll.data import batching
from unroll.data.batching import bounded
from unroll.data.preparation import Missing, Preparation, Scaling
from unroll.data.ragged import padded as side_by_side
from unroll.errors import DataError
from unroll.evaluation.anytime import logits_after
from unroll.evaluation.metrics import logits_of
from unroll.training import loop
from unroll.training.augmentation import cut_off
from unroll.training.loop import Training

LENGTHS = [3, 0, 7, 1, 7, 2, 0, 5, 4, 6, 1, 3]
SCALING = Scaling((0.1, -0.2, 0.3), (1.0, 2.0, 0.5))


def pair(dtype: torch.dtype = torch.float32) -> tuple[SequenceData, SequenceData]:
    """Return the same sequences one behind the other and padded; values behind a sequence's end must not matter."""
    random = torch.Generator().manual_seed(1)
    lengths = torch.tensor(LENGTHS)
    x = torch.randn(len(lengths), 7, 3, generator=random).mul(50).to(dtype)
    valid_mask = torch.arange(7) < lengths.unsqueeze(1)
    y = torch.randint(0, 2, (len(lengths),), generator=random)
    preparation = Preparation(("a", "b"), SCALING)
    ragged = SequenceData(x[valid_mask], y, preparation, lengths, starts=lengths.cumsum(0) - lengths)
    return ragged, SequenceData(x, y, preparation, lengths)


def test_nothing_but_the_steps_is_kept() -> None:
    ragged, _ = pair()
    assert ragged.x.shape == (sum(LENGTHS), 3)
    assert (ragged.shape, ragged.time, ragged.input_size) == ((12, 7, 3), 7, 3)
    assert repr(ragged) == "SequenceData(12×7×3 float32, 2 classes)"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_batches_are_those_of_padded_sequences(dtype: torch.dtype) -> None:
    ragged, padded = pair(dtype)
    for index in (torch.tensor([4, 1, 0, 4]), torch.tensor([1, 6]), slice(2, 9)):
        own, expected = ragged.batch(index), padded.batch(index)
        assert own.lengths is not None
        assert torch.equal(own.y, expected.y)
        assert torch.equal(own.lengths, padded.steps_of_each[index])
        time = max(1, int(own.lengths.max()))
        assert own.x.shape[1] == time  # no longer than the longest of the batch
        valid_mask = torch.arange(time) < own.lengths.unsqueeze(1)
        assert torch.equal(own.x[valid_mask], expected.x[:, :time][valid_mask])
        assert not ragged.padded(index)[~valid_mask].any()


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_sequences_without_a_step_are_padding_alone(shape: tuple[int, ...]) -> None:
    none = torch.zeros(2, dtype=torch.int64)
    assert torch.equal(side_by_side(torch.empty(shape), none, none, 4), torch.zeros(2, 4, *shape[1:]))


def test_parts_of_them_are_those_of_padded_sequences() -> None:
    ragged, padded = pair()
    index = torch.tensor([7, 1, 2, 11])
    own, expected = ragged.subset(index), padded.subset(index)
    assert own.x.shape == (5 + 0 + 7 + 3, 3)
    for number in range(4):
        assert torch.equal(own.sequence(number), expected.sequence(number))
    assert own.checksums() == expected.checksums()
    assert torch.equal(own.flat(own.x), expected.flat(expected.x))
    for mine, its in zip(ragged.cut(0.25, 3), padded.cut(0.25, 3), strict=True):
        assert mine.checksums() == its.checksums()
    cuts = [cut_off(data, 0.9, torch.Generator().manual_seed(2)) for data in (ragged, padded)]
    assert cuts[0].x is ragged.x
    assert cuts[0].checksums() == cuts[1].checksums() != ragged.checksums()
    assert torch.equal(cuts[0].flat(cuts[0].x), cuts[1].flat(cuts[1].x))


def test_those_of_one_length_come_side_by_side() -> None:
    ragged, padded = pair()
    index = torch.tensor([2, 4])
    whole = ragged.subset(index).unpadded()
    assert whole.lengths is whole.starts is None
    assert torch.equal(whole.x, padded.x[index])
    assert ragged.unpadded() is ragged


def test_gaps_are_filled_as_in_padded_sequences() -> None:
    ragged, padded = pair()
    gone = torch.rand(padded.x.shape, generator=torch.Generator().manual_seed(3)) < 0.4
    gone &= (torch.arange(7) < padded.steps_of_each.unsqueeze(1)).unsqueeze(2)
    rule = Missing((1.0, 2.0, 3.0), mask=True)
    own = replace(ragged, missing=padded.flat(gone)).filled(rule)
    expected = replace(padded, missing=gone).filled(rule)
    assert torch.equal(own.x, expected.flat(expected.x))


@pytest.mark.parametrize("readout", ["last", "mean"])
def test_a_model_says_the_same_of_them(readout: str) -> None:
    ragged, padded = pair()
    torch.manual_seed(0)
    model = SequenceClassifier(3, 2, cell="gru", hidden_size=5, readout=readout)
    expected = logits_of(model, padded)
    torch.testing.assert_close(logits_of(model, ragged), expected)
    torch.testing.assert_close(logits_of(model, ragged, batch_size=5), expected)
    marks = [0.3, 0.7, 1.0]
    torch.testing.assert_close(logits_after(model, ragged, marks), logits_after(model, padded, marks))


def gradients(data: SequenceData, index: Tensor) -> list[Tensor]:
    torch.manual_seed(0)
    model = SequenceClassifier(3, 2, cell="lstm", hidden_size=5, num_layers=2, bidirectional=True, readout="attention")
    x, y, lengths = data.batch(index)
    torch.nn.functional.cross_entropy(model(x, lengths), y).backward()
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def test_they_have_every_gradient_of_padded_sequences() -> None:
    ragged, padded = pair()
    index = torch.tensor([0, 1, 2, 3, 9])
    own, expected = gradients(ragged, index), gradients(padded, index)
    assert len(own) == len(expected) > 0
    for one, other in zip(own, expected, strict=True):
        torch.testing.assert_close(one, other)


def trained(data: SequenceData, **model: object) -> list[Tensor]:
    torch.manual_seed(0)
    classifier = SequenceClassifier(3, 2, **{"cell": "gru", "hidden_size": 5, **model})  # type: ignore[arg-type]
    config = TrainConfig(epochs=3, batch_size=5, val_fraction=0, class_weight="balanced", early=0.5)
    list(Training(classifier, Splits(data, data, "random", "the test"), config).events())
    return [parameter.detach() for parameter in classifier.parameters()]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("readout", ["last", "mean"], ids=["fused", "plain"])
def test_training_on_them_is_training_on_padded_sequences(dtype: torch.dtype, readout: str) -> None:
    own, expected = (trained(data, readout=readout) for data in pair(dtype))
    for one, other in zip(own, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_batches_of_one_very_long_sequence_are_trained_on_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    ragged, _ = pair()
    expected, sizes = trained(ragged), list[int]()
    original = SequenceData.batch

    def seen(self: SequenceData, index: Tensor | slice, longest: int | None = None) -> unroll.Batch:
        batch = original(self, index, longest)
        sizes.append(batch.x.shape[0] * batch.x.shape[1])
        return batch

    monkeypatch.setattr(SequenceData, "batch", seen)
    for module in (loop, batching):
        monkeypatch.setattr(module, "MOST_STEPS", 8)
    for one, other in zip(trained(ragged), expected, strict=True):
        torch.testing.assert_close(one, other)
    assert max(sizes) <= 8


def test_bounded_batches_have_each_sequence_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MOST_STEPS", 12)
    lengths = torch.tensor([*LENGTHS, 40])
    batches = bounded(lengths, 4)
    assert sorted(torch.cat(batches).tolist()) == list(range(13))
    for batch in batches:
        assert len(batch) == 1 or (len(batch) <= 4 and len(batch) * int(lengths[batch].max()) <= 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": None}, "sequences one behind the other need their lengths"),
        ({"starts": torch.full((12,), 38)}, "starts \\+ lengths must be at most 39, the steps in x"),
        ({"lengths": torch.full((12,), -1)}, "starts and lengths must be from 0 on"),
        ({"x": torch.zeros(12, 7, 3)}, r"x must have shape \(steps, features\), got \(12, 7, 3\)"),
    ],
)
def test_tensors_that_do_not_fit(change: dict[str, Tensor | None], message: str) -> None:
    with pytest.raises(DataError, match=message):
        replace(pair()[0], **change)  # type: ignore[arg-type]


def _csv(path: Path) -> None:
    lines = [f"{i},{t},{(i + 1) * t * t % 97},{'ab'[i % 2]}" for i in range(40) for t in range(5_000 if i == 0 else 4)]
    path.write_text("\n".join(["id,time,x,label", *lines]))


def _npz(path: Path) -> None:
    import numpy as np

    lengths = np.where(np.arange(40) == 0, 5_000, 4)
    np.savez(path, x=np.random.default_rng(0).normal(size=(40, 5_000, 1)), y=np.arange(40) % 2, lengths=lengths)


def _jsonl(path: Path) -> None:
    texts = [" ".join(["word", str(i)] * (2_500 if i == 0 else 2)) for i in range(40)]
    path.write_text("".join(f'{{"text": "{text}", "label": "{"ab"[i % 2]}"}}\n' for i, text in enumerate(texts)))


@pytest.mark.parametrize(("name", "write"), [("s.csv", _csv), ("s.npz", _npz), ("s.jsonl", _jsonl)])
def test_one_long_sequence_does_not_make_the_others_longer(
    tmp_path: Path, name: str, write: Callable[[Path], None]
) -> None:
    write(tmp_path / name)
    splits = unroll.load(tmp_path / name, **({"vocabulary_size": 50} if name == "s.jsonl" else {}))  # type: ignore[arg-type]
    assert sum(part.x.numel() for part in (splits.train, splits.test)) == 39 * 4 + 5_000
    assert max(splits.train.time, splits.test.time) == 5_000
