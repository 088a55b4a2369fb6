"""Series from file to prediction: what the commands say of them, and that padding and gaps change nothing else."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unroll
from unroll import DataError, SequenceClassifier, TrainConfig, load, load_run, resume_run, train_run
from unroll.data.describe import describe_data
from unroll.evaluation.predict_files import predict_files
from unroll.plots import class_means, samples
from unroll.runs.config_file import read_plan
from unroll.runs.data import load_test
from unroll.runs.execute import Event
from unroll.training.results import EpochResult

Call = Callable[..., tuple[int, str, str]]
QUICK: dict[str, Any] = {"epochs": 3, "hidden_size": 6, "cell": "gru", "batch_size": 8}
FLAGS = ("--epochs", 2, "--hidden-size", 6, "--cell", "gru")


@pytest.fixture
def stays() -> str:
    """Write stays_train.csv and stays_test.csv: 30 and 10 series of 3 to 9 steps, two features, some values missing."""
    random = np.random.default_rng(0)
    for part, count in (("train", 30), ("test", 10)):
        with open(f"stays_{part}.csv", "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["id", "time", "pulse", "pressure", "label"])
            for number in range(count):
                for time in range(random.integers(3, 10)):
                    pulse = "" if random.random() < 0.2 else round(60 + 9 * (number % 2) + random.normal(), 2)
                    writer.writerow(
                        [f"p{number}", time, pulse, round(100 + time + random.normal(), 2), "AB"[number % 2]]
                    )
    return "stays_train.csv"


def prepared(path: str, train: str, mask: bool) -> list[torch.Tensor]:
    """Read, fill in and scale the series of a CSV file, as the documentation says, without unroll."""

    def series(file: str) -> dict[str, list[list[float]]]:
        found: dict[str, list[list[float]]] = {}
        with open(file) as lines:
            for row in csv.DictReader(lines):
                found.setdefault(row["id"], []).append([float(row[key] or "nan") for key in ("pulse", "pressure")])
        return found

    whole = np.concatenate([np.array(steps) for steps in series(train).values()])
    means = np.nanmean(whole, axis=0)

    def fill(steps: list[list[float]]) -> np.ndarray:
        x = np.array(steps)
        for t in range(len(x)):
            x[t] = np.where(np.isnan(x[t]), x[t - 1] if t else means, x[t])
        return x

    known = np.concatenate([fill(steps) for steps in series(train).values()])
    result = []
    for steps in series(path).values():
        x = (fill(steps) - known.mean(axis=0)) / known.std(axis=0)
        gaps = np.isnan(np.array(steps)).astype(float)
        result.append(torch.tensor(np.concatenate([x, gaps], axis=1) if mask else x, dtype=torch.float32))
    return result


@pytest.mark.parametrize("missing", ["impute", "mask"])
def test_predictions_of_a_file_are_the_model_s(stays: str, missing: Any) -> None:
    run = train_run(stays, missing=missing, **QUICK)
    found = predict_files(run.model, run.preparation, ["stays_test.csv"])
    series = prepared("stays_test.csv", stays, missing == "mask")
    assert [prediction.id for prediction in found] == [f"p{number}" for number in range(10)]
    for prediction, x in zip(found, series, strict=True):
        with torch.no_grad():
            expected = run.model(x[None]).softmax(dim=1)[0]
        assert prediction.label == run.preparation.classes[int(expected.argmax())]
        assert prediction.probability == pytest.approx(float(expected.max()), rel=1e-4)
    right = sum(prediction.label == "AB"[number % 2] for number, prediction in enumerate(found))
    assert run.evaluation is not None
    assert run.evaluation["correct"] == right


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_commands_say_the_same_words_as_for_images(call: Call, stays: str) -> None:
    status, out, err = call("explore", "--data", stays)
    assert (status, err) == (0, "")
    assert "train    30 × up to 9 steps × 2 features, float32; values " in out
    assert "missing  " in out
    assert " in test; filled in (--missing impute)\n" in out
    assert "pulse │" in out
    assert "explored/stays-1/lengths.png" in out

    status, out, err = call("check", "--data", stays, "--missing", "mask", "--batch-size", 8)
    assert (status, err) == (0, "")
    assert " × 4 │ batch × time × features" in out
    assert "padding       " in out

    status, out, err = call("train", "--no-report", "--data", stays, *FLAGS, "--out", "run")
    assert (status, err) == (0, "")
    assert "predict run FILE…\n" in out
    assert call("evaluate", "run")[1].startswith("run on the test split of ")
    assert call("evaluate", "run", "--data", "stays_test.csv")[1].startswith("run on all of stays_test.csv: accuracy ")

    status, out, err = call("predict", "run", "stays_test.csv")
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 10
    assert out.startswith("stays_test.csv, id p0: ")
    assert " time steps" in out
    assert " filled in\n" in out


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_one_object_for_programs(call: Call, stays: str) -> None:
    call("train", "--no-report", "--data", stays, *FLAGS, "--out", "run")
    found = json.loads(call("predict", "run", "stays_test.csv", "no.csv", "--json")[1])["predictions"]
    assert found[0]["file"] == "stays_test.csv"
    assert (found[0]["id"], found[0]["row"], found[0]["line"]) == ("p0", 0, 2)
    assert found[0]["class"] in ("A", "B")
    assert sum(one["probability"] for one in found[0]["top"]) == pytest.approx(1, abs=1e-5)
    assert found[10] == {"file": "no.csv", "error": "cannot read no.csv: No such file or directory"}
    described = json.loads(call("explore", "--data", stays, "--json")[1])
    assert [feature["name"] for feature in described["features"]] == ["pulse", "pressure"]
    assert described["train"]["missing"] == described["features"][0]["missing"] > 0
    assert 0 < json.loads(call("check", "--data", stays, "--json")[1])["padding"] < 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,time,pulse,pressure\n1,0,60,x\n", "new.csv, line 2, column pressure: expected a number, got 'x'"),
        ("id,time,pulse\n1,0,60\n", "new.csv: the run reads the features pulse, pressure; the data has pulse"),
        (
            "a,b\n60,61\n",
            "new.csv has no columns pulse, pressure: expected pulse, pressure, which the run reads, got a, b",
        ),
        ("", "new.csv is empty: expected names of columns"),
    ],
)
def test_a_file_that_cannot_be_predicted(call: Call, stays: str, content: str, message: str) -> None:
    call("train", "--no-report", "--data", stays, *FLAGS, "--out", "run")
    Path("new.csv").write_text(content)
    status, out, err = call("predict", "run", "new.csv", "stays_test.csv")
    assert (status, len(out.splitlines()), len(err.splitlines())) == (2, 10, 1)
    assert err.startswith(f"unroll: {message}")


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_commands_say_what_columns_were_taken_for_and_may_be_told(call: Call) -> None:
    random = np.random.default_rng(0)
    steps = [f"t{t}" for t in range(5)]

    def table(name: str, header: list[str], shift: int = 1) -> None:
        with open(name, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for n in range(40):
                values = dict(zip(steps, (n % 2 + random.normal(size=5)).round(2), strict=True))
                row = {"sample": n, "kind": "ab"[n % 2], "type": "ab"[n % 2], "extra": 7, **values}
                writer.writerow([-1 if key == "t1" and n % 4 == 0 else row[key] for key in header])

    table("w.csv", ["sample", *steps, "kind"])
    flags = ("--label-column", "kind", "--missing-values", "-1")
    read_as = "series in rows of 5 steps, t0 to t4; class: kind; left out: sample"
    status, out, _ = call("train", "--no-report", "--data", "w.csv", *FLAGS, *flags, "--out", "run")
    assert status == 0
    assert read_as in out
    assert "look at  left out: sample (" in out
    assert read_as in call("check", "--data", "w.csv", *flags)[1]
    described = json.loads(call("explore", "--data", "w.csv", *flags, "--json")[1])
    assert described["understood"] == read_as
    saved = json.loads(Path("run/config.json").read_text())
    assert saved["preparation"]["columns"]["missing_values"] == ["-1"]
    assert saved["data"]["label_column"] == "kind"
    expected = load("w.csv", label_column="kind", missing_values=-1).train.preparation
    assert replace(load_run("run").preparation, usual=None) == expected

    table("turned.csv", [*steps[::-1], "extra", "type"])
    status, out, err = call("evaluate", "run", "--data", "turned.csv", "--label-column", "type")
    assert (status, out.startswith("run on all of turned.csv: accuracy ")) == (0, True)
    assert err.splitlines() == [
        "unroll: turned.csv: left out extra, which the run does not read",
        "unroll: turned.csv: its time steps are in another order; they are read by their names",
    ]
    status, out, _ = call("predict", "run", "turned.csv", "--drop-columns", "type")
    assert status == 0
    assert "1 missing value filled in, left out extra, which the run does not read, its time steps" in out
    status, _, err = call("evaluate", "run", "--data", "turned.csv")
    assert (status, "has no column label or class" in err) == (2, True)


def test_gaps_are_neither_counted_nor_drawn(stays: str) -> None:
    for missing in ("impute", "mask"):
        splits = load(stays, missing=missing)  # type: ignore[arg-type]
        found = describe_data(splits)
        with open(stays) as file:
            values = [float(row["pulse"] or "nan") for row in csv.DictReader(file)]
        pulse = found.features[0]
        assert (pulse.minimum, pulse.maximum) == pytest.approx((np.nanmin(values), np.nanmax(values)))
        assert (pulse.mean, pulse.std) == pytest.approx((np.nanmean(values), np.nanstd(values)), rel=1e-5)
        assert pulse.missing == sum(map(math.isnan, values))
        assert found.train.shape == (9, 2)
        lines = [line for ax in samples(splits.train).axes for line in ax.lines]
        assert {len(ax.lines) for ax in class_means(splits.train).axes} == {2}
        assert any(np.isnan(np.asarray(line.get_ydata())).any() for line in lines)


@pytest.mark.parametrize(
    "model",
    [{}, {"bidirectional": True, "readout": "mean"}, {"readout": "attention"}, {"num_layers": 2, "readout": "max"}],
    ids=["fused", "both-mean", "attention", "stack-max"],
)
def test_what_stands_in_the_padding_changes_nothing(model: dict[str, Any]) -> None:
    random = np.random.default_rng(0)
    x, lengths = random.normal(size=(40, 9, 2)), random.integers(1, 10, 40)
    found = []
    for name, padding in (("zeros", 0.0), ("nans", math.nan)):
        x[np.arange(9) >= lengths[:, None]] = padding
        np.savez(f"{name}.npz", x=x, y=np.arange(40) % 2, lengths=lengths)
        splits = load(f"{name}.npz")
        torch.manual_seed(0)
        classifier = SequenceClassifier(2, 2, cell="gru", hidden_size=6, **model)
        losses = [epoch.train_loss for epoch in unroll.fit(classifier, splits, TrainConfig(epochs=2, batch_size=8))]
        found.append((losses, unroll.evaluate(classifier, splits.test).loss, splits.train.preparation))
    assert math.isfinite(found[0][1])
    assert found[0] == found[1]


def test_a_run_is_taken_up_to_the_bit(stays: str) -> None:
    class Stop(KeyboardInterrupt):
        pass

    def stop(event: Event) -> None:
        if isinstance(event, EpochResult):
            raise Stop

    whole = train_run(stays, missing="mask", out="whole", **QUICK)
    with pytest.raises(Stop):
        train_run(stays, missing="mask", out="half", watch=stop, **QUICK)
    again = resume_run("half")
    assert again.preparation == whole.preparation == load_run("half").preparation
    for one, other in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_runs_from_before_there_were_series_still_load() -> None:
    random = np.random.default_rng(0)
    np.savez("old.npz", x=random.normal(size=(40, 5, 2)), y=np.arange(40) % 2)
    run = train_run("old.npz", out="old", **QUICK)
    config = json.loads(Path("old/config.json").read_text())
    del config["preparation"]["missing"], config["preparation"]["features"], config["data"]["missing"]
    Path("old/config.json").write_text(json.dumps(config))
    old = load_run("old")
    assert run.evaluation is not None
    assert unroll.evaluate(old.model, load_test(old).sequences).correct == run.evaluation["correct"]
    assert read_plan("old").reading.missing == "impute"
    np.savez("three.npz", x=random.normal(size=(4, 5, 3)))
    (found,) = predict_files(old.model, old.preparation, ["three.npz"])
    assert found.error == "three.npz: the run reads 2 features per time step, the data has 3"


def test_other_data_is_filled_in_as_the_run_learned_it(stays: str) -> None:
    run = train_run(stays, out="run", **QUICK)
    Path("other.csv").write_text("id,time,pulse,pressure,label\nx,0,,100,B\nx,1,70,101,B\ny,0,65,99,A\n")
    sequences = load_test(run, "other.csv").sequences
    assert run.preparation.missing is not None
    assert sequences.sequence(0)[0, 0] == np.float32(run.preparation.missing.means[0])
    Path("unknown.csv").write_text("id,time,pulse,pressure,label\nx,0,1,100,C\ny,0,65,99,A\n")
    with pytest.raises(DataError, match="the run knows the classes A, B; the data has A, C"):
        load_test(run, "unknown.csv")
