"""A run on recordings that were too fine reads what it is given like its training data: at one rate, averaged, cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unroll
from served import client
from unroll.errors import DataError, RunError
from unroll.evaluation.predict_files import predict_files, predict_texts
from unroll.export.description import describe
from unroll.export.verify import check
from unroll.runs.data import load_test
from unroll.server import Served

Call = Callable[..., tuple[int, str, str]]
Walk = tuple[np.ndarray, np.ndarray]
QUICK: dict[str, Any] = {"epochs": 2, "hidden_size": 5, "recipe": "images", "batch_size": 8}


def walks(rate: float, seed: int = 0, count: int = 40) -> list[Walk]:
    """Return sines of two frequencies at about ``rate`` steps a second, for 1 to 3 seconds, with gaps."""
    random, series = np.random.default_rng(seed), list[Walk]()
    for number in range(count):
        times = (random.uniform(0.5, 1.5, int(random.uniform(1, 3) * rate)) / rate).cumsum().round(5)
        values = np.sin(times * (4 + 3 * (number % 2)))[:, None] + np.array([0, 1])
        values[random.random(values.shape) < 0.02] = np.nan
        series.append((times, values.round(5)))
    return series


def write(path: Path, series: list[Walk]) -> Path:
    rows = ["id,time,a,b,label"]
    for number, (times, values) in enumerate(series):
        for time, step in zip(times.tolist(), values.tolist(), strict=True):
            rows.append(f"{number},{time},{','.join('' if np.isnan(v) else str(v) for v in step)},{'xy'[number % 2]}")
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table, and a run that reads it at 20 Hz, two steps as one, at most 25."""
    path = tmp_path_factory.mktemp("walks")
    unroll.train_run(
        str(write(path / "walks.csv", walks(100))),
        out=path / "run",
        missing="mask",
        resample="20Hz",
        every=2,
        max_length=25,
        **QUICK,
    )
    return path


def listed(values: np.ndarray) -> list[list[float | None]]:
    return [[None if np.isnan(v) else v for v in step] for step in values.tolist()]


def test_files_arrays_server_and_page_agree(folder: Path) -> None:
    run, series = unroll.load_run(folder / "run"), walks(100)
    saved = json.loads((run.path / "config.json").read_text())
    rule = {"time_step": 0.05, "every": 2, "max_length": 25, "window": None, "stride": None}
    assert saved["preparation"]["time_steps"] == rule
    assert (saved["data"]["resample"], saved["data"]["every"], saved["data"]["max_length"]) == ("20Hz", 2, 25)
    values, times = [x for _, x in series], [t for t, _ in series]
    expected = run.predict(values, times=times)
    answers = predict_files(run.model, run.preparation, [folder / "walks.csv"])
    by_file = [answer.probability for answer in sorted(answers, key=lambda answer: int(answer.id or ""))]
    longest = max(map(len, values))
    padded = np.zeros((len(values), longest, 2))
    clocks = np.zeros((len(values), longest))
    for number, (own, clock) in enumerate(zip(values, times, strict=True)):
        padded[number, : len(own)], clocks[number, : len(own)] = own, clock
    assert torch.equal(run.predict(padded, list(map(len, values)), clocks), expected)
    test = load_test(run)
    on_page = check(run, test.sequences, describe(run, test.sequences, "walks"))
    assert on_page.checked == len(test.sequences)
    assert on_page.difference < 1e-5
    with client(Served("walks", run, "")) as asked:
        body = {"sequences": list(map(listed, values)), "times": [t.tolist() for t in times]}
        found = asked.post("/predict", json=body).json()["predictions"]
    by_server = torch.tensor([list(answer["probabilities"].values()) for answer in found])
    assert by_server.sub(expected).abs().max() < 1e-5
    # Grouped as for training, files may be read in other batches.
    calibrated = predict_files(run.model, run.preparation, [folder / "walks.csv"], _sure(run))
    by_file = [answer.probability for answer in sorted(calibrated, key=lambda answer: int(answer.id or ""))]
    np.testing.assert_allclose(by_file, expected.max(dim=1).values.numpy(), atol=1e-5)


def _sure(run: unroll.Run) -> Any:
    from unroll.evaluation.predict_files import Sure

    return Sure(run.calibration)


@pytest.mark.parametrize("rate", [50, 400])
def test_another_rate_is_read_like_that_of_the_training_data(
    rate: int, folder: Path, call: Call, tmp_path: Path
) -> None:
    run = unroll.load_run(folder / "run")
    file = write(tmp_path / "w.csv", walks(rate, seed=1))
    status, out, err = call("predict", run.path, file, "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["warnings"] == []
    status, out, _ = call("evaluate", run.path, "--data", file, "--json")
    assert status == 0
    assert json.loads(out)["warnings"] == []


def test_what_has_no_times_is_refused_on_one_line(folder: Path, call: Call, tmp_path: Path) -> None:
    run = unroll.load_run(folder / "run")
    x = np.random.default_rng(0).normal(size=(4, 30, 2))
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(4) % 2, classes=np.array(["x", "y"]))
    message = (
        "the series have no times, by which the run resamples to a time step of 0.05: expected the time of each step"
    )
    for words in (("predict", run.path, tmp_path / "d.npz"), ("evaluate", run.path, "--data", tmp_path / "d.npz")):
        status, _, err = call(*words)
        assert status == 2
        assert message in err
        assert err.count("\n") == 1
    with pytest.raises(DataError, match=message):
        run.predict(x)
    for times, words in (
        (np.zeros((3, 30)), "times must be those of 4 series, got 3"),
        (np.zeros((4, 29)), r"times of series 0 must have shape \(30,\), got \(29,\)"),
        (-np.arange(120).reshape(4, 30), "times of series 0 must be ascending numbers"),
        ([["a"] * 30] * 4, "times must hold numbers"),
    ):
        with pytest.raises(DataError, match=words):
            run.predict(x, times=times)
    with client(Served("walks", run, "")) as asked:
        body: dict[str, Any] = {"sequences": x.tolist()}
        assert message in asked.post("/predict", json=body).json()["error"]
        huge = asked.post("/predict", json=body | {"times": [[float(t * 100) for t in range(30)]] * 4})
        assert huge.status_code == 422
        assert "at a time step of 0.05, 4 sequences have up to 58,001 time steps" in huge.json()["error"]
        stream = asked.post("/stream", json={"steps": [[0.0, 1.0]]}).json()["error"]
        assert stream.startswith(
            "the run walks is trained on values interpolated at a time step of 0.05, the mean of each 2"
        )
        assert stream.endswith("cannot stream: use /predict")


def test_times_are_refused_where_nothing_is_resampled(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 14, 2))
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(40) % 2)
    run = unroll.train_run(str(tmp_path / "d.npz"), max_length=10, out=tmp_path / "run", **QUICK)
    with pytest.raises(DataError, match="times are for a run that resamples series, this one does not: leave them out"):
        run.predict(np.zeros((1, 3, 2)), times=[[0, 1, 2]])
    with client(Served("d", run, "")) as asked:
        refused = asked.post("/predict", json={"sequences": [[[0.0, 1.0]]], "times": [[0.0]]}).json()["error"]
        assert refused == "the run d does not resample series: leave times out"
        assert asked.post("/stream", json={"steps": [[0.0, 1.0]] * 10}).json()["read"] == 10
        refused = asked.post("/stream", json={"steps": [[0.0, 1.0]] * 11}).json()["error"]
        assert refused.startswith("the run d reads the first 10 time steps of each sequence: expected at most as many")
    assert torch.equal(run.predict(x), run.predict(x[:, :10]))


@pytest.mark.slow
def test_texts_are_cut_alike_wherever_they_are_read(tmp_path: Path) -> None:
    texts = [f"{'good' if number % 2 else 'bad'} film {'very ' * (number % 5)}long" for number in range(40)]
    lines = [f"{text}\t{'ab'[number % 2]}" for number, text in enumerate(texts)]
    (tmp_path / "t.tsv").write_text("\n".join(["text\tlabel", *lines]))
    run = unroll.train_run(str(tmp_path / "t.tsv"), max_length=3, bidirectional=False, out=tmp_path / "run", **QUICK)
    expected = run.predict(texts)
    assert torch.equal(expected, run.predict([" ".join(text.split()[:3]) for text in texts]))
    (answer,) = predict_texts(run.model, run.preparation, ["good film very long"])
    assert answer.steps == ("3 tokens", "1 of 1 texts is cut to the first 3 tokens")
    test = load_test(run)
    assert check(run, test.sequences, describe(run, test.sequences, "t")).difference < 1e-5
    with client(Served("t", run, "")) as asked:
        found = asked.post("/predict", json={"texts": texts}).json()["predictions"]
        by_server = torch.tensor([list(answer["probabilities"].values()) for answer in found])
        assert by_server.sub(expected).abs().max() < 1e-5
        state = asked.post("/stream", json={"text": "good film"}).json()["state"]
        for body in ({"state": state, "text": "very long"}, {"text": "a good film again"}):
            refused = asked.post("/stream", json=body).json()["error"]
            assert refused.startswith("the run t reads the first 3 tokens of each sequence")


def test_a_damaged_rule_is_named(folder: Path, tmp_path: Path) -> None:
    content = json.loads((folder / "run" / "config.json").read_text())
    path = tmp_path / "run"
    path.mkdir()
    for wrong, message in (
        ({"every": 0}, "every must be a whole number of at least 1, got 0"),
        ({"time_step": "fast"}, "time_step must be a number above 0, got 'fast'"),
        ({"max_length": 2.5}, "max_length must be a whole number of at least 1, got 2.5"),
        ({"rate": 1}, "is broken"),
    ):
        content["preparation"]["time_steps"] = wrong
        (path / "config.json").write_text(json.dumps(content))
        with pytest.raises(RunError, match=message):
            unroll.load_run(path)
