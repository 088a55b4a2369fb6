"""Small files of each kind, damaged at random: a reader returns a result or raises one clear line, nothing else.

``UNROLL_FUZZ=50000`` tries so many files of each kind; without it a few. ``-s`` prints how many were read.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import shutil
import struct
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import fuzz
import unroll
from unroll.data.formats.idx import read_idx
from unroll.data.preparation import ImageFormat, Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.data.tokenizer import Tokenizer
from unroll.errors import InputError
from unroll.evaluation.calibration import Calibration
from unroll.evaluation.predict_files import predict_files, predict_texts
from unroll.evaluation.predictions import Predictions
from unroll.formatting import is_printable
from unroll.runs.artifacts import (
    read_calibration,
    read_evaluation,
    read_predictions,
    write_calibration,
    write_predictions,
)
from unroll.runs.history import read_history, write_metrics
from unroll.runs.record import read_record
from unroll.training.results import EpochResult

CASES = fuzz.EXAMPLES or 8
LONGEST = 400  # characters of a message, without the paths in it

INSERTED = [
    b"\x1b[31m", b"\x7f", b"\xc2\x9b", "\u202e".encode(), b"\xed\xa0\x80", b"\0", b"\r", b"\n", b"\t", b'"', b"'", b",",
    b";", b"{", b"}", b"[", b"]", b"[" * 3000, b"null", b"true", b"NaN", b"Infinity", b"-1", b"1e999", b"1e-320", b"0",
    b"A" * 5000, "é".encode(), "\u200d".encode(), b"\\ud800", b"@data\n", b"?", b"", b"#", b" ", b"\xff\xfe", b"PK\3\4",
]  # fmt: skip
NUMBERS = [
    b"0",
    b"-1",
    b"1",
    b"2147483648",
    b"99999999999999999999",
    b"1e999",
    b"NaN",
    b"0.5",
    b"9" * 400,
    b"-0",
    b"3.0",
]


def mutated(content: bytes, chance: random.Random, strangers: list[bytes]) -> bytes:
    """Return ``content`` with one to three accidents."""
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at, end = sorted(chance.randrange(len(data) + 1) for _ in range(2))
        kind = chance.randrange(7)
        if kind == 0 and data:
            for _ in range(chance.choice((1, 1, 3, 8))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del data[at : len(data) if chance.random() < 0.3 else min(end, at + 40)]
        elif kind == 2:
            data[at:at] = data[end : end + chance.randrange(60)]
        elif kind == 3:
            stranger = chance.choice(strangers)
            start = chance.randrange(len(stranger) + 1)
            data[at : at + chance.randrange(30)] = stranger[start : start + chance.randrange(60)]
        elif kind == 4:
            data[at : at + chance.randrange(3)] = chance.choice(INSERTED)
        else:
            found = list(re.finditer(rb"\d+(\.\d+)?|\"[^\"]*\"|null|true|false", data))
            if found:
                place = chance.choice(found)
                data[place.start() : place.end()] = chance.choice(NUMBERS if kind == 5 else NUMBERS + INSERTED)
    return bytes(data)


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def npz_mutated(content: bytes, chance: random.Random, strangers: list[bytes]) -> bytes:
    """Damage the file, or what is in it: then the sums are right."""
    if chance.random() < 0.3:
        return mutated(content, chance, strangers)
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = chance.choice(list(members))
    head = 128 if chance.random() < 0.7 else len(members[name])
    members[name] = mutated(members[name][:head], chance, strangers) + members[name][head:]
    return zipped(members)


def safetensors_mutated(content: bytes, chance: random.Random, strangers: list[bytes]) -> bytes:
    """Damage the file, its header, or its numbers."""
    size = struct.unpack("<Q", content[:8])[0]
    header, rest = content[8 : 8 + size], content[8 + size :]
    way = chance.random()
    if way < 0.3:
        return mutated(content, chance, strangers)
    if way < 0.7:
        header = mutated(header, chance, strangers)
        return struct.pack("<Q", len(header)) + header + rest
    numbers = bytearray(rest)
    at = chance.randrange(max(1, len(numbers) // 4)) * 4
    numbers[at : at + 4] = chance.choice((b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\xff\xff\x7f\x7f", b"\0\0\0\x80"))
    return content[: 8 + size] + bytes(numbers[: len(rest)])


class Kind:
    """A reader, a small right file for it, and where that has to lie."""

    def __init__(
        self, folder: Path, name: str, content: bytes, read: Callable[[Path], Any],
        mutate: Callable[[bytes, random.Random, list[bytes]], bytes] = mutated,
    ) -> None:  # fmt: skip
        self.path, self.content, self.read, self.mutate = folder / name, content, read, mutate
        folder.mkdir(parents=True, exist_ok=True)


def epoch(number: int) -> EpochResult:
    return EpochResult(number, 1.5, 0.5, None, None, 0.002, 0.1, 900.0)


def run_of(folder: Path, preparation: Preparation, data: SequenceData, vocabulary: int, **settings: Any) -> Path:
    """Return a run with all its files, as if it had been trained."""
    torch.manual_seed(0)
    size = 4 if vocabulary else data.input_size
    model = unroll.SequenceClassifier(size, 2, hidden_size=3, vocabulary_size=vocabulary, **settings)
    unroll.save(model, folder, data=data)
    write_metrics(folder, [epoch(1), epoch(2)])
    said = Predictions.of(model, data)
    write_predictions(folder, said)
    write_calibration(folder, Calibration((0.5, 1.0), (1.5, 0.75), 20))
    (folder / "evaluation.json").write_text(
        json.dumps({"weights": "of the last epoch", "epoch": 1, **said.evaluation.to_dict()})
    )
    config = json.loads((folder / "config.json").read_text())
    recipe = unroll.RECIPES["images"]
    train = {name: getattr(recipe.train, name) for name in recipe.train.__dataclass_fields__}
    more = {"name": "d.csv", "dir": None}
    config |= {"recipe": "images", "train": train, "backend": "auto", "tensorboard": False}
    (folder / "config.json").write_text(json.dumps(config | {"data": config["data"] | more}, indent=2))
    return folder


def table_of_kinds(root: Path) -> dict[str, Kind]:
    """Return every kind of file, each in a folder of its own."""
    chance = np.random.default_rng(0)
    x, y = chance.normal(size=(12, 5, 2)).astype(np.float32), np.arange(12) % 2
    buffer, parts = io.BytesIO(), io.BytesIO()
    np.savez(buffer, x=x, y=np.array(["no", "yes"])[y], lengths=np.full(12, 4))
    np.savez(parts, x_train=x, y_train=y, x_test=x.astype(np.float64), y_test=y, classes=np.array(["no", "yes"]))
    rows = [",".join(f"{value:.2f}" for value in series[:, 0]) for series in x]
    wide = "label,id,a,b,c,d,e\n" + "".join(f"{'ny'[n % 2]}es,{n},{row}\n" for n, row in enumerate(rows))
    long = "id,time,label,a,b\n" + "".join(
        f"{n},2020-01-0{t + 1},{'ny'[n % 2]}es,{x[n, t, 0]:.2f},{x[n, t, 1]:.2f}\n" for n in range(12) for t in range(3)
    )
    ts = "@problemName d\n@univariate false\n@classLabel true no yes\n@data\n" + "".join(
        f"{row}:{row}:{('no', 'yes')[n % 2]}\n" for n, row in enumerate(rows)
    )
    named = list(zip(rows, y.tolist(), strict=True))
    arff = "@relation d\n" + "".join(f"@attribute t{t} numeric\n" for t in range(5)) + "@attribute c {no,yes}\n@data\n"
    arff += "".join(f"{row},{('no', 'yes')[label]}\n" for row, label in named)
    relational = "@relation d\n@attribute x relational\n@attribute t numeric\n@end x\n@attribute c {no,yes}\n@data\n"
    relational += "".join(f"'{row}\\n{row}',{('no', 'yes')[label]}\n" for row, label in named)
    plain = "".join(f"{label},{row}\n" for row, label in named)
    texts = [(f"a {('dull', 'fine')[n % 2]} film, number {n}", ("no", "yes")[n % 2]) for n in range(12)]
    objects = [{"text": text, "label": label} for text, label in texts]
    image = io.BytesIO()
    Image.fromarray((np.arange(64).reshape(8, 8) * 3).astype(np.uint8)).save(image, "png")
    photo = io.BytesIO()
    Image.fromarray((np.arange(192).reshape(8, 8, 3)).astype(np.uint8)).save(photo, "jpeg")
    idx = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 3, 4) + bytes(24)

    def load(path: Path) -> Any:
        return unroll.load(path)

    def folder(path: Path) -> Any:
        return unroll.load(path.parent.parent)

    kinds = {
        "npz": Kind(root / "npz", "d.npz", buffer.getvalue(), load, npz_mutated),
        "npz of parts": Kind(root / "parts", "d.npz", parts.getvalue(), load, npz_mutated),
        "csv, wide": Kind(root / "wide", "d.csv", wide.encode(), load),
        "csv, long": Kind(root / "long", "d.csv", long.encode(), load),
        "tsv": Kind(root / "tsv", "d.tsv", wide.replace(",", "\t").encode(), load),
        "ts": Kind(root / "ts", "d.ts", ts.encode(), load),
        "arff": Kind(root / "arff", "d.arff", arff.encode(), load),
        "arff of several features": Kind(root / "relational", "d.arff", relational.encode(), load),
        "tsv of numbers": Kind(root / "numbers", "d.tsv", plain.replace(",", "\t").encode(), load),
        "txt of numbers": Kind(root / "columns", "d.txt", plain.replace(",", "  ").encode(), load),
        "csv of texts": Kind(
            root / "texts", "d.csv", ("text,label\n" + "".join(f'"{t}",{c}\n' for t, c in texts)).encode(), load
        ),
        "jsonl": Kind(root / "jsonl", "d.jsonl", "\n".join(map(json.dumps, objects)).encode(), load),
        "json": Kind(root / "json", "d.json", json.dumps(objects).encode(), load),
        "txt": Kind(root / "txt", "d.txt", "".join(f"{c} {t}\n" for t, c in texts).encode(), load),
        "idx": Kind(root / "idx", "d", idx, lambda path: read_idx(path, 3)),
        "png": Kind(root / "png" / "no", "0.png", image.getvalue(), folder),
        "jpeg": Kind(root / "jpeg" / "no", "0.jpg", photo.getvalue(), folder),
    }
    for name in ("png", "jpeg"):
        other = kinds[name].path.parent.parent / "yes" / "1.png"
        other.parent.mkdir()
        for n in range(4):
            shutil.copyfile(_written(kinds[name]), kinds[name].path.with_stem(f"a{n}"))
            Image.fromarray(np.full((8, 8), n, np.uint8)).save(other.with_stem(str(n)))
    return kinds | _kinds_of_runs(root, x, y, [text for text, _ in texts])


def _written(kind: Kind) -> Path:
    kind.path.write_bytes(kind.content)
    return kind.path


def _kinds_of_runs(root: Path, x: np.ndarray, y: np.ndarray, texts: list[str]) -> dict[str, Kind]:
    y_, classes = torch.from_numpy(y), ("no", "yes")
    series = SequenceData(
        torch.from_numpy(x), y_, Preparation(classes, Scaling((0.0, 0.0), (1.0, 1.0)), None, None, ("a", "b"))
    )
    image = ImageFormat(5, 2, "rows", None)
    images = SequenceData(
        torch.zeros(12, 5, 2, dtype=torch.uint8), y_, Preparation(classes, Scaling(0.0, 255.0), image)
    )
    kinds: dict[str, Kind] = {}
    runs = {"series": run_of(root / "series run", series.preparation, series, 0, cell="lstm", layer_norm=True)}
    runs["images"] = run_of(root / "images run", images.preparation, images, 0, cell="lru", readout="attention")
    for kind in ("word", "bpe"):
        tokenizer = Tokenizer.learn(kind, texts, 40, 1)
        empty = SequenceData(
            torch.zeros(12, 0, dtype=torch.int32),
            y_,
            Preparation(classes, Scaling(0.0, 1.0)),
            None,
            (),
            texts=tuple(texts),
        )
        data = empty.tokenized(tokenizer)
        runs[kind] = run_of(root / f"{kind} run", data.preparation, data, tokenizer.size, bidirectional=True)

    def load(path: Path) -> Any:
        run = unroll.load_run(path.parent)
        files = {"images": ["one.png"], "series": ["one.csv"]}.get(path.parent.name.split()[0])
        if run.preparation.tokenizer:
            predict_texts(run.model, run.preparation, ["a fine film", ""])
        elif files:
            predict_files(run.model, run.preparation, [root / file for file in files])
        return run

    Image.fromarray(np.full((9, 9), 7, np.uint8)).save(root / "one.png")
    (root / "one.csv").write_text("id,time,a,b\n1,1,2,3\n1,2,2,3\n")
    for kind, run in runs.items():
        names = [("config.json", mutated), ("model.safetensors", safetensors_mutated)]
        for name, mutate in names + ([("tokenizer.json", mutated)] if kind in ("word", "bpe") else []):
            kinds[f"{name} of {kind}"] = Kind(run, name, (run / name).read_bytes(), load, mutate)
    run = runs["series"]
    for name, read, mutate in (
        ("metrics.jsonl", lambda path: read_history(path.parent), mutated),
        ("calibration.json", lambda path: read_calibration(path.parent), mutated),
        ("evaluation.json", lambda path: (read_evaluation(path.parent), read_record(path.parent)), mutated),
        ("predictions.safetensors", lambda path: read_predictions(path.parent, classes), safetensors_mutated),
    ):
        kinds[name] = Kind(run, name, (run / name).read_bytes(), read, mutate)
    kinds["config.json for compare"] = Kind(
        run, "config.json", (run / "config.json").read_bytes(), lambda path: read_record(path.parent)
    )
    return kinds


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Kind]:
    return table_of_kinds(tmp_path_factory.mktemp("kinds"))


NAMES = (
    "npz", "npz of parts", "csv, wide", "csv, long", "tsv", "ts", "arff",
    "arff of several features", "tsv of numbers", "txt of numbers", "csv of texts", "jsonl", "json", "txt", "idx",
    "png", "jpeg", "config.json of series", "model.safetensors of series", "config.json of images",
    "model.safetensors of images", "config.json of word", "model.safetensors of word", "tokenizer.json of word",
    "config.json of bpe",
    "model.safetensors of bpe", "tokenizer.json of bpe", "metrics.jsonl", "calibration.json", "evaluation.json",
    "predictions.safetensors", "config.json for compare",
)  # fmt: skip


@pytest.mark.fuzz
@pytest.mark.parametrize("name", NAMES)
def test_a_damaged_file_is_read_or_refused_in_one_line(kinds: dict[str, Kind], name: str) -> None:
    kind = kinds[name]
    strangers = [other.content for other in kinds.values()]
    bad: dict[str, tuple[int, bytes]] = {}
    read = 0
    kind.path.write_bytes(kind.content)
    kind.read(kind.path)
    for number in range(CASES):
        content = kind.mutate(kind.content, random.Random(f"{name} {number}"), strangers)
        kind.path.write_bytes(content)
        try:
            kind.read(kind.path)
            read += 1
        except InputError as error:
            complaint = _complaint(str(error), kind.path)
            if complaint:
                bad.setdefault(complaint, (number, content))
        except BaseException as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            bad.setdefault(
                f"{type(error).__name__} {where.filename}:{where.lineno} {str(error)[:80]}", (number, content)
            )
            if isinstance(error, KeyboardInterrupt):
                raise
    kind.path.write_bytes(kind.content)
    print(f"{name}: {CASES:,} tried, {read:,} read, {len(bad)} wrong")
    kept = os.environ.get("UNROLL_FUZZ_KEEP")
    for complaint, (number, content) in bad.items():
        if kept:
            (Path(kept) / re.sub(r"\W+", "-", f"{name} {number}")).write_bytes(content)
            print("   ", number, complaint)
    assert not bad, {complaint: number for complaint, (number, _) in bad.items()}


def _complaint(message: str, path: Path) -> str:
    """Return what is wrong with a message; nothing if it will do."""
    if not is_printable(message):
        return f"not printable: {message!r}"
    rest = message.replace(str(path), "").replace(str(path.parent), "")
    return f"too long: {message[:200]}" if len(rest) > LONGEST else ""
