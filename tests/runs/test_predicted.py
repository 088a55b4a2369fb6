"""Answers as a table beside one's own, and the mean of several runs."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import unroll
from unroll import ConfigError, RunError
from unroll.config import DataConfig
from unroll.evaluation.calibration import Calibration
from unroll.evaluation.operating_point import OperatingPoint
from unroll.evaluation.predict_files import FilePrediction, WindowPrediction, predict_sources
from unroll.runs import answer_files
from unroll.runs.answers import check_apart, columns_of
from unroll.runs.artifacts import write_calibration
from unroll.runs.predicted import predict

Call = Callable[..., tuple[int, str, str]]
SERIES = np.random.default_rng(0).normal(size=(5, 4))
NAMES = ["e", "d", "007", "b,c", 'a"']


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two models that nobody has trained, of the same classes in another order, each with its own scaling."""
    folder = tmp_path_factory.mktemp("predicted")
    for seed, (name, classes) in enumerate({"first": ("up", "p(down)", "x"), "second": ("x", "up", "p(down)")}.items()):
        x = np.random.default_rng(seed).normal(seed, 1 + seed, (30, 4, 1)).astype("f4")
        np.savez(folder / "data.npz", x=x, y=np.arange(30) % 3, classes=np.array(classes))
        torch.manual_seed(seed)
        model = unroll.SequenceClassifier(1, 3, cell="gru", hidden_size=4)
        unroll.save(model, folder / name, data=unroll.load(str(folder / "data.npz")).train)
        write_calibration(folder / name, Calibration((1.0,), (0.5 + seed,), 9))
    return folder / "first", folder / "second"


@pytest.fixture
def table() -> Path:
    """Series with ids, and an empty row."""
    frame = pd.DataFrame(SERIES, columns=list("abcd")).assign(id=NAMES)
    text = frame.to_csv(index=False).splitlines(keepends=True)
    Path("new.csv").write_text("".join([*text[:3], ",,,,\n", *text[3:]]))
    return Path("new.csv")


def expected(folder: Path, classes: list[str]) -> np.ndarray:
    """The run's probabilities of the series, in the order of ``classes``."""
    run = unroll.load_run(folder)
    p = run.predict(SERIES.astype("f4")).double().numpy()
    return p[:, [run.preparation.classes.index(name) for name in classes]]


READERS: dict[str, Callable[[str], pd.DataFrame]] = {
    ".csv": lambda name: pd.read_csv(name, dtype={"id": str}),
    ".jsonl": lambda name: pd.read_json(name, lines=True, dtype={"id": str}),
    ".parquet": pd.read_parquet,
}


@pytest.mark.filterwarnings("ignore::unroll.UnrollWarning")
@pytest.mark.parametrize("suffix", READERS)
def test_answers_join_with_the_frame_that_pandas_reads(
    suffix: str, runs: tuple[Path, Path], table: Path, call: Call
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    status, out, _ = call("predict", runs[0], table, "--out", f"answers{suffix}")
    assert (status, out) == (0, f"answers  answers{suffix} (5 rows)\n")
    answers, own = READERS[suffix](f"answers{suffix}"), pd.read_csv(table, dtype={"id": str})
    joined = answers.merge(own, left_on="row", right_index=True)
    assert joined["id_x"].tolist() == joined["id_y"].tolist() == NAMES
    assert answers["row"].tolist() == [0, 1, 3, 4, 5]
    assert answers["line"].tolist() == [2, 3, 5, 6, 7]
    columns = ["p(up)", "p(p(down))", "p(x)"]
    of_model = expected(runs[0], ["up", "p(down)", "x"])
    np.testing.assert_allclose(answers[columns].to_numpy(), of_model, atol=1e-6)
    assert answers["class"].tolist() == [["up", "p(down)", "x"][label] for label in of_model.argmax(axis=1)]
    assert answers["probability"].tolist() == answers[columns].max(axis=1).tolist()
    assert answers["error"].isna().all()


@pytest.mark.filterwarnings("ignore::unroll.UnrollWarning")
def test_the_mean_of_runs_is_that_of_what_each_answers(runs: tuple[Path, Path], table: Path, call: Call) -> None:
    status, out, _ = call("predict", runs[0], table, "none.csv", "--with", runs[1], "--json")
    *answers, missing = json.loads(out)["predictions"]
    classes = ["p(down)", "up", "x"]
    mean = (expected(runs[0], classes) + expected(runs[1], classes)) / 2
    np.testing.assert_allclose([[each["probabilities"][name] for name in classes] for each in answers], mean, atol=1e-6)
    assert [each["class"] for each in answers] == [classes[label] for label in mean.argmax(axis=1)]
    assert [each["top"][0]["probability"] for each in answers] == [each["probability"] for each in answers]
    assert status == 2
    assert set(missing) == {"file", "error"}


@pytest.fixture
def loaded(runs: tuple[Path, Path]) -> list[unroll.Run]:
    """The two, of which the first keeps an operating point that says "unsure" of all."""
    first, second = map(unroll.load_run, runs)
    return [replace(first, operating_point=OperatingPoint(first.preparation.classes, reject=1.0)), second]


@pytest.mark.filterwarnings("ignore::unroll.UnrollWarning")
def test_an_operating_point_decides_for_its_run_alone(loaded: list[unroll.Run], table: Path) -> None:
    alone, mean = answer_files(loaded[0], table), answer_files(loaded, table)
    assert alone["class"].isna().all()
    assert alone["unsure"].all()
    plain = [replace(loaded[0], operating_point=None), loaded[1]]
    pd.testing.assert_frame_equal(mean, answer_files(plain, table))


@pytest.mark.parametrize("settings", [{"id_column": "who"}, {"text_column": "who"}])
def test_columns_are_not_named_for_a_run_on_images(settings: dict[str, str], run: unroll.Run) -> None:
    with pytest.raises(
        ConfigError, match=rf"{next(iter(settings))} \w+ cannot be used with the run's files: it reads images"
    ):
        predict_sources(run.model, run.preparation, [], config=DataConfig(**settings))


def given(monkeypatch: pytest.MonkeyPatch, *of_runs: list[FilePrediction]) -> None:
    """Have each run in turn answer so for a file."""
    answers = iter(of_runs)
    monkeypatch.setattr("unroll.runs.predicted.predict_sources", lambda *_: [next(answers)])


def answer(row: int, unusual: str = "") -> FilePrediction:
    return FilePrediction("f.csv", "up", 0.5, np.array([0.5, 0.25, 0.25], np.float32), row=row, unusual=unusual)


def test_the_mean_of_runs_says_that_no_operating_point_decides(
    loaded: list[unroll.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, [answer(0)], [answer(0)])
    words = f"the operating point of {loaded[0].path} is not used: the mean of runs has none"
    assert predict(loaded, []).warnings == [words]


@pytest.mark.parametrize("count", [1, 2])
def test_what_is_unusual_is_said_of_each_run_where_there_are_several(
    count: int, loaded: list[unroll.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [replace(run, operating_point=None) for run in loaded[:count]]
    given(monkeypatch, *[[answer(0, "too long"), answer(1, "too long")] for _ in asked])
    of_each = ["f.csv: too long"] if count == 1 else [f"f.csv: too long ({run.path})" for run in asked]
    assert predict(asked, []).warnings == of_each


@pytest.mark.parametrize(
    ("second", "error"),
    [
        ([answer(0)], "f.csv is read differently by {0}, as 2 sequences, and {1}, as 1: predict with each alone"),
        ([answer(0), answer(2)], "f.csv is read differently by {0}, as 2 sequences, and {1}, as 2: predict with"),
        ([FilePrediction("f.csv", error="f.csv is broken")], "f.csv is broken ({1})"),
    ],
)
def test_a_file_that_runs_read_differently_has_no_mean(
    second: list[FilePrediction], error: str, loaded: list[unroll.Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    given(monkeypatch, [answer(0), answer(1)], second)
    (found,) = predict(loaded, []).predictions
    assert (found.file, found.probabilities) == ("f.csv", None)
    assert (found.error or "").startswith(error.format(*(run.path for run in loaded)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--out", "answers.xlsx"), "--out must end in .csv, .jsonl, .parquet, got answers.xlsx"),
        (("--out", "none/answers.csv"), "cannot write none/answers.csv: the folder none does not exist"),
        (("--out", "there.csv"), "there.csv exists; choose another --out, or replace it with --overwrite"),
        (("--out", "new.csv", "--overwrite"), "new.csv is one of the files to classify: choose another --out"),
        ((".", "--out", "more.csv"), "more.csv lies in ., where it would be classified the next time"),
        (("--overwrite",), "--overwrite is for the file at --out: name one"),
        (("--with", "images"), "must read the same kind of data to be averaged, got series and images"),
        (("--with", "two"), "must have the same classes to be averaged: only {run} has p(down); only two has down"),
        (("--with", "{run}/../first"), "{run}/../first is given twice: leave one out"),
        (("--with", "{other}", "--with", "{other}"), "{other} is given twice: leave one out"),
        (("--with", "{other}", "--stop-at", 0.9), "--stop-at needs a single run: leave out --with"),
        (("--ovrewrite",), "unknown option --ovrewrite; a file of that name is ./--ovrewrite; did you mean"),
        (("-", "-"), "- is given twice: standard input can be read once"),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_written(
    words: tuple[Any, ...], message: str, runs: tuple[Path, Path], table: Path, call: Call, small: unroll.Splits
) -> None:
    Path("there.csv").write_text("mine")
    if "images" in words:
        unroll.save(unroll.SequenceClassifier(28, 10, hidden_size=4), "images", data=small.train)
    if "two" in words:
        np.savez("two.npz", x=SERIES[..., None], y=[0, 1, 2, 0, 1], classes=["up", "down", "x"])
        data = unroll.load("two.npz", test_fraction=0).train
        unroll.save(unroll.SequenceClassifier(1, 3, hidden_size=4), "two", data=data)
    before = sorted(Path().rglob("*"))
    named = {"run": runs[0], "other": runs[1]}
    status, out, err = call("predict", runs[0], table, *(str(word).format(**named) for word in words))
    assert (status, out) == (2, "")
    assert message.format(**named) in err
    assert err.count("\n") == 1
    assert (sorted(Path().rglob("*")), Path("there.csv").read_text()) == (before, "mine")


def test_without_files_it_says_what_the_run_reads(runs: tuple[Path, Path], call: Call) -> None:
    err = f"unroll: {runs[0]} has nothing to classify: it reads series, so name files of such, or - for a pipe\n"
    assert call("predict", runs[0]) == (2, "", err)


def test_images_of_a_folder_are_called_by_their_paths(run: unroll.Run, call: Call, sample: unroll.Splits) -> None:
    names = ["a/10.png", "a/9.png", "a/broken.png", "b/0.png"]
    for name, image in zip(names, sample.test.images(), strict=False):
        Path("digits", name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.numpy()).save(Path("digits", name))
    Path("digits/a/broken.png").write_text("no image")
    status, _, err = call("predict", run.path, "digits", "--out", "digits/answers.csv")
    assert status == 2
    assert err.startswith("unroll: digits/a/broken.png")
    answers = pd.read_csv("digits/answers.csv")
    assert answers["id"].tolist() == names
    assert answers["file"].tolist() == [f"digits/{name}" for name in names]
    assert answers["error"].notna().tolist() == answers["class"].isna().tolist() == [False, False, True, False]
    assert answers["row"].isna().all()


@pytest.mark.filterwarnings("ignore::unroll.UnrollWarning")
def test_a_dash_is_standard_input(
    runs: tuple[Path, Path], table: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(table.read_bytes())))
    of_pipe = json.loads(call("predict", runs[0], "-", "--json")[1])["predictions"]
    of_file = json.loads(call("predict", runs[0], table, "--json")[1])["predictions"]
    assert of_pipe == [{**each, "file": "-"} for each in of_file]


P = np.array([0.25, 0.75], np.float32)
WINDOW = WindowPrediction(0, "b", 0.75, P)
ALWAYS = {"file", "row", "line", "id", "class", "probability", "error", "p(a)", "p(b)"}


@pytest.mark.parametrize(
    ("prediction", "column", "cells"),
    [
        (FilePrediction("f.csv", windows=(WINDOW, WINDOW)), "windows", [None, 2]),
        (FilePrediction("f.csv", start=0), "start", [None, 0]),
        (FilePrediction("f.csv", read=3), "read", [None, 3]),
        (FilePrediction("f.csv", unsure=False), "unsure", [None, False]),
    ],
)
def test_a_column_is_there_where_a_row_has_a_value(prediction: FilePrediction, column: str, cells: list[Any]) -> None:
    columns = columns_of([FilePrediction("f.csv", error="it is empty"), prediction], ["a", "b"])
    assert columns.keys() - ALWAYS == {column}
    assert columns[column] == cells


@pytest.mark.parametrize(
    ("column", "cells"),
    [
        ("file", ["f.npz", "\\udcff.npz"]),  # a name with a byte that is not UTF-8
        ("row", [7, None]),
        ("line", [9, None]),
        ("id", ["\\udcff", None]),
        ("class", ["b", None]),
        ("probability", [0.75, None]),
        ("error", [None, "cannot read \\udcff.npz"]),
        ("p(a)", [0.25, None]),
        ("p(b)", [0.75, None]),
    ],
)
def test_a_cell_holds_what_was_answered_and_is_empty_without_an_answer(column: str, cells: list[Any]) -> None:
    read = FilePrediction("f.npz", "b", 0.75, P, row=7, line=9, id="\udcff")
    unread = FilePrediction("\udcff.npz", error="cannot read \udcff.npz")
    assert columns_of([read, unread], ["a", "b"])[column] == cells


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({}, {}),
        ({"row": 0, "line": 1, "id": "x", "text": "a film"}, {"row": 0, "line": 1, "id": "x", "text": "a film"}),
        ({"start": 0}, {"start": 0}),
        ({"read": 3}, {"read": 3}),
        ({"unsure": False}, {"unsure": False}),
        (
            {"windows": (WINDOW,)},
            {"windows": [{"start": 0, "class": "b", "probability": 0.75, "probabilities": {"a": 0.25, "b": 0.75}}]},
        ),
    ],
)
def test_an_answer_in_json_tells_what_there_is(more: dict[str, Any], told: dict[str, Any]) -> None:
    top = (("b", 0.75), ("a", 0.25))
    always = {
        "file": "f.csv",
        "class": "b",
        "probability": 0.75,
        "probabilities": {"a": 0.25, "b": 0.75},
        "top": [{"class": "b", "probability": 0.75}, {"class": "a", "probability": 0.25}],
        "preparation": ["scaled"],
    }
    answer = FilePrediction("f.csv", "b", 0.75, P, top, ("scaled",), **more)
    assert answer.to_dict(["a", "b"]) == always | told


@pytest.mark.parametrize(("folder", "out"), [("in", "answers.csv"), ("in", "in.csv"), ("in", "in/answers.jsonl")])
def test_answers_may_lie_where_they_are_not_classified_the_next_time(folder: str, out: str) -> None:
    Path(folder).mkdir()
    check_apart(Path(out), [folder, "other.csv"], [], "series")


@pytest.mark.parametrize("out", ["in/answers.csv", "in/deep/answers.CSV", "other/../in/answers.csv"])
def test_answers_must_not_lie_where_they_would_be_classified_the_next_time(out: str) -> None:
    Path("in/deep").mkdir(parents=True)
    with pytest.raises(RunError, match=f"{out} lies in in, where it would be classified the next time"):
        check_apart(Path(out), ["other.csv", "in"], [], "series")
