"""Sets of few sequences: what is held out of them, and runs that are trained on all there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import unroll
from unroll import DataError, RunError, load_run, train_run
from unroll.runs.artifacts import read_evaluation
from unroll.runs.compare import compare_runs
from unroll.runs.data import load_samples, load_test
from unroll.runs.record import read_record
from unroll.runs.sweep import run_sweep

Call = Callable[..., tuple[int, str, str]]
QUICK = {"epochs": 2, "hidden_size": 8}


def series(path: Path, counts: dict[str, int]) -> str:
    """Write series of 6 steps, so many of each class, no two alike; return the file."""
    random = np.random.default_rng(0)
    rows = [[*random.normal(size=6).round(4), label] for label, count in counts.items() for _ in range(count)]
    lines = [",".join(map(str, row)) for row in [["a", "b", "c", "d", "e", "f", "label"], *rows]]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture
def five_of_ten(tmp_path: Path) -> str:
    """A standard set of the archive: 5 series of each of 10 classes to train on, as many to test on."""
    labels = {f"class{n}": 5 for n in range(10)}
    series(tmp_path / "five_test.csv", labels)
    return series(tmp_path / "five_train.csv", labels)


def test_a_set_with_five_of_each_of_ten_classes_is_trained_on(five_of_ten: str) -> None:
    run = train_run(five_of_ten, out="run", **QUICK)
    assert run.calibration is not None
    assert run.calibration.n == 10  # one of each class, where a tenth of five would be none
    assert run.evaluation is not None
    assert run.evaluation["n"] == 50


def test_where_no_class_has_two_all_is_trained_on(call: Call) -> None:
    path = series(Path("each.csv"), {"a": 1, "b": 1})
    status, out, err = call("train", "--data", path, "--epochs", 2, "--hidden-size", 8, "--out", "run", "--no-report")
    assert (status, err) == (0, "")
    assert ": 2 train (none held out for validation: no class has two), no test set; 6 steps" in out
    assert "there is no test part: how well a model does on new sequences stays unknown" in out
    assert "\nno test accuracy: all sequences were used for training\n" in out
    assert "evaluate run --data OTHER\n" in out
    with pytest.raises(DataError, match="a sweep chooses by validation accuracy: no class of .* has two sequences"):
        run_sweep(path, search={"lr": [0.1, 0.01]}, out="sweep", **QUICK)
    assert not Path("sweep").exists()


def test_a_class_of_one_is_trained_on_and_said(call: Call) -> None:
    path = series(Path("rare.csv"), {"a": 6, "b": 6, "c": 1})
    splits = unroll.load(path)
    assert (splits.train.counts["c"], splits.test.counts["c"]) == (1, 0)
    _, out, _ = call("train", "--data", path, "--epochs", 1, "--hidden-size", 8, "--out", "run", "--no-report")
    assert "the test part has no sequence of c, which will not be tested: add some" in out


@pytest.fixture
def whole(tmp_path: Path) -> unroll.Run:
    """A run that was trained on all of its data."""
    path = series(tmp_path / "all.csv", {"a": 8, "b": 8})
    return train_run(path, test_fraction=0, out=tmp_path / "whole", **QUICK)


def test_a_run_trained_on_everything_has_no_test_part(whole: unroll.Run) -> None:
    assert whole.evaluation is None
    assert whole.config.plan is not None
    splits = whole.config.plan.load()
    assert (len(splits.train), len(splits.test), splits.drawn) == (16, 0, False)
    assert not (whole.path / "predictions.safetensors").exists()
    assert json.loads((whole.path / "evaluation.json").read_text()) == {"weights": "last weights (epoch 2)", "n": 0}
    assert load_run(whole.path).evaluation is None
    with pytest.raises(RunError, match="trained on all of its data and has no test set; pass other data with --data"):
        load_test(whole)
    test = load_test(whole, whole.config.plan.data)
    assert (test.part, len(test.sequences), test.trained_on) == ("all", 16, 16)
    assert len(load_samples(whole).sequences) == 16


def test_other_data_is_not_taken_for_the_test_part_that_there_is_none_of(whole: unroll.Run, tmp_path: Path) -> None:
    copy = series(tmp_path / "copy.csv", {"a": 8, "b": 8})
    test = load_test(whole, copy)
    assert (test.part, test.trained_on) == ("all", 16)


def test_what_is_said_of_a_run_without_a_test_part(whole: unroll.Run, call: Call) -> None:
    status, _, err = call("evaluate", whole.path)
    assert (status, err.count("\n")) == (2, 1)
    assert "pass other data with --data" in err
    status, out, err = call("report", whole.path)
    assert (status, err) == (0, "")
    page = (whole.path / "report.html").read_text()
    assert "Result: accuracy –; the run was trained on all of its data, which leaves no test split." in page
    assert "pass other data: unroll report " in page
    assert call("doctor", whole.path)[0] == 0
    status, out, _ = call("train", "--data", whole.config.plan.data, "--test-fraction", 0, "--epochs", 1, "--json")  # type: ignore[union-attr]
    assert status == 0
    assert json.loads(out)["accuracy"] is None


def test_runs_without_a_test_part_are_compared_by_their_settings(whole: unroll.Run, tmp_path: Path, call: Call) -> None:
    assert whole.config.plan is not None
    tested = train_run(whole.config.plan.data, out=tmp_path / "tested", **QUICK)
    record = read_record(whole.path)
    assert (record.accuracy, record.interval, record.loss, record.n) == (None, None, None, 0)
    compared = compare_runs([whole.path, tested.path])
    assert [group.runs[0].path.name for group in compared.groups] == ["tested", "whole"]
    (verdict,) = compared.verdicts
    assert (verdict.test, verdict.accuracies[1]) == (None, None)
    assert str(verdict).endswith(f"and – %, no test: {whole.path} has no test set")
    assert json.loads(json.dumps(compared.to_dict()))["runs"][1]["accuracy"] is None
    status, out, _ = call("compare", whole.path, tested.path)
    assert status == 0
    assert "–" in next(line for line in out.splitlines() if str(whole.path) in line)


def test_a_sweep_without_a_test_part_chooses_by_validation(tmp_path: Path, call: Call) -> None:
    path = series(tmp_path / "all.csv", {"a": 8, "b": 8})
    flags = ("--test-fraction", 0, "--epochs", 1, "--hidden-size", 8, "--lr", "0.1,0.01", "--out", "sweep")
    status, out, err = call("sweep", "--data", path, *flags)
    assert (status, err) == (0, "")
    assert "test accuracy –: the data has no test set" in out


def test_a_broken_evaluation_is_not_taken_for_one_without_a_test_part(whole: unroll.Run) -> None:
    (whole.path / "evaluation.json").write_text('{"n": -1}')
    with pytest.raises(RunError, match=r"evaluation.json is broken"):
        read_evaluation(whole.path)
    (whole.path / "evaluation.json").unlink()
    with pytest.raises(RunError, match="it is missing"):
        read_record(whole.path)
