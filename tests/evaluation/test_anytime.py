"""What a model says of parts of sequences: against the model itself, given only these parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import unroll
from unroll import ConfigError, DataError, SequenceClassifier, SequenceData
from unroll.cli import main
from unroll.data.preparation import Preparation, Scaling
from unroll.evaluation.anytime import Anytime, PartialAnswers, logits_after, marks, steps_read

CLASSES = ("a", "b", "c")


def series(n: int = 7, time: int = 31, lengths: Tensor | None = None) -> SequenceData:
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(n, time, 2, generator=generator)
    y = torch.randint(0, 3, (n,), generator=generator)
    return SequenceData(x, y, Preparation(CLASSES, Scaling((0.1, 0.0), (1.0, 2.0))), lengths)


@pytest.mark.parametrize("readout", ["last", "mean", "max", "attention"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm", "lru"])
@pytest.mark.parametrize("ragged", [False, True])
def test_logits_are_those_of_the_part_alone(readout: str, cell: str, ragged: bool) -> None:
    data = series(lengths=torch.tensor([31, 0, 1, 5, 30, 2, 17]) if ragged else None)
    model = SequenceClassifier(2, 3, cell=cell, hidden_size=5, num_layers=2, readout=readout).eval()  # type: ignore[arg-type]
    fractions = (0.1, 0.5, 0.51, 1.0)
    found, steps = logits_after(model, data, fractions), steps_read(data, fractions)
    for mark in range(4):
        for number in range(7):
            x = data.batch(torch.tensor([number])).x[:, : int(steps[mark, number])]
            torch.testing.assert_close(found[mark, number], model(x)[0].detach(), atol=1e-5, rtol=1e-5)


def test_a_series_of_one_step_is_read_at_once() -> None:
    data, model = series(time=1), SequenceClassifier(2, 3, hidden_size=4).eval()
    expected = model(data.batch(slice(None)).x).detach()
    torch.testing.assert_close(logits_after(model, data, marks(data)), expected.unsqueeze(0))


class Total(nn.Module):
    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        assert lengths is not None
        there = torch.arange(x.shape[1]) < lengths.unsqueeze(1)
        return (x * there.unsqueeze(2)).sum(dim=1).repeat(1, 2)[:, :3]


@pytest.mark.parametrize("model", [SequenceClassifier(2, 3, hidden_size=4, bidirectional=True), Total()])
def test_models_that_cannot_stream_read_each_part_anew(model: nn.Module) -> None:
    data = series(lengths=torch.tensor([31, 1, 1, 5, 30, 2, 17]))
    found, steps = logits_after(model, data, (0.3, 1.0)), steps_read(data, (0.3, 1.0))
    for mark, row in enumerate(steps):
        x = data.batch(slice(None)).x
        torch.testing.assert_close(found[mark], model.eval()(x, row).detach(), atol=1e-5, rtol=1e-5)


def test_a_model_that_somebody_has_changed_is_called() -> None:
    class Turned(SequenceClassifier):
        def forward(self, *args: Any, **kwargs: Any) -> Tensor:
            return -2 * super().forward(*args, **kwargs)

    plain, turned, hooked = (
        SequenceClassifier(2, 3, hidden_size=4),
        Turned(2, 3, hidden_size=4),
        SequenceClassifier(2, 3, hidden_size=4),
    )
    for other in (turned, hooked):
        other.load_state_dict(plain.state_dict())
    hooked.register_forward_hook(lambda model, inputs, logits: logits + 1)
    expected = logits_after(plain, series(), (0.5, 1.0))
    torch.testing.assert_close(logits_after(turned, series(), (0.5, 1.0)), -2 * expected)
    torch.testing.assert_close(logits_after(hooked, series(), (0.5, 1.0)), expected + 1)


def test_marks_are_the_steps_where_there_are_few() -> None:
    assert marks(series(time=4)) == (0.25, 0.5, 0.75, 1.0)
    assert len(marks(series(time=784))) == 28
    for time in range(1, 29):  # rounding up must not be led astray by floats
        data = series(time=time)
        assert steps_read(data, marks(data))[:, 0].tolist() == list(range(1, time + 1))
    assert steps_read(series(lengths=torch.tensor([0, 1, 2, 3, 4, 30, 31])), (0.5, 1.0)).tolist() == [
        [0, 1, 1, 2, 2, 15, 16],
        [0, 1, 2, 3, 4, 30, 31],
    ]


def test_reading_stops_at_the_first_mark_that_is_sure() -> None:
    sure = torch.tensor([[0.6, 0.9, 0.5], [0.8, 0.5, 0.5], [0.5, 0.95, 0.55]])  # (marks, sequences)
    steps = torch.tensor([[3], [6], [10]]).expand(3, 3)
    answers = PartialAnswers((0.3, 0.6, 1.0), steps, torch.stack([sure, 1 - sure], 2))
    at, reached = answers.stopped(0.8)
    assert at.tolist() == [1, 0, 2]
    assert reached.tolist() == [True, True, False]
    for wrong in (0.0, 1.1, float("nan")):
        with pytest.raises(ConfigError, match="the confidence to stop at must be above 0 and at most 1, got"):
            answers.stopped(wrong)


def test_the_counts_are_what_the_parts_give(run: unroll.Run, sample: unroll.Splits) -> None:
    assert run.calibration is not None
    data = sample.test.prepared_as(run.preparation)
    found = unroll.evaluate_anytime(run.model, data, run.calibration, sure=(0.9, 1.0))
    assert found.calibrated
    assert found.steps == tuple(range(1, 29))
    for mark in (0, 20, 27):
        cut = replace(data, lengths=torch.full_like(data.y, mark + 1))
        assert found.accuracy[mark] == pytest.approx(unroll.evaluate(run.model, cut).accuracy, abs=0.002)
    assert found.area == pytest.approx(sum(found.accuracy) / 28, abs=1e-9)
    first, never = found.stops
    assert found.accuracy[-1] - 0.02 < first.accuracy <= found.accuracy[-1] + 0.01
    assert first.steps < 28
    assert first.share > 0.8
    assert never.steps > 27.9
    assert json.dumps(found.to_dict())


def test_a_model_that_is_as_good_at_every_part_has_that_mean() -> None:
    found = Anytime((0.05, 0.5, 1.0), (1.0, 10.0, 20.0), (0.9417,) * 3, (0.9,) * 3, (), calibrated=False)
    assert found.area == pytest.approx(0.9417)
    rising = replace(found, accuracy=(0.2, 0.4, 1.0))
    assert rising.area == pytest.approx(0.05 * 0.2 + 0.45 * 0.4 + 0.5 * 1.0)


def test_confidence_is_calibrated_on_what_was_held_out(run: unroll.Run, sample: unroll.Splits) -> None:
    assert run.calibration is not None
    held_out = sample.train.cut(0.1, 0)[1]
    assert run.calibration.n == len(held_out)
    again = unroll.calibrate(run.model, held_out.prepared_as(run.preparation))
    assert again.temperatures == pytest.approx(run.calibration.temperatures, rel=1e-3)
    with pytest.raises(DataError, match="needs at least 1 sequence, got 0"):
        unroll.calibrate(run.model, held_out.subset(torch.arange(0)))


@pytest.mark.slow
def test_the_commands(run: unroll.Run, sample: unroll.Splits, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        Image.fromarray(sample.test.x[number].numpy()).save(f"{number}.png")
    assert main(["evaluate", str(run.path), "--anytime"]) == 0
    shown = capsys.readouterr().out
    assert "after a part of each sequence (calibrated" in shown
    assert "early stopping by confidence" in shown
    assert main(["evaluate", str(run.path), "--anytime", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["anytime"]
    assert found["fractions"][-1] == 1
    assert main(["predict", str(run.path), "0.png", "1.png", "--stop-at", "0.9", "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["predictions"]
    assert 15 < first["read"] <= 28
    assert first["preparation"][-1] == f"sure after {first['read']} steps"
    assert first["class"] == sample.classes[int(sample.test.y[0])]
    assert second["probability"] >= 0.9 or second["preparation"][-1] == "not sure after 28 steps, the last"
    assert main(["predict", str(run.path), "0.png", "--stop-at", "2"]) == 2
    assert capsys.readouterr().err == "unroll: the confidence to stop at must be above 0 and at most 1, got 2.0\n"


def test_without_anything_held_out_it_is_said(sample: unroll.Splits, capsys: pytest.CaptureFixture[str]) -> None:
    unroll.save(SequenceClassifier(28, 10, hidden_size=4), "by-hand", data=sample.train)
    Image.fromarray(sample.test.x[0].numpy()).save("0.png")
    assert main(["predict", "by-hand", "0.png", "--stop-at", "0.95"]) == 0
    shown = capsys.readouterr()
    assert "not sure after 28 steps, the last" in shown.out
    assert "; not calibrated) · taken as it is, not sure after 28 steps, the last" in shown.out
    assert "by-hand has no calibration, so the confidence may be too high" in shown.err
    assert main(["predict", "by-hand", "0.png", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calibrated"] is False
    assert not Path("by-hand/calibration.json").exists()


@pytest.mark.slow
def test_texts_and_series_stop_too(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{word} film number {i}" for i in range(40) for word in ("good", "awful")]
    Path("films.txt").write_text("".join(f"{line.split()[0]} {line}\n" for line in lines))
    assert (
        main(["train", "--no-report", "--data", "films.txt", "--out", "films", "--epochs", "20", "--early", "0.5"]) == 0
    )
    capsys.readouterr()
    assert main(["predict", "films", "--text", "awful film number 3", "--text", "", "--stop-at", "0.6", "--json"]) == 0
    first, empty = json.loads(capsys.readouterr().out)["predictions"]
    assert first["class"] == "awful"
    assert first["read"] == 1
    assert empty["read"] == 0
    Path("new.csv").write_text(
        "id,time,a,label\n" + "".join(f"{i},{t},{t * (i + 1)},x{i % 2}\n" for i in range(20) for t in range(6))
    )
    assert (
        main(["train", "--no-report", "--data", "new.csv", "--out", "series", "--epochs", "2", "--hidden-size", "8"])
        == 0
    )
    capsys.readouterr()
    assert main(["predict", "series", "new.csv", "--stop-at", "0.99999", "--json"]) == 0
    assert {p["read"] for p in json.loads(capsys.readouterr().out)["predictions"]} == {6}
