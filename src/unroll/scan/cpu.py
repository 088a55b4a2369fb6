"""Scans for float32 on the CPU, fused in C++ (`csrc/`): one call for all time steps, forwards and backwards.

Under autocast to bfloat16 the factors of all products are rounded to it; sums, states and gradients stay float32.

The sources are compiled for several instruction sets when unroll is installed, if there is a C++ compiler; the best one
that the processor has, and that the environment variable UNROLL_ISA allows, is chosen when this module is loaded.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from . import reference
from .gemm import differentiable
from .sets import VARIABLE, usable_sets

kernels: Any = None
with suppress(ImportError):
    kernels = importlib.import_module("._kernels", __package__)

# The kernels run in the threads of torch's own OpenMP runtime, as many as torch.set_num_threads allows. Other threads
# would compete for the cores on which torch's threads spin briefly after each operation.
TEAM = False
with suppress(OSError, AttributeError):
    _name = "libtorch_cpu.dylib" if sys.platform == "darwin" else "libtorch_cpu.so"
    _library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib" / _name))  # and what it is linked to
    kernels.use_team(ctypes.cast(_library.GOMP_parallel, ctypes.c_void_p).value)
    TEAM = True

# Best first; the sets for products in bfloat16 are separate from those for float32.
AVAILABLE: dict[str, tuple[str, ...]] = {
    precision: tuple(kernels.instruction_sets(precision == "bf16")) if kernels else () for precision in ("fp32", "bf16")
}
LIMIT = os.environ.get(VARIABLE, "")
_usable = usable_sets(LIMIT, [name for names in AVAILABLE.values() for name in names])
INSTRUCTION_SETS = tuple(name for name in AVAILABLE["fp32"] if name in _usable)
BF16_INSTRUCTION_SETS = tuple(name for name in AVAILABLE["bf16"] if name in _usable)

ISA = INSTRUCTION_SETS[0] if INSTRUCTION_SETS else ""
BF16_ISA = BF16_INSTRUCTION_SETS[0] if BF16_INSTRUCTION_SETS else ""
# For one sequence: an AMX tile has sixteen rows and takes as long for one.
BF16_ISA_OF_ONE = BF16_INSTRUCTION_SETS[-1] if BF16_INSTRUCTION_SETS else ""

NOT_BUILT = "not built, as there was no C++ compiler when unroll was installed; training takes several times as long"
MISSING = f"switched off by {VARIABLE}={LIMIT}; training takes several times as long" if kernels else NOT_BUILT
OVERREAD = 128  # floats past the end of a tensor that a kernel may read but does not use


def linear_scan(a: Tensor, b: Tensor, h0: Tensor, lengths: Tensor | None, reverse: bool) -> tuple[Tensor, Tensor]:
    """Same as `unroll.scan.reference.linear_scan`, for float32 on the CPU."""
    y, h_n = _LinearScan.apply(a, b, h0, own(lengths), reverse)  # type: ignore[no-untyped-call]
    return y, h_n


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, h0: Tensor, lengths: Tensor | None, reverse: bool
    ) -> tuple[Tensor, Tensor]:
        given = plain(a), plain(b), plain(h0)
        y, h_n = torch.empty_like(given[1]), torch.empty_like(given[2])
        kernels.linear(*_sizes(a, lengths, reverse), [*map(address, (*given, y, h_n))])
        ctx.save_for_backward(a, b, h0, y)
        ctx.lengths, ctx.reverse = lengths, reverse
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
        given = plain(a), plain(h0), plain(y)
        dy, dh = (None if grad is None else grad.contiguous() for grad in grads)
        da, db, dh0 = torch.empty_like(given[0]), torch.empty_like(given[0]), torch.empty_like(given[1])
        kernels.linear_backward(*_sizes(a, ctx.lengths, ctx.reverse), [*map(address, (*given, dy, dh, da, db, dh0))])
        return da, db, dh0, None, None


def computes_bf16() -> bool:
    """Tell whether autocast to bfloat16 is on for the CPU and the kernels support it."""
    return bool(BF16_ISA) and torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16


def why_not_bf16() -> str:
    """Return why no kernels for products in bfloat16 are used, or an empty string if some are."""
    if BF16_ISA:
        return ""
    if not kernels:
        return "the kernels are not built"
    if AVAILABLE["bf16"] and not BF16_INSTRUCTION_SETS:
        return f"{VARIABLE}={LIMIT} excludes {AVAILABLE['bf16'][-1]}"
    return "this processor or build has neither avx512_bf16 nor amx"


def check_precision(precision: str, device: torch.device) -> None:
    """Raise `ConfigError` for "bf16" on a CPU without kernels for it, where it would be many times slower."""
    if precision == "bf16" and device.type == "cpu" and (reason := why_not_bf16()):
        raise ConfigError(
            f"precision 'bf16' on a CPU needs kernels for it, got {ISA or 'none'}: {reason}; use precision 'fp32'"
        )


def isa(batch: int = 0) -> str:
    """Return the instruction set of the kernels for the current precision and, if given, ``batch`` sequences."""
    if not computes_bf16():
        return ISA
    return BF16_ISA_OF_ONE if batch == 1 else BF16_ISA


def _sizes(a: Tensor, lengths: Tensor | None, reverse: bool) -> tuple[Any, ...]:
    return ISA, torch.get_num_threads(), bool(reverse), *a.shape, address(lengths)


def plain(tensor: Tensor) -> Tensor:
    """Return a contiguous tensor; the memory of a conjugate's imaginary part would hold the negative."""
    return tensor if tensor.is_contiguous() and not tensor.is_neg() else tensor.resolve_neg().contiguous()


def as_saved(tensor: Tensor | None) -> Tensor | None:
    """Return a saved tensor with its old strides, which hooks (torch.autograd.graph.saved_tensors_hooks) may change."""
    return None if tensor is None else tensor.contiguous()


def own(lengths: Tensor | None) -> Tensor | None:
    """Return copies, as the backward pass reads them after the caller may have changed the originals."""
    return None if lengths is None else lengths.clone(memory_format=torch.contiguous_format)


def address(tensor: Tensor | None) -> int:
    """Return where a tensor's numbers begin, 0 for None."""
    return 0 if tensor is None else tensor.data_ptr()
