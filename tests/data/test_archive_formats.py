"""A set of the UCR and UEA archive in any of its formats is the same set; numbers alone are series."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import pytest
import torch

import unroll
from unroll import DataError
from unroll.cli import main
from unroll.data.formats import plain_series

VALUES = [[0.5, -1.25, 3.0], [2.0, 0.0, -0.5], [1.5, 1.0, 0.25], [0.125, -2.0, 1.0]]
LABELS = [1, 2, 1, 2]
SEVERAL = [[[0.5, 1.0], [-1.0, 2.0]], [[3.0, 0.0], [0.25, 4.0]], [[1.0, 1.5], [2.5, 2.0]], [[0.0, 1.0], [1.0, 0.5]]]


def ts(comment: str = "") -> str:
    head = f"{comment}@problemName Toy\n@timeStamps false\n@univariate true\n@classLabel true 1 2\n@data\n"
    return head + "".join(f"{','.join(map(str, row))}:{label}\n" for row, label in zip(VALUES, LABELS, strict=True))


def arff() -> str:
    head = "".join(f"@attribute att{n} numeric\n" for n in range(3))
    rows = "".join(f"{','.join(map(str, row))},{label}\n" for row, label in zip(VALUES, LABELS, strict=True))
    return f"% of the archive\n@relation Toy\n\n{head}@ATTRIBUTE target {{1,2}}\n\n@data\n% none\n{rows}"


def plain(divider: str, shift: float = 0) -> str:
    pairs = zip(VALUES, LABELS, strict=True)
    rows = [[f"{label:.7e}", *(f"{value + shift:.7e}" for value in row)] for row, label in pairs]
    return "".join(f"  {divider.join(row)}\n" if divider == "  " else f"{divider.join(row)}\n" for row in rows)


FORMATS = {
    "ts": (".ts", ts()),
    "ts with comments": (".ts", ts("% made\n#by hand\n")),
    "arff": (".arff", arff()),
    "tsv": (".tsv", plain("\t")),
    "txt of blanks": (".txt", plain("  ")),
    "txt of commas": (".txt", plain(",")),
    "txt of whole numbers as classes": (".txt", "1 0.5 -1.25 3\n2 2 0 -.5\n1 1.5 1 .25\n2 .125 -2 1\n"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_a_set_is_the_same_in_every_format(name: str, tmp_path: Path) -> None:
    suffix, content = FORMATS[name]
    for part in ("TRAIN", "TEST"):
        (tmp_path / f"Toy_{part}{suffix}").write_text(content)
    for path in (tmp_path, tmp_path / f"Toy_TRAIN{suffix}"):
        splits = unroll.load(path)
        for data in (splits.train, splits.test):
            assert torch.equal(data.x[:, :, 0], torch.tensor(VALUES))
            assert [splits.classes[y] for y in data.y.tolist()] == ["1", "2", "1", "2"]
            assert data.lengths is None
            assert data.kind == "series"


def test_several_features_stand_in_one_cell_of_arff(tmp_path: Path) -> None:
    head = "@relation x\n@attribute 'all of it' relational\n@attribute a numeric\n@attribute b numeric\n@end bag\n"
    rows = ["\\n".join(",".join(map(str, feature)) for feature in series) for series in SEVERAL]
    content = "".join(f"'{row}',{label}\n" for row, label in zip(rows, ["run", "sit"] * 2, strict=True))
    (tmp_path / "a.arff").write_text(f"{head}@attribute what {{'sit',run}}\n@data\n{content}")
    splits = unroll.load(tmp_path / "a.arff", test_fraction=0.5)
    assert splits.classes == ("sit", "run")
    read = {tuple(map(tuple, series.T.tolist())) for part in (splits.train, splits.test) for series in part.x}
    assert read == {tuple(map(tuple, series)) for series in SEVERAL}


def test_what_is_missing_behind_the_last_value_is_padding(tmp_path: Path) -> None:
    rows = [f"1\t0.{n}\tNaN\t3.5\tNaN\n2\t1.{n}\tNaN\tNaN\tNaN\n" for n in range(4)]
    (tmp_path / "a.tsv").write_text("".join(rows))
    (tmp_path / "a.arff").write_text(
        "@attribute a real\n@attribute b real\n@attribute c {x,y}\n@data\n0.5,?,x\n1,2,y\n1,3,x\n4,?,y\n"
    )
    splits = unroll.load(tmp_path / "a.tsv", test_fraction=0.5)
    assert sorted(splits.train.steps_of_each.tolist()) == [1, 1, 3, 3]
    assert splits.train.missing is not None
    assert int(splits.train.missing.sum()) == 2
    splits = unroll.load(tmp_path / "a.arff", test_fraction=0.5)
    lengths = [*splits.train.steps_of_each.tolist(), *splits.test.steps_of_each.tolist()]
    assert sorted(lengths) == [1, 1, 2, 2]


def test_of_several_formats_of_a_set_the_first_is_read_and_the_others_named(tmp_path: Path) -> None:
    for part in ("TRAIN", "TEST"):
        for suffix, content in ((".ts", ts()), (".txt", plain("  ")), (".tsv", plain("\t")), (".arff", arff())):
            (tmp_path / f"Toy_{part}{suffix}").write_text(content.replace("0.5", "9.5") if suffix != ".ts" else content)
    (tmp_path / "Toy.txt").write_text("A toy. It has two classes.\n")
    (tmp_path / "more.tsv").write_text(plain("\t"))
    splits = unroll.load(tmp_path)
    assert float(splits.train.x.max()) == 3
    others = "Toy_TRAIN.arff, Toy_TRAIN.tsv, Toy_TRAIN.txt"
    assert splits.train.notes == (f"Toy_TRAIN.ts is read; not used, the same set in other formats: {others}",)
    (tmp_path / "Toy_TEST.ts").unlink()
    assert float(unroll.load(tmp_path).train.x.max()) == 9.5


def test_a_pair_of_series_beside_a_note_is_read(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / f"x_{part}.csv").write_text("a,b,label\n1,2,u\n3,4,v\n")
    (tmp_path / "notes.txt").write_text("u one\nu two\nv three\nv four\n")
    assert unroll.load(tmp_path).train.kind == "series"


BROKEN = {
    "no class": (".txt", "0.5 1 2\n1 2 3\n", "line 1: expected the number of a class first, got '0.5'"),
    "a number a line": (".txt", "1 1 2\n2 2 3\n3 3 4\n", "begins each of its 3 lines with another number"),
    "a word": (".tsv", "1\t2\n" * 20 + "1\tx\n", "line 21: expected a number, got 'x'"),
    "an underscore": (".tsv", "1\t2\n" * 20 + "1\t1_2\n", "line 21: expected a number, got '1_2'"),
    "an underscore in an attribute": (
        ".arff",
        "@attribute a real\n@attribute c {x,y}\n@data\n1_2,x\n",
        "line 4, feature 0: expected a number, got '1_2'",
    ),
    "nothing but a class": (".txt", "1 NaN\n1 2\n2 3\n2 4\n", "line 1: the series is empty; remove the line"),
    "no data": (".arff", "@relation x\n", "has no line @data"),
    "a date": (
        ".arff",
        "@attribute a date\n@attribute b {x,y}\n@data\n",
        "not an .arff file of series: .*got date, {x,y}",
    ),
    "no classes": (".arff", "@attribute a real\n@data\n1\n", "has no classes: expected an attribute with their names"),
    "another class": (".arff", "@attribute a real\n@attribute c {x,y}\n@data\n1,z\n", "line 4: the class z is not in"),
    "a cell less": (".arff", "@attribute a real\n@attribute c {x,y}\n@data\nx\n", "line 4: expected 2 cells, .* got 1"),
    "no quotes": (
        ".arff",
        "@attribute a relational\n@end a\n@attribute c {x,y}\n@data\n1,2,x\n",
        "line 5: expected the features in quotes, got 1,2,x",
    ),
    "half an attribute": (".arff", "@attribute a\n@data\n", "line 1: expected @attribute, a name and a type"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_bad_files_are_one_line(what: str, tmp_path: Path) -> None:
    suffix, content, message = BROKEN[what]
    (tmp_path / f"a{suffix}").write_text(content)
    with pytest.raises(DataError, match=message):
        unroll.load(tmp_path / f"a{suffix}")


def test_a_class_with_an_underscore_is_no_number(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1_2 1 2\n1 2 3\n")
    with pytest.raises(DataError, match="line 1: expected the number of a class first, got '1_2'"):
        plain_series.parse(tmp_path / "a.txt", True)


def test_lines_of_numbers_are_classified_with_classes_and_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.tsv").write_text("".join(plain("\t", n) for n in range(5)))
    unroll.train_run(str(tmp_path / "a.tsv"), out=tmp_path / "run", epochs=1, hidden_size=4)
    bare = "".join("\t".join(map(str, row)) + "\n" for row in VALUES)
    answers = []
    for name, content in (("labelled.tsv", plain("\t")), ("bare.txt", bare), ("new.arff", arff())):
        (tmp_path / name).write_text(content)
        assert main(["predict", str(tmp_path / "run"), str(tmp_path / name)]) == 0
        answers.append([line.split(": ")[1].split(" · ")[0] for line in capsys.readouterr().out.splitlines()])
    assert answers[0] == answers[1] == answers[2]
    (tmp_path / "counts.txt").write_text("1 2 3\n7 8 9\n")
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "counts.txt")]) == 2
    assert "begins its lines with whole numbers of which only some are classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "chunk", "are_numbers"),
    [
        ("1 2\n3 4\n", 99, True),
        ("1,2\n\n3,NaN\n", 99, True),
        ("1\t?\n2\t-.5e3", 99, True),
        ("1\n2\n", 99, False),  # which may be a list of anything
        ("? 1\n1 2\n", 99, False),
        ("1 2\n3 four\n", 99, False),
        ("", 99, False),
        ("1 2\n3 4\n5 fi", 11, True),  # what is cut off is not looked at
        ("1 2\n3 four\n5 6", 13, False),
        ("1 2 3 fo", 8, True),
        ("1 two 3 4", 8, False),
    ],
)
def test_a_file_of_numbers_has_two_or_more_in_each_line(
    content: str, chunk: int, are_numbers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plain_series, "CHUNK", chunk)
    (tmp_path / "a.txt").write_text(content)
    assert plain_series.holds_numbers(tmp_path / "a.txt") == are_numbers


@pytest.mark.parametrize(
    ("content", "values", "note"),
    [
        ("1 0.5 2\n2 3 4\n", [[0.5, 2], [3, 4]], "the first number taken for the class"),
        ("1.5 0.5 2\n2 3 4\n", [[1.5, 0.5, 2], [2, 3, 4]], "all numbers taken for values"),
    ],
)
def test_it_is_said_whether_lines_to_classify_begin_with_a_class(
    content: str, values: list[list[float]], note: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text(content)
    series = plain_series.parse_unlabelled(tmp_path / "a.txt", ("1", "2"))
    assert [own[:, 0].tolist() for own in series.values] == values
    assert series.notes == (note,)


@pytest.mark.slow
def test_a_long_line_of_numbers_is_one_of_series(tmp_path: Path) -> None:
    values = " ".join(f"{math.sin(n):.7e}" for n in range(89_999))  # more than is looked at
    (tmp_path / "a.txt").write_text("".join(f"{1 + n % 2} {n} {values}\n" for n in range(4)))
    assert unroll.load(tmp_path / "a.txt", test_fraction=0.5).train.x.shape == (2, 90_000, 1)


def test_packed_lines_of_text_that_are_no_gzip_say_so(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(b"good a\n")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"good a\nbad b\ngood c\nbad d\n"))
    with pytest.raises(DataError, match="is not a complete gzip file"):
        unroll.load(tmp_path / "a.txt.gz")
    assert unroll.load(tmp_path / "b.txt.gz", test_fraction=0.5, min_count=1).train.texts
