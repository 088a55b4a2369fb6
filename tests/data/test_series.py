"""Time series from .ts and CSV files: what they hold, what is missing, and what is wrong with one in one line."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import fuzz
from unroll import ConfigError, DataError, SequenceData, load
from unroll.data.formats import ts_series
from unroll.data.formats.series import read_unlabelled
from unroll.data.preparation import Missing, Preparation

Write = Callable[..., str]

TS = """# From an old archive
@problemName Two
@timeStamps false
@univariate false
@equalLength false
@classLabel true up down
@data
1,2,3:10,20,30:up
4,?,6,7:40,50,NaN,70:down

-1e0,+2.5:0.5,.25:up
"""
LONG = """id,time,heart rate,pressure,label
b,2,71,,ill
b,1,70,NA,ill
a,0,60,100,well
a,1,61.5,101,well
a,2,?,102,well
"""
WIDE = """id,t0,t1,t2,class
x,1,2,3,A
y,4,,6,B
z,7,8,,A
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file, and if asked a test part beside it; return the path: ``write("a.ts", TS, test=TS)``."""

    def file(name: str, content: str | bytes, test: str | None = None) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if test is not None:
            other = name.replace("_TRAIN", "_TEST").replace("_train", "_test")
            (tmp_path / other).write_text(test)
        return str(path)

    return file


def rows(data: SequenceData) -> list[list[list[float]]]:
    """Return the values of each series up to its length, as nested lists, NaN where one is missing."""
    x = data.x if data.missing is None else data.x.masked_fill(data.missing, math.nan)
    return [data.sequence(number, x).tolist() for number in range(len(data))]


NAN = pytest.approx(math.nan, nan_ok=True)


# What a file holds


def test_ts(write: Write) -> None:
    splits = load(write("Two_TRAIN.ts", TS, test=TS))
    assert (splits.name, splits.classes, splits.drawn) == ("Two", ("up", "down"), False)
    for part in (splits.train, splits.test):
        assert part.y.tolist() == [0, 1, 0]
        assert part.lengths is not None
        assert part.lengths.tolist() == [3, 4, 2]
        assert rows(part) == [
            [[1, 10], [2, 20], [3, 30]],
            [[4, 40], [NAN, 50], [6, NAN], [7, 70]],
            [[-1, 0.5], [2.5, 0.25]],
        ]


LARGE = [
    *["1,2,3:a", " 4 , 5e-3,-6.:b", ".5,?,NaN:a", "NULL,7,+8:b", "1,2:b", "9:a", "0.1,12345678901234567890:a"],
    *["1e+03,2,3:a", "1,nA,1:b"],  # of which pandas knows nothing
    *["1,,2:a", ",1,:b", "1.7976931348623157e308,1e-5,1e-400:a"],
]


def test_a_large_ts_file_is_read_as_a_small_one(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        lines = random.choice(LARGE, 12)
        path = Path(write("One.ts", "@classLabel true a b\n@data\n" + "\n".join(lines)))
        small = ts_series.parse(path, True)
        with monkeypatch.context() as patch:
            patch.setattr(ts_series, "FEW", 0)
            patch.setattr(ts_series, "BLOCK", int(random.choice([1, 20, 1_000])))
            large = ts_series.parse(path, True)
        assert (small.labels, small.names) == (large.labels, large.names)
        for own, expected in zip(large.values, small.values, strict=True):
            np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("bad", ["1,x,3:a", "1_2,3:a", "1,2:3:a", "1,inf,2:a", " :a", "1,2,3"])
def test_a_large_ts_file_is_refused_as_a_small_one(write: Write, bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(write("One.ts", f"@classLabel true a b\n@data\n1,2:a\n3,4:b\n{bad}\n5,6:a\n"))
    messages = []
    for few in (ts_series.FEW, 0):
        monkeypatch.setattr(ts_series, "FEW", few)
        with pytest.raises(DataError) as error:
            ts_series.parse(path, True)
        messages.append(str(error.value))
    assert messages[0] == messages[1]
    assert ", line 5" in messages[0]


def test_long_csv(write: Write) -> None:
    splits = load(write("stay_train.csv", LONG, test=LONG))
    assert (splits.name, splits.classes) == ("stay", ("ill", "well"))
    assert splits.train.preparation.features == ("heart rate", "pressure")
    assert rows(splits.train) == [[[70, NAN], [71, NAN]], [[60, 100], [61.5, 101], [NAN, 102]]]
    assert splits.train.y.tolist() == [0, 1]


def test_wide_csv(write: Write) -> None:
    splits = load(write("w_train.csv", WIDE, test=WIDE))
    assert splits.train.y.tolist() == [0, 1, 0]
    assert rows(splits.train) == [[[1], [2], [3]], [[4], [NAN], [6]], [[7], [8]]]
    assert splits.train.preparation.features == ()


@pytest.mark.parametrize("divider", ["\t", ";"])
@pytest.mark.parametrize("mark", ["", "\ufeff"], ids=["plain", "byte order mark"])
def test_other_dividers_and_line_ends(write: Write, divider: str, mark: str) -> None:
    content = mark + LONG.replace(",", divider).replace("\n", "\r\n")
    found = load(write("s_train.tsv", content, test=LONG.replace(",", divider)))
    expected = load(write("s_train.csv", LONG, test=LONG))
    assert torch.equal(found.train.x, expected.train.x)
    assert found.train.preparation == expected.train.preparation


def test_times_may_be_dates(write: Write) -> None:
    dates = "id,time,x,label\na,2024-03-01,3,p\na,2024-02-29T12:00,2,p\na,2023-12-31,1,p\nb,2024-01-01,0,q\n"
    splits = load(write("d_train.csv", dates, test=dates))
    assert rows(splits.train) == [[[1], [2], [3]], [[0]]]


def test_classes_that_are_numbers_are_in_their_order(write: Write) -> None:
    wide = "a,label\n1,10\n2,9\n3,-1\n4,10\n"
    assert load(write("n_train.csv", wide, test=wide)).classes == ("-1", "9", "10")


def test_a_file_alone_is_drawn_from(write: Write) -> None:
    wide = "a,label\n" + "".join(f"{n},{n % 2}\n" for n in range(20))
    splits = load(write("alone.csv", wide))
    assert splits.drawn
    assert (len(splits.train), len(splits.test)) == (16, 4)
    assert sorted([x[0][0] for x in rows(splits.train) + rows(splits.test)]) == list(range(20))


def test_a_folder_with_a_pair(write: Write, tmp_path: Path) -> None:
    write("gun/Gun_TRAIN.ts", TS, test=TS)
    assert load(tmp_path / "gun").name == "gun"
    assert len(load(str(tmp_path / "gun")).test) == 3


def test_what_is_learned_is_learned_on_the_training_part(write: Write) -> None:
    one = load(write("Two_TRAIN.ts", TS, test=TS))
    other = load(write("Two_TRAIN.ts", TS, test=TS.replace("40,50", "9000,-7")))
    assert one.train.preparation == other.train.preparation == other.test.preparation
    columns = [[1, 2, 3, 4, 4, 6, 7, -1, 2.5], [10, 20, 30, 40, 50, 50, 70, 0.5, 0.25]]  # filled in
    assert one.train.preparation.scaling.mean == pytest.approx([np.mean(column) for column in columns])
    assert one.train.preparation.scaling.std == pytest.approx([np.std(column) for column in columns])


def test_a_preparation_survives_as_json(write: Write) -> None:
    for name, content in (("Two_TRAIN.ts", TS), ("stay_train.csv", LONG)):
        preparation = load(write(name, content, test=content), missing="mask").train.preparation
        assert Preparation.from_dict(preparation.to_dict()) == preparation


# What is missing


def filled(x: list[list[float]], means: list[float], mask: bool) -> list[list[float]]:
    """Fill in one series as the documentation says, value by value."""
    result: list[list[float]] = []
    for t, row in enumerate(x):
        values = []
        for feature, value in enumerate(row):
            if not math.isnan(value):
                values.append(value)
            else:
                values.append(result[t - 1][feature] if t else means[feature])
        result.append(values + [float(math.isnan(value)) for value in row] if mask else values)
    return result


@fuzz.settings(40)
@given(st.data(), st.booleans())
@pytest.mark.slow
def test_gaps_are_filled_as_a_plain_loop_fills_them(data: st.DataObject, mask: bool) -> None:
    n, time, features = (data.draw(st.integers(1, most)) for most in (4, 6, 3))
    values = st.one_of(st.just(math.nan), st.integers(-8, 8).map(float))
    x = np.array(data.draw(st.lists(values, min_size=n * time * features, max_size=n * time * features)))
    x = x.reshape(n, time, features)
    lengths = data.draw(st.lists(st.integers(1, time), min_size=n, max_size=n))
    valid_mask = np.arange(time) < np.array(lengths)[:, None]
    gone = np.isnan(x) & valid_mask[:, :, None]
    steps = torch.from_numpy(np.where(gone, 99, x).astype(np.float32))[torch.from_numpy(valid_mask)]
    missing = torch.from_numpy(gone[valid_mask])
    rule = Missing.of("mask" if mask else "impute", steps, missing)
    means = []
    for feature in range(features):
        there = x[:, :, feature][valid_mask & ~gone[:, :, feature]]
        means.append(float(there.mean()) if len(there) else 0.0)
    assert rule.means == pytest.approx(means)
    starts = torch.tensor(lengths).cumsum(0) - torch.tensor(lengths)
    found = rule.fill(steps, missing, starts)
    assert found.shape == (sum(lengths), features * (2 if mask else 1))
    for index, own in enumerate(found.split(lengths)):
        expected = np.array(filled(x[index, : len(own)].tolist(), means, mask))
        np.testing.assert_allclose(own.numpy(), expected, rtol=1e-6)
    whole = rule.fill(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(np.isnan(x)))  # side by side
    for row, own in zip(x, whole.numpy(), strict=True):
        np.testing.assert_allclose(own, np.array(filled(row.tolist(), means, mask)), rtol=1e-6)


def test_the_mask_is_not_scaled(write: Write) -> None:
    splits = load(write("Two_TRAIN.ts", TS, test=TS), missing="mask")
    assert splits.train.input_size == 4
    (batch,) = splits.train.batches(3)
    assert batch.x[1, :, 2].tolist() == [0, 1, 0, 0]
    assert batch.x[1, :, 3].tolist() == [0, 0, 1, 0]
    plain = load(write("Two_TRAIN.ts", TS, test=TS))
    assert torch.equal(batch.x[:, :, :2], next(plain.train.batches(3)).x)


def test_npz_holds_nan_where_a_value_is_missing(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 5, 2))
    x[3, 2, 1] = math.nan
    np.savez(tmp_path / "gaps.npz", x=x, y=np.arange(20) % 2)
    splits = load(str(tmp_path / "gaps.npz"))
    gaps = [part.missing for part in (splits.train, splits.test) if part.missing is not None]
    assert sum(int(missing.sum()) for missing in gaps) == 1
    assert all(bool(part.x.isfinite().all()) for part in (splits.train, splits.test))


def test_a_run_that_learned_no_rule_says_so(write: Write) -> None:
    splits = load(write("Two_TRAIN.ts", TS, test=TS))
    with pytest.raises(DataError, match="2 values are missing, but the training data had no missing values"):
        splits.test.prepared_as(replace(splits.train.preparation, missing=None))


# Series to classify


def test_unlabelled_files(write: Write, tmp_path: Path) -> None:
    classes = ("up", "down")
    bare = "@classLabel false\n@data\n1,2:3,4\n"
    data, records = read_unlabelled(Path(write("new.ts", bare)), classes)
    assert (rows(data), records.names, records.named_by) == ([[[1, 3], [2, 4]]], ["3"], "line")
    long = "id,time,x\nq,0,1\nq,1,2\np,0,3\n"
    data, records = read_unlabelled(Path(write("long.csv", long)), classes)
    assert (rows(data), records.names, records.named_by) == ([[[1], [2]], [[3]]], ["q", "p"], "id")
    data, records = read_unlabelled(Path(write("wide.csv", "a,b,label\n1,2,whatever\n3,,x\n")), classes)
    assert (rows(data), records.names, records.named_by) == ([[[1], [2]], [[3]]], ["2", "3"], "line")
    np.savez(tmp_path / "new.npz", x=np.zeros((2, 3, 1)), lengths=[3, 1])
    data, records = read_unlabelled(tmp_path / "new.npz", classes)
    assert (rows(data), records.names, records.named_by) == ([[[0], [0], [0]], [[0]]], ["0", "1"], "series")


def test_features_are_read_by_name(write: Write) -> None:
    splits = load(write("stay_train.csv", LONG, test=LONG))
    turned = "id,time,pressure,heart rate\na,0,100,60\n"
    data, _ = read_unlabelled(Path(write("turned.csv", turned)), splits.classes)
    assert data.prepared_as(splits.train.preparation).x.tolist() == [[[60, 100]]]
    data, _ = read_unlabelled(Path(write("other.csv", turned.replace("heart", "pulse"))), splits.classes)
    with pytest.raises(
        DataError, match="the run reads the features heart rate, pressure; the data has pressure, pulse"
    ):
        data.prepared_as(splits.train.preparation)


# What is wrong with a file

HEAD = "@classLabel true a b\n@data\n"
STAMPED = f"@timeStamps true\n{HEAD}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "{} has no line @data: it is empty, cut off, or no .ts file of the UCR and UEA archive"),
        ("hello\n", "{}, line 1: expected a header of lines that begin with @, the last one @data"),
        (HEAD, "{} holds no series"),
        (HEAD + "1,2:3,4:a\n1,2:3:b\n", "{}, line 4: feature 1 has 1 values, feature 0 2: expected as many"),
        (HEAD + "1,2:3,4:a\n1,2:b\n", "{}, line 4: expected 2 features as in line 3, divided by colons and followed"),
        (HEAD + "1,2:a\n1,x:b\n", "{}, line 4, feature 0: expected a number, got 'x'"),
        (HEAD + "1,inf:a\n", "{}, line 3, feature 0: expected a finite number, got 'inf'; leave the cell empty"),
        (HEAD + "1,2:a\n:b\n", "{}, line 4: feature 0 is empty: expected at least 1 value"),
        (HEAD + "a\n", "{}, line 3: expected a series and its class, divided by a colon"),
        (HEAD + "1,2:c\n", "{}, line 3: the class c is not in @classLabel (a, b)"),
        (HEAD + "1,2:a\n3,4:a\n", "{} holds one class only to train on, a: expected 2 or more"),
        ("@classLabel true a \x07\n@data\n", "{}, line 1: expected the name of a class, got '\\x07'"),
        ("@classLabel true\n@data\n", "{}, line 1: expected the names of the classes after '@classLabel true'"),
        ("@classLabel false\n@data\n1\n", "{} has no classes: expected '@classLabel true' and their names"),
        ("@targetLabel true\n@data\n", "{} gives numbers to predict (@targetLabel), not classes"),
        (STAMPED + "1,2:a\n", "{}, line 4, feature 0: expected (time,value),(time,value), got 1,2"),
        (STAMPED + "(0,1),2:a\n", "{}, line 4, feature 0: expected (time,value),(time,value), got (0,1),2"),
        (STAMPED + "(0,1),(1,2):(0,1),(2,2):a\n", "{}, line 4: feature 1 has other times than feature 0: save it as"),
        (STAMPED + "(1,1),(0,2):a\n", "{}, line 4: the time goes back"),
        (STAMPED + "(x,1),(0,2):a\n", "{}, line 4: expected a time, a number or a date, got 'x'"),
        (STAMPED + "(1,1),(2026-01-01,2):a\n", "{}, line 4: expected times that are all numbers, or all dates"),
        (
            HEAD.encode() + b"1,2:a\n1,\xff:b\n",
            "{} is not UTF-8: byte 0xff at position 35, in line 4; save it as UTF-8",
        ),
    ],
)
def test_bad_ts(write: Write, content: str | bytes, message: str) -> None:
    path = write("bad.ts", content)
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(message.replace("{}", path))
    assert "\n" not in str(error.value)


LINE = "id,time,x,label\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "{} is empty: expected names of columns in its first line"),
        (LINE, "{} holds no series but a first line: expected a row for each time step or each series"),
        (LINE + "1,0,5,a\n1,1,oops,a\n", "{}, line 3, column x: expected a number, got 'oops'"),
        (LINE.replace(",", ";") + "1;0;1,5;a\n", "{}, line 2, column x: expected a number, got '1,5' (write 1.5, with"),
        (LINE + "1,0,inf,a\n", "{}, line 2, column x: expected a finite number, got 'inf'; leave the cell empty"),
        (
            LINE + "1,zero,5,a\n",
            "{}, line 2, column time: expected a number or a date such as 2026-03-14 10:00:00, got 'zero'",
        ),
        (LINE + "1,0,5,a\n1,2024-01-01,5,a\n", "{}, line 3, column time: expected a number, got '2024-01-01'"),
        (LINE + "1,0,5,a\n1,0,6,a\n", "{}, line 3: id 1 and time 0 are in line 2 already"),
        (LINE + "1,0,5,a\n,1,6,a\n", "{}, line 3: the id is empty: expected which series the row belongs to"),
        (LINE + "1,0,5,a\n1,1,6,b\n", "{}, line 3: id 1 is of class b, but of a in line 2"),
        (LINE + "1,0,5,a\n1,1,6,\n", "{}, line 3: expected the name of a class, got ''"),
        (LINE + "1,0,5,a\n1,1,6\n", "{}, line 3: expected 4 cells as in the first line, got 3"),
        (LINE + "1,0,5,a\n2,0,6,a\n", "{} holds one class only to train on, a: expected 2 or more"),
        (LINE.replace("label", "kind") + "1,0,5,a\n", "{} has no column label or class: expected names of columns in"),
        ("time,x,label\n0,5,a\n", "{} has a column time but no column id: expected both, or neither"),
        ("x,x,label\n0,5,a\n", "{} has two columns 'x': expected names that differ"),
        ("x,class,label\n0,5,a\n", "{} has a column label and a column class: rename the one that is not the label"),
        ("id,time,label\n1,0,a\n", "{} has no column of values: expected more than id, time, label"),
        ("id,x,label\n1,0,a\n1,2,b\n", "{}, line 3: the id 1 is in line 2 already"),
        ("x,y,label\n,,a\n", "{}, line 2: the series is empty; remove the row"),
        ('id,x,label\n"1\n2",0,a\n', "{}, line 3: expected an id in plain letters, got '1\\n2'"),
        ("id,x\x1b[31m,label\n1,0,a\n", "{}, line 1: expected the name of a column, got 'x\\x1b[31m'"),
        ('x,"y,label\n1,2,a\n', "{}, line 2: unexpected end of data; write it again as CSV"),
        (LINE.encode() + b"1,0,5,\xe9t\xe9\n", "{} is not UTF-8: byte 0xe9 at position 22; save it as UTF-8"),
    ],
)
def test_bad_csv(write: Write, content: str | bytes, message: str) -> None:
    path = write("bad.csv", content)
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value).startswith(message.replace("{}", path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "train", "test", "message"),
    [
        (
            "p_TRAIN.ts",
            TS,
            TS.replace("up down", "up down left").replace(":down", ":left"),
            ", line 9: the class left is",
        ),
        ("p_train.csv", LONG, LONG.replace("well", "dead"), ", id a: the class dead is not in "),
        ("p_TRAIN.ts", TS, HEAD.replace("a b", "up down") + "1,2:up\n", ": expected 2 features per time step as in "),
        ("p_train.csv", LONG, LONG.replace("pressure", "weight"), ": expected the features of "),
        ("p_TRAIN.ts", TS, HEAD, " holds no series"),
    ],
)
def test_a_test_part_that_does_not_fit(write: Write, name: str, train: str, test: str, message: str) -> None:
    with pytest.raises(DataError) as error:
        load(write(name, train, test=test))
    assert ("_TEST.ts" + message in str(error.value)) or ("_test.csv" + message in str(error.value))


def test_a_folder_without_a_pair_or_with_two(write: Write, tmp_path: Path) -> None:
    write("alone/One_TRAIN.ts", TS)
    with pytest.raises(
        DataError, match=r"alone holds no pair like X_TRAIN.ts and X_TEST.ts \(One_TRAIN.ts\): name the"
    ):
        load(str(tmp_path / "alone"))
    for name in ("One", "Two"):
        write(f"both/{name}_TRAIN.ts", TS, test=TS)
    with pytest.raises(DataError, match=r"both holds 2 pairs like X_TRAIN.ts and X_TEST.ts \(One_TRAIN.ts, Two_TRAIN"):
        load(str(tmp_path / "both"))


def test_a_table_beside_class_folders_makes_no_series_of_them(tmp_path: Path) -> None:
    (tmp_path / "pets" / "cat").mkdir(parents=True)
    (tmp_path / "pets" / "labels.csv").write_text(WIDE)
    with pytest.raises(DataError, match="image"):
        load(str(tmp_path / "pets"))


def test_settings_that_series_have_no_use_for(write: Write, tmp_path: Path) -> None:
    path = write("w_train.csv", "a,label\n1,A\n2,B\n", test="a,label\n1,A\n2,B\n")
    with pytest.raises(ConfigError, match="missing mask cannot be used with .*: no value is missing in its training"):
        load(path, missing="mask")
    with pytest.raises(ConfigError, match="read columns cannot be used with .*: it holds no images"):
        load(path, read="columns")
    with pytest.raises(ConfigError, match="test_fraction 0.5 cannot be used with .*: it has a test part of its own"):
        load(path, test_fraction=0.5)
    with pytest.raises(ConfigError, match="missing mask cannot be used with mnist-sample: it lacks no values"):
        load("mnist-sample", missing="mask")
    np.savez(tmp_path / "bytes.npz", x=np.arange(60, dtype=np.uint8).reshape(10, 3, 2), y=np.arange(10) % 2)
    with pytest.raises(ConfigError, match="missing mask cannot be used with .*: it holds bytes, of which none is"):
        load(str(tmp_path / "bytes.npz"), missing="mask")
