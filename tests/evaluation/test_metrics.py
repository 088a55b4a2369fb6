"""Metrics with scikit-learn and SciPy as oracles."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    precision_recall_fscore_support,
    roc_auc_score,
)
from torch import Tensor, nn

from unroll import DataError, Evaluation, InputError, SequenceData, evaluate, predict
from unroll.data.preparation import Preparation, Scaling
from unroll.evaluation.ranking import precision_recall as precision_recall_of
from unroll.evaluation.ranking import roc_area


class Echo(nn.Module):
    """Reads the logits out of the first time step."""

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        return x[:, 0]


def data_of(logits: Tensor, y: Tensor, classes: int) -> SequenceData:
    names = tuple(f"class {i}" for i in range(classes))
    return SequenceData(logits.unsqueeze(1), y, Preparation(names, Scaling(0.0, 1.0)))


def test_counts_loss_and_scores_are_exact() -> None:
    logits, y = torch.randn(1537, 4), torch.randint(0, 3, (1537,))  # class 3 has no sequence
    logits[:, 2] -= 9  # class 2 is never predicted
    found = evaluate(Echo(), data_of(logits, y, 4), batch_size=64)
    guess = logits.argmax(dim=1)
    assert (found.n, found.correct) == (1537, int((guess == y).sum()))
    assert found.accuracy == found.correct / 1537
    np.testing.assert_array_equal(found.confusion, confusion_matrix(y, guess, labels=range(4)))
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits.double(), y)), rel=1e-6)
    expected = precision_recall_fscore_support(y, guess, labels=range(4), zero_division=0)
    assert found.per_class[3] == ("class 3", None, None, None, 0)
    for i, score in enumerate(found.per_class[:3]):
        assert score.name == f"class {i}"
        assert (score.precision, score.recall, score.f1, score.support) == pytest.approx([v[i] for v in expected])


def test_what_guards_against_imbalance_is_what_scikit_learn_says() -> None:
    y = torch.multinomial(torch.tensor([0.9, 0.07, 0.03, 0.0]), 900, replacement=True)
    logits = torch.randn(900, 4) + 2 * nn.functional.one_hot(y, 4)
    logits[::3] = logits[0]  # ties
    logits[:, 3] -= 30
    found, guess = evaluate(Echo(), data_of(logits, y, 4)), logits.argmax(dim=1)
    assert found.majority == ("class 0", float((y == 0).double().mean()))
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(y, guess))
    assert found.macro_f1 == pytest.approx(f1_score(y, guess, labels=[0, 1, 2], average="macro"))
    three = logits[:, :3].double()  # of the fourth class next to nothing is left
    expected = roc_auc_score(y, three.softmax(dim=1), multi_class="ovr", average=None, labels=[0, 1, 2])
    assert found.roc_auc_per_class[3] is None
    assert found.roc_auc_per_class[:3] == pytest.approx(expected)
    assert found.roc_auc == pytest.approx(expected.mean())
    assert found.precision_recall is None
    plain = found.to_dict()
    assert (plain["majority"]["class"], plain["roc_auc"]) == ("class 0", found.roc_auc)
    assert [score["roc_auc"] for score in plain["per_class"]] == list(found.roc_auc_per_class)


def test_an_area_is_a_share_of_pairs() -> None:
    logits = torch.tensor([[0.0, 2.0], [0.0, 1.0], [0.0, 1.0], [0.0, -1.0], [300.0, 0.0], [900.0, 0.0]])
    y = torch.tensor([1, 0, 1, 0, 1, 0])
    # Of the 9 pairs of a 1 and a 0: 2 > 1, -1, -900; 1 = 1, > -1, -900; -300 > -900 alone.
    assert evaluate(Echo(), data_of(logits, y, 2)).roc_auc == pytest.approx((3 + 2.5 + 1) / 9)
    only = evaluate(Echo(), data_of(logits[:2], torch.tensor([1, 1]), 2))
    assert only.roc_auc is None
    assert only.precision_recall is None
    assert only.balanced_accuracy == 1.0
    broken = evaluate(Echo(), data_of(torch.full((4, 2), torch.nan), torch.arange(4) % 2, 2))
    assert (broken.roc_auc, broken.precision_recall) == (None, None)


@pytest.mark.parametrize("rare", [0, 1])
def test_the_rarer_of_two_classes_has_a_curve(rare: int) -> None:
    y = torch.where(torch.rand(400) < 0.1, rare, 1 - rare)
    logits = torch.randn(400, 2) + nn.functional.one_hot(y, 2)
    curve = evaluate(Echo(), data_of(logits, y, 2)).precision_recall
    assert curve is not None
    assert curve.name == f"class {rare}"
    assert curve.share == pytest.approx(float((y == rare).double().mean()))
    scores = logits[:, rare] - logits[:, 1 - rare]
    assert curve.average == pytest.approx(average_precision_score(y == rare, scores))
    precision, recall, _ = precision_recall_curve(y == rare, scores, drop_intermediate=True)
    assert curve.precision == pytest.approx(precision)
    assert curve.recall == pytest.approx(recall)


def test_of_two_classes_as_frequent_the_second_has_the_curve() -> None:
    curve = evaluate(Echo(), data_of(torch.randn(6, 2), torch.arange(6) % 2, 2)).precision_recall
    assert curve is not None
    assert (curve.name, curve.share) == ("class 1", 0.5)


@pytest.mark.parametrize("n", [2, 3, 5, 20, 200])
def test_areas_and_curves_count_ties_as_scikit_learn_does(n: int) -> None:
    random = np.random.default_rng(n)
    for _ in range(20):
        is_class, odds = random.random(n) < 0.4, random.normal(size=n).round(1)
        is_class[:2] = True, False
        assert roc_area(is_class, odds) == pytest.approx(roc_auc_score(is_class, odds))
        precision, recall, average = precision_recall_of(is_class, odds)
        expected = precision_recall_curve(is_class, odds, drop_intermediate=True)
        np.testing.assert_allclose(precision, expected[0])
        np.testing.assert_allclose(recall, expected[1])
        assert average == pytest.approx(average_precision_score(is_class, odds))


@pytest.mark.parametrize("n", [1, 63, 64, 65, 128])
def test_a_perfect_model_scores_exactly_one_whatever_the_batches(n: int) -> None:
    y = torch.arange(n) % 3
    found = evaluate(Echo(), data_of(nn.functional.one_hot(y, 3).float(), y, 3), batch_size=64)
    assert found.accuracy == 1.0
    assert found.interval.high == 1.0


@pytest.mark.parametrize(("correct", "n"), [(9568, 10_000), (0, 5), (5, 5), (1, 2), (930, 1000)])
def test_the_interval_is_wilson_s(correct: int, n: int) -> None:
    found = Evaluation(torch.tensor([[correct, n - correct], [0, 0]]), 0.0, ("a", "b")).interval
    expected = binomtest(correct, n).proportion_ci(0.95, method="wilson")
    assert found == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_mode_and_gradients_are_left_as_they_were() -> None:
    model = nn.Sequential(Echo(), nn.Dropout(0.5))
    model.train()

    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
            assert not torch.is_grad_enabled()
            return self.inner(x) * self.weight

    wrapped = Wrapped()
    x = torch.randn(8, 1, 3)
    first = predict(wrapped, x)
    assert wrapped.training
    torch.testing.assert_close(first, x[:, 0].softmax(dim=1))
    torch.testing.assert_close(predict(wrapped, x, batch_size=3), first)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("logits", [2, 4])
def test_a_model_of_other_classes_is_refused(logits: int) -> None:
    data = data_of(torch.randn(9, logits), torch.arange(9) % 3, 3)
    with pytest.raises(InputError, match=rf"the model must give logits \(9, 3\), got \(9, {logits}\)"):
        evaluate(Echo(), data)


def test_a_module_that_was_in_eval_mode_stays_there() -> None:
    model = nn.Sequential(Echo(), nn.Dropout(0.5))
    model[1].eval()
    with pytest.raises(TypeError):  # Sequential takes no lengths; the modes are mended all the same
        evaluate(model, data_of(torch.randn(9, 3), torch.arange(9) % 3, 3))
    assert [module.training for module in model] == [True, False]


def test_nothing_to_evaluate() -> None:
    with pytest.raises(DataError, match="evaluation needs at least 1 sequence, got 0"):
        evaluate(Echo(), data_of(torch.empty(0, 3), torch.empty(0, dtype=torch.int64), 3))


# Windows of recording 3, whose mean is of class 0 though two of three windows are not, of 5, of class 1, and of 9, of
# both classes.
WINDOWS = [[0.98, 0.02], [0.4, 0.6], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8], [0.2, 0.8], [0.2, 0.8]]
OF_EACH, RECORDINGS = torch.tensor([0, 0, 0, 1, 1, 0, 1]), torch.tensor([3, 3, 3, 5, 5, 9, 9])


def test_recordings_of_one_class_are_counted_by_the_mean_probabilities_of_their_windows() -> None:
    found = Evaluation.of(torch.tensor(WINDOWS).log(), OF_EACH, ("a", "b")).with_recordings(RECORDINGS)
    assert found.recordings is not None
    assert found.recordings.confusion.tolist() == [[1, 0], [0, 1]]
    assert found.recordings.loss == pytest.approx(-(np.log(1.78 / 3) + np.log(1.1 / 2)) / 2)


def test_recordings_of_several_classes_alone_are_not_counted() -> None:
    found = Evaluation.of(torch.tensor(WINDOWS[-2:]).log(), OF_EACH[-2:], ("a", "b")).with_recordings(RECORDINGS[-2:])
    assert found.recordings is None


def test_json_holds_plain_types() -> None:
    found = evaluate(Echo(), data_of(torch.randn(9, 3), torch.arange(9) % 3, 3)).to_dict()
    assert {"accuracy", "loss", "n", "interval", "per_class", "confusion", "classes"} <= set(found)
    assert isinstance(found["accuracy"], float)
    assert isinstance(found["confusion"][0][0], int)
