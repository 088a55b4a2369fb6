"""Operating points, beside counting by hand and scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, precision_recall_curve, precision_score, recall_score

from unroll import ConfigError, DataError, InputError
from unroll.config import OperatingConfig
from unroll.evaluation.operating_point import (
    OperatingPoint,
    Outcome,
    threshold_at_recall,
    threshold_of_least_cost,
)
from unroll.evaluation.significance import wilson

CLASSES = ("no", "yes")


def drawn(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of "yes", with many ties and the ends of the range, and whether it is true; both occur."""
    random = np.random.default_rng(seed)
    n = int(random.integers(2, 40))
    values = random.choice([0, 1e-9, 0.2, 0.5, 0.5 + 1e-7, 0.7, 1], n) if seed % 3 else random.random(n)
    is_positive = random.random(n) < 0.3
    is_positive[0], is_positive[1] = True, False
    return values.astype(np.float64), is_positive


def both(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.stack([1 - values, values], axis=1))


@pytest.mark.parametrize("seed", range(12))
def test_the_threshold_at_a_recall_is_the_largest_one_that_reaches_it(seed: int) -> None:
    values, is_positive = drawn(seed)
    wanted = [0.05, 0.3, 0.5, 0.95, 1.0][seed % 5]
    threshold = threshold_at_recall(values, is_positive, wanted)
    _, recalls, thresholds = precision_recall_curve(is_positive, values)
    largest = thresholds[recalls[:-1] >= wanted].max()
    assert largest - 1e-6 <= threshold <= largest
    assert ((values >= threshold) == (values >= largest)).all()
    assert largest == 0 or threshold < largest


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("missed", "alarm"), [(5.0, 1.0), (1.0, 1.0), (0.1, 3.0)])
def test_no_threshold_costs_less_than_the_chosen_one(seed: int, missed: float, alarm: float) -> None:
    values, is_positive = drawn(seed)

    def cost(threshold: float) -> float:
        guess = values >= threshold
        return float(missed * (is_positive & ~guess).sum() + alarm * (~is_positive & guess).sum())

    threshold = threshold_of_least_cost(values, is_positive, missed, alarm)
    grid = np.unique([*values, 1, *np.linspace(0, 1, 101)])
    costs = np.array([cost(each) for each in grid])
    assert cost(threshold) == pytest.approx(costs.min())
    best = alarm / (alarm + missed)
    nearest = np.abs(grid[np.isclose(costs, costs.min())] - best).min()
    assert abs(threshold - best) <= nearest + 1.1e-6


def test_where_any_threshold_is_best_it_is_that_of_probabilities_that_are_right() -> None:
    values, is_positive = np.array([0.01, 0.02, 0.95, 0.99]), np.array([False, False, True, True])
    assert threshold_of_least_cost(values, is_positive, 4, 1) == pytest.approx(0.2)


def test_a_point_chosen_by_costs_says_which_and_what_an_answer_costs() -> None:
    probabilities, y = both(np.array([0.01, 0.3, 0.95, 0.1])), torch.tensor([0, 0, 1, 1])
    chosen = OperatingPoint.choose(OperatingConfig(cost_false_negative=4.0), CLASSES, "yes", (probabilities, y))
    assert chosen.chosen == "costs: false negative 4, false positive 1"
    assert chosen.threshold == pytest.approx(0.1, abs=1e-5)
    assert chosen.validation is not None
    assert chosen.validation.cost == 1 / 4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("positive", CLASSES)
def test_the_measures_are_scikit_learn_s(seed: int, positive: str) -> None:
    values, is_yes = drawn(seed)
    point = OperatingPoint(CLASSES, positive, 0.5)
    y = torch.tensor(is_yes).long()
    guess = (both(values)[:, CLASSES.index(positive)] >= 0.5).numpy()
    true = (y == CLASSES.index(positive)).numpy()
    found = point.outcome(both(values), y)
    assert found.recall is not None
    assert found.recall.value == pytest.approx(recall_score(true, guess))
    assert found.recall[1:] == wilson(int((true & guess).sum()), int(true.sum()))
    assert (found.precision.value if found.precision else 0) == precision_score(true, guess, zero_division=0)
    assert found.f1 == pytest.approx(f1_score(true, guess))
    assert found.accuracy is not None
    assert found.accuracy.value == (true == guess).mean()


def test_what_is_rejected_is_counted_by_hand() -> None:
    probabilities = torch.tensor([[0.7, 0.2, 0.1], [0.5, 0.4, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6]])
    point = OperatingPoint(("a", "b", "c"), reject=0.6)
    assert point.labels(probabilities.double()).tolist() == [0, -1, 1, 2]
    assert [point.answer(row) for row in probabilities.double().tolist()] == [0, None, 1, 2]
    found = point.outcome(probabilities.double(), torch.tensor([0, 0, 0, 2]))
    assert found.counts == ((1, 1, 0, 1), (0, 0, 0, 0), (0, 0, 1, 0))
    assert (found.coverage, found.accuracy) == ((3 / 4, *wilson(3, 4)), (2 / 3, *wilson(2, 3)))
    assert (found.recall, found.f1, found.cost) == (None, None, None)


def test_a_threshold_with_rejection_says_yes_no_or_unsure_as_the_probability_falls() -> None:
    point = OperatingPoint(CLASSES, "yes", 0.25, 0.5, costs=(5.0, 1.0))
    values = np.array([0.9, 0.5, 0.4, 0.25, 0.24, 0.0])
    assert point.labels(both(values)).tolist() == [1, 1, -1, -1, 0, 0]
    found = point.outcome(both(values), torch.tensor([1, 0, 1, 0, 1, 0]))
    assert (found.missed, found.recall) == ((1 / 3, *wilson(1, 3)), (1 / 2, *wilson(1, 2)))
    assert found.cost == (5 + 1) / 4
    assert found.to_dict()["coverage"]["value"] == 4 / 6


# Windows of recording 2, twice "no", of 4, twice "yes", and of 7, of both.
WINDOWS = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2], [0.2, 0.8], [0.1, 0.9], [0.1, 0.9]])
OF_EACH, RECORDINGS = torch.tensor([0, 0, 1, 1, 0, 1]), torch.tensor([2, 2, 4, 4, 7, 7])


def test_recordings_of_one_class_are_answered_by_the_mean_of_their_windows() -> None:
    found = OperatingPoint(CLASSES, "yes", 0.45).outcome_of_recordings(WINDOWS, OF_EACH, RECORDINGS)
    assert found is not None
    assert found.counts == ((1, 0, 0), (0, 1, 0))


@pytest.mark.parametrize("recordings", [None, RECORDINGS[-2:]])
def test_without_recordings_of_one_class_there_is_no_outcome_of_them(recordings: torch.Tensor | None) -> None:
    assert OperatingPoint(CLASSES).outcome_of_recordings(WINDOWS[-2:], OF_EACH[-2:], recordings) is None


@pytest.mark.parametrize(("windows", "counted"), [(4, "recordings"), (6, "windows")])
def test_a_threshold_is_chosen_by_windows_where_a_recording_is_of_both_classes(windows: int, counted: str) -> None:
    some = slice(0, windows)
    validation = WINDOWS[some].double(), OF_EACH[some]
    chosen = OperatingPoint.choose(OperatingConfig(at_recall=1.0), CLASSES, "yes", validation, RECORDINGS[some])
    assert chosen.counted == counted
    assert chosen.threshold == pytest.approx(0.5 if counted == "recordings" else 0.2, abs=1e-5)


@pytest.mark.parametrize(("positive", "cells"), [("yes", (4, 3, 2, 1)), ("no", (1, 2, 3, 4))])
def test_cells_are_those_of_the_positive_class(positive: str, cells: tuple[int, int, int, int]) -> None:
    assert Outcome(((1, 3, 5), (2, 4, 6)), CLASSES, positive).cells == cells


@pytest.mark.parametrize(
    ("point", "measures"),
    [
        ({}, ["accuracy", "coverage"]),
        ({"positive": "yes"}, ["precision", "recall", "missed", "f1", "accuracy", "coverage"]),
        (
            {"positive": "yes", "costs": (2.0, 1.0)},
            ["precision", "recall", "missed", "f1", "accuracy", "coverage", "cost"],
        ),
    ],
)
def test_what_is_measured_is_what_the_point_decides(point: dict[str, Any], measures: list[str]) -> None:
    assert list(Outcome(((1, 3, 5), (2, 4, 6)), CLASSES, **point).measures()) == measures


@pytest.mark.parametrize(("rejects", "measures"), [(True, ["accuracy", "coverage"]), (False, ["accuracy"])])
def test_a_table_names_the_coverage_where_answers_may_be_unsure(rejects: bool, measures: list[str]) -> None:
    assert list(Outcome(((1, 3, 0), (2, 4, 0)), CLASSES).in_words(rejects)) == measures


@pytest.mark.parametrize(
    ("measure", "shown"),
    [
        ("precision of 'yes'", "57.14 % (25.05 to 84.18 %)"),  # 4 of 7, its interval as SciPy's proportion_ci has it
        ("recall of 'yes'", "66.67 % (30.00 to 90.32 %)"),  # 4 of 6
        ("'yes' missed", "16.67 % (4.70 to 44.80 %)"),  # 2 of 12
        ("accuracy", "50.00 % (23.66 to 76.34 %)"),  # 5 of 10
        ("coverage", "47.62 % (28.34 to 67.63 %)"),  # 10 of 21
        ("F1", "61.54 %"),  # 2 × 4 / (2 × 4 + 3 + 2)
        ("mean cost", "0.7000"),  # (2 × 2 + 1 × 3) / 10
    ],
)
def test_measures_in_words_are_fractions_in_percent_and_costs_as_they_are(measure: str, shown: str) -> None:
    assert Outcome(((1, 3, 5), (2, 4, 6)), CLASSES, "yes", (2.0, 1.0)).in_words(True)[measure] == shown


def test_the_chosen_point_reports_its_validation_split() -> None:
    values, y = torch.tensor([0.9, 0.6, 0.6, 0.3, 0.1]), torch.tensor([1, 1, 0, 1, 0])
    chosen = OperatingPoint.choose(OperatingConfig(at_recall=0.6), CLASSES, "yes", (both(values.numpy()), y))
    assert chosen.threshold == pytest.approx(0.6, abs=1e-5)
    assert (chosen.chosen, chosen.validation and chosen.validation.cells) == ("at recall 0.6", (2, 1, 1, 1))
    assert str(chosen).endswith("(at recall 0.6), 'no' elsewhere")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ""),
        ({"reject": 0.6}, "unsure where the answer has a probability below 0.6"),
        (
            {"positive": "no", "threshold": 0.25, "reject": 0.6},
            "'no' where its probability is at least 0.25 (given), 'yes' elsewhere, "
            "unsure where the answer has a probability below 0.6",
        ),
        (
            {"positive": "yes", "threshold": 0.25, "chosen": "at recall 0.9", "counted": "recordings"},
            "'yes' where its probability is at least 0.25 (at recall 0.9 of recordings), 'no' elsewhere",
        ),
        (
            {"positive": "yes", "threshold": 0.25, "counted": "recordings"},
            "'yes' where its probability is at least 0.25 (given), 'no' elsewhere",
        ),
    ],
)
def test_in_words_a_point_says_when_it_answers_which_class(settings: dict[str, Any], words: str) -> None:
    assert str(OperatingPoint(CLASSES, **settings)) == words


@pytest.mark.parametrize(
    ("settings", "y", "match"),
    [
        ({"at_recall": 0.9}, [0, 0], "no sequence of the positive class"),
        ({"cost_false_positive": 2}, [1, 1], "no sequence of the other class"),
    ],
)
def test_nothing_is_chosen_by_a_class_that_is_not_there(settings: dict[str, float], y: list[int], match: str) -> None:
    with pytest.raises(DataError, match=match):
        OperatingPoint.choose(
            OperatingConfig(**settings), CLASSES, "yes", (both(np.array([0.2, 0.8])), torch.tensor(y))
        )


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"threshold": 1.0}, "threshold must be above 0 and below 1, got 1"),
        ({"threshold": float("nan")}, "threshold must be a finite number"),
        ({"at_recall": 1.5}, "at_recall must be above 0 and at most 1, got 1.5"),
        ({"reject": 0.0}, "reject must be above 0 and below 1, got 0"),
        ({"cost_false_negative": -1.0}, "cost_false_negative must be above 0, got -1"),
        ({"threshold": 0.5, "at_recall": 0.9}, "give threshold or at_recall, not both"),
        ({"at_recall": 0.9, "cost_false_positive": 2.0}, "give at_recall or cost_false_positive, not both"),
        ({"positive": "a", "reject": 0.6}, "positive must come with threshold, at_recall or a cost"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, float], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        OperatingConfig(**settings)


@pytest.mark.parametrize(
    "wrong", [{"positive": "yes"}, {"threshold": 0.5}, {"positive": "maybe", "threshold": 0.5}, {"reject": 2.0}]
)
def test_half_a_point_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="operating point|positive class|probability"):
        OperatingPoint(CLASSES, **wrong)  # type: ignore[arg-type]
