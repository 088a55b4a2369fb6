"""One HTML file of a run: what is in it, and when it is not written."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import unroll
from own_cells import OneState, PeepholeLSTM
from unroll.cells import name_of
from unroll.data.columns import Columns
from unroll.data.preparation import Preparation, Scaling
from unroll.errors import ConfigError, RunError
from unroll.export import export_html
from unroll.export import verify as comparison
from unroll.export.description import describe
from unroll.export.steps import steps_of
from unroll.page import engine, html_page, is_page
from unroll.runs.config_file import RunConfig
from unroll.runs.data import load_test
from unroll.runs.storage import Run

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def content(run: unroll.Run, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the default run."""
    out = tmp_path_factory.mktemp("pages") / "first.html"
    found = export_html(run, load_test(run), out)
    assert found.size == out.stat().st_size
    return out.read_text("utf-8")


class Elements(HTMLParser):
    """The start tags of a page, with their attributes."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))


def description_of(content: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="description">(.*?)</script>', content, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_the_page_is_one_small_file_that_asks_for_nothing(content: str) -> None:
    assert len(content.encode()) < 2e6
    for tag, attributes in Elements(content).found:
        assert tag not in ("iframe", "object", "embed")
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), (tag, attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
    outside = set(re.findall(r"https?://[^\s\"'`)]+", content))
    assert outside <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in content


def test_the_page_says_what_it_was_checked_on(content: str, run: unroll.Run) -> None:
    description = description_of(content)
    facts = description["facts"]
    assert facts["checked"] == 100
    assert 0 < facts["difference"] < 1e-5
    assert run.evaluation is not None
    assert facts["accuracy"] == run.evaluation["accuracy"]
    assert {sample["label"] for sample in description["samples"]} == set(range(10))
    assert len(description["samples"]) == 20


@pytest.mark.slow
def test_the_command_writes_into_the_runs_folder(call: Call, run: unroll.Run) -> None:
    status, out, err = call("export", run.path, "--to", "html")
    assert (status, err) == (0, "")
    assert "of PyTorch" in out
    first = (run.path / "page.html").read_bytes()
    assert is_page(run.path / "page.html")
    status, out, _ = call("export", run.path, "--to", "html", "--json")
    found = json.loads(out)
    assert status == 0
    assert found["file"] == str(run.path / "page.html")
    assert found["bytes"] == len(first)
    assert found["checked"] == 100
    (run.path / "page.html").unlink()


def test_what_stands_there_is_left_alone(call: Call, run: unroll.Run, tmp_path: Path) -> None:
    letter = tmp_path / "letter.html"
    letter.write_text("<p>mine</p>")
    assert call("export", run.path, "--to", "html", "--out", letter)[::2] == (
        2,
        f"unroll: {letter} exists but is not a page made by unroll; nothing was changed. Choose another --out\n",
    )
    assert letter.read_text() == "<p>mine</p>"
    os.mkfifo(tmp_path / "pipe")  # would be waited for, if it were read
    for other in (tmp_path / "pipe", Path("/dev/zero")):
        status, _, err = call("export", run.path, "--to", "html", "--out", other)
        assert (status, err) == (
            2,
            f"unroll: {other} exists but is not a page made by unroll; nothing was changed. Choose another --out\n",
        )
    status, _, err = call("export", run.path, "--to", "html", "--out", tmp_path)
    assert (status, err) == (
        2,
        f"unroll: {tmp_path} is a folder; choose a file in it, such as {tmp_path / 'page.html'}\n",
    )
    status, _, err = call("export", run.path, "--to", "html", "--out", tmp_path / "no" / "page.html")
    assert (status, err) == (
        2,
        f"unroll: cannot write {tmp_path / 'no' / 'page.html'}: the folder {tmp_path / 'no'} does not exist\n",
    )


@pytest.mark.parametrize(
    ("ours", "wrong", "message"),
    [
        (
            "sums[unit] += weights[",
            "sums[unit] -= weights[",
            "page and PyTorch must agree within 0.0001 in each probability, got a difference of {}; nothing",
        ),
        (
            "temperatures[fractions.findIndex",
            "1 + 0 * [fractions.findIndex",
            "page and PyTorch must agree within 0.0001 in each probability, got a difference of {}; nothing",
        ),
        ('centre === "mass"', 'centre === "none"', "must prepare drawings alike, got pixels that differ by {} of 255"),
    ],
)
@pytest.mark.slow
def test_no_page_is_written_whose_javascript_differs(
    run: unroll.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str, wrong: str, message: str
) -> None:
    assert ours in engine()
    monkeypatch.setattr(comparison, "engine", lambda steps: engine(steps).replace(ours, wrong))
    number = r"[0-9.e-]+"  # how much depends on the weights, which no two processors train alike
    with pytest.raises(RunError, match=re.escape(message).replace(r"\{\}", number)):
        export_html(run, load_test(run), tmp_path / "page.html")
    assert not list(tmp_path.glob("*.html"))


def test_what_is_missing_is_named(run: unroll.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py_mini_racer", None)
    with pytest.raises(ConfigError, match=re.escape("pip install '.[html]' in the folder of unroll")):
        export_html(run, load_test(run))


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 60 short series of two classes."""
    lines = ["id,time,a,class"]
    for number in range(60):
        label = "up" if number % 2 else "down"
        lines += [f"{number},{step},{step if number % 2 else -step},{label}" for step in range(4 + number % 3)]
    path = tmp_path_factory.mktemp("series") / "series.csv"
    path.write_text("\n".join(lines))
    return path


def test_a_run_of_ones_own_cell_has_a_page(call: Call, series: Path, tmp_path: Path) -> None:
    name = name_of(PeepholeLSTM)
    run = unroll.train_run(str(series), out=tmp_path / "run", epochs=1, hidden_size=4, num_layers=2, cell=name)
    status, out, err = call("export", run.path, "--to", "html", "--cell", name)
    assert (status, err) == (0, "")
    assert "of PyTorch" in out
    content = (run.path / "page.html").read_text("utf-8")
    model = description_of(content)["model"]
    assert model["cell"] == name
    assert [gate["name"] for gate in model["cells"][0][0]["gates"]] == ["i", "f", "g", "o", "tanh(c)", "c"]
    assert [layer[0]["step"] for layer in model["cells"]] == ["PeepholeLSTM_1", "PeepholeLSTM_2"]
    assert not [name for name in model["weights"] if name.startswith("layers.")]
    assert "c_next[unit] = f[unit] * c[unit] + i[unit] * g[unit];" in content


def test_layers_of_the_same_sizes_share_a_step() -> None:
    model = unroll.SequenceClassifier(3, 2, cell="gru", hidden_size=4, num_layers=3, bidirectional=True)
    script, cells = steps_of(model)
    names = [cell["step"] for layer in cells for cell in layer]
    assert names == ["GRU_1"] * 2 + ["GRU_2"] * 4
    assert re.findall(r"^  (\w+)\(", script, re.MULTILINE) == ["GRU_1", "GRU_2"]


class Noisy(OneState):
    """Draws numbers in its step."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.w = torch.nn.Linear(input_size, hidden_size)

    def step(self, x: Tensor, state: Tensor) -> Tensor:
        return torch.tanh(self.w(x) + 0.1 * torch.randn_like(state))


def test_a_cell_that_does_not_compile_has_no_page(series: Path, tmp_path: Path) -> None:
    run = unroll.train_run(str(series), out=tmp_path / "run", epochs=1, hidden_size=4, cell=name_of(Noisy))
    reason = "Noisy does not: randn_like draws random numbers, which a program cannot (test_export.py:"
    with pytest.raises(RunError, match=re.escape(f"{run.path}: a page needs a cell that compiles; {reason}")) as caught:
        export_html(run, load_test(run))
    assert "\n" not in str(caught.value)
    assert not (run.path / "page.html").exists()


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    names = ("</script><script>alert(1)</script>", "<!--", "{{ script }}", 'a"b')
    preparation = Preparation(names, Scaling(0.0, 1.0))
    data = unroll.SequenceData(torch.randn(8, 5, 2), torch.arange(8) % 4, preparation)
    model = unroll.SequenceClassifier(2, 4, hidden_size=3).eval()
    made = Run(tmp_path / "<b>run", model, RunConfig.of(model, preparation, ""), None)
    description = describe(made, data, "data")
    found = html_page(*description)
    tags = [(tag, attributes.get("type")) for tag, attributes in Elements(found).found if tag == "script"]
    assert tags == [("script", "application/json"), ("script", None)]
    assert description_of(found) == json.loads(json.dumps(description.content))


def test_samples_are_as_they_were_before_their_preparation(tmp_path: Path) -> None:
    lines = ["id,time,a,b,class"]
    for number in range(60):
        label = "up" if number % 2 else "down"
        for step in range(4 + number % 3):
            gap = "" if (number + step) % 5 == 0 else str(step * (1 if number % 2 else -1))
            lines.append(f"{number},{step},{gap},{number}.5,{label}")
    (tmp_path / "series.csv").write_text("\n".join(lines))
    data = str(tmp_path / "series.csv")
    run = unroll.train_run(data, out=tmp_path / "run", epochs=1, hidden_size=4, feature_columns="a,b")
    test = load_test(run)
    found = export_html(run, test)
    description = description_of(found.path.read_text("utf-8"))
    assert description["kind"] == "series"
    assert description["preparation"]["features"] == ["a", "b"]
    for sample in description["samples"]:
        second = [step[1] for step in sample["x"]]
        number = int(second[0])
        assert second == [number + 0.5] * (4 + number % 3)
        for step, (first, _) in enumerate(sample["x"]):
            assert first == (None if (number + step) % 5 == 0 else step * (1 if number % 2 else -1))
        assert description["classes"][sample["label"]] == ("up" if number % 2 else "down")
    assert description["typical"]["time"] in (4, 5, 6)
    assert np.isfinite(description["typical"]["low"] + description["typical"]["high"]).all()


def test_how_the_run_s_tables_are_written_is_in_the_file() -> None:
    columns = Columns(("x",), "who", "at", "label", (), ("-999", "none"), ",")
    preparation = Preparation(("a", "b"), Scaling(0.0, 1.0), features=("x",), columns=columns)
    model = unroll.SequenceClassifier(1, 2, hidden_size=3).eval()
    data = unroll.SequenceData(torch.randn(4, 5, 1), torch.arange(4) % 2, preparation)
    made = Run(Path("made"), model, RunConfig.of(model, preparation, ""), None)
    assert describe(made, data, "data").content["preparation"]["table"] == {
        "id": "who", "time": "at", "wide": False, "missing_values": ["-999", "none"], "decimal": ",",
    }  # fmt: skip


def test_marks_of_missing_values_of_arrays_hold_for_tables_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(12, 5, 2))
    x[::2, 3, 0] = -999
    np.savez(tmp_path / "waves.npz", x=x, y=np.arange(12) % 2)
    run = unroll.train_run(
        str(tmp_path / "waves.npz"), out=tmp_path / "run", epochs=1, hidden_size=3, missing_values="-999"
    )
    description = describe(run, load_test(run).sequences, "waves.npz").content
    assert description["preparation"]["table"]["missing_values"] == ["-999"]


def test_a_run_on_windows_says_so_with_the_accuracy_on_whole_recordings(tmp_path: Path) -> None:
    rows = ["id,time,x,label", *(f"{n},{t},{n % 2 + t % 5 / 50},{'ab'[n % 2]}" for n in range(16) for t in range(12))]
    (tmp_path / "long.csv").write_text("\n".join(rows))
    run = unroll.train_run(str(tmp_path / "long.csv"), out=tmp_path / "run", epochs=1, hidden_size=3, window=6)
    description = describe(run, load_test(run).sequences, "long.csv").content
    assert description["preparation"]["time_steps"]["window"] == 6
    assert run.evaluation is not None
    recordings = run.evaluation["recordings"]
    assert description["facts"]["recordings"] == {"accuracy": recordings["accuracy"], "n": recordings["n"]}
    assert recordings["n"] < run.evaluation["n"]


def test_data_without_a_sequence_is_refused(run: unroll.Run) -> None:
    test = load_test(run)
    nothing = test._replace(sequences=test.sequences.subset(torch.arange(0)))
    with pytest.raises(RunError, match="checking the page needs at least 1 test sequence"):
        export_html(run, nothing)
