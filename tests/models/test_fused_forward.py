"""Predictions in one call equal those of the model module by module, and of torch.nn."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.utils import prune
from torch.overrides import TorchFunctionMode

import unroll
from pairs import every_pair
from unroll import InputError, SequenceClassifier, SequenceData, evaluate, predict
from unroll.data.preparation import Preparation, Scaling
from unroll.models import classifier as model_module
from unroll.models import fused_forward as answer
from unroll.scan import cpu

pytestmark = pytest.mark.skipif(not cpu.INSTRUCTION_SETS, reason=f"backend cpu is {cpu.MISSING}")

Call = Callable[[], Any]


def by_modules(call: Call) -> Any:
    """Return what ``call`` gives where no answer comes from one call of the kernels."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_module, "answer_at_once", lambda *_: None)
        return call()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows with each answer that is asked for: whether the kernels gave it."""
    given: list[bool] = []

    def noted(*args: Any) -> Tensor | None:
        logits = answer.answer_at_once(*args)
        given.append(logits is not None)
        return logits

    monkeypatch.setattr(model_module, "answer_at_once", noted)
    return given


def small(cell: str = "rnn", **options: Any) -> SequenceClassifier:
    return SequenceClassifier(5, 4, cell=cell, hidden_size=17, **options).eval()


def lengths_of(batch: int, time: int) -> Tensor:
    """Return lengths from 0 to ``time``, which only the first sequence may have."""
    return torch.tensor([time, 0, (time + 1) // 2] * batch)[:batch]


KINDS = [("rnn", "tanh"), ("rnn", "relu"), ("gru", "tanh"), ("lstm", "tanh")]


@every_pair(
    kind=tuple(KINDS),
    batch=(1, 3, 64, 131),
    sizes=((1, 1, 1), (7, 28, 17), (28, 28, 150), (63, 3, 33)),
    with_lengths=(False, True),
)
def test_an_answer_is_that_of_the_modules(
    at_once: list[bool], kind: tuple[str, Any], batch: int, sizes: tuple[int, int, int], with_lengths: bool
) -> None:
    (cell, nonlinearity), (time, features, hidden) = kind, sizes
    model = SequenceClassifier(
        features, 3, cell=cell, hidden_size=hidden, nonlinearity=nonlinearity, init="torch"
    ).eval()
    expected_model = copy.deepcopy(model).double()
    for layer in expected_model.layers:
        layer[0].backend = "reference"
    x, lengths = torch.randn(batch, time, features), lengths_of(batch, time) if with_lengths else None
    with torch.no_grad():
        actual = model(x, lengths)
        torch.testing.assert_close(actual, expected_model(x.double(), lengths).float(), rtol=1e-4, atol=1e-5)
    assert at_once == [True, False]
    assert (actual.dtype, actual.requires_grad, actual.is_inference()) == (torch.float32, False, False)


@pytest.mark.parametrize("kind", ["rnn", "gru", "lstm"])
def test_an_answer_is_that_of_torch_nn(at_once: list[bool], kind: str) -> None:
    model = small(kind)
    peer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[kind](5, 17, batch_first=True)
    peer.load_state_dict({f"{name}_l0": value for name, value in model.layers[0][0].state_dict().items()})  # type: ignore[index]
    x = torch.randn(3, 9, 5)
    with torch.inference_mode():
        torch.testing.assert_close(model(x), model.head(peer(x)[0][:, -1]))
    assert at_once == [True]


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_threads_do_not_change_an_answer(cell: str) -> None:
    model, x, lengths = small(cell), torch.randn(131, 9, 5), lengths_of(131, 9)
    alone = predict(model, x, lengths)
    torch.set_num_threads(2)
    try:
        shared = predict(model, x, lengths)
    finally:
        torch.set_num_threads(1)
    torch.testing.assert_close(shared, alone, rtol=1e-5, atol=1e-6)


def data_of(kind: str, with_lengths: bool) -> SequenceData:
    scaling = Scaling(33.3, 78.9) if kind == "bytes" else Scaling((0.1, -0.2, 0.3, 0.0, 0.5), (1.0, 2.0, 0.5, 1.1, 0.9))
    x = torch.randint(0, 256, (131, 9, 5), dtype=torch.uint8) if kind == "bytes" else torch.randn(131, 9, 5)
    lengths = lengths_of(131, 9) if with_lengths else None
    return SequenceData(x, torch.arange(131) % 4, Preparation(("a", "b", "c", "d"), scaling), lengths)


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("kind", ["bytes", "floats"])
@pytest.mark.parametrize("with_lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_evaluation_is_that_of_the_modules(
    at_once: list[bool], cell: str, kind: str, with_lengths: bool, threads: int
) -> None:
    model, data = small(cell), data_of(kind, with_lengths)
    expected = by_modules(lambda: evaluate(model, data, 50))
    torch.set_num_threads(threads)
    try:
        actual = evaluate(model, data, 50)
    finally:
        torch.set_num_threads(1)
    assert at_once == [True] * 3
    assert actual.loss == pytest.approx(expected.loss, rel=1e-5)
    assert torch.equal(actual.confusion, expected.confusion)


def test_nan_shows() -> None:
    model, data = small(), data_of("floats", with_lengths=True)
    data.x[3, 0, 2] = float("nan")  # the sequence has all its steps
    data.x[5, 8, 2] = float("nan")  # past the length of its sequence
    with torch.no_grad():
        gone = model(data.x, data.lengths).isnan()
    assert gone[3].all()
    assert gone.any(dim=1).sum() == 1
    assert evaluate(model, data).loss != evaluate(model, data).loss


def swap_dtype(model: SequenceClassifier) -> None:
    model.double()


def swap_memory(model: SequenceClassifier) -> None:
    for parameter in model.parameters():
        parameter.data = parameter.data * 0.5


def transpose(model: SequenceClassifier) -> None:
    weight = model.layers[0][0].weight_hh  # type: ignore[index]
    weight.data = weight.data.t()


def negate(model: SequenceClassifier) -> None:
    model.head.weight.data = torch._neg_view(model.head.weight.data)


def load(model: SequenceClassifier) -> None:
    model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})


def new_parameter(model: SequenceClassifier) -> None:
    model.layers[0][0].weight_hh = nn.Parameter(torch.eye(17))  # type: ignore[index]


def new_head(model: SequenceClassifier) -> None:
    model.head = nn.Linear(17, 7)


def head_without_bias(model: SequenceClassifier) -> None:
    model.head = nn.Linear(17, 4, bias=False)


def another_kind(model: SequenceClassifier) -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    model.head = Doubled(17, 4)


def hook(model: SequenceClassifier) -> None:
    model.head.register_forward_hook(lambda module, args, result: result + 1)


def hook_before(model: SequenceClassifier) -> None:
    model.head.register_forward_pre_hook(lambda module, args: (args[0] * 2,))


def another_forward(model: SequenceClassifier) -> None:
    model.head.forward = lambda vector: vector[:, :4]  # type: ignore[method-assign]


def another_scan(model: SequenceClassifier) -> None:
    cell = model.layers[0][0]  # type: ignore[index]
    cell.scan = lambda x, state, *_, **__: (x[:, :0], state + 1)


def another_nonlinearity(model: SequenceClassifier) -> None:
    model.layers[0][0].nonlinearity = "relu"  # type: ignore[index]


def parametrize(model: SequenceClassifier) -> None:
    nn.utils.parametrize.register_parametrization(model.layers[0][0], "weight_hh", nn.Hardtanh(-0.1, 0.1))  # type: ignore[index]


def pruned(model: SequenceClassifier) -> None:
    prune.l1_unstructured(model.head, "weight", 0.5)


def another_readout(model: SequenceClassifier) -> None:
    model.readout = unroll.models.readout.Max()


def another_layer(model: SequenceClassifier) -> None:
    model.layers.append(nn.ModuleList([unroll.RNN(17, 17)]))


CHANGES = [(swap_memory, True), (load, True), (new_parameter, True), (new_head, True), (swap_dtype, False),
           (transpose, True), (negate, False), (head_without_bias, False), (another_kind, False), (hook, False),
           (hook_before, False), (another_forward, False), (another_scan, False), (another_nonlinearity, True),
           (parametrize, True), (pruned, False), (another_readout, False), (another_layer, False)]  # fmt: skip


@pytest.mark.parametrize(("change", "fits"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_a_change_of_the_model_is_seen_at_once(at_once: list[bool], change: Callable[..., None], fits: bool) -> None:
    model, x = small(), torch.randn(3, 9, 5)
    with torch.no_grad():
        before = model(x)
        change(model)
        x = x.to(next(model.parameters()).dtype)
        after, expected = model(x), by_modules(lambda: model(x))
    torch.testing.assert_close(after, expected, rtol=1e-4, atol=1e-5)
    assert after.shape != before.shape or after.dtype != before.dtype or not torch.allclose(after, before)
    assert at_once == [True, fits] if at_once[1:] else not fits


def test_hooks_of_the_model_see_every_batch() -> None:
    model, data, seen = small(), data_of("bytes", with_lengths=False), list[int]()
    model.register_forward_hook(lambda module, args, result: seen.append(len(result)))
    evaluate(model, data, 50)
    assert seen == [50, 50, 31]


def test_what_takes_forward_s_place_sees_every_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data, forward, seen = small(), data_of("bytes", with_lengths=False), SequenceClassifier.forward, list[int]()
    for place in (SequenceClassifier, model):
        own = (lambda *args: forward(model, *args)) if place is model else forward
        with monkeypatch.context() as patch:
            patch.setattr(place, "forward", lambda *args, own=own: (seen.append(len(args[-2])), own(*args))[1])
            evaluate(model, data, 50)
    assert seen == [50, 50, 31] * 2


def test_hooks_of_all_modules_are_called() -> None:
    model, seen = small(), list[str]()
    handle = nn.modules.module.register_module_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    try:
        with torch.no_grad():
            model(torch.randn(2, 9, 5))
    finally:
        handle.remove()
    assert seen == ["Linear", "SequenceClassifier"]


def test_whom_it_is_not_for(at_once: list[bool]) -> None:
    """Gradients, dropout, autocast, modes; other layers and readouts do not even ask."""
    x = torch.randn(2, 9, 5)
    assert small()(x).requires_grad
    dropping = small(recurrent_dropout=0.9).train()

    class Mode(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return func(*args, **(kwargs or {}))

    with torch.no_grad():
        assert not torch.equal(dropping(x), dropping(x))
        with torch.autocast("cpu", torch.bfloat16):
            assert small()(x).dtype == torch.bfloat16
        with Mode():
            small()(x)
        small(backend="reference")(x)
        small()(x.transpose(0, 1).contiguous().transpose(0, 1))
    assert at_once == [False] * 6
    with torch.no_grad():
        for options in ({"num_layers": 2}, {"bidirectional": True}, {"readout": "mean"}, {"layer_norm": True}):
            small(**options)(x)
        SequenceClassifier(5, 4, vocabulary_size=9)(torch.ones(2, 9, dtype=torch.int64))
    assert at_once == [False] * 6


ONLOOKERS: dict[str, Callable[[SequenceClassifier, Tensor, Tensor], Tensor]] = {
    "export": lambda model, x, unseen: torch.export.export(model, (x,)).module()(unseen),
    "compile": lambda model, x, unseen: torch.compile(model, backend="eager")(unseen),
    "trace": lambda model, x, unseen: torch.jit.trace(model, (x,), check_trace=False)(unseen),
    "make_fx": lambda model, x, unseen: make_fx(model)(x)(unseen),
    "vmap": lambda model, x, unseen: torch.func.vmap(model)(torch.stack([x, unseen]))[1],
    "jvp": lambda model, x, unseen: torch.func.jvp(model, (unseen,), (x,))[0],
    "functional_call": lambda model, x, unseen: torch.func.functional_call(
        model, dict(model.named_parameters()), unseen
    ),
}


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:`torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:Converting a tensor to a Python:torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:.*should not be instantiated. Methods on autograd functions:DeprecationWarning")
@pytest.mark.parametrize("onlooker", ONLOOKERS)
@pytest.mark.slow
def test_who_must_see_each_operation_sees_them(onlooker: str) -> None:
    model, x, unseen = small(), torch.randn(2, 9, 5), torch.randn(2, 9, 5)
    torch._dynamo.reset()
    with torch.no_grad():
        torch.testing.assert_close(ONLOOKERS[onlooker](model, x, unseen), model(unseen), rtol=1e-4, atol=1e-5)


def test_parameters_that_stand_in_are_used(at_once: list[bool]) -> None:
    model, x = small(), torch.randn(2, 9, 5)
    halves = {name: value / 2 for name, value in model.state_dict().items()}
    expected_model = copy.deepcopy(model)
    expected_model.load_state_dict(halves)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.func.functional_call(model, halves, (x,)), by_modules(lambda: expected_model(x))
        )
    assert at_once == [True]


def test_fake_tensors_have_no_memory_to_read() -> None:
    with FakeTensorMode(), torch.no_grad():
        assert small()(torch.randn(2, 9, 5)).shape == (2, 4)


@pytest.mark.parametrize(
    ("x", "lengths"),
    [
        (torch.zeros(2, 9, 6), None),
        (torch.zeros(2, 9), None),
        (torch.zeros(2, 9, 5, dtype=torch.float64), None),
        (torch.zeros(2, 9, 5, dtype=torch.uint8), None),
        ([[1.0]], None),
        (torch.zeros(2, 9, 5), torch.tensor([1, 10])),
        (torch.zeros(2, 9, 5), torch.tensor([1, -1])),
        (torch.zeros(2, 9, 5), torch.tensor([1.0, 2.0])),
        (torch.zeros(2, 9, 5), [9, 9]),
        (torch.zeros(2, 9, 5), torch.tensor([9])),
    ],
)
def test_what_does_not_fit_is_told_as_ever(x: Any, lengths: Any) -> None:
    model = small()
    with torch.no_grad():
        with pytest.raises(InputError) as expected:
            by_modules(lambda: model(x, lengths))
        with pytest.raises(InputError) as error:
            model(x, lengths)
    assert str(error.value) == str(expected.value)


@pytest.mark.parametrize("shape", [(0, 9, 5), (2, 0, 5)])
def test_nothing_to_read(shape: tuple[int, ...]) -> None:
    model, x = small(), torch.zeros(shape)
    with torch.no_grad():
        assert torch.equal(model(x), by_modules(lambda: model(x)))


def test_another_scaling_of_the_same_data(at_once: list[bool]) -> None:
    model, data = small(), data_of("floats", with_lengths=False)
    for scaling in (Scaling(0.0, 1.0), Scaling((0.5,), (2.0,)), Scaling((1.0, 0.0, 0.0, 0.0, 0.0), 3.0)):
        rescaled = replace(data, preparation=replace(data.preparation, scaling=scaling))
        actual, expected = evaluate(model, rescaled), by_modules(lambda rescaled=rescaled: evaluate(model, rescaled))
        assert actual.loss == pytest.approx(expected.loss, rel=1e-5)
    assert at_once == [True] * 3
