"""Make the optimiser (Adam or AdamW) and the one-cycle schedule that the settings ask for."""

from __future__ import annotations

from inspect import unwrap
from typing import cast

import torch
from torch import nn
from torch.optim import Adam, AdamW
from torch.optim.lr_scheduler import OneCycleLR

from ..config import TrainConfig

WARM_UP = 0.15  # fraction of the run in which one-cycle raises the rate


def _uncompiled(kind: type[Adam]) -> type[Adam]:
    """Return an optimiser without its hooks into torch.compile, whose import of 2 s can take longer than training."""
    plain = {name: unwrap(getattr(kind, name)) for name in ("add_param_group", "load_state_dict", "state_dict")}
    plain |= {"zero_grad": unwrap(kind.zero_grad), "step": torch.no_grad()(unwrap(kind.step))}
    return cast(type[Adam], type(kind.__name__, (kind,), plain))


OPTIMIZERS = {"adam": _uncompiled(Adam), "adamw": _uncompiled(AdamW)}


def why_not_adam(optimizer: torch.optim.Optimizer) -> str:
    """Return why the kernels cannot take an optimiser's steps; empty where it is Adam or AdamW and nothing more."""
    if type(optimizer) not in (*OPTIMIZERS.values(), Adam, AdamW) or len(optimizer.param_groups) != 1:
        return "the optimiser is not Adam or AdamW with one group of parameters"
    if optimizer.param_groups[0]["amsgrad"] or optimizer.param_groups[0]["maximize"]:
        return "the optimiser has amsgrad or maximize"
    if optimizer._optimizer_step_pre_hooks or optimizer._optimizer_step_post_hooks:
        return "the optimiser has hooks"
    return ""


def has_hooks(parameter: torch.Tensor) -> bool:
    """Tell whether something else is to see a parameter's gradient."""
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


def make_optimizer(
    model: nn.Module, config: TrainConfig, steps: int
) -> tuple[torch.optim.Optimizer, OneCycleLR | None]:
    """Return the optimiser that ``config`` asks for, and its schedule over ``steps`` training steps, if any."""
    # fused: one kernel for all parameters instead of a dozen small operations each
    optimizer = OPTIMIZERS[config.optimizer](
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True
    )
    if config.schedule == "constant":
        return optimizer, None
    # One more step than are taken, so that the last one still has a learning rate above 0.
    schedule = OneCycleLR(optimizer, max_lr=config.lr, total_steps=steps + 1, pct_start=WARM_UP, cycle_momentum=False)
    return optimizer, schedule
