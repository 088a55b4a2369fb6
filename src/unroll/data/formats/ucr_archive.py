"""Sets of the UCR and UEA archive of time series by name, ``ucr:GunPoint``.

Source:
    A. Bagnall and others, https://www.timeseriesclassification.com; H. A. Dau and others, The UCR Time Series Archive,
    IEEE/CAA Journal of Automatica Sinica 6 (2019); A. Bagnall and others, The UEA multivariate time series
    classification archive, arXiv:1811.00075
"""

from __future__ import annotations

import os
import re
import tempfile
import zipfile
from pathlib import Path

from ...errors import DataError, DownloadError
from .download import PARTIAL, cache_folder, reason_of, retrieve, writing

PREFIX = "ucr:"
ADDRESS = "https://timeseriesclassification.com/aeon-toolkit/{}.zip"
PARTS = ("TRAIN", "TEST")


def find(name: str, data_dir: Path | None) -> Path:
    """Return the training part's file of a set of the archive, fetching the set if it is nowhere here.

    Args:
        name: "ucr:" and the archive's own name, in its spelling.
        data_dir: folder to look in first; then ``$UNROLL_DATA``, then the cache folder, then the archive. In each, the
            files may be in a folder of any name.

    Raises:
        DataError: ``name`` cannot be one, or a part of the set is missing where the other is.
        DownloadError: the archive did not deliver it.
    """
    title = name.removeprefix(PREFIX)
    if not re.fullmatch(r"\w+", title, re.ASCII):
        raise DataError(f"{name} cannot be a set of the archive: expected a name like {PREFIX}GunPoint")
    cache = cache_folder() / "ucr"
    places = [data_dir, Path(os.environ["UNROLL_DATA"]) if os.environ.get("UNROLL_DATA") else None, cache]
    for place in places:
        folder = None if place is None else _folder_in(place, title)
        if folder is not None:
            lacking = [file for file in _files(title) if not (folder / file).is_file()]
            if lacking:
                raise DataError(f"{folder / lacking[0]} is missing, though the other part of the set is there")
            return folder / _files(title)[0]
    return _fetched(title, cache)


def _files(title: str) -> list[str]:
    return [f"{title}_{part}.ts" for part in PARTS]


def _folder_in(place: Path, title: str) -> Path | None:
    for file in _files(title):
        match = next(iter([*place.glob(file), *sorted(place.glob(f"*/{file}"))]), None)
        if match is not None:
            return match.parent
    return None


def _fetched(title: str, cache: Path) -> Path:
    folder, address = cache / title, ADDRESS.format(title)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with writing(cache), tempfile.TemporaryDirectory(dir=cache, prefix=PARTIAL) as partial:
            if (place := _folder_in(cache, title)) is not None:  # another process has fetched it meanwhile
                return place / _files(title)[0]
            try:
                whole = _unpacked(retrieve(address, Path(partial) / f"{title}.zip"), title)
            except (OSError, DataError) as error:
                raise DownloadError(
                    f"{PREFIX}{title} is not on this machine and cannot be downloaded from {address} "
                    f"({reason_of(error)}); put {' and '.join(_files(title))} into {folder}, or into a folder that "
                    "--data-dir or $UNROLL_DATA names"
                ) from error
            os.replace(whole, folder)
    except OSError as error:
        raise DataError(f"cannot write to the cache folder {folder}: {error.strerror or error}") from error
    return folder / _files(title)[0]


def _unpacked(path: Path, title: str) -> Path:
    """Unpack both parts into a folder beside the zip file, whose own sums are checked on the way."""
    folder = path.parent / title
    folder.mkdir()
    try:
        with zipfile.ZipFile(path) as zipped:
            members = {name.rpartition("/")[2]: name for name in zipped.namelist()}
            for file in _files(title):
                (folder / file).write_bytes(zipped.read(members[file]))
    except (zipfile.BadZipFile, KeyError) as error:  # the archive answers with a page where it has no such set
        raise DataError("the archive has no set of this name, or sends it in another form") from error
    return folder
