"""Suggest flags of ``unroll train`` against each problem; the model's settings accept all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from ..cells import CELLS
from ..config import ModelConfig, TrainConfig
from ..scan.choice import KNOWN
from ..training.results import EpochResult


def lower_rate(rate: float) -> float:
    """Return a learning rate to try: a tenth of ``rate``, at most the default."""
    return min(rate / 10, TrainConfig.lr)


def milder(config: ModelConfig, rate: float | None) -> str:
    """Return what keeps states within the range in which gradients pass, unless the settings have it already.

    Not clipping: Adam divides gradients by their size in any case, and states saturate as before.

    Args:
        config: the model's settings.
        rate: the highest learning rate of its training; None if unknown.
    """
    ways = ["a lower --lr" if rate is None else f"--lr {lower_rate(rate):.1g}"]
    if config.nonlinearity == "relu":
        ways.append("--nonlinearity tanh")
    if config.cell in ("rnn", "indrnn"):
        ways.append(f"a gated cell ({_other_cell(config, 'gru')})")
    return _joined([*ways, "--weight-decay 0.1"])


def against_explosion(config: ModelConfig, rate: float | None, steps: int) -> str:
    """Return what helps against gradients that explode over ``steps`` steps of the layers; see `milder`."""
    ways = milder(config, rate)
    hop = config.hop if config.stem == "none" else config.stem_stride
    hop = hop if isinstance(hop, int) else 1
    # A bidirectional model reads each sequence from its end too, so its gradients cannot be truncated.
    return ways if config.bidirectional else f"{ways}; or --tbptt {max(1, steps // 4) * hop}, which truncates gradients"


def unit_of(config: ModelConfig) -> str:
    """Return the name of what the layers read at once."""
    if config.stem != "none":
        return "stem step"
    return "step" if config.frame == 1 else "frame"


def longer_memory(config: ModelConfig, time: int) -> str:
    """Return what helps a model to remember over ``time`` steps of the layers, unless the settings have it already.

    Source: for the bias ln(time), C. Tallec and Y. Ollivier, arXiv:1804.11188, section 3.
    """
    unit = unit_of(config)
    bias = f"--forget-bias {max(1, round(math.log(time)))}"
    ways = list[str]()
    if config.cell in ("rnn", "indrnn"):
        if config.init == "torch":
            ways += ["--init orthogonal"]
        if config.cell == "rnn" and config.nonlinearity == "tanh":
            ways += ["--init identity --nonlinearity relu"]
        elif config.init != "identity":
            ways += ["--init identity"]
        gated = _other_cell(config, "gru")  # which forgets within some steps without the bias
        ways += [f"a gated cell ({gated})" if config.forget_bias is not None else f"a gated cell ({gated} {bias})"]
    elif config.cell in ("gru", "lstm", "mingru", "minlstm"):
        ways += [f"{bias}, which starts with a memory of about {time} {unit}s"]
    # No flag unsets a forget bias, and lru has no gate for it.
    if config.cell != "lru" and config.forget_bias is None:
        ways += [_other_cell(config, "lru")]
    if config.readout == "last":
        ways += ["--readout mean or --readout attention, which connect each step to the loss directly"]
    return _joined(ways) or "fewer time steps"


def wider_readout() -> str:
    """Return what lets each time step reach the answer directly."""
    return "--readout mean or --readout max, which read the states of all steps"


def against_overfitting(history: Sequence[EpochResult], config: ModelConfig, image: bool) -> str:
    """Return what helps against overfitting.

    Args:
        history: its epochs.
        config: its settings.
        image: whether it reads images.
    """
    losses = [(epoch.val_loss, epoch.epoch) for epoch in history if epoch.val_loss is not None]
    half, least = config.hidden_size // 2, 2 if config.layer_norm and not config.bidirectional else 1
    ways = ["more training data"]
    if half >= least:
        ways.append(f"--hidden-size {half}")
    ways.append("--weight-decay 0.1")
    if image:
        ways.append("--shift 2 --rotation 10")
    if config.cell in ("rnn", "gru", "lstm"):
        ways.append("--recurrent-dropout 0.2")
    if config.num_layers > 1:
        ways.append("--dropout 0.2")
    if losses and min(losses)[1] < history[-1].epoch:
        ways.append(f"--keep best, as the validation loss was lowest in epoch {min(losses)[1]}")
    return _joined(ways)


def _other_cell(config: ModelConfig, cell: Literal["gru", "lru"]) -> str:
    """Return the flags that change the cell, and with it the settings that the new cell refuses."""
    flags = [f"--cell {cell}"]
    if config.nonlinearity != "tanh":
        flags.append("--nonlinearity tanh")
    if config.init == "identity":
        flags.append("--init orthogonal")
    if config.recurrent_dropout and cell == "lru":
        flags.append("--recurrent-dropout 0")
    if config.backend != "auto" and CELLS[cell].recurrence not in KNOWN[config.backend]:
        flags.append("--backend auto")
    return " ".join(flags)


def _joined(ways: Sequence[str]) -> str:
    return f"{', '.join(ways[:-1])}, or {ways[-1]}" if len(ways) > 1 else "".join(ways)
