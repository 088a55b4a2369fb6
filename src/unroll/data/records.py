"""The places of sequences in the file to classify, so that their answers can be joined with a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

NamedBy = Literal["id", "line", "series", "image", "text", "file"]


@dataclass(frozen=True)
class Records:
    """The places of a file's sequences.

    Attributes:
        rows: number of each one's record, from 0, as ``pandas.read_csv`` and ``pandas.read_json`` count: no first line
            with names, no blank lines. Of a series with a row for each time step, that of its first row in the file.
            Empty where a file is a single sequence
        lines: the line that this record ends in, from 1; empty where the file has none
        ids: empty where the file has none
        named_by: what a sequence is called in messages: by its id, its line, or the number of a series, image or text;
            "file" where a file is a single sequence
    """

    rows: Sequence[int] = ()
    lines: Sequence[int] = ()
    ids: Sequence[str] = ()
    named_by: NamedBy = "series"

    @property
    def names(self) -> list[str]:
        """The id, line or number of each."""
        of_each = {"id": self.ids, "file": self.ids, "line": self.lines}.get(self.named_by, self.rows)
        return [str(name) for name in of_each]
