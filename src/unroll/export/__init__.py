"""Runs to take along: one HTML file that computes by itself, checked before it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError
from ..folder import write
from ..saved import Run, TestData
from ..web import page
from .check import check
from .describe import describe

__all__ = ["Exported", "export_html", "make_page"]


@dataclass(frozen=True)
class Exported:
    """A run as one file.

    Attributes:
        path: of the file
        size: in bytes
        checked: real sequences on which it was compared with PyTorch
        difference: largest difference of any class's probability from PyTorch's
    """

    path: Path
    size: int
    checked: int
    difference: float


def make_page(run: Run, test: TestData) -> tuple[str, int, float]:
    """Return the page of a run as one HTML file, and what `unroll.export.check.check` found.

    Args:
        run: finished, as from `unroll.load_run`.
        test: real sequences, as from `unroll.saved.load_test`; some come along to be looked at.

    Raises:
        RunError: the page cannot run the model, or its JavaScript computes something else than PyTorch does.
        ConfigError: there is nothing to run JavaScript with, to check it.
    """
    if not len(test.sequences):
        raise RunError(f"{run.path}: there is no test sequence to check the page on; give other data with --data")
    data = test.sequences.to("cpu")
    description = describe(run, data, Path(test.name).name)
    checked, difference = check(run, data, description)
    description["facts"] |= {"checked": checked, "difference": difference}
    return page(description), checked, difference


def export_html(run: Run, test: TestData, out: str | Path) -> Exported:
    """Write a page that runs the model: no server, no network, one file.

    Args:
        run: finished, as from `unroll.load_run`.
        test: as for `make_page`.
        out: the file to write; what stands there is replaced once the new one is whole.

    Raises:
        RunError: as `make_page`, or ``out`` is a folder.
        ConfigError: as `make_page`.
    """
    path = Path(out).expanduser()
    if path.is_dir():
        raise RunError(f"{path} is a folder: name a file, such as {path / 'page.html'}")
    content, checked, difference = make_page(run, test)
    data = content.encode()
    write(path, data)
    return Exported(path, len(data), checked, difference)
