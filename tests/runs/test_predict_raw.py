"""Raw examples put to a run, beside what the model says of them once they are prepared by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import unroll
from unroll import DataError, InputError
from unroll.evaluation.predict_files import Sure, predict_files
from unroll.runs.data import load_test


def softmax(logits: torch.Tensor, temperature: float) -> torch.Tensor:
    return (logits.detach() / temperature).softmax(dim=1)


@pytest.mark.slow
def test_images_are_taken_as_a_user_has_them(run: unroll.Run, sample: unroll.Splits) -> None:
    assert run.calibration is not None
    images = sample.test.x[:6]
    scaled = (images.float() - run.preparation.scaling.mean) / run.preparation.scaling.std  # type: ignore[operator]
    expected = softmax(run.model(scaled), run.calibration.temperature)
    for raw in (images, images.numpy(), images.tolist(), images.double().numpy(), list(images.numpy()), sample.test):
        torch.testing.assert_close(run.predict(raw)[:6], expected, atol=1e-5, rtol=0)
    assert run.predict([]).shape == (0, 10)
    by_columns = unroll.load("mnist-sample", read="columns")
    model = unroll.SequenceClassifier(28, 10, hidden_size=4)
    unroll.save(model, "columns", data=by_columns.train)
    turned = unroll.load_run("columns")
    torch.testing.assert_close(turned.predict(images), turned.predict(by_columns.test)[:6])


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (np.zeros((2, 28, 28)) + 0.5, r"whole numbers from 0 to 255, got float64 from 0 to 0.5"),
        (np.ones((2, 28, 28)), r"whole numbers from 0 to 255, got float64 from 0 to 1"),
        (np.full((2, 28, 28), 256), r"whole numbers from 0 to 255, got int64 from 0 to 256"),
        (np.full((2, 28, 28), np.nan), r"whole numbers from 0 to 255, got float64 from nan to nan"),
        (np.zeros((2, 784), np.uint8), r"images \(N, 28, 28\) .* got uint8 of shape \(2, 784\)"),
        ([[[0, 1], [1]]], r"images must hold numbers, each of the same shape"),
        (["a fine film"], r"images must hold numbers, each of the same shape \(got <U11\)"),
        ("digit.png", r"expected an array or a list of images, got str"),
        (Path("digit.png"), r"expected an array or a list of images, got PosixPath"),
    ],
)
def test_what_are_no_images_is_refused(run: unroll.Run, raw: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        run.predict(raw)
    with pytest.raises(DataError, match="lengths are for padded series, the run reads images"):
        run.predict(np.zeros((1, 28, 28), np.uint8), lengths=[3])


@pytest.fixture
def series(tmp_path: Path) -> unroll.Run:
    """Two features in very different units, lengths from 4 to 6, some values missing."""
    lines = ["id,time,a,b,class"]
    for number in range(60):
        for step in range(4 + number % 3):
            gap = "" if (number + step) % 5 == 0 else str(step * (1 if number % 2 else -1))
            lines.append(f"{number},{step},{gap},{1000 + number + step % 2},{'up' if number % 2 else 'down'}")
    (tmp_path / "series.csv").write_text("\n".join(lines))
    return unroll.train_run(
        str(tmp_path / "series.csv"), out=tmp_path / "run", epochs=2, hidden_size=6, val_fraction=0.1
    )


GAPS = np.random.default_rng(1).normal(size=(2, 6, 1))
GAPS[[0, 1], [2, 0]] = np.nan


@pytest.fixture
def marked(tmp_path: Path) -> Callable[[str], unroll.Run]:
    """A run without training on 30 series of six steps, of which -99.9 marks what is missing; of a table or arrays."""

    def run_on(kind: str) -> unroll.Run:
        x = np.random.default_rng(0).normal(size=(30, 6)).round(2)
        x[::3, 2] = -99.9
        labels = ["down", "up"] * 15
        if kind == "npz":
            np.savez(tmp_path / "m.npz", x=x[..., None], y=labels)
        else:
            rows = [f"{n},{t},{value},{labels[n]}" for n, row in enumerate(x) for t, value in enumerate(row)]
            (tmp_path / "m.csv").write_text("\n".join(["id,time,x,label", *rows]))
        options: Any = {"missing_values": "-99.9", "epochs": 1, "hidden_size": 3, "min_steps": 1}
        return unroll.train_run(str(tmp_path / f"m.{kind}"), out=tmp_path / "run", **options)

    return run_on


def test_series_of_any_length_are_scaled_and_filled(series: unroll.Run) -> None:
    assert series.calibration is not None
    first, second = [[1.0, 1003.0], [None, 1004.0], [2.0, 1005.0]], [[None, 1000.0]]
    mean, std = np.array(series.preparation.scaling.mean), np.array(series.preparation.scaling.std)
    assert series.preparation.missing is not None
    filled = [[[1, 1003], [1, 1004], [2, 1005]], [[series.preparation.missing.means[0], 1000]]]
    expected = torch.cat(
        [
            softmax(
                series.model(torch.tensor((np.array(values) - mean) / std, dtype=torch.float32)[None]),
                series.calibration.temperature,
            )
            for values in filled
        ]
    )
    arrays = [np.array(values, float) for values in (first, second)]
    padded = np.full((2, 5, 2), 7.0)
    for row, values in zip(padded, arrays, strict=True):
        row[: len(values)] = values
    for raw, lengths in (([first, second], None), (arrays, None), (padded, [3, 1]), (torch.tensor(padded), (3, 1))):
        torch.testing.assert_close(series.predict(raw, lengths), expected, atol=1e-5, rtol=0)
    for raw, lengths, message in (
        (padded[:, :, :1], None, r"raw must have shape \(N, time, 2\), got \(2, 5, 1\)"),
        ([first, [[1.0]]], None, r"series 1 must have shape \(time, 2\), got \(1, 1\)"),
        ([first, [["x", 1.0]]], None, r"series 1 must hold numbers"),
        (padded, [3], r"lengths must have shape \(2,\), one of each series, got \(1,\)"),
        (padded, [3, 6], r"lengths must be from 0 to 5, got 3 to 6"),
        (np.full((1, 2, 2), np.inf), None, r"too large for float32"),
    ):
        with pytest.raises(DataError, match=message):
            series.predict(raw, lengths)


@pytest.mark.parametrize("kind", ["csv", "npz"])
def test_a_number_that_marked_a_missing_value_does_so_in_arrays(marked: Callable[[str], unroll.Run], kind: str) -> None:
    run = marked(kind)
    torch.testing.assert_close(run.predict(np.nan_to_num(GAPS, nan=-99.9)), run.predict(GAPS), atol=0, rtol=0)


def test_a_mark_of_a_table_is_known_in_single_precision_too(marked: Callable[[str], unroll.Run]) -> None:
    run, x = marked("csv"), GAPS.astype(np.float32)
    torch.testing.assert_close(run.predict(np.nan_to_num(x, nan=-99.9)), run.predict(x), atol=0, rtol=0)


def test_a_mark_of_a_table_is_one_in_a_file_of_arrays(marked: Callable[[str], unroll.Run], tmp_path: Path) -> None:
    run = marked("csv")
    np.savez(tmp_path / "more.npz", x=np.nan_to_num(GAPS, nan=-99.9), y=["up", "down"])
    assert run.config.plan is not None
    first, second = predict_files(
        run.model, run.preparation, [tmp_path / "more.npz"], Sure(run.calibration), own=run.config.plan.reading
    )
    np.testing.assert_allclose([first.probabilities, second.probabilities], run.predict(GAPS), atol=1e-6)


def test_a_mark_of_a_table_is_one_in_arrays_that_are_evaluated(marked: Callable[[str], unroll.Run]) -> None:
    x = np.full((6, 6), 0.5)
    x[[0, 3], [1, 2]] = -99.9
    test = load_test(marked("csv"), (x, ["up", "down"] * 3)).sequences
    assert test.missing is not None
    assert int(test.missing.sum()) == 2


@pytest.mark.slow
def test_texts_are_cut_into_tokens(tmp_path: Path) -> None:
    lines = [f"{'a fine film' if n % 2 else 'a dull play'} {n}\t{'good' if n % 2 else 'bad'}" for n in range(80)]
    (tmp_path / "films.tsv").write_text("\n".join(["text\tlabel", *lines]))
    run = unroll.train_run(str(tmp_path / "films.tsv"), out=tmp_path / "run", tokenizer="word", epochs=2, hidden_size=6)
    assert run.calibration is not None
    assert run.preparation.tokenizer is not None
    ids = torch.tensor(run.preparation.tokenizer.ids(["a dull film"])[0])[None]
    expected = softmax(run.model(ids), run.calibration.temperature)
    torch.testing.assert_close(run.predict(["a dull film"]), expected)
    for kind in (torch.int32, torch.int64):
        torch.testing.assert_close(unroll.predict(run.model, ids.to(kind)), softmax(run.model(ids), 1))
    with pytest.raises(DataError, match="expected a list of them, got one with int"):
        run.predict(["a fine film", 3])
    with pytest.raises(DataError, match="expected an array or a list of texts, got str"):
        run.predict("a fine film")
    for wrong in (ids.float(), ids[0], ids + 10_000, ids - 100, ["a dull film"]):
        with pytest.raises(InputError, match=r"predict expects token ids, .* For raw data use run.predict\(raw\)"):
            unroll.predict(run.model, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "got"),
    [
        (lambda x: x.byte(), r"uint8 of shape \(3, 28, 28\)"),
        (lambda x: x.double(), r"float64 of shape \(3, 28, 28\)"),
        (lambda x: x.long(), r"int64 of shape \(3, 28, 28\)"),
        (lambda x: x[:, :, :5], r"float32 of shape \(3, 28, 5\)"),
        (lambda x: x[0], r"float32 of shape \(28, 28\)"),
        (lambda x: x.numpy(), "ndarray"),
    ],
)
def test_predict_refuses_what_the_model_does_not_read(change: Callable[[torch.Tensor], Any], got: str) -> None:
    model = unroll.SequenceClassifier(28, 10, hidden_size=4)
    x = torch.zeros(3, 28, 28)
    message = (
        rf"predict expects a float32 tensor \(N, time, 28\), scaled as in training; got {got}. "
        r"For raw data use run.predict\(raw\)"
    )
    with pytest.raises(InputError, match=message):
        unroll.predict(model, change(x))
    assert unroll.predict(model, x).shape == (3, 10)
    assert unroll.predict(model.double(), x.double()).shape == (3, 10)
    with pytest.raises(InputError, match=r"predict expects a float64 tensor \(N, time, 28\)"):
        unroll.predict(model, x)


@pytest.mark.parametrize("x", [torch.zeros(2, 3, 4).double(), torch.zeros(2, 3).bool(), [[0.0]]])
def test_predict_refuses_what_no_model_reads(x: Any) -> None:
    with pytest.raises(InputError, match=r"predict expects a float32 tensor .*, or token ids, .*; got"):
        unroll.predict(torch.nn.Identity(), x)


def words(token: int, *ngrams: int) -> torch.Tensor:
    """Return two texts of three words, all the same."""
    return torch.tensor([[[token, *ngrams]] * 3] * 2)


TOKENS, BUCKETS = 9, 5


@pytest.mark.parametrize(
    ("buckets", "x"),
    [
        (0, words(0)[..., 0]),
        (0, words(TOKENS - 1)[..., 0].int()),
        (BUCKETS, words(0)),
        (BUCKETS, words(TOKENS - 1, 0, 1, BUCKETS).int()),
    ],
)
def test_predict_reads_every_token_and_n_gram_that_the_model_has(buckets: int, x: torch.Tensor) -> None:
    model = unroll.SequenceClassifier(6, 2, hidden_size=4, vocabulary_size=TOKENS, ngram_buckets=buckets)
    torch.testing.assert_close(unroll.predict(model, x), softmax(model.eval()(x), 1))


@pytest.mark.parametrize(
    "x",
    [
        words(TOKENS)[..., 0],
        words(-1)[..., 0],
        words(0),
        words(0)[..., 0].float(),
        words(0)[..., 0].short(),
        words(0).tolist(),
    ],
)
def test_predict_refuses_tokens_that_the_model_does_not_have(x: Any) -> None:
    model = unroll.SequenceClassifier(6, 2, hidden_size=4, vocabulary_size=TOKENS)
    with pytest.raises(InputError, match=r"an int32 or int64 tensor \(N, time\) from 0 to 8; got"):
        unroll.predict(model, x)


@pytest.mark.parametrize(
    "x",
    [
        words(TOKENS, 0, 0),
        words(-1, 0, 0),
        words(0, BUCKETS + 1, 0),
        words(0, 0, BUCKETS + 1),
        words(0, -1, 0),
        words(0, 0, -1),
        words(0)[..., 1:],
        words(0)[..., 0],
        words(0, 0).float(),
        words(0, 0).tolist(),
    ],
)
def test_predict_refuses_n_grams_that_the_model_does_not_have(x: Any) -> None:
    model = unroll.SequenceClassifier(6, 2, hidden_size=4, vocabulary_size=TOKENS, ngram_buckets=BUCKETS)
    with pytest.raises(
        InputError, match=r"from 0 to 8, each with its n-grams from 0 to 5, \(N, time, 1 \+ n-grams\); got"
    ):
        unroll.predict(model, x)


@pytest.mark.parametrize("batch_size", [1, 1000])
def test_predictions_of_nothing_are_a_table_of_no_rows(batch_size: int) -> None:
    model = unroll.SequenceClassifier(28, 10, hidden_size=4)
    assert unroll.predict(model, torch.zeros(0, 5, 28), batch_size=batch_size).shape == (0, 10)
