"""From a cell's `step` to a program for the kernels: trace, graph, gradients, plan."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import NotCompiledError
from .explanation import Explanation, explain_plan, explain_refused
from .instead import known_operations
from .kind import changed, copied, drawn, has_hooks, kind_of, neutral, unseen_in
from .plan import Plan, plan
from .program import MOST_PARTS
from .trace import BATCH, trace

__all__ = [
    "Explanation",
    "Plan",
    "compile_step",
    "explain",
    "known_operations",
]


def compile_step(cell: nn.Module) -> Plan:
    """Make the program of a cell's step.

    Args:
        cell: has ``initial_state``, ``step`` and ``input_size``, as `unroll.cells.Cell`; its parameters are float32 on
            the CPU. It is not changed: the step is run on a copy.

    Raises:
        NotCompiledError: its step does something that a program cannot; the message says what, and where.
    """
    if has_hooks(cell):
        raise NotCompiledError("one of its modules calls a hook, which a program would leave out")
    with neutral():
        return _compiled(copied(cell))


def _compiled(shadow: Any) -> Plan:
    options: dict[str, Any] = {"dtype": torch.float32, "device": torch.device("cpu")}
    try:
        state = shadow.initial_state(BATCH, **options)
        if not isinstance(state, Tensor) and type(state) not in (tuple, list):
            raise NotCompiledError(f"its state is a {type(state).__name__}, not a tensor or a plain tuple of tensors")
        parts = (state,) if isinstance(state, Tensor) else tuple(state)
        if len(parts) > MOST_PARTS:
            raise NotCompiledError(f"its state has {len(parts)} parts, at most {MOST_PARTS} can be handled")
        if parts[0].dim() != 2:
            raise NotCompiledError(f"its output has shape {tuple(parts[0].shape)[1:]} per sequence, not (units,)")
        for part in parts:
            if part.dtype != torch.float32:
                raise NotCompiledError(f"a part of its state is in {str(part.dtype).removeprefix('torch.')}")
        generator = torch.Generator().manual_seed(0)
        x = torch.rand(BATCH, shadow.input_size, generator=generator, **options)
        before, numbers = kind_of(shadow), drawn()
        if name := unseen_in(before):
            raise NotCompiledError(
                f"it reads {name}, which holds objects in several others, or more than 1,000 items in a list or an "
                "array: a program would not notice their changes; make what it reads a tensor or a number of the cell"
            )
        traced = trace(shadow, shadow.step, x, _filled(state, generator), isinstance(state, Tensor))
        if name := changed(before, kind_of(shadow)):
            raise NotCompiledError(f"it changes {name}, which a program cannot: make it a part of the state")
        if drawn() != numbers:
            raise NotCompiledError("it draws random numbers of Python or NumPy, which a program cannot")
        return plan(traced)
    except NotCompiledError:
        raise
    except Exception as error:
        raise NotCompiledError(f"it cannot be traced: {type(error).__name__}: {error}") from error


def explain(cell: nn.Module) -> Explanation:
    """Explain what the compiler makes of a cell: formulas, products, work, memory, and what computes it.

    Args:
        cell: as for `compile_step`; if it is not compiled, the explanation says why.

    Example:
        >>> import unroll
        >>> print(unroll.compiler.explain(unroll.RNN(28, 150)).formulas[0])
        h' = tanh(weight_ih x + weight_hh h + bias_ih + bias_hh)
    """
    try:
        plan = compile_step(cell)
    except NotCompiledError as error:
        return explain_refused(cell, str(error))
    return explain_plan(cell, plan)


def _filled(state: Any, generator: torch.Generator) -> Any:
    """Return a state of the same shapes with numbers in storage of its own."""
    if isinstance(state, Tensor):
        return torch.rand(state.shape, generator=generator, dtype=torch.float32)
    return type(state)(_filled(part, generator) for part in state) if type(state) in (list, tuple) else state
