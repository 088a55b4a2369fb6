"""Checkpoints: when they are written, that damage is noticed, and that they belong to their settings."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import unroll
from unroll import EpochResult, RunError, Splits, TrainConfig, Training, UnrollWarning, resume_run, train_run
from unroll.runs.checkpoint import Checkpoints, read_checkpoint
from unroll.runs.config_file import RunConfig, read_config
from unroll.runs.execute import Event
from unroll.training.results import Progress

SETTINGS: dict[str, Any] = {"epochs": 4, "hidden_size": 8, "batch_size": 400, "checkpoint_seconds": 0}


def stop_after(epoch: int) -> Callable[[Event], None]:
    def watch(event: Event) -> None:
        if isinstance(event, EpochResult) and event.epoch == epoch:
            raise RuntimeError("stop here")

    return watch


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(RuntimeError, match="stop here"):
        train_run(out=path, watch=stop_after(3), **SETTINGS)
    return path


@pytest.fixture
def stopped(broken_off: Path) -> Path:
    """A run that was broken off after three of its four epochs; its checkpoint before the newest is of two."""
    return Path(shutil.copytree(broken_off, "here"))


def epochs_in(path: Path) -> int:
    return len(read_checkpoint(path, read_config(path))[0]["history"])


def flip(file: Path, place: int) -> None:
    content = bytearray(file.read_bytes())
    content[place % len(content)] ^= 4
    file.write_bytes(content)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a training that nobody broke off."""
    path = train_run(out=tmp_path_factory.mktemp("whole") / "run", **SETTINGS).path
    return (path / "model.safetensors").read_bytes()


# In the zip file's head, in its middle, in the list of its files, and in the checksum itself.
@pytest.mark.parametrize("place", [3, 5_000, -1_000, -1])
def test_a_flipped_bit_is_noticed_and_the_checkpoint_before_is_used(stopped: Path, place: int, whole: bytes) -> None:
    flip(stopped / "resume.pt", place)
    words = r"here/resume.pt is broken \(its checksum differs\); using the checkpoint before it \(2 epochs\)"
    with pytest.warns(UnrollWarning, match=words):
        path = resume_run(stopped).path
    assert (path / "model.safetensors").read_bytes() == whole
    assert not list(path.glob("resume*"))


def test_a_good_checkpoint_is_never_given_up_for_a_damaged_one(stopped: Path, whole: bytes) -> None:
    good = (stopped / "resume.previous.pt").read_bytes()
    flip(stopped / "resume.pt", 5_000)
    kept = []

    def watch(event: Event) -> None:
        kept.append((stopped / "resume.previous.pt").read_bytes() == good)
        raise RuntimeError("stop here")

    with pytest.warns(UnrollWarning), pytest.raises(RuntimeError, match="stop here"):
        resume_run(stopped, watch=watch)
    assert kept == [True]
    assert (resume_run(stopped).path / "model.safetensors").read_bytes() == whole


def test_killed_between_two_moves_the_one_before_is_used(stopped: Path, whole: bytes) -> None:
    (stopped / "resume.pt").unlink()
    with pytest.warns(UnrollWarning, match="here/resume.pt is missing; using the checkpoint before it"):
        path = resume_run(stopped).path
    assert (path / "model.safetensors").read_bytes() == whole


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02cos\nsystem\n", b"junk" * 99])
def test_with_no_good_checkpoint_nothing_is_resumed(stopped: Path, content: bytes) -> None:
    for name in ("resume.pt", "resume.previous.pt"):
        (stopped / name).write_bytes(content)
    before = {file.name: file.read_bytes() for file in stopped.iterdir()}
    with pytest.raises(RunError, match=r"here/resume.pt is broken .*; here/resume.previous.pt is broken .*overwrite$"):
        resume_run(stopped)
    assert {file.name: file.read_bytes() for file in stopped.iterdir()} == before


def test_without_a_checkpoint_nothing_is_resumed(stopped: Path) -> None:
    for file in stopped.glob("resume*"):
        file.unlink()
    with pytest.raises(RunError, match=r"here cannot be resumed: it has no resume.pt; start it again with --overwrite"):
        resume_run(stopped)


@pytest.mark.parametrize(
    ("part", "name", "value", "words"),
    [
        ("train", "epochs", 60, r"train.epochs is 60, was 4"),
        ("train", "batch_size", 8, r"train.batch_size is 8, was 400"),
        ("train", "seed", 7, r"train.seed is 7, was 0"),
        ("train", "optimizer", "adam", r'train.optimizer is "adam", was "adamw"'),
        ("train", "keep", "best", r'train.keep is "best", was "last"'),
        ("train", "val_fraction", 0.5, r"train.val_fraction is 0.5, was 0.1"),
        ("train", "lr", 0.1, r"train.lr is 0.1, was 0.002"),
        ("model", "hidden_size", 9, r"model.hidden_size is 9, was 8"),
        ("data", "fingerprint", "x" * 99, r'data.fingerprint is "x{38}…, was "'),
        ("preparation", "classes", list("9876543210"), r'preparation.classes is \["9", .+, was \["0", '),
    ],
)
def test_edited_settings_are_refused_by_name(stopped: Path, part: str, name: str, value: Any, words: str) -> None:
    config = json.loads((stopped / "config.json").read_text())
    config[part][name] = value
    (stopped / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=rf"^here/config.json was edited after the training began \({words}"):
        resume_run(stopped)
    assert epochs_in_file(stopped) == 3


def epochs_in_file(path: Path) -> int:
    return len((path / "metrics.jsonl").read_text().splitlines())


def test_where_the_data_lies_may_be_edited(stopped: Path, whole: bytes) -> None:
    config = json.loads((stopped / "config.json").read_text())
    config["data"]["dir"] = "elsewhere"
    (stopped / "config.json").write_text(json.dumps(config))
    assert (resume_run(stopped).path / "model.safetensors").read_bytes() == whole


def test_curves_for_tensorboard_may_be_left_out_by_editing(stopped: Path, whole: bytes) -> None:
    config = json.loads((stopped / "config.json").read_text())
    del config["tensorboard"]
    (stopped / "config.json").write_text(json.dumps(config))
    assert (resume_run(stopped).path / "model.safetensors").read_bytes() == whole


def config_of(model: torch.nn.Module, data: Splits) -> RunConfig:
    assert isinstance(model, unroll.SequenceClassifier)
    return RunConfig.of(model, data.train.preparation, data.train.fingerprint())


class Clock:
    """Shows what it is set to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_checkpoint_follows_the_first_step_after_the_interval(small: Splits, tmp_path: Path) -> None:
    clock = Clock()
    model = unroll.SequenceClassifier(28, 10, hidden_size=4, backend="reference")  # one step at a time
    training = Training(model, small, TrainConfig(epochs=1, batch_size=4))
    checkpoints = Checkpoints(tmp_path, config_of(model, small), 10.0, clock=clock)
    written: list[int] = []
    step = 0

    def pause() -> bool:
        nonlocal step
        step += 1
        clock.now += 3.0  # each step takes three seconds
        return checkpoints.is_due()

    for event in training.events(pause):
        assert isinstance(event, Progress)
        if checkpoints.is_due():
            checkpoints.write(training)
            written.append(event.step)
        if len(written) == 3:
            break
    # 12 seconds are more than 10; the step that an event follows anyway is not asked about.
    assert written == [4, 8, 12]
    assert training.state_dict()["step"] == 12


@pytest.mark.parametrize(("seconds", "expected"), [(0, [False, True]), (10.0, [False, False])])
def test_an_interval_of_0_means_each_epoch(small: Splits, tmp_path: Path, seconds: float, expected: list[bool]) -> None:
    config = config_of(unroll.SequenceClassifier(28, 10, hidden_size=4), small)
    checkpoints = Checkpoints(tmp_path, config, seconds, clock=Clock())
    assert [checkpoints.is_due(epoch_ended) for epoch_ended in (False, True)] == expected


def test_a_long_interval_leaves_the_checkpoint_of_the_start() -> None:
    with pytest.raises(RuntimeError, match="stop here"):
        train_run(out="here", watch=stop_after(3), **{**SETTINGS, "checkpoint_seconds": 1e9})
    assert epochs_in(Path("here")) == 0
    assert epochs_in_file(Path("here")) == 3


@pytest.mark.parametrize(
    ("seconds", "words"), [(-1.0, "must be at least 0, got -1.0"), (float("nan"), "got nan"), (float("inf"), "got inf")]
)
def test_an_interval_that_is_none(seconds: float, words: str) -> None:
    with pytest.raises(unroll.ConfigError, match=f"checkpoint_seconds .*{words}"):
        train_run(out="here", checkpoint_seconds=seconds)
    assert not Path("here").exists()


def test_a_full_disk_leaves_both_checkpoints(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {file.name: file.read_bytes() for file in stopped.iterdir()}

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        resume_run(stopped)
    assert {file.name: file.read_bytes() for file in stopped.iterdir()} == before


def test_a_checkpoint_holds_no_code(stopped: Path) -> None:
    assert isinstance(torch.load(stopped / "resume.pt", weights_only=True), dict)
