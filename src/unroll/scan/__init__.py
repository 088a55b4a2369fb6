"""Scans: one function per recurrence, several backends behind one signature.

Every backend gives the results and gradients of `unroll.scan.reference`, the plain loop.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ..config import Backend, check_choice
from ..errors import InputError
from . import cpu, gemm, reference, torch_backend

RNN_SCANS = {
    "reference": reference.rnn_scan,
    "torch": torch_backend.rnn_scan,
    "gemm": gemm.rnn_scan,
    "cpu": cpu.rnn_scan,
}

# From so many time steps on gemm trains faster than torch on a CPU, at every size measured but one (batch 1 to 512,
# hidden 16 to 512: 1.05 to 2.4 times at 4 to 784 steps; at 1 step 0.9 times).
GEMM_STEPS = 4


class Choice(NamedTuple):
    """A backend, and why it is the one.

    Attributes:
        backend: a name from `backends`
        reason: in words
    """

    backend: str
    reason: str


def backends() -> dict[str, str]:
    """Return what each backend is on this machine, by name."""
    torch_kernel = f"kernels of torch {torch.__version__}"
    if torch.cuda.is_available() and torch.backends.cudnn.is_available():
        torch_kernel += f"; on CUDA cuDNN {torch.backends.cudnn.version()}"
    return {
        "reference": "a plain loop over time steps, the oracle of the tests",
        "torch": torch_kernel,
        "gemm": "one autograd node for all time steps, one matrix product per weight gradient; no bf16 or torch.func",
        "cpu": f"fused C++ for {cpu.INSTRUCTION_SETS[0]}; float32" if cpu.INSTRUCTION_SETS else cpu.MISSING,
    }


def choose_backend(backend: Backend, x: Tensor, training: bool) -> Choice:
    """Choose what computes a scan.

    Args:
        backend: as asked for.
        x: (batch, time, input), the scan's input; what it holds does not matter.
        training: whether gradients will be wanted.

    Raises:
        ConfigError: ``backend`` is unknown.
        InputError: the backend asked for cannot do it.
    """
    check_choice("backend", backend, get_args(Backend))
    time, low_precision = x.shape[1], torch.is_autocast_enabled(x.device.type)
    if time == 0 and backend == "torch":
        raise InputError("backend 'torch' needs at least 1 time step, got 0; use 'reference' or 'auto'")
    if low_precision and backend == "gemm":
        raise InputError("backend 'gemm' computes in float32, but bf16 was asked for; use 'torch' or 'auto'")
    if backend == "cpu":
        _check_cpu(x)
    if backend != "auto":
        return Choice(backend, "asked for")
    if time == 0:
        return Choice("reference", "it takes 0 time steps")
    if x.device.type != "cpu":
        return Choice("torch", f"its kernels for {x.device.type}")
    if low_precision or torch.compiler.is_compiling():
        return Choice("torch", "it can compute in bf16 and be compiled")
    if cpu.INSTRUCTION_SETS and x.dtype == torch.float32 and x.shape[0]:
        return Choice("cpu", f"fused for float32 on this CPU ({cpu.INSTRUCTION_SETS[0]})")
    if not training:
        return Choice("torch", "fastest without gradients on a CPU")
    if time < GEMM_STEPS:
        return Choice("torch", f"fastest below {GEMM_STEPS} time steps")
    return Choice("gemm", "fastest with gradients on a CPU")


def _check_alike(tensors: tuple[Tensor | None, ...]) -> None:
    """Raise `InputError` unless all share a device and, but under autocast, a dtype: kernels read memory as it is."""
    kinds = {(tensor.dtype, tensor.device) for tensor in tensors if tensor is not None}
    if len(kinds) > 1 and not (len({device for _, device in kinds}) == 1 and _is_autocast(tensors)):
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
        raise InputError(f"x, h0, weights and biases must share one dtype and one device, got {found}")


def _is_autocast(tensors: tuple[Tensor | None, ...]) -> bool:
    return any(tensor is not None and torch.is_autocast_enabled(tensor.device.type) for tensor in tensors)


def _check_cpu(x: Tensor) -> None:
    if not cpu.INSTRUCTION_SETS:
        raise InputError(f"backend 'cpu' is {cpu.MISSING}")
    if x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        raise InputError(f"backend 'cpu' computes in float32 on the CPU, got {x.dtype} on {x.device}; use 'auto'")
    if 0 in x.shape[:2]:
        raise InputError(f"backend 'cpu' needs a sequence and a time step, got x of {tuple(x.shape)}; use 'auto'")


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
    tensors = (x, h0, w_ih, w_hh, b_ih, b_hh)
    _check_alike(tensors)
    training = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    scan = RNN_SCANS[choose_backend(backend, x, training).backend]
    return scan(x, h0, w_ih, w_hh, b_ih, b_hh, lengths, nonlinearity)


def check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    """Raise `InputError` unless ``tensor`` has the ``expected`` shape."""
    if tuple(tensor.shape) != expected:
        raise InputError(f"{name} must have shape {expected}, got {tuple(tensor.shape)}")


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
