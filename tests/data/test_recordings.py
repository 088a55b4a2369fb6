"""One recording in a file of its own is one series, for training and for predictions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

import unroll
from unroll import DataError
from unroll.cli import main
from unroll.config import DataConfig
from unroll.data.formats.recordings import is_of_recordings, read, read_alone
from unroll.data.formats.series import read_unlabelled
from unroll.data.preparation import Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.runs.data import load_test


def recording(path: Path, seed: int, columns: str = "timestamp,ax,ay", rows: int | None = None) -> np.ndarray:
    """Write a recording and return its values of ax and ay, (time, 2)."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((rows or 5 + seed % 3, 2)).round(4)
    cells = {"ax": values[:, 0], "ay": values[:, 1], "temp": -values[:, 0]}
    names = columns.split(",")
    lines = [",".join(str(cells[n][t] if n in cells else t / 50) for n in names) for t in range(len(values))]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([columns, *lines]) + "\n" if any(names) else "\n".join(lines) + "\n")
    return values


def by_name(folder: Path, label: str, n: int) -> Path:
    return folder / f"{label}_{n:02}.csv"


def by_folder(folder: Path, label: str, n: int) -> Path:
    return folder / label / f"{n}.csv"


@pytest.mark.parametrize("odd", [0, 1])
def test_a_feature_that_a_recording_lacks_is_not_left_out_in_silence(odd: int, tmp_path: Path) -> None:
    for n in range(3):
        recording(by_name(tmp_path, "walk", n), n, "ax,ay" if n != odd else "ax")
        recording(by_name(tmp_path, "run", n), n, "ax,ay")
    way = "expected the same ones; --drop-columns ay leaves it out"
    with pytest.raises(DataError, match=rf"walk_0{odd}.csv has no column ay, which .*run_00.csv has: {way}"):
        unroll.load(tmp_path)


def test_a_column_that_some_recordings_lack_can_be_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    for n in range(5):
        recording(by_folder(data, "walk", n), n, "ax,ay,temp,number" if n == 3 else "ax,ay,number")
        recording(by_folder(data, "run", n), n, "ax,ay,number")
    with pytest.raises(DataError, match="has no column temp, .*; --drop-columns ax,temp leaves it out"):
        unroll.load(data, drop_columns="ax")
    with pytest.raises(DataError, match="data has no column 'tmp'; did you mean 'temp'.*: it has ax, ay, number, temp"):
        unroll.load(data, drop_columns="tmp")
    run = unroll.train_run(str(data), out=tmp_path / "run", epochs=1, hidden_size=2, drop_columns="temp")
    assert run.preparation.features == ("ax", "ay")
    assert unroll.load(data, drop_columns="temp").understood.endswith("left out: number, temp")
    for name, columns in (("without", "ay,ax"), ("with", "ax,temp,ay")):
        for n in range(2):
            recording(by_folder(tmp_path / name, ("walk", "run")[n], n), n, columns)
        test = load_test(run, str(tmp_path / name)).sequences
        assert (len(test), test.preparation.features) == (2, ("ax", "ay"))
        assert main(["predict", str(run.path), str(by_folder(tmp_path / name, "walk", 0))]) == 0
    assert len(load_test(run).sequences) == 2
    with pytest.raises(DataError, match="the run reads the features ax, ay: ay cannot be left out"):
        load_test(run, str(tmp_path / "with"), drop_columns="ay")


def test_columns_without_names_cannot_be_left_out(tmp_path: Path) -> None:
    for n in range(4):
        recording(by_folder(tmp_path, "ab"[n % 2], n), n, ",")
    with pytest.raises(DataError, match="has no column '0': it has columns without names"):
        unroll.load(tmp_path, drop_columns="0")


def test_what_lies_beside_recordings_is_said_and_no_class_is_left_out(tmp_path: Path) -> None:
    for label in ("run", "walk"):
        for n in range(3):
            recording(by_folder(tmp_path, label, n), n)
    (tmp_path / "run" / "README.txt").write_text("how it was recorded")
    assert unroll.load(tmp_path).train.notes == ("left out, as no recordings: run/README.txt",)
    (tmp_path / "rest").mkdir()
    (tmp_path / "rest" / "1.tsv").write_text("ax\tay\n1\t2\n3\t1\n")
    with pytest.raises(DataError, match=r"rest holds no .csv file, as the other classes do: expected recordings of on"):
        unroll.load(tmp_path)


@pytest.mark.parametrize("name", ["__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information"])
def test_folders_of_the_system_are_no_classes_of_recordings(name: str, tmp_path: Path) -> None:
    for n in range(6):
        recording(by_folder(tmp_path, "ab"[n % 2], n), n)
    (tmp_path / name / "data" / "a").mkdir(parents=True)
    (tmp_path / name / "data" / "a" / "._1.csv").write_bytes(b"\0")
    (tmp_path / "a" / name).mkdir()
    splits = unroll.load(tmp_path)
    assert (splits.classes, splits.train.notes) == (("a", "b"), ())


@pytest.mark.parametrize("place", [by_name, by_folder])
def test_each_file_is_a_series_of_its_class(place: object, tmp_path: Path) -> None:
    assert callable(place)
    data = tmp_path / "moves"
    expected = {(label, n): recording(place(data, label, n), n) for label in ("walk", "run up") for n in range(5)}
    (tmp_path / "moves" / "README.txt").write_text("how it was recorded\n")
    splits = unroll.load(data)
    assert splits.classes == ("run up", "walk")
    by = "name" if place is by_name else "folder"
    assert splits.understood == f"series from files, of features ax, ay; class: the {by} of each; left out: timestamp"
    assert splits.train.preparation.features == ("ax", "ay")
    read = [
        (splits.classes[y], part.sequence(n))
        for part in (splits.train, splits.test)
        for n, y in enumerate(part.y.tolist())
    ]
    assert len(read) == 10
    for label, values in read:
        wanted = [torch.tensor(v, dtype=torch.float32) for (name, _), v in expected.items() if name == label]
        assert any(torch.equal(values, one) for one in wanted)


def test_parts_of_recordings_are_folders(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2), ("val", 1)):
        for label in ("a", "b"):
            for n in range(count):
                recording(by_folder(tmp_path / part, label, n), n)
    splits = unroll.load(tmp_path)
    assert splits.val is not None
    assert (len(splits.train), len(splits.test), len(splits.val)) == (6, 4, 2)


LEFT_OUT = {
    "pandas' index": (",ax,ay", "the column without a name"),
    "a label": ("ax,label,ay", "label"),
    "a clock of another name": ("sensor_ns,ax,ay", "sensor_ns"),
}


@pytest.mark.parametrize("what", LEFT_OUT)
def test_what_only_says_when_or_which_is_no_feature(what: str, tmp_path: Path) -> None:
    columns, left_out = LEFT_OUT[what]
    for label in ("a", "b"):
        for n in range(4):
            recording(by_folder(tmp_path / "data", label, n), n, columns)
    splits = unroll.load(tmp_path / "data")
    assert splits.train.preparation.features == ("ax", "ay")
    assert splits.understood.endswith(f"left out: {left_out}")


def test_a_column_that_tells_the_person_is_no_feature(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for n in range(4):
            (tmp_path / "data").mkdir(exist_ok=True)
            path = by_name(tmp_path / "data", label, n)
            path.write_text("ax,person\n" + "".join(f"{t * t % 7 - n},{n}\n" for t in range(6)))
    splits = unroll.load(tmp_path / "data")
    assert splits.train.preparation.features == ("ax",)
    assert splits.understood.endswith("left out: person")


def test_files_of_numbers_alone_have_features_without_names(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for label in ("a", "b"):
        for n in range(4):
            np.savetxt(folder / f"{label}{n}.csv", np.random.default_rng(n).standard_normal((6, 3)), delimiter=",")
    splits = unroll.load(folder)
    assert splits.train.x.shape[1:] == (6, 3)
    assert splits.train.preparation.features == ()


def test_numbers_in_text_files_by_class_are_recordings_and_words_are_texts(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for kind in ("numbers", "words"):
            (tmp_path / kind / label).mkdir(parents=True)
        for n in range(4):
            values = np.random.default_rng(n).standard_normal((6, 2))
            np.savetxt(tmp_path / "numbers" / label / f"{n}.txt", values)
            (tmp_path / "words" / label / f"{n}.txt").write_text(f"{label} {n}")
        (tmp_path / "words" / label / "index.csv").write_text("a,b\n1,2\n")
    splits = unroll.load(tmp_path / "numbers")
    assert splits.train.kind == "series"
    assert splits.train.x.shape[1:] == (6, 2)
    assert unroll.load(tmp_path / "words").train.kind == "texts"


BROKEN = {
    "a column less": ("timestamp,ax\n0,1\n", "has no column ay, which .*a/0.csv has: expected the same ones"),
    "a word": ("timestamp,ax,ay\n0,1,x\n", "column ay: expected numbers, got x"),
    "time that goes back": ("timestamp,ax,ay\n0,1,2\n2,1,2\n1,1,2\n", "line 4, column timestamp: the time goes back"),
    "no rows": ("timestamp,ax,ay\n", "holds no rows: expected one for each time step"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_bad_recordings_are_one_line(what: str, tmp_path: Path) -> None:
    content, message = BROKEN[what]
    for label in ("a", "b"):
        for n in range(3):
            recording(by_folder(tmp_path, label, n), n)
    (tmp_path / "b" / "1.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        unroll.load(tmp_path)


def test_tables_side_by_side_are_no_recordings(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("fold_1", "set_2"):
        (folder / f"{name}.csv").write_text("a,b,label\n1,2,u\n3,4,v\n")
    with pytest.raises(DataError, match="name the file to train on"):
        unroll.load(folder)


def test_a_table_of_several_series_is_not_taken_for_one_recording(tmp_path: Path) -> None:
    rows = [f"s{n},{t},{(t * t + n) % 5},{'ab'[n % 2]}" for n in range(6) for t in range(5)]
    (tmp_path / "long.csv").write_text("\n".join(["id,time,x,label", *rows]))
    model = unroll.load(tmp_path / "long.csv").train.preparation
    (tmp_path / "new.csv").write_text("\n".join(["trial,clock,x,label", *rows]))
    with pytest.raises(DataError, match="looks like the long form, .* say --id-column trial --time-column clock"):
        read_unlabelled(tmp_path / "new.csv", model.classes, model)
    named = DataConfig(id_column="trial", time_column="clock")
    assert len(read_unlabelled(tmp_path / "new.csv", model.classes, model, named)[0]) == 6


LACKING = {
    "time,x": "has no column y: expected x, y, which the run reads, got time, x; rename the columns that hold them",
    "pressure,temp": "has no columns x, y: expected x, y, which the run reads, got pressure, temp; rename",
    "t0,t1,t2": "has no columns x, y: expected x, y, which the run reads, got t0, t1, t2; rename",
}
OF_ONE = {
    "value": "has no column x: expected x, which the run reads, got value; rename the columns that hold them",
    "label,value": "has no column x: ",
    "time,value": "has no column x: expected x, which the run reads, got time, value; rename",
    "timestamp,value": "has no column x: ",
    "id,value": "has a column id but no column time: expected both, or neither for a file of one series",
    "id,x": "has a column id but no column time: expected both, or neither for a file of one series",
}


@pytest.fixture(params=["recordings", "a long table"])
def read_by(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Sequence[str], str], SequenceData]:
    """Return a function that reads six rows with a header for a model of features."""

    def read(features: Sequence[str], header: str) -> SequenceData:
        values = [[f"{(t * t + n + at) % 5}.5" for at in range(len(features))] for n in range(6) for t in range(5)]
        folder = tmp_path / "data"
        if request.param == "recordings":
            for n in range(6):
                path = by_folder(folder, "ab"[n % 2], n)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join([",".join(features), *map(",".join, values[5 * n : 5 * n + 5])]))
        else:
            folder.mkdir()
            rows = [f"s{at // 5},{at % 5},{','.join(row)},{'ab'[at // 5 % 2]}" for at, row in enumerate(values)]
            (folder / "long.csv").write_text("\n".join([f"id,time,{','.join(features)},label", *rows]))
        model = unroll.load(folder if request.param == "recordings" else folder / "long.csv").train.preparation
        rows = [",".join([str(t), *["1.5"] * header.count(",")]) for t in (1, 2, 3, 4, 5, 7)]
        (tmp_path / "new.csv").write_text("\n".join([header, *rows]))
        return read_unlabelled(tmp_path / "new.csv", model.classes, model)[0]

    return read


@pytest.mark.parametrize("header", LACKING)
def test_a_recording_that_lacks_features_is_told_which(header: str, read_by: Callable[..., SequenceData]) -> None:
    with pytest.raises(DataError, match=f"new.csv {LACKING[header]}"):
        read_by("xy", header)


@pytest.mark.parametrize("header", OF_ONE)
def test_a_column_of_another_name_is_no_series_of_one_step_each(
    header: str, read_by: Callable[..., SequenceData]
) -> None:
    with pytest.raises(DataError, match=f"new.csv {OF_ONE[header]}"):
        read_by("x", header)


@pytest.mark.parametrize(
    ("header", "series"), [("x", 1), ("time,x", 1), ("t0,t1", 6), ("label,t0,t1", 6), ("id,a,b", 6)]
)
def test_tables_that_can_be_meant_are_read_for_one_feature(
    header: str, series: int, read_by: Callable[..., SequenceData]
) -> None:
    assert len(read_by("x", header)) == series


def test_a_wide_table_is_not_said_to_lack_the_feature(read_by: Callable[..., SequenceData]) -> None:
    assert read_by("x", "t0,t1").notes == ()


def test_a_recording_to_classify_is_written_as_the_training_data(tmp_path: Path) -> None:
    rows = [f"s{n};{t};{(t * t + n) % 5},5;{'ab'[n % 2]}" for n in range(6) for t in range(5)]
    (tmp_path / "long.csv").write_text("\n".join(["id;time;x;label", *rows]))
    model = unroll.load(tmp_path / "long.csv", decimal=",", missing_values="none").train.preparation
    (tmp_path / "new.csv").write_text("clock;x\n0,5;1,25\n1,0;none\n")
    data, records = read_unlabelled(tmp_path / "new.csv", model.classes, model)
    assert (records.ids, records.named_by) == (["new"], "file")
    assert data.raw[0, 0].tolist() == [1.25]
    assert data.missing is not None
    assert data.missing[0, :, 0].tolist() == [False, True]


@pytest.mark.parametrize("trained_on", ["recordings", "a long table"])
def test_a_recording_is_classified_as_one_series(
    trained_on: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "moves"
    rows = []
    for label in ("walk", "run"):
        for n in range(6):
            values = recording(by_folder(data, label, n), n, rows=6)
            rows += [f"{label}{n},{t},{x},{y},{label}" for t, (x, y) in enumerate(values)]
    if trained_on == "a long table":
        data = tmp_path / "long.csv"
        data.write_text("\n".join(["id,time,ax,ay,label", *rows]) + "\n")
    unroll.train_run(str(data), out=tmp_path / "run", epochs=1, hidden_size=4, val_fraction=0.2)
    answers = []
    for name, columns in (("walking_01.csv", "timestamp,ax,ay"), ("turned.csv", "ay,ax"), ("more.csv", "ax,ay,az")):
        recording(tmp_path / name, 3, columns, rows=6)
        assert main(["predict", str(tmp_path / "run"), str(tmp_path / name), "--json"]) == 0
        (answer,) = json.loads(capsys.readouterr().out)["predictions"]
        answers.append(answer["probability"])
        unused = {"walking_01.csv": ["left out timestamp"], "more.csv": ["left out az"]}.get(name, [])
        assert answer["preparation"] == ["6 time steps", *unused]
        assert answer["id"] == answer["file"] == str(tmp_path / name)
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize(
    ("files", "are_recordings"),
    [
        ({"a/1.csv": "x\n1\n", "b/1.csv": "x\n2\n"}, True),
        ({"a/1.txt": "1 2\n", "b/1.txt": "3 4\n"}, True),
        ({"a/1.txt": "some words\n", "b/1.txt": "3 4\n"}, False),
        ({"a/1.csv": "x\n1\n", "b/1.csv": "x\n2\n", "b/1.png": ""}, False),
        ({"a/1.csv": "x\n1\n", "b/1.csv": "x\n2\n", "b/more/2.csv": "x\n2\n"}, False),
        ({"a/1.png": "", "b/1.png": ""}, False),
        ({"walk_1.csv": "x\n1\n", "run_1.csv": "x\n2\n"}, True),
        ({"walk_1.csv": "1,2\n", "run_1.csv": "3,4\n"}, True),
        ({"walk_1.csv": "x\n1\n", "walk_2.csv": "x\n2\n"}, False),
        ({"walk_1.csv": "x\n1\n", "run.csv": "x\n2\n", "run_1.csv": "x\n2\n"}, False),
        ({"train_1.csv": "x\n1\n", "run_1.csv": "x\n2\n"}, False),
        ({"a_1.csv": "ID,x\n1,1\n", "b_1.csv": "ID,x\n2,1\n"}, False),
        ({"a_1.csv": "x,class\n1,1\n", "b_1.csv": "x,class\n2,1\n"}, False),
    ],
)
def test_a_folder_is_one_of_recordings_by_its_names_and_columns(
    files: dict[str, str], are_recordings: bool, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert is_of_recordings(tmp_path) == are_recordings


@pytest.mark.parametrize("has_groups", [True, False])
def test_recordings_for_a_run_need_not_say_its_groups(has_groups: bool, tmp_path: Path) -> None:
    for label in ("walk", "run"):
        for n in range(2):
            path = by_folder(tmp_path, label, n)
            path.parent.mkdir(exist_ok=True)
            path.write_text(f"ax,who\n{n},p{n}\n1,p{n}\n" if has_groups else f"ax\n{n}\n1\n")
    model = Preparation(("run", "walk"), Scaling((0.0,), (1.0,)), features=("ax",))
    origins = read(tmp_path, DataConfig(group="who"), model).train.origins
    assert origins is not None
    assert origins.groups == (("p0", "p1", "p0", "p1") if has_groups else None)
    with pytest.raises(DataError, match="0.csv has no column nobody: it has ax"):
        read(tmp_path, DataConfig(group="nobody"))


def test_a_run_without_times_classifies_a_recording(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("ay,ax\n1,2\n3,4\n5,6\n")
    scaling = Scaling((0.0, 0.0), (1.0, 1.0))
    series = read_alone(tmp_path / "new.csv", Preparation(("a", "b"), scaling, features=("ax", "ay")), DataConfig())
    assert series is not None
    assert [values.tolist() for values in series.values] == [[[2, 1], [4, 3], [6, 5]]]


def test_a_recording_of_one_step_says_nothing_of_the_rate(tmp_path: Path) -> None:
    for n, rows in enumerate((1, 3, 4, 3)):
        recording(by_folder(tmp_path, "ab"[n % 2], n), n, rows=rows)
    train = unroll.load(tmp_path, test_fraction=0).train
    assert train.steps_of_each.tolist() == [1, 4, 3, 3]
    assert train.preparation.columns is not None
    assert train.preparation.columns.time_step == pytest.approx((0.02, 0.02))


@pytest.mark.parametrize("kind", ["{}", "2026-03-14T10:00:0{}"])
def test_the_first_time_that_goes_back_is_named(kind: str, tmp_path: Path) -> None:
    for n in range(4):
        recording(by_folder(tmp_path, "ab"[n % 2], n), n)
    times = [kind.format(second) for second in (0, 3, 1, 2)]
    by_folder(tmp_path, "a", 0).write_text("\n".join(["timestamp,ax,ay", *(f"{time},1,2" for time in times)]))
    where = "line 4, column timestamp: the time goes back" if kind == "{}" else f"the time goes back, to {times[2]}"
    with pytest.raises(DataError, match=where):
        unroll.load(tmp_path)


@pytest.mark.parametrize(("first", "expected"), [("1", "numbers"), ("2026-03-14", "dates")])
def test_times_to_cut_by_are_of_one_kind(first: str, expected: str, tmp_path: Path) -> None:
    for n in range(4):
        path = by_folder(tmp_path, "ab"[n % 2], n)
        path.parent.mkdir(exist_ok=True)
        day = first if n != 2 else {"1": "2026-03-14", "2026-03-14": "1"}[first]
        path.write_text(f"ax,day\n{n},{day}\n1,{day}\n")
    with pytest.raises(DataError, match=f"a/2.csv, column day: expected {expected} in each row"):
        unroll.load(tmp_path, split_by_time="day")


def test_another_time_step_of_a_recording_is_remarked_upon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("walk", "run"):
        for n in range(6):
            recording(by_folder(tmp_path / "moves", label, n), n, rows=6)
    unroll.train_run(str(tmp_path / "moves"), out=tmp_path / "run", epochs=1, hidden_size=4, val_fraction=0.2)
    usual = unroll.load_run(tmp_path / "run").preparation.usual
    assert usual is not None
    assert usual.time_step == pytest.approx((0.02, 0.02))
    for every, words in ((50, ""), (10, "a time step of 0.1, in training 0.02: resample the series to that")):
        rows = [f"{t / every},{x},{-x}" for t, x in enumerate((0.5, -1, 1, 0.2, -0.7, 0))]
        (tmp_path / "new.csv").write_text("\n".join(["timestamp,ax,ay", *rows]))
        capsys.readouterr()
        assert main(["predict", str(tmp_path / "run"), str(tmp_path / "new.csv")]) == 0
        err = capsys.readouterr().err
        assert ("time step" in err, words in err) == (bool(words), True)


def test_times_of_recordings_may_be_dates_with_gaps(tmp_path: Path) -> None:
    for n in range(6):
        path = by_folder(tmp_path / "data", "ab"[n % 2], n)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [f"2026-01-01T00:00:{3 * t:02},{t * n}" for t in range(5)]
        path.write_text("\n".join(["timestamp,x", *rows]))
    columns = unroll.load(tmp_path / "data").train.preparation.columns
    assert columns is not None
    assert (columns.time, columns.time_step) == ("timestamp", (3.0, 3.0))
    (tmp_path / "data" / "a" / "0.csv").write_text("timestamp,x\nthen,1\nnow,2\n")
    columns = unroll.load(tmp_path / "data").train.preparation.columns
    assert columns is not None
    assert columns.time_step == (3.0, 3.0)


def test_marks_of_a_missing_value_are_those_of_the_training_data(tmp_path: Path) -> None:
    for label in ("a", "b"):
        for n in range(6):
            recording(by_folder(tmp_path / "data", label, n), n, rows=6)
    unroll.train_run(str(tmp_path / "data"), out=tmp_path / "run", epochs=1, hidden_size=4, missing_values="none")
    for label in ("a", "b"):
        path = by_folder(tmp_path / "more", label, 1)
        path.parent.mkdir(parents=True)
        path.write_text("timestamp,ax,ay\n0,1,2\n0.02,none,1\n0.04,1,1\n")
    test = load_test(unroll.load_run(tmp_path / "run"), str(tmp_path / "more")).sequences
    assert len(test) == 2
