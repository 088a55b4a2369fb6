"""The report: a page that stands alone, says what is so, and is there even where the data is not."""

from __future__ import annotations

import html.parser
import json
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import unroll
from unroll import plots
from unroll import report as report_module
from unroll.evaluation.calibration import reliability
from unroll.evaluation.stepwise import watch
from unroll.report import write_report
from unroll.report.summary import reproduce
from unroll.runs import folder as folder_module
from unroll.runs.config_file import read_plan
from unroll.runs.data import load_test

Call = Callable[..., tuple[int, str, str]]
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(html.parser.HTMLParser):
    """Reads a page; refuses tags that are not closed, and finds what it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.words = ""
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"] or ""] if "id" in found else []
        for name in ("src", "href", "xlink:href", "srcset"):
            self.loaded += [found[name] or ""] if name in found else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words += " ".join(data.split()) + " "


@pytest.fixture
def undrawn_as_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn into the page alone, and not once more into files of their own."""
    monkeypatch.setattr(report_module, "png", lambda _: b"")


@pytest.mark.slow
def test_the_page_stands_alone_and_says_what_is_so(run: unroll.Run, tmp_path: Path) -> None:
    page = write_report(run, load_test(run), out=tmp_path).path
    text = page.read_text("utf-8")
    assert page == tmp_path / "report.html"
    assert len(text) < 5_000_000
    found = Page(text)
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in found.loaded)
    assert len(found.ids) == len(set(found.ids))
    assert "<script" not in text
    assert run.evaluation is not None
    for words in (
        f"{100 * run.evaluation['accuracy']:.2f} % on 1,000 sequences (the test split of mnist-sample)",
        "Learning curves",
        "Most confident mistakes",
        "Calibration: does the confidence match the accuracy?",
        "When does it know?",
        "How it reads",
        "28,510 parameters",
        "train --data mnist-sample",
    ):
        assert words in found.words
    names = {path.stem for path in (tmp_path / "figures").iterdir()}
    assert {"learning-curves", "confusion", "mistakes", "calibration", "anytime", "reading-1", "reading-3"} <= names
    assert text.count("<figure") == len(names)
    for path in (tmp_path / "figures").iterdir():
        with Image.open(path) as image:
            assert min(image.size) > 100
    assert len(re.findall(r'<figure role="group" aria-label="[^"]{20,}"', text)) == len(names)  # alternative texts


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_training_writes_it_where_a_person_watches_or_asks(
    call: Call, idx_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = (
        "train",
        "--data",
        "mnist",
        "--data-dir",
        idx_folder(train=200, test=50),
        "--epochs",
        1,
        "--hidden-size",
        8,
    )
    assert call(*quick, "--out", "with", "--report")[0] == 0
    assert Path("with/report.html").exists()
    status, out, _ = call(*quick, "--out", "without")
    assert out.endswith(" report without\n")
    assert not Path("without/report.html").exists()
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert call(*quick, "--out", "watched")[0] == 0
    assert Path("watched/report.html").exists()
    status, out, _ = call("report", "without", "--json")
    assert (status, json.loads(out)["missing"]) == (0, "")
    assert Path("without/report.html").exists()
    assert call(*quick, "--out", "with", "--overwrite", "--no-report")[0] == 0
    assert not Path("with/report.html").exists()
    assert not Path("with/figures").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_without_its_data_it_shows_what_the_run_keeps(idx_folder: Callable[..., Path], call: Call) -> None:
    folder = idx_folder(train=200, test=50)
    assert call("train", "--data", "mnist", "--data-dir", folder, "--epochs", 1, "--out", "run")[0] == 0
    for file in folder.iterdir():
        file.unlink()
    status, out, _ = call("report", "run", "--json")
    assert status == 0
    assert "mnist is not on this machine" in json.loads(out)["missing"]
    words = Page(Path("run/report.html").read_text("utf-8")).words
    assert "What is missing" in words
    assert "mnist is not on this machine" in words
    assert "Calibration: does the confidence match the accuracy?" in words
    assert "on 50 sequences" in words
    assert "When does it know?" not in words


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_a_model_saved_by_hand_has_a_report_too(sample: unroll.Splits, call: Call) -> None:
    unroll.save(unroll.SequenceClassifier(28, 10, hidden_size=4), "by-hand", data=sample.train)
    assert call("report", "by-hand")[0] == 0
    words = Page(Path("by-hand/report.html").read_text("utf-8")).words
    assert "by hand, so the run does not record how" in words
    assert "by-hand was saved without the name of its data" in words
    assert call("report", "by-hand", "--data", "mnist-sample")[0] == 0
    assert "on 1,000 sequences" in Page(Path("by-hand/report.html").read_text("utf-8")).words


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_other_data_s_report_goes_elsewhere(call: Call, idx_folder: Callable[..., Path]) -> None:
    folder = idx_folder(train=200, test=50)
    assert call("train", "--epochs", 1, "--hidden-size", 8, "--out", "run")[0] == 0
    status, _, err = call("report", "run", "--data", "mnist", "--data-dir", folder)
    assert status == 2
    assert (
        err
        == "unroll: run is for the report on its own data, mnist-sample: choose another folder with --out for mnist\n"
    )
    assert call("report", "run", "--data", "mnist", "--data-dir", folder, "--out", "other")[0] == 0
    assert Path("other/report.html").exists()
    assert not Path("run/report.html").exists()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_what_else_lies_there_stays(run: unroll.Run, sample: unroll.Splits, tmp_path: Path, call: Call) -> None:
    (tmp_path / "figures").mkdir()
    for name in ("mine.png", "reading-9.png", "reading-of-mine.png"):
        (tmp_path / "figures" / name).touch()
    test = load_test(run)
    write_report(run, test._replace(sequences=test.sequences.subset(torch.arange(0, 1000, 50))), out=tmp_path)
    there = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"mine.png", "reading-of-mine.png", "reading-1.png"} <= there
    assert "reading-9.png" not in there
    Path("file").touch()
    status, _, err = call("report", run.path, "--out", "file")
    assert (status, err) == (
        2,
        "unroll: cannot make the folder file/figures: a file of that name exists; choose another --out\n",
    )


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_it_says_when_it_was_trained_on_what_it_is_judged_by(call: Call, sample: unroll.Splits) -> None:
    for name, chosen in (("whole", np.arange(0, 3900, 13)), ("part", np.arange(0, 2600, 13))):
        np.savez(f"{name}.npz", x=sample.train.x[chosen].float().numpy(), y=sample.train.y[chosen].numpy() % 2)
    assert call("train", "--data", "whole.npz", "--epochs", 1, "--hidden-size", 4, "--out", "run")[0] == 0
    status, _, err = call("report", "run", "--data", "part.npz", "--out", "other")
    assert status == 0
    assert re.search(
        r"the run was trained on 1\d\d of these 200 sequences and validated on \d+, so this accuracy is", err
    )
    words = Page(Path("other/report.html").read_text("utf-8")).words
    assert re.search(
        r"The run was trained on 1\d\d of these 200 sequences and validated on \d+, so this accuracy is", words
    )


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_a_report_that_fails_takes_nothing_from_the_run(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    real = folder_module.write

    def full(path: Path, content: bytes) -> None:
        if path.suffix in (".png", ".html"):
            raise OSError(28, "No space left on device", str(path))
        real(path, content)

    monkeypatch.setattr(report_module, "write", full)
    status, out, err = call("train", "--epochs", 1, "--hidden-size", 8, "--out", "run", "--json", "--report")
    assert status == 1
    assert json.loads(out)["run"] == "run"
    assert "unroll: the run is finished, but not its report: run/figures/" in err
    assert err.strip().endswith("report run")
    assert call("evaluate", "run", "--json")[0] == 0


@pytest.mark.usefixtures("undrawn_as_files")
@pytest.mark.slow
def test_a_model_of_no_numbers_has_a_report(sample: unroll.Splits) -> None:
    unroll.save(unroll.SequenceClassifier(28, 10, hidden_size=4), "sick", data=sample.train)
    run = unroll.load_run("sick")
    run.model.layers[0][0].weight_hh.data[0, 0] = float("nan")  # type: ignore[index]
    words = Page(write_report(run, load_test(run, "mnist-sample")).path.read_text("utf-8")).words
    assert "not finite" in words


@pytest.mark.usefixtures("undrawn_as_files")
@pytest.mark.slow
def test_names_may_hold_what_matplotlib_and_html_take_for_something_else(call: Call) -> None:
    rows = ["label,id,time,$a_$"]
    names = ("$10_$", "_noise", "a$b$", "<b>&x")
    rows += [
        f"{name},{name}{i},{t},{t * (1 + n) + i % 7}"
        for i in range(20)
        for n, name in enumerate(names)
        for t in range(5)
    ]
    Path("odd.csv").write_text("\n".join(rows))
    assert call("explore", "--data", "odd.csv")[0] == 0
    assert call("train", "--data", "odd.csv", "--epochs", 1, "--hidden-size", 4, "--out", "odd", "--report")[0] == 0
    text = Path("odd/report.html").read_text("utf-8")
    assert "&lt;b&gt;&amp;x" in text
    assert "<b>&x" not in text
    Page(text)
    run = unroll.load_run("odd")
    axes = plots.reading(watch(run.model, load_test(run).sequences, 0)).axes
    legend = axes[-1].get_legend()
    assert legend is not None
    assert {text.get_text().replace("\\", "") for text in legend.get_texts()} == set(names)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_texts_have_a_report(call: Call) -> None:
    lines = [f"{word} film number {i}" for i in range(40) for word in ("good", "awful")]
    Path("films.txt").write_text("".join(f"{line.split()[0]} {line}\n" for line in lines))
    assert call("train", "--data", "films.txt", "--out", "films", "--epochs", 1, "--hidden-size", 8, "--report")[0] == 0
    found = Page(Path("films/report.html").read_text("utf-8"))
    assert "token by token" in found.words


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--recipe", "tutorial", "--epochs", "1", "--seed", "3"],
        ["--cell", "gru", "--bidirectional", "--lr", "0.0012345678", "--read", "columns", "--hidden-size", "9"],
        ["--backend", "reference", "--hidden-size", "5"],
    ],
)
@pytest.mark.slow
def test_the_command_that_does_it_again_does_so(flags: list[str], call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("train", "--out", "first", *flags, *([] if "--epochs" in flags else ["--epochs", 1]))[0] == 0
    words = shlex.split(reproduce(read_plan("first")))[1:]
    assert "--backend" not in flags or words[words.index("--backend") + 1] == "reference"
    assert call(*words, "--out", "second")[0] == 0
    assert Path("first/model.safetensors").read_bytes() == Path("second/model.safetensors").read_bytes()


def history(epochs: int, val: bool = True) -> list[dict[str, Any]]:
    return [
        {
            "epoch": n + 1,
            "train_loss": 2.0 / (n + 1) ** 2,
            "train_accuracy": 1 - 0.5 / (n + 1),
            "val_loss": 2.5 / (n + 1) if val else None,
            "val_accuracy": 0.9 - 0.5 / (n + 1) if val else None,
        }
        for n in range(epochs)
    ]


@pytest.mark.parametrize("val", [True, False])
def test_learning_curves_are_those_of_the_history(val: bool) -> None:
    losses, accuracies = plots.learning_curves(history(9, val)).axes
    assert len(losses.lines) == 1 + val
    np.testing.assert_allclose(losses.lines[0].get_ydata(), [2 / (n + 1) ** 2 for n in range(9)])
    np.testing.assert_allclose(accuracies.lines[-1].get_xdata(), range(1, 10))
    assert losses.get_yscale() == "log"
    assert plots.learning_curves(history(2)).axes[0].get_yscale() == "linear"


def test_the_confusion_figure_has_the_counts() -> None:
    counts = torch.tensor([[90, 10], [1, 0]])
    evaluation = unroll.Evaluation(counts, 0.1, ("a", "a class with a long name"))
    ax = plots.confusion(evaluation).axes[0]
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()) ** 3, [[0.9, 0.1], [1.0, 0.0]], atol=1e-9)
    assert [text.get_text() for text in ax.texts] == ["90", "10", "1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "a class wit…"]
    many = unroll.Evaluation(torch.eye(50, dtype=torch.int64), 0.0, tuple(map(str, range(50))))
    assert not plots.confusion(many).axes[0].texts


def test_the_reliability_figure_has_the_bins() -> None:
    logits, y = torch.randn(2_000, 3), torch.randint(3, (2_000,))
    found = reliability(logits, y)
    curve, histogram = plots.reliability_diagram({"as it comes": found}).axes
    enough = [n >= 10 for n in found.counts]
    np.testing.assert_allclose(curve.lines[1].get_ydata(), np.array(found.accuracy)[enough])
    assert [patch.get_height() for patch in histogram.patches] == list(found.counts)


def test_the_anytime_figure_has_curve_and_stops(run: unroll.Run, sample: unroll.Splits) -> None:
    found = unroll.evaluate_anytime(run.model, sample.test.prepared_as(run.preparation), run.calibration)
    ax = plots.anytime_curve(found, "row").axes[0]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), found.accuracy)
    np.testing.assert_allclose(ax.lines[0].get_xdata(), found.fractions)
    offsets = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(offsets, [(stop.steps / 28, stop.accuracy) for stop in found.stops])
    assert "rows" in ax.get_xlabel()


@pytest.mark.slow
def test_svgs_follow_the_page_and_do_not_clash(run: unroll.Run) -> None:
    drawn = [plots.svg(plots.learning_curves(history(3)), name) for name in ("one", "two")]
    assert all(text.startswith("<svg") and "currentColor" in text and "#1b1c1d" not in text for text in drawn)
    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in drawn]
    assert not ids[0] & ids[1]
    for text, own in zip(drawn, ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', text)) <= own
    assert drawn[0] == plots.svg(plots.learning_curves(history(3)), "one")  # the same run gives the same page


def test_mistakes_are_drawn_with_what_they_are(sample: unroll.Splits) -> None:
    labels, confidence = torch.tensor([3, 4]), torch.tensor([0.987, 0.5])
    ax = plots.mistakes(sample.test, [0, 500], labels, confidence).axes[0]
    names = [sample.classes[int(sample.test.y[number])] for number in (0, 500)]
    assert [text.get_text() for text in ax.texts] == [f"{names[0]}\n→ 3 98.7%", f"{names[1]}\n→ 4 50.0%"]
    series = replace(sample.test, preparation=replace(sample.test.preparation, image=None))
    assert len(plots.mistakes(series, [0, 500], labels, confidence).axes) == 2


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_real_samples_are_counted_or_left_out(tmp_path: Path, call: Call) -> None:
    random = np.random.default_rng(0)
    rows = [f"chart{n},patient{n} felt bad,{'ab'[random.integers(2)]}" for n in range(60)]
    (tmp_path / "notes.csv").write_text("\n".join(["id,text,label", *rows]))
    quick = ("--recipe", "text", "--epochs", 1, "--hidden-size", 4, "--ngram-buckets", 50)
    status, out, _ = call("train", "--data", tmp_path / "notes.csv", *quick, "--out", "run", "--report")
    assert (status, "real samples, of the test split of" in out) == (0, True)
    with_samples = Path("run/report.html").read_text("utf-8")
    shown = set(re.findall(r"patient\d+", with_samples))
    assert f"It holds {len(shown)} real samples, of the test split" in with_samples
    ids = set(re.findall(r">(chart\d+)<", with_samples))
    assert ids
    assert {name.replace("chart", "patient") for name in ids} <= shown
    out = call("export", "run", "--to", "html", "--json")[1]
    assert json.loads(out)["samples"] == len(set(re.findall(r"patient\d+", Path("run/page.html").read_text("utf-8"))))
    for words, file in ((("report", "run"), "run/report.html"), (("export", "run", "--to", "html"), "run/page.html")):
        status, out, _ = call(*words, "--no-samples")
        assert (status, "It holds no samples of the data." in out) == (0, True)
        assert not re.search(r"patient\d|chart\d", Path(file).read_text("utf-8"))
    assert not {"reading-1", "saliency-1", "mistakes"} & {path.stem for path in Path("run/figures").iterdir()}


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_mistakes_are_called_as_their_source_does(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    lines = [f"walk{n},{t},{random.normal():.3f},{'ab'[n % 2]}" for n in range(40) for t in range(3)]
    (tmp_path / "walks.csv").write_text("\n".join(["id,time,x,label", *lines]))
    run = unroll.train_run(str(tmp_path / "walks.csv"), out=tmp_path / "run", epochs=1, hidden_size=4, val_fraction=0.2)
    test = load_test(run)
    assert test.sequences.origins is not None
    written = write_report(run, test)
    ids = re.findall(r">(walk\d+)<", written.path.read_text("utf-8"))
    p = run.predict(test.sequences)
    wrong = (p.argmax(dim=1) != test.sequences.y).nonzero()[:, 0]
    order = wrong[p[wrong].max(dim=1).values.argsort(descending=True, stable=True)]
    assert ids == [test.sequences.origins.names[number] for number in order.tolist()]
    assert 3 <= written.samples <= len(test.sequences)
