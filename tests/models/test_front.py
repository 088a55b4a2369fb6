"""Frames and series scaled by themselves, beside a plain loop; and that all that reads a model goes through them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import unroll
from unroll.data.preparation import Preparation, Scaling
from unroll.data.sequences import SequenceData
from unroll.doctor import examine
from unroll.errors import ConfigError, InputError
from unroll.models.front import EPSILON, Front, choose_frame
from unroll.models.trace import trace_states

FRONTS: list[dict[str, Any]] = [
    {"frame": 4},
    {"frame": 5, "hop": 3},
    {"frame": 3, "hop": 3},
    {"frame": 3, "hop": 1},
    {"frame": 40},
    {"scaling": "series"},
    {"scaling": "both"},
    {"scaling": "both", "frame": 4, "mask_size": 1},
    {"scaling": "series", "frame": 5, "hop": 2, "mask_size": 2},
]
LENGTHS = torch.tensor([17, 1, 0, 9, 4, 12, 5])


def name(settings: dict[str, Any]) -> str:
    return "-".join(f"{key}-{value}" for key, value in settings.items())


def reference(
    x: Tensor, scaling: str = "training", mask_size: int = 0, frame: int = 1, hop: int | None = None
) -> Tensor:
    """Return the frames of one sequence (time, features), value by value."""
    hop = hop or max(1, frame // 2)
    steps, plain = len(x), x.shape[1] - mask_size
    rows = [list(step) for step in x]
    if scaling in ("series", "both") and steps:
        for feature in range(plain):
            values = list(x[:, feature])
            mean = sum(values) / steps
            variance = sum((value - mean) ** 2 for value in values) / steps
            for row, value in zip(rows, values, strict=True):
                scaled = (value - mean) / (variance + EPSILON * (1 + mean**2)) ** 0.5
                if scaling == "both":
                    row.append(scaled)
                else:
                    row[feature] = scaled
    width = plain * (2 if scaling == "both" else 1) + mask_size
    frames, start = [], 0
    while start == 0 or start - hop + frame < steps:
        if not steps:
            break
        taken = [value for row in rows[start : start + frame] for value in row]
        frames.append(torch.stack(taken + [x.new_zeros(())] * (frame * width - len(taken))))
        start += hop
    return torch.stack(frames) if frames else x.new_zeros(0, frame * width)


def made(settings: dict[str, Any], features: int = 3, **more: Any) -> unroll.SequenceClassifier:
    torch.manual_seed(1)
    more = {"cell": "gru", "hidden_size": 6} | more
    return unroll.SequenceClassifier(features, 2, **settings, **more).eval()


@pytest.mark.parametrize("settings", FRONTS, ids=name)
def test_a_front_and_its_gradients_are_those_of_a_plain_loop(settings: dict[str, Any]) -> None:
    front = made(settings).front
    x = torch.randn(len(LENGTHS), 17, 3, dtype=torch.float64)
    poisoned = torch.where(torch.arange(17).view(1, -1, 1) < LENGTHS.view(-1, 1, 1), x, math.nan).requires_grad_()
    frames, counts = front(poisoned, LENGTHS)
    assert frames.shape[2] == front.output_size
    plain = x.clone().requires_grad_()
    weights = torch.randn(frames.shape, dtype=torch.float64)
    own = total = torch.zeros((), dtype=torch.float64)
    for number, length in enumerate(LENGTHS.tolist()):
        expected = reference(plain[number, :length], **settings)
        assert counts is not None
        assert len(expected) == int(counts[number]) == front.count(length)
        read = frames[number, : len(expected)]
        torch.testing.assert_close(read, expected, rtol=1e-9, atol=1e-9)
        own = own + (read * weights[number, : len(expected)]).sum()
        total = total + (expected * weights[number, : len(expected)]).sum()
    (of_front,) = torch.autograd.grad(own, poisoned)
    (of_loop,) = torch.autograd.grad(total, plain)
    torch.testing.assert_close(of_front, of_loop, rtol=1e-7, atol=1e-9)
    whole, none = front(x)
    assert none is None
    torch.testing.assert_close(whole[3], reference(x[3], **settings), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("settings", FRONTS, ids=name)
@pytest.mark.parametrize("readout", ["last", "attention"])
def test_a_stream_says_after_each_piece_what_the_model_says_of_all_so_far(
    settings: dict[str, Any], readout: str
) -> None:
    model, x = made(settings, num_layers=2, readout=readout), torch.randn(len(LENGTHS), 17, 3)
    stream, alone = model.stream(len(x)), model.stream(len(x))
    with torch.inference_mode():
        for start, stop in ((0, 2), (2, 3), (3, 3), (3, 11), (11, 17)):
            logits = stream.feed(x[:, start:stop], (LENGTHS - start).clamp(0, stop - start))
            torch.testing.assert_close(logits, model(x, LENGTHS.clamp(max=stop)), rtol=0, atol=1e-5)
        for step in range(17):
            torch.testing.assert_close(alone.step(x[:, step]), model(x[:, : step + 1]), rtol=0, atol=1e-5)
    again = model.stream(len(x))
    again.state = alone.state
    torch.testing.assert_close(again.step(x[:, 0]), alone.step(x[:, 0]))


def test_only_a_stream_of_series_scaled_by_themselves_grows() -> None:
    sizes = {}
    for settings in ({"frame": 4}, {"frame": 4, "scaling": "both"}):
        stream = made(settings).stream()
        sizes[len(settings)] = [
            stream.step(torch.zeros(1, 3)) is not None and stream.state[2][0].shape[1] for _ in range(9)
        ]
    assert sizes == {1: [3] * 9, 2: list(range(1, 10))}


def test_a_stream_refuses_the_state_of_other_frames() -> None:
    stream, other = made({"frame": 4}).stream(), made({"frame": 5}).stream()
    with pytest.raises(InputError, match="state must be from a stream with the same frames and scaling"):
        stream.state = other.state


def test_frames_as_wide_as_an_image_are_its_rows(small: unroll.Splits) -> None:
    by_row = made({}, 28)
    by_pixel = made({"frame": 28, "hop": 28}, 1)
    by_pixel.load_state_dict(by_row.state_dict())
    x = small.test.batch(slice(0, 5)).x
    with torch.inference_mode():
        assert torch.equal(by_pixel(x.reshape(5, 784, 1)), by_row(x))


def test_a_constant_series_scaled_by_itself_is_zero_and_its_gradient_a_number() -> None:
    x = torch.tensor([[[1234.5, -0.3]] * 7, [[1e-7, 0.0]] * 7]).requires_grad_()
    scaled = Front(2, "series").scaled(x)
    assert torch.equal(scaled, torch.zeros_like(x))
    (gradient,) = torch.autograd.grad(scaled[:, 0].sum(), x)
    assert gradient.isfinite().all()


def test_one_call_of_the_kernels_answers_behind_a_front_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from unroll.models import classifier

    model, x = made({"frame": 4, "scaling": "both"}, readout="last"), torch.randn(5, 23, 3)
    expected = model(x).detach()
    answers = []
    original = classifier.answer_at_once
    monkeypatch.setattr(classifier, "answer_at_once", lambda *args: (answers.append(original(*args)), answers[-1])[1])
    with torch.inference_mode():
        torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-5)
    if unroll.scan.cpu.INSTRUCTION_SETS:
        assert [None if answer is None else answer.shape for answer in answers] == [(5, 2)]


def test_truncation_goes_back_whole_frames() -> None:
    model, x = made({"frame": 4, "hop": 2}, readout="last"), torch.randn(2, 24, 3)
    whole, cut = x.clone().requires_grad_(), x.clone().requires_grad_()
    (everywhere,) = torch.autograd.grad(model(whole, tbptt=24).sum(), whole)
    (gradient,) = torch.autograd.grad(model(cut, tbptt=5).sum(), cut)
    assert everywhere.abs().amax(dim=(0, 2)).count_nonzero() == 24
    # Three frames, the last, reach back 2·3 + 2 steps.
    assert gradient.abs().amax(dim=(0, 2)).nonzero()[:, 0].tolist() == list(range(16, 24))


def test_stages_and_traces_show_the_front() -> None:
    model, x = made({"frame": 4, "scaling": "both"}), torch.randn(2, 9, 3)
    lengths = torch.tensor([9, 5])
    stages = {stage.name: tuple(stage.values.shape) for stage in model.stages(x, lengths)}
    assert stages == {
        "input": (2, 9, 3), "scaled": (2, 9, 6), "frames": (2, 4, 24), "layer 1": (2, 4, 6), "readout last": (2, 6),
        "logits": (2, 2),
    }  # fmt: skip
    trace = trace_states(model, x, lengths)
    assert trace.lengths is not None
    assert trace.lengths.tolist() == [4, 2]
    torch.testing.assert_close(trace.logits, model(x, lengths))


def test_saliency_speaks_of_single_time_steps() -> None:
    x = torch.randn(4, 20, 3)
    lengths = torch.tensor([20, 3, 0, 11])
    framed = made({"frame": 4})
    values = unroll.attribute(framed, x, lengths, target=1)
    assert values.shape == x.shape
    gain = framed(x, lengths)[:, 1] - framed(torch.zeros_like(x), lengths)[:, 1]
    torch.testing.assert_close(values.sum(dim=(1, 2)), gain.detach(), rtol=0, atol=1e-4)
    scaled = made({"frame": 4, "scaling": "both", "mask_size": 1})
    values = unroll.attribute(scaled, x, lengths, target=1)
    assert values.shape == x.shape
    nothing = torch.zeros_like(scaled.vectors(x, lengths))
    gain = scaled(x, lengths)[:, 1] - scaled.of_vectors(nothing, lengths)[:, 1]
    torch.testing.assert_close(values.sum(dim=(1, 2)), gain.detach(), rtol=0, atol=1e-4)
    assert not values[1, 3:].any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame": 0}, "frame must be at least 1, got 0"),
        ({"frame": "four"}, "frame must be a whole number or auto, got 'four'"),
        ({"frame": 4, "hop": 5}, "hop must be at most frame, 4, got 5: time steps between two frames would be skipped"),
        ({"frame": "auto"}, "frame must be a number, got auto: that follows from the training data alone"),
        ({"mask_size": 3}, "mask_size must be below input_size, 3, got 3"),
        ({"scaling": "each"}, "scaling must be one of unit, training, series, both, got 'each'"),
        (
            {"frame": 2, "vocabulary_size": 9},
            "frame 2 and scaling training cannot be used with a vocabulary: they need numbers",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        unroll.SequenceClassifier(3, 2, **settings)


def test_a_model_and_its_stream_in_float64() -> None:
    model, x = made({"frame": 4, "scaling": "both"}).double(), torch.randn(2, 11, 3, dtype=torch.float64)
    with torch.inference_mode():
        logits = model.stream(2).feed(x)
        assert logits.dtype == torch.float64
        torch.testing.assert_close(logits, model(x), rtol=0, atol=1e-12)


def test_the_doctor_counts_frames_where_the_layers_read_frames() -> None:
    x = torch.randn(20, 90, 2)
    preparation = Preparation(("a", "b"), Scaling(0.0, 1.0))
    data = SequenceData(x, torch.arange(20) % 2, preparation, torch.randint(40, 91, (20,)))
    examination = examine(made({"frame": 6, "scaling": "both"}, 2), data)
    assert examination.memory is not None
    assert examination.memory.time == examination.time == int(data.steps_of_each.max())
    (layer,) = examination.layers
    assert len(layer.gradient) == Front(2, frame=6, hop=3).count(examination.time)


def test_frames_follow_from_the_length() -> None:
    assert [choose_frame(length)[0] for length in (1, 100, 101, 150, 251, 427, 784, 1460, 18_000)] == [
        1, 1, 4, 4, 8, 14, 26, 48, 600,
    ]  # fmt: skip
    for length in range(101, 3000):
        frame, reason = choose_frame(length)
        assert 40 <= Front(1, frame=frame, hop=frame // 2).count(length) <= 80, length
        assert reason.startswith(f"series of about {length} time steps become about")
