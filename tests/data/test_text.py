"""Texts: read, turned into tokens, trained on, asked; against hand-made vocabularies and torch.nn."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import unroll
from resuming import interrupt_after
from unroll import DataError, InputError, SequenceClassifier, Training
from unroll.cli import main
from unroll.config import DataConfig
from unroll.data.batching import padded_share, training_order
from unroll.data.formats import texts as text_files
from unroll.data.records import Records
from unroll.data.tokenizer import Tokenizer
from unroll.data.vocabulary import describe_words
from unroll.runs.data import load_test

GOOD = ["a fine film", "a good and fine play", "good fun", "what a fine day", "truly good", "fine!"]
BAD = ["a bad film", "dull and bad", "what a bore", "truly bad play", "bad, bad, bad", "a dull day"]


def rows(times: int = 1) -> list[tuple[str, str]]:
    """Return texts with their classes; with each time a word is added, so that no two are the same."""
    return [
        (f"{text}{' indeed' * n}", label)
        for n in range(times)
        for good, bad in zip(GOOD, BAD, strict=True)
        for text, label in ((good, "good"), (bad, "bad"))
    ]


@pytest.fixture
def tsv(tmp_path: Path) -> Callable[..., Path]:
    """Write texts to a table: ``tsv(rows, name)``."""

    def write(found: list[tuple[str, str]], name: str = "films.tsv") -> Path:
        path = tmp_path / name
        path.write_text("sentence\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in found), "utf-8")
        return path

    return write


def test_the_vocabulary_is_that_of_the_training_texts() -> None:
    tokenizer = Tokenizer.learn("word", ["The film, the FILM!", "a film", "ｆｉｌｍ"], 100, 1)
    assert tokenizer.vocabulary == ["[UNK]", "film", "the", "!", ",", "a"]  # by frequency, then as letters stand
    assert tokenizer.ids(["the  play!", "", "ﬁlm"]) == [[2, 0, 3], [], [1]]
    assert tokenizer.tokens("The Play") == ["the", "[UNK]"]
    assert Tokenizer.learn("word", ["a a a b b c"], 100, 2).vocabulary == ["[UNK]", "a", "b"]
    assert Tokenizer.learn("word", ["a a a b b c"], 2, 1).vocabulary == ["[UNK]", "a"]


def test_byte_pairs_are_pieces_of_words_and_say_all_of_a_new_one() -> None:
    texts = ["lower lowest low", "newer newest new", "wide wider widest"]
    tokenizer = Tokenizer.learn("bpe", texts, 30, 2)
    assert tokenizer.size <= 30
    assert tokenizer.json == Tokenizer.learn("bpe", texts, 30, 2).json
    assert "".join(tokenizer.tokens("slower")).replace("[UNK]", "") == "slower"
    assert len(tokenizer.tokens("low")) < 3  # a pair at least was joined


FILES: dict[str, tuple[str, str]] = {
    "tsv": ("a.tsv", 'id\tSentence\tlabel\n1\tsay "no\tbad\n2\ta, b\tgood\n'),
    "csv": ("a.csv", 'label,text\nbad,"say ""no"\ngood,"a, b"\n'),
    "lines": ("a.txt", 'bad say "no\n\ngood   a, b\r\n'),
    "json lines": (
        "a.jsonl",
        '{"headline": "say \\"no", "is_bad": "bad", "n": 1}\n\n{"headline": "a, b", "is_bad": "good"}\n',
    ),
    "json array": ("a.json", '[{"text": "say \\"no", "class": "bad"}, {"text": "a, b", "class": "good"}]'),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_kind_of_file_is_read_alike(kind: str, packed: bool, tmp_path: Path) -> None:
    name, content = FILES[kind]
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    config = DataConfig(lines="label-first") if kind == "lines" else DataConfig()
    data = text_files.read(path, config).train
    assert text_files.is_text(path, config)
    assert data.texts == ('say "no', "a, b")
    assert data.preparation.classes == ("bad", "good")
    assert data.y.tolist() == [0, 1]


def test_folders_and_pairs_are_found(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in ("pos", "neg"):
            folder = tmp_path / "films" / part / label
            folder.mkdir(parents=True)
            (folder / "1.txt").write_text(f"{label}\nin {part}")
    train, test, *_ = text_files.read(tmp_path / "films", DataConfig())
    assert test is not None
    assert train.texts == ("neg\nin train", "pos\nin train")
    assert test.texts == ("neg\nin test", "pos\nin test")
    whole = text_files.read(tmp_path / "films" / "test", DataConfig()).train
    assert whole.texts == test.texts

    (tmp_path / "stsa").mkdir()
    for part in ("train", "dev", "test"):
        (tmp_path / "stsa" / f"x.{part}").write_text(f"1 good {part}\n0 bad {part}\n" * 2)
    for path in (tmp_path / "stsa", tmp_path / "stsa" / "x.train"):
        train, test, val, _, understood = text_files.read(path, DataConfig())
        assert train.texts == ("good train", "bad train") * 2
        assert test is not None
        assert test.texts == ("good test", "bad test") * 2
        assert val is not None
        assert val.texts == ("good dev", "bad dev") * 2
        assert train.preparation.classes == ("0", "1")
        examples = "1 | good train; 0 | bad train; 1 | good train"
        assert understood == f"texts from lines; class: at the beginning of each, as in {examples}"


@pytest.mark.parametrize("texts", [['"plain"', 'say "no"'], ['"a ""b"""', '5" pipe'], ['""', "empty"]])
def test_a_quote_between_tabs_is_part_of_the_text(tmp_path: Path, texts: list[str]) -> None:
    path = tmp_path / "films.tsv"
    path.write_text("\n".join(["text\tlabel", *(f"{text}\t{n}" for n, text in enumerate(texts)), ""]))
    assert text_files.read(path, DataConfig()).train.texts == tuple(texts)


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_a_table_of_tabs_that_is_quoted_as_csv_is_refused(tmp_path: Path, quoting: int) -> None:
    with (tmp_path / "films.tsv").open("w", encoding="utf-8-sig") as file:
        rows = [["text", "label"], ['He said "fine" twice', "a"], ["plain", "b"]]
        csv.writer(file, delimiter="\t", quoting=quoting).writerows(rows)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"films.tsv has quotes around its cells, .* save it with commas$"):
        text_files.read(tmp_path / "films.tsv", DataConfig(text_column="text", label_column="label"))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of two classes with two texts each."""
    for label in ("pos", "neg"):
        (tmp_path / "films" / label).mkdir(parents=True)
        for n in (1, 2):
            (tmp_path / "films" / label / f"{n}.txt").write_text(f"{label} {n}")
    return tmp_path / "films"


def test_what_is_left_out_of_a_folder_of_texts_is_said(films: Path) -> None:
    for name in ("neg/3.TXT", "neg/._3.txt", "neg/4.md", "pos/notes.text", "list.csv"):
        (films / name).write_text("odd")
    for name in ("__MACOSX", "pos/@eaDir", "$Recycle.Bin"):
        (films / name).mkdir()
    train = unroll.load(films, test_fraction=0, min_count=1).train
    assert train.texts == ("neg 1", "neg 2", "odd", "pos 1", "pos 2")
    assert train.notes == ("left out, as neither text nor class folder: list.csv, neg/4.md, pos/notes.text (3 in all)",)


@pytest.mark.parametrize(
    ("odd", "message"),
    [("neutral/1.md", "neutral holds no text"), ("__none/1.md", "__none holds no"), ("neg/more/3.txt", "is a f")],
)
def test_no_class_folder_is_left_out_in_silence(films: Path, odd: str, message: str) -> None:
    (films / odd).parent.mkdir()
    (films / odd).write_text("odd")
    with pytest.raises(DataError, match=message):
        unroll.load(films)


def test_a_test_folder_without_classes_is_not_used_and_said(films: Path, tmp_path: Path) -> None:
    films.rename(tmp_path / "train")
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "1.txt").write_text("neg")
    splits = unroll.load(tmp_path, test_fraction=0)
    assert splits.train.notes == ("test/ has no class folders: it is not used",)


def test_a_class_may_be_called_with_underscores(films: Path) -> None:
    (films / "neg").rename(films / "__neg")
    assert unroll.load(films, test_fraction=0, min_count=1).classes == ("__neg", "pos")


@pytest.mark.parametrize(
    "names", [("x.train.gz", "x.test.gz"), ("train.jsonl.gz", "test.jsonl.gz"), ("a_train.txt",) * 2]
)
def test_parts_that_are_packed_find_each_other(names: tuple[str, str], tmp_path: Path) -> None:
    names = (names[0], names[1].replace("train", "test"))
    for name, part in zip(names, ("train", "test"), strict=True):
        lines = [(label, f"{label} {part}") for label in ("bad", "good")]
        content = "".join(f'{{"text": "{t}", "label": "{n}"}}\n' if "json" in name else f"{n} {t}\n" for n, t in lines)
        (tmp_path / name).write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    for path in (tmp_path, tmp_path / names[0]):
        splits = unroll.load(path, min_count=1, lines=None if "json" in names[0] else "label-first")
        assert (splits.train.texts, splits.test.texts) == (("bad train", "good train"), ("bad test", "good test"))
        assert path == tmp_path or splits.name in ("x", "train", "a")


def test_a_folder_of_images_is_one_whatever_lies_there(tmp_path: Path) -> None:
    from PIL import Image

    pets = tmp_path / "pets"
    for label in ("cat", "dog"):
        (pets / label).mkdir(parents=True)
        for n in range(5):
            Image.new("L", (2, 2), n).save(pets / label / f"{n}.png")
    (pets / "cat" / "notes.txt").write_text("a fine cat")
    (pets / "titles.csv").write_text("title,label\na,b\n")
    (pets / "empty.csv").touch()
    assert unroll.load(pets).train.preparation.image is not None


BROKEN = {
    "latin-1": ("a.txt", "good caf\xe9".encode("latin-1"), r"a.txt is not UTF-8: byte 0xe9 at position 8"),
    "no text column": (
        "a.jsonl",
        b'{"words": "a", "label": 1}',
        r"has no text, sentence, .*: expected one of them, got words",
    ),
    "no label column": ("a.csv", b"text,mood\na,b\n", r"has no label, class, .*: expected one of them, got text, mood"),
    "broken json": ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": ', r"a.jsonl, line 2: broken JSON"),
    "no object": ("a.jsonl", b'{"text": "a", "label": 1}\n7', r"line 2: expected an object with fields, got 7"),
    "a number": ("a.jsonl", b'{"text": 7, "label": 1}', r"a.jsonl: expected texts in text, got numbers, 7 for"),
    "a number among texts": (
        "a.jsonl",
        b'{"text": "a", "label": 1}\n{"text": 7, "label": 1}',
        r"line 2: expected a text in text, got 7",
    ),
    "no label": ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": "b"}', r"line 2: label is missing"),
    "cells": ("a.tsv", b"text\tlabel\na b c\n", r"line 2: expected 2 cells as in the first line, got 1"),
    "two columns": (
        "a.tsv",
        b"text\ttext\tlabel\na\tb\tc\n",
        r"a.tsv has two columns 'text': expected names that differ",
    ),
    "a column of lines": (
        "a.csv",
        b'"a\nb",text,label\n',
        r"a.csv, line 1: expected the name of a column, got 'a\\nb'",
    ),
    "half a character": (
        "a.jsonl",
        b'{"text": "\\ud83d\\ude00", "label": 1}\n{"text": "so\\ud83d", "label": 1}',
        r"a.jsonl, line 2: expected a text in Unicode, got '\\ud83d', which is half a character",
    ),
    "a list for a label": (
        "a.json",
        b'[{"text": "a", "label": [1]}]',
        r"a.json, object 1: expected the name or the number of a class, got \[1\]",
    ),
    "no number for a label": (
        "a.jsonl",
        b'{"text": "a", "label": NaN}',
        r"line 1: expected the name or the number .* nan",
    ),
    "an empty cell": (
        "a.csv",
        b'label,text\na,one\nb,""\na,two\n',
        r"a.csv, line 3: text is missing: write a text, or rem",
    ),
    "a blank cell": ("a.tsv", b"label\ttext\na\tone\nb\t \n", r"a.tsv, line 3: text is missing"),
    "null": ("a.jsonl", b'{"text": "a", "label": 1}\n{"text": null, "label": 2}', r"line 2: text is missing"),
    "no name for a label": (
        "a.json",
        b'[{"text": "a", "label": " "}]',
        r"object 1: expected the name of a class, got ' '",
    ),
    "brackets without end": ("a.json", b"[" * 100_000, r"a.json is broken JSON: "),
    "empty": ("a.txt", b"\n", r"a.txt holds no texts"),
    "one class": (
        "a.csv",
        b"label,text\ngood,a\ngood,b\n",
        r"holds one class only to train on, good: expected 2 or more",
    ),
    "not gzip": ("a.txt.gz", b"good a", r"a.txt.gz is not a complete gzip file"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_bad_files_are_one_line(what: str, tmp_path: Path) -> None:
    name, content, message = BROKEN[what]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        unroll.load(str(tmp_path / name))


def test_a_missing_library_is_named_with_what_installs_it(
    tsv: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tsv(rows(2))
    unroll.train_run(str(path), epochs=1, hidden_size=4, out="run")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    expected = "unroll: texts need the library tokenizers: pip install '.[text]' in the folder of unroll\n"
    for words in (
        ["train", "--no-report", "--data", str(path)],
        ["predict", "run", "--text", "a"],
        ["evaluate", "run"],
    ):
        assert main(words) == 2
        assert capsys.readouterr().err == expected


def test_a_class_that_was_not_learned_and_too_many_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.train").write_text("1 a\n0 b\n" * 2)
    (tmp_path / "x.test").write_text("1 a\n2 b\n")
    with pytest.raises(DataError, match=r"x.test, line 2: the class 2 is not in .*x.train, the training part"):
        unroll.load(str(tmp_path))
    (tmp_path / "y.jsonl").write_text("{}")
    (tmp_path / "x.test").unlink()
    with pytest.raises(DataError, match=r"holds 2 files of texts to train on \(x.train, y.jsonl\): name one of them"):
        unroll.load(str(tmp_path))


@pytest.mark.parametrize("setting", [{"read": "pixels"}, {"resize": 28}, {"missing": "mask"}])
def test_settings_of_other_data_are_refused(setting: dict[str, Any], tsv: Callable[..., Path]) -> None:
    with pytest.raises(unroll.ConfigError, match="it holds texts"):
        unroll.load(str(tsv(rows())), **setting)
    with pytest.raises(unroll.ConfigError, match="it holds no texts"):
        unroll.load("mnist-sample", tokenizer="bpe")
    with pytest.raises(
        unroll.ConfigError, match="embedding_size applies to texts, got 7 for numeric data: leave it out"
    ):
        unroll.train_run("mnist-sample", embedding_size=7)


def test_equal_texts_come_into_one_part_and_the_vocabulary_is_that_of_the_training_part(
    tsv: Callable[..., Path],
) -> None:
    path = tsv([(f"w{n // 3} same", "good" if n % 2 else "bad") for n in range(300)])
    splits = unroll.load(str(path), min_count=1, tokenizer="word")
    train, test = set(splits.train.texts or ()), set(splits.test.texts or ())
    assert not train & test
    assert 45 <= len(splits.test) <= 75  # of a fifth of 300, groups of three
    tokenizer = splits.train.preparation.tokenizer
    assert tokenizer is not None
    assert set(tokenizer.vocabulary) == {"[UNK]", "same", *(text.split()[0] for text in train)}
    assert (splits.test.x[:, 0] == 0).all()
    training = Training(SequenceClassifier(5, 2, vocabulary_size=tokenizer.size), splits)
    assert training.val is not None
    assert not set(training.val.texts or ()) & set(training.train.texts or ())


def model(vocabulary_size: int = 11, **settings: Any) -> SequenceClassifier:
    torch.manual_seed(0)
    return SequenceClassifier(6, 3, cell="gru", hidden_size=8, vocabulary_size=vocabulary_size, **settings)


def test_a_model_of_tokens_is_torchs_embedding_gru_and_linear() -> None:
    own = model(bidirectional=True).eval()
    x, lengths = torch.randint(0, 11, (5, 9)), torch.tensor([9, 1, 4, 7, 2])
    assert own.embedding is not None
    gru = nn.GRU(6, 8, batch_first=True, bidirectional=True)
    for suffix, cell in zip(("", "_reverse"), own.layers[0], strict=True):  # type: ignore[arg-type]
        for name, value in cell.named_parameters():
            getattr(
                gru,
                f"{name.replace('weight_ih', 'weight_ih_l0').replace('weight_hh', 'weight_hh_l0')}".replace(
                    "bias_ih", "bias_ih_l0"
                ).replace("bias_hh", "bias_hh_l0")
                + suffix,
            ).data.copy_(value)
    packed = pack_padded_sequence(own.embedding(x), lengths, batch_first=True, enforce_sorted=False)
    expected = own.head(torch.cat(tuple(gru(packed)[1]), dim=1))
    torch.testing.assert_close(own(x, lengths), expected)


@pytest.mark.parametrize("readout", ["last", "mean", "max", "attention"])
def test_what_stands_behind_a_text_has_no_effect_and_an_empty_one_is_answered(readout: Any) -> None:
    own = model(readout=readout).eval()
    x, lengths = torch.randint(0, 11, (4, 7)), torch.tensor([3, 0, 7, 1])
    other = x.clone()
    other[0, 3:], other[1], other[3, 1:] = 10, 9, 8
    assert torch.equal(own(x, lengths), own(other, lengths))
    assert bool(own(x, lengths).isfinite().all())


def test_a_stream_reads_token_by_token() -> None:
    own = model(readout="attention", embedding_dropout=0.5)
    stream, x = own.stream(2), torch.randint(0, 11, (2, 6))
    for t in range(4):
        logits = stream.step(x[:, t])
    own.eval()
    torch.testing.assert_close(logits, own(x[:, :4]))
    torch.testing.assert_close(stream.feed(x[:, 4:]), own(x))
    with pytest.raises(InputError, match=r"step expects one time step \(batch,\), got shape \(2, 6\)"):
        stream.step(x)


def test_embedding_dropout_hides_its_share_in_training_alone() -> None:
    own = model(embedding_dropout=0.4)
    assert own.embedding is not None
    hidden = (own.stages(torch.ones(40, 50, dtype=torch.int64))[1].values == 0).double().mean().item()
    assert hidden == pytest.approx(0.4, abs=0.02)
    assert not (own.eval().stages(torch.ones(4, 5, dtype=torch.int64))[1].values == 0).any()
    with pytest.raises(unroll.ConfigError, match="embedding_dropout needs texts, got 0.5"):
        SequenceClassifier(3, 2, embedding_dropout=0.5)


def test_token_dropout_hides_whole_vectors_in_training_alone_and_keeps_their_mean() -> None:
    own = model(token_dropout=0.3)
    x = torch.ones(100, 50, dtype=torch.int64)
    seen = own.stages(x)[1].values
    hidden = (seen == 0).all(dim=2)
    assert hidden.double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert own.embedding is not None
    assert torch.allclose(seen[~hidden], own.embedding.weight[1] / 0.7)
    assert not (own.eval().stages(x)[1].values == 0).any()
    with pytest.raises(unroll.ConfigError, match="token_dropout needs texts, got 0.5"):
        SequenceClassifier(3, 2, token_dropout=0.5)


def test_tokens_that_will_not_do_are_named() -> None:
    with pytest.raises(
        InputError, match=r"x must be tokens \(batch, time\), int64 or int32, got torch.float32 of shape"
    ):
        model()(torch.zeros(2, 3))
    with pytest.raises(InputError, match="tokens must be from 0 to 10, got 0 to 11"):
        model()(torch.tensor([[0, 11]]))


@pytest.mark.slow
def test_a_run_of_texts_is_saved_judged_and_taken_up(tsv: Callable[..., Path], tmp_path: Path) -> None:
    path = tsv(rows(8))
    settings: dict[str, Any] = {
        "tokenizer": "word",
        "cell": "gru",
        "hidden_size": 8,
        "embedding_size": 7,
        "epochs": 8,
        "batch_size": 8,
        "lr": 0.02,
    }
    run = unroll.train_run(str(path), out=tmp_path / "run", **settings)
    assert run.evaluation is not None
    assert run.evaluation["accuracy"] > 0.9
    assert run.model.input_size == 7
    tokenizer = run.preparation.tokenizer
    assert tokenizer is not None
    assert (tmp_path / "run" / "tokenizer.json").read_text() == tokenizer.json
    assert run.config.vocabulary_size == tokenizer.size == run.model.vocabulary_size
    assert unroll.evaluate(run.model, load_test(run).sequences).accuracy == run.evaluation["accuracy"]

    other = load_test(run, str(tsv([("good fun", "good"), ("bad bore", "bad"), ("never seen", "bad")], "other.tsv")))
    assert other.sequences.x[:, :2].tolist()[2] == [0, 0]
    with pytest.raises(DataError, match="the run and the data must both hold images, or neither"):
        load_test(run, "mnist-sample")

    with pytest.raises(KeyboardInterrupt):
        unroll.train_run(str(path), out=tmp_path / "half", watch=interrupt_after(3), **settings)
    again = unroll.resume_run(tmp_path / "half")
    for one, same in zip(run.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, same)
    (tmp_path / "run" / "tokenizer.json").write_text("{")
    with pytest.raises(unroll.RunError, match="is broken"):
        unroll.load_run(tmp_path / "run")


def test_batches_of_texts_hold_little_padding() -> None:
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(2.8, 0.55, 7_000).astype(np.int64), 1, 60)  # about as SST-2's
    order, longest = training_order(torch.from_numpy(lengths), len(lengths), 64, random)
    assert len(longest) == -(-len(lengths) // 64)
    assert padded_share(lengths[order.numpy()], 64) < 0.15
    assert padded_share(lengths, 64) > 0.4


def test_files_of_texts_are_read_with_classes_and_without(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("good fun\n\nbad\n")
    at = Records(range(2), [1, 3], named_by="line")
    assert text_files.read_texts(tmp_path / "a.txt") == (["good fun", "bad"], at)
    assert text_files.read_texts(tmp_path / "a.txt", "label-first") == (["fun", ""], at)
    assert text_files.read_texts(tmp_path / "a.txt", "label-last") == (["good", ""], at)
    (tmp_path / "a.csv").write_text("n,review\n1,good fun\n")
    assert text_files.read_texts(tmp_path / "a.csv") == (["good fun"], Records([0], [2], [], "line"))
    for name, content in (("b.txt", "\n"), ("b.csv", "review\n"), ("b.json", "[]")):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=f"{name} holds no texts"):
            text_files.read_texts(tmp_path / name)


def test_an_empty_cell_is_a_text_to_classify(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,review\n1,good fun\n2,\n")
    texts, records = text_files.read_texts(tmp_path / "a.csv")
    assert (texts, records.names) == (["good fun", ""], ["2", "3"])


@pytest.mark.parametrize("content", ["text,n\n,1\n", "text,title,n\n,,1\n,,2\n"])
def test_a_column_of_empty_cells_holds_empty_texts_to_classify(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(content)
    assert set(text_files.read_texts(tmp_path / "a.csv")[0]) == {""}


def test_a_row_without_a_text_is_answered_as_the_others_are(
    tsv: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unroll.train_run(str(tsv(rows(2))), epochs=1, hidden_size=4, out=tmp_path / "run")
    (tmp_path / "new.csv").write_text("n,text\n1,good fun\n2,\n3,a bore\n")
    assert main(["predict", str(run.path), str(tmp_path / "new.csv"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["predictions"]) == 3
    (tmp_path / "new.csv").write_text("text,label\ngood fun,good\n,bad\n")
    with pytest.raises(DataError, match="line 3: text is missing"):
        load_test(run, str(tmp_path / "new.csv"))


def test_an_empty_text_that_is_written_as_such_is_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": ""}]')
    assert text_files.read_texts(tmp_path / "a.json")[0] == [""]


def test_a_table_of_one_line_of_texts_is_said_to_have_it_for_names(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text("a fine film, truly\n")
    message = "its first line was taken for the names of columns, a fine film, truly; write such a line above the texts"
    with pytest.raises(DataError, match=f"h.csv holds no texts: {message}"):
        text_files.read_texts(tmp_path / "h.csv")


@pytest.mark.slow
def test_the_command_line_looks_at_texts_and_answers_them(
    tsv: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tsv(rows(8)))
    assert main(["explore", path, "--out", str(tmp_path / "seen")]) == 0
    out = capsys.readouterr().out
    assert "texts, of " in out
    assert "most characteristic tokens of each class" in out
    assert "good  a fine film" in out
    assert {file.name for file in (tmp_path / "seen").iterdir()} == {"words.png", "classes.png", "lengths.png"}
    assert main(["check", "--data", path, "--recipe", "text"]) == 0
    assert "embedding" in capsys.readouterr().out
    run = str(tmp_path / "run")
    flags = ["--hidden-size", "8", "--epochs", "30", "--batch-size", "16", "--lr", "0.02"]
    assert main(["train", "--no-report", "--data", path, "--recipe", "text", "--out", run, *flags]) == 0
    capsys.readouterr()
    assert main(["predict", run, "--text", "good fun", "--text", "a BORE zzz", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["predictions"]
    assert (first["class"], first["text"], first["preparation"]) == ("good", "good fun", ["2 tokens"])
    assert (second["class"], second["preparation"]) == ("bad", ["3 tokens", "1 unknown"])
    assert main(["predict", run, "--text", "", "--text", "zzz", "--json"]) == 0
    empty, unknown = json.loads(capsys.readouterr().out)["predictions"]
    assert (empty["text"], empty["preparation"]) == ("", ["0 tokens"])
    assert sum(one["probability"] for one in empty["top"]) == pytest.approx(1)
    assert unknown["preparation"] == ["1 token", "1 unknown"]
    assert main(["predict", run, "--text", "caf\udce9"]) == 2  # as a command line brings bytes that are not UTF-8
    assert "--text, text 0: expected a text in Unicode, got '\\udce9'" in capsys.readouterr().err

    def stdin(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    stdin(b"truly good\n\ndull\n")
    assert main(["predict", run]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("%")[0].rsplit(" ", 2)[0] for line in shown] == [
        "standard input, line 1: truly good → good",
        "standard input, line 3: dull → bad",
    ]
    stdin(b"fun\ncaf\xe9\n")
    assert main(["predict", run]) == 2
    assert capsys.readouterr().err == (
        "unroll: standard input is not UTF-8: byte 0xe9 at position 7; save it as UTF-8\n"
    )
    stdin(b"")
    assert main(["predict", run]) == 2
    assert "nothing to classify: name files, give --text, or send texts to standard input" in capsys.readouterr().err
    assert main(["predict", run, str(tmp_path / "none.txt")]) == 2
    assert "none.txt: No such file or directory" in capsys.readouterr().err


def test_a_run_of_images_reads_no_texts(run: unroll.Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(run.path), "--text", "seven"]) == 2
    assert "this run was not trained on texts and cannot predict from them" in capsys.readouterr().err


@pytest.mark.slow
def test_a_vocabulary_of_nothing_looks_wrong(tsv: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("check", "explore"):
        assert main([command, "--data", str(tsv(rows(2))), "--min-count", "99"]) == 0
        assert "no token of the training part is known: try a lower min_count" in capsys.readouterr().out


def test_telling_words_have_the_scores_of_the_formula(tsv: Callable[..., Path]) -> None:
    made = [(f"{text} u{n}", label) for n in range(5) for text, label in (("a a b", "x"), ("a c", "y"), ("d a c", "y"))]
    splits = unroll.load(str(tsv(made)), min_count=1)
    found = describe_words(splits)
    assert found is not None
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for text, label in zip(splits.train.texts or (), splits.train.y.tolist(), strict=True):
        for word in text.split():
            counts[word][label] += 1
    totals = [sum(pair[label] + 0.5 for pair in counts.values()) + 0.5 for label in (0, 1)]  # [UNK] too

    def score(word: str) -> float:
        own, other = (count + 0.5 for count in counts[word])
        ratio = math.log(own / (totals[0] - own)) - math.log(other / (totals[1] - other))
        return ratio / math.sqrt(1 / own + 1 / other)

    assert dict(found.typical["x"])["b"] == pytest.approx(score("b"), abs=0.006)
    assert dict(found.typical["y"])["c"] == pytest.approx(-score("c"), abs=0.006)
    assert "c" not in dict(found.typical["x"])
    assert [word for word, _ in found.frequent][:2] == ["a", "c"]
    assert found.unknown_train == 0


def test_the_words_that_tell_most_of_a_class_come_first_and_eight_are_named(tsv: Callable[..., Path]) -> None:
    told = [f"w{n} " * n for n in range(1, 13)]  # the more often only one class has a word, the more it tells
    rows = [(text, "x") for text in told] + [(f"other {text.upper().replace('W', 'v')}", "y") for text in told]
    found = describe_words(unroll.load(str(tsv(rows)), min_count=1, test_fraction=0))
    assert found is not None
    assert [word for word, _ in found.typical["x"]] == [f"w{n}" for n in range(12, 4, -1)]
    assert [word for word, _ in found.typical["y"]][:2] in (["v12", "other"], ["other", "v12"])  # 12 times each


def test_one_word_beside_the_unknown_ones_may_tell_a_class(tsv: Callable[..., Path]) -> None:
    rows = [("same same same", "x"), ("same new", "x"), ("some words !", "y"), ("of no number , same", "y")]
    found = describe_words(unroll.load(str(tsv(rows)), min_count=3, test_fraction=0))
    assert found is not None
    assert (found.vocabulary, found.frequent) == (2, (("same", 5),))
    assert [word for word, _ in found.typical["x"]] == ["same"]
    assert found.typical["y"] == ()  # [UNK] is named of none
    assert (found.unknown_train, found.unknown_test) == (pytest.approx(8 / 13), 0)


@pytest.mark.data
@pytest.mark.slow
def test_sst2_is_read_whole() -> None:
    from conftest import UNROLL_DATA

    if not UNROLL_DATA or not (Path(UNROLL_DATA) / "sst2").is_dir():
        pytest.skip("needs SST-2 in $UNROLL_DATA/sst2")
    splits = unroll.load(str(Path(UNROLL_DATA).resolve() / "sst2"))
    assert (len(splits.train), len(splits.test), splits.classes) == (6_920, 1_821, ("0", "1"))
    assert json.loads(splits.train.preparation.tokenizer.json)["model"]["type"] == "WordLevel"  # type: ignore[union-attr]
