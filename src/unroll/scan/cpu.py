"""Scans for float32 on the CPU, fused in C++ (`csrc/`): one call for all time steps, forwards and backwards.

The sources are compiled for several instruction sets when unroll is installed, if there is a C++ compiler; the best one
that the processor has is chosen when this module is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .gemm import differentiable_backward
from .padding import scan_padded

try:
    from . import _kernels  # type: ignore[attr-defined]

    INSTRUCTION_SETS: tuple[str, ...] = tuple(_kernels.instruction_sets())
except ImportError:
    INSTRUCTION_SETS = ()

ISA = INSTRUCTION_SETS[0] if INSTRUCTION_SETS else ""

MISSING = "not built: there was no C++ compiler when unroll was installed; training takes about twice as long"
OVERREAD = 128  # floats that a kernel may read, but does not use, behind the last state


def rnn_scan(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
) -> tuple[Tensor, Tensor]:
    """Same as `unroll.scan.reference.rnn_scan`, for float32 on the CPU and at least one sequence and one time step."""

    def scan(x: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = _RNNScan.apply(x, h0, w_ih, w_hh, b_ih, b_hh, nonlinearity)  # type: ignore[no-untyped-call]
        return y, h_n

    return scan_padded(scan, x, h0, lengths)


class _RNNScan(torch.autograd.Function):
    """h: (time + 1, batch, hidden) with h0 first; d: the loss's gradient to what goes into the nonlinearity.

    Inside, time comes first; what the kernels read has some room behind it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        h0: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None,
        b_hh: Tensor | None,
        nonlinearity: str,
    ) -> tuple[Tensor, Tensor]:
        batch, time, features = x.shape
        hidden = w_hh.shape[0]
        steps = _with_room(time, batch, features).copy_(x.transpose(0, 1))
        h = _with_room(time + 1, batch, hidden)
        h[0] = h0
        # Named, so that they live until the call is over.
        weights = w_ih.contiguous(), w_hh.contiguous()
        bias = None if b_ih is None or b_hh is None else b_ih + b_hh
        sizes = (_threads(), nonlinearity == "relu", batch, time, features, hidden)
        _kernels.rnn_forward(ISA, *sizes, *map(_address, (steps, *weights, bias, h)))
        ctx.save_for_backward(x, h0, w_ih, w_hh, b_ih, b_hh, steps, h)
        ctx.nonlinearity = nonlinearity
        ctx.set_materialize_grads(False)
        return h[1:].transpose(0, 1), h[time].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, dh = grads
        *inputs, steps, h = ctx.saved_tensors
        if torch.is_grad_enabled():  # create_graph=True: the kernels could not be differentiated again
            return differentiable_backward(inputs, ctx.needs_input_grad, dy, dh, ctx.nonlinearity)
        _, _, w_ih, w_hh, b_ih, _ = inputs
        time, batch, features = steps.shape
        hidden, threads = w_hh.shape[0], _threads()
        dy = dy if dy is None or dy.stride(2) == 1 else dy.contiguous()
        dh = None if dh is None else dh.contiguous()
        weights = w_ih.contiguous(), w_hh.contiguous()
        d = torch.empty_like(h[1:])
        dh0 = torch.empty_like(h[0]) if ctx.needs_input_grad[1] else None
        sizes = (threads, ctx.nonlinearity == "relu", batch, time, hidden)
        strides = (0, 0) if dy is None else dy.stride()[:2]
        _kernels.rnn_backward(
            ISA, *sizes, _address(weights[1]), _address(h), _address(dy), *strides, *map(_address, (dh, d, dh0))
        )
        n = time * batch
        dw_ih, dw_hh = (torch.empty_like(weight) for weight in weights)
        _kernels.weight_gradient(ISA, threads, n, hidden, features, *map(_address, (d, steps, dw_ih)))
        _kernels.weight_gradient(ISA, threads, n, hidden, hidden, *map(_address, (d, h, dw_hh)))
        dx = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(steps)
            _kernels.input_gradient(ISA, threads, n, hidden, features, *map(_address, (d, weights[0], dx)))
            dx = dx.transpose(0, 1)
        db = None if b_ih is None else d.view(n, hidden).sum(dim=0)
        return dx, dh0, dw_ih, dw_hh, db, db, None


def _with_room(*shape: int) -> Tensor:
    """Return an empty tensor behind which a kernel may read."""
    return torch.empty(math.prod(shape) + OVERREAD, dtype=torch.float32, device="cpu")[:-OVERREAD].view(shape)


def _address(tensor: Tensor | None) -> int:
    return 0 if tensor is None else tensor.data_ptr()


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
