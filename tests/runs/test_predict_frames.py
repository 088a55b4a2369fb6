"""Frames put to a run answer what the same content does as arrays, in the order of the frame and with its ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import unroll
from unroll import DataError
from unroll.runs import answer_files

N, TIME = 12, 5
X = np.random.default_rng(0).normal(size=(N, TIME, 2)) * (1, 1_000)  # an order that matters
X[3, 2, 0] = np.nan


def long(x: np.ndarray, ids: list[str], **names: str) -> pd.DataFrame:
    rows = [
        {"id": id_, "time": step, "b": values[1], "a": values[0], "label": "xy"[number % 2]}
        for number, (id_, series) in enumerate(zip(ids, x, strict=True))
        for step, values in enumerate(series)
    ]
    return pd.DataFrame(rows).rename(columns=names)


def saved(data: unroll.Splits, features: int, path: Path) -> unroll.Run:
    torch.manual_seed(0)
    unroll.save(unroll.SequenceClassifier(features, 2, hidden_size=4), path, data=data.train)
    return unroll.load_run(path)


@pytest.fixture
def run(tmp_path: Path) -> unroll.Run:
    """Return a run on two features, which its frame has in the order b, a."""
    data = unroll.load(long(X, [f"s{number}" for number in range(N)]), test_fraction=0)
    return saved(data, 2, tmp_path / "run")


def test_a_frame_is_read_as_that_of_the_training_data(run: unroll.Run) -> None:
    expected = run.predict(X[:, :, ::-1])
    ids = [f"new{number}" for number in range(N)]
    frame = long(X, ids)
    lists = pd.DataFrame({"b": list(X[:, :, 1]), "a": list(X[:, :, 0])})
    for same in (
        frame,
        frame.drop(columns="label"),
        frame[["time", "a", "id", "b"]],
        frame.assign(note="…", label=None),
        lists,
    ):
        torch.testing.assert_close(run.predict(same), expected)
    torch.testing.assert_close(run.predict(pl.from_pandas(frame)), expected)
    torch.testing.assert_close(run.predict(frame.set_index(["id", "time"])[["a", "b"]]), expected)


def test_answers_have_the_order_and_the_ids_of_the_frame(run: unroll.Run) -> None:
    ids = [f"{number:03}" for number in range(N)]
    order = np.random.default_rng(1).permutation(N)
    frame = long(X[order], [ids[number] for number in order])
    expected = run.predict(X[:, :, ::-1])[torch.from_numpy(order)].numpy()
    mixed = frame.sample(frac=1, random_state=0)
    seen = mixed["id"].drop_duplicates().tolist()
    for given, names in ((frame, [ids[number] for number in order]), (mixed, seen)):
        answers = answer_files(run, given)
        assert answers["id"].tolist() == names
        assert answers["line"].tolist() == [None] * N
        at = [frame["id"].drop_duplicates().tolist().index(name) for name in names]
        np.testing.assert_allclose(answers[["p(x)", "p(y)"]], expected[at], rtol=1e-5)
        np.testing.assert_allclose(run.predict(given).numpy(), expected[at], rtol=1e-5)
    joined = frame.merge(answers, on="id", validate="many_to_one")
    assert len(joined) == len(frame)


def test_rows_of_the_wide_form_are_series(tmp_path: Path) -> None:
    wide = pd.DataFrame(X[:, :, 1], columns=[f"t{step}" for step in range(TIME)])
    data = unroll.load(wide.assign(label=list("xy") * 6), test_fraction=0)
    run = saved(data, 1, tmp_path / "wide")
    expected = run.predict(X[:, :, 1])
    torch.testing.assert_close(run.predict(wide), expected)
    turned = wide.iloc[::-1]
    torch.testing.assert_close(run.predict(turned), expected.flip(0))
    assert answer_files(run, turned)["row"].tolist() == list(range(N))


def test_texts_are_in_the_column_that_the_run_was_trained_on(tmp_path: Path) -> None:
    texts = pd.DataFrame({"opinion": ["a fine film", "a dull film"] * 4, "label": ["good", "bad"] * 4})
    texts.to_csv(tmp_path / "texts.csv", index=False)
    settings: dict[str, Any] = {"text_column": "opinion", "epochs": 1, "hidden_size": 4, "batch_size": 4}
    run = unroll.train_run(str(tmp_path / "texts.csv"), out=tmp_path / "run", **settings)
    frame = texts.iloc[::-1].assign(id=range(8))
    torch.testing.assert_close(run.predict(frame), run.predict(frame["opinion"].tolist()))
    assert answer_files(run, frame)["id"].tolist() == list(map(str, range(8)))
    with pytest.raises(DataError, match="has no text, .* got words, label, id"):
        run.predict(frame.rename(columns={"opinion": "words"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame[["a", "b"]], "no columns that say which series and which time step a row is"),
        (lambda frame: frame.drop(columns="id"), "has a column time but no column id"),
        (lambda frame: frame.rename(columns={"a": "c"}), "the run reads the features b, a; the data has b, c"),
        (lambda frame: frame.iloc[:0], "holds no rows"),
    ],
)
def test_frames_that_leave_a_choice_are_refused(run: unroll.Run, change: Any, message: str) -> None:
    for answer in (run.predict, lambda frame: answer_files(run, frame)):
        with pytest.raises(DataError, match=message):
            answer(change(long(X, [f"s{number}" for number in range(N)])))


def test_features_without_names_have_no_order_in_a_frame(tmp_path: Path) -> None:
    data = unroll.load(np.nan_to_num(X), list("xy") * 6, test_fraction=0)
    run = saved(data, 2, tmp_path / "arrays")
    frame = long(np.nan_to_num(X), list("abcdefghijkl"))
    with pytest.raises(DataError, match="those of the training data have no names: hand over an array"):
        run.predict(frame)
    with pytest.raises(DataError, match="lengths cannot be used with a frame"):
        run.predict(frame, lengths=[5] * N)
