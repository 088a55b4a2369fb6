"""The benchmarks measure what they say: all train and ask the same model."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import unroll
from benchmarks import answers, busy, cells, padding, peers, results, tutorial
from benchmarks.folder import write_folder
from benchmarks.tutorial import TutorialImages, TutorialModel
from unroll.bench.models import TorchClassifier


def test_totensor_written_out_is_unit_scaling(small: unroll.Splits) -> None:
    image, label = TutorialImages(small.train)[3]
    (batch,) = small.scaled("unit").train.batches(400)
    assert image.shape == (1, 28, 28)
    assert torch.equal(image[0], batch.x[3])
    assert label == int(small.train.y[3])


@pytest.mark.slow
def test_all_models_are_one() -> None:
    model = unroll.SequenceClassifier(28, 10, init="torch")
    x = torch.rand(5, 28, 28)
    torch.testing.assert_close(model(x), TutorialModel().copy_from(model)(x))
    torch.testing.assert_close(model(x), TorchClassifier(model)(x))


@pytest.mark.slow
def test_an_epoch_runs_and_writes_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = Path(shutil.which("false") or "false")
    tutorial.main(
        "mnist-sample", rounds=1, images=128, skip=["unroll, bf16", "Keras, JAX"], peers=nothing, out=Path("figures")
    )
    out = capsys.readouterr().out
    assert "tutorial, 1 threads: " in out
    assert "Keras, TensorFlow  left out: Keras, TensorFlow: it ended without a word" in out
    written = json.loads(Path("figures/bench.json").read_text())
    assert set(written["notes"]) == {"Keras, TensorFlow", "JAX, scan and jit"}
    (epoch,) = written["comparisons"]
    assert list(epoch["contenders"]) == ["tutorial", "nn.RNN", "unroll", "torch.mm"]
    assert all(contender["refused"] is None for contender in epoch["contenders"].values())
    assert Path("figures/bench.png").stat().st_size > 10_000


@pytest.mark.slow
def test_answers_run_and_name_who_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "PEERS", ("no such peer",))
    answers.main(images=20, rounds=1)
    out = capsys.readouterr().out
    assert "left out: no such peer: KeyError: 'no such peer'" in out
    assert "evaluation of 20 images" in out
    assert "not timed" not in out


def test_a_peer_does_as_it_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    calls: list[int] = []

    def counter(arrays: peers.Arrays) -> tuple[peers.Work, peers.Arrays, list[str]]:
        print("a library talks")
        return {"epoch": lambda: calls.append(1)}, {"logits": arrays["x"]}, ["numpy"]

    monkeypatch.setitem(peers.PEERS, "counter", counter)
    monkeypatch.setattr("sys.stdin", io.StringIO('["epoch", 3]\n'))
    np.savez(tmp_path / "data.npz", x=np.ones(2))
    with contextlib.redirect_stdout(io.StringIO()) as answered:
        peers.serve("counter", str(tmp_path))
    versions, seconds = map(json.loads, answered.getvalue().splitlines())
    assert versions == {"numpy": np.__version__}
    assert seconds["seconds"] >= 0
    assert len(calls) == 3
    assert np.load(tmp_path / "results.npz")["logits"].sum() == 2
    assert capsys.readouterr().err == "a library talks\n"


@pytest.mark.slow
def test_cells_of_ones_own_are_timed_beside_the_loop_and_the_built_in_ones(capsys: pytest.CaptureFixture[str]) -> None:
    nothing = Path(shutil.which("false") or "false")
    cells.main(
        cells=("Leaky", "OwnRNN"), sizes=("28x28",), threads=(1,), rounds=1, first_use=False, peers=nothing,
        out=Path("cells"),
    )  # fmt: skip
    out = capsys.readouterr().out
    assert "Leaky, 28x28, threads: 1: unroll " in out
    assert "not in torchrecurrent  Leaky" in out
    assert "not timed" not in out
    written = json.loads(Path("cells/bench.json").read_text())
    assert written["notes"]["JAX, scan and jit"].startswith("left out: ")
    leaky, twin = written["comparisons"]
    assert list(leaky["contenders"]) == ["unroll", "loop", "torch.mm"]
    assert list(twin["contenders"]) == ["own", "built-in", "torch.mm"]
    assert leaky["contenders"]["loop"]["ratio"]["median"] > 0


def test_the_folder_holds_the_set(small: unroll.Splits, tmp_path: Path) -> None:
    few = replace(small, train=small.train.subset(torch.arange(0, 400, 10)))
    assert write_folder(few, tmp_path / "images") == 140
    again = unroll.load(str(tmp_path / "images"))
    assert torch.equal(again.train.x.sum(dim=(1, 2)).sort().values, few.train.x.sum(dim=(1, 2)).sort().values)


@pytest.mark.slow
def test_a_busy_process_is_there_while_epochs_are_timed(capsys: pytest.CaptureFixture[str]) -> None:
    with busy.busy_cores(2) as processes:
        assert [process.poll() for process in processes] == [None, None]
    assert all(process.poll() is not None for process in processes)
    busy.main("mnist-sample", rounds=1, images=64, processes=1)
    out = capsys.readouterr().out
    assert "unroll, slowed" in out
    assert "nn.RNN, one thread; 1 busy" in out


@pytest.mark.usefixtures("undrawn")
@pytest.mark.slow
def test_results_are_trained_once_and_their_mean_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = results.Row("digits", "--data mnist-sample --epochs 1 --hidden-size 8", (0, 1))
    monkeypatch.setitem(results.ROWS, "digits", row)
    assert results.main("digits", out=Path("kept")) == 0
    each = [json.loads(Path(f"kept/digits-{seed}/evaluation.json").read_text())["accuracy"] for seed in (0, 1)]
    line = f"digits: {sum(each) / 2:.2%} (seeds (0, 1): {each[0]:.2%}, {each[1]:.2%})"
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"{line}; ")
    assert results.main("digits", out=Path("kept")) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [line]
    with pytest.raises(SystemExit, match="results: rows are rows, rows-gru, .*, digits, got row"):
        results.main("row")


class Watcher(torch.nn.Module):
    """Counts the time steps that it is trained on, and how many of them are padding."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(1, 2)
        self.steps = self.padding = 0

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.steps += x.shape[0] * x.shape[1]
            self.padding += x.shape[0] * x.shape[1] - int(lengths.sum())
        return self.head(x[:, 0])


def test_padding_is_that_of_the_batches_of_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(1, 30, 500)
    np.savez("uneven.npz", x=random.normal(size=(500, 29, 1)), y=np.arange(500) % 2, lengths=lengths)
    splits, config = unroll.load("uneven.npz"), unroll.TrainConfig(epochs=1, batch_size=16, val_fraction=0.2, seed=3)
    own, shuffled = padding.shares(splits, config)
    watcher = Watcher()
    list(unroll.fit(watcher, splits, config))
    assert own == [pytest.approx(watcher.padding / watcher.steps)]
    assert own[0] < 0.1 < 0.4 < shuffled[0]
    padding.main("uneven.npz", seeds=1)
    assert capsys.readouterr().out.startswith("uneven.npz: 1 to 29 steps; ")
