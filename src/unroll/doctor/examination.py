"""The results of an examination, as plain values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

Direction = Literal["forward", "backward"]
Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something that looks wrong.

    Attributes:
        name: of the problem, such as "vanishing gradient"; one of `unroll.doctor.NAMES`
        severity: "error" if the model cannot work with it, "warning" if it may limit the model
        evidence: what was measured, in one sentence with its numbers
        remedy: what to change; flags are those of ``unroll train``
    """

    name: str
    severity: Severity
    evidence: str
    remedy: str


@dataclass(frozen=True)
class LayerHealth:
    """One direction of one layer.

    Values over time are indexed by steps before the end of reading: 0 is the last step that the direction reads, 9 the
    tenth to last of a sequence of at least ten steps. So sequences of different lengths are aligned at their end; the
    backward direction reads a sequence's first step last. Of a model that reads frames, a step here is a frame.

    Attributes:
        layer: from 1
        direction: "forward" or "backward"
        gradient: mean over the sequences of ``‖∂loss/∂state‖``, by steps before the end; nats per unit of the state
        activation: root mean square of the hidden state's units, by steps before the end
        saturated: share of the outputs within 1 % of the limits of tanh; None for cells without such limits
        dead: share of the units that are the same at all steps of all sequences (of relu: always 0)
        gates: share of each gate's values within 0.01 of open or shut, by the gate's name; None without gates, or if
            the cell's step is not compiled
        radius: spectral radius of each square block of ``weight_hh`` by the letter of its gate ("h" where there is one
            alone); of indrnn and lru the largest factor by which a unit keeps itself
    """

    layer: int
    direction: Direction
    gradient: tuple[float, ...] = ()
    activation: tuple[float, ...] = ()
    saturated: float | None = None
    dead: float | None = None
    gates: dict[str, float] | None = None
    radius: dict[str, float] | None = None

    @property
    def title(self) -> str:
        """The name of the layer and direction, "layer 1" or "layer 1 backward"."""
        return f"layer {self.layer}{'' if self.direction == 'forward' else ' backward'}"


@dataclass(frozen=True)
class Memory:
    """How far back inputs affect the logits: what changes if one step's input is replaced by another sequence's.

    Attributes:
        offsets: steps before the end at which inputs were replaced, ascending; at most 40
        effects: mean change of the logits by each replacement, ``‖Δlogits‖``
        steps: how many last steps contain every replacement with more than 1 % of the largest effect; 0 if none does
        heard: fraction of the time steps whose replacement has more than that
        time: time steps of the longest sequence
    """

    offsets: tuple[int, ...]
    effects: tuple[float, ...]
    steps: int
    heard: float
    time: int


@dataclass(frozen=True)
class Examination:
    """Measurements of a model, its data and its training, and what looks wrong.

    Attributes:
        sequences: number of sampled sequences; 0 without data
        time: time steps of the longest of them
        loss: mean cross entropy over them, in nats; None without data
        accuracy: fraction right of them; None without data
        chance: accuracy of always predicting the most frequent class; without data, 1 over the number of classes
        layers: from the first to the last; in each, the forward direction first
        memory: how far back inputs affect the logits; None without data
        epochs: number of epochs in the history; 0 if none was given
        findings: what looks wrong, errors first; empty if nothing does
        skipped: what could not be examined, and how to make it possible, in words
    """

    sequences: int
    time: int
    loss: float | None
    accuracy: float | None
    chance: float
    layers: tuple[LayerHealth, ...]
    memory: Memory | None
    epochs: int
    findings: tuple[Finding, ...]
    skipped: tuple[str, ...]

    @property
    def lines(self) -> list[str]:
        """A line for each finding, with its remedy; a remedy of several findings is given once."""
        lines, named = [], dict[str, str]()
        for finding in self.findings:
            known = named.get(finding.remedy)
            remedy = finding.remedy if known is None else f"the same as for {known}"
            lines.append(f"{finding.name}: {finding.evidence}; try: {remedy}")
            named.setdefault(finding.remedy, finding.name)
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; numbers that are not finite become None."""
        fields: dict[str, Any] = _plain(asdict(self))
        return fields


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
