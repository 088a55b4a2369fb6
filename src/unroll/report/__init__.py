"""Write a report about a run: accuracy, mistakes, when the model decides, and what to change."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ..data.sequences import SequenceData
from ..errors import RunError
from ..formatting import printable_lines
from ..plots import png, svg
from ..runs.data import TestData
from ..runs.folder import FIGURES, REPORT, write
from ..runs.storage import Run
from . import doctor, interpretation, results, summary
from .measurements import Material, gather
from .section import Lines, Part, Picture, Section

__all__ = ["Reported", "write_report"]

# Names of all figures that a report may have; some are followed by a number.
NAMES = frozenset(
    (
        "learning-curves",
        "confusion",
        "mistakes",
        "calibration",
        "precision-recall",
        "anytime",
        "reading",
        "saliency",
        "gradient-flow",
        "memory",
    )
)


@dataclass(frozen=True)
class Reported:
    """A report that was written.

    Attributes:
        path: of report.html
        samples: number of real sequences that it shows
        about_samples: the same in a sentence
    """

    path: Path
    samples: int
    about_samples: str


def write_report(
    run: Run,
    test: TestData | None,
    lacking: str = "",
    train: SequenceData | None = None,
    out: str | Path | None = None,
    samples: bool = True,
) -> Reported:
    """Write the report of a run as one self-contained HTML file, and its figures as PNG files.

    Args:
        run: finished, as from `unroll.load_run`.
        test: the test data, as from `unroll.runs.data.load_test`; None if it is not available: then the report shows
            what is stored in the run, and lists what is missing.
        lacking: why ``test`` is not available, in words.
        train: the training data, as from `unroll.runs.data.load_train`, for the doctor (default: ``test``).
        out: folder for report.html and figures/, which are replaced if they exist (default: the run's own).
        samples: whether to show real sequences of the test data, and what their source calls them: mistakes, sequences
            read step by step, attributions (default True).

    Raises:
        RunError: the folder cannot be made.
    """
    folder = run.path if out is None else Path(out).expanduser()
    _make(folder / FIGURES)
    material = gather(run, test, lacking, train, samples)
    sections = list(_sections(material))
    page = _page(material, sections)
    pictures = {part.name: part for section in sections for part in section.parts if isinstance(part, Picture)}
    for name, picture in pictures.items():
        write(folder / FIGURES / f"{name}.png", png(picture.figure))
    write(folder / REPORT, page.encode())
    for old in (folder / FIGURES).glob("*.png"):  # left over from an earlier report
        if old.stem not in pictures and old.stem.rstrip("-0123456789") in NAMES:
            old.unlink()
    return Reported(folder / REPORT, len(material.samples), material.about_samples)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunError(f"cannot make the folder {folder}: a file of that name exists; choose another --out") from error
    except OSError as error:
        raise RunError(f"cannot make the folder {error.filename}: {error.strerror}") from error


def _sections(material: Material) -> Iterator[Section]:
    predictions = material.predictions
    yield from results.learning(material.history)
    yield from results.members(material.run)
    if predictions is not None:
        yield from results.classes(predictions.evaluation)
        yield from results.worst(material)
        yield from results.calibration(material, predictions)
    yield from interpretation.knowing(material)
    yield from interpretation.watching(material)
    yield from interpretation.telling(material)
    if material.examination is not None:
        yield from doctor.flow(material.examination)
        yield from doctor.findings(material.examination)
    if material.lacking:
        yield Section(
            "What is missing",
            "There are no test sequences here, and some sections need them.",
            [Lines(_missing(material), marked=True)],
        )
    yield from summary.speed(material)
    yield from summary.settings(material.run)


def _missing(material: Material) -> list[str]:
    lines = [f"Anytime accuracy, step-by-step reading and gradient flow are missing: {material.lacking}."]
    if material.predictions is None:
        lines.append("Classes, mistakes and calibration are missing too: this run has no stored test predictions.")
    remedy = f"restore the data or pass its folder: unroll report {material.run.path} --data-dir FOLDER"
    if material.run.config.plan and not material.run.evaluation:
        remedy = f"pass other data: unroll report {material.run.path} --data OTHER --out FOLDER"
    return [*lines, f"To add them, {remedy}"]


def _page(material: Material, sections: list[Section]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_unbroken_percent)
    template = environment.from_string(
        importlib.resources.files(__package__).joinpath("template.html").read_text("utf-8")
    )
    return template.render(
        title=material.run.path.name,
        subtitle=f"A recurrent classifier, evaluated on {material.judged}.",
        summary=summary.summary(material),
        sections=sections,
        kind=_kind,
        svg=_svg,
        markup=Markup,
        footer=f"Made by unroll {material.run.config.unroll}. The figures are also in {FIGURES}/ as PNG files. "
        + material.about_samples,
    )


def _unbroken_percent(value: Any) -> Any:
    """Keep a number and its percent sign on one line, and escape hidden characters."""
    return printable_lines(value).replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value


def _kind(part: Part) -> str:
    return type(part).__name__


def _svg(picture: Picture) -> Markup:
    return Markup(svg(picture.figure, picture.name))
