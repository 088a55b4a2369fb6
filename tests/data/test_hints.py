"""A file that cannot be read gets one line: what was expected, what came, and what to do, which then works."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas
import pytest

import unroll
from unroll import DataError
from unroll.data.formats.series import read_unlabelled

HEADER = "id,time,x,label"
ROWS = [f"{n},{t},{(t * t + n) % 5}.5,{'ab'[n % 2]}" for n in range(12) for t in range(6)]
NAMES = "expected names of columns"


def written(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as refused:
        unroll.load(path)
    assert "\n" not in str(refused.value)
    return str(refused.value).replace(f"{path.parent}/", "")


ABOVE = {
    "comments": (
        ["# recorded 2026-01-01", "# by A, in Bonn"],
        "got a comment, '# recorded 2026-01-01': remove the lines",
    ),
    "a comment with as many cells": (
        ["% a, b, c, d"],
        "got a comment, '% a, b, c, d': remove the lines that begin with %",
    ),
    "a title": (
        ["Recording 17", ""],
        ", 4 as there are cells in line 3, got 'Recording 17': remove what is above the names",
    ),
}


@pytest.mark.parametrize("what", ABOVE)
def test_lines_above_the_names_are_pointed_out(what: str, tmp_path: Path) -> None:
    lines, words = ABOVE[what]
    line = refusal(written(tmp_path / "d.csv", [*lines, HEADER, *ROWS]))
    assert line.startswith(f"d.csv, line 1: {NAMES}")
    assert words in line
    assert len(unroll.load(written(tmp_path / "d.csv", [HEADER, *ROWS])).train)


def test_names_in_the_last_comment_and_a_name_too_few_are_pointed_out(tmp_path: Path) -> None:
    line = refusal(written(tmp_path / "d.csv", ["# made by hand", f"# {HEADER}", *ROWS]))
    assert (
        line == f"d.csv, line 1: {NAMES}, got '# made by hand': remove the # before the names, and the lines above them"
    )
    rows = [f"{at},{row}" for at, row in enumerate(ROWS)]
    line = refusal(written(tmp_path / "d.csv", [HEADER, *rows]))
    assert (
        line == f"d.csv, line 1: {NAMES}, 5 as there are cells below, got 4: name each column, also one of row numbers"
    )


def test_decimal_commas_between_semicolons_are_no_cells(tmp_path: Path) -> None:
    path = written(tmp_path / "d.csv", ["x;y;label", "1,5;2,5;a", "1,7;2,1;b", "1,2;2,0;a", "1,1;2,1;b"])
    assert refusal(path) == (
        "d.csv, line 2, column x: expected a number, got '1,5' (write 1.5, with a point, or say --decimal ,)"
    )
    assert len(unroll.load(path, decimal=",").train)


@pytest.mark.parametrize("units", ["-,s,m/s^2,-", ",s,m/s^2,", "[],[s],[g],[]"])
def test_a_row_of_units_is_pointed_out(units: str, tmp_path: Path) -> None:
    line = refusal(written(tmp_path / "d.csv", [HEADER, units, *ROWS]))
    assert re.fullmatch(r"d\.csv, line 2: expected values, got .*: if these are units, remove the line", line)
    for n in range(6):
        values = [f"{t / 50},{t * n % 3}" for t in range(5)]
        written(tmp_path / "rec" / "ab"[n % 2] / f"{n}.csv", ["timestamp,ax", "s,g", *values])
    assert "line 2: expected values, got s, g: if these are units" in refusal(tmp_path / "rec")


def test_an_error_of_another_cause_is_left_as_it_is(tmp_path: Path) -> None:
    broken = [*ROWS[:-1], ROWS[-1].replace(".5", ".x")]
    assert "line 73, column x: expected a number, got" in refusal(written(tmp_path / "d.csv", [HEADER, *broken]))
    assert "line 73, column x: expected a number" in refusal(
        written(tmp_path / "d.csv", [f"#,{HEADER}", *(f"{at},{row}" for at, row in enumerate(broken))])
    )


@pytest.mark.parametrize("divider", ["|", " "])
def test_the_conversion_of_another_divider_works(divider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = refusal(written(tmp_path / "d.csv", [row.replace(",", divider) for row in (HEADER, *ROWS)]))
    what = divider.strip() or "blanks"
    start = f"d.csv, line 1: {NAMES} divided by commas, semicolons or tabs, got {what}: convert it in Python: "
    assert line.startswith(start)
    exec(line.removeprefix(start), {"pandas": pandas})
    assert len(unroll.load("d-commas.csv").train) + len(unroll.load("d-commas.csv").test) == 12


TIMES: dict[str, Callable[[int], str]] = {
    "clocks": lambda t: f"12:00:{t:02}",
    "hours and minutes": lambda t: f"12:{t:02}",
    "month first": lambda t: f"03/{14 + t}/2026",
    "with AM": lambda t: f"03/14/2026 10:{t:02} AM",
}


@pytest.mark.parametrize("what", TIMES)
def test_the_conversion_of_times_works(what: str, tmp_path: Path) -> None:
    rows = [f"{n},{TIMES[what](t)},{(t * t + n) % 5},{'ab'[n % 2]}" for n in range(12) for t in range(6)]
    path = written(tmp_path / "d.csv", [HEADER, *rows])
    line = refusal(path)
    expected = "d.csv, line 2, column time: expected a number or a date such as 2026-03-14 10:00:00, got "
    assert line.startswith(f"{expected}'{TIMES[what](0)}'; ")
    assert "convert them" in line
    table = pandas.read_csv(path)
    exec(line.partition("in pandas: ")[2].partition(", with ")[0], {"pandas": pandas, "table": table})
    table.to_csv(path, index=False)
    assert unroll.load(path).train.steps_of_each.tolist() == [6] * len(unroll.load(path).train)


def test_a_table_of_another_format_is_refused_with_its_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pandas.read_csv(written(tmp_path / "d.csv", [HEADER, *ROWS])).to_pickle("stored.pkl")
    line = refusal(tmp_path / "stored.pkl")
    start = "stored.pkl is of no known format; convert it in Python: "
    assert line.startswith(start)
    exec(line.removeprefix(start), {"pandas": pandas})
    assert len(unroll.load("stored.csv").train)
    model = unroll.load("stored.csv").train.preparation
    for name in ("d.xlsx", "d.xls", "d.h5"):
        (tmp_path / name).write_bytes(b"PK")
        reader = re.search(r"convert it in Python: pandas\.(\w+)\('", refusal(tmp_path / name))
        assert reader is not None
        assert hasattr(pandas, reader[1])
        with pytest.raises(DataError, match=f"is not a file of series: .*pandas.{reader[1]}"):
            read_unlabelled(tmp_path / name, model.classes, model)


def test_arrays_of_other_formats_are_refused_with_their_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import scipy.io

    monkeypatch.chdir(tmp_path)
    x, y = np.random.default_rng(0).normal(size=(20, 6, 2)), np.arange(20) % 2
    np.save("d.npy", x)
    scipy.io.savemat("d.mat", {"x": x, "y": y})
    for name in ("d.npy", "d.mat"):
        line = refusal(tmp_path / name)
        assert f"{name} is of no known format; convert it in Python" in line
        exec(line.partition("of each: ")[2], {"numpy": np, "scipy": scipy, "classes": y})
        assert unroll.load("d.npz").train.x.shape[1:] == (6, 2)
        Path("d.npz").unlink()


@pytest.mark.parametrize(
    ("marked", "values", "words"),
    [
        (0.05, "positive", "-1 occurs 60 times in feature x, more often than any value above 0, and none is below it"),
        (0.0, "positive", ""),
        (0.05, "signed", ""),
        (0.05, "whole", ""),
    ],
)
def test_a_frequent_minus_one_among_positive_values_is_pointed_out(
    marked: float, values: str, words: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    x = {
        "positive": random.uniform(0.1, 3, 1200),
        "signed": random.normal(size=1200),
        "whole": random.integers(0, 12, 1200).astype(float),
    }[values].round(3)
    x[: int(1200 * marked)] = -1
    random.shuffle(x)
    rows = [f"{at // 20},{at % 20},{value},{'ab'[at // 20 % 2]}" for at, value in enumerate(x)]
    notes = unroll.load(written(tmp_path / "d.csv", [HEADER, *rows])).train.notes
    assert [note for note in notes if "-1" in note] == [note for note in notes if words and words in note]
    assert len(notes) == bool(words)
    if words:
        assert notes[0].endswith("if it marks a missing value, say --missing-values -1")
