"""The command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from ...errors import ConfigError
from ...formatting import listed, size
from ...interrupt import immediate_interrupt
from ..app import Json, app
from ..outcome import print_json, say

if TYPE_CHECKING:
    from ...data.cache import Cached
    from ...runs.listing import Entry

Sorting = Literal["date", "name", "accuracy", "size"]


@app.command
def runs(
    folder: Path | None = None,
    /,
    *,
    sort: Sorting | None = None,
    cache: Annotated[bool, Parameter(negative="")] = False,
    remove: Annotated[list[str] | None, Parameter(consume_multiple=True, negative="")] = None,
    yes: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> int:
    """List the runs in a folder, or what the cache holds; remove some.

    Example: unroll runs --sort accuracy

    An ensemble, a sweep and a cross-validation are one row each, the last with the mean accuracy of its folds; give the
    folder of a sweep or a cross-validation to list its runs. A run is finished; running, if a training holds its lock;
    interrupted, if --resume finishes it; failed, if it diverged or was killed before its first checkpoint; or damaged,
    or made in another format.

    Nothing whose lock is held is removed, nothing that a link points to, and no file that unroll has not written: if
    others are in a run's folder, they stay and are named.

    Parameters
    ----------
    folder
        Folder that holds runs; default runs.
    sort
        date (default) and name ascending, the newest last; accuracy and size descending.
    cache
        List what unroll has fetched or keeps in its cache folder, see unroll info, in place of runs.
    remove
        Names as listed, all of which are removed, or none; with --cache also all.
    yes
        Remove without asking; needed where there is no terminal to ask on.
    json
        Print one JSON object.
    """
    if cache and (folder is not None or sort is not None):
        raise ConfigError("--cache lists the cache folder, by name: give no folder and no --sort with it")
    if yes and remove is None:
        raise ConfigError("--yes goes with --remove")
    if remove is not None and not remove:
        raise ConfigError("--remove needs the names of what to remove, as they are listed")
    return _cache(remove, yes, json) if cache else _runs(folder or Path("runs"), sort or "date", remove, yes, json)


def _runs(folder: Path, sort: Sorting, names: Sequence[str] | None, yes: bool, json: bool) -> int:
    from ...runs.listing import list_runs, pick, remove_runs
    from ..views.runs import print_left, print_runs
    from ..views.terminal import Screen

    entries = list_runs(folder, sort)
    if names is None:
        if json:
            print_json({"folder": str(folder), "runs": [entry.to_dict() for entry in entries]})
        else:
            print_runs(Screen(), folder, entries)
        return 0
    wanted = pick(entries, names, folder)
    if not _agreed(wanted, yes, json):
        return 1
    left = remove_runs(wanted)
    if json:
        print_json(_removed(wanted) | {"left": {name: [str(file) for file in files] for name, files in left.items()}})
    else:
        print_left(Screen(), wanted, left)
    return 0


def _cache(names: Sequence[str] | None, yes: bool, json: bool) -> int:
    with immediate_interrupt():
        from ...data.cache import list_cache, remove_cached
        from ...data.cache import pick as pick_cached
        from ...data.formats.download import cache_folder
        from ..views.runs import print_cache, print_left
        from ..views.terminal import Screen

    entries = list_cache()
    if names is None:
        if json:
            print_json({"cache": str(cache_folder()), "entries": [entry.to_dict() for entry in entries]})
        else:
            print_cache(Screen(), cache_folder(), entries)
        return 0
    wanted = pick_cached(entries, names)
    if not _agreed(wanted, yes, json):
        return 1
    remove_cached(wanted)
    if json:
        print_json(_removed(wanted))
    else:
        print_left(Screen(), wanted, {})
    return 0


def _removed(entries: Sequence[Entry | Cached]) -> dict[str, Any]:
    return {"removed": [entry.name for entry in entries]}


def _agreed(entries: Sequence[Entry | Cached], yes: bool, json: bool) -> bool:
    """Return whether the user wants these removed: said by --yes, or asked on a terminal."""
    if yes or not entries:
        return True
    what = f"{listed(entry.name for entry in entries)} ({size(sum(entry.size for entry in entries))})"
    if json or not sys.stdin.isatty():
        raise ConfigError(f"to remove {what} where nobody can be asked, add --yes")
    print(f"remove {what}? [y/N] ", end="", file=sys.stderr, flush=True)
    agreed = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not agreed:
        say("nothing was removed")
    return agreed
