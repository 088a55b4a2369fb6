"""A run that was trained on windows answers per window and per recording, the same wherever it is asked."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import unroll
from served import client
from unroll.config import OperatingConfig
from unroll.evaluation.operating_point import OperatingPoint
from unroll.evaluation.recordings import classes_of_recordings, pooled
from unroll.evaluation.significance import wilson
from unroll.export.description import describe
from unroll.export.verify import check
from unroll.report import results, write_report
from unroll.report.section import Table
from unroll.runs.artifacts import read_predictions
from unroll.runs.data import load_test
from unroll.server import Served

Call = Callable[..., tuple[int, str, str]]
WINDOW, STRIDE = 12, 5


def walks(count: int, seed: int = 0, steps: int = 40) -> list[np.ndarray]:
    """Return recordings, (steps, 2): waves, fast and slow in turn, on a level of their own."""
    random = np.random.default_rng(seed)
    times = np.arange(steps)[:, None]
    waves = [
        np.sin(times * (0.4 + 0.5 * (n % 2)) + random.uniform(0, 6, 2)) + random.normal(0, 1, 2) for n in range(count)
    ]
    return [(wave + random.normal(0, 0.2, wave.shape)).round(4) for wave in waves]


def write(path: Path, each: list[np.ndarray]) -> Path:
    rows = ["id,time,a,b,label"]
    for number, walk in enumerate(each):
        rows += [f"w{number},{t},{a},{b},{'xy'[number % 2]}" for t, (a, b) in enumerate(walk.tolist())]
    path.write_text("\n".join(rows))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a table and a run on its windows."""
    path = tmp_path_factory.mktemp("windows")
    unroll.train_run(
        str(write(path / "walks.csv", walks(20))),
        out=path / "run",
        window=WINDOW,
        stride=STRIDE,
        recipe="images",
        cell="gru",
        hidden_size=5,
        epochs=4,
        batch_size=8,
        val_fraction=0.2,
    )
    return path


@pytest.fixture
def new(tmp_path: Path) -> Path:
    return write(tmp_path / "new.csv", [*walks(3, seed=1, steps=31), walks(1, seed=2, steps=7)[0]])


def by_hand(run: unroll.Run, recording: np.ndarray) -> tuple[list[int], torch.Tensor]:
    """Return where the windows of a recording begin, and the probabilities of each, windows given as arrays."""
    last = max(0, len(recording) - WINDOW)
    starts = [*range(0, last, STRIDE), last]
    values = [torch.from_numpy(recording[start : start + WINDOW]).float() for start in starts]
    scaling, temperature = run.preparation.scaling, run.calibration.temperature if run.calibration else 1.0
    with torch.no_grad():
        logits = torch.cat([run.single("a test")(scaling.apply(window[None])) for window in values])
    return starts, (logits / temperature).softmax(dim=1)


def test_an_array_gets_the_mean_of_the_answers_for_its_windows(folder: Path) -> None:
    run, raw = unroll.load_run(folder / "run"), [*walks(4, seed=1, steps=31), walks(1, seed=2, steps=7)[0]]
    expected = torch.stack([by_hand(run, recording)[1].mean(dim=0) for recording in raw])
    assert run.predict(raw).sub(expected).abs().max() < 1e-6
    test = load_test(run).sequences
    assert len(run.predict(test)) == len(test) > 4  # of windows, each is an example


def test_files_and_the_server_answer_as_arrays_do(folder: Path, new: Path, call: Call, tmp_path: Path) -> None:
    run, raw = unroll.load_run(folder / "run"), [*walks(3, seed=1, steps=31), walks(1, seed=2, steps=7)[0]]
    expected = run.predict(raw)
    status, out, _ = call("predict", folder / "run", new, "--json")
    answers = json.loads(out)["predictions"]
    assert (status, len(answers)) == (0, 4)
    with client(Served("walks", run, "")) as asked:
        body = {"sequences": [recording.tolist() for recording in raw]}
        served = asked.post("/predict", json=body).json()["predictions"]
        too_long = asked.post("/stream", json={"steps": raw[0].tolist()}).json()["error"]
        assert "reads windows of 12 time steps: expected at most one in a stream, got 31" in too_long
        assert asked.post("/stream", json={"steps": raw[0][:WINDOW].tolist()}).status_code == 200
    for recording, mean, in_file, in_request in zip(raw, expected, answers, served, strict=True):
        starts, of_each = by_hand(run, recording)
        for answer in (in_file, in_request):
            assert torch.tensor([*answer["probabilities"].values()]).sub(mean).abs().max() < 1e-6
            assert [window["start"] for window in answer["windows"]] == starts
            given = torch.tensor([[*window["probabilities"].values()] for window in answer["windows"]])
            assert given.sub(of_each).abs().max() < 1e-6
    assert call("predict", folder / "run", new, "--out", tmp_path / "a.csv")[0] == 0
    assert call("predict", folder / "run", new, "--out", tmp_path / "b.csv", "--windows")[0] == 0
    recordings, windows = (list(csv.DictReader((tmp_path / f"{name}.csv").read_text().splitlines())) for name in "ab")
    assert [(row["id"], row["windows"]) for row in recordings] == [("w0", "5"), ("w1", "5"), ("w2", "5"), ("w3", "1")]
    assert [(row["id"], row["start"]) for row in windows] == [
        *((f"w{number}", str(start)) for number in range(3) for start in (0, 5, 10, 15, 19)),
        ("w3", "0"),
    ]


def test_the_accuracy_is_given_per_window_and_per_recording(folder: Path, call: Call) -> None:
    run, test = unroll.load_run(folder / "run"), load_test(unroll.load_run(folder / "run")).sequences
    saved = json.loads((folder / "run" / "evaluation.json").read_text())
    assert (saved["n"], saved["recordings"]["n"]) == (4 * 7, 4)
    names = sorted(set(test.origins.names if test.origins else ()))
    raw = {f"w{number}": walk for number, walk in enumerate(walks(20))}
    labels = run.predict([raw[name] for name in names]).argmax(dim=1)
    correct = sum(label == int(name[1:]) % 2 for name, label in zip(names, labels.tolist(), strict=True))
    low, high = wilson(correct, 4)
    expected = {"n": 4, "correct": correct, "accuracy": correct / 4, "interval": [low, high]}
    assert saved["recordings"] == expected
    status, out, _ = call("evaluate", folder / "run", "--json")
    assert (status, json.loads(out)["recordings"]) == (0, expected)
    predictions = read_predictions(folder / "run", run.preparation.classes)
    assert predictions is not None
    assert predictions.evaluated(run.calibration).to_dict()["recordings"] == expected
    status, out, _ = call("evaluate", folder / "run")
    assert f"{correct} of 4 recordings correct, each by the mean probabilities of its windows" in out


def test_train_prints_the_accuracy_per_recording_as_evaluate_does(folder: Path, call: Call, tmp_path: Path) -> None:
    words = ("--window", WINDOW, "--hidden-size", 3, "--training-steps", 2, "--out", tmp_path / "run", "--json")
    status, out, _ = call("train", "--data", folder / "walks.csv", *words)
    evaluated = json.loads(call("evaluate", tmp_path / "run", "--json")[1])
    assert (status, json.loads(out)["recordings"]) == (0, evaluated["recordings"])


def test_a_comparison_says_that_windows_are_no_independent_tests(folder: Path, call: Call, tmp_path: Path) -> None:
    settings = unroll.load_run(folder / "run").config.plan
    assert settings is not None
    own = {"recipe": "images", "cell": "rnn", "hidden_size": 3, "epochs": 1}
    second = unroll.train_run(settings.data, out=tmp_path / "second", window=WINDOW, stride=STRIDE, **own)
    status, out, err = call("compare", folder / "run", second.path)
    assert (status, err) == (0, "")
    words = "windows of one recording are counted as independent, so p is too small"
    assert words in out
    status, out, err = call("baseline", second.path, "--json")
    assert (status, json.loads(out)["comparison"].endswith(f"; {words}")) == (0, True)


def test_an_operating_point_is_measured_per_window_and_per_recording(folder: Path, call: Call) -> None:
    run = unroll.load_run(folder / "run")
    test = load_test(run).sequences
    words = ("evaluate", folder / "run", "--threshold", 0.45, "--positive", "y")
    answered = json.loads(call(*words, "--json")[1])["operating_point"]
    raw = {f"w{number}": walk for number, walk in enumerate(walks(20))}
    names = sorted(set(test.origins.names if test.origins else ()))
    positive = (run.predict([raw[name] for name in names])[:, 1] >= 0.45).tolist()
    counts = [[0, 0, 0], [0, 0, 0]]
    for name, label in zip(names, positive, strict=True):
        counts[int(name[1:]) % 2][int(label)] += 1
    assert (answered["test"]["n"], answered["recordings"]["counts"]) == (28, counts)
    assert "│ test, 28 windows │ test, 4 recordings │" in " ".join(call(*words)[1].replace("┃", "│").split())


def test_a_threshold_is_chosen_by_what_recordings_are_answered(folder: Path, call: Call, tmp_path: Path) -> None:
    run = unroll.load_run(shutil.copytree(folder / "run", tmp_path / "run"))
    assert run.config.train is not None
    splits = unroll.load(folder / "walks.csv", window=WINDOW, stride=STRIDE)
    _, val = splits.train.cut(0.2, run.config.train.seed)
    assert val.origins is not None
    names = sorted(set(val.origins.names))
    p = run.predict([walks(20)[int(name[1:])] for name in names])[:, 1].double()
    of_y = sorted((v for v, name in zip(p.tolist(), names, strict=True) if int(name[1:]) % 2), reverse=True)
    words = ("evaluate", run.path, "--at-recall", 0.5, "--positive", "y")
    status, out, err = call(*words, "--keep")
    assert status == 0
    assert f"the threshold was chosen by {len(of_y)} validation recordings of 'y', which are few" in err
    assert "(at recall 0.5 of recordings)" in out
    assert f"validation, {len(names)} recordings" in out
    point = unroll.load_run(run.path).operating_point
    assert point is not None
    assert point.threshold == pytest.approx(of_y[(len(of_y) + 1) // 2 - 1], abs=2e-6)
    assert point.validation is not None
    assert (point.counted, point.validation.n, point.validation.positives) == ("recordings", len(names), len(of_y))
    predictions = read_predictions(run.path, run.preparation.classes)
    assert predictions is not None
    (section,) = results.operating_point(predictions, unroll.load_run(run.path))
    (table,) = section.parts
    assert isinstance(table, Table)
    assert table.headings == ("", "validation, per recording", "test", "test, per recording")
    assert f"{len(names)} recordings of validation, 28 windows of test, 4 recordings of test" in table.caption


def test_a_threshold_is_chosen_by_windows_where_a_recording_is_of_two_classes() -> None:
    p = torch.tensor([0.9, 0.7, 0.2, 0.4])
    judged = torch.stack([1 - p, p], dim=1), torch.tensor([1, 1, 0, 0])
    config = OperatingConfig(at_recall=1, positive="b")
    for recordings, counted, threshold in (([0, 0, 1, 1], "recordings", 0.8), ([0, 1, 1, 1], "windows", 0.7)):
        point = OperatingPoint.choose(config, "ab", None, judged, torch.tensor(recordings))
        assert point.counted == counted
        assert point.threshold == pytest.approx(threshold, abs=2e-6)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_the_report_names_windows_by_their_start_and_promises_no_early_stop(folder: Path, tmp_path: Path) -> None:
    run = unroll.load_run(folder / "run")
    test = load_test(run)
    assert test.sequences.origins is not None
    predictions = read_predictions(folder / "run", run.preparation.classes)
    assert predictions is not None
    page = write_report(run, test, out=tmp_path / "report").path.read_text()
    assert "--stop-at 0.95" not in page
    wrong = (~predictions.right).nonzero()[:, 0].tolist()
    assert wrong
    assert test.sequences.origins.windows is not None
    row = re.search(r"<th[^>]*>start</th>.*?<tbody>?(.*?)</table>", page, re.DOTALL)
    assert row is not None
    listed = {tuple(re.findall(r"<td[^>]*>([^<]*)</td>", line)[-2:]) for line in row[1].split("</tr>")}
    places = {(test.sequences.origins.names[n], str(test.sequences.origins.windows[n, 1])) for n in wrong}
    assert places >= listed - {()} > set()


def test_all_windows_of_a_recording_are_in_one_fold(folder: Path) -> None:
    folds = unroll.load(str(folder / "walks.csv"), window=WINDOW, stride=STRIDE, fold="1/4").folds
    assert folds is not None
    assert folds.origins is not None
    held = [{folds.origins.names[place] for place in folds.cut(number)[1]} for number in range(1, 5)]
    assert [len(names) for names in held] == [folds.groups(number) for number in range(1, 5)] == [5] * 4
    assert len(set.union(*held)) == 20


def test_windows_may_change_class_and_recordings_that_do_are_not_counted(folder: Path, new: Path, call: Call) -> None:
    lines = new.read_text().splitlines()
    new.write_text("\n".join([*lines[:16], *(line[:-1] + "y" for line in lines[16:32]), *lines[32:]]))
    status, out, err = call("evaluate", folder / "run", "--data", new, "--json")
    found = json.loads(out)
    assert (status, found["n"], found["recordings"]["n"]) == (0, 14, 3)
    assert "2 of 16 windows are left out: their time steps are of more than one class" in err
    assert call("predict", folder / "run", new)[0] == 0


def test_the_page_reads_one_window(folder: Path) -> None:
    run = unroll.load_run(folder / "run")
    test = load_test(run).sequences
    described = describe(run, test, "walks")
    assert described.content["preparation"]["time_steps"]["max_length"] == WINDOW
    assert check(run, test, described).difference < 1e-5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--stop-at", 0.9), "stop_at 0.9 needs sequences that are read alone, the run reads windows of 12 steps"),
        (("--windows",), "--windows is for the file at --out, without --with; --json has the windows too"),
    ],
)
def test_what_needs_whole_sequences_is_refused(
    folder: Path, new: Path, call: Call, words: tuple[object, ...], message: str
) -> None:
    status, _, err = call("predict", folder / "run", new, *words)
    assert (status, message in err) == (2, True)


def test_a_recording_is_pooled_by_its_number_wherever_its_windows_stand() -> None:
    probabilities, numbers = torch.tensor([[1.0, 0], [0.5, 0.5], [0, 1], [0.2, 0.8]]), torch.tensor([7, 3, 7, 3])
    assert pooled(probabilities, numbers).sub(torch.tensor([[0.35, 0.65], [0.5, 0.5]])).abs().max() < 1e-6
    assert classes_of_recordings(torch.tensor([0, 1, 2, 1]), numbers).tolist() == [1, -1]


def test_folds_divide_no_recording_and_out_of_fold_answers_say_which_window(folder: Path, tmp_path: Path) -> None:
    settings = {"window": WINDOW, "stride": STRIDE, "recipe": "images", "cell": "rnn", "hidden_size": 2, "epochs": 1}
    done = unroll.cross_validate(str(folder / "walks.csv"), folds=2, out=tmp_path / "cv", **settings)
    assert (done.cut, [result.groups for result in done.results]) == ("recording", [10, 10])
    with (tmp_path / "cv" / "oof.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    folds = {row["id"]: row["fold"] for row in rows}
    assert all(folds[row["id"]] == row["fold"] for row in rows)
    starts = [*range(0, 40 - WINDOW, STRIDE), 40 - WINDOW]
    assert [(row["id"], int(row["start"])) for row in rows] == [(f"w{n}", start) for n in range(20) for start in starts]


def test_a_frame_whose_class_changes_is_evaluated_as_its_file(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [(f"r{n}", t, random.normal(), "ab"[t // 10 % 2]) for n in range(6) for t in range(30)]
    frame = pd.DataFrame(rows, columns=["id", "time", "x", "label"])
    frame.to_csv(tmp_path / "t.csv", index=False)
    settings = {"recipe": "images", "cell": "rnn", "hidden_size": 2, "epochs": 1}
    run = unroll.train_run(str(tmp_path / "t.csv"), out=tmp_path / "run", window=5, stride=5, **settings)
    whole = load_test(run, frame)
    assert (whole.part, whole.sequences.fingerprint()) == ("test", load_test(run).sequences.fingerprint())
