"""A run of words and their n-grams: predict, evaluate, server, stream and page agree; resumed it ends alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import unroll
from resuming import interrupt_after
from served import client
from unroll.data.describe import describe_data
from unroll.data.tokenizer import Tokenizer
from unroll.evaluation.predict_files import predict_texts
from unroll.export import export_html
from unroll.runs.data import load_test
from unroll.server import Served

SETTINGS: dict[str, Any] = {
    "recipe": "images",
    "tokenizer": "word+ngrams",
    "ngram_buckets": 300,
    "cell": "gru",
    "hidden_size": 8,
    "readout": "mean",
    "embedding_size": 7,
    "epochs": 4,
    "batch_size": 16,
    "lr": 0.02,
}
ODD = [
    "a fine film",
    "unheard-of 👍🏽 cafe\u0301 ½",
    "x" * 400,
    "finer finest",
    "",
    "a [UNK] film",
    "\U0001ccd6 ᲊ 日本語",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "films.tsv"
    lines = [f"{'a fine film' if n % 2 else 'a dull play'} n{n}\t{'good' if n % 2 else 'bad'}" for n in range(120)]
    path.write_text("\n".join(["text\tlabel", *lines]))
    return path


@pytest.fixture(scope="module")
def run(data: Path) -> unroll.Run:
    return unroll.train_run(str(data), out=data.parent / "run", **SETTINGS)


def test_a_loaded_run_answers_alike_and_reads_words_that_it_never_saw(run: unroll.Run) -> None:
    again = unroll.load_run(run.path)
    assert torch.equal(_predicted(again), _predicted(run))
    assert run.evaluation is not None
    assert unroll.evaluate(again.model, load_test(again).sequences).accuracy == run.evaluation["accuracy"]
    fine, finest, dullest = run.model(_input(run, "fine", "finest", "dullest"))
    assert not torch.equal(finest, dullest)
    assert (finest - fine).norm() < (dullest - fine).norm()


def test_unknown_words_are_counted(run: unroll.Run, data: Path) -> None:
    answers = predict_texts(run.model, run.preparation, ["a fine film", "a finest film", ""])
    assert [answer.steps for answer in answers] == [("3 tokens",), ("3 tokens", "1 unknown"), ("0 tokens",)]
    for kind, is_advised in (("word", True), ("word+ngrams", False)):
        findings = describe_data(unroll.load(str(data), tokenizer=kind)).findings
        assert (
            any("tokens are unknown: try a lower min_count, or tokenizer word+ngrams" in f for f in findings)
            is is_advised
        )


def _predicted(run: unroll.Run) -> torch.Tensor:
    with pytest.warns(unroll.UnrollWarning, match=r"\d+% of the tokens are unknown"):
        return run.predict(ODD)


def _input(run: unroll.Run, *texts: str) -> torch.Tensor:
    """Return the model input of texts of equally many words."""
    tokenizer = run.preparation.tokenizer
    assert isinstance(tokenizer, Tokenizer)
    rows, table = tokenizer.words(texts)
    return torch.from_numpy(table)[torch.tensor(rows)]


def test_server_and_stream_answer_as_predict(run: unroll.Run) -> None:
    expected, served = _predicted(run), Served("run", run, "")
    classes = run.preparation.classes
    with client(served) as asked:
        answers = asked.post("/predict", json={"texts": ODD}).json()["predictions"]
        state = None
        for piece in ("a finest", " film", " unheard-of"):
            streamed = asked.post("/stream", json={"state": state, "text": piece}).json()
            state = streamed["state"]
    assert run.calibration is not None
    logits = run.model(_input(run, "a finest film unheard - of")) / run.calibration.temperature
    for answer, row in zip([*answers, streamed], [*expected, *logits.softmax(dim=1)], strict=True):
        probabilities = torch.tensor([answer["probabilities"][name] for name in classes])
        torch.testing.assert_close(probabilities, row, atol=1e-5, rtol=0)
    parts = [served.of_texts([text]).data for text in ODD]
    together = torch.cat(served.answer([part for part in parts if part is not None]))
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=0)


def test_the_page_agrees(run: unroll.Run, data: Path) -> None:
    (data.parent / "odd.tsv").write_text(
        "text\tlabel\n" + "".join(f"{text}\tgood\nnew {text}\tbad\n" for text in ODD if text)
    )
    exported = export_html(run, load_test(run, str(data.parent / "odd.tsv")), data.parent / "page.html")
    assert exported.checked == 2 * (len(ODD) - 1)
    assert exported.difference < 1e-5


def test_a_resumed_run_ends_with_the_same_weights(run: unroll.Run, data: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        unroll.train_run(str(data), out=tmp_path / "half", watch=interrupt_after(2), **SETTINGS)
    again = unroll.resume_run(tmp_path / "half")
    for name, value in run.model.state_dict().items():
        assert torch.equal(value, again.model.state_dict()[name]), name


def test_sizes_that_do_not_fit_the_weights_are_refused(run: unroll.Run, tmp_path: Path) -> None:
    for file in run.path.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    config = json.loads((run.path / "config.json").read_text())
    for wrong, message in (
        (299, "ngrams.weight must have shape"),
        (-1, "ngram_buckets"),
        (2**31, "ngram_buckets must be"),
    ):
        config["preparation"]["ngram_buckets"] = wrong
        (tmp_path / "config.json").write_text(json.dumps(config))
        with pytest.raises(unroll.RunError, match=message):
            unroll.load_run(tmp_path)
