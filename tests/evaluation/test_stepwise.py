"""One sequence read step by step: against the model given only what was read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import unroll
from unroll import Calibration, InputError, SequenceClassifier, SequenceData, plots
from unroll.data.preparation import Preparation, Scaling
from unroll.evaluation.stepwise import Watched, watch

CLASSES = ("low", "high", "neither of these two")


def series(read: int = 2) -> SequenceData:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4, 9, read, generator=generator)
    lengths = torch.tensor([9, 5, 0, 9])
    return SequenceData(x, torch.tensor([0, 1, 2, 1]), Preparation(CLASSES, Scaling(0.0, 1.0)), lengths)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_states_and_answers_are_the_model_s(bidirectional: bool) -> None:
    model = SequenceClassifier(2, 3, hidden_size=4, num_layers=2, bidirectional=bidirectional).eval()
    watched = watch(model, series(), 1)
    x = series().x[1:2]
    assert watched.hidden.shape == (5, 8 if bidirectional else 4)
    for step in range(1, 6):
        expected = model(x[:, :step]).softmax(dim=1)[0].detach()
        torch.testing.assert_close(watched.probabilities[step - 1], expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(watched.hidden, model.stages(x[:, :5])[2].values[0].detach(), atol=1e-6, rtol=1e-5)
    assert watched.true == 1
    assert watched.predicted == int(model(x[:, :5]).argmax())


def test_the_step_of_decision_is_the_first_after_which_nothing_changes() -> None:
    def of(labels: list[int]) -> int:
        answers = torch.nn.functional.one_hot(torch.tensor(labels), 3).float()
        return Watched(series(), torch.zeros(len(labels), 1), answers).decided

    assert of([2, 1, 0, 0, 0]) == 3
    assert of([0, 0, 0]) == 1
    assert of([0, 0, 1]) == 3


def test_confidence_is_calibrated_step_by_step() -> None:
    model = SequenceClassifier(2, 3, hidden_size=4).eval()
    plain = watch(model, series(), 0)
    calibration = Calibration((0.5, 1.0), (4.0, 2.0), 9)
    assert calibration.at([1 / 9, 4.5 / 9, 5 / 9, 1.0]).tolist() == [4.0, 4.0, 2.0, 2.0]
    watched = watch(model, series(), 0, calibration)
    for step, temperature in ((1, 4.0), (9, 2.0)):
        expected = (plain.probabilities[step - 1].log() / temperature).softmax(dim=0)
        torch.testing.assert_close(watched.probabilities[step - 1], expected, atol=1e-6, rtol=1e-5)


def test_what_cannot_be_watched_is_said() -> None:
    model = SequenceClassifier(2, 3, hidden_size=4)
    with pytest.raises(InputError, match="sequence 2 is empty: choose one with at least 1 time step"):
        watch(model, series(), 2)
    no_steps = SequenceData(torch.zeros(1, 0, 2), torch.tensor([0]), series().preparation)
    with pytest.raises(InputError, match="sequence 0 is empty"):
        watch(model, no_steps, 0)
    with pytest.raises(InputError, match="number must be from 0 to 3, got 4"):
        watch(model, series(), 4)


def test_an_image_and_its_states_are_drawn_row_by_row(run: unroll.Run, sample: unroll.Splits) -> None:
    watched = watch(run.model, sample.test.prepared_as(run.preparation), 3, run.calibration)
    image, state, answer = plots.reading(watched).axes
    np.testing.assert_array_equal(image.images[0].get_array(), sample.test.x[3].numpy())
    drawn = np.asarray(state.images[0].get_array())
    assert drawn.shape == (28, 150)
    np.testing.assert_allclose(np.sort(drawn[7]), np.sort(watched.hidden[7].numpy()))
    assert (np.diff(drawn.mean(axis=0)) >= -1e-6).all()
    np.testing.assert_allclose(answer.images[0].get_array(), watched.probabilities.numpy())
    for ax in (image, state, answer):
        assert ax.lines[0].get_ydata()[0] == watched.decided - 0.5  # between the rows


def test_a_series_is_drawn_from_left_to_right() -> None:
    watched = watch(SequenceClassifier(2, 3, hidden_size=4).eval(), series(), 1)
    curves, state, answer = plots.reading(watched).axes
    np.testing.assert_allclose(curves.lines[1].get_ydata(), series().x[1, :5, 1])
    assert list(curves.lines[1].get_xdata()) == [1, 2, 3, 4, 5]
    assert np.asarray(state.images[0].get_array()).shape == (4, 5)
    names = [text.get_text() for text in answer.get_legend().get_texts()]
    assert names == ["low", "high", "neither of …"]
    np.testing.assert_allclose(answer.lines[0].get_ydata(), watched.probabilities[:, 0])


@pytest.mark.parametrize("read", ["columns", "pixels", "permuted"])
@pytest.mark.slow
def test_images_read_otherwise_are_drawn_too(read: str) -> None:
    data = unroll.load("mnist-sample", read=read).test  # type: ignore[arg-type]
    watched = watch(SequenceClassifier(data.input_size, 10, hidden_size=3).eval(), data, 0)
    axes = plots.reading(watched).axes
    assert len(axes) == 3
    assert np.asarray(axes[1].images[0].get_array()).shape == (3, data.x.shape[1])
    if read == "columns":
        image = unroll.load("mnist-sample").test.x[0]
        np.testing.assert_array_equal(axes[0].images[0].get_array(), image.numpy())
