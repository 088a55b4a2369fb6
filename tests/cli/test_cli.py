"""The command line, called as a person calls it: what it prints, where, and with which exit status."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unroll
from forked import forked
from recurrences import NEEDS_BF16
from unroll.cli import main
from unroll.config.model import CELLS
from unroll.report.measurements import gather
from unroll.runs.data import load_train
from unroll.scan import cpu
from unroll.training.loop import held_out
from waiting import eventually

Call = Callable[..., tuple[int, str, str]]
QUICK = ("--epochs", 2, "--hidden-size", 8)


def test_train_evaluate_predict(call: Call, sample: unroll.Splits) -> None:
    status, out, err = call("train", "--no-report", *QUICK, "--out", "runs/one")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("data   mnist-sample from unroll: 4,000 train (400 held out for validation), 1,000 test")
    assert lines[1].endswith("rnn tanh, 1 × 8 hidden, readout last, init orthogonal; 394 parameters")
    table = out[out.index("  epoch") :].splitlines()
    assert " ".join(table[0].split()) == "epoch train loss train acc val loss val acc lr seconds samples/s"
    assert [row.split()[0] for row in table[1:3]] == ["1", "2"]
    assert "\ntest accuracy " in out
    assert "95 % interval" in out
    assert "last weights (epoch 2)" in out
    assert " evaluate runs/one\n" in out
    assert "\x1b" not in out

    status, out, err = call("evaluate", "runs/one")
    assert (status, err) == (0, "")
    assert out.startswith("runs/one on the test split of mnist-sample: accuracy ")
    assert "precision" in out
    assert "confusion (rows: true, columns: predicted)" in out

    Image.fromarray(sample.test.x[0].numpy()).save("digit.png")
    status, out, err = call("predict", "runs/one", "digit.png", "missing.png")
    assert (status, err) == (2, "unroll: missing.png does not exist\n")
    assert out.startswith("digit.png: ")
    assert "taken as it is" in out


def test_json_is_one_object_on_stdout(call: Call, run: unroll.Run, sample: unroll.Splits) -> None:
    status, out, err = call("train", "--no-report", *QUICK, "--json")
    found = json.loads(out)
    assert status == 0
    measures = {"accuracy", "majority", "balanced_accuracy", "macro_f1", "roc_auc", "loss"}
    assert set(found) == {"run", "n", "interval", "weights"} | measures
    assert "epoch" in err

    status, out, err = call("evaluate", run.path, "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert run.evaluation is not None
    assert {"accuracy", "loss", "n"} <= set(found)
    assert found["accuracy"] == run.evaluation["accuracy"]

    Image.fromarray(sample.test.x[0].numpy()).save("digit.png")
    status, out, err = call("predict", run.path, "digit.png", "--json")
    (prediction,) = json.loads(out)["predictions"]
    assert (status, err) == (0, "")
    assert prediction["class"] == prediction["top"][0]["class"]
    assert len(prediction["top"]) == 3

    status, out, err = call("info", "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert list(found["backends"]) == ["reference", "torch", "gemm", "cpu"]
    assert found["devices"]["cpu"] == "available"


def test_who_asks_for_a_gpu_is_told_of_cuda(call: Call) -> None:
    assert call("train", "--gpu")[::2] == (2, "unroll: Unknown option: --gpu. Did you mean --device cuda?\n")
    status, _, err = call("train", "--device", "gpu")
    assert status == 2
    assert err.endswith('"mps". Did you mean "cuda"?\n')
    with pytest.raises(unroll.ConfigError, match=r"got 'gpu'; did you mean 'cuda'\?"):
        unroll.TrainConfig(device="gpu")  # type: ignore[arg-type]


def test_a_cell_is_known_in_any_case(call: Call) -> None:
    assert call("train", "--no-report", "--cell", "GRU", "--epochs", 1, "--hidden-size", 4, "--out", "gru")[0] == 0
    assert unroll.load_run("gru").model.config.cell == "gru"
    assert unroll.SequenceClassifier(2, 3, cell="MinLSTM").config.cell == "minlstm"


def test_info_in_words(call: Call) -> None:
    status, out, err = call("info")
    assert (status, err) == (0, "")
    assert torch.__version__ in out
    if not torch.cuda.is_available():
        fused = (
            f"cpu: fused for float32 on this CPU ({cpu.ISA})" if cpu.ISA else "gemm: fastest with gradients on a CPU"
        )
        assert fused in out


@pytest.mark.slow
def test_a_deep_regularised_model_in_words(call: Call) -> None:
    flags = "--cell gru --hidden-size 8 --num-layers 2 --residual --layer-norm --recurrent-dropout 0.2 --tbptt 9"
    status, out, _ = call(
        "train", "--no-report", *flags.split(), "--readout", "attention", "--epochs", 1, "--out", "deep"
    )
    assert status == 0
    facts = dict(re.findall(r"^(\w+)  +(.+)$", out, re.MULTILINE))
    words = "residual, layer norm, recurrent dropout 0.2, readout attention"
    assert facts["model"].startswith(f"gru, 2 × 8 hidden, {words}, init orthogonal; ")
    assert facts["train"].endswith(", gradients through 9 steps, seed 0")
    facts = json.loads(call("info", "deep", "--json")[1])["run"]
    assert facts["model"] == f"gru, 8 units, layers: 2, {words}"
    names = [shape["name"] for shape in json.loads(call("check", "deep", "--json")[1])["shapes"]]
    assert names[1:7] == ["layer 1", "norm 1", "layer 2", "residual 2", "norm 2", "readout attention"]


def test_info_of_a_run_says_what_computes_it(call: Call, run: unroll.Run) -> None:
    status, out, _ = call("info", str(run.path), "--json")
    facts = json.loads(out)["run"]
    assert status == 0
    assert facts["path"] == str(run.path)
    assert facts["model"] == "rnn, 150 units, layers: 1, readout last"
    assert ("one call" in facts["training_step"]) == bool(cpu.INSTRUCTION_SETS)
    assert facts["step"] == "compiled"
    assert facts["products"] == "x (28), h (150) to 150 columns (h')"
    assert facts["kept"] == "nothing besides x and the states"
    assert facts["memory"].startswith(
        f"{64 * 100 * 4 * (28 + 150) / 1e6:.1f} MB until the backward pass, for a batch of 64"
    )
    status, _, err = call("info", "nothing-there")
    assert status == 2
    assert "nothing-there" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("train --lr nan", "lr must be a finite number, got nan"),
        ("train --lr x", 'Invalid value for --lr: unable to convert "x" into float.'),
        ("train --lr", 'Command "train" parameter --lr requires an argument.'),
        ("train --hidden-size -3", "hidden_size must be at least 1, got -3"),
        ("train --epochs 0", "epochs must be at least 1, got 0"),
        ("train --epoch 3", "Unknown option: --epoch. Did you mean --epochs?"),
        ("train --batch-size 0", "batch_size must be at least 1, got 0"),
        ("train --seed -1", "seed must be from 0 to 4294967295, got -1"),
        ("train --val-fraction 2", "val_fraction must be at least 0 and below 1, got 2.0"),
        ("train --readout x", 'Invalid value "x" for --readout. Choose from: "last", "mean", "max", "attention".'),
        (
            "train --cell lstn",
            "cell must be one of rnn, gru, lstm, indrnn, mingru, minlstm, lru, a subclass of Cell, or its name as "
            "module:Class, got 'lstn'; did you mean 'lstm'?",
        ),
        (
            "train --data mnits",
            "data must be one of mnist-sample, mnist, fashion-mnist, kmnist, ucr:NAME, hf:OWNER/NAME, or",
        ),
        ("train --data mnist --data-dir no", "data_dir must be a folder, got no"),
        ("train --data mnist-sample more", "unexpected argument: more; data is given with --data"),
        ("check .", ". is not a run; to check data, use --data ."),
        ("explore --data-dir .", "mnist-sample is part of unroll: data_dir . cannot be used with it"),
        ("train --epochs 1.5", "Invalid value for --epochs: expected a whole number, got '1.5'"),
        pytest.param(
            "train --precision bf16 --backend gemm",
            "backend 'gemm' computes in float32, but bf16 was asked for",
            marks=NEEDS_BF16,
        ),
        ("train --tbptt 1.5", "Invalid value for --tbptt: expected a whole number, got '1.5'"),
        (
            "train --tbptt 5 --bidirectional",
            "tbptt must be 0 for a bidirectional model, as it also reads each sequence from",
        ),
        (
            "train --residual",
            "residual needs num_layers of at least 2 (it skips layers from the second on), got 1; add",
        ),
        ("train --data-dir no", "data_dir must be a folder, got no"),
        ("train --resume no", "no is not a run folder: it has no config.json"),
        ("train --resume no --epochs 3", "--resume takes all settings from no; give at most --data-dir"),
        ("evaluate no", "no is not a run folder: it has no config.json"),
        ("evaluate", 'Command "evaluate" parameter RUN requires an argument.'),
        ("predict no digit.png", "no is not a run folder: it has no config.json"),
        (
            "explore no.npz",
            "no.npz does not exist; data must be one of mnist-sample, mnist, fashion-mnist, kmnist, ucr",
        ),
        ("explore --resize 28", "resize 28 cannot be used with mnist-sample: its images are 28×28"),
        ("explore --resize x", "resize must be a size in pixels, 28 or 40x28 (width x height), got 'x'"),
        ("check no", "no is not a run folder: it has no config.json"),
        ("check no --hidden-size 3", "give no or the flags of a new run, not both"),
        ("check no --data mnist-sample", "give no or the flags of a new run, not both"),
        ("check --device mps", "device 'mps' is not available"),
        ("train --resume no --recipe images", "--resume takes all settings from no; give at most --data-dir"),
        ("trian", 'Unknown command "trian". Did you mean "train"?'),
    ],
)
def test_bad_input_is_one_plain_line_and_leaves_nothing(call: Call, words: str, message: str) -> None:
    status, out, err = call(*words.split())
    assert (status, out) == (2, "")
    assert err.startswith(f"unroll: {message}")
    assert err.count("\n") == 1
    assert not Path("runs").exists()


def test_a_run_that_stands_there_is_refused(call: Call, run: unroll.Run) -> None:
    status, _, err = call("train", "--no-report", "--out", run.path)
    assert status == 2
    assert "--overwrite" in err


def test_evaluate_on_other_data(call: Call, run: unroll.Run, idx_folder: Callable[..., Path]) -> None:
    folder = idx_folder()
    status, out, _ = call("evaluate", run.path, "--data", "mnist", "--data-dir", folder, "--json")
    assert status == 0
    assert json.loads(out)["n"] == 20
    status, _, err = call("evaluate", run.path, "--data", "fashion-mnist", "--data-dir", folder)
    assert status == 2
    assert err.startswith("unroll: the run knows the classes 0, 1, 2")


def test_work_that_fails_exits_with_1(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    status, _, err = call(
        "train", *QUICK, "--lr", 1e30, "--clip-norm", 0, "--nonlinearity", "relu", "--schedule", "constant"
    )
    assert status == 1
    assert err.startswith("unroll: the loss became ")
    assert err.count("\n") == 1

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    status, _, err = call("train", "--no-report", *QUICK)
    assert (status, err) == (1, "unroll: runs/mnist-sample-rnn-2/config.json: No space left on device\n")


@pytest.mark.slow
def test_a_disk_that_fills_up_later_says_how_to_go_on(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def full(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 9:  # at the end of the training
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        status, _, err = call("train", "--no-report", *QUICK, "--out", "here")
    assert status == 1
    assert err.startswith("unroll: cannot continue: here/")
    assert err.endswith(" train --resume here\n")
    assert ": No space left on device; continue with: " in err
    assert call("train", "--no-report", "--resume", "here")[0] == 0
    assert Path("here/config.json").exists()
    assert list(Path("here").glob(".*")) == [Path("here/.lock")]


@pytest.mark.parametrize(
    ("command", "flags"), [("train", ""), ("crossval", "--folds 2"), ("sweep", "--lr 0.001,0.002")]
)
@pytest.mark.parametrize(("cell", "added"), [("own_cells:Leaky", " --cell own_cells:Leaky"), ("gru", "")])
def test_the_line_that_goes_on_names_a_cell_of_one_s_own(
    call: Call, monkeypatch: pytest.MonkeyPatch, few: str, command: str, flags: str, cell: str, added: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("unroll.runs.execute.recorder", interrupted)
    status, _, err = call(command, *flags.split(), "--data", few, *QUICK, "--cell", cell, "--out", "here")
    assert (status, err.partition(f" {command} ")[2]) == (130, f"--resume here{added}\n")


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "report", "doctor", "compare", "sweep", "info"])
def test_help_has_an_example(call: Call, command: str) -> None:
    status, out, err = call(command, "--help")
    assert (status, err) == (0, "")
    assert f"Example: unroll {command}" in out
    assert command in call("--help")[1]


@pytest.mark.slow
def test_paths_with_spaces_brackets_and_umlauts(call: Call) -> None:
    name = "dät [b] a"
    status, out, err = call("train", "--no-report", *QUICK, "--out", name)
    assert (status, err) == (0, "")
    assert f" evaluate '{name}'" in out
    status, out, err = call("evaluate", name)
    assert out.startswith(f"{name} on the test split of mnist-sample: accuracy")
    command = [sys.executable, "-m", "unroll", "evaluate", name, "--json"]
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_narrow_terminal_loses_no_figure(call: Call, run: unroll.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = call("evaluate", run.path)[1]
    monkeypatch.setenv("COLUMNS", "30")
    narrow = call("evaluate", run.path)[1]
    assert narrow.split()[-50:] == wide.split()[-50:]


@pytest.mark.slow
def test_output_that_nobody_reads_any_more_says_how_to_go_on() -> None:
    with forked("train", "--epochs", 3, "--hidden-size", 8) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
        assert process.wait() == 1
    assert re.fullmatch(
        r"unroll: cannot continue: the reader .*; continue with: .* train --resume runs/mnist-sample-rnn-1\n", err
    )


@pytest.mark.slow
def test_wrong_settings_are_refused_before_torch_is_loaded() -> None:
    """Torch takes seconds to load, the command line a third of one."""
    lines = [
        *(
            "train --cell gur",
            "check --hidden-size 0",
            "sweep --cell rnn,gur",
            "sweep --lr 1e-3",
            "explore --resize 0x3",
        ),
        *("train --resume runs/a --test-fraction 2", "evaluate runs/a --missing-values"),
        "predict runs/a --lines x",
        *("sweep --lr 1,2 --seeds 0", "sweep --lr 1,2 --method random --trials 0", "sweep --resume a", "compare a b"),
        *("train --resume a", "evaluate a", "predict a", "report a", "doctor a", "serve a", "info a", "baseline a"),
        "export a --to html",
    ]
    script = (
        "import sys; from unroll.cli import main\n"
        f"assert [main(line.split()) for line in {lines}] == {[2] * len(lines)}\n"
        "assert not {'torch', 'numpy', 'pandas'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == len(lines)


def test_the_names_of_cells_are_known_without_torch() -> None:
    assert tuple(unroll.cells.CELLS) == CELLS


@pytest.mark.parametrize("loaded", ["libtorch_global_deps", "libtorch_python", "_multiarray_umath"])  # in this order
@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux' /proc")
@pytest.mark.slow
def test_ctrl_c_at_the_start_ends_it_in_one_line(loaded: str) -> None:
    command = [sys.executable, "-m", "unroll", "train", "--no-report", "--epochs", "1000", "--hidden-size", "8"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    eventually(lambda: loaded in maps.read_text())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert err.startswith("unroll: interrupted")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_ctrl_c_as_the_work_begins_ends_it_in_one_line() -> None:
    with forked("train", "--no-report", "--epochs", 1000, "--hidden-size", 8) as process:
        eventually(lambda: list(Path("runs").glob("*/config.json")))  # the first that is written
        process.send_signal(signal.SIGINT)
        status, _, err = process.rest()
    assert status == 130
    assert err.startswith("unroll: interrupted")
    assert err.count("\n") == 1


def test_an_encoding_without_our_signs_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    written = [io.BytesIO(), io.BytesIO()]
    for name, bytes_ in zip(("stdout", "stderr"), written, strict=True):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(bytes_, "cp1251"))
    assert main(["train", "--no-report", "--epochs", "1", "--hidden-size", "8"]) == 0
    sys.stdout.flush()
    sys.stderr.flush()
    assert written[1].getvalue() == b""
    assert b"28 steps ? 28 features" in written[0].getvalue()


@pytest.mark.slow
def test_out_of_memory_is_one_line(call: Call) -> None:
    status, _, err = call("train", "--no-report", "--hidden-size", 1_000_000)
    assert (status, err) == (
        1,
        "unroll: out of memory; try smaller images (--resize), a larger --stride, a smaller --batch-size or "
        "--hidden-size\n",
    )


def test_version(call: Call) -> None:
    assert call("--version") == (0, f"{unroll.__version__}\n", "")


@pytest.mark.slow
def test_python_m_unroll_and_a_closed_pipe() -> None:
    script = f"{sys.executable} -m unroll info | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["unroll", unroll.__version__]
    assert done.stderr == ""


@pytest.mark.slow
def test_on_a_terminal_there_is_a_bar() -> None:
    pty = pytest.importorskip("pty", reason="needs a pseudo-terminal, which Windows has not")
    master, slave = pty.openpty()
    words = ["train", "--no-report", "--epochs", 6, "--hidden-size", 8]
    with forked(*words, stdout=slave, TERM="xterm-256color", COLUMNS="110") as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # Linux: the other end is closed
                break
            if not part:
                break
            shown += part
        os.close(master)
        assert process.rest() == (0, "", "")
    text = shown.decode()
    assert re.search("epoch [1-6] of 6", text)
    assert "━" in text
    assert "\x1b[" in text
    assert "test accuracy" in text


@pytest.mark.slow
def test_explore(call: Call) -> None:
    status, out, err = call("explore")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:4] == [
        "data   mnist-sample from unroll",
        "kind   images of 28×28 pixels, read by rows",
        "train  4,000 × 28 steps × 28 features, uint8; values 0 to 255, mean 33.44, deviation 78.63",
        "test   1,000 × 28 steps × 28 features, uint8; values 0 to 255, mean 33.67, deviation 78.88",
    ]
    assert any(set(line) & set(map(chr, range(0x2801, 0x2900))) for line in lines)  # braille
    assert "repeated: 0 in train, 0 in test; in both parts: 0" in lines
    assert "nothing looks wrong" in lines
    pictures = [f"explored/mnist-sample-1/{name}.png" for name in ("samples", "means", "classes")]
    assert " ".join(lines[-1].split()) == f"pictures {', '.join(pictures)}"
    for picture in pictures:
        with Image.open(picture) as image:
            assert image.width > 500
    assert "\x1b" not in out

    status, out, err = call("explore", "--data", "mnist-sample", "--json", "--out", "here")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["train"]["counts"] == dict.fromkeys("0123456789", 400)
    assert found["pictures"][0] == "here/samples.png"
    assert call("explore", "--out", "here") == (
        2,
        "",
        "unroll: here is not empty; choose another --out\n",
    )


@pytest.mark.slow
def test_check(call: Call, run: unroll.Run, tmp_path: Path) -> None:
    status, out, err = call("check", "--num-layers", 3, "--batch-size", 32, "--training-steps", 3)
    assert (status, err) == (0, "")
    rows = [" ".join(re.split(r"[│\s]+", line)).strip() for line in out.splitlines() if line.startswith("│")]
    assert rows == [
        "input 32 × 28 × 28 batch × time × features",
        *(f"layer {n} 32 × 28 × 150 batch × time × hidden" for n in (1, 2, 3)),
        "readout last 32 × 150 batch × hidden",
        "logits 32 × 10 batch × classes",
    ]
    facts = dict(re.findall(r"^(\w[\w ]*?)  +(.+)$", out, re.MULTILINE))
    assert facts["parameters"] == "119,110"
    assert facts["computed by"].startswith(unroll.compiler.explain(unroll.RNN(28, 150)).path)
    assert facts["initial loss"].endswith("; a uniform guess, ln(classes): 2.3026")
    assert abs(float(facts["initial loss"].split(";")[0]) - 2.3026) < 0.5
    assert re.fullmatch(
        r"about \d.*: 3 steps of \d.*s, validation .*s, before and after them .*s", facts["training time"]
    )
    assert re.fullmatch(r"about \d.* [MG]B at its peak", facts["memory"])
    assert out.endswith("nothing looks wrong\n")
    assert list(Path().iterdir()) == []

    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    status, out, err = call("check", run.path, "--json")
    found = json.loads(out)
    assert (status, err) == (0, "")
    assert found["shapes"][-1] == {"name": "logits", "axes": ["batch", "classes"], "sizes": [64, 10]}
    assert found["parameters"] == sum(p.numel() for p in run.model.parameters())
    assert found["loss"] > 2  # fresh weights, not the run's
    assert run.config.train is not None
    assert found["training_steps"] == run.config.train.steps_for(57)
    assert found["memory_bytes"] > 10**8  # Python and torch alone need more
    assert found["seconds"] > 0
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before

    wild = ("--lr", "1e30", "--clip-norm", 0, "--training-steps", 30, "--hidden-size", 8)
    found = json.loads(call("check", *wild, "--json")[1])
    assert re.match(
        r"the (loss became|weights are no longer|validation loss) .*training diverged at lr 1e\+30",
        found["findings"][0],
    )
    assert found["seconds"] is found["memory_bytes"] is None


@pytest.mark.slow
def test_a_long_training_shows_some_epochs_and_the_last(call: Call, tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20, 5, 2)).astype(np.float32)
    np.savez("few.npz", x=x, y=np.arange(20) % 2)
    quick = ("train", "--no-report", "--data", "few.npz", "--recipe", "images", "--hidden-size", 2)
    quick += ("--val-fraction", 0.2)

    def rows(out: str) -> list[int]:
        table = out[out.index("  epoch") : out.index("\ntest accuracy")].splitlines()[1:]
        return [int(row.split()[0]) for row in table if row.strip()]

    status, out, err = call(*quick, "--epochs", 70, "--out", "long")
    assert (status, err) == (0, "")
    assert "table  every 3 epochs; long/metrics.jsonl has them all" in out
    assert rows(out) == [1, *range(3, 70, 3), 70]
    assert len(Path("long/metrics.jsonl").read_text().splitlines()) == 70
    assert " predict long FILE…" in out

    status, out, err = call(*quick, "--epochs", 500, "--patience", 5, "--schedule", "constant", "--lr", 1e-9)
    last = int(re.findall(r"last weights \(epoch (\d+)\)", out)[0])
    assert last % 17
    assert rows(out)[-1] == last


def test_other_data_that_does_not_fit(call: Call) -> None:
    random = np.random.default_rng(0)
    for features in (2, 3):
        np.savez(f"f{features}.npz", x=random.normal(size=(40, 5, features)), y=np.arange(40) % 2)
    assert call("train", "--no-report", "--data", "f2.npz", *QUICK, "--out", "run")[0] == 0
    assert call("evaluate", "run", "--data", "f3.npz")[2] == (
        "unroll: the run reads 2 features per time step, the data has 3\n"
    )
    assert call("evaluate", "run", "--data", "mnist-sample")[2] == (
        "unroll: the run and the data must both hold images, or neither\n"
    )
    np.savez("more.npz", x=random.normal(size=(10, 9, 2)), y=np.arange(10) % 2)
    assert call("evaluate", "run", "--data", "more.npz")[1].startswith("run on all of more.npz: accuracy ")
    assert json.loads(call("evaluate", "run", "--json")[1])["part"] == "test"
    with np.load("f2.npz") as known:
        np.savez("again.npz", x=known["x"][:30], y=known["y"][:30])
    status, out, err = call("evaluate", "run", "--data", "again.npz", "--json")
    trained_on = json.loads(out)["trained_on"]
    assert 20 <= trained_on < 30
    assert (status, err) == (
        0,
        f"unroll: the run was trained on {trained_on} of these 30 sequences, so this accuracy is optimistic\n",
    )
    np.savez("f2.npz", x=random.normal(size=(40, 5, 3)), y=np.arange(40) % 2)
    assert call("check", "run")[2].startswith("unroll: the run was trained on other data than ")


@pytest.fixture
def validated(call: Call) -> str:
    """Write 40 series, train a run on 30 of them, of which it holds out some for validation, and name it."""
    np.savez("whole.npz", x=np.random.default_rng(0).normal(size=(40, 5, 1)), y=np.arange(40) % 2)
    quick = ("--no-report", "--data", "whole.npz", "--recipe", "images", *QUICK, "--test-fraction", 0.25)
    assert call("train", *quick, "--val-fraction", 0.2, "--out", "run")[0] == 0
    splits = unroll.load("whole.npz", test_fraction=0.25)
    train, val = held_out(splits, unroll.TrainConfig(val_fraction=0.2))
    assert val is not None
    for name, data in (("train", train), ("val", val), ("both", splits.train)):
        np.savez(f"{name}.npz", x=data.x.numpy(), y=data.y.numpy())
    return "run"


@pytest.mark.parametrize(
    ("data", "remark"),
    [
        ("train.npz", "the run was trained on 24 of these 24 sequences, so this accuracy is optimistic\n"),
        ("both.npz", "the run was trained on 24 of these 30 sequences and validated on 6, so this accuracy is optim"),
        ("val.npz", "the run was validated on 6 of these 6 sequences, so this accuracy may be optimistic\n"),
    ],
)
def test_evaluate_says_which_sequences_the_run_knows(call: Call, validated: str, data: str, remark: str) -> None:
    assert remark in call("evaluate", validated, "--data", data)[2]


@pytest.mark.parametrize(("fraction", "known"), [(0, (40, 0)), (0.2, (32, 8))])
def test_of_all_of_its_data_a_run_was_validated_on_a_part(call: Call, fraction: float, known: tuple[int, int]) -> None:
    np.savez("whole.npz", x=np.random.default_rng(0).normal(size=(40, 5, 1)), y=np.arange(40) % 2)
    quick = ("--no-report", "--data", "whole.npz", "--recipe", "images", *QUICK, "--test-fraction", 0)
    assert call("train", *quick, "--val-fraction", fraction, "--out", "run")[0] == 0
    found = json.loads(call("evaluate", "run", "--data", "whole.npz", "--json")[1])
    assert (found["trained_on"], found["validated_on"]) == known


@pytest.fixture
def few() -> str:
    """Write 60 short series, of which 6 are held out for validation."""
    x = np.random.default_rng(0).normal(size=(60, 5, 1)) + (np.arange(60) % 2)[:, None, None]
    np.savez("few.npz", x=x, y=np.arange(60) % 2)
    return "few.npz"


@pytest.mark.slow
def test_few_validation_sequences_that_decide_are_remarked_upon(call: Call, few: str) -> None:
    quick = ("--data", few, "--hidden-size", 4, "--epochs", 2)
    stopping = ("--patience", 2, "--schedule", "constant")
    remark = "only 4 validation sequences decide which weights are kept or when training stops, each worth 25% of the"
    assert remark in call("train", "--no-report", *quick, *stopping, "--out", "best")[1]
    chosen = call("train", "--no-report", *quick, "--keep", "best", "--out", "few")[1]
    assert "; last weights (epoch 2): 4 validation sequences are too few to choose by\n" in chosen
    assert "validation sequences decide" not in call("train", "--no-report", *quick, "--out", "last")[1]
    kept = json.loads(Path("best/evaluation.json").read_text())
    assert kept["deciding"] == 4
    out = call("doctor", "best")[1]
    assert "look at  few validation sequences: only 4 validation sequences decide which weights were kept" in out
    assert "try: raise --val-fraction, or add data" in out
    assert "few validation sequences" not in call("doctor", "last")[1]
    out = call("sweep", *quick, "--lr", "0.01,0.02", "--out", "swept")[1]
    assert out.count("only 4 validation sequences decide which setting is best, each worth 25% of the accuracy") == 1


@pytest.fixture
def weighted(call: Call, few: str) -> unroll.Run:
    """Return a run whose classes have large weights in the loss, which are no fault."""
    quick = ("--no-report", "--data", few, "--hidden-size", 4, "--epochs", 2, "--lr", 1e-6)
    assert call("train", *quick, "--class-weight", "0=5,1=5", "--out", "run")[0] == 0
    return unroll.load_run("run")


def test_the_doctor_judges_the_losses_by_the_class_weights(call: Call, weighted: unroll.Run) -> None:
    assert "learning rate too high" not in call("doctor", weighted.path)[1]


def test_the_report_judges_the_losses_by_the_class_weights(weighted: unroll.Run) -> None:
    examination = gather(weighted, None, train=load_train(weighted)).examination
    assert examination is not None
    assert "learning rate too high" not in [finding.name for finding in examination.findings]


def test_the_training_accuracy_with_early_is_explained(call: Call, few: str) -> None:
    quick = ("--no-report", "--data", few, "--hidden-size", 4, "--epochs", 1)
    out = call("train", *quick, "--early", 0.5, "--out", "early")[1]
    assert "50% of the sequences are cut off at a random step (--early), so it may be lower than val acc and" in out
    assert "cut off" not in call("train", *quick, "--out", "ordinary")[1]


@pytest.mark.slow
def test_evaluate_reads_texts_as_the_run_did_or_as_it_is_told(call: Call) -> None:
    rows = [("finely played" if n % 2 else "dully told", "good" if n % 2 else "bad") for n in range(40)]
    Path("own.csv").write_text("\n".join(["remark,verdict", *(f"{a} {n},{b}" for n, (a, b) in enumerate(rows))]))
    flags = ("--text-column", "remark", "--label-column", "verdict")
    quick = ("--no-report", "--epochs", 15, "--hidden-size", 8, "--lr", 0.02, "--out", "run")
    assert call("train", "--data", "own.csv", *flags, *quick)[0] == 0
    Path("same.csv").write_text("\n".join(["verdict,remark", *(f"{b},{a}" for a, b in rows)]))
    Path("other.csv").write_text("\n".join(["what,remark,opinion", *(f"{b},nothing,{a}" for a, b in rows)]))
    Path("lines.txt").write_text("\n".join(f"{a} {b}" for a, b in rows))
    expected = json.loads(call("evaluate", "run", "--data", "same.csv", "--json")[1])["confusion"]
    assert sum(map(sum, expected)) == 40
    for name, words in (
        ("other.csv", ("--text-column", "opinion", "--label-column", "what")),
        ("lines.txt", ("--lines", "label-last")),
    ):
        status, out, err = call("evaluate", "run", "--data", name, "--json", *words)
        assert status == 0, err
        assert json.loads(out)["confusion"] == expected
    status, out, err = call("evaluate", "run", "--data", "lines.txt", "--lines", "label-first")
    assert status == 2
    assert err.count("\n") == 1
