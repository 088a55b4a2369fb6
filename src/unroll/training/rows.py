"""Train tables of vectors by the rows that a batch reads, with the optimiser's own step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..models.classifier import SequenceClassifier


@contextmanager
def gradients_of_rows(model: nn.Module) -> Iterator[None]:
    """Let the gradients of what ``model`` computes in this block be sparse for its tables: of the rows that it read.

    For a `SequenceClassifier` on the CPU; where something else looks at the gradients of its tables they stay dense.
    """
    tables = _tables(model)
    for table in tables:
        table.sparse = True
    try:
        yield
    finally:
        for table in tables:
            table.sparse = False


def _tables(model: nn.Module) -> list[nn.Embedding]:
    if type(model) is not SequenceClassifier:
        return []
    tables = [table for table in (model.embedding, model.ngrams) if table is not None]
    return tables if all(map(_is_plain, tables)) else []


def _is_plain(table: nn.Embedding) -> bool:
    weight = table.weight
    return type(table) is nn.Embedding and not table.sparse and weight.is_cpu and not _is_watched(weight)


def _is_watched(parameter: Tensor) -> bool:
    return bool(parameter._backward_hooks or parameter._post_accumulate_grad_hooks)


class RowSteps:
    """The optimiser's steps of a model some of whose gradients are sparse: the same as if all were dense.

    A batch of texts reads one row of twenty. To fill the others' gradient with zeros, to read it for the norm and to
    scale it took a quarter of a training step. Here one dense gradient of each table is kept between steps, which is 0
    but during a step.
    """

    def __init__(self) -> None:
        self._dense: dict[Tensor, Tensor] = {}

    def __call__(self, model: nn.Module, optimizer: torch.optim.Optimizer, clip_norm: float) -> None:
        """Clip the gradients' norm, unless ``clip_norm`` is 0, and take a step; sparse gradients are None after it."""
        gradients, rows = list[Tensor](), dict[Tensor, Tensor]()
        for parameter in model.parameters():
            gradient = parameter.grad
            if gradient is not None and gradient.is_sparse:
                rows[parameter] = gradient = gradient.coalesce()
            if gradient is not None:
                gradients.append(gradient.values() if gradient.is_sparse else gradient)
        if clip_norm:
            _clip(gradients, clip_norm)
        for table, read in rows.items():
            table.grad = self._zeros(table).index_copy_(0, read.indices()[0], read.values())
        try:
            optimizer.step()
        finally:
            for table, read in rows.items():
                table.grad = None
                self._dense[table].index_fill_(0, read.indices()[0], 0)

    def _zeros(self, parameter: Tensor) -> Tensor:
        if parameter not in self._dense:
            self._dense[parameter] = torch.zeros_like(parameter)
        return self._dense[parameter]


def _clip(gradients: list[Tensor], most: float) -> None:
    """As torch.nn.utils.clip_grad_norm_, which has no kernels for sparse gradients."""
    factor = (most / (nn.utils.get_total_norm(gradients) + 1e-6)).clamp(max=1)
    torch._foreach_mul_(gradients, factor)
