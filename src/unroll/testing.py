"""Check that a cell follows the rules of `unroll.Cell`; `check_cell` explains any violation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from inspect import isabstract
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .cells import Cell, State
from .compiler import compile_step
from .compiler.instead import advice
from .errors import NotCompiledError

__all__ = ["Checked", "check_cell"]

BATCH, TIME, INPUTS, HIDDEN = 3, 5, 2, 4
CLOSE = 1e-9  # in float64
CLOSE_SINGLE = 1e-4
CPU = torch.device("cpu")


class Checked(NamedTuple):
    """What `check_cell` found out about a cell that does everything right; ``str()`` gives it in words.

    Attributes:
        cell: name of the class.
        reason: why its step is not compiled to a program for the kernels, so that a loop computes it; empty if it is.
        instead: what to write instead, if there is a rule.
    """

    cell: str
    reason: str
    instead: str

    @property
    def compiles(self) -> bool:
        """Return whether its step is compiled."""
        return not self.reason

    def __str__(self) -> str:
        if self.compiles:
            return f"{self.cell} follows the rules, and its step can be compiled"
        instead = f"; {self.instead}" if self.instead else ""
        return f"{self.cell} follows the rules; its step is not compiled, so a loop computes it: {self.reason}{instead}"


def check_cell(cell: type[Cell]) -> Checked:
    """Check that a cell does everything that scans, masks, streams and training rely on.

    It makes cells with 2 inputs and 4 units and tests them on random numbers, in eval mode and on the CPU: the form of
    states, independence of the sequences of a batch, `Cell.scan` against a loop over `Cell.step` (whole, in chunks,
    backwards, with lengths, with NaN past them), gradients of every parameter against finite differences, float32 and
    float64, saving and loading, and the device of new tensors.

    Args:
        cell: a subclass of `unroll.Cell`; the class itself.

    Returns:
        whether its step can be compiled, in training mode; if not, why, and what to write instead. This does not fail:
        a loop over step computes the cell then.

    Raises:
        AssertionError: the cell fails a check; the message says what was expected, what was given, and what to do.

    Example:
        >>> import unroll
        >>> print(unroll.testing.check_cell(unroll.GRU))
        GRU follows the rules, and its step can be compiled
    """
    made = _make(cell)
    x = torch.randn(BATCH, TIME, INPUTS, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float64, torch.float32):
        _check_state(made.to(dtype), dtype)
        for batch in (BATCH, 1):
            _check_step(made, x[:batch].to(dtype))
    made.to(torch.float64)
    with _without_error("scan must compute"):
        _check_batch(made, x)
        _check_scan(made, x)
        _check_lengths(made, x)
        _check_gradients(made, x)
        _check_precision(made, x)
        _check_saving(cell, made, x)
    _check_device(made)
    try:
        compile_step(copy.deepcopy(made).float().train())
    except NotCompiledError as error:
        return Checked(cell.__name__, str(error), advice(str(error)))
    return Checked(cell.__name__, "", "")


def _fail(what: str) -> None:
    raise AssertionError(what)


@contextmanager
def _without_error(must: str, hint: str = "") -> Iterator[None]:
    """Turn an exception of the cell's own code into an AssertionError; an AssertionError passes unchanged."""
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:  # whatever the cell does
        message = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise AssertionError(f"{must}, got {message}{hint}") from error


def _make(cell: type[Cell]) -> Cell:
    if not isinstance(cell, type) or not issubclass(cell, Cell):
        _fail(f"check_cell expects a subclass of unroll.Cell, the class itself, got {cell!r}")
    if isabstract(cell):
        _fail(f"{cell.__name__} must define {', '.join(sorted(cell.__abstractmethods__))}")
    torch.manual_seed(0)
    hint = "; call super().__init__(input_size, hidden_size) first, and give other arguments of __init__ defaults"
    with _without_error(f"{cell.__name__}({INPUTS}, {HIDDEN}) must make a cell", hint):
        made = cell(INPUTS, HIDDEN)
    if not hasattr(made, "_parameters") or getattr(made, "hidden_size", None) != HIDDEN:
        _fail(f"{cell.__name__}.__init__ must call super().__init__(input_size, hidden_size)")
    return made.eval()


def _parts(state: State) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


def _initial(cell: Cell, x: Tensor) -> State:
    return cell.initial_state(len(x), dtype=x.dtype, device=x.device)


def _check_state(cell: Cell, dtype: torch.dtype) -> None:
    for batch in (BATCH, 1, 0):
        with _without_error(f"initial_state({batch}, dtype={dtype}, device={CPU}) must return a state"):
            state = cell.initial_state(batch, dtype=dtype, device=CPU)
        if not isinstance(state, Tensor) and not (
            isinstance(state, tuple) and state and all(isinstance(part, Tensor) for part in state)
        ):
            _fail(f"initial_state must return a tensor or a tuple of tensors, got {_kind(state)}")
        for number, part in enumerate(_parts(state)):
            if part.dim() == 0 or len(part) != batch:
                _fail(f"part {number} of initial_state({batch}) must have shape ({batch}, …), got {tuple(part.shape)}")
            if part.dtype != dtype:
                _fail(f"initial_state must use its argument dtype, {dtype}, got {part.dtype}; pass dtype on")
        first = _parts(state)[0]
        if tuple(first.shape) != (batch, HIDDEN):
            _fail(
                "the state, or its first part, is the output and must have shape (batch, hidden), "
                f"here ({batch}, {HIDDEN}), got {tuple(first.shape)}"
            )


def _check_step(cell: Cell, x: Tensor) -> None:
    state = _initial(cell, x)
    before = [part.clone() for part in _parts(state)]
    kept = _attributes(cell)
    x_t, x_copy = x[:, 0], x[:, 0].clone()
    with _without_error(f"step must take x {tuple(x_t.shape)} and what initial_state({len(x)}) returns"):
        new = cell.step(x_t, state)
    if type(new) is not type(state) or len(_parts(new)) != len(_parts(state)):
        _fail(f"step must return a state of the form it was given, {_kind(state)}, got {_kind(new)}")
    for number, (part, was) in enumerate(zip(_parts(new), before, strict=True)):
        if part.shape != was.shape:
            _fail(
                f"step must keep the shape of part {number} of the state, {tuple(was.shape)}, got {tuple(part.shape)}"
            )
        if part.dtype != was.dtype:
            _fail(f"step must keep the dtype {was.dtype}, got {part.dtype}; make tensors with dtype=x.dtype")
    if not torch.equal(x_t, x_copy) or not all(map(torch.equal, _parts(state), before)):
        _fail("step must not change x or the state in place: their gradients need the old values")
    if _attributes(cell) != kept:
        _fail("step must not store anything on the module; put it into the state")
    cell.step(x[:, 1], new)
    if not _equal(cell.step(x_t, state), new, 0):
        _fail("step must return the same for the same x and state in eval mode; keep all memory in the state")


def _attributes(cell: Cell) -> dict[str, Any]:
    """Return the attributes of a module, tensors as id and version."""
    attributes: dict[str, Any] = {}
    for name, value in [*vars(cell).items(), *cell.named_buffers(), *cell.named_parameters()]:
        if isinstance(value, Tensor):
            attributes[name] = (id(value), value._version)
        elif not name.startswith("_"):
            attributes[name] = repr(value)
    return attributes


def _check_batch(cell: Cell, x: Tensor) -> None:
    together = _loop(cell, x, _initial(cell, x))[0]
    for row in range(BATCH):
        alone = _loop(cell, x[row : row + 1], _initial(cell, x[row : row + 1]))[0]
        if not _equal(alone[0], together[row], CLOSE):
            _fail("a sequence must give the same result in any batch; step must not mix the rows of its batch")


def _loop(cell: Cell, x: Tensor, state: State) -> tuple[Tensor, State]:
    outputs = []
    for t in range(x.shape[1]):
        state = cell.step(x[:, t], state)
        outputs.append(_parts(state)[0])
    return torch.stack(outputs, dim=1), state


def _check_scan(cell: Cell, x: Tensor) -> None:
    expected, final = _loop(cell, x, _initial(cell, x))
    y, end = cell.scan(x, _initial(cell, x))
    _compare("scan must give the same as a loop over step", y, end, expected, final)
    first, middle = cell.scan(x[:, :2], _initial(cell, x))
    second, end = cell.scan(x[:, 2:], middle)
    joined = torch.cat((first, second), dim=1)
    _compare("scan must continue from the final state of an earlier chunk", joined, end, expected, final)
    turned, final = _loop(cell, x.flip(1), _initial(cell, x))
    y, end = cell.scan(x, _initial(cell, x), reverse=True)
    _compare("scan with reverse=True must read from the last step to the first", y, end, turned.flip(1), final)
    _, end = cell.scan(x, _initial(cell, x), last_only=True)
    if not _equal(end, _loop(cell, x, _initial(cell, x))[1], CLOSE):
        _fail("scan with last_only=True must end with the same state as without")
    y, end = cell.scan(x[:, :0], _initial(cell, x))
    if tuple(y.shape) != (BATCH, 0, HIDDEN) or not _equal(end, _initial(cell, x), 0):
        _fail(f"scan of 0 steps must give outputs ({BATCH}, 0, {HIDDEN}) and the state it was given")


def _check_lengths(cell: Cell, x: Tensor) -> None:
    lengths = torch.tensor([0, TIME, 2])
    poisoned = torch.where(torch.arange(TIME) < lengths.unsqueeze(1), 0.0, float("nan")).unsqueeze(2) + x
    for reverse in (False, True):
        y, end = cell.scan(poisoned, _initial(cell, x), lengths, reverse=reverse)
        for row, length in enumerate(lengths.tolist()):
            part = x[row : row + 1, :length]
            start = _initial(cell, part)
            expected, final = cell.scan(part, start, reverse=reverse)
            own = [piece[row : row + 1] for piece in _parts(end)]
            if bool((y[row, length:] != 0).any()):
                _fail("outputs past a sequence's length must be zero, even if x is NaN there")
            if not _equal(y[row, :length], expected[0], CLOSE) or not _equal(tuple(own), _parts(final), CLOSE):
                _fail(
                    f"with lengths, a sequence of {length} steps must give the same outputs and final state as alone "
                    f"({'read backwards' if reverse else 'padding must have no effect'})"
                )


def _check_gradients(cell: Cell, x: Tensor) -> None:
    lengths = torch.tensor([1, TIME, 2])
    poisoned = torch.where(torch.arange(TIME) < lengths.unsqueeze(1), 0.0, float("nan")).unsqueeze(2) + x
    poisoned.requires_grad_()
    cell.zero_grad()
    y, end = cell.scan(poisoned, _initial(cell, x), lengths)
    torch.autograd.backward(y.sum() + sum(part.sum() for part in _parts(end)))
    for name, parameter in [*cell.named_parameters(), ("x", poisoned)]:
        if parameter.grad is None:
            what = "x" if parameter is poisoned else f"the parameter {name}"
            _fail(f"{what} gets no gradient; use it in step, and do not detach results that depend on it")
        elif not bool(parameter.grad.isfinite().all()):
            _fail(f"the gradient of {name} must not depend on padding, here NaN; set x to 0 past each length first")
    cell.zero_grad()
    names = [name for name, _ in cell.named_parameters()]

    def run(x: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
        y, end = torch.func.functional_call(_Scan(cell), dict(zip(names, values, strict=True)), (x,))
        return y, *_parts(end)

    given = (x[:1, :3].clone().requires_grad_(), *(p.detach().clone().requires_grad_() for p in cell.parameters()))
    try:
        torch.autograd.gradcheck(run, given, atol=1e-4, rtol=1e-3)
    except RuntimeError as error:
        raise AssertionError(f"gradients must match finite differences in float64: {error}") from error


class _Scan(torch.nn.Module):
    """A module whose call is the cell's scan, with the cell's parameter names."""

    def __init__(self, cell: Cell) -> None:
        super().__init__()
        self.__dict__["cell"] = cell
        for name, module in cell.named_children():
            self.add_module(name, module)
        for name, parameter in cell.named_parameters(recurse=False):
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor) -> tuple[Tensor, State]:
        cell = copy.copy(self.__dict__["cell"])
        cell.__dict__ = {**cell.__dict__, "_parameters": dict(self._parameters), "_modules": dict(self._modules)}
        result: tuple[Tensor, State] = cell.scan(x, _initial(cell, x))
        return result


def _check_precision(cell: Cell, x: Tensor) -> None:
    expected, _ = cell.scan(x, _initial(cell, x))
    single = copy.deepcopy(cell).float()
    y, end = single.scan(x.float(), _initial(single, x.float()))
    if y.dtype != torch.float32 or any(part.dtype != torch.float32 for part in _parts(end)):
        _fail(f"a float32 cell must give float32, got {y.dtype}; make tensors with dtype=x.dtype")
    if not _equal(y.double(), expected, CLOSE_SINGLE):
        _fail("float32 and float64 must agree up to rounding")


def _check_saving(kind: type[Cell], cell: Cell, x: Tensor) -> None:
    torch.manual_seed(1)
    copied = kind(INPUTS, HIDDEN).to(torch.float64).eval()
    copied.load_state_dict(cell.state_dict())
    expected, end = cell.scan(x, _initial(cell, x))
    message = "a new cell with this one's state_dict must give the same; make all weights nn.Parameter or buffers"
    _compare(message, *copied.scan(x, _initial(copied, x)), expected, end)


def _check_device(cell: Cell) -> None:
    """Run on the device "meta", whose tensors cannot be combined with those of another device."""
    meta = copy.deepcopy(cell).float().to("meta")
    x = torch.empty(BATCH, INPUTS, device="meta")
    state = meta.initial_state(BATCH, dtype=x.dtype, device=x.device)
    if any(part.device.type != "meta" for part in _parts(state)):
        _fail("initial_state must use its argument device; pass device on")
    try:
        new = meta.step(x, state)
    except (RuntimeError, NotImplementedError) as error:
        raise AssertionError(f"step must stay on the device of x, with device=x.device: {error}") from error
    if any(part.device.type != "meta" for part in _parts(new)):
        _fail("step must stay on the device of x; make tensors with device=x.device")


def _compare(what: str, y: Tensor, end: State, expected: Tensor, final: State) -> None:
    if y.shape != expected.shape:
        _fail(f"{what}: outputs of shape {tuple(expected.shape)}, got {tuple(y.shape)}")
    if not _equal(y, expected, CLOSE):
        _fail(f"{what}: outputs differ by {float((y - expected).detach().abs().max()):.2g}")
    if type(end) is not type(final) or not _equal(end, final, CLOSE):
        _fail(f"{what}: the final state differs")


def _equal(left: State, right: State, tolerance: float) -> bool:
    return all(
        a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance)
        for a, b in zip(_parts(left), _parts(right), strict=True)
    )


def _kind(state: object) -> str:
    if isinstance(state, tuple | list):
        return f"a {type(state).__name__} of {len(state)} ({', '.join(type(part).__name__ for part in state)})"
    return f"a {type(state).__name__}"
