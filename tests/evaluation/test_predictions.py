"""What a model said of the test part, kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import unroll
from unroll.evaluation.predictions import Predictions
from unroll.runs.artifacts import read_predictions, write_predictions
from unroll.runs.folder import PREDICTIONS


def test_a_run_keeps_what_its_model_says_of_the_test_part(run: unroll.Run, sample: unroll.Splits) -> None:
    kept = read_predictions(run.path, sample.classes)
    assert kept is not None
    assert run.evaluation is not None
    assert kept.fingerprint == sample.test.fingerprint()
    torch.testing.assert_close(kept.logits, run.model(sample.test.batch(slice(None)).x), atol=1e-4, rtol=1e-4)
    assert torch.equal(kept.y, sample.test.y)
    assert kept.evaluation.to_dict() == {
        key: value for key, value in run.evaluation.items() if key not in ("weights", "epoch", "deciding")
    }
    assert float(kept.right.double().mean()) == run.evaluation["accuracy"]


def test_they_come_back_as_they_were(tmp_path: Path, small: unroll.Splits) -> None:
    model = unroll.SequenceClassifier(28, 10, hidden_size=8)
    said = Predictions.of(model, small.test)
    write_predictions(tmp_path, said)
    again = read_predictions(tmp_path, small.classes)
    assert again is not None
    assert torch.equal(said.logits, again.logits)
    assert torch.equal(said.y, again.y)
    assert again.fingerprint == said.fingerprint


def test_what_is_not_there_is_none_and_what_is_broken_is_said(tmp_path: Path, small: unroll.Splits) -> None:
    assert read_predictions(tmp_path, small.classes) is None
    (tmp_path / PREDICTIONS).write_bytes(b"no tensors")
    with pytest.raises(unroll.RunError, match=r"predictions\.safetensors is broken \(.+\); remove it, or train again"):
        read_predictions(tmp_path, small.classes)
    write_predictions(tmp_path, Predictions.of(unroll.SequenceClassifier(28, 10), small.test))
    with pytest.raises(unroll.RunError, match="do not fit 3 classes"):
        read_predictions(tmp_path, ("a", "b", "c"))
