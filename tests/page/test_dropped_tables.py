"""How the page reads a table that is dropped onto it, without a browser; beside what `unroll predict` makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import py_mini_racer
import pytest

from unroll.config import DataConfig
from unroll.data.columns import Columns
from unroll.data.formats.series import read_unlabelled
from unroll.data.preparation import Missing, Preparation, Scaling
from unroll.errors import DataError
from unroll.page import script as joined

NAMED: dict[str, Any] = {
    "features": ["x", "y"],
    "form": {"id": "who", "time": "at", "wide": False, "missing_values": [], "decimal": "."},
}
NAMELESS: dict[str, Any] = {"features": [], "form": NAMED["form"] | {"id": None, "time": None}}
Read = Callable[..., list[list[float | None]]]
STUBS = "const matchMedia = () => null;"  # which the page's other helpers want of a browser


@pytest.fixture(scope="module")
def script() -> Iterator[Callable[[str], Any]]:
    """Run JavaScript beside what the page reads tables with, return plain types."""
    with py_mini_racer.mini_racer() as context:
        context.eval(STUBS + joined("inputs/series_input.js").removeprefix('"use strict";'))
        yield lambda code: json.loads(context.eval(f"JSON.stringify({code})"))


@pytest.fixture
def read(script: Callable[[str], Any]) -> Read:
    """Read a table as the page of a run on two features does, x and y."""

    def read(text: str, run: dict[str, Any] = NAMED, most: int = 100, **form: Any) -> list[list[float | None]]:
        names = run["features"] or run.get("names", ["feature 1", "feature 2"])
        given = {"classes": ["a", "b"], "names": names} | run | {"form": run["form"] | form}
        values: list[list[float | None]] = script(
            f"Table.read({json.dumps(text)}, {json.dumps(given)}, {{file: 't.csv', most: {most}}})"
        )
        return values

    return read


def predicted(folder: Path, text: str, **form: Any) -> list[list[float | None]]:
    """Return the one series that `unroll predict` finds in such a table for the run ``NAMED``."""
    columns = Columns(
        ("x", "y"), "who", "at", "label", (), tuple(form.get("missing_values", ())), form.get("decimal", ".")
    )
    model = Preparation(
        ("a", "b"), Scaling(0.0, 1.0), features=("x", "y"), columns=columns, missing=Missing((0.0, 0.0), False)
    )
    (folder / "t.csv").write_text(text, "utf-8")
    data, _ = read_unlabelled(folder / "t.csv", ("a", "b"), model, DataConfig())
    assert len(data) == 1
    assert data.input_size == 2
    values = data.flat(data.raw).double().numpy()
    gaps = np.zeros(values.shape, bool) if data.missing is None else data.flat(data.missing).numpy()
    return [
        [None if gap else round(v, 6) for v, gap in zip(*step, strict=True)] for step in zip(values, gaps, strict=True)
    ]


def refused(read: Read, text: str, message: str, *run: Any, **form: Any) -> None:
    with pytest.raises(py_mini_racer.JSEvalException) as caught:
        read(text, *run, **form)
    assert str(caught.value).split("Error: ", 1)[1].splitlines()[0] == message


SAME = {
    "in order": "x,y\n1,2\n3,4.5\n",
    "in another order": "y,x\n2,1\n4,3\n",
    "with others": "at,z,y,x,label\n1,9,2,1,a\n2,9,4,3,a\n",
    "one series of an id": "who,at,x,y\ns1,1,1,2\ns1,2,3,4\n",
    "blank lines": "\nx,y\n\n1,2\n   \n3,4\n\n",
    "rows of empty cells": "x,y\n1,2\n,\n3,4\n",
    "quoted": '"x","y"\n"1","2"\n3,"4"\n',
    "semicolons": "x;y\n1.5;2\n",
    "tabs": "x\ty\r\n1\t\r\n3\t4",
    "gaps": "x,y\n,2\nNA,?\nnan,null\n",
    "dates": "at,x,y\n2026-03-01 10:00:00,1,2\n2026-03-01 10:00:00.5,3,4\n",
    "phases of one recording": "phase,x,y\n" + "".join(f"{phase},1,2\n" for phase in "abab" for _ in range(6)),
    "a recording of one person": "person,step,x,y\n" + "".join(f"p,{step},1,2\n" for step in range(20)),
    "equal times": "time,x,y\n1,1,2\n1,3,4\n",
}


@pytest.mark.parametrize("name", SAME)
def test_a_table_is_read_as_predict_reads_it(read: Read, tmp_path: Path, name: str) -> None:
    assert read(SAME[name]) == predicted(tmp_path, SAME[name])


MARKED: dict[str, tuple[str, dict[str, Any]]] = {
    "a number": ("x,y\n-999,2\n-999.0,3\n4,5\n", {"missing_values": ["-999"]}),
    "a word": ("x,y\nnone,2\n4,5\n", {"missing_values": ["none", "x"]}),
    "commas": ("x;y\n1,5;2\n3;4,25\n", {"decimal": ","}),
    "quoted commas": ('x,y\n"1,5",2\n3,"4,25"\n', {"decimal": ","}),
    "a number with a comma": ("x\ty\n-9,9\t2,5\n1\t3\n", {"decimal": ",", "missing_values": ["-9,9"]}),
}


@pytest.mark.parametrize("name", MARKED)
def test_numbers_are_written_as_in_the_training_data(read: Read, tmp_path: Path, name: str) -> None:
    text, form = MARKED[name]
    assert read(text, **form) == predicted(tmp_path, text, **form)


REFUSED = {
    "other case": ("Y,X\n1,2\n", "t.csv has no columns “x”, “y”: expected those of the training data, got Y, X"),
    "other names": (
        "pressure,temp\n1,2\n",
        "t.csv has no columns “x”, “y”: expected those of the training data, got pressure, temp",
    ),
    "one lacks": ("time,x\n1,2\n", "t.csv has no column “y”: expected those of the training data, got time, x"),
    "a name twice": ("x,y,x\n1,2,3\n", "t.csv has two columns “x”: expected names that differ"),
    "time goes back": ("time,x,y\n1,1,2\n3,1,2\n\n2,1,2\n", "t.csv, line 5, column time: the time goes back"),
    "usual time goes back": ("Timestamp,x,y\n2,1,2\n1,1,2\n", "t.csv, line 3, column Timestamp: the time goes back"),
    "date goes back": (
        "time,x,y\n2026-03-01 10:00+02:00,1,2\n2026-03-01 07:59:59.9Z,1,2\n",
        "t.csv, line 3, column time: the time goes back",
    ),
    "a time twice": (
        "who,at,x,y\na,1,1,2\na,1,1,2\n",
        "t.csv, line 3, column at: the time is that of line 2 already",
    ),
    "decimal commas": (
        "x;y\n1,5;2\n",
        "t.csv, line 2, column x: expected a number, got “1,5”; write decimals with a point, as in the training data, "
        "and thousands without a comma",
    ),
    "thousands": (
        "x;y\n1;1,234\n",
        "t.csv, line 2, column y: expected a number, got “1,234”; write decimals with a point, as in the training "
        "data, and thousands without a comma",
    ),
    "too large": (
        "x,y\n\n1,2\n3,1e999\n",
        "t.csv, line 4, column y: expected a finite number, got “1e999”; leave the cell empty where a value is missing",
    ),
    "infinite": (
        "x,y\n1,2\n-Inf,3\n",
        "t.csv, line 3, column x: expected a finite number, got “-Inf”; leave the cell empty where a value is missing",
    ),
    "too large for the model": (
        "x,y\n1,2\n3,-1e39\n",
        "t.csv, line 3, column y: got “-1e39”, too large for float32; scale it, or leave the cell empty where a value "
        "is missing",
    ),
    "people that repeat": (
        "person,step,x,y\n" + "".join(f"{who},{step},1,2\n" for who in "abc" for step in range(9)),
        "t.csv looks like 3 series: column person repeats, column step counts; if it is one, remove the column person",
    ),
    "people and dates": (
        "day,who is it,x,y\n" + "".join(f"2026-01-{1 + n + n // 3:02},{n // 9},1,2\n" for n in range(18)),
        "t.csv looks like 2 series: column who is it repeats, column day counts; if it is one, remove the column who "
        "is it",
    ),
    "a word": ("x,y\n1,2\n\nlow,3\n", "t.csv, line 4, column x: expected a number, got “low”"),
    "a cell lacks": ("x,y\n1,2\n\n3\n", "t.csv, line 4: expected 2 numbers, one for each name in the header, got 1"),
    "a quote within": (
        'x,y\n"1"5,2\n',
        "t.csv, line 2: a quote does not enclose a whole cell; write the table again as CSV",
    ),
    "names alone": ("x,y\n", "t.csv must contain at least one row of numbers, got none"),
    "nothing": (" \n\n", "t.csv must contain at least one row of numbers, got none"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_table_that_is_refused_says_why_in_a_line_as_predict_refuses_it(
    read: Read, tmp_path: Path, name: str
) -> None:
    text, message = REFUSED[name]
    refused(read, text, message)
    with pytest.raises((DataError, AssertionError)):
        predicted(tmp_path, text)


def test_the_times_of_the_run_s_own_column_may_not_go_back(read: Read) -> None:
    refused(read, "at,x,y\n3,1,2\n2,1,2\n", "t.csv, line 3, column at: the time goes back")


@pytest.mark.parametrize("id_", ["who", "ID"])
def test_of_several_series_none_is_read(read: Read, id_: str) -> None:
    rows = "".join(f"s{n},{t},1,2\n" for n in range(23) for t in range(3))
    refused(read, f"{id_},time,x,y\n{rows}", "t.csv holds 23 series: the page reads one; unroll predict reads all")


def test_points_are_in_no_number_of_a_run_that_reads_commas(read: Read) -> None:
    refused(
        read,
        "x;y\n1.5;2\n",
        "t.csv, line 2, column x: expected a number, got “1.5”; write decimals with a comma, as in the training data, "
        "and thousands without a point",
        decimal=",",
    )


def test_without_names_the_columns_are_the_features_in_their_order(read: Read) -> None:
    assert read("1,2\n3,4\n") == [[1, 2], [3, 4]]
    assert read("1 2\n\n3  4\n") == [[1, 2], [3, 4]]
    assert read("1,5;2\n3;4,5\n", decimal=",") == [[1.5, 2], [3, 4.5]]
    refused(read, "1,2\n3\n", "t.csv, line 2: expected 2 numbers, one for each feature, got 1")
    refused(read, "1,2\n3,low\n", "t.csv, line 2, column y: expected a number, got “low”")


def test_a_comma_that_may_mean_two_things_is_refused(read: Read) -> None:
    refused(
        read,
        "1,5,2\n",
        "t.csv, line 1: a comma may divide cells or stand before decimals; divide cells by semicolons",
        decimal=",",
    )


def test_names_that_are_numbers_are_names(read: Read) -> None:
    assert read("1,0\n5,6\n", NAMED | {"features": ["0", "1"]}) == [[6, 5]]
    assert read("heart rate\n5\n", NAMED | {"features": ["heart rate"]}) == [[5]]


def test_a_run_without_names_takes_the_columns_that_are_no_id_time_or_class(read: Read) -> None:
    assert read("a,b\n1,2\n", NAMELESS) == [[1, 2]]
    assert read("id,time,b,a,label\n7,0,1,2,c\n7,1,3,4,c\n", NAMELESS) == [[1, 2], [3, 4]]
    message = "t.csv: expected 2 numbers per time step (feature 1, feature 2), got 1 columns: time, a"
    refused(read, "time,a\n1,2\n", message, NAMELESS)


def test_names_of_time_steps_are_not_taken_for_those_of_a_feature(read: Read) -> None:
    message = (
        "t.csv: with names of columns, unroll predict reads a series from each row, and this page from one column: "
        "remove the names, and write a value on each line"
    )
    refused(read, "t0\n1\n2\n", message, NAMELESS | {"names": ["the values"]}, wide=True)


def test_one_feature_may_stand_in_a_row(read: Read) -> None:
    run = NAMELESS | {"names": ["the values"]}
    assert read("1,2,3,,\n", run) == [[1], [2], [3]]  # what is missing at the end is padding, as in files of series
    assert read("1,,3\n", run) == [[1], [None], [3]]
    assert read("1\n\n2\n", run) == [[1], [2]]
    refused(read, "1,2,1:30\n", "t.csv, line 1, column 3: expected a number, got “1:30”", run)


def test_a_first_number_that_may_be_a_class_is_refused(read: Read) -> None:
    run = NAMELESS | {"names": ["the values"], "classes": ["1", "2"]}
    message = "t.csv, line 1: its first number, 1.0, may be the class or a value; write each value on a line of its own"
    refused(read, "1.0,0.5,0.7\n", message, run)
    assert read("1.5,1,2\n", run) == [[1.5], [1], [2]]


def test_rows_are_counted_without_blank_lines(read: Read) -> None:
    assert len(read("1,2\n\n3,4\n", most=2)) == 2
    refused(read, "1,2\n\n3,4\n5,6\n", "t.csv may have at most 2 time steps, got 3", most=2)


def test_what_is_not_read_of_a_table_is_said(script: Callable[[str], Any]) -> None:
    def told(count: int, every: int = 1, most: int | None = None, window: int | None = None) -> Any:
        rule = {"time_step": None, "every": every, "max_length": most, "window": window}
        return script(f"CurveInput.whatIsRead({count}, {json.dumps({'time_steps': rule})})")

    assert script('CurveInput.whatIsRead(5, {"time_steps": null})') == ""
    assert told(20, most=20, window=20) == ""
    assert told(33, most=20, window=20) == "The first 20 of 33 time steps are read; unroll predict reads all windows."
    assert told(33, most=20) == "The first 20 of 33 time steps are read, as unroll predict does."
    assert told(33, most=20, window=30) == told(33, most=20)
    assert told(40, every=4, most=10) == "Each 4 time steps are read as one, their mean."
    assert told(41, every=4, most=10) == (
        "Each 4 time steps are read as one, their mean; the first 10 of 11 means are read, as unroll predict does."
    )
