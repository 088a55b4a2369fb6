"""Sweeps: what is tried, what is chosen, and that nothing of one is lost."""

from __future__ import annotations

import itertools
import json
import math
import re
import shutil
import signal
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unroll
from forked import forked
from unroll import ConfigError, Range, plots, resume_sweep, run_sweep
from unroll.cli import main
from unroll.config.axes import check_axes, read_values
from unroll.runs.execute import Started, complete_run, resume_run, train_run
from unroll.runs.refit import refit_settings
from unroll.runs.sweep import Sweep, Trial, read_sweep
from unroll.runs.sweep import search as search_module
from unroll.runs.sweep.search import plan, propose
from unroll.training.results import EpochResult
from waiting import eventually

QUICK: dict[str, Any] = {"recipe": "images", "epochs": 1, "hidden_size": 8}
TWO: dict[str, Any] = {"search": {"lr": [0.001, 0.01]}, **QUICK}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file of short series, up or down, to train on in no time."""
    random = np.random.default_rng(0)
    y = np.arange(200) % 2
    x = random.normal(size=(200, 5, 2)) + 0.3 * (2 * y[:, None, None] - 1)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(path, x=x.astype(np.float32), y=y)
    return str(path)


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Sweep:
    """Two cells and two rates, with two seeds each."""
    search = {"cell": ["rnn", "gru"], "lr": [0.001, 0.01]}
    return run_sweep(tiny, search=search, seeds=2, out=tmp_path_factory.mktemp("sweeps") / "grid", **QUICK)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tiny: str) -> Sweep:
    """Two rates, not interrupted."""
    return run_sweep(tiny, out=tmp_path_factory.mktemp("sweeps") / "whole", **TWO)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than the tiniest trainings."""
    monkeypatch.setattr(plots, "png", lambda _: b"")


def runs(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir() if entry.is_dir())


def weights(path: Path) -> dict[str, bytes]:
    return {name: (path / name / "model.safetensors").read_bytes() for name in runs(path)}


def test_a_grid_is_all_combinations_with_all_seeds_each_an_ordinary_run(grid: Sweep, tiny: str, tmp_path: Path) -> None:
    expected = list(itertools.product(["rnn", "gru"], [0.001, 0.01], [0, 1]))
    assert [(*trial.setting.values(), trial.seed) for trial in grid.trials] == expected
    assert runs(grid.path) == sorted(
        f"{number}-{cell}-lr{lr:g}-seed{seed}"
        for number, (cell, lr) in enumerate(itertools.product(["rnn", "gru"], [0.001, 0.01]), start=1)
        for seed in (0, 1)
    )
    alone = train_run(tiny, out=tmp_path / "alone", cell="gru", lr=0.01, seed=1, **QUICK)
    assert (alone.path / "model.safetensors").read_bytes() == weights(grid.path)["4-gru-lr0.01-seed1"]


def test_the_choice_is_made_by_validation_accuracy(grid: Sweep) -> None:
    means = {}
    for number in range(1, 5):
        last = [
            json.loads((grid.path / trial.run / "metrics.jsonl").read_text().splitlines()[-1])
            for trial in grid.trials
            if trial.number == number
        ]
        means[number] = sum(row["val_accuracy"] for row in last) / 2
    assert [one.number for one in grid.ranked] == sorted(means, key=lambda number: -means[number])
    best = grid.best
    assert best is not None
    assert best.mean == pytest.approx(max(means.values()))
    found = grid.to_dict()["best"]
    accuracies = [unroll.load_run(path).evaluation["accuracy"] for path in found["runs"]]  # type: ignore[index]
    assert found["test_accuracies"] == accuracies
    assert found["test_accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert all("test" not in name for name in json.loads((grid.path / "sweep.json").read_text())["trials"][0])


@pytest.mark.parametrize(("metric", "key", "sign"), [("loss", "val_loss", -1), ("macro-f1", "val_macro_f1", 1)])
def test_the_choice_is_made_by_another_metric(tiny: str, tmp_path: Path, metric: str, key: str, sign: int) -> None:
    found = run_sweep(tiny, out=tmp_path / "other", metric=metric, search={"lr": [1e-4, 0.05, 0.01]}, **QUICK)
    scores = [
        sign * json.loads((found.path / trial.run / "metrics.jsonl").read_text().splitlines()[-1])[key]
        for trial in found.trials
    ]
    assert [trial.score for trial in found.trials] == scores
    assert [one.score for one in found.ranked] == sorted(scores, reverse=True)
    assert read_sweep(found.path).metric == metric
    assert found.to_dict()["metric"] == metric
    with pytest.raises(ConfigError, match="metric must be the same for all"):
        run_sweep(tiny, search={"metric": ["loss", "accuracy"]}, **QUICK)


def test_what_is_written_is_read_again(grid: Sweep) -> None:
    assert read_sweep(grid.path) == grid


def test_a_finished_sweep_is_shown_again_and_nothing_is_trained(
    grid: Sweep, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in grid.path.glob("*/*")}
    assert main(["sweep", "--resume", str(grid.path)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.index("8/8") < out.index("settings, best first")
    assert grid.best is not None
    assert f"chosen by validation accuracy: cell {grid.best.setting['cell']}, lr " in out
    assert "over 2 seeds (" in out
    assert "the test set was not used for the choice" in out
    assert " compare " in out
    with Image.open(grid.path / "sweep.png") as picture:
        assert picture.size[0] > 1000
    assert {path: path.stat().st_mtime_ns for path in grid.path.glob("*/*")} == before


class Stop(KeyboardInterrupt):
    pass


def interrupted(data: str, path: str, at: int, **settings: Any) -> Path:
    """Interrupt a sweep at the event of that number: of an epoch, or of a trial's beginning or end."""
    seen = 0

    def watch(event: Any) -> None:
        nonlocal seen
        if isinstance(event, (Trial, EpochResult)):
            seen += 1
            if seen == at:
                raise Stop

    with pytest.raises(Stop):
        run_sweep(data, out=path, watch=watch, **settings)
    return Path(path)


STATES = {
    1: ["running", "waiting"],  # before its run's folder was made
    2: ["running", "waiting"],  # at the end of its epoch
    3: ["finished", "waiting"],
    5: ["finished", "running"],
}


@pytest.mark.parametrize("at", STATES)
@pytest.mark.slow
def test_an_interrupted_sweep_ends_as_if_it_had_not_been(at: int, tiny: str, whole: Sweep) -> None:
    path = interrupted(tiny, "here", at, **TWO)
    assert [trial.status for trial in read_sweep(path).trials] == STATES[at]
    found = resume_sweep(path)
    assert weights(path) == weights(whole.path)
    assert [trial.val_accuracy for trial in found.trials] == [trial.val_accuracy for trial in whole.trials]
    assert {trial.status for trial in read_sweep(path).trials} == {"finished"}


def test_a_run_that_was_finished_but_not_noted_is_not_trained_again(tiny: str) -> None:
    path = interrupted(tiny, "here", 2, **TWO)
    trial = read_sweep(path).trials[0]
    file = resume_run(path / trial.run).path / "model.safetensors"
    before = file.stat().st_mtime_ns
    assert resume_sweep(path).best is not None
    assert file.stat().st_mtime_ns == before


def test_a_run_killed_before_its_first_state_is_begun_anew(tiny: str, whole: Sweep) -> None:
    path = interrupted(tiny, "here", 1, **TWO)
    trial = read_sweep(path).trials[0]
    (path / trial.run).mkdir()
    (path / trial.run / ".lock").touch()
    (path / trial.run / ".config.json.1.partial").touch()
    assert resume_sweep(path).trials[0].status == "finished"
    assert weights(path) == weights(whole.path)


@pytest.mark.slow
def test_tpe_goes_on_as_if_it_had_not_been_interrupted(tiny: str) -> None:
    search = {"lr": Range(1e-4, 1e-2), "readout": ["last", "mean"]}
    settings: dict[str, Any] = {"search": search, "method": "tpe", "trials": 4, **QUICK}
    found = run_sweep(tiny, out="whole", **settings)
    assert len({json.dumps(trial.setting) for trial in found.trials}) == 4
    path = interrupted(tiny, "here", 8, **settings)
    assert len(read_sweep(path).trials) == 3
    again = [(trial.run, trial.val_loss) for trial in resume_sweep(path).trials]
    assert again == [(trial.run, trial.val_loss) for trial in found.trials]


def test_tpe_finds_what_is_better_than_chance() -> None:
    """On a smooth hill its later settings are nearer to the top than those drawn evenly."""
    axes = {"lr": Range(1e-5, 1.0), "cell": ("rnn", "gru")}

    def height(setting: dict[str, Any]) -> float:
        return 1 - abs(math.log10(setting["lr"]) + 3) / 5 - 0.2 * (setting["cell"] == "rnn")

    seen = list[tuple[dict[str, Any], float]]()
    for _ in range(20):
        setting = propose(axes, seen, 20, 0)
        seen.append((setting, height(setting)))
    assert sum(score for _, score in seen[10:]) / 10 > sum(height(s) for s in plan("random", axes, 200, 0)[0]) / 200
    assert len({json.dumps(setting) for setting, _ in seen}) == 20


def test_tpe_leaves_no_setting_out_where_there_are_few() -> None:
    axes = {"cell": ("rnn", "gru", "lstm"), "num_layers": Range(1, 2)}
    seen = list[tuple[dict[str, Any], float]]()
    for _ in range(6):
        seen.append((propose(axes, seen, 6, 0), 0.5))
    assert len({json.dumps(setting) for setting, _ in seen}) == 6


@pytest.mark.parametrize("left", [8, 10, 12])
def test_the_last_number_of_a_range_is_found_however_seldom_it_is_drawn(
    left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_module, "ATTEMPTS", 1)
    seen = [({"hidden_size": size}, 0.5) for size in range(8, 13) if size != left]
    found = [propose({"hidden_size": Range(8, 12)}, seen, 5, seed)["hidden_size"] for seed in range(5)]
    assert found == [left] * 5


@pytest.mark.slow
def test_tpe_tries_each_number_of_a_small_range_once() -> None:
    axes = {"hidden_size": Range(8, 12), "cell": ("rnn", "gru")}
    assert plan("tpe", axes, None, 0) == ([], 10)
    assert plan("tpe", {"hidden_size": Range(8, 9)}, None, 0) == ([], 2)
    seen = list[tuple[dict[str, Any], float]]()
    for _ in range(10):
        setting = propose(axes, seen, 10, 0)
        seen.append((setting, float(setting["hidden_size"] == 8)))
    assert {(setting["hidden_size"], setting["cell"]) for setting, _ in seen} == set(
        itertools.product(range(8, 13), ("rnn", "gru"))
    )


def test_random_draws_within_the_ranges_by_factors_and_no_setting_twice() -> None:
    axes = {"lr": Range(1e-5, 1e-1), "hidden_size": Range(4, 8), "dropout": Range(0.0, 0.5)}
    settings, count = plan("random", axes, 400, 0)
    assert count == len(settings) == len({json.dumps(setting) for setting in settings}) == 400
    assert all(1e-5 <= setting["lr"] <= 1e-1 and 0 <= setting["dropout"] <= 0.5 for setting in settings)
    assert {setting["hidden_size"] for setting in settings} == {4, 5, 6, 7, 8}
    below = sum(setting["lr"] < 1e-3 for setting in settings) / 400  # half of the factors lie below the middle one
    assert below == pytest.approx(0.5, abs=0.1)
    assert plan("random", axes, 400, 0)[0] == settings
    assert plan("random", axes, 400, 1)[0] != settings
    every, _ = plan("random", {"cell": ("rnn", "gru"), "num_layers": (1, 2)}, None, 0)
    assert len({json.dumps(setting) for setting in every}) == 4


def test_a_diverged_trial_is_noted_and_the_sweep_goes_on(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = "sweep --recipe images --lr 1e30,0.01 --clip-norm 0 --nonlinearity relu --schedule constant --epochs 1"
    assert main([*words.split(), "--data", tiny, "--out", "here"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "failed" in out
    assert "lr 1e+30, seed 0: the loss became" in out
    sweep = read_sweep("here")
    assert [trial.status for trial in sweep.trials] == ["failed", "finished"]
    assert sweep.best is not None
    assert sweep.best.setting == {"lr": 0.01}
    assert [trial.status for trial in resume_sweep("here").trials] == ["failed", "finished"]


def test_a_trial_that_takes_too_much_memory_is_noted(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*words: Any, **settings: Any) -> Any:
        if settings["lr"] == 0.001:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return complete_run(*words, **settings)

    monkeypatch.setattr("unroll.runs.sweep.running.complete_run", train)
    sweep = run_sweep(tiny, **TWO)
    assert [(trial.status, trial.reason) for trial in sweep.trials] == [("failed", "out of memory"), ("finished", "")]


OWN = """
import unroll


class Own(unroll.RNN):
    pass
"""


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_a_cell_of_one_s_own(tiny: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the command line is imported, what stands in a folder is not."""
    Path("sweep_cells.py").write_text(OWN)
    monkeypatch.setattr(sys, "path", [*sys.path])
    flags = ["--data", tiny, "--epochs", "1", "--hidden-size", "8"]
    assert main(["sweep", "--cell", "rnn,sweep_cells:Own", *flags, "--out", "here"]) == 0
    assert runs(Path("here")) == ["1-rnn-seed0", "2-own-seed0"]
    state = json.loads(Path("here/sweep.json").read_text())
    state["trials"][1] |= {"status": "waiting", "val_accuracy": None}
    Path("here/sweep.json").write_text(json.dumps(state))
    shutil.rmtree("here/2-own-seed0")
    monkeypatch.delitem(sys.modules, "sweep_cells")
    capsys.readouterr()
    assert main(["sweep", "--resume", "here"]) == 2
    assert "sweep_cells:Own" in capsys.readouterr().err
    assert json.loads(Path("here/sweep.json").read_text()) == state
    assert main(["sweep", "--resume", "here", "--cell", "sweep_cells:Own"]) == 0
    assert runs(Path("here")) == ["1-rnn-seed0", "2-own-seed0"]


@pytest.mark.slow
def test_settings_that_go_together_only_with_what_is_chosen(tiny: str) -> None:
    """Dropout needs two layers, which the recipe alone has not; and a value may be none at all."""
    search = {"num_layers": [2, 3], "forget_bias": [None, 1.0]}
    sweep = run_sweep(tiny, search=search, dropout=0.2, cell="gru", **QUICK)
    assert {trial.status for trial in sweep.trials} == {"finished"}
    assert sweep.trials[0].setting == {"num_layers": 2, "forget_bias": None}


def test_if_all_diverge_nothing_is_chosen(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = "sweep --recipe images --lr 1e30,1e31 --clip-norm 0 --nonlinearity relu --schedule constant --epochs 1"
    assert main([*words.split(), "--data", tiny, "--out", "here", "--json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["best"] is None
    assert err.endswith("unroll: no setting finished with every seed; see here/sweep.json\n")


@pytest.mark.slow
def test_json_is_one_object_and_one_seed_has_no_deviation(capsys: pytest.CaptureFixture[str]) -> None:
    words = "sweep --cell rnn,gru --epochs 1 --hidden-size 8 --seed 3 --bidirectional true --json"
    assert main(words.split()) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["sweep"] == "sweeps/mnist-sample-1"
    assert found["seeds"] == [3]
    assert found["settings"] == {"bidirectional": True, "hidden_size": 8, "epochs": 1}
    assert found["axes"] == {"cell": ["rnn", "gru"]}
    assert found["ranked"][0]["deviation"] is None
    assert found["best"]["setting"] == found["ranked"][0]["setting"]
    assert "1/2" in err


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("hidden_size", "8", (8,)),
        ("hidden_size", "8, 16", (8, 16)),
        ("hidden_size", "8..16", Range(8, 16)),
        ("lr", "1e-4..1e-2", Range(1e-4, 1e-2)),
        ("cell", "rnn,my_cells:Own", ("rnn", "my_cells:Own")),
        ("bidirectional", "true,false", (True, False)),
        ("epochs", "3,5", (3, 5)),
        ("forget_bias", "-1.5,1", (-1.5, 1.0)),
        ("frame", "auto,4", ("auto", 4)),
    ],
)
def test_values_of_flags(name: str, text: str, values: object) -> None:
    assert read_values(name, text) == values


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("", "nothing to choose between: give a setting several values, as in --lr 1e-3,3e-3"),
        ("--lr 1e-3", "nothing to choose between"),
        ("--lr 1e-3,x", "lr must be a number, several with commas, or a range low..high, got 'x'"),
        ("--epochs 1.5,2", "epochs must be a whole number, several with commas, or a range low..high, got '1.5'"),
        ("--hidden-size 8,0", "hidden_size must be at least 1, got 0"),
        ("--hidden-size 8,0 --lr 1e-3,1e-2", "hidden_size must be at least 1, got 0 (in the setting hidden_size 0, lr"),
        ("--num-layers 1,2 --dropout 0,0.2", "dropout acts between layers and needs num_layers of at least 2, got 1"),
        ("--cell rnn,gur", "cell must be one of rnn, gru, lstm"),
        ("--readout mean,foo", "readout must be one of last, mean, max, attention, got 'foo'"),
        ("--bidirectional yes", "bidirectional must be true, false, or both separated by a comma, got 'yes'"),
        ("--bidirectional true,false --tbptt 5", "tbptt must be 0 for a bidirectional model"),
        ("--embedding-size 3,4", "embedding_size applies to texts, got 3 for numeric data: leave it out"),
        ("--lr 1e-3,1e-3", "lr has 0.001 twice"),
        ("--lr 1e-2..1e-3", "the range of lr must go from a lower to a higher number, got 0.01..0.001"),
        ("--lr 0..1", "the range of lr is searched by factors: it must start above 0, got 0..1"),
        ("--dropout 0.1..1 --num-layers 2", "dropout must be at least 0 and below 1, got 1.0"),
        ("--lr 1e-4..1e-2 --method grid", "a grid needs values, not a range, got lr 0.0001..0.01: list values"),
        (
            "--lr 1e-3,1e-2 --trials 5",
            "trials applies to the methods random and tpe, got 5: a grid tries all its settings",
        ),
        ("--lr 1e-3,1e-2 --trials 5 --method random", "there are only 2 settings to try, got trials 5"),
        (
            "--hidden-size 4..5 --trials 7",
            "there are only 2 settings to try, got trials 7: give fewer, or leave it out",
        ),
        ("--hidden-size 8..9 --trials 5 --method tpe", "there are only 2 settings to try, got trials 5: give fewer"),
        ("--hidden-size 8..9 --cell rnn,gru --trials 5", "there are only 4 settings to try, got trials 5"),
        ("--lr 1e-3,1e-2 --trials 0 --method random", "trials must be at least 1, got 0"),
        ("--lr 1e-3,1e-2 --seeds 0", "seeds must be at least 1, got 0"),
        ("--lr 1e-3,1e-2 --seed -1", "seed must be from 0 to 4294967295, got -1"),
        ("--seed 1,2", "a sweep cannot choose a seed: set the number of seeds for each setting with seeds"),
        ("--val-fraction 0.1,0.2", "val_fraction must be the same for all"),
        ("--lr 1e-3,1e-2 --recipe best", "a sweep chooses by validation accuracy: val_fraction must be above 0, got 0"),
        ("--lr 1e-3,1e-2 --data mnits", "data must be one of mnist-sample, mnist"),
        ("--resume no", "no is not a sweep folder: it has no sweep.json"),
        ("--resume no --lr 1,2", "--resume takes all settings from no; give at most --data-dir and --refit with it"),
        ("--resume no --seeds 2", "--resume takes all settings from no; give at most --data-dir and --refit with it"),
    ],
)
def test_bad_input_is_one_plain_line_and_nothing_is_made(
    capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert main(["sweep", *words.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"unroll: {message}")
    assert err.count("\n") == 1
    assert not list(Path().iterdir())


def test_bad_searches_from_python() -> None:
    for search, message in (
        ({"hidden": [1, 2]}, "'hidden' is not a setting of model or training that a sweep can choose"),
        ({"read": ["rows", "columns"]}, "'read' is not a setting of model or training"),
        ({"lr": 0.1}, "lr must have a list of values or a Range to choose from, got 0.1"),
        ({"cell": "rnn"}, "cell must have a list of values or a Range to choose from, got 'rnn'"),
        ({"lr": []}, r"lr must have a list of values or a Range to choose from, got \[\]"),
        ({"cell": Range(1, 2)}, "cell cannot have a range: list its values"),
        ({"hidden_size": Range(1.5, 2)}, "the range of hidden_size must have whole numbers as ends, got 1.5..2"),
        ({"hidden_size": [8, "16"]}, "hidden_size must be of type int, got '16'"),
    ):
        with pytest.raises(ConfigError, match=message):
            check_axes("images", {}, search)
    with pytest.raises(ConfigError, match="lr is given twice: as a fixed value and as values to choose between"):
        run_sweep(search={"lr": [0.1, 0.2]}, lr=0.1)


def test_a_folder_with_a_sweep_or_a_broken_one(grid: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "--lr", "0.1,0.2", "--out", str(grid.path)]) == 2
    assert f"{grid.path} holds a sweep; continue it with --resume {grid.path}, or choose" in capsys.readouterr().err
    for content, message in (
        ("", "Expecting value"),
        ("[]", "expected an object, got []"),
        ("{}", "'format' is missing"),
        ('{"format": 9}', "it has format 9, expected 1"),
        ('{"format": 1}', "'axes' is missing"),
    ):
        (tmp_path / "sweep.json").write_text(content)
        with pytest.raises(unroll.RunError, match="is broken .*; start a new sweep") as error:
            read_sweep(tmp_path)
        assert message in str(error.value)


def test_without_optuna_tpe_says_what_to_install(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=re.escape(unroll.errors.how_to_install("sweep"))):
        run_sweep(tiny, method="tpe", trials=2, **TWO)
    with pytest.raises(ConfigError, match="needs the library optuna"):
        search_module.optuna()
    assert not Path("sweeps").exists()
    assert run_sweep(tiny, method="random", trials=1, **TWO).best is not None


def test_resume_notices_other_data(tiny: str) -> None:
    shutil.copy(tiny, "own.npz")
    path = interrupted("own.npz", "here", 3, **TWO)
    with np.load(tiny) as arrays:
        np.savez("own.npz", x=arrays["x"] + 1, y=arrays["y"])
    with pytest.raises(unroll.DataError, match="the run was trained on other data than .*own.npz holds now"):
        resume_sweep(path)


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on(tiny: str) -> None:
    words = ["sweep", "--data", tiny, "--lr", "0.001,0.002", "--epochs", "9999", "--hidden-size", "8", "--out", "here"]
    metrics = Path("here/1-lr0.001-seed0/metrics.jsonl")
    with forked(*words) as process:
        eventually(lambda: not process.running() or (metrics.exists() and metrics.read_text()))
        process.send_signal(signal.SIGINT)
        status, _, err = process.rest()
    assert status == 130, err
    assert err.startswith("unroll: interrupted; continue with: ")
    assert err.endswith(" sweep --resume here\n")
    assert [trial.status for trial in read_sweep("here").trials] == ["running", "waiting"]
    assert (metrics.parent / "resume.pt").exists()


# Refit


@pytest.mark.parametrize(
    ("kept", "epochs"),
    [([1], 1), ([0, 0], 1), ([4, 7], 6), ([2, 3, 3], 3), ([1, 1, 2], 1)],  # rounded means, at least 1
)
def test_where_validation_decided_a_refit_is_as_long_as_the_kept_weights_took(
    kept: list[int], epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = dict(zip(map(str, range(len(kept))), kept, strict=True))
    monkeypatch.setattr("unroll.runs.refit.read_evaluation", lambda _: {"deciding": "accuracy"})
    monkeypatch.setattr("unroll.runs.refit.read_record", lambda path: SimpleNamespace(kept_epoch=known[str(path)]))
    asked = {"lr": 0.01, "epochs": 50, "patience": 3, "keep": "best", "metric": "loss", "val_seed": 2}
    without = {"val_fraction": 0.0, "patience": 0, "keep": "last", "metric": None}
    length = {"epochs": epochs, "training_steps": None, "budget": None}
    assert refit_settings(asked, [Path(name) for name in known]) == {"lr": 0.01} | length | without


def test_a_refit_of_ensembles_is_as_long_as_their_members_took_on_average(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = {f"{fold}/members/{number}": 10 * number for fold in (1, 2) for number in (1, 2, 3)}
    for name in kept:
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text('{"format": 3, "unroll": "", "preparation": {}}')
    longest = lambda path: kept.get(str(path.relative_to(tmp_path)), 30)  # noqa: E731  # an ensemble's own is the most
    monkeypatch.setattr("unroll.runs.refit.read_evaluation", lambda _: {"deciding": 25})
    monkeypatch.setattr("unroll.runs.refit.read_record", lambda path: SimpleNamespace(kept_epoch=longest(path)))
    assert refit_settings({"ensemble": 3}, [tmp_path / "1", tmp_path / "2"])["epochs"] == 20


def test_where_validation_did_not_decide_a_refit_is_as_long_as_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.runs.refit.read_evaluation", lambda _: {"deciding": None})
    without = {"val_fraction": 0.0, "patience": 0, "keep": "last", "metric": None}
    length = {"epochs": 50, "training_steps": 9}
    assert refit_settings(length, [Path("0")]) == length | without


def test_the_chosen_setting_is_refitted_on_training_and_validation_data(tiny: str, tmp_path: Path) -> None:
    trained_on = list[int]()

    def note(event: object) -> None:
        if isinstance(event, Started):
            trained_on.append(len(event.training.train))

    settings = {**QUICK, "epochs": 6, "patience": 1, "schedule": "constant", "val_fraction": 0.25}
    done = run_sweep(tiny, search={"lr": [0.01, 0.05]}, seeds=2, out=tmp_path / "s", refit=True, watch=note, **settings)
    best, run = done.best, done.refit
    assert best is not None
    assert run is not None
    assert trained_on == [120] * 4 + [160]
    train = run.config.train
    assert train is not None
    kept = [json.loads((done.path / trial.run / "evaluation.json").read_text())["epoch"] for trial in best.trials]
    assert train.epochs == round(sum(kept) / 2)
    assert (train.val_fraction, train.patience, train.lr, train.seed) == (0, 0, best.setting["lr"], 0)
    assert run.evaluation is not None
    refit = done.to_dict()["refit"]
    assert refit == {
        "run": str(done.path / "refit"),
        "epochs": train.epochs,
        "test_accuracy": run.evaluation["accuracy"],
        "n": 40,
    }


def test_a_finished_sweep_is_refitted_too(whole: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert whole.refit is None
    again = shutil.copytree(whole.path, tmp_path / "again")
    before = weights(again)
    assert main(["sweep", "--resume", str(again), "--refit"]) == 0
    assert f"{again / 'refit'}: on all but the test part, 1 epoch, test accuracy" in capsys.readouterr().out
    assert {name: content for name, content in weights(again).items() if name != "refit"} == before
    assert main(["evaluate", str(again)]) == 2
    assert f"is a sweep: name its run trained on all, {again / 'refit'}" in capsys.readouterr().err


def test_data_with_a_validation_part_of_its_own_is_not_refitted(tiny: str, tmp_path: Path) -> None:
    shutil.copy(tiny, tmp_path / "val.npz")
    with pytest.raises(unroll.DataError, match="has a validation part of its own, which no training is on"):
        run_sweep(tiny, out=tmp_path / "s", refit=True, val_data=str(tmp_path / "val.npz"), **TWO)
    assert not (tmp_path / "s").exists()
