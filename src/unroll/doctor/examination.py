"""What an examination finds, as plain values."""

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
        name: of the sickness, such as "vanishing gradient"; one of `unroll.doctor.NAMES`
        severity: "error" where nothing good can come of it, "warning" where it may hold the model back
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

    What goes over time counts steps before the end of the reading: number 0 is the last step that the direction reads,
    number 9 the tenth to last, of a sequence that has so many. So sequences of different lengths are aligned at their
    end; the backward direction reads a sequence's first step last.

    Attributes:
        layer: from 1
        direction: "forward" or "backward"
        gradient: mean over the sequences of ``‖∂loss/∂state‖``, by steps before the end; nats per unit of the state
        activation: root mean square of the hidden state's units, by steps before the end
        saturated: share of the outputs within 1 % of the limits of tanh; None for cells without such limits
        dead: share of the units that are the same at all steps of all sequences (of relu: always 0)
        gates: share of each gate's values within 0.01 of open or shut, by the gate's letter; for gru and lstm
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
        """What it is called, "layer 1" or "layer 1 backward"."""
        return f"layer {self.layer}{'' if self.direction == 'forward' else ' backward'}"


@dataclass(frozen=True)
class Memory:
    """How far back an input still counts: what happens if one step's input is exchanged for another sequence's.

    Attributes:
        offsets: steps before the end at which inputs were exchanged, ascending; at most 40
        effects: mean change of the logits by each, ``‖Δlogits‖``
        steps: the last so many steps hold every exchange with more than 1 % of the largest effect; 0 if there is none
        heard: share of the time steps whose exchange has more than that
        time: time steps of the longest sequence
    """

    offsets: tuple[int, ...]
    effects: tuple[float, ...]
    steps: int
    heard: float
    time: int


@dataclass(frozen=True)
class Examination:
    """What was measured of a model, its data and its training, and what looks wrong.

    Attributes:
        sequences: how many were looked at; 0 without data
        time: time steps of the longest of them
        loss: mean cross entropy over them, in nats; None without data
        accuracy: fraction right of them; None without data
        chance: accuracy of always the most frequent class; without data 1 over the number of classes
        layers: the first to the last; of each the forward direction first
        memory: how far back inputs count; None without data
        epochs: of the training, as far as its history was given
        findings: what looks wrong, errors first; empty if nothing does
        skipped: what could not be examined, and how it can be, in words
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
        """A line for each finding, with what helps; what helps against several is said once."""
        lines, named = [], dict[str, str]()
        for finding in self.findings:
            known = named.get(finding.remedy)
            helps = finding.remedy if known is None else f"the same as against {known}"
            lines.append(f"{finding.name}: {finding.evidence}; what helps: {helps}")
            named.setdefault(finding.remedy, finding.name)
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; what is not finite becomes None."""
        found: dict[str, Any] = _plain(asdict(self))
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
