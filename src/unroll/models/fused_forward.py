"""Logits of the plainest models in one call of the kernels. The twin is `SequenceClassifier`'s way, module by module.

For one sequence the operations and checks around a fused scan take twice as long as the scan. Here
`scan/csrc/answer.cpp` does all of it. What must hold for that is looked at anew in each call: nothing is kept that
could be left behind when a model changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.modules import module as every

from ..cells import GRU, LSTM, RNN, Cell
from ..scan import check_lengths, cpu

WEIGHT_ROWS = {RNN: 1, GRU: 3, LSTM: 4}  # per unit, of the cells that the kernels know
PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # of theirs, in the kernels' order
METHODS = ("initial_state", "scan", "dropped")  # of theirs, which a model calls
KINDS = frozenset((Tensor, nn.Parameter))  # other kinds may be anything: fake, quantised, spread over processes

Factors = Callable[[int], tuple[Tensor, Tensor]]  # two of (features,) float32 on the CPU


def answer_at_once(
    cell: Cell, head: nn.Module, x: Tensor, lengths: Tensor | None = None, factors: Factors | None = None
) -> Tensor | None:
    """Return what ``head`` makes of the last state of ``cell``, (batch, classes) float32, or None.

    None says that something is not as the kernels need it, or that somebody must see each operation. Module by module
    a model then does what can be done, and says what is wrong.

    Args:
        cell: of any kind; the kernels know RNN, GRU and LSTM.
        head: of any kind; the kernels know a linear layer.
        x: (batch, time, input) float32; with ``factors`` float32 or uint8, as raw as data is kept.
        lengths: (batch,) int64; None takes all as full (default None).
        factors: gives means and reciprocals of deviations of so many features, which scale ``x`` to what the cell is to
            read (default None: it is so already).

    Raises:
        InputError: ``lengths`` do not fit, or the backend asked for cannot do it.
    """
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or _is_onlooked():
        return None
    weights = _weights(cell, head)
    if weights is None or not _is_input(x, cell, raw=factors is not None):
        return None
    batch, time, inputs = x.shape
    if lengths is not None:
        check_lengths(lengths, batch, time)
        if not _is_plain(lengths, torch.int64):
            return None
    seen = x if factors is None else weights[0].new_empty(batch, time, 0)
    if cell.choose_backend(seen, training=False).backend != "cpu":
        return None
    layout = cpu.layout(
        cell.recurrence, batch=batch, time=time, inputs=inputs, hidden=cell.hidden_size, lengths=lengths
    )
    scales = () if factors is None else factors(inputs)  # named, so that they live until the call is over
    source = (x.data_ptr(), 0) if x.dtype is torch.uint8 else (0, x.data_ptr())
    scale = [factor.data_ptr() for factor in scales] or (0, 0)
    classes = weights[4].shape[0]
    logits = weights[4].new_empty(batch, classes)
    addresses = [weight.data_ptr() for weight in weights]
    cpu.kernels.answer(layout, *source, *scale, *addresses, classes, logits.data_ptr())
    return logits


def is_watched(module: nn.Module) -> bool:
    """Tell whether somebody's function is called when ``module`` is: a hook, or what has taken forward's place."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or every._global_forward_hooks
        or every._global_forward_pre_hooks
        or every._global_backward_hooks
        or every._global_backward_pre_hooks
        or "forward" in module.__dict__
    )


def _is_onlooked() -> bool:
    """Tell whether operations are compiled, or overridden by a mode; the choice of a backend knows other onlookers."""
    return torch.compiler.is_compiling() or torch._C._len_torch_function_stack() > 0


def _weights(cell: Cell, head: nn.Module) -> list[Tensor] | None:
    """Return the parameters, if the kernels compute what cell and head do with them."""
    if type(cell) not in WEIGHT_ROWS or type(head) is not nn.Linear or is_watched(head):
        return None
    if (cell.training and cell.recurrent_dropout) or not cell.__dict__.keys().isdisjoint(METHODS):
        return None
    if getattr(cell, "nonlinearity", cell.recurrence) != cell.recurrence:
        return None
    own, last = cell._parameters, head._parameters
    weights = [own.get(name) for name in PARAMETERS] + [last.get("weight"), last.get("bias")]
    hidden, classes = cell.hidden_size, head.out_features
    rows = WEIGHT_ROWS[type(cell)] * hidden
    shapes = ((rows, cell.input_size), (rows, hidden), (rows,), (rows,), (classes, hidden), (classes,))
    for weight, shape in zip(weights, shapes, strict=True):
        if not _is_plain(weight, torch.float32) or weight.shape != shape:
            return None
    return weights  # type: ignore[return-value]


def _is_input(x: Tensor, cell: Cell, raw: bool) -> bool:
    """Tell whether ``x`` is of sequences that the kernels can read."""
    if not _is_plain(x, torch.float32) and not (raw and _is_plain(x, torch.uint8)):
        return False
    return x.dim() == 3 and x.shape[2] == cell.input_size and 0 not in x.shape


def _is_plain(tensor: Tensor | None, dtype: torch.dtype) -> TypeGuard[Tensor]:
    """Tell whether the memory of ``tensor`` is its values, in order, for anybody to read."""
    return (
        tensor is not None
        and type(tensor) in KINDS
        and tensor.dtype is dtype
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
        and not tensor.is_neg()
    )
