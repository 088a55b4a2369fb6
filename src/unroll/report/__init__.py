"""One page about a run: what was learned, where it fails, when in a sequence it decides, and what to change."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
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

__all__ = ["write_report"]

# Of all figures that a report may have; some have a number behind it.
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


def write_report(
    run: Run,
    test: TestData | None,
    lacking: str = "",
    train: SequenceData | None = None,
    out: str | Path | None = None,
) -> Path:
    """Write the report of a run, one HTML file that needs nothing else, and its figures as PNG files beside it.

    Args:
        run: finished, as from `unroll.load_run`.
        test: what it is judged by, as from `unroll.runs.data.load_test`; None where that is not at hand: then the
            report shows what the run itself keeps, and says what is missing.
        lacking: why ``test`` is not at hand, in words.
        train: what it was trained on, as from `unroll.runs.data.load_train`, for the doctor (default: ``test``).
        out: folder for report.html and figures/; what it holds of these is replaced (default: the run's own).

    Returns:
        the path of report.html.

    Raises:
        RunError: the folder cannot be made.
    """
    folder = run.path if out is None else Path(out).expanduser()
    _make(folder / FIGURES)
    material = gather(run, test, lacking, train)
    sections = list(_sections(material))
    page = _page(material, sections)
    pictures = {part.name: part for section in sections for part in section.parts if isinstance(part, Picture)}
    for name, picture in pictures.items():
        write(folder / FIGURES / f"{name}.png", png(picture.figure))
    write(folder / REPORT, page.encode())
    for old in (folder / FIGURES).glob("*.png"):  # those of an earlier report that this one has not
        if old.stem not in pictures and old.stem.rstrip("-0123456789") in NAMES:
            old.unlink()
    return folder / REPORT


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise RunError(f"cannot make the folder {folder}: a file stands there") from error
    except OSError as error:
        raise RunError(f"cannot make the folder {error.filename}: {error.strerror}") from error


def _sections(material: Material) -> Iterator[Section]:
    predictions = material.predictions
    yield from results.learning(material.history)
    if predictions is not None:
        yield from results.classes(predictions.evaluation)
        yield from results.worst(material)
        yield from results.calibration(material, predictions)
    yield from interpretation.knowing(material)
    yield from interpretation.watching(material)
    yield from interpretation.telling(material)
    yield from doctor.flow(material.examination)
    yield from doctor.findings(material)
    if material.lacking:
        yield Section(
            "What is missing here",
            "The data is not at hand, and some of the report can only be made from it.",
            [Lines(_missing(material), marked=True)],
        )
    yield from summary.speed(material)
    yield from summary.settings(material.run)


def _missing(material: Material) -> list[str]:
    lines = [f"Missing: when it knows, how it reads, how gradients flow; the reason: {material.lacking}."]
    if material.predictions is None:
        lines.append(
            "Missing too: classes, mistakes, calibration; this run does not keep what it said of its test part."
        )
    return [*lines, f"With the data back in its place, or named: unroll report {material.run.path} --data-dir FOLDER"]


def _page(material: Material, sections: list[Section]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, finalize=_kept_together)
    template = environment.from_string(
        importlib.resources.files(__package__).joinpath("template.html").read_text("utf-8")
    )
    return template.render(
        title=material.run.path.name,
        subtitle=f"A recurrent classifier, judged on {material.judged}.",
        summary=summary.summary(material, len(material.examination.findings)),
        sections=sections,
        kind=_kind,
        svg=_svg,
        markup=Markup,
        footer=f"Made by unroll {material.run.config.unroll}. The figures are in {FIGURES}/ as PNG files too.",
    )


def _kept_together(value: Any) -> Any:
    """Let no line end between a number and its percent sign, and nothing be hidden."""
    return printable_lines(value).replace(" %", "\N{NO-BREAK SPACE}%") if type(value) is str else value


def _kind(part: Part) -> str:
    return type(part).__name__


def _svg(picture: Picture) -> Markup:
    return Markup(svg(picture.figure, picture.name))
