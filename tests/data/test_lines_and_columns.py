"""Which part of a line or a table is the text and which the class: taken where it is plain, asked for where not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import unroll
from unroll import ConfigError, DataError
from unroll.cli import main
from unroll.config import DataConfig
from unroll.data.formats import texts as text_files
from unroll.data.sequences import Parts
from unroll.runs.data import load_test

PAIRS = [("a fine film", "good"), ("dull and bad", "bad"), ("bad acting, a fine day", "good"), ("a bore", "bad")]


def read(path: Path, content: str, **settings: object) -> Parts:
    path.write_text(content, "utf-8")
    return text_files.read(path, DataConfig(**settings))  # type: ignore[arg-type]


def pairs(parts: Parts) -> list[tuple[str, str]]:
    """Return the texts that were read, with their classes."""
    data = parts.train
    assert data.texts is not None
    return [(text, data.preparation.classes[y]) for text, y in zip(data.texts, data.y.tolist(), strict=True)]


FORMS = {
    "a class and blanks": ("{1} {0}", "label-first"),
    "a class and a tab": ("{1}\t{0}", "label-first"),
    "a text, a tab and a class": ("{0}\t{1}", "label-last"),
}


@pytest.mark.parametrize("form", FORMS)
def test_lines_show_where_their_class_is(form: str, tmp_path: Path) -> None:
    line, where = FORMS[form]
    parts = read(tmp_path / "a.txt", "".join(f"{line.format(*pair)}\n" for pair in PAIRS))
    assert pairs(parts) == PAIRS
    assert parts.reading is not None
    assert parts.reading.lines == where
    examples = "good | a fine film; bad | dull and bad; good | bad acting, a fine day"
    side = "beginning" if where == "label-first" else "end"
    assert parts.understood == f"texts from lines; class: at the {side} of each, as in {examples}"


def test_a_class_of_two_words_is_told_by_its_tab(tmp_path: Path) -> None:
    content = "sci fi\tmany stars\nold west\ta horse\nsci fi\ta moon\nold west\ta saloon\n"
    assert pairs(read(tmp_path / "a.txt", content)) == [
        ("many stars", "sci fi"), ("a horse", "old west"), ("a moon", "sci fi"), ("a saloon", "old west"),
    ]  # fmt: skip


UNCLEAR = {
    "prose": ("once upon a time\nthere was a king\nwho had a film\n", "does not show where the class of a line is"),
    "a class that occurs once": ("good fun\ngood film\nbad\n", "does not show where the class of a line is"),
    "21 first words": ("".join(f"w{n} a\nw{n} b\n" for n in range(21)), "at most 20 classes that occur twice or more"),
    "a line without a tab": ("a fine film\tgood\na bore\tbad\na fine day\n", "does not show where the class of a line"),
    "few values on both sides": ("good\tyes\nbad\tno\ngood\tyes\nbad\tno\n", "few different values on both sides"),
    "many values on both sides": ("a\tb\nc\td\ne\tf\n", "more than 20 values, or some that occur once, on both sides"),
    "three cells": (
        "gj\t1\ta b\ngj\t0\tc d\nks\t1\te f\nks\t0\tg h\n",
        "has up to 3 cells in a line: name the columns",
    ),
    "names of columns": ("text\tlabel\na b\tgood\nc d\tbad\n", "begins with names of columns: call it .tsv"),
}


@pytest.mark.parametrize("what", UNCLEAR)
def test_lines_that_do_not_show_it_are_asked_about(what: str, tmp_path: Path) -> None:
    content, message = UNCLEAR[what]
    with pytest.raises(DataError, match=message) as error:
        read(tmp_path / "a.txt", content)
    assert "--lines" in str(error.value) or what == "names of columns"


def test_lines_are_read_as_is_said(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert pairs(read(path, "good fun\nbad\n", lines="label-first")) == [("fun", "good"), ("", "bad")]
    assert pairs(read(path, "such fun good\nbad\n", lines="label-last")) == [("such fun", "good"), ("", "bad")]
    assert pairs(read(path, "x\ta b\tgood\nx\tc d\tgood\ny\te\tbad\n", lines="label-last"))[0] == ("x\ta b", "good")
    assert pairs(read(path, "a b\tgood\nc d\tgood\ne\tbad\nf\tbad\n", lines="tab"))[2] == ("e", "bad")
    with pytest.raises(DataError, match="line 2: expected a class and a text divided by a tab, got 'bad'"):
        read(path, "good\tfun\nbad\n", lines="tab")


def test_the_test_part_is_read_as_the_training_part(tmp_path: Path) -> None:
    (tmp_path / "x_test.txt").write_text("good\tbad\nso so\tgood\n")
    parts = read(tmp_path / "x_train.txt", "".join(f"{text}\t{label}\n" for text, label in PAIRS))
    assert parts.test is not None
    assert parts.test.texts == ("good", "so so")


def table(path: Path, columns: dict[str, list[str]]) -> Path:
    rows = zip(*columns.values(), strict=True)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows))
    else:
        path.write_text("\n".join([",".join(columns), *(",".join(row) for row in rows)]) + "\n")
    return path


LONG = [f"a long story about {n} films" for n in range(6)]
SHORT = [f"T{n}" for n in range(6)]
HALVES, THIRDS = ["a", "b"] * 3, ["x", "x", "y", "y", "z", "z"]
PLAIN = {
    "a plain name": ({"id": SHORT, "text": LONG, "label": HALVES}, "text; class: label; left out: id"),
    "a link beside": ({"title": LONG, "link": SHORT, "is_odd": HALVES}, "title; class: is_odd; left out: link"),
    "text before title": ({"title": LONG, "text": SHORT, "class": HALVES}, "text; class: class; left out: title"),
    "label": ({"is_new": THIRDS, "review": LONG, "label": HALVES}, "review; class: label; left out: is_new"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("what", PLAIN)
def test_what_was_taken_for_what_is_said(what: str, suffix: str, tmp_path: Path) -> None:
    columns, understood = PLAIN[what]
    splits = unroll.load(table(tmp_path / f"a{suffix}", columns), test_fraction=0.4)
    assert splits.understood == f"texts from column {understood}"


CHOICES = {
    "a title and a longer text": ({"title": SHORT, "body": LONG, "label": HALVES}, "texts", "title, body", "text"),
    "two known texts": ({"title": LONG, "review": LONG, "label": HALVES}, "texts", "review, title", "text"),
    "is_… and another": ({"text": LONG, "is_new": HALVES, "mood": THIRDS}, "class", "is_new, mood", "label"),
    "two of is_…": ({"text": LONG, "is_new": HALVES, "is_odd": THIRDS}, "class", "is_new, is_odd", "label"),
    "two known classes": ({"text": LONG, "class": HALVES, "sentiment": THIRDS}, "class", "class, sentiment", "label"),
}  # fmt: skip


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
@pytest.mark.parametrize("what", CHOICES)
def test_columns_that_could_be_meant_are_all_named(what: str, suffix: str, tmp_path: Path) -> None:
    columns, role, names, flag = CHOICES[what]
    path = table(tmp_path / f"a{suffix}", columns)
    with pytest.raises(DataError) as error:
        unroll.load(path)
    assert str(error.value) == (
        f"{path} has 2 columns that could be the {role}, {names}: say which with --{flag}-column (in Python "
        f"{flag}_column=…)"
    )
    for name in names.split(", "):
        splits = unroll.load(path, test_fraction=0.4, **{f"{flag}_column": name})  # type: ignore[arg-type]
        assert f"{'column' if flag == 'text' else 'class:'} {name};" in splits.understood
        assert splits.train.texts is not None
        assert set(splits.train.texts) <= set(columns[name if flag == "text" else "text"])


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", {"text": LONG, "label": HALVES})
    with pytest.raises(DataError, match=r"has no column 'labels'; did you mean 'label'\?: it has text, label"):
        unroll.load(path, label_column="labels")


@pytest.mark.parametrize("name", ["content", "text", "message", "is_on"])
def test_a_table_of_numbers_is_one_of_series_whatever_its_columns_are_called(name: str, tmp_path: Path) -> None:
    rows = [
        f"{n},{step},0.{step * n % 7},{(n + step) ** 2 % 5 / 4},{'ab'[n % 2]}" for n in range(10) for step in range(3)
    ]
    (tmp_path / "a.csv").write_text("\n".join([f"id,time,temp,{name},label", *rows]))
    splits = unroll.load(tmp_path / "a.csv")
    assert splits.train.kind == "series"
    assert splits.train.preparation.features == ("temp", name)


def test_posts_with_an_id_and_a_time_are_texts(tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", {"id": SHORT, "time": list("012345"), "tweet": LONG, "label": HALVES})
    assert unroll.load(path, test_fraction=0.4).train.kind == "texts"


@pytest.mark.parametrize("setting", [{"lines": "tab"}, {"text_column": "x"}, {"label_column": "x"}])
def test_settings_that_the_data_has_no_use_for_are_refused(setting: dict[str, str], tmp_path: Path) -> None:
    path = table(tmp_path / "a.csv", {"text": LONG, "label": HALVES})
    if "lines" not in setting:
        path = tmp_path / "a.txt"
        path.write_text("good a\nbad b\n" * 3)
    for data in (path, "mnist-sample"):
        with pytest.raises(ConfigError, match="cannot be used with"):
            unroll.load(data, **setting)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train a run in which "bad" decides."""
    folder = tmp_path_factory.mktemp("films")
    lines = [f"{text} {'indeed ' * n}\t{label}" for n in range(12) for text, label in (PAIRS[0], PAIRS[1], PAIRS[3])]
    (folder / "films.txt").write_text("\n".join(lines))
    settings = {"recipe": "text", "epochs": 2, "hidden_size": 8, "embedding_size": 8}
    unroll.train_run(str(folder / "films.txt"), out=folder / "run", **settings)  # type: ignore[arg-type]
    return folder / "run"


def texts_of(run: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert main(["predict", str(run), *words, "--json"]) == 0
    return [prediction["text"] for prediction in json.loads(capsys.readouterr().out)["predictions"]]


def test_a_file_to_predict_keeps_the_first_word_of_its_lines(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["bad film", "good fun", "bad acting, a fine day for a film"]
    new = tmp_path / "new.txt"
    new.write_text("\n".join(lines))
    assert texts_of(films, capsys, str(new)) == lines
    new.write_text("\n".join([*lines, "what a day"]))
    assert texts_of(films, capsys, str(new)) == [*lines, "what a day"]
    assert texts_of(films, capsys, str(new), "--lines", "label-first")[:2] == ["film", "fun"]
    assert texts_of(films, capsys, str(new), "--lines", "label-last")[:2] == ["bad", "good"]
    rows = table(tmp_path / "a.csv", {"title": SHORT, "body": LONG})
    assert texts_of(films, capsys, str(rows), "--text-column", "body") == LONG
    assert main(["predict", str(films), str(rows)]) == 2
    assert "title, body: say which with --text-column" in capsys.readouterr().err


def test_a_run_keeps_how_its_lines_were_read(films: Path, tmp_path: Path) -> None:
    run = unroll.load_run(films)
    assert run.config.plan is not None
    assert run.config.plan.reading.lines == "label-last"
    (tmp_path / "new.txt").write_text("so good\tbad\nso bad\tgood\n")  # too few to show it
    test = load_test(run, str(tmp_path / "new.txt"))
    assert test.sequences.texts == ("so good", "so bad")
    assert load_test(run, str(table(tmp_path / "a.csv", {"text": LONG, "label": ["good"] * 6}))).part == "all"
