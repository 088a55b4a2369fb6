"""Files that somebody damaged, or made to do harm: each is refused in one line, and costs neither time nor memory."""

from __future__ import annotations

import io
import json
import os
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import unroll
from unroll.cells import Cell
from unroll.data.cuts import stratified_cut
from unroll.data.formats.download import cache_folder
from unroll.data.preparation import Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.data.tokenizer import Tokenizer
from unroll.errors import DataError, RunError

Call = Callable[..., tuple[int, str, str]]


def npz(header: bytes, data: bytes = b"", version: bytes = b"\1\0") -> bytes:
    """Return an .npz file whose x has this header."""
    good = io.BytesIO()
    np.save(good, np.arange(4) % 2)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("x.npy", b"\x93NUMPY" + version + len(header).to_bytes(2, "little") + header + data)
        file.writestr("y.npy", good.getvalue())
    return buffer.getvalue()


def header(shape: str, descr: str = "'<f4'") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()


HEADERS = {
    "an open bracket": (npz(b"{'descr': ('<f4'"), "has a damaged NumPy header"),
    "no Python": (npz(b"{'descr' '<f4'} $\n"), "has a damaged NumPy header"),
    "brackets nested too deep": (npz(b"(" * 5_000), "has a damaged NumPy header"),
    "a NUL": (npz(header("(4, 1, 1)").replace(b"(", b"\0")), "has a damaged NumPy header"),
    "a huge shape": (npz(header("(122222222222,)"), bytes(16)), "shape (122222222222,) and dtype float32, but holds"),
    "no number has so many digits": (npz(header(f"({'9' * 40},)"), bytes(16)), "but holds 16 bytes"),
    "less than nothing": (npz(header("(-4, -1, 1)"), bytes(16)), "but holds 16 bytes"),
    "a type of no size": (npz(header("(4, 1, 1)", "'<U0'")), "but holds 0 bytes"),
    "a type of types": (npz(header("(4, 1, 1)", "('<f4', (2,))"), bytes(32)), "but holds 32 bytes"),
    "an unknown version": (npz(header("(4, 1, 1)"), bytes(16), b"\7\0"), "has NumPy format 7.0, expected 1.0 or 2.0"),
}  # fmt: skip


@pytest.mark.parametrize("what", HEADERS)
def test_a_header_of_numpy_is_not_believed(what: str, call: Call) -> None:
    content, message = HEADERS[what]
    Path("d.npz").write_bytes(content)
    status, out, err = call("explore", "--data", "d.npz")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert len(err) < 400


def test_names_that_are_no_characters_are_refused() -> None:
    y = np.array(["no", "yes"] * 6)
    np.savez("d.npz", x=np.zeros((12, 2, 1), np.float32), y=y)
    content = Path("d.npz").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as file:
        members = {name: bytearray(file.read(name)) for name in file.namelist()}
    members["y.npy"][-1] = 0x7F  # 0x7f000000 is no code point
    with zipfile.ZipFile("d.npz", "w") as file:
        for name, member in members.items():
            file.writestr(name, bytes(member))
    with pytest.raises(DataError, match=r"d\.npz: y holds an invalid Unicode character"):
        unroll.load("d.npz")


def test_a_member_that_unpacks_to_more_than_it_can_is_refused() -> None:
    np.savez_compressed("d.npz", x=np.arange(2400, dtype=np.float32).reshape(12, 200, 1), y=np.arange(12) % 2)
    assert len(unroll.load("d.npz").train) > 0
    content = bytearray(Path("d.npz").read_bytes())
    at = content.rindex(b"PK\1\2", 0, content.rindex(b"y.npy"))
    content[at + 24 : at + 28] = (2**31).to_bytes(4, "little")
    Path("d.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"bytes unpack to 2,147,483,648, which they cannot"):
        unroll.load("d.npz")


@pytest.fixture
def hand(tmp_path: Path) -> Path:
    """A small run, saved by hand."""
    torch.manual_seed(0)
    data = SequenceData(
        torch.rand(4, 3, 2), torch.tensor([0, 1, 0, 1]), Preparation(("a", "b"), Scaling((0.0,) * 2, (1.0,) * 2))
    )
    unroll.save(unroll.SequenceClassifier(2, 2, cell="gru", hidden_size=4), tmp_path / "hand", data=data)
    return tmp_path / "hand"


def change(run: Path, **parts: Any) -> None:
    config = json.loads((run / "config.json").read_text())
    for name, value in parts.items():
        config[name] = {**config[name], **value} if isinstance(value, dict) else value
    (run / "config.json").write_text(json.dumps(config))


CONFIGS = {
    "no model": ({"model": None}, "model must be an object, got None"),
    "no preparation": ({"preparation": None}, "preparation must be an object, got None"),
    "a list for training": ({"train": []}, r"train must be an object, got []"),
    "a key with an escape": ({"model": {"a\x1b[2J": 1}}, r"unexpected keyword argument 'a\x1b[2J'"),
    "a cell of 5,000 letters": ({"model": {"cell": "a" * 5_000}}, "aaa…'"),
    "a class with an escape": ({"preparation": {"classes": ["a", "\x1bc"]}}, r"a printable name, got '\x1bc'"),
    "classes that are numbers": ({"preparation": {"classes": [1, 2]}}, "a class needs a printable name, got 1"),
    "one class twice": ({"preparation": {"classes": ["a", "a"]}}, "each class needs a name of its own"),
    "a deviation of 0": ({"preparation": {"scaling": {"mean": 0, "std": 0}}}, "scaling needs numbers above 0, got 0"),
    "NaN": ({"preparation": {"scaling": {"mean": float("nan"), "std": 1}}}, "scaling needs numbers, got nan"),
    "a number beyond floats": ({"preparation": {"scaling": {"mean": 10**400, "std": 1}}}, "needs numbers, got 1000"),
    "scaling of other features": ({"preparation": {"scaling": {"mean": [0], "std": [1]}}}, "scaling is for 1 features"),
    "an image of any size": (
        {"preparation": {"image": {"height": 10**6, "width": 10**6, "read": "pixels", "framing": None}}},
        "images have at most 100,000,000 pixels",
    ),
    "an image of more digits than fit a line": (
        {"preparation": {"image": {"height": 2, "width": 10**400, "read": "pixels", "framing": None}}},
        "…×2",
    ),
    "huge layers": ({"model": {"hidden_size": 10**6}}, "head.weight must have shape (2, 1000000), got (2, 4)"),
    "more digits than a size has": ({"model": {"hidden_size": 10**30}}, "hidden_size must be at most 2,147,483,647"),
    "a thousand layers": ({"model": {"num_layers": 1_000}}, "num_layers is 1,000, but there are only 6"),
    "a billion layers": ({"model": {"num_layers": 10**9}}, "num_layers must be at most 1,000, got 1000000000"),
    "a wide input": ({"input_size": 10**9}, "scaling is for 2 features, the model for 1000000000"),
    "what is usual of other features": (
        {"preparation": {"usual": {"lengths": [1, 2], "length": 1, "levels": [[0, 1]], "spreads": [[0, 1]]}}},
        "usual is for 1 features, the data has 2",
    ),
    "what is usual the wrong way round": (
        {"preparation": {"usual": {"lengths": [2, 1], "length": 1}}},
        "usual: lengths needs numbers, got (2, 1)",
    ),
    "training that cannot be": ({"train": {"lr": "x"}}, "lr must be of type float, got 'x'"),
    "data without a fingerprint": ({"data": {"name": "d.csv", "fingerprint": 7}}, "fingerprint of the data must be"),
}  # fmt: skip


@pytest.mark.parametrize("what", CONFIGS)
def test_settings_that_cannot_be_are_refused_before_a_model_is_built(what: str, hand: Path, call: Call) -> None:
    parts, message = CONFIGS[what]
    if what == "training that cannot be":
        change(hand, train=[])
    change(hand, **({"train": parts["train"]} if what == "a list for training" else {}))
    config = json.loads((hand / "config.json").read_text())
    for name, value in parts.items():
        old = config.get(name)
        config[name] = {**old, **value} if isinstance(value, dict) and isinstance(old, dict) else value
    (hand / "config.json").write_text(json.dumps(config))
    status, out, err = call("info", hand)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert len(err.replace(str(hand), "")) < 400


@pytest.mark.parametrize(
    "content", ["[" * 3_000 + "]" * 3_000, '{"format": 3, "x": ' + "[" * 3_000 + "]" * 3_000 + "}"]
)
def test_json_that_is_nested_deep_is_refused(content: str, hand: Path, call: Call) -> None:
    (hand / "config.json").write_text(content)
    status, _, err = call("info", hand)
    assert (status, err.count("\n")) == (2, 1)
    assert "its brackets are nested too deeply" in err


WEIGHTS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], str]] = {
    "NaN": (lambda value: value * torch.nan, "head.bias contains NaN or infinite weights"),
    "infinity": (lambda value: value + torch.inf, "head.bias contains NaN or infinite weights"),
    "integers": (lambda value: value.long(), "head.bias must be torch.float32, got torch.int64"),
    "half": (lambda value: value.half(), "head.bias must be torch.float32, got torch.float16"),
    "more": (lambda value: torch.zeros(5), "head.bias must have shape (2,), got (5,)"),
}


@pytest.mark.parametrize("what", WEIGHTS)
def test_weights_must_be_those_of_the_model(what: str, hand: Path) -> None:
    damage, message = WEIGHTS[what]
    tensors = safetensors.torch.load_file(hand / "model.safetensors")
    tensors["head.bias"] = damage(tensors["head.bias"])
    safetensors.torch.save_file(tensors, hand / "model.safetensors")
    with pytest.raises(RunError) as error:
        unroll.load_run(hand)
    assert message in str(error.value)


def test_a_model_of_no_numbers_is_not_saved(hand: Path) -> None:
    run = unroll.load_run(hand)
    run.model.head.bias.data[0] = torch.nan
    data = SequenceData(torch.rand(4, 3, 2), torch.tensor([0, 1, 0, 1]), run.preparation)
    with pytest.raises(RunError, match=r"head\.bias contains NaN or infinite weights; train it again"):
        unroll.save(run.model, hand.parent / "sick", data=data)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "indrnn", "mingru", "minlstm", "lru"])
def test_a_loaded_model_is_the_one_that_was_saved(cell: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    made = unroll.SequenceClassifier(
        2,
        2,
        cell=cell,
        hidden_size=5,
        num_layers=2,
        bidirectional=True,
        layer_norm=True,
        readout="attention",
        residual=True,
    )
    data = SequenceData(torch.rand(4, 3, 2), torch.tensor([0, 1, 0, 1]), Preparation(("a", "b"), Scaling(0.0, 1.0)))
    unroll.save(made, tmp_path / "run", data=data)
    before = torch.get_rng_state()
    model = unroll.load_run(tmp_path / "run").model
    assert torch.equal(torch.get_rng_state(), before)
    assert model.config == made.config
    assert not model.training
    for (name, one), (other, two) in zip(made.named_parameters(), model.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(one, two)
        assert type(two) is torch.nn.Parameter
        assert (two.requires_grad, two.is_leaf, two.is_contiguous(), two.device.type) == (True, True, True, "cpu")
    x = torch.rand(3, 4, 2)
    assert torch.equal(made.eval()(x), model(x))
    model.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


class Computing(Cell):
    """A cell that computes with its parameters when it is made, and keeps what it found outside of them."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.weight = torch.nn.Parameter(torch.ones(hidden_size, input_size))
        self.total = float(self.weight.detach().sum())
        self.aside = torch.full((hidden_size,), 2.0)

    def initial_state(self, batch_size: int, *, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        return torch.zeros(batch_size, self.hidden_size, dtype=dtype, device=device)

    def step(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x @ self.weight.T + self.aside * state / self.total)


def test_a_cell_that_computes_when_it_is_made_is_loaded(tmp_path: Path) -> None:
    made = unroll.SequenceClassifier(2, 2, cell=Computing, hidden_size=3)
    data = SequenceData(torch.rand(4, 3, 2), torch.tensor([0, 1, 0, 1]), Preparation(("a", "b"), Scaling(0.0, 1.0)))
    unroll.save(made, tmp_path / "own", data=data)
    x = torch.rand(3, 4, 2)
    assert torch.equal(made.eval()(x), unroll.load_run(tmp_path / "own").model(x))


TOKENIZERS = {
    "no [UNK]": (lambda text: text.replace("[UNK]", "[UN", 1), "lacks the token [UNK]"),
    "numbers with gaps": (lambda text: text.replace(":3", ":30"), "are not numbered from 0 on"),
    "no tokenizer": (lambda text: "{}", "the tokenizer is broken ("),
}


@pytest.mark.parametrize("what", TOKENIZERS)
def test_a_tokenizer_that_cannot_read_is_refused(what: str) -> None:
    damage, message = TOKENIZERS[what]
    tokenizer = Tokenizer.learn("word", ["a fine film", "a dull film"], 10, 1)
    assert tokenizer.checked() is tokenizer
    with pytest.raises(DataError) as error:
        Tokenizer(damage(tokenizer.json)).checked()
    assert message in str(error.value)


def test_a_panic_of_the_tokenizers_library_is_a_refusal() -> None:
    tokenizer = Tokenizer.learn("bpe", ["number number"], 60, 1)
    with pytest.raises(DataError, match=r"the tokenizer is broken \("):
        Tokenizer(tokenizer.json.replace('"number":', '"n]ber":')).checked()


def test_what_has_no_end_is_no_data(call: Call, run: unroll.Run) -> None:
    os.mkfifo("pipe.csv")
    Path("zero.npz").symlink_to("/dev/zero")
    for name, what in (("pipe.csv", "a pipe"), ("zero.npz", "a device"), ("/dev/zero", "a device")):
        for words in (("explore", "--data"), ("train", "--out", "new", "--data"), ("evaluate", run.path, "--data")):
            status, out, err = call(*words, name)
            assert (status, out) == (2, "")
            assert f"is {what}: expected a file; copy it into one" in err
    folder = Path("images") / "cat"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "1.png")
    assert "1.png is not a file: expected images only" in call("explore", "--data", "images")[2]


def sent(pipe: Path, content: bytes) -> threading.Thread:
    os.mkfifo(pipe)
    thread = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_prediction_reads_from_a_pipe(hand: Path, run: unroll.Run, call: Call) -> None:
    image = io.BytesIO()
    Image.new("L", (28, 28), 3).save(image, "png")
    pixels = np.zeros((28, 28), np.uint8)
    pixels[4:24, 13:15] = 255
    image = io.BytesIO()
    Image.fromarray(pixels).save(image, "png")
    series = io.BytesIO()
    np.savez(series, x=np.zeros((2, 3, 2), np.float32))
    for name, at, content, count in (
        ("long", hand, b"id,time,a,b\n1,1,0,0\n1,2,0,1\n2,1,0,0\n", 2),
        ("ts", hand, b"@classLabel false\n@data\n1,2:3,4\n", 1),
        ("npz", hand, series.getvalue(), 2),
        ("image", run.path, image.getvalue(), 1),
    ):
        thread = sent(Path(name), content)
        status, out, err = call("predict", at, name, "--json")
        thread.join(timeout=10)
        assert status == 0
        assert err == "".join(f"unroll: {line}\n" for line in json.loads(out)["warnings"])  # of invented numbers
        assert all(line.startswith(f"{name}: unlike the training data") for line in json.loads(out)["warnings"])
        assert [prediction["file"] for prediction in json.loads(out)["predictions"]] == [name] * count


def test_a_pipe_with_no_end_is_refused(hand: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unroll.data.streams.MOST_BYTES", 1_000)
    thread = sent(Path("pipe"), b"label,a\n" + b"x,1\n" * 10_000)
    status, out, err = call("predict", hand, "pipe")
    thread.join(timeout=10)
    assert (status, out) == (2, "")
    assert err == "unroll: pipe brings more than 1,000 bytes: expected fewer; write it into a file first\n"


def test_a_damaged_cache_of_images_is_read_anew(tmp_path: Path) -> None:
    for name, value in (("cat", 10), ("dog", 200)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for n in range(4):
            Image.fromarray(np.full((4, 4), value + n, np.uint8)).save(tmp_path / "set" / name / f"{n}.png")
    first = unroll.load(tmp_path / "set")
    (cache,) = cache_folder().rglob("*.npz")
    with np.load(cache) as content:
        version = content["version"]
    good = npz(b"{'descr': ('<f4'").replace(b"x.npy", b"v.npy")
    for damage in (cache.read_bytes()[:200], b"", good, None):
        if damage is None:
            np.savez(cache, version=version, pixels=np.zeros((3, 4, 4)))
        else:
            cache.write_bytes(damage)
        assert torch.equal(unroll.load(tmp_path / "set").train.x, first.train.x)


def test_a_cut_of_many_classes_is_the_one_it_ever_was() -> None:
    y = np.random.default_rng(0).integers(0, 7, 500)
    random, parts = np.random.RandomState(3), []
    for label in np.unique(y):
        members = random.permutation(np.flatnonzero(y == label))
        parts.append(members[: round(0.2 * len(members))])
    rest, part = stratified_cut(y, 0.2, 3)
    assert np.array_equal(part, np.sort(np.concatenate(parts)))
    assert np.array_equal(rest, np.setdiff1d(np.arange(500), part))


def test_two_of_many_columns_with_one_name_are_found() -> None:
    names = [f"t{n}" for n in range(3_000)]
    Path("d.csv").write_text("label," + ",".join([*names, "t7"]) + "\n")
    with pytest.raises(DataError, match="has two columns 't7'"):
        unroll.load("d.csv")
