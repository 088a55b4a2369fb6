"""The slips of the tutorial are what docs say they are: the facts that are exact, and a table of small data."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import unroll
from benchmarks import slips
from unroll import lessons


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slips, "DRAWS", 50)


@pytest.mark.parametrize(("n", "batches"), [(10_000, 157), (1000, 16), (65, 2)])
def test_a_perfect_model_scores_above_100(n: int, batches: int) -> None:
    answers = slips.perfect(torch.arange(n) % 10)
    assert len(answers) == batches
    assert slips.by_last_index(answers) == pytest.approx(100 * n / 64 / (batches - 1))
    assert slips.by_examples(answers) == 100.0


def test_the_factor_on_mnist_and_a_single_batch() -> None:
    _, wrong, right = slips.accuracy_row(slips.perfect(torch.arange(10_000) % 10))
    assert wrong.startswith("perfect 100.16 % (factor 1.00160), trained 100.16 %; 64 images: ZeroDivisionError")
    assert right == "perfect 100.00 %, trained 100.00 %; 64 images: 100.00 %"
    with pytest.raises(ZeroDivisionError):
        slips.by_last_index(slips.perfect(torch.arange(64) % 10))


def test_the_tutorial_s_printed_accuracy_is_9568_right() -> None:
    logits, labels = torch.zeros(10_000, 10), torch.zeros(10_000, dtype=torch.int64)
    labels[9568:] = 1
    answers = list(zip(logits.split(64), labels.split(64), strict=True))
    assert f"{slips.by_last_index(answers):.2f}" == "95.83"
    assert slips.by_examples(answers) == 95.68


@pytest.mark.slow
def test_training_is_the_lessons_loop(small: unroll.Splits) -> None:
    """Moving and final accuracies are those of `lessons`, on the same weights and order."""
    splits = small.scaled("unit")
    training = slips.train(splits, 1, seed=3)
    torch.manual_seed(3)
    model = lessons.ImageRNN(64, 28, 28, 150, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = [(batch.x, batch.y) for batch in splits.train.batches(64, torch.randperm(len(splits.train)))]
    _, running = lessons.train_one_epoch(model, loader, torch.nn.CrossEntropyLoss(), optimizer)
    tested = [(batch.x, batch.y) for batch in splits.test.batches(64)]
    assert training.shown[0][1:] == pytest.approx((running, lessons.test(model, loader)))
    assert training.shown[0][0] == pytest.approx(running * 400 / 64 / 6)
    assert training.tests == [pytest.approx(lessons.test(model, tested))]
    without = slips.train(splits, 1, seed=3, zero_grad=False)
    assert not torch.equal(without.answers[0][0], training.answers[0][0])


@pytest.mark.slow
def test_loose_weights_are_the_tutorial_s_equation_with_nothing_to_train() -> None:
    loose, ours = slips.LooseWeights(3, 5), lessons.BasicRNN(3, 5)
    with torch.no_grad():
        ours.Wx.copy_(loose.inward)
        ours.Wy.copy_(loose.back)
        torch.testing.assert_close(loose(*slips.STEPS), ours(*slips.STEPS))
    _, wrong, right = slips.weights_row()
    assert wrong.startswith("0 parameters, 0 tensors in state_dict, Adam: ValueError: optimizer got an empty")
    assert right.startswith("45 parameters, 3 tensors in state_dict, Adam: no error")
    assert slips.saturation(slips.LooseWeights, slips.STEPS) > 50
    assert slips.saturation(lessons.BasicRNN, slips.STEPS / 9) < 2


def test_a_kept_state_drifts_and_fails() -> None:
    assert slips.drift(slips.KeptState).min() > 0.01
    assert torch.equal(slips.drift(lessons.CleanBasicRNN), torch.zeros(2))
    _, wrong, right = slips.state_row()
    assert "second backward: RuntimeError: Trying to backward through the graph a second time" in wrong
    assert "batch of 9: RuntimeError: Input batch size 9 doesn't match hidden0 batch size 4; 1 time step: Ind" in wrong
    assert wrong.endswith("7 time steps: 2 outputs")
    assert right == (
        "two calls differ by 0.000 (t = 0: 0.000, t = 1: 0.000); second backward: no error; batch of 9: no error; "
        "1 time step: no error; 7 time steps: 7 outputs"
    )


def test_more_layers() -> None:
    assert slips.every_layers_logits(torch.rand(64, 28, 28), 1, 1).shape == (64, 10)
    _, wrong, right = slips.layers_row()
    assert "num_layers=3 alone: RuntimeError: Expected hidden size (3, 64, 150), got [1, 64, 150]" in wrong
    assert "logits (192, 10), loss: ValueError: Expected input batch_size (192) to match target" in wrong
    assert right == "logits (64, 10), loss: no error"


def test_a_graph_is_memory() -> None:
    model, images = lessons.ImageRNN(64, 28, 28, 150, 10), torch.rand(64, 28, 28)
    assert slips.graph_bytes(model, images, record=True) >= 28 * 64 * 150 * 4  # at least the state at each time step
    assert slips.graph_bytes(model, images, record=False) == 0


@pytest.mark.slow
def test_the_table(small: unroll.Splits, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = replace(small, train=small.train.subset(torch.arange(0, 400, 4)))
    monkeypatch.setattr(unroll, "load", {"mnist-sample": tiny}.__getitem__)
    for seeds, lines in ((1, 9), (2, 10)):
        slips.main(epochs=2, seeds=seeds)
        first, *table = capsys.readouterr().out.splitlines()
        assert first.startswith("mnist-sample (100 + 100 images), 2 epochs, seed 0")
        assert [line.count(" | ") for line in table] == [2] * (lines - 1)
    same = table[-2].rpartition("first epoch: ")[2].removesuffix(" %").split(", ")
    assert same[0] == same[1]
