"""From measurements to findings. Each limit says why it stands where it does; healthy models are far from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ..config import ModelConfig
from ..inspection import MANY
from .examination import Finding, LayerHealth, Memory

# A step whose gradient is 100,000 times smaller than the strongest's is lost in the noise of the others: batches of 64
# leave 10 % of it. Trained on the embedded digits all cells have 0.006 and more, fresh ones of tanh 0.0005.
VANISHED = 1e-5
# At the start of a sequence beside its end. What grows a thousandfold in a sequence moves the weights by its first
# steps alone, and clipping only makes the leap shorter. Healthy: up to 2.
EXPLODED = 1e3
# Share of outputs within 1 % of tanh's limits: more than half pass no gradient. After training healthy models have up
# to 0.2, so it is more than `unroll.inspection.MANY`, which is for fresh ones.
SATURATED_SHARE = 0.5
STUCK_GATES = 0.9  # share of a gate's values open or shut; much less is how a gate works (Karpathy et al., 2015)
LARGE = 100.0  # root mean square of a layer's units; tanh has 1 at most, healthy cells without limits below 10
# Orthogonal weights have 1, trained ones of tanh up to 2.5 and of gates up to 3, and do well: a radius is a finding only
# beside what it does. Below 0.5 a state of tanh is halved at each step, and 1 % is left after seven.
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
            "mend or remove these sequences; what a file says is missing is filled in, see --missing",
        )
    elif scale > SCALE or scale < SCALE**-2:
        yield Finding(
            "inputs out of scale",
            "warning",
            f"after scaling the inputs have a root mean square of {scale:.3g}, where standardised ones have 1",
            "look for outliers and other units than in training ('unroll explore'); train with --recipe fast, which "
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
            "not finite", "error", "some weights are not finite", "train anew with a lower --lr and --clip-norm 1"
        )
    for layer in layers:
        for judge in (_activations, _saturation, _dead, _weights):
            yield from judge(layer, config)
        yield from _gradient(layer, config, does_well)


def judge_memory(memory: Memory | None, config: ModelConfig, does_well: bool) -> Iterator[Finding]:
    """Yield whether the model does not hear enough of what it reads."""
    if memory is None or memory.time < WHOLE or does_well or not any(memory.effects):
        return
    if memory.heard < SHORT:
        yield Finding(
            "short memory",
            "warning",
            f"{memory.heard:.0%} of the {memory.time} time steps move the logits, the earliest of them "
            f"{memory.steps - 1} steps before the end; exchanging the input of any other moves them by less than 1 % of "
            "the most",
            longer_memory(config),
        )


def longer_memory(config: ModelConfig) -> str:
    """Return what helps a model that forgets, as far as it has not been done."""
    ways = []
    if config.cell == "rnn":
        ways += ["--init identity --nonlinearity relu"] if config.nonlinearity == "tanh" else ["--init identity"]
        ways += ["a gated cell (--cell gru)"]
    elif config.cell == "indrnn":
        ways += ["--init identity", "a gated cell (--cell gru)"]
    elif config.cell in ("gru", "lstm", "mingru", "minlstm"):
        ways += [f"--forget-bias {3 if config.cell == 'lstm' else 2}"]
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
            "--init orthogonal, --nonlinearity tanh or a gated cell (--cell gru), a lower --lr",
        )
    elif (largest := max(value for value in there if not math.isnan(value))) > LARGE:
        growth = there[0] / there[-1] if there[-1] > 0 else math.inf
        yield Finding(
            "exploding activations",
            "warning",
            f"{layer.title}: the hidden state's units reach a root mean square of {largest:.3g}; from the first step to "
            f"the last they grow {growth:.3g} times",
            "--init orthogonal, --nonlinearity tanh or a gated cell (--cell gru), inputs that are scaled (--recipe fast)",
        )


def _saturation(layer: LayerHealth, config: ModelConfig) -> Iterator[Finding]:
    remedy = "inputs that are scaled (--recipe fast), --init orthogonal, a lower --lr, --weight-decay 0.1"
    if layer.saturated is not None and layer.saturated > SATURATED_SHARE:
        yield Finding(
            "saturated units",
            "warning",
            f"{layer.title}: {layer.saturated:.0%} of the outputs are within 1 % of the limits of tanh, where gradients "
            "hardly pass",
            remedy,
        )
    stuck = {letter: share for letter, share in (layer.gates or {}).items() if share > STUCK_GATES}
    if stuck:
        shares = ", ".join(f"{letter} {share:.0%}" for letter, share in stuck.items())
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
            "--init orthogonal, which starts at 1, a lower --lr, --clip-norm 1, --weight-decay 0.1",
        )
    elif radius < SMALL_RADIUS:
        left = f"after 10 steps {radius**10:.1g} of a state is left"
        yield Finding(
            "small recurrent weights",
            "warning",
            f"{layer.title}: weight_hh has a spectral radius of {radius:.3g}: {left} at the most",
            f"{'--init orthogonal, ' if config.init != 'orthogonal' else ''}{longer_memory(config)}",
        )


def _ratio(layer: LayerHealth) -> float:
    """Return the gradient at the first step over that at the last; NaN where there is none."""
    there = [value for value in layer.gradient if not math.isnan(value)]
    return there[-1] / there[0] if there and there[0] > 0 else math.nan


def _gradient(layer: LayerHealth, config: ModelConfig, does_well: bool) -> Iterator[Finding]:
    there = [value for value in layer.gradient if not math.isnan(value)]
    if len(there) < 2:
        return
    first = f"{layer.title}: the gradient at the first step read is {there[-1]:.1e}"
    strongest, ratio = max(there), _ratio(layer)
    if not math.isfinite(strongest) or ratio > EXPLODED:
        yield Finding(
            "exploding gradient",
            "warning",
            f"{first}, {ratio:.1e} times that at the last of {len(there)}, {there[0]:.1e}",
            "--clip-norm 1, a lower --lr, --init orthogonal, a gated cell (--cell gru), or --tbptt "
            f"{max(1, len(there) // 4)}, which cuts gradients off",
        )
    elif strongest > 0 and not does_well and there[-1] < VANISHED * strongest:
        lost = next(offset for offset, value in enumerate(there) if offset and value < VANISHED * strongest)
        yield Finding(
            "vanishing gradient",
            "warning",
            f"{first}, {there[-1] / strongest:.1e} of the strongest; {lost} steps before the end {VANISHED:g} of it is "
            "left",
            longer_memory(config),
        )
