"""The scans of the cells that have kernels, as functions of tensors; also available from `unroll.scan`."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..config import Backend
from ..scan.torch_backend import Weights
from ..validation import check_choice
from .elman import RNN
from .gated import GRU, LSTM


def rnn_scan(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    lengths: Tensor | None = None,
    nonlinearity: Literal["tanh", "relu"] = "tanh",
    backend: Backend = "auto",
    *,
    reverse: bool = False,
    last_only: bool = False,
) -> tuple[Tensor, Tensor]:
    """Elman recurrence: h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh).

    Args:
        x: (batch, time, input) of any floating dtype, which all tensors share.
        h0: (batch, hidden) initial state.
        w_ih: (hidden, input).
        w_hh: (hidden, hidden).
        b_ih: (hidden,), or None for no biases at all (default None).
        b_hh: (hidden,), given exactly if ``b_ih`` is (default None).
        lengths: (batch,) int64 time steps, each from 0 to time; None takes all as full (default None).
        nonlinearity: "tanh" or "relu" (default "tanh").
        backend: a name from `unroll.scan.backends`, or "auto" (default "auto").
        reverse: read each sequence from its last step to its first (default False).
        last_only: return no outputs, so that memory need not grow with time (default False).

    Returns:
        outputs (batch, time, hidden), each at the step it was made from, zero past each length (with ``last_only``
        (batch, 0, hidden)); and the final state (batch, hidden), for length 0 ``h0``.

    Raises:
        InputError: shapes, dtypes or lengths do not fit; the message says what was expected and what was given.
        ConfigError: unknown ``nonlinearity`` or ``backend``.

    Source: J. L. Elman, Finding structure in time, Cognitive Science 14 (1990), p. 179; parameters as in torch.nn.RNN.
    """
    check_choice("nonlinearity", nonlinearity, ("tanh", "relu"))
    options = {"nonlinearity": nonlinearity, "recurrence": nonlinearity}
    cell = RNN.of_weights(_single(w_ih, w_hh, b_ih, b_hh), backend, **options)
    return cell.scan(x, h0, lengths, reverse=reverse, last_only=last_only)


def gru_scan(
    x: Tensor,
    h0: Tensor,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    lengths: Tensor | None = None,
    backend: Backend = "auto",
    *,
    reverse: bool = False,
    last_only: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gated recurrent unit, with r_t, z_t, n_t stacked in this order in the weights.

    r_t = σ(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr), z_t = σ(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz),
    n_t = tanh(W_in x_t + b_in + r_t (W_hn h_{t-1} + b_hn)), h_t = (1 - z_t) n_t + z_t h_{t-1}.

    Args:
        x: as in `rnn_scan`, as are ``lengths``, ``backend``, ``reverse`` and ``last_only``.
        h0: (batch, hidden) initial state.
        w_ih: (3·hidden, input).
        w_hh: (3·hidden, hidden).
        b_ih: (3·hidden,), or None for no biases at all (default None).
        b_hh: (3·hidden,), given exactly if ``b_ih`` is (default None).
        lengths: (batch,) int64 (default None).
        backend: a name from `unroll.scan.backends`, or "auto" (default "auto").
        reverse: from the last step to the first (default False).
        last_only: return no outputs (default False).

    Returns:
        outputs and final state, as `rnn_scan` does.

    Raises:
        InputError: as `rnn_scan` does.
        ConfigError: unknown ``backend``.

    Source: K. Cho et al., arXiv:1406.1078, section 2.3; the form with r_t outside the product, and the parameters, as
    in torch.nn.GRU.
    """
    cell = GRU.of_weights(_single(w_ih, w_hh, b_ih, b_hh), backend)
    return cell.scan(x, h0, lengths, reverse=reverse, last_only=last_only)


def lstm_scan(
    x: Tensor,
    state: tuple[Tensor, Tensor],
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Tensor | None = None,
    b_hh: Tensor | None = None,
    lengths: Tensor | None = None,
    backend: Backend = "auto",
    *,
    reverse: bool = False,
    last_only: bool = False,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Long short-term memory, with i_t, f_t, g_t, o_t stacked in this order in the weights.

    i_t, f_t, o_t = σ(W_i· x_t + b_i· + W_h· h_{t-1} + b_h·), g_t = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg),
    c_t = f_t c_{t-1} + i_t g_t, h_t = o_t tanh(c_t).

    Args:
        x: as in `rnn_scan`, as are ``lengths``, ``backend``, ``reverse`` and ``last_only``.
        state: (h0, c0), each (batch, hidden).
        w_ih: (4·hidden, input).
        w_hh: (4·hidden, hidden).
        b_ih: (4·hidden,), or None for no biases at all (default None).
        b_hh: (4·hidden,), given exactly if ``b_ih`` is (default None).
        lengths: (batch,) int64 (default None).
        backend: a name from `unroll.scan.backends`, or "auto" (default "auto").
        reverse: from the last step to the first (default False).
        last_only: return no outputs (default False).

    Returns:
        outputs as `rnn_scan` does, and the final state (h_n, c_n), each (batch, hidden).

    Raises:
        InputError: as `rnn_scan` does.
        ConfigError: unknown ``backend``.

    Source: S. Hochreiter and J. Schmidhuber, Long short-term memory, Neural Computation 9 (1997), with the forget gate
    of F. Gers et al. (2000); parameters as in torch.nn.LSTM.
    """
    cell = LSTM.of_weights(_single(w_ih, w_hh, b_ih, b_hh), backend)
    return cell.scan(x, state, lengths, reverse=reverse, last_only=last_only)


def _single(*weights: Tensor | None) -> Weights:
    """Return weights as the kernels read them: under autocast they may have another dtype."""
    if torch.is_autocast_enabled("cpu"):
        return tuple(None if w is None or w.device.type != "cpu" else w.float() for w in weights)  # type: ignore[return-value]
    return weights  # type: ignore[return-value]
