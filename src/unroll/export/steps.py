"""The cells of a model for its page: their steps in JavaScript, and what these compute with."""

from __future__ import annotations

import base64
import re
import textwrap
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..compiler import compile_step
from ..compiler.javascript import javascript
from ..compiler.kind import copied
from ..errors import NotCompiledError, RunError
from ..models.classifier import SequenceClassifier


class Steps(NamedTuple):
    """The cells of a model.

    Attributes:
        script: declares STEPS, the distinct steps by name; it calls functions of the page's engine.
        cells: [layer][direction], as the page's description has them.
    """

    script: str
    cells: list[list[dict[str, Any]]]


def steps_of(model: SequenceClassifier) -> Steps:
    """Return the cells of a model for its page.

    Raises:
        RunError: a cell does not compile.
    """
    names: dict[tuple[str, str, str], str] = {}  # layers and directions of the same sizes share a function
    layers = [[_described(cell, names) for cell in layer.children()] for layer in model.layers]
    lines = [
        "/* One time step of each kind of cell in this model, written by unroll from the cell's step() in Python. */"
    ]
    lines.append("const STEPS = {")
    for (comment, parameters, body), name in names.items():
        lines += [f"  /** {comment} */", f"  {name}({parameters}) {{", textwrap.indent(body, "    "), "  },"]
    return Steps("\n".join([*lines, "};", ""]), layers)


def _described(cell: nn.Module, names: dict[tuple[str, str, str], str]) -> dict[str, Any]:
    """Return a cell for the description; its step is entered in ``names``."""
    plain: Any = copied(cell).to("cpu", torch.float32).eval()
    try:
        plan = compile_step(plain)
    except NotCompiledError as error:
        raise RunError(f"a page needs a cell that compiles; {type(cell).__name__} does not: {error}") from None
    step = javascript(plan)
    kind = re.sub(r"\W", "_", f"{type(cell).__name__}")
    sizes = " and ".join(map(str, plan.traced.widths))
    comment = f"{kind}: {plan.traced.inputs} inputs, a state of {sizes}."
    name = names.setdefault((comment, step.parameters, step.body), f"{kind}_{len(names) + 1}")
    with torch.no_grad():
        weights = plan.traced.prologue.run(plain)
        state = plain.initial_state(1, dtype=torch.float32, device=torch.device("cpu"))
    return {
        "step": name,
        "weights": list(map(packed, weights)),
        "start": list(map(packed, (state,) if isinstance(state, Tensor) else state)),
        "gates": [gate._asdict() for gate in step.shown],
    }


def packed(tensor: Tensor) -> str:
    """Return a tensor's numbers as 32-bit floats in base64."""
    array = tensor.detach().cpu().float().numpy().astype("<f4")
    return base64.b64encode(np.ascontiguousarray(array).data).decode()
