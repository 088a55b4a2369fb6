"""Train a model in one loop over the results of its epochs."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from ..config import TrainConfig
from ..data.splits import Splits
from .budget import within_budget
from .loop import Training, check_single
from .results import EpochResult


def fit(model: nn.Module, splits: Splits, config: TrainConfig | None = None) -> Iterator[EpochResult]:
    """Train ``model`` in place, yielding after each epoch; see `Training` for arguments and errors.

    Of a long training whose epochs are a handful of steps, each result covers several.

    Example:
        >>> import unroll
        >>> splits = unroll.load("mnist-sample")
        >>> model = unroll.SequenceClassifier(28, 10, hidden_size=32)
        >>> for epoch in unroll.fit(model, splits, unroll.TrainConfig(epochs=2)):
        ...     print(epoch.epoch, epoch.val_accuracy > 0.1)
        1 True
        2 True
    """
    # Here, so that wrong settings raise at the call, not at the first epoch.
    config = config or TrainConfig()
    check_single(config)  # before a budget is measured
    training = Training(model, splits, within_budget(model, splits, config))
    return (event for event in training.events() if isinstance(event, EpochResult))
