"""From measurements to findings. Each limit says why it stands where it does; healthy models are far from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..config import ModelConfig
from ..inspection import MANY
from .examination import Finding, LayerHealth, Memory
from .reach import HEARD

# A step whose gradient is 100,000 times smaller than the strongest's is lost in the noise of the others: batches of 64
# leave 10 % of it. Trained on the embedded digits all cells have 0.006 and more, fresh ones of tanh 0.0005.
VANISHED = 1e-5
# At the start of a sequence beside its end. What grows a thousandfold in a sequence moves the weights by its first
# steps alone, and clipping only makes the leap shorter. Healthy: up to 2.
EXPLODED = 1e3
# Share of outputs within 1 % of tanh's limits: more than half pass no gradient. After training healthy models have up
# to 0.2, so it is more than `unroll.inspection.MANY`, which is for fresh ones.
SATURATED_SHARE = 0.5
# Share of the values of each gate open or shut. That of one alone may be meant, as by a forget bias of 5, and some is
# how gates work (Karpathy et al., 2015, figure 4); healthy ones have up to 0.1, inputs of a hundredfold scale make 0.7.
STUCK_GATES = 0.6
LARGE = 100.0  # root mean square of a layer's units; tanh has 1 at most, healthy cells without limits below 10
# Orthogonal weights have 1, trained ones of tanh up to 2.5 and of gates up to 3, and do well: a large radius is a
# finding only beside what it does. Below 0.5 a state of tanh is halved at each step, and 1 % is left after seven.
SMALL_RADIUS, LARGE_RADIUS = 0.5, 1.5
SHORT = 0.25  # share of the time steps that are heard
WHOLE = 12  # time steps, below which a memory cannot be called short
SCALE = 5.0  # root mean square of the inputs, away from 1 either way by this factor squared: standardised ones have 1
# Of the way from chance to all right. A model that comes so far has what it needs: if it does not hear the beginning,
# nothing there matters.
WELL = 0.9


def judge_inputs(scale: float) -> Iterator[Finding]:
    """Yield what is wrong with the inputs, from their root mean square after scaling."""
    if not math.isfinite(scale):
        yield Finding(
            "not finite",
            "error",
            "after scaling the inputs hold values that are not finite",
            "to mend or remove these sequences; what a file says is missing is filled in, see --missing",
        )
    elif scale > SCALE or scale < SCALE**-2:
        yield Finding(
            "inputs out of scale",
            "warning",
            f"after scaling the inputs have a root mean square of {scale:.3g}, where standardised ones have 1",
            "to look for outliers, and for other units than in training ('unroll explore'); --recipe fast, which "
            "standardises",
        )


def judge_layers(
    layers: Sequence[LayerHealth], config: ModelConfig, does_well: bool, finite: bool = True
) -> Iterator[Finding]:
    """Yield what is wrong with the layers.

    Args:
        layers: as measured.
        config: the model's settings.
        does_well: whether it answers well, so that what it does not hear cannot matter.
        finite: whether all its weights are (default True).
    """
    if not finite:
        yield Finding(
            "not finite", "error", "some weights are not finite", "to train anew with a lower --lr and --clip-norm 1"
        )
    for layer in layers:
        for judge in (_activations, _saturation, _dead, _weights):
            yield from judge(layer, config)
        yield from _exploding(layer)
    # Whatever is learned of a step goes through the lowest layer's state after it, so that decides alone; of higher
    # ones some may well forget what a way around them carries.
    lowest = [found for layer in layers if layer.layer == 1 if (found := _vanishing(layer, config)) is not None]
    if lowest and not does_well and len(lowest) == sum(layer.layer == 1 for layer in layers):
        yield lowest[0]


def judge_memory(memory: Memory | None, config: ModelConfig, does_well: bool) -> Iterator[Finding]:
    """Yield whether the model does not hear enough of what it reads."""
    if memory is None or memory.time < WHOLE or does_well or not memory.steps:
        return
    if memory.heard < SHORT:
        yield Finding(
            "short memory",
            "warning",
            f"{memory.heard:.0%} of {memory.time:,} time steps move the logits, all within the last {memory.steps:,}; "
            f"to exchange the input at any other moves them by less than {HEARD:.0%} of the most",
            longer_memory(config, memory.time),
        )


def longer_memory(config: ModelConfig, time: int) -> str:
    """Return what helps a model that forgets, as far as it has not been done, for so many time steps.

    Source: of the bias ln(time) C. Tallec and Y. Ollivier, arXiv:1804.11188, section 3.
    """
    ways = []
    if config.cell == "rnn":
        ways += ["--init identity --nonlinearity relu"] if config.nonlinearity == "tanh" else ["--init identity"]
        ways += ["a gated cell (--cell gru)"]
    elif config.cell == "indrnn":
        ways += ["--init identity", "a gated cell (--cell gru)"]
    elif config.cell in ("gru", "lstm", "mingru", "minlstm"):
        ways += [f"--forget-bias {max(1, round(math.log(time)))}, which starts with a memory of some {time} steps"]
    if config.cell != "lru":
        ways += ["--cell lru"]
    if config.readout == "last":
        ways += ["--readout mean or attention, from which each step has a short way to the loss"]
    return (", ".join(ways[:-1]) + f", or {ways[-1]}") if len(ways) > 1 else "".join(ways) or "fewer time steps"


def _activations(layer: LayerHealth, config: ModelConfig) -> Iterator[Finding]:
    there = layer.activation
    if not there:
        return
    bad = [offset for offset, value in enumerate(there) if math.isinf(value)]
    if bad or all(map(math.isnan, there)):
        yield Finding(
            "exploding activations",
            "error",
            f"{layer.title}: hidden states are no longer finite",
            "--init orthogonal, --nonlinearity tanh, a gated cell (--cell gru), or a lower --lr",
        )
    elif (largest := max(value for value in there if not math.isnan(value))) > LARGE:
        growth = there[0] / there[-1] if there[-1] > 0 else math.inf
        yield Finding(
            "exploding activations",
            "warning",
            f"{layer.title}: the hidden state's units reach a root mean square of {largest:.3g}, after the last step "
            f"{growth:.3g} times that after the first",
            "--init orthogonal, --nonlinearity tanh, a gated cell (--cell gru), or scaled inputs (--recipe fast)",
        )


def _saturation(layer: LayerHealth, config: ModelConfig) -> Iterator[Finding]:
    remedy = "inputs that are scaled (--recipe fast), --init orthogonal, a lower --lr, or --weight-decay 0.1"
    if layer.saturated is not None and layer.saturated > SATURATED_SHARE:
        yield Finding(
            "saturated units",
            "warning",
            f"{layer.title}: {layer.saturated:.0%} of the outputs are within 1 % of the limits of tanh, where "
            "gradients hardly pass",
            remedy,
        )
    if layer.gates and min(layer.gates.values()) > STUCK_GATES:
        shares = ", ".join(f"{letter} {share:.0%}" for letter, share in layer.gates.items())
        yield Finding(
            "saturated gates",
            "warning",
            f"{layer.title}: gates are open or shut, with nothing between: {shares} of the values",
            remedy,
        )


def _dead(layer: LayerHealth, config: ModelConfig) -> Iterator[Finding]:
    if layer.dead is None or layer.dead <= MANY:
        return
    relu = config.nonlinearity == "relu"
    yield Finding(
        "dead units",
        "error" if layer.dead == 1 else "warning",
        f"{layer.title}: {layer.dead:.0%} of the units {'are always 0' if relu else 'never move'}, at all steps of all "
        "sequences looked at",
        f"a lower --lr, --init {'identity or ' if config.cell == 'rnn' and relu else ''}orthogonal"
        f"{', --nonlinearity tanh' if relu else ', inputs that are scaled (--recipe fast)'}",
    )


def _weights(layer: LayerHealth, config: ModelConfig) -> Iterator[Finding]:
    """Judge the radius of a plain recurrence; of gates no single matrix says how a state fares."""
    radius = (layer.radius or {}).get("h")
    if config.cell != "rnn" or radius is None:
        return
    grown = bool(layer.gradient) and _ratio(layer) > EXPLODED
    stuck = layer.saturated is not None and layer.saturated > SATURATED_SHARE
    large = radius > 1 and config.nonlinearity == "relu" and layer.activation and max(layer.activation) > LARGE
    if large or (radius > LARGE_RADIUS and (grown or stuck)):
        effect = "activations explode" if large else "gradients explode" if grown else "units saturate"
        yield Finding(
            "large recurrent weights",
            "warning",
            f"{layer.title}: weight_hh has a spectral radius of {radius:.3g}, and {effect}",
            "--init orthogonal, which starts at 1, a lower --lr, --clip-norm 1, or --weight-decay 0.1",
        )
    elif radius < SMALL_RADIUS:
        yield Finding(
            "small recurrent weights",
            "warning",
            f"{layer.title}: weight_hh has a spectral radius of {radius:.3g}: after 10 steps {radius**10:.1g} of a "
            "state is left at most",
            "--init orthogonal, which starts at 1, or a lower --weight-decay",
        )


def _ratio(layer: LayerHealth) -> float:
    """Return the gradient at the first step over that at the last; NaN where there is none."""
    there = [value for value in layer.gradient if not math.isnan(value)]
    return there[-1] / there[0] if there and there[0] > 0 else math.nan


def _exploding(layer: LayerHealth) -> Iterator[Finding]:
    there = [value for value in layer.gradient if not math.isnan(value)]
    if there and (not all(map(math.isfinite, there)) or _ratio(layer) > EXPLODED):
        yield Finding(
            "exploding gradient",
            "warning",
            f"{layer.title}: the gradient at the first step read is {there[-1]:.1e}, {_ratio(layer):.1e} times that at "
            f"the last of {len(there):,}, {there[0]:.1e}",
            "--clip-norm 1, a lower --lr, --init orthogonal, a gated cell (--cell gru), or --tbptt "
            f"{max(1, len(there) // 4)}, which cuts gradients off",
        )


def _vanishing(layer: LayerHealth, config: ModelConfig) -> Finding | None:
    there = [value for value in layer.gradient if not math.isnan(value)]
    strongest = max(there, default=0.0)
    if len(there) < 2 or layer.dead == 1 or not 0 < strongest < math.inf:
        return None
    # Of two directions each has to carry but the half that is nearer to its end.
    farthest = len(there) // 2 if config.bidirectional else len(there) - 1
    if there[farthest] >= VANISHED * strongest:
        return None
    heard = 1 + max(offset for offset, value in enumerate(there) if value >= VANISHED * strongest)
    return Finding(
        "vanishing gradient",
        "warning",
        f"{layer.title}: {_counted(farthest, 'step')} before the end of the reading the gradient is "
        f"{_small(there[farthest])}, beside {strongest:.1e} where it is strongest; only the last {heard:,} of "
        f"{_counted(len(there), 'step')} have more than {VANISHED:g} of that",
        longer_memory(config, len(there)),
    )


def _small(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
