"""Export runs as self-contained files, verified before they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError
from ..page import html_page, is_page
from ..runs.data import TestData
from ..runs.folder import PAGE, write
from ..runs.storage import Run
from .description import describe
from .verify import check

__all__ = ["Exported", "export_html", "make_page"]


@dataclass(frozen=True)
class Exported:
    """A run as one file.

    Attributes:
        path: of the file
        size: in bytes
        checked: number of real sequences on which it was compared with PyTorch
        difference: largest difference of any class's probability from PyTorch's
    """

    path: Path
    size: int
    checked: int
    difference: float


def make_page(run: Run, test: TestData) -> tuple[str, int, float]:
    """Return the page of a run as one HTML file, and the results of `unroll.export.verify.check`.

    Args:
        run: finished, as from `unroll.load_run`.
        test: real sequences, as from `unroll.runs.data.load_test`; some become samples on the page.

    Raises:
        RunError: the page cannot run the model, or its JavaScript and PyTorch differ.
        ConfigError: the library that runs JavaScript for the check is not installed.
    """
    if not len(test.sequences):
        raise RunError(
            f"{run.path}: checking the page needs at least 1 test sequence, got none; pass other data with --data"
        )
    data = test.sequences.to("cpu")
    description = describe(run, data, Path(test.name).name)
    checked, difference = check(run, data, description)
    description.content["facts"] |= {"checked": checked, "difference": difference}
    return html_page(*description), checked, difference


def export_html(run: Run, test: TestData, out: str | Path | None = None) -> Exported:
    """Write a page that runs the model: one file, without server or network.

    Args:
        run: finished, as from `unroll.load_run`.
        test: as for `make_page`.
        out: the file to write (default: page.html in the run's folder); it may replace a page made by unroll, but no
            other file.

    Raises:
        RunError: as `make_page`, or ``out`` is some other file.
        ConfigError: as `make_page`.
    """
    path = run.path / PAGE if out is None else Path(out).expanduser()
    _refuse_other(path)
    content, checked, difference = make_page(run, test)
    data = content.encode()
    write(path, data)
    return Exported(path, len(data), checked, difference)


def _refuse_other(path: Path) -> None:
    """Raise `RunError` if ``path`` is a folder or a file that is not an unroll page."""
    if path.is_dir():
        raise RunError(f"{path} is a folder; choose a file in it, such as {path / PAGE}")
    if not path.parent.is_dir():
        raise RunError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.exists() and not is_page(path):
        raise RunError(f"{path} exists but is not a page made by unroll; nothing was changed. Choose another --out")
