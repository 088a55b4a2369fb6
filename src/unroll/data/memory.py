"""Data that Python holds, as the parts of a data set: frames, arrays, lists of arrays, data sets of other libraries.

A frame is read as a file with the same content, see `unroll.data.formats.frames`; arrays as those of an .npz file, see
`unroll.data.formats.npz`; lists of arrays and frames with a key of two levels as `unroll.data.containers` takes them.
"""

from __future__ import annotations

from collections.abc import Iterable, KeysView, Mapping, ValuesView
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from torch import Tensor

from ..config import DataConfig
from ..config.data import COLUMNS, OF_IMAGES
from ..errors import ConfigError, DataError
from ..formatting import listed, shown
from .containers import numbers, series_block
from .formats import hub, nested_series, npz, series, texts
from .formats.frame_columns import text_of
from .formats.frames import Frame, library_of, of_frame, texts_of
from .formats.hub import Images
from .formats.parsing import check_name
from .formats.parts import VALIDATION
from .formats.series_file import Series
from .formats.table import marks_of_numbers
from .preparation import Preparation
from .sequences import Parts

Layout = Literal["numpy3D", "np-list", "pd-multiindex"]
OF_FRAMES = ("pandas", "polars", "pyarrow")


class Held(NamedTuple):
    """A part of a set as Python holds it: what is read, and the classes where that does not hold them."""

    x: Any
    y: Any = None


def name_of(data: object) -> str:
    """Return what a set is called that Python holds."""
    return type(data).__name__


def source_of(data: object) -> str:
    """Return where such a set comes from: the library and the class."""
    library, name = type(data).__module__.partition(".")[0], type(data).__name__
    return name if library in ("builtins", "__main__") else f"{library}.{name}"


def read(
    data: Any,
    y: Any,
    test: Any,
    groups: Any,
    layout: Layout | None,
    config: DataConfig,
    model: Preparation | None = None,
    own: DataConfig | None = None,
) -> Parts:
    """Return the parts of a set that Python holds.

    Args:
        data: as for `unroll.load`, as are further arguments and errors.
        y: as for `unroll.load`.
        test: as for `unroll.load`.
        groups: as for `unroll.load`.
        layout: as for `unroll.load`.
        config: how it is read.
        model: the preparation of a trained model that is to read it (default None: nothing is known yet).
        own: how that model's own data was read (default None).
    """
    held, notes = _held(data, y, test)
    held = {name: _texts_as_frame(part._replace(y=at_places(part.y))) for name, part in held.items()}
    kinds = {name: _kind(part, layout) for name, part in held.items()}
    if len(set(kinds.values())) > 1:
        raise DataError(
            f"the parts of a data set must be alike, got {listed(map(source_of, (p.x for p in held.values())))}"
        )
    kind = kinds["train"]
    paths = {
        name: Path(name_of(part.x) if len(held) == 1 else f"the {name} {name_of(part.x)}")
        for name, part in held.items()
    }
    if groups is not None and kind in ("frame", "datasets"):
        raise ConfigError("groups cannot be used with a frame or a data set of columns: name the column with group")
    _check_keys(groups, held["train"].y)
    if groups is not None and config.group is not None:
        raise ConfigError(f"groups and group {config.group} say the same of the data: leave out one of them")
    if kind == "frame":
        _check_layout(layout, "a frame whose columns say what they are")
        frames = {name: _frame(part, paths[name], config) for name, part in held.items()}
        if held["train"].y is not None:
            config = replace(config, label_column=frames["train"].header[-1])
        return _noted(_of_frames(frames, config, model, own), notes)
    if kind == "datasets":
        _check_layout(layout, "a data set whose columns say what they are")
        return _noted(_of_datasets({name: part.x for name, part in held.items()}, paths, config, model, own), notes)
    if kind == "torch":
        held = {name: _of_pairs(part, paths[name]) for name, part in held.items()}
    held = {name: Held(_time_first(part.x, layout), part.y) for name, part in held.items()}
    if all(isinstance(part.x, np.ndarray | Tensor) for part in held.values()):
        return _of_arrays(held, groups, config, model)
    return _of_series(held, paths, groups, config, model)


def read_hub(
    name: str,
    folder: Path | None,
    config: DataConfig,
    model: Preparation | None = None,
    own: DataConfig | None = None,
) -> Parts:
    """Return the parts of a data set for `unroll.data.formats.hub.load`.

    Args:
        name: of it.
        folder: for the copy.
        config: how it is read.
        model: the preparation of a trained model that is to read it (default None: nothing is known yet).
        own: how that model's own data was read (default None).

    Raises:
        DataError: it cannot be loaded, or is invalid.
    """
    splits, notes = _known_parts(hub.load(name, folder), name)
    paths = {part: Path(name if len(splits) == 1 else f"{name} ({part})") for part in splits}
    return _noted(_of_datasets(splits, paths, config, model, own), notes)


def _held(data: Any, y: Any, test: Any) -> tuple[dict[str, Held], tuple[str, ...]]:
    """Return the parts of a set, and what one should know of them."""
    if not isinstance(data, Mapping):
        if isinstance(data, tuple):
            raise DataError("data must not be a tuple: hand over series and classes as unroll.load(X, y)")
        held = {"train": Held(data, y)}
        return held if test is None else {**held, "test": _pair(test)}, ()
    for name, value in (("y", y), ("test", test)):
        if value is not None:
            raise ConfigError(f"{name} cannot be used with a dict of parts: put it there, as {{'train': …, 'test': …}}")
    parts, notes = _known_parts(data, name_of(data))
    return {name: _pair(part) for name, part in parts.items()}, notes


def _texts_as_frame(part: Held) -> Held:
    """Return a list or an array of texts with its classes as a frame; anything else as it is."""
    texts = part.x
    is_array = isinstance(texts, list) or (isinstance(texts, np.ndarray) and texts.dtype.kind in "UO")
    if not is_array or not len(texts) or not all(isinstance(text, str) for text in texts):
        return part
    import pandas as pd  # takes a fifth of a second

    return Held(pd.DataFrame({"text": texts}), _labels(part.y, Path("texts")))


def _pair(part: Any) -> Held:
    return Held(*part) if isinstance(part, tuple) and len(part) == 2 else Held(part)


def _known_parts(data: Mapping[str, Any], name: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    splits = [split for split in data if hub.part_of(str(split)) is not None]
    if "train" not in splits:
        raise DataError(
            f"{name} must have a part 'train', and may have 'test' and 'validation', got {listed(map(str, data))}"
        )
    validation = [split for split in splits if split in VALIDATION]
    if len(validation) > 1:
        raise DataError(f"{name} has {len(validation)} validation parts ({listed(validation)}): leave out all but one")
    unused = [str(split) for split in data if split not in splits]
    notes = (f"{name}: the parts {listed(unused)} are not used",) if unused else ()
    return {str(hub.part_of(split)): data[split] for split in splits}, notes


def _noted(parts: Parts, notes: tuple[str, ...]) -> Parts:
    return parts._replace(train=replace(parts.train, notes=(*parts.train.notes, *notes))) if notes else parts


def _kind(part: Held, layout: Layout | None) -> Literal["frame", "datasets", "torch", "arrays"]:
    library, data = library_of(part.x), part.x
    if library == "datasets":
        return "datasets"
    if library in OF_FRAMES:
        if hasattr(data, "collect"):  # which would warn of what the next line asks for
            raise DataError(f"{source_of(data)} is not in memory: hand over what its method collect() returns")
        if not hasattr(data, "columns"):
            raise DataError(f"data must be a frame, got {source_of(data)}")
        has_keys = layout is not None or part.y is not None
        return "arrays" if has_keys and getattr(getattr(data, "index", None), "nlevels", 1) == 2 else "frame"
    if library == "torch" and not isinstance(data, Tensor):
        return "torch"
    if not hasattr(data, "__len__"):
        raise DataError(
            "data must be a name, a path, a frame, a dataset, an array or a list of arrays with their classes y, or a "
            f"dict of parts, got {source_of(data)}"
        )
    return "arrays"


def _check_layout(layout: Layout | None, what: str) -> None:
    if layout is not None:
        raise ConfigError(f"layout {layout} cannot be used with {what}: leave it out")


def _frame(part: Held, path: Path, config: DataConfig) -> Frame:
    frame = of_frame(part.x, path)
    if part.y is None:
        return frame
    if config.label_column is not None:
        raise ConfigError(f"label_column {config.label_column} cannot be used with y: leave out one of them")
    index, own = (getattr(data, "index", None) for data in (part.x, part.y))
    if index is not None and own is not None and hasattr(own, "equals") and not own.equals(index):
        raise DataError(f"{path}: y must have the index of the frame: y.loc[frame.index] puts it in that order")
    labels = _labels(part.y, path)
    if len(labels) != frame.rows:
        raise DataError(f"{path} holds {frame.rows:,} rows, but y {len(labels):,} labels: expected one for each row")
    name = "label"
    if name in frame.header:
        raise DataError(f"{path} has a column {name} already: leave out y, or that column")
    return frame.with_column(name, labels)


def _of_frames(
    frames: dict[str, Frame], config: DataConfig, model: Preparation | None = None, own: DataConfig | None = None
) -> Parts:
    train = frames["train"]
    source = str(train.path)
    if (model is not None and model.kind == "texts") or (model is None and train.holds_texts(config)):
        config.check_unused(source, "it holds texts", *texts.UNUSED, "lines", "id_column", "time_column")
        if own is not None:
            config = texts.columns_as_before(train.header, own, config)
        return texts.of_parts(frames, texts_of, config)
    config.check_unused(source, "it holds no images", *OF_IMAGES)
    if model is not None and own is not None:
        config = series.marked_as_before(own, config, model)

    def parse(frame: Frame, labelled: bool, known: Any) -> Series:
        return nested_series.of_frame(frame, labelled, config, known)

    return series.of_parts(frames, parse, model)


def _of_datasets(
    splits: dict[str, Any],
    paths: dict[str, Path],
    config: DataConfig,
    model: Preparation | None = None,
    own: DataConfig | None = None,
) -> Parts:
    parts = {name: hub.read(split, paths[name], config) for name, split in splits.items()}
    frames = {name: part for name, part in parts.items() if isinstance(part, Frame)}
    if len(frames) == len(parts):
        return _of_frames(frames, config, model, own)
    images = {name: part for name, part in parts.items() if isinstance(part, Images)}
    if len(images) < len(parts):
        raise DataError(f"{paths['train']}: expected images in all parts, or in none")
    arrays = {f"{key}_{name}": getattr(part, key) for name, part in images.items() for key in ("x", "y")}
    if len(images) == 1:
        arrays = {key.removesuffix("_train"): array for key, array in arrays.items()}
    return npz.of_arrays(paths["train"], arrays, replace(config, label_column=None), model)


def _of_arrays(held: dict[str, Held], groups: Any, config: DataConfig, model: Preparation | None) -> Parts:
    arrays = {}
    for name, part in held.items():
        suffix = "" if len(held) == 1 else f"_{name}"
        x = numbers(f"X{suffix}", part.x)
        arrays[f"x{suffix}"] = x[:, :, None] if x.ndim == 2 else x
        arrays[f"y{suffix}"] = _labels(part.y, Path(f"y{suffix}"))
        if groups is not None and name == "train":
            arrays[f"groups{suffix}"] = np.array(groups_of(groups, len(x)))
            config = replace(config, group="groups")
    return npz.of_arrays(Path("arrays"), arrays, config, model)


def at_places(values: Any) -> Any:
    """Return what a generator, a map or ``dict.values()`` gives as a list; anything else as it is."""
    has_places = any(hasattr(values, name) for name in ("shape", "__array__", "__len__"))
    has_order = isinstance(values, ValuesView | KeysView) or (isinstance(values, Iterable) and not has_places)
    return list(values) if has_order else values


def groups_of(groups: Any, n: int) -> list[str]:
    """Return the name of the group of each of ``n`` series."""
    groups = at_places(groups)
    if not hasattr(groups, "__len__") or getattr(groups, "ndim", 1) != 1:
        got = f"shape {tuple(groups.shape)}" if hasattr(groups, "shape") else source_of(groups)
        raise DataError(f"groups must be (N,) names, one of each series, got {got}")
    names = list(map(text_of, groups.tolist() if hasattr(groups, "tolist") else groups))
    if len(names) != n:
        raise DataError(f"groups must be those of {n:,} series, got {len(names):,}")
    return names


def _of_series(
    held: dict[str, Held], paths: dict[str, Path], groups: Any, config: DataConfig, model: Preparation | None
) -> Parts:
    source = str(paths["train"])
    config.check_unused(source, "it is not a table", *COLUMNS)
    config.check_unused(source, "it holds no images", *OF_IMAGES)
    marks = marks_of_numbers(paths["train"], config, None if model is None else model.columns)

    def parse(name: str, labelled: bool, known: object) -> Series:
        part, path = held[name], paths[name]
        block = series_block(part.x, str(path))
        labels = list(map(str, _labels(part.y, path)))
        if len(labels) != len(block):
            raise DataError(f"{path} holds {len(block):,} series, but y {len(labels):,} labels: expected one of each")
        names = list(map(str, block.names or range(len(block))))
        _check_order("y", part.y, block.names, path)
        if name == "train":
            _check_order("groups", groups, block.names, path)
        labels = [check_name(f"{path}, series {shown(name)}", label) for name, label in zip(names, labels, strict=True)]
        values = [marks.masked(values) for values in block.each]
        if empty := [name for name, values in zip(names, values, strict=True) if not len(values)]:
            raise DataError(f"{path}, series {shown(empty[0])}: the series is empty; leave it out")
        of_each = groups_of(groups, len(block)) if groups is not None and name == "train" else None
        return Series(path, values, names, "series", labels, (), block.features, times=block.times, groups=of_each)

    return series.of_parts({name: name for name in held}, parse, model)


def _check_order(what: str, values: Any, names: tuple[Any, ...], path: Path) -> None:
    """Raise `DataError` if values of each series have keys, and not those of the series in their order."""
    index: Any = getattr(values, "index", None)
    if not names or not hasattr(index, "tolist"):
        return
    keys, plain = index.tolist(), list(range(len(names)))  # by which pandas counts what has no keys
    if keys != list(names) and (keys != plain or set(names) == set(plain)):
        raise DataError(
            f"{path}: {what} must have the keys of the series in their order: {what}.loc[[…]] puts it in order"
        )


def _check_keys(groups: Any, y: Any) -> None:
    """Raise `DataError` if groups and classes have keys of their own that differ: either order may be meant."""
    keys: Any = getattr(groups, "index", None)
    own: Any = getattr(y, "index", None)
    if hasattr(keys, "equals") and hasattr(own, "equals") and not keys.equals(own):
        raise DataError("groups and y must have the same index: groups.loc[y.index] puts them in the order of y")


def check_labels(y: Any) -> None:
    """Raise `DataError` if one of the classes ``y`` is missing: None, NaN, pandas' NA, or masked by NumPy."""
    labels = np.asarray(y.detach().cpu().numpy() if isinstance(y, Tensor) else y)
    missing = np.zeros(labels.shape, bool) | (y.mask if isinstance(y, np.ma.MaskedArray) else False)
    if labels.ndim == 1 and labels.dtype.kind in "fO":
        missing |= [not (isinstance(label, str) or text_of(label)) for label in labels.tolist()]
    if missing.any():
        number = int(np.flatnonzero(missing)[0])
        raise DataError(f"y must hold the class of each series, got none of series {number}: leave it out of X and y")


def _labels(y: Any, path: Path) -> np.ndarray:
    """Return classes, (N,) whole numbers or names."""
    if y is None:
        raise DataError(f"{path} needs the class of each series: hand over y too, as unroll.load(X, y)")
    check_labels(y)
    y = y.detach().cpu().numpy() if isinstance(y, Tensor) else y
    y = np.array(y.to_pylist(), object) if hasattr(y, "to_pylist") else y  # pyarrow's
    labels = np.asarray(y.to_numpy() if hasattr(y, "to_numpy") else y)
    if labels.dtype.kind == "O" and labels.ndim == 1:
        each = [value.item() if isinstance(value, np.generic | Tensor) else value for value in labels.tolist()]
        is_whole = all(type(value) is int for value in each)
        labels = np.array(each if is_whole else list(map(text_of, each)))
    if labels.dtype.kind in "bT":
        labels = np.array(list(map(str, labels.tolist())))
    if labels.ndim != 1 or labels.dtype.kind not in "iuU":
        got = f"{labels.dtype} of shape {labels.shape}"
        is_whole = labels.ndim == 1 and labels.dtype.kind == "f" and bool((labels == np.floor(labels)).all())
        hint = "; y.astype(int) makes them so" if is_whole else ""
        raise DataError(f"y must be (N,) names of classes, or whole numbers, got {got}{hint}")
    return labels


def _of_pairs(part: Held, path: Path) -> Held:
    """Return the pairs of a torch dataset as series, or images, and classes."""
    if part.y is not None:
        raise ConfigError(f"y cannot be used with {path}: it is a data set of pairs (x, y)")
    if not hasattr(part.x, "__getitem__") or not hasattr(part.x, "__len__"):
        raise DataError(f"{path} must be a dataset with a length and pairs (x, y), got {source_of(part.x)}")
    pairs = [part.x[number] for number in range(len(part.x))]
    wrong = next(
        (number for number, pair in enumerate(pairs) if not isinstance(pair, tuple | list) or len(pair) != 2), None
    )
    if wrong is not None:
        raise DataError(f"{path}: expected pairs (x, y), got {shown(type(pairs[wrong]).__name__)} as its item {wrong}")
    x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    each = [values if hasattr(values, "shape") else np.asarray(values) for values in x]  # PIL's images among them
    if each and len({tuple(values.shape) for values in each}) == 1:
        return Held(np.stack([numbers(f"item {number}", values) for number, values in enumerate(each)]), _plain(y))
    return Held(each, _plain(y))


def _plain(labels: list[Any]) -> list[Any]:
    return [label.item() if isinstance(label, Tensor | np.generic) else label for label in labels]


def _time_first(x: Any, layout: Layout | None) -> Any:
    """Return series whose time comes before their features."""
    if layout is None:
        return x
    expected = {
        "numpy3D": "an array (N, channels, time)",
        "np-list": "a list of arrays (channels, time)",
        "pd-multiindex": "a pandas frame with the MultiIndex (series, time)",
    }
    if layout not in expected:
        raise ConfigError(f"layout must be one of {', '.join(expected)}, got {shown(layout)}")
    if layout == "numpy3D" and getattr(x, "ndim", 0) == 3:
        return x.transpose(0, 2, 1) if isinstance(x, np.ndarray) else x.transpose(1, 2)
    if layout == "np-list" and isinstance(x, list) and all(getattr(series, "ndim", 0) == 2 for series in x):
        return [series.T for series in x]
    if layout == "pd-multiindex" and library_of(x) == "pandas":
        return x
    raise DataError(f"layout {layout} means {expected[layout]}, got {source_of(x)}")
