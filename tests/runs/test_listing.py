"""The list of runs, and what may be removed: runs alone, whole, and none that anybody uses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unroll
from unroll.errors import RunError
from unroll.runs.folder import write_json
from unroll.runs.listing import Entry, list_runs, pick, remove_runs
from unroll.runs.lock import locked

TRIAL = {"number": 1, "setting": {"lr": 0.01}, "seed": 0, "run": "1-lr0.01-seed0"}
SWEEP = {"format": 1, "data": "mnist-sample", "settings": {}, "axes": {"lr": [0.01, 0.1]}, "count": 2, "seeds": [0]}

RESULTS = [{"number": 1, "accuracy": 0.5}, {"number": 2, "accuracy": 0.75}]
CROSSVAL = {
    "format": 1,
    "data": "mnist-sample",
    "settings": {},
    "refits": True,
    "results": RESULTS,
    "summary": {"accuracy": {"mean": 0.625, "deviation": 0.1}},
}


@pytest.fixture
def runs(run: unroll.Run) -> Path:
    """Single runs in each state, an ensemble, a sweep, a cross-validation, and folders that are none."""
    folder = Path("runs")
    for name in ("good", "halted", "failed", "members", "sweep/1-lr0.01-seed0"):
        shutil.copytree(run.path, folder / name)
    for name in ("halted", "failed"):
        (folder / name / "model.safetensors").unlink()
        (folder / name / "evaluation.json").unlink()
    (folder / "halted" / "resume.pt").touch()
    config = json.loads((folder / "good" / "config.json").read_text())
    write_json(folder / "members" / "config.json", config | {"train": config["train"] | {"ensemble": 2}})
    shutil.copytree(run.path, folder / "members" / "members" / "1")
    ended, waiting = ({**TRIAL, "status": status} for status in ("finished", "waiting"))
    trials = [ended | {"val_accuracy": 0.75, "score": 0.75, "val_loss": 0.5}, waiting | {"number": 2}]
    write_json(folder / "sweep" / "sweep.json", SWEEP | {"trials": trials})
    for name in ("folds/1", "folds/2", "refit"):
        shutil.copytree(run.path, folder / "folded" / name)
    write_json(folder / "folded" / "crossval.json", CROSSVAL)
    for name in ("oof.csv", "report.html", "figures/classes.png"):
        (folder / "folded" / name).parent.mkdir(exist_ok=True)
        (folder / "folded" / name).touch()
    (folder / "older").mkdir()
    write_json(folder / "older" / "config.json", {"format": 2, "unroll": "0.0.9", "preparation": {}})
    (folder / "broken").mkdir()
    (folder / "broken" / "config.json").write_text("{")
    (folder / "broken" / "metrics.jsonl").touch()
    (folder / "photographs").mkdir()
    (folder / "huggingface").mkdir()
    write_json(folder / "huggingface" / "config.json", {"model_type": "bert"})
    return folder


def by_name(folder: Path) -> dict[str, Entry]:
    return {entry.name: entry for entry in list_runs(folder)}


def test_each_run_ensemble_and_sweep_is_a_row_with_its_state(runs: Path, run: unroll.Run) -> None:
    entries = by_name(runs)
    assert {name: (entry.kind, entry.state) for name, entry in entries.items()} == {
        "good": ("run", "finished"),
        "halted": ("run", "interrupted"),
        "failed": ("run", "failed"),
        "members": ("ensemble", "interrupted"),
        "sweep": ("sweep", "interrupted"),
        "folded": ("crossval", "finished"),
        "older": ("run", "damaged"),
        "broken": ("run", "damaged"),
    }
    good, sweep = entries["good"], entries["sweep"]
    assert run.evaluation is not None
    assert (good.data, good.model, good.accuracy) == ("mnist-sample", "rnn 150", run.evaluation["accuracy"])
    metrics = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    assert good.epochs == metrics[-1]["epoch"]
    assert good.val_accuracy in [line["val_accuracy"] for line in metrics]
    assert good.size == sum(file.stat().st_size for file in (runs / "good").iterdir())
    assert (sweep.trainings, sweep.val_accuracy, entries["halted"].accuracy) == (1, 0.75, None)
    assert entries["older"].reason == "format 2 of unroll 0.0.9, expected 3"
    assert entries["broken"].reason.startswith("a file is broken (")


def test_what_a_link_points_to_does_not_count_for_the_size(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(1000))
    (tmp_path / "runs" / "sweep").mkdir(parents=True)
    write_json(tmp_path / "runs" / "sweep" / "sweep.json", SWEEP | {"trials": []})
    (size,) = [entry.size for entry in list_runs(tmp_path / "runs")]
    (tmp_path / "runs" / "sweep" / "link").symlink_to(tmp_path / "large")
    assert [entry.size for entry in list_runs(tmp_path / "runs")] == [size]


def trial(number: int, seed: int, accuracy: float | None, score: float | None = None) -> dict[str, object]:
    """Return a training of a sweep, whose score is the accuracy unless given; without an accuracy it has failed."""
    status, score = "failed" if accuracy is None else "finished", accuracy if score is None else score
    results = {"val_accuracy": accuracy, "val_loss": 0.5, "score": score}
    return {**TRIAL, "number": number, "seed": seed, "status": status, **results}


@pytest.mark.parametrize(
    ("trials", "best"),
    [
        ([trial(1, 0, 0.9), trial(1, 1, 0.5), trial(2, 0, 0.8), trial(2, 1, 0.7)], 0.75),
        ([trial(1, 0, 0.9), trial(1, 1, None), trial(2, 0, 0.8), trial(2, 1, 0.7)], 0.75),
        ([trial(1, 0, 0.9), trial(1, 1, None)], None),
        ([], None),
    ],
)
def test_the_accuracy_of_a_sweep_is_the_best_mean_over_all_seeds(
    trials: list[dict[str, object]], best: float | None, tmp_path: Path
) -> None:
    (tmp_path / "sweep").mkdir()
    write_json(tmp_path / "sweep" / "sweep.json", SWEEP | {"trials": trials, "seeds": [0, 1]})
    (entry,) = list_runs(tmp_path)
    assert entry.val_accuracy == (None if best is None else pytest.approx(best))
    assert (entry.trainings, entry.state) == (len(trials), "finished" if len(trials) == 4 else "interrupted")


def test_the_accuracy_of_a_sweep_is_that_of_the_setting_with_the_best_score(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    by_loss = [trial(1, 0, 0.9, score=-0.8), trial(2, 0, 0.7, score=-0.3)]
    write_json(tmp_path / "sweep" / "sweep.json", SWEEP | {"trials": by_loss, "settings": {"metric": "loss"}})
    (entry,) = list_runs(tmp_path)
    assert entry.val_accuracy == 0.7


def test_the_epochs_of_an_ensemble_are_those_that_were_trained(runs: Path, run: unroll.Run) -> None:
    kept = json.loads((run.path / "evaluation.json").read_text()) | {"epoch": 3}
    write_json(runs / "members" / "evaluation.json", kept)
    (runs / "members" / "metrics.jsonl").unlink()  # an ensemble has none of its own
    shutil.copytree(run.path, runs / "members" / "members" / "2")
    for number, epochs in ((1, 7), (2, 4)):
        (runs / "members" / "members" / f"{number}" / "metrics.jsonl").write_text(f'{{"epoch": {epochs}}}\n')
    assert by_name(runs)["members"].epochs == 7


@pytest.mark.parametrize(("name", "ended"), [("sweep", 1), ("folded", 2)])
def test_of_several_trainings_it_is_said_how_many_have_ended(name: str, ended: int, runs: Path) -> None:
    entry = by_name(runs)[name].to_dict()
    assert (entry["epochs"], entry["trainings"]) == (None, ended)


@pytest.mark.parametrize("cell", ["1 trial", "2 folds"])
def test_the_table_does_not_show_trainings_as_epochs(cell: str, runs: Path, call: Callable[..., Any]) -> None:
    assert f" {cell} │" in call("runs")[1]


@pytest.mark.parametrize(("kept", "val_accuracy"), [(1, 0.8), (2, 0.7), (3, 0.6)])
def test_the_validation_accuracy_is_that_of_the_epoch_whose_weights_were_kept(
    kept: int, val_accuracy: float, run: unroll.Run, tmp_path: Path
) -> None:
    good = shutil.copytree(run.path, tmp_path / "good")
    rows = [{"epoch": epoch, "val_accuracy": accuracy} for epoch, accuracy in ((1, 0.8), (2, 0.7), (3, 0.6))]
    (good / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"epo')
    write_json(good / "evaluation.json", json.loads((good / "evaluation.json").read_text()) | {"epoch": kept})
    (entry,) = list_runs(tmp_path)
    assert (entry.val_accuracy, entry.epochs) == (val_accuracy, 3)


def test_a_cross_validation_is_a_row_with_its_mean_and_is_removed_whole(
    runs: Path, call: Callable[..., tuple[int, str, str]]
) -> None:
    folded = by_name(runs)["folded"]
    assert (folded.data, folded.model, folded.accuracy, folded.trainings) == ("mnist-sample", "rnn 150", 0.625, 2)
    assert list(by_name(runs / "folded")) == ["folds/1", "folds/2", "refit"]
    with locked(runs / "folded" / "folds" / "2"), pytest.raises(RunError, match="folds/2 is in use"):
        remove_runs([folded])
    write_json(runs / "folded" / "crossval.json", CROSSVAL | {"results": [*RESULTS, {"number": 3, "accuracy": None}]})
    shutil.rmtree(runs / "halted")  # three are shown
    assert "crossval --resume runs/folded\n" in call("runs")[1]
    (runs / "folded" / "folds" / "notes.txt").write_text("mine")
    assert remove_runs([folded]) == {"folded": [runs / "folded" / "folds" / "notes.txt"]}
    assert [path.name for path in (runs / "folded").iterdir() if path.name != ".lock"] == ["folds"]


def test_the_list_is_sorted(runs: Path) -> None:
    names = sorted(by_name(runs))
    assert [entry.name for entry in list_runs(runs, "name")] == names
    known = [entry.accuracy for entry in list_runs(runs, "accuracy") if entry.accuracy is not None]
    assert known == sorted(known, reverse=True)
    assert [entry.accuracy for entry in list_runs(runs, "accuracy")[: len(known)]] == known
    assert list_runs(runs, "accuracy")[-1].accuracy is None
    sizes = [entry.size for entry in list_runs(runs, "size")]
    assert sizes == sorted(sizes, reverse=True)
    dates = [entry.date for entry in list_runs(runs)]
    assert dates == sorted(dates)


def test_a_run_in_use_is_running_and_nothing_is_removed_with_it(runs: Path) -> None:
    with locked(runs / "halted"):
        before = sorted(runs.rglob("*"))
        holder = (runs / "halted" / ".lock").read_text()
        entries = by_name(runs)
        assert entries["halted"].state == "running"
        with pytest.raises(RunError, match=r"halted is in use by another training \(process .*\); wait until it ends$"):
            remove_runs([entries["good"], entries["halted"]])
        assert (runs / "halted" / ".lock").read_text() == holder
        assert (
            set(before) >= {path for path in runs.rglob("*") if path.name != ".lock"} >= {runs / "good" / "config.json"}
        )
    assert by_name(runs)["halted"].state == "interrupted"
    with locked(runs / "sweep" / "1-lr0.01-seed0"), pytest.raises(RunError, match="1-lr0.01-seed0 is in use"):
        remove_runs([by_name(runs)["sweep"]])
    assert (runs / "sweep" / "sweep.json").exists()


def test_what_is_removed_is_a_run_and_other_files_stay(runs: Path, tmp_path: Path) -> None:
    (runs / "good" / "notes.txt").write_text("mine")
    (runs / "halted" / "figures").mkdir()
    (runs / "halted" / "figures" / "curves.png").touch()
    (runs / "link").symlink_to(runs.resolve() / "failed")
    entries = by_name(runs)
    for name, reason in (
        ("link", "link is a link to .*failed: remove the run there"),
        ("broken", "too damaged to tell"),
    ):
        with pytest.raises(RunError, match=reason):
            remove_runs([entries["good"], entries[name]])
    left = remove_runs([entries[name] for name in ("good", "halted", "members", "sweep", "folded", "older")])
    assert left == {"good": [runs / "good" / "notes.txt"]}
    assert (runs / "good" / "notes.txt").read_text() == "mine"
    assert set(by_name(runs)) == {"failed", "link", "broken"}
    assert {path.name for path in runs.iterdir()} == {"good", "failed", "link", "broken", "photographs", "huggingface"}
    with pytest.raises(RunError, match="runs holds no run called photographs"):
        pick(list_runs(runs), ["photographs"], runs)


def test_the_command_lists_and_removes(runs: Path, call: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = call("runs")
    assert (status, err) == (0, "")
    assert "│ sweep (sweep)" in out
    assert "\ndamaged  older: format 2 of unroll 0.0.9, expected 3\n" in out
    assert "train --resume runs/halted\n" in out
    assert "sweep --resume runs/sweep\n" in out
    listed = json.loads(call("runs", runs, "--sort", "name", "--json")[1])["runs"]
    assert [entry["name"] for entry in listed] == sorted(by_name(runs))
    assert [entry["name"] for entry in json.loads(call("runs", "runs/sweep", "--json")[1])["runs"]] == [TRIAL["run"]]
    for words, message in (
        (("--remove", "god", "--yes"), "runs holds no run called god; did you mean 'good'?"),
        (("--remove", "good"), "to remove good ("),
        (("--remove", "good", "--json"), "to remove good ("),
        (("--yes",), "--yes goes with --remove"),
        (("--cache", "runs"), "--cache lists the cache folder"),
        (("runs/good",), "runs/good is a run itself; give the folder that holds it"),
        (("nowhere",), "nowhere is not a folder; give one that holds runs"),
    ):
        status, out, err = call("runs", *words)
        assert (status, out) == (2, "")
        assert err.startswith(f"unroll: {message}")
        assert err.count("\n") == 1
    status, out, err = call("runs", "--remove", "good", "failed", "--yes")
    assert (status, err) == (0, "")
    assert out.startswith("removed good, failed, ")
    assert not (runs / "good").exists()
    assert not (runs / "failed").exists()


@pytest.mark.slow
def test_listing_loads_no_torch() -> None:
    code = "import sys, unroll.cli.views.runs, unroll.runs.listing; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
