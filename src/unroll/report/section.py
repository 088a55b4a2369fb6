"""What a report is made of: sections of figures, tables and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

NAME = 30  # characters of a class name in sentences and tables
REM = 7.2  # of the page to an inch of a figure: then their letters are about as large as the page's


@dataclass(frozen=True)
class Picture:
    """A figure on the page, and as a file beside it.

    Attributes:
        name: letters, digits and dashes; of the file, and of the element
        figure: what is drawn
        caption: what it says, in a sentence
        alt: what it shows, for those who do not see it
    """

    name: str
    figure: Figure
    caption: str
    alt: str

    @property
    def width(self) -> int:
        """On the page, at most, in rem, the size of its letters."""
        return round(REM * self.figure.get_figwidth())


@dataclass(frozen=True)
class Table:
    """Rows of words.

    Attributes:
        headings: of the columns; none draws no head
        rows: of cells
        caption: what it shows
        words: columns that are words and stand at the left; all others are numbers
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: int = 1


@dataclass(frozen=True)
class ColouredText:
    """A text whose pieces are coloured by what they contribute.

    Attributes:
        title: what it is taken for
        spans: pieces, escaped as `unroll.plots.saliency_spans` has them, with what each adds to the logit of that class
    """

    title: str
    spans: Sequence[tuple[str, float]]

    @property
    def most(self) -> float:
        """The largest contribution, whatever its sign."""
        return max((abs(value) for _, value in self.spans), default=0.0) or 1.0


@dataclass(frozen=True)
class Lines:
    """Sentences, one below the other.

    Attributes:
        lines: the sentences
        marked: whether they are things to look at
    """

    lines: Sequence[str]
    marked: bool = False


@dataclass(frozen=True)
class Code:
    """Something to type.

    Attributes:
        text: of it
    """

    text: str


Part = Picture | Table | ColouredText | Lines | Code


@dataclass(frozen=True)
class Section:
    """A part of the report with a heading.

    Attributes:
        title: heading
        lead: what is shown and how to read it, for somebody who has never seen one
        parts: in order
    """

    title: str
    lead: str
    parts: Sequence[Part]

    @property
    def anchor(self) -> str:
        """The name of its place on the page."""
        return "".join(c if c.isalnum() else "-" for c in self.title.lower())
