"""Tables of series: what is taken for what, what is refused as a guess, and that pandas' parser changes no cell."""

from __future__ import annotations

import csv
import gzip
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unroll import ConfigError, DataError, SequenceData, load
from unroll.data.columns import Columns
from unroll.data.formats import table as tables
from unroll.data.formats.dates import date_ns
from unroll.data.formats.parsing import PANDAS_MISSING, read_rows
from unroll.data.formats.series import read_unlabelled
from unroll.data.formats.table import Marks, read_table
from unroll.data.preparation import Preparation

Write = Callable[..., str]
Rows = Sequence[Sequence[object]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a table: ``write("a.csv", ["id", "x"], rows)``; return its path."""

    def table(name: str, header: Sequence[str], rows: Rows) -> str:
        lines = [",".join(map(str, cells)) for cells in (header, *rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
        return str(tmp_path / name)

    return table


def wide(n: int = 30, steps: int = 6, seed: int = 0) -> list[list[object]]:
    """Return rows of random steps, the class last."""
    values = np.random.default_rng(seed).normal(size=(n, steps)).round(3).tolist()
    return [[*row, "ab"[number % 2]] for number, row in enumerate(values)]


def long(n: int = 12, steps: int = 5, more: Callable[[int, int], list[object]] = lambda s, t: []) -> list[list[object]]:
    """Return rows id, time, x, y, whatever ``more`` gives, class."""
    random = np.random.default_rng(1)
    return [
        [f"s{s}", t, *random.normal(size=2).round(3), *more(s, t), "ab"[s % 2]] for s in range(n) for t in range(steps)
    ]


def columns(data: SequenceData) -> Columns:
    assert data.preparation.columns is not None
    return data.preparation.columns


STEPS = [f"t{t}" for t in range(6)]


# Columns that name or count rows


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "row"])
def test_an_index_is_no_time_step(write: Write, name: str) -> None:
    rows = sorted(wide(), key=lambda row: str(row[-1]))
    path = write("i.csv", [name, *STEPS, "label"], [[n, *row] for n, row in enumerate(rows)])
    plain = load(write("p.csv", [*STEPS, "label"], rows))
    splits = load(path)
    assert torch.equal(splits.train.x, plain.train.x)
    assert columns(splits.train).left_out == (name,)
    assert "left out: " in splits.train.notes[0]
    chosen = load(path, feature_columns=[name, *STEPS] if name else None, drop_columns=None if name else "t0")
    assert chosen.train.x.shape[1] == (7 if name else 5)


def test_an_index_in_any_order_is_no_time_step(write: Write) -> None:
    names = ["first", "second", "third", "fourth", "fifth", "last"]  # which no rule for names concerns
    order = np.random.default_rng(2).permutation(40)[:30]
    path = write("i.csv", ["sample", *names, "label"], [[n, *row] for n, row in zip(order, wide(), strict=True)])
    assert columns(load(path).train).left_out == ("sample",)


def test_a_column_named_unlike_the_steps_is_none(write: Write) -> None:
    path = write("s.csv", ["age", *STEPS, "label"], [[20 + n % 7, *row] for n, row in enumerate(wide())])
    splits = load(path)
    assert (columns(splits.train).features, columns(splits.train).left_out) == (tuple(STEPS), ("age",))
    assert splits.train.notes == ("left out: age (not named as t0 to t5 are); --feature-columns takes columns in",)


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("subject", lambda s, t: s // 3, "the same within each series"),
        ("who", lambda s, t: f"P{s // 3}", "the same within each series"),
        ("Unnamed: 0", lambda s, t: 5 * s + t, "no name"),
        ("n", lambda s, t: 5 * s + t, "counts the rows"),
        ("step", lambda s, t: t + 7, "counts on"),
        ("seconds", lambda s, t: 100 * s + 0.02 * t, "a clock"),
        ("timestamp", lambda s, t: 1000 * s + t**2, "a clock"),
        ("when", lambda s, t: f"2024-01-{s + 1:02}T10:00:{t:02}", "a clock"),
    ],
)
def test_what_says_nothing_of_a_series_is_no_feature(
    write: Write, name: str, value: Callable[[int, int], object], reason: str
) -> None:
    header = ["id", "time", "x", "y", name, "label"]
    path = write("l.csv", header, long(more=lambda s, t: [value(s, t)]))
    splits = load(path)
    assert splits.train.preparation.features == ("x", "y")
    whose = "; --group subject keeps the series of each subject in one part" if name == "subject" else ""
    assert splits.train.notes == (f"left out: {name} ({reason}); --feature-columns takes columns in{whose}",)
    assert str(columns(splits.train)) == f"series from columns x, y; id: id; time: time; class: label; left out: {name}"
    if name not in ("who", "when"):
        assert load(path, feature_columns=["x", name]).train.preparation.features == ("x", name)


# What pandas' parser is not trusted with, and what it becomes.
UNUSUAL: dict[str, Callable[[str], str]] = {
    "an empty row": lambda text: text + ",,,,,,,\n",
    "a quote within a cell": lambda text: text.replace("s11,", '5" pipe,'),
    "lines ended by \\r": lambda text: text.replace("\n", "\r"),
}


@pytest.mark.parametrize("unusual", UNUSUAL.values(), ids=UNUSUAL)
def test_an_unusual_line_changes_nothing_of_what_is_taken_for_what(write: Write, unusual: Callable[[str], str]) -> None:
    header = ["id", "time", "x", "y", "n", "subject", "seconds", "label"]
    path = Path(write("l.csv", header, long(more=lambda s, t: [5 * s + t, s // 3, 100 * s + 0.02 * t])))
    plain = load(path)
    path.write_text(unusual(path.read_text()), newline="")
    splits = load(path)
    assert (splits.understood, splits.train.notes) == (plain.understood, plain.train.notes)
    assert columns(splits.train).left_out == ("n", "subject", "seconds")
    assert torch.equal(splits.train.x, plain.train.x)


def test_an_empty_row_hides_no_long_form(write: Write) -> None:
    path = Path(write("o.csv", ["recording", "step", "x", "y", "label"], long()))
    path.write_text(path.read_text() + ",,,,\n")
    with pytest.raises(DataError, match="looks like the long form, a row for each time step"):
        load(path)


def test_what_moves_in_its_own_way_is_a_feature(write: Write) -> None:
    header = ["id", "time", "x", "y", "level", "path", "switch", "label"]
    path = write("l.csv", header, long(more=lambda s, t: [s % 3 + (t == 2), s + t**2, t % 2]))
    splits = load(path)
    assert splits.train.preparation.features == ("x", "y", "level", "path", "switch")
    assert splits.train.notes == ()


# The form


def test_a_long_table_under_other_names_is_proposed(write: Write) -> None:
    header = ["series_id", "measurement_number", "x", "y", "label"]
    path = write("o.csv", header, [[int(str(row[0])[1:]), *row[1:]] for row in long()])
    with pytest.raises(DataError) as error:
        load(path)
    assert str(error.value) == (
        f"{path} looks like the long form, a row for each time step: series_id repeats, measurement_number counts. If "
        "it is, say --id-column series_id --time-column measurement_number; if each row is a series, --drop-columns "
        "series_id,measurement_number"
    )
    splits = load(path, id_column="series_id", time_column="measurement_number")
    assert splits.train.preparation.features == ("x", "y")
    as_usual = load(write("u.csv", ["id", "time", "x", "y", "label"], long()))
    assert torch.equal(splits.train.x, as_usual.train.x)
    assert load(path, drop_columns="series_id,measurement_number").train.x.shape[1:] == (2, 1)


@pytest.mark.parametrize("header", [["id", "date", "x", "y", "label"], ["trial no", "time", "x", "y", "label"]])
def test_half_a_long_table_is_proposed(write: Write, header: list[str]) -> None:
    path = write("o.csv", header, [[*row[:1], 0.5 * int(str(row[1])), *row[2:]] for row in long()])
    flags = "'trial no'" if header[0] != "id" else "id"
    with pytest.raises(DataError, match=f"say --id-column {flags} --time-column {header[1]}; if each row is a series"):
        load(path)


def test_steps_that_repeat_whole_numbers_are_no_long_table(write: Write) -> None:
    rows = [[n % 2, n // 10, n % 10, n % 3, "ab"[n // 20]] for n in range(40)]
    assert load(write("w.csv", ["t0", "t1", "t2", "t3", "label"], rows)).train.x.shape[1:] == (4, 1)


@pytest.mark.parametrize("place", [lambda n: n // 3, lambda n: n % 4], ids=["together", "in turn"])
def test_columns_whose_values_repeat_are_no_long_table_unless_another_counts_within_them(
    place: Callable[[int], int], write: Write
) -> None:
    heights = [5, 3, 9, 2, 8, 1, 7, 4, 6, 12, 10, 11] if place(1) == 0 else [n * n for n in range(12)]
    rows = [[place(n), heights[n], 7 - n % 5, "ab"[place(n) % 2]] for n in range(12)]
    assert load(write("w.csv", ["site", "height", "width", "label"], rows)).train.x.shape[1:] == (3, 1)


def test_a_number_in_a_single_name_does_not_make_it_a_time_step(write: Write) -> None:
    path = write("o.csv", ["run2", "moment", "x", "y", "label"], long())
    with pytest.raises(DataError, match="--id-column run2 --time-column moment"):
        load(path)


def test_features_that_are_named_need_an_id_beside_a_time(write: Write) -> None:
    path = write("o.csv", ["trial", "time", "x", "y", "label"], long())
    with pytest.raises(DataError, match="has a column time but no column id: expected both"):
        load(path, feature_columns="x,y")
    assert load(path, feature_columns="x,y", id_column="trial").train.x.shape[1:] == (5, 2)


def test_flags_name_columns_in_any_case(write: Write) -> None:
    path = write(
        "f.csv", ["Trial", "T", "x", "note, long", "Kind"], [[*row[:3], "free text", row[-1]] for row in long()]
    )
    Path(path).write_text(Path(path).read_text().replace("note, long", '"note, long"'))
    splits = load(path, id_column="trial", time_column="t", label_column="kind", drop_columns=["note, long"])
    found = columns(splits.train)
    assert (found.id, found.time, found.label, found.left_out) == ("Trial", "T", "Kind", ("note, long",))
    assert Columns.from_dict({**found.__dict__, "features": list(found.features)}) == found


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_column": "lable"}, "has no column 'lable'; did you mean 'label'? It has id, time, x, y, label"),
        ({"id_column": "time"}, "id, time and label must be different columns, got time, time, label"),
        ({"feature_columns": "x,time"}, "column 'time' is named as a feature and as something else"),
        ({"feature_columns": "x", "drop_columns": "x"}, "column 'x' is named as a feature and as something else"),
        ({"drop_columns": "x,y"}, "has no column of values: expected more than id, time, x, y, label"),
    ],
)
def test_flags_that_cannot_be_followed(write: Write, settings: dict[str, Any], message: str) -> None:
    path = write("f.csv", ["id", "time", "x", "y", "label"], long())
    with pytest.raises(DataError) as error:
        load(path, **settings)
    assert message in str(error.value)


def test_a_column_of_texts_says_how_to_leave_it_out(write: Write) -> None:
    path = write("f.csv", ["id", "time", "x", "y", "phase", "label"], long(more=lambda s, t: ["up" if t else "down"]))
    with pytest.raises(DataError, match=r"line 2, column phase: expected a number, got 'down'; --drop-columns phase"):
        load(path)


def test_settings_of_tables_are_for_tables(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2, 1)), y=[0, 1, 0, 1])
    with pytest.raises(ConfigError, match="id_column n cannot be used with .*: it is not a table"):
        load(tmp_path / "a.npz", id_column="n")
    with pytest.raises(ConfigError, match="decimal , cannot be used with mnist-sample: it is not a table of series"):
        load("mnist-sample", decimal=",")


# What a run knows of columns


def test_steps_are_read_by_name(write: Write) -> None:
    model = load(write("w.csv", [*STEPS, "label"], wide())).train.preparation
    rows = wide(4, seed=3)
    new = write("n.csv", STEPS[::-1], [row[5::-1] for row in rows])
    expected, _ = read_unlabelled(Path(write("e.csv", STEPS, [row[:6] for row in rows])), model.classes, model)
    data, _ = read_unlabelled(Path(new), model.classes, model)
    assert torch.equal(data.x, expected.x)
    assert data.notes == ("n.csv: its time steps are in another order; they are read by their names",)
    data, _ = read_unlabelled(
        Path(write("m.csv", ["u", *STEPS], [[9, *row[:6]] for row in rows])), model.classes, model
    )
    assert torch.equal(data.x, expected.x)
    assert data.notes == ("m.csv: left out u, which the run does not read",)
    short, _ = read_unlabelled(Path(write("s.csv", STEPS[:4], [row[:4] for row in rows])), model.classes, model)
    assert torch.equal(short.x, expected.x[:, :4])
    assert short.notes == ("s.csv: the time steps t4, t5 are not there",)
    for header in (STEPS[1:], ["a", "b"]):
        with pytest.raises(DataError, match=r"expected the time steps t0, t1, t2, t3, t4, t5; got "):
            read_unlabelled(Path(write("b.csv", header, [row[: len(header)] for row in rows])), model.classes, model)


def test_a_test_part_is_read_as_its_training_part(write: Write) -> None:
    write("w_test.csv", [*STEPS[::-1], "label"], [[*row[5::-1], row[6]] for row in wide(10, seed=4)])
    splits = load(write("w_train.csv", [*STEPS, "label"], wide()))
    assert splits.test.x[0, :, 0].tolist() == pytest.approx(wide(1, seed=4)[0][:6])


def test_flags_are_kept_and_may_be_overridden(write: Write) -> None:
    rows = [[*row[:2], str(row[2]).replace(".", ";"), *row[3:]] for row in long()]
    path = write(
        "k.csv", ["who", "when", "x", "y", "label"], [[*r[:2], -999 if r[1] == 2 else 1.5, *r[3:]] for r in rows]
    )
    splits = load(path, id_column="who", time_column="when", missing_values=[-999, "none"])
    model = Preparation.from_dict(splits.train.preparation.to_dict())
    assert model == splits.train.preparation
    data, records = read_unlabelled(Path(path), model.classes, model)
    assert (len(records.ids), records.named_by) == (12, "id")
    assert data.missing is not None
    assert data.missing[:, 2, 0].all()
    other = write("q.csv", ["ident", "clock", "x", "y"], [row[:4] for row in long()])
    from unroll.config import DataConfig

    named = DataConfig(id_column="ident", time_column="clock")
    data, records = read_unlabelled(Path(other), model.classes, model, named)
    assert records.ids[:2] == ["s0", "s1"]


@pytest.mark.parametrize(
    "saved",
    [
        {"features": []},
        {"features": ["a\x1b"]},
        {"features": "a"},
        {"features": ["a"], "decimal": ";"},
        {"features": ["a"], "id": 3},
    ],
)
def test_columns_of_a_damaged_run_are_refused(saved: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="column|features must be names"):
        Columns.from_dict(saved)


# Values


def test_each_feature_keeps_its_precision(write: Write) -> None:
    north = [[*row[:2], 5_400_000 + 0.1 * float(str(row[2])), *row[3:]] for row in long()]
    path = write("n.csv", ["id", "time", "north", "y", "label"], north)
    splits = load(path)
    (batch,) = splits.train.batches(100)
    plain = load(write("p.csv", ["id", "time", "north", "y", "label"], long()))
    (expected,) = plain.train.batches(100)
    assert batch.x.numpy() == pytest.approx(expected.x.numpy(), abs=1e-4)
    assert splits.train.preparation.offset[1] == 0
    assert splits.train.raw[0, 0, 0].item() == pytest.approx(5_400_000 + 0.1 * plain.train.x[0, 0, 0].item(), abs=1e-6)
    model = Preparation.from_dict(splits.train.preparation.to_dict())
    new, _ = read_unlabelled(
        Path(write("new.csv", ["id", "time", "y", "north"], [[*r[:2], r[3], r[2]] for r in north])),
        model.classes,
        model,
    )
    told = new.prepared_as(model)
    (again,) = told.batches(100)
    whole = torch.cat([splits.train.x, splits.test.x]).sort(dim=0).values
    assert torch.equal(told.x.sort(dim=0).values, whole)
    assert again.x.abs().max() < 5


def test_data_with_an_offset_of_its_own_is_read_with_the_run_s(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 4, 2)) + np.array([1e8, 0])
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(20) % 2)
    np.savez(tmp_path / "b.npz", x=x + 1, y=np.arange(20) % 2)
    one, other = load(tmp_path / "a.npz").train, load(tmp_path / "b.npz").train
    moved = other.prepared_as(one.preparation)
    assert one.preparation.offset[0] == pytest.approx(1e8, abs=1)
    assert moved.raw.numpy() == pytest.approx(one.raw.numpy() + 1, abs=1e-5)
    assert next(moved.batches(20)).x.numpy() == pytest.approx(
        next(one.batches(20)).x.numpy() + 1 / x.std(axis=(0, 1)), abs=0.1
    )


def test_nan_behind_the_last_value_is_padding_in_npz(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 6, 2))
    x[3, 4:] = x[7, 5] = np.nan
    x[5, 2, 0] = np.nan
    np.savez(tmp_path / "n.npz", x=x, y=np.arange(20) % 2)
    splits = load(tmp_path / "n.npz")
    lengths = torch.cat([part.steps_of_each for part in (splits.train, splits.test)])
    assert sorted(lengths.tolist()) == [4, 5, *[6] * 18]
    gaps = [int(part.missing.sum()) for part in (splits.train, splits.test) if part.missing is not None]
    assert sum(gaps) == 1
    assert "2 of 20 sequences end in NaN, which is read as padding" in splits.train.notes[0]
    data, _ = read_unlabelled(tmp_path / "n.npz", splits.classes, splits.train.preparation)
    assert data.steps_of_each[3] == 4


@pytest.mark.parametrize("empty", [[3], [3, 7], range(20)])
def test_arrays_with_a_sequence_of_nan_alone_are_refused(tmp_path: Path, empty: Sequence[int]) -> None:
    x = np.random.default_rng(0).normal(size=(20, 6, 2))
    x[list(empty)] = np.nan
    y = np.arange(20) % 2
    message = f"holds nothing but NaN in {len(empty)} of 20 sequences, the first is sequence {empty[0]}: leave such"
    with pytest.raises(DataError, match=message):
        load(x, y)
    np.savez(tmp_path / "n.npz", x=x, y=y)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "n.npz")


def test_series_of_missing_values_alone_are_named(tmp_path: Path) -> None:
    rows = [f"s{n},{t},{'' if n in (2, 5) else n + t},{'ab'[n % 2]}" for n in range(10) for t in range(3)]
    (tmp_path / "long.csv").write_text("\n".join(["id,time,v,label", *rows]))
    note = "all values are missing in 2 of 10 series, the first is id s2: leave them out"
    assert note in load(tmp_path / "long.csv").train.notes
    series = [np.full((4, 1), np.nan) if n == 3 else np.full((4, 1), n) for n in range(10)]
    note = "all values are missing in 1 of 10 series, the first is series 3: leave them out"
    assert note in load(series, list("ab" * 5)).train.notes
    with pytest.raises(DataError, match="all values of the training part are missing: there is nothing to learn from"):
        load([np.full((4, 1), np.nan)] * 10, list("ab" * 5))


@pytest.mark.parametrize(("mark", "named"), [(-999, "-999"), (9999.5, "9999.5"), (-1e6, "-1000000")])
def test_a_far_value_that_is_frequent_is_named(write: Write, mark: float, named: str) -> None:
    rows = [[*row[:2], mark if (row[1] == 2) else row[2], *row[3:]] for row in long()]
    path = write("m.csv", ["id", "time", "x", "y", "label"], rows)
    assert load(path).train.notes == (
        f"{named} occurs 12 times in feature x, far from all other values: if it marks a missing value, say "
        f"--missing-values {named}",
    )
    marked = load(path, missing_values=named)
    gaps = [int(part.missing.sum()) for part in (marked.train, marked.test) if part.missing is not None]
    assert (sum(gaps), marked.train.notes) == (12, ())


def test_usual_values_are_not_called_marks(write: Write) -> None:
    rows = [
        [*row[:2], float(t % 5 == 0) * 100, abs(float(str(row[2]))).__round__(), *row[3:]]
        for t, row in enumerate(long())
    ]
    assert load(write("m.csv", ["id", "time", "switch", "count", "y", "label"], rows)).train.notes == ()


def test_times_of_nanoseconds_stay_apart(write: Write) -> None:
    start = 1_690_000_000_000_000_000
    rows = [[row[0], start + 100 * (4 - int(str(row[1]))), *row[2:]] for row in long()]
    splits = load(write("n.csv", ["id", "time", "x", "y", "label"], rows))
    forwards = load(write("f.csv", ["id", "time", "x", "y", "label"], long()))
    assert torch.equal(splits.train.x.flip(1), forwards.train.x)
    rows = [[row[0], f"2024-01-01T00:00:00.00000000{9 - int(str(row[1]))}", *row[2:]] for row in long()]
    splits = load(write("d.csv", ["id", "time", "x", "y", "label"], rows))
    assert torch.equal(splits.train.x.flip(1), forwards.train.x)


def test_dates_are_exact() -> None:
    assert date_ns("1970-01-01T00:00:01.000000002") == 1_000_000_002
    assert date_ns("1970-01-02") == 86_400 * 10**9
    assert date_ns("1970-01-01T01:00:00+01:00") == 0
    assert date_ns("yesterday") is None


@pytest.mark.parametrize("place", [1, 2])
def test_numbers_with_an_underscore_are_none(place: int, tmp_path: Path) -> None:
    rows = [[f"{number}", f"{step}", "0.5", "ab"[number % 2]] for number in range(4) for step in range(3)]
    rows[4][place] = "1_2"  # which Python takes for 12
    (tmp_path / "t.csv").write_text("\n".join(map(",".join, [["id", "time", "x", "label"], *rows])))
    with pytest.raises(DataError, match="line 6, column .*: expected a number, got '1_2'"):
        load(tmp_path / "t.csv")


def test_a_decimal_comma(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("t0;t1;label\n1,5;2;a\n;-3,25;b\n0,5;1e2;a\n2;4;b\n")
    splits = load(path, decimal=",", test_fraction=0.5)
    assert sorted(torch.cat([splits.train.x, splits.test.x]).flatten().tolist())[0] == -3.25
    with pytest.raises(
        DataError, match=r"line 2, column t0: expected a number, got '1,5' \(write 1.5, with a point, or say"
    ):
        load(path)
    path.write_text("t0;t1;label\n1.500;2;a\n1;3;b\n")
    with pytest.raises(DataError, match=r"line 2, column t0: expected a number, got '1.500' \(write 1000 without \."):
        load(path, decimal=",")


def test_a_decimal_comma_in_times(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = [f"s{s};{t},5;{(7 * s + t * t) % 5},25;{'ab'[s % 2]}" for s in range(4) for t in range(3)]
    path.write_text("\n".join(["id;time;x;label", *rows, ";;;", ""]))
    assert load(path, decimal=",", test_fraction=0).train.x[1].flatten().tolist() == [2.25, 3.25, 1.25]
    with pytest.raises(DataError, match="got '0,5'; if its comma is a decimal separator, say --decimal ,$"):
        load(path)


# Classes


def test_numbers_to_predict_are_no_classes(write: Write) -> None:
    rows = [[*row[:6], round(float(str(row[0])) * 2, 4)] for row in wide(40)]
    with pytest.raises(DataError, match=r"40 classes for 40 series, numbers from .*: are these numbers to predict\?"):
        load(write("r.csv", [*STEPS, "label"], rows))
    rows = [[*row[:6], float(n % 4)] for n, row in enumerate(wide(40))]
    (note,) = load(write("s.csv", [*STEPS, "label"], rows)).train.notes
    assert note.startswith("the 4 classes are numbers from 0 to 3: each is learned as a name, without order")
    rows = [[*row[:6], n % 4] for n, row in enumerate(wide(40))]
    assert load(write("w.csv", [*STEPS, "label"], rows)).train.notes == ()


def test_a_class_called_nan_is_noted(write: Write) -> None:
    rows = [[*row[:6], "nan" if row[6] == "a" else "b"] for row in wide()]
    splits = load(write("n.csv", [*STEPS, "label"], rows))
    assert splits.classes == ("b", "nan")
    assert splits.train.notes == ("there is a class called nan: if that marks a missing class, remove these series",)


@pytest.mark.parametrize("name", ["می‌خواهم", "👩‍🚀", "a\xa0b", "é"])
def test_names_as_they_are_written(write: Write, name: str) -> None:
    rows = [[*row[:6], name if row[6] == "a" else "b"] for row in wide()]
    assert set(load(write("p.csv", [*STEPS, "label"], rows)).classes) == {name, "b"}


def test_names_that_look_the_same_are_told_apart(write: Write) -> None:
    composed, split = unicodedata.normalize("NFC", "été"), unicodedata.normalize("NFD", "été")
    rows = [[*row[:6], composed if row[6] == "a" else split] for row in wide()]
    with pytest.raises(DataError, match=r"two classes look the same, .*e\\u0301t.* and .*\\xe9.*: write both alike"):
        load(write("u.csv", [*STEPS, "label"], rows))
    write("v_test.csv", [*STEPS, "label"], [[*row[:6], split if row[6] == "a" else "b"] for row in wide()])
    path = write("v_train.csv", [*STEPS, "label"], [[*row[:6], composed if row[6] == "a" else "b"] for row in wide()])
    with pytest.raises(DataError, match="is not in .*, the training part; .* only looks the same: write both alike"):
        load(path)


def test_equal_series_stay_on_one_side_of_every_cut(write: Write) -> None:
    rows = [row for row in wide(60) for _ in range(5 if row[6] == "a" else 1)]
    splits = load(write("e.csv", [*STEPS, "label"], rows))
    rest, held_out = splits.train.cut(0.25, 3)
    for one, other in ((splits.train, splits.test), (rest, held_out)):
        assert not set(one.checksums()) & set(other.checksums())
    assert splits.test.counts["a"] % 5 == 0
    assert splits.test.counts["a"] >= 5


def test_copies_of_one_series_are_all_trained_on(write: Write) -> None:
    splits = load(write("c.csv", [*STEPS, "label"], [row for row in wide(2) for _ in range(6)]))
    assert (len(splits.train), len(splits.test), splits.drawn) == (12, 0, False)


# The parser


def test_a_packed_table(write: Write, tmp_path: Path) -> None:
    path = Path(write("g_train.csv", ["id", "time", "x", "y", "label"], long()))
    plain = load(path)
    for name in ("z_train.csv.gz", "z_test.csv.gz"):
        (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()))
    splits = load(tmp_path / "z_train.csv.gz")
    assert (splits.name, splits.drawn, len(splits.test)) == ("z", False, 12)
    data, records = read_unlabelled(tmp_path / "z_test.csv.gz", plain.classes, plain.train.preparation)
    assert torch.equal(data.x, splits.train.x)
    assert records.ids == [f"s{s}" for s in range(12)]


def test_a_long_cell(tmp_path: Path) -> None:
    for quote in ("", '"', '""'):  # the last is left to the strict reader
        first = "n" * 200_000 if quote != '""' else 'n""' * 70_000
        mark = quote[:1]
        (tmp_path / "l.csv").write_text(f"id,x,label\n{mark}{first}{mark},1,a\nm,2,b\n")
        data, records = read_unlabelled(tmp_path / "l.csv", ("a", "b"))
        assert (len(records.ids[0]), data.x.flatten().tolist()) == (200_000 if quote != '""' else 140_000, [1, 2])


CELLS = ["1", " 2 ", "-0.5e3", "nA", "", "?", "NULL", '"3"', "+4", ".5", "6.", "12345678901234567890", "NaN "]


@pytest.mark.parametrize("quoted", [False, True])
def test_the_fast_parser_reads_what_the_strict_one_reads(tmp_path: Path, quoted: bool) -> None:
    random = np.random.default_rng(0)
    path = tmp_path / "t.csv"
    for _ in range(60):
        cells = random.choice(CELLS if quoted else [cell for cell in CELLS if '"' not in cell], size=(12, 4))
        cells[:, 0] = random.choice(["a", " b", "NA", ""], 12)
        rows = [",".join(row) for row in cells]
        rows.insert(5, "")
        path.write_text("id,x,y,z\n" + random.choice(["\n", "\r\n"]).join(rows))
        table = read_table(path, lambda header: [0], Marks())
        exact = [(line, row) for line, row in read_rows(path)[1]]
        assert table.lines.tolist() == [line for line, _ in exact]
        assert [table.cell(row, 0) for row in range(len(table))] == [row[0].strip() for _, row in exact]
        for place in (1, 2, 3):
            expected = [
                np.nan if cell.strip().lower() in ("", "?", "na", "null", "nan") else float(cell)
                for _, row in exact
                for cell in [row[place]]
            ]
            np.testing.assert_array_equal(table.numbers(place), np.array(expected))


@pytest.mark.parametrize("chunk", [16, 1 << 21])
@pytest.mark.parametrize(
    ("content", "lines"),
    [
        ("id,x,y\na,1,2\nb,3,4\nc,5,6\n", [2, 3, 4]),
        ("id,x,y\na,1,2\nb,3,4\nc,5,6", [2, 3, 4]),
        ("id,x,y\r\na,1,2\r\nb,3,4\r\n", [2, 3]),
        ("id,x,y\na,1,2\n\nb,3,4\n   \n\nc,5,6\n\n", [2, 4, 7]),
        ("id,x,y\na,1,\nb,,4\nc,5,\n", [2, 3, 4]),
        ("id,x,y\na,1,2\n1,2,3\n\nb,3,\n", [2, 3, 5]),
        ('id,x,y\n"a, a",1,2\n"b",3,"4"\n', [2, 3]),
        ('id,x,y\n"a, a",1,2\n\n"b",3,\n', [2, 4]),
        ("x\n1\n2\n3\n4\n5\n6\n7\n8\n9\n", list(range(2, 11))),
        ("id\tx\ty\na\t1\t2\nb\t3\t4\n", [2, 3]),
        ("\ufeffid,x,y\na,1,2\nb,3,4\n", [2, 3]),
    ],
)
def test_usual_files_are_left_to_pandas_whose_rows_have_their_lines(
    content: str, lines: list[int], chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "CHUNK", chunk)
    monkeypatch.setattr(tables, "read_records", None)  # by which all else is read
    path = tmp_path / "t.csv"
    path.write_bytes(content.encode())
    table = read_table(path, lambda header: [0], Marks())
    assert table.lines.tolist() == lines
    split = csv.reader(content.splitlines()[1:], delimiter="\t" if "\t" in content else ",")
    rows = [row for row in split if "".join(row).strip()]
    for place in range(1, len(table.header)):
        expected = [float(row[place] or "nan") for row in rows]
        np.testing.assert_array_equal(table.numbers(place), np.array(expected))
    assert [table.cell(at, 0) for at in range(len(table))] == [row[0] for row in rows]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,x,y,label\na,1,2,p\nb,1,q\nc,1,2,3,p\n", "line 3: expected 4 cells as in the first line, got 3"),
        ("id,x,y,label\na,1,2,3,p\nb,1,2\n", "line 2: expected 4 cells as in the first line, got 5"),
        ("id,x,y,label\na,1,2\nb,1,2,3,p\n", "line 2: expected 4 cells as in the first line, got 3"),
        ("id,label,x,y\na,p,1\nb,q,1,2,3\n", "line 2: expected 4 cells as in the first line, got 3"),
        ("x,label\n\n1,p,\n2,q\n", "line 3: expected 2 cells as in the first line, got 3"),
        ("id,x,y,label\na,1,2,p,\nb,1,2,p,\n", "line 2: expected 4 cells as in the first line, got 5"),
        ('id,x,y,label\na,"1"2,2,p\n', "line 2: ',' expected after '\"'; write it again as CSV"),
        ("id,x,y,label\na,True,2,p\nb,False,1,q\n", "line 2, column x: expected a number, got 'True'"),
        ("id,x,y,label\na,1,2,p\nb,1,Infinity,q\n", "line 3, column y: expected a finite number, got 'Infinity'"),
        ("id,x,y,label\na,1,2,p\n\nb,1e999,2,q\n", "line 4, column x: expected a finite number, got '1e999'"),
    ],
)
def test_what_pandas_forgives_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "f.csv").write_text(content)
    with pytest.raises(DataError) as error:
        load(tmp_path / "f.csv")
    assert message in str(error.value)


def test_quotes_and_dividers_within_cells(tmp_path: Path) -> None:
    (tmp_path / "q.csv").write_text('"id","x","label"\n"a, b",1,"p ""q"""\n"c",2,r\n')
    table = read_table(tmp_path / "q.csv", lambda header: [0, 2], Marks())
    assert [table.cell(row, 0) for row in (0, 1)] == ["a, b", "c"]
    assert table.cell(0, 2) == 'p "q"'
    assert set(PANDAS_MISSING) >= {"", "?", "NaN"}


@pytest.mark.parametrize(
    ("unit", "words"),
    [("{:g}", "0.01 in some series and 0.02 in others"), ("2026-01-01T00:00:{:09.6f}", "0.01 in some series and 0.02")],
)
def test_another_rate_in_some_series_of_a_long_table_is_said(unit: str, words: str, tmp_path: Path) -> None:
    def table(name: str, rate: Callable[[int], float], gap: float = 0.0) -> Path:
        rows = [
            f"s{n},{unit.format(t * rate(n) + (gap if n > 5 and t > 3 else 0))},{(t * t + n) % 5},{'ab'[n % 2]}"
            for n in range(8)
            for t in range(9)
        ]
        (tmp_path / name).write_text("\n".join(["id,time,x,label", *rows]))
        return tmp_path / name

    assert load(table("even.csv", lambda _: 0.01)).train.notes == ()
    assert load(table("gaps.csv", lambda _: 0.01, 0.5)).train.notes == ()
    (note,) = load(table("two.csv", lambda n: 0.02 if n > 5 else 0.01)).train.notes
    assert note.startswith(f"the time between two steps is {words}")
    assert note.endswith("and is not read: --resample puts them on one grid")


def test_dates_far_from_now_and_names_far_too_long_are_no_accident(tmp_path: Path) -> None:
    rows = [f"s{n},{9000 + t}-01-01,{(t * t + n) % 5},{'ab'[n % 2]}" for n in range(8) for t in range(9)]
    (tmp_path / "d.csv").write_text("\n".join(["id,time,x,label", *rows]))
    assert load(tmp_path / "d.csv").train.steps_of_each.unique().tolist() == [9]
    for header in (f"id,{'t' * 5000},x,label", f"id,time,{'t' * 5000},label"):
        (tmp_path / "d.csv").write_text("\n".join([header, *(row.replace(",1,", ",word,") for row in rows)]))
        with pytest.raises(DataError) as refused:
            load(tmp_path / "d.csv")
        assert len(str(refused.value).replace(str(tmp_path), "")) < 400
