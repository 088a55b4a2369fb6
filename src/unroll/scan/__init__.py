"""Scans: one function per recurrence, several backends behind one signature.

Every backend gives the results and gradients of `unroll.scan.reference`, the plain loop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..config import Backend
from ..errors import InputError
from . import cpu, gemm, reference, torch_backend
from .choice import Choice, backends, choose_backend

if TYPE_CHECKING:
    from ..cells.functional import gru_scan, lstm_scan, rnn_scan

__all__ = ["Choice", "backends", "choose_backend", "gru_scan", "linear_scan", "lstm_scan", "rnn_scan"]

SCANS = {"torch": torch_backend.scan, "gemm": gemm.scan}  # of the cells that torch.nn has
LINEAR_SCANS = {"reference": reference.linear_scan, "cpu": cpu.linear_scan}


def __getattr__(name: str) -> Any:
    if name in ("gru_scan", "lstm_scan", "rnn_scan"):
        from ..cells import functional

        return getattr(functional, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def linear_scan(
    a: Tensor,
    b: Tensor,
    h0: Tensor,
    lengths: Tensor | None = None,
    backend: Backend = "auto",
    *,
    reverse: bool = False,
) -> tuple[Tensor, Tensor]:
    """Linear recurrence, element by element: h_t = a_t h_{t-1} + b_t.

    Args:
        a: (batch, time, hidden) of any floating dtype, which all tensors share.
        b: (batch, time, hidden).
        h0: (batch, hidden) initial state.
        lengths: as in `rnn_scan` (default None).
        backend: "reference", "cpu" or "auto" (default "auto").
        reverse: from the last step to the first (default False).

    Returns:
        outputs (batch, time, hidden), zero past each length, and the final state (batch, hidden), for length 0 ``h0``.

    Raises:
        InputError: shapes, dtypes or lengths do not fit.
        ConfigError: unknown ``backend``.
    """
    if a.dim() != 3:
        raise InputError(f"a must have shape (batch, time, hidden), got {tuple(a.shape)}")
    batch, time, hidden = a.shape
    check_shape("b", b, (batch, time, hidden))
    check_shape("h0", h0, (batch, hidden))
    check_lengths(lengths, batch, time)
    check_device("lengths", lengths, a.device)
    check_alike("a, b and h0", (a, b, h0))
    if _is_autocast((a, b, h0)):  # bf16 would round the sum at each step
        a, b, h0 = a.float(), b.float(), h0.float()
    scan = LINEAR_SCANS[choose_backend(backend, a, _wants_gradients((a, b, h0)), "linear").backend]
    return scan(a, b, h0, lengths, reverse)


def _wants_gradients(tensors: tuple[Tensor | None, ...]) -> bool:
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)


def check_alike(names: str, tensors: tuple[Tensor | None, ...]) -> None:
    """Raise `InputError` unless all tensors share a device and, except under autocast, a dtype."""
    first = tensors[0]
    if first is not None and all(t is None or (t.dtype == first.dtype and t.device == first.device) for t in tensors):
        return
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors if tensor is not None}
    if len({device for _, device in kinds}) > 1 or not _is_autocast(tensors):
        given = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise InputError(f"{names} must share one dtype and one device, got {given}")


def _is_autocast(tensors: tuple[Tensor | None, ...]) -> bool:
    return any(tensor is not None and torch.is_autocast_enabled(tensor.device.type) for tensor in tensors)


def check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    """Raise `InputError` unless ``tensor`` has the ``expected`` shape."""
    if tuple(tensor.shape) != expected:
        raise InputError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")


def check_device(name: str, tensor: Tensor | None, expected: torch.device) -> None:
    """Raise `InputError` unless ``tensor``, if there is one, is on the ``expected`` device."""
    if tensor is not None and tensor.device != expected:
        raise InputError(f"{name} must be on {expected}, as the sequences are, got {tensor.device}")


def check_lengths(lengths: Tensor | None, batch: int, time: int) -> None:
    """Raise `InputError` unless ``lengths`` is None or (batch,) int64 from 0 to ``time``."""
    if lengths is None:
        return
    if not isinstance(lengths, Tensor):
        raise InputError(f"lengths must be an int64 tensor ({batch},), got {type(lengths).__name__}")
    check_shape("lengths", lengths, (batch,))
    if lengths.dtype != torch.int64:
        raise InputError(f"lengths must be int64, got {lengths.dtype}")
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= time:
        raise InputError(f"lengths must be from 0 to {time}, got {int(lengths.min())} to {int(lengths.max())}")
