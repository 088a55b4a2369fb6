"""Scans by torch's own recurrent kernels: cuDNN on CUDA, a native loop on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from .reference import clear_padding


def rnn_scan(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None,
    b_hh: Tensor | None,
    lengths: Tensor | None,
    nonlinearity: str,
) -> tuple[Tensor, Tensor]:
    """Same as `unroll.scan.reference.rnn_scan`, by `torch.nn.RNN`'s kernel.

    Padded sequences run through to the end, which is harmless forwards in time; then outputs past each length are
    cleared and the state at it is picked. torch's packed sequences are up to 114 times slower (pytorch#149194).
    """
    kernel = torch.rnn_tanh if nonlinearity == "tanh" else torch.rnn_relu
    weights = [w for w in (w_ih, w_hh, b_ih, b_hh) if w is not None]
    if lengths is not None:
        x = clear_padding(x, lengths)
    y, h_n = kernel(
        x,
        h0.unsqueeze(0),
        weights,
        has_biases=b_ih is not None,
        num_layers=1,
        dropout=0.0,
        # cuDNN refuses a backward pass in eval mode (pytorch#15788); without dropout the mode changes nothing else.
        train=torch.is_grad_enabled(),
        bidirectional=False,
        batch_first=True,
    )
    if lengths is None:
        return y, h_n[0]
    y = clear_padding(y, lengths)
    last = (lengths - 1).clamp(min=0)[:, None, None].expand(-1, 1, y.shape[2])
    picked = y.gather(1, last).squeeze(1)
    return y, torch.where((lengths > 0).unsqueeze(1), picked, h0)
