"""The pages in docs/ are what they were made from: run, drawn, listed, built."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

import unroll
from benchmarks import results
from docs import page
from unroll.cli import app

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = (DOCS / "tutorial.md").read_text("utf-8")
RESULTS = (DOCS / "results.md").read_text("utf-8")


@pytest.mark.slow
def test_the_tutorial_prints_what_it_says() -> None:
    """And its blocks draw the pictures that it shows."""
    Path("figures").mkdir()
    cells = page.parse(TUTORIAL)
    code = [cell for cell in cells if cell.kind == "code"]
    assert len(code) > 20
    for cell, found in zip(code, page.run(cells), strict=True):
        assert page.differs(cell.output or "", found, cell.about) is None, page.differs(
            cell.output or "", found, cell.about
        )
    shown = set(re.findall(r"!\[[^\]]{20,}\]\((figures/[\w.]+)\)", TUTORIAL))
    assert shown == set(re.findall(r"!\[.*?\]\((.*?)\)", TUTORIAL))  # each with a text for those who do not see it
    drawn = {str(path) for path in Path("figures").iterdir()}
    assert drawn == {path for path in shown if path.endswith(".png")}
    for path in shown:
        assert (DOCS / path).exists()


@pytest.mark.parametrize("path", page.OTHERS, ids=[path.stem for path in page.OTHERS])
@pytest.mark.slow
def test_the_other_pages_print_what_they_say(path: Path) -> None:
    """And draw the pictures that they show."""
    Path("figures").mkdir()
    text = path.read_text("utf-8")
    code = [cell for cell in page.parse(text) if cell.kind == "code"]
    assert len(code) >= 3
    for cell, found in zip(code, page.run(code), strict=True):
        assert page.differs(cell.output or "", found, cell.about) is None, found
    shown = re.findall(r"!\[[^\]]{20,}\]\((figures/[\w.]+)\)", text)
    assert sorted(map(str, Path("figures").iterdir())) == sorted(shown)
    assert all((DOCS / picture).exists() for picture in shown)


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


def test_the_notebook_is_the_tutorial() -> None:
    text = (DOCS / "tutorial.ipynb").read_text("utf-8")
    assert text == page.notebook(page.parse(TUTORIAL)), "python docs/page.py makes it anew"
    nbformat.validate(nbformat.reads(text, as_version=4))


def test_the_reference_of_the_commands_is_current() -> None:
    assert (DOCS / "cli.md").read_text("utf-8") == page.command_reference(), "python docs/page.py makes it anew"


def test_the_diagrams_are_what_their_code_draws() -> None:
    from docs.diagrams import diagrams

    for name, text in diagrams().items():
        assert (DOCS / "figures" / name).read_text("utf-8") == text, "python docs/page.py makes it anew"


def test_every_public_name_is_in_the_reference() -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    for name in unroll.__all__:
        if name not in unroll._SUBMODULES and not name.startswith("__") and not name.endswith(("Error", "Warning")):
            assert f"unroll.{name}" in text, name


@pytest.mark.parametrize("command", re.findall(r"^\$ unroll (.*)$", TUTORIAL, re.MULTILINE))
def test_the_tutorial_s_commands_are_understood(command: str) -> None:
    app.parse_args(shlex.split(command), exit_on_error=False, print_error=False)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(tmp_path / "cache")]
    done = subprocess.run([*build, str(DOCS), str(tmp_path / "site")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "From one neuron" in (tmp_path / "site" / "tutorial.html").read_text("utf-8")
    assert "unroll train --data mnist --epochs 2" in (tmp_path / "site" / "cli.html").read_text("utf-8")


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
