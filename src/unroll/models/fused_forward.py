"""Compute the logits of a single-layer model in one C++ call. `SequenceClassifier.forward` is the reference.

For one sequence, the operations and checks around a fused scan take twice as long as the scan; `scan/csrc/answer.cpp`
does everything at once. Its conditions are checked in each call, so that nothing cached goes stale when a model
changes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeGuard

import torch
from torch import Tensor, nn

from ..cells import Cell
from ..cells.stacked import Stacked
from ..compiler.kind import has_global_hooks, is_hooked
from ..scan import check_lengths, choose_backend, compiled, cpu

SCANS = (Cell.scan, Stacked.scan)  # which are the program's, where there is one
METHODS = ("initial_state", "scan", "dropped", "step")  # the methods that a model calls
KINDS = frozenset((Tensor, nn.Parameter))  # subclasses may be anything: fake, quantised, distributed

Factors = Callable[[int], tuple[Tensor, Tensor]]  # two of (features,) float32 on the CPU


def answer_at_once(
    cell: Cell, head: nn.Module, x: Tensor, lengths: Tensor | None = None, factors: Factors | None = None
) -> Tensor | None:
    """Return ``head`` applied to the last state of ``cell``, (batch, classes) float32, or None.

    None means that the kernels cannot do it, or that something must see each operation. The model then runs module by
    module, and reports any error.

    Args:
        cell: of any kind; the kernels support those whose step can be compiled.
        head: of any kind; the kernels support a linear layer.
        x: (batch, time, input) float32; with ``factors`` float32 or uint8, unscaled.
        lengths: (batch,) int64; None takes all as full (default None).
        factors: returns the means and reciprocal deviations for a number of features, which scale ``x`` for the cell
            (default None: ``x`` is scaled already).

    Raises:
        InputError: ``lengths`` do not fit, or the requested backend does not support it.
    """
    if torch.is_grad_enabled() or torch.is_autocast_enabled("cpu") or _is_onlooked():
        return None
    if not _is_linear(head) or not is_scanned(cell) or not _is_input(x, cell, raw=factors is not None):
        return None
    batch, time, inputs = x.shape
    if lengths is not None:
        check_lengths(lengths, batch, time)
        if not _is_plain(lengths, torch.int64):
            return None
    seen = x if factors is None else torch.empty(batch, time, 0)
    if choose_backend(cell.backend, seen, False, cell.recurrence).backend != "cpu":
        return None
    program = compiled.program_of(cell)
    if isinstance(program, str):
        return None
    tensors = program.tensors(cell)
    if not all(_is_plain(tensor, torch.float32) for tensor in tensors):
        return None
    scales = () if factors is None else factors(inputs)  # kept in a variable, so that they live until the call is over
    source = (x.data_ptr(), 0) if x.dtype is torch.uint8 else (0, x.data_ptr())
    scale = [factor.data_ptr() for factor in scales] or (0, 0)
    classes = head.out_features
    logits = head.weight.new_empty(batch, classes)
    cpu.kernels.answer(
        program.layout(batch, time, lengths), [*source, *scale], [tensor.data_ptr() for tensor in tensors],
        head.weight.data_ptr(), head.bias.data_ptr(), classes, logits.data_ptr(),
    )  # fmt: skip
    return logits


def is_watched(module: nn.Module) -> bool:
    """Tell whether calling ``module`` would run other code: a hook, or a replaced forward."""
    return is_hooked(module) or has_global_hooks() or "forward" in module.__dict__


def _is_onlooked() -> bool:
    """Tell whether operations are compiled or overridden by a mode; `unroll.scan.choice` checks everything else."""
    return torch.compiler.is_compiling() or torch._C._len_torch_function_stack() > 0


def is_scanned(cell: Cell) -> bool:
    """Tell whether a model scans a cell by its program from a zero state, if it has one."""
    if type(cell).scan not in SCANS or not cell.__dict__.keys().isdisjoint(METHODS):
        return False
    if cell.training and cell.recurrent_dropout:
        return False
    if isinstance(cell, Stacked):
        return True
    state = cell.initial_state(1, dtype=torch.float32, device=torch.device("cpu"))
    return not any(bool(part.any()) for part in ((state,) if isinstance(state, Tensor) else state))


def _is_linear(head: nn.Module) -> TypeGuard[nn.Linear]:
    """Tell whether the kernels can compute a head."""
    if type(head) is not nn.Linear or is_watched(head) or head.bias is None:
        return False
    sizes = (head.out_features, head.in_features), (head.out_features,)
    return all(
        _is_plain(tensor, torch.float32) and tensor.shape == size
        for tensor, size in zip((head._parameters["weight"], head._parameters["bias"]), sizes, strict=True)
    )


def _is_input(x: Tensor, cell: Cell, raw: bool) -> bool:
    """Tell whether the kernels can read ``x``."""
    if not _is_plain(x, torch.float32) and not (raw and _is_plain(x, torch.uint8)):
        return False
    return x.dim() == 3 and x.shape[2] == cell.input_size and 0 not in x.shape


def _is_plain(tensor: Tensor | None, dtype: torch.dtype) -> TypeGuard[Tensor]:
    """Tell whether ``tensor`` is plain, contiguous memory."""
    return (
        tensor is not None
        and type(tensor) in KINDS
        and tensor.dtype is dtype
        and tensor.is_cpu
        and tensor.layout is torch.strided
        and tensor.is_contiguous()
        and not tensor.is_neg()
    )
