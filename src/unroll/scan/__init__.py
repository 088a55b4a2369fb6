"""Scans: one function per recurrence, several backends behind one signature.

Every backend gives the results and gradients of `unroll.scan.reference`, the plain loop.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..config import Backend, check_choice
from ..errors import InputError
from . import reference, torch_backend

RNN_SCANS = {"reference": reference.rnn_scan, "torch": torch_backend.rnn_scan}


class Choice(NamedTuple):
    """A backend, and why it is the one.

    Attributes:
        backend: "reference" or "torch"
        reason: in words
    """

    backend: str
    reason: str


def backends() -> dict[str, str]:
    """Return what each backend of this machine is, by name."""
    torch_kernel = f"torch {torch.__version__}'s RNN kernels"
    if torch.cuda.is_available() and torch.backends.cudnn.is_available():  # pragma: no cover
        torch_kernel += f" (on CUDA: cuDNN {torch.backends.cudnn.version()})"
    return {"reference": "a plain loop over time steps; the oracle of the tests", "torch": torch_kernel}


def choose_backend(backend: Backend, time: int) -> Choice:
    """Choose what computes a scan of ``time`` steps.

    Raises:
        ConfigError: ``backend`` is unknown.
        InputError: the backend asked for cannot do it.
    """
    check_choice("backend", backend, get_args(Backend))
    if time == 0:
        if backend == "torch":
            raise InputError("backend 'torch' needs at least 1 time step, got 0; use 'reference' or 'auto'")
        return Choice("reference", "the only one that takes 0 time steps")
    if backend == "auto":
        return Choice("torch", "one call for all time steps")
    return Choice(backend, "asked for")


def rnn_scan(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    lengths: Tensor | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    backend: Backend = "auto",
) -> tuple[Tensor, Tensor]:
    """Elman recurrence: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Args:
        x: (batch, time, input) of any floating dtype, which all tensors share.
        h0: (batch, hidden) initial state.
        w_ih: (hidden, input).
        w_hh: (hidden, hidden).
        b_ih: (hidden,), or None for no biases at all (default None).
        b_hh: (hidden,), given exactly if ``b_ih`` is (default None).
        lengths: (batch,) int64 time steps, each from 0 to time; None takes all as full (default None).
        nonlinearity: "tanh" or "relu" (default "tanh").
        backend: a name from `backends`, or "auto" (default "auto").

    Returns:
        outputs (batch, time, hidden), zero past each length, and the state (batch, hidden) at each length, which for
        length 0 is ``h0``.

    Raises:
        InputError: shapes, dtypes or lengths do not fit; the message says what was expected and what came.
        ConfigError: unknown ``nonlinearity`` or ``backend``.

    Source: J. L. Elman, Finding structure in time, Cognitive Science 14 (1990), p. 179; parameters as in torch.nn.RNN.
    """
    check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    if x.dim() != 3:
        raise InputError(f"x must have shape (batch, time, input), got {tuple(x.shape)}")
    batch, time, features = x.shape
    hidden = w_hh.shape[0]
    check_shape("h0", h0, (batch, hidden))
    check_shape("w_ih", w_ih, (hidden, features))
    check_shape("w_hh", w_hh, (hidden, hidden))
    if (b_ih is None) != (b_hh is None):
        raise InputError("b_ih and b_hh must both be given, or neither")
    if b_ih is not None and b_hh is not None:
        check_shape("b_ih", b_ih, (hidden,))
        check_shape("b_hh", b_hh, (hidden,))
    check_lengths(lengths, batch, time)
    scan = RNN_SCANS[choose_backend(backend, time).backend]
    return scan(x, h0, w_ih, w_hh, b_ih, b_hh, lengths, nonlinearity)


def check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    """Raise `InputError` unless ``tensor`` has the ``expected`` shape."""
    if tuple(tensor.shape) != expected:
        raise InputError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")


def check_lengths(lengths: Tensor | None, batch: int, time: int) -> None:
    """Raise `InputError` unless ``lengths`` is None or (batch,) int64 from 0 to ``time``."""
    if lengths is None:
        return
    check_shape("lengths", lengths, (batch,))
    if lengths.dtype != torch.int64:
        raise InputError(f"lengths must be int64, got {lengths.dtype}")
    if batch and not 0 <= int(lengths.min()) <= int(lengths.max()) <= time:
        raise InputError(f"lengths must be from 0 to {time}, got {int(lengths.min())} to {int(lengths.max())}")
