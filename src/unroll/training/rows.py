"""Train tables of vectors by the rows that a batch reads, with the optimiser's own step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..models.classifier import SequenceClassifier
from ..models.fused_forward import is_watched
from ..scan import cpu
from .optimizer import has_hooks, why_not_adam


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
    """Return the table of tokens and that of n-grams, as far as there are such, or none at all."""
    if type(model) is not SequenceClassifier:
        return []
    tables = [table for table in (model.embedding, model.ngrams) if table is not None]
    return tables if all(map(_is_plain, tables)) else []


def _is_plain(table: nn.Embedding) -> bool:
    weight = table.weight
    if type(table) is not nn.Embedding or table.sparse or table.scale_grad_by_freq:
        return False
    return isinstance(weight, nn.Parameter) and weight.is_cpu and not has_hooks(weight)


class RowSteps:
    """The optimiser's steps of a model some of whose gradients are sparse: the same as if all were dense.

    A batch of texts reads one row of twenty. To fill the others' gradient with zeros, to read it for the norm and to
    scale it took a quarter of a training step. Here one dense gradient of each table is kept between steps, which is 0
    but during a step. The other rows' own steps, which follow from their averages and weight decay alone, took another
    quarter: `waiting` puts them off.
    """

    def __init__(self) -> None:
        self._dense: dict[Tensor, Tensor] = {}
        self._waiting: dict[Tensor, _Waiting] = {}

    @contextmanager
    def waiting(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Let rows of tables take their steps in this block when they are read, and at its end: `read`, `settle`.

        Each row takes the same steps with the same roundings, however many of them it takes at once.
        """
        if _can_wait(model, optimizer):
            self._waiting = {table.weight: _Waiting(table.weight, optimizer) for table in _tables(model)}
        try:
            yield
        finally:
            self.settle()
            self._waiting = {}

    def read(self, model: nn.Module, x: Tensor) -> None:
        """Bring the rows up to date that ``model`` reads for its input ``x``."""
        if self._waiting and isinstance(model, SequenceClassifier):
            numbers = [x] if model.ngrams is None else [x[..., :1], x[..., 1:]]
            for table, of_table in zip((model.embedding, model.ngrams), numbers, strict=False):
                if table is not None and table.weight in self._waiting:
                    self._waiting[table.weight].read(of_table)

    def settle(self) -> None:
        """Bring all rows up to date."""
        for waiting in self._waiting.values():
            waiting.settle()

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
            table.grad = None if table in self._waiting else self._filled(table, read)
        for table in rows.keys() & self._waiting.keys():
            self._waiting[table].step(rows[table])
        try:
            optimizer.step()
        finally:
            for table in rows.keys() - self._waiting.keys():
                table.grad = None
                self._dense[table].index_fill_(0, rows[table].indices()[0], 0)

    def _filled(self, table: Tensor, read: Tensor) -> Tensor:
        if table not in self._dense:
            self._dense[table] = torch.zeros_like(table)
        return self._dense[table].index_copy_(0, read.indices()[0], read.values())


def _can_wait(model: nn.Module, optimizer: torch.optim.Optimizer) -> bool:
    """Tell whether the kernels can take the steps of a model's tables, and nothing else looks at them meanwhile."""
    if not cpu.ISA or why_not_adam(optimizer) or any(map(is_watched, model.modules())):
        return False
    (group,) = optimizer.param_groups
    known, weights = set(group["params"]), [table.weight for table in _tables(model)]
    if not all(weight in known and weight.dtype is torch.float32 and weight.is_contiguous() for weight in weights):
        return False
    if not _are_read_by_batches(weights, model):
        return False
    # The weight decay of Adam, unlike AdamW's, is a gradient, which all rows have.
    return isinstance(optimizer, torch.optim.AdamW) or not group["weight_decay"]


def _are_read_by_batches(weights: list[Tensor], model: nn.Module) -> bool:
    """Tell whether nothing but its own module reads a table: a head could read rows that are not of the batch."""
    held = Counter[Tensor](parameter for _, parameter in model.named_parameters(remove_duplicate=False))
    return type(getattr(model, "head", None)) is nn.Linear and all(held[weight] == 1 for weight in weights)


class _Waiting:
    """A table of vectors, (rows, size) float32, whose rows take the optimiser's steps when they are needed."""

    def __init__(self, values: Tensor, optimizer: torch.optim.Optimizer) -> None:
        self.group: dict[str, Any] = optimizer.param_groups[0]
        self.is_decoupled = isinstance(optimizer, torch.optim.AdamW)
        self.state: dict[str, Tensor] = optimizer.state[values]
        if not self.state:
            self.state["step"] = torch.zeros((), dtype=torch.float32)
            self.state["exp_avg"], self.state["exp_avg_sq"] = torch.zeros_like(values), torch.zeros_like(values)
        self.held = [values.detach(), self.state["exp_avg"], self.state["exp_avg_sq"]]  # the kernel has their memory
        self.table: Any = cpu.kernels.Table(cpu.ISA, *map(cpu.address, self.held), *values.shape)

    def read(self, numbers: Tensor) -> None:
        """Bring the rows with some numbers up to date."""
        self._take(numbers.flatten().long(), None)

    def settle(self) -> None:
        """Bring all rows up to date."""
        self._take(None, None)

    def step(self, gradient: Tensor) -> None:
        """Take a step: the rows of ``gradient``, coalesced, at once, the others later."""
        self.state["step"] += 1
        group, number = self.group, float(self.state["step"])
        self.table.add(
            self.is_decoupled, *group["betas"], group["eps"], group["weight_decay"], float(group["lr"]), number
        )
        self._take(gradient.indices()[0].contiguous(), gradient.values().contiguous())

    def _take(self, rows: Tensor | None, gradients: Tensor | None) -> None:
        count = 0 if rows is None else len(rows)
        self.table.take(cpu.address(rows), count, cpu.address(gradients), torch.get_num_threads())


def _clip(gradients: list[Tensor], most: float) -> None:
    """As torch.nn.utils.clip_grad_norm_, which has no kernels for sparse gradients."""
    factor = (most / (nn.utils.get_total_norm(gradients) + 1e-6)).clamp(max=1)
    torch._foreach_mul_(gradients, factor)
