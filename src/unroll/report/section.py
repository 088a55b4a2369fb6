"""The parts of a report: sections of figures, tables and text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

NAME = 30  # most characters of a class name in sentences and tables
REM = 7.2  # of the page per inch of a figure, so that its letters are about as large as the page's


@dataclass(frozen=True)
class Picture:
    """A figure, on the page and as a file.

    Attributes:
        name: letters, digits and dashes; of the file, and of the element
        figure: the figure itself
        caption: its message, in a sentence
        alt: its contents, for readers who cannot see it
    """

    name: str
    figure: Figure
    caption: str
    alt: str

    @property
    def width(self) -> int:
        """Its largest width on the page, in rem."""
        return round(REM * self.figure.get_figwidth())


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        headings: of the columns; none draws no head
        rows: of cells
        caption: what it shows
        words: number of columns of words, on the left; all others are numbers
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: int = 1


@dataclass(frozen=True)
class ColouredText:
    """A text whose pieces are coloured by what they contribute.

    Attributes:
        title: the predicted class
        spans: pieces from `unroll.plots.saliency_spans`, escaped, with what each adds to the logit of that class
    """

    title: str
    spans: Sequence[tuple[str, float]]

    @property
    def most(self) -> float:
        """The largest contribution, whatever its sign."""
        return max((abs(value) for _, value in self.spans), default=0.0) or 1.0


@dataclass(frozen=True)
class Lines:
    """A list of sentences.

    Attributes:
        lines: the sentences
        marked: whether they need attention
    """

    lines: Sequence[str]
    marked: bool = False


@dataclass(frozen=True)
class Code:
    """A command to type.

    Attributes:
        text: the command
    """

    text: str


Part = Picture | Table | ColouredText | Lines | Code


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading.

    Attributes:
        title: heading
        lead: what is shown and how to read it, for readers new to it
        parts: in order
    """

    title: str
    lead: str
    parts: Sequence[Part]

    @property
    def anchor(self) -> str:
        """The anchor of the section on the page."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())
