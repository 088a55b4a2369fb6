"""Whole groups, or the latest sequences, are held out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import unroll
from unroll.config import DataConfig
from unroll.data.cuts import grouped_cut, latest_cut, stratified_cut
from unroll.data.formats import npz
from unroll.data.sequences import SequenceData

PEOPLE, EACH = 10, 6


def long_table(at: Path, *, groups: bool = True, constant: bool = True) -> Path:
    """Write series of 10 people, 6 each; the first row of each is at its hour."""
    lines = ["id,time,person,x,day,label"]
    for series in range(PEOPLE * EACH):
        person = series // EACH
        for step in range(3):
            name = f"p{person if constant or step < 2 else 99}" if groups else ""
            lines.append(
                f"p{person}_{series},{step},{name},{(series * 7 + step) % 11},{series + step / 2},{series % 2}"
            )
    path = at / "people.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def names(data: SequenceData) -> set[str]:
    assert data.origins is not None
    return set(data.origins.names)


def people(data: SequenceData) -> set[str]:
    return {name.partition("_")[0] for name in names(data)}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("fraction", "taken"), [(0.0, [0, 0, 0, 0]), (0.1, [0, 1, 1, 3]), (0.5, [0, 1, 2, 15]), (0.99, [0, 1, 4, 29])]
)
def test_a_class_gives_the_nearest_whole_number_but_one_at_least_and_never_all(
    fraction: float, taken: list[int], seed: int
) -> None:
    y = np.repeat([0, 1, 2, 3], [1, 2, 5, 30])
    assert np.bincount(y[stratified_cut(y, fraction, seed)[1]], minlength=4).tolist() == taken


@pytest.mark.parametrize("seed", range(3))
def test_of_a_class_too_small_for_its_share_that_is_held_out_which_has_the_fewest_copies(seed: int) -> None:
    y, contents = np.array([0] * 6 + [1] * 10), [*"aabaac", *"defghijklm"]
    part = stratified_cut(y, 0.05, seed, contents)[1]
    assert [contents[at] for at in part if y[at] == 0] in (["b"], ["c"])


@pytest.mark.parametrize("seed", range(3))
def test_of_a_class_that_would_be_held_out_whole_all_copies_of_one_stay(seed: int) -> None:
    contents = ["a", "b", "c"] * 3
    rest, part = stratified_cut(np.zeros(9, np.int64), 0.99, seed, contents)
    assert len(part) == 6
    assert len({contents[at] for at in rest}) == 1


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_a_grouped_cut_divides_no_group_and_comes_near_the_fraction_of_each_class(seed: int, fraction: float) -> None:
    random = np.random.default_rng(seed)
    groups = np.sort(random.integers(0, 40, 400))
    y = (random.random(400) < 0.3 + 0.4 * (groups % 2)).astype(np.int64)
    rest, part = grouped_cut(y, list(map(str, groups)), fraction, seed)
    assert sorted([*rest, *part]) == list(range(400))
    assert not set(groups[rest]) & set(groups[part])
    for label in (0, 1):
        assert abs((y[part] == label).sum() / (y == label).sum() - fraction) < 0.06


def test_a_class_of_a_single_group_stays_in_the_rest() -> None:
    y, groups = np.array([0, 0, 1, 1, 0, 0]), ["a", "a", "b", "b", "c", "c"]
    rest, part = grouped_cut(y, groups, 0.5, 0)
    assert set(y[rest]) == {0, 1}
    assert set(y[part]) == {0}


def test_a_small_fraction_still_holds_one_group_out() -> None:
    y, groups = np.tile([0, 1], 6), [name for name in "abc" for _ in range(4)]
    assert len(grouped_cut(y, groups, 0.01, 0)[1]) == 4
    assert not len(grouped_cut(y, groups, 0.0, 0)[1])


def test_a_group_that_brings_the_class_no_nearer_to_its_share_stays_in_the_rest() -> None:
    y, groups = np.zeros(10, np.int64), [name for name in "abcde" for _ in range(2)]
    assert len(grouped_cut(y, groups, 0.3, 0)[1]) == 2  # 3 are wanted: a second group would be as far from that


@pytest.mark.parametrize(
    ("starts", "fraction", "held_out"),
    [
        ([3, 0, 2, 1], 0.25, [0]),
        ([3, 0, 2, 1], 0.5, [0, 2]),
        ([0, 1, 1, 1], 0.25, [1, 2, 3]),
        ([1, 1, 1, 0, 2], 0.4, [4]),
        ([1, 1, 1, 0, 2], 0.7, [0, 1, 2, 4]),
        ([0, 1, 2, 3], 0.01, [3]),
        ([0, 1, 2, 3], 0.99, [1, 2, 3]),
        ([0, 1, 2, 3], 0.0, []),
        ([7, 7, 7], 0.5, []),
        ([], 0.5, []),
    ],
)
def test_what_begins_latest_is_held_out_as_near_to_the_fraction_as_equal_moments_allow(
    starts: list[float], fraction: float, held_out: list[int]
) -> None:
    when = np.array([[start, 9.0] for start in starts]).reshape(-1, 2)
    rest, part = latest_cut(when, fraction)
    assert part.tolist() == held_out
    assert rest.tolist() == [at for at in range(len(starts)) if at not in held_out]


def test_the_latest_are_held_out_and_equal_moments_stay_together() -> None:
    starts = np.array([5, 1, 3, 3, 2, 4, 3, 0])
    when = np.stack([starts, starts + 1], axis=1)
    rest, part = latest_cut(when, 0.3)
    assert starts[rest].max() < starts[part].min()
    assert len(part) == 2
    assert sorted(starts[latest_cut(when, 0.5)[1]]) in ([3, 3, 3, 4, 5], [4, 5])
    assert not len(latest_cut(np.zeros((4, 2)), 0.5)[1])


@pytest.mark.parametrize("how", [{"group": "person"}, {"group_pattern": "p[0-9]+"}, {"group_pattern": "(p[0-9]+)_"}])
def test_whole_people_are_on_one_side(tmp_path: Path, how: dict[str, str]) -> None:
    splits = unroll.load(long_table(tmp_path), drop_columns="day,person"[: 3 if "group" in how else None], **how)
    assert len(splits.test) == 2 * EACH
    assert not people(splits.train) & people(splits.test)
    rest, held_out = splits.train.cut(0.2, 0)  # as fit cuts its validation part
    assert held_out.origins is not None
    assert not people(rest) & people(held_out)
    assert "8 groups to train on, 2 others to test on" in splits.train.notes
    assert splits.train.preparation.features == ("x",)


def test_the_future_is_tested_on(tmp_path: Path) -> None:
    splits = unroll.load(long_table(tmp_path), split_by_time="day", drop_columns="person")
    assert names(splits.test) == {f"p{series // EACH}_{series}" for series in range(48, 60)}
    assert "1 of 48 training sequences end after the first of the test part begins" in splits.train.notes


def test_a_run_knows_the_test_part_of_a_copy_of_its_grouped_data(tmp_path: Path) -> None:
    path = long_table(tmp_path)
    settings = {"epochs": 1, "hidden_size": 2, "min_steps": 1, "recipe": "images", "cell": "rnn"}
    run = unroll.train_run(str(path), out=tmp_path / "run", group="person", drop_columns="day", **settings)
    copy = tmp_path / "copy.csv"
    copy.write_bytes(path.read_bytes())
    from unroll.runs.data import load_test

    test = load_test(run, str(copy))
    assert (test.part, test.trained_on, len(test.sequences)) == ("test", 0, 2 * EACH)


def test_arrays_of_an_npz_file_say_groups_and_times(tmp_path: Path) -> None:
    x, y = np.random.default_rng(0).random((12, 4, 1)).astype(np.float32), np.tile([0, 1], 6)
    np.savez(tmp_path / "a.npz", x=x, y=y, who=np.repeat([1, 2, 3], 4), day=np.arange(12)[::-1])
    grouped = unroll.load(tmp_path / "a.npz", group="who", test_fraction=0.34)
    assert names(grouped.test) in [{str(n) for n in range(at, at + 4)} for at in (0, 4, 8)]
    assert names(unroll.load(tmp_path / "a.npz", split_by_time="day").test) == {"0", "1"}


@pytest.mark.parametrize("who", [np.array(list("aabb")), np.array([7, 7, 9, 9], np.uint8)], ids=["names", "numbers"])
@pytest.mark.parametrize("is_there", [True, False])
def test_groups_in_an_npz_file_are_names_or_numbers_and_the_data_of_a_run_may_lack_them(
    who: np.ndarray, is_there: bool, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2, 1), np.float32), y=np.tile([0, 1], 2), who=who)
    model = unroll.load(tmp_path / "a.npz").train.preparation
    origins = npz.read(tmp_path / "a.npz", DataConfig(group="who" if is_there else "other"), model).train.origins
    assert origins is not None
    assert origins.groups == (tuple(map(str, who)) if is_there else None)


@pytest.mark.parametrize("asked", ["group", "split_by_time"])
def test_an_npz_file_without_the_array_to_cut_by_is_refused(asked: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2, 1), np.float32), y=np.tile([0, 1], 2))
    with pytest.raises(unroll.DataError, match="has no array 'who': expected one of"):
        unroll.load(tmp_path / "a.npz", **{asked: "who"})  # type: ignore[arg-type]


@pytest.mark.parametrize("when", [[0.25, 2.5, -1.0, 2.0], [1, 9, 0, 8]])
def test_times_in_an_npz_file_are_numbers_with_a_fraction_or_without(when: list[float], tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2, 1), np.float32), y=np.array([0, 1, 1, 0]), when=when)
    splits = unroll.load(tmp_path / "a.npz", split_by_time="when", test_fraction=0.5)
    assert names(splits.test) == {"1", "3"}


@pytest.mark.parametrize("date", ["NaT", "9999-12-31", "1677-12-31", "2262-01-01"])
def test_dates_of_an_npz_file_that_have_no_place_in_time_are_refused(date: str, tmp_path: Path) -> None:
    when = np.array(["2026-01-01", date, "2026-01-03", "2026-01-02"], "datetime64[D]")
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2, 1), np.float32), y=np.tile([0, 1], 2), when=when)
    with pytest.raises(unroll.DataError, match=f"when must hold dates from 1678 to 2261, got {date}"):
        unroll.load(tmp_path / "a.npz", split_by_time="when")


@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_dates_of_an_npz_file_are_in_order_in_any_unit(unit: str, tmp_path: Path) -> None:
    when = np.array(["2261-12-31", "1678-01-01", "2026-01-01", "2026-01-02"], f"datetime64[{unit}]")
    np.savez(tmp_path / "a.npz", x=np.ones((4, 2, 1), np.float32), y=np.tile([0, 1], 2), when=when)
    splits = unroll.load(tmp_path / "a.npz", split_by_time="when", test_fraction=0.5)
    assert names(splits.test) == {"0", "3"}


def test_columns_of_texts_say_groups_and_dates(tmp_path: Path) -> None:
    rows = [f"words of text {n},{n % 2},author {n // 4},2026-01-{28 - n:02d}" for n in range(20)]
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["text,label,author,date", *rows]) + "\n")
    splits = unroll.load(path, group="author")
    assert {text.split()[3] for text in splits.test.texts or ()} in [
        {str(n) for n in range(a, a + 4)} for a in range(0, 20, 4)
    ]
    assert names(unroll.load(path, split_by_time="date").test) == {"2", "3", "4", "5"}


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (["soon", "2026-01-02", "2026-01-03"], "line 2: expected a number or a date in date, got 'soon'"),
        (["2026-01-02", "2026-01-03", ""], "line 4: expected a date in date, got ''"),
        (["2026-01-02", "3", "2026-01-03"], "line 3: expected a date in date, got '3'"),
        (["1", "2026-01-03", "2"], "line 3: expected a number in date, got '2026-01-03'"),
    ],
)
def test_texts_are_cut_by_moments_of_one_kind(dates: list[str], message: str, tmp_path: Path) -> None:
    rows = [f"words of text {n},{n % 2},{date}" for n, date in enumerate(dates)]
    (tmp_path / "t.csv").write_text("\n".join(["text,label,date", *rows]) + "\n")
    with pytest.raises(unroll.DataError, match=message):
        unroll.load(tmp_path / "t.csv", split_by_time="date")


def test_folders_of_recordings_are_grouped_by_a_column(tmp_path: Path) -> None:
    for n in range(8):
        folder = tmp_path / ("walk" if n % 2 else "run")
        folder.mkdir(exist_ok=True)
        rows = [f"{n * step % 5},{step},s{n // 2}" for step in range(4)]
        (folder / f"{n}.csv").write_text("\n".join(["x,time,subject", *rows]) + "\n")
    splits = unroll.load(tmp_path, group="subject")
    assert len(splits.test) == 2
    assert splits.train.preparation.features == ("x",)
    assert {int(re.findall(r"\d", name)[0]) // 2 for name in names(splits.test)} in [{n} for n in range(4)]


def recordings_with(at: Path, cells: list[list[str]]) -> Path:
    """Write recordings of two classes in turn, each with a column ``of`` of some cells."""
    for n, own in enumerate(cells):
        folder = at / ("walk" if n % 2 else "run")
        folder.mkdir(exist_ok=True)
        rows = [f"{n * step % 5},{step},{cell}" for step, cell in enumerate(own)]
        (folder / f"{n}.csv").write_text("\n".join(["x,time,of", *rows]) + "\n")
    return at


def test_groups_of_recordings_are_called_as_the_files_write_them(tmp_path: Path) -> None:
    path = recordings_with(tmp_path, [["7"] * 3, ["07"] * 3, [" 12"] * 3, ["12"] * 3])
    origins = unroll.load(path, group="of", test_fraction=0).train.origins
    assert origins is not None
    assert dict(zip(origins.names, origins.groups or (), strict=True)) == {
        "run/0.csv": "7", "walk/1.csv": "07", "run/2.csv": "12", "walk/3.csv": "12"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "message"),
    [(["", "", ""], "file walk/1.csv: the group is empty"), (["1", "", "1"], "is of one group, got 1, an empty cell")],
)
def test_a_recording_without_a_group_is_refused(cells: list[str], message: str, tmp_path: Path) -> None:
    path = recordings_with(tmp_path, [["1"] * 3, cells, ["2"] * 3, ["2"] * 3])
    with pytest.raises(unroll.DataError, match=message):
        unroll.load(path, group="of")


def test_the_latest_recordings_are_told_apart_by_nanoseconds(tmp_path: Path) -> None:
    moments = [1767225600000000000 + n for n in (3, 1, 0, 2)]
    path = recordings_with(tmp_path, [[str(moment)] * 3 for moment in moments])
    assert names(unroll.load(path, split_by_time="of", test_fraction=0.5).test) == {"run/0.csv", "walk/3.csv"}


def test_validation_data_of_its_own_is_read_as_the_training_data_is(tmp_path: Path) -> None:
    path = long_table(tmp_path)
    lines = path.read_text().splitlines()
    separate = tmp_path / "separate.csv"
    header = "label,id,time,x"  # another order, and less
    rows = [line.split(",") for line in lines[1:31]]
    separate.write_text("\n".join([header, *(f"{r[5]},{r[0]},{r[1]},{r[3]}" for r in rows)]) + "\n")
    splits = unroll.load(path, val_data=str(separate), drop_columns="day,person", test_fraction=0.0)
    assert splits.val is not None
    assert splits.val.x.tolist() == splits.train.x[:10].tolist()
    assert splits.val.y.tolist() == splits.train.y[:10].tolist()
    assert splits.val.preparation.scaling == splits.train.preparation.scaling


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"group": "persom"}, "has no column 'persom'; did you mean 'person'?"),
        ({"group": "label"}, "group must be another column than time and label, got 'label'"),
        ({"split_by_time": "id"}, "split_by_time must be another column than id and label, got 'id'"),
        (
            {"group": "person", "split_by_time": "day"},
            "group and split_by_time are two ways to cut the data: choose one",
        ),
        ({"group_pattern": "(", "drop_columns": "day"}, "group_pattern must be a regular expression, got '('"),
        (
            {"group_pattern": "q", "drop_columns": "day"},
            "group_pattern q does not occur in id p0_0: expected it in each",
        ),
        ({"val_data": "nowhere.csv"}, "nowhere.csv does not exist"),
    ],
)
def test_a_cut_that_cannot_be_made_is_refused(tmp_path: Path, settings: dict[str, str], message: str) -> None:
    with pytest.raises(unroll.InputError, match=re.escape(message)):
        unroll.load(long_table(tmp_path), **settings)


def test_a_series_of_two_groups_or_of_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(unroll.DataError, match="line 4: id p0_0 is in group p99, but in p0 in line 2"):
        unroll.load(long_table(tmp_path, constant=False), group="person")
    with pytest.raises(unroll.DataError, match="id p0_0: the group is empty: expected a name"):
        unroll.load(long_table(tmp_path, groups=False), group="person")


@pytest.mark.parametrize("settings", [{"group": "who"}, {"split_by_time": "day"}])
@pytest.mark.parametrize("kind", ["a.ts", "a.txt", "list", "images"])
def test_no_data_without_columns_is_cut_by_one_in_silence(kind: str, settings: dict[str, str], tmp_path: Path) -> None:
    path, numbers = tmp_path / kind, [[n, n * n % 5, 2] for n in range(4)]
    data: tuple[Any, ...] = (path,)
    if kind == "list":
        data = ([np.array(series, float)[:, None] for series in numbers], list("xyxy"))
    elif kind == "a.ts":
        rows = [f"{','.join(map(str, series))}:{'xy'[n % 2]}" for n, series in enumerate(numbers)]
        path.write_text("\n".join(["@classLabel true x y", "@data", *rows]))
    elif kind == "a.txt":
        path.write_text("\n".join(" ".join(map(str, [n % 2, *series])) for n, series in enumerate(numbers)))
    else:
        for n in range(4):
            (path / "xy"[n % 2]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((2, 2), 60 * n, np.uint8)).save(path / "xy"[n % 2] / f"{n}.png")
    (name, column), *_ = settings.items()
    with pytest.raises(unroll.ConfigError, match=f"{name} {column} cannot be used with .*: it has no columns"):
        unroll.load(*data, **settings)


def test_data_without_columns_is_not_grouped_in_silence(tmp_path: Path) -> None:
    for n in range(4):
        (tmp_path / "d" / str(n % 2)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / str(n % 2) / f"{n}.txt").write_text(f"some words {n}")
    with pytest.raises(unroll.ConfigError, match="group who cannot be used with .*: it has no columns"):
        unroll.load(tmp_path / "d", group="who")
    with pytest.raises(unroll.ConfigError, match="group who cannot be used with mnist-sample"):
        unroll.load("mnist-sample", group="who")
