"""Export runs as self-contained files, verified before they are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..errors import RunError
from ..page import html_page, is_page
from ..runs.data import TestData
from ..runs.folder import PAGE, write
from ..runs.storage import Run
from .description import describe
from .verify import check

__all__ = ["Exported", "Page", "export_html", "make_page"]


@dataclass(frozen=True)
class Exported:
    """A run as one file.

    Attributes:
        path: of the file
        size: in bytes
        checked: number of real sequences on which it was compared with PyTorch
        difference: largest difference of any class's probability from PyTorch's
        samples: number of real sequences on the page
    """

    path: Path
    size: int
    checked: int
    difference: float
    samples: int

    @property
    def about_samples(self) -> str:
        """Whether real sequences are on the page, in a sentence."""
        n = self.samples
        if not n:
            return "It holds no samples of the data."
        samples = f"{n} real sample{'s' if n > 1 else ''}"
        return f"It holds {samples} of the test data; unroll export --no-samples leaves them out."


class Page(NamedTuple):
    """The page of a run.

    Attributes:
        content: one HTML file
        checked: number of real sequences on which it was compared with PyTorch
        difference: largest difference of any class's probability from PyTorch's
        samples: number of real sequences on the page
    """

    content: str
    checked: int
    difference: float
    samples: int


def make_page(run: Run, test: TestData, samples: bool = True) -> Page:
    """Return the page of a run, checked by `unroll.export.verify.check`.

    Args:
        run: finished, as from `unroll.load_run`.
        test: real sequences, as from `unroll.runs.data.load_test`, for the check.
        samples: whether some of them become samples on the page (default True).

    Raises:
        RunError: the page cannot run the model, or its JavaScript and PyTorch differ.
        ConfigError: the library that runs JavaScript for the check is not installed.
    """
    if not len(test.sequences):
        raise RunError(
            f"{run.path}: checking the page needs at least 1 test sequence, got none; pass other data with --data"
        )
    data = test.sequences.to("cpu")
    description = describe(run, data, Path(test.name).name, samples)
    checked, difference = check(run, data, description)
    description.content["facts"] |= {"checked": checked, "difference": difference}
    return Page(html_page(*description), checked, difference, len(description.content["samples"]))


def export_html(run: Run, test: TestData, out: str | Path | None = None, samples: bool = True) -> Exported:
    """Write a page that runs the model: one file, without server or network.

    Args:
        run: finished, as from `unroll.load_run`.
        test: as for `make_page`.
        out: the file to write (default: page.html in the run's folder); it may replace a page made by unroll, but no
            other file.
        samples: as for `make_page`.

    Raises:
        RunError: as `make_page`, or ``out`` is some other file.
        ConfigError: as `make_page`.
    """
    path = run.path / PAGE if out is None else Path(out).expanduser()
    _refuse_other(path)
    page = make_page(run, test, samples)
    data = page.content.encode()
    write(path, data)
    return Exported(path, len(data), page.checked, page.difference, page.samples)


def _refuse_other(path: Path) -> None:
    """Raise `RunError` if ``path`` is a folder or a file that is not an unroll page."""
    if path.is_dir():
        raise RunError(f"{path} is a folder; choose a file in it, such as {path / PAGE}")
    if not path.parent.is_dir():
        raise RunError(f"cannot write {path}: the folder {path.parent} does not exist")
    if path.exists() and not is_page(path):
        raise RunError(f"{path} exists but is not a page made by unroll; nothing was changed. Choose another --out")
