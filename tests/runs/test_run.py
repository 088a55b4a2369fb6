"""Runs: what the folder holds, that it survives anything, and that nothing of the user's is lost."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

import unroll
from unroll import (
    Cell,
    DataError,
    EpochResult,
    RunError,
    SequenceClassifier,
    Splits,
    TrainConfig,
    TrainingError,
    load_run,
    resume_run,
    save,
    train_run,
)
from unroll.evaluation.predictions import Predictions
from unroll.runs.config_file import RunConfig, read_config, read_plan
from unroll.runs.data import load_test
from unroll.runs.execute import Event, Started
from unroll.runs.record import read_record
from unroll.scan import cpu
from unroll.training.results import Progress

QUICK: dict[str, Any] = {"epochs": 1, "hidden_size": 8}


def files(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.name != ".lock")


def test_what_a_finished_run_holds(run: unroll.Run) -> None:
    kept = [
        "calibration.json",
        "config.json",
        "evaluation.json",
        "metrics.csv",
        "metrics.jsonl",
        "model.safetensors",
        "predictions.safetensors",
    ]
    assert files(run.path) == kept
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, 23))
    assert run.evaluation is not None
    assert run.evaluation["n"] == 1000
    assert run.evaluation["accuracy"] >= 0.93
    assert run.evaluation["weights"] == "last weights (epoch 22)"
    assert not run.model.training


def test_a_loaded_run_says_what_the_trained_model_said(run: unroll.Run, sample: Splits) -> None:
    again = load_run(run.path)
    assert again.evaluation is not None
    found = unroll.evaluate(again.model, sample.test.prepared_as(again.preparation))
    assert found.accuracy == again.evaluation["accuracy"]
    assert found.confusion.tolist() == again.evaluation["confusion"]
    assert load_test(again).sequences.preparation == run.preparation


def test_save_and_load_a_model_trained_by_hand(small: Splits) -> None:
    model = SequenceClassifier(28, 10, hidden_size=12, num_layers=2, bidirectional=True, readout="mean")
    save(model, "runs/by-hand", data=small.train)
    loaded = load_run("runs/by-hand")
    assert files(Path("runs/by-hand")) == ["config.json", "model.safetensors"]
    assert loaded.evaluation is None
    assert replace(loaded.preparation, usual=None) == small.train.preparation
    x = torch.randn(3, 28, 28)
    assert torch.equal(loaded.model(x), model.eval()(x))
    with pytest.raises(RunError, match="runs/by-hand was saved without the name of its data; name one with --data"):
        load_test(loaded)
    assert load_test(loaded, "mnist-sample")[0] == "mnist-sample"
    with pytest.raises(RunError, match="runs/by-hand is finished: there is nothing to resume"):
        resume_run("runs/by-hand")


def test_a_run_from_before_there_were_some_settings_is_loaded_with_their_defaults(
    run: unroll.Run, tmp_path: Path
) -> None:
    old = tmp_path / "old"
    shutil.copytree(run.path, old)
    config = json.loads((old / "config.json").read_text())
    for name in ("residual", "layer_norm", "recurrent_dropout"):
        del config["model"][name]
    del config["train"]["tbptt"]
    (old / "config.json").write_text(json.dumps(config))
    x = torch.randn(3, 28, 28)
    loaded = load_run(old).model
    assert torch.equal(loaded(x), run.model(x))
    assert loaded.config == run.model.config
    assert read_plan(old).recipe == read_plan(run.path).recipe


def test_all_settings_of_a_model_are_saved_with_it(small: Splits) -> None:
    model = SequenceClassifier(
        28,
        10,
        cell="gru",
        hidden_size=12,
        num_layers=3,
        dropout=0.1,
        readout="attention",
        residual=True,
        layer_norm=True,
        recurrent_dropout=0.2,
    )
    save(model, "deep", data=small.train)
    loaded = load_run("deep").model
    assert loaded.config == model.config
    x = torch.randn(3, 28, 28)
    assert torch.equal(loaded(x), model.eval()(x))


def test_a_cell_that_could_not_be_loaded_is_not_saved(small: Splits) -> None:
    class Own(Cell):
        def initial_state(self, batch_size: int, **kwargs: Any) -> Any:
            return torch.zeros(batch_size, self.hidden_size, **kwargs)

        def step(self, x: Any, state: Any) -> Any:
            return state

    with pytest.raises(
        RunError, match="a run needs a cell that can be imported again: put test_run:.*Own at the top of a module"
    ):
        save(SequenceClassifier(28, 10, cell=Own), "runs/own", data=small.train)
    assert not Path("runs").exists()


def test_a_model_that_does_not_fit_its_data_is_not_saved(small: Splits) -> None:
    with pytest.raises(DataError, match="model and data must have the same classes, got 12 and 10"):
        save(SequenceClassifier(28, 12), "runs/no", data=small.train)
    with pytest.raises(DataError, match="model and data must have the same features, got 7 and 28"):
        save(SequenceClassifier(7, 10), "runs/no", data=small.train)
    assert not Path("runs").exists()


def test_what_a_killed_process_left_does_not_make_a_folder_taken(small: Splits) -> None:
    model = SequenceClassifier(28, 10)
    Path("here").mkdir()
    Path("here/.lock").touch()
    Path("here/.config.json.123.partial").touch()
    save(model, "here", data=small.train)
    assert files(Path("here")) == ["config.json", "model.safetensors"]


def test_names_of_runs_count_up() -> None:
    assert str(train_run(**QUICK).path) == "runs/mnist-sample-rnn-1"
    assert str(train_run(**QUICK).path) == "runs/mnist-sample-rnn-2"


def test_what_stands_there_is_left_alone(tmp_path: Path) -> None:
    first = train_run(out="here", **QUICK)
    before = {name: (first.path / name).read_bytes() for name in files(first.path)}
    with pytest.raises(RunError, match="here holds a run; choose another --out, replace it with --overwrite, or --res"):
        train_run(out="here", **QUICK)
    with pytest.raises(unroll.ConfigError, match="epochs must be at least 1"):
        train_run(out="here", overwrite=True, epochs=0)
    with pytest.raises(DataError, match="data_dir must be a folder"):
        train_run("mnist", out="here", overwrite=True, data_dir=tmp_path / "no")
    in_float32 = "backend 'gemm' computes in float32" if cpu.BF16_ISA else "precision 'bf16' on a CPU needs kernels"
    with pytest.raises(unroll.InputError, match=in_float32):
        train_run(out="here", overwrite=True, backend="gemm", precision="bf16")
    assert {name: (first.path / name).read_bytes() for name in files(first.path)} == before
    second = train_run(out="here", overwrite=True, seed=1, **QUICK)
    assert files(second.path) == files(first.path)
    assert (second.path / "model.safetensors").read_bytes() != before["model.safetensors"]


def test_a_folder_that_is_no_run_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"meow")
    (tmp_path / "photos" / ".config.json.7.partial").write_bytes(b"wu")
    with pytest.raises(
        RunError, match="photos exists but is not a run folder; nothing was changed. Choose another --out"
    ):
        train_run(out=tmp_path / "photos", overwrite=True, **QUICK)
    assert files(tmp_path / "photos") == [".config.json.7.partial", "cat.jpg"]
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "config.json").write_text('{"architectures": ["Bert"]}')
    (tmp_path / "hub" / "model.safetensors").write_text("somebody's")
    with pytest.raises(RunError, match="hub exists but is not a run folder; nothing was changed"):
        train_run(out=tmp_path / "hub", overwrite=True, **QUICK)
    assert (tmp_path / "hub" / "model.safetensors").read_text() == "somebody's"
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot make the run folder .*file: it is a file"):
        train_run(out=tmp_path / "file", **QUICK)


def interrupted(out: str, stop: type, number: int, **settings: Any) -> Path:
    """Start a run and break it off at the given event."""
    seen = 0

    def watch(event: Event) -> None:
        nonlocal seen
        seen += isinstance(event, stop)
        if isinstance(event, stop) and seen == number:
            raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        train_run(out=out, watch=watch, **settings)
    return Path(out)


# Not the backend that "auto" would take on resuming; 9 steps an epoch.
BROKEN_OFF: dict[str, Any] = {
    "epochs": 3,
    "hidden_size": 8,
    "num_layers": 2,
    "dropout": 0.2,
    "early": 0.5,
    "batch_size": 400,
    "backend": "reference",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody broke off."""
    return train_run(out=tmp_path_factory.mktemp("whole") / "run", **BROKEN_OFF).path


@pytest.mark.parametrize(
    ("stop", "number", "epochs"),
    [(Started, 1, 0), (Progress, 13, 1), (EpochResult, 1, 1), (EpochResult, 2, 2), (EpochResult, 3, 3)],
)
@pytest.mark.slow
def test_a_run_broken_off_anywhere_ends_the_same(stop: type, number: int, epochs: int, whole: Path) -> None:
    seconds = 1e-9 if stop is Progress else 0  # a checkpoint after each step, or after each epoch
    path = interrupted("broken", stop, number, checkpoint_seconds=seconds, **BROKEN_OFF)
    with pytest.raises(RunError, match="broken is not finished: run 'unroll train --resume broken' first"):
        load_run(path)
    done: list[int] = []
    resumed = resume_run(path, watch=lambda e: done.append(len(e.training.history)) if isinstance(e, Started) else None)
    assert (resumed.path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert done == [epochs]
    assert files(path) == files(whole)
    assert len((path / "metrics.jsonl").read_text().splitlines()) == 3
    with pytest.raises(RunError, match="broken is finished: there is nothing to resume"):
        resume_run(path)


def test_a_diverged_run_keeps_its_metrics() -> None:
    with pytest.raises(
        TrainingError, match="the loss became .*: training diverged at lr 1e\\+30; try lr 0.002, or clip"
    ):
        train_run(out="gone", lr=1e30, clip_norm=0.0, nonlinearity="relu", schedule="constant", **QUICK)
    assert files(Path("gone")) == ["config.json", "metrics.csv", "metrics.jsonl"]
    with pytest.raises(RunError, match="gone has no model.safetensors and cannot be resumed: its training failed"):
        load_run("gone")


def test_a_test_loss_that_is_not_finite_ends_like_any_divergence(monkeypatch: pytest.MonkeyPatch) -> None:
    real = Predictions.of

    def overflown(*args: Any) -> Any:
        found = real(*args)
        return replace(found, logits=found.logits * torch.nan)

    monkeypatch.setattr(Predictions, "of", overflown)
    with pytest.raises(
        TrainingError, match="the test loss is nan: training diverged; the metrics of 1 epochs are in g"
    ):
        train_run(out="gone", **QUICK)
    assert files(Path("gone")) == ["config.json", "metrics.csv", "metrics.jsonl"]


def test_a_full_disk_breaks_nothing_that_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    path = interrupted("run", EpochResult, 1, epochs=2, hidden_size=8)
    before = (path / "resume.pt").read_bytes()

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        resume_run(path)
    assert (path / "resume.pt").read_bytes() == before
    assert files(path) == ["config.json", "metrics.csv", "metrics.jsonl", "resume.pt"]


def test_data_that_moved_is_found_again(idx_folder: Callable[..., Path], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"epochs": 2, "hidden_size": 8, "val_fraction": 0.2}
    work = Path.cwd()
    data = idx_folder(folder=work / "digits")
    path = interrupted("run", EpochResult, 1, data="mnist", data_dir="digits", **settings)
    os.chdir(tmp_path)
    data.rename(tmp_path / "moved")
    path = work / path
    with pytest.raises(DataError, match="mnist is not on this machine"):
        resume_run(path)
    finished = resume_run(path, data_dir="moved")
    assert len(load_test(finished, data_dir="moved").sequences) == 20
    (tmp_path / "moved").rename(data)
    assert len(load_test(finished).sequences) == 20


def test_resume_notices_other_data(monkeypatch: pytest.MonkeyPatch, small: Splits) -> None:
    path = interrupted("run", EpochResult, 1, epochs=2, hidden_size=8)
    monkeypatch.setattr("unroll.runs.plan.load", lambda *_, **__: small)
    with pytest.raises(DataError, match="the run was trained on other data than unroll holds now; start a new run"):
        resume_run(path)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"", "config.json is broken"),
        ("config.json", b"[]", "config.json is broken"),
        ("config.json", b"{}", "config.json is broken ('format' is missing)"),
        (
            "config.json",
            b'{"format": 99, "unroll": "9.0"}',
            "has format 99, expected 3; train again, or use unroll 9.0, which made it",
        ),
        ("config.json", b'{"format": 3}', "is broken ('model' is missing)"),
        ("model.safetensors", b"", "is broken ("),
        ("model.safetensors", b"\x08" + b"\0" * 30, "is broken ("),
        (
            "model.safetensors",
            safetensors.torch.save({"a": torch.ones(2)}),
            "is broken (the weights do not fit the settings: head.weight must have shape (10, 150), got none)",
        ),
        ("evaluation.json", b"{", "is broken ("),
    ],
)
def test_broken_run_files_are_named(run: unroll.Run, tmp_path: Path, file: str, content: bytes, message: str) -> None:
    path = tmp_path / "copy"
    path.mkdir()
    for name in files(run.path):
        (path / name).write_bytes((run.path / name).read_bytes())
    (path / file).write_bytes(content)
    with pytest.raises(RunError) as error:
        load_run(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_no_run_at_all(tmp_path: Path) -> None:
    for call in (load_run, resume_run):
        with pytest.raises(RunError, match="nothing is not a run folder: it has no config.json"):
            call(tmp_path / "nothing")


def test_a_run_is_portable(run: unroll.Run) -> None:
    """It names no backend: a machine that lacks the one that trained it loads it all the same."""
    config = json.loads((run.path / "config.json").read_text())
    assert config["model"]["backend"] == "auto"
    assert config["format"] == 3
    assert config["preparation"]["classes"] == list("0123456789")


def test_the_config_read_is_the_config_written(run: unroll.Run, small: Splits) -> None:
    save(SequenceClassifier(28, 10, hidden_size=3), "by-hand", data=small.train)
    for path, plan in ((run.path, read_plan(run.path)), (Path("by-hand"), None)):
        content, config = json.loads((path / "config.json").read_text()), read_config(path)
        assert json.loads(json.dumps(config.to_dict())) == content
        assert RunConfig.from_dict(content) == config
        assert (config.plan, config.fingerprint) == (plan, content["data"]["fingerprint"])
    assert run.config.train == TrainConfig(**json.loads((run.path / "config.json").read_text())["train"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"recipe": "serie"},
            "recipe must be one of images, series, best, text, tutorial, got 'serie'; did you mean 'series'?",
        ),
        (
            {"backend": "gpu"},
            "backend must be one of auto, reference, torch, gemm, cpu, got 'gpu'; did you mean 'cpu'?",
        ),
        ({"unroll": None}, "unroll must be a string, got None"),
        ({"data": {"fingerprint": "x"}}, "'dir' is missing"),
        ({"data": {"fingerprint": "x", "dir": 3, "name": "d"}}, "dir of the data must be a string, got 3"),
        ({"data": {"fingerprint": "x", "dir": None, "name": 3}}, "name of the data must be a string, got 3"),
        ({"data": []}, "data must be an object, got []"),
        ({"input_size": "28"}, "input_size must be of type int, got '28'"),
    ],
)
def test_a_config_that_cannot_be_is_refused_by_every_reader(
    run: unroll.Run, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    shutil.copytree(run.path, tmp_path / "run")
    content = json.loads((run.path / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps(content | change))
    for read in (load_run, read_plan, read_record):
        with pytest.raises(RunError) as error:
            read(tmp_path / "run")
        words = f"{tmp_path}/run/config.json is broken ({message}); copy it again, or train again"
        assert str(error.value) == words


def test_a_run_with_other_class_order_is_fed_right(run: unroll.Run, sample: Splits) -> None:
    turned = replace(run.preparation, classes=run.preparation.classes[::-1])
    part = sample.test.prepared_as(turned)
    assert torch.equal(part.y, 9 - sample.test.y)
