"""Compute whole training steps in one C++ call, for the most common models. `Training` is the reference.

At the tutorial's sizes, a fused scan takes less time than the hundred small operations around it: indexing a batch,
scaling, the head, the loss, autograd, clipping, the optimiser. `scan/csrc/step.cpp` does them together with the scan.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..cells import Cell
from ..config import TrainConfig
from ..data.preparation import valid_steps
from ..data.ragged import places
from ..data.sequences import SequenceData
from ..models.classifier import SequenceClassifier
from ..models.fused_forward import is_scanned, is_watched
from ..scan import compiled, cpu
from .device import autocast
from .optimizer import has_hooks, why_not_adam

MOST_BYTES = 2**30  # of a copy of the training data as the layers read it, which a model with a front needs
CHUNK = 1_000  # sequences that are copied at once
PATIENCE = 0.2  # longest a call should take, in seconds: Ctrl-C waits meanwhile


def why_not_fused(
    model: nn.Module, data: SequenceData | None, config: TrainConfig, optimizer: torch.optim.Optimizer | None = None
) -> str:
    """Return why `FusedStep` cannot train ``model``, or an empty string if it can.

    Args:
        model: any module.
        data: training sequences; None skips the checks of the data.
        config: settings of the training.
        optimizer: of the training; None skips the checks of the optimiser.
    """
    if type(model) is not SequenceClassifier:
        return f"{type(model).__name__} is not a SequenceClassifier"
    return (
        _why_not_model(model)
        or _why_not_parameters(model)
        or _why_not_data(model, data, config)
        or (_why_not_taken(optimizer, model) if optimizer else "")
    )


def _why_not_model(model: SequenceClassifier) -> str:
    if model.config.num_layers > 1 or model.config.bidirectional or model.config.readout != "last":
        return "the model has several layers or directions, or a readout other than 'last'"
    if model.embedding is not None:
        return "the model reads tokens"
    if model.stem is not None:
        return "the model has a stem of convolutions"
    if model.config.layer_norm or model.config.recurrent_dropout:
        return "the model has layer norm or recurrent dropout"
    if torch.is_anomaly_enabled() or any(_is_watched(module) for module in model.modules()):
        return "the model has hooks or parametrizations, or anomaly detection is on"
    return ""


def _why_not_parameters(model: SequenceClassifier) -> str:
    parameters, cell = list(model.parameters()), _cell(model)
    if type(model.head) is not nn.Linear or model.head.bias is None:
        return "the model's head is not linear"
    if len(parameters) != 2 + len(list(cell.parameters())):
        return "the model has parameters outside of its cell and its head"
    if not is_scanned(cell):
        return "the cell is not scanned by its step from a zero state"
    if any(not p.requires_grad or p.dtype != torch.float32 or not p.is_contiguous() for p in parameters):
        return "some parameters are frozen, not float32 or not contiguous in memory"
    return ""


def _why_not_data(model: SequenceClassifier, data: SequenceData | None, config: TrainConfig) -> str:
    if config.tbptt and (data is None or config.tbptt < data.time):
        return f"tbptt truncates gradients to {config.tbptt} time steps"
    if config.consistency:
        return "the training reads each batch twice"
    front = model.front
    frames = int(front.count(data.steps_of_each).sum()) if data else 0
    if not front.is_identity and frames * front.output_size * 4 > MOST_BYTES:
        return f"the frames of the training data would take more than {MOST_BYTES:,} bytes"
    x = model.head.weight.new_empty(64, front.count(data.time if data else 28), front.output_size)
    with autocast(x.device, config.precision):
        backend, reason = _cell(model).choose_backend(x, training=True)
    if backend != "cpu":
        return f"the scan is computed by {backend}: {reason}"
    program = compiled.program_of(_cell(model))
    if isinstance(program, str) or not program.reads_parameters(_cell(model)):
        return "the cell computes something from its parameters alone, which torch does before each scan"
    if data and not all(tensor is None or tensor.is_contiguous() for tensor in (data.x, data.y, data.lengths)):
        return "the data is not contiguous in memory"
    return ""


def fused_step(
    former: FusedStep | None,
    model: nn.Module,
    data: SequenceData,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    class_weights: Tensor | None = None,
) -> FusedStep | None:
    """Return a `FusedStep` if it can do this training in its current state, else None.

    Args:
        former: the last result for the same training, which is refreshed if the data is still the same.
        model: any module.
        data: training sequences.
        config: settings of the training.
        optimizer: of the training.
        class_weights: (classes,) of the loss; the same as of ``former`` (default None: all 1).
    """
    if why_not_fused(model, data, config, optimizer):
        return None
    assert isinstance(model, SequenceClassifier)
    if former is None or former.data is not data or former.program is not _program(model):
        return FusedStep(model, data, optimizer, config, class_weights)
    former.refresh()
    return former


def _as_read(
    model: SequenceClassifier, data: SequenceData
) -> tuple[Tensor, Tensor, Tensor | None, tuple[Tensor, Tensor]]:
    """Return what the layers read, where each sequence starts in it, the steps of each, and the factors that scale it.

    The steps of all sequences stand one behind the other, or side by side, as in the data.
    """
    front = model.front
    if front.is_identity:
        factors = data.preparation.scaling.factors(data.input_size)
        return data.x, data.starts_of_each.contiguous(), data.lengths, factors
    frames = front.count(data.steps_of_each)
    starts = frames.cumsum(0) - frames
    x = torch.zeros(int(frames.sum()), front.output_size, device=data.x.device)
    for part in data.parts(CHUNK):
        batch = data.batch(part)
        read, _ = front(batch.x, batch.lengths)
        x[places(starts[part], frames[part])] = valid_steps(read, frames[part])
    lengths = None if data.lengths is None else frames
    return x, starts, lengths, (torch.zeros(front.output_size), torch.ones(front.output_size))


def _cell(model: SequenceClassifier) -> Cell:
    (cell,) = model.layers[0].children()
    assert isinstance(cell, Cell)
    return cell


def _program(model: SequenceClassifier) -> compiled.Compiled:
    program = compiled.program_of(_cell(model))
    assert isinstance(program, compiled.Compiled)
    return program


def _is_watched(module: nn.Module) -> bool:
    hooked = any(map(has_hooks, module.parameters(recurse=False)))
    return is_watched(module) or hooked or nn.utils.parametrize.is_parametrized(module)


def _why_not_taken(optimizer: torch.optim.Optimizer, model: nn.Module) -> str:
    if all("exp_avg" in optimizer.state.get(parameter, ()) for parameter in model.parameters()):
        return why_not_adam(optimizer)
    return why_not_adam(optimizer) or "the optimiser has not taken a step yet"


class FusedStep:
    """Train the parameters of a model in place, and update the optimiser's state, as its own step would.

    No gradients are left on the parameters. After a change of the model or of the optimiser call `refresh`.

    Attributes:
        program: of the model's cell
        steps_at_once: how many steps to ask for in one call, by the time of the last call

    Args:
        model: one for which `why_not_fused` returns an empty string.
        data: training sequences, on the CPU.
        optimizer: Adam or AdamW over the model's parameters, after its first step, so that its state exists.
        config: gives the clipping of gradients, the smoothing of targets and the precision of products.
        class_weights: (classes,) float32, by which the loss of each sequence is multiplied (default None: all 1).
    """

    def __init__(
        self,
        model: SequenceClassifier,
        data: SequenceData,
        optimizer: torch.optim.Optimizer,
        config: TrainConfig,
        class_weights: Tensor | None = None,
    ) -> None:
        self.model: SequenceClassifier = model
        self.data: SequenceData = data
        self.optimizer: torch.optim.Optimizer = optimizer
        self.config: TrainConfig = config
        self.steps_at_once: int = 1
        x, self._starts, self._lengths, (mean, scale) = _as_read(model, data)
        self._x = x  # the kernel reads its memory, and that of starts and lengths
        is_bytes = x.dtype == torch.uint8
        self.program: compiled.Compiled = _program(model)
        with autocast(data.x.device, config.precision):
            isa = cpu.isa()
        self._step: Any = cpu.kernels.TrainingStep(
            self.program.layout(1, self._whole(), isa=isa),
            model.head.out_features,
            x.data_ptr() if is_bytes else 0,
            0 if is_bytes else x.data_ptr(),
            data.y.data_ptr(),
            self._starts.data_ptr(),
            0 if self._lengths is None else self._lengths.data_ptr(),
            mean.tolist(),
            scale.tolist(),
            [] if class_weights is None else class_weights.tolist(),
            config.label_smoothing,
        )
        self.refresh()

    def _whole(self) -> int:
        return max(1, self.model.front.count(self.data.time))

    def refresh(self) -> None:
        """Use the current memory of parameters and optimiser state, and the optimiser's current settings."""
        self.optimizer.zero_grad()
        (group,) = self.optimizer.param_groups
        self._held = []  # the kernel reads and writes their memory
        for parameter in (*self.program.tensors(_cell(self.model)), *self.model.head.parameters()):
            state = self.optimizer.state[parameter]
            self._held.append((parameter.detach(), state["exp_avg"], state["exp_avg_sq"], state["step"]))
        self._step.use(
            [[*(tensor.data_ptr() for tensor in tensors), tensors[0].numel()] for tensors in self._held],
            isinstance(self.optimizer, torch.optim.AdamW),
            *group["betas"],
            group["eps"],
            group["weight_decay"],
            self.config.clip_norm,
        )

    def __call__(
        self, index: Tensor, batch_size: int, rates: Sequence[float], longest: Sequence[int | None]
    ) -> tuple[Tensor, int]:
        """Take consecutive steps, each on the next ``batch_size`` of the sequences at ``index``.

        Args:
            index: (sequences,) int64 indices into the data; the last step may have fewer sequences.
            batch_size: sequences per step.
            rates: learning rate of each step.
            longest: time steps of the longest sequence of each step; None: as many as the data has.

        Returns:
            the summed loss of each step's sequences, (steps,) float32, and how many of all sequences were classified
            correctly before their step.
        """
        front, whole = self.model.front, self._whole()
        times = [whole if steps is None else front.count(steps) for steps in longest]
        threads, clock = torch.get_num_threads(), time.perf_counter()
        losses, correct = self._step.run(index.data_ptr(), len(index), batch_size, times, threads, list(rates))
        self.steps_at_once = max(1, int(PATIENCE * len(losses) / (time.perf_counter() - clock)))
        return torch.tensor(losses, dtype=torch.float32, device="cpu"), correct
