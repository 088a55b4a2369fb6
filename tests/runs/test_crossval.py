"""Cross-validation: each fold an ordinary run, nothing learned from it, and one result."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

import unroll
from unroll import ConfigError, CrossValidation, DataError, RunError, cross_validate, load_run, resume_cross_validation
from unroll.cli.views.crossval import print_crossval
from unroll.cli.views.terminal import Screen
from unroll.evaluation.significance import resampled_t
from unroll.runs.compare_folds import FoldComparison, compare_cross_validations
from unroll.runs.crossval import Fold, OutOfFold, read_cross_validation
from unroll.runs.data import load_test
from unroll.runs.execute import Event, Started

Call = Callable[..., tuple[int, str, str]]
QUICK: dict[str, Any] = {"recipe": "images", "epochs": 1, "hidden_size": 4, "cell": "rnn"}
PEOPLE, EACH = 8, 4


def table(path: Path) -> str:
    """Write short series of 8 people, 4 each, whose level tells the classes apart."""
    lines = ["id,time,x,day,label"]
    for n in range(PEOPLE * EACH):
        lines += [f"p{n // EACH}_{n},{t},{(n * 7 + t * 3) % 11 + n % 2 + n / 100},{n},{'ab'[n % 2]}" for t in range(3)]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return table(tmp_path_factory.mktemp("data") / "people.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, data: str) -> CrossValidation:
    """Four folds of whole people, and one run on all."""
    out = tmp_path_factory.mktemp("cv") / "whole"
    return cross_validate(data, folds=4, out=out, group_pattern="p[0-9]+", drop_columns="day", refit=True, **QUICK)


def rows(validation: CrossValidation) -> list[dict[str, str]]:
    with (validation.path / "oof.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_fold_is_a_run_that_was_trained_without_its_people(whole: CrossValidation) -> None:
    assert (whole.cut, whole.n, whole.apart) == ("group", PEOPLE * EACH, 0)
    held_out = list[str]()
    for result in whole.results:
        run = load_run(whole.path / result.run)
        test = load_test(run).sequences
        assert test.origins is not None
        assert result.accuracy == run.evaluation["accuracy"]  # type: ignore[index]
        assert result.groups == len(set(test.origins.groups or ()))
        assert len(test) + result.trained_on == whole.n
        held_out += test.origins.names
    assert sorted(held_out) == sorted(f"p{n // EACH}_{n}" for n in range(PEOPLE * EACH))


def test_scaling_is_that_of_the_training_part_of_each_fold(whole: CrossValidation) -> None:
    everything = unroll.load(whole.data, drop_columns="day", test_fraction=0.0).train
    assert everything.origins is not None
    for result in whole.results:
        held_out = {row["id"] for row in rows(whole) if row["fold"] == str(result.fold)}
        kept = torch.tensor([name not in held_out for name in everything.origins.names])
        mean = float(everything.x[kept].double().mean())
        config = json.loads((whole.path / result.run / "config.json").read_text())
        assert config["preparation"]["scaling"]["mean"] == pytest.approx([mean], abs=1e-5)
        assert config["data"]["fold"] == f"{result.fold}/4"


def test_words_of_the_fold_alone_are_unknown_to_its_run(tmp_path: Path) -> None:
    path = tmp_path / "texts.csv"
    lines = [f"common words own{n},{n % 2}" for n in range(8)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    settings = {"min_count": 1, "tokenizer": "word", "embedding_size": 4, "epochs": 1, "hidden_size": 2, "cell": "rnn"}
    done = cross_validate(str(path), folds=2, out=tmp_path / "cv", **settings)
    for result in done.results:
        vocabulary = (done.path / result.run / "tokenizer.json").read_text()
        unknown = {f"own{row['row']}" for row in rows(done) if row["fold"] == str(result.fold)}
        assert set(re.findall(r"own\d+", vocabulary)) == {f"own{n}" for n in range(8)} - unknown


def test_the_result_is_the_mean_and_deviation_over_the_folds(whole: CrossValidation) -> None:
    runs = [load_run(whole.path / f"folds/{number}").evaluation or {} for number in range(1, 5)]
    content = json.loads((whole.path / "crossval.json").read_text())["summary"]
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc", "loss"):
        values = [run[name] for run in runs]
        assert content[name] == pytest.approx({"mean": fmean(values), "deviation": stdev(values)})
    assert content["out_of_fold"]["accuracy"] == sum(run["correct"] for run in runs) / whole.n
    low, high = content["out_of_fold"]["interval"]
    assert low < content["out_of_fold"]["accuracy"] < high


def repeated(correct: list[int], each: int = 10, repeats: int = 1) -> CrossValidation:
    """Return a cross-validation of folds of ``each`` sequences, of which so many are classified correctly."""
    folds = len(correct) // repeats
    results = [
        Fold(n + 1, n % folds + 1, n // folds + 1, each * (folds - 1), each, None, accuracy=right / each, correct=right)
        for n, right in enumerate(correct)
    ]
    return CrossValidation(Path(), "", None, "", "", {}, folds, repeats, "stratified", 0, results=results)


@pytest.mark.parametrize(("correct", "repeats", "accuracy"), [([7, 10], 1, 17 / 20), ([7, 10, 8, 9, 6, 8], 3, 48 / 60)])
def test_the_accuracy_is_of_all_answers_out_of_fold(correct: list[int], repeats: int, accuracy: float) -> None:
    assert repeated(correct, repeats=repeats).accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize("repeats", [1, 3])
def test_its_interval_is_that_of_the_sequences_however_often_they_are_answered(repeats: int) -> None:
    expected = stats.binomtest(17, 20).proportion_ci(method="wilson")
    assert repeated([7, 10] * repeats, repeats=repeats).interval == pytest.approx((expected.low, expected.high))


def test_until_all_folds_are_finished_there_is_no_accuracy() -> None:
    begun = repeated([7, 10, 8])
    begun.results[1] = replace(begun.results[1], accuracy=None, correct=None)
    assert (begun.accuracy, begun.interval, begun.mean()) == (None, None, pytest.approx(0.75))


@pytest.mark.parametrize(("correct", "deviation"), [([7], None), ([7, 10], 0.3 / 2**0.5), ([7, 8, 9], 0.1)])
def test_the_deviation_over_folds_divides_by_one_less_than_their_number(
    correct: list[int], deviation: float | None
) -> None:
    assert repeated(correct).deviation() == (None if deviation is None else pytest.approx(deviation))


def test_out_of_fold_predictions_are_those_of_the_run_that_did_not_see_them(whole: CrossValidation) -> None:
    table_ = rows(whole)
    assert list(table_[0]) == ["row", "id", "group", "fold", "true", "class", "probability", "p(a)", "p(b)"]
    assert [row["id"] for row in table_] == [f"p{n // EACH}_{n}" for n in range(PEOPLE * EACH)]
    assert [row["true"] for row in table_] == ["ab"[n % 2] for n in range(PEOPLE * EACH)]
    for result in whole.results:
        run = load_run(whole.path / result.run)
        probabilities = run.predict(load_test(run).sequences)
        own = [row for row in table_ if row["fold"] == str(result.fold)]
        given = torch.tensor([[float(row["p(a)"]), float(row["p(b)"])] for row in own])
        assert torch.allclose(given, probabilities, atol=1e-6)
        assert [row["class"] for row in own] == ["ab"[int(p.argmax())] for p in given]
    right = sum(row["class"] == row["true"] for row in table_) / len(table_)
    assert whole.accuracy == right
    answers = whole.out_of_fold()
    assert sorted(row["id"] for row in answers.rows) == sorted(row["id"] for row in table_)
    assert ["ab"[y] for y in answers.y.tolist()] == [row["true"] for row in answers.rows]


def test_refit_is_a_run_on_all(whole: CrossValidation) -> None:
    run = whole.refit
    assert run is not None
    assert run.config.train is not None
    assert run.config.train.val_fraction == 0
    assert run.evaluation is None
    everything = unroll.load(whole.data, drop_columns="day", test_fraction=0.0).train
    assert run.config.fingerprint == everything.fingerprint()


def test_an_interrupted_one_is_continued_and_gives_the_same(data: str, tmp_path: Path) -> None:
    def stop(event: object) -> None:
        if isinstance(event, Started) and event.path.name == "2":
            raise KeyboardInterrupt

    out, settings = tmp_path / "cv", {**QUICK, "folds": 3, "drop_columns": "day"}
    straight = cross_validate(data, out=tmp_path / "straight", **settings)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(data, out=out, watch=stop, **settings)
    assert [result.finished for result in read_cross_validation(out).results] == [True, False, False]
    with pytest.raises(RunError, match="is not finished: run 'unroll crossval --resume"):
        read_cross_validation(out).out_of_fold()
    started = list[str]()
    note: Callable[[Event | Any], None] = lambda event: started.extend(  # noqa: E731
        [event.path.name] if isinstance(event, Started) else []
    )
    done = resume_cross_validation(out, watch=note)
    assert started == ["2", "3"]
    assert (out / "oof.csv").read_bytes() == (straight.path / "oof.csv").read_bytes()
    assert done.values("accuracy") == straight.values("accuracy")
    started.clear()
    assert resume_cross_validation(out, refit=True, watch=note).refit is not None
    assert started == ["refit"]


def test_changed_data_is_not_continued(data: str, tmp_path: Path) -> None:
    def stop(event: object) -> None:
        raise KeyboardInterrupt

    path, out = tmp_path / "t.csv", tmp_path / "cv"
    shutil.copy(data, path)
    with pytest.raises(KeyboardInterrupt):
        cross_validate(str(path), out=out, watch=stop, drop_columns="day", folds=2, **QUICK)
    path.write_text(path.read_text().replace("p0_0,0,0.0,", "p0_0,0,0.5,"))
    with pytest.raises(DataError, match="was begun with other data than"):
        resume_cross_validation(out)


def test_one_is_replaced_only_with_overwrite(data: str, tmp_path: Path) -> None:
    out, settings = tmp_path / "cv", {**QUICK, "drop_columns": "day"}
    cross_validate(data, out=out, folds=3, **settings)
    with pytest.raises(RunError, match="holds a cross-validation; continue it with --resume"):
        cross_validate(data, out=out, folds=2, **settings)
    other = unroll.train_run(data, out=out / "of another user", **settings)
    cross_validate(data, out=out, folds=2, overwrite=True, **settings)
    assert load_run(other.path).evaluation == other.evaluation
    with pytest.raises(RunError, match="folds/3 is not a run folder"):
        load_run(out / "folds/3")


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory, data: str) -> CrossValidation:
    """Two folds, twice."""
    out = tmp_path_factory.mktemp("cv") / "twice"
    return cross_validate(data, folds=2, repeats=2, out=out, drop_columns="day", val_fraction=0.0, **QUICK)


def test_each_repeat_has_runs_with_a_seed_of_their_own(twice: CrossValidation) -> None:
    assert [result.run for result in twice.results] == [f"folds/{n}" for n in range(1, 5)]
    assert [load_run(twice.path / result.run).config.train.seed for result in twice.results] == [0, 0, 1, 1]  # type: ignore[union-attr]


def test_each_sequence_is_answered_once_in_each_repeat(twice: CrossValidation) -> None:
    expected = [(str(number), str(repeat)) for repeat in (1, 2) for number in range(PEOPLE * EACH)]
    assert [(row["row"], row["repeat"]) for row in rows(twice)] == expected


def test_a_lost_table_of_answers_is_written_again(twice: CrossValidation) -> None:
    table_ = (twice.path / "oof.csv").read_bytes()
    (twice.path / "oof.csv").unlink()
    resume_cross_validation(twice.path)
    assert (twice.path / "oof.csv").read_bytes() == table_


def test_answers_of_runs_without_a_validation_part_are_as_the_model_gives_them(twice: CrossValidation) -> None:
    run = load_run(twice.path / "folds/3")
    assert run.calibration is None
    expected = unroll.predict(run.model, load_test(run).sequences.batch(slice(None)).x)
    own = [row for row in rows(twice) if (row["repeat"], row["fold"]) == ("2", "1")]
    given = torch.tensor([[float(row["p(a)"]), float(row["p(b)"])] for row in own])
    assert torch.allclose(given, expected, atol=1e-6)


def test_windows_are_told_by_their_recording_and_where_they_start(tmp_path: Path) -> None:
    random, lines = np.random.default_rng(0), ["id,time,x,label"]
    for n in range(6):
        lines += [f"r{n},{t},{x:.3f},{'ab'[n % 2]}" for t, x in enumerate(random.normal(size=8))]
    (tmp_path / "walks.csv").write_text("\n".join(lines) + "\n")
    done = cross_validate(
        str(tmp_path / "walks.csv"), folds=2, out=tmp_path / "cv", window=4, stride=2, val_fraction=0.0, **QUICK
    )
    table_ = [(row["id"], row["start"], row["true"]) for row in rows(done)]
    assert table_ == [(f"r{n}", str(start), "ab"[n % 2]) for n in range(6) for start in (0, 2, 4)]


@pytest.mark.parametrize(("key", "file"), [("predictions", "oof.csv"), ("refit", "refit")])
def test_what_is_told_of_it_says_where_its_files_are(key: str, file: str, whole: CrossValidation) -> None:
    assert whole.to_dict()[key] == str(whole.path / file)


@pytest.mark.parametrize("key", ["predictions", "refit", "summary"])
def test_nothing_is_told_of_what_is_not_there_yet(key: str, whole: CrossValidation, tmp_path: Path) -> None:
    begun = replace(whole, path=tmp_path, results=[replace(whole.results[0], accuracy=None)])
    assert begun.to_dict()[key] is None


def test_the_test_part_of_a_set_is_not_used(tmp_path: Path, call: Call) -> None:
    random = np.random.default_rng(0)
    arrays = {f"x_{part}": random.random((n, 3, 1), np.float32) for part, n in (("train", 12), ("test", 5))}
    np.savez(tmp_path / "d.npz", y_train=np.arange(12) % 2, y_test=np.arange(5) % 2, **arrays)
    flags = ["--folds", 2, "--recipe", "images", "--epochs", 1, "--hidden-size", 2]
    status, out, _ = call("crossval", "--data", tmp_path / "d.npz", "--out", tmp_path / "cv", *flags)
    assert status == 0
    assert "2 of the training part, 12 sequences held out in turn" in out
    assert "the test part of 5 is not used" in out
    assert "out-of-fold accuracy" in out


def test_where_no_run_can_be_on_all_none_is_advised(data: str, tmp_path: Path, call: Call) -> None:
    val = table(tmp_path / "val.csv")
    flags = ["--drop-columns", "day", "--recipe", "images", "--folds", 2, "--epochs", 1, "--hidden-size", 4]
    status, out, _ = call("crossval", "--data", data, "--val-data", val, *flags, "--out", tmp_path / "cv")
    assert status == 0
    assert "--refit" not in out


def test_the_next_commands_name_a_cell_of_one_s_own(whole: CrossValidation, capsys: pytest.CaptureFixture[str]) -> None:
    own = replace(whole, settings={**whole.settings, "cell": "cells:Own"}, refits=False)
    print_crossval(Screen(), own)
    assert f"crossval --resume {whole.path} --refit --cell cells:Own\n" in capsys.readouterr().out


def test_the_next_commands_name_no_cell_of_unroll_s(whole: CrossValidation, capsys: pytest.CaptureFixture[str]) -> None:
    print_crossval(Screen(), replace(whole, refits=False))
    assert f"crossval --resume {whole.path} --refit\n" in capsys.readouterr().out


@pytest.mark.usefixtures("undrawn")
def test_the_command_reports_and_compares(whole: CrossValidation, data: str, tmp_path: Path, call: Call) -> None:
    flags = ["--folds", 4, "--group-pattern", "p[0-9]+", "--drop-columns", "day", "--recipe", "images"]
    other = tmp_path / "other"
    status, out, err = call(
        *("crossval", "--data", data, *flags, "--epochs", 2, "--hidden-size", 4, "--cell", "gru", "--out", other),
        "--json",
    )
    assert status == 0
    found = json.loads(out)
    assert found["crossval"] == str(other)
    assert found["summary"]["accuracy"]["mean"] == read_cross_validation(other).mean()
    assert "4 of the whole set, 32 sequences held out in turn, whole groups in each" in err
    status, out, _ = call("report", whole.path, "--json")
    page = Path(json.loads(out)["report"]).read_text()
    assert status == 0
    wrong = next(row["id"] for row in rows(whole) if row["class"] != row["true"])
    assert ">Folds</h2>" in page
    assert f">{wrong}</td>" in page
    status, out, _ = call("compare", whole.path, other, "--json")
    verdict = json.loads(out)["verdict"]
    a, b = (read_cross_validation(path) for path in (verdict["best"], verdict["rival"]))
    gains = [x - y for x, y in zip(a.values("accuracy"), b.values("accuracy"), strict=True)]
    expected = resampled_t(gains, 8 / 24)
    assert verdict["p"] == (None if expected is None else pytest.approx(expected[0]))


def compared(monkeypatch: pytest.MonkeyPatch, **correct: list[int]) -> FoldComparison:
    """Compare cross-validations of these names, of folds of 10 with so many correct in each."""
    known = {Path(name): replace(repeated(folds), path=Path(name)) for name, folds in correct.items()}
    monkeypatch.setattr("unroll.runs.compare_folds.read_cross_validation", lambda path: known[path])
    nothing = OutOfFold(torch.zeros(0, 2), torch.zeros(0), ("a", "b"), [])
    monkeypatch.setattr(CrossValidation, "out_of_fold", lambda _: nothing)
    return compare_cross_validations(list(known))


WORSE, BETTER = [6, 7, 5, 8], [8, 7, 8, 9]


@pytest.mark.parametrize("order", [{"a": WORSE, "b": BETTER}, {"b": BETTER, "a": WORSE}])
def test_the_better_of_two_comes_first_whatever_their_order(
    order: dict[str, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compared(monkeypatch, **order)
    assert [str(validation.path) for validation in found.validations] == ["b", "a"]
    assert (found.verdict.best, found.verdict.rival, found.verdict.accuracies) == ("b", "a", (0.8, 0.65))


def test_two_are_compared_fold_by_fold_with_a_variance_for_shared_training_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verdict = compared(monkeypatch, a=WORSE, b=BETTER).verdict
    plain = stats.ttest_rel(np.array(BETTER) / 10, np.array(WORSE) / 10)
    wider = (1 + 4 * 10 / 30) ** 0.5
    ends = [0.15 + wider * (end - 0.15) for end in plain.confidence_interval(0.95)]
    assert (verdict.test, verdict.significant) == ("resampled", False)
    assert verdict.p == verdict.corrected == pytest.approx(2 * stats.t.sf(plain.statistic / wider, 3))
    assert verdict.difference == pytest.approx(ends)


def test_where_all_folds_differ_alike_no_test_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = compared(monkeypatch, a=[6, 7, 8], b=[7, 8, 9]).verdict
    assert (verdict.test, verdict.p, verdict.significant) == (None, None, False)
    assert verdict.reason == "the difference is the same in all folds"


def test_folds_are_counted_from_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(compared(monkeypatch, a=WORSE, b=BETTER).numbers) == [1, 2, 3, 4]


def test_different_folds_are_not_compared(whole: CrossValidation, data: str, tmp_path: Path) -> None:
    other = cross_validate(data, folds=4, out=tmp_path / "other", drop_columns="day", **QUICK)
    with pytest.raises(RunError, match="have different folds"):
        compare_cross_validations([whole.path, other.path])


@pytest.mark.parametrize("command", ["check", "evaluate", "predict", "doctor"])
def test_a_command_for_a_run_names_one(whole: CrossValidation, call: Call, command: str) -> None:
    status, _, err = call(command, whole.path)
    assert status == 2
    assert f"{whole.path} is a cross-validation: name its run trained on all, {whole.path / 'refit'}" in err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fold": "1/2"}, "fold 1/2 cannot be used in a cross-validation"),
        ({"test_fraction": 0.1}, "test_fraction 0.1 cannot be used in a cross-validation"),
        ({"folds": 1}, "folds must be at least 2, got 1"),
        ({"repeats": 2, "split_by_time": "day"}, "folds by time are divided in one way only: repeats must be 1, got 2"),
        ({"folds": 33, "drop_columns": "day"}, "33 folds need at least 33 different sequences, got 32"),
        ({"group": "who", "folds": 4}, "for fold [2-4] of 4 there is one class only to train on, first"),
        ({"tbptt": 2, "bidirectional": True, "drop_columns": "day"}, "tbptt"),
    ],
)
def test_what_cannot_be_validated_is_refused_before_anything_is_written(
    data: str, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    if "group" in settings:
        lines = [f"{n // 5},{n * n % 7},{n * n % 11},{'first' if n < 15 else 'last'}" for n in range(20)]
        data = str(tmp_path / "four.csv")
        Path(data).write_text("\n".join(["who,u,v,label", *lines]) + "\n")
    with pytest.raises((ConfigError, DataError), match=message):
        cross_validate(data, out=tmp_path / "cv", **{**QUICK, **settings})
    assert not (tmp_path / "cv").exists()


@pytest.mark.parametrize("form", ["csv", "npz", "folder", "frame", "arrays"])
def test_data_without_the_group_is_evaluated_and_a_copy_with_it_is_cut_the_same(form: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x, y, who = (
        random.normal(size=(24, 3)).round(3),
        ["ab"[n % 2] for n in range(24)],
        [f"g{n // 4}" for n in range(24)],
    )
    kind = {"frame": "csv", "arrays": "npz"}.get(form, form)

    def written(name: str, **columns: Any) -> str:
        at = tmp_path / f"{name}.{kind}"
        if kind == "csv":
            pd.DataFrame(x, columns=["u", "v", "w"]).assign(label=y, **columns).to_csv(at, index=False)
        elif kind == "npz":
            np.savez(at, x=x[:, :, None], y=y, **columns)
        else:
            for n, (row, label) in enumerate(zip(x, y, strict=True)):
                (at / label).mkdir(parents=True, exist_ok=True)
                table = pd.DataFrame({"u": row, **{key: values[n] for key, values in columns.items()}})
                table.to_csv(at / label / f"{n:02d}.csv", index=False)
        return str(at)

    own = written("own", who=who)
    run = unroll.train_run(own, out=tmp_path / "run", group="who", group_pattern="g[0-9]", **QUICK)
    copy: Any = written("copy", who=who)
    test = load_test(run, pd.read_csv(copy) if form == "frame" else copy)
    assert (test.part, test.sequences.fingerprint()) == ("test", load_test(run).sequences.fingerprint())
    x = x + 1
    other: Any = written("other")
    other = {"frame": lambda: pd.read_csv(other), "arrays": lambda: (x[:, :, None], y)}.get(form, lambda: other)()
    assert load_test(run, other).part == "all"
