"""Runs side by side: what is told of them, and which test is made of what."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from scipy import stats

import unroll
from unroll import compare_runs
from unroll.cli import main
from unroll.cli.views.comparison import print_comparison
from unroll.data.columns import Columns
from unroll.evaluation.predictions import Predictions
from unroll.evaluation.significance import LEVEL, holm
from unroll.plots import Curve, Score, png, side_by_side, swept
from unroll.runs.artifacts import read_calibration, read_predictions, write_predictions
from unroll.runs.compare import Comparison, Verdict
from unroll.runs.folder import EVALUATION, METRICS, PREDICTIONS
from unroll.runs.record import Record, read_record

QUICK: dict[str, Any] = {"epochs": 2, "hidden_size": 8}
CLASSES = tuple("0123456789")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some runs: a and b differ in lr, b and c in the seed, g has another cell, e learned for longer."""
    folder = tmp_path_factory.mktemp("several")
    for name, settings in {
        "a": {},
        "b": {"lr": 0.01},
        "c": {"lr": 0.01, "seed": 1},
        "d": {"seed": 1},
        "g": {"cell": "gru"},
        "columns": {"read": "columns"},
    }.items():
        unroll.train_run(out=folder / name, **QUICK, **settings)
    return folder


@pytest.fixture
def here(runs: Path) -> Path:
    """Copies of them, in the working folder."""
    shutil.copytree(runs, "runs")
    return Path("runs")


def pair(verdicts: tuple[Verdict, ...], other: str) -> Verdict:
    return next(verdict for verdict in verdicts if verdict.rival == other)


@pytest.mark.slow
def test_a_record_is_what_the_run_is(runs: Path) -> None:
    run, record = unroll.load_run(runs / "g"), read_record(runs / "g")
    assert run.evaluation is not None
    assert record.parameters == sum(parameter.numel() for parameter in run.model.parameters())
    assert record.settings["cell"] == "gru"
    assert record.settings["hidden_size"] == 8
    assert (record.accuracy, record.loss, record.n) == tuple(run.evaluation[key] for key in ("accuracy", "loss", "n"))
    assert [epoch.epoch for epoch in record.history] == [1, 2]
    assert record.chosen_epoch == record.history[-1]


@pytest.mark.parametrize("name", ["a", "g"])
def test_a_record_has_wilson_s_interval_of_its_accuracy(name: str, runs: Path) -> None:
    record = read_record(runs / name)
    expected = stats.binomtest(record.correct, record.n).proportion_ci(method="wilson")
    assert record.interval == pytest.approx((expected.low, expected.high))


@pytest.mark.slow
def test_the_epoch_whose_weights_are_kept(runs: Path) -> None:
    record = read_record(runs / "a")
    assert (record.kept_epoch, record.epochs, record.chosen_epoch) == (2, 2, record.history[1])
    assert replace(record, kept_epoch=1).chosen_epoch == record.history[0]
    assert replace(record, kept_epoch=9).chosen_epoch == record.history[1]  # the last of those that are known


def test_two_runs_are_compared_sequence_by_sequence(here: Path) -> None:
    found = compare_runs([here / "a", here / "b"])
    assert found.differing == ("lr",)
    assert found.same_data
    assert [group.settings for group in found.groups] == [{"lr": 0.01}, {"lr": 0.002}]
    (verdict,) = found.verdicts
    right = [said.right for name in "ba" if (said := read_predictions(here / name, CLASSES)) is not None]
    counts = (int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()))
    assert verdict.counts == counts
    assert verdict.test == "mcnemar"
    assert verdict.p == pytest.approx(stats.binomtest(counts[0], sum(counts)).pvalue)
    assert verdict.corrected == verdict.p
    assert verdict.significant
    accuracies = [100 * float(part.double().mean()) for part in right]
    assert str(verdict).startswith(f"runs/b and runs/a: {accuracies[0]:.2f} and {accuracies[1]:.2f} %, more than noise")
    assert str(verdict).endswith(f": {counts[0]} sequences correct only in runs/b, {counts[1]} only in the other)")


def test_the_mean_of_runs_is_that_of_their_calibrated_probabilities(here: Path) -> None:
    (mean,) = compare_runs([here / "a", here / "b", here / "columns"]).means  # the last reads other sequences
    p, y = np.zeros((1000, 10)), np.zeros(1000)
    for name in "ab":
        stored, temperature = read_predictions(here / name, CLASSES), read_calibration(here / name)
        assert stored is not None
        assert temperature is not None
        z = stored.logits.double().numpy() / temperature.temperature
        p, y = p + np.exp(z) / np.exp(z).sum(axis=1, keepdims=True) / 2, stored.y.numpy()
    best = max(float((read_record(here / name).accuracy) or 0) for name in "ab")
    assert mean.evaluation.accuracy == pytest.approx((p.argmax(axis=1) == y).mean())
    assert mean.evaluation.loss == pytest.approx(-np.log(p[np.arange(1000), y]).mean(), rel=1e-4)
    assert (mean.gain, sorted(mean.runs)) == (pytest.approx(mean.evaluation.accuracy - best), ["runs/a", "runs/b"])


def test_a_best_run_without_predictions_leaves_the_mean_of_the_others(here: Path) -> None:
    best, *others = sorted("abg", key=lambda name: -float(read_record(here / name).accuracy or 0))
    (here / best / PREDICTIONS).unlink()
    (mean,) = compare_runs([here / name for name in "abg"]).means
    assert mean.runs == tuple(f"runs/{name}" for name in others)


def test_a_run_alone_has_no_mean(here: Path) -> None:
    (here / "b" / PREDICTIONS).unlink()
    assert compare_runs([here / "a", here / "b"]).means == ()


def copied(here: Path, name: str, copy: str, **settings: Any) -> Path:
    """Copy a run, with other settings of its training where there are some."""
    shutil.copytree(here / name, here / copy)
    changed(here / copy, **settings)
    return here / copy


def changed(run: Path, **settings: Any) -> None:
    config = json.loads((run / "config.json").read_text())
    config["train"] |= settings
    (run / "config.json").write_text(json.dumps(config))


def test_the_same_answers_of_other_settings_are_within_noise(here: Path) -> None:
    (verdict,) = compare_runs([here / "a", copied(here, "a", "z", lr=0.003)]).verdicts
    assert (verdict.counts, verdict.p, verdict.significant) == ((0, 0), 1.0, False)
    assert "within noise (McNemar p = 1: 0 sequences correct only in runs/a, 0 only in the other)" in str(verdict)


def test_a_copy_is_no_further_seed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [here / "a", copied(here, "a", "a2"), here / "b", copied(here, "b", "b2")]
    found = compare_runs(paths)
    assert [verdict.test for verdict in found.verdicts] == ["mcnemar"]
    assert [len(group.runs) for group in found.groups] == [1, 1]
    assert found.left_out == {
        "runs/a2": "runs/a2 is the same training as runs/a",
        "runs/b2": "runs/b2 is the same training as runs/b",
    }
    assert main(["compare", "runs/a", "runs/a2"]) == 2
    assert capsys.readouterr().err == (
        "unroll: compare needs at least 2 finished runs, got 1; runs/a2 is the same training as runs/a\n"
    )
    for name in ("b", "b2"):
        (here / name / PREDICTIONS).unlink()
    assert list(compare_runs(paths).left_out) == ["runs/a2", "runs/b2"]


def test_the_same_seed_elsewhere_is_a_training_of_its_own_where_the_answers_differ(here: Path) -> None:
    said = read_predictions(copied(here, "a", "a2"), CLASSES)
    assert said is not None
    write_predictions(here / "a2", replace(said, logits=said.logits + 1e-6))
    found = compare_runs([here / "a", here / "a2"])
    assert (found.left_out, [len(group.runs) for group in found.groups]) == ({}, [2])


def test_seeds_that_patience_ended_at_other_epochs_are_one_setting(here: Path) -> None:
    for name in ("b", "c"):
        changed(here / name, schedule="constant", patience=1, epochs=9)
    with (here / "c" / METRICS).open("a") as file:
        file.write((here / "c" / METRICS).read_text().splitlines()[-1].replace('"epoch": 2', '"epoch": 3') + "\n")
    found = compare_runs([here / "b", here / "c"])
    assert found.differing == ()
    assert [len(group.runs) for group in found.groups] == [2]
    assert sorted(run["epochs"] for run in found.to_dict()["runs"]) == [2, 3]
    for name in ("b", "c"):
        changed(here / name, patience=0)
    assert compare_runs([here / "b", here / "c"]).differing == ("epochs",)


@pytest.mark.parametrize("k", [2, 20])
@pytest.mark.slow
def test_of_equal_classifiers_the_best_is_seldom_called_better(
    k: int, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: the best is held against the worst too, which is the widest of all pairs."""
    generator, n, times = torch.Generator().manual_seed(0), 400, 100
    a = read_record(runs / "a")
    made = dict[str, Record]()
    monkeypatch.setattr("unroll.runs.compare.read_record", lambda path: made[path.name])
    called = alone = 0
    for _ in range(times):
        easy = torch.rand(n, generator=generator) ** 0.2  # some sequences are harder, for all of them
        for number in range(k):
            right = torch.rand(n, generator=generator) < easy
            logits = torch.stack([right, ~right], dim=1).float()
            said = Predictions(logits, torch.zeros(n, dtype=torch.int64), ("0", "1"), "same")
            made[f"{number}"] = replace(
                a,
                path=Path(f"{number}"),
                settings={**a.settings, "lr": 0.001 * (number + 1)},
                predictions=said,
                accuracy=float(right.double().mean()),
            )
        verdicts = compare_runs(list(made)).verdicts
        assert len(verdicts) == k - 1
        called += any(verdict.significant for verdict in verdicts)
        alone += min(holm([verdict.p for verdict in verdicts if verdict.p is not None])) < LEVEL
    assert called / times < LEVEL
    assert k == 2 or alone / times > 2 * LEVEL  # corrected for the tests that are told alone


def test_runs_that_cannot_be_compared_with_the_best_are_no_pairs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = read_record(runs / "a")
    assert a.predictions is not None
    settings = [{**a.settings, "lr": lr} for lr in (0.1, 0.2, 0.3)]
    made = {
        "unstored": replace(a, path=Path("unstored"), settings=settings[0], predictions=None, accuracy=0.5),
        "best": replace(a, path=Path("best"), settings=settings[1], accuracy=0.9),
        "other": replace(
            a,
            path=Path("other"),
            settings=settings[2],
            predictions=replace(a.predictions, fingerprint="another"),
            accuracy=0.8,
        ),
    }
    monkeypatch.setattr("unroll.runs.compare.read_record", lambda path: made[path.name])
    found = compare_runs(list(made))
    assert {verdict.rival: verdict.test for verdict in found.verdicts} == {"unstored": "intervals", "other": None}
    assert found.pairs == 1


def test_without_predictions_it_is_told_by_the_intervals(here: Path) -> None:
    (here / "a" / PREDICTIONS).unlink()
    (verdict,) = compare_runs([here / "a", here / "b"]).verdicts
    assert verdict.test == "intervals"
    assert verdict.difference is not None
    assert verdict.difference[0] < verdict.accuracies[0] - verdict.accuracies[1] < verdict.difference[1]
    assert "(no stored predictions in runs/a: 95 % interval of the difference +" in str(verdict)


def test_several_tests_are_corrected_and_seeds_are_grouped(here: Path) -> None:
    found = compare_runs([here / name for name in "abcg"])
    assert found.differing == ("cell", "lr")
    assert (found.tests, found.pairs) == (3, 6)
    values = [verdict.p for verdict in found.verdicts if verdict.p is not None]
    for verdict in found.verdicts:
        assert verdict.p is not None
        assert verdict.corrected is not None
        assert verdict.p <= verdict.corrected <= min(1.0, 6 * verdict.p)
    smallest = min(range(3), key=values.__getitem__)
    assert found.verdicts[smallest].corrected == pytest.approx(min(1.0, 6 * values[smallest]))
    group = next(group for group in found.groups if len(group.runs) == 2)
    assert group.name == "cell rnn, lr 0.01"
    both = torch.tensor([read_record(here / name).accuracy for name in "bc"], dtype=torch.float64)
    assert group.accuracy == pytest.approx(float(both.mean()))
    assert group.deviation == pytest.approx(float(both.std()))


def test_settings_with_several_seeds_are_compared_over_them(here: Path) -> None:
    found = compare_runs([here / name for name in "abcd"])
    (verdict,) = found.verdicts
    accuracies = {name: read_record(here / name).accuracy for name in "abcd"}
    oracle = stats.ttest_ind([accuracies["b"], accuracies["c"]], [accuracies["a"], accuracies["d"]], equal_var=False)
    assert verdict.test == "welch"
    assert verdict.p == pytest.approx(oracle.pvalue, rel=1e-3)
    assert str(verdict).startswith("lr 0.01 and lr 0.002: ")
    assert "% on average, " in str(verdict)
    assert "over 2 and 2 seeds: Welch p " in str(verdict)


@pytest.fixture
def compared(runs: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Comparison]:
    """Compare ensembles of three of two settings, made up; members with one seed have one loss, or each its own."""
    a, made = read_record(runs / "a"), dict[str, Record]()
    monkeypatch.setattr("unroll.runs.compare.read_record", lambda path: made[path.name])

    def compare(
        seeds: tuple[int, int], val_seed: int | None, are_same: bool = True, rival: tuple[int, int] | None = None
    ) -> Comparison:
        for lr, seed in (*((0.02, seed) for seed in seeds), *((0.01, seed) for seed in rival or seeds)):
            settings = {**a.settings, "lr": lr, "ensemble": 3, "val_seed": val_seed}
            own = {"path": Path(f"{lr}-{seed}"), "seed": seed, "settings": settings, "accuracy": 0.5 + lr + seed / 100}
            losses = tuple(member / 10 + (0 if are_same else seed) for member in range(seed, seed + 3))
            made[f"{lr}-{seed}"] = replace(a, **own, member_losses=losses)
        return compare_runs(list(made))

    return compare


def test_ensembles_that_share_members_are_not_tested_over_seeds(compared: Callable[..., Comparison]) -> None:
    (verdict,) = compared((0, 1), 0).verdicts
    assert (verdict.test, verdict.p) == (None, None)
    assert verdict.reason == "0.02-0 and 0.02-1 share members (seeds 1 to 2); choose seeds at least 3 apart"


def test_a_rival_that_shares_members_is_not_tested_over_seeds(compared: Callable[..., Comparison]) -> None:
    (verdict,) = compared((0, 3), 0, rival=(0, 2)).verdicts
    assert verdict.reason == "0.01-0 and 0.01-2 share members (seed 2); choose seeds at least 3 apart"


def test_ensembles_that_share_members_have_no_deviation(compared: Callable[..., Comparison]) -> None:
    assert [group.deviation for group in compared((0, 2), 0).groups] == [None, None]


def test_the_mean_of_ensembles_that_share_members_is_shown_without_a_deviation(
    compared: Callable[..., Comparison],
) -> None:
    shown = io.StringIO()
    print_comparison(Console(file=shown, width=200), compared((0, 1), 0))
    assert "0.02-0, 0.02-1: mean 52.50 % without a deviation: 0.02-0 and 0.02-1 share members" in shown.getvalue()
    assert "±" not in shown.getvalue()


@pytest.mark.parametrize("val_seed", [0, None])
def test_ensembles_with_seeds_of_their_own_are_tested_over_them(
    val_seed: int | None, compared: Callable[..., Comparison]
) -> None:
    found = compared((0, 3), val_seed)
    assert [verdict.test for verdict in found.verdicts] == ["welch"]
    assert found.groups[0].deviation == pytest.approx(0.03 / 2**0.5)


def test_the_same_seeds_with_another_validation_split_are_other_members(compared: Callable[..., Comparison]) -> None:
    (verdict,) = compared((0, 1), None, are_same=False).verdicts
    assert verdict.test == "welch"


def test_where_no_split_is_drawn_the_same_seeds_are_the_same_members(compared: Callable[..., Comparison]) -> None:
    (verdict,) = compared((0, 1), None).verdicts
    assert "share members" in verdict.reason


def test_runs_that_differ_in_the_seed_alone_are_not_tested(here: Path) -> None:
    found = compare_runs([here / "b", here / "c"])
    assert (found.differing, found.verdicts) == ((), ())
    assert len(found.groups) == 1


def test_runs_on_other_data_are_not_ranked(
    here: Path, idx_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    data = idx_folder()
    unroll.train_run("mnist", data_dir=data, out=here / "other", val_fraction=0.2, **QUICK)
    found = compare_runs([here / "a", here / "other", here / "b"])
    assert not found.same_data
    assert [[group.name for group in groups] for groups in found.by_data] == [["runs/b", "runs/a"], ["runs/other"]]
    (verdict,) = found.verdicts
    assert (verdict.best, verdict.rival, found.pairs) == ("runs/b", "runs/a", 1)
    assert verdict.p == compare_runs([here / "a", here / "b"]).verdicts[0].p
    assert [group["data"] for group in found.to_dict()["groups"]] == [0, 0, 1]
    assert main(["compare", "runs/a", "runs/other"]) == 0
    out = capsys.readouterr().out
    mnist = read_record(here / "other").fingerprint
    assert f"runs tested on mnist {mnist}, best settings first" in out
    assert "the runs were tested on 2 different data sets: accuracies in different tables cannot be compared" in out
    assert "more than noise" not in out
    assert compare_runs([here / "a", here / "other"]).verdicts == ()


def test_another_draw_of_the_test_part_is_other_data(here: Path) -> None:
    x = np.random.default_rng(0).normal(size=(60, 5, 1))
    np.savez("d.npz", x=x, y=np.arange(60) % 2)
    for seed in (0, 1):
        unroll.train_run("d.npz", out=f"drawn{seed}", split_seed=seed, **QUICK)
    found = compare_runs(["drawn0", "drawn1"])
    assert (len(found.by_data), found.verdicts, found.differing) == (2, (), ("split_seed",))


@pytest.mark.parametrize("drawn", [{"fold": "2/5"}, {"group": "groups"}])
def test_another_part_held_out_is_other_data(drawn: dict[str, str]) -> None:
    x = np.random.default_rng(0).normal(size=(60, 5, 1))
    np.savez("d.npz", x=x, y=np.arange(60) % 2, groups=np.arange(60) // 6)
    unroll.train_run("d.npz", out="plain", **QUICK)
    unroll.train_run("d.npz", out="other", **QUICK, **drawn)
    found = compare_runs(["plain", "other"])
    assert {group.runs[0].n for group in found.groups} == {12}
    assert (len(found.by_data), found.verdicts, set(found.differing)) == (2, (), set(drawn))


def test_columns_named_as_they_are_found_anyway_are_the_same_data() -> None:
    names = {"feature_columns": "v", "id_column": "id", "time_column": "time", "label_column": "label"}
    rows = [
        f"{number},{step},{number * step},{number - step},{'ab'[number % 2]}"
        for number in range(60)
        for step in range(4)
    ]
    Path("t.csv").write_text("\n".join(["id,time,v,w,label", *rows]))
    unroll.train_run("t.csv", out="found", **QUICK)
    unroll.train_run("t.csv", out="named", **QUICK, **names)
    found = compare_runs(["found", "named"])
    assert (len(found.by_data), len(found.verdicts)) == (1, 1)
    assert found.verdicts[0].reason == "they read the data differently"


@pytest.mark.parametrize("role", ["id", "time", "label"])
def test_columns_taken_for_something_else_are_other_data(
    runs: Path, role: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, columns = replace(read_record(runs / "a"), predictions=None), Columns(("v",), "id", "time", "label")
    made = {
        "found": replace(a, path=Path("found"), columns=columns),
        "other": replace(
            a,
            path=Path("other"),
            columns=replace(columns, **{role: "another"}),
            reading={**a.reading, f"{role}_column": "another"},
            fingerprint="another",
        ),
    }
    monkeypatch.setattr("unroll.runs.compare.read_record", lambda path: made[path.name])
    assert len(compare_runs(list(made)).by_data) == 2


def test_the_same_digits_read_otherwise_are_told_by_the_intervals(here: Path) -> None:
    found = compare_runs([here / "a", here / "columns"])
    assert found.differing == ("read",)
    assert found.verdicts[0].test == "intervals"
    assert found.verdicts[0].reason == "they read the data differently"


@pytest.mark.slow
def test_names_are_no_formulas(here: Path) -> None:
    names = [copied(here, "a", "$\\frac$"), copied(here, "b", "_$x")]
    compare_runs(names).write("out")
    record = read_record(here / "a")
    figure = side_by_side([Curve("_$x$", record.history, record.accuracy, record.interval, 0)])
    assert [text.get_text() for text in figure.axes[-1].get_yticklabels()] == [r"_\$x\$"]
    scores = [Score(f"cell {cell}, lr 0.1", {"cell": cell, "lr": 0.1}, [0.5]) for cell in ("_$own$", "rnn")]
    figure = swept(scores, {"lr": True}, "cell")
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == [
        r"cell _\$own\$, lr 0.1",
        "cell rnn, lr 0.1",
    ]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [r"_\$own\$", "rnn"]
    png(figure)


def broken(here: Path, name: str, file: str, content: str) -> None:
    shutil.copytree(here / "a", here / name)
    (here / name / file).write_text(content)


def test_what_cannot_be_compared_is_one_line_each(
    here: Path, small: unroll.Splits, capsys: pytest.CaptureFixture[str]
) -> None:
    unroll.save(unroll.SequenceClassifier(28, 10, hidden_size=8), here / "hand", data=small.train)
    broken(here, "evaluation", EVALUATION, "{}")
    broken(here, "metrics", METRICS, "")
    broken(here, "epochs", METRICS, "{\n")
    broken(here, "config", "config.json", '{"format": 3, "train": {}}')
    broken(here, "said", PREDICTIONS, "nothing")
    shutil.copytree(here / "a", here / "failed")
    (here / "failed" / "model.safetensors").unlink()
    shutil.copytree(here / "failed", here / "unfinished")
    (here / "unfinished" / "resume.pt").touch()
    lost = ["hand", "evaluation", "metrics", "epochs", "config", "said", "failed", "unfinished", "nowhere"]
    assert main(["compare", *(f"runs/{name}" for name in ["a", *lost, "b"])]) == 2
    out, err = capsys.readouterr()
    assert "runs/b and runs/a: " in out
    for line, words in zip(
        err.splitlines(),
        (
            "hand was saved by hand: it records neither its training nor an accuracy on a test set",
            "evaluation/evaluation.json is broken ('n' is missing); copy it again, or train again",
            "metrics/metrics.jsonl is broken (it holds no epoch); train again",
            "epochs/metrics.jsonl is broken (Expecting property name",
            "config/config.json is broken ('model' is missing); copy it again, or train again",
            "said/predictions.safetensors is broken (",
            "failed has no model.safetensors and cannot be resumed: its training failed",
            "unfinished is not finished: run 'unroll train --resume runs/unfinished' first",
            "nowhere is not a run folder: it has no config.json",
        ),
        strict=True,
    ):
        assert line.startswith(f"unroll: runs/{words}")
        assert line.endswith("; skipped")


def test_too_few_or_twice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "runs/a", "runs/no"]) == 2
    err = capsys.readouterr().err
    assert err == (
        "unroll: compare needs at least 2 finished runs, got 1; runs/no is not a run folder: it has no config.json\n"
    )
    assert main(["compare", "runs/a", "runs/../runs/a"]) == 2
    assert capsys.readouterr().err == "unroll: runs/../runs/a is given twice: leave one out\n"


@pytest.mark.slow
def test_the_command_prints_and_writes_only_where_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(Path().rglob("*"))
    assert main(["compare", "runs/a", "runs/b", "runs/c"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = [line.split("│") for line in out.splitlines() if line.startswith("│")]
    names = [row[1].strip() for row in rows]
    assert (sorted(names[:2]), names[2:]) == (["runs/b", "runs/c"], ["runs/a", "mean of all"])
    assert " ± " in out
    assert "(standard deviation over seeds)" in out
    assert "(the best was chosen among all, so p is corrected for 3 pairs by Holm's method; " in out
    assert sorted(Path().rglob("*")) == before

    assert main(["compare", "runs/a", "runs/b", "--out", "out", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert err == ""
    assert found == json.loads(Path("out/compare.json").read_text())
    assert found["differing"] == ["lr"]
    assert found["verdicts"][0]["words"] == str(compare_runs([here / "a", here / "b"]).verdicts[0])
    assert [run["epochs"] for run in found["runs"]] == [2, 2]
    with Image.open("out/compare.png") as picture:
        assert picture.size[0] > 1000

    assert main(["compare", "runs/a", "runs/b", "--out", "out"]) == 2
    assert "out is not empty; choose another --out" in capsys.readouterr().err
