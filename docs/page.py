"""Pages as cells: executed, their printed output compared or renewed, and the tutorial's written as a notebook.

``python docs/page.py`` runs docs/tutorial.md and the other pages and renews what their blocks print and draw, the
notebook, the diagrams and the reference of the commands. The tests hold all of these to be current.

A block ```` ```python ```` may be followed by ```` ```text ````, what it prints. After a training the numbers differ a
little from one processor to the next: ```` ```text about ```` asks for the same words and for numbers nearby.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import json
import math
import re
import shlex
import shutil
import sys
import tempfile
import types
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import nbformat
import torch

import unroll

DOCS = Path(__file__).parent
PAGE = DOCS / "tutorial.md"
BOOKS = [PAGE, DOCS / "practice.md"]  # are notebooks too
NAMES = (
    "practice", "data", "series", "text", "cells", "compiler", "models", "training", "report", "looking", "doctor",
    "several", "scikit-learn", "sharing",
)  # fmt: skip
OTHERS = [DOCS / f"{name}.md" for name in NAMES]
# Those whose commands run too, in one folder with their blocks of Python.
STARTS = [DOCS / f"start-{name}.md" for name in ("digits", "images", "series", "texts")]
DRAWN = re.compile(r"!\[[^\]]{20,}\]\(figures/([\w-]+\.png)\)")  # with a text for those who do not see it
CONSOLE = re.compile(r"^```console\n(?P<lines>.*?)^```\n", re.M | re.S)
COMMAND = "from unroll.cli import main as command\n"
BLOCK = re.compile(
    r"^```python\n(?P<code>.*?)^```\n(?:\n```text(?P<about> about)?\n(?P<output>.*?)^```\n)?", re.M | re.S
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?")
# The reference of the Python interface: titles, and the modules of which every name in ``__all__`` is described. The
# first that has a name describes it.
SECTIONS = (
    ("Data", ("data",)),
    ("Models and cells", ("models", "cells", "testing", "scan", "compiler")),
    ("Training and evaluation", ("training", "estimator", "evaluation", "doctor", "plots")),
    ("Settings", ("config",)),
    ("Runs", ("runs", "runs.sweep", "report", "export", "server")),
    ("Errors", ("errors",)),
    ("The tutorial's systems", ("lessons",)),
)
PYTHON_HEAD = """<!-- made by python docs/page.py -->

# The Python interface

Every public name. Those written `unroll.load` and the like can be used after `import unroll`; the others are imported
from the module under which they stand. Tensors are batch first, `(batch, time, features)`; states are
`(batch, hidden)`. An accuracy is a fraction.

Next: [the command line](cli.md), or [a cell of your own](cells.md)."""
EXACT, ABOUT = 0.002, 0.2  # relative and absolute differences that are let pass


@dataclass(frozen=True)
class Cell:
    """A piece of the page.

    Attributes:
        kind: "markdown" or "code"
        source: text, or Python
        output: what the code is said to print; None if nothing
        about: whether its numbers need only be nearby
    """

    kind: str
    source: str
    output: str | None = None
    about: bool = False


def parse(page: str) -> list[Cell]:
    """Return the page's cells, in their order."""
    cells, at = [], 0
    for block in BLOCK.finditer(page):
        cells.append(Cell("markdown", page[at : block.start()].strip()))
        cells.append(Cell("code", block["code"].rstrip(), block["output"], bool(block["about"])))
        at = block.end()
    cells.append(Cell("markdown", page[at:].strip()))
    return [cell for cell in cells if cell.source]


def run(cells: list[Cell]) -> list[str]:
    """Execute the code cells one after the other, as one program; return what each prints."""
    names: dict[str, object] = {"__name__": "__main__"}
    outputs = []
    try:
        for number, cell in enumerate(cell for cell in cells if cell.kind == "code"):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(cell.source, f"code block {number + 1}", "exec"), names)
            outputs.append(printed.getvalue())
    finally:
        torch.set_printoptions(profile="default")  # what a page sets is its own
    return outputs


def execute(path: Path) -> list[str]:
    """Execute a page in the current folder, of a start its commands too; return what each block of Python prints."""
    page = path.read_text("utf-8")
    if path not in STARTS:
        return run(parse(page))

    def as_python(match: re.Match[str]) -> str:
        words = [shlex.split(line.removeprefix("$ unroll ")) for line in match["lines"].splitlines()]
        return f"```python\n{COMMAND}" + "".join(f"assert command({line}) == 0, {line}\n" for line in words) + "```\n"

    cells = [cell for cell in parse(CONSOLE.sub(as_python, page)) if cell.kind == "code"]
    return [printed for cell, printed in zip(cells, run(cells), strict=True) if not cell.source.startswith(COMMAND)]


def differs(expected: str, printed: str, about: bool) -> str | None:
    """Return in what two outputs differ, in words; None if in nothing that matters."""
    if _words(expected) != _words(printed):
        return f"the page says\n{expected}\nbut the code prints\n{printed}"
    limit = ABOUT if about else EXACT
    for stated, actual in zip(NUMBER.findall(expected), NUMBER.findall(printed), strict=True):
        if not math.isclose(float(stated), float(actual), rel_tol=limit, abs_tol=limit):
            return f"the page says {stated}, the code prints {actual}, in\n{printed}"
    return None


def _words(output: str) -> list[str]:
    """Return lines without numbers, and without the spaces that numbers of other widths would move."""
    return [" ".join(NUMBER.sub("#", line).split()) for line in output.splitlines()]


def renew(page: str, outputs: list[str]) -> str:
    """Return the page with new outputs; outputs that differ only in nearby numbers stay as they are."""
    remaining = iter(outputs)

    def block(match: re.Match[str]) -> str:
        output, expected, about = next(remaining), match["output"], bool(match["about"])
        if expected is not None and differs(expected, output, about) is None:
            return match[0]
        text = f"\n```text{' about' if about else ''}\n{output}```\n" if output else ""
        return f"```python\n{match['code']}```\n{text}"

    return BLOCK.sub(block, page)


def notebook(cells: list[Cell]) -> str:
    """Return the page as a Jupyter notebook, outputs included."""
    made = []
    for number, cell in enumerate(cells):
        if cell.kind == "markdown":
            made.append(nbformat.v4.new_markdown_cell(cell.source, id=f"cell-{number}"))
            continue
        printed = [nbformat.v4.new_output("stream", text=cell.output)] if cell.output else []
        made.append(nbformat.v4.new_code_cell(cell.source, outputs=printed, id=f"cell-{number}"))
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    book = nbformat.v4.new_notebook(cells=made, metadata=metadata)
    nbformat.validate(book)
    return json.dumps(book, indent=1, ensure_ascii=False, sort_keys=True) + "\n"


def command_reference() -> str:
    """Return the reference of the command line, made from the commands themselves."""
    from unroll.cli import app

    arguments, sys.argv = sys.argv, ["unroll"]  # cyclopts would name the program that runs this
    try:
        text = app.generate_docs(output_format="markdown")
    finally:
        sys.argv = arguments
    text = re.sub(r"## Table of Contents\n.*?(?=\*\*Commands)", "", text, flags=re.S)
    return "<!-- made by python docs/page.py -->\n\n" + re.sub(
        r"^# unroll$", "# The command line", text, count=1, flags=re.M
    )


def public_modules() -> list[ModuleType]:
    """Return the modules of the reference, in its order."""
    return [importlib.import_module(f"unroll.{name}") for _, names in SECTIONS for name in names]


def python_reference() -> str:
    """Return the reference of the Python interface, made from what each module lists in ``__all__``."""
    lines, written = [PYTHON_HEAD], set[int]()
    for title, names in SECTIONS:
        lines.append(f"\n## {title}\n")
        for name in names:
            module = importlib.import_module(f"unroll.{name}")
            values = {key: getattr(module, key) for key in module.__all__}
            entries = [_entry(key, value, module) for key, value in values.items() if id(value) not in written]
            written |= {id(value) for value in values.values()}
            constants = "".join(f"{entry}\n" for entry in entries if entry.startswith("`"))
            directives = "".join(entry for entry in entries if entry.startswith(".."))
            lines.append(f"### `unroll.{name}`\n\n{_first_paragraph(module)}\n\n{constants}")
            lines.append(f"```{{eval-rst}}\n{directives}```\n" if directives else "")
    return "\n".join(lines)


def _first_paragraph(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def _entry(name: str, value: Any, module: ModuleType) -> str:
    """Return how a name is documented: a class with its own methods, a function, or the values of a constant."""
    place = f"unroll.{name}" if getattr(unroll, name, None) is value else f"{module.__name__}.{name}"
    if isinstance(value, type):
        own = [key for key, member in vars(value).items() if not key.startswith("_") and _is_documented(member)]
        members = f"   :members: {', '.join(own)}\n" if own else "   :no-members:\n"
        return f".. autoclass:: {place}\n{members}"
    if inspect.isroutine(value):
        return f".. autofunction:: {place}\n"
    choices = list(value) if isinstance(value, dict) else get_args(value)
    return f"`{place}`: {', '.join(f'`{choice}`' for choice in choices)}\n" if choices else ""


def _is_documented(member: Any) -> bool:
    return isinstance(member, (types.FunctionType, property, classmethod, staticmethod)) and bool(member.__doc__)


def main() -> None:
    """Renew everything that is made from something else."""
    sys.path.insert(0, str(DOCS))
    from diagrams import main as draw

    draw()
    (DOCS / "cli.md").write_text(command_reference(), "utf-8")
    (DOCS / "api.md").write_text(python_reference(), "utf-8")
    for path in (PAGE, *OTHERS, *STARTS):
        path.write_text(renew(path.read_text("utf-8"), _drawn(path)), "utf-8")
    for path in BOOKS:
        path.with_suffix(".ipynb").write_text(notebook(parse(path.read_text("utf-8"))), "utf-8")


def _drawn(path: Path) -> list[str]:
    """Execute a page in an empty folder, keep the pictures that it draws, and return what its blocks print."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        outputs = execute(path)
        for picture in DRAWN.findall(path.read_text("utf-8")):
            shutil.copy(picture, DOCS / "figures")
    return outputs


if __name__ == "__main__":
    main()
