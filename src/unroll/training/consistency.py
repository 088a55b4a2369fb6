"""How far two answers to the same sequences are apart, which dropout makes differ."""

from __future__ import annotations

from torch import Tensor


def divergence(logits: Tensor) -> Tensor:
    """Return the mean over sequences of ½ (KL(p‖q) + KL(q‖p)), a scalar in nats.

    Args:
        logits: (2 · batch, classes) those of p for each sequence, then those of q for each, in the same order.

    Source: X. Liang et al., R-Drop: Regularized Dropout for Neural Networks, NeurIPS 2021, equation 2. There the losses
    of both readings are added, here their mean is taken, so that its weight α is twice the setting ``consistency``.
    """
    first, second = logits.log_softmax(dim=1).chunk(2)
    return ((first.exp() - second.exp()) * (first - second)).sum(dim=1).mean() / 2
