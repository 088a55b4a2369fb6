"""An operating point of a run: chosen on its validation split, kept, and followed wherever it answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import py_mini_racer
import pytest
import torch

import unroll
from served import client
from unroll import ConfigError, RunError, UnrollWarning, load_run, train_run
from unroll.config import OperatingConfig
from unroll.evaluation.metrics import logits_of
from unroll.export.description import describe, raw
from unroll.export.verify import ASK
from unroll.page import engine
from unroll.report import results
from unroll.report.section import Picture, Table
from unroll.runs import choose_operating_point, drop_operating_point, keep_operating_point
from unroll.runs.artifacts import read_predictions
from unroll.runs.data import load_test
from unroll.runs.folder import OPERATING
from unroll.runs.lock import locked
from unroll.server import Served

Call = Callable[..., tuple[int, str, str]]
QUICK: dict[str, Any] = {"cell": "rnn", "epochs": 1, "hidden_size": 4, "recipe": "images", "val_fraction": 0.3}


def rare(path: Path, count: int = 120) -> str:
    """Write noise, a quarter of it a little higher and called fault; return the file."""
    random, y = np.random.default_rng(0), np.arange(count) % 4 == 0
    x = random.normal(size=(count, 6, 1)) + 0.5 * y[:, None, None]
    np.savez(path, x=x.astype("f4"), y=np.where(y, "fault", "normal"))
    return str(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("points")


@pytest.fixture(scope="module")
def data(folder: Path) -> str:
    return rare(folder / "rare.npz")


@pytest.fixture(scope="module")
def trained(folder: Path, data: str) -> Path:
    return train_run(data, out=folder / "run", **QUICK).path


@pytest.fixture(scope="module")
def unheld(folder: Path, data: str) -> Path:
    """A run that held nothing out."""
    return train_run(data, out=folder / "all", **QUICK | {"val_fraction": 0}).path


@pytest.fixture
def faults(trained: Path, tmp_path: Path) -> unroll.Run:
    """The run, in a folder of its own."""
    return load_run(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize("members", [1, 2])
def test_a_threshold_is_chosen_on_the_sequences_that_the_training_held_out(
    folder: Path, data: str, trained: Path, members: int
) -> None:
    run = load_run(trained) if members == 1 else train_run(data, out=folder / "two", ensemble=2, **QUICK)
    assert run.config.train is not None
    assert run.calibration is not None
    splits = unroll.load(data)
    seed = run.config.train.val_seed if members == 1 else run.config.member(1).train.val_seed  # type: ignore[union-attr]
    _, val = splits.train.cut(0.3, run.config.train.seed if seed is None else seed)
    p = (logits_of(run.model, val) / run.calibration.temperature).softmax(dim=1)[:, 0].double()
    is_fault = val.y == 0
    point = choose_operating_point(run, OperatingConfig(at_recall=0.7))
    assert point.positive == "fault"
    assert point.threshold is not None
    recalls = [(float(v), float((p[is_fault] >= v).double().mean())) for v in p]
    assert point.threshold == pytest.approx(max(v for v, recall in recalls if recall >= 0.7), abs=2e-6)
    assert point.validation is not None
    assert (point.validation.n, point.validation.positives) == (len(val), int(is_fault.sum()))
    assert not (run.path / OPERATING).exists()
    kept = keep_operating_point(run, point)
    assert load_run(run.path).operating_point == kept.operating_point == point
    drop_operating_point(run.path)
    assert load_run(run.path).operating_point is None


def test_predict_server_and_page_answer_alike(faults: unroll.Run, tmp_path: Path, call: Call) -> None:
    test = load_test(faults).sequences
    logits = logits_of(faults.model, test)
    assert faults.calibration is not None
    p = (logits / faults.calibration.temperature).softmax(dim=1).double()
    low, reject = float(p[:, 0].quantile(0.4)), float(p[:, 0].quantile(0.7))
    assert call("evaluate", faults.path, "--threshold", low, "--reject", reject, "--keep", "--json")[0] == 0
    expected = [
        "fault" if row[0] >= max(low, reject) else "normal" if row[0] < low and row[1] >= reject else None for row in p
    ]
    assert set(expected) == {"fault", "normal", None}
    x = test.raw if test.lengths is None else test.padded(slice(None))
    np.savez(tmp_path / "new.npz", x=x.numpy().reshape(len(test), -1, 1))

    content = json.loads(call("predict", faults.path, tmp_path / "new.npz", "--json")[1])
    assert [(each["class"], each["unsure"]) for each in content["predictions"]] == [(e, e is None) for e in expected]
    assert content["operating_point"]["threshold"] == low
    for each, row in zip(content["predictions"], p, strict=True):
        if each["class"]:
            assert each["probability"] == pytest.approx(float(row[["fault", "normal"].index(each["class"])]), abs=1e-6)
    _, out, err = call("predict", faults.path, tmp_path / "new.npz")
    assert [line.split(": ")[1].split()[0] for line in out.splitlines()] == [each or "unsure" for each in expected]
    assert "the answers follow the operating point" in err

    kept = load_run(faults.path)
    with client(Served("points", kept, "")) as asked:
        body = {"sequences": x.reshape(len(test), -1, 1).tolist()}
        answers = asked.post("/predict", json=body).json()["predictions"]
        assert [(each["class"], each["unsure"]) for each in answers] == [(e, e is None) for e in expected]
        (facts,) = asked.get("/runs").json()["runs"]
        assert facts["operating_point"]["positive"] == "fault"
        stream = asked.post("/stream", json={"steps": body["sequences"][expected.index(None)]}).json()
        assert (stream["class"], stream["unsure"]) == (None, True)

    description = describe(kept, test, "rare")
    with py_mini_racer.mini_racer() as context:
        given = json.dumps(json.dumps(description.content))
        context.eval(f"const description = JSON.parse({given});\n{engine(description.steps)}\n{ASK}")
        samples = json.dumps([raw(test, number) for number in range(len(test))])
        decide = (
            f"{samples}.map(({{x}}) => {{const s = sequenceOf(description, x); const read = model.read(s);"
            "return [model.decide(model.probabilities(s)), read.final]})"
        )
        found = json.loads(context.eval(f"JSON.stringify({decide})"))
    numbers = [None if name is None else kept.preparation.classes.index(name) for name in expected]
    assert found == [[number, number] for number in numbers]


def test_evaluate_shows_a_point_and_keeps_it_only_when_asked(faults: unroll.Run, call: Call) -> None:
    words = ("evaluate", faults.path, "--cost-false-negative", 5, "--reject", 0.5)
    status, out, err = call(*words)
    assert (status, (faults.path / OPERATING).exists()) == (0, False)
    assert "costs: false negative 5, false positive 1" in out
    assert "'fault', the rarer class of the training data" in err
    assert "not kept" in err
    (faults.path / "page.html").write_text("old")
    shown = json.loads(call(*words, "--json")[1])["operating_point"]
    status, _, err = call(*words, "--keep")
    assert "page.html was made before: renew it with unroll export" in err
    kept = json.loads(call("evaluate", faults.path, "--json")[1])["operating_point"]
    assert kept == shown | {"kept": True}
    assert (kept["test"]["n"], kept["costs"]) == (24, {"false_negative": 5.0, "false_positive": 1.0})
    assert "at the operating point kept in the run, 'fault' where" in call("evaluate", faults.path)[1]
    assert call("evaluate", faults.path, "--drop")[0] == 0
    assert json.loads(call("evaluate", faults.path, "--json")[1])["operating_point"] is None


def test_it_is_said_where_the_most_probable_class_counts(faults: unroll.Run, unheld: Path, call: Call) -> None:
    keep_operating_point(faults, choose_operating_point(faults, OperatingConfig(threshold=0.4)))
    status, _, err = call("compare", faults.path, unheld, "--json")
    assert (status, err) == (0, f"unroll: accuracies are of the most probable class, also of {faults.path} with an "
                                "operating point\n")  # fmt: skip
    status, _, err = call("predict", faults.path, "new.npz", "--stop-at", 0.9)
    assert status == 2
    assert "--stop-at reads until the most probable class is sure, but" in err
    (faults.path / "report.html").write_text("old")
    assert "report.html was made before" in call("evaluate", faults.path, "--drop")[2]


def test_the_report_has_a_section_about_it(faults: unroll.Run) -> None:
    point = choose_operating_point(faults, OperatingConfig(at_recall=0.5, positive="fault"))
    kept = keep_operating_point(faults, point)
    predictions = read_predictions(faults.path, faults.preparation.classes)
    assert predictions is not None
    (section,) = results.operating_point(predictions, kept)
    (table,) = section.parts
    assert isinstance(table, Table)
    guess = predictions.probabilities(faults.calibration)[:, 0] >= (point.threshold or 0)
    right = int((guess & (predictions.y == 0)).sum())
    precision, recall = right / int(guess.sum()), right / int((predictions.y == 0).sum())
    cells = {row[0]: row[2].partition(" %")[0] for row in table.rows}
    assert cells["precision of 'fault'"] == f"{100 * precision:.2f}"
    assert cells["recall of 'fault'"] == f"{100 * recall:.2f}"
    assert table.headings == ("", "validation", "test")
    (classes,) = results.classes(predictions.evaluation, (predictions, kept))
    drawn = next(part for part in classes.parts if isinstance(part, Picture) and part.name == "precision-recall")
    (axes,) = drawn.figure.axes
    assert axes.collections[0].get_offsets().tolist() == [[recall, precision]]


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--at-recall", 2], "at_recall must be above 0 and at most 1, got 2"),
        (["--threshold", 0.3, "--at-recall", 0.9], "give threshold or at_recall, not both"),
        (["--keep"], "keep must come with an operating point"),
        (["--drop", "--keep"], "drop only removes the operating point"),
        (["--drop"], "keeps no operating point: there is nothing to drop"),
        (["--threshold", 0.3, "--positive", "faut"], "positive must be one of fault, normal, got 'faut'"),
    ],
)
def test_wrong_flags_are_refused_in_a_line(trained: Path, call: Call, flags: list[object], match: str) -> None:
    status, out, err = call("evaluate", trained, *flags)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert match in err


def test_of_more_than_two_classes_only_rejection_applies(digits: Served) -> None:
    run = digits.run
    with pytest.raises(ConfigError, match="at_recall applies to two classes, and .* has 10"):
        choose_operating_point(run, OperatingConfig(at_recall=0.9))
    point = choose_operating_point(run, OperatingConfig(reject=0.99))
    assert point.validation is not None
    assert run.calibration is not None
    assert point.validation.n == run.calibration.n
    images = unroll.load("mnist-sample").test.images()[:50]
    p = run.predict(images)
    assert torch.equal(point.labels(p) == -1, p.max(dim=1).values < 0.99)


def test_without_a_validation_split_only_a_given_threshold_is_taken(unheld: Path) -> None:
    run = load_run(unheld)
    with pytest.raises(RunError, match=r"no validation split, on which at_recall would be chosen: .* --val-fraction"):
        choose_operating_point(run, OperatingConfig(at_recall=0.9))
    point = choose_operating_point(run, OperatingConfig(threshold=0.2))
    assert (point.positive, point.threshold, point.validation) == ("fault", 0.2, None)


def test_where_the_data_is_gone_a_given_point_says_what_is_unknown(faults: unroll.Run, data: str) -> None:
    gone = Path(data).rename(Path(data).with_suffix(".gone"))
    try:
        with pytest.warns(UnrollWarning, match="what the point makes of the validation split is unknown"):
            point = choose_operating_point(faults, OperatingConfig(threshold=0.2, positive="fault"))
        assert point.validation is None
        with pytest.raises(unroll.InputError):
            choose_operating_point(faults, OperatingConfig(threshold=0.2))
    finally:
        gone.rename(data)


def test_a_run_saved_by_hand_needs_both_named(faults: unroll.Run, tmp_path: Path) -> None:
    unroll.save(faults.single("it"), tmp_path / "hand", data=load_test(faults).sequences)
    hand = load_run(tmp_path / "hand")
    with pytest.raises(RunError, match="was saved by hand and records no counts of its classes"):
        choose_operating_point(hand, OperatingConfig(threshold=0.4))
    assert choose_operating_point(hand, OperatingConfig(threshold=0.4, positive="normal")).positive == "normal"


def test_a_new_training_loses_the_point_and_a_changed_run_refuses_it(faults: unroll.Run, data: str) -> None:
    point = choose_operating_point(faults, OperatingConfig(reject=0.6))
    keep_operating_point(faults, point)
    train_run(data, out=faults.path, overwrite=True, **QUICK | {"seed": 5})
    assert load_run(faults.path).operating_point is None
    with pytest.raises(RunError, match="was trained again since it was loaded"):
        keep_operating_point(faults, point)
    with locked(faults.path), pytest.raises(RunError, match="in use"):
        drop_operating_point(faults.path)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"temperature": 3.0}, "it was chosen for probabilities of another calibration"),
        ({"threshold": 7}, "threshold must be a number from 0 to 1"),
        ({"positive": "fish"}, "the positive class must be one of the classes"),
        ({"threshold": None, "positive": None, "reject": None}, "neither a threshold nor a level of rejection"),
        ({"validation": [[1, 2], [3, 4]]}, "validation must be 2 rows of 3 counts"),
        ({"validation": [[1, 2, -1], [3, 4, 0]]}, "a count must be at least 0"),
        ({"costs": {"false_negative": 1}}, "'false_positive'|false_positive is missing"),
        ({"chosen": 3}, "chosen must be a string"),
        ({"counted": "rows"}, "counted must be one of sequences, windows, recordings"),
    ],
)
def test_a_broken_file_is_named_and_can_be_dropped(faults: unroll.Run, change: dict[str, Any], match: str) -> None:
    keep_operating_point(faults, choose_operating_point(faults, OperatingConfig(threshold=0.4)))
    file = faults.path / OPERATING
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(RunError, match=rf"{OPERATING} is broken \(.*({match})"):
        load_run(faults.path)
    drop_operating_point(faults.path)
    assert load_run(faults.path).operating_point is None
