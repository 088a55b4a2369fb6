"""The same data as a CSV file, frames of several libraries, Parquet, Arrow, arrays and datasets: the same tensors."""

from __future__ import annotations

import decimal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import unroll
from unroll import ConfigError, DataError, Splits
from unroll.evaluation.predict_files import predict_files
from unroll.runs import load_test

polars, pyarrow, datasets = map(pytest.importorskip, ("polars", "pyarrow", "datasets"))

IDS = [f"{number:03d}" for number in range(12)]
LABELS = ["up", "down"] * 6
RANDOM = np.random.default_rng(0)
EACH = [RANDOM.normal(size=(3 + number % 3, 2)).round(3) for number in range(12)]
LENGTH = max(map(len, EACH))


def long() -> pd.DataFrame:
    parts = [
        pd.DataFrame({"id": id_, "time": range(len(x)), "x": x[:, 0], "y": x[:, 1], "label": label})
        for id_, x, label in zip(IDS, EACH, LABELS, strict=True)
    ]
    return pd.concat(parts, ignore_index=True)


def nested() -> pd.DataFrame:
    x, y = ([list(series[:, feature]) for series in EACH] for feature in (0, 1))
    return pd.DataFrame({"id": IDS, "x": x, "y": y, "label": LABELS})


def padded() -> np.ndarray:
    x = np.full((12, LENGTH, 2), np.nan)
    for row, series in zip(x, EACH, strict=True):
        row[: len(series)] = series
    return x


class Pairs(torch.utils.data.Dataset[tuple[torch.Tensor, str]]):
    def __len__(self) -> int:
        return len(EACH)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, str]:
        return torch.from_numpy(EACH[number]), LABELS[number]


def multi() -> pd.DataFrame:
    return long().set_index(["id", "time"])


HELD: dict[str, Callable[[], tuple[Any, ...]]] = {
    "pandas": lambda: (long(),),
    "pandas, rows in any index": lambda: (long().set_index(np.arange(len(long()))[::-1]),),
    "pandas, id in the index": lambda: (long().set_index("id"),),
    "pandas, id and time in the index": lambda: (multi(),),
    "pandas, types of Arrow": lambda: (long().astype({"x": "double[pyarrow]", "label": "string[pyarrow]"}),),
    "pandas, nullable numbers": lambda: (long().astype({"time": "Int64", "x": "Float64"}),),
    "pandas, categories": lambda: (long().astype({"id": "category", "label": "category"}),),
    "pandas, small whole numbers": lambda: (long().astype({"time": "int8"}),),
    "pandas, decimals": lambda: (long().assign(x=[decimal.Decimal(str(value)) for value in long().x]),),
    "pandas, numbers as texts": lambda: (long().assign(x=long().x.astype(str)),),
    "pandas, lists": lambda: (nested(),),
    "pandas, series in cells and y": lambda: (nested()[["x", "y"]].map(pd.Series), nested().label),
    "polars": lambda: (polars.from_pandas(long()),),
    "polars, categories": lambda: (
        polars.from_pandas(long()).with_columns(polars.col("label").cast(polars.Categorical)),
    ),
    "polars, lists": lambda: (polars.from_pandas(nested()),),
    "pyarrow": lambda: (pyarrow.Table.from_pandas(long()),),
    "datasets": lambda: (datasets.Dataset.from_pandas(long()),),
    "datasets, lists": lambda: (datasets.Dataset.from_pandas(nested()),),
    "array": lambda: (padded(), LABELS),
    "masked array": lambda: (np.ma.masked_array(np.nan_to_num(padded(), nan=-9), np.isnan(padded())), LABELS),
    "array and classes of pyarrow": lambda: (padded(), pyarrow.array(LABELS)),
    "array and classes of pyarrow in chunks": lambda: (padded(), pyarrow.chunked_array([LABELS[:5], LABELS[5:]])),
    "tensor": lambda: (torch.from_numpy(padded()), LABELS),
    "list of arrays": lambda: (EACH, LABELS),
    "lists": lambda: ([series.tolist() for series in EACH], np.array(LABELS)),
    "torch dataset": lambda: (Pairs(),),
    "key of series and time": lambda: (multi()[["x", "y"]], LABELS),
}
LAYOUTS: dict[str, Callable[[], Any]] = {
    "numpy3D": lambda: padded().transpose(0, 2, 1),
    "np-list": lambda: [series.T for series in EACH],
    "pd-multiindex": lambda: multi()[["x", "y"]],
}
FILES: dict[str, Callable[[Path], object]] = {
    "long.parquet": lambda path: long().to_parquet(path),
    "shuffled.parquet": lambda path: long().sample(frac=1, random_state=0).sort_values("id").to_parquet(path),
    "nested.parquet": lambda path: nested().to_parquet(path),
    "polars.parquet": lambda path: polars.from_pandas(long()).write_parquet(path),
    "long.feather": lambda path: long().to_feather(path),
    "stream.arrow": lambda path: _stream(path),
}


def _stream(path: Path) -> None:
    table = pyarrow.Table.from_pandas(long())
    with pyarrow.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table)


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Splits:
    path = tmp_path_factory.mktemp("csv") / "long.csv"
    long().to_csv(path, index=False)
    return unroll.load(path)


def assert_same(splits: Splits, expected: Splits) -> None:
    for part, other in ((splits.train, expected.train), (splits.test, expected.test)):
        assert part.kind == "series"
        assert torch.equal(part.x, other.x)
        assert torch.equal(part.y, other.y)
        assert torch.equal(part.steps_of_each, other.steps_of_each)
        assert part.preparation.scaling == other.preparation.scaling
    assert splits.classes == expected.classes == ("down", "up")
    assert splits.drawn


@pytest.mark.parametrize("name", HELD)
def test_what_python_holds_gives_the_tensors_of_the_csv_file(name: str, csv: Splits) -> None:
    assert_same(unroll.load(*HELD[name]()), csv)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_containers_of_aeon_and_sktime_are_read_by_their_names(layout: Any, csv: Splits) -> None:
    assert_same(unroll.load(LAYOUTS[layout](), LABELS, layout=layout), csv)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_a_frame_gives_the_tensors_of_the_csv_file(name: str, tmp_path: Path, csv: Splits) -> None:
    FILES[name](tmp_path / name)
    splits = unroll.load(tmp_path / name)
    assert_same(splits, csv)
    assert splits.name == Path(name).stem


def test_the_csv_file_gives_the_values_that_were_written(csv: Splits) -> None:
    together = sorted(csv.train.sequence(n, csv.train.x).tolist() for n in range(len(csv.train)))
    together += [csv.test.sequence(n, csv.test.x).tolist() for n in range(len(csv.test))]
    assert sorted(together) == sorted(x.astype(np.float32).tolist() for x in EACH)


def test_a_wide_frame_is_read_as_the_wide_csv_file(tmp_path: Path) -> None:
    wide = pd.DataFrame(padded()[:, :, 0]).assign(label=LABELS)
    wide.to_csv(tmp_path / "wide.csv", index=False)
    expected = unroll.load(tmp_path / "wide.csv")
    assert_same(unroll.load(wide), expected)
    assert_same(unroll.load(polars.from_pandas(wide.rename(columns=str))), expected)
    assert_same(unroll.load(wide.drop(columns="label"), wide.label), expected)
    assert_same(unroll.load(padded()[:, :, 0], LABELS), expected)


DATES = pd.Timestamp("2026-03-14 10:00") + pd.to_timedelta(long().time * 20, unit="ms")
CLOCKS = {
    "dates": DATES,
    "microseconds": DATES.astype("datetime64[us]"),
    "a zone": DATES.dt.tz_localize("Europe/Berlin"),
    "texts": DATES.astype(str),
    "Python's dates": pd.Series(list(DATES.dt.to_pydatetime()), dtype=object),
    "durations": DATES - DATES[0],
    "after 2262": DATES.astype("datetime64[ms]") + np.timedelta64(110_000, "D"),
}


@pytest.mark.parametrize("name", CLOCKS)
def test_dates_of_frames_are_times_in_seconds(name: str) -> None:
    frame = long().assign(time=CLOCKS[name])
    for data in (frame, pyarrow.Table.from_pandas(frame)):
        columns = unroll.load(data).train.preparation.columns
        assert columns is not None
        rounded = 1e-4 if name == "after 2262" else 1e-12  # nanoseconds that int64 does not hold
        assert columns.time_step == pytest.approx((0.02, 0.02), rel=rounded)
        assert unroll.load(data, resample="100Hz", test_fraction=0).train.steps_of_each.tolist() == [
            2 * len(x) - 1 for x in EACH
        ]


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_ids_that_are_numbers_are_written_with_no_more_digits_than_they_have(library: str, kind: str) -> None:
    frame = long().assign(id=(long().id.astype(int) / 10).astype(kind))
    origins = unroll.load(frame if library == "pandas" else polars.from_pandas(frame), test_fraction=0).train.origins
    assert origins is not None
    assert list(origins.names) == [str(number / 10) for number in range(12)]


def test_lists_of_times_and_of_vectors_are_read() -> None:
    frame = pd.DataFrame({"v": [x.tolist() for x in EACH], "label": LABELS})
    frame["time"] = [list(np.arange(len(x)) * 0.5) for x in EACH]
    for data in (frame, polars.from_pandas(frame)):
        train = unroll.load(data, test_fraction=0).train
        assert train.preparation.features == ("v_0", "v_1")
        assert np.array_equal(train.sequence(1, train.x).numpy(), EACH[1].astype(np.float32))
        assert unroll.load(data, resample="0.5").train.preparation.columns.time_step == (0.5, 0.5)


SECONDS = pd.date_range("2026-03-29 01:59:58", periods=LENGTH, freq="s", tz="UTC")  # clocks are put forward after 2
LISTED: dict[str, Callable[[int], object]] = {
    "dates": lambda length: SECONDS[:length].tz_localize(None),
    "a zone": lambda length: SECONDS[:length].tz_convert("Europe/Vienna"),
    "a series of a zone": lambda length: pd.Series(SECONDS[:length].tz_convert("Europe/Vienna")),
    "stamps": lambda length: list(SECONDS[:length]),
    "Python's dates": lambda length: SECONDS[:length].tz_convert("Europe/Vienna").to_pydatetime().tolist(),
    "NumPy's dates": lambda length: SECONDS[:length].to_numpy("datetime64[s]"),
}


@pytest.mark.parametrize("kind", LISTED)
def test_dates_in_the_lists_of_a_frame_are_times_in_seconds(kind: str) -> None:
    train = unroll.load(nested().assign(time=[LISTED[kind](len(x)) for x in EACH]), test_fraction=0).train
    assert train.preparation.columns is not None
    assert train.preparation.columns.time_step == (1, 1)


def test_exact_ids_booleans_and_missing_values_are_kept() -> None:
    frame = long().assign(on=long().x > 0)
    frame.loc[3, "y"] = np.nan
    for data in (frame, polars.from_pandas(frame)):
        train = unroll.load(data, test_fraction=0).train
        assert train.preparation.features == ("x", "y", "on")
        assert train.sequence(0, train.x)[:, 2].tolist() == (EACH[0][:, 0] > 0).tolist()
        assert train.sequence(1, train.missing)[:, 1].tolist() == [True, False, False, False]
    twice = long().assign(id=long().id.replace("000", "001"))
    with pytest.raises(DataError, match="row 3: id 001 and time 0 are in row 0 already"):
        unroll.load(twice)
    huge = long().assign(id=2**60 + long().id.astype(int))  # which float64 could not tell apart
    assert len(unroll.load(huge.astype({"id": "Int64"}), test_fraction=0).train) == 12


TEXTS = pd.DataFrame({"text": ["a fine day", "a bad day"] * 6, "label": ["pos", "neg"] * 6})


def test_frames_and_datasets_of_texts_are_read_as_the_csv_file(tmp_path: Path) -> None:
    TEXTS.to_csv(tmp_path / "texts.csv", index=False)
    TEXTS.to_parquet(tmp_path / "texts.parquet")
    expected = unroll.load(tmp_path / "texts.csv", min_count=1)
    numbered = TEXTS.assign(label=TEXTS.label.map({"neg": 0, "pos": 1}))
    kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["neg", "pos"])})
    named = datasets.Dataset.from_pandas(numbered, features=kinds)
    pair = (TEXTS.text.tolist(), TEXTS.label)
    for data in ((TEXTS,), (polars.from_pandas(TEXTS),), (named,), (tmp_path / "texts.parquet",), pair):
        splits = unroll.load(*data, min_count=1)
        assert torch.equal(splits.train.x, expected.train.x)
        assert torch.equal(splits.test.y, expected.test.y)
        assert splits.classes == ("neg", "pos")
        assert splits.train.preparation == expected.train.preparation


def test_images_of_datasets_are_images() -> None:
    from PIL import Image

    pixels = RANDOM.integers(0, 256, (8, 6, 5)).astype(np.uint8)
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = {"image": list(map(Image.fromarray, pixels)), "label": [0, 1] * 4}
    data = datasets.Dataset.from_dict(rows, features=kinds)
    splits = unroll.load({"train": data, "test": data})
    assert splits.classes == ("no", "yes")
    assert np.array_equal(splits.test.x.numpy(), pixels)
    rows["image"][0] = Image.new("L", (9, 9))
    with pytest.raises(DataError, match="images from 5×6 to 9×9: make them one size with --resize"):
        unroll.load(datasets.Dataset.from_dict(rows, features=kinds))


def test_parts_are_given_as_a_dict_or_beside() -> None:
    frame, held = long(), long()[long().id > "005"]
    for splits in (
        unroll.load({"train": frame, "test": held}),
        unroll.load(frame, test=held),
        unroll.load(
            datasets.DatasetDict(train=datasets.Dataset.from_pandas(frame), test=datasets.Dataset.from_pandas(held))
        ),
        unroll.load(EACH, LABELS, test=(EACH[6:], LABELS[6:])),
        unroll.load({"train": (padded(), LABELS), "test": (padded()[6:], LABELS[6:])}),
    ):
        assert not splits.drawn
        assert (len(splits.train), len(splits.test)) == (12, 6)
    splits = unroll.load({"train": frame, "validation": polars.from_pandas(held), "extra": frame})
    assert splits.val is not None
    assert len(splits.val) == 6
    assert "dict: the parts extra are not used" in splits.train.notes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "set").mkdir()
    long().to_parquet(tmp_path / "set" / "train.parquet", index=False)
    long()[long().id > "005"].to_parquet(tmp_path / "set" / "test.parquet", index=False)
    return tmp_path / "set"


def test_a_folder_is_read_as_a_data_set_of_the_hub(folder: Path, csv: Splits) -> None:
    name = f"hf:{folder}"
    splits = unroll.load(name, data_dir=folder.parent)
    assert (splits.name, splits.source, len(splits.test)) == ("set", name, 6)
    assert torch.equal(unroll.load(name, data_dir=folder.parent).train.x, splits.train.x)  # from the copy
    datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache")).save_to_disk(folder.parent / "saved")
    assert unroll.load(f"hf:{folder.parent / 'saved'}").train.fingerprint() == splits.train.fingerprint()


def test_names_of_the_hub_are_checked_without_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    for name, line in {
        "hf:nowhere": "hf:nowhere is not the name of a data set: expected hf:owner/name",
        "hf:/nowhere": "hf:/nowhere does not exist: expected a folder, or hf:owner/name",
        f"hf:{folder.parent.name}/set": "is a folder here, too: say hf:./",
    }.items():
        with pytest.raises(DataError, match=line):
            unroll.load(name)


def test_a_run_on_parquet_reads_every_form(tmp_path: Path) -> None:
    long().to_parquet(tmp_path / "X_train.parquet")
    long().to_csv(tmp_path / "X_test.csv", index=False)  # of another format: not its test part
    nested().drop(columns="label").to_feather(tmp_path / "new.feather")
    long().to_csv(tmp_path / "new.csv", index=False)
    run = unroll.train_run(tmp_path / "X_train.parquet", training_steps=2, out=tmp_path / "run")
    files = predict_files(run.model, run.preparation, [tmp_path / "new.feather", tmp_path / "new.csv"])
    answers = [(answer.id, answer.label, answer.probability) for answer in files]
    assert [series for series, *_ in answers] == IDS * 2
    assert answers[:12] == answers[12:]


NO_VECTORS = polars.Series([[]] * 12, dtype=polars.List(polars.List(polars.Float64)))
ODD = long().assign(k=1)
ODD.loc[1, "x"], ODD.loc[2, "label"], ODD.loc[2, "k"] = np.inf, None, 9
WRONG: dict[str, tuple[Callable[[], tuple[Any, ...]], str]] = {
    "no label": (lambda: (long().drop(columns="label"),), "^DataFrame has no column label or class: expected names of"),
    "no column id": (lambda: (long().drop(columns="id"),), "DataFrame has a column time but no column id"),
    "no rows": (lambda: (long()[:0],), "^DataFrame holds no rows"),
    "no number": (lambda: (long().assign(y="z"),), "^DataFrame, row 0, column y: expected a number, got 'z'; --drop"),
    "infinite": (lambda: (long().assign(x=ODD.x),), "row 1, column x: expected a finite number, got 'inf'"),
    "no date": (lambda: (long().assign(time=DATES.where(DATES.index != 7)),), "row 7, column time: expected a date"),
    "no class": (lambda: (long().assign(label=ODD.label),), "row 2: expected the name of a class, got ''"),
    "no id": (lambda: (polars.from_pandas(long().assign(id=ODD.label)),), "row 2: the id is empty"),
    "two classes": (lambda: (pyarrow.table(long().assign(label=ODD.k)),), "^Table, row 2: id 000 is of class 9, but"),
    "one name": (lambda: (pd.concat([long(), long()[["x"]]], axis=1),), "DataFrame has two columns 'x'"),
    "keys without names": (lambda: (multi().rename_axis([None, None]),), "rename_axis"),
    "a key and a column": (lambda: (long().set_index(long().id),), "DataFrame has an index and a column 'id'"),
    "lists of texts": (lambda: (nested().assign(z=[["a"]] * 12),), "row 0, column z: expected a list of numbers"),
    "lists of texts in Arrow": (lambda: (polars.from_pandas(nested().assign(z=[["a"]] * 12)),), "got lists of"),
    "empty list": (lambda: (nested().assign(x=[[]] * 12, y=[[]] * 12),), "row 0: the series is empty"),
    "empty list in Arrow": (
        lambda: (polars.from_pandas(nested()[["label"]]).with_columns(x=NO_VECTORS),),
        "row 0: the series is empty",
    ),
    "no type of Arrow": (lambda: (polars.from_pandas(long()).cast({"time": polars.Int128}),), "cannot read .*: cast"),
    "vectors of two widths": (
        lambda: (nested()[["label"]].assign(x=[x[:, : 1 + n % 2] for n, x in enumerate(EACH)]),),
        "column x: .* as many features in each, got 1 to 2 features",
    ),
    "empty vectors": (lambda: (nested()[["label"]].assign(x=[[[], []]] * 12),), "column x: .* as many features"),
    "empty vectors in Arrow": (
        lambda: (polars.from_pandas(nested()[["label"]].assign(x=[[[], []]] * 12)),),
        "column x: .* as many features",
    ),
    "lengths": (lambda: (nested().assign(z=[[1.0]] * 12),), "row 0: expected lists of one length, got 3 values in x"),
    "time": (lambda: (nested().assign(time=1),), "but one number in each cell of the column time"),
    "falling": (lambda: (nested().assign(time=nested().x),), "row 0, column time: expected ascending times"),
    "lazy": (lambda: (polars.from_pandas(long()).lazy(),), "polars.LazyFrame is not in memory: .* collect()"),
    "stream": (lambda: (datasets.Dataset.from_pandas(long()).to_iterable_dataset(),), "IterableDataset is a stream"),
    "one column": (lambda: (long().x,), "data must be a frame, got pandas.Series"),
    "no data": (lambda: (None,), "data must be a name, a path, a frame, .* got NoneType"),
    "pair": (lambda: ((EACH, LABELS),), r"hand over series and classes as unroll.load\(X, y\)"),
    "no y": (lambda: (padded(),), "needs the class of each series"),
    "numbers as y": (lambda: (padded(), np.zeros(12)), "got float64 of shape .12,.; y.astype.int. makes them so"),
    "one-hot y": (lambda: (padded(), np.eye(12)), r"or whole numbers, got float64 of shape .12, 12.$"),
    "a share as y": (lambda: (padded(), np.full(12, 0.5)), r"or whole numbers, got float64 of shape .12,.$"),
    "NaN as y": (lambda: (padded(), np.array([0, np.nan] * 6)), "got none of series 1: leave it out of X and y"),
    "NA as y": (lambda: (padded(), pd.array([0, None] * 6, "Int64")), "got none of series 1: leave it out of X and y"),
    "masked y": (
        lambda: (padded(), np.ma.masked_array([0, 1] * 6, [0, 0, 1] * 4)),
        "got none of series 2: leave it out of X and y",
    ),
    "a column of y": (lambda: (padded(), pd.DataFrame({"y": LABELS}).astype(object)), r"got object of shape \(12, 1\)"),
    "fewer labels": (lambda: (padded(), LABELS[1:]), "arrays: x holds 12 sequences, but y 11 labels"),
    "fewer labels of a list": (lambda: (EACH, LABELS[1:]), "list holds 12 series, but y 11 labels"),
    "another index": (lambda: (nested()[["x"]], nested().label[::-1]), "y must have the index of the frame"),
    "another order": (
        lambda: (multi()[["x"]], pd.Series(LABELS, IDS[::-1])),
        "y must have the keys of the series in their order",
    ),
    "label twice": (lambda: (nested(), LABELS), "DataFrame has a column label already"),
    "columns": (lambda: ({"x": [1], "y": [2]},), "dict must have a part 'train'"),
    "two kinds": (lambda: ({"train": long(), "test": (EACH, LABELS)},), "parts of a data set must be alike"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_data_is_refused_in_one_line(name: str) -> None:
    make, line = WRONG[name]
    with pytest.raises(DataError, match=line) as error:
        unroll.load(*make())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "settings", "line"),
    [
        (lambda: ("mnist-sample", LABELS), {}, "y cannot be used with mnist-sample: it is for data that Python holds"),
        (lambda: (long(),), {"layout": "numpy3D"}, "layout numpy3D cannot be used with a frame"),
        (lambda: (EACH, LABELS), {"layout": "aeon"}, "layout must be one of numpy3D, np-list, pd-multiindex"),
        (lambda: (long(),), {"resize": 28}, "resize 28 cannot be used with DataFrame: it holds no images"),
        (lambda: (EACH, LABELS), {"id_column": "id"}, "id_column id cannot be used with list: it is not a table"),
        (lambda: (nested()[["x"]], LABELS), {"label_column": "z"}, "label_column z cannot be used with y"),
        (lambda: (long(),), {"data_dir": "."}, "data_dir cannot be used with data that Python holds"),
        (lambda: ({"train": long()},), {"test": long()}, "test cannot be used with a dict of parts"),
    ],
)  # fmt: skip
def test_settings_that_do_not_apply_are_refused(arguments: Any, settings: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        unroll.load(*arguments(), **settings)


def test_a_run_needs_data_with_a_name() -> None:
    with pytest.raises(
        DataError, match="needs a name or a path, got pandas.DataFrame: train on it with unroll.fit and"
    ):
        unroll.train_run(long())  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather"])
def test_a_broken_file_is_refused_with_its_name(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"broken.{suffix}").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match=rf"broken\.{suffix} is not a readable (Parquet|Arrow) file .*; write it again"):
        unroll.load(tmp_path / f"broken.{suffix}")


def test_what_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"train.parquet needs the library pyarrow: pip install .*\[tables\]"):
        unroll.load(folder / "train.parquet")
    with pytest.raises(DataError, match=r"needs the library datasets: pip install .*\[hub\]"):
        unroll.load(f"hf:{folder}")
    assert len(unroll.load(long()).train)  # pandas needs neither


def test_a_run_is_tested_on_what_python_holds(tmp_path: Path) -> None:
    long().to_csv(tmp_path / "own.csv", index=False)
    long().assign(label=LABELS[0]).to_parquet(tmp_path / "other.parquet")
    run = unroll.train_run(tmp_path / "own.csv", training_steps=2, out=tmp_path / "run")
    expected = load_test(run, str(tmp_path / "other.parquet")).sequences
    once = long().assign(label=LABELS[0])
    for data in (once, polars.from_pandas(once), nested().assign(label=LABELS[0]), (EACH, LABELS[:1] * 12)):
        test = load_test(run, data)
        assert torch.equal(test.sequences.x, expected.x)
        assert test.sequences.preparation.scaling == run.preparation.scaling
        assert (test.part, test.trained_on) == ("all", 10)


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize(
    ("kind", "least", "step"), [("int64", 0, 1), ("uint64", 0, 1), ("uint64", 2**63, 4096), ("uint8", 0, 1)]
)
def test_whole_numbers_that_go_down_are_no_clock_whatever_type_they_are_of(
    kind: str, least: int, step: int, library: str
) -> None:
    left, down = (9 - long().time) * step, long().time % 2 * step
    frame = long().assign(left=left.astype(kind) + least, downtime=down.astype(kind) + least)
    train = unroll.load(frame if library == "pandas" else polars.from_pandas(frame)).train
    assert train.preparation.features == ("x", "y", "left", "downtime")


def test_times_too_large_for_a_sign_stay_apart() -> None:
    frame = long().assign(time=long().time.astype("uint64") + np.uint64(2**63))
    assert unroll.load(frame, test_fraction=0).train.steps_of_each.tolist() == list(map(len, EACH))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_times_of_small_whole_numbers_do_not_wrap_round(library: str) -> None:
    frame = long().assign(time=lambda rows: (rows.time * 50 - 100).astype("int8"))
    splits = unroll.load(frame if library == "pandas" else polars.from_pandas(frame), resample=25)
    assert splits.train.preparation.columns is not None
    assert splits.train.preparation.columns.time_step == (25, 25)
    assert splits.train.time == 2 * (LENGTH - 1) + 1


@pytest.mark.parametrize(
    "hand_over",
    [
        lambda x: unroll.load(pd.DataFrame(x[:, :, 0]).rename(columns=str).assign(label=LABELS), missing_values=-99.9),
        lambda x: unroll.load(pd.DataFrame({"x": list(x[:, :, 0]), "label": LABELS}), missing_values=-99.9),
        lambda x: unroll.load(x, LABELS, missing_values=-99.9),
        lambda x: unroll.load(list(x), LABELS, missing_values=-99.9),
    ],
    ids=["wide", "lists", "array", "list"],
)
def test_a_mark_of_what_is_missing_is_known_in_single_precision(hand_over: Callable[[np.ndarray], Splits]) -> None:
    x = RANDOM.normal(size=(12, 4, 1)).astype(np.float32)
    x[:, 1] = -99.9
    splits = hand_over(x)
    assert splits.train.missing is not None
    assert splits.train.missing.flatten(1).tolist() == [[False, True, False, False]] * len(splits.train)


@pytest.mark.parametrize("x", [padded(), EACH], ids=["array", "list"])
@pytest.mark.parametrize(
    "given", [lambda names: dict(enumerate(names)).values(), lambda names: (name for name in names), partial(map, str)]
)
def test_classes_and_groups_are_taken_one_by_one_where_they_have_no_places(x: Any, given: Callable[..., Any]) -> None:
    found = unroll.load(x, given(LABELS), groups=given(IDS), test_fraction=0).train
    expected = unroll.load(x, LABELS, groups=IDS, test_fraction=0).train
    assert torch.equal(found.y, expected.y)
    assert found.origins == expected.origins


@pytest.mark.parametrize("labels", ["ud" * 6, set(LABELS)])
def test_classes_in_a_text_or_without_order_are_refused(labels: Any) -> None:
    with pytest.raises(DataError, match=r"y must be \(N,\) names of classes"):
        unroll.load(padded(), labels)


@pytest.mark.parametrize(
    ("groups", "got"),
    [(3, "int"), (np.zeros((12, 1)), r"shape \(12, 1\)"), (pd.DataFrame({"who": LABELS}), r"shape \(12, 1\)")],
)
def test_groups_that_are_not_one_of_each_series_are_refused(groups: Any, got: str) -> None:
    with pytest.raises(DataError, match=rf"groups must be \(N,\) names, one of each series, got {got}"):
        unroll.load(padded(), LABELS, groups=groups)


def test_groups_in_another_order_than_the_series_are_refused() -> None:
    frame, groups = multi().drop(columns="label"), pd.Series(range(12), IDS)
    kept = unroll.load(frame, pd.Series(LABELS, IDS), groups=groups)
    assert kept.train.origins is not None
    assert kept.train.origins.groups == tuple(str(int(name)) for name in kept.train.origins.names)
    with pytest.raises(DataError, match="groups must have the keys of the series in their order"):
        unroll.load(frame, LABELS, groups=groups[::-1])
    numbered = frame.set_index(frame.index.set_levels(range(12), level=0)).loc[list(range(12))[::-1]]
    with pytest.raises(DataError, match="y must have the keys of the series in their order"):
        unroll.load(numbered, pd.Series(LABELS))
    with pytest.raises(DataError, match=r"the same index: groups.loc\[y.index\] puts them in the order of y"):
        unroll.load(padded(), pd.Series(LABELS, IDS), groups=groups[::-1])
