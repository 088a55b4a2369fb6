"""What to write instead of what cannot be compiled."""

from __future__ import annotations

import re

from .rewriting import REWRITTEN
from .trace import HANDLERS

_REFUSED = frozenset({"_local_scalar_dense", "is_nonzero", "equal"})  # their handlers give the reason

# A part of the reason, and what to do about it; the first that fits counts.
_ADVICE: tuple[tuple[str, str], ...] = (
    (
        r"draws random numbers",
        "draw nothing in step: the model's recurrent_dropout drops units of the state, dropout those of the outputs",
    ),
    (
        r"a value decides what step does",
        "compute both cases and choose with torch.where(condition, a, b); no if, while, .item() or float() of a tensor",
    ),
    (
        r"a parameter's value decides",
        "decide by a plain attribute that is set in __init__, not by a tensor, and do not use .item() on parameters",
    ),
    (r"which belongs to the cell", "make it a part of the state: return it from initial_state and from step"),
    (
        r"not the cell's",
        "make it an attribute in __init__, a parameter or a buffer (register_buffer); no NumPy on the state",
    ),
    (r"such as NumPy's", "use torch's operations on x and the state, not NumPy's"),
    (
        r"mixes the sequences|over the sequences|some sequences|each sequence of the batch|for each sequence"
        r"|another batch size",
        "treat each sequence by itself: reduce over units (dim=1), not the batch; no batch norm, and no if on values",
    ),
    (
        r"not in float32|reads a parameter in",
        "compute in the dtype of x, without .double(), .half() or .long()",
    ),
    (
        r"step returns",
        "return as many tensors as initial_state does, each of the same shape as before",
    ),
    (
        r"two matrices that both depend",
        "write products of two vectors of the step unit by unit, (a * b).sum(1); outer products are not compiled",
    ),
    (
        r"by a value that depends",
        "choose with torch.where or multiply with a mask; indices must be the same in every step",
    ),
    (r"in (more than )?\d+ pieces", "pick units by slices, chunk or split rather than by a list of scattered indices"),
    (
        r"gradients of its own|hook on a tensor",
        "write the gradient with detach(): a + (b - a).detach() has the value of b and the gradient of a",
    ),
    (r"calls a hook", "call what the hook does in step itself, or remove the hook"),
    (
        r"does not know",
        "use other operations; unroll.compiler.known_operations() lists them",
    ),
    (r"writes into a tensor", "return new tensors rather than writing with out="),
    (
        r"cannot be traced",
        "step is run once on 5 random sequences: use torch's operations on tensors of any batch size, not NumPy",
    ),
)


def advice(reason: str) -> str:
    """Return what to write instead, for the reason of a `NotCompiledError`; empty if there is no rule for it."""
    return next((text for pattern, text in _ADVICE if re.search(pattern, reason)), "")


def known_operations() -> tuple[str, ...]:
    """Return the names, by alphabet, of torch's operations that a compiled step may use on x and the state.

    Views (slices, chunk, split, reshape, transpose, unsqueeze, expand) can be used too. What depends on parameters
    alone may use any operation that draws no random numbers.
    """
    return tuple(sorted(name for name in (HANDLERS.keys() | REWRITTEN.keys()) - _REFUSED if not name.startswith("_")))
