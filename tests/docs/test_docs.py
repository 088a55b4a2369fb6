"""What is written runs: docstrings, and every command and block of the README."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import shlex
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import unroll
from unroll.cli import app, main
from unroll.data import catalog
from unroll.errors import how_to_install

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MODULES = [importlib.import_module(m.name) for m in pkgutil.walk_packages(unroll.__path__, "unroll.")]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Return the lines of the README that call unroll."""
    lines = "".join(blocks("console")).splitlines()
    return [line.removeprefix("$ ").split("#")[0].strip() for line in lines if line.startswith("$ unroll ")]


def test_the_pages_say_how_to_install_an_extra_as_messages_do(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [README, *(page.read_text() for page in (ROOT / "docs").glob("*.md"))]
    named = [match for text in texts for match in re.findall(r"pip install '([^']+)\[(\w+)\]'", text)]
    assert len(named) >= 5
    for package, extra in named:
        assert how_to_install(extra).startswith(f"pip install '{package}[{extra}]'")
    monkeypatch.setattr("unroll.errors.PUBLISHED", True)
    assert how_to_install("text") == "pip install 'unroll-rnn[text]'"


EXAMPLE = re.compile(r"^\s*>>> ", re.MULTILINE)
SOURCES = [Path(str(module.__file__)) for module in (unroll, *MODULES)]
WITH_EXAMPLES = [
    module
    for module, path in zip((unroll, *MODULES), SOURCES, strict=True)
    if path.suffix == ".py" and EXAMPLE.search(path.read_text("utf-8"))
]


@pytest.mark.parametrize("module", WITH_EXAMPLES, ids=lambda m: m.__name__)
def test_docstrings(module: ModuleType) -> None:
    globals_ = {**vars(module), "torch": importlib.import_module("torch")}
    assert doctest.testmod(module, extraglobs=globals_).failed == 0


@pytest.mark.parametrize("module", [m for m in MODULES if m.__name__ != "unroll.__main__"], ids=lambda m: m.__name__)
def test_public_functions_and_classes_are_documented(module: ModuleType) -> None:
    for name, value in vars(module).items():
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__:
            assert value.__doc__ or not callable(value), name


@pytest.mark.slow
def test_the_readme_s_python_runs(run: unroll.Run) -> None:
    globals_: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), globals_)
    assert len(blocks("python")) >= 2


@pytest.mark.parametrize("command", commands())
def test_the_readme_s_commands_are_understood(command: str) -> None:
    app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_the_readme_s_first_commands_run(small: unroll.Splits, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but those on the full MNIST and those that take long or never end, in their order; on few digits."""
    from PIL import Image

    quick = unroll.RECIPES["images"].changed(min_steps=100)  # of which so few digits have not many an epoch
    monkeypatch.setitem(unroll.RECIPES, "images", quick)
    sample = replace(small, name="mnist-sample")
    monkeypatch.setitem(catalog.READERS, "mnist-sample", lambda name, folder, config: sample)
    Image.fromarray(255 - sample.test.x[0].numpy()).resize((280, 280)).save("digit.png")
    for command in commands():
        if command == "unroll bench" or command.startswith("unroll serve "):
            continue
        if "--data mnist" not in command and "runs/mnist" not in command.replace("runs/mnist-sample", ""):
            assert main(shlex.split(command)[1:]) == 0, command


def test_the_readme_names_what_is_there() -> None:
    for path in re.findall(r"^ *([\w/]+\.(?:py|md|txt)|[\w/]+/)  ", "".join(blocks("text")), re.MULTILINE):
        assert (ROOT / path).exists() or (ROOT / "src" / "unroll" / path).exists(), path
    for link in re.findall(r"\]\((?!http)([^)#]+)\)", README) + re.findall(r'src="(.*?)"', README):
        assert (ROOT / link).exists(), link


def test_the_readme_takes_three_minutes() -> None:
    assert len(README.split()) <= 800
