"""Baselines: simple classifiers on the same data, each against a plain computation."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import unroll
from unroll.errors import how_to_install
from unroll.evaluation import baseline
from unroll.evaluation.baseline import Baseline, baselines, best_of, verdict
from unroll.evaluation.predictions import Predictions

Call = Callable[..., tuple[int, str, str]]


def by_name(splits: unroll.Splits) -> dict[str, Baseline]:
    return {base.name: base for base in baselines(splits)}


@pytest.fixture
def ragged(tmp_path: Path) -> unroll.Splits:
    """Forty series of 1 to 9 steps: two classes, told apart by the mean of the second feature and by a shape."""
    rng = np.random.default_rng(0)
    for part, n in (("TRAIN", 40), ("TEST", 20)):
        lines = []
        for number in range(n):
            label, length = number % 2, int(rng.integers(1, 10))
            x = rng.normal(size=(length, 2)) * 0.3 + np.array([0, 2 * label])
            lines.append(":".join(",".join(f"{value:.6f}" for value in x[:, d]) for d in range(2)) + f":{'ab'[label]}")
        header = "@problemName toy\n@timeStamps false\n@missing false\n@univariate false\n@dimensions 2\n"
        header += "@equalLength false\n@classLabel true a b\n@data\n"
        (tmp_path / f"toy_{part}.ts").write_text(header + "\n".join(lines) + "\n")
    return unroll.load(str(tmp_path / "toy_TRAIN.ts"))


@pytest.fixture
def even(tmp_path: Path) -> unroll.Splits:
    """Forty series of 7 steps of two features."""
    x = np.random.default_rng(0).normal(size=(40, 7, 2))
    np.savez(tmp_path / "even.npz", x=x, y=np.arange(40) % 2)
    return unroll.load(str(tmp_path / "even.npz"))


def steps_of(data: unroll.SequenceData) -> list[np.ndarray]:
    """Return each series (time, features), scaled, without padding."""
    whole = data.batch(slice(None)).x.double().numpy()
    return [x[:length] for x, length in zip(whole, data.steps_of_each.tolist(), strict=True)]


def test_of_series(ragged: unroll.Splits) -> None:
    tried = by_name(ragged)
    assert list(tried) == ["majority class", "logistic regression", "1-NN DTW"]
    accuracies = {name: base.evaluation.accuracy for name, base in tried.items() if base.evaluation}
    assert accuracies["majority class"] == 0.5
    assert accuracies["logistic regression"] == 1.0
    assert accuracies["1-NN DTW"] >= 0.9


@pytest.mark.parametrize("name", ["ragged", "even"])
def test_summaries_are_those_of_the_valid_steps(name: str, request: pytest.FixtureRequest) -> None:
    data = request.getfixturevalue(name).train
    expected = [np.concatenate([x.mean(axis=0), x.std(axis=0), x[-1]]) for x in steps_of(data)]
    np.testing.assert_allclose(baseline._summaries(data), expected, atol=1e-6)


def warped(a: np.ndarray, b: np.ndarray, window: int) -> float:
    """Return the distance by the plain recurrence, within a band around both diagonals."""
    n, m = len(a), len(b)
    table = np.full((n + 1, m + 1), np.inf)
    table[0, 0] = 0
    for i in range(n):
        for j in range(m):
            if i - j < max(0, n - m) + window and j - i < max(0, m - n) + window:
                steps = table[i, j], table[i, j + 1], table[i + 1, j]
                table[i + 1, j + 1] = ((a[i] - b[j]) ** 2).sum() + min(steps)
    return float(table[n, m])


@pytest.mark.parametrize("name", ["ragged", "even"])
def test_nearest_neighbours_are_those_of_the_plain_recurrence(name: str, request: pytest.FixtureRequest) -> None:
    pytest.importorskip("dtaidistance")
    splits = request.getfixturevalue(name)
    train, test = steps_of(splits.train), steps_of(splits.test)
    window = max(1, round(baseline.BAND * max(map(len, [*train, *test]))))
    expected = [int(splits.train.y[np.argmin([warped(a, b, window) for a in train])]) for b in test]
    assert baseline._nearest(splits.train, splits.test).tolist() == expected


def test_of_images(small: unroll.Splits) -> None:
    tried = by_name(small)
    assert list(tried) == ["majority class", "logistic regression"]
    assert tried["logistic regression"].description.endswith("all pixels")
    assert tried["logistic regression"].evaluation.accuracy > 0.8


def test_of_texts(tmp_path: Path) -> None:
    words = {"good": "a fine film , warm and funny", "bad": "a dull film , cold and slow"}
    rows = [f"{label}\t{text} {number}" for number in range(30) for label, text in words.items()]
    (tmp_path / "films.tsv").write_text("class\ttext\n" + "\n".join(rows) + "\n")
    tried = by_name(unroll.load(str(tmp_path / "films.tsv")))
    assert list(tried) == ["majority class", "bag of words"]
    assert tried["bag of words"].evaluation.accuracy == 1.0


def test_without_the_library_the_row_names_the_extra(ragged: unroll.Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dtaidistance", None)
    base = by_name(ragged)["1-NN DTW"]
    assert base.evaluation is None
    assert how_to_install("baseline") in base.note
    assert best_of([base]) is None


def test_what_is_too_large_is_left_out(ragged: unroll.Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dtaidistance")
    monkeypatch.setattr(baseline, "MOST_CELLS", 10)
    base = by_name(ragged)["1-NN DTW"]
    assert base.labels is None
    assert base.note.startswith("left out: ")


def test_a_large_set_is_learned_from_in_part(small: unroll.Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST_TRAINING", 100)
    assert by_name(small)["logistic regression"].note == "learned from 100 of 400 training sequences"


def test_a_set_that_is_learned_from_whole_needs_no_note(even: unroll.Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST_TRAINING", len(even.train))
    assert by_name(even)["logistic regression"].note == ""


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (20, "the run (100.00 %) is better than simple (50.00 %), by more than noise"),
        (11, "the run (55.00 %) and simple (50.00 %) differ by no more than noise"),
        (0, "the run (0.00 %) is worse than simple (50.00 %), by more than noise"),
    ],
)
def test_the_verdict(right: int, words: str) -> None:
    y = torch.arange(20) % 2
    labels = torch.where(torch.arange(20) < right, y, 1 - y)
    logits = torch.nn.functional.one_hot(labels, 2).float()
    predictions = Predictions(logits, y, ("a", "b"), "0")
    simple = Baseline("simple", "", torch.zeros(20, dtype=torch.int64), None, 0.0)
    assert verdict(predictions, simple, {}).startswith(words)


@pytest.mark.slow
def test_the_command_keeps_its_result_in_the_run(call: Call, run: unroll.Run, undrawn: None, tmp_path: Path) -> None:
    for name in ("a", "b"):
        words = ("--epochs", 1, "--hidden-size", 8, "--no-report", "--seed", ord(name), "--out", tmp_path / name)
        assert call("train", *words)[0] == 0
    status, out, err = call("baseline", tmp_path / "a")
    assert (status, err) == (0, "")
    assert "baselines on mnist-sample, 4,000 training and 1,000 test sequences" in out
    assert "is worse than logistic regression" in out

    status, out, _ = call("compare", tmp_path / "a", tmp_path / "b")
    assert out.count("baseline: logistic regression") == 1
    kept = json.loads((tmp_path / "a" / "baseline.json").read_text())
    assert kept["baselines"][1]["accuracy"] > 0.85

    assert call("report", tmp_path / "a")[0] == 0
    assert "Best baseline: logistic regression, accuracy " in (tmp_path / "a" / "report.html").read_text()

    (tmp_path / "a" / "baseline.json").write_text('{"baselines": []}')
    status, _, err = call("compare", tmp_path / "a", tmp_path / "b")
    assert "baseline.json is broken" in err
    assert "run unroll baseline again" in err


def test_the_command_without_a_run(call: Call, ragged: unroll.Splits) -> None:
    status, out, _ = call("baseline", "--json", "--data", ragged.source)
    content = json.loads(out)
    assert status == 0
    assert [base["name"] for base in content["baselines"]] == ["majority class", "logistic regression", "1-NN DTW"]
    assert content["baselines"][0]["accuracy"] == 0.5
    assert call("baseline", "somewhere", "--data", "mnist-sample")[2] == (
        "unroll: give somewhere or the flags of data, not both\n"
    )
