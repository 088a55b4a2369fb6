"""What mypy takes calls of a model for; `make types` checks it, and nothing runs it."""

from __future__ import annotations

from typing import assert_type

from torch import Tensor

from unroll import Cell, SequenceClassifier
from unroll.models import Ensemble


def calls(model: SequenceClassifier, mean: Ensemble, cell: Cell, x: Tensor, lengths: Tensor) -> None:
    assert_type(model(x), Tensor)
    assert_type(model(x, lengths, tbptt=10), Tensor)
    assert_type(mean(x, lengths), Tensor)
    assert_type(cell.scan(x, (x[:, 0],))[0], Tensor)
    model("text")  # type: ignore[arg-type]
