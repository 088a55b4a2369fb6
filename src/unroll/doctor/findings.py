"""Turn measurements into findings. The comment at each limit gives its reason; healthy models are far from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..config import ModelConfig, TrainConfig
from ..models.front import Front
from ..models.stem import strided
from .examination import Finding, LayerHealth, Memory
from .learning_curves import lift
from .memory import HEARD, used_share
from .preflight import MANY_STUCK_UNITS
from .remedies import against_explosion, longer_memory, milder, unit_of, wider_readout

# A step's share of a weight's gradient is rounded away in float32 if another step's share is this much larger. On the
# 28 rows of digits, trained models of all cells have at least 0.005, and fresh orthogonal ones 3e-7; fresh plain ones
# with torch's own weights have 1e-8, which is a finding.
VANISHED = 1e-7
# Gradient at the start of a sequence over that at its end. If it grows a thousandfold, only the first steps move the
# weights, and clipping merely shortens the step. Healthy: up to 4.
EXPLODED = 1e3
# Fraction of outputs within 1 % of tanh's limits: above it, more than half pass no gradient. Healthy trained models
# have up to 0.2, so the limit is above `unroll.doctor.preflight.MANY_STUCK_UNITS`, which is for fresh models.
SATURATED_SHARE = 0.5
# Fraction of the values of each gate that are fully open or shut. A single such gate may be intended (a forget bias of
# 5), and gates work that way in part (Karpathy et al., 2015, figure 4). Healthy: up to 0.1; inputs scaled by 100: 0.7.
STUCK_GATES = 0.6
# Root mean square of a layer's units: at most 1 for tanh, below 10 for healthy cells without limits.
LARGE_ACTIVATION = 100.0
# Orthogonal weights have 1; well-trained ones have up to 2.5 (tanh) and 3 (gates), so a large radius is a finding only
# together with its effect. Below 0.5 each step halves a tanh state, and 1 % is left after seven.
SMALL_RADIUS, LARGE_RADIUS = 0.5, 1.5
SHORT_MEMORY = 0.25  # fraction of the time steps that affect the logits
FEWEST_STEPS = 12  # shorter sequences cannot have a short memory
# Fraction of all effects on the logits that the first half of the steps has: models that use all steps have about 0.5.
LITTLE_USED = 0.1
# Lift over chance of a linear classifier that reads the first half alone, from which evidence is lost with that half.
EARLY_LIFT = 0.3
# Root mean square of the inputs: 1 for standardised ones, 0.3 for drawings scaled to [0, 1], 85 for raw bytes.
SMALLEST_SCALE, LARGEST_SCALE = 0.04, 5.0
# Lift over chance. A model that reaches it has learned what it needs: inputs that it ignores do not matter.
GOOD_LIFT = 0.9


def judge_numbers(scale: float, finite: bool) -> Iterator[Finding]:
    """Yield findings about weights that are not finite, and about inputs with this root mean square after scaling."""
    if not finite:
        yield Finding(
            "not finite", "error", "some weights are not finite", "train again with a lower --lr and --clip-norm 1"
        )
    if not math.isfinite(scale):
        yield Finding(
            "not finite",
            "error",
            "after scaling, the inputs contain values that are not finite",
            "fix or remove these sequences; values marked as missing in a file are filled in, see --missing",
        )
    elif not SMALLEST_SCALE <= scale <= LARGEST_SCALE:
        yield Finding(
            "inputs out of scale",
            "warning",
            f"after scaling, the inputs have a root mean square of {scale:.3g}; standardised inputs have 1",
            "look for outliers, and for units that differ from the training data ('unroll explore'); or standardise "
            "with --scaling training",
        )


class Patient(NamedTuple):
    """What is known about a model besides the measurements.

    Attributes:
        config: its settings
        does_well: whether its accuracy is high, so that inputs that it ignores cannot matter
        lr: the highest learning rate of its training; None if unknown
    """

    config: ModelConfig
    does_well: bool
    lr: float | None


def judge_layers(layers: Sequence[LayerHealth], patient: Patient) -> Iterator[Finding]:
    """Yield findings about layers whose weights and inputs are finite."""
    for layer in layers:
        for judge in (_activations, _saturation, _dead, _weights, _exploding):
            yield from judge(layer, patient)
    # All gradients of a step pass through the lowest layer's state, so only that layer decides; higher layers may
    # forget what a connection around them carries.
    lowest = [layer for layer in layers if layer.layer == 1]
    vanishing = [finding for layer in lowest if (finding := _vanishing(layer, patient.config)) is not None]
    if vanishing and not patient.does_well and len(vanishing) == len(lowest):
        yield vanishing[0]


def judge_memory(memory: Memory | None, layers: Sequence[LayerHealth], patient: Patient) -> Iterator[Finding]:
    """Yield a finding if too few time steps affect the logits."""
    if memory is None:
        return
    if not memory.steps:
        is_fast = patient.lr is not None and patient.lr > TrainConfig.lr  # which stops units, and gradients with them
        forgets = not is_fast and any(_vanishing(layer, patient.config) for layer in layers)
        yield Finding(
            "input ignored",
            "error",
            "replacing the input at any single time step leaves the logits unchanged: the model ignores its input",
            longer_memory(patient.config, _read(patient.config, memory.time))
            if forgets
            else f"{milder(patient.config, patient.lr)}, or data whose sequences differ ('unroll explore')",
        )
    elif memory.time >= FEWEST_STEPS and memory.heard < SHORT_MEMORY and not patient.does_well:
        yield Finding(
            "short memory",
            "warning",
            f"only {memory.heard:.0%} of {memory.time:,} time steps affect the logits, all within the last "
            f"{memory.steps:,}; replacing any other changes them by less than {HEARD:.0%} of the largest change",
            longer_memory(patient.config, _read(patient.config, memory.time)),
        )


def judge_readout(memory: Memory | None, early: float | None, chance: float, patient: Patient) -> Iterator[Finding]:
    """Yield a finding if the model answers from its last state, and that lacks what the first half says of the class.

    Args:
        memory: what the model uses.
        early: accuracy of a linear classifier that reads the first half alone; None if unknown.
        chance: accuracy of always predicting the most frequent class.
        patient: the model.
    """
    if memory is None or early is None or patient.config.readout != "last" or patient.does_well:
        return
    used = used_share(memory)
    if memory.time >= FEWEST_STEPS and used < LITTLE_USED and lift(early, chance) >= EARLY_LIFT:
        yield Finding(
            "early evidence lost",
            "warning",
            f"a linear classifier that reads only the first half of each sequence gets {early:.1%} (always predicting "
            f"the most frequent class: {chance:.1%}), but {used:.1%} of what moves the logits is in that half",
            wider_readout(),
        )


def _activations(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    activation = layer.activation
    if not all(map(math.isfinite, activation)):
        yield Finding(
            "exploding activations",
            "error",
            f"{layer.title}: hidden states overflow to values that are not finite",
            milder(patient.config, patient.lr),
        )
    elif activation and max(activation) > LARGE_ACTIVATION:
        growth = activation[0] / activation[-1] if activation[-1] > 0 else math.inf
        yield Finding(
            "exploding activations",
            "warning",
            f"{layer.title}: the hidden units reach a root mean square of {max(activation):.3g}; after the last step "
            f"it is {growth:.3g} times that after the first",
            milder(patient.config, patient.lr),
        )


def _saturation(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    if layer.saturated is not None and layer.saturated > SATURATED_SHARE:
        yield Finding(
            "saturated units",
            "warning",
            f"{layer.title}: {layer.saturated:.0%} of the outputs are within 1 % of the limits of tanh, where "
            "gradients are close to 0",
            milder(patient.config, patient.lr),
        )
    if layer.gates and min(layer.gates.values()) > STUCK_GATES:
        shares = ", ".join(f"{letter} {share:.0%}" for letter, share in layer.gates.items())
        yield Finding(
            "saturated gates",
            "warning",
            f"{layer.title}: gates are almost always fully open or shut: {shares} of the values",
            milder(patient.config, patient.lr),
        )


def _dead(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    if layer.dead is not None and layer.dead > MANY_STUCK_UNITS:
        what = "are 0" if patient.config.nonlinearity == "relu" else "do not change"
        yield Finding(
            "dead units",
            "error" if layer.dead == 1 else "warning",
            f"{layer.title}: {layer.dead:.0%} of the units {what}, at any step of any sampled sequence",
            milder(patient.config, patient.lr),
        )


def _weights(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    """Judge the radius of a plain recurrence; with gates, no single matrix determines how the state evolves."""
    radius, relu = (layer.radius or {}).get("h"), patient.config.nonlinearity == "relu"
    if patient.config.cell != "rnn" or radius is None:
        return
    effects = {
        "activations explode": relu and max(layer.activation, default=0) > LARGE_ACTIVATION,
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
            f"{layer.title}: weight_hh has a spectral radius of {radius:.3g}: after 10 steps at most {radius**10:.1g} "
            "of a state is left",
            "--init orthogonal, which starts at 1, or a lower --weight-decay"
            if patient.config.init == "torch"
            else f"a lower --weight-decay, {TrainConfig.weight_decay:g} by default",
        )


def _ratio(layer: LayerHealth) -> float:
    """Return the gradient at the first step over that at the last; NaN if there is no gradient."""
    gradient = layer.gradient
    return gradient[-1] / gradient[0] if gradient and gradient[0] > 0 else math.nan


def _exploding(layer: LayerHealth, patient: Patient) -> Iterator[Finding]:
    gradient, unit = layer.gradient, unit_of(patient.config)
    if not all(map(math.isfinite, gradient)) or _ratio(layer) > EXPLODED:
        yield Finding(
            "exploding gradient",
            "warning",
            f"{layer.title}: the gradient at the first of {_counted(len(gradient), unit)} is {gradient[-1]:.1e}, "
            f"{_ratio(layer):.1e} times that at the last, {gradient[0]:.1e}",
            against_explosion(patient.config, patient.lr, len(gradient)),
        )


def _vanishing(layer: LayerHealth, config: ModelConfig) -> Finding | None:
    gradient, unit = layer.gradient, unit_of(config)
    strongest = max(gradient, default=0.0)
    if len(gradient) < 2 or layer.dead == 1 or not 0 < strongest < math.inf:
        return None
    # With two directions, each one only has to carry the half that is nearer to its end.
    farthest = len(gradient) // 2 if config.bidirectional else len(gradient) - 1
    if gradient[farthest] >= VANISHED * strongest:
        return None
    reached = sum(value >= VANISHED * strongest for value in gradient)
    return Finding(
        "vanishing gradient",
        "warning",
        f"{layer.title}: {_counted(farthest, unit)} before the last one the gradient is "
        f"{_small(gradient[farthest])}, and at its strongest {strongest:.1e}; {reached:,} of "
        f"{_counted(len(gradient), unit)} have more than {VANISHED:g} of that",
        longer_memory(config, len(gradient)),
    )


def _read(config: ModelConfig, time: int) -> int:
    """Return how many of these steps the layers read, for a number of time steps."""
    if config.stem != "none" and isinstance(config.stem_stride, int):
        return strided(time, config.stem_stride)
    if isinstance(config.frame, int) and isinstance(config.hop, int):
        return Front(1, frame=config.frame, hop=config.hop).count(time)
    return time


def _small(value: float) -> str:
    return f"{value:.1e}" if value else "0"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
