"""Ensembles: members that are ordinary runs, and one model that averages what they answer."""

from __future__ import annotations

import io
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unroll
from resuming import same, weights
from served import client, error_of
from served import same as same_answer
from unroll import ConfigError, InputError, RunError, TrainConfig, load_run, resume_run, train_run
from unroll.config import choose_settings
from unroll.models.ensemble import Ensemble
from unroll.runs import execute
from unroll.runs.compare import compare_runs
from unroll.runs.data import load_test
from unroll.runs.ensemble import history_of
from unroll.runs.execute import Event, Started
from unroll.runs.folder import WEIGHTS
from unroll.runs.history import read_history
from unroll.runs.lock import locked
from unroll.runs.record import read_record
from unroll.runs.sweep import run_sweep
from unroll.training.loop import Training

Call = Callable[..., tuple[int, str, str]]
QUICK: dict[str, Any] = {"recipe": "images", "epochs": 3, "hidden_size": 6, "batch_size": 16, "val_fraction": 0.25}


def waves(path: Path, count: int = 80) -> str:
    """Write noisy waves of two frequencies; return the file."""
    random, y = np.random.default_rng(0), np.arange(count) % 2
    t = np.arange(12) / (1 + y[:, None]) + random.uniform(0, 6, (count, 1))
    np.savez(path, x=(np.sin(t) + random.normal(0, 0.5, t.shape)).astype("f4")[..., None], y=y)
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ensembles")


@pytest.fixture(scope="module")
def data(folder: Path) -> str:
    return waves(folder / "waves.npz")


@pytest.fixture(scope="module")
def run(folder: Path, data: str) -> unroll.Run:
    """An ensemble of three."""
    return train_run(data, out=folder / "three", ensemble=3, seed=4, **QUICK)


def model_of(run: unroll.Run) -> Ensemble:
    assert isinstance(run.model, Ensemble)
    return run.model


def content(path: Path) -> dict[str, bytes]:
    """What a folder and all in it hold, without seconds, reports and baselines."""
    left_out = {"metrics.jsonl", "metrics.csv", ".lock", "report.html", "baseline.json"}
    files = (file for file in path.rglob("*") if file.is_file() and file.name not in left_out and file.suffix != ".png")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


# What it is


def test_each_member_is_the_run_that_is_trained_with_its_seed(run: unroll.Run, data: str, tmp_path: Path) -> None:
    assert sorted(os.listdir(run.path / "members")) == ["1", "2", "3"]
    alone = train_run(data, out=tmp_path / "alone", seed=5, val_seed=4, **QUICK)
    assert content(run.path / "members" / "2") == content(alone.path)
    second = load_run(run.path / "members" / "2")
    assert second.config.train == alone.config.train
    assert same(weights(second.model), weights(model_of(run).members[1]))


def test_a_single_model_has_no_members(data: str, tmp_path: Path) -> None:
    single = train_run(data, out=tmp_path / "single", **QUICK)
    assert not (single.path / "members").exists()
    assert single.single("anything") is single.model
    assert TrainConfig(seed=3).member(1) == TrainConfig(seed=3)


def test_the_model_is_the_mean_of_calibrated_probabilities(run: unroll.Run) -> None:
    raw = load_test(run).sequences.x[..., 0] * 0.5
    each = [load_run(run.path / "members" / str(number)).predict(raw).numpy() for number in (1, 2, 3)]
    expected = np.mean(each, axis=0)
    x = run.preparation.scaling.apply(raw[..., None])
    assert unroll.predict(run.model, x).numpy() == pytest.approx(expected, abs=1e-6)
    assert run.calibration is not None
    sharpened = expected ** (1 / run.calibration.temperature)
    answers = run.predict(raw).numpy()
    assert answers == pytest.approx(sharpened / sharpened.sum(axis=1, keepdims=True), abs=1e-5)
    assert len({tuple(row) for row in np.round(each, 4)[:, 0]}) == 3  # they are not one and the same


def test_all_members_hold_out_the_same_sequences(run: unroll.Run, data: str) -> None:
    assert run.config.train is not None
    splits = unroll.load(data)
    parts = [
        Training(unroll.SequenceClassifier(1, 2, hidden_size=2), splits, config).val
        for config in (
            *(run.config.train.member(number) for number in (1, 2, 3)),
            TrainConfig(seed=5, val_fraction=0.25),
        )
    ]
    first, second, third, without = (part.fingerprint() for part in parts if part is not None)
    assert first == second == third != without
    assert run.calibration is not None
    assert (run.calibration.n, run.calibration.fractions) == (len(parts[0] or ()), (1.0,))


def test_what_is_stored_beside_the_members(run: unroll.Run) -> None:
    names = [name for name in os.listdir(run.path) if name not in (".lock", "report.html", "figures", "baseline.json")]
    assert sorted(names) == ["calibration.json", "config.json", "evaluation.json", "members", "predictions.safetensors"]
    assert run.evaluation is not None
    alone = [json.loads((run.path / f"members/{number}/evaluation.json").read_text()) for number in (1, 2, 3)]
    assert [member["accuracy"] for member in run.evaluation["members"]] == [each["accuracy"] for each in alone]
    assert run.evaluation["weights"] == "mean of 3 members"
    again = unroll.evaluate(run.model, load_test(run).sequences)
    assert (again.accuracy, again.loss) == (run.evaluation["accuracy"], pytest.approx(run.evaluation["loss"]))


def test_without_validation_and_test_parts_the_members_count_as_they_are(data: str, tmp_path: Path) -> None:
    settings = QUICK | {"val_fraction": 0.0, "test_fraction": 0, "epochs": 1}
    run = train_run(data, out=tmp_path / "all", ensemble=2, **settings)
    assert (run.calibration, run.evaluation) == (None, None)
    assert model_of(run).temperatures == (1.0, 1.0)
    assert not (run.path / "predictions.safetensors").exists()


def test_a_budget_is_shared_and_its_steps_are_those_of_each(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("unroll.training.budget.seconds_per_step", lambda *_: 0.5)
    settings = {name: value for name, value in QUICK.items() if name != "epochs"}
    run = train_run(data, out=tmp_path / "run", ensemble=2, budget="20s", **settings)
    assert run.config.train is not None
    steps = run.config.train.training_steps
    assert steps in (18, 19)  # 9.5 s at 0.5 s each, less what the clock says of measuring
    first = load_run(run.path / "members" / "1").config.train
    assert first is not None
    assert (run.config.train.budget, first.budget, first.training_steps) == ("20s", "10s", steps)
    monkeypatch.setattr("unroll.training.budget.seconds_per_step", lambda *_: 1e-9)
    again = train_run(data, out=tmp_path / "again", ensemble=2, budget="20s", training_steps=steps, **settings)
    assert content(again.path) == content(run.path)


# Broken off and taken up again


def interrupt_at(member: int, epoch: int, how: Callable[[], object]) -> Callable[[Event], None]:
    """Return what breaks off the training of a member after an epoch."""
    at = 0

    def watch(event: Event) -> None:
        nonlocal at
        if isinstance(event, Started):
            at = event.member
        if isinstance(event, unroll.EpochResult) and (at, event.epoch) == (member, epoch):
            how()

    return watch


def raise_interrupt() -> None:
    raise KeyboardInterrupt


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """SIGTERM does not end this process, but is noted."""
    signals = list[int]()
    before = signal.signal(signal.SIGTERM, lambda signum, _: signals.append(signum))
    yield signals
    signal.signal(signal.SIGTERM, before)


def test_a_resumed_ensemble_ends_with_the_same_files(run: unroll.Run, data: str, tmp_path: Path, call: Call) -> None:
    path = tmp_path / "three"
    with pytest.raises(KeyboardInterrupt):
        train_run(data, out=path, ensemble=3, seed=4, watch=interrupt_at(2, 1, raise_interrupt), **QUICK)
    assert (path / "members/1" / WEIGHTS).exists()
    assert not (path / "members/3").exists()
    for refused in (load_run, read_record):
        with pytest.raises(RunError, match="three is not finished: run 'unroll train --resume .*three' first"):
            refused(path)
    started = list[tuple[int, int]]()

    def watch(event: Event) -> None:
        if isinstance(event, Started):
            started.append((event.member, len(event.training.history)))
            assert event.whole == path

    resumed = resume_run(path, watch=watch)
    assert started == [(2, 0), (3, 0)]  # the first is finished; the last checkpoint of the second is its beginning
    assert content(path) == content(run.path)
    assert same(weights(resumed.model), weights(run.model))
    with pytest.raises(RunError, match="three is finished: there is nothing to resume"):
        resume_run(path)


def test_sigterm_keeps_the_epoch_and_says_how_to_resume_the_whole(
    run: unroll.Run, data: str, tmp_path: Path, heard: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    path, kill = tmp_path / "three", lambda: os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt):
        train_run(data, out=path, ensemble=3, seed=4, watch=interrupt_at(3, 2, kill), **QUICK)
    assert heard == [signal.SIGTERM]
    assert capsys.readouterr().err == f"unroll: stopped by SIGTERM; continue with: unroll train --resume {path}\n"
    assert len(read_history(path / "members/3")) == 2
    resume_run(path)
    assert content(path) == content(run.path)


def test_an_ensemble_that_lacks_its_evaluation_alone_is_finished(
    run: unroll.Run, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: Call, undrawn: None
) -> None:
    path = tmp_path / "three"
    with monkeypatch.context() as patch:
        patch.setattr(execute, "judge", lambda *_: raise_interrupt())
        with pytest.raises(KeyboardInterrupt):
            train_run(data, out=path, ensemble=3, seed=4, **QUICK)
    with pytest.raises(RunError, match="three is not finished"):
        load_run(path)
    status, out, err = call("train", "--resume", path, "--report")
    assert (status, err) == (0, "")
    assert "its 3 members reach" in out
    assert (path / "report.html").exists()
    assert content(path) == content(run.path)


def test_a_member_of_another_training_is_refused(data: str, tmp_path: Path) -> None:
    path = tmp_path / "two"
    train_run(data, out=path, ensemble=2, **QUICK)
    config = json.loads((path / "members/2/config.json").read_text())
    config["train"]["lr"] = 0.5
    (path / "members/2/config.json").write_text(json.dumps(config))
    words = "two/members/2 was trained with other settings or data than .*two/config.json asks for; change that back"
    with pytest.raises(RunError, match=words):
        load_run(path)
    (path / "members/1" / WEIGHTS).unlink()
    with pytest.raises(RunError, match=words):
        resume_run(path)


def test_texts_are_read_by_the_tokens_of_the_whole(tmp_path: Path) -> None:
    words = [f"{'good' if n % 2 else 'bad'} film {n}\t{n % 2}" for n in range(24)]
    (tmp_path / "films.txt").write_text("\n".join(words) + "\n")
    settings = {"ensemble": 2, "lines": "tab", "epochs": 1, "hidden_size": 4, "tokenizer": "word"}
    path, films = tmp_path / "run", str(tmp_path / "films.txt")
    with pytest.raises(KeyboardInterrupt):
        train_run(films, out=path, watch=interrupt_at(1, 1, raise_interrupt), **settings)
    run = resume_run(path)
    tokens = [(folder / "tokenizer.json").read_bytes() for folder in (path, path / "members/1", path / "members/2")]
    assert tokens[0] == tokens[1] == tokens[2]
    assert run.predict(["a good film", "bad"]).shape == (2, 2)


# Its folder


def test_overwriting_removes_the_members_too(data: str, tmp_path: Path) -> None:
    path = tmp_path / "run"
    settings = QUICK | {"epochs": 1}
    train_run(data, out=path, ensemble=3, **settings)
    (path / "members/3/notes.txt").write_text("mine")
    with pytest.raises(RunError, match="run holds a run; choose another --out, replace it with --overwrite"):
        train_run(data, out=path, ensemble=2, **settings)
    train_run(data, out=path, ensemble=2, overwrite=True, **settings)
    assert sorted(os.listdir(path / "members/3")) == [".lock", "notes.txt"]
    single = train_run(data, out=path, overwrite=True, **settings)
    assert load_run(path).config == single.config
    assert os.listdir(path / "members/1") == [".lock"]


def test_nobody_else_writes_where_an_ensemble_is_trained(data: str, tmp_path: Path) -> None:
    path, refused = tmp_path / "run", 0

    def watch(event: Event) -> None:
        nonlocal refused
        if isinstance(event, unroll.EpochResult):
            for own in (path, path / "members/1"):
                with pytest.raises(RunError, match="is in use by another training"):
                    resume_run(own)
            refused += 1

    train_run(data, out=path, ensemble=2, watch=lambda event: None if refused else watch(event), **QUICK)
    assert refused == 1
    before = content(path)
    with locked(path / "members/2"), pytest.raises(RunError, match="members/2 is in use by another training"):
        train_run(data, out=path, ensemble=2, overwrite=True, **QUICK)
    assert content(path) == before


# Whoever takes a run takes it


@pytest.mark.slow
def test_train_shows_its_members_and_what_they_reach_together(data: str, call: Call) -> None:
    flags = ("--ensemble", 2, "--epochs", 30, "--hidden-size", 4, "--out", "run", "--no-report")
    status, out, err = call("train", "--data", data, *flags)
    assert (status, err) == (0, "")
    assert "ensemble  the mean of 2 members\n" in out
    assert "\nmember 1 of 2, seed 0\n" in out
    assert "\nmember 2 of 2, seed 1\n" in out
    assert out.count("data  ") == 1
    assert "\nits 2 members reach " in out
    assert json.loads(call("train", "--data", data, *flags, "--overwrite", "--json")[1])["members"][1]["accuracy"] >= 0


def test_evaluate_predict_info_and_baseline_take_it(run: unroll.Run, tmp_path: Path, call: Call) -> None:
    assert run.evaluation is not None
    assert json.loads(call("evaluate", run.path, "--json")[1])["accuracy"] == run.evaluation["accuracy"]
    series = load_test(run).sequences.x[0]
    np.savez(tmp_path / "one.npz", x=series[None])
    (answer,) = json.loads(call("predict", run.path, tmp_path / "one.npz", "--json")[1])["predictions"]
    assert answer["probability"] == pytest.approx(float(run.predict(series[None]).max()), abs=1e-5)
    assert json.loads(call("info", run.path, "--json")[1])["run"]["model"].startswith("3 members, each rnn, 6 units")
    assert call("baseline", run.path)[0] == 0
    assert read_record(run.path).baseline is not None


def test_a_report_shows_the_members(run: unroll.Run, call: Call, undrawn: None) -> None:
    assert call("report", run.path)[0] == 0
    page = (run.path / "report.html").read_text()
    assert "Model: the mean of 3 models, each RNN, 1 layer of 6 units" in page
    assert "seeds 4 to 6" in page
    assert "members/3</td>" in page
    assert f"unroll report {run.path}/members/1" in page
    assert "Calibration: does the confidence match the accuracy?" in page
    assert "What the doctor says" not in page
    assert "--ensemble 3" in page


def test_runs_are_compared_with_it(run: unroll.Run) -> None:
    record = read_record(run.path)
    one = read_record(run.path / "members/1")
    assert record.parameters == 3 * one.parameters
    assert record.epochs == one.epochs
    histories = [read_history(run.path / f"members/{number}") for number in (1, 2, 3)]
    losses = [history[-1].train_loss for history in histories]
    assert record.history[-1].train_loss == pytest.approx(sum(losses) / 3)
    assert record.seconds == pytest.approx(sum(result.seconds for history in histories for result in history))
    compared = compare_runs([run.path, run.path / "members/1"])
    assert compared.verdicts[0].test == "mcnemar"
    assert "ensemble" in compared.differing


def test_its_record_has_the_losses_of_its_members(run: unroll.Run) -> None:
    alone = [read_record(run.path / f"members/{number}").loss for number in (1, 2, 3)]
    assert list(read_record(run.path).member_losses) == alone


def test_histories_of_different_lengths_have_a_mean(run: unroll.Run, tmp_path: Path) -> None:
    lines = [(run.path / f"members/{number}/metrics.jsonl").read_text().splitlines() for number in (1, 2, 3)]
    for number, kept in enumerate((lines[0], lines[1][1:], lines[2][:2]), start=1):  # of restarts, and of patience
        (tmp_path / f"members/{number}").mkdir(parents=True)
        (tmp_path / f"members/{number}/metrics.jsonl").write_text("\n".join(kept) + "\n")
    history = history_of(tmp_path, run.config)
    rows = [[json.loads(line) for line in each] for each in lines]
    assert [result.epoch for result in history] == [2, 3]
    assert history[1].val_loss == pytest.approx(
        (rows[0][2]["val_loss"] + rows[1][2]["val_loss"] + rows[2][1]["val_loss"]) / 3
    )
    assert history[0].seconds == pytest.approx(sum(row["seconds"] for row in (*rows[0][:2], rows[1][1], *rows[2][:2])))


@pytest.mark.server
def test_a_server_answers_by_it_and_refuses_streams(run: unroll.Run, logged: io.StringIO) -> None:
    from unroll.server import load_served

    (served,) = load_served([run.path])
    assert "three is served without a page: a page needs a single model" in logged.getvalue()
    series = load_test(run).sequences.x[:3]
    with client(served) as asked:
        answers = asked.post("/predict", json={"sequences": series.tolist()}).json()["predictions"]
        for answer, row in zip(answers, run.predict(series), strict=True):
            assert same_answer(answer, run.preparation.classes[int(row.argmax())], float(row.max()))
        assert asked.get("/runs").json()["runs"][0]["streams"] is False
        refused = asked.post("/stream", json={"state": None, "steps": series[0].tolist()})
        assert (refused.status_code, error_of(refused)) == (
            422,
            "the run three is an ensemble and cannot stream: use /predict",
        )


# What needs a single model


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (("evaluate", "--anytime"), "--anytime"),
        (("predict", "--stop-at", 0.9, "x.npz"), "--stop-at"),
        (("doctor",), "unroll doctor"),
        (("export", "--to", "html"), "a page"),
    ],
)
def test_what_needs_a_single_model_refuses_it(run: unroll.Run, call: Call, words: tuple[str, ...], what: str) -> None:
    command, *rest = words
    status, out, err = call(command, run.path, *rest)
    wanted = (
        f"unroll: {what} needs a single model, and {run.path} is an ensemble of 3: use one of its members, such as "
    )
    assert (status, out, err) == (2, "", f"{wanted}{run.path}/members/1\n")


def test_functions_that_need_a_single_model_refuse_it(run: unroll.Run, tmp_path: Path) -> None:
    sequences = load_test(run).sequences
    with pytest.raises(
        InputError, match="attribute explains a single model, got an ensemble: use one of its model.memb"
    ):
        unroll.attribute(run.model, sequences.batch(slice(0, 2)).x)
    with pytest.raises(
        ConfigError, match=r"an ensemble cannot stream: use one of its models, as in model.members\[0\]"
    ):
        run.model.stream()
    with pytest.raises(InputError, match="examine expects a SequenceClassifier, got Ensemble"):
        unroll.doctor.examine(run.model)  # type: ignore[arg-type]
    with pytest.raises(
        RunError, match="an ensemble is saved as it is trained, by train_run: save its members one by one"
    ):
        unroll.save(run.model, tmp_path / "saved", data=sequences)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="a page needs a single model, and .*three is an ensemble of 3"):
        unroll.export_html(run, load_test(run))
    with pytest.raises(
        InputError, match=r"predict expects a float32 tensor \(N, time, 1\), scaled as in training; got"
    ):
        unroll.predict(run.model, torch.zeros(2, 3, 4))


def test_settings_of_ensembles_are_checked(data: str, call: Call) -> None:
    splits = unroll.load(data)
    with pytest.raises(ConfigError, match="a training is of one model: ensemble must be 1, got 5; use train_run"):
        unroll.fit(unroll.SequenceClassifier(1, 2), splits, TrainConfig(ensemble=5))
    with pytest.raises(ConfigError, match="a sweep trains single models: ensemble must be 1, got 2; choose the other"):
        run_sweep(data, search={"lr": [0.1, 0.01]}, ensemble=2)
    with pytest.raises(ConfigError, match="a sweep trains single models"):
        run_sweep(data, search={"ensemble": [1, 2]})
    with pytest.raises(ConfigError, match="val_seed must be the same for all"):
        run_sweep(data, search={"val_seed": [1, 2]})
    with pytest.raises(
        ConfigError, match="the seeds of an ensemble must be at most 4294967295, got 2 from 4294967295 on"
    ):
        TrainConfig(ensemble=2, seed=2**32 - 1)
    for flags, words in (
        (("--ensemble", 0), "ensemble must be from 1 to 1000, got 0"),
        (("--val-seed", -1), "val_seed must"),
    ):
        status, _, err = call("train", *flags)
        assert (status, err.count("\n")) == (2, 1)
        assert words in err
    assert call("check", "--data", data, "--ensemble", 3)[0] == 0
    assert choose_settings("images", {})[1].train.ensemble == 1
