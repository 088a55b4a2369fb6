"""Show a model in a notebook: parameters, the cell's equation, and what computes it."""

from __future__ import annotations

from torch import nn

from ..cells import Cell
from ..config import ModelConfig
from ..errors import InputError
from ..notebook import block, facts, table


def model_html(model: nn.Module, config: ModelConfig) -> str:
    """Return HTML of a `SequenceClassifier`.

    Args:
        model: the model; all its cells are like the first.
        config: its settings.
    """
    cell = next(module for module in model.modules() if isinstance(module, Cell))
    parts = "" if model.ngrams is None else " and their n-grams"
    vocabulary = "" if model.embedding is None else f"{model.vocabulary_size:,} tokens{parts} as "
    sizes = f"{vocabulary}{model.input_size} features → {model.num_classes} classes"
    parameters = [(name, tuple(parameter.shape), parameter.numel()) for name, parameter in model.named_parameters()]
    equation = (type(cell).__doc__ or type(cell).__name__).strip().split("\n")[0]
    layers = f"{config.num_layers} × {config.hidden_size} units{config.additions}, readout {config.readout}"
    settings = {"cell": f"{config.cell}. {equation}", "layers": layers, "init": config.init}
    for name, training in (("training", True), ("prediction", False)):
        settings[name] = _computed(model, cell, training)
    rows = [(name, " × ".join(f"{n:,}" for n in shape) or "1", f"{count:,}") for name, shape, count in parameters]
    total = ("total", "", f"{sum(count for _, _, count in parameters):,}")
    return block(
        f"{type(model).__name__}: {sizes}", facts(settings), table(("parameter", "shape", "numbers"), rows, total)
    )


def _computed(model: nn.Module, cell: Cell, training: bool) -> str:
    batch = next(model.parameters()).new_empty(64, 28, cell.input_size)
    try:
        backend, reason = cell.choose_backend(batch, training)
    except InputError as error:  # the requested backend is not available
        return str(error)
    return f"scan by {backend}: {reason}"
