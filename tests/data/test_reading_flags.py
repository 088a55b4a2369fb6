"""Each flag that says how data is read, with each format: it changes what is read, or is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unroll
from unroll.errors import ConfigError, InputError
from unroll.evaluation.predict_files import predict_files
from unroll.runs.data import load_test

Call = Callable[..., tuple[int, str, str]]
SERIES = ("d.npz", "d.csv", "d.ts", "d.arff", "d.tsv", "d.txt", "recordings")
TEXTS = ("t.csv", "t.jsonl", "lines.txt", "texts")
IMAGES = ("mnist-sample", "images")
# By the flag: a value, and the formats that have a use for it; all others refuse it.
FLAGS: dict[str, tuple[object, tuple[str, ...]]] = {
    "read": ("columns", IMAGES),
    "resize": ("4", ("images",)),
    "colour": ("keep", ("images",)),  # which are grey
    "missing": ("mask", ("gaps.csv",)),
    "tokenizer": ("bpe", TEXTS),
    "vocabulary_size": (3, TEXTS),
    "min_count": (1, TEXTS),
    "id_column": ("number", ("gaps.csv",)),
    "time_column": ("number", ()),  # which would need an id too
    "label_column": ("other", ("gaps.csv", "t.csv", "t.jsonl")),
    "feature_columns": ("t1,t2", ("gaps.csv", "d.csv")),
    "drop_columns": ("t1", ("gaps.csv", "d.csv")),
    "missing_values": ("-999", ("gaps.csv", *SERIES)),
    "decimal": (",", ()),  # all are written with a point
    "text_column": ("more", ("t.csv", "t.jsonl")),
    "lines": ("label-last", ("lines.txt",)),
    "resample": ("50Hz", ()),  # none of them has times
    "every": (2, ("gaps.csv", *SERIES)),
    "max_length": (3, ("gaps.csv", *SERIES, *TEXTS)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with 40 series, texts and images in every format; one value of each series' file is -999."""
    path, random = tmp_path_factory.mktemp("formats"), np.random.default_rng(0)
    x = random.normal(size=(40, 6, 1)).round(2)
    x[3, 2] = -999
    names = ["yes" if row % 2 else "no" for row in range(40)]
    np.savez(path / "d.npz", x=x, y=np.array(names))
    rows = [",".join(map(str, series[:, 0])) for series in x]
    steps = ",".join(f"t{step}" for step in range(6))
    pairs = list(zip(names, rows, strict=True))
    (path / "d.csv").write_text("\n".join([f"label,{steps}", *(f"{name},{row}" for name, row in pairs)]))
    gaps = [f"{at * 7 % 41},{name},{'uv'[at // 20]},{row}" for at, (name, row) in enumerate(pairs)]
    gaps[0] = "0,no,u,1,,3,4,5,6"
    (path / "gaps.csv").write_text("\n".join([f"number,label,other,{steps}", *gaps]))
    (path / "d.ts").write_text("@classLabel true no yes\n@data\n" + "\n".join(f"{row}:{name}" for name, row in pairs))
    attributes = "".join(f"@attribute t{step} numeric\n" for step in range(6))
    lines = "\n".join(f"{row},{name}" for name, row in pairs)
    (path / "d.arff").write_text(f"@relation d\n{attributes}@attribute c {{no,yes}}\n@data\n{lines}")
    for name, divider in (("d.tsv", "\t"), ("d.txt", " ")):
        numbers = [f"{at % 2},{row}".replace(",", divider) for at, row in enumerate(rows)]
        (path / name).write_text("\n".join(numbers))
    texts = [f"a {'dull' if name == 'no' else 'fine'} film of {row[:3]}" for name, row in pairs]
    objects = [
        {"text": text, "more": f"more {text}", "label": name, "other": "uv"[at // 20]}
        for at, (text, name) in enumerate(zip(texts, names, strict=True))
    ]
    (path / "t.jsonl").write_text("\n".join(map(json.dumps, objects)))
    cells = "\n".join(",".join(map(str, one.values())) for one in objects)
    (path / "t.csv").write_text(f"text,more,label,other\n{cells}")
    doubled = [f"{name} {text} {name}" for name, text in zip(names, texts, strict=True)]
    (path / "lines.txt").write_text("\n".join(doubled))
    for at, (name, text) in enumerate(zip(names, texts, strict=True)):
        for kind in ("texts", "images", "recordings"):
            (path / kind / name).mkdir(parents=True, exist_ok=True)
        (path / "texts" / name / f"{at}.txt").write_text(text)
        Image.fromarray(random.integers(0, 255, (8, 8), dtype=np.uint8)).save(path / "images" / name / f"{at}.png")
        (path / "recordings" / name / f"{at}.csv").write_text("\n".join(["a", *map(str, x[at, :, 0])]))
    return path


@pytest.mark.parametrize("flag", FLAGS)
@pytest.mark.parametrize("name", ["gaps.csv", *SERIES, *TEXTS, *IMAGES])
def test_a_flag_is_used_or_refused(folder: Path, name: str, flag: str) -> None:
    value, users = FLAGS[flag]
    path = name if name == "mnist-sample" else folder / name
    base: dict[str, object] = {"drop_columns": "other,number"} if name == "gaps.csv" and flag != "drop_columns" else {}
    if flag in ("label_column", "id_column") and base:
        base = {"drop_columns": "number" if flag == "label_column" else "other"}
    if name not in users:
        with pytest.raises(InputError) as refused:
            unroll.load(path, **{**base, flag: value})  # type: ignore[arg-type]
        assert "\n" not in str(refused.value)
        return
    usual, changed = (unroll.load(path, **more) for more in (base, {**base, flag: value}))  # type: ignore[arg-type]
    kept = [(one.train.fingerprint(), one.test.fingerprint(), one.train.preparation) for one in (usual, changed)]
    assert kept[0] != kept[1]


@pytest.mark.parametrize("name", SERIES)
def test_a_mark_is_missing_in_every_format_and_at_prediction_time(folder: Path, name: str, tmp_path: Path) -> None:
    marked, plain = unroll.load(folder / name, missing_values=-999), unroll.load(folder / name)
    assert sum(0 if part.missing is None else int(part.missing.sum()) for part in (marked.train, marked.test)) == 1
    assert min(float(part.raw.min()) for part in (marked.train, marked.test)) > -10
    assert min(float(part.raw.min()) for part in (plain.train, plain.test)) == -999
    run = unroll.train_run(str(folder / name), missing_values="-999", epochs=1, hidden_size=2, out=tmp_path / "run")
    assert run.config.plan is not None
    file = folder / name if name != "recordings" else folder / name / "yes" / "3.csv"
    answers = predict_files(run.model, run.preparation, [file], own=run.config.plan.reading)
    assert [answer.error for answer in answers if answer.error] == []
    assert ["1 missing value filled in" in answer.steps for answer in answers].count(True) == 1


def test_a_mark_that_is_no_number_is_refused_where_there_are_no_texts(folder: Path) -> None:
    for name in ("d.npz", "d.ts", "d.arff", "d.tsv", "d.txt"):
        with pytest.raises(ConfigError, match="missing_values none cannot be used with .*: its values are numbers"):
            unroll.load(folder / name, missing_values="none")


def test_flags_at_prediction_time_are_used_or_refused(folder: Path, tmp_path: Path, call: Call) -> None:
    torch.manual_seed(0)
    series, images = unroll.load(folder / "d.npz"), unroll.load("mnist-sample")
    for name, splits in (("series", series), ("images", images)):
        model = unroll.SequenceClassifier(splits.train.input_size, len(splits.classes), hidden_size=2)
        unroll.save(model, tmp_path / name, data=splits.train)
    picture = folder / "images" / "no" / "0.png"
    for words, message in (
        (("predict", tmp_path / "series", folder / "d.ts", "--id-column", "a"), "id_column a cannot be used with"),
        (("predict", tmp_path / "series", folder / "d.npz", "--decimal", ","), "decimal , cannot be used with"),
        (("predict", tmp_path / "series", folder / "d.csv", "--lines", "tab"), "lines tab cannot be used with"),
        (("predict", tmp_path / "images", picture, "--drop-columns", "a"), "drop_columns a cannot be used with"),
        (("predict", tmp_path / "images", picture, "--text-column", "a"), "text_column a cannot be used with"),
        (("evaluate", tmp_path / "images", "--missing-values", "1"), "missing_values must come with --data"),
        (("evaluate", tmp_path / "images", "--data", "mnist-sample", "--id-column", "a"), "id_column a cannot be used"),
    ):
        status, _, err = call(*words)
        assert status == 2
        assert message in err
        assert err.count("\n") == 1
    run = unroll.load_run(tmp_path / "series")
    with pytest.raises(ConfigError, match="label_column a cannot be used"):
        load_test(run, str(folder / "d.ts"), label_column="a")
