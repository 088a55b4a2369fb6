"""The pages in docs/ are what they were made from: run, drawn, listed, built."""

from __future__ import annotations

import copy
import hashlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

import unroll
from benchmarks import results
from docs import page
from unroll.cli import app
from unroll.scan import cpu

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = (DOCS / "tutorial.md").read_text("utf-8")
RESULTS = (DOCS / "results.md").read_text("utf-8")


@pytest.mark.slow
def test_the_tutorial_prints_what_it_says() -> None:
    """And its blocks draw the pictures that it shows."""
    cells = page.parse(TUTORIAL)
    code = [cell for cell in cells if cell.kind == "code"]
    assert len(code) > 20
    for cell, found in zip(code, page.run(cells), strict=True):
        assert page.differs(cell.output or "", found, cell.about) is None, page.differs(
            cell.output or "", found, cell.about
        )
    shown = re.findall(r"!\[.*?\]\((.*?)\)", TUTORIAL)
    assert {str(path) for path in Path().glob("*.png")} == set(page.DRAWN.findall(TUTORIAL))
    assert all((DOCS / picture).exists() for picture in shown)


@pytest.fixture
def _taught_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a page trains with the same settings twice, by a command and in Python, is trained once."""
    events, ends = unroll.Training.events, dict[str, Any]()

    def of(training: unroll.Training, *arguments: Any, **options: Any) -> Iterator[Any]:
        begin = hashlib.sha256(b"".join(value.numpy().tobytes() for value in training.model.state_dict().values()))
        key = repr((training.model.config, training.config, training.train.fingerprint(), begin.digest()))
        if key in ends:
            training.load_state_dict(copy.deepcopy(ends[key]))
            return
        yield from events(training, *arguments, **options)
        ends[key] = copy.deepcopy(training.state_dict())

    monkeypatch.setattr(unroll.Training, "events", of)


@pytest.fixture
def _taught_briefly(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that the blocks of these pages print needs as many steps as they train for."""
    if path.stem in ("start-digits", "start-texts"):
        monkeypatch.setattr(unroll.TrainConfig, "steps_for", lambda _, steps_per_epoch: 8 * steps_per_epoch)


@pytest.mark.parametrize("path", [*page.OTHERS, *page.STARTS], ids=lambda path: path.stem)
@pytest.mark.slow
@pytest.mark.usefixtures("undrawn", "_taught_once", "_taught_briefly")
def test_the_other_pages_run_from_an_empty_folder_and_print_what_they_say(path: Path) -> None:
    """And draw the pictures that they show; of the starts the commands run too."""
    if path.stem == "compiler" and not cpu.INSTRUCTION_SETS:
        pytest.skip("the page explains the kernels, which are not built here")
    text = path.read_text("utf-8")
    code = [cell for cell in page.parse(text) if cell.kind == "code"]
    assert len(code) >= 3
    for cell, printed in zip(code, page.execute(path), strict=True):
        assert page.differs(cell.output or "", printed, cell.about) is None, printed
    assert all(Path(picture).exists() for picture in page.DRAWN.findall(text))
    for picture in re.findall(r"!\[[^\]]*\]\((.*?)\)", text):
        assert (DOCS / picture).exists(), picture


def test_the_results_are_those_of_the_benchmark_s_commands() -> None:
    commands = re.findall(r"^\$ unroll train (.*?) +# (\S+)$", RESULTS, re.MULTILINE)
    assert {name: flags for flags, name in commands} == {name: row.flags for name, row in results.ROWS.items()}
    rows = re.findall(r"^\|.*\(`(\S+)`\) \| \*\*(\S+) %\*\* \((?:[^:|]*: )?(.*?)\)", RESULTS, re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(results.ROWS)
    for name, mean, each in rows:
        seeds = results.ROWS[name].seeds
        if len(seeds) > 1:
            values = [float(value) for value in each.split(", ")]
            assert len(values) == len(seeds), name
            assert float(mean) == pytest.approx(sum(values) / len(values), abs=0.0101), name  # all are rounded


@pytest.mark.parametrize("path", page.BOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_its_page(path: Path) -> None:
    text = path.with_suffix(".ipynb").read_text("utf-8")
    assert text == page.notebook(page.parse(path.read_text("utf-8"))), "python docs/page.py makes it anew"
    nbformat.validate(nbformat.reads(text, as_version=4))


def test_the_reference_of_the_commands_is_current() -> None:
    assert (DOCS / "cli.md").read_text("utf-8") == page.command_reference(), "python docs/page.py makes it anew"


def test_the_diagrams_are_what_their_code_draws() -> None:
    from docs.diagrams import diagrams

    for name, text in diagrams().items():
        assert (DOCS / "figures" / name).read_text("utf-8") == text, "python docs/page.py makes it anew"


def test_the_reference_of_python_names_is_current() -> None:
    text = page.python_reference()
    assert (DOCS / "api.md").read_text("utf-8") == text, "python docs/page.py makes it anew"
    assert [name for name in unroll.__all__ if f"unroll.{name}" not in text] == ["__version__"]


@pytest.mark.parametrize("command", re.findall(r"^\$ unroll (.*)$", TUTORIAL, re.MULTILINE))
def test_the_tutorial_s_commands_are_understood(command: str) -> None:
    app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)


# The tool itself


def test_a_wrong_output_is_noticed() -> None:
    assert page.differs("a 1.00\n", "a 1.001\n", about=False) is None
    assert "the page says 1.00, the code prints 1.1" in (page.differs("a 1.00\n", "a 1.1\n", about=False) or "")
    assert page.differs("a 1.00\n", "a 1.1\n", about=True) is None
    assert page.differs("a 1.00\n", "a 1.5\n", about=True) is not None
    assert "but the code prints" in (page.differs("a 1\n", "b 1\n", about=True) or "")
    assert page.differs("", "new\n", about=False) is not None


def test_parse_run_and_renew() -> None:
    text = "# T\n\n```python\nx = 2\nprint(x)\n```\n\n```text\n3\n```\n\nwords\n\n```python\nprint(x * 2)\n```\n\nend\n"
    cells = page.parse(text)
    assert [cell.kind for cell in cells] == ["markdown", "code", "markdown", "code", "markdown"]
    assert page.run(cells) == ["2\n", "4\n"]
    renewed = page.renew(text, ["2\n", "4\n"])
    assert renewed == text.replace("3\n```", "2\n```").replace("* 2)\n```\n", "* 2)\n```\n\n```text\n4\n```\n")
    assert page.renew(renewed, ["2\n", "4\n"]) == renewed
