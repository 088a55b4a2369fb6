"""Where sequences come from: what their source calls each, whose it is, and when it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from ..errors import DataError
from ..formatting import shown
from .windows import Windows


@dataclass(frozen=True)
class Origins:
    """Where each of N sequences comes from.

    Attributes:
        names: what the source calls it: its id, its file, its line
        named_by: which of these it is, "id", "file", "line" or the like
        groups: what it belongs to, the person that it is of say: no cut divides a group; None where that is not asked
        when: (N, 2) int64 or float64, the first and the last moment of each: cuts put what is later into the part held
            out; None where cuts do not ask for it
        windows: (N, 2) int64, of windows, which have the name of their recording, the number of that recording and the
            time step of it that they begin with; None where sequences are not windows
    """

    names: tuple[str, ...]
    named_by: str
    groups: tuple[str, ...] | None = None
    when: np.ndarray | None = None
    windows: np.ndarray | None = None

    @classmethod
    def of(
        cls,
        where: str,
        names: Sequence[str],
        named_by: str,
        groups: Sequence[str] | None = None,
        when: np.ndarray | None = None,
    ) -> Origins:
        """Return origins, checked.

        Args:
            where: the sequences stand, for messages.
            names: as in the attributes.
            named_by: as in the attributes.
            groups: of each sequence the name of its group (default None).
            when: as in the attributes (default None).

        Raises:
            DataError: a group has no name.
        """
        if groups is not None and "" in groups:
            name = names[groups.index("")]
            raise DataError(f"{where}, {named_by} {shown(name)}: the group is empty: expected a name")
        return cls(tuple(names), named_by, None if groups is None else tuple(groups), when)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def undivided(self) -> tuple[str, ...] | None:
        """The name of what no cut divides: of each sequence its group, else of a window its recording; None if nothing.

        Recordings of one name go together.
        """
        return self.names if self.groups is None and self.windows is not None else self.groups

    @property
    def whole(self) -> Literal["group", "recording"]:
        """What `undivided` names."""
        return "recording" if self.groups is None else "group"

    def cut_into(self, windows: Windows) -> Origins:
        """Return the origins of windows of these recordings."""
        made, places = self.subset(windows.recordings), (windows.recordings, windows.starts)
        return replace(made, windows=np.stack(places, axis=1))

    def grouped_by(self, pattern: str) -> Origins:
        """Return origins grouped by what ``pattern`` finds in the names of groups, or without groups of sequences.

        Args:
            pattern: a regular expression; where it has a group of its own, the first of these counts.

        Raises:
            DataError: it does not occur in a name.
        """
        groups = list[str]()
        for name in self.groups or self.names:
            match = re.search(pattern, name)
            if match is None or not match[bool(match.re.groups)]:
                what = "group" if self.groups else self.named_by
                raise DataError(f"group_pattern {pattern} does not occur in {what} {shown(name)}: expected it in each")
            groups.append(match[bool(match.re.groups)])
        return replace(self, groups=tuple(groups))

    def subset(self, index: np.ndarray) -> Origins:
        """Return those at ``index`` (M,) int64, in that order."""
        places = index.tolist()
        names = tuple(self.names[place] for place in places)
        groups = None if self.groups is None else tuple(self.groups[place] for place in places)
        when, windows = (None if each is None else each[index] for each in (self.when, self.windows))
        return replace(self, names=names, groups=groups, when=when, windows=windows)
