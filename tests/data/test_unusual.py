"""Data unlike what a run was trained on is remarked upon, ordinary data never."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch

import unroll
from unroll.data.preparation import Preparation, Scaling
from unroll.data.raw import prepare_series, prepare_texts
from unroll.data.sequences import SequenceData
from unroll.data.tokenizer import Tokenizer
from unroll.data.unusual import measure, nothing_seen, seen_with, unusual, unusual_stream
from unroll.data.usual import Usual
from unroll.errors import DataError, UnrollWarning

Call = Callable[..., tuple[int, str, str]]
QUICK = ("--no-report", "--epochs", 1, "--hidden-size", 4)


def prepared(splits: unroll.Splits) -> tuple[SequenceData, Preparation]:
    """Return the test part and the preparation as a run has them."""
    preparation = replace(splits.train.preparation, usual=measure(splits.train))
    return splits.test.prepared_as(preparation), preparation


def steps(n: int = 200, time: int = 40, seed: int = 0) -> np.ndarray:
    """Return heights in mm about 1,700 and zero-mean accelerations, (n, time, 2)."""
    random = np.random.default_rng(seed)
    heights = 1700 + random.normal(0, 80, (n, 1)) + random.normal(0, 10, (n, time))
    swings = random.uniform(300, 900, (n, 1)) * np.sin(np.arange(time) * random.uniform(0.3, 1, (n, 1)))
    return np.stack([heights, swings], axis=2)


@pytest.fixture
def walks(tmp_path: Path) -> unroll.Splits:
    np.savez(tmp_path / "walks.npz", x=steps(), y=np.arange(200) % 2)
    return unroll.load(tmp_path / "walks.npz")


def table(name: str, x: np.ndarray, every: float = 0.02) -> str:
    rows = ["id,time,height,swing,label"]
    for number, series in enumerate(x):
        rows += [f"{number},{step * every:g},{a:g},{b:g},{'ab'[number % 2]}" for step, (a, b) in enumerate(series)]
    Path(name).write_text("\n".join(rows))
    return name


def said(x: np.ndarray, preparation: Preparation) -> str:
    return unusual(prepare_series("x", list(x), x.shape[2], preparation))


def test_ordinary_series_are_not_remarked_upon(walks: unroll.Splits) -> None:
    test, preparation = prepared(walks)
    assert unusual(test) == ""
    assert [unusual(test.subset(torch.tensor([n]))) for n in range(len(test))] == [""] * len(test)
    assert said(steps(seed=1), preparation) == ""
    assert unusual(walks.test) == ""  # without a run nothing is known


@pytest.mark.parametrize("n", [1, 50])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x / 1000, "feature 0 has a mean of 1.7"),
        (lambda x: x * [1, 1 / 1000], "feature 1 has a deviation of 0."),
        (lambda x: x * [1, 1000], "feature 1 has a "),
        (lambda x: x[:, ::2], "20 time steps a series, in training 40: expected the rate and duration"),
        (lambda x: x[:, :, ::-1], "and 1 more likewise: expected the units of the training data"),
        (lambda x: 0 * x, "constant: check the sensor or the file"),
        (lambda x: x * [1, 0], "feature 1 is constant: check the sensor or the file"),
    ],
)
def test_clear_cases_are_one_line(
    walks: unroll.Splits, change: Callable[[np.ndarray], np.ndarray], words: str, n: int
) -> None:
    line = said(change(steps(n, seed=2)), prepared(walks)[1])
    assert line.startswith("unlike the training data: ")
    assert words in line
    assert "\n" not in line


def test_the_figures_are_those_of_the_data(walks: unroll.Splits) -> None:
    _, preparation = prepared(walks)
    x = steps(60, seed=3)
    x[:7] = 5.0
    assert "7 of 60 series are constant" in said(x, preparation)
    means = walks.train.x[:, :, 0].double().mean(dim=1)
    assert preparation.usual is not None
    (low, high), _ = preparation.usual.levels
    assert low in means
    assert float((means < low).double().mean()) <= 0.02
    assert float((means > high).double().mean()) <= 0.02
    lines = said(x[7:] * [0.001, 1], preparation)
    assert f"a mean of {np.median(x[7:, :, 0].mean(axis=1)) / 1000:.4g}, in training {low:.4g} to {high:.4g}" in lines


def test_constant_series_are_ordinary_where_training_has_many(tmp_path: Path) -> None:
    x = steps()
    x[::5] = 3.0
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(200) % 2)
    test, _ = prepared(unroll.load(tmp_path / "d.npz"))
    assert unusual(test) == ""


def test_values_that_are_missing_or_padding_are_not_measured(tmp_path: Path) -> None:
    x, lengths = steps(), 20 + np.arange(200) % 20
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 1e6
    x[::3, 4:9, 1] = np.nan
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(200) % 2, lengths=lengths)
    test, preparation = prepared(unroll.load(tmp_path / "d.npz"))
    assert preparation.usual is not None
    assert preparation.usual.levels[0][1] < 2000
    assert preparation.usual.spreads[1][1] < 1000
    assert unusual(test) == ""
    half = [x[: 5 + number % 6] for number, x in enumerate(steps(40, 20)[:, ::2])]
    half = prepare_series("x", half, 2, preparation)
    assert "7 time steps a series, in training 20 to 39" in unusual(half)
    fewer = prepare_series("x", [x[: 14 + number % 5] for number, x in enumerate(steps(40, 20))], 2, preparation)
    expected = f"half of the series have up to 16 time steps, in training {preparation.usual.length:.0f}"
    assert expected in unusual(fewer)


def test_a_far_offset_is_in_the_figures(tmp_path: Path) -> None:
    x = 5.4e6 + np.random.default_rng(0).normal(0, 0.1, (80, 12, 1))
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(80) % 2)
    test, preparation = prepared(unroll.load(tmp_path / "d.npz"))
    assert preparation.offset
    assert unusual(test) == ""
    assert f"a mean of {np.median(x.mean(axis=1)) + 10:.10g}, in training 5" in said(x + 10, preparation)


def test_another_time_step_is_remarked_upon(call: Call) -> None:
    train = table("walks.csv", steps())
    assert call("train", *QUICK, "--data", train, "--out", "run")[0] == 0
    assert json.loads(Path("run/config.json").read_text())["preparation"]["usual"]["time_step"] == pytest.approx(
        [0.02, 0.02]
    )
    assert call("predict", "run", table("same.csv", steps(9, seed=5)))[2] == ""
    line = "unlike the training data: a time step of 0.04, in training 0.02: resample the series to that"
    assert call("predict", "run", table("slow.csv", steps(9, seed=5), 0.04))[2] == f"unroll: slow.csv: {line}\n"
    assert f"unroll: slow.csv: {line}\n" in call("evaluate", "run", "--data", "slow.csv")[2]


def test_a_time_step_of_dates_is_in_seconds() -> None:
    rows = ["id,time,x,label"]
    for number in range(20):
        rows += [f"{number},2026-01-01T00:{step:02}:00,{step * number},{'ab'[number % 2]}" for step in range(6)]
    Path("dates.csv").write_text("\n".join(rows))
    columns = unroll.load("dates.csv").train.preparation.columns
    assert columns is not None
    assert columns.time_step == (60.0, 60.0)


def test_images(sample: unroll.Splits) -> None:
    test, _ = prepared(sample)
    assert unusual(test) == ""
    assert not any(unusual(test.subset(torch.tensor([n]))) for n in range(100))
    turned = unusual(replace(test, x=255 - test.x))
    assert turned.startswith("unlike the training data: pixels have a mean of 222")
    assert turned.endswith("expected the brightness, ink and paper of the training images")
    assert unusual(replace(test, x=0 * test.x).subset(torch.tensor([0]))) == (
        "unlike the training data: the image is blank: check the file"
    )


WORDS = [f"{a}{b}" for a in ("fine", "dull", "long", "film", "play") for b in ("ly", "er", "est", "ness", "ish")]


@pytest.fixture(params=["word", "bpe"])
def films(request: pytest.FixtureRequest, tmp_path: Path) -> unroll.Splits:
    random = np.random.default_rng(0)
    lines = [f"{' '.join(random.choice(WORDS, 8))}\t{'ab'[n % 2]}" for n in range(200)]
    (tmp_path / "films.tsv").write_text("\n".join(["text\tlabel", *lines]))
    return unroll.load(tmp_path / "films.tsv", tokenizer=request.param)


def test_texts(films: unroll.Splits) -> None:
    test, preparation = prepared(films)
    assert unusual(test) == ""
    assert not any(unusual(test.subset(torch.tensor([n]))) for n in range(len(test)))
    foreign = ["Ein wunderbarer Film über das Leben", "Ich habe mich keine Minute gelangweilt"]
    expected = "unlike the training data: .*: expected the language and spelling of these"
    assert re.fullmatch(expected, unusual(prepare_texts(foreign, preparation)))
    assert unusual(prepare_texts(["finely duller"], preparation)) == ""
    assert "the text is without a word: there is nothing to read" in unusual(prepare_texts([""], preparation))
    long = unusual(prepare_texts([" ".join(WORDS[:20] * 2)], preparation))
    assert long.endswith("40 tokens a text, in training up to 8: classify shorter pieces of these texts")


def test_what_is_usual_is_kept_with_the_run_and_checked(walks: unroll.Splits, tmp_path: Path) -> None:
    usual = measure(walks.train)
    assert usual is not None
    assert Usual.from_dict(json.loads(json.dumps(asdict(usual)))) == usual
    unroll.save(unroll.SequenceClassifier(2, 2, hidden_size=4), tmp_path / "run", data=walks.train)
    assert unroll.load_run(tmp_path / "run").preparation.usual == usual
    for wrong in ({"lengths": [1]}, {"levels": [[2, 1]]}, {"constant": "x"}, {"levels": []}, {"time_step": [1, None]}):
        with pytest.raises(DataError, match="usual: "):
            Usual.from_dict({**asdict(usual), **wrong})


def test_predict_and_evaluate_say_it_once_a_file(walks: unroll.Splits, call: Call, tmp_path: Path) -> None:
    unroll.save(unroll.SequenceClassifier(2, 2, hidden_size=4), "run", data=walks.train)
    for name, x in (("metres", steps(5) / 1000), ("same", steps(5))):
        np.savez(f"{name}.npz", x=x, y=np.arange(5) % 2)
    status, _, err = call("predict", "run", "same.npz", "metres.npz")
    assert status == 0
    assert err.startswith("unroll: metres.npz: unlike the training data: feature 0 has a mean of 1.")
    assert err.count("\n") == 1
    status, out, err = call("predict", "run", "same.npz", "metres.npz", "--json")
    assert [f"unroll: {line}\n" for line in json.loads(out)["warnings"]] == [err]
    assert json.loads(call("predict", "run", "same.npz", "--json")[1])["warnings"] == []
    status, out, err = call("evaluate", "run", "--data", "metres.npz", "--json")
    (line,) = json.loads(out)["warnings"]
    assert f"unroll: metres.npz: {line}\n" in err
    assert json.loads(call("evaluate", "run", "--data", "same.npz", "--json")[1])["warnings"] == []


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_report_doctor_and_export_say_it(walks: unroll.Splits, call: Call) -> None:
    unroll.save(unroll.SequenceClassifier(2, 2, hidden_size=4), "run", data=walks.train)
    for name, x in (("metres", steps(9) / 1000), ("same", steps(9))):
        np.savez(f"{name}.npz", x=x, y=np.arange(9) % 2)
    for command in (("report", "--out", "page"), ("doctor",), ("export", "--to", "html", "--out", "page.html")):
        if command[0] == "export":
            pytest.importorskip("py_mini_racer")
        status, out, err = call(command[0], "run", *command[1:], "--data", "same.npz", "--json")
        assert (status, json.loads(out)["warnings"]) == (0, [])
        status, out, err = call(command[0], "run", *command[1:], "--data", "metres.npz", "--json")
        (line,) = json.loads(out)["warnings"]
        assert line.startswith("unlike the training data: feature 0 has a mean of 1.")
        assert f"unroll: metres.npz: {line}\n" in err
    page = unescape(Path("page/report.html").read_text())
    assert "These sequences are unlike the training data: feature 0 has a mean of 1." in page


def stream(x: np.ndarray, preparation: Preparation, piece: int) -> list[str]:
    """Return what is said of a stream after each piece, (time, features) in units of the source."""
    seen, lines = nothing_seen(preparation), []
    for start in range(0, len(x), piece):
        seen = seen_with(seen, torch.tensor(x[start : start + piece]))
        lines.append(unusual_stream(seen, min(start + piece, len(x)), preparation))
    return lines


@pytest.mark.parametrize("piece", [1, 7, 40])
def test_a_stream_is_judged_by_all_of_its_steps(walks: unroll.Splits, piece: int) -> None:
    _, preparation = prepared(walks)
    (x,) = steps(1, seed=2)
    assert set(stream(x, preparation, piece)) == {""}
    for change in ([0.001, 1], [1, 0.001], [1, 0], [0, 0]):
        *before, last = stream(x * change, preparation, piece)
        assert last == said((x * change)[None], preparation) != ""
        assert set(before) <= {""}  # too few steps to tell
    longer = np.concatenate([x, x])
    assert "80 time steps a series, in training 40" in stream(longer, preparation, piece)[-1]
    gaps = np.where(np.arange(40)[:, None] % 3 == [0, 1], np.nan, x)
    assert stream(gaps, preparation, piece)[-1] == ""
    assert stream(gaps / 1000, preparation, piece)[-1] != ""


@pytest.mark.parametrize("ngrams", [0, 3])
def test_unknown_words_of_a_stream_are_counted_without_their_n_grams(ngrams: int) -> None:
    usual = Usual((1.0, 9.0), 4.0, unknown=0.0, characters=4.0)
    preparation = Preparation(("a", "b"), Scaling(0.0, 1.0), tokenizer=Tokenizer("{}", ngrams), usual=usual)
    words = torch.tensor([[token] + [0] * ngrams for token in (0, 1, 2, 0)])
    assert seen_with(nothing_seen(preparation), words if ngrams else words[:, 0], 20).tolist() == [2, 20]


def test_a_stream_of_a_run_that_knows_nothing_is_not_judged(walks: unroll.Splits) -> None:
    assert set(stream(steps(1)[0] / 1000, walks.train.preparation, 5)) == {""}


def test_run_predict_warns(walks: unroll.Splits) -> None:
    unroll.save(unroll.SequenceClassifier(2, 2, hidden_size=4), "run", data=walks.train)
    run = unroll.load_run("run")
    run.predict(steps(3))
    with pytest.warns(UnrollWarning, match="unlike the training data: all 3 series are constant"):
        run.predict(0 * steps(3))


@pytest.mark.parametrize("name", ["basic-motions", "japanese-vowels", "sst2", "mnist"])
@pytest.mark.data
@pytest.mark.slow
def test_the_test_parts_of_real_data_are_ordinary(name: str) -> None:
    from conftest import UNROLL_DATA

    if not UNROLL_DATA or not (folder := Path(UNROLL_DATA).resolve() / name).is_dir():
        pytest.skip(f"needs $UNROLL_DATA/{name}")
    test, _ = prepared(unroll.load("mnist", data_dir=folder) if name == "mnist" else unroll.load(folder))
    assert unusual(test) == ""
