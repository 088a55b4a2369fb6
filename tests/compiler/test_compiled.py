"""Scans of cells of one's own in the kernels, against the loop over `step` in float64."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from cell_scans import COMPILED, everything, exact, loop, make, task
from own_cells import EIGHT, TWINS, ChoGRU, Leaky, LiGRU, OwnGRU, OwnLSTM, OwnRNN, PeepholeLSTM
from pairs import covering, every_pair
from recurrences import MISSING, NEEDS_BF16, Tensors, assert_close, assert_same_bits
from unroll import Cell, InputError, SequenceClassifier
from unroll.bench.clock import torch_threads
from unroll.scan import cpu
from unusual_cells import Attentive, Branching, FourParts, LayerNormed, Orthogonal, Scalars, WeightNormed

pytestmark = MISSING

TOLERANCE = 1e-5
HIDDEN = (1, 3, 17, 33, 64)
CASES = covering(
    {
        "batch": (1, 2, 17, 70),
        "time": (1, 2, 9),
        "ragged": (False, True),
        "reverse": (False, True),
        "last_only": (False, True),
        "loss": ((True, True), (True, False), (False, True)),
    }
)
SEVERAL = (Leaky, ChoGRU, PeepholeLSTM, LayerNormed, FourParts, Scalars)  # of what programs have: of each something


def backend_of(cell: Cell, x: Tensor) -> str:
    return cell.choose_backend(x, training=True).backend


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("name", COMPILED)
def test_everything_agrees_with_the_loop(name: str, hidden: int) -> None:
    number = 5 * [*COMPILED].index(name) + 3 * HIDDEN.index(hidden)
    case = dict(CASES[number % len(CASES)])
    outputs, ends = case.pop("loss")
    cell = make(COMPILED[name], 3, hidden)
    given = task(cell, outputs=outputs, ends=ends or case["last_only"], **case)
    assert backend_of(cell, given.x) == "cpu"
    assert_close(everything(cell, given), exact(cell, given), TOLERANCE)


@pytest.mark.parametrize("isa", cpu.INSTRUCTION_SETS[1:])
@pytest.mark.parametrize("name", COMPILED)
def test_the_other_instruction_sets(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "ISA", isa)
    cell = make(COMPILED[name], 4, 18)
    given = task(cell, 19, 3, ragged=True)
    assert_close(everything(cell, given), exact(cell, given), TOLERANCE)


@NEEDS_BF16
@pytest.mark.parametrize("isa", cpu.BF16_INSTRUCTION_SETS)
@pytest.mark.parametrize("kind", [*EIGHT.values(), *TWINS, *SEVERAL[3:]])
def test_products_in_bf16(kind: type[Cell], isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "BF16_ISA", isa)
    cell = make(kind, 9, 33)
    given = task(cell, 17, 6, ragged=True)
    expected = exact(cell, given)
    with torch.autocast("cpu", torch.bfloat16):
        assert "bf16" in cell.choose_backend(given.x, training=True).reason
        found = everything(cell, given)
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    for name, right in expected.items():
        error = float((found[name].double() - right).norm() / right.norm())
        assert error < (0.1 if kind is LiGRU else 0.03), name  # a unit of relu may be off instead of on
    assert any(not torch.equal(found[name], tensor) for name, tensor in everything(cell, given).items())


def test_first_use_in_any_mode() -> None:
    """What the caller has set is not what a program is made with."""

    class New(LayerNormed):
        """Of a kind that nothing has compiled."""

    modes: tuple[Callable[[], Any], ...] = (
        torch.no_grad,
        torch.inference_mode,
        lambda: torch.autocast("cpu", torch.bfloat16),
    )
    for hidden, mode in enumerate(modes, start=41):
        cell = make(New, 3, hidden)
        given = task(cell, 2, 3)
        with mode():
            cell.scan(given.x, given.state[0])
        assert backend_of(cell, given.x) == "cpu"
        assert_close(everything(cell, given), exact(cell, given), TOLERANCE)


@pytest.mark.parametrize("kind", SEVERAL)
def test_inference_gives_the_bits_of_training(kind: type[Cell]) -> None:
    cell = make(kind, 5, 12)
    given = task(cell, 7, 6, ragged=True)
    trained = everything(cell, given)
    state = given.state[0] if len(given.state) == 1 else given.state
    for mode in (torch.no_grad, torch.inference_mode):
        for last_only in (False, True):
            with mode():
                y, final = cell.scan(given.x, state, given.lengths, last_only=last_only)
            assert torch.equal(y, trained["y"][:, :0] if last_only else trained["y"])
            for i, end in enumerate([final] if isinstance(final, Tensor) else final):
                assert torch.equal(end, trained[f"end {i}"])


@pytest.mark.parametrize("kind", SEVERAL)
def test_threads_split_the_work_without_a_difference(kind: type[Cell]) -> None:
    cell = make(kind, 5, 33)
    given = task(cell, 40, 4, ragged=True)
    alone = everything(cell, given)
    for count in (2, 3):
        with torch_threads(count):
            assert_same_bits(everything(cell, given), alone)


def test_several_callers_at_once() -> None:
    """The first of them compiles, and so may each other."""
    cells = [kind(3, 11) for kind in SEVERAL] * 2
    tasks = [task(cell, 5, 4, ragged=True) for cell in cells]
    results: dict[int, Tensors] = {}

    def call(number: int) -> None:
        results[number] = everything(cells[number], tasks[number])

    callers = [threading.Thread(target=call, args=(number,)) for number in range(len(cells))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for number, given in enumerate(tasks):
        assert_same_bits(results[number], everything(cells[number], given))


@pytest.mark.parametrize("kind", SEVERAL)
def test_second_derivatives_are_those_of_the_loop(kind: type[Cell]) -> None:
    cell = make(kind, 3, 5)
    given = task(cell, 3, 4, ragged=True)

    def second(cell: Cell, scan: Callable[..., Any]) -> list[Tensor]:
        parameters = list(cell.parameters())
        x = given.x.to(parameters[0].dtype).nan_to_num(0).requires_grad_()
        parts = tuple(part.to(x.dtype) for part in given.state)
        y, _ = scan(cell, x, parts[0] if len(parts) == 1 else parts, given.lengths)
        options: dict[str, Any] = {"materialize_grads": True, "allow_unused": True}
        first = torch.autograd.grad(y.square().sum(), [x, *parameters], create_graph=True, **options)
        total = torch.stack([gradient.square().sum() for gradient in first]).sum()
        return [*first, *torch.autograd.grad(total, [x, *parameters], **options)]

    found, expected = second(cell, Cell.scan), second(copy.deepcopy(cell).double(), loop)
    for one, right in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), right, rtol=1e-3, atol=1e-4)


def test_the_loop_where_each_operation_must_be_seen() -> None:
    cell = make(OwnGRU, 3, 5)
    given = task(cell, 2, 4)
    state = given.state[0]

    def scan(x: Tensor) -> Tensor:
        return cell.scan(x, state)[0].sum()

    leaf = given.x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(scan(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(scan)(given.x), expected)
    torch.testing.assert_close(torch.func.vmap(scan)(given.x[None])[0], scan(given.x))
    with forward_ad.dual_level():
        assert "forward-mode" in cell.choose_backend(given.x, training=True).reason


@pytest.mark.slow
def test_a_model_with_an_own_cell_is_compiled_by_torch() -> None:
    model = SequenceClassifier(3, 2, cell=Leaky, hidden_size=4)
    x = torch.randn(2, 3, 3)
    torch._dynamo.reset()
    torch.testing.assert_close(torch.compile(model, backend="eager")(x), model(x))


def test_backends_by_name() -> None:
    cell = make(Leaky, 3, 5)
    given = task(cell, 2, 4)
    expected = everything(cell, given)
    for backend, tolerance in (("cpu", 0.0), ("reference", TOLERANCE)):
        cell.backend = backend  # type: ignore[assignment]
        assert cell.choose_backend(given.x, training=True) == (backend, "asked for")
        assert_close(everything(cell, given), {k: v.double() for k, v in expected.items()}, tolerance)
    for backend in ("torch", "gemm"):
        cell.backend = backend  # type: ignore[assignment]
        with pytest.raises(InputError, match=f"^backend '{backend}' has no kernel for Leaky; use 'auto'$"):
            everything(cell, given)
    refused = make(Branching, 3, 5)
    refused.backend = "cpu"
    with pytest.raises(InputError, match=r"^backend 'cpu' cannot compile Branching.step\(\): .+ use 'auto'$"):
        everything(refused, given)


def test_the_choice_says_why() -> None:
    x = torch.zeros(2, 3, 3)
    fused = f"fused for float32 on this CPU ({cpu.INSTRUCTION_SETS[0]})"
    assert make(Leaky).choose_backend(x, training=True) == ("cpu", fused)
    assert make(Leaky).choose_backend(x.double(), training=True) == ("reference", "a loop over Leaky.step()")
    assert make(Leaky).choose_backend(x[:, :0], training=True) == ("reference", "it takes 0 time steps")
    assert make(Leaky).choose_backend(x[:0], training=True).backend == "reference"
    backend, reason = make(Branching).choose_backend(x, training=True)
    assert backend == "reference"
    assert reason.startswith("a loop over Branching.step(), which is not compiled: ")


def test_parameters_may_be_replaced_and_moved() -> None:
    cell = make(OwnLSTM, 3, 7)
    given = task(cell, 3, 5)
    everything(cell, given)
    cell.weight_hh = nn.Parameter(torch.randn(28, 7))
    assert_close(everything(cell, given), exact(cell, given), TOLERANCE)
    cell.weight_ih = nn.Parameter(torch.randn(3, 28).t())  # with other strides
    assert not cell.weight_ih.is_contiguous()
    assert_close(everything(cell, given), exact(cell, given), TOLERANCE)
    cell.bias_ih.requires_grad_(False)
    found = everything(cell, given)
    assert "d bias_ih" not in found
    assert_close(found, exact(cell, given), TOLERANCE)
    expected = exact(cell, given)
    assert_close(everything(cell.double(), given), expected, 1e-12)
    assert backend_of(cell, given.x.double()) == "reference"
    assert_close(everything(cell.float(), given), expected, TOLERANCE)


@pytest.mark.parametrize("kind", SEVERAL)
def test_the_numbers_of_parameters_are_read_at_each_scan(kind: type[Cell]) -> None:
    cell = make(kind, 3, 6)
    given = task(cell, 3, 4)
    everything(cell, given)
    with torch.no_grad():
        for parameter in cell.parameters():
            parameter.mul_(1.5)
    assert_close(everything(cell, given), exact(cell, given), TOLERANCE)


def test_not_a_number_stays_so() -> None:
    for place in ("bias", "weight_hh"):
        cell = make(OwnRNN if place != "bias" else Leaky, 3, 6)
        with torch.no_grad():
            (cell.w.bias if place == "bias" else cell.weight_hh)[..., 0].fill_(torch.nan)
        given = task(cell, 3, 4)
        found, expected = everything(cell, given), exact(cell, given)
        for name in found:
            assert torch.equal(found[name].isnan(), expected[name].isnan()), name


@pytest.mark.parametrize("kind", SEVERAL)
def test_padding_has_no_effect(kind: type[Cell]) -> None:
    cell = make(kind, 4, 9)
    given = task(cell, 7, 5, ragged=True)
    assert given.x.isnan().any()
    expected = everything(cell, given)
    assert not any(tensor.isnan().any() for tensor in expected.values())
    given.x.nan_to_num_(torch.inf)
    assert_same_bits(everything(cell, given), expected)


def test_x_and_gradients_may_have_any_strides() -> None:
    cell = make(ChoGRU, 4, 6)
    given = task(cell, 3, 5)
    state, expected = given.state[0], cell.scan(given.x, given.state[0])[0]
    for x in (
        given.x.transpose(0, 1).contiguous().transpose(0, 1),
        given.x.repeat_interleave(2, 2)[:, :, ::2],
        torch.cat([given.x, given.x], 1)[:, :5],
        torch._neg_view(-given.x),
    ):
        assert torch.equal(cell.scan(x, state)[0], expected)
    given.x.requires_grad_()
    gradients = []
    for weight in (torch.ones(()).expand_as(expected), torch.ones(expected.shape)):
        y, _ = cell.scan(given.x, state)
        gradients.append(torch.autograd.grad(y, given.x, weight)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    ("x", "state", "message"),
    [
        ((2, 5, 4), (2, 6), r"^x must have shape \(batch, time, 3\), got \(2, 5, 4\)$"),
        ((2, 5, 3), (2, 7), r"^the state must have the shapes \(2, 6\), got \(2, 7\)$"),
        ((2, 5, 3), (1, 6), r"^the state must have the shapes \(2, 6\), got \(1, 6\)$"),
    ],
)
def test_shapes_that_do_not_fit(x: tuple[int, ...], state: tuple[int, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(Leaky, 3, 6).scan(torch.zeros(x), torch.zeros(state))


def test_states_that_do_not_fit() -> None:
    cell, x, h = make(PeepholeLSTM, 3, 6), torch.zeros(2, 5, 3), torch.zeros(2, 6)
    with pytest.raises(InputError, match=r"^the state must have the shapes \(2, 6\), \(2, 6\), got \(2, 6\)$"):
        cell.scan(x, h)
    with pytest.raises(InputError, match=r"^the state must have the shapes \(2, 6\), \(2, 6\), got .+, \(2, 5\)$"):
        cell.scan(x, (h, h[:, :5]))
    with pytest.raises(InputError, match=r"lengths must be from 0 to 5, got 6 to 6"):
        cell.scan(x, (h, h), torch.tensor([6, 6]))


# In models


def models(kind: type[Cell], **options: Any) -> tuple[SequenceClassifier, SequenceClassifier]:
    """Return a classifier, and one with the same parameters that loops over `step`."""
    model = SequenceClassifier(3, 4, cell=kind, **{"hidden_size": 6, **options})
    return model, looping(model)


def looping(model: SequenceClassifier) -> SequenceClassifier:
    reference = copy.deepcopy(model)
    for module in reference.modules():
        if isinstance(module, Cell):
            module.backend = "reference"
    return reference


def gradients(model: SequenceClassifier, *args: Any, **options: Any) -> Tensors:
    torch.manual_seed(5)
    logits = model(*args, **options)
    loss = nn.functional.cross_entropy(logits, torch.arange(len(logits)) % 4)
    names, parameters = zip(*model.named_parameters(), strict=True)
    return {"logits": logits.detach(), **dict(zip(names, torch.autograd.grad(loss, parameters), strict=True))}


def assert_agree(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, right in expected.items():
        torch.testing.assert_close(
            found[name], right, rtol=1e-4, atol=1e-6, msg=lambda text, name=name: f"{name}: {text}"
        )


@every_pair(
    kind=(*EIGHT.values(), *TWINS, FourParts, Attentive),
    bidirectional=(False, True),
    num_layers=(1, 2),
    readout=("last", "mean", "max", "attention"),
    with_lengths=(False, True),
)
def test_classifiers(kind: type[Cell], bidirectional: bool, num_layers: int, readout: str, with_lengths: bool) -> None:
    model, reference = models(kind, bidirectional=bidirectional, num_layers=num_layers, readout=readout)
    x = torch.randn(5, 6, 3)
    lengths = torch.tensor([6, 1, 3, 6, 2]) if with_lengths else None
    assert_agree(gradients(model, x, lengths), gradients(reference, x, lengths))
    with torch.no_grad():
        torch.testing.assert_close(model(x, lengths), reference(x, lengths), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [OwnRNN, OwnGRU, OwnLSTM])
def test_recurrent_dropout(kind: type[Cell]) -> None:
    model, reference = models(kind, num_layers=2, recurrent_dropout=0.4)
    x = torch.randn(5, 6, 3)
    cell = model.layers[0][0]  # type: ignore[index]
    assert backend_of(cell.dropped(), x) == "cpu"
    assert_agree(gradients(model, x), gradients(reference, x))
    assert not torch.equal(gradients(model, x)["logits"], gradients(model.eval(), x)["logits"])


@pytest.mark.parametrize("kind", [OwnRNN, OwnGRU, OwnLSTM])
@pytest.mark.parametrize(
    "norm", [parametrizations.weight_norm, parametrizations.orthogonal], ids=["weight", "orthogonal"]
)
def test_parametrizations(kind: type[Cell], norm: Callable[..., nn.Module]) -> None:
    model, _ = models(kind)
    cell, x = model.layers[0][0], torch.randn(5, 6, 3)  # type: ignore[index]
    before = gradients(model, x)
    norm(cell, "weight_hh")
    assert backend_of(cell, x) == "cpu"
    found = gradients(model, x)
    assert_agree(found, gradients(looping(model), x))
    assert found.keys() != before.keys()


@pytest.mark.parametrize("kind", [WeightNormed, Orthogonal])
def test_training_with_parametrizations(kind: type[Cell]) -> None:
    model, reference = models(kind)
    x, y = torch.randn(5, 6, 3), torch.arange(5) % 4
    for each in (model, reference):
        optimizer = torch.optim.SGD(each.parameters(), lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(each(x), y).backward()
            optimizer.step()
    assert_agree(dict(model.state_dict()), dict(reference.state_dict()))


def test_tied_weights() -> None:
    """Tied between the two products of a cell, between two cells, and untied again."""
    model, _ = models(OwnGRU, num_layers=2, bidirectional=False)
    x = torch.randn(5, 6, 3)
    first, second = model.layers[0][0], model.layers[1][0]  # type: ignore[index]
    gradients(model, x)
    second.weight_ih = second.weight_hh
    assert_agree(gradients(model, x), gradients(looping(model), x))
    first.weight_hh = second.weight_hh
    assert_agree(gradients(model, x), gradients(looping(model), x))
    second.weight_ih = nn.Parameter(torch.randn(18, 6))
    assert_agree(gradients(model, x), gradients(looping(model), x))


@pytest.mark.parametrize("kind", SEVERAL)
def test_truncation_and_streams(kind: type[Cell]) -> None:
    model, reference = models(kind, num_layers=2)
    x, lengths = torch.randn(5, 9, 3), torch.tensor([9, 2, 1, 6, 5])
    assert_agree(gradients(model, x, lengths, tbptt=4), gradients(reference, x, lengths, tbptt=4))
    stream = model.eval().stream(batch_size=5)
    for t in range(9):
        logits = stream.step(x[:, t])
    torch.testing.assert_close(logits, reference.eval()(x), rtol=1e-5, atol=1e-6)
    stream = model.stream(batch_size=5)
    for start, stop in ((0, 5), (5, 5), (5, 6), (6, 9)):
        logits = stream.feed(x[:, start:stop])
    torch.testing.assert_close(logits, reference(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", SEVERAL)
def test_checkpoints(kind: type[Cell]) -> None:
    cell = make(kind, 3, 6)
    given = task(cell, 3, 4, ragged=True)

    def scan(cell: Cell, x: Tensor, state: Any, lengths: Tensor | None) -> Any:
        return checkpoint(cell.scan, x, state, lengths, use_reentrant=False)

    assert_same_bits(everything(cell, given, scan), everything(cell, given))
