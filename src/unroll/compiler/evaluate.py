"""A graph carried out by torch, for any dtype and any derivative."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .graph import Matrix, Node, Vector, ordered

POINTWISE: dict[str, Callable[..., Tensor]] = {
    "stop": Tensor.detach,
    "neg": torch.neg,
    "reciprocal": torch.reciprocal,
    "sqrt": torch.sqrt,
    "abs": torch.abs,
    "sign": torch.sign,
    "exp": torch.exp,
    "log": torch.log,
    "log1p": torch.log1p,
    "expm1": torch.expm1,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "sin": torch.sin,
    "cos": torch.cos,
    "erf": torch.erf,
    "relu": torch.relu,
    "atan": torch.atan,
    "floor": torch.floor,
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "max": torch.maximum,
    "min": torch.minimum,
    "gt": lambda a, b: (a > b).to(a.dtype),
    "ge": lambda a, b: (a >= b).to(a.dtype),
    "eq": lambda a, b: (a == b).to(a.dtype),
    "ne": lambda a, b: (a != b).to(a.dtype),
    "select": lambda a, b, c: torch.where(a != 0, b, c),
    "lerp": lambda a, b, c: a - c * a + c * b,
}


def evaluate(
    outputs: Sequence[Sequence[Node]], x: Tensor, state: Sequence[Tensor], tensors: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """Return the state after a step.

    Args:
        outputs: for each part of the new state, nodes side by side.
        x: (batch, features).
        state: the parts of the state, each (batch, units).
        tensors: the results of the prologue, of the shapes that they had when the step was traced.
    """
    flat = [tensor.reshape(-1) for tensor in tensors]
    values: dict[Node, Tensor] = {}

    def vector(at: Vector, width: int) -> Tensor:
        return flat[at.tensor][at.offset + at.stride * torch.arange(width, device=x.device)]

    def matrix(at: Matrix, factors: int, columns: int) -> Tensor:
        down = at.factor * torch.arange(factors, device=x.device)[:, None]
        return flat[at.tensor][at.offset + down + at.column * torch.arange(columns, device=x.device)]

    for node in ordered(node for pieces in outputs for node in pieces):
        given = [values[input_] for input_ in node.inputs]
        if node.operation == "x":
            value = x.narrow(1, node.data[1], node.width)
        elif node.operation == "state":
            value = state[node.data[0]].narrow(1, node.data[1], node.width)
        elif node.operation == "unit":
            value = vector(node.data, node.width).expand(len(x), -1)
        elif node.operation == "constant":
            value = x.new_full((), node.data).expand(len(x), node.width)
        elif node.operation == "affine":
            matrices, biases = node.data
            value = x.new_zeros(len(x), node.width)
            for bias in biases:
                value = value + vector(bias, node.width)
            for left, weights in zip(given, matrices, strict=True):
                value = value + left @ matrix(weights, left.shape[1], node.width)
        elif node.operation == "sum":
            value = given[0].sum(1, keepdim=True)
        elif node.operation == "maximum":
            value = given[0].amax(1, keepdim=True)
        elif node.operation == "expand":
            value = given[0].expand(-1, node.width)
        else:
            value = POINTWISE[node.operation](*given)
        values[node] = value
    return tuple(torch.cat([values[node] for node in pieces], 1) for pieces in outputs)
