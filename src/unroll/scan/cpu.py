"""Scans for float32 on the CPU, fused in C++ (`csrc/`): one call for all time steps, forwards and backwards.

The sources are compiled for several instruction sets when unroll is installed, if there is a C++ compiler; the best one
that the processor has is chosen when this module is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from . import reference
from .gemm import differentiable
from .padding import alive
from .reference import Weights

try:
    from . import _kernels  # type: ignore[attr-defined]

    INSTRUCTION_SETS: tuple[str, ...] = tuple(_kernels.instruction_sets())
except ImportError:
    INSTRUCTION_SETS = ()

ISA = INSTRUCTION_SETS[0] if INSTRUCTION_SETS else ""

MISSING = "not built: there was no C++ compiler when unroll was installed; training takes about twice as long"
OVERREAD = 128  # floats that a kernel may read, but does not use, behind the last number of a tensor
GATES = {"tanh": 1, "relu": 1, "gru": 4, "lstm": 4}  # columns per unit that a step leaves for the way back


def scan(
    recurrence: str,
    x: Tensor,
    state: tuple[Tensor, ...],
    weights: Weights,
    lengths: Tensor | None,
    reverse: bool,
    last_only: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Same as `unroll.scan.reference.scan`, for float32 on the CPU and at least one sequence and one time step.

    With ``last_only`` the outputs come back with 0 time steps; without gradients memory then does not grow with time.
    """
    run = _Run(recurrence, x, weights[1].shape[1], lengths, reverse)
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (x, *weights, *state)):
        y, *final = _Scan.apply(run, last_only, x, *weights, *state)  # type: ignore[no-untyped-call]
        return y, tuple(final)
    held = run.states(state, 2 if last_only else run.time + 1)
    run.forward(x, weights, held, None)
    return run.outputs(held[0], last_only), run.final(held)


class _Run:
    """A scan's sizes, and its calls of the kernels. Inside, time comes first; what the kernels read has room behind.

    steps: x (time, batch, input), zero past each length; held: h (and c), each (time + 1, batch, hidden) with the
    initial state where the scan begins; gates: (time, batch, gates and units), what a step leaves for the way back;
    d: alike, the loss's gradient to a step's products.
    """

    def __init__(self, recurrence: str, x: Tensor, hidden: int, lengths: Tensor | None, reverse: bool) -> None:
        self.recurrence, self.reverse = recurrence, bool(reverse)
        self.batch, self.time, self.inputs = x.shape
        self.hidden = hidden
        self.lengths = _own(lengths)
        self.sizes = (recurrence, self.reverse, self.batch, self.time, self.inputs, hidden, _address(self.lengths))

    def states(self, initial: Sequence[Tensor], slots: int) -> tuple[Tensor, ...]:
        """Return room for h (and c) at ``slots`` times, or 2 that take turns, with the initial state in its place."""
        held = tuple(_with_room(slots, self.batch, self.hidden) for _ in initial)
        for rows, start in zip(held, initial, strict=True):
            rows[self.time % slots if self.reverse else 0] = start
        return held

    def final(self, held: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(rows[0 if self.reverse else self.time % len(rows)].clone() for rows in held)

    def outputs(self, h: Tensor, last_only: bool) -> Tensor:
        if last_only:
            return h.new_empty(self.batch, 0, self.hidden)
        y = (h[:-1] if self.reverse else h[1:]).transpose(0, 1)
        return y if self.lengths is None else torch.where(alive(self.time, self.lengths).unsqueeze(2), y, 0)

    def reference(self, x: Tensor, *others: Any) -> tuple[Tensor, ...]:
        """Return outputs and final state as functions of x, the weights and the initial state."""
        y, final = reference.scan(self.recurrence, x, others[4:], others[:4], self.lengths, self.reverse, False)
        return y, *final

    def layout(self) -> Any:
        return _kernels.Layout(ISA, _threads(), *self.sizes)

    def forward(self, x: Tensor, weights: Weights, held: tuple[Tensor, ...], gates: Tensor | None) -> None:
        """Fill ``held``, and ``gates`` if they are wanted, from x (batch, time, input)."""
        # Named, so that they live until the call is over.
        x = x if x.stride(2) == 1 and not x.is_neg() else _plain(x)
        given = [None if weight is None else _plain(weight) for weight in weights]
        addresses = map(_address, (*given, *_pair(held)))
        _kernels.forward(self.layout(), _address(x), x.stride()[:2], *addresses, len(held[0]), _address(gates))

    def backward(
        self, w_hh: Tensor, held: tuple[Tensor, ...], gates: Tensor | None, grads: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return d and the gradients of the initial state, given those of the outputs and of the final state."""
        dy, *ends = _not_empty(grads[0]), *grads[1:]
        dy = dy if dy is None or dy.stride(2) == 1 else dy.contiguous()
        strides = (0, 0) if dy is None else dy.stride()[:2]
        ends = [None if end is None else end.contiguous() for end in ends]
        w_hh = _plain(w_hh)
        d = _with_room(self.time, self.batch, GATES[self.recurrence] * self.hidden)
        starts = tuple(torch.empty_like(rows[0]) for rows in held)
        saved = map(_address, (w_hh, *_pair(held), gates, dy))
        _kernels.backward(self.layout(), *saved, strides, *map(_address, (*_pair(ends), d, *_pair(starts))))
        return d, starts

    def gradients(
        self, d: Tensor, steps: Tensor, h: Tensor, biases: bool
    ) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """Return those of the weights and biases."""
        hidden = self.hidden
        rows = {"gru": 3, "lstm": 4}.get(self.recurrence, 1) * hidden
        dw_ih, dw_hh = d.new_empty(rows, self.inputs), d.new_empty(rows, hidden)
        db = d.new_empty(d.shape[2]) if biases else None
        before = h[1:] if self.reverse else h
        _kernels.gradients(self.layout(), *map(_address, (d, steps, before, dw_ih, dw_hh, db)))
        if db is not None and self.recurrence == "gru":  # of r, z, W_hn h + b_hn and W_in x + b_in
            return dw_ih, dw_hh, torch.cat([db[: 2 * hidden], db[3 * hidden :]]), db[: 3 * hidden]
        return dw_ih, dw_hh, db, None if db is None else db.clone()  # who changes one must not change the other

    def input_gradient(self, d: Tensor, w_ih: Tensor) -> Tensor:
        """Return that of x, (batch, time, input)."""
        w_ih, dx = _plain(w_ih), d.new_empty(self.time, self.batch, self.inputs)
        _kernels.input_gradient(self.layout(), *map(_address, (d, w_ih, dx)))
        return dx.transpose(0, 1)


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _Run, last_only: bool, x: Tensor, *others: Any) -> tuple[Tensor, ...]:
        w_ih, w_hh, b_ih, b_hh, *initial = others
        steps = _with_room(run.time, run.batch, run.inputs).copy_(x.transpose(0, 1))
        if run.lengths is not None:
            steps.masked_fill_(~alive(run.time, run.lengths).t().unsqueeze(2), 0)
        held = run.states(initial, run.time + 1)
        columns = GATES[run.recurrence] * run.hidden
        gates = _with_room(run.time, run.batch, columns) if columns > run.hidden else None
        run.forward(steps.transpose(0, 1), (w_ih, w_hh, b_ih, b_hh), held, gates)
        ctx.save_for_backward(x, *others, steps, gates, *held)
        ctx.run = run
        ctx.set_materialize_grads(False)
        return run.outputs(held[0], last_only), *run.final(held)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        run, needed = ctx.run, ctx.needs_input_grad[2:]
        parts = len(grads) - 1
        saved = ctx.saved_tensors  # to be asked for but once (torch.utils.checkpoint)
        inputs, (steps, gates, *held) = saved[: 5 + parts], map(_as_saved, saved[5 + parts :])
        if torch.is_grad_enabled():  # create_graph=True: the kernels could not be differentiated again
            return None, None, *differentiable(run.reference, inputs, needed, (_not_empty(grads[0]), *grads[1:]))
        _, w_ih, w_hh, b_ih, _, *_ = inputs
        d, starts = run.backward(w_hh, held, gates, grads)
        dx = run.input_gradient(d, w_ih) if needed[0] else None
        return None, None, dx, *run.gradients(d, steps, held[0], b_ih is not None), *starts


def linear_scan(a: Tensor, b: Tensor, h0: Tensor, lengths: Tensor | None, reverse: bool) -> tuple[Tensor, Tensor]:
    """Same as `unroll.scan.reference.linear_scan`, for float32 on the CPU."""
    y, h_n = _LinearScan.apply(a, b, h0, _own(lengths), reverse)  # type: ignore[no-untyped-call]
    return y, h_n


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, h0: Tensor, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, Tensor]:
        given = _plain(a), _plain(b), _plain(h0)
        y, h_n = torch.empty_like(given[1]), torch.empty_like(given[2])
        sizes = (bool(reverse), *a.shape, _address(lengths))
        _kernels.linear(ISA, _threads(), *sizes, *map(_address, (*given, y, h_n)))
        ctx.save_for_backward(a, b, h0, y)
        ctx.sizes, ctx.lengths, ctx.reverse = sizes, lengths, reverse
        ctx.set_materialize_grads(False)
        return y, h_n

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        a, b, h0, y = ctx.saved_tensors
        if torch.is_grad_enabled():
            again = differentiable(
                lambda a, b, h0: reference.linear_scan(a, b, h0, ctx.lengths, ctx.reverse),
                [a, b, h0],
                ctx.needs_input_grad[:3],
                grads,
            )
            return *again, None, None
        given = _plain(a), _plain(h0), _plain(y)
        dy, dh = (None if grad is None else grad.contiguous() for grad in grads)
        da, db, dh0 = torch.empty_like(given[0]), torch.empty_like(given[0]), torch.empty_like(given[1])
        _kernels.linear_backward(ISA, _threads(), *ctx.sizes, *map(_address, (*given, dy, dh, da, db, dh0)))
        return da, db, dh0, None, None


def _with_room(*shape: int) -> Tensor:
    """Return an empty tensor behind which a kernel may read."""
    return torch.empty(math.prod(shape) + OVERREAD, dtype=torch.float32, device="cpu")[:-OVERREAD].view(shape)


def _plain(tensor: Tensor) -> Tensor:
    """Return a tensor whose memory is its values in order; that of a conjugate's imaginary part holds the negative."""
    return tensor.resolve_neg().contiguous()


def _as_saved(tensor: Tensor | None) -> Tensor | None:
    """Return a saved tensor as it was: a hook (torch.autograd.graph.saved_tensors_hooks) may have laid it out anew."""
    if tensor is None:
        return None
    room = tensor.untyped_storage().nbytes() // 4 - tensor.storage_offset() - tensor.numel()
    if tensor.is_contiguous() and room >= OVERREAD:
        return tensor
    return _with_room(*tensor.shape).copy_(tensor)


def _own(lengths: Tensor | None) -> Tensor | None:
    """Return a copy: the way back reads them again, whatever the caller has since made of theirs."""
    return None if lengths is None else lengths.clone(memory_format=torch.contiguous_format)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _not_empty(dy: Tensor | None) -> Tensor | None:
    """Return the gradient of the outputs unless there were none."""
    return dy if dy is not None and dy.shape[1] else None


def _pair(parts: Sequence[Tensor | None]) -> tuple[Tensor | None, Tensor | None]:
    """Return the parts for h and c, of which lstm alone has the second."""
    return parts[0], parts[1] if len(parts) == 2 else None


_owned = 0  # threads, while torch has lent them


def _threads() -> int:
    # Where torch keeps threads of its own, they spin between its operations, on the cores that ours would need.
    return _owned or 1


@contextmanager
def lend_threads(wanted: bool) -> Iterator[None]:
    """Let the kernels have torch's threads meanwhile, and torch one; if not ``wanted``, leave all as it is.

    For a model whose work is in the kernels: torch's other operations on it are too small to be split.
    """
    global _owned
    before = torch.get_num_threads()
    if not wanted or _owned or before == 1:
        yield
        return
    torch.set_num_threads(1)
    _owned = before
    try:
        yield
    finally:
        _owned = 0
        torch.set_num_threads(before)
