"""Pass one batch through a fresh model before training: report the shapes, and what looks wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from ..config import TrainConfig
from ..data.batching import padded_share, training_order
from ..data.describe import constant, copies_across, missing_classes, notes_of
from ..data.preparation import valid_steps
from ..data.separation import separating
from ..data.sequences import Batch
from ..data.splits import Splits
from ..models.classifier import SequenceClassifier
from ..models.layers import Stage
from ..models.modes import inference
from ..training.environment import describe_model
from ..training.loop import held_out

SATURATED = 0.99  # fraction of tanh's largest output
BOUNDED = ("rnn", "gru", "lstm", "indrnn")  # cells whose outputs stay within ±1, except with relu
STILL = 1e-3  # a unit with a smaller deviation does not change; healthy tanh units have at least 0.1
MANY_STUCK_UNITS = 0.3  # fraction of saturated or dead units above which a layer hardly learns; healthy: below 0.1


@dataclass(frozen=True)
class StageShape:
    """The shape of one part's output.

    Attributes:
        name: of the part
        axes: names of the axes
        sizes: of the axes
    """

    name: str
    axes: tuple[str, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Inspection:
    """What one batch shows about a model before training.

    Attributes:
        shapes: from the input to the logits
        parameters: number of weights that are trained
        loss: mean cross entropy of the batch, in nats
        chance: the loss of equal probabilities, ln(classes)
        saturated: per layer, fraction of outputs within 1 % of the limits of tanh (relu: of units that are always 0);
            empty for cells with unbounded outputs
        padding: fraction of the time steps in the first epoch's batches that is padding; None if all are full
        computed: what computes the layers in training, and why
        findings: what looks wrong and what to do, in words; empty if nothing does
    """

    shapes: tuple[StageShape, ...]
    parameters: int
    loss: float
    chance: float
    saturated: tuple[float, ...]
    padding: float | None
    computed: str
    findings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types; what is not finite becomes None."""
        return {
            "shapes": [{"name": s.name, "axes": list(s.axes), "sizes": list(s.sizes)} for s in self.shapes],
            "parameters": self.parameters,
            "loss": self.loss if math.isfinite(self.loss) else None,
            "chance": self.chance,
            "saturated": [share if math.isfinite(share) else None for share in self.saturated],
            "padding": self.padding,
            "computed": self.computed,
            "findings": list(self.findings),
        }


def inspect_model(model: SequenceClassifier, splits: Splits, config: TrainConfig | None = None) -> Inspection:
    """Pass one random training batch through ``model``, which should be fresh, and report what looks wrong.

    Args:
        model: it is not changed.
        splits: the data to train on.
        config: gives the batch size, and the seed to draw it with (default ``TrainConfig()``).

    Raises:
        InputError: the model does not take the data.
    """
    config = config or TrainConfig()
    order = torch.from_numpy(np.random.default_rng(config.seed).permutation(len(splits.train)))
    some = splits.train.subset(order[: config.batch_size])
    batch = some.batch(some.parts(config.batch_size)[0])
    device = next(model.parameters()).device
    batch = Batch(*(None if tensor is None else tensor.to(device) for tensor in batch))  # type: ignore[arg-type]
    with inference(model):
        stages = model.stages(batch.x, batch.lengths)
        loss = float(cross_entropy(stages[-1].values, batch.y))
    chance = math.log(model.num_classes)
    layers = [stage for stage in stages if stage.name.startswith("layer")]
    relu = model.config.nonlinearity == "relu"
    bounded = model.config.cell in BOUNDED
    steps = batch.lengths if batch.lengths is None else model.layer_steps(batch.lengths)
    saturated = tuple(_saturated(stage, steps, relu) for stage in layers if bounded)
    shapes = tuple(StageShape(stage.name, stage.axes, tuple(stage.values.shape)) for stage in stages)
    findings = [
        *missing_classes(splits),
        *constant(splits),
        *_inputs(next(stage for stage in stages if "features" in stage.axes).values, batch.lengths),
        *_layers(saturated, relu),
        *_loss(loss, chance),
        *copies_across(splits),
        *separating(splits.train),
        *notes_of(splits),
    ]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Inspection(
        shapes,
        parameters,
        loss,
        chance,
        saturated,
        _padding(splits, config),
        describe_model(model, config)["training"],
        tuple(findings),
    )


def _padding(splits: Splits, config: TrainConfig) -> float | None:
    """Return the fraction of padding among what `Training` computes in its first epoch."""
    part, _ = held_out(splits, config)
    if part.lengths is None:
        return None
    random = np.random.default_rng((config.seed, 1))
    order, _ = training_order(part.lengths, len(part), config.batch_size, random)
    return padded_share(part.lengths[order].numpy(), config.batch_size)


def _saturated(stage: Stage, lengths: torch.Tensor | None, relu: bool) -> float:
    outputs = valid_steps(stage.values, lengths)
    return dead_share(outputs, relu) if relu else saturated_share(outputs)


def saturated_share(outputs: torch.Tensor) -> float:
    """Return the fraction of outputs (steps, units) within 1 % of the limits of tanh."""
    return float((outputs.abs() > SATURATED).float().mean())


def dead_share(outputs: torch.Tensor, relu: bool) -> float:
    """Return the fraction of units that are the same in all outputs (steps, units); for relu: that are always 0."""
    dead = (outputs == 0).all(dim=0) if relu else outputs.std(dim=0, correction=0) < STILL
    return float(dead.float().mean())


def _inputs(x: torch.Tensor, lengths: torch.Tensor | None) -> list[str]:
    valid = valid_steps(x, lengths)
    if not valid.numel():
        return ["every sequence of the batch is empty: check the lengths"]
    largest = float(valid.abs().max())
    if not math.isfinite(largest):
        return ["the input contains values that are not finite: fix or remove these sequences"]
    if largest > 20:
        return [
            f"after scaling, the input reaches {largest:.3g} (usual: below 10): look for outliers, 'unroll explore'"
        ]
    return []


def _layers(saturated: tuple[float, ...], relu: bool) -> list[str]:
    what = "of the units are always 0" if relu else "of the outputs are saturated (beyond ±0.99)"
    remedy = "try init orthogonal, or scale the inputs down"
    return [
        f"layer {number}: {share:.0%} {what}, so gradients are close to 0; {remedy}"
        for number, share in enumerate(saturated, start=1)
        if share > MANY_STUCK_UNITS
    ]


def _loss(loss: float, chance: float) -> list[str]:
    if not math.isfinite(loss):
        return [f"the initial loss is {loss}: inputs or weights are not finite"]
    if abs(loss - chance) > max(0.5, chance / 2):
        side = "above" if loss > chance else "below"
        why = "outputs are too large" if loss > chance else "the input may contain the labels, or one class dominates"
        return [f"the initial loss {loss:.2f} is far {side} ln(classes) = {chance:.2f}: {why}"]
    return []
