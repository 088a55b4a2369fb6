"""A validation part of the set's own watches the training; a part without classes is not used, and said so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import unroll
from unroll import ConfigError, DataError, SequenceClassifier, Training
from unroll.cli import main

Written = Callable[[Path, str, int], None]
ROWS = {"train": 20, "test": 6, "val": 4}


def wide(path: Path, part: str, rows: int) -> None:
    lines = [f"{n}.5,{n * n},{'uv'[n % 2]}" for n in range(rows)]
    path.with_name(f"x_{part}.csv").write_text("\n".join(["a,b,label", *lines]) + "\n")


def archive(path: Path, part: str, rows: int) -> None:
    lines = [f"{n}.5,{n * n}:{n % 2}\n" for n in range(rows)]
    path.with_name(f"X_{part.upper()}.ts").write_text("@classLabel true 0 1\n@data\n" + "".join(lines))


def texts(path: Path, part: str, rows: int) -> None:
    lines = [f"film {n} of {part}\t{n % 2}\n" for n in range(rows)]
    path.with_name(f"{part}.tsv").write_text("sentence\tlabel\n" + "".join(lines))


def lines(path: Path, part: str, rows: int) -> None:
    name = "x.dev" if part == "val" else f"x.{part}"
    path.with_name(name).write_text("".join(f"{n % 2} film {n}\n" for n in range(rows)))


def folders(path: Path, part: str, rows: int) -> None:
    for n in range(rows):
        folder = path.with_name(part) / "uv"[n % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n}.txt").write_text(f"film {n}")


@pytest.mark.parametrize("write", [wide, archive, texts, lines, folders])
def test_a_set_of_three_parts_is_read_as_such(write: Written, tmp_path: Path) -> None:
    for part, rows in ROWS.items():
        write(tmp_path / "x", part, rows)
    splits = unroll.load(tmp_path)
    assert splits.val is not None
    assert {"train": len(splits.train), "test": len(splits.test), "val": len(splits.val)} == ROWS
    assert splits.val.preparation == splits.train.preparation
    training = Training(model(splits), splits)
    assert training.val is not None
    assert torch.equal(training.val.x, splits.val.x)
    assert len(training.train) == 20
    for fraction in (0.0, 0.1):
        assert len(Training(model(splits), splits, unroll.TrainConfig(val_fraction=fraction)).train) == 20
    with pytest.raises(
        ConfigError, match=r"val_fraction 0.2 cannot be used with .*: it has a validation part of its own"
    ):
        Training(model(splits), splits, unroll.TrainConfig(val_fraction=0.2))


def model(splits: unroll.Splits) -> SequenceClassifier:
    return SequenceClassifier(
        splits.train.input_size,
        2,
        hidden_size=4,
        vocabulary_size=splits.train.vocabulary_size,
        ngram_buckets=splits.train.ngram_buckets,
        cell="gru",
    )


@pytest.mark.parametrize("name", ["VAL", "VALID", "VALIDATION", "DEV"])
def test_a_validation_part_has_one_of_four_names(name: str, tmp_path: Path) -> None:
    for part in ("TRAIN", "TEST", name):
        archive(tmp_path / "x", part, 6)
    splits = unroll.load(tmp_path / "X_TRAIN.ts")
    assert splits.val is not None
    assert len(splits.val) == 6


def test_a_validation_part_without_a_test_part_leaves_that_to_be_drawn(tmp_path: Path) -> None:
    for part in ("train", "val"):
        wide(tmp_path / "x", part, ROWS[part])
    splits = unroll.load(tmp_path)
    assert splits.drawn
    assert splits.val is not None
    assert (len(splits.train), len(splits.test), len(splits.val)) == (16, 4, 4)


@pytest.mark.slow
def test_the_flag_is_refused_and_a_run_is_calibrated_on_the_part(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for part, rows in ROWS.items():
        wide(tmp_path / "x", part, rows)
    data = str(tmp_path / "x_train.csv")
    for command in ("train", "check"):
        assert main([command, "--data", data, "--val-fraction", "0.1"]) == 2
        assert "val_fraction 0.1 cannot be used with" in capsys.readouterr().err
    words = ["--epochs", "1", "--hidden-size", "4", "--out", str(tmp_path / "run"), "--no-report"]
    assert main(["train", "--data", data, *words]) == 0
    assert "20 train, 4 for validation, 6 test" in capsys.readouterr().out
    calibration = unroll.load_run(tmp_path / "run").calibration
    assert calibration is not None
    assert calibration.n == 4
    assert main(["explore", data, "--out", str(tmp_path / "seen"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["source"].endswith("x_train.csv, with 4 sequences for validation")


UNLABELLED = {
    "wide": ("train.csv", "test.csv", "id,a,b,label\n" + "".join(f"{n},{n}.5,2,{'uv'[n % 2]}\n" for n in range(20))),
    "long": (
        "x_train.csv",
        "x_test.csv",
        "id,time,a,label\n" + "".join(f"{n},0,{n % 7}.{n},{'uv'[n % 2]}\n" for n in range(20)),
    ),
    "texts": ("train.tsv", "test.tsv", "n\tsentence\tlabel\n" + "".join(f"{n}\ta {n}\t{n % 2}\n" for n in range(20))),
    "json": ("train.jsonl", "test.jsonl", "".join(f'{{"text": "a {n}", "label": {n % 2}}}\n' for n in range(20))),
}


@pytest.mark.parametrize("kind", UNLABELLED)
def test_a_test_part_without_classes_is_not_used(kind: str, tmp_path: Path) -> None:
    train, test, content = UNLABELLED[kind]
    (tmp_path / train).write_text(content)
    bare = [line.rpartition("\t" if "\t" in line else ",")[0] for line in content.splitlines()]
    (tmp_path / test).write_text("\n".join(f"{line}}}" if kind == "json" else line for line in bare) + "\n")
    for path in (tmp_path, tmp_path / train):
        splits = unroll.load(path)
        assert splits.drawn
        assert (len(splits.train), len(splits.test)) == (16, 4)
        assert splits.train.notes == (f"{test} has no classes: it is not used",)
    assert len(unroll.load(tmp_path, test_fraction=0.5).test) == 10


def test_groups_of_arrays_are_called_groups_where_none_can_be_held_out() -> None:
    x = torch.arange(48.0).view(12, 4, 1)
    with pytest.raises(DataError, match="no whole group can be held out, as each has a class that no other has"):
        unroll.load(x, list("ab" * 6), groups=list("ab" * 6))
