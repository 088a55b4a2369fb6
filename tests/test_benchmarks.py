"""The benchmarks measure what they say: the two pipelines are the same training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import unroll
from benchmarks.folder import write_folder
from benchmarks.tutorial import TutorialImages, TutorialModel, main


def test_totensor_written_out_is_unit_scaling(small: unroll.Splits) -> None:
    image, label = TutorialImages(small.train)[3]
    (batch,) = small.scaled("unit").train.batches(400)
    assert image.shape == (1, 28, 28)
    assert torch.equal(image[0], batch.x[3])
    assert label == int(small.train.y[3])


def test_both_models_are_one(small: unroll.Splits) -> None:
    model, twin = unroll.SequenceClassifier(28, 10, init="torch"), TutorialModel()
    (cell,) = model.layers[0].children()
    twin.basic_rnn.load_state_dict({f"{name}_l0": value for name, value in cell.state_dict().items()})
    twin.FC.load_state_dict(model.head.state_dict())
    x = torch.rand(5, 28, 28)
    torch.testing.assert_close(model(x), twin(x))


def test_it_runs_and_writes_its_figures(capsys: pytest.CaptureFixture[str]) -> None:
    main(data="mnist-sample", pairs=1, out=Path("figures.json"))
    assert "times as fast" in capsys.readouterr().out
    figures = json.loads(Path("figures.json").read_text())
    assert set(figures["ratios"]) == {"tutorial", "nn.RNN"}
    assert len(figures["seconds"]["tutorial"]) == len(figures["ratios"]["nn.RNN"]) == 1


def test_the_folder_holds_the_set(small: unroll.Splits, tmp_path: Path) -> None:
    few = replace(small, train=small.train.subset(torch.arange(0, 400, 10)))
    assert write_folder(few, tmp_path / "images") == 140
    again = unroll.load(str(tmp_path / "images"))
    assert torch.equal(again.train.x.sum(dim=(1, 2)).sort().values, few.train.x.sum(dim=(1, 2)).sort().values)
