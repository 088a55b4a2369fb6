"""What a run keeps of its epochs: metrics.csv, and the files for TensorBoard, as TensorBoard itself reads them."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import unroll
from unroll import EpochResult, resume_run, train_run
from unroll.cli import main
from unroll.runs.execute import Event
from unroll.runs.history import read_history, scalars

QUICK: dict[str, Any] = {"epochs": 3, "hidden_size": 8}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def recorded(path: Path) -> dict[str, dict[int, float]]:
    """Return what TensorBoard draws, by name and step; a step that it would draw twice is an error."""
    found = EventAccumulator(str(path / "tensorboard"), size_guidance={"scalars": 0}).Reload()
    curves = {name: [(event.step, event.value) for event in found.Scalars(name)] for name in found.Tags()["scalars"]}
    assert all(len(points) == len(dict(points)) for points in curves.values())
    return {name: dict(points) for name, points in curves.items()}


def check_recorded(path: Path) -> None:
    """See that TensorBoard draws what metrics.jsonl says."""
    curves, rows = recorded(path), [scalars(EpochResult(**row)) for row in lines(path)]
    assert set(curves) == set(rows[0])
    for name, points in curves.items():
        expected = {epoch: torch.tensor(row[name]).item() for epoch, row in enumerate(rows, 1)}  # in float32, as there
        assert points == expected, name


def stop_at(kind: type, number: int) -> Callable[[Event], None]:
    seen = [0]

    def watch(event: Event) -> None:
        seen[0] += isinstance(event, kind)
        if isinstance(event, kind) and seen[0] == number:
            raise RuntimeError("stop here")

    return watch


@pytest.mark.parametrize("val_fraction", [0.1, 0.0])
def test_the_table_says_what_the_lines_say(val_fraction: float) -> None:
    path = train_run(out="here", val_fraction=val_fraction, **QUICK).path
    with (path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    read = [{name: float(value) if value else None for name, value in row.items()} for row in rows]
    assert read == lines(path)
    assert list(rows[0]) == list(lines(path)[0])
    assert (rows[0]["val_loss"] == "") == (val_fraction == 0)
    assert not (path / "tensorboard").exists()
    assert json.loads((path / "config.json").read_text())["tensorboard"] is False


def test_epochs_are_read_as_they_were_written() -> None:
    seen: list[EpochResult] = []
    path = train_run(
        out="here", watch=lambda event: isinstance(event, EpochResult) and seen.append(event), **QUICK
    ).path
    assert read_history(path) == seen
    assert read_history("nowhere") == []
    assert unroll.doctor.read_history is read_history
    (path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(unroll.RunError, match=r"^here/metrics.jsonl is broken \(.*missing.*\); train again$"):
        read_history(path)


@pytest.mark.parametrize("val_fraction", [0.1, 0.0])
@pytest.mark.slow
def test_tensorboard_draws_every_epoch(val_fraction: float) -> None:
    path = train_run(out="here", tensorboard=True, val_fraction=val_fraction, **QUICK).path
    check_recorded(path)
    assert ("loss/val" in recorded(path)) == (val_fraction > 0)
    without = train_run(out="without", val_fraction=val_fraction, **QUICK).path
    assert (without / "model.safetensors").read_bytes() == (path / "model.safetensors").read_bytes()


def test_the_curves_grow_while_it_trains() -> None:
    seen: list[int] = []

    def watch(event: Event) -> None:
        if isinstance(event, EpochResult):
            seen.append(max(recorded(Path("here"))["lr"]))

    train_run(out="here", tensorboard=True, watch=watch, **QUICK)
    assert seen == [1, 2, 3]


def test_a_resumed_run_goes_on_in_the_same_curves() -> None:
    with pytest.raises(RuntimeError, match="stop here"):
        train_run(out="here", tensorboard=True, watch=stop_at(EpochResult, 2), checkpoint_seconds=0, **QUICK)
    assert list(recorded(Path("here"))["loss/train"]) == [1, 2]
    resume_run("here")
    check_recorded(Path("here"))


@pytest.mark.slow
def test_what_was_recorded_after_the_checkpoint_is_cut_off_and_drawn_once() -> None:
    whole = train_run(out="whole", **QUICK).path
    with pytest.raises(RuntimeError, match="stop here"):
        train_run(out="here", tensorboard=True, watch=stop_at(EpochResult, 2), checkpoint_seconds=1e9, **QUICK)
    assert list(recorded(Path("here"))["loss/train"]) == [1, 2]
    assert len(lines(Path("here"))) == 2
    epochs: list[int] = []
    resume_run("here", watch=lambda e: isinstance(e, EpochResult) and epochs.append(len(lines(Path("here")))))
    assert epochs == [1, 2, 3]
    check_recorded(Path("here"))
    assert len(list(Path("here/tensorboard").iterdir())) == 2
    for name in ("metrics.jsonl", "metrics.csv"):  # but for the seconds that it took
        here, there = ((folder / name).read_text().splitlines() for folder in (Path("here"), whole))
        assert [line.split(",")[0] for line in here] == [line.split(",")[0] for line in there]


def test_a_line_that_a_power_cut_left_half_written_is_no_epoch() -> None:
    path = train_run(out="here", **QUICK).path
    whole = read_history(path)
    (path / "metrics.jsonl").write_bytes((path / "metrics.jsonl").read_bytes()[:-20])
    assert read_history(path) == whole[:-1]


@pytest.mark.slow
def test_overwriting_removes_the_old_curves_and_nothing_else(tmp_path: Path) -> None:
    train_run(out="here", tensorboard=True, **QUICK)
    train_run(out="here", overwrite=True, **QUICK)
    assert not Path("here/tensorboard").exists()

    train_run(out="here", overwrite=True, tensorboard=True, **QUICK)
    Path("here/tensorboard/notes.txt").write_text("mine")
    train_run(out="here", overwrite=True, tensorboard=True, epochs=1, hidden_size=8)
    check_recorded(Path("here"))
    assert Path("here/tensorboard/notes.txt").read_text() == "mine"

    (tmp_path / "elsewhere").mkdir()
    kept = tmp_path / "elsewhere" / "events.out.tfevents.1.other.1"
    kept.write_bytes(b"somebody's")
    train_run(out="there", **QUICK)
    Path("there/tensorboard").symlink_to(tmp_path / "elsewhere")
    train_run(out="there", overwrite=True, **QUICK)
    assert not Path("there/tensorboard").exists()
    assert kept.read_bytes() == b"somebody's"


def test_the_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "train",
                "--no-report",
                "--tensorboard",
                "--epochs",
                "1",
                "--hidden-size",
                "8",
                "--out",
                "my run",
            ]
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert "curves  tensorboard --logdir 'my run/tensorboard'\n" in out
    assert err == ""
    check_recorded(Path("my run"))
    assert main(["train", "--no-report", "--resume", "my run", "--tensorboard"]) == 2
    assert "unroll: --resume takes all settings from my run" in capsys.readouterr().err


MISSING = "curves for TensorBoard need the package tensorboard: pip install '.[tensorboard]' in the folder of unroll"


def test_without_the_package_nothing_is_begun(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError, match="stop here"):
        train_run(out="here", tensorboard=True, watch=stop_at(EpochResult, 1), **QUICK)
    before = {file: file.read_bytes() for file in Path("here").rglob("*") if file.is_file()}
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setattr("unroll.runs.plan.load", None)  # not even the data is looked for
    assert main(["train", "--no-report", "--tensorboard", "--out", "new"]) == 2
    assert capsys.readouterr().err == f"unroll: {MISSING}\n"
    assert main(["train", "--no-report", "--tensorboard", "--out", "here", "--overwrite"]) == 2
    assert main(["train", "--no-report", "--resume", "here"]) == 2
    assert capsys.readouterr().err == 2 * f"unroll: {MISSING}\n"
    assert not Path("new").exists()
    assert {file: file.read_bytes() for file in Path("here").rglob("*") if file.is_file()} == before
