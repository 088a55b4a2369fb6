"""The training step in one call against its plain twin, torch's operations one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pairs import every_pair
from unroll import GRU, SequenceClassifier, SequenceData, Splits, TrainConfig
from unroll.data.preparation import Preparation, Scaling
from unroll.scan import cpu
from unroll.training import fused_step as fused_module
from unroll.training.environment import describe_model
from unroll.training.fused_step import why_not_fused
from unroll.training.loop import Training
from unroll.training.results import Progress

pytestmark = pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f"backend cpu is {cpu.MISSING}")

CONFIG = TrainConfig(epochs=2, batch_size=7, lr=3e-3, val_fraction=0, seed=3)


def splits(kind: str, with_lengths: bool) -> Splits:
    """Return 40 sequences of 9 steps and 5 features, in 4 classes."""
    random = torch.Generator().manual_seed(1)
    lengths = torch.randint(0, 10, (40,), generator=random) if with_lengths else None
    x = torch.randint(0, 256, (40, 9, 5), generator=random, dtype=torch.uint8)
    scaling = Scaling(33.3, 78.9)
    if kind == "floats":
        x = torch.randn(40, 9, 5, generator=random)
        scaling = Scaling((0.1, -0.2, 0.3, 0.0, 0.5), (1.0, 2.0, 0.5, 1.1, 0.9))
    preparation = Preparation(("a", "b", "c", "d"), scaling)
    data = SequenceData(x, torch.randint(0, 4, (40,), generator=random), preparation, lengths)
    return Splits(data, data, "random", "the test")


def trained(
    data: Splits, config: TrainConfig, monkeypatch: pytest.MonkeyPatch, fused: bool, **model: Any
) -> tuple[Training, list[Any]]:
    torch.manual_seed(0)
    classifier = SequenceClassifier(5, 4, hidden_size=17, **model)
    with monkeypatch.context() as patch:
        if not fused:
            patch.setattr(fused_module, "why_not_fused", lambda *_: "the test wants the plain step")
        training = Training(classifier, data, config)
        return training, list(training.events())


CHANGES: dict[str, dict[str, Any]] = {
    "adamw": {},
    "adam": {"optimizer": "adam", "schedule": "constant", "weight_decay": 0.1, "clip_norm": 0.0},
    "clipped": {"clip_norm": 0.01},
    "balanced": {"class_weight": "balanced"},
    "smoothed": {"label_smoothing": 0.1},
    "weighted and smoothed": {"label_smoothing": 0.3, "class_weight": "a=0.25,c=7"},
    "weighted": {"class_weight": "a=0.25,c=7", "clip_norm": 0.0},
}


@every_pair(cell=("rnn", "gru", "lstm"), kind=("bytes", "floats"), with_lengths=(False, True), changes=tuple(CHANGES))
def test_the_fused_step_is_the_plain_one(
    monkeypatch: pytest.MonkeyPatch, cell: str, kind: str, with_lengths: bool, changes: str
) -> None:
    data, config = splits(kind, with_lengths), replace(CONFIG, **CHANGES[changes])
    plain, expected = trained(data, config, monkeypatch, False, cell=cell)
    fused, found = trained(data, config, monkeypatch, True, cell=cell)
    for one, other in zip(plain.model.parameters(), fused.model.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=2e-6)
    for one, other in zip(expected, found, strict=True):
        if isinstance(one, Progress):
            assert other.loss == pytest.approx(one.loss, rel=1e-5)
        else:
            assert other.train_accuracy == one.train_accuracy
            assert other.lr == one.lr
    kept, own = plain.optimizer.state_dict()["state"], fused.optimizer.state_dict()["state"]
    for number, state in kept.items():
        for name in ("step", "exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(own[number][name], state[name], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("with_lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize(
    "front",
    [{"frame": 4}, {"frame": 3, "hop": 3}, {"frame": 2, "hop": 1, "scaling": "both"}, {"scaling": "series"}],
    ids=lambda front: "-".join(map(str, front.values())),
)
def test_a_front_is_applied_before_the_fused_step(
    monkeypatch: pytest.MonkeyPatch, kind: str, with_lengths: bool, front: dict[str, Any]
) -> None:
    data, taken = splits(kind, with_lengths), []
    plain, _ = trained(data, CONFIG, monkeypatch, False, cell="gru", **front)
    original = fused_module.FusedStep.__call__
    monkeypatch.setattr(fused_module.FusedStep, "__call__", lambda *args: (taken.append(1), original(*args))[1])
    fused, _ = trained(data, CONFIG, monkeypatch, True, cell="gru", **front)
    assert taken
    for one, other in zip(plain.model.parameters(), fused.model.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=2e-6)


def test_it_is_taken_where_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    original = fused_module.FusedStep.__call__
    monkeypatch.setattr(
        fused_module.FusedStep,
        "__call__",
        lambda self, index, *args: (calls.append((len(index), len(args[1]))), original(self, index, *args))[1],
    )
    trained(splits("bytes", False), CONFIG, monkeypatch, True)
    assert calls[0] == (7, 1)  # how long a step takes is not known yet
    assert [sum(of) for of in zip(*calls, strict=True)] == [73, 11]  # the first step of all makes the optimiser's state


def test_several_threads_train_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    def weights() -> list[Tensor]:
        training, _ = trained(splits("bytes", True), CONFIG, monkeypatch, True, cell="gru")
        return [parameter.detach() for parameter in training.model.parameters()]

    alone = weights()
    torch.set_num_threads(3)
    try:
        shared = weights()
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))


def test_it_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    data, model = splits("bytes", False).train, SequenceClassifier(5, 4)
    assert why_not_fused(model, data, CONFIG) == ""
    assert why_not_fused(nn.Linear(5, 4), data, CONFIG) == "Linear is not a SequenceClassifier"
    for options in ({"num_layers": 2}, {"bidirectional": True}, {"readout": "mean"}, {"readout": "attention"}):
        other = SequenceClassifier(5, 4, **options)  # type: ignore[arg-type]
        assert "several layers or directions, or a readout other" in why_not_fused(other, data, CONFIG)
    for option in ({"layer_norm": True}, {"recurrent_dropout": 0.1}):
        other = SequenceClassifier(5, 4, **option)  # type: ignore[arg-type]
        assert why_not_fused(other, data, CONFIG) == "the model has layer norm or recurrent dropout"
    assert why_not_fused(model, data, replace(CONFIG, consistency=1.0)) == "the training reads each batch twice"
    assert "truncates gradients to 3 time steps" in why_not_fused(model, data, replace(CONFIG, tbptt=3))
    assert "truncates gradients to 9 time steps" in why_not_fused(model, None, replace(CONFIG, tbptt=9))
    assert why_not_fused(model, data, replace(CONFIG, tbptt=9)) == ""
    assert "computed by torch: asked for" in why_not_fused(SequenceClassifier(5, 4, backend="torch"), data, CONFIG)
    turned = data.x.transpose(0, 1).contiguous().transpose(0, 1)
    assert "not contiguous" in why_not_fused(model, replace(data, x=turned), CONFIG)
    monkeypatch.setattr(fused_module, "MOST_BYTES", 40 * 4 * 20 * 4 - 1)  # 40 sequences of 4 frames of 20 values
    framed = SequenceClassifier(5, 4, frame=4)
    assert "the frames of the training data would take more than 12,799 bytes" in why_not_fused(framed, data, CONFIG)
    assert "not float32" in why_not_fused(SequenceClassifier(5, 4).double(), data, CONFIG)
    other = SequenceClassifier(5, 4)
    other.head = nn.Linear(150, 4, bias=False)
    assert "the model's head is not linear" in why_not_fused(other, data, CONFIG)
    other = SequenceClassifier(5, 4)
    other.layers[0][0].bias_hh = other.layers[0][0].bias_ih  # type: ignore[index]
    assert "computes something from its parameters alone" in why_not_fused(other, data, CONFIG)
    other = SequenceClassifier(5, 4)
    weight = other.layers[0][0].weight_hh  # type: ignore[index]
    weight.data = weight.data.t().contiguous().t()
    assert "not contiguous" in why_not_fused(other, data, CONFIG)
    assert "0 time steps" in why_not_fused(model, replace(data, x=data.x[:, :0].contiguous()), CONFIG)
    assert "has not taken a step" in why_not_fused(model, data, CONFIG, torch.optim.Adam(model.parameters()))
    assert "not Adam" in why_not_fused(model, data, CONFIG, torch.optim.NAdam(model.parameters()))
    frozen, hooked = SequenceClassifier(5, 4), SequenceClassifier(5, 4)
    frozen.head.bias.requires_grad_(False)
    assert "frozen" in why_not_fused(frozen, data, CONFIG)
    hooked.head.register_forward_hook(lambda *_: None)
    assert "hooks" in why_not_fused(hooked, data, CONFIG)
    watched = SequenceClassifier(5, 4)
    watched.head.weight.register_hook(lambda grad: grad)
    assert "hooks" in why_not_fused(watched, data, CONFIG)
    nn.utils.parametrizations.orthogonal(frozen.requires_grad_().layers[0][0], "weight_hh")  # type: ignore[index]
    assert "parametrizations" in why_not_fused(frozen, data, CONFIG)


@pytest.mark.parametrize("change", ["head", "memory", "decay"])
def test_what_changes_between_events_is_taken_up(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """More steps than lie between two events; after the first event something changes."""
    data = splits("bytes", False)

    def weights(fused: bool) -> list[Tensor]:
        torch.manual_seed(0)
        model = SequenceClassifier(5, 4, hidden_size=17)
        with monkeypatch.context() as patch:
            if not fused:
                patch.setattr(fused_module, "why_not_fused", lambda *_: "the test wants the plain step")
            training = Training(model, data, replace(CONFIG, batch_size=1, epochs=1))
            for number, _ in enumerate(training.events()):
                if number == 0 and change == "head":
                    model.head.weight.requires_grad_(False)
                elif number == 0 and change == "memory":
                    for parameter in model.parameters():
                        parameter.data = parameter.data * 0.5
                elif number == 0:
                    training.optimizer.param_groups[0]["weight_decay"] = 50.0
        return [parameter.detach() for parameter in model.parameters()]

    for one, other in zip(weights(False), weights(True), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=2e-6)


def test_cells_given_as_classes_and_scalings_of_one_number(monkeypatch: pytest.MonkeyPatch) -> None:
    data = splits("floats", False)
    one = replace(data.train, preparation=replace(data.train.preparation, scaling=Scaling((0.5,), (2.0,))))
    data = replace(data, train=one, test=one)
    losses = []
    for fused in (False, True):
        _, events = trained(data, CONFIG, monkeypatch, fused, cell=GRU)
        losses.append([event.loss for event in events if isinstance(event, Progress)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)


def test_info_tells_of_a_model() -> None:
    facts = describe_model(SequenceClassifier(5, 4, cell="gru"))
    assert facts["training"].startswith("cpu: fused for float32 on this CPU")
    assert facts["training_step"] == "one call of the fused kernels"
    facts = describe_model(SequenceClassifier(5, 4, num_layers=2))
    assert facts["training_step"].startswith("operation by operation: the model has several layers")
