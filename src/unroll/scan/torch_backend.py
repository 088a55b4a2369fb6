"""Scans by torch's own recurrent kernels: cuDNN on CUDA, a native loop (or oneDNN for lstm) on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from .padding import clear_padding, reverse_within_lengths, scan_padded

Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]  # w_ih, w_hh, b_ih, b_hh, stacked by gates
KERNELS: dict[str, Callable[..., tuple[Tensor, ...]]] = {
    "tanh": torch.rnn_tanh,
    "relu": torch.rnn_relu,
    "gru": torch.gru,
    "lstm": torch.lstm,
}


def scan(
    recurrence: str,
    x: Tensor,
    state: tuple[Tensor, ...],
    weights: Weights,
    lengths: Tensor | None,
    reverse: bool,
    last_only: bool,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Compute a scan by the kernels of `torch.nn.RNN`, `torch.nn.GRU` and `torch.nn.LSTM`; see `unroll.scan.rnn_scan`.

    Args:
        recurrence: "tanh", "relu", "gru" or "lstm".
        x: (batch, time, input), with at least one sequence and one time step.
        state: (h0,), for lstm (h0, c0), each (batch, hidden).
        weights: w_ih, w_hh, b_ih, b_hh, stacked by gates as in torch.nn.
        lengths: (batch,) int64, or None where all are full.
        reverse: from the last step to the first.
        last_only: the outputs are not needed.

    Returns:
        outputs (batch, time, hidden) and the final state.
    """
    if recurrence == "lstm" and lengths is not None:
        return _packed_lstm(x, state, weights, lengths, reverse)

    def full(x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        start = tuple(part.unsqueeze(0).contiguous() for part in state)  # cuDNN does not accept expanded tensors
        y, *final = KERNELS[recurrence](
            x, start if recurrence == "lstm" else start[0], **_options(weights), batch_first=True
        )
        return y, tuple(part[0] for part in final)

    return scan_padded(full, x, state, lengths, reverse)


def has_lstm(dtype: torch.dtype) -> bool:
    """Tell whether torch's lstm works under autocast to ``dtype`` on this CPU."""
    return _has_lstm(dtype)


# The effect of torch.compiler.assume_constant_result, whose import of torch._dynamo takes a second or two.
has_lstm._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _has_lstm(dtype: torch.dtype) -> bool:
    # By trial, as oneDNN refuses on processors before AVX-512 and has no public query for it.
    x = torch.zeros(1, 1, 1, dtype=torch.float32, device="cpu")
    weight = x.new_zeros(4, 1)
    try:
        with torch.no_grad(), torch.autocast("cpu", dtype):
            torch.lstm(x, (x, x), **_options((weight, weight, None, None)), batch_first=True)
    except RuntimeError:
        return False
    return True


def _options(weights: Weights) -> dict[str, Any]:
    return {
        "params": [w for w in weights if w is not None],
        "has_biases": weights[2] is not None,
        "num_layers": 1,
        "dropout": 0.0,
        # cuDNN has no backward pass in eval mode (pytorch#15788); without dropout, the mode changes nothing else.
        "train": torch.is_grad_enabled(),
        "bidirectional": False,
    }


def _packed_lstm(
    x: Tensor, state: tuple[Tensor, ...], weights: Weights, lengths: Tensor, reverse: bool
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Pack sequences, as the kernel returns c only at the end; it does not accept sequences of length 0."""
    x = clear_padding(x, lengths)
    packed = pack_padded_sequence(
        reverse_within_lengths(x, lengths) if reverse else x,
        lengths.clamp(min=1).cpu(),
        batch_first=True,
        enforce_sorted=False,
    )
    order, back = packed.sorted_indices, packed.unsorted_indices
    start = tuple(part[order].unsqueeze(0) for part in state)
    values, *final = torch.lstm(packed.data, packed.batch_sizes, start, **_options(weights))
    y, _ = pad_packed_sequence(packed._replace(data=values), batch_first=True, total_length=x.shape[1])
    y = clear_padding(y, lengths)
    some = (lengths > 0).unsqueeze(1)
    ends = tuple(torch.where(some, end[0][back], first) for end, first in zip(final, state, strict=True))
    return reverse_within_lengths(y, lengths) if reverse else y, ends
