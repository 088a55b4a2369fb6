"""Scans by torch's own recurrent kernels: cuDNN on CUDA, a native loop on the CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from .padding import scan_padded


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
    """Same as `unroll.scan.reference.rnn_scan`, by the kernel of `torch.nn.RNN`."""
    kernel = torch.rnn_tanh if nonlinearity == "tanh" else torch.rnn_relu
    weights = [w for w in (w_ih, w_hh, b_ih, b_hh) if w is not None]

    def scan(x: Tensor) -> tuple[Tensor, Tensor]:
        y, h_n = kernel(
            x,
            h0.unsqueeze(0).contiguous(),  # cuDNN takes no expanded state
            weights,
            has_biases=b_ih is not None,
            num_layers=1,
            dropout=0.0,
            # cuDNN refuses a backward pass in eval mode (pytorch#15788); without dropout nothing else depends on it.
            train=torch.is_grad_enabled(),
            bidirectional=False,
            batch_first=True,
        )
        return y, h_n[0]

    return scan_padded(scan, x, h0, lengths)
