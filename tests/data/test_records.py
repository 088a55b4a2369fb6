"""The places of what is to be classified, by which answers are joined with a table of one's own."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest

from unroll import ConfigError
from unroll.data.formats.series import read_unlabelled
from unroll.data.formats.texts import read_texts
from unroll.data.sources import sources

SERIES = {
    "wide": "id,a,b\nq,1,2\np,3,4\n",
    "wide, a blank line and a row of empty cells": "id,a,b\n\nq,1,2\n,,\np,3,4\n",
    "wide, quoted ids": 'id,a,b\n"q",1,2\n\n"p",3,4\n',
    "long, in any order": "id,time,a\nq,1,5\np,0,1\nq,0,4\np,1,2\n",
    "long, an empty row": "id,time,a\n,,\nq,0,5\nq,1,6\n,,\np,0,1\n",
}
TEXTS = {
    "a text of two lines": 'id,text\nq,"good\nfun"\np,bad\n',
    "blank lines and an empty row": "\nid,text\nq,good\n\n,\np,bad\n",
    "JSON lines": '{"id": "q", "text": "good"}\n\n{"id": "p", "text": "bad"}\n',
    "JSON": '[{"id": "q", "text": "good"}, {"id": "p", "text": "bad"}]',
}


@pytest.mark.parametrize("case", [*SERIES, *TEXTS])
def test_a_row_is_the_one_that_pandas_counts(case: str, tmp_path: Path) -> None:
    content = (SERIES | TEXTS)[case]
    path = tmp_path / ("new.jsonl" if case == "JSON lines" else "new.json" if case == "JSON" else "new.csv")
    path.write_text(content)
    if case.startswith("JSON"):
        frame = pd.read_json(io.StringIO(content), lines=case == "JSON lines")
    else:
        frame = pd.read_csv(io.StringIO(content))
    records = read_unlabelled(path, ("a", "b"))[1] if case in SERIES else read_texts(path)[1]
    assert list(records.ids) == ["q", "p"]
    assert frame["id"].iloc[list(records.rows)].tolist() == ["q", "p"]
    lines = content.split("\n")
    assert all(line <= len(lines) and lines[line - 1].strip(",") for line in records.lines)
    assert bool(records.lines) == (case != "JSON")


def test_ids_of_texts_are_in_the_column_that_one_names(tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text("order,text\n7,good\n8,bad\n")
    assert list(read_texts(tmp_path / "new.csv")[1].ids) == []
    assert list(read_texts(tmp_path / "new.csv", id_column="order")[1].ids) == ["7", "8"]
    (tmp_path / "new.txt").write_text("good\n")
    with pytest.raises(ConfigError, match="id_column order cannot be used with .*: it has no columns"):
        read_texts(tmp_path / "new.txt", id_column="order")


def test_a_folder_s_files_come_by_their_paths(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a/1.png", "a/.hidden.png", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    with sources([tmp_path], "images") as (each, (note,)):
        assert [source.id for source in each] == ["a/1.png", "b/10.png", "b/2.png"]
    assert note == f"{tmp_path}: 3 files are read; not read: notes.txt"
    with sources([tmp_path / "none", tmp_path], "series") as (each, _):
        assert [bool(source.error) for source in each] == [False, True]  # who reads a file says that it is missing


def test_texts_in_sub_folders_have_a_file_each(tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for name in ("good/1.txt", "lines.txt"):
        (tmp_path / name).write_text("a fine film\nindeed\n")
    with sources([tmp_path], "texts") as (each, (note,)):
        assert [(source.id, source.is_one) for source in each] == [("good/1.txt", True), ("lines.txt", False)]
    assert note == f"{tmp_path}: 1 .txt in sub-folders are a text each; 1 .txt have a text in each line"
