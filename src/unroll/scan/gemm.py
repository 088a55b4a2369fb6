"""Scans for training on the CPU with torch's matrix products: one autograd node for all time steps.

torch's own kernel records an autograd node for every operation of every step, and its backward pass computes a product
and a sum for each weight matrix at every step. Here the backward pass loops only over h; then one product gives each
weight's gradient for all steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from . import torch_backend
from .padding import scan_padded
from .torch_backend import Weights


def scan(
    recurrence: str,
    x: Tensor,
    state: tuple[Tensor, ...],
    weights: Weights,
    lengths: Tensor | None,
    reverse: bool,
    last_only: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Same as `unroll.scan.torch_backend.scan`, for "tanh" and "relu"."""

    def full(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        y, h_n = _RNNScan.apply(recurrence, x, *weights, *state)  # type: ignore[no-untyped-call]
        return y, (h_n,)

    return scan_padded(full, x, state, lengths, reverse)


class _RNNScan(torch.autograd.Function):
    """h: (time + 1, batch, hidden) with h0 first; a: what goes into the nonlinearity; d: the loss's gradient to it."""

    @staticmethod
    def forward(
        ctx: Any,
        recurrence: str,
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        b_ih: Tensor | None,
        b_hh: Tensor | None,
        h0: Tensor,
    ) -> tuple[Tensor, Tensor]:
        batch, time, features = x.shape
        hidden = w_hh.shape[0]
        h = x.new_empty(time + 1, batch, hidden)
        h[0] = h0
        a = h[1:].view(time * batch, hidden)  # overwritten with h below
        inputs = x.transpose(0, 1).reshape(time * batch, features)
        if b_ih is None or b_hh is None:
            torch.mm(inputs, w_ih.t(), out=a)
        else:
            torch.addmm(b_ih + b_hh, inputs, w_ih.t(), out=a)
        activate = torch.tanh_ if recurrence == "tanh" else torch.relu_
        steps = h.unbind(0)
        for t in range(time):
            activate(steps[t + 1].addmm_(steps[t], w_hh.t()))
        ctx.save_for_backward(x, w_ih, w_hh, b_ih, b_hh, h0, h)
        ctx.recurrence = recurrence
        ctx.set_materialize_grads(False)
        return h[1:].transpose(0, 1), h[time].clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        dy, dh = grads
        *inputs, h = ctx.saved_tensors
        h = h.contiguous()  # hooks on saved tensors may have changed the strides
        if torch.is_grad_enabled():  # create_graph=True: the loop below cannot be differentiated twice
            scan = partial(_reference, ctx.recurrence)
            return None, *differentiable(scan, inputs, ctx.needs_input_grad[1:], grads)
        x, w_ih, w_hh, b_ih, _, _ = inputs
        batch, time, features = x.shape
        hidden = w_hh.shape[0]
        d = torch.empty_like(h[1:])
        dh = torch.zeros_like(h[0]) if dh is None else dh
        wants_h0 = ctx.needs_input_grad[6]
        for t in reversed(range(time)):
            if dy is not None:
                dh = dh + dy[:, t]
            if ctx.recurrence == "tanh":
                torch.ops.aten.tanh_backward.grad_input(dh, h[t + 1], grad_input=d[t])
            else:
                torch.ops.aten.threshold_backward.grad_input(dh, h[t + 1], 0, grad_input=d[t])
            if t or wants_h0:
                dh = d[t] @ w_hh
        all_d = d.view(time * batch, hidden)
        dx = (all_d @ w_ih).view(time, batch, features).transpose(0, 1) if ctx.needs_input_grad[1] else None
        dw_ih = all_d.t() @ x.transpose(0, 1).reshape(time * batch, features)
        dw_hh = all_d.t() @ h[:-1].view(time * batch, hidden)
        db = None if b_ih is None else all_d.sum(dim=0)
        other_db = None if db is None else db.clone()  # so that changing one in place does not change the other
        return None, dx, dw_ih, dw_hh, db, other_db, dh if wants_h0 else None


def _reference(recurrence: str, x: Tensor, *parameters: Any) -> tuple[Tensor, ...]:
    y, final = torch_backend.scan(recurrence, x, parameters[4:], parameters[:4], None, False, False)
    return y, *final


def differentiable(
    scan: Callable[..., tuple[Tensor, ...]],
    inputs: Sequence[Tensor | None],
    needed: Sequence[bool],
    grads: Sequence[Tensor | None],
) -> tuple[Tensor | None, ...]:
    """Return a scan's gradients as differentiable functions of its inputs, which those of a kernel are not.

    Args:
        scan: the reference's, ``(*inputs) -> (outputs, *final state)``.
        inputs: tensors, and None for omitted ones.
        needed: which inputs need a gradient.
        grads: of the results of ``scan``; None is zero.
    """
    # Aliases, as an input may depend on another one; that path belongs to the caller's graph, not to this node.
    inputs = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
    given = [(result, grad) for result, grad in zip(scan(*inputs), grads, strict=True) if grad is not None]
    wanted = [tensor for tensor, need in zip(inputs, needed, strict=True) if need and tensor is not None]
    if not given:  # a later node returned no gradient
        return (None,) * len(inputs)
    outputs, grad_outputs = zip(*given, strict=True)
    gradients = iter(torch.autograd.grad(outputs, wanted, grad_outputs, create_graph=True, allow_unused=True))
    return tuple(next(gradients) if need else None for need in needed)
