"""The whole training step in one call, for what people train most. Its plain twin is `unroll.train.Training`'s own.

At the tutorial's sizes a fused scan takes less time than the hundred small operations around it: taking a batch,
scaling, the head, the loss, autograd, clipping, the optimiser. Here `scan/csrc/step.cpp` does them beside the scan.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .cells import Cell
from .config import TrainConfig
from .data.sequences import SequenceData
from .model import SequenceClassifier
from .scan import cpu


def why_not_fused(model: nn.Module, data: SequenceData | None, config: TrainConfig) -> str:
    """Return why `FusedStep` cannot train ``model``, in words; an empty string if it can. Without data: for any."""
    if type(model) is not SequenceClassifier:
        return f"{type(model).__name__} is no SequenceClassifier"
    if model.config.num_layers > 1 or model.config.bidirectional or model.config.readout != "last":
        return "the model has more than one layer or direction, or another readout than the last state"
    if any(not parameter.requires_grad or parameter.dtype != torch.float32 for parameter in model.parameters()):
        return "some parameters are frozen or not float32"
    backend, reason = _cell(model).choose_backend(next(model.parameters()).new_empty(1, 1, 1), training=True)
    if backend != "cpu":
        return f"the scan is computed by {backend}: {reason}"
    if config.precision != "fp32":
        return "bf16 was asked for"
    if any(_is_watched(module) for module in model.modules()):
        return "the model has hooks or parametrizations"
    if data and not all(tensor is None or tensor.is_contiguous() for tensor in (data.x, data.y, data.lengths)):
        return "the data is not contiguous in memory"
    return ""


def _cell(model: SequenceClassifier) -> Cell:
    (cell,) = model.layers[0].children()
    assert isinstance(cell, Cell)
    return cell


def _is_watched(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    post = any(getattr(parameter, "_backward_hooks", None) for parameter in module.parameters(recurse=False))
    return any(hooks) or post or nn.utils.parametrize.is_parametrized(module)


class FusedStep:
    """Trains in place the parameters of a model and what its optimiser keeps of them, as its own step would.

    Args:
        model: one for which `why_not_fused` has no reason.
        data: training sequences, on the CPU.
        optimizer: Adam or AdamW over the model's parameters that has taken a step, so that its state is there.
        config: says how gradients are clipped.
    """

    def __init__(
        self, model: SequenceClassifier, data: SequenceData, optimizer: torch.optim.Optimizer, config: TrainConfig
    ) -> None:
        cell, (group,) = _cell(model), optimizer.param_groups
        parameters = [
            *cell.parameters(),
            *model.head.parameters(),
        ]  # weight_ih, weight_hh, bias_ih, bias_hh; weight, bias
        states = [optimizer.state[parameter] for parameter in parameters]
        kept = [(p.detach(), s["exp_avg"], s["exp_avg_sq"], s["step"]) for p, s in zip(parameters, states, strict=True)]
        features = data.x.shape[2]
        scaling = data.preparation.scaling
        mean, std = (list(v) if isinstance(v, tuple) else [v] * features for v in (scaling.mean, scaling.std))
        recurrence = getattr(cell, "nonlinearity", model.config.cell)
        is_bytes = data.x.dtype == torch.uint8
        self._held = (data, kept)  # whose memory the kernel reads and writes
        layout = cpu.layout(recurrence, batch=1, time=data.x.shape[1], inputs=features, hidden=cell.hidden_size)
        self._step: Any = cpu.kernels.Step(
            layout,
            model.num_classes,
            data.x.data_ptr() if is_bytes else 0,
            0 if is_bytes else data.x.data_ptr(),
            data.y.data_ptr(),
            0 if data.lengths is None else data.lengths.data_ptr(),
            mean,
            std,
            [[*(tensor.data_ptr() for tensor in tensors), tensors[0].numel()] for tensors in kept],
            isinstance(optimizer, torch.optim.AdamW),
            *group["betas"],
            group["eps"],
            group["weight_decay"],
            config.clip_norm,
        )

    def __call__(self, index: Tensor, lr: float) -> tuple[Tensor, int]:
        """Take one step on the sequences at ``index`` (batch,) int64; return the sum of their losses and the hits."""
        loss, correct = self._step.run(index.data_ptr(), len(index), cpu.threads(), lr)
        return torch.tensor(loss), correct
