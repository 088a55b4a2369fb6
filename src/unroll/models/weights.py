"""A model with the weights of a file, which are compared with its settings before it takes memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..config import ModelConfig
from ..formatting import shown
from ..validation import check_whole
from .classifier import SequenceClassifier, build

LAYERS = 100  # that a model may have without a tensor of their own, as cells without parameters would


def load_weights(
    config: ModelConfig,
    input_size: int,
    num_classes: int,
    vocabulary_size: int,
    tensors: Mapping[str, Tensor],
) -> SequenceClassifier:
    """Return a model with the weights ``tensors``, on the CPU.

    Names, shapes and dtypes are compared before memory is taken: settings may ask for any size. Nothing is initialised.

    Args:
        config: the settings.
        input_size: features per time step of the data; has no meaning for texts.
        num_classes: of the data.
        vocabulary_size: tokens that the model knows; 0 where time steps hold features.
        tensors: by name, as in `torch.nn.Module.state_dict`.

    Raises:
        ValueError: the tensors are not those of such a model, or hold NaN or infinite weights; says which.
        ConfigError: a setting is out of range.
    """
    _check_sizes(config, input_size, num_classes, vocabulary_size, tensors)
    known = ":" not in config.cell  # what somebody's own cell does when it is made is not: it is made for good
    sizes = input_size, num_classes, vocabulary_size
    model = _hollow(config, *sizes) if known else build(config, *sizes)
    _compare(model, tensors)
    own = {name: value.clone() for name, value in tensors.items()} if known else dict(tensors)  # else they are copied
    model.load_state_dict(own, assign=known)
    check_finite(model)
    return model


def check_finite(model: SequenceClassifier) -> None:
    """Raise `ValueError` if a weight is NaN or infinite: such a model says nothing."""
    bad = next((name for name, value in model.named_parameters() if not _is_finite(value.detach())), None)
    if bad is not None:
        raise ValueError(f"{bad} holds weights that are NaN or infinite")


def _check_sizes(
    config: ModelConfig, input_size: int, num_classes: int, vocabulary_size: int, tensors: Mapping[str, Tensor]
) -> None:
    """Compare the few tensors whose shapes follow from the settings; the others are no larger for that."""
    for what, size, least in (("input_size", input_size, 1), ("num_classes", num_classes, 2)):
        check_whole(what, size, least)
    directions = 2 if config.bidirectional else 1
    if config.num_layers > max(LAYERS, len(tensors)):
        raise ValueError(f"num_layers is {config.num_layers:,}, but there are {len(tensors):,} tensors of weights")
    expected = {"head.weight": (num_classes, directions * config.hidden_size)}
    if vocabulary_size:
        expected["embedding.weight"] = vocabulary_size, config.embedding_size
    for name, shape in expected.items():
        if name not in tensors or tensors[name].shape != shape:
            _complain(name, shape, tensors)
    if not vocabulary_size and input_size > sum(value.numel() for value in tensors.values()):
        raise ValueError(f"input_size is {input_size:,}, more than there are weights")


class _Hollow(TorchFunctionMode):
    """Leaves out what would fill a tensor without content at random: torch would load its compiler for that."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


def _hollow(config: ModelConfig, *sizes: int) -> SequenceClassifier:
    """Return a model of unroll's own cells without content."""
    with torch.device("meta"), _Hollow():
        model = build(replace(config, init="torch", forget_bias=None), *sizes)
    model.config = replace(model.config, init=config.init, forget_bias=config.forget_bias)
    return model


def _is_finite(value: Tensor) -> bool:
    # The sum shows any that is not, and may pass the largest float by itself; it takes a tenth of the time.
    return bool(value.sum().isfinite()) or bool(value.isfinite().all())


def _compare(model: SequenceClassifier, tensors: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    for name, value in own.items():
        if name not in tensors or tensors[name].shape != value.shape:
            _complain(name, tuple(value.shape), tensors)
        if tensors[name].dtype != value.dtype:
            raise ValueError(f"{name} must be {value.dtype}, got {tensors[name].dtype}")
    unknown = next((name for name in tensors if name not in own), None)
    if unknown is not None:
        raise ValueError(f"the model has no weights {shown(unknown)}")


def _complain(name: str, shape: tuple[int, ...], tensors: Mapping[str, Tensor]) -> None:
    got = tuple(tensors[name].shape) if name in tensors else "none"
    raise ValueError(f"the weights do not fit the settings: {name} must have shape {shape}, got {shown(got)}")
