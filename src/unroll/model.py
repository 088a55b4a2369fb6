"""SequenceClassifier: cells stacked, a readout, a head."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .cells import Cell, find_cell
from .config import Backend, ModelConfig, check_whole
from .errors import ConfigError, InputError


class Stage(NamedTuple):
    """A tensor on its way through a model.

    Attributes:
        name: what made it
        axes: names of its axes
        values: itself
    """

    name: str
    axes: tuple[str, ...]
    values: Tensor


class SequenceClassifier(nn.Module):
    """Classify sequences: recurrent layers, a readout over time, a linear head.

    It keeps no state between calls, and takes any batch size and any number of time steps.

    Args:
        input_size: features per time step, at least 1.
        num_classes: at least 2.
        cell: name from `unroll.cells.CELLS`, or a subclass of `unroll.cells.Cell` (default "rnn").
        hidden_size: units per layer and direction (default 150).
        num_layers: recurrent layers (default 1).
        bidirectional: read each sequence backwards too; the two results are concatenated (default False).
        dropout: share of activations dropped between layers while training (default 0.0).
        readout: "last" hidden state of each direction, or "mean" or "max" over each sequence's steps (default "last").
            An empty sequence reads out as the initial state (last) or as zeros (mean, max).
        init: "orthogonal" (recurrent weights orthogonal, the others Xavier uniform, biases zero; a cell of your own
            keeps its weights unless it has `Cell.init_orthogonal`) or "torch", torch.nn's own (default "orthogonal").
        nonlinearity: activation of the rnn cell, "tanh" or "relu" (default "tanh").
        backend: what computes the scan (default "auto", see `unroll.scan.choose_backend`).

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> model = SequenceClassifier(input_size=28, num_classes=10)
        >>> model(torch.zeros(64, 28, 28)).shape
        torch.Size([64, 10])
    """

    def __init__(
        self,
        input_size: int,
        num_classes: int,
        cell: str | type[Cell] = "rnn",
        hidden_size: int = 150,
        num_layers: int = 1,
        bidirectional: bool = False,
        dropout: float = 0.0,
        readout: Literal["last", "mean", "max"] = "last",
        init: Literal["orthogonal", "torch"] = "orthogonal",
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        backend: Backend = "auto",
    ) -> None:
        super().__init__()
        cell_class = find_cell(cell)
        name = cell if isinstance(cell, str) else f"{cell.__module__}:{cell.__qualname__}"
        # The one place where settings are checked: the same rules, and words, as for the command line.
        self.config = ModelConfig(
            name, nonlinearity, hidden_size, num_layers, bidirectional, dropout, readout, init, backend
        )
        check_whole("input_size", input_size, 1)
        check_whole("num_classes", num_classes, 2)
        self.input_size = input_size
        self.num_classes = num_classes
        directions = 2 if bidirectional else 1
        sizes = [input_size] + [hidden_size * directions] * (num_layers - 1)
        self.layers = nn.ModuleList(
            nn.ModuleList(self._make_cell(cell_class, size) for _ in range(directions)) for size in sizes
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden_size * directions, num_classes)
        if init == "orthogonal":
            for module in self.modules():
                if isinstance(module, Cell):
                    module.init_orthogonal()
            nn.init.xavier_uniform_(self.head.weight)
            nn.init.zeros_(self.head.bias)

    def _make_cell(self, cell_class: type[Cell], input_size: int) -> Cell:
        if "nonlinearity" not in cell_class.options and self.config.nonlinearity != "tanh":
            raise ConfigError(f"cell {self.config.cell} has a fixed nonlinearity, got {self.config.nonlinearity!r}")
        options = {name: getattr(self.config, name) for name in cell_class.options}
        cell = cell_class(input_size, self.config.hidden_size, **options)
        cell.backend = self.config.backend
        return cell

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return logits (batch, num_classes).

        Args:
            x: (batch, time, input_size) of the parameters' dtype, scaled as in training.
            lengths: (batch,) int64 time steps, each from 0 to time; what lies beyond has no effect (default None).

        Raises:
            InputError: ``x`` or ``lengths`` do not fit.
        """
        logits: Tensor = self.head(self._encode(x, lengths))
        return logits

    def stages(self, x: Tensor, lengths: Tensor | None = None) -> list[Stage]:
        """Return every tensor between the input and the logits, both included; arguments as in `forward`."""
        layers: list[Tensor] = []
        vector = self._encode(x, lengths, layers)
        return [
            Stage("input", ("batch", "time", "features"), x),
            *(Stage(f"layer {i}", ("batch", "time", "hidden"), y) for i, y in enumerate(layers, start=1)),
            Stage(f"readout {self.config.readout}", ("batch", "hidden"), vector),
            Stage("logits", ("batch", "classes"), self.head(vector)),
        ]

    def _encode(self, x: Tensor, lengths: Tensor | None, keep: list[Tensor] | None = None) -> Tensor:
        """Return what the head reads, (batch, directions·hidden); all outputs of each layer are added to ``keep``."""
        self._check_input(x)
        features = finals = x
        readout, last = self.config.readout, len(self.layers) - 1
        for number, layer in enumerate(self.layers):
            if number:
                features = self.dropout(features)
            last_only = keep is None and number == last and readout == "last"
            features, finals = self._read_layer(layer, features, lengths, last_only)
            if keep is not None:
                keep.append(features)
        return finals if readout == "last" else self._read_out(features, finals, lengths)

    def _check_input(self, x: Tensor) -> None:
        if not isinstance(x, Tensor):
            raise InputError(f"x must be a tensor (batch, time, {self.input_size}), got {type(x).__name__}")
        if x.dim() != 3 or x.shape[2] != self.input_size:
            raise InputError(f"x must have shape (batch, time, {self.input_size}), got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise InputError(f"x must be floating point and scaled as in training, got {x.dtype}")
        if x.dtype != self.head.weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise InputError(f"x must have the parameters' dtype {self.head.weight.dtype}, got {x.dtype}")

    def _read_layer(
        self, layer: nn.Module, x: Tensor, lengths: Tensor | None, last_only: bool
    ) -> tuple[Tensor, Tensor]:
        """Return outputs (batch, time, directions·hidden) and final hidden states (batch, directions·hidden)."""
        outputs, finals = [], []
        assert isinstance(layer, nn.ModuleList)
        for direction, cell in enumerate(layer):
            assert isinstance(cell, Cell)
            state = cell.initial_state(x.shape[0], dtype=x.dtype, device=x.device)
            output, state = cell.scan(x, state, lengths, reverse=direction == 1, last_only=last_only)
            outputs.append(output)
            finals.append(state if isinstance(state, Tensor) else state[0])
        if len(outputs) == 1:
            return outputs[0], finals[0]
        return torch.cat(outputs, dim=2), torch.cat(finals, dim=1)

    def _read_out(self, outputs: Tensor, finals: Tensor, lengths: Tensor | None) -> Tensor:
        if outputs.shape[1] == 0:
            return torch.zeros_like(finals)
        if self.config.readout == "mean":  # outputs past each length are zero
            steps = outputs.shape[1] if lengths is None else lengths.clamp(min=1).unsqueeze(1)
            return outputs.sum(dim=1) / steps
        if lengths is None:
            return outputs.amax(dim=1)
        alive = torch.arange(outputs.shape[1], device=outputs.device) < lengths.unsqueeze(1)
        highest = outputs.masked_fill(~alive.unsqueeze(2), -math.inf).amax(dim=1)
        return torch.where((lengths > 0).unsqueeze(1), highest, 0)
