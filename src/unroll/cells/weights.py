"""Weights in torch.nn's layout, with the gates' rows stacked."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn


class Gated(Protocol):
    """A cell with weights in torch.nn's layout."""

    hidden_size: int
    weight_ih: nn.Parameter
    weight_hh: nn.Parameter
    bias_ih: nn.Parameter
    bias_hh: nn.Parameter


def uniform_weights(gates: int, inputs: int, hidden: int) -> tuple[nn.Parameter, ...]:
    """Return weight_ih, weight_hh, bias_ih and bias_hh, stacked by gates, as torch.nn makes them."""
    rows, bound = gates * hidden, hidden**-0.5
    shapes = ((rows, inputs), (rows, hidden), (rows,), (rows,))
    return tuple(nn.Parameter(torch.empty(shape).uniform_(-bound, bound)) for shape in shapes)


def orthogonal(cell: Gated) -> None:
    """Make each gate's weight_hh orthogonal and weight_ih Xavier uniform, and the biases zero."""
    for weight_ih, weight_hh in zip(
        cell.weight_ih.split(cell.hidden_size), cell.weight_hh.split(cell.hidden_size), strict=True
    ):
        nn.init.xavier_uniform_(weight_ih)
        nn.init.orthogonal_(weight_hh)
    nn.init.zeros_(cell.bias_ih)
    nn.init.zeros_(cell.bias_hh)


@torch.no_grad()
def set_gate_bias(cell: Gated, gate: int, value: float) -> None:
    """Make the sum of a gate's two biases ``value``; gates count from 0."""
    rows = slice(gate * cell.hidden_size, (gate + 1) * cell.hidden_size)
    cell.bias_ih[rows] = value
    cell.bias_hh[rows] = 0
