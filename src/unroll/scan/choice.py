"""Which backend computes a scan, and why."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ..config import Backend
from ..errors import InputError
from ..validation import check_choice
from . import compiled, cpu, torch_backend

BACKENDS = get_args(Backend)

# The recurrences that each backend supports; "own": any other step, which the kernels know if it can be compiled.
KNOWN: dict[str, tuple[str, ...]] = {
    "reference": ("tanh", "relu", "gru", "lstm", "linear", "own"),
    "torch": ("tanh", "relu", "gru", "lstm"),
    "gemm": ("tanh", "relu"),
    "cpu": ("tanh", "relu", "gru", "lstm", "linear", "own"),
}

# From this many time steps, gemm trains faster than torch on a CPU, at every measured size but one (batch 1 to 512,
# hidden 16 to 512: 1.05 to 2.4 times as fast at 4 to 784 steps; 0.9 times at 1 step).
GEMM_STEPS = 4


class Choice(NamedTuple):
    """A backend, and the reason for choosing it.

    Attributes:
        backend: a name from `backends`
        reason: in words
    """

    backend: str
    reason: str


def backends() -> dict[str, str]:
    """Describe each backend on this machine, by name."""
    torch_kernel = f"kernels of torch {torch.__version__}"
    if torch.cuda.is_available() and torch.backends.cudnn.is_available():
        torch_kernel += f"; on CUDA cuDNN {torch.backends.cudnn.version()}"
    return {
        "reference": "a plain loop over time steps, the reference for the tests",
        "torch": torch_kernel,
        "gemm": "one autograd node for all time steps, one matrix product per weight gradient; only rnn, no bf16",
        "cpu": _cpu_kernels() if cpu.INSTRUCTION_SETS else cpu.MISSING,
    }


def _cpu_kernels() -> str:
    bf16 = f"bf16 by {cpu.BF16_ISA}" if cpu.BF16_ISA else "no bf16"
    alone = "" if cpu.TEAM else "; on one thread, as this torch has no OpenMP threads to share"
    return f"fused C++ for {cpu.INSTRUCTION_SETS[0]}; float32; {bf16}{alone}"


def choose_backend(
    backend: Backend, x: Tensor, training: bool, recurrence: str = "tanh", cell: nn.Module | None = None
) -> Choice:
    """Choose the backend for a scan.

    Args:
        backend: the requested name.
        x: (batch, time, input), the scan's input; its values do not matter.
        training: whether gradients will be needed.
        recurrence: "tanh", "relu", "gru", "lstm", "linear" or "own" (default "tanh").
        cell: whose step it is, for "own" (default None).

    Raises:
        ConfigError: ``backend`` is unknown.
        InputError: the requested backend does not support it.
    """
    check_choice("backend", backend, BACKENDS)
    if backend != "auto":
        _check_possible(backend, x, recurrence, cell)
        return Choice(backend, "asked for")
    case = _Case(x, training, recurrence, cell)
    for holds, name, reason in RULES:
        if holds(case):
            return Choice(name, reason.format(case))
    raise AssertionError("the last rule always holds")


class _Case:
    """The properties of a scan that `RULES` use."""

    def __init__(self, x: Tensor, training: bool, recurrence: str, cell: nn.Module | None) -> None:
        self.x, self.training, self.recurrence, self.cell = x, training, recurrence, cell
        self.time, self.device = x.shape[1], x.device.type
        self.low_precision = recurrence != "linear" and torch.is_autocast_enabled(self.device)
        self.compiled = torch.compiler.is_compiling()
        self.onlooker = None if self.compiled else _onlooker()

    @property
    def is_plain(self) -> bool:
        """Whether the kernels support its dtype, device and sizes."""
        x = self.x
        if self.device != "cpu" or x.dtype is not torch.float32 or not x.shape[0] or self.compiled:
            return False
        return cpu.computes_bf16() if self.low_precision else bool(cpu.INSTRUCTION_SETS)

    @property
    def is_fused(self) -> bool:
        """Whether the kernels support it."""
        return self.is_plain and not self.obstacle

    @cached_property
    def obstacle(self) -> str:
        """Why a step cannot be compiled; empty if it can."""
        return "" if self.cell is None else compiled.obstacle(self.cell)

    @property
    def name(self) -> str:
        """The name of the cell's class."""
        return type(self.cell).__name__

    @property
    def kernels(self) -> str:
        """The precision and instruction set of the kernels."""
        if self.low_precision:
            return f"bf16 on this CPU ({cpu.BF16_INSTRUCTION_SETS[0]})"
        return f"float32 on this CPU ({cpu.INSTRUCTION_SETS[0]})"

    @property
    def dtypes(self) -> tuple[str, str]:
        """The names of its dtype, and of autocast's."""
        return _name(self.x.dtype), _name(_autocast_dtype())


# Condition, backend, reason; the first condition that holds decides.
RULES: tuple[tuple[Callable[[_Case], object], str, str], ...] = (
    (lambda case: case.time == 0, "reference", "it takes 0 time steps"),
    (lambda case: case.onlooker, "reference", "{0.onlooker} must see each operation"),
    (lambda case: case.is_fused, "cpu", "fused for {0.kernels}"),
    (
        lambda case: case.recurrence == "own" and case.is_plain and case.obstacle,
        "reference",
        "a loop over {0.name}.step(), which is not compiled: {0.obstacle}",
    ),
    (lambda case: case.recurrence == "own", "reference", "a loop over {0.name}.step()"),
    (
        lambda case: case.recurrence not in KNOWN["torch"],
        "reference",
        "torch has no kernel for the recurrence {0.recurrence}",
    ),
    (lambda case: case.device != "cpu", "torch", "its kernels for {0.device}"),
    (
        lambda case: case.compiled and case.training and case.recurrence == "lstm",
        "reference",
        "torch's lstm on a CPU cannot be compiled for training",
    ),
    (
        lambda case: case.low_precision and case.recurrence == "lstm" and not torch_backend.has_lstm(_autocast_dtype()),
        "reference",
        "torch's lstm cannot compute in {0.dtypes[1]} on this processor",
    ),
    (lambda case: case.low_precision or case.compiled, "torch", "it can compute in bf16 and be compiled"),
    (
        lambda case: case.recurrence not in KNOWN["gemm"],
        "torch",
        "the only kernel for {0.recurrence} in {0.dtypes[0]}",
    ),
    (lambda case: not case.training, "torch", "fastest without gradients on a CPU"),
    (lambda case: case.time < GEMM_STEPS, "torch", f"fastest below {GEMM_STEPS} time steps"),
    (lambda _: True, "gemm", "fastest with gradients on a CPU"),
)


def _autocast_dtype() -> torch.dtype:
    return torch.get_autocast_dtype("cpu")


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _onlooker() -> str | None:
    """Name the mechanism beyond autograd that is active, if any; it would treat a kernel's results as constants."""
    if torch._C._get_tracing_state() is not None:
        return "torch.jit.trace"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "torch.func"
    if forward_ad._current_level >= 0:
        return "forward-mode differentiation"
    if torch._C._len_torch_dispatch_stack():
        return "a dispatch mode (fake tensors, make_fx)"
    return None


def _check_possible(backend: str, x: Tensor, recurrence: str, cell: nn.Module | None) -> None:
    if recurrence not in KNOWN[backend]:
        if cell is not None:
            raise InputError(f"backend {backend!r} has no kernel for {type(cell).__name__}; use 'auto'")
        supporting = ", ".join(name for name, known in KNOWN.items() if recurrence in known)
        raise InputError(f"backend {backend!r} has no {recurrence} recurrence; use one of {supporting}, or 'auto'")
    if backend == "torch" and x.shape[1] == 0:
        raise InputError("backend 'torch' needs at least 1 time step, got 0; use 'reference' or 'auto'")
    if backend == "gemm" and torch.is_autocast_enabled(x.device.type):
        raise InputError("backend 'gemm' computes in float32, but bf16 was asked for; use 'torch' or 'auto'")
    if backend == "torch" and recurrence == "lstm":
        _check_torch_lstm(x)
    if backend == "cpu":
        _check_cpu(x, recurrence)
        if cell is not None and (obstacle := compiled.obstacle(cell)):
            raise InputError(f"backend 'cpu' cannot compile {type(cell).__name__}.step(): {obstacle}; use 'auto'")


def _check_torch_lstm(x: Tensor) -> None:
    under_autocast = x.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    if under_autocast and not _onlooker() and not torch_backend.has_lstm(_autocast_dtype()):
        asked = _name(_autocast_dtype())
        raise InputError(
            f"backend 'torch' cannot compute an lstm in {asked} on this processor; use 'reference' or 'auto'"
        )


def _check_cpu(x: Tensor, recurrence: str) -> None:
    if not cpu.INSTRUCTION_SETS:
        raise InputError(f"backend 'cpu' is {cpu.MISSING}; use 'auto'")
    if x.device.type != "cpu" or x.dtype != torch.float32:
        raise InputError(f"backend 'cpu' computes in float32 on the CPU, got {x.dtype} on {x.device}; use 'auto'")
    if torch.is_autocast_enabled("cpu") and recurrence != "linear" and not cpu.computes_bf16():
        reason = f": {cpu.why_not_bf16()}" if _autocast_dtype() == torch.bfloat16 else ""
        raise InputError(f"backend 'cpu' has no kernels for {_name(_autocast_dtype())}{reason}; use 'auto'")
    if not torch.compiler.is_compiling() and (onlooker := _onlooker()):
        raise InputError(f"backend 'cpu' cannot be used while {onlooker} must see each operation; use 'auto'")
    if 0 in x.shape[:2]:
        raise InputError(
            f"backend 'cpu' needs at least 1 sequence and 1 time step, got x of shape {tuple(x.shape)}; use 'auto'"
        )
