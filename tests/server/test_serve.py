"""What the server answers: what `unroll predict` says, of images, series and texts; and streams."""

from __future__ import annotations

import base64
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

import unroll
from served import client, error_of, made, plain, running, same
from unroll.data.columns import Columns
from unroll.data.preparation import ImageFormat, Missing, Preparation, Scaling
from unroll.evaluation.predict_files import Sure, predict_files, predict_texts
from unroll.runs.storage import load_run
from unroll.server import Served, load_served
from unroll.server.served import named


def png(digit: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(digit).resize((90, 90)).save(buffer, "png")
    return buffer.getvalue()


def test_images_are_answered_as_predict_answers(digits: Served, sample: unroll.Splits, tmp_path: Path) -> None:
    images = sample.test.x[:12]
    contents = [png(image.numpy()) for image in images]
    for number, content in enumerate(contents):
        (tmp_path / f"{number}.png").write_bytes(content)
    files = [tmp_path / f"{number}.png" for number in range(len(contents))]
    expected = predict_files(digits.run.model, digits.preparation, files, Sure(digits.run.calibration))
    with client(digits) as asked:
        form = asked.post("/predict", files=[("file", (f"{n}.png", c)) for n, c in enumerate(contents)]).json()
        for number, (found, one) in enumerate(zip(form["predictions"], expected, strict=True)):
            assert same(found, one.label, one.probability)
            assert found["file"] == f"{number}.png"
            assert found["preparation"] == list(one.steps)
            assert sum(found["probabilities"].values()) == pytest.approx(1)
        alone = asked.post("/predict", content=contents[3], headers={"content-type": "image/png"}).json()
        assert same(alone["predictions"][0], expected[3].label, expected[3].probability)
        numbers = asked.post("/predict", json={"images": images.tolist()}).json()["predictions"]
        with torch.inference_mode():
            logits = digits.run.model(digits.preparation.scaling.apply(images))
        temperature = digits.run.calibration.temperature
        for found, row in zip(numbers, (logits / temperature).softmax(dim=1), strict=True):
            assert same(found, digits.preparation.classes[int(row.argmax())], float(row.max()))


def test_colours_are_answered_as_predict_answers(tmp_path: Path) -> None:
    form = ImageFormat(4, 5, "rows", channels=3)
    images = torch.randint(0, 256, (6, 4, 5, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    model = unroll.SequenceClassifier(form.features, 2, hidden_size=4)
    served = made(model, Preparation(("a", "b"), Scaling(120.0, 70.0), form))
    for number, image in enumerate(images):
        Image.fromarray(image.numpy()).save(tmp_path / f"{number}.png")
    files = [tmp_path / f"{number}.png" for number in range(6)]
    expected = predict_files(model, served.preparation, files)
    with client(served) as asked:
        sent = asked.post("/predict", files=[("file", (file.name, file.read_bytes())) for file in files]).json()
        numbers = asked.post("/predict", json={"images": images.tolist()}).json()
        for answers in (sent["predictions"], numbers["predictions"]):
            assert all(same(found, one.label, one.probability) for found, one in zip(answers, expected, strict=True))
        grey = asked.post("/predict", json={"images": images[:1, :, :, 0].tolist()}).json()["predictions"][0]
        repeated = images[:1, :, :, :1].expand(1, 4, 5, 3)
        assert grey == asked.post("/predict", json={"images": repeated.tolist()}).json()["predictions"][0]
        for image, message in (
            ([[[1, 2]]], "images.0.0.0: List should have at least 3 items"),
            ([[[1, 2, 256]]], "images.0.0.0.2: Input should be less than or equal to 255"),
            ([[[1, 2, 3]]], "expected 4 rows of 5 pixels, each 3 numbers from 0 to 255, got 1 rows of 1 numbers"),
        ):
            assert message in error_of(asked.post("/predict", json={"images": [image]}))


def test_of_several_files_each_has_its_answer_or_its_error(digits: Served, sample: unroll.Splits) -> None:
    good = png(sample.test.x[0].numpy())
    with client(digits) as asked:
        found = asked.post("/predict", files=[("file", ("a.png", good)), ("file", ("b.png", good[:50]))])
        assert found.status_code == 200
        assert found.json()["predictions"][0]["class"] == "0"
        assert list(found.json()["predictions"][1]) == ["file", "error"]
        assert "b.png is not a readable image" in found.json()["predictions"][1]["error"]
        none = asked.post("/predict", files=[("file", ("b.png", good[:50]))])
        assert none.status_code == 422
        assert "b.png is not a readable image" in error_of(none)


def test_series_with_gaps_and_of_different_lengths(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = ["id,time,a,b,class"]
    series = []
    for number in range(60):
        values = random.normal(size=(4 + number % 5, 2)).round(3)
        values[random.random(values.shape) < 0.2] = np.nan
        series.append(values)
        for step, row in enumerate(values):
            cells = ",".join("" if np.isnan(v) else str(v) for v in row)
            lines.append(f"{number},{step},{cells},{'up' if number % 2 else 'down'}")
    file = tmp_path / "series.csv"
    file.write_text("\n".join(lines))
    run = unroll.train_run(str(file), out=tmp_path / "run", causal=True, epochs=2, hidden_size=6, missing="mask")
    expected = predict_files(run.model, run.preparation, [file], Sure(run.calibration))
    sequences = [[[None if np.isnan(v) else v for v in row] for row in values] for values in series]
    with client(Served("series", run, "")) as asked:
        found = asked.post("/predict", json={"sequences": sequences}).json()["predictions"]
        assert all(same(f, e.label, e.probability) for f, e in zip(found, expected, strict=True))
        state = None
        for step in sequences[8]:  # a gap is filled from what the piece before held
            answer = asked.post("/stream", json={"state": state, "steps": [step]}).json()
            state = answer["state"]
        assert same(answer, expected[8].label, expected[8].probability)
        assert answer["read"] == len(sequences[8])
        assert "expected 2 numbers, got 1" in error_of(asked.post("/predict", json={"sequences": [[[1.0]]]}))


@pytest.mark.slow
def test_texts_as_a_whole_and_word_by_word(tmp_path: Path) -> None:
    lines = [f"{'a fine film' if n % 2 else 'a dull play'} {n}\t{'good' if n % 2 else 'bad'}" for n in range(80)]
    (tmp_path / "films.tsv").write_text("\n".join(["text\tlabel", *lines]))
    run = unroll.train_run(str(tmp_path / "films.tsv"), out=tmp_path / "run", causal=True, epochs=2, hidden_size=6)
    texts = ["a fine film", "dull", "", "unheard of"]
    expected = predict_texts(run.model, run.preparation, texts, sure=Sure(run.calibration))
    with client(Served("films", run, "")) as asked:
        found = asked.post("/predict", json={"texts": texts}).json()["predictions"]
        assert all(same(f, e.label, e.probability) for f, e in zip(found, expected, strict=True))
        state = None
        for piece in ("a ", "fine film"):
            answer = asked.post("/stream", json={"state": state, "text": piece}).json()
            state = answer["state"]
        assert same(answer, expected[0].label, expected[0].probability)
        assert "reads texts" in error_of(asked.post("/stream", json={"state": None, "steps": [[1]]}))
        assert asked.post("/stream", json={"state": None, "text": " "}).status_code == 422
        assert "reads texts" in error_of(asked.post("/predict", json={"images": [[[0]]]}))


@pytest.mark.slow
def test_requests_read_together_get_what_each_gets_alone(digits: Served, sample: unroll.Splits) -> None:
    images = sample.test.x[::20].tolist()
    with running(digits) as (host, port), ThreadPoolExecutor(16) as pool, httpx.Client() as asked:
        address = f"http://{host}:{port}"
        expected = asked.post(f"{address}/predict", json={"images": images}).json()["predictions"]
        answers = list(pool.map(lambda image: asked.post(f"{address}/predict", json={"images": [image]}), images * 4))
        for number, answer in enumerate(answers):
            one = expected[number % len(images)]
            assert same(answer.json()["predictions"][0], one["class"], one["probability"])
        counts = asked.get(f"{address}/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(counts)}
    of = {tuple(s.labels.values()): s.value for s in families["unroll_requests"].samples if s.name.endswith("_total")}
    assert of[("/predict", "200")] == 1 + 4 * len(images)
    batches = {sample.name: sample.value for sample in families["unroll_batch_sequences"].samples}
    assert batches["unroll_batch_sequences_sum"] == 5 * len(images)
    assert batches["unroll_batch_sequences_count"] < 1 + 4 * len(images)  # some were read together


def test_sequences_of_several_requests_are_one_set() -> None:
    from unroll.server.served import _joined

    served = made(unroll.SequenceClassifier(2, 2, hidden_size=4), plain())
    parts = [served.of_series([torch.randn(t, 2).tolist() for t in times]).data for times in ((3, 5), (1,), (7, 7, 2))]
    together = served.answer([part for part in parts if part])
    for part, found in zip(parts, together, strict=True):
        assert part is not None
        assert torch.allclose(found, served.answer([part])[0], atol=1e-6)
        assert len(found) == len(part)
    assert _joined([part for part in parts if part]).steps_of_each.tolist() == [3, 5, 1, 7, 7, 2]


@pytest.mark.parametrize(
    ("cell", "readout"), [("rnn", "last"), ("gru", "mean"), ("lstm", "attention"), ("lru", "max"), ("mingru", "last")]
)
def test_pieces_of_a_stream_give_what_the_whole_gives(cell: str, readout: Any) -> None:
    model = unroll.SequenceClassifier(3, 2, cell=cell, hidden_size=5, num_layers=2, readout=readout)
    preparation = replace(plain(), scaling=Scaling((1.0, 2.0, 3.0), (2.0, 3.0, 4.0)))
    x = torch.randn(20, 3).tolist()
    with client(made(model, preparation)) as asked:
        expected = asked.post("/predict", json={"sequences": [x]}).json()["predictions"][0]
        state, sizes = None, set()
        for piece in (x[:1], x[1:9], x[9:]):
            answer = asked.post("/stream", json={"state": state, "steps": piece}).json()
            state = answer["state"]
            sizes.add(len(state))
        assert answer["read"] == 20
        assert same(answer, expected["class"], expected["probability"])
        assert len(sizes) == 1


def test_a_state_of_another_run_or_a_broken_one_is_refused() -> None:
    one = made(unroll.SequenceClassifier(2, 2, hidden_size=4, readout="mean"), plain(), "one")
    other = made(unroll.SequenceClassifier(2, 2, hidden_size=4, readout="mean"), plain(), "other")
    both = made(unroll.SequenceClassifier(2, 2, hidden_size=4, bidirectional=True), plain(), "both")
    with client(one, other, both) as asked:
        steps = [[1.0, 2.0]]
        state = asked.post("/stream", json={"steps": steps}).json()["state"]
        content = base64.b64decode(state)
        infinite = content[:16] + np.full(1, np.inf, np.float32).tobytes() + content[20:]
        bad = ["", "?", state[:-4], state + state, "é", base64.b64encode(infinite).decode()]
        for broken in bad:
            found = asked.post("/stream", json={"state": broken, "steps": steps})
            assert found.status_code == 422
            assert error_of(found) == "the run one did not return this state: send null first, then each answer's state"
        assert asked.post("/stream?run=other", json={"state": state, "steps": steps}).status_code == 422
        assert asked.post("/stream", json={"state": state, "steps": steps}).json()["read"] == 2
        found = asked.post("/stream?run=both", json={"steps": steps})
        assert "cannot stream" in error_of(found)


def test_a_gap_that_nobody_learned_to_fill_is_refused() -> None:
    with client(made(unroll.SequenceClassifier(1, 2, hidden_size=3), plain())) as asked:
        for path, body in (("/stream", {"steps": [[None]]}), ("/predict", {"sequences": [[[None]]]})):
            found = asked.post(path, json=body)
            assert found.status_code == 422
            assert "the training data had no missing values" in error_of(found)
    learned = replace(plain(), missing=Missing((0.5,), False))
    with client(made(unroll.SequenceClassifier(1, 2, hidden_size=3), learned)) as asked:
        gap = asked.post("/stream", json={"steps": [[None]]}).json()
        assert gap["probabilities"] == asked.post("/stream", json={"steps": [[0.5]]}).json()["probabilities"]


def test_runs_are_asked_by_name(digits: Served, run: unroll.Run, tmp_path: Path) -> None:
    series = made(unroll.SequenceClassifier(2, 2, hidden_size=3), plain(), "<i>series</i>")
    with client(digits, series) as asked:
        assert asked.get("/health").json().keys() == {"status", "seconds"}  # no names: it is open to all
        facts = asked.get("/runs").json()["runs"]
        assert [fact["kind"] for fact in facts] == ["images", "series"]
        assert facts[0]["item"] == "28 rows of 28 numbers from 0 to 255"
        assert asked.post("/predict?run=%3Ci%3Eseries%3C/i%3E", json={"sequences": [[[0, 1]]]}).status_code == 200
        found = asked.post("/predict?run=no", json={"sequences": [[[0, 1]]]})
        assert found.status_code == 404
        assert error_of(found) == "unknown run 'no': expected one of digits, <i>series</i>"
        listed = asked.get("/").text
        assert "&lt;i&gt;series" in listed
        assert "<i>series" not in listed
        assert asked.get("/?run=digits").text == "<p>the page</p>"
    copy = load_run(run.path)
    assert list(named([run, copy, copy])) == [run.path.name, f"{run.path.name}-2", f"{run.path.name}-3"]


def test_pages_need_nothing_from_elsewhere(digits: Served) -> None:
    with client(digits, made(unroll.SequenceClassifier(1, 2, hidden_size=3), plain())) as asked:
        for path in ("/", "/openapi.json"):
            found = asked.get(path)
            assert found.status_code == 200
            assert "http://" not in found.text.replace("http://127.0.0.1", "")
            assert "https://" not in found.text


def test_a_run_without_a_page_is_served_all_the_same(
    run: unroll.Run, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "py_mini_racer", None)
    with client(*load_served([run.path])) as asked:
        assert (
            f"{run.path.name} is served without a page: checking a page needs a JavaScript engine" in logged.getvalue()
        )
        assert "accepts requests but has no page; see the server&#39;s log for the reason" in asked.get("/").text
        assert asked.post("/predict", json={"images": [[[0] * 28] * 28]}).status_code == 200


def test_what_is_unlike_the_training_data_is_answered_with_a_warning(
    digits: Served, sample: unroll.Splits, tmp_path: Path
) -> None:
    images = sample.test.x[:3]
    with client(digits) as asked:
        assert asked.post("/predict", json={"images": images.tolist()}).json()["warnings"] == []
        (line,) = asked.post("/predict", json={"images": (255 - images).tolist()}).json()["warnings"]
        assert line.startswith("unlike the training data: pixels have a mean of 2")
        blank = np.zeros((28, 28), np.uint8)
        form = asked.post("/predict", json={"images": [blank.tolist()]}).json()
        assert form["warnings"] == ["unlike the training data: the image is blank: check the file"]
        assert "class" in form["predictions"][0]
        families = {family.name: family for family in text_string_to_metric_families(asked.get("/metrics").text)}
        counts = {tuple(each.labels.values()): each.value for each in families["unroll_warnings"].samples}
        assert counts[("digits",)] == 2


def test_series_in_other_units_are_answered_with_a_warning(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(1700, 80, (60, 12, 1))
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(60) % 2)
    unroll.save(
        unroll.SequenceClassifier(1, 2, hidden_size=4), tmp_path / "run", data=unroll.load(tmp_path / "d.npz").train
    )
    with client(*load_served([tmp_path / "run"])) as asked:
        assert asked.post("/predict", json={"sequences": x[:2].tolist()}).json()["warnings"] == []
        (line,) = asked.post("/predict", json={"sequences": (x[:2] / 1000).tolist()}).json()["warnings"]
        assert re.fullmatch(
            r"unlike the training data: feature 0 has a mean of 1\.[67]\d*, in training 1[67].*: expected the units.*",
            line,
        )


@pytest.fixture
def heights(tmp_path: Path) -> Path:
    """A run on series of heights in mm, of which some are missing."""
    x = np.random.default_rng(0).normal(1700, 80, (60, 12, 1))
    x[::5, 3] = np.nan
    np.savez(tmp_path / "d.npz", x=x, y=np.arange(60) % 2)
    data = unroll.load(tmp_path / "d.npz").train
    unroll.save(unroll.SequenceClassifier(data.input_size, 2, hidden_size=4), tmp_path / "run", data=data)
    return tmp_path / "run"


def test_a_number_that_marked_a_missing_value_does_so_in_requests() -> None:
    columns = Columns(("x",), "id", "time", None, missing_values=("none", "-999"))
    learned = replace(plain(), missing=Missing((0.5,), False), columns=columns)
    with client(made(unroll.SequenceClassifier(1, 2, hidden_size=3), learned)) as asked:
        for path, body in (("/predict", {"sequences": [[[1], [None]]]}), ("/stream", {"steps": [[1], [None]]})):
            marks = json.loads(json.dumps(body).replace("null", "-999"))
            assert asked.post(path, json=marks).json() == asked.post(path, json=body).json()


def test_a_stream_in_other_units_is_answered_with_a_warning(heights: Path) -> None:
    values = np.random.default_rng(1).normal(1700, 80, 12).tolist()
    with client(*load_served([heights])) as asked:

        def warnings(values: list[float]) -> list[list[str]]:
            state, lines = None, []
            for value in values:
                answer = asked.post("/stream", json={"state": state, "steps": [[value]]}).json()
                state = answer["state"]
                lines.append(answer["warnings"])
            return lines

        assert warnings([*values[:5], None, *values[6:]]) == [[]] * 12
        *before, (line,) = warnings([value / 1000 for value in values])
        assert before == [[]] * 11
        assert line == asked.post("/predict", json={"sequences": [[[v / 1000] for v in values]]}).json()["warnings"][0]
        families = {family.name: family for family in text_string_to_metric_families(asked.get("/metrics").text)}
        assert [each.value for each in families["unroll_warnings"].samples if each.name.endswith("total")] == [2]


def test_a_text_that_is_streamed_in_another_language_is_answered_with_a_warning(tmp_path: Path) -> None:
    lines = [f"a fine film number {n} is long and dull\t{'ab'[n % 2]}" for n in range(40)]
    (tmp_path / "films.tsv").write_text("\n".join(["text\tlabel", *lines]))
    data = unroll.load(tmp_path / "films.tsv", tokenizer="word").train
    model = unroll.SequenceClassifier(4, 2, hidden_size=4, vocabulary_size=data.vocabulary_size)
    unroll.save(model, tmp_path / "run", data=data)
    known, foreign = (
        ("a fine film is", "long and dull and fine and long"),
        ("Ein guter Film", "über das Leben und die Liebe"),
    )
    with client(*load_served([tmp_path / "run"])) as asked:
        for pieces, words in ((known, []), (foreign, ["unlike the training data: 89% of the tokens are unknown"])):
            state = None
            for piece in pieces:
                answer = asked.post("/stream", json={"state": state, "text": piece}).json()
                state = answer["state"]
            assert [line.partition(",")[0] for line in answer["warnings"]] == words
