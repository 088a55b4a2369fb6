"""Runs with frames or a stem, of series scaled both ways: all that answers says the same, in single time steps."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unroll
from resuming import interrupt_after
from served import client
from unroll.errors import ConfigError, DataError
from unroll.evaluation.anytime import read_along
from unroll.evaluation.stepwise import watch
from unroll.export.description import describe
from unroll.export.verify import check
from unroll.runs.data import load_test
from unroll.runs.plan import Plan
from unroll.server import Served

Series = list[list[list[float | None]]]
QUICK: dict[str, Any] = {"epochs": 2, "hidden_size": 6, "cell": "gru", "batch_size": 8}
STEM = {"frame": 1, "stem": "conv"}
FLAGS = ("--training-steps", 3, "--hidden-size", 6)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def waves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Series]:
    """Return a table of 60 series of 1 to 240 steps and two features, with gaps and a feature that may be constant."""
    random, series = np.random.default_rng(0), []
    path = tmp_path_factory.mktemp("waves") / "waves.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "time", "x", "y", "class"])
        for number in range(60):
            time = 1 if number < 2 else int(random.integers(90, 240))
            values = np.sin(np.arange(time) / (5 + 4 * (number % 2)))[:, None] + random.normal(size=(time, 2)) / 9
            values[:, 1] = 7.25 if number % 3 == 0 else values[:, 1] * number
            rows: list[list[float | None]] = [
                [None if random.random() < 0.1 else round(float(value), 4) for value in step] for step in values
            ]
            series.append(rows)
            for step, row in enumerate(rows):
                writer.writerow(
                    [number, step, *("" if v is None else v for v in row), "slow" if number % 2 else "fast"]
                )
    return path, series


@pytest.fixture(scope="module")
def run_of(waves: tuple[Path, Series], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., unroll.Run]:
    """Train with frames, or as the settings say, each series scaled by itself."""

    def train(scaling: str, **settings: Any) -> unroll.Run:
        out = tmp_path_factory.mktemp("runs") / "run"
        settings = {"frame": "auto"} | QUICK | settings
        return unroll.train_run(str(waves[0]), out=out, scaling=scaling, recipe="images", **settings)

    return train


@pytest.mark.parametrize(
    ("scaling", "missing", "both", "front"),
    [
        ("both", "mask", False, {}),
        ("training", "impute", False, {}),
        ("series", "mask", True, {}),
        ("both", "mask", True, STEM),
        ("training", "impute", False, STEM),
    ],
)
@pytest.mark.slow
def test_predictions_stream_server_and_page_agree(
    waves: tuple[Path, Series],
    run_of: Callable[..., unroll.Run],
    scaling: str,
    missing: str,
    both: bool,
    front: dict[str, Any],
) -> None:
    run, series = unroll.load_run(run_of(scaling, missing=missing, bidirectional=both, **front).path), waves[1]
    saved = json.loads((run.path / "config.json").read_text())["model"]
    assert saved["scaling"] == scaling
    assert [saved[name] for name in ("frame", "hop", "stem", "stem_stride")] == (
        [1, 1, "conv", 4] if front else [6, 3, "none", "auto"]
    )
    expected = run.predict([[[np.nan if v is None else v for v in step] for step in one] for one in series])
    with client(Served("waves", run, "")) as asked:
        found = asked.post("/predict", json={"sequences": series}).json()["predictions"]
        answers = torch.tensor([list(one["probabilities"].values()) for one in found])
        assert answers.sub(expected).abs().max() < 1e-5
        if front:
            refused = asked.post("/stream", json={"steps": [[0.5, 1.0]]}).json()["error"]
            assert refused == "the run waves is a model whose stem looks ahead and cannot stream: use /predict"
        for number in () if both or front else (0, 7, 20):
            state, piece = None, 50
            for start in range(0, len(series[number]), piece):
                body = {"state": state, "steps": series[number][start : start + piece]}
                answer = asked.post("/stream", json=body).json()
                state = answer["state"]
            last = torch.tensor(list(answer["probabilities"].values()))
            assert last.sub(expected[number]).abs().max() < 1e-5
    test = load_test(run)
    found_by_page = check(run, test.sequences, describe(run, test.sequences, "waves"))
    assert found_by_page.checked == len(test.sequences)
    assert found_by_page.difference < 1e-5
    at_marks = read_along(run.model, test.sequences, run.calibration)
    watched = watch(run.model, test.sequences, 3, run.calibration)
    assert len(watched.probabilities) == len(watched.hidden) == int(at_marks.steps[-1, 3])
    for mark, step in enumerate(at_marks.steps[:, 3].tolist()):
        if at_marks.fractions[mark] * len(watched.hidden) == step:
            assert watched.probabilities[step - 1].sub(at_marks.probabilities[mark, 3]).abs().max() < 1e-5


def test_a_state_that_keeps_all_steps_is_checked_and_bounded(run_of: Callable[..., unroll.Run]) -> None:
    run = run_of("both")
    with client(Served("waves", run, "")) as asked:
        long = asked.post("/stream", json={"steps": [[0.5, 1.0]] * 9_999}).json()["state"]
        short = asked.post("/stream", json={"steps": [[0.5, 1.0]] * 9}).json()["state"]
        assert len(short) < 500 < 100_000 < len(long)
        refused = asked.post("/stream", json={"state": long, "steps": [[0.5, 1.0]] * 2})
        assert "keeps all time steps: expected at most 10,000, got 10,001" in refused.json()["error"]
        cut = asked.post("/stream", json={"state": short[:-8], "steps": [[0.5, 1.0]]})
        assert "the run waves did not return this state" in cut.json()["error"]


@pytest.mark.parametrize("front", [{"frame": "auto"}, STEM], ids=["frame", "stem"])
def test_a_resumed_training_takes_the_frame_or_stride_that_it_began_with(
    waves: tuple[Path, Series], run_of: Callable[..., unroll.Run], front: dict[str, Any]
) -> None:
    whole = run_of("both", epochs=3, **front)

    folder = whole.path.parent / "resumed"
    with pytest.raises(KeyboardInterrupt):
        unroll.train_run(
            str(waves[0]),
            out=folder,
            watch=interrupt_after(1),
            recipe="images",
            scaling="both",
            checkpoint_seconds=0,
            **QUICK | {"epochs": 3} | front,
        )
    resumed = unroll.resume_run(folder)
    assert resumed.model.config == whole.model.config
    for one, other in zip(resumed.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_the_data_has_no_use_for_is_refused(waves: tuple[Path, Series], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="scaling both applies to series, got images: use training"):
        unroll.train_run("mnist-sample", scaling="both", out=tmp_path / "a")
    with pytest.raises(DataError, match="scaling 'unit', as in recipe 'tutorial', expects uint8 values"):
        unroll.train_run(str(waves[0]), scaling="unit", out=tmp_path / "b")
    texts = tmp_path / "films.tsv"
    texts.write_text("text\tlabel\n" + "".join(f"word {n}\t{'ab'[n % 2]}\n" for n in range(40)))
    with pytest.raises(ConfigError, match="frame applies to numeric data, got auto for texts: leave it out"):
        unroll.train_run(str(texts), frame="auto", out=tmp_path / "c")
    with pytest.raises(ConfigError, match="stem applies to numeric data, got conv for texts: leave it out"):
        unroll.train_run(str(texts), stem="conv", out=tmp_path / "c")
    with pytest.raises(ConfigError, match="stem conv reads single time steps, got frame 8: give one of them"):
        unroll.train_run(str(waves[0]), stem="conv", frame=8, out=tmp_path / "d")
    assert not list(tmp_path.glob("?/config.json"))


def test_the_reason_for_a_frame_is_said(waves: tuple[Path, Series]) -> None:
    frame, reason = Plan.frame(unroll.load(waves[0]))
    assert frame == 6
    assert reason.startswith("series of about 1")
    assert reason.endswith(" frames")


def test_the_reason_for_a_stride_is_said(call: Call, waves: tuple[Path, Series]) -> None:
    status, out, err = call("train", "--data", waves[0], "--stem", "conv", *FLAGS, "--out", "run")
    assert (status, err) == (0, "")
    stride, reason = Plan.stem_stride(unroll.load(waves[0]))
    assert stride == 4
    said = " ".join(out.split())
    assert f"stem stride 4, as {reason} train" in said
    assert ", stem conv, stride 4, also scaled by itself, both directions, readout max" in said
    assert re.fullmatch(r"series of about 1\d\d time steps become about [34]\d stem steps", reason)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_commands_read_a_run_with_a_stem(call: Call, waves: tuple[Path, Series]) -> None:
    assert call("train", "--data", waves[0], "--stem", "conv", *FLAGS, "--out", "run", "--val-fraction", 0.2)[0] == 0
    for command in (
        ("evaluate", "run", "--anytime"),
        ("predict", "run", waves[0], "--stop-at", 0.9),
        ("report", "run"),
        ("doctor", "run"),
        ("info", "run"),
        ("export", "run", "--to", "html"),
        ("check", "--data", waves[0], "--stem", "conv", *FLAGS),
    ):
        status, out, err = call(*command)
        assert status == 0, (command, out, err)
    assert "stem 2" in out
    status, out, _ = call("info", "run")
    assert "operation by operation: the model has" in out
