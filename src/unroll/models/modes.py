"""Switch a model to evaluation, and back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def inference(model: nn.Module, gradients: bool = False) -> Iterator[None]:
    """Switch to eval mode without gradients within the block; afterwards restore the mode of each module.

    Args:
        model: any module.
        gradients: computes gradients, even if the caller has switched them off (default False).
    """
    were_training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.inference_mode(not gradients), torch.set_grad_enabled(gradients):
            yield
    finally:
        for module in were_training:
            module.training = True
