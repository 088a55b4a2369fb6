"""Sets of few sequences: what is held out of them, and runs that are trained on all there is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unroll
from unroll import DataError, RunError, load_run, resume_run, train_run
from unroll.report.summary import reproduce
from unroll.runs.artifacts import read_evaluation
from unroll.runs.compare import compare_runs
from unroll.runs.data import load_samples, load_test
from unroll.runs.execute import Event, Restarted
from unroll.runs.history import read_history
from unroll.runs.record import read_record
from unroll.runs.sweep import run_sweep
from unroll.training.chance import Losses
from unroll.training.results import Progress

Call = Callable[..., tuple[int, str, str]]
QUICK: dict[str, Any] = {"epochs": 2, "hidden_size": 8}


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
    run = train_run(five_of_ten, out="run", val_fraction=0.1, **QUICK)
    assert run.calibration is not None
    assert run.calibration.n == 10  # one of each class, where a tenth of five would be none
    assert run.evaluation is not None
    assert run.evaluation["n"] == 50


def test_where_no_class_has_two_all_is_trained_on(call: Call) -> None:
    path = series(Path("each.csv"), {"a": 1, "b": 1})
    flags = ("--epochs", 2, "--hidden-size", 8, "--val-fraction", 0.1, "--out", "run", "--no-report")
    status, out, err = call("train", "--data", path, *flags)
    assert (status, err) == (0, "")
    assert ": 2 train (none held out for validation: no class has two), no test set; 6 steps" in out
    assert "there is no test part: how well a model does on new sequences stays unknown" in out
    assert "\nno test accuracy: all sequences were used for training\n" in out
    assert "evaluate run --data OTHER\n" in out
    with pytest.raises(DataError, match="a sweep chooses by validation accuracy, but none of .*: no class has two; "):
        run_sweep(path, search={"lr": [0.1, 0.01]}, out="sweep", **QUICK)
    assert not Path("sweep").exists()


def test_a_sweep_says_that_no_whole_group_can_be_held_out() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3, 1))
    np.savez("two.npz", x=x, y=np.arange(20) % 2, who=np.arange(20) % 2)
    with pytest.raises(DataError, match=r"none of two.npz can be held out: each group has a class that no other has; "):
        run_sweep("two.npz", search={"lr": [0.1, 0.01]}, out="sweep", group="who", test_fraction=0, **QUICK)


def test_a_sweep_says_that_all_begin_at_the_same_time() -> None:
    Path("one.csv").write_text("day,a,b,label\n" + "".join(f"1,{n},{-n},{'ab'[n % 2]}\n" for n in range(20)))
    with pytest.raises(DataError, match=r"none of one.csv can be held out: all begin at the same time; "):
        run_sweep("one.csv", search={"lr": [0.1]}, out="sweep", split_by_time="day", test_fraction=0, **QUICK)


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
    assert json.loads((whole.path / "evaluation.json").read_text()) == {
        "weights": "last weights (epoch 2)",
        "epoch": 2,
        "deciding": None,
        "n": 0,
    }
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


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
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
    assert compared.verdicts == ()
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


# A training that diverges, or guesses


def arms(path: Path, count: int = 20) -> str:
    """Write series like those of GunPoint: an arm is raised and lowered, in class 1 with a dip before and after."""
    random, t = np.random.default_rng(0), np.arange(0.0, 150.0, 3.0)
    x, y = [], np.arange(count) % 2
    for dips in y:
        up, down, width = random.uniform(38, 52), random.uniform(98, 112), random.uniform(3, 6)
        values = 1 / (1 + np.exp(-(t - up) / width)) - 1 / (1 + np.exp(-(t - down) / width))
        for at in (up - 15, down + 15) if dips else ():
            values -= random.uniform(0.08, 0.15) * np.exp(-(((t - at) / 5) ** 2))
        values += random.normal(0, 0.01, len(t))
        x.append((values - values.mean()) / values.std())
    np.savez(path, x=np.array(x, np.float32)[..., None], y=y)
    return str(path)


DIVERGES: dict[str, Any] = {
    "recipe": "images",
    "training_steps": 200,
    "lr": 0.03,
    "hidden_size": 8,
    "test_fraction": 0,
    "val_fraction": 0.0,
}


@pytest.fixture
def _diverging(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 100 steps a loss has risen; when a real one does, a processor's rounding decides."""
    monkeypatch.setattr(Losses, "have_risen", lambda losses, *_: losses.steps >= 100)


@pytest.mark.usefixtures("_diverging")
@pytest.mark.slow
def test_a_training_that_diverges_is_restarted_once_and_resumes_to_the_bit(tmp_path: Path) -> None:
    data, events = arms(tmp_path / "arms.npz"), list[Event]()
    whole = train_run(data, out=tmp_path / "whole", watch=events.append, **DIVERGES)
    (restarted,) = [event for event in events if isinstance(event, Restarted)]
    assert (restarted.steps, restarted.lr) == (100, 0.0075)
    history = read_history(whole.path)
    assert [result.epoch for result in history] == list(range(4, 201, 4))  # those of the first attempt are gone
    assert max(result.lr for result in history) <= 0.0075
    weights = json.loads((whole.path / "evaluation.json").read_text())["weights"]
    assert weights == "last weights (epoch 200), restarted after 100 steps with lr 0.0075"
    for place in (50, 150):  # before and after the restart
        left = iter([False] * place + [True])

        def watch(event: Event, left: Iterator[bool] = left) -> None:
            if isinstance(event, Progress) and next(left):
                raise RuntimeError("stop here")

        with pytest.raises(RuntimeError, match="stop here"):
            train_run(data, out=tmp_path / str(place), checkpoint_seconds=0, watch=watch, **DIVERGES)
        resumed = resume_run(tmp_path / str(place))
        assert (resumed.path / "model.safetensors").read_bytes() == (whole.path / "model.safetensors").read_bytes()
        assert len(read_history(resumed.path)) == 50


@pytest.mark.usefixtures("_diverging")
@pytest.mark.slow
def test_a_restart_is_said_in_one_line(tmp_path: Path, call: Call) -> None:
    flags = [part for name, value in DIVERGES.items() for part in (f"--{name.replace('_', '-')}", value)]
    status, out, err = call("train", "--data", arms(tmp_path / "arms.npz"), *flags, "--out", "run", "--no-report")
    assert (status, err) == (0, "")
    assert "after 100 steps the training loss is back at that of guessing: again from " in out
    assert " with lr 0.0075\n" in out[out.index("again from ") :]


@pytest.mark.slow
def test_noise_for_labels_is_named_and_not_restarted(tmp_path: Path, call: Call) -> None:
    random = np.random.default_rng(0)
    np.savez("noise.npz", x=random.normal(size=(60, 5, 1)).astype("f4"), y=random.integers(0, 2, 60))
    flags = ("--hidden-size", 8, "--training-steps", 600, "--out", "run", "--no-report")
    status, out, err = call("train", "--data", "noise.npz", *flags)
    assert (status, err) == (0, "")
    assert "back at that of guessing" not in out
    assert re.search(
        r"\nno better than the majority class: the interval begins at \d+\.\d\d %; try .* doctor run, ", out
    )


def test_a_run_with_a_budget_keeps_the_steps_and_repeats_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = series(tmp_path / "all.csv", {"a": 8, "b": 8})
    monkeypatch.setattr("unroll.training.budget.seconds_per_step", lambda *_: 2.0)
    run = train_run(data, out=tmp_path / "run", budget="60s", hidden_size=8, recipe="best")
    assert run.config.train is not None
    assert run.config.train.budget == "60s"
    steps = run.config.train.training_steps
    assert steps in (27, 28)  # 57 s at 2 s, less what the clock says of measuring
    monkeypatch.setattr("unroll.training.budget.seconds_per_step", lambda *_: 0.001)
    assert run.config.plan is not None
    again = train_run(data, out=tmp_path / "again", budget="60s", training_steps=steps, hidden_size=8, recipe="best")
    assert (again.path / "model.safetensors").read_bytes() == (run.path / "model.safetensors").read_bytes()
    assert f"--training-steps {steps} --budget 60s" in reproduce(run.config.plan)
