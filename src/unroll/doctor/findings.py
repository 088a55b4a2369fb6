"""From measurements to findings. Each limit says why it stands where it does; healthy models are far from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..config import ModelConfig
from .examination import Finding, LayerHealth, Memory
from .memory import HEARD
from .preflight import MANY
from .remedies import against_explosion, longer_memory, milder

# What a step adds to the gradient of a weight is rounded away, in float32, where it is so much smaller than what
# another one adds. On the 28 rows of digits trained models of all cells have 0.005 and more, fresh ones that are
# orthogonal 3e-7; fresh ones of torch's own weights have 1e-8 if they are plain, and are a finding.
VANISHED = 1e-7
# At the start of a sequence beside its end. What grows a thousandfold in a sequence moves the weights by its first
# steps alone, and clipping only makes the leap shorter. Healthy: up to 4.
EXPLODED = 1e3
# Share of outputs within 1 % of tanh's limits: more than half pass no gradient. After training healthy models have up
# to 0.2, so it is more than `unroll.doctor.preflight.MANY`, which is for fresh ones.
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
# Root mean square of the inputs: standardised ones have 1, ink on paper from 0 to 1 has 0.3. Raw bytes have 85.
SMALLEST_SCALE, LARGEST_SCALE = 0.04, 5.0
# Of the way from chance to all right. A model that comes so far has what it needs: if it does not hear the beginning,
# nothing there matters.
WELL = 0.9


def judge_numbers(scale: float, finite: bool) -> Iterator[Finding]:
    """Yield what is wrong with the inputs, of that root mean square after scaling, and with weights not finite."""
    if not finite:
        yield Finding(
            "not finite", "error", "some weights are not finite", "to train anew with a lower --lr and --clip-norm 1"
        )
    if not math.isfinite(scale):
        yield Finding(
            "not finite",
            "error",
            "after scaling the inputs hold values that are not finite",
            "to mend or remove these sequences; what a file says is missing is filled in, see --missing",
        )
    elif not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        yield Finding(
            "inputs out of scale",
            "warning",
            f"after scaling the inputs have a root mean square of {scale:.3g}, where standardised ones have 1",
            "to look for outliers, and for other units than in training ('unroll explore'); --recipe fast, which "
            "standardises",
        )


class Patient(NamedTuple):
    """What is known of a model besides what was measured.

    Attributes:
        config: its settings
        does_well: whether it answers well, so that what it does not hear cannot matter
        lr: the highest learning rate of its training; None if that is not known
    """

    config: ModelConfig
    does_well: bool
    lr: float | None


def judge_layers(layers: Sequence[LayerHealth], patient: Patient) -> Iterator[Finding]:
    """Yield what is wrong with the layers, all of whose weights and inputs are finite."""
    for layer in layers:
        for judge in (_activations, _saturation, _dead, _weights, _exploding):
            yield from judge(layer, patient)
    # Whatever is learned of a step goes through the lowest layer's state after it, so that decides alone; of higher
    # ones some may well forget what a way around them carries.
    lowest = [layer for layer in layers if layer.layer == 1]
    vanishing = [finding for layer in lowest if (finding := _vanishing(layer, patient.config)) is not None]
    if vanishing and not patient.does_well and len(vanishing) == len(lowest):
        yield vanishing[0]


def judge_memory(memory: Memory | None, layers: Sequence[LayerHealth], patient: Patient) -> Iterator[Finding]:
    """Yield whether the model does not hear enough of what it reads."""
    if memory is None:
        return
    if not memory.steps:
        forgets = any(_vanishing(layer, patient.config) for layer in layers)
        yield Finding(
            "input ignored",
            "error",
            "to exchange the input at any single time step changes nothing: the answer is the same, whatever is read",
            longer_memory(patient.config, memory.time)
            if forgets
            else f"{milder(patient.config, patient.lr)}, or sequences that differ ('unroll explore')",
        )
    elif memory.time >= WHOLE and memory.heard < SHORT and not patient.does_well:
        yield Finding(
            "short memory",
            "warning",
            f"{memory.heard:.0%} of {memory.time:,} time steps move the logits, all within the last {memory.steps:,}; "
            f"to exchange the input at any other moves them by less than {HEARD:.0%} of the most",
            longer_memory(patient.config, memory.time),
        )


def _activations(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    activation = layer.activation
    if not all(map(math.isfinite, activation)):
        yield Finding(
            "exploding activations",
            "error",
            f"{layer.title}: hidden states grow beyond what is finite",
            milder(patient.config, patient.lr),
        )
    elif activation and max(activation) > LARGE:
        growth = activation[0] / activation[-1] if activation[-1] > 0 else math.inf
        yield Finding(
            "exploding activations",
            "warning",
            f"{layer.title}: the hidden state's units reach a root mean square of {max(activation):.3g}; after the "
            f"last step it is {growth:.3g} times that after the first",
            milder(patient.config, patient.lr),
        )


def _saturation(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    if layer.saturated is not None and layer.saturated > SATURATED_SHARE:
        yield Finding(
            "saturated units",
            "warning",
            f"{layer.title}: {layer.saturated:.0%} of the outputs are within 1 % of the limits of tanh, where "
            "gradients hardly pass",
            milder(patient.config, patient.lr),
        )
    if layer.gates and min(layer.gates.values()) > STUCK_GATES:
        shares = ", ".join(f"{letter} {share:.0%}" for letter, share in layer.gates.items())
        yield Finding(
            "saturated gates",
            "warning",
            f"{layer.title}: gates are open or shut, with nothing between: {shares} of the values",
            milder(patient.config, patient.lr),
        )


def _dead(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    if layer.dead is not None and layer.dead > MANY:
        what = "are always 0" if patient.config.nonlinearity == "relu" else "never move"
        yield Finding(
            "dead units",
            "error" if layer.dead == 1 else "warning",
            f"{layer.title}: {layer.dead:.0%} of the units {what}, at all steps of all sequences looked at",
            milder(patient.config, patient.lr),
        )


def _weights(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    """Judge the radius of a plain recurrence; of gates no single matrix says how a state fares."""
    radius, relu = (layer.radius or {}).get("h"), patient.config.nonlinearity == "relu"
    if patient.config.cell != "rnn" or radius is None:
        return
    effects = {
        "activations explode": relu and max(layer.activation, default=0) > LARGE,
        "gradients explode": _ratio(layer) > EXPLODED,
        "units saturate": layer.saturated is not None and layer.saturated > SATURATED_SHARE,
    }
    effect = next((words for words, applies in effects.items() if applies), None)
    if effect and radius > (1 if relu else LARGE_RADIUS):
        yield Finding(
            "large recurrent weights",
            "warning",
            f"{layer.title}: weight_hh has a spectral radius of {radius:.3g}, and {effect}",
            milder(patient.config, patient.lr),
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
    gradient = layer.gradient
    return gradient[-1] / gradient[0] if gradient and gradient[0] > 0 else math.nan


def _exploding(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    gradient = layer.gradient
    if not all(map(math.isfinite, gradient)) or _ratio(layer) > EXPLODED:
        yield Finding(
            "exploding gradient",
            "warning",
            f"{layer.title}: the gradient at the first step read is {gradient[-1]:.1e}, {_ratio(layer):.1e} times that "
            f"at the last of {len(gradient):,}, {gradient[0]:.1e}",
            against_explosion(patient.config, patient.lr, len(gradient)),
        )


def _vanishing(layer: LayerHealth, config: ModelConfig) -> Finding | None:
    gradient = layer.gradient
    strongest = max(gradient, default=0.0)
    if len(gradient) < 2 or layer.dead == 1 or not 0 < strongest < math.inf:
        return None
    # Of two directions each has to carry but the half that is nearer to its end.
    farthest = len(gradient) // 2 if config.bidirectional else len(gradient) - 1
    if gradient[farthest] >= VANISHED * strongest:
        return None
    heard = sum(value >= VANISHED * strongest for value in gradient)
    return Finding(
        "vanishing gradient",
        "warning",
        f"{layer.title}: {_counted(farthest, 'step')} before the end of the reading the gradient is "
        f"{_small(gradient[farthest])}, beside {strongest:.1e} where it is strongest; {heard:,} of "
        f"{_counted(len(gradient), 'step')} have more than {VANISHED:g} of that",
        longer_memory(config, len(gradient)),
    )


def _small(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
